//! The simulator against the real control plane: one scenario through both, sync by sync.
//!
//! `tests/data/fidelity.yaml` runs through [`Simulation`] and through the testbed's HPA controller,
//! kube-scheduler and KWOK, 15 times faster than real, with the load twin offering the very same
//! requests. It takes three minutes, so only `HIRL_SCALE=1` (`make e2e-scale`) runs it; with
//! `HIRL_RECORD=1` as well, it writes its report to `tests/data/fidelity.md`.
//!
//! [`Simulation`]: hirl_scale::simulation::Simulation

mod report;
mod simulated;

use anyhow::{Result, ensure};
use hirl_scale::simulation::Seed;

use crate::scenarios::{self, Dress, Played, Row, plane, twin_options};
use crate::testbed::control_plane::ControlPlane;
use crate::testbed::run;
use crate::testbed::twin::Twin;

#[test]
fn the_simulator_moves_as_the_real_controllers_do() -> Result<()> {
    if std::env::var_os("HIRL_SCALE").is_none() {
        return Ok(());
    }
    run(async {
        let seed = Seed::root(1);
        let scenario = scenarios::read("fidelity.yaml", seed)?;
        let simulated = simulated::play(&scenario, seed)?;
        let plane = Box::pin(ControlPlane::start(plane(&scenario))).await?;
        let twin = Box::pin(Twin::start(&plane, twin_options(&scenario))).await?;
        let played = (&scenario, seed);
        let played = Played::begin(plane.client(), &twin, played, Dress::default()).await?;
        played.stock_hpas().await?;
        let real = Box::pin(played.play(|_, _| Ok(()))).await?;
        let comparison = report::Comparison::new(&scenario, &simulated, &real);
        let report = comparison.report();
        println!("{report}");
        scenarios::keep("fidelity.md", &report)?;
        // Less than an idle machine gives: see the report for what was seen.
        let agreement = comparison.agreement();
        ensure!(agreement >= 0.8, "only {agreement:.3} of all syncs agree");
        Ok(())
    })
}
