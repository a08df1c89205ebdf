//! Kubernetes objects that tests need, made concurrently: hundreds of apps in seconds.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Namespace, Node, Service};
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::wait::until;

/// The metric that `hirl` serves.
pub const METRIC: &str = "hirl-desired-replicas";

/// Requests under way at once when many objects are made.
const CONCURRENCY: usize = 32;

/// Who writes, for server-side apply.
const MANAGER: &str = "testbed";

/// One app: a Deployment that KWOK runs.
#[derive(Debug, Clone)]
pub struct Workload<'a> {
    /// Namespace, which must exist.
    pub namespace: &'a str,
    /// Name of the Deployment, and value of the label `app` of its pods.
    pub name: &'a str,
    /// Replicas to begin with.
    pub replicas: u32,
    /// CPU request of a pod, as a quantity.
    pub cpu: &'a str,
    /// Memory request and limit of a pod, as a quantity.
    pub memory: &'a str,
    /// Annotations of its pods, such as `testbed.hirl-scale.io/ready-after`.
    pub annotations: &'a [(&'a str, &'a str)],
}

impl<'a> Workload<'a> {
    /// One replica that requests 100 milli-cores and 64 Mi.
    pub fn small(namespace: &'a str, name: &'a str) -> Self {
        Self { namespace, name, replicas: 1, cpu: "100m", memory: "64Mi", annotations: &[] }
    }

    /// Its Deployment.
    pub fn deployment(&self) -> Result<Deployment> {
        let annotations: BTreeMap<_, _> = self.annotations.iter().copied().collect();
        object(json!({
            "metadata": {"namespace": self.namespace, "name": self.name},
            "spec": {
                "replicas": self.replicas,
                "selector": {"matchLabels": {"app": self.name}},
                "template": {
                    "metadata": {"labels": {"app": self.name}, "annotations": annotations},
                    "spec": {
                        "automountServiceAccountToken": false,
                        "terminationGracePeriodSeconds": 0,
                        "containers": [{
                            "name": "app",
                            "image": "simulated",
                            "resources": {
                                "requests": {"cpu": self.cpu, "memory": self.memory},
                                "limits": {"memory": self.memory},
                            },
                        }],
                    },
                },
            },
        }))
    }
}

/// How an HPA may move; see [`Autoscaler::behavior`].
pub fn immediate(tolerance: Option<&str>) -> Value {
    let mut rules = json!({
        "stabilizationWindowSeconds": 0,
        "selectPolicy": "Max",
        "policies": [{"type": "Percent", "value": 100_000, "periodSeconds": 1}],
    });
    if let Some(tolerance) = tolerance {
        rules["tolerance"] = tolerance.into();
    }
    let mut down = rules.clone();
    down["policies"][0]["value"] = 100.into();
    json!({"scaleUp": rules, "scaleDown": down})
}

/// One HPA, with the name of its target.
#[derive(Debug, Clone)]
pub struct Autoscaler<'a> {
    /// Namespace.
    pub namespace: &'a str,
    /// Its own name.
    pub name: &'a str,
    /// The Deployment that it scales.
    pub target: &'a str,
    /// Lower bound.
    pub min: u32,
    /// Upper bound.
    pub max: u32,
    /// `spec.metrics`.
    pub metrics: Vec<Value>,
    /// `spec.behavior`; `Value::Null` leaves it out.
    pub behavior: Value,
    /// Annotations.
    pub annotations: &'a [(&'a str, &'a str)],
}

impl<'a> Autoscaler<'a> {
    /// Follows `hirl` without a dead band and without waiting.
    pub fn following(namespace: &'a str, target: &'a str, min: u32, max: u32) -> Self {
        Self {
            namespace,
            name: target,
            target,
            min,
            max,
            metrics: vec![external(target)],
            behavior: immediate(Some("0")),
            annotations: &[],
        }
    }

    /// A plain one on utilisation: pairs of resource and percent of the request.
    pub fn plain(
        namespace: &'a str,
        target: &'a str,
        min: u32,
        max: u32,
        targets: &[(&str, u32)],
    ) -> Self {
        let metrics = targets.iter().map(|&(resource, percent)| {
            json!({"type": "Resource", "resource": {
                "name": resource,
                "target": {"type": "Utilization", "averageUtilization": percent},
            }})
        });
        Self {
            metrics: metrics.collect(),
            behavior: Value::Null,
            ..Self::following(namespace, target, min, max)
        }
    }

    /// Its object.
    pub fn object(&self) -> Result<HorizontalPodAutoscaler> {
        let annotations: BTreeMap<_, _> = self.annotations.iter().copied().collect();
        object(json!({
            "metadata": {
                "namespace": self.namespace, "name": self.name, "annotations": annotations,
            },
            "spec": {
                "scaleTargetRef":
                    {"apiVersion": "apps/v1", "kind": "Deployment", "name": self.target},
                "minReplicas": self.min,
                "maxReplicas": self.max,
                "metrics": self.metrics,
                "behavior": self.behavior,
            },
        }))
    }
}

/// Our metric for the scale target `target`, as an entry of `spec.metrics`.
pub fn external(target: &str) -> Value {
    json!({"type": "External", "external": {
        "metric": {"name": METRIC, "selector": {"matchLabels": {"target": target}}},
        "target": {"type": "AverageValue", "averageValue": "1"},
    }})
}

/// A namespace with labels.
pub fn namespace(name: &str, labels: &[(&str, &str)]) -> Result<Namespace> {
    let labels: BTreeMap<_, _> = labels.iter().copied().collect();
    object(json!({"metadata": {"name": name, "labels": labels}}))
}

/// A simulated node of `pool` with this much room, and for 500 pods.
pub fn node(name: &str, pool: &str, cpu: u32, memory: &str) -> Result<Node> {
    let room = json!({"cpu": cpu.to_string(), "memory": memory, "pods": "500"});
    object(json!({
        "metadata": {
            "name": name,
            "annotations": {"kwok.x-k8s.io/node": "fake"},
            "labels": {
                "hirl-scale.io/pool": pool,
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
            },
        },
        "status": {"allocatable": room, "capacity": room},
    }))
}

/// Routes `v1beta1` of an API group to `port` of this machine and waits until it is available: the
/// Service that says where, and the `APIService` that says which CA (PEM) to trust.
pub async fn register(
    client: &Client,
    group: &str,
    (namespace, service): (&str, &str),
    port: u16,
    authority: &str,
) -> Result<()> {
    let service_object: Service = object(json!({
        "metadata": {"namespace": namespace, "name": service},
        "spec": {
            "type": "ExternalName",
            "externalName": "localhost",
            "ports": [{"port": port, "protocol": "TCP"}],
        },
    }))?;
    let name = format!("v1beta1.{group}");
    let registration: APIService = object(json!({
        "metadata": {"name": name},
        "spec": {
            "group": group,
            "version": "v1beta1",
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "caBundle": ByteString(authority.as_bytes().to_vec()),
            "service": {"namespace": namespace, "name": service, "port": port},
        },
    }))?;
    apply_namespaced(client, &service_object).await?;
    apply(client, &registration).await?;
    available(client, &name, Duration::from_mins(1)).await
}

/// An object from its JSON, without `apiVersion` and `kind`.
pub fn object<K: DeserializeOwned>(content: Value) -> Result<K> {
    serde_json::from_value(content).context("making an object")
}

/// Creates one object of the whole cluster, or brings it to this state.
pub async fn apply<K>(client: &Client, item: &K) -> Result<()>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Serialize + Debug,
{
    apply_in(&Api::all(client.clone()), item).await
}

/// Creates one object of a namespace, or brings it to this state.
pub async fn apply_namespaced<K>(client: &Client, item: &K) -> Result<()>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Serialize
        + Debug,
{
    let namespace = item.meta().namespace.as_deref().context("an object without a namespace")?;
    apply_in(&Api::namespaced(client.clone(), namespace), item).await
}

async fn apply_in<K>(api: &Api<K>, item: &K) -> Result<()>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Serialize + Debug,
{
    let name = item.meta().name.as_deref().context("an object without a name")?;
    api.patch(name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(item))
        .await
        .with_context(|| format!("applying {} {name}", K::kind(&())))?;
    Ok(())
}

/// Creates many objects of namespaces, many at a time. They must not exist.
pub async fn create_all<K>(client: &Client, items: Vec<K>) -> Result<()>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Serialize
        + Debug,
{
    futures::stream::iter(items)
        .map(|item| async move {
            let namespace = item.meta().namespace.as_deref().unwrap_or_default().to_owned();
            let name = item.meta().name.clone().unwrap_or_default();
            let api: Api<K> = Api::namespaced(client.clone(), &namespace);
            api.create(&PostParams::default(), &item)
                .await
                .with_context(|| format!("creating {} {namespace}/{name}", K::kind(&())))?;
            anyhow::Ok(())
        })
        .buffer_unordered(CONCURRENCY)
        .try_collect()
        .await
}

/// Waits until the `APIService` called `name` is available.
pub async fn available(client: &Client, name: &str, within: Duration) -> Result<()> {
    let what = format_args!("APIService {name} to be available");
    until(what, within, async || is_available(client, name).await).await
}

/// Fails when an APIService is not available at the moment.
pub async fn is_available(client: &Client, name: &str) -> Result<()> {
    let found = Api::<APIService>::all(client.clone()).get(name).await?;
    let conditions = found.status.and_then(|status| status.conditions).unwrap_or_default();
    let condition = conditions.iter().find(|condition| condition.type_ == "Available");
    let condition = condition.context("it has no condition Available")?;
    ensure!(
        condition.status == "True",
        "{}: {}",
        condition.reason.as_deref().unwrap_or_default(),
        condition.message.as_deref().unwrap_or_default()
    );
    Ok(())
}

/// `spec.replicas` of a Deployment: what its HPA asked for last.
pub async fn spec_replicas(client: &Client, namespace: &str, name: &str) -> Result<u32> {
    let api: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let found = api.get(name).await.with_context(|| format!("reading {namespace}/{name}"))?;
    let replicas = found.spec.and_then(|spec| spec.replicas).unwrap_or(1);
    u32::try_from(replicas).context("a negative replica count")
}

/// Ready pods of a Deployment.
pub async fn ready_replicas(client: &Client, namespace: &str, name: &str) -> Result<u32> {
    let api: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let found = api.get(name).await.with_context(|| format!("reading {namespace}/{name}"))?;
    let ready = found.status.and_then(|status| status.ready_replicas).unwrap_or(0);
    u32::try_from(ready).context("a negative replica count")
}

/// Waits until a Deployment is asked for exactly `replicas`.
pub async fn scaled_to(
    client: &Client,
    namespace: &str,
    name: &str,
    replicas: u32,
    within: Duration,
) -> Result<()> {
    until(format_args!("{namespace}/{name} at {replicas} replicas"), within, async || {
        let now = spec_replicas(client, namespace, name).await?;
        ensure!(now == replicas, "it stands at {now}");
        Ok(())
    })
    .await
}

/// Waits until a Deployment has exactly `replicas` ready pods.
pub async fn ready(
    client: &Client,
    namespace: &str,
    name: &str,
    replicas: u32,
    within: Duration,
) -> Result<()> {
    until(format_args!("{replicas} ready pods of {namespace}/{name}"), within, async || {
        let now = ready_replicas(client, namespace, name).await?;
        ensure!(now == replicas, "{now} are ready");
        Ok(())
    })
    .await
}

/// The status of one condition of an HPA with its reason, such as `("True", "ValidMetricFound")`.
pub async fn hpa_condition(
    client: &Client,
    namespace: &str,
    name: &str,
    condition: &str,
) -> Result<(String, String)> {
    let api: Api<HorizontalPodAutoscaler> = Api::namespaced(client.clone(), namespace);
    let found = api.get(name).await.with_context(|| format!("reading HPA {namespace}/{name}"))?;
    let conditions = found.status.and_then(|status| status.conditions).unwrap_or_default();
    let found = conditions.into_iter().find(|found| found.type_ == condition);
    let found = found.with_context(|| format!("HPA {namespace}/{name} has no {condition} yet"))?;
    Ok((found.status, found.reason.unwrap_or_default()))
}

/// Deletes an object of a namespace and does not wait.
pub async fn delete<K>(client: &Client, namespace: &str, name: &str) -> Result<()>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Debug,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    api.delete(name, &DeleteParams::background())
        .await
        .with_context(|| format!("deleting {} {namespace}/{name}", K::kind(&())))?;
    Ok(())
}
