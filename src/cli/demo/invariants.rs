//! What must hold whatever the scenario and the policy, beside what [`Simulation::audit`] counts.
//!
//! [`Simulation::audit`]: crate::simulation::Simulation::audit

use std::sync::Arc;

use crate::cluster::{App, AppState, Snapshot};
use crate::safety::{self, Decision};
use crate::simulation::counts::AppTick;
use crate::simulation::scenario::Scenario;

/// Room for rounding in sums of cores.
const ROUNDING: f64 = 1e-3;

/// What a domain may use at most, as a multiple of its budget.
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

/// Whether budgets hold when pods are placed. Judged by the apps that may only go to shared pools:
/// what others use there is not known from outside.
#[derive(Debug)]
pub(super) struct Budgets {
    shared: Vec<bool>,
    /// Cores that the pods of each domain requested after the last step.
    standing: Option<Vec<f64>>,
}

impl Budgets {
    /// Of a cluster at its beginning.
    pub(super) fn new(scenario: &Arc<Scenario>) -> Self {
        let is_shared =
            |name: &String| scenario.pools.iter().any(|pool| pool.name == *name && pool.shared);
        let shared = scenario.apps.iter().map(|app| app.pools.iter().all(is_shared)).collect();
        Self { shared, standing: None }
    }

    /// A step was made under `decision`, with at most so many shared `cores`: no domain has grown
    /// beyond its budget and the band.
    pub(super) fn stepped(
        &mut self,
        decision: &Decision,
        cores: f64,
        apps: &[AppTick],
    ) -> Result<(), String> {
        let mut requested = vec![0.0; decision.domains.len()];
        for (app, _) in apps.iter().zip(&self.shared).filter(|(_, shared)| **shared) {
            requested[app.domain] += app.requested_cores;
        }
        for (index, domain) in decision.catalog.domains.iter().enumerate() {
            let limit = decision.domains[index].share * cores * band();
            let before = self.standing.as_ref().map_or(f64::INFINITY, |before| before[index]);
            if requested[index] > limit.max(before) + ROUNDING {
                return Err(format!(
                    "{} grew from {before:.1} to {:.1} cores, beyond its limit of {limit:.1}",
                    domain.name, requested[index]
                ));
            }
        }
        self.standing = Some(requested);
        Ok(())
    }
}
