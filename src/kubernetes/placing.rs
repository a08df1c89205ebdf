//! Pods and nodes of the API server as the placement ledger takes them in.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::api::ObjectMeta;
use kube::runtime::watcher::Event;
use serde::Deserialize;

use super::growth::{GrowthSource, Pools};
use super::objects;
use super::objects::{PodSpec, PodStatus, labels};
use crate::cluster::Timestamp;
use crate::placement::HOST_NAME;
use crate::placement::{
    Ask, Expression, Ledger, Needs, NodeFacts, Operator, Pod, Taint, Toleration,
};

/// Name of our scheduling gate.
pub const GATE: &str = "hirl-scale.io/budget";

/// Annotation of a static pod.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// The one placement ledger of this process. Nobody does I/O while it is locked.
#[derive(Debug, Clone)]
pub struct Placements(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    ledger: Mutex<Ledger>,
    /// Where the ledger knows from what a pool can grow to.
    growth: Mutex<BTreeMap<Arc<str>, GrowthSource>>,
}

impl Placements {
    /// Shares a ledger.
    #[must_use]
    pub fn new(ledger: Ledger) -> Self {
        let (ledger, growth) = (Mutex::new(ledger), Mutex::default());
        Self(Arc::new(Shared { ledger, growth }))
    }

    /// The ledger, for a moment.
    pub fn lock(&self) -> MutexGuard<'_, Ledger> {
        // A panic under the lock is a defect that the request answers with an error; the ledger
        // itself is put right by the next list.
        self.0.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where it is known from what a pool can grow to; a pool that is not named grows no further.
    #[must_use]
    pub fn growth_sources(&self) -> BTreeMap<Arc<str>, GrowthSource> {
        self.0.growth.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes in how far pools can grow.
    pub(super) fn set_growth(&self, pools: Pools) {
        let sources = pools.iter().map(|(pool, (_, source))| (Arc::clone(pool), *source)).collect();
        let growth = pools.into_iter().map(|(pool, (growth, _))| (pool, growth)).collect();
        self.lock().set_growth(growth);
        *self.0.growth.lock().unwrap_or_else(PoisonError::into_inner) = sources;
    }

    /// What happened to a pod.
    pub(super) fn on_pod(&self, event: &Event<objects::Pod>) {
        match event {
            Event::Init => self.lock().begin_pods(),
            Event::Apply(object) | Event::InitApply(object) => {
                let pod = pod(&object.metadata, &object.spec, object.status.as_ref());
                self.lock().put_pod(&pod);
            }
            Event::Delete(object) => {
                self.lock().remove_pod(object.metadata.uid.as_deref().unwrap_or_default());
            }
            Event::InitDone => self.lock().end_pods(),
        }
    }

    /// What happened to a node, whose pool is the value of the label `pool_label`.
    pub(super) fn on_node(&self, event: &Event<objects::Node>, pool_label: &str) {
        match event {
            Event::Init => self.lock().begin_nodes(),
            Event::Apply(object) | Event::InitApply(object) => {
                let name = object.metadata.name.as_deref().unwrap_or_default();
                let facts = node(object, pool_label);
                self.lock().put_node(name, facts);
            }
            Event::Delete(object) => {
                self.lock().remove_node(object.metadata.name.as_deref().unwrap_or_default());
            }
            Event::InitDone => self.lock().end_nodes(),
        }
    }

    /// Which domain each namespace belongs to.
    pub(super) fn on_homes(&self, homes: HashMap<Arc<str>, Arc<str>>) {
        self.lock().set_namespaces(homes);
    }
}

/// A pod as the scheduler sends it to an extender: an object without kind and apiVersion.
#[derive(Debug, Clone, Deserialize)]
pub struct AskedPod {
    metadata: ObjectMeta,
    spec: PodSpec,
    #[serde(default)]
    status: Option<PodStatus>,
}

impl AskedPod {
    /// What placement needs of it, or what is missing in one sentence.
    pub fn ask(&self) -> Result<Ask, String> {
        let pod = pod(&self.metadata, &self.spec, self.status.as_ref());
        for (what, text) in [("uid", &pod.uid), ("name", &pod.name), ("namespace", &pod.namespace)]
        {
            if text.is_empty() {
                return Err(format!("the pod has no metadata.{what}"));
            }
        }
        let spec = &self.spec;
        let affinity = spec.affinity.as_ref();
        let nodes = affinity.and_then(|affinity| affinity.to_nodes.as_ref());
        let keeps_choice = !spec.topology_spread_constraints.is_empty()
            || affinity.is_some_and(|one| one.to_pods.is_some() || one.against_pods.is_some())
            || nodes.is_some_and(|nodes| !nodes.preferred.is_empty());
        Ok(Ask { pod, keeps_choice, needs: Arc::new(needs(spec)) })
    }
}

/// Which nodes a pod may go to.
fn needs(spec: &PodSpec) -> Needs {
    let tolerations = spec.tolerations.iter();
    Needs {
        more: !spec.is_plain(),
        selects: selects(spec),
        tolerations: tolerations
            .map(|one| Toleration {
                key: one.key.clone(),
                exists: one.operator == "Exists",
                value: one.value.clone(),
                effect: one.effect.clone(),
            })
            .collect(),
    }
}

/// `nodeSelector` and required node affinity as alternatives of conjunctions. What selects nodes
/// by name counts as met: whether the node is offered is the scheduler's business.
fn selects(spec: &PodSpec) -> Vec<Vec<Expression>> {
    let base: Vec<Expression> = spec
        .node_selector
        .iter()
        .map(|(key, value)| Expression {
            key: key.clone(),
            operator: Operator::In,
            values: vec![value.clone()],
        })
        .collect();
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.to_nodes.as_ref());
    let Some(required) = affinity.and_then(|affinity| affinity.required.as_ref()) else {
        return if base.is_empty() { Vec::new() } else { vec![base] };
    };
    let terms = required.node_selector_terms.iter();
    terms
        .map(|term| {
            let wanted = term.match_expressions.iter().filter_map(|one| {
                let operator = match one.operator.as_str() {
                    "In" => Operator::In,
                    "NotIn" => Operator::NotIn,
                    "Exists" => Operator::Exists,
                    "DoesNotExist" => Operator::DoesNotExist,
                    "Gt" => Operator::Gt,
                    "Lt" => Operator::Lt,
                    // The API server accepts no other; a later one cannot be judged here.
                    _ => return None,
                };
                Some(Expression { key: one.key.clone(), operator, values: one.values.clone() })
            });
            base.iter().cloned().chain(wanted).collect()
        })
        .collect()
}

fn pod(meta: &ObjectMeta, spec: &PodSpec, status: Option<&PodStatus>) -> Pod {
    let none = PodStatus::default();
    let status = status.unwrap_or(&none);
    let text = |text: Option<&String>| Arc::from(text.map_or("", String::as_str));
    let name =
        |text: Option<&String>| text.filter(|text| !text.is_empty()).map(|name| Arc::from(&**name));
    let daemon = meta.owner_references.iter().flatten().any(|one| one.kind == "DaemonSet");
    let mirror = meta.annotations.as_ref().is_some_and(|all| all.contains_key(MIRROR));
    let created = meta.creation_timestamp.as_ref().map(|time| time.0.as_millisecond());
    Pod {
        uid: text(meta.uid.as_ref()),
        namespace: text(meta.namespace.as_ref()),
        name: text(meta.name.as_ref()),
        request: spec.charged(status),
        priority_class: Arc::from(&*spec.priority_class_name),
        priority: spec.priority.unwrap_or(0),
        bound_to_its_node: daemon || mirror,
        node: name(spec.node_name.as_ref()),
        nominated: name(status.nominated_node_name.as_ref()),
        ended: matches!(&*status.phase, "Succeeded" | "Failed"),
        deleting: meta.deletion_timestamp.is_some(),
        gated: !spec.scheduling_gates.is_empty(),
        gated_by_us: matches!(&spec.scheduling_gates[..], [one] if one.name == GATE),
        unscheduled: unscheduled(status),
        unschedulable: is_unschedulable(status).then(|| Arc::new(needs(spec))),
        created: Timestamp::from_millis(created.unwrap_or(0)),
    }
}

/// See [`Pod::unscheduled`].
fn unscheduled(status: &PodStatus) -> u64 {
    let said = status.conditions.iter().flatten();
    let mut said = said.filter(|one| one.type_ == "PodScheduled" && one.status == "False");
    said.next().map_or(0, |condition| {
        let mut hash = DefaultHasher::new();
        condition.hash(&mut hash);
        hash.finish().max(1)
    })
}

/// Whether the scheduler found no node with room for the pod.
fn is_unschedulable(status: &PodStatus) -> bool {
    let mut said = status.conditions.iter().flatten();
    said.any(|one| {
        one.type_ == "PodScheduled" && one.status == "False" && one.reason == "Unschedulable"
    })
}

fn node(object: &objects::Node, pool_label: &str) -> NodeFacts {
    let labels = labels(&object.metadata);
    let status = object.status.clone().unwrap_or_default();
    let kept = labels.iter().filter(|(key, _)| *key != HOST_NAME);
    let mut taints: Vec<Taint> = object
        .spec
        .taints
        .iter()
        .filter(|taint| taint.effect != "PreferNoSchedule")
        .map(|taint| Taint {
            key: taint.key.clone(),
            value: taint.value.clone(),
            effect: taint.effect.clone(),
        })
        .collect();
    taints.sort_by(|a, b| (&a.key, &a.effect, &a.value).cmp(&(&b.key, &b.effect, &b.value)));
    NodeFacts {
        pool: Arc::from(labels.get(pool_label).map_or("", String::as_str)),
        usable: object.spec.usable(&status),
        labels: kept.map(|(key, value)| (key.clone(), value.clone())).collect(),
        taints,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Amount;

    fn asked(text: &str) -> Ask {
        serde_json::from_str::<AskedPod>(text).unwrap().ask().unwrap()
    }

    #[test]
    fn a_pod_is_read_as_the_scheduler_sends_it() {
        let ask = asked(
            r#"{"metadata": {"uid": "u", "namespace": "shop", "name": "web-1",
                    "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "r"}]},
                "spec": {"priority": 7, "priorityClassName": "hirl-p1", "nodeSelector": {"disk": "ssd"},
                    "containers": [{"name": "a", "resources": {"requests": {"cpu": "250m", "memory": "1Gi"}}}],
                    "tolerations": [{"key": "gpu", "operator": "Exists"}],
                    "schedulingGates": [{"name": "hirl-scale.io/budget"}],
                    "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}]}}}},
                "status": {"phase": "Pending", "nominatedNodeName": "n1",
                    "conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulerError", "message": "m"}]}}"#,
        );
        let pod = &ask.pod;
        assert_eq!((&*pod.uid, &*pod.namespace, &*pod.name), ("u", "shop", "web-1"));
        assert_eq!(pod.request, Amount { cpu_milli: 250, memory: 1 << 30 });
        assert_eq!((&*pod.priority_class, pod.priority), ("hirl-p1", 7));
        assert_eq!(pod.nominated.as_deref(), Some("n1"));
        assert!(pod.gated && pod.gated_by_us && !pod.bound_to_its_node && pod.unscheduled != 0);
        assert!(!ask.keeps_choice);
        assert_eq!(ask.needs.selects.len(), 1);
        assert_eq!(ask.needs.selects[0].len(), 2);
        assert!(ask.needs.tolerations[0].exists);
        assert_eq!(pod.unschedulable, None, "a refusal is no want of room");
    }

    #[test]
    fn terms_about_other_pods_keep_the_schedulers_choice() {
        for spec in [
            r#"{"topologySpreadConstraints": [{"maxSkew": 1}]}"#,
            r#"{"affinity": {"podAntiAffinity": {}}}"#,
            r#"{"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1}]}}}"#,
        ] {
            let text = format!(
                r#"{{"metadata": {{"uid": "u", "namespace": "n", "name": "p"}}, "spec": {spec}}}"#
            );
            assert!(asked(&text).keeps_choice, "{spec}");
        }
    }

    #[test]
    fn a_pod_without_identity_is_refused_in_one_sentence() {
        let pod: AskedPod =
            serde_json::from_str(r#"{"metadata": {"name": "p"}, "spec": {}}"#).unwrap();
        assert_eq!(pod.ask().unwrap_err(), "the pod has no metadata.uid");
    }
}
