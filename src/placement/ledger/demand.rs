//! Who may come in from behind the gates, and who could be sent away.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::nodes::PoolId;
use super::rooms::Question;
use super::{DomainId, Entry, EntryId, Ledger, Standing, State};
use crate::cluster::{Amount, Class, Timestamp};
use crate::placement::Needs;
use crate::placement::entitlement::{self, Claim};

/// What a higher class waits for room before lower ones are evicted for it, in seconds: preemption by the
/// scheduler, where it can, takes one back-off.
const RECLAIM_SECONDS: f64 = 10.0;

/// A pod by UID, namespace and name.
pub type PodName = (Arc<str>, Arc<str>, Arc<str>);

impl Ledger {
    /// Pods behind our gate that may be let through now, at most so many, best first: by class,
    /// then age, within the headroom that those already let through leave.
    ///
    /// A pod that must wait holds back the later ones of its domain, so that it is not overtaken
    /// for ever; one that asks for more than its domain can ever have does not.
    #[must_use]
    pub fn ungate(&mut self, at_most: usize, now: Timestamp) -> Vec<PodName> {
        self.expire(now);
        if self.standing != Standing::Owner || self.budgets.is_none() || self.gated.is_empty() {
            return Vec::new();
        }
        let mut behind: Vec<(Class, Timestamp, &Entry, DomainId)> = self
            .gated
            .iter()
            .filter_map(|&id| self.entries[id as usize].as_ref())
            .filter_map(|entry| {
                Some((self.entry_class(entry), entry.created, entry, entry.domain?))
            })
            .collect();
        behind.sort_by(|a, b| (a.0, a.1, &a.2.uid).cmp(&(b.0, b.1, &b.2.uid)));
        // Per domain and class: the band and the reserve are not open to everybody.
        let mut given: BTreeMap<DomainId, Amount> = BTreeMap::new();
        let mut stopped: Vec<DomainId> = Vec::new();
        let mut through = Vec::new();
        for (class, _, entry, domain) in behind {
            if through.len() >= at_most {
                break;
            }
            if stopped.contains(&domain) {
                continue;
            }
            let (room, most) = self.headroom(domain, class, now);
            let given = given.entry(domain).or_insert_with(|| self.waiting[usize::from(domain)]);
            if (*given + entry.request).fits(room) {
                *given += entry.request;
                through.push(named(entry));
            } else if entry.request.fits(most) {
                stopped.push(domain);
            }
        }
        through
    }

    /// What a domain is entitled to in all shared pools for further pods of `class`, and what it could have
    /// at the most if nobody used any of them.
    fn headroom(&self, domain: DomainId, class: Class, now: Timestamp) -> (Amount, Amount) {
        let mut sum = (Amount::ZERO, Amount::ZERO);
        let question = anybody(domain, class);
        for pool in self.nodes.shared_pools() {
            let claims = self.claims(pool, &question, now);
            let own = claims.of[usize::from(domain)];
            sum.0 += entitlement::entitlement(&claims.room(), &self.asker(&question, now))
                .unwrap_or_default();
            sum.1 += own.most.unwrap_or(claims.growth).max(own.floor);
        }
        sum
    }

    /// Pods whose eviction gives others what is theirs, for each domain and shared pool, lowest class
    /// first, then youngest:
    ///
    /// - of a domain that has been above its limit of borrowing for `delay_seconds`, down to that limit;
    /// - of a domain above its floor where pods of a higher class have waited for room for
    ///   [`RECLAIM_SECONDS`], up to what those request;
    /// - of a domain above its target where pods of an equal class, within their own target, have waited
    ///   for `delay_seconds`.
    #[must_use]
    pub fn excess(
        &mut self,
        delay_seconds: f64,
        now: Timestamp,
    ) -> BTreeMap<(Arc<str>, Arc<str>), Vec<PodName>> {
        self.date_waiters(now);
        if self.standing != Standing::Owner || self.budgets.is_none() {
            self.above_since.clear();
            return BTreeMap::new();
        }
        let pools: Vec<PoolId> = self.nodes.shared_pools().collect();
        let mut above = Vec::new();
        let mut victims = BTreeMap::new();
        for pool in pools {
            let question = anybody(0, Class::P0);
            if self.domains.is_empty() {
                continue;
            }
            let claims = self.claims(pool, &question, now).of;
            let mut spare = Vec::new();
            for (domain, claim) in claims.iter().enumerate() {
                let beyond = claim.most.map_or(Amount::ZERO, |most| claim.used.less(most));
                let key = (domain as DomainId, pool);
                if beyond == Amount::ZERO {
                    spare.push(Amount::ZERO);
                    continue;
                }
                above.push(key);
                let since = *self.above_since.entry(key).or_insert(now);
                let over = now.seconds_since(since) >= delay_seconds;
                spare.push(if over { beyond } else { Amount::ZERO });
            }
            self.add_reclaimed(pool, &claims, &mut spare, delay_seconds, now);
            for (domain, (claim, spare)) in claims.iter().zip(spare).enumerate() {
                if spare == Amount::ZERO {
                    continue;
                }
                let names =
                    (Arc::clone(&self.domains[domain]), Arc::clone(self.nodes.pool_name(pool)));
                let chosen = self.victims(domain as DomainId, pool, claim, spare);
                if !chosen.is_empty() {
                    victims.insert(names, chosen);
                }
            }
        }
        self.above_since.retain(|key, _| above.contains(key));
        victims
    }

    /// Adds what each domain is to give back to pods that wait for room in a pool: lower classes first,
    /// the lowest before the others, then equals.
    fn add_reclaimed(
        &self,
        pool: PoolId,
        claims: &[Claim],
        spare: &mut [Amount],
        delay_seconds: f64,
        now: Timestamp,
    ) {
        let mut order: Vec<usize> = (0..claims.len()).collect();
        order.sort_by_key(|&domain| std::cmp::Reverse(claims[domain].class));
        let mut waiting: Vec<(EntryId, &Entry)> = self.waiters_in(pool, None, now).collect();
        waiting.sort_by_key(|&(id, entry)| (self.entry_rank(entry), entry.created, id));
        for (id, entry) in waiting {
            let Some(domain) = entry.domain else { continue };
            let since = self.waiters.get(&id).and_then(|waiter| waiter.since);
            let waited = since.map_or(0.0, |since| now.seconds_since(since));
            let (rank, own) = (self.entry_rank(entry), &claims[usize::from(domain)]);
            let within = (own.used + entry.request).fits(own.target);
            let mut left = entry.request;
            for &other in &order {
                let claim = &claims[other];
                let kept = if claim.class > rank && waited >= RECLAIM_SECONDS {
                    claim.floor
                } else if claim.class == rank && within && waited >= delay_seconds {
                    claim.target
                } else {
                    continue;
                };
                if other == usize::from(domain) || left == Amount::ZERO {
                    continue;
                }
                let gives = claim.used.less(kept).less(spare[other]).min(left);
                spare[other] += gives;
                left = left.less(gives);
            }
        }
    }

    /// Pods of a domain in a pool that together request `spare` or little more, and never so many that its
    /// floor is broken.
    fn victims(
        &self,
        domain: DomainId,
        pool: PoolId,
        claim: &Claim,
        spare: Amount,
    ) -> Vec<PodName> {
        let mut bound: Vec<&Entry> = self
            .entries
            .iter()
            .flatten()
            .filter(|entry| entry.domain == Some(domain))
            .filter(|entry| match entry.state {
                State::Bound { node } => self.nodes.pool(node) == Some(pool),
                _ => false,
            })
            .collect();
        bound.sort_by(|a, b| {
            let key = |one: &Entry| (self.entry_class(one), one.created);
            key(b).cmp(&key(a)).then_with(|| a.uid.cmp(&b.uid))
        });
        let mut left = spare;
        let mut lost = Amount::ZERO;
        let mut chosen = Vec::new();
        for entry in bound {
            if left == Amount::ZERO || !entitlement::may_lose(claim, lost + entry.request) {
                break;
            }
            if self.bypass(&entry.namespace, entry.bound_to_its_node, entry.priority).is_some() {
                continue;
            }
            left = left.less(entry.request);
            lost += entry.request;
            // One that is going already frees its part without us.
            if !entry.deleting {
                chosen.push(named(entry));
            }
        }
        chosen
    }
}

/// A question for no pod in particular.
pub(super) fn anybody(domain: DomainId, class: Class) -> Question<'static> {
    static NEEDS: std::sync::LazyLock<Needs> = std::sync::LazyLock::new(Needs::default);
    let (request, given_up) = (Amount::ZERO, Amount::ZERO);
    Question { pod: None, domain, class, request, given_up, needs: &NEEDS }
}

fn named(entry: &Entry) -> PodName {
    (Arc::clone(&entry.uid), Arc::clone(&entry.namespace), Arc::clone(&entry.name))
}
