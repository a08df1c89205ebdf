//! What is simulated, as data: who runs where, what asks of them, and what goes wrong.
//!
//! A [`Scenario`] is complete: every number is drawn, every app stands for itself. People write the
//! shorter [`Document`], which [`read`] completes; written out, a scenario is such a text as well.

mod app;
pub mod builtin;
mod check;
mod constants;
mod domain;
mod event;
mod expand;
pub mod families;
mod paths;
mod pool;
mod shift;
mod text;
mod world;

use serde::{Deserialize, Serialize};

pub use app::{
    AppSpec, HpaSpec, MemorySpec, PolicyKind, ScalePolicy, ScaleRules, Select, StartSpec,
};
pub use check::{Flaw, Place};
pub use constants::{Constants, LogNormalSpec, Range};
pub use domain::{BatchWindow, CallSpec, DomainSpec, Pattern};
pub use event::{EventKind, EventSpec, FaultKind, FaultSpec, Reach};
pub use paths::Path;
pub use pool::{PoolSpec, Provisioner};
pub use shift::{Forecasting, Shift, multiply};
pub use text::{AppText, Document, Drawn, Error, HpaText, Located, Spread, StartText, read};
pub use world::{ControllerSpec, TelemetrySpec};

use crate::cluster::{Call, Domain, Timestamp};

/// One complete scenario.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Scenario {
    /// A short name, as in `flash-sale-post-mortem`.
    pub name: String,
    /// What happens in it, for people.
    pub description: String,
    /// Difficulty, 1 (one domain, steady) to 8 (adversarial).
    pub level: u8,
    /// When it begins, in UTC: sets the hour, the weekday and the day of the month.
    pub start: Timestamp,
    /// How long it takes, in seconds, the warm-up included.
    pub duration_seconds: f64,
    /// How long it runs before anything is counted, in seconds.
    pub warm_up_seconds: f64,
    /// Time between two decisions, in seconds.
    pub step_seconds: f64,
    /// The domains, in the order of [`crate::cluster::Catalog::domains`].
    pub domains: Vec<DomainSpec>,
    /// The apps, sorted by namespace and name: the order of every per-app array.
    pub apps: Vec<AppSpec>,
    /// The node pools.
    pub pools: Vec<PoolSpec>,
    /// Which domain calls which. Never a cycle.
    pub calls: Vec<CallSpec>,
    /// Traffic that differs from the pattern for a while.
    pub events: Vec<EventSpec>,
    /// What breaks.
    pub faults: Vec<FaultSpec>,
    /// How late and how whole the measurements are.
    pub telemetry: TelemetrySpec,
    /// How the control plane is set up. The same for every policy.
    pub controller: ControllerSpec,
    /// Constants of the platform.
    pub constants: Constants,
}

impl Scenario {
    /// Index of a domain by its name.
    #[must_use]
    pub fn domain(&self, name: &str) -> Option<usize> {
        self.domains.iter().position(|domain| domain.name == name)
    }

    /// Its domains as policies know them: active, and with the calls that their requests wait for.
    #[must_use]
    pub fn to_domains(&self) -> Vec<Domain> {
        let calls = |domain: &DomainSpec| {
            let own = self.calls.iter().filter(|call| call.from == domain.name && call.inline);
            own.map(|call| Call { to: call.to.clone(), per_request: call.per_request }).collect()
        };
        self.domains
            .iter()
            .map(|domain| Domain { calls: calls(domain), ..domain.to_domain() })
            .collect()
    }

    /// Index of each app's domain; one that is not there counts as the first.
    #[must_use]
    pub fn domain_of(&self) -> Vec<usize> {
        self.apps.iter().map(|app| self.domain(&app.domain).unwrap_or(0)).collect()
    }

    /// Part that each app gets of the calls to its domain, 0 to 1.
    #[must_use]
    pub fn call_shares(&self) -> Vec<f64> {
        let domain_of = self.domain_of();
        let mut weights = vec![0.0; self.domains.len()];
        for (app, domain) in self.apps.iter().zip(&domain_of) {
            weights[*domain] += app.call_weight;
        }
        let share = |weight: f64, all: f64| if all > 0.0 { weight / all } else { 0.0 };
        let each = self.apps.iter().zip(domain_of);
        each.map(|(app, domain)| share(app.call_weight, weights[domain])).collect()
    }

    /// Index of a pool by its name.
    #[must_use]
    pub fn pool(&self, name: &str) -> Option<usize> {
        self.pools.iter().position(|pool| pool.name == name)
    }
}

#[cfg(test)]
mod tests;
