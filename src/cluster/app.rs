//! An app: one HPA that reads our metric, and the scale target behind it.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Signals;

/// The External metric that makes an HPA ours: whoever names it is managed.
pub const METRIC: &str = "hirl-desired-replicas";

/// Which HPA: the identity of an app everywhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AppId {
    /// Namespace of the HPA and its target.
    pub namespace: Arc<str>,
    /// Name of the `HorizontalPodAutoscaler`.
    pub hpa: Arc<str>,
}

impl AppId {
    /// From a namespace and the name of an HPA in it.
    #[must_use]
    pub fn new(namespace: &str, hpa: &str) -> Self {
        Self { namespace: namespace.into(), hpa: hpa.into() }
    }
}

impl fmt::Display for AppId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.namespace, self.hpa)
    }
}

/// Why an app that names our metric gets no number from us. Its HPA then holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Refusal {
    /// Its namespace is selected by more than one `Domain`; the names.
    SeveralDomains(Vec<String>),
    /// The metric target is of type `Value`, which the HPA multiplies by the ready pods.
    ValueTarget,
    /// `averageValue` is not 1, so the HPA would divide our number; what it is.
    AverageValueNotOne(String),
    /// Another HPA that reads our metric scales the same target; its name.
    SharedTarget(String),
    /// The scale target does not exist (yet).
    NoTarget,
    /// The HPA is switched off: somebody set the target to 0 replicas.
    Disabled,
    /// The pods request no CPU, so that no utilisation can be computed.
    NoCpuRequest,
}

impl Refusal {
    /// The reason in conditions, Events and metric labels.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::SeveralDomains(_) => "NamespaceInSeveralDomains",
            Self::ValueTarget => "ValueTargetUnsupported",
            Self::AverageValueNotOne(_) => "AverageValueNotOne",
            Self::SharedTarget(_) => "SharedTarget",
            Self::NoTarget => "NoTarget",
            Self::Disabled => "Disabled",
            Self::NoCpuRequest => "NoCpuRequest",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SeveralDomains(names) => {
                write!(out, "its namespace is selected by several Domains: {}", names.join(", "))
            }
            Self::ValueTarget => out.write_str(
                "its target has type Value, which the HPA multiplies by the ready pods: use averageValue: \"1\"",
            ),
            Self::AverageValueNotOne(value) => {
                write!(out, "its averageValue is {value}, so the HPA would divide our number: use \"1\"")
            }
            Self::SharedTarget(other) => write!(out, "HPA {other} scales the same target"),
            Self::NoTarget => out.write_str("its scale target does not exist"),
            Self::Disabled => out.write_str("its target stands at 0 replicas, which switches the HPA off"),
            Self::NoCpuRequest => out.write_str("its pods request no CPU"),
        }
    }
}

/// What an app is: changes only when somebody edits an object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct App {
    /// Which HPA.
    pub id: AppId,
    /// Kind of the scale target, `Deployment` for most.
    pub kind: Arc<str>,
    /// Name of the scale target.
    pub target: Arc<str>,
    /// Index into [`super::Catalog::domains`].
    pub domain: usize,
    /// Lower bound of the HPA.
    pub min_replicas: u32,
    /// Upper bound of the HPA.
    pub max_replicas: u32,
    /// Relative change that the HPA ignores on the way up (0.1 unless its behavior says).
    pub tolerance_up: f64,
    /// Relative change that the HPA ignores on the way down.
    pub tolerance_down: f64,
    /// CPU utilisation that a plain HPA would aim at: share of the request, 0.7 by default.
    pub target_cpu: f64,
    /// Why no number is served; `None` for a managed app.
    pub refusal: Option<Refusal>,
}

#[cfg(test)]
impl App {
    /// A managed Deployment of the same name, 1 to 100 replicas, without tolerance, at 70 % CPU.
    pub(crate) fn fixture(id: AppId, domain: usize) -> Self {
        Self {
            target: Arc::clone(&id.hpa),
            id,
            kind: "Deployment".into(),
            domain,
            min_replicas: 1,
            max_replicas: 100,
            tolerance_up: 0.0,
            tolerance_down: 0.0,
            target_cpu: 0.7,
            refusal: None,
        }
    }
}

/// What an app does: changes all the time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AppState {
    /// `spec.replicas` of the target: what was asked for.
    pub spec_replicas: u32,
    /// `status.replicas` as the HPA sees it, surge pods included.
    pub status_replicas: u32,
    /// Pods that are running and ready.
    pub ready: u32,
    /// Pods that wait for a node or for their containers.
    pub pending: u32,
    /// Whether a rollout is under way (old and new pods side by side).
    pub rolling_out: bool,
    /// CPU request of one pod, in cores; 0 when unknown.
    pub cpu_request: f64,
    /// Memory request of one pod, in bytes; 0 when unknown.
    pub memory_request: f64,
    /// What was measured.
    pub signals: Signals,
}
