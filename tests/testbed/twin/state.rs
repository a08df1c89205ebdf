//! What the twin knows: apps, pods, and the counters that grow between two scrapes.

use std::collections::{BTreeMap, HashMap};
use std::time::{Instant, SystemTime};

use anyhow::{Context as _, Result};

use super::queue::share_within;
use super::traffic::Traffic;
use super::{App, Options};

/// Upper bounds of the latency buckets, in milliseconds; the last bucket has none.
pub(super) const BOUNDS: [f64; 16] = [
    1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 150.0, 200.0, 250.0, 400.0, 500.0, 1000.0, 2500.0, 5000.0,
    10_000.0, 30_000.0,
];

/// A measured value that can be pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gauge {
    /// Requests per second that reach the app.
    Rps,
    /// CPU over all pods, in cores.
    Cpu,
    /// 99th percentile of latency, in seconds.
    P99,
    /// Share of requests that fail.
    ErrorRatio,
    /// Working set over all pods, in bytes.
    Memory,
}

/// What can be wrong with the telemetry of an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Its series are missing.
    Silent,
    /// Every value is NaN.
    NotANumber,
    /// Every value is infinite.
    Infinite,
    /// Every series comes twice, the second time from another `job`.
    Duplicate,
    /// Every sample carries the time at which the fault began. Needs [`App::timestamps`]:
    /// otherwise Prometheus takes the change for the end of the series.
    Frozen,
}

/// What an app does at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sample {
    /// Requests per second that are asked of it; `None` in a gap of the recording.
    pub offered: Option<f64>,
    /// Requests per second that reach it, failures included.
    pub rps: f64,
    /// Share of these that fail; NaN without traffic.
    pub error_ratio: f64,
    /// CPU over all pods, in cores.
    pub cpu: f64,
    /// Working set over all pods, in bytes.
    pub memory: f64,
    /// 99th percentile of latency, in seconds; NaN without traffic.
    pub p99: f64,
    /// Mean latency, in seconds; NaN without traffic.
    pub mean_latency: f64,
    /// Ready pods.
    pub ready: u32,
}

/// A pod as the API server shows it.
#[derive(Debug, Clone)]
pub(super) struct Pod {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) workload: String,
    pub(super) labels: BTreeMap<String, String>,
    /// Whether it has a node.
    pub(super) placed: bool,
    pub(super) running: bool,
    pub(super) ready: bool,
}

/// One app, its pins and its counters.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) app: App,
    pins: Vec<(Gauge, f64)>,
    pub(super) fault: Option<(Fault, SystemTime)>,
    /// When its traffic began, in seconds of traffic time.
    since: f64,
    now: f64,
    pub(super) sample: Sample,
    /// Requests answered well and failed, since the beginning.
    pub(super) served: f64,
    pub(super) failed: f64,
    /// Requests by latency: one more entry than [`BOUNDS`], each counting only its own bucket.
    pub(super) buckets: [f64; BOUNDS.len() + 1],
    pub(super) latency_sum: f64,
    /// Names of running pods, ready ones marked, and the CPU seconds of each.
    pub(super) pods: BTreeMap<String, PodLoad>,
}

/// What one pod does.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PodLoad {
    pub(super) ready: bool,
    /// In cores, now.
    pub(super) cpu: f64,
    /// In cores over the step that ended last, which is all that a sample can know; of a pod that
    /// came since, now.
    pub(super) measured_cpu: f64,
    /// Whether it came since: no sample has seen it work yet.
    pub(super) unseen: bool,
    /// In bytes, now.
    pub(super) memory: f64,
    /// In CPU seconds, since the beginning.
    pub(super) cpu_seconds: f64,
}

/// Everything.
#[derive(Debug)]
pub(super) struct State {
    pub(super) apps: BTreeMap<(String, String), Running>,
    pub(super) pods: HashMap<(String, String), Pod>,
    pub(super) exposed: bool,
    /// When load was worked out last, for those who want to know how old it is.
    pub(super) stepped_at: SystemTime,
    started: Instant,
    advanced: Instant,
    speed: f64,
    begin: f64,
}

impl State {
    pub(super) fn new(options: &Options) -> Self {
        let now = Instant::now();
        Self {
            apps: BTreeMap::new(),
            pods: HashMap::new(),
            exposed: true,
            stepped_at: SystemTime::now(),
            started: now,
            advanced: now,
            speed: options.speed,
            begin: options.begin,
        }
    }

    pub(super) fn add(&mut self, app: App) {
        self.advance();
        let key = (app.namespace.clone(), app.workload.clone());
        self.apps.insert(key, Running::new(app, self.begin));
        self.step();
    }

    pub(super) fn remove(&mut self, namespace: &str, workload: &str) {
        self.apps.remove(&(namespace.to_owned(), workload.to_owned()));
    }

    /// Changes one app, and works its load out again at once.
    pub(super) fn edit(
        &mut self,
        namespace: &str,
        workload: &str,
        change: impl FnOnce(&mut Running),
    ) -> Result<()> {
        self.advance();
        let app = self.apps.get_mut(&(namespace.to_owned(), workload.to_owned()));
        change(app.with_context(|| format!("the twin has no app {namespace}/{workload}"))?);
        self.step();
        Ok(())
    }

    pub(super) fn sample(&self, namespace: &str, workload: &str) -> Result<Sample> {
        let app = self.apps.get(&(namespace.to_owned(), workload.to_owned()));
        Ok(app.with_context(|| format!("the twin has no app {namespace}/{workload}"))?.sample)
    }

    /// Lets the counters grow up to now at the present rates, so that a scrape between two steps
    /// sees an even growth.
    pub(super) fn advance(&mut self) {
        let now = Instant::now();
        let span = now.duration_since(self.advanced).as_secs_f64();
        self.advanced = now;
        for app in self.apps.values_mut() {
            app.advance(span);
        }
    }

    /// Pods per app that wait for a node.
    pub(super) fn waiting(&self) -> BTreeMap<(String, String), u32> {
        let mut waiting = BTreeMap::new();
        for pod in self.pods.values().filter(|pod| !pod.placed) {
            *waiting.entry((pod.namespace.clone(), pod.workload.clone())).or_default() += 1;
        }
        waiting
    }

    /// The moment of the traffic, in seconds.
    pub(super) fn now(&self) -> f64 {
        self.begin + self.started.elapsed().as_secs_f64() * self.speed
    }

    pub(super) fn rewind(&mut self, begin: f64) {
        self.begin = begin;
        self.started = Instant::now();
        self.step();
    }

    /// Works the load of every app out from its traffic and its pods.
    pub(super) fn step(&mut self) {
        self.advance();
        self.stepped_at = SystemTime::now();
        let now = self.now();
        let mut pods: HashMap<(&str, &str), Vec<&Pod>> = HashMap::new();
        for pod in self.pods.values().filter(|pod| pod.running) {
            pods.entry((&pod.namespace, &pod.workload)).or_default().push(pod);
        }
        for ((namespace, workload), app) in &mut self.apps {
            let own = pods.remove(&(namespace.as_str(), workload.as_str())).unwrap_or_default();
            app.step(now, &own);
        }
    }
}

impl Running {
    fn new(app: App, since: f64) -> Self {
        Self {
            app,
            pins: Vec::new(),
            fault: None,
            since: 0.0,
            now: since,
            sample: Sample::default(),
            served: 0.0,
            failed: 0.0,
            buckets: [0.0; BOUNDS.len() + 1],
            latency_sum: 0.0,
            pods: BTreeMap::new(),
        }
    }

    pub(super) fn set_traffic(&mut self, traffic: Traffic) {
        self.app.traffic = traffic;
        self.since = self.now;
    }

    pub(super) fn pin(&mut self, gauge: Gauge, value: f64) {
        self.pins.retain(|(pinned, _)| *pinned != gauge);
        self.pins.push((gauge, value));
    }

    pub(super) fn unpin(&mut self) {
        self.pins.clear();
    }

    pub(super) fn set_fault(&mut self, fault: Option<Fault>) {
        self.fault = fault.map(|fault| (fault, SystemTime::now()));
    }

    fn step(&mut self, now: f64, pods: &[&Pod]) {
        self.now = now;
        let ready = pods.iter().filter(|pod| pod.ready).count() as u32;
        let offered = self.app.traffic.at(now - self.since);
        let outcome = self.app.service.under(offered.unwrap_or(0.0), ready);
        let rps = outcome.served + outcome.failed;
        let starting = pods.len() as f64 - f64::from(ready);
        self.sample = Sample {
            offered,
            rps,
            error_ratio: outcome.failed / rps,
            cpu: outcome.cpu + starting * self.app.service.idle_cpu,
            memory: pods.len() as f64 * self.app.base_memory + rps * self.app.memory_per_rps,
            p99: outcome.p99,
            mean_latency: outcome.mean_latency,
            ready,
        };
        for (gauge, value) in &self.pins {
            *match gauge {
                Gauge::Rps => &mut self.sample.rps,
                Gauge::Cpu => &mut self.sample.cpu,
                Gauge::P99 => &mut self.sample.p99,
                Gauge::ErrorRatio => &mut self.sample.error_ratio,
                Gauge::Memory => &mut self.sample.memory,
            } = *value;
        }
        self.spread(pods);
    }

    /// Divides what the app does among its pods: ready ones carry the traffic.
    fn spread(&mut self, pods: &[&Pod]) {
        let idle = self.app.service.idle_cpu;
        let (all, ready) = (pods.len() as f64, f64::from(self.sample.ready.max(1)));
        let working = (self.sample.cpu - all * idle).max(0.0) / ready;
        let memory = (self.sample.memory - all * self.app.base_memory).max(0.0) / ready;
        let pinned = |gauge| self.pins.iter().any(|(pinned, _)| *pinned == gauge);
        let (even_cpu, even_memory) = (pinned(Gauge::Cpu), pinned(Gauge::Memory));
        let before = std::mem::take(&mut self.pods);
        for pod in pods {
            let cpu = match (even_cpu, pod.ready) {
                (true, _) => self.sample.cpu / all,
                (false, true) => idle + working,
                (false, false) => idle,
            };
            let known = before.get(&pod.name);
            let load = PodLoad {
                ready: pod.ready,
                cpu,
                measured_cpu: known.map_or(cpu, |pod| pod.cpu),
                unseen: known.is_none(),
                memory: match (even_memory, pod.ready) {
                    (true, _) => self.sample.memory / all,
                    (false, true) => self.app.base_memory + memory,
                    (false, false) => self.app.base_memory,
                },
                cpu_seconds: known.map_or(0.0, |pod| pod.cpu_seconds),
            };
            self.pods.insert(pod.name.clone(), load);
        }
    }

    fn advance(&mut self, span: f64) {
        let grow = |counter: &mut f64, rate: f64| {
            if rate.is_finite() && rate > 0.0 {
                *counter += rate * span;
            }
        };
        let Sample { rps, p99, mean_latency, .. } = self.sample;
        let failing =
            if self.sample.error_ratio.is_finite() { self.sample.error_ratio } else { 0.0 };
        grow(&mut self.served, rps * (1.0 - failing));
        grow(&mut self.failed, rps * failing);
        grow(&mut self.latency_sum, rps * mean_latency);
        if p99 > 0.0 {
            let mut below = 0.0;
            for (bucket, bound) in self.buckets.iter_mut().zip(BOUNDS.map(|bound| bound / 1000.0)) {
                let share = share_within(bound, p99);
                grow(bucket, rps * (share - below));
                below = share;
            }
            grow(&mut self.buckets[BOUNDS.len()], rps * (1.0 - below));
        }
        for pod in self.pods.values_mut() {
            grow(&mut pod.cpu_seconds, pod.cpu);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testbed::twin::traffic::Traffic;

    fn pod(name: &str, ready: bool) -> Pod {
        Pod {
            namespace: "n".into(),
            name: name.into(),
            workload: "web".into(),
            labels: BTreeMap::new(),
            placed: true,
            running: true,
            ready,
        }
    }

    #[test]
    fn only_ready_pods_carry_traffic() {
        let mut app = Running::new(App::web("n", "web", Traffic::Constant(100.0)), 0.0);
        let (first, second) = (pod("a", true), pod("b", false));
        app.step(0.0, &[&first, &second]);
        assert_eq!(app.sample.ready, 1);
        let service = app.app.service;
        assert!((app.pods["a"].cpu - (service.idle_cpu + 100.0 * service.cost)).abs() < 1e-9);
        assert_eq!(app.pods["b"].cpu, service.idle_cpu);
        app.advance(2.0);
        assert!((app.served - 200.0).abs() < 1e-9);
        let counted: f64 = app.buckets.iter().sum();
        assert!((counted - 200.0).abs() < 1e-6, "{counted}");
        assert!((app.pods["a"].cpu_seconds - 2.0 * app.pods["a"].cpu).abs() < 1e-9);
    }

    #[test]
    fn a_pinned_value_wins_and_is_spread_evenly() {
        let mut app = Running::new(App::web("n", "web", Traffic::Constant(100.0)), 0.0);
        app.pin(Gauge::Cpu, 3.0);
        app.pin(Gauge::P99, f64::NAN);
        let (first, second) = (pod("a", true), pod("b", true));
        app.step(0.0, &[&first, &second]);
        assert_eq!((app.sample.cpu, app.pods["a"].cpu, app.pods["b"].cpu), (3.0, 1.5, 1.5));
        assert!(app.sample.p99.is_nan());
        app.unpin();
        app.step(1.0, &[&first, &second]);
        assert!(app.sample.p99 > 0.0);
    }

    #[test]
    fn new_traffic_begins_at_its_beginning() {
        let mut app = Running::new(App::web("n", "web", Traffic::Constant(1.0)), 0.0);
        app.step(500.0, &[]);
        let trace = traffic_of("0\n10\n20\n30\n");
        app.set_traffic(trace);
        app.step(502.0, &[]);
        assert_eq!(app.sample.offered, Some(20.0));
    }

    fn traffic_of(text: &str) -> Traffic {
        use crate::testbed::twin::traffic::{Replay, Trace};
        let trace = Trace::parse(text).unwrap();
        let peak = trace.high();
        Traffic::Replayed(Replay::new(std::sync::Arc::new(trace), peak, 0.0))
    }
}
