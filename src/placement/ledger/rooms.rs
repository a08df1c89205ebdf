//! The rule of entitlement over the ledger's sums: what each domain claims of a pool now, and who waits.

use std::collections::HashMap;
use std::sync::Arc;

use super::nodes::{NodeId, PoolId};
use super::{DomainId, Entry, EntryId, Ledger, State};
use crate::cluster::{Amount, Class, Timestamp};
use crate::placement::entitlement::{self, Asker, Claim, Denial, Room};
use crate::placement::{Needs, UNLIMITED};

/// Seconds between two looks at who of all that wait is entitled to room.
const WEIGH_SECONDS: f64 = 5.0;

/// More new pods that wait than this are found out about together: one by one, each is compared with all.
const WEIGHED_SINGLY: usize = 32;

/// A pod that found no room, by our answer or by the scheduler's own rules.
#[derive(Debug, Clone)]
pub(super) struct Waiter {
    /// Since when; `None` until somebody with a clock looks.
    pub(super) since: Option<Timestamp>,
    /// Which nodes it may go to.
    pub(super) needs: Arc<Needs>,
    /// For how long it has been entitled to room and found none, in seconds: so long it is guarded.
    pub(super) guarded: f64,
    /// Pools in which some node could hold it.
    pub(super) pools: Vec<PoolId>,
    /// Pools among them in which it was entitled to room at the last look. In others it waits for its own
    /// domain, and keeps nobody out.
    pub(super) entitled: Vec<PoolId>,
}

/// A pod that asks for a place in one pool.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question<'a> {
    /// The pod itself, which does not count against itself.
    pub(super) pod: Option<EntryId>,
    pub(super) domain: DomainId,
    /// The class of the pod by its `PriorityClass`, else its domain's.
    pub(super) class: Class,
    pub(super) request: Amount,
    /// What its domain is charged in the pool but will not be any more.
    pub(super) given_up: Amount,
    pub(super) needs: &'a Needs,
}

/// Claims of all domains on one pool, as one pod sees them.
#[derive(Debug)]
pub(super) struct Claims {
    /// By the number of the domain.
    pub(super) of: Vec<Claim>,
    pub(super) growth: Amount,
    pub(super) reserve: Amount,
}

impl Claims {
    pub(super) fn room(&self) -> Room<'_> {
        Room { growth: self.growth, reserve: self.reserve, claims: &self.of }
    }
}

impl Ledger {
    /// The claims of all domains on a pool, in the order of their numbers.
    pub(super) fn claims(&self, pool: PoolId, question: &Question<'_>, now: Timestamp) -> Claims {
        let mut claims = self.settled_claims(pool, question, now);
        let rank = question.class.max(self.domain_class(Some(question.domain)));
        self.add_waiting(pool, question, rank, &mut claims.of, now);
        claims
    }

    /// Claims without those of pods that wait.
    fn settled_claims(&self, pool: PoolId, question: &Question<'_>, now: Timestamp) -> Claims {
        let reach = self.nodes.reach(pool, &question.needs.tolerations);
        let (standing, name) = (reach.standing, self.nodes.pool_name(pool));
        let whole = match self.growth.get(name) {
            Some(&UNLIMITED) => UNLIMITED,
            Some(growth) => growth.less(reach.closed).max(standing),
            None => standing,
        };
        // Pods of no domain take room that nobody can claim.
        let growth = if whole == UNLIMITED { whole } else { whole.less(reach.strangers) };
        let budgets = self.budgets.as_ref();
        let stated = budgets
            .map_or_else(Vec::new, |one| one.claims(name, standing, whole, question.class, now));
        let mut claims: Vec<Claim> = (0..self.domains.len() as DomainId)
            .map(|domain| {
                let stated = self.budget_of[usize::from(domain)].and_then(|at| stated.get(at));
                Claim { used: self.used(domain, pool), ..stated.copied().unwrap_or_default() }
            })
            .collect();
        for (domain, aside) in reach.aside {
            let claim = &mut claims[usize::from(domain)];
            claim.used = claim.used.less(aside);
            // A limit of borrowing counts them all the same: taints come and go.
            claim.most = claim.most.map(|most| most.less(aside));
        }
        let own = &mut claims[usize::from(question.domain)];
        own.used = own.used.less(question.given_up);
        let rank = question.class.max(self.domain_class(Some(question.domain)));
        self.add_promised(pool, question, rank, &mut claims);
        let reserve = budgets.map_or(0.0, |budgets| budgets.reserve_of(name));
        Claims { of: claims, growth, reserve: standing.part(reserve.clamp(0.0, 1.0)) }
    }

    /// Adds the pods that preemption promised a node of the pool and that count nowhere yet: what was
    /// freed for them is theirs.
    fn add_promised(
        &self,
        pool: PoolId,
        question: &Question<'_>,
        rank: Class,
        claims: &mut [Claim],
    ) {
        // Two that were promised a place do not stand in each other's way.
        let promised = question.pod.is_some_and(|id| self.nominated.contains(&id));
        for &id in self.nominated.iter().filter(|&&id| Some(id) != question.pod) {
            let Some(entry) = &self.entries[id as usize] else { continue };
            let here = entry.nominated.and_then(|node| self.nodes.pool(node)) == Some(pool);
            let other = self.entry_rank(entry);
            let before = if promised { other < rank } else { other <= rank };
            if let (Some(domain), true, true) = (entry.domain, here, before) {
                claims[usize::from(domain)].used += entry.request;
            }
        }
    }

    /// Adds the pods that wait for room in the pool and go before the one that asks.
    fn add_waiting(
        &self,
        pool: PoolId,
        question: &Question<'_>,
        rank: Class,
        claims: &mut [Claim],
        now: Timestamp,
    ) {
        for (_, entry) in self.waiters_in(pool, question.pod, now) {
            let Some(domain) = entry.domain else { continue };
            let other = self.entry_rank(entry);
            if other < rank || other == rank && domain != question.domain {
                claims[usize::from(domain)].waiting += entry.request;
            }
        }
    }

    /// Whether a pod has been guarded for as long as the guard lasts.
    fn is_over(&self, waiter: &Waiter, now: Timestamp) -> bool {
        waiter.guarded + self.since_weighed(waiter, now) >= self.settings.guard_seconds
    }

    /// The time for which a pod has been entitled since the last look at all that wait, in seconds.
    fn since_weighed(&self, waiter: &Waiter, now: Timestamp) -> f64 {
        let from = self.weighed.max(waiter.since).filter(|_| !waiter.entitled.is_empty());
        from.map_or(0.0, |from| now.seconds_since(from).max(0.0))
    }

    /// Pods that wait for room in a pool and are entitled to it, without those that preemption promised a
    /// node and those that have waited for longer than the guard lasts.
    pub(super) fn waiters_in(
        &self,
        pool: PoolId,
        but: Option<EntryId>,
        now: Timestamp,
    ) -> impl Iterator<Item = (EntryId, &Entry)> {
        self.waiters.iter().filter_map(move |(&id, waiter)| {
            let over = self.is_over(waiter, now);
            let here = waiter.entitled.contains(&pool) && !over && Some(id) != but;
            let entry = self.entries[id as usize].as_ref().filter(|_| here)?;
            entry.nominated.is_none().then_some((id, entry))
        })
    }

    /// What the domain has left in a shared pool after the request, or why the pod is not entitled.
    pub(super) fn entitled(
        &self,
        pool: PoolId,
        question: &Question<'_>,
        now: Timestamp,
    ) -> Result<Amount, Denial> {
        let claims = self.claims(pool, question, now);
        entitlement::entitlement(&claims.room(), &self.asker(question, now))
    }

    pub(super) fn asker(&self, question: &Question<'_>, now: Timestamp) -> Asker {
        Asker {
            domain: usize::from(question.domain),
            class: question.class,
            request: question.request,
            emergency: self.budget(question.domain).is_some_and(|one| one.in_emergency(now)),
        }
    }

    /// The waiting guard: of the nodes offered in a pool, those that remain for the pod while pods of
    /// higher classes wait for room there. The emptiest nodes are kept for them, up to what they request;
    /// a pod within its domain's floor is kept from nothing.
    pub(super) fn unguarded(
        &self,
        pool: PoolId,
        question: &Question<'_>,
        mut offered: Vec<(u32, NodeId)>,
        now: Timestamp,
    ) -> Vec<(u32, NodeId)> {
        if self.waiters.is_empty() {
            return offered;
        }
        let rank = question.class.max(self.domain_class(Some(question.domain)));
        let waiting = self
            .waiters_in(pool, question.pod, now)
            .filter(|(_, entry)| self.entry_rank(entry) < rank)
            .fold(Amount::ZERO, |sum, (_, entry)| sum + entry.request);
        if waiting == Amount::ZERO {
            return offered;
        }
        let own = self.claims(pool, question, now).of[usize::from(question.domain)];
        if (own.used + question.request).fits(own.floor) {
            return offered;
        }
        offered.sort_by_cached_key(|&(at, node)| {
            let free = self.nodes.free(node);
            (std::cmp::Reverse((free.cpu_milli, free.memory)), at)
        });
        let mut kept = Amount::ZERO;
        let first = offered.iter().position(|&(_, node)| {
            let enough = waiting.fits(kept);
            kept += self.nodes.free(node);
            enough
        });
        offered.drain(..first.unwrap_or(offered.len()));
        offered.sort_unstable();
        offered
    }

    /// Notes that a pod waits for room, with the pools that could ever hold it: one whose request fits no
    /// node waits for nothing.
    pub(super) fn wait(&mut self, id: EntryId, needs: &Arc<Needs>, since: Option<Timestamp>) {
        let Some(entry) = &self.entries[id as usize] else { return };
        if entry.state != State::Pending || entry.domain.is_none() || entry.gated || entry.deleting
        {
            return;
        }
        let pools = self.nodes.pools_for(needs, entry.request);
        let before = self.waiters.remove(&id);
        let since = before.as_ref().and_then(|waiter| waiter.since).or(since);
        let (guarded, entitled) =
            before.map_or_else(Default::default, |waiter| (waiter.guarded, waiter.entitled));
        let needs = Arc::clone(needs);
        self.waiters.insert(id, Waiter { since, needs, guarded, pools, entitled });
        self.undated.push(id);
    }

    /// Gives those who wait their beginning, once somebody with a clock looks, and finds out who of them is
    /// entitled: of the new ones at once, of all now and then.
    pub(super) fn date_waiters(&mut self, now: Timestamp) {
        let mut undated = std::mem::take(&mut self.undated);
        undated.sort_unstable();
        undated.dedup();
        let many = undated.len() > WEIGHED_SINGLY;
        for id in undated {
            let Some(waiter) = self.waiters.get_mut(&id) else { continue };
            waiter.since.get_or_insert(now);
            if many {
                continue;
            }
            let entitled = self.entitled_in(id, &self.waiters[&id], now);
            if let Some(waiter) = self.waiters.get_mut(&id) {
                waiter.entitled = entitled;
            }
        }
        let old = self.weighed.is_none_or(|then| now.seconds_since(then) >= WEIGH_SECONDS);
        let due = many || old;
        if due && !self.waiters.is_empty() {
            self.weigh_waiters(now);
        }
    }

    /// Pools in which a pod that waits is entitled to room.
    fn entitled_in(&self, id: EntryId, waiter: &Waiter, now: Timestamp) -> Vec<PoolId> {
        let Some(question) = self.question_of(id, waiter) else { return Vec::new() };
        let shared = waiter.pools.iter().copied().filter(|&pool| self.nodes.is_shared(pool));
        shared.filter(|&pool| self.entitled(pool, &question, now).is_ok()).collect()
    }

    pub(super) fn question_of<'a>(&self, id: EntryId, waiter: &'a Waiter) -> Option<Question<'a>> {
        let entry = self.entries[id as usize].as_ref()?;
        Some(Question {
            pod: Some(id),
            domain: entry.domain?,
            class: self.entry_class(entry),
            request: entry.request,
            given_up: Amount::ZERO,
            needs: &waiter.needs,
        })
    }

    /// Finds out who of all that wait is entitled to room, one after the other: what those before are
    /// entitled to is not there for those behind.
    pub(super) fn weigh_waiters(&mut self, now: Timestamp) {
        let guarded: Vec<f64> =
            self.waiters.values().map(|waiter| self.since_weighed(waiter, now)).collect();
        for (waiter, guarded) in self.waiters.values_mut().zip(guarded) {
            waiter.guarded += guarded;
        }
        self.weighed = Some(now);
        let mut entitled: HashMap<EntryId, Vec<PoolId>> = HashMap::new();
        let queue = self.queue(now);
        for pool in self.nodes.shared_pools() {
            let mut ahead = vec![Amount::ZERO; self.domains.len()];
            // Pods of one kind find the same claims.
            let mut kinds: Vec<(Question<'_>, Claims)> = Vec::new();
            for &(id, _, waiter) in &queue {
                if !waiter.pools.contains(&pool) {
                    continue;
                }
                let Some(question) = self.question_of(id, waiter) else { continue };
                let same = |(one, _): &(Question<'_>, Claims)| {
                    (one.domain, one.class) == (question.domain, question.class)
                        && one.needs.tolerations == question.needs.tolerations
                };
                let at = kinds.iter().position(same).unwrap_or_else(|| {
                    kinds.push((question, self.settled_claims(pool, &question, now)));
                    kinds.len() - 1
                });
                let claims = &kinds[at].1;
                let mut of = claims.of.clone();
                for (domain, (claim, ahead)) in of.iter_mut().zip(&ahead).enumerate() {
                    if domain == usize::from(question.domain) {
                        claim.used += *ahead;
                    } else {
                        claim.waiting += *ahead;
                    }
                }
                let room = Room { claims: &of, ..claims.room() };
                if entitlement::entitlement(&room, &self.asker(&question, now)).is_ok() {
                    ahead[usize::from(question.domain)] += question.request;
                    entitled.entry(id).or_default().push(pool);
                }
            }
        }
        for (id, waiter) in &mut self.waiters {
            waiter.entitled = entitled.remove(id).unwrap_or_default();
        }
    }

    /// Pods that wait and still count, best right first: by class, then age.
    pub(super) fn queue(&self, now: Timestamp) -> Vec<(EntryId, &Entry, &Waiter)> {
        let mut queue: Vec<(EntryId, &Entry, &Waiter)> = self
            .waiters
            .iter()
            .filter(|(_, waiter)| !self.is_over(waiter, now))
            .filter_map(|(&id, waiter)| Some((id, self.entries[id as usize].as_ref()?, waiter)))
            .filter(|(_, entry, _)| entry.nominated.is_none())
            .collect();
        queue.sort_by_cached_key(|&(id, entry, _)| (self.entry_rank(entry), entry.created, id));
        queue
    }

    /// The class by which a pod is judged: no pod ranks above its domain.
    pub(super) fn entry_rank(&self, entry: &Entry) -> Class {
        self.entry_class(entry).max(self.domain_class(entry.domain))
    }

    /// What each pool can grow to, by name; a pool that is not named grows no further.
    pub fn set_growth(&mut self, growth: HashMap<Arc<str>, Amount>) {
        self.growth = growth;
    }
}
