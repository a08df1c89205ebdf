//! `hirl demo`: the controller and the HTTPS server of `hirl serve` over a cluster in memory, and
//! the same cluster under plain HPAs beside it. Needs no cluster, and trusts only certificates of
//! its own.

mod certificates;
mod invariants;
mod screen;
mod table;
mod world;

#[cfg(test)]
mod tests;

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::certificates::Certificates;
use self::screen::Screen;
use self::world::{Pair, Shared, SimulatedWorld};
use crate::cli::scenarios;
use crate::control::{self, Controller, Published, peer};
use crate::http;
use crate::instruments::Instruments;
use crate::kubernetes::{Leadership, LeaseGuard, Reviews};
use crate::pilot::Pilot;
use crate::simulation::Seed;
use crate::simulation::arms::{self, Arm, Planner};
use crate::simulation::scenario::Scenario;
use crate::supervision::Supervisor;

/// Arguments of `hirl demo`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A scenario: a file, the name of a built-in one, or level-1 to level-8
    #[arg(long, value_name = "NAME|FILE", default_value = "flash-sale-post-mortem")]
    scenario: String,
    /// Seed of everything that is drawn
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Simulated seconds per second
    #[arg(long, value_name = "X", default_value_t = 60.0, value_parser = speed)]
    speed: f64,
    /// Who decides; plain HPAs do in the cluster beside it
    #[arg(long, value_name = "NAME", default_value = "rules+forecast")]
    policy: String,
    /// Show no table
    #[arg(long)]
    headless: bool,
    /// Run for so long; without it, until the scenario is over
    #[arg(long = "for", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    length: Option<u64>,
    /// Write the course of both clusters into this folder, as JSON
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Port on 127.0.0.1; without it a free one
    #[arg(long, value_name = "N", default_value_t = 0)]
    port: u16,
}

/// The only epoch: nobody else ever decides.
const EPOCH: u64 = 1;

/// The policy of the cluster beside ours.
const PLAIN: &str = "hpa";

/// Runs until the scenario is over, the time is, somebody says stop, or something is wrong.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let seed = Seed::root(args.seed);
    let scenario = Arc::new(scenarios::single(&args.scenario, seed)?);
    let (arm, planner) = planning(&args.policy)?;
    let pair = Pair::new(&scenario, &arm, seed).map_err(anyhow::Error::msg)?;
    let pair = Shared::new(pair);
    let pilot = pilot(planner, &scenario, &pair, seed);
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?
        .block_on(demo(args, &scenario, &pair, pilot))?;
    let pair = pair.lock();
    if let Some(folder) = &args.report {
        write_report(folder, args, &pair)?;
    }
    Ok(match &pair.broken {
        Some(sentence) => {
            super::complain(sentence);
            ExitCode::from(1)
        }
        None => ExitCode::SUCCESS,
    })
}

/// Serves, decides and shows, until one of the ends.
async fn demo(
    args: &Args,
    scenario: &Scenario,
    pair: &Shared,
    pilot: MakesPilots,
) -> anyhow::Result<()> {
    // First: the certificates must go however we end.
    let stopped = super::stop_signal()?;
    let certificates = Certificates::make()?;
    let (stop, ended) = (CancellationToken::new(), CancellationToken::new());
    let instruments = Arc::new(Instruments::default());
    let (published, mut reader) = watch::channel(None);
    let (_leader, leadership) = watch::channel(Leadership::Leading { epoch: EPOCH });
    let (_trust, front_proxy) = watch::channel(Some(Arc::new(certificates.trust()?)));
    let state = http::State {
        published: reader.clone(),
        front_proxy,
        reviews: Reviews::offline(),
        instruments: Arc::clone(&instruments),
        log_level: http::LogLevel::new(|_| Err("the demo writes no log".to_owned())),
        decision_interval: Duration::from_secs_f64(scenario.step_seconds),
        placements: None,
        leadership: leadership.clone(),
    };
    let settings = certificates.server(args.port);
    let peer = certificates.peer();
    let client =
        peer::Client::new(peer.clone(), settings.cert_file.clone(), settings.key_file.clone());
    let server = http::Server::bind(settings, peer, state).await?;
    let endpoint = format!("https://{}", server.address());
    let controller = Controller {
        settings: rhythm(scenario.step_seconds / args.speed),
        leadership,
        guard: LeaseGuard::alone(EPOCH),
        peer: client,
        pilot,
        published,
        report: Box::new(|_| ()),
        instruments,
    };
    let world = SimulatedWorld::new(pair.clone(), reader.clone(), ended.clone());
    let tasks = Supervisor::new(stop.clone());
    tasks.spawn("the server", server.run(stop.clone()));
    tasks.spawn("the decision loop", controller.run(world, stop.clone()));

    let mut screen = Screen::new(!args.headless, std::io::stdout().is_terminal());
    let show = async {
        let first =
            reader.wait_for(Option::is_some).await.context("waiting for a decision")?.clone();
        super::print(&banner(args, scenario, first.as_deref(), &endpoint, certificates.folder()));
        screen.follow(pair).await;
        anyhow::Ok(())
    };
    tokio::select! {
        _ = stopped => {}
        () = ended.cancelled() => {}
        () = tokio::time::sleep(args.length.map_or(Duration::MAX, Duration::from_secs)) => {}
        shown = show => shown?,
        why = tasks.failed() => bail!(why),
    }
    stop.cancel();
    tasks.ended().await.map_err(anyhow::Error::msg)?;
    screen.last(&pair.lock());
    Ok(())
}

/// A policy by its name, and what decides in it.
fn planning(name: &str) -> anyhow::Result<(Arm, Planner)> {
    let arm = arms::arm(name)
        .with_context(|| format!("there is no policy {name:?}: {}", arms::NAMES.join(", ")))?;
    let planner = arm.planner.clone();
    let planner = planner.with_context(|| {
        format!("{name:?} decides nothing that could be served: choose another")
    })?;
    Ok((arm, planner))
}

/// Makes the pilot of an epoch.
type MakesPilots = Box<dyn Fn(u64) -> Pilot + Send + Sync>;

fn pilot(planner: Planner, scenario: &Arc<Scenario>, pair: &Shared, seed: Seed) -> MakesPilots {
    let (scenario, pair) = (Arc::clone(scenario), pair.clone());
    Box::new(move |_| planner.pilot(&pair.lock().ours, &scenario, seed))
}

/// A decision per step of the scenario, `seconds` apart on our clock.
fn rhythm(seconds: f64) -> control::Settings {
    let standard = control::Settings::default();
    control::Settings {
        // The clock of the runtime counts milliseconds.
        decision_seconds: seconds.max(0.001),
        max_age_seconds: standard.max_age_seconds.max(3.0 * seconds),
        ..standard
    }
}

/// What this is and how to try it.
fn banner(
    args: &Args,
    scenario: &Scenario,
    published: Option<&Published>,
    endpoint: &str,
    folder: &Path,
) -> String {
    let (group, version, metric) = (http::GROUP, http::VERSION, http::METRIC);
    let catalog = published.map(|published| &published.decision().catalog);
    let first = catalog.and_then(|catalog| {
        catalog.apps.iter().min_by_key(|app| catalog.domains[app.domain].class)
    });
    let path = first.map_or_else(String::new, |app| {
        let (namespace, target) = (&app.id.namespace, &app.target);
        format!(
            "/apis/{group}/{version}/namespaces/{namespace}/{metric}?labelSelector=target%3D{target}"
        )
    });
    let at = folder.display();
    format!(
        "HiRL-Scale demo. SIMULATED: a cluster in memory. Not for production.\n\
         Scenario {} (seed {}): {}\n\
         {} apps in {} domains under {:?}, beside the same under plain HPAs, {} times faster than life.\n\
         \n\
         HTTPS at {endpoint}, with certificates in {at} that go when the demo ends.\n\
         What the HPA of one app reads:\n\
         \x20 curl --cacert {at}/ca.crt --cert {at}/tls.crt --key {at}/tls.key '{endpoint}{path}'\n\
         Also {} (the whole decision) and /metrics. Ctrl-C ends it.\n\n",
        scenario.name,
        args.seed,
        scenario.description.trim(),
        scenario.apps.len(),
        scenario.domains.len(),
        args.policy,
        args.speed,
        peer::PATH,
    )
}

/// Writes a file per cluster, named after its policy.
fn write_report(folder: &Path, args: &Args, pair: &Pair) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    for (policy, simulation) in [(args.policy.as_str(), &pair.ours), (PLAIN, &pair.plain)] {
        let run = simulation.record(policy, args.seed);
        let path = folder.join(format!("{policy}.json"));
        let text = serde_json::to_string(&run).context("writing the report")?;
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        super::note(&format!("wrote {}", path.display()));
    }
    Ok(())
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(speed) if speed > 0.0 && speed <= 10_000.0 => Ok(speed),
        _ => Err("a number above 0 and at most 10000".to_owned()),
    }
}
