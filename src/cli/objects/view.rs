//! The few fields of Kubernetes objects that the verbs look at. Lenient on purpose: absent fields
//! are defaults, unknown ones are ignored, so that objects of any served version can be read.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cluster::quantity;

/// A quantity with the text it was written as.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Amount {
    /// As written: `512Mi`, `250m`.
    pub text: String,
    /// Cores, bytes or a plain number.
    pub value: f64,
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = String;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a quantity such as 250m, 1.5 or 512Mi")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
                Ok(text.to_owned())
            }

            // YAML writes `cpu: 1` without quotes.
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<String, E> {
                Ok(number.to_string())
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<String, E> {
                Ok(number.to_string())
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<String, E> {
                Ok(number.to_string())
            }
        }
        let text = deserializer.deserialize_any(Text)?;
        let value = quantity::parse(&text).map_err(de::Error::custom)?;
        Ok(Self { text, value })
    }
}

/// Who an object is.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Meta {
    /// Name.
    pub name: String,
    /// Namespace; empty for a cluster-scoped object.
    pub namespace: String,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
}

/// A `HorizontalPodAutoscaler`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Hpa {
    /// Who.
    pub metadata: Meta,
    /// What is wanted.
    pub spec: HpaSpec,
    /// What the controller saw last; empty in most files.
    pub status: HpaStatus,
}

/// Its `spec`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HpaSpec {
    /// What it scales.
    pub scale_target_ref: Reference,
    /// Lower bound; 1 when absent.
    pub min_replicas: Option<i32>,
    /// Upper bound.
    pub max_replicas: i32,
    /// What it reads.
    pub metrics: Vec<Metric>,
    /// How fast it may act.
    pub behavior: Behavior,
}

/// Another object of the same namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(default)]
pub struct Reference {
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for Reference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.kind, self.name)
    }
}

/// One entry of `spec.metrics`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Metric {
    /// `Resource`, `ContainerResource`, `External`, `Pods` or `Object`.
    #[serde(rename = "type")]
    pub kind: String,
    /// For `Resource`.
    pub resource: Option<ResourceMetric>,
    /// For `ContainerResource`.
    pub container_resource: Option<ResourceMetric>,
    /// For `External`.
    pub external: Option<NamedMetric>,
    /// For `Pods`.
    pub pods: Option<NamedMetric>,
    /// For `Object`.
    pub object: Option<NamedMetric>,
}

/// A metric on a resource of the pods, or of one container of each.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ResourceMetric {
    /// `cpu` or `memory`.
    pub name: String,
    /// For `ContainerResource`.
    pub container: Option<String>,
    /// What is aimed at.
    pub target: Target,
    /// In `status.currentMetrics`: what was measured.
    pub current: Target,
}

/// A metric by name.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct NamedMetric {
    /// Which.
    pub metric: MetricName,
    /// What is aimed at.
    pub target: Target,
}

/// Name and selector of a metric.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct MetricName {
    /// Name.
    pub name: String,
    /// Which series.
    pub selector: Option<Selector>,
}

/// A label selector.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Selector {
    /// Exact values.
    pub match_labels: BTreeMap<String, String>,
    /// Sets of values.
    pub match_expressions: Vec<Requirement>,
}

/// One line of a label selector.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Requirement {
    /// Label.
    pub key: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: String,
    /// For `In` and `NotIn`.
    pub values: Vec<String>,
}

/// A target, or a measured value in the same shape.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Target {
    /// `Utilization`, `AverageValue` or `Value`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Percent of the request.
    pub average_utilization: Option<i32>,
    /// Per pod.
    pub average_value: Option<Amount>,
    /// In all.
    pub value: Option<Amount>,
}

/// `spec.behavior`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Behavior {
    /// On the way up.
    pub scale_up: Option<Rules>,
    /// On the way down.
    pub scale_down: Option<Rules>,
}

/// One direction of it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Rules {
    /// Seconds over which the safest recommendation wins.
    pub stabilization_window_seconds: Option<u32>,
    /// `Max`, `Min` or `Disabled`.
    pub select_policy: Option<String>,
    /// How much per period.
    pub policies: Vec<Policy>,
    /// Relative change that is ignored.
    pub tolerance: Option<Amount>,
}

/// One rate limit.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Policy {
    /// `Pods` or `Percent`.
    #[serde(rename = "type")]
    pub kind: String,
    /// How many.
    pub value: u32,
    /// Per how many seconds.
    pub period_seconds: u32,
}

/// `status` of an HPA.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HpaStatus {
    /// Pods seen.
    pub current_replicas: Option<u32>,
    /// What was measured.
    pub current_metrics: Vec<Metric>,
}

impl Hpa {
    /// Lower bound.
    pub fn min(&self) -> i32 {
        self.spec.min_replicas.unwrap_or(1)
    }

    /// Its metrics of the external metric `name`.
    pub fn external<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a NamedMetric> {
        self.spec
            .metrics
            .iter()
            .filter_map(|metric| metric.external.as_ref())
            .filter(move |external| external.metric.name == name)
    }

    /// Its targets on the resource `name` of whole pods or single containers.
    pub fn resource<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a ResourceMetric> {
        self.spec
            .metrics
            .iter()
            .filter_map(Metric::on_resource)
            .filter(move |it| it.name == name)
    }
}

impl Metric {
    /// The resource it is about, if it is about one.
    pub fn on_resource(&self) -> Option<&ResourceMetric> {
        self.resource.as_ref().or(self.container_resource.as_ref())
    }

    /// In words: `cpu 50 %`, `external queue-length`.
    pub fn describe(&self) -> String {
        if let Some(resource) = self.on_resource() {
            let target = match (
                &resource.target.average_utilization,
                &resource.target.average_value,
            ) {
                (Some(percent), _) => format!(" {percent} %"),
                (None, Some(amount)) => format!(" {}", amount.text),
                (None, None) => String::new(),
            };
            return format!("{}{target}", resource.name);
        }
        let named = self
            .external
            .as_ref()
            .or(self.pods.as_ref())
            .or(self.object.as_ref());
        let name = named.map_or("", |named| named.metric.name.as_str());
        format!("{} {name}", self.kind.to_lowercase())
    }
}

/// A scale target: anything with a pod template.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Workload {
    /// `Deployment`, `StatefulSet` ...
    pub kind: String,
    /// Who.
    pub metadata: Meta,
    /// Its template.
    pub spec: WorkloadSpec,
}

/// `spec` of a workload.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct WorkloadSpec {
    /// The pods to be.
    pub template: Template,
}

/// A pod template.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Template {
    /// Of its pods.
    pub spec: PodSpec,
}

/// The containers of a pod.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodSpec {
    /// Side by side.
    pub containers: Vec<Container>,
    /// One after another, except sidecars.
    pub init_containers: Vec<Container>,
}

/// A container.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Container {
    /// Name.
    pub name: String,
    /// `Always` makes an init container a sidecar, which counts.
    pub restart_policy: Option<String>,
    /// What it asks for.
    pub resources: Resources,
}

/// Requests and limits of a container.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Requests by resource.
    pub requests: BTreeMap<String, Amount>,
    /// Limits by resource; they stand in for absent requests.
    pub limits: BTreeMap<String, Amount>,
}

impl Workload {
    /// What one pod requests of `resource`; `None` when a container that counts requests none.
    pub fn request(&self, resource: &str) -> Option<f64> {
        let pod = &self.spec.template.spec;
        let sidecars = pod
            .init_containers
            .iter()
            .filter(|it| it.restart_policy.as_deref() == Some("Always"));
        let containers: Vec<&Container> = pod.containers.iter().chain(sidecars).collect();
        if containers.is_empty() {
            return None;
        }
        containers
            .into_iter()
            .map(|container| container.request(resource))
            .sum()
    }

    /// The same for one container by name.
    pub fn container_request(&self, container: &str, resource: &str) -> Option<f64> {
        self.spec
            .template
            .spec
            .containers
            .iter()
            .find(|it| it.name == container)?
            .request(resource)
    }
}

impl Container {
    fn request(&self, resource: &str) -> Option<f64> {
        let resources = &self.resources;
        let amount = resources
            .requests
            .get(resource)
            .or_else(|| resources.limits.get(resource))?;
        Some(amount.value)
    }
}

/// A `VerticalPodAutoscaler`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Vpa {
    /// Who.
    pub metadata: Meta,
    /// What is wanted.
    pub spec: VpaSpec,
}

/// Its `spec`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct VpaSpec {
    /// Whose requests it sets.
    pub target_ref: Reference,
    /// Whether it acts.
    pub update_policy: UpdatePolicy,
    /// What it acts on.
    pub resource_policy: ResourcePolicy,
}

/// When a VPA acts.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct UpdatePolicy {
    /// `Off` only recommends.
    pub update_mode: Option<String>,
}

/// On what a VPA acts.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ResourcePolicy {
    /// Per container.
    pub container_policies: Vec<ContainerPolicy>,
}

/// One container of a VPA.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ContainerPolicy {
    /// `Off` leaves the container alone.
    pub mode: Option<String>,
    /// Both when absent.
    pub controlled_resources: Option<Vec<String>>,
}

impl Vpa {
    /// Whether it changes CPU requests of at least one container.
    pub fn changes_cpu(&self) -> bool {
        let acts = |mode: Option<&str>| mode != Some("Off");
        let policies = &self.spec.resource_policy.container_policies;
        let on_cpu = |policy: &ContainerPolicy| {
            let named = policy.controlled_resources.as_ref();
            acts(policy.mode.as_deref())
                && named.is_none_or(|names| names.iter().any(|name| name == "cpu"))
        };
        acts(self.spec.update_policy.update_mode.as_deref())
            && (policies.is_empty() || policies.iter().any(on_cpu))
    }
}

/// A node.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Node {
    /// Who.
    pub metadata: Meta,
    /// Whether it takes pods.
    pub spec: NodeSpec,
    /// What it has.
    pub status: NodeStatus,
}

/// `spec` of a node.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct NodeSpec {
    /// Cordoned.
    pub unschedulable: bool,
    /// Who is kept away.
    pub taints: Vec<Taint>,
}

/// A taint.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Taint {
    /// Key.
    pub key: String,
}

/// `status` of a node.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct NodeStatus {
    /// What pods may request, by resource.
    pub allocatable: BTreeMap<String, Amount>,
}

impl Node {
    /// Whether ordinary pods can be placed on it.
    pub fn takes_pods(&self) -> bool {
        let control_plane = |taint: &Taint| taint.key == "node-role.kubernetes.io/control-plane";
        !self.spec.unschedulable && !self.spec.taints.iter().any(control_plane)
    }
}

/// Drops every `null`, which Kubernetes reads as absent.
pub fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => map
            .into_iter()
            .filter(|(_, inner)| !inner.is_null())
            .map(|(key, inner)| (key, without_nulls(inner)))
            .collect(),
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        other => other,
    }
}
