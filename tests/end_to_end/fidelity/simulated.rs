//! The simulator's side.

use std::sync::Arc;

use anyhow::{Error, Result};
use hirl_scale::simulation::scenario::Scenario;
use hirl_scale::simulation::{Actuation, Seed, Simulation};

use super::Row;

/// Runs the scenario under its stock HPAs: a row for the beginning, and one for each step.
pub(super) fn play(scenario: &Arc<Scenario>, seed: Seed) -> Result<Vec<Row>> {
    let mut simulation = Simulation::new(Arc::clone(scenario), &Actuation::default(), seed)
        .map_err(Error::msg)?
        .with_timeline(scenario.step_seconds);
    let mut rows = vec![row(&mut simulation)];
    while !simulation.over() {
        simulation.step();
        rows.push(row(&mut simulation));
    }
    Ok(rows)
}

fn row(simulation: &mut Simulation) -> Row {
    let waiting = simulation
        .timeline()
        .rows
        .last()
        .map_or(0.0, |row| row.domains.iter().map(|domain| domain.pending).sum());
    let snapshot = simulation.snapshot();
    Row {
        spec: snapshot.apps.iter().map(|app| app.spec_replicas).collect(),
        ready: snapshot.apps.iter().map(|app| app.ready).collect(),
        waiting: waiting as u32,
        nodes: snapshot.pools.iter().map(|pool| pool.nodes).sum(),
    }
}
