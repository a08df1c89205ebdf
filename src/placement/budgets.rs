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

impl DomainBudget {
    /// Its share of `pool`, 0 to 1.
    #[must_use]
    pub fn share_of(&self, pool: &str) -> f64 {
        let own = self.pool_shares.iter().find(|(name, _)| &**name == pool);
        own.map_or(self.share, |(_, share)| *share).clamp(0.0, 1.0)
    }
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
        let domains = decision.catalog.domains.iter().zip(&decision.domains);
        Self {
            epoch: Epoch { term: decision.epoch, sequence: decision.sequence },
            domains: domains
                .map(|(domain, decided)| DomainBudget {
                    name: Arc::from(domain.name.as_str()),
                    class: domain.class,
                    share: decided.share,
                    pool_shares: decided
                        .pool_shares
                        .iter()
                        .map(|(pool, share)| (Arc::from(pool.as_str()), *share))
                        .collect(),
                    breach_until: decided.in_breach.then_some(breach_until),
                    emergency_until: decided.emergency_until,
                })
                .collect(),
            reserve: decision.reserve_share,
            band,
        }
    }

    /// The same shares by weight alone: what is left when nobody decided for long.
    #[must_use]
    pub fn by_weight(decision: &Decision) -> Self {
        let mut budgets = Self::of(decision, 0.0, Timestamp::default());
        let weights: f64 = decision.catalog.domains.iter().map(|domain| domain.weight).sum();
        for (budget, domain) in budgets.domains.iter_mut().zip(&decision.catalog.domains) {
            budget.share = (1.0 - decision.reserve_share) * domain.weight / weights;
            budget.pool_shares.clear();
            budget.breach_until = None;
            budget.emergency_until = None;
        }
        budgets
    }

    /// Whether something that limits a pod differs; the number of the decision and the times
    /// until which a band lasts do not.
    #[must_use]
    pub fn differ(&self, other: &Self) -> bool {
        let limits = |budgets: &Self| {
            budgets
                .domains
                .iter()
                .map(|one| {
                    let band = (one.breach_until.is_some(), one.emergency_until.is_some());
                    (Arc::clone(&one.name), one.class, one.share, one.pool_shares.clone(), band)
                })
                .collect::<Vec<_>>()
        };
        (self.reserve, self.band) != (other.reserve, other.band) || limits(self) != limits(other)
    }

    /// The reserve of `pool`: shares set by hand for one pool may leave less of it there.
    #[must_use]
    pub fn reserve_of(&self, pool: &str) -> f64 {
        let given: f64 = self.domains.iter().map(|one| one.share_of(pool)).sum();
        self.reserve.min(1.0 - given).max(0.0)
    }
}
