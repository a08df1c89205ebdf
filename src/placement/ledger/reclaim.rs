//! Reclaim: pods to evict, so that others have what is theirs.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::demand::{anybody, named};
use super::nodes::{HOST_NAME, NodeId, PoolId};
use super::waiters::Waiter;
use super::{DomainId, Entry, EntryId, Ledger, Path, PodName, Standing, State};
use crate::cluster::{Amount, Class, Timestamp};
use crate::placement::entitlement::{self, Claim};

/// Delay before lower classes are evicted for a pod of a higher one that waits for room, in seconds:
/// preemption by the scheduler, where it can, takes one back-off.
const RECLAIM_SECONDS: f64 = 10.0;

/// Waiters that one look considers at the most.
const LOOKED_AT: usize = 64;

/// Waiters for which one look searches victims on every node.
const SEARCHES: usize = 8;

/// Pods to evict for one reason: all of them, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Eviction {
    /// UID of the pod that waits for all of their places together; `None` for one pod of a domain above its
    /// limit of borrowing.
    pub waiter: Option<Arc<str>>,
    /// Pods to go, in this order.
    pub victims: Vec<Victim>,
}

/// A pod to evict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Victim {
    /// The pod.
    pub pod: PodName,
    /// Its domain.
    pub domain: Arc<str>,
    /// The pool of its node.
    pub pool: Arc<str>,
}

/// Pods that are going, and what that leaves to others.
#[derive(Debug, Default)]
struct Going {
    /// Victims of this look.
    chosen: HashSet<EntryId>,
    /// Victims by waiter, best right first.
    reclaimed: Vec<(EntryId, Vec<EntryId>)>,
    /// Victims of domains above their limit of borrowing, in the order in which they are to go.
    beyond: BTreeMap<(DomainId, PoolId), Vec<EntryId>>,
    /// Nodes on which waiters will find room.
    rooms: BTreeMap<EntryId, NodeId>,
    /// Loss of each domain in a pool.
    lost: HashMap<(DomainId, PoolId), Amount>,
    /// Room that comes free on each node.
    freed: HashMap<NodeId, Amount>,
    /// Room on each node that waiters will take.
    taken: HashMap<NodeId, Amount>,
}

impl Going {
    fn lost(&self, domain: DomainId, pool: PoolId) -> Amount {
        self.lost.get(&(domain, pool)).copied().unwrap_or_default()
    }

    fn add(&mut self, place: (DomainId, PoolId), node: NodeId, request: Amount) {
        *self.lost.entry(place).or_default() += request;
        *self.freed.entry(node).or_default() += request;
    }
}

/// A pod for which others may have to go.
struct Asking<'a> {
    id: EntryId,
    entry: &'a Entry,
    waiter: &'a Waiter,
    domain: DomainId,
    rank: Class,
    /// Whether it has waited for so long that its equals must go too.
    equals: bool,
    /// The claims of all domains, in each pool in which it is entitled to room.
    claims: Vec<(PoolId, Vec<Claim>)>,
}

impl Ledger {
    /// Evictions that give others what is theirs, lowest class first, then youngest:
    ///
    /// - for a pod that has waited for room for ten seconds, those of lower classes above their
    ///   domains' floors, and for one that has waited for `delay_seconds` within its domain's target, those
    ///   of equals above theirs: on one node, at most `at_once`, and only if the pod then fits there;
    /// - then of each domain that has been above its limit of borrowing for `delay_seconds`, one by one in
    ///   turn, down to that limit.
    ///
    /// A pod (by UID) for which `spared` is true stays.
    #[must_use]
    pub fn excess(
        &mut self,
        (delay_seconds, at_once): (f64, usize),
        spared: &dyn Fn(&str) -> bool,
        now: Timestamp,
    ) -> Vec<Eviction> {
        self.weigh_waiters(now);
        if self.standing != Standing::Owner || self.budgets.is_none() || self.domains.is_empty() {
            self.above_since.clear();
            return Vec::new();
        }
        let mut going = self.going(now);
        let mut above = Vec::new();
        for pool in self.nodes.shared_pools() {
            let claims = self.claims(pool, &anybody(0, Class::P0), now).of;
            for (domain, claim) in claims.iter().enumerate() {
                let beyond = claim.most.map_or(Amount::ZERO, |most| claim.used.less(most));
                if beyond == Amount::ZERO {
                    continue;
                }
                let key = (domain as DomainId, pool);
                above.push(key);
                let since = *self.above_since.entry(key).or_insert(now);
                if now.seconds_since(since) >= delay_seconds {
                    self.add_beyond(key, claim, beyond, spared, &mut going);
                }
            }
        }
        self.above_since.retain(|key, _| above.contains(key));
        self.add_reclaimed((delay_seconds, at_once), spared, now, &mut going);
        self.rooms = std::mem::take(&mut going.rooms);
        self.evictions(going)
    }

    /// The evictions for a pod that waits begin: as with preemption by the scheduler, so many times at the
    /// most until it has its place, and each is told as one.
    pub fn note_reclaim(&mut self, waiter: &str, victims: &[Victim]) {
        let Some(&id) = self.by_uid.get(waiter) else { return };
        let Some(rank) = self.entries[id as usize].as_ref().map(|entry| self.entry_rank(entry))
        else {
            return;
        };
        let paths: Vec<(EntryId, Path)> = victims
            .iter()
            .filter_map(|victim| self.by_uid.get(&victim.pod.0).copied())
            .filter_map(|victim| {
                let lower = self.entry_rank(self.entries[victim as usize].as_ref()?) > rank;
                Some((victim, if lower { Path::Reclaimed } else { Path::OverTarget }))
            })
            .collect();
        self.count_grant(id, paths.into_iter());
    }

    /// A pod was evicted: it is going, although no watch shows that yet.
    pub fn note_evicted(&mut self, uid: &str) {
        if let Some(&id) = self.by_uid.get(uid) {
            self.change(id, |entry| entry.deleting = true);
        }
    }

    fn evictions(&self, going: Going) -> Vec<Eviction> {
        let of = |waiter: Option<EntryId>, victims: Vec<EntryId>| {
            let victims = victims.into_iter().filter_map(|id| self.victim(id)).collect();
            let waiter = waiter.and_then(|id| self.entries[id as usize].as_ref());
            Eviction { waiter: waiter.map(|entry| Arc::clone(&entry.uid)), victims }
        };
        let reclaimed = going.reclaimed.into_iter().map(|(id, victims)| of(Some(id), victims));
        // In turn, so that no domain waits for another one's excess.
        let rows = going.beyond.into_values();
        let mut single: Vec<(usize, EntryId)> =
            rows.flat_map(|row| row.into_iter().enumerate()).collect();
        single.sort_by_key(|&(turn, _)| turn);
        let single = single.into_iter().map(|(_, id)| of(None, vec![id]));
        reclaimed.chain(single).collect()
    }

    fn victim(&self, id: EntryId) -> Option<Victim> {
        let (entry, _, (domain, pool)) = self.bound_at(id)?;
        let domain = Arc::clone(&self.domains[usize::from(domain)]);
        let pool = Arc::clone(self.nodes.pool_name(pool));
        Some(Victim { pod: named(entry), domain, pool })
    }

    /// Sorts by who goes first: the lowest class, then the youngest.
    fn last_first(&self, id: EntryId) -> impl Ord + use<> {
        let entry = self.entries[id as usize].as_ref();
        entry.map(|entry| {
            let (class, created) = (self.entry_class(entry), entry.created);
            (std::cmp::Reverse((class, created)), Arc::clone(&entry.uid))
        })
    }

    /// A bound pod of a domain, its node, and where it counts.
    fn bound_at(&self, id: EntryId) -> Option<(&Entry, NodeId, (DomainId, PoolId))> {
        let entry = self.entries[id as usize].as_ref()?;
        let State::Bound { node } = entry.state else { return None };
        Some((entry, node, (entry.domain?, self.nodes.pool(node)?)))
    }

    /// Whether a bound pod may be asked to go at all.
    fn may_go(&self, entry: &Entry, spared: &dyn Fn(&str) -> bool) -> bool {
        let free = self.bypass(&entry.namespace, entry.bound_to_its_node, entry.priority).is_some();
        !entry.deleting && !free && !spared(&entry.uid)
    }

    /// Losses and room by pods that are going already.
    fn going(&self, now: Timestamp) -> Going {
        let mut going = Going::default();
        for pool in self.nodes.shared_pools() {
            for (domain, lost) in self.losing(pool, None, now).into_iter().enumerate() {
                going.lost.insert((domain as DomainId, pool), lost);
            }
        }
        for id in self.ids() {
            if let Some((entry, node, _)) = self.bound_at(id).filter(|(entry, ..)| entry.deleting) {
                *going.freed.entry(node).or_default() += entry.request;
            }
        }
        going
    }

    /// Adds pods of a domain in a pool that together request `beyond` or little more, and never so many
    /// that its floor is broken.
    fn add_beyond(
        &self,
        (domain, pool): (DomainId, PoolId),
        claim: &Claim,
        beyond: Amount,
        spared: &dyn Fn(&str) -> bool,
        going: &mut Going,
    ) {
        let mut bound: Vec<EntryId> = self
            .ids()
            .filter(|&id| {
                let found = self.bound_at(id).filter(|(.., place)| *place == (domain, pool));
                found.is_some_and(|(entry, ..)| self.may_go(entry, spared))
            })
            .collect();
        bound.sort_by_cached_key(|&id| self.last_first(id));
        for id in bound {
            let lost = going.lost(domain, pool);
            let Some((entry, node, place)) = self.bound_at(id) else { continue };
            let left = beyond.less(lost);
            if left == Amount::ZERO {
                return;
            }
            if left.min(entry.request) == Amount::ZERO {
                continue;
            }
            if !entitlement::may_lose(claim, lost + entry.request) {
                return;
            }
            going.add(place, node, entry.request);
            going.chosen.insert(id);
            going.beyond.entry(place).or_default().push(id);
        }
    }

    /// Adds pods in whose place one that waits can run, for who has the best right first.
    fn add_reclaimed(
        &self,
        (delay_seconds, at_once): (f64, usize),
        spared: &dyn Fn(&str) -> bool,
        now: Timestamp,
        going: &mut Going,
    ) {
        let mut searches = 0;
        for (id, entry, waiter) in self.queue(now).into_iter().take(LOOKED_AT) {
            let waited = waiter.since.map_or(0.0, |since| now.seconds_since(since));
            let Some(domain) = entry.domain else { continue };
            // Which node has that name, and what else would be in its way, is not known here.
            let one_node = waiter.needs.selects.iter().flatten().any(|term| term.key == HOST_NAME);
            let unknown = one_node || waiter.needs.more;
            let enough = self.was_granted_enough(Some(id));
            if waiter.entitled.is_empty() || waited < RECLAIM_SECONDS || unknown || enough {
                continue;
            }
            let mut asking = Asking {
                id,
                entry,
                waiter,
                domain,
                rank: self.entry_rank(entry),
                equals: waited >= delay_seconds,
                claims: Vec::new(),
            };
            // One that will fit needs nobody's place; what it takes is not there for the next one.
            let fits = self
                .nodes_for(&asking)
                .find(|&(node, _)| self.missing(&asking, node, going) == Amount::ZERO);
            if let Some((node, _)) = fits {
                *going.taken.entry(node).or_default() += entry.request;
                going.rooms.insert(id, node);
                continue;
            }
            if searches == SEARCHES {
                continue;
            }
            searches += 1;
            asking.claims = self.claims_for(&asking, now);
            if let Some((node, victims)) = self.cheapest(&asking, at_once, spared, going) {
                *going.taken.entry(node).or_default() += entry.request;
                going.rooms.insert(id, node);
                for &id in &victims {
                    let Some((victim, node, place)) = self.bound_at(id) else { continue };
                    going.add(place, node, victim.request);
                    going.chosen.insert(id);
                }
                going.reclaimed.push((id, victims));
            }
        }
    }

    /// Nodes in the pools in which the pod is entitled to room, as far as it may go to them.
    fn nodes_for<'a>(
        &'a self,
        asking: &'a Asking<'_>,
    ) -> impl Iterator<Item = (NodeId, PoolId)> + use<'a> {
        let pools = asking.waiter.entitled.iter();
        pools.flat_map(|&pool| {
            self.nodes.open_to(pool, &asking.waiter.needs).map(move |node| (node, pool))
        })
    }

    /// The part of the request that a node will not have.
    fn missing(&self, asking: &Asking<'_>, node: NodeId, going: &Going) -> Amount {
        let of =
            |amounts: &HashMap<NodeId, Amount>| amounts.get(&node).copied().unwrap_or_default();
        let promised = self.promised_on(node, Some(asking.id), asking.rank);
        let free = self.nodes.free(node) + of(&going.freed);
        (asking.entry.request + promised + of(&going.taken)).less(free)
    }

    fn claims_for(&self, asking: &Asking<'_>, now: Timestamp) -> Vec<(PoolId, Vec<Claim>)> {
        let Some(question) = self.question_of(asking.id, asking.waiter) else { return Vec::new() };
        let pools = asking.waiter.entitled.iter();
        pools.map(|&pool| (pool, self.claims(pool, &question, now).of)).collect()
    }

    /// The node on which the fewest pods have to go, `at_once` at the most, and of those the one with the
    /// lowest and youngest.
    fn cheapest(
        &self,
        asking: &Asking<'_>,
        at_once: usize,
        spared: &dyn Fn(&str) -> bool,
        going: &Going,
    ) -> Option<(NodeId, Vec<EntryId>)> {
        let mut best: Option<(NodeId, Vec<EntryId>)> = None;
        for (node, pool) in self.nodes_for(asking) {
            let at_most = best.as_ref().map_or(at_once, |(_, victims)| victims.len());
            let Some(victims) = self.victims_on(asking, (node, pool), at_most, spared, going)
            else {
                continue;
            };
            let better = best.as_ref().is_none_or(|(_, others)| {
                let key = |all: &[EntryId]| (all.len(), all.first().map(|&id| self.last_first(id)));
                key(&victims) < key(others)
            });
            if better {
                best = Some((node, victims));
            }
        }
        best
    }

    /// Pods on a node, `at_most` so many, in whose place the pod can run; `None` where there are none such.
    fn victims_on(
        &self,
        asking: &Asking<'_>,
        (node, pool): (NodeId, PoolId),
        at_most: usize,
        spared: &dyn Fn(&str) -> bool,
        going: &Going,
    ) -> Option<Vec<EntryId>> {
        let claims = &asking.claims.iter().find(|(one, _)| *one == pool)?.1;
        let own = &claims[usize::from(asking.domain)];
        let within = (own.used + asking.entry.request).fits(own.target);
        let needed = self.missing(asking, node, going);
        let mut missing = needed;
        let mut here: Vec<EntryId> = self.nodes.pods(node).to_vec();
        here.retain(|id| {
            let found = self.bound_at(*id).filter(|_| !going.chosen.contains(id));
            found.is_some_and(|(entry, ..)| self.may_go(entry, spared))
        });
        here.sort_by_cached_key(|&id| self.last_first(id));
        let mut lost: HashMap<DomainId, Amount> = HashMap::new();
        let mut victims = Vec::new();
        for id in here {
            if missing == Amount::ZERO {
                break;
            }
            let Some((victim, _, (other, _))) = self.bound_at(id) else { continue };
            if other == asking.domain || victim.request.min(missing) == Amount::ZERO {
                continue;
            }
            let claim = &claims[usize::from(other)];
            let so_far = going.lost(other, pool) + lost.get(&other).copied().unwrap_or_default();
            let goes = match self.entry_rank(victim).cmp(&asking.rank) {
                std::cmp::Ordering::Greater => {
                    entitlement::may_lose(claim, so_far + victim.request)
                }
                std::cmp::Ordering::Equal => {
                    asking.equals && within && !claim.used.less(so_far).fits(claim.target)
                }
                std::cmp::Ordering::Less => false,
            };
            if !goes {
                continue;
            }
            victims.push((id, victim.request));
            *lost.entry(other).or_default() += victim.request;
            missing = missing.less(victim.request);
        }
        if missing != Amount::ZERO {
            return None;
        }
        let victims = needed_ones(victims, needed);
        (victims.len() <= at_most).then_some(victims)
    }
}

/// Victims, with their requests, without the superfluous ones: the most important are let off first, as long
/// as `needed` still comes free.
pub(super) fn needed_ones<T>(mut victims: Vec<(T, Amount)>, needed: Amount) -> Vec<T> {
    let mut freed = victims.iter().fold(Amount::ZERO, |sum, (_, request)| sum + *request);
    for at in (0..victims.len()).rev() {
        let without = freed.less(victims[at].1);
        if needed.fits(without) {
            victims.remove(at);
            freed = without;
        }
    }
    victims.into_iter().map(|(victim, _)| victim).collect()
}
