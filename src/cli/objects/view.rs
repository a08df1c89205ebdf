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
pub(crate) struct Amount {
    /// As written: `512Mi`, `250m`.
    pub(crate) text: String,
    /// Cores, bytes or a plain number.
    pub(crate) value: f64,
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
pub(crate) struct Meta {
    /// Name.
    pub(crate) name: String,
    /// Namespace; empty for a cluster-scoped object.
    pub(crate) namespace: String,
    /// Annotations.
    pub(crate) annotations: BTreeMap<String, String>,
}

/// A `HorizontalPodAutoscaler`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Hpa {
    /// Who.
    pub(crate) metadata: Meta,
    /// What is wanted.
    pub(crate) spec: HpaSpec,
    /// What the controller saw last; empty in most files.
    pub(crate) status: HpaStatus,
}

/// Its `spec`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct HpaSpec {
    /// What it scales.
    pub(crate) scale_target_ref: Reference,
    /// Lower bound; 1 when absent.
    pub(crate) min_replicas: Option<i32>,
    /// Upper bound.
    pub(crate) max_replicas: i32,
    /// What it reads.
    pub(crate) metrics: Vec<Metric>,
    /// How fast it may act.
    pub(crate) behavior: Behavior,
}

/// Another object of the same namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(default)]
pub(crate) struct Reference {
    /// Its kind.
    pub(crate) kind: String,
    /// Its name.
    pub(crate) name: String,
}

impl fmt::Display for Reference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.kind, self.name)
    }
}

/// One entry of `spec.metrics`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Metric {
    /// `Resource`, `ContainerResource`, `External`, `Pods` or `Object`.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// For `Resource`.
    pub(crate) resource: Option<ResourceMetric>,
    /// For `ContainerResource`.
    pub(crate) container_resource: Option<ResourceMetric>,
    /// For `External`.
    pub(crate) external: Option<NamedMetric>,
    /// For `Pods`.
    pub(crate) pods: Option<NamedMetric>,
    /// For `Object`.
    pub(crate) object: Option<NamedMetric>,
}

/// A metric on a resource of the pods, or of one container of each.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ResourceMetric {
    /// `cpu` or `memory`.
    pub(crate) name: String,
    /// For `ContainerResource`.
    pub(crate) container: Option<String>,
    /// What is aimed at.
    pub(crate) target: Target,
    /// In `status.currentMetrics`: what was measured.
    pub(crate) current: Target,
}

/// A metric by name.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct NamedMetric {
    /// Which.
    pub(crate) metric: MetricName,
    /// What is aimed at.
    pub(crate) target: Target,
}

/// Name and selector of a metric.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct MetricName {
    /// Name.
    pub(crate) name: String,
    /// Which series.
    pub(crate) selector: Option<Selector>,
}

/// A label selector.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Selector {
    /// Exact values.
    pub(crate) match_labels: BTreeMap<String, String>,
    /// Sets of values.
    pub(crate) match_expressions: Vec<Requirement>,
}

/// One line of a label selector.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Requirement {
    /// Label.
    pub(crate) key: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub(crate) operator: String,
    /// For `In` and `NotIn`.
    pub(crate) values: Vec<String>,
}

/// A target, or a measured value in the same shape.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Target {
    /// `Utilization`, `AverageValue` or `Value`.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// Percent of the request.
    pub(crate) average_utilization: Option<i32>,
    /// Per pod.
    pub(crate) average_value: Option<Amount>,
    /// In all.
    pub(crate) value: Option<Amount>,
}

/// `spec.behavior`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Behavior {
    /// On the way up.
    pub(crate) scale_up: Option<Rules>,
    /// On the way down.
    pub(crate) scale_down: Option<Rules>,
}

/// One direction of it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Rules {
    /// Seconds over which the safest recommendation wins.
    pub(crate) stabilization_window_seconds: Option<u32>,
    /// `Max`, `Min` or `Disabled`.
    pub(crate) select_policy: Option<String>,
    /// How much per period.
    pub(crate) policies: Vec<Policy>,
    /// Relative change that is ignored.
    pub(crate) tolerance: Option<Amount>,
}

/// One rate limit.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Policy {
    /// `Pods` or `Percent`.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// How many.
    pub(crate) value: u32,
    /// Per how many seconds.
    pub(crate) period_seconds: u32,
}

/// `status` of an HPA.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct HpaStatus {
    /// Pods seen.
    pub(crate) current_replicas: Option<u32>,
    /// What was measured.
    pub(crate) current_metrics: Vec<Metric>,
}

impl Hpa {
    /// Lower bound.
    pub(crate) fn min(&self) -> i32 {
        self.spec.min_replicas.unwrap_or(1)
    }

    /// Its metrics of the external metric `name`.
    pub(crate) fn external<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a NamedMetric> {
        self.spec
            .metrics
            .iter()
            .filter_map(|metric| metric.external.as_ref())
            .filter(move |external| external.metric.name == name)
    }

    /// Its targets on the resource `name` of whole pods or single containers.
    pub(crate) fn resource<'a>(
        &'a self,
        name: &'a str,
    ) -> impl Iterator<Item = &'a ResourceMetric> {
        self.spec.metrics.iter().filter_map(Metric::on_resource).filter(move |it| it.name == name)
    }
}

impl Metric {
    /// The resource it is about, if it is about one.
    pub(crate) fn on_resource(&self) -> Option<&ResourceMetric> {
        self.resource.as_ref().or(self.container_resource.as_ref())
    }

    /// In words: `cpu 50 %`, `external queue-length`.
    pub(crate) fn describe(&self) -> String {
        if let Some(resource) = self.on_resource() {
            let target =
                match (&resource.target.average_utilization, &resource.target.average_value) {
                    (Some(percent), _) => format!(" {percent} %"),
                    (None, Some(amount)) => format!(" {}", amount.text),
                    (None, None) => String::new(),
                };
            return format!("{}{target}", resource.name);
        }
        let named = self.external.as_ref().or(self.pods.as_ref()).or(self.object.as_ref());
        let name = named.map_or("", |named| named.metric.name.as_str());
        format!("{} {name}", self.kind.to_lowercase())
    }
}

/// A scale target: anything with a pod template.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Workload {
    /// `Deployment`, `StatefulSet` ...
    pub(crate) kind: String,
    /// Who.
    pub(crate) metadata: Meta,
    /// Its template.
    pub(crate) spec: WorkloadSpec,
}

/// `spec` of a workload.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct WorkloadSpec {
    /// The pods to be.
    pub(crate) template: Template,
}

/// A pod template.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Template {
    /// Of its pods.
    pub(crate) spec: PodSpec,
}

/// The containers of a pod.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct PodSpec {
    /// Side by side.
    pub(crate) containers: Vec<Container>,
    /// One after another, except sidecars.
    pub(crate) init_containers: Vec<Container>,
}

/// A container.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Container {
    /// Name.
    pub(crate) name: String,
    /// `Always` makes an init container a sidecar, which counts.
    pub(crate) restart_policy: Option<String>,
    /// What it asks for.
    pub(crate) resources: Resources,
}

/// Requests and limits of a container.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Resources {
    /// Requests by resource.
    pub(crate) requests: BTreeMap<String, Amount>,
    /// Limits by resource; they stand in for absent requests.
    pub(crate) limits: BTreeMap<String, Amount>,
}

impl Workload {
    /// What one pod requests of `resource`; `None` when a container that counts requests none.
    pub(crate) fn request(&self, resource: &str) -> Option<f64> {
        let pod = &self.spec.template.spec;
        let sidecars =
            pod.init_containers.iter().filter(|it| it.restart_policy.as_deref() == Some("Always"));
        let containers: Vec<&Container> = pod.containers.iter().chain(sidecars).collect();
        if containers.is_empty() {
            return None;
        }
        containers.into_iter().map(|container| container.request(resource)).sum()
    }

    /// The same for one container by name.
    pub(crate) fn container_request(&self, container: &str, resource: &str) -> Option<f64> {
        self.spec.template.spec.containers.iter().find(|it| it.name == container)?.request(resource)
    }
}

impl Container {
    fn request(&self, resource: &str) -> Option<f64> {
        let resources = &self.resources;
        let amount = resources.requests.get(resource).or_else(|| resources.limits.get(resource))?;
        Some(amount.value)
    }
}

/// A `VerticalPodAutoscaler`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Vpa {
    /// Who.
    pub(crate) metadata: Meta,
    /// What is wanted.
    pub(crate) spec: VpaSpec,
}

/// Its `spec`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct VpaSpec {
    /// Whose requests it sets.
    pub(crate) target_ref: Reference,
    /// Whether it acts.
    pub(crate) update_policy: UpdatePolicy,
    /// What it acts on.
    pub(crate) resource_policy: ResourcePolicy,
}

/// When a VPA acts.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct UpdatePolicy {
    /// `Off` only recommends.
    pub(crate) update_mode: Option<String>,
}

/// On what a VPA acts.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ResourcePolicy {
    /// Per container.
    pub(crate) container_policies: Vec<ContainerPolicy>,
}

/// One container of a VPA.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ContainerPolicy {
    /// `Off` leaves the container alone.
    pub(crate) mode: Option<String>,
    /// Both when absent.
    pub(crate) controlled_resources: Option<Vec<String>>,
}

impl Vpa {
    /// Whether it changes CPU requests of at least one container.
    pub(crate) fn changes_cpu(&self) -> bool {
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
pub(crate) struct Node {
    /// Who.
    pub(crate) metadata: Meta,
    /// Whether it takes pods.
    pub(crate) spec: NodeSpec,
    /// What it has.
    pub(crate) status: NodeStatus,
}

/// `spec` of a node.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct NodeSpec {
    /// Cordoned.
    pub(crate) unschedulable: bool,
    /// Who is kept away.
    pub(crate) taints: Vec<Taint>,
}

/// A taint.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Taint {
    /// Key.
    pub(crate) key: String,
}

/// `status` of a node.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct NodeStatus {
    /// What pods may request, by resource.
    pub(crate) allocatable: BTreeMap<String, Amount>,
}

impl Node {
    /// Whether ordinary pods can be placed on it.
    pub(crate) fn takes_pods(&self) -> bool {
        let control_plane = |taint: &Taint| taint.key == "node-role.kubernetes.io/control-plane";
        !self.spec.unschedulable && !self.spec.taints.iter().any(control_plane)
    }
}

/// Drops every `null`, which Kubernetes reads as absent.
pub(crate) fn without_nulls(value: Value) -> Value {
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
