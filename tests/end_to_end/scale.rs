//! Many HPAs against the real controller: 200 in the default run, with the controller's second as
//! its period; 1,550 at real time with `HIRL_SCALE=1` (`make e2e-scale`), once with raised flags
//! and once with the controller's defaults.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::stage::{Stage, V};
use crate::testbed::control_plane::Controllers;
use crate::testbed::objects::{self, Autoscaler, Workload};
use crate::testbed::twin::traffic::Traffic;
use crate::testbed::twin::{App, Gauge};
use crate::testbed::wait::until;
use crate::testbed::{Options, run};

/// Namespaces that the apps are spread over: one a domain's worth.
const NAMESPACES: usize = 5;

fn full_size() -> bool {
    std::env::var_os("HIRL_SCALE").is_some()
}

struct Seen {
    /// Seconds between two reads of one HPA, sorted.
    intervals: Vec<f64>,
    /// Reads per second over the watched span.
    rate: f64,
    errors: f64,
    /// Share of reads answered within 5 ms by us.
    fast: f64,
    memory_mib: f64,
}

/// Runs `count` HPAs for `span` under `controllers` and says what was seen.
async fn trial(controllers: Controllers, count: usize, span: Duration) -> Result<Seen> {
    let mut options = Options::default();
    options.plane.controllers = Some(controllers);
    let mut stage = Stage::start(options).await?;
    let client = stage.plane().client();
    let name = |index: usize| (format!("scale-{}", index % NAMESPACES), format!("app-{index}"));
    for index in 0..NAMESPACES {
        stage.namespace(&name(index).0, &[]).await?;
    }
    let (mut deployments, mut hpas) = (Vec::new(), Vec::new());
    for index in 0..count {
        let (namespace, app) = name(index);
        stage.testbed.twin.add(App::web(&namespace, &app, Traffic::Constant(20.0)));
        stage.testbed.twin.pin(&namespace, &app, Gauge::P99, 0.05)?;
        stage.testbed.twin.pin(&namespace, &app, Gauge::ErrorRatio, 0.0)?;
        stage.want(&namespace, &app, 1)?;
        deployments.push(Workload::small(&namespace, &app).deployment()?);
        hpas.push(Autoscaler::following(&namespace, &app, 1, 10).object()?);
    }
    objects::create_all(&client, deployments).await?;
    objects::create_all(&client, hpas).await?;
    until("every app to have its number", Duration::from_mins(5), async || {
        let known = stage.metric("hirl_apps{domain=\"default\",name=\"policy\"}").await?;
        ensure!(known == Some(count as f64), "{known:?} of {count}");
        Ok(())
    })
    .await?;

    let answered = "hirl_external_metrics_requests_total{code=\"200\"";
    let before = stage.metric(answered).await?.unwrap_or_default();
    let failed_before = failures(&stage).await?;
    let started = Instant::now();
    // The span is what is measured, so here time itself is waited for.
    tokio::time::sleep(span).await;
    let reads = stage.metric(answered).await?.unwrap_or_default() - before;
    let rate = reads / started.elapsed().as_secs_f64();
    let errors = failures(&stage).await? - failed_before;
    let series = "hirl_external_metrics_request_duration_seconds";
    let fast =
        stage.metric(&format!("{series}_bucket{{le=\"0.005\"}}")).await?.context("no histogram")?;
    let all = stage.metric(&format!("{series}_count")).await?.context("no histogram")?;

    let mut intervals = Vec::new();
    for index in 0..NAMESPACES {
        let path = format!("{V}/namespaces/{}/hirl-hpa-read-interval", name(index).0);
        let list = stage.admin()?.get(&path, &[]).await?.json()?;
        for item in list["items"].as_array().context("no intervals")? {
            let value = item["value"].as_str().context("no value")?;
            intervals.push(hirl_scale::cluster::quantity::parse(value)?);
        }
    }
    intervals.sort_by(f64::total_cmp);
    let memory_mib = stage.hirl.process().memory_mib("VmRSS")?;
    Ok(Seen { intervals, rate, errors, fast: fast / all, memory_mib })
}

/// Reads that were not answered with 200.
async fn failures(stage: &Stage) -> Result<f64> {
    let mut failures = 0.0;
    for code in [400, 401, 403, 404, 500, 503, 504] {
        let series = format!("hirl_external_metrics_requests_total{{code=\"{code}\"");
        failures += stage.metric(&series).await?.unwrap_or_default();
    }
    Ok(failures)
}

#[expect(clippy::print_stdout, reason = "figures, with --nocapture")]
fn print(title: &str, seen: &Seen) {
    let at = |share: f64| {
        let index = (seen.intervals.len() as f64 * share) as usize;
        seen.intervals
            .get(index.min(seen.intervals.len().saturating_sub(1)))
            .copied()
            .unwrap_or(f64::NAN)
    };
    println!(
        "{title}: {} HPAs, {:.1} reads/s, interval p50 {:.2} s, p99 {:.2} s, max {:.2} s; {} errors; \
         {:.2} % of reads within 5 ms; {:.0} MiB resident",
        seen.intervals.len(),
        seen.rate,
        at(0.5),
        at(0.99),
        at(1.0),
        seen.errors,
        seen.fast * 100.0,
        seen.memory_mib,
    );
}

#[test]
fn scale_hundreds_of_hpas_are_read_without_an_error() -> Result<()> {
    run(async {
        let seen = trial(Controllers::default(), 200, Duration::from_secs(20)).await?;
        print("compressed, 1 s period", &seen);
        ensure!(seen.errors == 0.0, "{} reads failed", seen.errors);
        ensure!(seen.intervals.len() == 200, "{} of 200 HPAs were read", seen.intervals.len());
        Ok(())
    })
}

#[test]
fn scale_1550_hpas_at_real_time() -> Result<()> {
    if !full_size() {
        println!("skipped: takes a quarter of an hour; `make e2e-scale` runs it");
        return Ok(());
    }
    run(async {
        let raised =
            Controllers { concurrent_syncs: 25, qps: 400.0, burst: 800, ..Controllers::stock() };
        let seen = trial(raised, 1550, Duration::from_secs(150)).await?;
        print("25 workers, 400/800 QPS", &seen);
        ensure!(seen.errors == 0.0, "{} reads failed", seen.errors);
        ensure!(seen.intervals.len() == 1550, "{} of 1550 HPAs were read", seen.intervals.len());
        let seen = trial(Controllers::stock(), 1550, Duration::from_mins(4)).await?;
        print("default flags", &seen);
        ensure!(seen.errors == 0.0, "{} reads failed", seen.errors);
        Ok(())
    })
}
