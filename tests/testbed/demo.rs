//! `make demo-live`: stock HPAs follow `hirl` on the real control plane, live in a terminal.
//!
//! Everything runs [`COMPRESSION`] times faster than in production: the HPAs' sync period (1 s for
//! 15 s), their stabilisation, the decisions, the rate windows, the start of pods, and the traffic.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::time::MissedTickBehavior;

use super::bank::{self, BankApp, PLAIN};
use super::control_plane::{self, Kubelets};
use super::hirl::{self, Hirl, Place};
use super::objects::{self, Autoscaler, METRIC};
use super::requests::Requests;
use super::twin::traffic::{Trace, Traffic};
use super::wait::until;
use super::{Options, Testbed, twin};

/// How much faster than production everything runs.
pub const COMPRESSION: f64 = 15.0;

/// Time of day at which the demo begins, in seconds.
const BEGIN: f64 = 9.0 * 3600.0;

/// Time between two tables.
const REFRESH: Duration = Duration::from_secs(2);

/// How long the Deployments may take to stand at `hirl`'s numbers once traffic is held.
const SETTLE: Duration = Duration::from_secs(45);

/// What the caller chose.
#[derive(Debug, Clone, Default)]
pub struct Choices {
    /// How long it runs; until Ctrl-C without.
    pub length: Option<Duration>,
    /// A recording that drives the traffic.
    pub trace: Option<PathBuf>,
    /// Whether files and logs stay.
    pub keep: bool,
}

/// One app, at one moment.
#[derive(Debug, Clone)]
struct Row {
    offered: Option<f64>,
    latency: f64,
    ready: u32,
    desired: Option<u32>,
    replicas: u32,
    plain_replicas: u32,
    plain_latency: f64,
}

/// The running demo.
struct Demo {
    // Stopped before the cluster that it reads.
    _hirl: Hirl,
    testbed: Testbed,
    apps: Vec<BankApp>,
    requests: Requests,
    started: Instant,
    readings: u64,
    equal: u64,
    /// Since when each Deployment has been seen apart from the number.
    apart: Vec<Option<Instant>>,
    longest_apart: Duration,
}

/// Runs the demo. `Ok(false)` when a Deployment did not come to stand at `hirl`'s number.
pub async fn run(choices: Choices) -> Result<bool> {
    say("starting etcd, kube-apiserver, kube-controller-manager, kube-scheduler, KWOK, Prometheus");
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    let mut demo = tokio::select! {
        demo = Demo::start(&choices) => demo?,
        _ = &mut interrupted => return Ok(true),
    };
    let end = choices.length.map(|length| Instant::now() + length);
    let mut clock = tokio::time::interval(REFRESH);
    // A machine that cannot keep up shows fewer tables, not a burst of them.
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while end.is_none_or(|end| Instant::now() < end) {
        tokio::select! {
            _ = clock.tick() => demo.show().await?,
            _ = &mut interrupted => break,
        }
    }
    say("holding the traffic; every Deployment must now come to stand at hirl's number");
    tokio::select! {
        verdict = demo.verdict() => verdict,
        _ = tokio::signal::ctrl_c() => Ok(false),
    }
}

/// Starts the cluster and Prometheus alone, and keeps them until Ctrl-C.
pub async fn up(keep: bool) -> Result<()> {
    let testbed = Testbed::start(Options::default()).await?;
    if keep {
        testbed.plane.scratch().keep();
    }
    say(&format!("kubeconfig: {}", testbed.plane.kubeconfig().display()));
    say(&format!("kubectl:    {}", testbed.plane.binaries().kubectl.display()));
    say(&format!("Prometheus: {}", testbed.prometheus.url()));
    say("Ctrl-C ends it");
    tokio::signal::ctrl_c().await.context("waiting for Ctrl-C")
}

impl Demo {
    async fn start(choices: &Choices) -> Result<Self> {
        let trace = choices.trace.as_deref().map(Trace::read).transpose()?.map(Arc::new);
        let testbed = Testbed::start(Options {
            plane: control_plane::Options {
                // 30 s from a pod's start to its readiness.
                kubelets: Some(Kubelets { ready_after: Duration::from_secs(2) }),
                ..control_plane::Options::default()
            },
            twin: twin::Options { speed: COMPRESSION, begin: BEGIN, ..twin::Options::default() },
            ..Options::default()
        })
        .await?;
        if choices.keep {
            testbed.plane.scratch().keep();
            say(&format!("kubeconfig: {}", testbed.plane.kubeconfig().display()));
        }
        let apps = bank::apps();
        populate(&testbed, &apps, trace.as_ref()).await?;

        say("starting hirl and pointing external.metrics.k8s.io at it");
        let url = testbed.prometheus.url();
        let mut hirl = Hirl::start(&testbed.plane, "hirl-0", |place| config(place, &url))?;
        hirl.ready().await?;
        hirl.register(&testbed.plane).await?;
        let requests = testbed.plane.admin()?;
        testbed.twin.rewind(BEGIN);
        let (started, apart) = (Instant::now(), vec![None; apps.len()]);
        Ok(Self {
            _hirl: hirl,
            testbed,
            apps,
            requests,
            started,
            readings: 0,
            equal: 0,
            apart,
            longest_apart: Duration::ZERO,
        })
    }

    /// One table.
    async fn show(&mut self) -> Result<()> {
        let rows = self.rows().await?;
        for (row, apart) in rows.iter().zip(&mut self.apart) {
            let equal = row.desired == Some(row.replicas);
            self.readings += 1;
            self.equal += u64::from(equal);
            *apart = if equal { None } else { apart.or(Some(Instant::now())) };
            let span = apart.map_or(Duration::ZERO, |since| since.elapsed());
            self.longest_apart = self.longest_apart.max(span);
        }
        let screen = self.table(&rows);
        let mut out = std::io::stdout();
        if out.is_terminal() {
            // From the top left, and what was below is gone.
            write!(out, "\x1b[H\x1b[J")?;
        }
        out.write_all(screen.as_bytes())?;
        out.flush()?;
        Ok(())
    }

    fn table(&self, rows: &[Row]) -> String {
        let bank_time = self.testbed.twin.now();
        let (hour, minute) = ((bank_time / 3600.0) % 24.0, (bank_time / 60.0) % 60.0);
        let mut text = format!(
            "DEMO: a simulated bank on a real control plane, {COMPRESSION} times faster than \
             life. Not for production.\n{:02}:{:02} in the bank, {} s of yours\n\n\
             {:<9} {:<15} {:>8} {:>9} {:>6} {:>8} {:>9} | {:>9} {:>9}\n",
            hour as u32,
            minute as u32,
            self.started.elapsed().as_secs(),
            "domain",
            "app",
            "rps",
            "p99/SLO",
            "ready",
            "hirl",
            "replicas",
            "plain HPA",
            "p99/SLO",
        );
        for (app, row) in self.apps.iter().zip(rows) {
            let _ = writeln!(
                text,
                "{:<9} {:<15} {:>8} {:>9} {:>6} {:>8} {:>9} | {:>9} {:>9}",
                app.domain,
                app.name,
                row.offered.map_or("-".to_owned(), |rps| format!("{rps:.0}")),
                ratio(row.latency),
                row.ready,
                row.desired.map_or("-".to_owned(), |desired| desired.to_string()),
                row.replicas,
                row.plain_replicas,
                ratio(row.plain_latency),
            );
        }
        let (ours, plain) = rows
            .iter()
            .fold((0, 0), |(ours, plain), row| (ours + row.replicas, plain + row.plain_replicas));
        let _ =
            writeln!(text, "\n{ours} pods under hirl, {plain} under plain HPAs. Ctrl-C ends it.");
        text
    }

    async fn rows(&self) -> Result<Vec<Row>> {
        futures::future::try_join_all(self.apps.iter().map(|app| self.row(app))).await
    }

    async fn row(&self, app: &BankApp) -> Result<Row> {
        let client = self.testbed.plane.client();
        let plain = format!("{}{PLAIN}", app.namespace);
        let sample = self.testbed.twin.sample(app.namespace, app.name)?;
        let beside = self.testbed.twin.sample(&plain, app.name)?;
        let slo = bank::slo(app.domain);
        // First the number, then the Deployment: the HPA can only be later than hirl.
        let desired = desired(&self.requests, app.namespace, app.name).await?;
        Ok(Row {
            offered: sample.offered,
            latency: sample.p99 / slo,
            ready: sample.ready,
            desired,
            replicas: objects::spec_replicas(&client, app.namespace, app.name).await?,
            plain_replicas: objects::spec_replicas(&client, &plain, app.name).await?,
            plain_latency: beside.p99 / slo,
        })
    }

    /// Holds the traffic and waits until every Deployment stands at `hirl`'s number at once.
    async fn verdict(&self) -> Result<bool> {
        for app in &self.apps {
            let offered = self.testbed.twin.sample(app.namespace, app.name)?.offered;
            let held = Traffic::Constant(offered.unwrap_or(app.mean));
            self.testbed.twin.set_traffic(app.namespace, app.name, held)?;
        }
        let settled = until("every Deployment at hirl's number", SETTLE, async || {
            let mut apart = Vec::new();
            for (app, row) in self.apps.iter().zip(self.rows().await?) {
                if row.desired != Some(row.replicas) {
                    let (desired, replicas) = (row.desired, row.replicas);
                    apart.push(format!("{}: hirl {desired:?}, Deployment {replicas}", app.name));
                }
            }
            ensure!(apart.is_empty(), "{}", apart.join("; "));
            Ok(())
        })
        .await;
        let share = self.equal as f64 / self.readings.max(1) as f64 * 100.0;
        say(&format!(
            "under way, {} of {} readings ({share:.0} %) found a Deployment at exactly hirl's \
             number; the longest that one stood apart from a moving number was {} s",
            self.equal,
            self.readings,
            self.longest_apart.as_secs()
        ));
        match &settled {
            Ok(()) => say(&format!(
                "all {} Deployments stand at exactly the number that hirl serves",
                self.apps.len()
            )),
            Err(error) => say(&format!("NOT every Deployment came to hirl's number: {error:#}")),
        }
        Ok(settled.is_ok())
    }
}

/// Nodes, namespaces, domains, Deployments, HPAs and their load.
async fn populate(testbed: &Testbed, apps: &[BankApp], trace: Option<&Arc<Trace>>) -> Result<()> {
    say("creating a small bank: 5 domains, 15 apps, each once more under a plain HPA");
    let plane = &testbed.plane;
    let client = plane.client();
    hirl::install(plane).await?;
    for (index, pool) in
        ["general", "general", "general", "batch"].iter().cycle().take(16).enumerate()
    {
        objects::apply(&client, &objects::node(&format!("node-{index:02}"), pool, 32, "128Gi")?)
            .await?;
    }
    for (namespace, domain) in bank::NAMESPACES {
        let labels = [("hirl-scale.io/domain", domain)];
        objects::apply(&client, &objects::namespace(namespace, &labels)?).await?;
        objects::apply(&client, &objects::namespace(&format!("{namespace}{PLAIN}"), &[])?).await?;
    }
    plane.apply_list(&bank::domains()).await?;

    let mut deployments = Vec::new();
    let mut autoscalers = Vec::new();
    for app in apps {
        let plain = format!("{}{PLAIN}", app.namespace);
        deployments.push(app.workload(app.namespace).deployment()?);
        deployments.push(app.workload(&plain).deployment()?);
        let (min, max) = app.bounds;
        let target = format!("{}%", app.target_cpu);
        let ours = Autoscaler {
            annotations: &[("hirl-scale.io/target-cpu", &target)],
            ..Autoscaler::following(app.namespace, app.name, min, max)
        };
        autoscalers.push(ours.object()?);
        autoscalers.push(app.plain_hpa(&plain, COMPRESSION).object()?);
        testbed.twin.add(app.twin(app.namespace, trace, BEGIN));
        testbed.twin.add(app.twin(&plain, trace, BEGIN));
    }
    objects::create_all(&client, deployments).await?;
    until("every pod of the bank to be ready", Duration::from_mins(2), async || {
        for app in apps {
            for namespace in [app.namespace.to_owned(), format!("{}{PLAIN}", app.namespace)] {
                let ready = testbed.twin.sample(&namespace, app.name)?.ready;
                ensure!(ready == app.replicas, "{namespace}/{}: {ready} are ready", app.name);
            }
        }
        Ok(())
    })
    .await?;
    objects::create_all(&client, autoscalers).await
}

/// The configuration as it ships, [`COMPRESSION`] times faster: spans divided, rate windows as
/// short as a scrape every second allows.
fn config(place: &Place, prometheus: &str) -> String {
    format!(
        "telemetry:
  url: {prometheus}
  preset: istio
  scrapeIntervalSeconds: 1
  windows: {{rps: 4, p99: 8, errorRatio: 8, cpu: 8}}
  freshness: {{rps: 4, p99: 4, errorRatio: 4, cpu: 6, memory: 6}}
observation: {{leadSeconds: 4, trendSeconds: 6, costHalfLifeSeconds: 40}}
policy: {{stabilizationSeconds: 8, budgetSeconds: 4}}
hierarchy: {{enabled: false}}
safety: {{lastGoodSeconds: 4, hpaStabilizationSeconds: 20}}
kubernetes: {{lease: {{durationSeconds: 5, renewDeadlineSeconds: 3, retrySeconds: 1}}}}
control: {{decisionSeconds: 0.7, maxAgeSeconds: 6, followSeconds: 0.1}}
http:
  listen: 127.0.0.1:{port}
  certFile: {certificate}
  keyFile: {key}
",
        port = place.port,
        certificate = place.serving.certificate.display(),
        key = place.serving.key.display(),
    )
}

/// The number that `hirl` serves for an app, through the API server; `None` when it serves none.
pub async fn desired(requests: &Requests, namespace: &str, target: &str) -> Result<Option<u32>> {
    let path = format!(
        "/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/{METRIC}?labelSelector=target%3D{target}"
    );
    let answer = requests.get(&path, &[]).await?;
    if !answer.status.is_success() {
        return Ok(None);
    }
    let value = &answer.json()?["items"][0]["value"];
    Ok(value.as_str().and_then(|text| text.parse().ok()))
}

/// A share of the SLO, marked when it is broken.
fn ratio(value: f64) -> String {
    match value {
        value if value.is_nan() => "-".to_owned(),
        value if value > 1.0 => format!("{value:.2} !"),
        value => format!("{value:.2}"),
    }
}

/// A line beside the table.
fn say(line: &str) {
    // Nobody listens any more: nothing to be done about it.
    let _ = writeln!(std::io::stderr(), "testbed: {line}");
}
