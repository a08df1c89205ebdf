//! Who waits while a lower class uses more than is guaranteed to it.
//!
//! The statement: if a pod of some class has waited for room longer than grace, bind and one back-off
//! take, then in every pool that it may use each domain of a lower class is at or below its floor and
//! one pod, or a `PodDisruptionBudget` refused an eviction there meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{Cause, Change, Course, Life, Limit, Room};

/// An eviction that a `PodDisruptionBudget` refused.
#[derive(Debug, Clone)]
pub struct Protected {
    /// When.
    pub at: Timestamp,
    /// Whose pod.
    pub domain: String,
    /// The pool of its node.
    pub pool: String,
    /// Which pod, `namespace/name`.
    pub pod: String,
}

/// What the statement is judged by.
#[derive(Debug, Clone)]
pub struct Order {
    /// Domains and their classes, 0 for P0.
    pub domains: Vec<(String, u8)>,
    /// Floor of each domain in each pool; who has none has nothing guaranteed.
    pub floors: Vec<Limit>,
    /// Of each pool, what only P0 may use: other pods may rightly wait while so much more is in use.
    pub reserves: Vec<Limit>,
    /// The shared pools.
    pub pools: Vec<String>,
    /// Which of them a pod may use; all by default.
    pub may_use: fn(&Life, &str) -> bool,
    /// Classes whose pods are judged: who may not preempt may rightly wait longer.
    pub judged: Vec<u8>,
    /// How long a pod may wait.
    pub allowed: Duration,
}

/// A pod that waited too long while a lower class used too much.
#[derive(Debug, Clone)]
pub struct Inversion {
    /// The pod that waits, `namespace/name`.
    pub pod: String,
    /// When that was first seen of this pod, lower domain and pool.
    pub at: Timestamp,
    /// For how many seconds it had waited then.
    pub waited: f64,
    /// The domain of a lower class.
    pub lower: String,
    /// The pool.
    pub pool: String,
    /// What that domain used of it.
    pub used: Room,
    /// Its floor.
    pub floor: Room,
}

impl fmt::Display for Inversion {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pod, at, waited, lower, pool, used, floor } = self;
        write!(
            out,
            "{at}: {pod} waits for {waited:.1} s while {lower} uses {used} of {pool}, above its floor of {floor}"
        )
    }
}

/// The verdict.
#[derive(Debug, Clone, Default)]
pub struct Inversions {
    /// Violations, by time; one for each pod, lower domain and pool.
    pub found: Vec<Inversion>,
    /// Those for which a `PodDisruptionBudget` had refused an eviction while the pod waited.
    pub excused: Vec<Inversion>,
    /// Evictions that were refused so, in all.
    pub refusals: usize,
    /// Pods that waited longer than allowed, rightly or not.
    pub late: usize,
}

impl Order {
    /// Of domains that share `pool`: names and classes, with their floors in it. Every class is judged.
    pub fn of_pool(
        pool: &str,
        domains: &[(&str, u8)],
        floors: Vec<Limit>,
        allowed: Duration,
    ) -> Self {
        Self {
            domains: domains.iter().map(|(name, class)| ((*name).to_owned(), *class)).collect(),
            floors,
            reserves: Vec::new(),
            pools: vec![pool.to_owned()],
            may_use: |_, _| true,
            judged: vec![0, 1, 2, 3],
            allowed,
        }
    }

    fn class(&self, domain: &str) -> Option<u8> {
        self.domains.iter().find(|(name, _)| name == domain).map(|(_, class)| *class)
    }

    /// No pod ranks above its domain, nor above its `PriorityClass`.
    fn rank(&self, pod: &Life, domain: &str) -> Option<u8> {
        let own = pod.priority_class.strip_prefix("hirl-p").and_then(|class| class.parse().ok());
        Some(self.class(domain)?.max(own.unwrap_or(0)))
    }

    fn floor(&self, domain: &str, pool: &str, at: Timestamp) -> Room {
        let of = |limit: &&Limit| limit.pool == pool && limit.domain.as_deref() == Some(domain);
        self.floors.iter().find(of).and_then(|limit| limit.at(at)).unwrap_or_default()
    }

    fn reserve(&self, pool: &str, at: Timestamp) -> Room {
        let of = |limit: &&Limit| limit.pool == pool;
        self.reserves.iter().find(of).and_then(|limit| limit.at(at)).unwrap_or_default()
    }
}

/// A pod while it has waited too long.
#[derive(Debug)]
struct Late<'a> {
    pod: &'a Life,
    domain: &'a str,
    rank: u8,
    from: Timestamp,
    until: Timestamp,
}

impl Course {
    /// What contradicts the statement.
    pub fn inversions(&self, order: &Order) -> Inversions {
        let late = self.late(order);
        let mut one_pod: BTreeMap<&str, Room> = BTreeMap::new();
        for pod in self.pods.iter().filter(|pod| pod.node.is_some()) {
            let largest = one_pod.entry(self.home(pod)).or_default();
            *largest = largest.most(pod.request);
        }
        let mut verdict = Inversions {
            refusals: self.protected.len(),
            late: late.len(),
            ..Inversions::default()
        };
        // A wait that grows too long counts as much as a sum that changes.
        let mut instants: Vec<Timestamp> = self
            .changes
            .iter()
            .map(|change| change.at)
            .chain(late.iter().map(|late| late.from))
            .collect();
        instants.sort_unstable();
        instants.dedup();
        let mut changes = self.changes.iter().peekable();
        let mut used: BTreeMap<(&str, &str), Room> = BTreeMap::new();
        let mut coming = late.iter().peekable();
        let mut waiting: Vec<&Late<'_>> = Vec::new();
        let mut seen: BTreeSet<(&str, Timestamp, &str, &str)> = BTreeSet::new();
        for at in instants {
            while let Some(change) = changes.next_if(|change| change.at <= at) {
                used.insert((&change.domain, &change.pool), change.used);
            }
            while let Some(next) = coming.next_if(|next| next.from <= at) {
                waiting.push(next);
            }
            waiting.retain(|late| late.until > at);
            if waiting.is_empty() {
                continue;
            }
            for (&(lower, pool), &used) in &used {
                let (Some(class), true) =
                    (order.class(lower), order.pools.iter().any(|one| one == pool))
                else {
                    continue;
                };
                let floor = order.floor(lower, pool, at);
                let largest = one_pod.get(lower).copied().unwrap_or_default();
                for late in waiting.iter().filter(|late| late.rank < class && late.domain != lower)
                {
                    let mut most = floor.plus(largest.most(late.pod.request));
                    if late.rank > 0 {
                        most = most.plus(order.reserve(pool, at));
                    }
                    if used.fits(most)
                        || !(order.may_use)(late.pod, pool)
                        || !seen.insert((&late.pod.name, late.pod.made, lower, pool))
                    {
                        continue;
                    }
                    let found = Inversion {
                        pod: late.pod.name.clone(),
                        at,
                        waited: at.duration_since(late.pod.made).as_secs_f64(),
                        lower: lower.to_owned(),
                        pool: pool.to_owned(),
                        used,
                        floor,
                    };
                    let refused = |one: &Protected| {
                        one.domain == lower
                            && one.pool == pool
                            && (late.pod.made..=at).contains(&one.at)
                    };
                    let excused = self.protected.iter().any(refused);
                    if excused { &mut verdict.excused } else { &mut verdict.found }.push(found);
                }
            }
        }
        verdict
    }

    /// Pods that one of `users` deleted or evicted although their domain was below its floor without them, in
    /// CPU and in memory.
    pub fn robbed(&self, floors: &[Limit], users: &[&str]) -> Vec<&Change> {
        let ended: BTreeSet<(&str, Timestamp)> = self
            .pods
            .iter()
            .filter(|pod| users.iter().any(|user| pod.deletions.contains_key(*user)))
            .filter_map(|pod| Some((pod.name.as_str(), pod.gone?)))
            .collect();
        let below = |change: &&Change| {
            let of = |floor: &&Limit| {
                floor.pool == change.pool && floor.domain.as_deref() == Some(&*change.domain)
            };
            let floor = floors.iter().find(of).and_then(|floor| floor.at(change.at));
            floor.is_some_and(|floor| {
                change.used.cpu < floor.cpu && change.used.memory < floor.memory
            })
        };
        self.changes
            .iter()
            .filter(|change| change.cause == Cause::Gone)
            .filter(|change| ended.contains(&(change.pod.as_str(), change.at)))
            .filter(below)
            .collect()
    }

    /// The least that a domain used of a pool from `since` on.
    pub fn least(&self, domain: &str, pool: &str, since: Timestamp) -> Room {
        let of = |change: &&Change| change.domain == domain && change.pool == pool;
        let changes = self.changes.iter().filter(of);
        let before = changes.clone().take_while(|change| change.at <= since).last();
        let after = changes.skip_while(|change| change.at <= since);
        let start = before.map_or_else(Room::default, |change| change.used);
        after.fold(start, |least, change| least.least(change.used))
    }

    /// The domain of its namespace.
    pub(super) fn home(&self, pod: &Life) -> &str {
        let namespace = pod.name.split('/').next().unwrap_or_default();
        self.homes.get(namespace).map(String::as_str).unwrap_or_default()
    }

    /// Pods that waited longer than allowed, by the time at which that began.
    fn late(&self, order: &Order) -> Vec<Late<'_>> {
        let allowed = SignedDuration::try_from(order.allowed).unwrap_or(SignedDuration::MAX);
        let mut late: Vec<Late<'_>> = self
            .pods
            .iter()
            .filter(|pod| !pod.gated && (pod.node.is_none() || !pod.bound.is_empty()))
            .filter_map(|pod| {
                let domain = self.home(pod);
                let rank = order.rank(pod, domain).filter(|rank| order.judged.contains(rank))?;
                let from = pod.made.checked_add(allowed).ok()?;
                let bound = pod.bound.first().map(|(at, _, _)| *at);
                let until = bound.or(pod.gone).unwrap_or(Timestamp::MAX);
                (from < until && from <= self.end).then_some(Late {
                    pod,
                    domain,
                    rank,
                    from,
                    until,
                })
            })
            .collect();
        late.sort_by_key(|late| late.from);
        late
    }
}
