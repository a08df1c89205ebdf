//! What is broken, and from when to when.

use super::Simulation;
use super::pods::{Phase, PodId};
use super::serving::Outside;
use crate::simulation::broken::Broken;
use crate::simulation::provisioner::PoolState;
use crate::simulation::scenario::{FaultKind, Scenario};

/// The longest lag that a fault adds to measurements, in seconds.
pub(super) fn longest_lag(scenario: &Scenario) -> f64 {
    let lags = scenario.faults.iter().map(|fault| match fault.fault {
        FaultKind::TelemetryLag { seconds } => seconds,
        _ => 0.0,
    });
    lags.sum()
}

impl Simulation {
    /// Sets what is broken during the step that begins at `now`, and does what breaks at once.
    pub(super) fn break_things(&mut self, now: f64) {
        if self.scenario.faults.is_empty() {
            return;
        }
        let scenario = std::sync::Arc::clone(&self.scenario);
        let mut states = vec![PoolState::default(); scenario.pools.len()];
        self.outside.clear();
        for (number, fault) in scenario.faults.iter().enumerate() {
            let begins =
                fault.start_seconds >= now && fault.start_seconds < now + scenario.step_seconds;
            let lasts = fault.lasts_at(now + scenario.step_seconds / 2.0);
            match &fault.fault {
                FaultKind::NodeLoss { pool, share, zone } if begins => {
                    if let Some(pool) = scenario.pool(pool) {
                        self.lose_nodes(pool, *share, *zone, number, now);
                    }
                }
                FaultKind::Crash { reach, share } if begins => {
                    for (app, hit) in reach.apps(&scenario).into_iter().enumerate() {
                        if hit {
                            let ready = f64::from(self.apps.census[app].ready);
                            self.restart_pods(app, (ready * share).round() as u32, now);
                        }
                    }
                }
                _ if !lasts => {}
                FaultKind::ProvisionerStall { pool } => {
                    for state in concerned(&scenario, pool.as_deref(), &mut states) {
                        state.stalled = true;
                    }
                }
                FaultKind::SlowNodes { pool, factor } => {
                    for state in concerned(&scenario, pool.as_deref(), &mut states) {
                        state.slowness *= factor;
                    }
                }
                FaultKind::Dependency { reach, delay_seconds, error_ratio } => {
                    self.outside.resize(scenario.apps.len(), Outside::default());
                    for (one, hit) in self.outside.iter_mut().zip(reach.apps(&scenario)) {
                        if hit {
                            one.delay_seconds += delay_seconds;
                            one.error_ratio = 1.0 - (1.0 - one.error_ratio) * (1.0 - error_ratio);
                        }
                    }
                }
                // What happens at once is over, and the pipelines see to what concerns them.
                FaultKind::NodeLoss { .. }
                | FaultKind::Crash { .. }
                | FaultKind::PrometheusOutage
                | FaultKind::ResourceMetricsOutage
                | FaultKind::TelemetryLag { .. }
                | FaultKind::TelemetryLoss { .. } => {}
            }
        }
        self.telemetry.broken = Broken::during(&scenario, now);
        self.provisioning.states = states;
    }

    /// A part of the nodes of a pool vanishes, drawn by the fault's number.
    fn lose_nodes(&mut self, pool: usize, share: f64, zone: Option<u32>, number: usize, now: f64) {
        let home = &self.nodes.pools[pool];
        let mut nodes: Vec<u32> = home.ready.iter().chain(&home.draining).copied().collect();
        nodes.retain(|node| zone.is_none_or(|zone| self.nodes.zone(*node) == zone));
        let seed = self.seed.child("loss").nth(number as u64);
        let luck = |node: &u32| (seed.draw(u64::from(*node)).uniform() * 1e9) as u64;
        nodes.sort_by_key(|node| (luck(node), *node));
        nodes.truncate((nodes.len() as f64 * share).round() as usize);
        for node in nodes {
            self.lose_node(node, now);
        }
    }

    /// Kills the containers of up to `count` ready pods of an app, the oldest first.
    pub(super) fn restart_pods(&mut self, app: usize, count: u32, now: f64) {
        let ready = |pod: &PodId| matches!(self.pods.get(*pod).phase, Phase::Ready(_));
        let hit: Vec<PodId> =
            self.apps.pods[app].iter().copied().filter(ready).take(count as usize).collect();
        for pod in hit {
            self.restart(pod, now);
        }
    }
}

/// The states of one pool, or of all.
fn concerned<'a>(
    scenario: &Scenario,
    name: Option<&str>,
    states: &'a mut [PoolState],
) -> &'a mut [PoolState] {
    match name.map(|name| scenario.pool(name)) {
        None => states,
        Some(Some(pool)) => &mut states[pool..=pool],
        Some(None) => &mut [],
    }
}
