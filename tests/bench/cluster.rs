//! `hirl serve` in release on a real API server with 1,550 apps and 10,000 pods: its memory, and
//! its reads beside those of the Go adapter.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::Api;
use kube::api::PostParams;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::bank::{self, App, PODS};
use crate::load::{Outcome, Target, Tool};
use crate::peer::{self, Peer};
use crate::report::{Report, median, quantile};
use crate::testbed::control_plane::{self, ControlPlane};
use crate::testbed::hirl::{self, Hirl, Place};
use crate::testbed::objects;
use crate::testbed::process::Process;
use crate::testbed::prometheus::Prometheus;
use crate::testbed::requests::Requests;
use crate::testbed::wait::until;
use crate::{APPS, Args, DOMAINS};

/// How often Prometheus scrapes.
const SCRAPE: Duration = Duration::from_secs(5);
/// Patience with the first decision over everything.
const PATIENCE: Duration = Duration::from_mins(2);
/// Decisions after which memory is steady: caches are full and histories begun.
const SETTLED: f64 = 4.0;
/// The controller's period: 1,550 HPAs in 15 s are 103 reads a second.
const PERIOD: Duration = Duration::from_secs(15);

/// Brings everything up and prints what is seen.
pub(crate) async fn run(report: &mut Report, args: &Args) -> Result<()> {
    let folder = peer::fetch()?;
    let options = control_plane::Options {
        controllers: None,
        scheduler: false,
        kubelets: None,
        audit: false,
    };
    let plane = ControlPlane::start(options).await?;
    hirl::install(&plane).await?;
    let apps = bank::apps();
    let started = Instant::now();
    bank::build(&plane, &apps).await?;
    report.title(&format!(
        "A real API server with {APPS} HPAs, {PODS} pods and {DOMAINS} Domains (made in {:.0} s)",
        started.elapsed().as_secs_f64()
    ));
    let (load, _serving) = bank::serve_load(&apps).await?;
    let prometheus = Prometheus::start(plane.scratch(), SCRAPE, load).await?;
    let url = prometheus.url();
    let mut hirl = Hirl::start(&plane, "hirl", |place| config(place, &url))?;
    hirl.ready().await?;
    hirl.register(&plane).await?;
    memory(report, &plane, &mut hirl).await?;

    let token = token(&plane).await?;
    if args.hold {
        let file = plane.scratch().write("token", &token)?;
        report.note(&format!(
            "hirl is process {} at {}; a token that may read is in {}; Ctrl-C ends it",
            hirl.process().id(),
            hirl.url(),
            file.display()
        ));
        return tokio::signal::ctrl_c().await.context("waiting for Ctrl-C");
    }
    reads(report, &plane, &mut hirl, &apps, &token, &folder, args).await?;
    latency(report, &plane, &hirl, &apps, &token).await?;
    let after = hirl.process().memory_mib("VmRSS")?;
    report.figure("resident memory after all that", after, "MiB", Some("<= 64 MiB"))
}

/// As it ships, apart from where things are.
fn config(place: &Place, prometheus: &str) -> String {
    format!(
        "telemetry:\n  url: {prometheus}\n  scrapeIntervalSeconds: {}\n{}\
         http:\n  listen: 127.0.0.1:{}\n  certFile: {}\n  keyFile: {}\n",
        SCRAPE.as_secs(),
        hirl::gauges(),
        place.port,
        place.serving.certificate.display(),
        place.serving.key.display(),
    )
}

async fn memory(report: &mut Report, plane: &ControlPlane, hirl: &mut Hirl) -> Result<()> {
    until("every app to have its number", PATIENCE, async || {
        let known = hirl.metric(plane, "hirl_apps{", "name=\"policy\"").await?;
        ensure!(known == APPS as f64, "{known} of {APPS}");
        Ok(())
    })
    .await?;
    let first = hirl.process().memory_mib("VmHWM")?;
    until("a few decisions", PATIENCE, async || {
        let made = hirl.metric(plane, "hirl_decision_duration_seconds_count", "").await?;
        ensure!(made >= SETTLED, "{made}");
        Ok(())
    })
    .await?;
    report.title("Memory of hirl serve");
    report.figure("peak until the first decision (VmHWM)", first, "MiB", None)?;
    let steady = hirl.process().memory_mib("VmRSS")?;
    report.figure("resident, steady (VmRSS)", steady, "MiB", Some("<= 64 MiB"))?;
    let sum = hirl.metric(plane, "hirl_decision_duration_seconds_sum", "").await?;
    let count = hirl.metric(plane, "hirl_decision_duration_seconds_count", "").await?;
    report.figure("decision pass in the server, mean", sum / count * 1e3, "ms", Some("<= 20 ms"))
}

/// A token of a service account that may read external metrics, as the HPA controller has one.
async fn token(plane: &ControlPlane) -> Result<String> {
    let client = plane.client();
    let (namespace, name) = ("bank-0", "reader");
    let account: ServiceAccount =
        objects::object(json!({"metadata": {"namespace": namespace, "name": name}}))?;
    objects::apply_namespaced(&client, &account).await?;
    let role: ClusterRole = objects::object(json!({
        "metadata": {"name": name},
        "rules": [{"apiGroups": ["external.metrics.k8s.io"], "resources": ["*"],
            "verbs": ["get", "list"]}],
    }))?;
    objects::apply(&client, &role).await?;
    let binding: ClusterRoleBinding = objects::object(json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "ServiceAccount", "namespace": namespace, "name": name}],
    }))?;
    objects::apply(&client, &binding).await?;
    let accounts: Api<ServiceAccount> = Api::namespaced(client, namespace);
    let request = TokenRequest::default();
    let answer = accounts
        .create_token_request(name, &PostParams::default(), &request)
        .await
        .context("asking for a token")?;
    Ok(answer.status.context("no token was given")?.token)
}

/// The path under which the controller reads an app.
fn path(app: &App) -> String {
    format!(
        "/apis/external.metrics.k8s.io/v1beta1/namespaces/{}/{}?labelSelector=target%3D{}",
        app.namespace,
        objects::METRIC,
        app.name
    )
}

async fn reads(
    report: &mut Report,
    plane: &ControlPlane,
    hirl: &mut Hirl,
    apps: &[App],
    token: &str,
    folder: &Path,
    args: &Args,
) -> Result<()> {
    let tool = Tool::find(folder);
    let program = folder.join("test-adapter");
    let mut other =
        if program.is_file() { Some(Peer::start(plane, &program).await?) } else { None };
    let target = |port, paths| Target {
        port,
        paths,
        token: token.to_owned(),
        authority: plane.pki().serving.pem().to_owned(),
    };
    let ours = target(hirl.place().port, apps.iter().map(path).collect());
    let theirs = other.as_ref().map(|peer| target(peer.port, Peer::paths(DOMAINS)));
    report.title(&format!(
        "Reads over TLS with a token: {} -D {}, {} runs of each in turn",
        tool.describe(),
        args.seconds,
        args.runs
    ));
    let scratch = plane.scratch().path();
    // Fills the caches of reviews and opens the logs.
    tool.run(&ours, 1, scratch).await?;
    if let Some(theirs) = &theirs {
        tool.run(theirs, 1, scratch).await?;
    }
    let (mut per_cpu, mut ratios) = (Vec::new(), Vec::new());
    for run in 1..=args.runs {
        let mine = trial("hirl", run, report, &tool, &ours, hirl.process(), args, scratch).await?;
        per_cpu.push(mine);
        if let (Some(peer), Some(theirs)) = (&mut other, &theirs) {
            let their =
                trial("Go adapter", run, report, &tool, theirs, &mut peer.process, args, scratch)
                    .await?;
            report.note(&format!("run {run}: {:.1} times the reads per CPU-second", mine / their));
            ratios.push(mine / their);
        }
    }
    report.figure("reads per CPU-second, median run", median(&per_cpu), "1/s", None)?;
    if ratios.is_empty() {
        report.note("The Go adapter is missing (see tests/bench/peer.sh): nothing to compare with");
    } else {
        let ratio = median(&ratios);
        report.figure("times the Go adapter, median run", ratio, "x", Some(">= 10 x"))?;
    }
    Ok(())
}

/// One run on one server; reads per CPU-second.
#[expect(clippy::too_many_arguments, reason = "one call site, and each is what it says")]
async fn trial(
    name: &str,
    run: u32,
    report: &mut Report,
    tool: &Tool,
    target: &Target,
    process: &mut Process,
    args: &Args,
    scratch: &Path,
) -> Result<f64> {
    let before = process.cpu_seconds()?;
    let Outcome { good, bad, seconds, latencies } = tool.run(target, args.seconds, scratch).await?;
    let cpu = process.cpu_seconds()? - before;
    let memory = process.memory_mib("VmRSS")?;
    let (rate, per_cpu) = (good as f64 / seconds, good as f64 / cpu);
    let (p50, p99) = (quantile(&latencies, 0.5), quantile(&latencies, 0.99));
    ensure!(bad * 1000 <= good, "{name}: {bad} of {} reads failed; {}", good + bad, process.tail());
    report.note(&format!(
        "run {run}, {name:<10} {rate:>7.0} reads/s, {cpu:>5.2} CPU-s: {per_cpu:>7.0} reads per CPU-second; \
         p50 {p50:.2} ms, p99 {p99:.2} ms; {memory:.0} MiB; {bad} failed"
    ));
    report.record(&json!({
        "figure": "reads", "server": name, "run": run, "reads_per_second": rate,
        "cpu_seconds": cpu, "reads_per_cpu_second": per_cpu, "p50_ms": p50, "p99_ms": p99,
        "resident_mib": memory, "failed": bad,
    }))?;
    Ok(per_cpu)
}

/// One reader at the controller's pace: what a single read takes while nobody hurries.
async fn latency(
    report: &mut Report,
    plane: &ControlPlane,
    hirl: &Hirl,
    apps: &[App],
    token: &str,
) -> Result<()> {
    report.title(&format!(
        "One read at the controller's pace: {APPS} different apps every {} s, twice",
        PERIOD.as_secs()
    ));
    let direct = paced(&hirl.requests(None)?, apps, token).await?;
    figures(report, "direct", &direct, 1.0)?;
    let behind = paced(&plane.requests(None)?, apps, token).await?;
    figures(report, "behind the aggregator", &behind, 5.0)
}

fn figures(report: &mut Report, name: &str, sorted: &[f64], goal: f64) -> Result<()> {
    let within = sorted.iter().filter(|took| **took <= goal).count();
    let share = within as f64 / sorted.len() as f64 * 100.0;
    report.figure(&format!("{name}, p50"), quantile(sorted, 0.5), "ms", None)?;
    let aim = format!("<= {goal:.0} ms");
    report.figure(&format!("{name}, p99"), quantile(sorted, 0.99), "ms", Some(&aim))?;
    report.figure(&format!("{name}, within {goal:.0} ms"), share, "%", None)
}

/// Milliseconds of each read, sorted.
async fn paced(requests: &Requests, apps: &[App], token: &str) -> Result<Vec<f64>> {
    let token = format!("Bearer {token}");
    let mut clock = tokio::time::interval(PERIOD / APPS as u32);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut reads = JoinSet::new();
    for app in apps.iter().chain(apps) {
        clock.tick().await;
        let (requests, token, path) = (requests.clone(), token.clone(), path(app));
        reads.spawn(async move {
            let started = Instant::now();
            let answer = requests.get(&path, &[("authorization", &token)]).await?;
            let took = started.elapsed().as_secs_f64() * 1e3;
            ensure!(answer.status == 200, "{path}: {} {}", answer.status, answer.body);
            Ok(took)
        });
    }
    let mut times = Vec::with_capacity(reads.len());
    while let Some(took) = reads.join_next().await {
        times.push(took.context("waiting for a read")??);
    }
    times.sort_by(f64::total_cmp);
    Ok(times)
}
