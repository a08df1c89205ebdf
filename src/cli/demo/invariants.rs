//! What must hold at every step of a simulated cluster, whatever the scenario and the policy.

use std::sync::Arc;

use crate::cluster::{App, AppState, Snapshot};
use crate::safety::{self, Decision};
use crate::simulation::scenario::Scenario;
use crate::simulation::{Row, Simulation};

/// Room for rounding in sums of cores.
const ROUNDING: f64 = 1e-6;

/// The invariants of one cluster, with what they remember from step to step.
#[derive(Debug)]
pub(super) struct Invariants {
    scenario: Arc<Scenario>,
    /// Whether budgets hold when pods are placed. Not judged where some pools are not shared: a
    /// row counts a domain's pods over all pools.
    budgets: bool,
    band: f64,
    before: Option<Row>,
    /// Shares in force, per domain.
    shares: Vec<f64>,
    /// CPU of the shared pools when they were published, in cores.
    capacity: f64,
    /// The most that each domain was allowed since `before`, in cores.
    allowed: Vec<f64>,
}

impl Invariants {
    /// Of a cluster at its beginning.
    pub(super) fn new(scenario: &Arc<Scenario>, budgets: bool) -> Self {
        Self {
            budgets: budgets && scenario.pools.iter().all(|pool| pool.shared),
            band: 1.0 + safety::Settings::default().emergency_band,
            before: None,
            shares: vec![0.0; scenario.domains.len()],
            capacity: 0.0,
            allowed: vec![0.0; scenario.domains.len()],
            scenario: Arc::clone(scenario),
        }
    }

    /// `decision` was made about `snapshot`: every number is one, and within its bounds.
    pub(super) fn published(
        &mut self,
        snapshot: &Snapshot,
        decision: &Decision,
    ) -> Result<(), String> {
        for ((app, state), decided) in
            decision.catalog.apps.iter().zip(&snapshot.apps).zip(&decision.apps)
        {
            within_bounds(app, state, decided.replicas)?;
        }
        let domains = decision.catalog.domains.iter().zip(&decision.domains);
        for (index, (domain, decided)) in domains.enumerate() {
            let budget = decided.budget_cores.unwrap_or(f64::INFINITY);
            if decided.share.is_nan() || budget.is_nan() || decided.used_cores.is_nan() {
                return Err(format!("the budget of {} is no number: {decided:?}", domain.name));
            }
            let members = decision.catalog.apps.iter().zip(&snapshot.apps);
            let standing: f64 = members
                .filter(|(app, _)| app.domain == index)
                .map(|(app, state)| {
                    f64::from(state.spec_replicas.max(app.min_replicas)) * state.cpu_request
                })
                .sum();
            if decided.used_cores > (budget * self.band).max(standing) + ROUNDING {
                return Err(format!(
                    "{:.1} cores were published for {}, which stands at {standing:.1} and has a budget of {budget:.1}",
                    decided.used_cores, domain.name
                ));
            }
            self.shares[index] = decided.share;
        }
        self.capacity = snapshot.shared_cpu();
        Ok(())
    }

    /// A step was made: no pod and no node came from nowhere, and no budget is exceeded.
    pub(super) fn stepped(&mut self, simulation: &mut Simulation) -> Result<(), String> {
        let snapshot = simulation.snapshot();
        let apps = snapshot.catalog.apps.iter().zip(&snapshot.apps);
        for (app, state) in apps {
            if state.ready + state.pending != state.status_replicas {
                return Err(format!(
                    "{} has {} pods, of which {} are ready and {} are not",
                    app.id, state.status_replicas, state.ready, state.pending
                ));
            }
        }
        let capacity = self.capacity.max(snapshot.shared_cpu());
        for (allowed, share) in self.allowed.iter_mut().zip(&self.shares) {
            *allowed = allowed.max(share * capacity * self.band);
        }
        let row = simulation.timeline().rows.last();
        let Some(row) = row.filter(|row| self.before.as_ref().is_none_or(|it| it.at < row.at))
        else {
            return Ok(());
        };
        self.judge(row)?;
        self.before = Some(row.clone());
        self.allowed.fill(0.0);
        Ok(())
    }

    /// A new row of the timeline, against the one before.
    fn judge(&self, row: &Row) -> Result<(), String> {
        for (index, (domain, is)) in self.scenario.domains.iter().zip(&row.domains).enumerate() {
            let name = &domain.name;
            let numbers = [
                is.rps,
                is.arrived,
                is.ready,
                is.starting,
                is.pending,
                is.asked,
                is.requested_cores,
                is.used_cores,
                is.p99_ratio,
                is.error_ratio,
            ];
            if numbers.iter().any(|number| !number.is_finite() || *number < 0.0) {
                return Err(format!("a number of {name} is negative or none: {is:?}"));
            }
            if is.ready + is.starting + is.pending != is.asked {
                return Err(format!(
                    "{name} was asked for {} pods; {} are ready, {} start and {} wait",
                    is.asked, is.ready, is.starting, is.pending
                ));
            }
            let before = self.before.as_ref().map(|before| &before.domains[index]);
            let most = before.map(|before| before.requested_cores.max(self.allowed[index]));
            if let Some(most) =
                most.filter(|most| self.budgets && is.requested_cores > most + ROUNDING)
            {
                return Err(format!(
                    "{name} grew to {:.1} cores and may have {most:.1}",
                    is.requested_cores
                ));
            }
        }
        let Some(before) = &self.before else { return Ok(()) };
        for ((pool, was), is) in self.scenario.pools.iter().zip(&before.pools).zip(&row.pools) {
            if was.paid + is.asked - is.removed != is.paid {
                return Err(format!(
                    "pool {} had {} nodes, got {}, lost {} and now has {}",
                    pool.name, was.paid, is.asked, is.removed, is.paid
                ));
            }
        }
        Ok(())
    }
}

/// A number that is published lies within the bounds of the HPA; what stands outside of them may
/// be led back in steps.
fn within_bounds(app: &App, state: &AppState, replicas: Option<u32>) -> Result<(), String> {
    let (lowest, highest) =
        (app.min_replicas.min(state.spec_replicas), app.max_replicas.max(state.spec_replicas));
    match replicas {
        Some(replicas) if !(lowest..=highest).contains(&replicas) => Err(format!(
            "{replicas} replicas were published for {}, which may have {} to {}",
            app.id, app.min_replicas, app.max_replicas
        )),
        _ => Ok(()),
    }
}
