//! `hirl forecast import` from a real Prometheus.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use axum::Router;
use axum::routing::get;
use hirl_scale::history::parquet;
use tokio_util::task::AbortOnDropHandle;

use crate::testbed::prometheus::Prometheus;
use crate::testbed::run;
use crate::testbed::scratch::Scratch;
use crate::testbed::wait::until;

const SOON: Duration = Duration::from_secs(30);

/// Minutes that are fed: an empty Prometheus takes samples of up to an hour ago.
const FED: i64 = 50;
/// Of these, the ones that are a gap.
const GAP: std::ops::Range<i64> = 20..31;

/// The requests per second of a fed minute.
fn rps(minute: i64) -> f32 {
    100.0 + minute as f32
}

/// Serves the fed minutes from `start` on, each with a sample in its middle.
async fn exporter(start: i64) -> Result<(SocketAddr, AbortOnDropHandle<()>)> {
    let known = (0..FED).filter(|minute| !GAP.contains(minute));
    let line = |minute: i64| {
        let millis = (start + minute) * 60_000 + 30_000;
        format!("fed_rps{{app=\"shop\"}} {} {millis}\n", rps(minute))
    };
    let text: String = known.map(line).collect();
    let router = Router::new().route("/metrics", get(async move || text.clone()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let served = tokio::spawn(async move {
        // It ends with the test.
        let _ = axum::serve(listener, router).await;
    });
    Ok((address, AbortOnDropHandle::new(served)))
}

/// Imports the shop and another domain by a query.
async fn import(url: &str, end: i64, out: &Path, other: &str) -> Result<Output> {
    let end = jiff::Timestamp::from_second(end * 60)?.to_string();
    let shop = "shop=last_over_time(fed_rps{app=\"shop\"}[1m])";
    let other = format!("other={other}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_hirl"));
    command.args(["forecast", "import", "--prometheus", url, "--days", "1", "--end", &end]);
    command.args(["--query", shop, "--query", &other, "--out"]).arg(out);
    tokio::task::spawn_blocking(move || command.output()).await?.context("running hirl")
}

#[test]
fn minutes_come_out_of_prometheus_as_they_went_in_and_a_second_call_goes_on() -> Result<()> {
    run(async {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs().cast_signed() / 60;
        let start = now - FED - 2;
        let (address, _served) = exporter(start).await?;
        let scratch = Scratch::create()?;
        let prometheus = Prometheus::start(&scratch, Duration::from_secs(1), address).await?;
        until("Prometheus to hold what is fed", SOON, async || {
            let count = prometheus.value("count_over_time(fed_rps[2h])").await?;
            ensure!(count == (FED - (GAP.end - GAP.start)) as f64, "{count} samples");
            Ok(())
        })
        .await?;

        // The second query is none: the shop is answered, and kept.
        let out = scratch.path().join("history.parquet");
        let end = start + FED;
        let broken = import(&prometheus.url(), end, &out, "sum(").await?;
        let said = String::from_utf8_lossy(&broken.stderr).into_owned();
        ensure!(!broken.status.success() && said.contains("what was answered is kept"), "{said}");
        ensure!(!out.exists(), "a history without one of its domains was written");

        let whole = import(&prometheus.url(), end, &out, "2 * last_over_time(fed_rps[1m])").await?;
        let said = String::from_utf8_lossy(&whole.stderr).into_owned();
        ensure!(whole.status.success(), "{said}");
        let last = said.lines().find(|line| line.contains("parts,")).context("no progress")?;
        // A day that does not end at midnight is two parts.
        let days = if end % 1440 == 0 { 1 } else { 2 };
        ensure!(said.contains(&format!("{days} of them from before")), "{last}");

        let history = parquet::read(&out)?.history;
        ensure!((history.start, history.end()) == (start, end), "{} minutes", history.minutes());
        for (series, times) in history.series.iter().zip([1.0, 2.0]) {
            for (minute, found) in (0..FED).zip(&series.rps) {
                let fed = (!GAP.contains(&minute)).then(|| times * rps(minute));
                let found = found.is_finite().then_some(*found);
                ensure!(found == fed, "{}, minute {minute}: {found:?}, not {fed:?}", series.name);
            }
        }
        ensure!(history.series.len() == 2, "{} series", history.series.len());
        Ok(())
    })
}
