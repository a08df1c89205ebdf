//! The same policies as the pilot runs them, in the simulated cluster.

use std::sync::Arc;

use super::Policy;
use crate::cluster::{Class, Snapshot, Timestamp};
use crate::observation::{self, Observation};
use crate::pilot::Pilot;
use crate::policy::{self, Proposal, Rules, rules};
use crate::safety;
use crate::simulation::scenario::read;
use crate::simulation::{Foresight, Seed, Simulation, Timeline, arms};

/// Cores of all nodes that there may be.
pub(super) const CORES: f64 = 20.0 * 7.5;

/// Two domains in a pool that has room for both, and not for one that wants everything.
const SCENARIO: &str = "
name: cheats
durationSeconds: 43200
warmUpSeconds: 1800
domains:
  - {name: payments, class: P0, weight: 1.0, sloP99Seconds: 0.2, floorShare: FLOOR0, traffic: steady, noise: 0.05}
  - {name: platform, class: P3, weight: 0.3, sloP99Seconds: 1, floorShare: FLOOR3, traffic: steady, noise: 0.05}
apps:
  - {name: checkout, domain: payments, count: 4, rps: 2000, workers: 2, serviceSeconds: 0.015, cpuRequest: 0.5}
  - {name: tools, domain: platform, count: 4, rps: 300, workers: 4, serviceSeconds: 0.1, cpuRequest: 0.5}
pools:
  - {name: shared, nodeCpu: 7.5, nodeMemoryGib: 30, nodes: 12, minNodes: 4, maxNodes: 20}
events:
";

/// A run in which each domain surges now and then, one after the other; the higher one takes what it needs.
pub(super) fn run(policy: Policy, seed: Seed) -> Timeline {
    run_with(policy, seed, ["0.1", "0.02"])
}

/// The same where floors keep each domain's part.
pub(super) fn run_with_floors(policy: Policy, seed: Seed) -> Timeline {
    run_with(policy, seed, ["0.5", "0.4"])
}

fn run_with(policy: Policy, seed: Seed, floors: [&str; 2]) -> Timeline {
    let surges = (0..25_u32).map(|number| {
        let domain = if number % 2 == 0 { "payments" } else { "platform" };
        let late = 600.0 * seed.child("surge").draw(number.into()).uniform();
        let start = 2400.0 + 1600.0 * f64::from(number) + late;
        format!(
            "  - {{name: surge, kind: surge, reach: {{domains: [{domain}]}}, startSeconds: {start}, \
             announcedSeconds: {start}, rampSeconds: 90, holdSeconds: 600, decaySeconds: 300, factor: 2}}\n"
        )
    });
    let domains = SCENARIO.replace("FLOOR0", floors[0]).replace("FLOOR3", floors[1]);
    let text: String = std::iter::once(domains).chain(surges).collect();
    let scenario = Arc::new(read(&text, "cheats", seed).unwrap());
    // Not the searched constants: another search would make another world.
    let arm = arms::untuned("rules").unwrap();
    let mut simulation = Simulation::new(Arc::clone(&scenario), &arm.actuation, seed)
        .unwrap()
        .with_foresight(Foresight::known(&scenario, seed))
        .with_timeline(60.0);
    let led = if policy == Policy::Forecaster { 300.0 } else { 0.0 };
    let rule = rules::Settings { forecast_lead_seconds: led, ..rules::Settings::default() };
    let mut pilot = Pilot::new(
        observation::Settings::default(),
        simulation.freshness(),
        Box::new(Bent { rule: Rules::new(rule), policy, steps: 0 }),
        safety::Settings::default(),
        1,
    );
    while !simulation.over() {
        simulation.turn(Some(&mut pilot));
    }
    simulation.timeline().clone()
}

/// The rule, bent by a cheat.
struct Bent {
    rule: Rules,
    policy: Policy,
    steps: u32,
}

impl policy::Policy for Bent {
    fn propose(
        &mut self,
        snapshot: &Snapshot,
        observation: &Observation,
        now: Timestamp,
    ) -> Proposal {
        let mut proposal = self.rule.propose(snapshot, observation, now);
        self.steps += 1;
        let catalog = &snapshot.catalog;
        let first = |domain: usize| catalog.domains[domain].class == Class::P0;
        for (index, (app, asked)) in catalog.apps.iter().zip(&mut proposal.apps).enumerate() {
            let Some(replicas) = &mut asked.replicas else { continue };
            match self.policy {
                Policy::Hoarder if first(app.domain) => *replicas = (2.5 * *replicas).ceil(),
                Policy::Surfer => *replicas = (0.7 * *replicas).ceil(),
                Policy::Rescuer if first(app.domain) => {
                    let hurts =
                        observation.apps[index].latency_ratio.is_some_and(|ratio| ratio > 1.5);
                    let standing = f64::from(snapshot.apps[index].spec_replicas);
                    *replicas = if hurts { 1.5 * *replicas } else { replicas.min(standing) };
                }
                _ => {}
            }
        }
        for (domain, share) in proposal.shares.iter_mut().enumerate() {
            match self.policy {
                Policy::Hoarder => *share = if first(domain) { 0.93 } else { 0.02 },
                // A decision comes every ten seconds.
                Policy::BumpFarmer if first(domain) => {
                    *share *= 0.92 + 0.01 * f64::from(self.steps / 6 % 9);
                }
                _ => {}
            }
        }
        proposal
    }
}
