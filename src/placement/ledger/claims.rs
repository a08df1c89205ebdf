//! The rule of entitlement over the ledger's sums: what each domain claims of a pool now.

use std::collections::HashMap;
use std::sync::Arc;

use super::nodes::{NodeId, PoolId};
use super::{DomainId, Entry, EntryId, Ledger};
use crate::cluster::{Amount, Class, Timestamp};
use crate::placement::entitlement::{self, Asker, Claim, Denial, Room};
use crate::placement::{Needs, UNLIMITED};

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
        self.add_waiting(pool, question, rank, &mut claims.of);
        claims
    }

    /// Claims without those of pods that wait.
    pub(super) fn settled_claims(
        &self,
        pool: PoolId,
        question: &Question<'_>,
        now: Timestamp,
    ) -> Claims {
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
    ) {
        for (domain, other, waiting) in self.guarded_in(pool, question.pod) {
            if other < rank || other == rank && domain != question.domain {
                claims[usize::from(domain)].waiting += waiting;
            }
        }
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
    /// higher classes wait for room there. Kept for them are the node that is cleared for each, and for the
    /// others the emptiest nodes, up to what they request; a pod within its domain's floor is kept from
    /// nothing.
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
        let higher = self.guarded_in(pool, question.pod).filter(|(_, other, _)| *other < rank);
        let mut waiting = higher.fold(Amount::ZERO, |sum, (.., waiting)| sum + waiting);
        let mut cleared: HashMap<NodeId, Amount> = HashMap::new();
        for (&id, &node) in self.rooms.iter().filter(|&(&id, _)| Some(id) != question.pod) {
            if let Some((_, other, request)) = self.guarded_as(id, pool)
                && other < rank
                && self.nodes.pool(node) == Some(pool)
            {
                *cleared.entry(node).or_default() += request;
                waiting = waiting.less(request);
            }
        }
        if waiting == Amount::ZERO && cleared.is_empty() {
            return offered;
        }
        let own = self.claims(pool, question, now).of[usize::from(question.domain)];
        if (own.used + question.request).fits(own.floor) {
            return offered;
        }
        offered.retain(|(_, node)| {
            let kept = cleared.get(node).copied();
            kept.is_none_or(|kept| (question.request + kept).fits(self.nodes.free(*node)))
        });
        if waiting == Amount::ZERO {
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

    /// The class by which a pod is judged: no pod ranks above its domain.
    pub(super) fn entry_rank(&self, entry: &Entry) -> Class {
        self.entry_class(entry).max(self.domain_class(entry.domain))
    }

    /// What each pool can grow to, by name; a pool that is not named grows no further.
    pub fn set_growth(&mut self, growth: HashMap<Arc<str>, Amount>) {
        self.growth = growth;
    }
}
