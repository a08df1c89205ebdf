//! Waiters: pods that found no room, which of them are entitled to it, and for how long that is guarded.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::claims::{Claims, Question};
use super::nodes::PoolId;
use super::{DomainId, Entry, EntryId, Ledger, State};
use crate::cluster::{Amount, Class, Timestamp};
use crate::placement::Needs;
use crate::placement::entitlement::{self, Room};

/// Seconds between two looks at who of all that wait is entitled to room.
const WEIGH_SECONDS: f64 = 5.0;

/// More new pods that wait than this are found out about together: one by one, each is compared with all.
const WEIGHED_SINGLY: usize = 32;

/// A pod that found no room, by our answer or by the scheduler's own rules.
#[derive(Debug, Clone, Default)]
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
    /// Domain, rank and request under which it counts in [`Ledger::guarded`], if it does: in each pool in which
    /// it is entitled to room.
    pub(super) counted: Option<(DomainId, Class, Amount)>,
}

impl Ledger {
    /// Notes that a pod waits for room, with the pools that could ever hold it: one whose request fits no
    /// node waits for nothing.
    pub(super) fn wait(&mut self, id: EntryId, needs: &Arc<Needs>, since: Option<Timestamp>) {
        let Some(entry) = &self.entries[id as usize] else { return };
        if entry.state != State::Pending || entry.domain.is_none() || entry.gated || entry.deleting
        {
            return;
        }
        let pools = self.nodes.pools_for(needs, entry.request);
        let waiter = self.waiters.entry(id).or_default();
        waiter.since = waiter.since.or(since);
        waiter.needs = Arc::clone(needs);
        waiter.pools = pools;
        self.undated.insert(id);
    }

    /// Gives those who wait their beginning, once somebody with a clock looks, and finds out who of them is
    /// entitled: of the new ones at once, of all now and then.
    pub(super) fn date_waiters(&mut self, now: Timestamp) {
        let old = self.weighed.is_none_or(|then| now.seconds_since(then) >= WEIGH_SECONDS);
        if self.undated.len() > WEIGHED_SINGLY || old && !self.waiters.is_empty() {
            self.weigh_waiters(now);
            return;
        }
        for id in self.begin_waiting(now) {
            self.stop_counting(id);
            let Some(waiter) = self.waiters.get(&id) else { continue };
            let entitled = self.entitled_in(id, waiter, now);
            self.count(id, entitled, now);
        }
    }

    /// A pod waits no longer.
    pub(super) fn stop_waiting(&mut self, id: EntryId) {
        self.stop_counting(id);
        self.waiters.remove(&id);
        self.rooms.remove(&id);
    }

    /// From now on a pod that waits is entitled to room in these pools, and counts there if it is guarded.
    fn count(&mut self, id: EntryId, entitled: Vec<PoolId>, now: Timestamp) {
        let Some(waiter) = self.waiters.get_mut(&id) else { return };
        waiter.entitled = entitled;
        let waiter = &self.waiters[&id];
        let Some(entry) = self.entries[id as usize].as_ref() else { return };
        if waiter.entitled.is_empty() || entry.nominated.is_some() || self.is_over(waiter, now) {
            return;
        }
        let Some(domain) = entry.domain else { return };
        let (rank, request) = (self.entry_rank(entry), entry.request);
        for &pool in &waiter.entitled {
            *self.guarded.entry((pool, domain, rank)).or_default() += request;
        }
        if let Some(waiter) = self.waiters.get_mut(&id) {
            waiter.counted = Some((domain, rank, request));
        }
    }

    /// A pod counts no longer among those that are guarded.
    pub(super) fn stop_counting(&mut self, id: EntryId) {
        let Some(waiter) = self.waiters.get_mut(&id) else { return };
        let Some((domain, rank, request)) = waiter.counted.take() else { return };
        for &pool in &waiter.entitled {
            if let Some(sum) = self.guarded.get_mut(&(pool, domain, rank)) {
                *sum -= request;
            }
        }
    }

    /// Gives new waiters their beginning, and says which they are.
    fn begin_waiting(&mut self, now: Timestamp) -> BTreeSet<EntryId> {
        let new = std::mem::take(&mut self.undated);
        for id in &new {
            if let Some(waiter) = self.waiters.get_mut(id) {
                waiter.since.get_or_insert(now);
            }
        }
        new
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
        self.begin_waiting(now);
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
                    if !self.is_over(waiter, now) {
                        ahead[usize::from(question.domain)] += question.request;
                    }
                    entitled.entry(id).or_default().push(pool);
                }
            }
        }
        self.guarded.clear();
        let ids: Vec<EntryId> = self.waiters.keys().copied().collect();
        for id in ids {
            if let Some(waiter) = self.waiters.get_mut(&id) {
                waiter.counted = None;
            }
            self.count(id, entitled.remove(&id).unwrap_or_default(), now);
        }
    }

    /// Pods that wait, best right first: by class, then age; in the end those that are guarded no longer,
    /// of which nobody has to take notice.
    pub(super) fn queue(&self, now: Timestamp) -> Vec<(EntryId, &Entry, &Waiter)> {
        let mut queue: Vec<(EntryId, &Entry, &Waiter)> = self
            .waiters
            .iter()
            .filter_map(|(&id, waiter)| Some((id, self.entries[id as usize].as_ref()?, waiter)))
            .filter(|(_, entry, _)| entry.nominated.is_none())
            .collect();
        queue.sort_by_cached_key(|&(id, entry, waiter)| {
            (self.is_over(waiter, now), self.entry_rank(entry), entry.created, id)
        });
        queue
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

    /// Requests of the pods that are guarded in a pool, by domain and rank: those that wait, are entitled to
    /// room there, were promised no node and have not waited for longer than the guard lasts.
    pub(super) fn guarded_in(
        &self,
        pool: PoolId,
        but: Option<EntryId>,
    ) -> impl Iterator<Item = (DomainId, Class, Amount)> {
        let own = but.and_then(|id| self.guarded_as(id, pool));
        let all = self.guarded.range((pool, 0, Class::P0)..=(pool, DomainId::MAX, Class::P3));
        all.map(move |(&(_, domain, rank), &sum)| match own {
            Some((its, class, request)) if (its, class) == (domain, rank) => {
                (domain, rank, sum.less(request))
            }
            _ => (domain, rank, sum),
        })
    }

    /// Domain, rank and request under which a pod counts among those that are guarded in a pool, if it does.
    pub(super) fn guarded_as(
        &self,
        id: EntryId,
        pool: PoolId,
    ) -> Option<(DomainId, Class, Amount)> {
        let waiter = self.waiters.get(&id).filter(|waiter| waiter.entitled.contains(&pool))?;
        waiter.counted
    }
}
