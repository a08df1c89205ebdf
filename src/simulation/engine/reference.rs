//! What was to be expected, the same for every policy: the yardstick of cascades and inversions,
//! which no policy can shape.

use crate::policy::budget::{self, Claim};
use crate::simulation::scenario::{EventSpec, Scenario};
use crate::simulation::{Seed, Traffic};

/// Time between two looks at the reference, in seconds.
const EVERY: f64 = 60.0;

/// Room above the expected demand in the reference budgets, and the share given to nobody: those
/// of the rule.
const HEADROOM: f64 = 0.2;
const RESERVE: f64 = 0.05;

/// The traffic that the calendar and the patterns promise, and the budgets that follow from it.
#[derive(Debug, Clone)]
pub(super) struct Reference {
    traffic: Traffic,
    apps: Vec<f64>,
    next: f64,
    /// Requests per second expected of each domain.
    pub rps: Vec<f64>,
    /// Share of the shared pools per domain.
    pub shares: Vec<f64>,
}

/// The scenario as its calendar has it: announced events when and as they are announced, and no
/// others.
fn as_announced(scenario: &Scenario) -> Scenario {
    let events = scenario.events.iter().filter_map(|event| {
        Some(EventSpec {
            start_seconds: event.announced_seconds?,
            factor: event.announced_factor.unwrap_or(event.factor),
            ..event.clone()
        })
    });
    Scenario { events: events.collect(), ..scenario.clone() }
}

/// Per app: the most replicas that its CPU target asks for under what is announced.
pub(super) fn announced_peaks(scenario: &Scenario, seed: Seed) -> Vec<f64> {
    let mut traffic = Traffic::new(&as_announced(scenario), seed);
    let mut rps = vec![0.0; scenario.apps.len()];
    let mut peaks = vec![0.0; scenario.apps.len()];
    for look in 0..=(scenario.duration_seconds / EVERY) as u32 {
        traffic.expected(f64::from(look) * EVERY, &mut rps);
        for ((app, rps), peak) in scenario.apps.iter().zip(&rps).zip(&mut peaks) {
            *peak = app.replicas_for(*rps).max(*peak);
        }
    }
    peaks
}

impl Reference {
    pub(super) fn new(scenario: &Scenario, seed: Seed) -> Self {
        Self {
            traffic: Traffic::new(&as_announced(scenario), seed),
            apps: vec![0.0; scenario.apps.len()],
            next: 0.0,
            rps: vec![0.0; scenario.domains.len()],
            shares: vec![0.0; scenario.domains.len()],
        }
    }

    /// What is expected at `now`; `cores` is the allocatable CPU of the shared pools.
    pub(super) fn look(&mut self, now: f64, scenario: &Scenario, domain_of: &[usize], cores: f64) {
        if now < self.next {
            return;
        }
        self.next = now + EVERY;
        self.traffic.expected(now, &mut self.apps);
        self.rps.fill(0.0);
        let mut claims: Vec<Claim> =
            scenario.domains.iter().map(|domain| Claim::of(&domain.to_domain())).collect();
        for ((app, domain), rps) in scenario.apps.iter().zip(domain_of).zip(&self.apps) {
            self.rps[*domain] += rps;
            let replicas = app.replicas_for(*rps).max(f64::from(app.hpa.min_replicas));
            claims[*domain].demand += replicas * app.cpu_request / cores.max(1e-9);
        }
        for claim in &mut claims {
            claim.headroom = claim.demand * HEADROOM;
        }
        self.shares = budget::divide(&claims, RESERVE);
    }
}
