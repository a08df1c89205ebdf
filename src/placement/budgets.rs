//! Budgets as the ledger takes them in: shares per domain, versioned.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::cluster::{Class, Timestamp};
use crate::safety::Decision;

/// The number of the decision behind a set of budgets; a lower one never replaces a higher.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Epoch {
    /// [`Decision::epoch`].
    pub term: u64,
    /// [`Decision::sequence`].
    pub sequence: u64,
}

impl std::fmt::Display for Epoch {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}-{}", self.term, self.sequence)
    }
}

/// What one domain may use of each shared pool.
#[derive(Debug, Clone, PartialEq)]
pub struct DomainBudget {
    /// Name of the domain.
    pub name: Arc<str>,
    /// Class of its pods where their `PriorityClass` says nothing.
    pub class: Class,
    /// Share of the allocatable CPU and memory of every shared pool, 0 to 1, ...
    pub share: f64,
    /// ... but for these pools.
    pub pool_shares: Vec<(Arc<str>, f64)>,
    /// Until when the domain breaks its SLO: pods of its own class and above may use the band.
    pub breach_until: Option<Timestamp>,
    /// Until when an operator declared an emergency: all its pods may use band and reserve.
    pub emergency_until: Option<Timestamp>,
}

/// The budgets of all domains.
#[derive(Debug, Clone, PartialEq)]
pub struct Budgets {
    /// Which decision said so.
    pub epoch: Epoch,
    /// Per domain.
    pub domains: Vec<DomainBudget>,
    /// Share of every shared pool that only `P0` and emergencies may use.
    pub reserve: f64,
    /// What a domain with the band may use beyond its budget: 0.1 = 10 %.
    pub band: f64,
}

impl Budgets {
    /// What `decision` allows; a breach that it reports counts until `breach_until`.
    #[must_use]
    pub fn of(decision: &Decision, band: f64, breach_until: Timestamp) -> Self {
        let _ = (decision, band, breach_until);
        todo!()
    }
}
