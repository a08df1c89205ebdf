//! The API server's objects, cut down to the fields in use: what is not named here is skipped
//! while it is read, and never held.

use std::collections::BTreeMap;

use kube::api::ApiResource;
use kube::core::Object;
use serde::Deserialize;

use super::Selector;
use crate::cluster::Amount;
use crate::cluster::quantity;

pub(super) type Hpa = Object<HpaSpec, HpaStatus>;
/// A Deployment or a `StatefulSet`.
pub(super) type Workload = Object<WorkloadSpec, WorkloadStatus>;
pub(super) type Pod = Object<PodSpec, PodStatus>;
pub(super) type Node = Object<NodeSpec, NodeStatus>;

/// How the API server calls a kind.
pub(super) fn resource<K: kube::Resource<DynamicType = ()>>() -> ApiResource {
    ApiResource::erase::<K>(&())
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HpaSpec {
    pub(super) scale_target_ref: TargetRef,
    #[serde(default)]
    pub(super) min_replicas: Option<i32>,
    pub(super) max_replicas: i32,
    #[serde(default)]
    pub(super) metrics: Vec<Metric>,
    #[serde(default)]
    pub(super) behavior: Option<Behavior>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct TargetRef {
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) name: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Metric {
    pub(super) external: Option<External>,
    pub(super) resource: Option<ResourceMetric>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct External {
    pub(super) metric: Named,
    pub(super) target: MetricTarget,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Named {
    pub(super) name: String,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct ResourceMetric {
    pub(super) name: String,
    pub(super) target: MetricTarget,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct MetricTarget {
    pub(super) average_value: Option<String>,
    pub(super) average_utilization: Option<i32>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Behavior {
    pub(super) scale_up: Option<Rules>,
    pub(super) scale_down: Option<Rules>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Rules {
    pub(super) tolerance: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct HpaStatus {
    pub(super) conditions: Option<Vec<Fact>>,
}

/// A condition.
#[derive(Debug, Clone, Default, Hash, Deserialize)]
#[serde(default)]
pub(super) struct Fact {
    #[serde(rename = "type")]
    pub(super) type_: String,
    pub(super) status: String,
    pub(super) reason: String,
    pub(super) message: String,
}

/// Whether the condition `type_` is True.
pub(super) fn holds(conditions: Option<&Vec<Fact>>, type_: &str) -> bool {
    conditions.is_some_and(|all| all.iter().any(|one| one.type_ == type_ && one.status == "True"))
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WorkloadSpec {
    #[serde(default)]
    pub(super) replicas: Option<i32>,
    pub(super) selector: Selector,
    pub(super) template: Template,
    #[serde(default)]
    update_strategy: Option<UpdateStrategy>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Template {
    pub(super) spec: PodSpec,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct UpdateStrategy {
    #[serde(rename = "type")]
    type_: String,
    rolling_update: Option<RollingUpdate>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct RollingUpdate {
    partition: Option<i32>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct WorkloadStatus {
    pub(super) replicas: i32,
    updated_replicas: i32,
    current_revision: Option<String>,
    update_revision: Option<String>,
}

impl WorkloadSpec {
    /// Whether old and new pods stand side by side. A Deployment counts its new pods; for a
    /// `StatefulSet` these are only meaningful while its two revisions differ, and it keeps the
    /// pods below its partition (all of them with `OnDelete`) on the old one for good.
    pub(super) fn rolling_out(&self, status: &WorkloadStatus) -> bool {
        if status.update_revision.is_none() {
            return status.updated_replicas < status.replicas;
        }
        let strategy = self.update_strategy.clone().unwrap_or_default();
        let kept = strategy.rolling_update.unwrap_or_default().partition.unwrap_or(0);
        status.update_revision != status.current_revision
            && strategy.type_ != "OnDelete"
            && status.updated_replicas < status.replicas - kept
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct PodSpec {
    #[serde(deserialize_with = "none_when_null")]
    containers: Vec<Container>,
    init_containers: Vec<Container>,
    overhead: Resources,
    /// Requests of the pod as a whole; where stated they replace the sum over its containers.
    resources: Option<Requests>,
    pub(super) node_name: Option<String>,
    pub(super) priority: Option<i32>,
    pub(super) priority_class_name: String,
    pub(super) scheduling_gates: Vec<Gate>,
    pub(super) node_selector: BTreeMap<String, String>,
    pub(super) affinity: Option<Affinity>,
    pub(super) tolerations: Vec<Tolerated>,
    pub(super) topology_spread_constraints: Vec<serde::de::IgnoredAny>,
    volumes: Vec<Volume>,
}

/// A volume that may bind its pod to some nodes.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Volume {
    #[serde(rename = "persistentVolumeClaim")]
    claim: Option<serde::de::IgnoredAny>,
    ephemeral: Option<serde::de::IgnoredAny>,
}

/// Go writes a list without elements as `null`.
fn none_when_null<'de, D, T>(from: D) -> Result<Vec<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Gate {
    pub(super) name: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Affinity {
    #[serde(rename = "nodeAffinity")]
    pub(super) to_nodes: Option<NodeAffinity>,
    #[serde(rename = "podAffinity")]
    pub(super) to_pods: Option<serde::de::IgnoredAny>,
    #[serde(rename = "podAntiAffinity")]
    pub(super) against_pods: Option<serde::de::IgnoredAny>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct NodeAffinity {
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution")]
    pub(super) required: Option<NodeTerms>,
    #[serde(rename = "preferredDuringSchedulingIgnoredDuringExecution")]
    pub(super) preferred: Vec<serde::de::IgnoredAny>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct NodeTerms {
    pub(super) node_selector_terms: Vec<NodeTerm>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct NodeTerm {
    pub(super) match_expressions: Vec<NodeExpression>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct NodeExpression {
    pub(super) key: String,
    pub(super) operator: String,
    pub(super) values: Vec<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Tolerated {
    pub(super) key: String,
    pub(super) operator: String,
    pub(super) value: String,
    pub(super) effect: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Container {
    name: String,
    restart_policy: Option<String>,
    resources: Requests,
    ports: Vec<Port>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Requests {
    requests: Resources,
}

#[derive(Debug, Clone, Default)]
struct Resources {
    cpu: Option<String>,
    memory: Option<String>,
    /// Whether others are named, such as a GPU.
    others: bool,
}

impl<'de> Deserialize<'de> for Resources {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let all = BTreeMap::<String, Option<serde_json::Value>>::deserialize(input)?;
        let mut found = Self::default();
        for (name, value) in all {
            let text = match value {
                Some(serde_json::Value::String(text)) => Some(text),
                Some(serde_json::Value::Number(number)) => Some(number.to_string()),
                _ => None,
            };
            match name.as_str() {
                "cpu" => found.cpu = text,
                "memory" => found.memory = text,
                _ => found.others = true,
            }
        }
        Ok(found)
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Port {
    host_port: Option<i32>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct PodStatus {
    pub(super) phase: String,
    pub(super) conditions: Option<Vec<Fact>>,
    pub(super) nominated_node_name: Option<String>,
    container_statuses: Vec<ContainerStatus>,
    init_container_statuses: Vec<ContainerStatus>,
}

/// What a container got, which differs from its spec while a resize in place is under way.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ContainerStatus {
    name: String,
    resources: Requests,
    allocated_resources: Resources,
}

impl PodSpec {
    /// Whether nothing but CPU, memory, node selection and taints decides where the pod fits.
    pub(super) fn is_plain(&self) -> bool {
        let plain = |one: &Container| {
            !one.resources.requests.others && one.ports.iter().all(|port| port.host_port.is_none())
        };
        self.topology_spread_constraints.is_empty()
            && self
                .affinity
                .as_ref()
                .is_none_or(|one| one.to_pods.is_none() && one.against_pods.is_none())
            && self.containers.iter().chain(&self.init_containers).all(plain)
            && self.volumes.iter().all(|one| one.claim.is_none() && one.ephemeral.is_none())
    }

    /// What the pod requests: the sum over its containers and native sidecars, plus its overhead.
    /// Ordinary init containers do not count: they are gone when the pod serves.
    pub(super) fn requests(&self) -> Amount {
        let sidecars = self
            .init_containers
            .iter()
            .filter(|one| one.restart_policy.as_deref() == Some("Always"));
        let parts =
            || self.containers.iter().chain(sidecars.clone()).map(|one| &one.resources.requests);
        let whole = self.resources.as_ref().map(|all| &all.requests);
        let cpu = match whole.and_then(|all| all.cpu.as_ref()) {
            Some(text) => milli(Some(text)),
            None => parts().map(|one| milli(one.cpu.as_ref())).sum(),
        };
        let memory = match whole.and_then(|all| all.memory.as_ref()) {
            Some(text) => bytes(Some(text)),
            None => parts().map(|one| bytes(one.memory.as_ref())).sum(),
        };
        Amount {
            cpu_milli: cpu + milli(self.overhead.cpu.as_ref()),
            memory: memory + bytes(self.overhead.memory.as_ref()),
        }
    }
}

impl PodSpec {
    /// What the scheduler charges a node for the pod, given its status: as [`Self::requests`], but
    ///
    /// - each ordinary init container counts together with the sidecars started before it, and the
    ///   larger of that and the sum over what runs later wins;
    /// - of what a container asks for, was given and has, the largest of each counts, so that a
    ///   resize in place is never charged too little; a resize that can never happen is not.
    ///
    /// Source: the resource helpers of Kubernetes 1.36 (`PodRequests`), whose answers a test
    /// compares with these.
    pub(super) fn charged(&self, status: &PodStatus) -> Amount {
        let impossible = status.conditions.iter().flatten().any(|one| {
            one.type_ == "PodResizePending" && one.reason == "Infeasible" && one.status == "True"
        });
        let amount = |container: &Container, statuses: &[ContainerStatus]| {
            let asked = container.resources.requests.amount();
            let Some(status) = statuses.iter().find(|one| one.name == container.name) else {
                return asked;
            };
            let given = status.allocated_resources.amount().max(status.resources.requests.amount());
            if impossible { given } else { asked.max(given) }
        };
        let mut sum: Amount = Amount::ZERO;
        for container in &self.containers {
            sum += amount(container, &status.container_statuses);
        }
        let (mut sidecars, mut starting) = (Amount::ZERO, Amount::ZERO);
        for container in &self.init_containers {
            let own = amount(container, &status.init_container_statuses);
            if container.restart_policy.as_deref() == Some("Always") {
                sidecars += own;
                starting = starting.max(sidecars);
            } else {
                starting = starting.max(sidecars + own);
            }
        }
        let mut total = (sum + sidecars).max(starting);
        if let Some(whole) = &self.resources {
            let stated = whole.requests.amount();
            if whole.requests.cpu.is_some() {
                total.cpu_milli = stated.cpu_milli;
            }
            if whole.requests.memory.is_some() {
                total.memory = stated.memory;
            }
        }
        total + self.overhead.amount()
    }
}

impl Resources {
    fn amount(&self) -> Amount {
        Amount { cpu_milli: milli(self.cpu.as_ref()), memory: bytes(self.memory.as_ref()) }
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct NodeSpec {
    unschedulable: bool,
    pub(super) taints: Vec<NodeTaint>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct NodeTaint {
    pub(super) key: String,
    pub(super) value: String,
    pub(super) effect: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct NodeStatus {
    allocatable: Resources,
    capacity: Resources,
    conditions: Option<Vec<Fact>>,
}

impl NodeSpec {
    /// What the node can hold, if it is ready and schedulable.
    pub(super) fn usable(&self, status: &NodeStatus) -> Option<Amount> {
        let ready = !self.unschedulable && holds(status.conditions.as_ref(), "Ready");
        ready.then(|| status.allocatable.amount())
    }
}

impl NodeStatus {
    /// All that the node has, with what it keeps for itself.
    pub(super) fn capacity(&self) -> Amount {
        self.capacity.amount()
    }
}

/// The API server has checked every quantity; one that we cannot read counts as none stated.
/// Parts of a thousandth round up, as Kubernetes does.
fn milli(text: Option<&String>) -> u64 {
    whole(text, 1e3)
}

fn bytes(text: Option<&String>) -> u64 {
    whole(text, 1.0)
}

fn whole(text: Option<&String>, factor: f64) -> u64 {
    /// More than any node has, and little enough that 100,000 of it can be added up: a pod that asks for
    /// more can never run, and must not spoil the sums of others.
    const MOST: u64 = 1 << 46;
    // The small number takes back what binary fractions add: 0.29 cores are 290 thousandths.
    let units = text.and_then(|text| quantity::parse(text).ok()).map_or(0.0, |one| one * factor);
    ((units - 1e-6).ceil() as u64).min(MOST)
}

/// Labels of an object, or none.
pub(super) fn labels(meta: &kube::api::ObjectMeta) -> &BTreeMap<String, String> {
    static NONE: BTreeMap<String, String> = BTreeMap::new();
    meta.labels.as_ref().unwrap_or(&NONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests(pod: &str) -> Amount {
        serde_json::from_str::<PodSpec>(pod).unwrap().requests()
    }

    #[test]
    fn a_pod_requests_what_its_containers_and_sidecars_request() {
        let pod = r#"{"containers": [
                {"name": "a", "resources": {"requests": {"cpu": "250m", "memory": "64Mi"}}},
                {"name": "b", "resources": {"limits": {"cpu": "9"}}}],
            "initContainers": [
                {"name": "once", "resources": {"requests": {"cpu": "4"}}},
                {"name": "mesh", "restartPolicy": "Always", "resources": {"requests": {"cpu": "0.1"}}}],
            "overhead": {"cpu": "50m", "memory": "1Mi"}}"#;
        assert_eq!(requests(pod), Amount { cpu_milli: 400, memory: 65 * 1_048_576 });
        assert_eq!(requests(r#"{"containers": [{"name": "a"}]}"#), Amount::default());
        let whole = r#"{"resources": {"requests": {"cpu": "2"}},
            "containers": [{"resources": {"requests": {"cpu": "1", "memory": "5"}}}]}"#;
        assert_eq!(requests(whole), Amount { cpu_milli: 2000, memory: 5 });
    }

    #[test]
    fn a_pod_is_charged_as_the_scheduler_charges_it() {
        let charged = |spec: &str, status: &str| {
            let spec: PodSpec = serde_json::from_str(spec).unwrap();
            spec.charged(&serde_json::from_str(status).unwrap()).cpu_milli
        };
        let with = |inits: &str| {
            let text = format!(
                r#"{{"containers": [{{"name": "a", "resources": {{"requests": {{"cpu": "300m"}}}}}}],
                    "initContainers": [{inits}], "overhead": {{"cpu": "7m"}}}}"#
            );
            charged(&text, "{}")
        };
        let once = |name: &str, cpu: &str| {
            format!(r#"{{"name": "{name}", "resources": {{"requests": {{"cpu": "{cpu}"}}}}}}"#)
        };
        let mesh = r#"{"name": "mesh", "restartPolicy": "Always", "resources": {"requests": {"cpu": "100m"}}}"#;
        assert_eq!(with(""), 307);
        assert_eq!(with(&once("i", "200m")), 307, "an init container ends before the rest starts");
        assert_eq!(with(&once("i", "500m")), 507, "unless it is larger");
        assert_eq!(with(mesh), 407, "a sidecar stays");
        assert_eq!(with(&format!("{mesh}, {}", once("i", "350m"))), 457, "and runs beside it");
        assert_eq!(with(&format!("{}, {mesh}", once("i", "350m"))), 407, "but not before");

        let plain =
            r#"{"containers": [{"name": "a", "resources": {"requests": {"cpu": "300m"}}}]}"#;
        for (status, milli, why) in [
            (
                r#"{"containerStatuses": [{"name": "a", "allocatedResources": {"cpu": "500m"},
                "resources": {"requests": {"cpu": "400m"}}}]}"#,
                500,
                "shrinks: still holds more",
            ),
            (
                r#"{"containerStatuses": [{"name": "a", "allocatedResources": {"cpu": "100m"}}]}"#,
                300,
                "grows",
            ),
            (
                r#"{"containerStatuses": [{"name": "a", "allocatedResources": {"cpu": "100m"}}],
                "conditions": [{"type": "PodResizePending", "status": "True", "reason": "Infeasible"}]}"#,
                100,
                "never will",
            ),
            ("{}", 300, "no status yet"),
        ] {
            assert_eq!(charged(plain, status), milli, "{why}");
        }
        let whole = r#"{"resources": {"requests": {"cpu": "2"}}, "containers": [{"resources": {"requests": {"cpu": "5"}}}]}"#;
        assert_eq!(charged(whole, "{}"), 2000);
        assert_eq!(
            charged(r#"{"containers": [{"resources": {"requests": {"cpu": "0.29"}}}]}"#, "{}"),
            290
        );
        assert_eq!(
            charged(r#"{"containers": [{"resources": {"requests": {"cpu": "9E"}}}]}"#, "{}"),
            1 << 46
        );
        assert_eq!(
            charged(r#"{"containers": [{"resources": {"requests": {"cpu": "100u"}}}]}"#, "{}"),
            1
        );
    }

    #[test]
    fn a_rollout_is_old_and_new_pods_side_by_side() {
        for (spec, status, rolling) in [
            ("{}", r#"{"replicas": 4, "updatedReplicas": 4}"#, false),
            ("{}", r#"{"replicas": 5, "updatedReplicas": 1}"#, true),
            ("{}", "{}", false),
            (
                "{}",
                r#"{"replicas": 4, "updatedReplicas": 1, "currentRevision": "a", "updateRevision": "b"}"#,
                true,
            ),
            ("{}", r#"{"replicas": 4, "currentRevision": "a", "updateRevision": "a"}"#, false),
            (
                r#"{"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 3}}}"#,
                r#"{"replicas": 4, "updatedReplicas": 1, "currentRevision": "a", "updateRevision": "b"}"#,
                false,
            ),
            (
                r#"{"updateStrategy": {"type": "OnDelete"}}"#,
                r#"{"replicas": 4, "updatedReplicas": 1, "currentRevision": "a", "updateRevision": "b"}"#,
                false,
            ),
        ] {
            let mut whole: serde_json::Value = serde_json::from_str(spec).unwrap();
            whole["selector"] = serde_json::json!({});
            whole["template"] = serde_json::json!({"spec": {}});
            let spec: WorkloadSpec = serde_json::from_value(whole).unwrap();
            let parsed: WorkloadStatus = serde_json::from_str(status).unwrap();
            assert_eq!(spec.rolling_out(&parsed), rolling, "{status}");
        }
    }

    #[test]
    fn a_node_counts_when_it_is_ready_and_schedulable() {
        let status: NodeStatus = serde_json::from_str(
            r#"{"allocatable": {"cpu": "3920m", "memory": "1Gi", "pods": "110"},
                "conditions": [{"type": "Ready", "status": "True"}]}"#,
        )
        .unwrap();
        let open = NodeSpec::default().usable(&status);
        assert_eq!(open, Some(Amount { cpu_milli: 3920, memory: 1_073_741_824 }));
        let cordoned = NodeSpec { unschedulable: true, ..NodeSpec::default() };
        assert_eq!(cordoned.usable(&status), None);
        assert_eq!(NodeSpec::default().usable(&NodeStatus::default()), None);
    }
}
