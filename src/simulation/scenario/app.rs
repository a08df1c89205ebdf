//! Apps: what a request costs, what a pod is, and how its HPA is set.

use serde::{Deserialize, Serialize};

use crate::cluster::{AppId, Class};

/// One app: a Deployment and its HPA.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct AppSpec {
    /// Name of the HPA and of the Deployment.
    pub name: String,
    /// Its namespace; with the name it identifies the app.
    pub namespace: String,
    /// Name of its domain.
    pub domain: String,
    /// Priority class of its pods where it is not the domain's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<Class>,
    /// Names of the pools that it may use, the preferred one first; empty: every shared pool.
    #[serde(default)]
    pub pools: Vec<String>,

    /// Requests per second of its own traffic, where the pattern stands at 1.
    pub rps: f64,
    /// Its part of the calls that other domains make to its domain, relative to the other apps.
    pub call_weight: f64,
    /// Shape of its own traffic, where it is not the domain's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<super::Pattern>,
    /// Standard deviation of its own noise, as a share of its traffic.
    pub noise: f64,
    /// How slowly that noise changes, in seconds.
    pub noise_seconds: f64,

    /// Requests that one pod works on at once.
    pub workers: u32,
    /// Mean time that one worker takes for one request without contention or calls, in seconds.
    pub service_seconds: f64,
    /// Squared coefficient of variation of that time (1: exponential).
    pub service_scv: f64,
    /// Squared coefficient of variation of the time between arrivals at one pod (1: Poisson).
    pub arrival_scv: f64,
    /// CPU that one request takes, in core-seconds.
    pub cpu_seconds: f64,
    /// CPU that an idle pod takes, in cores.
    pub idle_cpu: f64,
    /// After this long a caller gives up, in seconds.
    pub timeout_seconds: f64,
    /// How often a caller tries again after a time-out or an error.
    pub retries: u32,

    /// CPU request of one pod, in cores.
    pub cpu_request: f64,
    /// CPU limit of one pod, in cores; none: the node's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_limit: Option<f64>,
    /// Memory of one pod.
    pub memory: MemorySpec,
    /// How long a pod takes from its containers' start to full speed.
    pub start: StartSpec,
    /// Replicas at the beginning; none: what the first traffic needs at the HPA's target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_replicas: Option<u32>,
    /// Its HPA.
    pub hpa: HpaSpec,
}

impl AppSpec {
    /// Its identity.
    #[must_use]
    pub fn id(&self) -> AppId {
        AppId::new(&self.namespace, &self.name)
    }
}

/// Memory of one pod, in MiB.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct MemorySpec {
    /// Request.
    pub request_mib: f64,
    /// Limit: above it the pod is killed and restarted.
    pub limit_mib: f64,
    /// In use without traffic.
    pub idle_mib: f64,
    /// In use at full load (every worker busy). The same as idle for a fixed-footprint service.
    pub busy_mib: f64,
}

impl Default for MemorySpec {
    fn default() -> Self {
        Self { request_mib: 512.0, limit_mib: 1024.0, idle_mib: 200.0, busy_mib: 400.0 }
    }
}

/// What comes after scheduling and image pull, until a pod works as it should.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct StartSpec {
    /// Median time until the pod is ready, in seconds. Go 1 to 3, JVM 20 to 60, models 30 to 180
    /// (`learning.md` 5.2, from memory there).
    pub ready_median_seconds: f64,
    /// Sigma of the logarithm of that time (log-normal; 0.4 in `learning.md` 5.2).
    pub ready_sigma: f64,
    /// How long a ready pod is still slow (caches, compilation), in seconds.
    pub warm_seconds: f64,
    /// Its speed at readiness, as a share of full speed; rises in a line while it warms up.
    pub cold_speed: f64,
}

impl Default for StartSpec {
    fn default() -> Self {
        Self { ready_median_seconds: 10.0, ready_sigma: 0.4, warm_seconds: 0.0, cold_speed: 1.0 }
    }
}

/// The stock HPA of an app. Defaults are those of Kubernetes (`learning.md` 5.2, HPA rows).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct HpaSpec {
    /// Lower bound.
    pub min_replicas: u32,
    /// Upper bound.
    pub max_replicas: u32,
    /// CPU aimed at, as a share of the request.
    pub target_cpu: f64,
    /// Memory aimed at, as a share of the request; none: not a metric of this HPA.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_memory: Option<f64>,
    /// Relative change ignored upwards; none: the controller's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerance_up: Option<f64>,
    /// Relative change ignored downwards; none: the controller's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerance_down: Option<f64>,
    /// Behaviour on the way up.
    pub scale_up: ScaleRules,
    /// Behaviour on the way down.
    pub scale_down: ScaleRules,
}

impl Default for HpaSpec {
    fn default() -> Self {
        let policy = |kind, value| ScalePolicy { kind, value, period_seconds: 15.0 };
        Self {
            min_replicas: 1,
            max_replicas: 100,
            target_cpu: 0.7,
            target_memory: None,
            tolerance_up: None,
            tolerance_down: None,
            scale_up: ScaleRules {
                stabilization_seconds: Some(0.0),
                select: Select::Max,
                policies: vec![policy(PolicyKind::Pods, 4), policy(PolicyKind::Percent, 100)],
            },
            scale_down: ScaleRules {
                stabilization_seconds: None,
                select: Select::Max,
                policies: vec![policy(PolicyKind::Percent, 100)],
            },
        }
    }
}

/// `spec.behavior` of an HPA in one direction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ScaleRules {
    /// Window over which recommendations are remembered, in seconds; none: the controller's on
    /// the way down (300 s), 0 on the way up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stabilization_seconds: Option<f64>,
    /// Which policy counts.
    #[serde(default)]
    pub select: Select,
    /// How much may change in which period.
    pub policies: Vec<ScalePolicy>,
}

/// `selectPolicy` of an HPA.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Select {
    /// The policy that allows the largest change.
    #[default]
    Max,
    /// The policy that allows the smallest change.
    Min,
    /// No change in this direction.
    Disabled,
}

/// One policy of an HPA.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ScalePolicy {
    /// What `value` counts.
    pub kind: PolicyKind,
    /// How much.
    pub value: u32,
    /// In which period, in seconds.
    pub period_seconds: f64,
}

/// What a policy of an HPA counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PolicyKind {
    /// Pods.
    Pods,
    /// Percent of the replicas at the beginning of the period.
    Percent,
}
