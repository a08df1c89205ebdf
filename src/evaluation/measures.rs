//! What is read off one run.

use crate::cluster::Class;
use crate::simulation::Run;

/// One number of a run.
#[derive(Debug, Clone, Copy)]
pub struct Measure {
    /// Its name in CSV and JSON.
    pub name: &'static str,
    /// Its name for people.
    pub title: &'static str,
    /// Its unit, for people; empty for a plain count.
    pub unit: &'static str,
    /// Whether less is better. Others say what a policy does and not how well.
    pub judged: bool,
    /// The number; NaN where there is none.
    pub of: fn(&Run) -> f64,
}

const fn judged(
    name: &'static str,
    title: &'static str,
    unit: &'static str,
    of: fn(&Run) -> f64,
) -> Measure {
    Measure { name, title, unit, judged: true, of }
}

const fn told(
    name: &'static str,
    title: &'static str,
    unit: &'static str,
    of: fn(&Run) -> f64,
) -> Measure {
    Measure { name, title, unit, judged: false, of }
}

/// Every measure, in the order of tables. What they count is defined at
/// [`Counts`](crate::simulation::counts::Counts) and [`Summary`](crate::simulation::Summary).
#[rustfmt::skip]
pub const MEASURES: [Measure; 33] = [
    judged("weightedBreachMinutes", "Breach, weighted by domain", "app-min", weighted_breach_minutes),
    judged("breachMinutes", "Breach, all apps", "app-min", |run| run.summary.counts.breach_minutes.iter().sum()),
    judged("breachMinutesP0", "Breach, P0", "app-min", |run| run.summary.counts.breach_minutes[0]),
    judged("breachMinutesP1", "Breach, P1", "app-min", |run| run.summary.counts.breach_minutes[1]),
    judged("breachMinutesP2", "Breach, P2", "app-min", |run| run.summary.counts.breach_minutes[2]),
    judged("breachMinutesP3", "Breach, P3", "app-min", |run| run.summary.counts.breach_minutes[3]),
    judged("lostShare", "Requests lost", "%", |run| 100.0 * run.summary.lost / run.summary.offered),
    judged("paidCoreHours", "Cost, nodes paid for", "core-h", |run| run.summary.counts.paid_core_hours),
    judged("idleCoreHours", "of which idle", "core-h", |run| run.summary.idle_core_hours),
    told("warmCoreHours", "of which warm reserve", "core-h", |run| run.summary.warm_core_hours),
    judged("nodeChurn", "Node churn, added and removed", "nodes", |run| {
        (run.summary.counts.nodes_added + run.summary.counts.nodes_removed) as f64
    }),
    told("nodesAdded", "Nodes added", "nodes", |run| run.summary.counts.nodes_added as f64),
    told("nodesRemoved", "Nodes removed", "nodes", |run| run.summary.counts.nodes_removed as f64),
    judged("overProvisioningP0", "CPU requested for each used, P0", "×", |run| over_provisioning(run, Class::P0)),
    judged("overProvisioningP1", "CPU requested for each used, P1", "×", |run| over_provisioning(run, Class::P1)),
    judged("overProvisioningP2", "CPU requested for each used, P2", "×", |run| over_provisioning(run, Class::P2)),
    judged("overProvisioningP3", "CPU requested for each used, P3", "×", |run| over_provisioning(run, Class::P3)),
    judged("stampedes", "Provisioner stampedes", "", |run| run.summary.stampedes as f64),
    told("mostLaunches", "Most nodes asked for in 30 s", "nodes", |run| f64::from(run.summary.most_launches)),
    judged("cascades", "Cascades", "", |run| total(run.summary.counts.cascades)),
    judged("cascadeMinutes", "Time in a cascade", "min", |run| run.summary.counts.cascade_minutes),
    judged("inversions", "Priority inversions", "", |run| total(run.summary.counts.inversions)),
    judged("inversionMinutes", "Time in an inversion", "min", |run| run.summary.counts.inversion_minutes),
    judged("withheld", "Waits behind what lower classes borrow", "", |run| total(run.summary.counts.withheld)),
    told("withheldP0", "of which P0", "", |run| run.summary.counts.withheld[0] as f64),
    judged("preemptions", "Pods preempted", "pods", |run| total(run.summary.counts.preempted)),
    told("preemptionsP0", "of which P0", "pods", |run| run.summary.counts.preempted[0] as f64),
    told("preemptionsP1", "of which P1", "pods", |run| run.summary.counts.preempted[1] as f64),
    told("preemptionsP2", "of which P2", "pods", |run| run.summary.counts.preempted[2] as f64),
    told("preemptionsP3", "of which P3", "pods", |run| run.summary.counts.preempted[3] as f64),
    told("podsCreated", "Pods created", "pods", |run| run.summary.pods_created as f64),
    told("podsRemoved", "Pods removed", "pods", |run| run.summary.pods_removed as f64),
    told("shieldedShare", "Decisions changed by the shield", "%", |run| {
        100.0 * run.summary.shielded as f64 / run.summary.decided as f64
    }),
];

/// App-minutes in breach, each times the weight of the app's domain.
#[must_use]
pub fn weighted_breach_minutes(run: &Run) -> f64 {
    let minutes = run.summary.domain_breach_minutes.iter();
    minutes.zip(&run.timeline.weights).map(|(minutes, weight)| minutes * weight).sum()
}

fn over_provisioning(run: &Run, class: Class) -> f64 {
    run.summary.counts.over_provisioning()[class as usize]
}

fn total(counts: [u64; Class::ALL.len()]) -> f64 {
    counts.iter().sum::<u64>() as f64
}
