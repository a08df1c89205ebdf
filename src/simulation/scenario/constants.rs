//! Constants of the platform, each with its source. HPA and telemetry rows are in
//! [`super::ControllerSpec`] and [`super::TelemetrySpec`], app readiness in [`super::StartSpec`].

use serde::{Deserialize, Serialize};

/// Two bounds; values between them are equally likely.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Range {
    /// Lowest value.
    pub low: f64,
    /// Highest value.
    pub high: f64,
}

impl Range {
    /// The value at `part` (0 to 1) of the way.
    #[must_use]
    pub fn at(self, part: f64) -> f64 {
        self.low + (self.high - self.low) * part
    }
}

/// A log-normal distribution.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct LogNormalSpec {
    /// Its median.
    pub median: f64,
    /// Sigma of its logarithm.
    pub sigma: f64,
}

/// Constants of Kubernetes, node provisioners and the cloud. "Section 5.2" is that of the
/// reference page `learning.md`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Constants {
    /// Time from binding to started containers with the image present, in seconds: `LogNormal`
    /// (mu 0.297, sigma 1.326), median 1.35 s, p99 29 s. Section 5.2, "Cold-start tail": Huawei,
    /// five regions, 31 days. The Kubernetes SLO (p99 at most 5 s) is without its tail.
    pub container_start: LogNormalSpec,
    /// Time of an image pull on a node that lacks the image, in seconds. Assumed: no source in
    /// section 5.2, which leaves pulls out of the pod-start SLO.
    pub image_pull: LogNormalSpec,
    /// Karpenter ends a batch when no pod came for this long, in seconds. Section 5.2, "Karpenter
    /// batching": `BATCH_IDLE_DURATION` in its documentation and `options.go`.
    pub batch_idle_seconds: f64,
    /// Karpenter ends a batch after this long at the latest, in seconds. Same row.
    pub batch_max_seconds: f64,
    /// Time from launch to a ready node, in seconds: median 60 s, p95 110 s, so sigma is
    /// ln(110/60)/1.645. Section 5.2, "New node via Karpenter": 45 to 90 s in an EKS field guide.
    pub node_start: LogNormalSpec,
    /// Share of launches that fail (stock-out). Same row.
    pub launch_failure: f64,
    /// A failed launch is given up and asked for again after this long, in seconds. Assumed; the
    /// Cluster Autoscaler's delay after failure is its own.
    pub launch_retry_seconds: f64,
    /// Nodes that may be launched at once: the bucket of the EC2 resource limit of
    /// `RunInstances`, 1,000. AWS, "Request throttling for the Amazon EC2 API".
    pub launch_burst: f64,
    /// Launches per second once the bucket is empty: its refill, 2 per second. Same page.
    pub launch_per_second: f64,
    /// Karpenter looks for nodes to consolidate every so often, in seconds. Section 5.2,
    /// "Karpenter consolidation", read in its source.
    pub consolidation_poll_seconds: f64,
    /// A node must be consolidatable for this long (`consolidateAfter`), in seconds. Same row.
    pub consolidate_after_seconds: f64,
    /// A consolidation is checked again after this long, in seconds. Same row.
    pub consolidation_validation_seconds: f64,
    /// Share of the nodes of a pool that may be disrupted at once (Karpenter's default budget).
    /// Same row.
    pub disruption_budget: f64,
    /// Share of the pods of an app that may be away for it (`maxUnavailable` of its
    /// `PodDisruptionBudget`); one always may. Assumed: a tenth is usual for services.
    pub max_unavailable: f64,
    /// A node that has not registered after this long is given up, in seconds. Same row, and the
    /// Cluster Autoscaler's provision time-out.
    pub registration_timeout_seconds: f64,
    /// The Cluster Autoscaler scans this often, in seconds. Section 5.2, "CA": its FAQ.
    pub scan_seconds: f64,
    /// The Cluster Autoscaler's decision takes this long after the scan, in seconds: average on
    /// up to 1,000 nodes. Same row. It is not tested beyond 1,000 nodes.
    pub scan_decision_seconds: f64,
    /// Time from launch to a ready node under the Cluster Autoscaler, in seconds: 3 to 4 min on
    /// GCE. Same row.
    pub scan_node_start: Range,
    /// The Cluster Autoscaler removes a node that was not needed for this long, in seconds.
    /// Section 5.2, "CA scale-down": its FAQ.
    pub unneeded_seconds: f64,
    /// ... and not before this long after it added one, in seconds. Same row.
    pub after_add_seconds: f64,
    /// ... and not before this long after a failure, in seconds. Same row.
    pub after_failure_seconds: f64,
    /// Nodes that the Cluster Autoscaler removes at once. Same row.
    pub removed_at_once: u32,
    /// A node is not needed below this share of requested CPU and memory. Same row, there from
    /// memory.
    pub unneeded_utilization: f64,
    /// Pods below this class neither make the Cluster Autoscaler add nodes nor keep it from
    /// removing them: its priority cut-off, of which only balloon pods are below. Section 5.2,
    /// "Priority cutoff".
    pub priority_cutoff: i32,
    /// Grace period of a pod that is stopped, in seconds. The Kubernetes default of
    /// `terminationGracePeriodSeconds`; the Cluster Autoscaler waits at most 600 s.
    pub termination_grace_seconds: f64,
}

impl Default for Constants {
    fn default() -> Self {
        Self {
            container_start: LogNormalSpec { median: 1.346, sigma: 1.326 },
            image_pull: LogNormalSpec { median: 4.0, sigma: 0.6 },
            batch_idle_seconds: 1.0,
            batch_max_seconds: 10.0,
            node_start: LogNormalSpec { median: 60.0, sigma: 0.3685 },
            launch_failure: 0.01,
            launch_retry_seconds: 60.0,
            launch_burst: 1000.0,
            launch_per_second: 2.0,
            consolidation_poll_seconds: 10.0,
            consolidate_after_seconds: 0.0,
            consolidation_validation_seconds: 15.0,
            disruption_budget: 0.1,
            max_unavailable: 0.1,
            registration_timeout_seconds: 900.0,
            scan_seconds: 10.0,
            scan_decision_seconds: 15.0,
            scan_node_start: Range { low: 180.0, high: 240.0 },
            unneeded_seconds: 600.0,
            after_add_seconds: 600.0,
            after_failure_seconds: 180.0,
            removed_at_once: 10,
            unneeded_utilization: 0.5,
            priority_cutoff: -10,
            termination_grace_seconds: 30.0,
        }
    }
}
