//! `hirl serve`: the composition root. Builds every part, joins their tasks and stops them in
//! order: readiness first, then connections, then the lease.

use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::connect::{ClusterArgs, connect, connect_multiplexed};
use super::forecasting;
use super::logging::{LogArgs, Logging};
use crate::config::Config;
use crate::control::hierarchy::{self, Networks};
use crate::control::{Controller, Forecasting, LiveWorld, peer};
use crate::extender;
use crate::http;
use crate::instruments::Instruments;
use crate::kubernetes;
use crate::pilot::Pilot;
use crate::placement::Ledger;
use crate::policy::hirl::{self, Hirl};
use crate::policy::{Policy, Rules, rules};
use crate::supervision::Supervisor;
use crate::telemetry::Telemetry;

/// Time that the end may take after a task failed.
const FAREWELL: Duration = Duration::from_secs(3);

/// Arguments of `hirl serve`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Configuration file (YAML); every field has a default
    #[arg(long, env = "HIRL_CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Name of this replica in the lease
    #[arg(long, env = "HIRL_IDENTITY", default_value_t = default_identity())]
    identity: String,
    /// Address under which the other replica reaches this one, without port
    #[arg(long, env = "HIRL_POD_IP", default_value = "127.0.0.1")]
    advertise: String,
    /// Print the configuration in force and leave
    #[arg(long)]
    print_config: bool,
    #[command(flatten)]
    log: LogArgs,
}

fn default_identity() -> String {
    format!("hirl-{}", std::process::id())
}

/// Serves until SIGTERM or SIGINT.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let config = match &args.config {
        Some(path) => Config::load(path)?,
        None => Config::default(),
    };
    if args.print_config {
        let text = serde_saphyr::to_string(&config).context("writing the configuration")?;
        super::print(&text);
        return Ok(ExitCode::SUCCESS);
    }
    let logging = Logging::start(&args.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let served = runtime.block_on(serve(args, config, logging));
    // A task that hangs must not keep the process.
    runtime.shutdown_timeout(FAREWELL);
    served.map(|()| ExitCode::SUCCESS)
}

#[expect(clippy::too_many_lines, reason = "the list of parts, in the order in which they start")]
async fn serve(args: &Args, config: Config, logging: Logging) -> anyhow::Result<()> {
    let instruments = Arc::new(Instruments::default());
    let logging = Arc::new(logging);
    let client = connect(&args.cluster).await?;
    // Two stages: first the loop and the connections stop, then what they lean on.
    let (stop, stop_last) = (CancellationToken::new(), CancellationToken::new());
    let tasks = Supervisor::new(stop.clone());

    // 1. The edges: what is watched, what is measured, who asks, who decides.
    let (front_proxy_sender, front_proxy) = watch::channel(None);
    tasks.spawn(
        "the watch of the front proxy's configuration",
        kubernetes::watch_front_proxy(client.clone(), front_proxy_sender, stop_last.clone()),
    );
    let placements = config.extender.enabled.then(|| placements(&config));
    let watches = kubernetes::Watches::start(
        &client,
        &config.kubernetes,
        placements.clone(),
        Arc::clone(&instruments),
        &tasks,
        &stop_last,
    );
    if let Some(placements) = &placements {
        let following = kubernetes::follow_growth(
            client.clone(),
            watches.clone(),
            placements.clone(),
            config.placement.growth.clone(),
            config.kubernetes.pool_label.clone(),
            stop_last.clone(),
        );
        tasks.spawn("the reader of node pools", following);
    }
    let telemetry = Telemetry::new(config.telemetry.clone(), Arc::clone(&instruments))?;
    let (published, reader) = watch::channel(None);
    // The election is told our address, which is known once the server listens.
    let (leadership_sender, leadership) = watch::channel(NOBODY);
    let state = http::State {
        published: reader,
        front_proxy,
        reviews: kubernetes::Reviews::new(client.clone()),
        instruments: Arc::clone(&instruments),
        log_level: http::LogLevel::new({
            let logging = Arc::clone(&logging);
            move |filter| logging.set(filter)
        }),
        decision_interval: Duration::from_secs_f64(config.control.decision_seconds),
        placements: placements.clone(),
        leadership,
    };
    let server =
        http::Server::bind(config.http.clone(), config.control.peer.clone(), state).await?;
    // An IPv6 address needs its brackets in front of a port.
    let host = match args.advertise.parse::<Ipv6Addr>() {
        Ok(address) => format!("[{address}]"),
        Err(_) => args.advertise.clone(),
    };
    let address = format!("{host}:{}", server.address().port());
    let election = kubernetes::Election::start(
        &client,
        &config.kubernetes.lease,
        args.identity.clone(),
        config.control.peer.ca_file.is_some().then(|| address.clone()),
        Arc::clone(&instruments),
        &tasks,
        stop_last.clone(),
    );

    tasks.spawn(
        "the word of who leads",
        pass_on(election.leadership(), leadership_sender, stop_last.clone()),
    );

    let reporter = kubernetes::Reporter::start(
        &client,
        watches.clone(),
        args.identity.clone(),
        server.read_intervals(),
        placements.clone(),
        &tasks,
        stop_last.clone(),
    );

    let extender = match placements {
        Some(placements) => {
            let parts = extender::Parts {
                placements,
                client: client.clone(),
                identity: args.identity.clone(),
                advertise: args.advertise.parse().context("--advertise is no IP address")?,
                bindings: kubernetes::Bindings::new(connect_multiplexed(&args.cluster).await?),
                leadership: election.leadership(),
                guard: election.guard(),
                published: published.subscribe(),
                relist: relist(&watches),
                band: config.safety.emergency_band,
                breach: Duration::from_secs_f64(config.placement.band_seconds),
                instruments: Arc::clone(&instruments),
            };
            let pair = (config.http.cert_file.clone(), config.http.key_file.clone());
            Some(extender::Extender::bind(&config.extender, pair, parts).await?)
        }
        None => None,
    };

    let forecasting = config
        .forecast
        .enabled
        .then(|| forecasting::parts(&config, &instruments))
        .transpose()?
        .map(|parts| Forecasting::start(parts, &tasks, stop.clone()));

    // 2. The loop.
    let model = config.hierarchy.model().map_err(anyhow::Error::msg)?;
    let rule = hierarchy::rule(model.as_deref(), &config.policy);
    let weights = model.map(|model| {
        let (sender, receiver) = watch::channel(model);
        let (settings, meters) = (config.hierarchy.clone(), Arc::clone(&instruments));
        tasks.spawn(
            "the reader of weights",
            hierarchy::reload(settings, sender, meters, stop.clone()),
        );
        receiver
    });
    let freshness = config.telemetry.freshness;
    let (observation, safety) = (config.observation.clone(), config.safety.clone());
    let planner = planner(config.hierarchy.clone(), weights, rule, Arc::clone(&instruments));
    let controller = Controller {
        settings: config.control.clone(),
        leadership: election.leadership(),
        guard: election.guard(),
        peer: peer::Client::new(
            config.control.peer.clone(),
            config.http.cert_file.clone(),
            config.http.key_file.clone(),
        ),
        pilot: Box::new(move |epoch| {
            Pilot::new(observation.clone(), freshness, planner(), safety.clone(), epoch)
        }),
        published,
        report: Box::new({
            let instruments = Arc::clone(&instruments);
            move |decision| {
                let dropped = i64::try_from(logging.dropped_lines()).unwrap_or(i64::MAX);
                instruments.log_lines_dropped.set(dropped);
                reporter.report(decision);
            }
        }),
        instruments,
    };
    let overdue = controller.overdue();
    let world = LiveWorld::new(watches, telemetry, forecasting);
    tasks.spawn("the decision loop", controller.run(world, stop.clone()));

    // 3. The servers, until somebody says stop.
    if let Some(extender) = extender {
        info!(address = %extender.address(), "Answering the scheduler");
        tasks.spawn("the extender", extender.run(stop.clone()));
    }
    info!(%address, identity = args.identity, version = env!("CARGO_PKG_VERSION"), "Serving");
    let drained = CancellationToken::new();
    let told = drained.clone().drop_guard();
    let serving = server.run(stop.clone());
    tasks.spawn("the server", async move {
        serving.await;
        drop(told);
    });
    let failure = tokio::select! {
        reason = super::stop_signal()? => {
            info!(reason, "Stopping");
            None
        }
        why = tasks.failed() => Some(why),
        why = overdue => Some(why),
    };
    stop.cancel();
    if let Some(why) = failure {
        // Nobody waits for what failed: the Lease goes back at once.
        stop_last.cancel();
        let _ = tokio::time::timeout(FAREWELL, election.ended()).await;
        anyhow::bail!("{why}: ending, so that another replica takes over");
    }
    drained.cancelled().await;
    stop_last.cancel();
    election.ended().await;
    tasks.ended().await.map_err(anyhow::Error::msg)
}

/// Makes the policy of a new epoch: the learned hierarchy where there are weights, otherwise the rule.
fn planner(
    settings: hierarchy::Settings,
    weights: Option<watch::Receiver<Arc<hirl::Model>>>,
    rule: rules::Settings,
    instruments: Arc<Instruments>,
) -> impl Fn() -> Box<dyn Policy> + Send + Sync {
    move || match &weights {
        None => Box::new(Rules::new(rule.clone())),
        Some(weights) => {
            let networks = Networks::new(weights.clone(), &settings, Arc::clone(&instruments));
            let reach =
                hirl::Settings { time_scale: settings.time_scale, ..hirl::Settings::default() };
            Box::new(Hirl::new(reach, rule.clone(), Box::new(networks)))
        }
    }
}

/// The placement ledger, empty.
fn placements(config: &Config) -> kubernetes::Placements {
    let (shared, own) = (&config.kubernetes.shared_pools, &config.kubernetes.lease.namespace);
    kubernetes::Placements::new(Ledger::new(config.placement.clone(), shared, own))
}

/// Reads all pods anew, after this replica became the owner of the ledger.
fn relist(watches: &kubernetes::Watches) -> extender::Relist {
    let watches = watches.clone();
    Box::new(move || {
        let watches = watches.clone();
        Box::pin(async move { watches.relist_pods().await })
    })
}

const NOBODY: kubernetes::Leadership =
    kubernetes::Leadership::Following { holder: None, address: None };

/// Tells the HTTP side who leads.
async fn pass_on(
    mut from: watch::Receiver<kubernetes::Leadership>,
    to: watch::Sender<kubernetes::Leadership>,
    stop: CancellationToken,
) {
    loop {
        to.send_replace(from.borrow_and_update().clone());
        tokio::select! {
            () = stop.cancelled() => return,
            changed = from.changed() => if changed.is_err() { return },
        }
    }
}
