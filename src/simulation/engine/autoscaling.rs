//! The HPA controller: each HPA at its own time, reading CPU or our metric.

use super::Simulation;
use super::reference::announced_peaks;
use super::telemetry::WINDOW;
use crate::simulation::actuation::Metric;
use crate::simulation::hpa::{self, Hpa, Resource, Tolerance};
use crate::simulation::scenario::{HpaSpec, Scenario};
use crate::simulation::{Actuation, Seed};

/// A decision older than this is refused by the server, and the HPA holds: the default of
/// `control.maxAgeSeconds`.
const MAX_AGE: f64 = 60.0;

/// The HPAs and when each is synced.
#[derive(Debug, Clone)]
pub(super) struct Autoscalers {
    hpas: Vec<Hpa>,
    targets: Vec<Target>,
    /// Apps by the time of their first sync.
    order: Vec<(f64, usize)>,
    next: usize,
    /// Beginning of the present round.
    round: f64,
    period: f64,
}

/// What one HPA aims at.
#[derive(Debug, Clone, Copy)]
struct Target {
    cpu_percent: u32,
    memory_percent: Option<u32>,
    cpu_milli: u64,
    memory_milli: u64,
    tolerance: Tolerance,
}

/// The HPAs of all apps as this policy sets them.
pub(super) fn specs(scenario: &Scenario, actuation: &Actuation, seed: Seed) -> Vec<HpaSpec> {
    let mut specs: Vec<HpaSpec> =
        (0..scenario.apps.len()).map(|app| spec(scenario, actuation, app)).collect();
    if let Some(margin) = actuation.peak_margin {
        for (spec, peak) in specs.iter_mut().zip(announced_peaks(scenario, seed)) {
            let fixed = ((peak * margin).ceil() as u32).clamp(spec.min_replicas, spec.max_replicas);
            (spec.min_replicas, spec.max_replicas) = (fixed, fixed);
        }
    }
    specs
}

fn spec(scenario: &Scenario, actuation: &Actuation, app: usize) -> HpaSpec {
    let text = &scenario.apps[app];
    let mut spec = text.hpa.clone();
    if let Some(targets) = actuation.target_cpu {
        let domain = scenario.domain(&text.domain).unwrap_or(0);
        spec.target_cpu = targets[text.class.unwrap_or(scenario.domains[domain].class) as usize];
    }
    if let Some(rules) = &actuation.scale_up {
        spec.scale_up = rules.clone();
    }
    if let Some(rules) = &actuation.scale_down {
        spec.scale_down = rules.clone();
    }
    if let Some([up, down]) = actuation.tolerance {
        (spec.tolerance_up, spec.tolerance_down) = (Some(up), Some(down));
    }
    if actuation.metric == Metric::Ours {
        (spec.tolerance_up, spec.tolerance_down) = (Some(0.0), Some(0.0));
    }
    spec
}

impl Autoscalers {
    pub(super) fn new(scenario: &Scenario, specs: &[HpaSpec], seed: Seed) -> Self {
        let controller = &scenario.controller;
        let count = scenario.apps.len();
        let period = hpa::period(controller, count);
        let mut order: Vec<(f64, usize)> = (0..count)
            .map(|app| {
                let part = seed.child("sync").draw(app as u64).uniform();
                (hpa::first_sync(period, part), app)
            })
            .collect();
        order.sort_by(|one, other| one.0.total_cmp(&other.0));
        Self {
            hpas: specs.iter().map(|spec| Hpa::new(spec, controller)).collect(),
            targets: specs
                .iter()
                .zip(&scenario.apps)
                .map(|(spec, app)| Target {
                    cpu_percent: (spec.target_cpu * 100.0).round() as u32,
                    memory_percent: spec.target_memory.map(|part| (part * 100.0).round() as u32),
                    cpu_milli: (app.cpu_request * 1000.0).round() as u64,
                    memory_milli: (app.memory.request_mib * 1000.0).round() as u64,
                    tolerance: Tolerance {
                        up: spec.tolerance_up.unwrap_or(controller.tolerance),
                        down: spec.tolerance_down.unwrap_or(controller.tolerance),
                    },
                })
                .collect(),
            order,
            next: 0,
            round: 0.0,
            period,
        }
    }

    /// The next app that is synced by `now`, and when.
    fn due(&mut self, now: f64) -> Option<(f64, usize)> {
        let &(phase, app) = self.order.get(self.next)?;
        let at = self.round + phase;
        if at > now {
            return None;
        }
        self.next += 1;
        if self.next == self.order.len() {
            self.next = 0;
            self.round += self.period;
        }
        Some((at, app))
    }
}

impl Simulation {
    /// Syncs every HPA whose time has come by `now`.
    pub(super) fn sync_hpas(&mut self, now: f64) {
        while let Some((at, app)) = self.autoscalers.due(now) {
            let current = self.apps.census[app].spec;
            let asked = if self.autoscalers.hpas[app].reads_metrics(current) {
                match self.actuation.metric {
                    Metric::Cpu => self.by_resources(app, at, current),
                    Metric::Ours => self.by_our_metric(app, at),
                }
            } else {
                None
            };
            let replicas = self.autoscalers.hpas[app].sync(at, current, asked);
            if replicas != current {
                self.scale(app, replicas, at);
            }
        }
    }

    fn by_our_metric(&self, app: usize, now: f64) -> Option<u32> {
        let desired = self.published.get(app).copied().flatten()?;
        let fresh = now - self.published_at <= MAX_AGE;
        let status = self.apps.census[app].replicas();
        let tolerance = self.autoscalers.targets[app].tolerance;
        fresh.then(|| hpa::by_our_metric(desired, status, tolerance))
    }

    /// What CPU and, where it is a metric, memory ask for. The pods that count are those that
    /// were ready for the whole of the newest sample (while a pod starts, only such a sample
    /// counts); the others are not ready for the controller.
    fn by_resources(&self, app: usize, now: f64, current: u32) -> Option<u32> {
        let target = &self.autoscalers.targets[app];
        let sample = self.telemetry.resources(app, now)?;
        let before = self.telemetry.ready_before(app, now, WINDOW);
        let census = &self.apps.census[app];
        let measured = census.ready.min(before).min(sample.ready);
        let unready = census.replicas() - measured;
        let each = |sum: f64| if sample.ready > 0 { sum / f64::from(sample.ready) } else { 0.0 };
        let used = |sum: f32, pods: u32| (each(sum.into()) * 1000.0 * f64::from(pods)) as u64;
        let cpu = Resource {
            usage_milli: used(sample.cpu, measured),
            request_milli: target.cpu_milli,
            measured,
            missing: 0,
            unready,
        };
        let by_cpu = hpa::by_resource(&cpu, target.cpu_percent, current, target.tolerance);
        let Some(percent) = target.memory_percent else { return hpa::together(&[by_cpu], current) };
        // Of a pod that runs, memory always counts.
        let running = census.ready.min(sample.ready);
        let memory = Resource {
            usage_milli: used(sample.memory, running),
            request_milli: target.memory_milli,
            measured: running,
            missing: 0,
            unready: census.pending,
        };
        let by_memory = hpa::by_resource(&memory, percent, current, target.tolerance);
        hpa::together(&[by_cpu, by_memory], current)
    }
}
