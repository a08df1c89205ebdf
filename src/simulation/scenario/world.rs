//! How the cluster around the apps is set up: telemetry and the control plane.

use serde::{Deserialize, Serialize};

use super::Range;

/// How late and how whole measurements are. The same for every policy.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct TelemetrySpec {
    /// Age of the newest CPU and memory sample that a stock HPA reads, in seconds: kubelet 10 s +
    /// metrics-server 15 s + the HPA's phase (`learning.md` 5.2, "Metrics lag").
    pub resource_lag: Range,
    /// Age of the newest sample that Prometheus answers with, in seconds (same row).
    pub prometheus_lag: Range,
    /// Share of the answers that are missing, 0 to 1.
    pub lost: f64,
    /// Share of the answers that are NaN, 0 to 1.
    pub nan: f64,
    /// Standard deviation of the measuring error, as a share of the value.
    pub noise: f64,
}

impl Default for TelemetrySpec {
    fn default() -> Self {
        Self {
            resource_lag: Range { low: 15.0, high: 45.0 },
            prometheus_lag: Range { low: 30.0, high: 60.0 },
            lost: 0.0,
            nan: 0.0,
            noise: 0.0,
        }
    }
}

/// Flags of the controllers. One setting for every policy that is compared.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct ControllerSpec {
    /// `--horizontal-pod-autoscaler-sync-period`, in seconds.
    pub sync_seconds: f64,
    /// `--concurrent-horizontal-pod-autoscaler-syncs`.
    pub concurrent_syncs: u32,
    /// Seconds that one sync of one HPA keeps a worker busy (requests to the API and metrics).
    pub sync_cost_seconds: f64,
    /// `--kube-api-qps`: HPA syncs per second that the client lets through. Kubernetes' default
    /// of 20 stretches the period of 1,550 HPAs to 78 s: a shifted scenario, not the baseline.
    pub client_qps: f64,
    /// `--horizontal-pod-autoscaler-tolerance`.
    pub tolerance: f64,
    /// `--horizontal-pod-autoscaler-downscale-stabilization`, in seconds.
    pub downscale_stabilization_seconds: f64,
    /// `--horizontal-pod-autoscaler-cpu-initialization-period`, in seconds.
    pub cpu_initialization_seconds: f64,
    /// `--horizontal-pod-autoscaler-initial-readiness-delay`, in seconds.
    pub initial_readiness_seconds: f64,
    /// Pods that kube-scheduler places per second. 200: our own measurement with 5,000 nodes and
    /// two cores (README, "Figures": 216 without an extender, 195 with ours).
    pub scheduler_pods_per_second: f64,
}

impl Default for ControllerSpec {
    fn default() -> Self {
        Self {
            sync_seconds: 15.0,
            concurrent_syncs: 16,
            sync_cost_seconds: 0.02,
            client_qps: 200.0,
            tolerance: 0.1,
            downscale_stabilization_seconds: 300.0,
            cpu_initialization_seconds: 300.0,
            initial_readiness_seconds: 30.0,
            scheduler_pods_per_second: 200.0,
        }
    }
}
