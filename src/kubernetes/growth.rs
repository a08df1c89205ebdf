//! Growth of node pools: how far the limits of Karpenter's `NodePool` objects let them grow, or what an
//! operator states in their place. Where Karpenter is not installed nothing is asked of it but, now and then,
//! whether it is there by now.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kube::Api;
use kube::Client;
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use serde::Deserialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::Placements;
use super::Watches;
use crate::cluster::Amount;
use crate::cluster::quantity;
use crate::placement::{Growth, UNLIMITED};

/// Label that Karpenter puts on the nodes of a `NodePool`: the name of that.
pub(super) const KARPENTER_LABEL: &str = "karpenter.sh/nodepool";

/// Time between two lists of the `NodePool`s.
const EVERY: Duration = Duration::from_secs(30);
/// The same where there are none, or none that we may read.
const RARELY: Duration = Duration::from_mins(5);
/// How long a list may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Where it is known from what a pool can grow to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum GrowthSource {
    /// The limits of its `NodePool`s.
    NodePool,
    /// `placement.growth`.
    Configuration,
}

impl GrowthSource {
    /// The name in the status of a `Domain`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NodePool => "NodePool",
            Self::Configuration => "Configuration",
        }
    }
}

/// Growth of each pool, by name: the allocatable of its nodes at the most.
pub(super) type Pools = BTreeMap<Arc<str>, (Amount, GrowthSource)>;

/// The ready, schedulable nodes of one pool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct PoolNodes {
    /// Allocatable of those that Karpenter made.
    pub(super) allocatable: Amount,
    /// Capacity of the same: the part that they keep for themselves is in it.
    pub(super) capacity: Amount,
    /// Allocatable of the others.
    pub(super) others: Amount,
}

impl PoolNodes {
    /// Allocatable of all nodes once those that Karpenter makes have so much capacity: limits speak of
    /// capacity.
    fn grown(&self, capacity: Amount) -> Amount {
        let part = |limit: u64, (allocatable, of): (u64, u64), others: u64, most: u64| {
            if limit >= most {
                return most;
            }
            let share = if of == 0 { 1.0 } else { (allocatable as f64 / of as f64).min(1.0) };
            ((limit as f64 * share).round() as u64).saturating_add(others).min(most)
        };
        let (own, of, others) = (self.allocatable, self.capacity, self.others);
        let (cpu, memory) = ((own.cpu_milli, of.cpu_milli), (own.memory, of.memory));
        Amount {
            cpu_milli: part(capacity.cpu_milli, cpu, others.cpu_milli, UNLIMITED.cpu_milli),
            memory: part(capacity.memory, memory, others.memory, UNLIMITED.memory),
        }
    }
}

/// One `NodePool`, as far as its nodes' pool and number go.
#[derive(Debug, Clone)]
pub(super) struct NodePool {
    name: String,
    /// It is going, and makes no node any more.
    deleting: bool,
    /// Or why it could not be read.
    body: Result<Body, String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Body {
    spec: Spec,
    status: Option<Status>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Spec {
    limits: Option<Quantities>,
    /// Set where the number of nodes is fixed.
    replicas: Option<i64>,
    template: Template,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Template {
    metadata: Option<TemplateMeta>,
    spec: TemplateSpec,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct TemplateMeta {
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct TemplateSpec {
    requirements: Option<Vec<Requirement>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Requirement {
    key: String,
    operator: String,
    values: Option<Vec<String>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Status {
    /// Capacity of its nodes.
    resources: Option<Quantities>,
}

/// Quantities by resource: texts or numbers.
type Quantities = BTreeMap<String, Value>;

impl NodePool {
    pub(super) fn of(object: &DynamicObject) -> Self {
        let meta = &object.metadata;
        let body = Body::deserialize(&object.data);
        Self {
            name: meta.name.clone().unwrap_or_default(),
            deleting: meta.deletion_timestamp.is_some(),
            body: body.map_err(|problem| format!("it is not of a known form ({problem})")),
        }
    }

    /// The pool that its nodes are in, the value of their label `pool_label`, and the capacity that
    /// they can have together; none where it says nothing of that label. Else why it cannot be
    /// counted, in one sentence.
    pub(super) fn feeds(&self, pool_label: &str) -> Result<Option<(String, Amount)>, String> {
        let body = self.body.as_ref().map_err(Clone::clone)?;
        let Some(pool) = self.pool(&body.spec.template, pool_label)? else { return Ok(None) };
        let nothing = Quantities::new();
        let stands = body.status.as_ref().and_then(|status| status.resources.as_ref());
        let stands = amount(stands.unwrap_or(&nothing), Amount::ZERO)?;
        let limits = body.spec.limits.as_ref().unwrap_or(&nothing);
        let limit = amount(limits, UNLIMITED)?;
        let nodes = part(limits, "nodes", 1.0, u64::MAX)?;
        let closed = limit.cpu_milli == 0 || limit.memory == 0 || nodes == 0;
        let fixed = self.deleting || body.spec.replicas.is_some();
        Ok(Some((pool, if closed || fixed { stands } else { limit.max(stands) })))
    }

    fn pool(&self, template: &Template, pool_label: &str) -> Result<Option<String>, String> {
        let label =
            template.metadata.as_ref().and_then(|meta| meta.labels.as_ref()?.get(pool_label));
        let own = (pool_label == KARPENTER_LABEL).then_some(&self.name);
        let single = label.into_iter().chain(own).map(|value| BTreeSet::from([value]));
        let required = template.spec.requirements.iter().flatten();
        let required = required
            .filter(|one| one.key == pool_label && one.operator == "In")
            .map(|one| one.values.iter().flatten().collect());
        let Some(allowed) = single.chain(required).reduce(|a, b| &a & &b) else {
            return Ok(None);
        };
        let mut names = allowed.into_iter();
        match (names.next(), names.next()) {
            (Some(pool), None) => Ok(Some(pool.clone())),
            (None, _) => Err(format!(
                "its template label and its requirements contradict each other about {pool_label}"
            )),
            (Some(one), Some(other)) => Err(format!(
                "its nodes may have several values of {pool_label}, {one} and {other} among them"
            )),
        }
    }
}

/// CPU and memory among `quantities`; what is `missing` there is taken from that.
fn amount(quantities: &Quantities, missing: Amount) -> Result<Amount, String> {
    Ok(Amount {
        cpu_milli: part(quantities, "cpu", 1e3, missing.cpu_milli)?,
        memory: part(quantities, "memory", 1.0, missing.memory)?,
    })
}

fn part(quantities: &Quantities, name: &str, factor: f64, missing: u64) -> Result<u64, String> {
    let Some(value) = quantities.get(name) else { return Ok(missing) };
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let number = quantity::parse(&text).map_err(|problem| format!("{name}: {problem}"))?;
    if number < 0.0 {
        return Err(format!("{name}: {text} is less than nothing"));
    }
    // UNLIMITED has the same number in both parts, and no count of nodes comes near it.
    Ok(((number * factor).round() as u64).min(UNLIMITED.memory))
}

/// Finds out how far each pool can grow. `stated` wins over `node_pools`; several of these in one pool add up, and
/// one that makes no sense is not counted. A pool that is not named grows no further.
pub(super) fn growth(
    stated: &BTreeMap<String, Growth>,
    node_pools: &[NodePool],
    pool_label: &str,
    nodes: &BTreeMap<Arc<str>, PoolNodes>,
) -> Pools {
    let mut capacities: BTreeMap<String, Amount> = BTreeMap::new();
    for (pool, adds) in node_pools.iter().filter_map(|one| one.feeds(pool_label).ok().flatten()) {
        let sum = capacities.entry(pool).or_default();
        *sum = (*sum + adds).min(UNLIMITED);
    }
    let mut pools: Pools = capacities
        .into_iter()
        .map(|(pool, capacity)| {
            let stands = nodes.get(&*pool).copied().unwrap_or_default();
            (Arc::from(pool), (stands.grown(capacity), GrowthSource::NodePool))
        })
        .collect();
    pools.extend(stated.iter().map(|(pool, growth)| {
        let most = growth.amount().min(UNLIMITED);
        (Arc::from(&**pool), (most, GrowthSource::Configuration))
    }));
    pools
}

/// Result of one list.
enum Listed {
    NodePools(Vec<NodePool>),
    /// Karpenter is not installed.
    Absent,
    /// We may not read them.
    Forbidden(String),
    Trouble(String),
}

/// Keeps `placements` informed of what pools can grow to, until `stop`. `stated` is what an operator says;
/// `pool_label` names the pool of a node.
pub async fn follow_growth(
    client: Client,
    watches: Watches,
    placements: Placements,
    stated: BTreeMap<String, Growth>,
    pool_label: String,
    stop: CancellationToken,
) {
    let mut follower = Follower {
        placements,
        stated,
        pool_label,
        node_pools: Vec::new(),
        complaints: BTreeMap::new(),
        trouble: None,
    };
    follower.install(&BTreeMap::new());
    let work = async {
        // The nodes say how much of their capacity pods can use. Waiting for them cannot fail, because we
        // hold the other end.
        let _ = watches.synced().wait_for(|synced| *synced).await;
        loop {
            let listed = list(&client).await;
            let pause = follower.take_in(listed, &watches.pool_nodes());
            tokio::time::sleep(pause).await;
        }
    };
    // It ends with `stop` alone.
    let _: Option<()> = stop.run_until_cancelled(work).await;
}

async fn list(client: &Client) -> Listed {
    let kind = GroupVersionKind::gvk("karpenter.sh", "v1", "NodePool");
    let kind = ApiResource::from_gvk_with_plural(&kind, "nodepools");
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &kind);
    match tokio::time::timeout(LIMIT, api.list(&ListParams::default())).await {
        Ok(Ok(all)) => Listed::NodePools(all.items.iter().map(NodePool::of).collect()),
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => Listed::Absent,
        Ok(Err(kube::Error::Api(status))) if matches!(status.code, 401 | 403) => {
            Listed::Forbidden(status.message.clone())
        }
        Ok(Err(problem)) => Listed::Trouble(problem.to_string()),
        Err(_) => Listed::Trouble(format!("no answer within {LIMIT:?}")),
    }
}

#[derive(Debug)]
struct Follower {
    placements: Placements,
    stated: BTreeMap<String, Growth>,
    pool_label: String,
    /// The last that were read.
    node_pools: Vec<NodePool>,
    /// The sentences last told, by `NodePool`.
    complaints: BTreeMap<String, String>,
    /// The kind of trouble last told.
    trouble: Option<&'static str>,
}

impl Follower {
    /// Takes in a list; says how long to wait for the next one.
    fn take_in(&mut self, listed: Listed, nodes: &BTreeMap<Arc<str>, PoolNodes>) -> Duration {
        let (pause, trouble) = match listed {
            Listed::NodePools(all) => {
                self.node_pools = all;
                (EVERY, None)
            }
            Listed::Absent => {
                self.node_pools.clear();
                (RARELY, None)
            }
            Listed::Forbidden(problem) => {
                self.node_pools.clear();
                (RARELY, Some(("forbidden", problem)))
            }
            // The last that were read stay in force.
            Listed::Trouble(problem) => (EVERY, Some(("trouble", problem))),
        };
        let kind = trouble.as_ref().map(|(kind, _)| *kind);
        if let Some((kind, error)) = trouble
            && self.trouble != Some(kind)
        {
            tracing::warn!(%error, "NodePools of Karpenter cannot be read");
        }
        self.trouble = kind;
        self.complain();
        self.install(nodes);
        pause
    }

    /// Tells of each `NodePool` that is not counted why, once.
    fn complain(&mut self) {
        let wrong = self
            .node_pools
            .iter()
            .filter_map(|one| Some((one.name.clone(), one.feeds(&self.pool_label).err()?)));
        let wrong: BTreeMap<String, String> = wrong.collect();
        for (nodepool, sentence) in &wrong {
            if self.complaints.get(nodepool) != Some(sentence) {
                tracing::warn!(%nodepool, "A NodePool does not count as growth of a pool: {sentence}");
            }
        }
        self.complaints = wrong;
    }

    fn install(&self, nodes: &BTreeMap<Arc<str>, PoolNodes>) {
        let pools = growth(&self.stated, &self.node_pools, &self.pool_label, nodes);
        self.placements.set_growth(pools);
    }
}

#[cfg(test)]
mod tests {
    use hyper::{Request, Response};
    use kube::client::Body as Payload;
    use serde_json::json;
    use tower_test::mock;

    use super::*;
    use crate::placement::{Ledger, Settings};

    const LABEL: &str = "hirl-scale.io/pool";
    const GIB: u64 = 1 << 30;

    fn node_pool(name: &str, spec: &Value) -> NodePool {
        NodePool::of(&object(name, spec, &json!({})))
    }

    fn object(name: &str, spec: &Value, more: &Value) -> DynamicObject {
        let mut whole = json!({"apiVersion": "karpenter.sh/v1", "kind": "NodePool",
            "metadata": {"name": name}, "spec": spec});
        for (key, value) in more.as_object().unwrap() {
            for (inner, value) in value.as_object().unwrap() {
                whole[key][inner] = value.clone();
            }
        }
        serde_json::from_value(whole).unwrap()
    }

    fn labelled(pool: &str, limits: &Value) -> Value {
        json!({"limits": limits, "template": {"metadata": {"labels": {LABEL: pool}},
            "spec": {"requirements": [{"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]}]}}})
    }

    fn known(node_pools: &[NodePool]) -> Pools {
        growth(&BTreeMap::new(), node_pools, LABEL, &BTreeMap::new())
    }

    fn cores(cores: u64, memory: u64) -> Amount {
        Amount { cpu_milli: 1000 * cores, memory }
    }

    #[test]
    fn limits_of_the_node_pools_of_one_pool_add_up() {
        let pools = known(&[
            node_pool("a", &labelled("general", &json!({"cpu": "100", "memory": "400Gi"}))),
            node_pool("b", &labelled("general", &json!({"cpu": 60, "memory": "100Gi"}))),
            node_pool("c", &labelled("gpu", &json!({"cpu": "1500m", "nvidia.com/gpu": "many"}))),
            node_pool("d", &labelled("open", &Value::Null)),
            node_pool("e", &labelled("open", &json!({"cpu": "10"}))),
            node_pool("f", &json!({"template": {"spec": {"requirements": []}}})),
        ]);
        let gpu = Amount { cpu_milli: 1500, memory: UNLIMITED.memory };
        let of = |amount| (amount, GrowthSource::NodePool);
        let wanted =
            [("general", of(cores(160, 500 * GIB))), ("gpu", of(gpu)), ("open", of(UNLIMITED))];
        assert_eq!(pools, wanted.map(|(pool, one)| (Arc::from(pool), one)).into());
    }

    #[test]
    fn a_pool_is_named_by_label_requirement_or_the_node_pool_itself() {
        let required = |operator: &str, values: &[&str]| {
            json!({"template": {"spec": {"requirements":
                [{"key": LABEL, "operator": operator, "values": values}]}}})
        };
        let feeds = |spec: &Value, label: &str| {
            let fed = node_pool("own", spec).feeds(label);
            fed.map(|fed| fed.map(|(pool, _)| pool))
        };
        let some = |pool: &str| Ok(Some(pool.to_owned()));
        assert_eq!(feeds(&required("In", &["general"]), LABEL), some("general"));
        assert_eq!(feeds(&required("Exists", &[]), LABEL), Ok(None));
        assert_eq!(feeds(&required("NotIn", &["general"]), LABEL), Ok(None));
        assert_eq!(feeds(&required("In", &["general"]), KARPENTER_LABEL), some("own"));
        let mut both = required("In", &["general", "gpu"]);
        assert!(feeds(&both, LABEL).unwrap_err().contains("several values"), "{both}");
        both["template"]["metadata"] = json!({"labels": {LABEL: "gpu"}});
        assert_eq!(feeds(&both, LABEL), some("gpu"));
        both["template"]["metadata"] = json!({"labels": {LABEL: "other"}});
        assert!(feeds(&both, LABEL).unwrap_err().contains("contradict each other"), "{both}");
    }

    #[test]
    fn one_that_is_closed_going_or_of_fixed_size_adds_only_its_nodes() {
        let stands = json!({"resources": {"cpu": "32", "memory": "64Gi", "nodes": "2"}});
        let adds = |limits: Value, more: Value| {
            let mut spec = labelled("general", &limits);
            if more["replicas"].is_i64() {
                spec["replicas"] = more["replicas"].clone();
            }
            let mut meta = json!({});
            if more["going"] == true {
                meta["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            }
            let object = object("a", &spec, &json!({"metadata": meta, "status": stands}));
            NodePool::of(&object).feeds(LABEL).unwrap().unwrap().1
        };
        let standing = cores(32, 64 * GIB);
        assert_eq!(
            adds(json!({"cpu": "100", "memory": "200Gi"}), json!({})),
            cores(100, 200 * GIB)
        );
        assert_eq!(adds(json!({"cpu": 0}), json!({})), standing);
        assert_eq!(adds(json!({"nodes": "0"}), json!({})), standing);
        assert_eq!(adds(json!({"cpu": "100"}), json!({"going": true})), standing);
        assert_eq!(adds(json!({"nodes": "5"}), json!({"replicas": 2})), standing);
        assert_eq!(adds(json!({"cpu": "8", "memory": "8Gi"}), json!({})), standing, "lowered");
        let closed = node_pool("a", &labelled("general", &json!({"cpu": "0"})));
        assert_eq!(known(&[closed])["general"].0, Amount::ZERO, "the ledger adds the nodes");
    }

    #[test]
    fn bad_input_is_left_out_and_named_and_leaves_its_pool_as_it_stands() {
        for (spec, part) in [
            (
                labelled("general", &json!({"cpu": "lots"})),
                "cpu: \"lots\" is not a Kubernetes quantity",
            ),
            (labelled("general", &json!({"cpu": "-1"})), "cpu: -1 is less than nothing"),
            (labelled("general", &json!({"memory": {"a": 1}})), "memory: "),
            (labelled("general", &json!({"cpu": null})), "cpu: \"null\""),
            (labelled("general", &json!({"nodes": "1e999"})), "nodes: "),
            (labelled("general", &json!(["cpu"])), "not of a known form"),
            (json!({"template": {"spec": {"requirements": "none"}}}), "not of a known form"),
            (json!("spec"), "not of a known form"),
        ] {
            let bad = node_pool("bad", &spec);
            let said = bad.feeds(LABEL).unwrap_err();
            assert!(said.contains(part), "{spec}: {said}");
            assert!(known(std::slice::from_ref(&bad)).is_empty(), "{spec}");
            let good = node_pool("good", &labelled("general", &json!({"cpu": "7", "memory": 9})));
            assert_eq!(known(&[bad, good])["general"].0, cores(7, 9), "{spec}");
        }
        let huge = node_pool("huge", &labelled("general", &json!({"cpu": "9E", "memory": "999E"})));
        assert_eq!(known(&[huge.clone(), huge])["general"].0, UNLIMITED);
        let bare: DynamicObject = serde_json::from_value(json!({"metadata": {}})).unwrap();
        assert_eq!(NodePool::of(&bare).feeds(LABEL), Ok(None));
    }

    #[test]
    fn the_configuration_wins() {
        let stated = BTreeMap::from([
            ("general".to_owned(), Growth { cpu: Some(50.0), memory_gib: None }),
            ("fixed".to_owned(), Growth { cpu: Some(1e9), memory_gib: Some(1e9) }),
        ]);
        let limits = json!({"cpu": "100", "memory": "400Gi"});
        let node_pools = [
            node_pool("a", &labelled("general", &limits)),
            node_pool("b", &labelled("gpu", &limits)),
        ];
        let pools = growth(&stated, &node_pools, LABEL, &BTreeMap::new());
        assert_eq!(pools["general"], (cores(50, UNLIMITED.memory), GrowthSource::Configuration));
        assert_eq!(pools["gpu"], (cores(100, 400 * GIB), GrowthSource::NodePool));
        let huge = Amount { cpu_milli: 1_000_000_000_000, memory: UNLIMITED.memory };
        assert_eq!(pools["fixed"], (huge, GrowthSource::Configuration));
    }

    #[test]
    fn limits_of_capacity_become_allocatable_and_other_nodes_are_added() {
        let stands = PoolNodes {
            allocatable: cores(75, 40 * GIB),
            capacity: cores(100, 50 * GIB),
            others: cores(8, GIB),
        };
        let nodes = BTreeMap::from([(Arc::from("general"), stands)]);
        let limits = json!({"cpu": "200"});
        let node_pools = [node_pool("a", &labelled("general", &limits))];
        let pools = growth(&BTreeMap::new(), &node_pools, LABEL, &nodes);
        assert_eq!(pools["general"].0, cores(158, UNLIMITED.memory));
    }

    /// Pools of which the growth is known after each of these answers, and the pause that follows.
    async fn follow(answers: Vec<(u16, Value)>) -> Vec<(usize, Duration)> {
        let (service, mut server) = mock::pair::<Request<Payload>, Response<Payload>>();
        let client = Client::new(service, "default");
        let placements = Placements::new(Ledger::new(Settings::default(), &[], "hirl-system"));
        let mut follower = Follower {
            placements: placements.clone(),
            stated: BTreeMap::new(),
            pool_label: LABEL.to_owned(),
            node_pools: Vec::new(),
            complaints: BTreeMap::new(),
            trouble: None,
        };
        let mut told = Vec::new();
        for (code, answer) in answers {
            let serve = async {
                let (request, reply) = server.next_request().await.unwrap();
                assert_eq!(request.uri().path(), "/apis/karpenter.sh/v1/nodepools");
                let body = Payload::from(serde_json::to_vec(&answer).unwrap());
                reply.send_response(Response::builder().status(code).body(body).unwrap());
            };
            let (listed, ()) = tokio::join!(list(&client), serve);
            let pause = follower.take_in(listed, &BTreeMap::new());
            told.push((placements.growth_sources().len(), pause));
        }
        told
    }

    #[tokio::test]
    async fn without_karpenter_or_rights_nothing_is_known_and_trouble_forgets_nothing() {
        let failed = |code: u16, reason: &str| {
            (
                code,
                json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
                "message": "played", "reason": reason, "code": code}),
            )
        };
        let item = object("a", &labelled("general", &json!({"cpu": "5"})), &json!({}));
        let one = json!({"apiVersion": "karpenter.sh/v1", "kind": "NodePoolList",
            "metadata": {"resourceVersion": "1"}, "items": [item]});
        let told = follow(vec![
            failed(404, "NotFound"),
            (200, one.clone()),
            failed(503, "Unavailable"),
            failed(403, "Forbidden"),
            (200, one),
            failed(404, "NotFound"),
        ])
        .await;
        let wanted = [(0, RARELY), (1, EVERY), (1, EVERY), (0, RARELY), (1, EVERY), (0, RARELY)];
        assert_eq!(told, wanted);
    }
}
