//! The throughput of a real kube-scheduler: without an extender, with a stub that says yes to
//! everything in every verb, and with ours in the recommended configuration. Pods are pending when
//! the scheduler starts; nodes are bare, and nothing else moves.

use std::collections::HashSet;
use std::pin::pin;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, TryStreamExt as _};
use hyper::Method;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{
    DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use kube::{Api, Client};
use serde_json::json;

use crate::report::{Report, median};
use crate::testbed::control_plane::{self, ControlPlane};
use crate::testbed::hirl::{self, Hirl};
use crate::testbed::objects;
use crate::testbed::pki::Leaf;
use crate::testbed::placing::{self, Budget, Choices};
use crate::testbed::requests::Requests;
use crate::testbed::scheduler::{ALL, Extender, Scheduler, Setup, USER};
use crate::testbed::stub::Stub;
use crate::testbed::wait::until;

/// Namespace of the pods.
const NAMESPACE: &str = "bench";
/// Name of the scheduler under test.
const SCHEDULER: &str = "bench-scheduler";
/// Requests under way at once.
const CONCURRENCY: usize = 64;
/// Calls of `filter` that are timed.
const CALLS: usize = 2000;
/// Patience with one run.
const PATIENCE: Duration = Duration::from_mins(10);

/// Brings everything up and prints what is seen.
pub(crate) async fn run(report: &mut Report, nodes: usize, pods: usize, runs: usize) -> Result<()> {
    let options = control_plane::Options {
        controllers: None,
        scheduler: false,
        kubelets: None,
        audit: false,
    };
    let plane = ControlPlane::start(options).await?;
    hirl::install(&plane).await?;
    placing::apply_shipped(&plane, &["rbac.yaml"]).await?;
    let client = plane.client();
    objects::apply(&client, &objects::namespace(NAMESPACE, &[("domain", NAMESPACE)])?).await?;
    make_nodes(&client, nodes).await?;
    Budget::new(NAMESPACE, "P1", 1.0).apply(&plane).await?;
    let stub = Stub::start(&plane).await?;
    let mut server =
        Hirl::start(&plane, "hirl", |place| Choices::new(&["general"]).config(&plane, place))?;
    server.ready().await?;
    let settings: [(&str, Option<Extender>); 3] = [
        ("no extender", None),
        ("a stub that says yes, all verbs", Some(stub.extender(&plane, &ALL)?)),
        ("ours, as recommended", Some(placing::extender(&server, "strict"))),
    ];
    report.title(&format!(
        "A real kube-scheduler with {nodes} nodes and {pods} pending pods, {runs} runs of each in turn"
    ));
    let mut rates = [const { Vec::new() }; 3];
    for run in 1..=runs {
        for ((name, extender), rates) in settings.iter().zip(&mut rates) {
            let rate = trial(&plane, &client, extender.clone(), pods).await?;
            report.note(&format!("run {run}, {name:<32} {rate:>6.0} pods/s"));
            report.record(&json!({"figure": "placement", "with": name, "nodes": nodes,
                "pods": pods, "run": run, "pods_per_second": rate}))?;
            rates.push(rate);
        }
    }
    for ((name, _), rates) in settings.iter().zip(&rates) {
        let least = rates.iter().copied().fold(f64::INFINITY, f64::min);
        let most = rates.iter().copied().fold(0.0, f64::max);
        report.figure(&format!("{name}, min"), least, "pods/s", None)?;
        report.figure(&format!("{name}, median"), median(rates), "pods/s", None)?;
        report.figure(&format!("{name}, max"), most, "pods/s", None)?;
    }
    let [none, stub, ours] = rates.map(|rates| median(&rates));
    report.figure("ours to no extender, medians", ours / none, "x", Some(">= 1 x"))?;
    report.figure("ours to the stub, medians", ours / stub, "x", Some(">= 1.9 x"))?;
    verdicts(report, &plane, &server, nodes).await
}

/// Times `filter` over the names of all nodes, as a scheduler that looks at all of them would ask,
/// by our own histogram: from the first byte of the body to the answer.
async fn verdicts(
    report: &mut Report,
    plane: &ControlPlane,
    server: &Hirl,
    nodes: usize,
) -> Result<()> {
    let scheduler = plane.pki().cluster.issue(&Leaf::client(USER, &[]))?;
    let base = format!("https://127.0.0.1:{}", server.place().spare_port);
    let asker = Requests::tls(base, plane.pki().serving.pem(), Some(&scheduler))?;
    let names: Vec<String> = (0..nodes).map(|index| format!("node-{index:05}")).collect();
    let before = durations(plane, server).await?;
    for index in 0..CALLS {
        let body = json!({
            "Pod": {
                "metadata": {"namespace": NAMESPACE, "name": format!("asked-{index}"),
                    "uid": format!("asked-{index}")},
                "spec": {"containers": [{"name": "app", "resources": {"requests": {"cpu": "1m"}}}]},
            },
            "Nodes": null,
            "NodeNames": names,
        });
        let kind = [("content-type", "application/json")];
        let answer =
            asker.send(Method::POST, "/v1/strict/filter", &kind, &body.to_string()).await?;
        anyhow::ensure!(answer.status == 200, "{}: {}", answer.status, answer.body);
        let chosen = &answer.json()?["NodeNames"];
        anyhow::ensure!(chosen.as_array().is_some_and(|all| all.len() == 10), "{chosen}");
    }
    let after = durations(plane, server).await?;
    let grown: Vec<(f64, f64)> =
        after.iter().zip(&before).map(|(after, before)| (after.0, after.1 - before.1)).collect();
    for (share, name, goal) in [(0.5, "p50", "<= 0.3 ms"), (0.99, "p99", "<= 1 ms")] {
        let rank = share * CALLS as f64;
        let bound = grown.iter().find(|(_, count)| *count >= rank).map_or(f64::NAN, |one| one.0);
        let name = format!("filter over {nodes} names, {name}, at most");
        report.figure(&name, bound * 1e3, "ms", Some(goal))?;
    }
    Ok(())
}

/// Upper bounds (seconds) and counts of our histogram of `filter`.
async fn durations(plane: &ControlPlane, server: &Hirl) -> Result<Vec<(f64, f64)>> {
    let admin = plane.pki().cluster.issue(&Leaf::client("admin", &["system:masters"]))?;
    let text = server.requests(Some(&admin))?.text("/metrics").await?;
    let bucket = |line: &str| {
        let rest = line.strip_prefix("hirl_extender_duration_seconds_bucket{")?;
        let (labels, count) = rest.split_once("} ")?;
        let bound = labels.split("le=\"").nth(1)?.split('"').next()?;
        let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().ok()? };
        labels.contains("verb=\"filter\"").then_some((bound, count.parse().ok()?))
    };
    let mut found: Vec<(f64, f64)> = text.lines().filter_map(bucket).collect();
    found.sort_by(|a, b| a.0.total_cmp(&b.0));
    anyhow::ensure!(!found.is_empty(), "no histogram of filter");
    Ok(found)
}

/// Pods per second, from the first that is placed to the last.
async fn trial(
    plane: &ControlPlane,
    client: &Client,
    extender: Option<Extender>,
    count: usize,
) -> Result<f64> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let version = make_pods(&pods, count).await?;
    let setup = Setup::new(SCHEDULER, extender);
    let watching = tokio::spawn(watch(pods.clone(), version, count));
    let mut scheduler = Scheduler::start(plane, SCHEDULER, &setup).await?;
    let seconds = tokio::time::timeout(PATIENCE, watching)
        .await
        .with_context(|| format!("not all pods were placed; {}", scheduler.process().tail()))???;
    scheduler.process().terminate(PATIENCE).await?;
    pods.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
    until("the pods of the run to be gone", PATIENCE, async || {
        let left = pods.list_metadata(&ListParams::default().limit(1)).await?.items.len();
        anyhow::ensure!(left == 0, "some are left");
        Ok(())
    })
    .await?;
    Ok((count - 1) as f64 / seconds)
}

/// Seconds from the first pod that is placed after `version` to the last.
async fn watch(pods: Api<Pod>, mut version: String, count: usize) -> Result<f64> {
    let (mut placed, mut first) = (HashSet::new(), None);
    loop {
        let mut events = pin!(pods.watch(&WatchParams::default(), &version).await?);
        while let Some(event) = events.try_next().await? {
            let WatchEvent::Modified(pod) = event else { continue };
            version = pod.metadata.resource_version.clone().unwrap_or(version);
            if pod.spec.is_none_or(|spec| spec.node_name.is_none()) {
                continue;
            }
            let first = *first.get_or_insert_with(Instant::now);
            placed.insert(pod.metadata.name);
            if placed.len() == count {
                return Ok(first.elapsed().as_secs_f64());
            }
        }
    }
}

/// Bare nodes that are ready: nobody says otherwise, because there are no controllers.
async fn make_nodes(client: &Client, count: usize) -> Result<()> {
    let nodes: &Api<Node> = &Api::all(client.clone());
    futures::stream::iter(0..count)
        .map(|index| async move {
            let name = format!("node-{index:05}");
            objects::apply(client, &objects::node(&name, "general", 32, "128Gi")?).await?;
            let ready = json!([{
                "type": "Ready", "status": "True", "reason": "Bare", "message": "",
            }]);
            let status = Patch::Merge(json!({"status": {"conditions": ready}}));
            nodes.patch_status(&name, &PatchParams::default(), &status).await?;
            // Admission taints every new node until a controller finds it ready.
            let open = Patch::Merge(json!({"spec": {"taints": null}}));
            nodes.patch(&name, &PatchParams::default(), &open).await?;
            anyhow::Ok(())
        })
        .buffer_unordered(CONCURRENCY)
        .try_collect::<Vec<()>>()
        .await
        .context("making nodes")?;
    Ok(())
}

/// Pending pods; the version from which on to watch.
async fn make_pods(pods: &Api<Pod>, count: usize) -> Result<String> {
    futures::stream::iter(0..count)
        .map(|index| async move {
            let pod: Pod = objects::object(json!({
                "metadata": {"name": format!("pod-{index:06}")},
                "spec": {
                    "schedulerName": SCHEDULER,
                    "automountServiceAccountToken": false,
                    "terminationGracePeriodSeconds": 0,
                    "containers": [{
                        "name": "app", "image": "simulated",
                        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
                    }],
                },
            }))?;
            pods.create(&PostParams::default(), &pod).await?;
            anyhow::Ok(())
        })
        .buffer_unordered(CONCURRENCY)
        .try_collect::<Vec<()>>()
        .await
        .context("making pods")?;
    let list = pods.list_metadata(&ListParams::default().limit(1)).await?;
    list.metadata.resource_version.context("a list without a version")
}
