//! What must hold whatever the scenario and the policy, beside what [`Simulation::audit`] counts.
//!
//! [`Simulation::audit`]: crate::simulation::Simulation::audit

use std::sync::Arc;

use crate::cluster::{App, AppState, Snapshot};
use crate::safety::{self, Decision};
use crate::simulation::counts::AppTick;
use crate::simulation::scenario::{PoolSpec, Provisioner, Scenario};

/// Room for rounding in sums of cores.
const ROUNDING: f64 = 1e-3;

/// What may be published for a domain at most, as a multiple of its budget.
fn band() -> f64 {
    1.0 + safety::Settings::default().emergency_band
}

/// `decision` was made about `snapshot`: every number is one, within its bounds and its budget.
pub(super) fn published(snapshot: &Snapshot, decision: &Decision) -> Result<(), String> {
    let catalog = &decision.catalog;
    let mut standing = vec![0.0; catalog.domains.len()];
    for ((app, state), decided) in catalog.apps.iter().zip(&snapshot.apps).zip(&decision.apps) {
        within_bounds(app, state, decided.replicas)?;
        let kept = state.spec_replicas.max(app.min_replicas);
        standing[app.domain] += f64::from(kept) * state.cpu_request;
    }
    for ((domain, decided), standing) in catalog.domains.iter().zip(&decision.domains).zip(standing)
    {
        let budget = decided.budget_cores.unwrap_or(f64::INFINITY);
        if decided.share.is_nan() || budget.is_nan() || decided.used_cores.is_nan() {
            return Err(format!("the budget of {} is no number: {decided:?}", domain.name));
        }
        let floor = domain.floor_share * snapshot.shared_cpu();
        if budget < floor - ROUNDING {
            return Err(format!(
                "the budget of {} is {budget:.1} cores, below its floor of {floor:.1}",
                domain.name
            ));
        }
        // A smaller budget stops growth; it takes nothing away that stands.
        if decided.used_cores > (budget * band()).max(standing) + ROUNDING {
            return Err(format!(
                "{:.1} cores were published for {}, which stands at {standing:.1} and has a budget of {budget:.1}",
                decided.used_cores, domain.name
            ));
        }
    }
    Ok(())
}

/// What stands outside the bounds of its HPA may be led back to them in steps.
fn within_bounds(app: &App, state: &AppState, replicas: Option<u32>) -> Result<(), String> {
    let lowest = app.min_replicas.min(state.spec_replicas);
    let highest = app.max_replicas.max(state.spec_replicas);
    match replicas {
        Some(replicas) if !(lowest..=highest).contains(&replicas) => Err(format!(
            "{replicas} replicas were published for {}, which may have {} to {}",
            app.id, app.min_replicas, app.max_replicas
        )),
        _ => Ok(()),
    }
}

/// Whether room is left when pods are placed. Judged by the apps that may only go to shared pools:
/// what others use there is not known from outside.
#[derive(Debug)]
pub(super) struct Rooms {
    shared: Vec<bool>,
    /// Cores that the shared pools can grow to.
    growth: f64,
    /// Cores that the pods of each domain requested after the last step.
    standing: Option<Vec<f64>>,
}

impl Rooms {
    /// Of a cluster at its beginning.
    pub(super) fn new(scenario: &Arc<Scenario>) -> Self {
        let pools = || scenario.pools.iter().filter(|pool| pool.shared);
        let is_shared = |name: &String| pools().any(|pool| pool.name == *name);
        let shared = scenario.apps.iter().map(|app| app.pools.iter().all(is_shared)).collect();
        Self { shared, growth: pools().map(at_the_most).sum(), standing: None }
    }

    /// A step was made under `decision`, with at most so many shared `cores`. A domain that grew
    /// beyond its floor left room: with it, the domains of its class and above and what lower ones
    /// hold within their floors are no more than the shared pools can grow to. The reserve is not
    /// counted: a higher class may have gone into it in the same step.
    pub(super) fn stepped(
        &mut self,
        decision: &Decision,
        cores: f64,
        apps: &[AppTick],
    ) -> Result<(), String> {
        let domains = &decision.catalog.domains;
        let mut requested = vec![0.0; domains.len()];
        for (app, _) in apps.iter().zip(&self.shared).filter(|(_, shared)| **shared) {
            requested[app.domain] += app.requested_cores;
        }
        for (index, domain) in domains.iter().enumerate() {
            let own = requested[index];
            let before = self.standing.as_ref().map_or(f64::INFINITY, |before| before[index]);
            if own <= before.max(domain.floor_share * cores) + ROUNDING {
                continue;
            }
            let each = domains.iter().zip(&requested);
            let taken: f64 = each
                .map(|(other, used)| {
                    let is_lower = other.class > domain.class;
                    if is_lower { used.min(other.floor_share * cores) } else { *used }
                })
                .sum();
            if taken > self.growth + ROUNDING {
                return Err(format!(
                    "{} grew from {before:.1} to {own:.1} cores, which with its class, higher ones and floors is {taken:.1}, and the shared pools can grow to {:.1}",
                    domain.name, self.growth
                ));
            }
        }
        self.standing = Some(requested);
        Ok(())
    }
}

/// Cores that a pool has when it has grown as far as it may.
fn at_the_most(pool: &PoolSpec) -> f64 {
    let nodes = match pool.provisioner {
        Provisioner::Fixed => pool.nodes,
        Provisioner::Batching | Provisioner::Scanning => pool.max_nodes.max(pool.nodes),
    };
    f64::from(nodes) * pool.node_cpu
}
