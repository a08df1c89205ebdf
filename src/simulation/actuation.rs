//! How a policy reaches the simulated cluster: what the HPAs read, and what the scheduler knows.

use serde::{Deserialize, Serialize};

use super::scenario::ScaleRules;
use crate::cluster::Class;

/// How one policy acts. Everything else (controllers, provisioner, telemetry) is the scenario's.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Actuation {
    /// What the stock HPAs read.
    pub metric: Metric,
    /// CPU aimed at per class, in the order of [`Class::ALL`], in place of the apps' own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_cpu: Option<[f64; Class::ALL.len()]>,
    /// Behaviour of the HPAs upwards, in place of the apps' own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale_up: Option<ScaleRules>,
    /// Behaviour of the HPAs downwards, in place of the apps' own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale_down: Option<ScaleRules>,
    /// Relative change that the HPAs ignore upwards and downwards, in place of the apps' own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<[f64; 2]>,
    /// Replicas stand all the time at those for the highest announced demand times this; none:
    /// the HPAs scale.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_margin: Option<f64>,
    /// Whether pods have the `PriorityClass` of their class: kube-scheduler takes them in that
    /// order and preempts lower ones.
    pub priorities: bool,
    /// Whether the scheduler asks the extender, so that budgets hold when pods are placed.
    pub budgets: bool,
}

/// What the stock HPAs read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Metric {
    /// CPU (and memory where the app says so), as without us.
    #[default]
    Cpu,
    /// `hirl-desired-replicas`, with a tolerance of 0 as `hirl adopt` sets it.
    Ours,
}
