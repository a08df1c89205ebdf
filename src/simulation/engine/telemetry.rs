//! What is measured of the truth, and when it is seen: late, lossy, noisy, the same for every
//! policy.
//!
//! Samples are taken at regular times, each app at its own phase, so that the age of what is seen
//! runs from the lowest to the highest lag and starts again.

use std::sync::Arc;

use crate::cluster::{
    App, AppId, AppState, Catalog, Fault, Freshness, Pool, Reading, Signal, SignalKind, Signals,
    Snapshot, Timestamp,
};
use crate::simulation::broken::Broken;
use crate::simulation::scenario::{HpaSpec, Range, Scenario, TelemetrySpec};
use crate::simulation::{Draw, Seed};

/// Length of a resource metrics sample, in seconds: metrics-server's resolution.
pub(super) const WINDOW: f64 = 15.0;

/// The truth about one app during one step, as a metrics pipeline would count it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sample {
    /// Requests per second, tries again included.
    pub rps: f32,
    /// In seconds; NaN without traffic.
    pub p99: f32,
    /// 0 to 1.
    pub error_ratio: f32,
    /// In use over the ready pods, in cores.
    pub cpu: f32,
    /// In use over the ready pods, in MiB.
    pub memory: f32,
    /// Pods that got requests.
    pub ready: u32,
}

/// Regular samples of one app.
#[derive(Debug, Clone, Copy)]
struct Sampling {
    lag: Range,
    /// Shifts the samples of this app, in seconds.
    phase: f64,
}

impl Sampling {
    fn new(lag: Range, part: f64) -> Self {
        Self { lag, phase: part * (lag.high - lag.low) }
    }

    /// When the sample was taken that is the newest at `now`, with `extra` lag.
    fn newest(self, now: f64, extra: f64) -> f64 {
        let period = (self.lag.high - self.lag.low).max(1e-3);
        let latest = now - self.lag.low - extra;
        // Times before the first sample come out as after it: nothing is recorded there.
        let periods = ((latest - self.phase).max(0.0) / period) as i64;
        self.phase + periods as f64 * period
    }
}

/// The pipelines: a short history of the truth, and the snapshot that policies see.
#[derive(Debug, Clone)]
pub(super) struct Telemetry {
    spec: TelemetrySpec,
    seed: Seed,
    step_seconds: f64,
    apps: usize,
    /// A ring of steps, the samples of one step together.
    history: Vec<Sample>,
    slots: usize,
    /// Steps recorded so far.
    steps: u64,
    prometheus: Vec<Sampling>,
    resources: Vec<Sampling>,
    /// The step whose sample each app's signals show; none before the first.
    shown: Vec<Option<u64>>,
    pub broken: Broken,
    pub snapshot: Snapshot,
}

impl Telemetry {
    pub(super) fn new(
        scenario: &Scenario,
        specs: &[HpaSpec],
        longest_fault: f64,
        seed: Seed,
    ) -> Self {
        let apps = scenario.apps.len();
        let spec = scenario.telemetry;
        let longest = spec.prometheus_lag.high.max(spec.resource_lag.high) + longest_fault + WINDOW;
        let slots = (longest / scenario.step_seconds).ceil() as usize + 3;
        let phases = |name: &str, lag: Range| {
            let seed = seed.child(name);
            (0..apps).map(|app| Sampling::new(lag, seed.draw(app as u64).uniform())).collect()
        };
        Self {
            spec,
            step_seconds: scenario.step_seconds,
            apps,
            history: vec![Sample::default(); slots * apps],
            slots,
            steps: 0,
            prometheus: phases("prometheus", spec.prometheus_lag),
            resources: phases("resources", spec.resource_lag),
            shown: vec![None; apps],
            broken: Broken::default(),
            snapshot: snapshot(scenario, specs),
            seed: seed.child("answers"),
        }
    }

    /// How old signals may be before a decider takes them as stale: the highest lag and two steps,
    /// as an operator would set it for this pipeline.
    pub(super) fn freshness(&self) -> Freshness {
        let limit = self.spec.prometheus_lag.high + 3.0 * self.step_seconds;
        let plain = Freshness::default();
        Freshness {
            rps: plain.rps.max(limit),
            p99: plain.p99.max(limit),
            error_ratio: plain.error_ratio.max(limit),
            cpu: plain.cpu.max(limit),
            memory: plain.memory.max(limit),
        }
    }

    /// The samples of the step that ends now, to be filled in.
    pub(super) fn record(&mut self) -> &mut [Sample] {
        let slot = (self.steps % self.slots as u64) as usize;
        self.steps += 1;
        &mut self.history[slot * self.apps..(slot + 1) * self.apps]
    }

    /// The truth of an app at an instant that is past; `None` before the first step or when it is
    /// forgotten.
    fn at(&self, app: usize, seconds: f64) -> Option<(u64, &Sample)> {
        // The step that ended last by then: its end is the instant of the sample.
        let step = (seconds / self.step_seconds).floor();
        if step < 1.0 {
            return None;
        }
        let step = (step as u64 - 1).min(self.steps.checked_sub(1)?);
        let kept = step + self.slots as u64 > self.steps;
        let slot = (step % self.slots as u64) as usize;
        kept.then(|| (step, &self.history[slot * self.apps + app]))
    }

    /// The newest sample of an app that a stock HPA gets at `now`.
    pub(super) fn resources(&self, app: usize, now: f64) -> Option<&Sample> {
        if self.broken.resources {
            return None;
        }
        let taken = self.resources[app].newest(now, self.broken.lag);
        self.at(app, taken).map(|(_, sample)| sample)
    }

    /// Pods that were ready when that sample began, `window` seconds before it was taken.
    pub(super) fn ready_before(&self, app: usize, now: f64, window: f64) -> u32 {
        let taken = self.resources[app].newest(now, self.broken.lag) - window;
        self.at(app, taken).map_or(u32::MAX, |(_, sample)| sample.ready)
    }

    /// Brings the signals of the snapshot up to `now`.
    pub(super) fn look(&mut self, now: f64, start: Timestamp) {
        for app in 0..self.apps {
            if self.broken.prometheus {
                for kind in SignalKind::ALL {
                    self.snapshot.apps[app].signals[kind].fault = Some(Fault::Unreachable);
                }
                self.shown[app] = None;
                continue;
            }
            let taken = self.prometheus[app].newest(now, self.broken.lag);
            let Some((step, sample)) = self.at(app, taken) else { continue };
            if self.shown[app] == Some(step) {
                continue;
            }
            let sample = *sample;
            self.shown[app] = Some(step);
            let at = (step + 1) as f64 * self.step_seconds;
            let at = Timestamp::from_millis(start.as_millis() + (at * 1000.0) as i64);
            let answer = self.seed.nth(app as u64).draw(step);
            let (lost, nan) = (self.spec.lost + self.broken.lost, self.spec.nan + self.broken.nan);
            let noise = self.spec.noise;
            show(&mut self.snapshot.apps[app].signals, &sample, at, answer, (lost, nan, noise));
        }
    }
}

/// What one answer of Prometheus says of one app.
fn show(
    signals: &mut Signals,
    sample: &Sample,
    at: Timestamp,
    mut draw: Draw,
    (lost, nan, noise): (f64, f64, f64),
) {
    let values = [sample.rps, sample.p99, sample.error_ratio, sample.cpu, sample.memory];
    let perfect = lost <= 0.0 && nan <= 0.0 && noise <= 0.0;
    for (kind, value) in SignalKind::ALL.into_iter().zip(values) {
        let mut value = f64::from(value);
        let signal = &mut signals[kind];
        if !perfect {
            draw = draw.next();
            let luck = draw.uniform();
            if luck < lost + nan {
                signal.fault = Some(if luck < lost { Fault::Absent } else { Fault::NotFinite });
                continue;
            }
            draw = draw.next();
            value *= (1.0 + noise * draw.gauss()).max(0.0);
        }
        if value.is_nan() {
            signal.fault = Some(Fault::Idle);
            continue;
        }
        if kind == SignalKind::Memory {
            value *= 1_048_576.0;
        }
        if kind == SignalKind::ErrorRatio {
            value = value.min(1.0);
        }
        *signal = Signal { reading: Some(Reading { value, at }), fault: None };
    }
}

/// A snapshot in which nothing was measured yet.
fn snapshot(scenario: &Scenario, specs: &[HpaSpec]) -> Snapshot {
    let tolerance = scenario.controller.tolerance;
    let apps = scenario.apps.iter().zip(specs).map(|(app, hpa)| App {
        id: AppId::new(&app.namespace, &app.name),
        kind: "Deployment".into(),
        target: app.name.as_str().into(),
        domain: scenario.domain(&app.domain).unwrap_or(0),
        min_replicas: hpa.min_replicas,
        max_replicas: hpa.max_replicas,
        tolerance_up: hpa.tolerance_up.unwrap_or(tolerance),
        tolerance_down: hpa.tolerance_down.unwrap_or(tolerance),
        target_cpu: hpa.target_cpu,
        refusal: None,
    });
    let states = scenario.apps.iter().map(|app| AppState {
        cpu_request: app.cpu_request,
        memory_request: app.memory.request_mib * 1_048_576.0,
        ..AppState::default()
    });
    Snapshot {
        at: scenario.start,
        catalog: Arc::new(Catalog { domains: scenario.to_domains(), apps: apps.collect() }),
        apps: states.collect(),
        pools: scenario
            .pools
            .iter()
            .map(|pool| Pool { name: pool.name.clone(), shared: pool.shared, ..Pool::default() })
            .collect(),
        forecasts: Vec::new(),
    }
}
