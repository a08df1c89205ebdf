//! What the ledger answers.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use super::Epoch;
use crate::cluster::{Amount, Class};

/// Why a pod passes without a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bypass {
    /// Its namespace is `kube-system`, ours, or exempt by configuration.
    Namespace,
    /// It belongs to a `DaemonSet` or is static.
    DaemonSet,
    /// Its priority is a system priority.
    SystemPriority,
    /// No `Domain` selects its namespace.
    NoDomain,
}

/// The resource that ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Resource {
    /// CPU.
    Cpu,
    /// Memory.
    Memory,
}

/// Why a pod may not be placed now. Its text is constant for a domain and resource: a text that
/// changes makes the scheduler patch and requeue the pod for ever.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// Domains of its class and above, and the floors of the others, use what every shared pool that
    /// the pod may use has and can grow to.
    Budget {
        /// The domain.
        domain: Arc<str>,
        /// What ran out.
        resource: Resource,
    },
    /// Its Domain limits what it may borrow, and uses that in every shared pool that the pod may use.
    Borrowing {
        /// The domain.
        domain: Arc<str>,
        /// What ran out.
        resource: Resource,
    },
    /// Pods of a higher class wait for the room that is left in every shared pool that the pod may use.
    Guarded {
        /// The domain.
        domain: Arc<str>,
    },
    /// Only the reserve is left in every shared pool that the pod may use.
    Reserve {
        /// The domain.
        domain: Arc<str>,
        /// What ran out.
        resource: Resource,
    },
    /// There is budget, but only in pools whose nodes were not offered: they are full.
    NodesFull {
        /// The domain.
        domain: Arc<str>,
    },
    /// The ledger was not read completely since this replica became its owner.
    Warming,
    /// No budget was ever published.
    NoBudgets,
    /// The pod is being bound.
    BindInProgress,
    /// Another node than the one that the pod is being bound to, or already has.
    OtherNode,
    /// A node that is not known (yet).
    UnknownNode,
    /// A pod that is not known (yet).
    UnknownPod,
    /// Another replica owns the ledger.
    NotOwner,
}

impl fmt::Display for Resource {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
        })
    }
}

impl Refusal {
    /// The domain that it is about, if it is about one.
    #[must_use]
    pub fn domain(&self) -> Option<&str> {
        match self {
            Self::Budget { domain, .. }
            | Self::Borrowing { domain, .. }
            | Self::Reserve { domain, .. }
            | Self::Guarded { domain }
            | Self::NodesFull { domain } => Some(domain),
            _ => None,
        }
    }

    /// Whether a budget is why: nobody but a budget can act.
    #[must_use]
    pub const fn is_for_budget(&self) -> bool {
        matches!(
            self,
            Self::Budget { .. }
                | Self::Borrowing { .. }
                | Self::Reserve { .. }
                | Self::Guarded { .. }
        )
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Budget { domain, resource } => {
                write!(
                    out,
                    "budget: domain {domain} finds no {resource} left for its class in the shared node pools"
                )
            }
            Self::Borrowing { domain, resource } => {
                write!(
                    out,
                    "budget: domain {domain} may borrow no more {resource} in the shared node pools"
                )
            }
            Self::Guarded { domain } => {
                write!(
                    out,
                    "budget: domain {domain} waits until pods of a higher class have found room in the shared node pools"
                )
            }
            Self::Reserve { domain, resource } => {
                write!(
                    out,
                    "budget: domain {domain} finds only the {resource} reserve left in the shared node pools"
                )
            }
            Self::NodesFull { domain } => {
                write!(
                    out,
                    "budget: domain {domain} is entitled to room only in node pools whose nodes are full"
                )
            }
            Self::Warming => out.write_str("budget: the placement ledger is being read"),
            Self::NoBudgets => out.write_str("budget: no budgets were published yet"),
            Self::BindInProgress => out.write_str("budget: the pod is being bound"),
            Self::OtherNode => out.write_str("budget: the pod is bound to another node"),
            Self::UnknownNode => out.write_str("budget: the node is not known"),
            Self::UnknownPod => out.write_str("budget: the pod is not known"),
            Self::NotOwner => out.write_str("budget: another replica owns the placement ledger"),
        }
    }
}

/// Answer to `filter`. Numbers are positions in the names of the question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilterVerdict {
    /// All names: the pod needs no budget.
    Pass(Bypass),
    /// These names, best first.
    Narrowed(Vec<u32>),
    /// None, and the pod is to come back later.
    Refused(Refusal),
    /// None of these names, although there is budget: preemption and autoscaling may act.
    NodesFull(Refusal),
}

/// Answer to `preempt`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PreemptVerdict {
    /// Positions of the candidates that may give up their victims, best first.
    pub kept: Vec<u32>,
    /// UIDs of other victims than those offered, for some of them: where one of those offered is protected
    /// and others on the same node are not.
    pub instead: BTreeMap<u32, Vec<Arc<str>>>,
}

/// What allowed a binding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Of the budgets that allowed it.
    pub epoch: Epoch,
    /// The pool of the node.
    pub pool: Arc<str>,
    /// The domain charged.
    pub domain: Arc<str>,
    /// Whether a hold of the same pool was there; else the budget was looked at again.
    pub held: bool,
}

/// Answer to `bind`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BindVerdict {
    /// Send the Binding; then tell [`super::Ledger::settle`] what became of it. `None`: the pod needs no
    /// budget.
    Send(Option<Grant>),
    /// It is bound to this node already.
    Already,
    /// Do not send it.
    Refused(Refusal),
}

/// What became of a Binding that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The API server made it.
    Bound,
    /// The API server refused it; the pod is not bound by it.
    Rejected,
    /// Nobody knows: the answer did not come.
    Unknown,
}

/// Why a pod is where it is, for people.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// `namespace/name`.
    pub pod: String,
    /// Identity.
    pub uid: Arc<str>,
    /// Its domain, if it needs a budget.
    pub domain: Option<Arc<str>>,
    /// Why it needs none, if so.
    pub bypass: Option<Bypass>,
    /// Its class.
    pub class: Class,
    /// What it is charged.
    pub request: Amount,
    /// `pending`, `gated`, `held`, `binding` or `bound`.
    pub state: &'static str,
    /// Its node, if it has one.
    pub node: Option<Arc<str>>,
    /// Epoch of the budgets in force.
    pub epoch: Epoch,
    /// The last refusal, in its words.
    pub refused: Option<String>,
    /// Per shared pool: what its domain may use and does use.
    pub pools: Vec<super::PoolUse>,
}
