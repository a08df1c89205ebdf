//! What one run of one policy through one scenario was: the sums, and the course.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::arms::Arm;
use super::counts::Counts;
use super::scenario::Scenario;
use super::{Foresight, Seed};
use crate::cluster::Class;

/// One finished run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// Name of the scenario.
    pub scenario: String,
    /// Its level, 1 to 8.
    pub level: u8,
    /// Name of the policy.
    pub policy: String,
    /// Number of the seed within its space.
    pub seed: u64,
    /// The sums over the counted time.
    pub summary: Summary,
    /// The course.
    pub timeline: Timeline,
}

/// The sums of one run, over the time after the warm-up.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Breaches, cost, churn, cascades, inversions, preemptions.
    pub counts: Counts,
    /// App-minutes in breach per domain.
    pub domain_breach_minutes: Vec<f64>,
    /// App-minutes in breach per hour of the day (UTC), 24 of them.
    pub hour_breach_minutes: Vec<f64>,
    /// Provisioner stampedes over all pools.
    pub stampedes: u64,
    /// The most nodes that were asked for in one pool within 30 s.
    pub most_launches: u32,
    /// Nodes that were asked for.
    pub launches: u64,
    /// Node core-hours of the paid ones that no pod requested: idle, starting and warm capacity.
    pub idle_core_hours: f64,
    /// Core-hours that were kept free as warm reserve, part of the idle ones.
    pub warm_core_hours: f64,
    /// Requests offered.
    pub offered: f64,
    /// Requests answered well and in time.
    pub succeeded: f64,
    /// Requests given up for good.
    pub lost: f64,
    /// Pods created.
    pub pods_created: u64,
    /// Pods taken away by scale-downs.
    pub pods_removed: u64,
    /// Decisions made per app, over the run.
    pub decided: u64,
    /// Those of them that the shield changed.
    pub shielded: u64,
}

impl Summary {
    /// App-minutes in breach, each with the weight of its domain (`system.md` 2: payments 1.0 to
    /// platform 0.3): what searches and comparisons mean by breach where they want one number.
    #[must_use]
    pub fn weighted_breach_minutes(&self, scenario: &Scenario) -> f64 {
        let each = self.domain_breach_minutes.iter().zip(&scenario.domains);
        each.map(|(minutes, domain)| minutes * domain.weight).sum()
    }
}

/// The course of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Timeline {
    /// Time between two rows, in seconds.
    pub seconds: f64,
    /// Names of the domains, in the order of [`Row::domains`].
    pub domains: Vec<String>,
    /// Their classes.
    pub classes: Vec<Class>,
    /// Their weights.
    pub weights: Vec<f64>,
    /// Their promised 99th percentiles, in seconds.
    pub slo_seconds: Vec<f64>,
    /// Their error budgets: the share of requests that may fail.
    pub slo_error_ratios: Vec<f64>,
    /// Their floors: the share of the shared pools that is never divided away from each.
    pub floor_shares: Vec<f64>,
    /// Names of the pools, in the order of [`Row::pools`].
    pub pools: Vec<String>,
    /// CPU of one of their nodes, in cores.
    pub node_cores: Vec<f64>,
    /// Oldest first, the warm-up included.
    pub rows: Vec<Row>,
}

/// One row of a timeline: means over its time, unless it says otherwise.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// Its end, in seconds after the start of the scenario.
    pub at: f64,
    /// Whether it is after the warm-up.
    pub counted: bool,
    /// Per domain.
    pub domains: Vec<DomainRow>,
    /// Per pool.
    pub pools: Vec<PoolRow>,
    /// Bystanders in a cascade during the row (app-independent, see [`Counts::cascades`]).
    pub cascades: u32,
    /// Domains that waited behind a lower one during the row.
    pub inversions: u32,
    /// Share of the shared CPU that is given to nobody, at the end.
    pub reserve_share: f64,
}

/// One domain in a row.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DomainRow {
    /// Requests per second offered.
    pub rps: f64,
    /// Requests per second that reached it, tries again included.
    pub arrived: f64,
    /// What the policy's forecast expected 15 minutes after this row: p10, p50, p80, p90 in
    /// requests per second; none without a forecast.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forecast: Option<[f64; 4]>,
    /// Ready pods at the end.
    pub ready: f64,
    /// Pods placed and not ready yet, at the end.
    pub starting: f64,
    /// Pods that wait for a node, at the end.
    pub pending: f64,
    /// Replicas that HPAs ask for, at the end.
    pub asked: f64,
    /// CPU requested by placed pods, in cores, at the end.
    pub requested_cores: f64,
    /// The part of it in the shared pools, which the budget is for.
    pub shared_cores: f64,
    /// CPU in use, in cores.
    pub used_cores: f64,
    /// The published budget in the shared pools, in cores, at the end; infinite (null) without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_cores: Option<f64>,
    /// The published share of the shared pools, 0 to 1, at the end; 0 without one.
    pub share: f64,
    /// p99 over the SLO, mean over the apps weighted by their requests.
    pub p99_ratio: f64,
    /// The worst app's p99 over the SLO.
    pub worst_p99_ratio: f64,
    /// Mean over the apps of the adherence of `system.md` 2.4: sqrt(1 - r) below the SLO,
    /// -(r - 1) above, r at most 2.
    pub adherence: f64,
    /// Share of requests that failed.
    pub error_ratio: f64,
    /// Share of requests that went to apps in breach.
    pub breaching_share: f64,
    /// Apps in breach, mean.
    pub breach_apps: f64,
    /// Replicas that HPAs gave up during the row soon after they asked for them, summed over the
    /// apps (see [`super::counts::Definitions::reversal_seconds`]).
    pub reversed: f64,
    /// Per service group.
    pub groups: Vec<GroupRow>,
}

/// One service group (apps of one tier) of a domain in a row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupRow {
    /// CPU requested by its placed pods in the shared pools, in cores, at the end.
    pub requested_cores: f64,
    /// CPU that its offered requests need at the CPU targets of its apps, in cores: traffic alone
    /// decides it, no policy does.
    pub needed_cores: f64,
}

/// One pool in a row.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolRow {
    /// Ready nodes at the end.
    pub nodes: f64,
    /// Nodes paid for at the end, starting and draining ones included.
    pub paid: f64,
    /// Nodes asked for during the row.
    pub asked: f64,
    /// Nodes that went during the row.
    pub removed: f64,
    /// CPU on ready nodes that no pod requests, in cores, at the end.
    pub free_cores: f64,
    /// Pods that could go here and wait, at the end.
    pub pending: f64,
    /// Pods preempted here during the row.
    pub preempted: f64,
}

/// Runs one policy through one scenario. Runs of the same scenario and seed meet the same
/// traffic, starts, nodes, measurements and forecasts, whatever the policy. `number` is the seed's in its
/// space, for the record; rows of the course are `row_seconds` long. `Err` is one sentence.
pub fn simulate(
    scenario: &Arc<Scenario>,
    arm: &Arm,
    (seed, number): (Seed, u64),
    row_seconds: Option<f64>,
) -> Result<Run, String> {
    simulate_with(scenario, arm, (seed, number), row_seconds, None)
}

/// The same with forecasts that are there already, for a policy that looks at any.
pub fn simulate_with(
    scenario: &Arc<Scenario>,
    arm: &Arm,
    (seed, number): (Seed, u64),
    row_seconds: Option<f64>,
    foresight: Option<&Arc<Foresight>>,
) -> Result<Run, String> {
    let mut simulation = arm.simulation(scenario, seed, foresight)?;
    if let Some(seconds) = row_seconds {
        simulation = simulation.with_timeline(seconds);
    }
    let mut pilot = arm.pilot(&simulation, scenario, seed);
    while !simulation.over() {
        simulation.turn(pilot.as_mut());
    }
    Ok(simulation.record(&arm.name, number))
}
