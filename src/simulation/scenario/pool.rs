//! Node pools.

use serde::{Deserialize, Serialize};

/// Nodes of one kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PoolSpec {
    /// Value of the pool label.
    pub name: String,
    /// Whether domains share it, so that budgets apply. Pods enter a pool that is not shared only
    /// where their app names it (its taint).
    #[serde(default = "yes")]
    pub shared: bool,
    /// Zones over which new nodes are spread.
    #[serde(default = "three")]
    pub zones: u32,
    /// Allocatable CPU of one node, in cores.
    pub node_cpu: f64,
    /// Allocatable memory of one node, in GiB.
    pub node_memory_gib: f64,
    /// Pods that fit on one node by number.
    #[serde(default = "pods_per_node")]
    pub node_pods: u32,
    /// Nodes at the beginning.
    pub nodes: u32,
    /// The provisioner never goes below.
    #[serde(default)]
    pub min_nodes: u32,
    /// The quota: the provisioner never goes above.
    pub max_nodes: u32,
    /// Who adds and removes nodes.
    #[serde(default)]
    pub provisioner: Provisioner,
}

fn yes() -> bool {
    true
}

fn three() -> u32 {
    3
}

/// The kubelet's default of `maxPods`.
fn pods_per_node() -> u32 {
    110
}

/// Who adds and removes nodes of a pool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Provisioner {
    /// Batches pending pods and launches nodes for them, as Karpenter does.
    #[default]
    Batching,
    /// Scans every ten seconds, as the Cluster Autoscaler does.
    Scanning,
    /// Nobody.
    Fixed,
}
