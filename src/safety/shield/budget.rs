//! The budgets: how much of what the apps of a domain would add fits into its share.

use super::{Case, Settings};
use crate::cluster::{Declaration, Snapshot, Timestamp};
use crate::observation::Observation;
use crate::policy::Reason;
use crate::safety::shares::Divisions;
use crate::safety::{AppDecision, DomainDecision, Rung};

/// What the apps of one domain ask of its budget.
#[derive(Debug)]
pub(super) struct Load {
    /// Index of the domain.
    domain: usize,
    /// Cores of what stands and stays.
    standing: f64,
    /// Cores of the lower bounds.
    minimum: f64,
    /// What would be added to that.
    pub(super) growing: Vec<Growth>,
    /// Apps on each rung, ...
    rungs: [u32; Rung::ALL.len()],
    /// ... and those refused.
    refused: u32,
}

impl Load {
    /// The load of a domain without apps.
    pub(super) fn new(domain: usize) -> Self {
        let rungs = [0; Rung::ALL.len()];
        Self { domain, standing: 0.0, minimum: 0.0, growing: Vec::new(), rungs, refused: 0 }
    }

    /// Cores of what stands and stays.
    pub(super) fn standing(&self) -> f64 {
        self.standing
    }

    /// Adds an app; whether it grows.
    pub(super) fn add(&mut self, index: usize, case: &Case<'_>, decided: &AppDecision) -> bool {
        let (app, state) = (case.app, case.state);
        if app.refusal.is_some() {
            self.refused += 1;
        } else {
            self.rungs[decided.rung as usize] += 1;
        }
        let wanted = decided.replicas.unwrap_or(state.spec_replicas);
        let free = state.spec_replicas.max(app.min_replicas).min(wanted);
        self.standing += f64::from(free) * state.cpu_request;
        self.minimum += f64::from(app.min_replicas) * state.cpu_request;
        let grows = wanted > free && state.cpu_request > 0.0;
        if grows {
            let seen = case.seen;
            let risk = seen
                .latency_ratio
                .unwrap_or(0.0)
                .max(seen.utilisation.unwrap_or(0.0) / app.target_cpu);
            let cost = state.cpu_request;
            self.growing.push(Growth { index, from: free, to: wanted, cost, risk });
        }
        grows
    }

    /// Cuts the scale-ups of one domain to its budget. What stands already, scale-downs and lower
    /// bounds are never cut: a smaller budget stops growth, it does not kill.
    pub(super) fn hold_budget(
        &self,
        settings: &Settings,
        snapshot: &Snapshot,
        observation: &Observation,
        divisions: &Divisions,
        apps: &mut [AppDecision],
        now: Timestamp,
    ) -> DomainDecision {
        let domain = self.domain;
        let seen = &observation.domains[domain];
        let shared = snapshot.pools.iter().filter(|pool| pool.shared);
        let budget = shared.map(|pool| divisions.of(domain, &pool.name) * pool.cpu).sum::<f64>();
        // Within its floor every pod is entitled to its place, whatever its share says.
        let floor = snapshot.catalog.domains[domain].floor_share * snapshot.shared_cpu();
        let budget = budget.max(floor);
        let budget = (snapshot.shared_cpu() > 0.0).then_some(budget);
        let in_breach = seen.breaching_share > settings.breach_share;
        let declared = &snapshot.catalog.domains[domain];
        let until = |declaration: Option<&Declaration>| {
            declaration.filter(|it| it.holds(now)).map(|it| it.until)
        };
        let emergency_until = until(declared.emergency.as_ref());
        let band = if in_breach || emergency_until.is_some() {
            1.0 + settings.emergency_band
        } else {
            1.0
        };
        let growing = &self.growing;
        let mut used = self.standing + growing.iter().map(Growth::cores).sum::<f64>();
        if let Some(budget) = budget
            && used > budget
        {
            let granted = project(growing, budget * band - self.standing);
            for (growth, granted) in growing.iter().zip(granted) {
                let decided = &mut apps[growth.index];
                decided.replicas = Some(growth.from + granted);
                let cut = growth.from + granted < growth.to;
                decided.reasons.add(if cut { Reason::Budget } else { Reason::Emergency });
                used -= f64::from(growth.to - growth.from - granted) * growth.cost;
            }
        }
        DomainDecision {
            share: divisions.common.shares[domain],
            pool_shares: divisions
                .pools
                .iter()
                .map(|(pool, division)| (pool.clone(), division.shares[domain]))
                .collect(),
            by_hand: until(declared.budget_by_hand.as_ref().map(|set| &set.declaration)),
            emergency_until,
            budget_cores: budget,
            used_cores: used,
            shortage_cores: budget.map_or(0.0, |budget| (self.minimum - budget).max(0.0)),
            in_breach,
            rungs: self.rungs,
            refused: self.refused,
            rejected_share: seen.rejected_share,
        }
    }
}

/// A scale-up that the budget must carry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Growth {
    pub(super) index: usize,
    pub(super) from: u32,
    pub(super) to: u32,
    /// Cores per replica.
    pub(super) cost: f64,
    /// How near the app is to breaking its promise.
    pub(super) risk: f64,
}

impl Growth {
    fn cores(&self) -> f64 {
        f64::from(self.to - self.from) * self.cost
    }
}

/// Pods granted to each growth so that their cores fit into `free`: everybody the same part of
/// what was asked for, rounded down, and what is left pod by pod to the apps at most risk.
pub(super) fn project(growing: &[Growth], free: f64) -> Vec<u32> {
    let asked: f64 = growing.iter().map(Growth::cores).sum();
    if asked <= free {
        return growing.iter().map(|growth| growth.to - growth.from).collect();
    }
    let part = (free.max(0.0) / asked).clamp(0.0, 1.0);
    let mut granted: Vec<u32> =
        growing.iter().map(|growth| (f64::from(growth.to - growth.from) * part) as u32).collect();
    let mut left = free
        - growing
            .iter()
            .zip(&granted)
            .map(|(growth, pods)| f64::from(*pods) * growth.cost)
            .sum::<f64>();
    let mut order: Vec<usize> = (0..growing.len()).collect();
    order.sort_by(|&a, &b| growing[b].risk.total_cmp(&growing[a].risk).then(a.cmp(&b)));
    for index in order {
        let growth = &growing[index];
        let more = ((left / growth.cost + 1e-9).max(0.0) as u32)
            .min(growth.to - growth.from - granted[index]);
        granted[index] += more;
        left -= f64::from(more) * growth.cost;
    }
    granted
}
