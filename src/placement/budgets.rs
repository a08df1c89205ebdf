//! Budgets as the ledger takes them in: shares per domain, versioned.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::entitlement::{self, Claim};
use crate::cluster::{Amount, Class, LoanLimit, Timestamp};
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
    /// Its target: a share of the allocatable CPU and memory of every shared pool, 0 to 1, ...
    pub share: f64,
    /// ... but for these pools.
    pub pool_shares: Vec<(Arc<str>, f64)>,
    /// The share of every shared pool that is guaranteed to it, 0 to 1.
    pub floor: f64,
    /// What it may use beyond its target.
    pub borrowing: LoanLimit,
    /// What others may use of its floor while it does not.
    pub lending: LoanLimit,
    /// Until when the domain breaks its SLO, which widens its target by the band.
    pub breach_until: Option<Timestamp>,
    /// Until when an operator declared an emergency: it has the band, and its pods may use the reserve.
    pub emergency_until: Option<Timestamp>,
}

impl DomainBudget {
    /// Its share of `pool`, 0 to 1.
    #[must_use]
    pub fn share_of(&self, pool: &str) -> f64 {
        let own = self.pool_shares.iter().find(|(name, _)| &**name == pool);
        own.map_or(self.share, |(_, share)| *share).clamp(0.0, 1.0)
    }

    /// Whether an operator declared an emergency that holds at `now`.
    #[must_use]
    pub fn in_emergency(&self, now: Timestamp) -> bool {
        self.emergency_until.is_some_and(|until| now < until)
    }

    /// Whether its target is wider by the band at `now` for a pod of `class`: in a breach for its own class
    /// and above, in an emergency for all.
    fn has_band(&self, class: Class, now: Timestamp) -> bool {
        let breach = self.breach_until.is_some_and(|until| now < until) && class <= self.class;
        self.in_emergency(now) || breach
    }
}

/// What a pool can grow to when nothing limits it: more than any cluster has, and little enough to add up.
pub const UNLIMITED: Amount = Amount { cpu_milli: 1 << 56, memory: 1 << 56 };

/// The budgets of all domains.
#[derive(Debug, Clone, PartialEq)]
pub struct Budgets {
    /// Which decision said so.
    pub epoch: Epoch,
    /// Per domain.
    pub domains: Vec<DomainBudget>,
    /// Share of every shared pool that only `P0` and emergencies may use.
    pub reserve: f64,
    /// By how much a breach or an emergency widens a target: 0.1 = 10 %.
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
                    floor: domain.floor_share,
                    borrowing: domain.borrowing,
                    lending: domain.lending,
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
                    let loans = (one.floor, one.borrowing, one.lending);
                    (
                        Arc::clone(&one.name),
                        one.class,
                        one.share,
                        one.pool_shares.clone(),
                        loans,
                        band,
                    )
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

    /// What each domain may claim of `pool` at `now`, while nobody uses any of it: in the order of
    /// [`Self::domains`], as a pod of `class` finds them. `standing` is what the pool's nodes hold now, `growth`
    /// what it can grow to.
    #[must_use]
    pub fn claims(
        &self,
        pool: &str,
        standing: Amount,
        growth: Amount,
        class: Class,
        now: Timestamp,
    ) -> Vec<Claim> {
        // A limit is a share of what the pool can become: one of what stands now would keep it from growing.
        let whole = Amount {
            cpu_milli: if growth.cpu_milli >= UNLIMITED.cpu_milli {
                standing.cpu_milli
            } else {
                growth.cpu_milli
            },
            memory: if growth.memory >= UNLIMITED.memory { standing.memory } else { growth.memory },
        };
        let part = |of: Amount, share: f64| of.part(share.clamp(0.0, 1.0));
        let floors: Vec<(Class, f64)> =
            self.domains.iter().map(|domain| (domain.class, domain.floor)).collect();
        let floors = entitlement::floors(&floors, self.reserve);
        let domains = self.domains.iter().zip(floors);
        domains
            .map(|(domain, floor)| {
                let band = if domain.has_band(class, now) { 1.0 + self.band } else { 1.0 };
                let share = domain.share_of(pool).max(floor) * band;
                let borrowed = match domain.borrowing {
                    LoanLimit::Unlimited => None,
                    LoanLimit::None => Some(0.0),
                    LoanLimit::Share(share) => Some(share),
                };
                let lent = match domain.lending {
                    LoanLimit::Unlimited => 1.0,
                    LoanLimit::None => 0.0,
                    LoanLimit::Share(share) => share,
                };
                let floor = part(standing, floor);
                Claim {
                    class: domain.class,
                    floor,
                    target: part(standing, share),
                    used: Amount::ZERO,
                    waiting: Amount::ZERO,
                    most: borrowed.map(|borrowed| part(whole, share + borrowed)),
                    kept: floor.less(part(standing, lent)),
                }
            })
            .collect()
    }

    /// Whether the floors were scaled, because together they are more than a pool has beside the reserve.
    #[must_use]
    pub fn floors_are_scaled(&self) -> bool {
        self.domains.iter().map(|domain| domain.floor).sum::<f64>() > 1.0 - self.reserve + 1e-9
    }
}
