//! The simulator: one thread, the whole cluster at rest (built-in scenario `steady`), and clusters
//! of other sizes made from it.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, ensure};
use hirl_scale::simulation::Seed;
use hirl_scale::simulation::arms;
use hirl_scale::simulation::scenario::{Document, Scenario, builtin};

use crate::APPS;
use crate::ledger::resident_mib;
use crate::report::{Report, median};

/// Simulated time of one run, in seconds.
const HOUR: f64 = 3600.0;
/// Runs of each figure.
const RUNS: usize = 3;
/// Clusters of the linear fit, in apps.
const SIZES: [u32; 5] = [100, 300, 1_000, 3_000, 10_000];

/// Speed with and without a policy, the policy's part, memory, and how the cost grows with apps.
pub(crate) fn run(report: &mut Report) -> Result<()> {
    report.title("Simulator: steady, 1,550 apps, about 100,000 pods, five domains, one thread");
    let scenario = sized(APPS as u32, 24.0 * HOUR)?;
    let (mut plain, mut ruled, mut decisions) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        plain.push(run_once(&scenario, "hpa", HOUR)?.total);
        let spent = run_once(&scenario, "rules", HOUR)?;
        ruled.push(spent.total);
        decisions.push(spent.deciding);
    }
    let speed = |seconds: &[f64]| HOUR / median(seconds);
    let steps = HOUR / scenario.step_seconds;
    report.figure("stock HPAs, times real time", speed(&plain), "x", Some(">= 100000 x"))?;
    report.figure("rules, times real time", speed(&ruled), "x", Some(">= 50000 x"))?;
    let each = median(&decisions) / steps * 1e3;
    report.figure("snapshot and decide of rules, per step", each, "ms", Some("<= 0.1 ms"))?;
    let memory = run_once(&scenario, "rules", HOUR)?.resident_mib;
    report.figure(
        "memory of the process with one run (VmRSS)",
        memory,
        "MiB",
        Some("<= 200 MiB"),
    )?;
    growth(report)
}

/// Fits cost per step = fixed + per app x apps, by least squares.
fn growth(report: &mut Report) -> Result<()> {
    let mut points = Vec::new();
    for apps in SIZES {
        let scenario = sized(apps, HOUR)?;
        let spans: Vec<f64> = (0..RUNS)
            .map(|_| Ok(run_once(&scenario, "hpa", HOUR / 4.0)?.total))
            .collect::<Result<_>>()?;
        let step = median(&spans) / (HOUR / 4.0 / scenario.step_seconds) * 1e6;
        report.figure(&format!("one step, {apps} apps"), step, "us", None)?;
        points.push((f64::from(apps), step));
    }
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (mean_x, mean_y) = (mean(|point| point.0), mean(|point| point.1));
    let sum = |of: &dyn Fn(f64, f64) -> f64| -> f64 {
        points.iter().map(|(x, y)| of(x - mean_x, y - mean_y)).sum()
    };
    let (xx, xy, yy) = (sum(&|x, _| x * x), sum(&|x, y| x * y), sum(&|_, y| y * y));
    report.figure("cost of one more app per step", xy / xx * 1e3, "ns", None)?;
    report.figure("share of the variance that a line explains", xy * xy / (xx * yy), "", None)
}

/// What one run took, in seconds.
struct Spent {
    total: f64,
    deciding: f64,
    /// Memory of the process at the end, with the cluster in it.
    resident_mib: f64,
}

/// Runs `seconds` of a scenario under a policy.
fn run_once(scenario: &Arc<Scenario>, policy: &str, seconds: f64) -> Result<Spent> {
    let Some(arm) = arms::arm(policy) else { anyhow::bail!("there is no policy {policy}") };
    let seed = Seed::root(1);
    let mut simulation = arm.simulation(scenario, seed, None).map_err(anyhow::Error::msg)?;
    let mut pilot = arm.pilot(&simulation, scenario, seed);
    let (begun, mut deciding) = (Instant::now(), 0.0);
    while simulation.seconds() < seconds {
        if let Some(pilot) = &mut pilot {
            let now = simulation.now();
            let asked = Instant::now();
            let decision = pilot.decide(simulation.snapshot(), now);
            deciding += asked.elapsed().as_secs_f64();
            simulation.publish(&decision);
        }
        simulation.step();
    }
    let total = begun.elapsed().as_secs_f64();
    ensure!(simulation.audit().is_ok(), "the state does not add up after the run");
    Ok(Spent { total, deciding, resident_mib: resident_mib()? })
}

/// `steady` with about this many apps: groups, traffic and nodes in proportion.
fn sized(apps: u32, seconds: f64) -> Result<Arc<Scenario>> {
    let text = builtin::text("steady").unwrap_or_default();
    let mut document = Document::parse(text, "steady")?;
    let part = f64::from(apps) / APPS as f64;
    let times = |count: u32| (f64::from(count) * part).round().max(1.0) as u32;
    for group in &mut document.apps {
        group.value.count = group.value.count.map(times);
        group.value.total_rps = group.value.total_rps.map(|rps| rps * part);
    }
    for pool in &mut document.pools {
        let pool = &mut pool.value;
        (pool.nodes, pool.min_nodes, pool.max_nodes) =
            (times(pool.nodes), times(pool.min_nodes), times(pool.max_nodes));
    }
    document.duration_seconds = seconds;
    Ok(Arc::new(document.expand("steady", Seed::root(1))?))
}
