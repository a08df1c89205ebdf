//! The achievable clairvoyant: it knows the traffic that comes and the faults of the cloud, and
//! acts through the same HPAs, scheduler, budgets and provisioner as every policy.
//!
//! Every app has the pods that its CPU target asks for at the most between now and the time that a
//! new pod takes; nodes are asked for as far ahead as they take to come, past stalls of the cloud.

use std::collections::VecDeque;

use crate::cluster::{Snapshot, Timestamp};
use crate::observation::{AppObservation, Observation};
use crate::policy::budget::{self, Claim};
use crate::policy::{AppProposal, Policy, Proposal, Reason, Reasons};
use crate::simulation::scenario::{AppSpec, FaultKind, LogNormalSpec, Provisioner, Scenario};
use crate::simulation::{Seed, Traffic};

/// The most that it adds for callers who try again, as a multiple.
const AGAIN_LIMIT: f64 = 3.0;

/// A pod that is needed again within so many seconds stays.
const KEPT: f64 = 600.0;

/// Nodes stay until this part of them is too many: pods that move start cold.
const SURPLUS: f64 = 0.1;

/// Room beyond the requests that pods need because they do not fill nodes to the brim.
pub(super) const PACKING: f64 = 1.04;

/// Room above the demand when budgets are divided.
const HEADROOM: f64 = 0.2;

/// Standard normal 95th percentile.
const Z95: f64 = 1.645;

/// Knows what comes.
#[derive(Debug, Clone)]
pub struct Oracle {
    start: Timestamp,
    step_seconds: f64,
    traffic: Traffic,
    apps: Vec<AppSpec>,
    /// Part of the pods that consolidation may take away for a while; one it always may.
    away: f64,
    /// Steps that a new pod of each app takes.
    lead: Vec<usize>,
    longest: usize,
    /// Per step: when nodes that are asked for then are there, in seconds.
    arrival: Vec<f64>,
    /// Requests per second and pods that each app needs, from step `first` on.
    first: usize,
    coming: VecDeque<Vec<f64>>,
    needed: VecDeque<Vec<u32>>,
    /// Pods to be asked for from step `first` on, and their cores.
    asked: VecDeque<(Vec<u32>, f64)>,
    offered: Vec<f64>,
}

impl Oracle {
    /// The oracle of the runs of this scenario and seed.
    #[must_use]
    pub fn new(scenario: &Scenario, seed: Seed) -> Self {
        let step = scenario.step_seconds;
        let lead: Vec<usize> = scenario
            .apps
            .iter()
            .map(|app| (pod_lead(scenario, app).max(KEPT) / step).ceil() as usize)
            .collect();
        Self {
            start: scenario.start,
            step_seconds: step,
            traffic: Traffic::of_run(scenario, seed),
            apps: scenario.apps.clone(),
            longest: lead.iter().copied().max().unwrap_or(0),
            lead,
            away: scenario.constants.max_unavailable.clamp(0.0, 0.9),
            arrival: arrivals(scenario),
            first: 0,
            coming: VecDeque::new(),
            needed: VecDeque::new(),
            asked: VecDeque::new(),
            offered: vec![0.0; scenario.apps.len()],
        }
    }

    /// The last step whose pods need nodes that must be asked for now: those asked for at the next
    /// step would come too late.
    fn horizon(&self, now: usize) -> usize {
        let later = self.arrival.get(now + 1..).unwrap_or_default();
        let next = later.iter().copied().fold(f64::INFINITY, f64::min);
        let end = self.arrival.len() as f64 * self.step_seconds;
        ((next.min(end) / self.step_seconds).ceil() as usize).max(now)
    }

    /// Looks ahead as far as `last`, and forgets what is before `now`.
    fn look(&mut self, now: usize, last: usize) {
        while self.first < now {
            self.first += 1;
            self.coming.pop_front();
            self.needed.pop_front();
            self.asked.pop_front();
        }
        while self.first + self.needed.len() <= last + self.longest {
            let step = self.first + self.needed.len();
            self.traffic.offered(
                step as f64 * self.step_seconds,
                self.step_seconds,
                &mut self.offered,
            );
            let each = self.apps.iter().zip(&self.offered);
            let pods = each.map(|(app, rps)| app.replicas_for(*rps) as u32).collect();
            self.needed.push_back(pods);
            self.coming.push_back(self.offered.clone());
        }
        while self.first + self.asked.len() <= last {
            let begin = self.asked.len();
            let pods: Vec<u32> = (0..self.lead.len())
                .map(|app| {
                    let window = self.needed.range(begin..=begin + self.lead[app]);
                    let most = window.map(|needed| needed[app]).max().unwrap_or(1);
                    ((f64::from(most) / (1.0 - self.away)).ceil() as u32).max(most + 1)
                })
                .collect();
            let each = pods.iter().zip(&self.apps);
            let cores = each.map(|(pods, app)| f64::from(*pods) * app.cpu_request).sum();
            self.asked.push_back((pods, cores));
        }
    }
}

impl Policy for Oracle {
    fn propose(&mut self, snapshot: &Snapshot, seen: &Observation, now: Timestamp) -> Proposal {
        let step = (now.seconds_since(self.start) / self.step_seconds).round().max(0.0) as usize;
        let last = self.horizon(step);
        self.look(step, last);
        let Some((pods, _)) = self.asked.front() else { return Proposal::default() };
        let Some(offered) = self.coming.front() else { return Proposal::default() };
        let each = seen.apps.iter().zip(offered).zip(pods);
        let pods = each.map(|((seen, offered), pods)| f64::from(*pods) * again(seen, *offered));
        let capacity = snapshot.shared_cpu().max(1e-9);
        let peak = self.asked.iter().map(|(_, cores)| *cores).fold(0.0, f64::max) * PACKING;
        let kept =
            if peak < capacity && peak > capacity * (1.0 - SURPLUS) { capacity } else { peak };
        let (proposal, cores) = asking(snapshot, pods);
        Proposal { warm_cores: (kept - cores.standing).max(0.0), ..proposal }
    }
}

/// Cores of all pods.
pub(super) struct Cores {
    /// Of those that stand.
    pub standing: f64,
    /// Of those that are asked for.
    pub asked: f64,
}

/// A proposal of so many pods of each app, at least its lower bound, with budgets by what they take.
pub(super) fn asking(snapshot: &Snapshot, pods: impl Iterator<Item = f64>) -> (Proposal, Cores) {
    let capacity = snapshot.shared_cpu().max(1e-9);
    let mut claims: Vec<Claim> = snapshot.catalog.domains.iter().map(Claim::of).collect();
    let mut cores = Cores { standing: 0.0, asked: 0.0 };
    let each = snapshot.catalog.apps.iter().zip(&snapshot.apps).zip(pods);
    let apps = each.map(|((app, state), pods)| {
        let pods = pods.max(f64::from(app.min_replicas));
        claims[app.domain].demand += pods * state.cpu_request / capacity;
        cores.standing += f64::from(state.spec_replicas) * state.cpu_request;
        cores.asked += pods * state.cpu_request;
        let reasons: Reasons = [Reason::Traffic].into_iter().collect();
        AppProposal { replicas: Some(pods), reasons, ..AppProposal::default() }
    });
    let apps = apps.collect();
    for claim in &mut claims {
        claim.headroom = claim.demand * HEADROOM;
    }
    let shares = budget::divide(&claims, 0.0);
    (Proposal { apps, shares, ..Proposal::default() }, cores)
}

/// What callers who try again add to what is offered, as a factor, once a promise is broken: an
/// overload that is there keeps itself alive by them.
pub(super) fn again(seen: &AppObservation, offered: f64) -> f64 {
    match seen.rps {
        Some(rps) if seen.breaks_slo() && offered > 0.0 => (rps / offered).clamp(1.0, AGAIN_LIMIT),
        _ => 1.0,
    }
}

/// The 95th percentile of a time.
fn late(spec: LogNormalSpec) -> f64 {
    spec.median * (Z95 * spec.sigma).exp()
}

/// Seconds from a decision to a pod at full speed on a node that is there: one step, one sync of
/// its HPA, and the 95th percentiles of its start.
fn pod_lead(scenario: &Scenario, app: &AppSpec) -> f64 {
    let constants = &scenario.constants;
    let start = app.start;
    let ready = LogNormalSpec { median: start.ready_median_seconds, sigma: start.ready_sigma };
    scenario.step_seconds
        + scenario.controller.sync_seconds
        + late(constants.image_pull)
        + late(constants.container_start)
        + late(ready)
        + start.warm_seconds
}

/// Per step: when nodes that are asked for then are there (95th percentile), in seconds.
fn arrivals(scenario: &Scenario) -> Vec<f64> {
    let constants = &scenario.constants;
    let takes = |provisioner| match provisioner {
        Provisioner::Batching => constants.batch_max_seconds + late(constants.node_start),
        Provisioner::Scanning => {
            constants.scan_seconds
                + constants.scan_decision_seconds
                + constants.scan_node_start.high
        }
        Provisioner::Fixed => 0.0,
    };
    let pools = scenario.pools.iter().filter(|pool| pool.shared);
    let usual = pools.map(|pool| takes(pool.provisioner)).fold(0.0, f64::max);
    let steps = (scenario.duration_seconds / scenario.step_seconds).ceil() as usize;
    (0..=steps)
        .map(|step| {
            let mut at = step as f64 * scenario.step_seconds;
            for fault in &scenario.faults {
                let end = fault.start_seconds + fault.duration_seconds;
                let stalls = matches!(fault.fault, FaultKind::ProvisionerStall { .. });
                if stalls && (fault.start_seconds..end).contains(&at) {
                    at = end;
                }
            }
            let slow = scenario.faults.iter().filter_map(|fault| match fault.fault {
                FaultKind::SlowNodes { factor, .. } => {
                    let end = fault.start_seconds + fault.duration_seconds;
                    (fault.start_seconds..end).contains(&at).then_some(factor)
                }
                _ => None,
            });
            at + usual * slow.fold(1.0, f64::max)
        })
        .collect()
}
