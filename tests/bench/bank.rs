//! The cluster that is measured: 1,550 apps in 5 domains with 10,000 running pods on 300 nodes.
//!
//! Nothing runs and nothing moves: pods and nodes are created with their status, and there are no
//! controllers, so that the machine is left to what is measured. What `hirl` sees is the same.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::routing::get;
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

use crate::testbed::control_plane::ControlPlane;
use crate::testbed::objects::{self, Autoscaler};
use crate::{APPS, DOMAINS};

/// Pods in all.
pub(crate) const PODS: usize = 10_000;
/// Nodes of 32 cores that they run on.
const NODES: usize = 300;
/// CPU request of a pod over its containers, in cores.
const REQUEST: f64 = 0.25;
/// The CPU target of an HPA that does not say otherwise.
const TARGET: f64 = 0.7;
/// Requests under way at once.
const CONCURRENCY: usize = 64;

/// One app of the bank.
#[derive(Debug, Clone)]
pub(crate) struct App {
    /// Its namespace; there is one a domain.
    pub(crate) namespace: String,
    /// Name of its Deployment and its HPA.
    pub(crate) name: String,
    /// Its pods, all ready.
    pub(crate) pods: usize,
}

/// Every app. The pods are spread as evenly as whole numbers allow.
pub(crate) fn apps() -> Vec<App> {
    let pods = |index: usize| PODS * (index + 1) / APPS - PODS * index / APPS;
    let app = |index: usize| App {
        namespace: format!("bank-{}", index % DOMAINS),
        name: format!("payments-service-{index:04}"),
        pods: pods(index),
    };
    (0..APPS).map(app).collect()
}

/// Creates everything.
pub(crate) async fn build(plane: &ControlPlane, apps: &[App]) -> Result<()> {
    let client = plane.client();
    let mut domains = String::new();
    for index in 0..DOMAINS {
        let (namespace, class) = (format!("bank-{index}"), index.min(3));
        objects::apply(&client, &objects::namespace(&namespace, &[("bank", &namespace)])?).await?;
        let domain = json!({
            "apiVersion": "hirl-scale.io/v1alpha1",
            "kind": "Domain",
            "metadata": {"name": namespace},
            "spec": {
                "class": format!("P{class}"),
                "weight": 0.2,
                "slo": {"p99": "200ms", "errorRatio": 0.01},
                "namespaceSelector": {"matchLabels": {"bank": namespace}},
            },
        });
        let _ = writeln!(domains, "---\n{domain}");
    }
    let domains = plane.scratch().write("domains.yaml", &domains)?;
    let domains = domains.to_str().context("the scratch folder's name")?;
    plane.kubectl(&["apply", "--server-side", "-f", domains]).await?;

    let nodes = (0..NODES).map(node).collect::<Result<Vec<_>>>()?;
    create(nodes, &|_| Api::<Node>::all(client.clone())).await?;
    let deployments = apps.iter().map(deployment).collect::<Result<Vec<_>>>()?;
    create(deployments, &|object| namespaced::<Deployment>(&client, object)).await?;
    let hpas =
        apps.iter().map(|app| Autoscaler::following(&app.namespace, &app.name, 1, 40).object());
    objects::create_all(&client, hpas.collect::<Result<Vec<_>>>()?).await?;
    let pods = apps.iter().flat_map(|app| (0..app.pods).map(|pod| self::pod(app, pod)));
    create(pods.collect::<Result<Vec<_>>>()?, &|object| namespaced::<Pod>(&client, object)).await
}

fn namespaced<K>(client: &Client, object: &K) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    Api::namespaced(client.clone(), object.meta().namespace.as_deref().unwrap_or_default())
}

/// Creates objects and then gives them their status, many at a time.
async fn create<K>(objects: Vec<(K, Value)>, api: &impl Fn(&K) -> Api<K>) -> Result<()>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Serialize + std::fmt::Debug,
{
    futures::stream::iter(objects)
        .map(|(object, status)| async move {
            let name = object.meta().name.clone().unwrap_or_default();
            let api = api(&object);
            let made = || format!("creating {} {name}", K::kind(&()));
            api.create(&PostParams::default(), &object).await.with_context(made)?;
            let patch = Patch::Merge(json!({ "status": status }));
            api.patch_status(&name, &PatchParams::default(), &patch).await.with_context(made)?;
            anyhow::Ok(())
        })
        .buffer_unordered(CONCURRENCY)
        .try_collect()
        .await
}

fn node(index: usize) -> Result<(Node, Value)> {
    let node = objects::node(&format!("node-{index:03}"), "general", 32, "128Gi")?;
    let room = json!({"cpu": "32", "memory": "128Gi", "pods": "110"});
    let ready = json!([{"type": "Ready", "status": "True", "reason": "KubeletReady",
        "message": "kubelet is posting ready status"}]);
    Ok((node, json!({"allocatable": room, "capacity": room, "conditions": ready})))
}

fn deployment(app: &App) -> Result<(Deployment, Value)> {
    let object = objects::object(json!({
        "metadata": {"namespace": app.namespace, "name": app.name, "labels": {"app": app.name}},
        "spec": {
            "replicas": app.pods,
            "selector": {"matchLabels": {"app": app.name}},
            "template": {"metadata": {"labels": {"app": app.name}}, "spec": pod_spec(&app.name)},
        },
    }))?;
    let count = app.pods;
    Ok((
        object,
        json!({
            "observedGeneration": 1, "replicas": count, "updatedReplicas": count,
            "readyReplicas": count, "availableReplicas": count,
        }),
    ))
}

/// Of the size that pods have in a cluster with a mesh: about 5 kB.
fn pod_spec(app: &str) -> Value {
    let variables: Vec<Value> = (0..12)
        .map(|index| json!({"name": format!("SETTING_{index}"), "value": format!("{app}-value-{index}")}))
        .collect();
    let container = |name: &str, cpu: &str, memory: &str| {
        json!({
            "name": name,
            "image": format!("registry.example/bank/{name}@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"),
            "env": variables,
            "ports": [{"containerPort": 8080, "name": format!("{name}-http")}],
            "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}},
            "livenessProbe": {"httpGet": {"path": "/live", "port": 8080}},
            "resources": {"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": memory}},
        })
    };
    json!({
        "automountServiceAccountToken": false,
        "containers": [container("app", "200m", "512Mi"), container("proxy", "50m", "128Mi")],
    })
}

fn pod(app: &App, index: usize) -> Result<(Pod, Value)> {
    let mut spec = pod_spec(&app.name);
    spec["nodeName"] =
        format!("node-{:03}", (index * 31 + app.name.len() + app.pods) % NODES).into();
    let object = objects::object(json!({
        "metadata": {
            "namespace": app.namespace,
            "name": format!("{}-7c9d5b8f64-{index:05}", app.name),
            "labels": {
                "app": app.name, "pod-template-hash": "7c9d5b8f64", "version": "v1",
                "security.istio.io/tlsMode": "istio",
                "service.istio.io/canonical-name": app.name,
            },
        },
        "spec": spec,
    }))?;
    let conditions: Vec<Value> = ["PodScheduled", "Initialized", "ContainersReady", "Ready"]
        .map(|condition| {
            json!({"type": condition, "status": "True",
            "lastTransitionTime": "2026-01-01T00:00:00Z"})
        })
        .to_vec();
    let containers: Vec<Value> = ["app", "proxy"]
        .map(|name| {
            json!({
                "name": name, "ready": true, "started": true, "restartCount": 0, "image": name,
                "imageID": name, "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
            })
        })
        .to_vec();
    Ok((
        object,
        json!({
            "phase": "Running", "conditions": conditions, "containerStatuses": containers,
            "startTime": "2026-01-01T00:00:00Z", "qosClass": "Burstable",
        }),
    ))
}

/// Where Prometheus finds the apps' load: around what their present count answers, changing from
/// scrape to scrape so that every decision has something to do.
pub(crate) async fn serve_load(
    apps: &[App],
) -> Result<(std::net::SocketAddr, AbortOnDropHandle<()>)> {
    let listener =
        tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.context("listening on loopback")?;
    let address = listener.local_addr().context("the address of the load")?;
    let (apps, started): (Arc<[App]>, _) = (apps.into(), Instant::now());
    let page = get(async move || {
        let text = exposition(&apps, started.elapsed().as_secs_f64());
        ([("content-type", "text/plain; version=0.0.4")], text)
    });
    let server = tokio::spawn(async move {
        // Ends with the runtime; there is nobody to tell.
        let _ = axum::serve(listener, Router::new().route("/metrics", page)).await;
    });
    Ok((address, AbortOnDropHandle::new(server)))
}

fn exposition(apps: &[App], seconds: f64) -> String {
    /// What an app of this many pods shows under a wave of 0.98 to 1.02.
    type Read = fn(pods: f64, wave: f64) -> f64;
    let families: [(&str, Read); 5] = [
        ("twin_app_rps", |pods, wave| pods * 40.0 * wave),
        ("twin_app_p99_seconds", |_, wave| 0.08 * wave),
        ("twin_app_error_ratio", |_, wave| 0.001 * wave),
        ("twin_app_cpu_cores", |pods, wave| (pods - 0.5) * REQUEST * TARGET * wave),
        ("twin_app_memory_bytes", |pods, wave| pods * 400e6 * wave),
    ];
    let mut text = String::with_capacity(apps.len() * 512);
    for (family, read) in families {
        // Writing into a string cannot fail.
        let _ = writeln!(text, "# TYPE {family} gauge");
        for (index, app) in apps.iter().enumerate() {
            let wave = 1.0 + 0.02 * (seconds / 30.0 + index as f64).sin();
            let value = read(app.pods as f64, wave);
            let (namespace, name) = (&app.namespace, &app.name);
            let _ =
                writeln!(text, "{family}{{namespace=\"{namespace}\",workload=\"{name}\"}} {value}");
        }
    }
    text
}
