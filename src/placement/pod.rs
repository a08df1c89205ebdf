//! Pods and nodes, cut down to what placement needs.

use std::sync::Arc;

use crate::cluster::{Amount, Timestamp};

/// A pod, as an object of the API server says.
#[derive(Debug, Clone, Default, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "facts that do not exclude each other")]
pub struct Pod {
    /// Identity.
    pub uid: Arc<str>,
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
    /// What the scheduler charges for it.
    pub request: Amount,
    /// Name of its `PriorityClass`, empty when it has none.
    pub priority_class: Arc<str>,
    /// Its priority.
    pub priority: i32,
    /// Whether it belongs to a `DaemonSet` or is static, so that it always passes.
    pub bound_to_its_node: bool,
    /// `spec.nodeName`.
    pub node: Option<Arc<str>>,
    /// `status.nominatedNodeName`.
    pub nominated: Option<Arc<str>>,
    /// Whether its phase is `Succeeded` or `Failed`.
    pub ended: bool,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Whether it waits behind any scheduling gate.
    pub gated: bool,
    /// Whether it waits behind our gate and no other.
    pub gated_by_us: bool,
    /// A number that changes when its `PodScheduled` condition says `False` in other words; 0 when
    /// it does not say `False`.
    pub unscheduled: u64,
    /// Which nodes it may go to, while its `PodScheduled` condition says `Unschedulable`: it waits for
    /// room, and the scheduler may not ask about it again before there is some.
    pub unschedulable: Option<Arc<Needs>>,
    /// When it was made.
    pub created: Timestamp,
}

/// Which nodes a pod may go to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Needs {
    /// `nodeSelector` and required node affinity: any one of these conjunctions must hold. Empty:
    /// any node.
    pub selects: Vec<Vec<Expression>>,
    /// What it tolerates.
    pub tolerations: Vec<Toleration>,
    /// Whether more than these and CPU and memory decides where it fits: volumes, spreading, affinity to
    /// pods, ports, other resources.
    pub more: bool,
}

/// One term of a node selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expression {
    /// Label key.
    pub key: String,
    /// How the value is compared.
    pub operator: Operator,
    /// With what.
    pub values: Vec<String>,
}

/// Operators of node selectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of the Kubernetes API")]
pub enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
    Gt,
    Lt,
}

/// A toleration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Toleration {
    /// Taint key; empty with `exists` tolerates every taint.
    pub key: String,
    /// Whether any value is tolerated.
    pub exists: bool,
    /// The value tolerated.
    pub value: String,
    /// The effect tolerated; empty for all.
    pub effect: String,
}

/// A taint that keeps pods away (`NoSchedule`, `NoExecute`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Taint {
    /// Key.
    pub key: String,
    /// Value.
    pub value: String,
    /// Effect.
    pub effect: String,
}

/// A pod that the scheduler asks about.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ask {
    /// The pod.
    pub pod: Pod,
    /// Whether it has topology or affinity terms, so that the scheduler must keep every node of the
    /// pool to choose from.
    pub keeps_choice: bool,
    /// Which nodes it may go to.
    pub needs: Arc<Needs>,
}

/// A node, as an object of the API server says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NodeFacts {
    /// Value of the pool label.
    pub pool: Arc<str>,
    /// What it can hold, if it is ready and schedulable.
    pub usable: Option<Amount>,
    /// Its labels but for the host name, sorted.
    pub labels: Vec<(String, String)>,
    /// Its taints that keep pods away, sorted.
    pub taints: Vec<Taint>,
}
