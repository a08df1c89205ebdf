//! The simulator against the real control plane: one scenario through both, sync by sync.
//!
//! `tests/data/fidelity.yaml` runs through [`Simulation`] and through the testbed's HPA controller,
//! kube-scheduler and KWOK, 15 times faster than real, with the load twin offering the very same
//! requests. It takes three minutes, so only `HIRL_SCALE=1` (`make e2e-scale`) runs it; with
//! `HIRL_RECORD=1` as well, it writes its report to `tests/data/fidelity.md`.
//!
//! [`Simulation`]: hirl_scale::simulation::Simulation

mod cluster;
mod provisioner;
mod report;
mod simulated;

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use hirl_scale::simulation::Seed;
use hirl_scale::simulation::scenario::read;

use crate::testbed::run;

/// Scenario seconds in a second of the testbed.
const COMPRESSION: f64 = 15.0;

/// What stands at the end of a step, on either side.
#[derive(Debug, Clone, Default, PartialEq)]
struct Row {
    /// Per app: `spec.replicas`.
    spec: Vec<u32>,
    /// Per app: ready pods.
    ready: Vec<u32>,
    /// Pods that wait for a node, over all apps.
    waiting: u32,
    /// Ready nodes.
    nodes: u32,
}

#[test]
fn the_simulator_moves_as_the_real_controllers_do() -> Result<()> {
    if std::env::var_os("HIRL_SCALE").is_none() {
        return Ok(());
    }
    run(async {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
        let text = std::fs::read_to_string(folder.join("fidelity.yaml"))?;
        let seed = Seed::root(1);
        let scenario = Arc::new(read(&text, "fidelity.yaml", seed)?);
        let simulated = simulated::play(&scenario, seed)?;
        let real = Box::pin(cluster::play(&scenario, seed)).await?;
        let comparison = report::Comparison::new(&scenario, &simulated, &real);
        let report = comparison.report();
        println!("{report}");
        if std::env::var_os("HIRL_RECORD").is_some() {
            std::fs::write(folder.join("fidelity.md"), &report).context("writing the report")?;
        }
        // Less than an idle machine gives: see the report for what was seen.
        let agreement = comparison.agreement();
        ensure!(agreement >= 0.8, "only {agreement:.3} of all syncs agree");
        Ok(())
    })
}
