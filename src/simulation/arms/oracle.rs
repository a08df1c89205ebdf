//! The achievable clairvoyant: it knows the traffic that comes and the faults of the cloud, and
//! acts through the same HPAs, scheduler, budgets and provisioner as every policy.
//!
//! Every app has the pods that the queue model asks for between now and the time that a new pod
//! takes; nodes are asked for as far ahead as they take to come, past stalls of the cloud.

use std::collections::VecDeque;

use super::staffing::{Callees, Staffing};
use crate::cluster::{Snapshot, Timestamp};
use crate::observation::Observation;
use crate::policy::budget::{self, Claim};
use crate::policy::{AppProposal, Policy, Proposal, Reason, Reasons};
use crate::simulation::scenario::{AppSpec, FaultKind, LogNormalSpec, Provisioner, Scenario};
use crate::simulation::{Seed, Traffic};

/// Part of the promise that it aims at: pods are not all at full speed, and queues not empty.
const PART: f64 = 0.85;

/// It sizes apps for traffic that keeps on for so many seconds, so that no queue builds up.
const STEADY: f64 = 600.0;

/// Room beyond the requests that pods need because they do not fill nodes to the brim.
const PACKING: f64 = 1.04;

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
    staffing: Staffing,
    requests: Vec<f64>,
    /// Steps that a new pod of each app takes.
    lead: Vec<usize>,
    longest: usize,
    /// Per step: when nodes that are asked for then are there, in seconds.
    arrival: Vec<f64>,
    /// Pods that each app needs, from step `first` on.
    first: usize,
    needed: VecDeque<Vec<u32>>,
    /// Pods to be asked for from step `first` on, and their cores.
    asked: VecDeque<(Vec<u32>, f64)>,
    offered: Vec<f64>,
    scratch: Vec<Option<u32>>,
}

impl Oracle {
    /// The oracle of the runs of this scenario and seed.
    #[must_use]
    pub fn new(scenario: &Scenario, seed: Seed) -> Self {
        let step = scenario.step_seconds;
        let lead: Vec<usize> = scenario
            .apps
            .iter()
            .map(|app| (pod_lead(scenario, app) / step).ceil() as usize)
            .collect();
        Self {
            start: scenario.start,
            step_seconds: step,
            traffic: Traffic::new(scenario, seed.child("traffic")),
            staffing: Staffing::new(scenario, PART, Callees::Staffed, STEADY),
            requests: scenario.apps.iter().map(|app| app.cpu_request).collect(),
            longest: lead.iter().copied().max().unwrap_or(0),
            lead,
            arrival: arrivals(scenario),
            first: 0,
            needed: VecDeque::new(),
            asked: VecDeque::new(),
            offered: vec![0.0; scenario.apps.len()],
            scratch: vec![None; scenario.apps.len()],
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
            self.staffing.needed(&self.offered, &mut self.scratch);
            // Where no number suffices, what sufficed last is as good as any.
            let before = self.needed.back();
            let pods =
                self.scratch.iter().enumerate().map(|(app, pods)| {
                    pods.or_else(|| before.map(|before| before[app])).unwrap_or(1)
                });
            let pods = pods.collect();
            self.needed.push_back(pods);
        }
        while self.first + self.asked.len() <= last {
            let begin = self.asked.len();
            let pods: Vec<u32> = (0..self.lead.len())
                .map(|app| {
                    let window = self.needed.range(begin..=begin + self.lead[app]);
                    window.map(|needed| needed[app]).max().unwrap_or(1)
                })
                .collect();
            let each = pods.iter().zip(&self.requests);
            let cores = each.map(|(pods, request)| f64::from(*pods) * request).sum();
            self.asked.push_back((pods, cores));
        }
    }
}

impl Policy for Oracle {
    fn propose(&mut self, snapshot: &Snapshot, _: &Observation, now: Timestamp) -> Proposal {
        let step = (now.seconds_since(self.start) / self.step_seconds).round().max(0.0) as usize;
        let last = self.horizon(step);
        self.look(step, last);
        let Some((pods, _)) = self.asked.front() else { return Proposal::default() };
        let capacity = snapshot.shared_cpu().max(1e-9);
        let mut claims: Vec<Claim> = snapshot
            .catalog
            .domains
            .iter()
            .map(|domain| Claim {
                class: domain.class,
                weight: domain.weight,
                floor: domain.floor_share,
                demand: 0.0,
                headroom: 0.0,
            })
            .collect();
        let mut standing = 0.0;
        let apps = snapshot.catalog.apps.iter().zip(&snapshot.apps).zip(pods);
        let apps = apps
            .map(|((app, state), pods)| {
                let pods = f64::from((*pods).max(app.min_replicas));
                claims[app.domain].demand += pods * state.cpu_request / capacity;
                standing += f64::from(state.spec_replicas) * state.cpu_request;
                let reasons: Reasons = [Reason::Traffic].into_iter().collect();
                AppProposal { replicas: Some(pods), reasons }
            })
            .collect();
        for claim in &mut claims {
            claim.headroom = claim.demand * HEADROOM;
        }
        let peak = self.asked.iter().map(|(_, cores)| *cores).fold(0.0, f64::max);
        Proposal {
            apps,
            shares: budget::divide(&claims, 0.0),
            reserve: 0.0,
            warm_cores: (peak * PACKING - standing).max(0.0),
        }
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
