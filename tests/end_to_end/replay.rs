//! A recorded series drives the loop: real traffic through the twin, Prometheus, the rule as it
//! ships and a stock HPA. Skips, saying so, where no recording is there.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::stage::{SOON, Stage, compressed};
use crate::testbed::objects::{self, Autoscaler, Workload};
use crate::testbed::twin::App;
use crate::testbed::twin::traffic::{Replay, Trace, Traffic};
use crate::testbed::wait::{throughout, until};
use crate::testbed::{Options, run};

/// A recording: of `TRACE`, or the World Cup's requests per minute beside the checkout.
fn recording() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../shared/data/worldcup98/requests_per_minute.csv.gz");
    let given = std::env::var_os("TRACE").map(PathBuf::from);
    given.or(Some(beside)).filter(|path| path.is_file())
}

/// Seconds of recording per second of the clock.
const SPEED: f64 = 240.0;
/// How long is played, by the clock.
const SPAN: Duration = Duration::from_mins(1);

/// When the recording has its highest minute, in seconds from its beginning.
fn busiest(trace: &Trace) -> f64 {
    let minutes = (0..(trace.length() / 60.0) as u32).map(|minute| 60.0 * f64::from(minute));
    let known = minutes.filter_map(|at| Some((at, trace.at(at)?)));
    known.max_by(|(_, one), (_, other)| one.total_cmp(other)).map_or(0.0, |(at, _)| at)
}

#[test]
fn a_recorded_peak_is_followed_and_every_move_was_ours() -> Result<()> {
    let Some(path) = recording() else {
        println!("skipped: no recording at ../shared/data, and TRACE is not set");
        return Ok(());
    };
    run(async {
        let mut options = Options::default();
        options.twin.speed = SPEED;
        let stage = Stage::start_with(options, compressed).await?;
        let client = stage.plane().client();
        stage.namespace("replay", &[]).await?;
        let trace = Arc::new(Trace::read(&path)?);
        // The rise to the busiest minute of the whole recording, and what follows.
        let from = (busiest(&trace) - SPEED * SPAN.as_secs_f64() * 0.75).max(0.0);
        let traffic = Traffic::Replayed(Replay::new(Arc::clone(&trace), 2000.0, from));
        stage.testbed.twin.add(App::web("replay", "site", traffic));
        let workload = Workload { replicas: 4, cpu: "500m", ..Workload::small("replay", "site") };
        objects::apply_namespaced(&client, &workload.deployment()?).await?;
        objects::ready(&client, "replay", "site", 4, SOON).await?;
        let hpa = Autoscaler::following("replay", "site", 1, 200);
        objects::apply_namespaced(&client, &hpa.object()?).await?;

        let mut told = std::collections::BTreeSet::from([4]);
        let mut stood = std::collections::BTreeSet::new();
        let (mut looks, mut slow) = (0_u32, 0_u32);
        throughout("the recording", SPAN, async || {
            let answer = stage.read("replay", "site").await?;
            if answer.status == 200 {
                let list = answer.json()?;
                let value =
                    list["items"][0]["value"].as_str().unwrap_or_default().parse::<u32>()?;
                ensure!(value > 0, "told 0");
                told.insert(value);
            }
            stood.insert(objects::spec_replicas(&client, "replay", "site").await?);
            looks += 1;
            slow += u32::from(stage.testbed.twin.sample("replay", "site")?.p99 > 1.0);
            Ok(())
        })
        .await?;
        ensure!(stood.len() > 2, "the recording moved nothing: {stood:?}");
        println!(
            "{}: {} counts between {:?} and {:?}; p99 above 1 s in {slow} of {looks} looks",
            path.file_name().unwrap_or_default().display(),
            stood.len(),
            stood.first(),
            stood.last(),
        );
        // The controller may read between two of our looks, so a count that it saw and we did not
        // must at least lie inside what was told.
        let (low, high) = (told.first().copied(), told.last().copied());
        ensure!(
            stood.first().copied() >= low && stood.last().copied() <= high,
            "{stood:?} {told:?}"
        );
        // When traffic stands still, so do both, at the same number.
        stage.testbed.twin.set_traffic("replay", "site", Traffic::Constant(500.0))?;
        until("the Deployment to stand where it was told to", SOON, async || {
            let answer = stage.read("replay", "site").await?.json()?;
            let standing = objects::spec_replicas(&client, "replay", "site").await?;
            ensure!(
                answer["items"][0]["value"] == standing.to_string().as_str(),
                "{answer} {standing}"
            );
            Ok(())
        })
        .await
    })
}
