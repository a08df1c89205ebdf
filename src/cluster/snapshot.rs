//! What the world looked like at one instant: the only input of a decision.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{App, AppState, Domain, Outlook, Timestamp};

/// Who is who: the apps and domains, shared by every snapshot until somebody edits an object.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Catalog {
    /// The domains. The last one is the built-in default.
    pub domains: Vec<Domain>,
    /// The apps, sorted by id.
    pub apps: Vec<App>,
}

/// A set of nodes with the same pool label.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Pool {
    /// Value of the pool label.
    pub name: String,
    /// Whether several domains share it, so that budgets apply.
    pub shared: bool,
    /// Nodes that are ready and schedulable.
    pub nodes: u32,
    /// Allocatable CPU of these nodes, in cores.
    pub cpu: f64,
    /// Allocatable memory of these nodes, in bytes.
    pub memory: f64,
}

/// The world at one instant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// When it was taken, by our clock.
    pub at: Timestamp,
    /// Who is who.
    pub catalog: Arc<Catalog>,
    /// What each app does, in the order of [`Catalog::apps`].
    pub apps: Vec<AppState>,
    /// The node pools.
    pub pools: Vec<Pool>,
    /// What is expected of each domain, in the order of [`Catalog::domains`]; empty without a
    /// forecaster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forecasts: Vec<Outlook>,
}

impl Snapshot {
    /// Allocatable CPU of the shared pools, in cores.
    #[must_use]
    pub fn shared_cpu(&self) -> f64 {
        self.pools.iter().filter(|pool| pool.shared).map(|pool| pool.cpu).sum()
    }
}
