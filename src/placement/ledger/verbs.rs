//! The four verbs: who may go where, and by whose budget.

use std::sync::Arc;
use std::time::Duration;

use super::nodes::{NodeId, PoolId};
use super::{DomainId, EntryId, Ledger, Standing, State};
use crate::cluster::{Amount, Class, Timestamp};
use crate::placement::{Ask, BindVerdict, FilterVerdict, Grant, Pod, Refusal, Resource};

/// A filter of the same pod within this time belongs to the same scheduling cycle: the scheduler
/// asks about the nominated node alone first, then about all.
const SAME_CYCLE_SECONDS: f64 = 0.5;

/// Which limit a pod would break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Closed {
    resource: Resource,
    /// Only the reserve is left, to which it has no right.
    reserve: bool,
}

/// A pool that could take the pod.
#[derive(Debug, Clone, Copy)]
struct Open {
    pool: PoolId,
    shared: bool,
    headroom: u64,
}

impl Ledger {
    /// Which of `names` the pod may go to; grants a hold when some are left.
    pub fn filter<S: AsRef<str>>(
        &mut self,
        ask: &Ask,
        names: &[S],
        now: Timestamp,
    ) -> FilterVerdict {
        self.expire(now);
        let pod = &ask.pod;
        if let Some(why) = self.bypass(&pod.namespace, pod.bound_to_its_node, pod.priority) {
            let id = self.entry(pod);
            self.hold(id, None, now);
            return FilterVerdict::Pass(why);
        }
        if let Some(refusal) = self.not_ready() {
            return FilterVerdict::Refused(refusal);
        }
        match self.get(&pod.uid).map(|entry| &entry.state) {
            Some(State::Bound { node } | State::Binding { node, .. }) => {
                let name = self.nodes.name(*node);
                return match names.iter().position(|one| one.as_ref() == &**name) {
                    Some(at) => FilterVerdict::Narrowed(vec![at as u32]),
                    None => FilterVerdict::Refused(Refusal::BindInProgress),
                };
            }
            Some(State::Held { .. } | State::Pending) | None => {}
        }
        if names.is_empty() {
            return FilterVerdict::Narrowed(Vec::new());
        }
        let id = self.entry(pod);
        let earlier = self.earlier_pool(id, now);
        // Its own hold must not stand in its way.
        self.change(id, |entry| {
            entry.request = pod.request;
            entry.state = State::Pending;
        });
        let verdict = self.judge(id, ask, names, earlier, now);
        match verdict {
            Ok((pool, chosen)) => {
                self.hold(id, Some(pool), now);
                FilterVerdict::Narrowed(chosen)
            }
            Err(refusal) => {
                self.note_refusal(id, &refusal, now);
                self.forget_unknown(id);
                match refusal {
                    Refusal::NodesFull { .. } => FilterVerdict::NodesFull(refusal),
                    _ => FilterVerdict::Refused(refusal),
                }
            }
        }
    }

    /// A score of 0 to 10 per name, in the order that `filter` prefers; 5 where nothing is known.
    #[must_use]
    pub fn prioritize<S: AsRef<str>>(&self, ask: &Ask, names: &[S]) -> Vec<u8> {
        let packs = packs(self.class_of(&ask.pod));
        names
            .iter()
            .map(|name| match self.nodes.find(name.as_ref()) {
                Some((node, _)) => {
                    let fill = self.nodes.fill(node);
                    (10.0 * if packs { fill } else { 1.0 - fill }).round() as u8
                }
                None => 5,
            })
            .collect()
    }

    /// Which of the candidate nodes may give up these victims (UIDs) for the pod: positions in
    /// `candidates`. `None`: the pod needs no budget, so all of them.
    ///
    /// A veto first: in a shared pool only victims of the same domain and a lower class, or of a
    /// domain above its hard limit, and only if that frees enough budget for the pod.
    #[must_use]
    pub fn preempt<S: AsRef<str>>(
        &mut self,
        ask: &Ask,
        candidates: &[(S, Vec<S>)],
        now: Timestamp,
    ) -> Option<Vec<u32>> {
        self.expire(now);
        let pod = &ask.pod;
        if self.bypass(&pod.namespace, pod.bound_to_its_node, pod.priority).is_some() {
            return None;
        }
        let domain = self.homes.get(&pod.namespace).copied();
        let (None, Some(domain)) = (self.not_ready(), domain) else {
            return Some(Vec::new());
        };
        let kept = candidates.iter().enumerate().filter(|(_, (node, victims))| {
            let Some((node, pool)) = self.nodes.find(node.as_ref()) else { return false };
            !self.nodes.is_shared(pool) || self.may_evict(ask, domain, node, pool, victims, now)
        });
        Some(kept.map(|(at, _)| at as u32).collect())
    }

    /// Whether the Binding may be sent. `BindVerdict::Send` must be followed by
    /// [`Self::settle`], whatever happens.
    pub fn bind(
        &mut self,
        (uid, namespace): (&str, &str),
        node: &str,
        now: Timestamp,
    ) -> BindVerdict {
        self.expire(now);
        if self.standing == Standing::Follower {
            return BindVerdict::Refused(Refusal::NotOwner);
        }
        let Some(&id) = self.by_uid.get(uid) else {
            return if self.bypass(namespace, false, 0).is_some() {
                BindVerdict::Send(None)
            } else {
                BindVerdict::Refused(Refusal::UnknownPod)
            };
        };
        let Some(entry) = &self.entries[id as usize] else {
            return BindVerdict::Refused(Refusal::UnknownPod);
        };
        let state = entry.state.clone();
        match &state {
            State::Bound { node: old } | State::Binding { node: old, .. } => {
                let same = &**self.nodes.name(*old) == node;
                match (same, &state) {
                    (true, State::Bound { .. }) => return BindVerdict::Already,
                    // Sent before, outcome unknown: the API server makes it once at most.
                    (true, _) => {}
                    (false, State::Bound { .. }) => {
                        return BindVerdict::Refused(Refusal::OtherNode);
                    }
                    (false, _) => return BindVerdict::Refused(Refusal::BindInProgress),
                }
            }
            State::Held { .. } | State::Pending => {}
        }
        let free = self.bypass(&entry.namespace, entry.bound_to_its_node, entry.priority).is_some();
        let (grant, target) = if free {
            (None, self.nodes.id(node))
        } else {
            if let Some(refusal) = self.not_ready() {
                return BindVerdict::Refused(refusal);
            }
            let Some((target, pool)) = self.nodes.find(node) else {
                return BindVerdict::Refused(Refusal::UnknownNode);
            };
            match self.grant(id, &state, pool, now) {
                Ok(grant) => (Some(grant), target),
                Err(refusal) => {
                    self.change(id, |entry| entry.state = State::Pending);
                    self.note_refusal(id, &refusal, now);
                    self.forget_unknown(id);
                    return BindVerdict::Refused(refusal);
                }
            }
        };
        let list = self.list;
        self.change(id, |entry| {
            entry.list = list;
            let in_doubt = matches!(entry.state, State::Binding { in_doubt: true, .. });
            entry.state = State::Binding { node: target, in_doubt };
            entry.refused = None;
        });
        BindVerdict::Send(grant)
    }

    /// Whether the pod of `id` may be bound into `pool`.
    fn grant(
        &mut self,
        id: EntryId,
        state: &State,
        pool: PoolId,
        now: Timestamp,
    ) -> Result<Grant, Refusal> {
        let Some(entry) = &self.entries[id as usize] else { return Err(Refusal::UnknownPod) };
        let Some(domain) = entry.domain else { return Err(Refusal::UnknownPod) };
        let held = match state {
            // Counted already, and granted by these budgets or the ones before.
            State::Held { pool: Some(held), version, .. } => {
                *held == pool && version + 1 >= self.version
            }
            State::Binding { .. } => true,
            State::Held { pool: None, .. } | State::Pending | State::Bound { .. } => false,
        };
        if !held && self.nodes.is_shared(pool) {
            self.counts.bound_without_hold += 1;
            let (request, class) = (entry.request, self.entry_class(entry));
            let own = match state {
                State::Held { pool: Some(held), .. } if *held == pool => request,
                _ => Amount::ZERO,
            };
            self.room(domain, pool, class, request, Amount::ZERO, (own, Some(id)), now)
                .map_err(|closed| self.refusal(domain, closed))?;
        }
        Ok(Grant {
            epoch: self.epoch().unwrap_or_default(),
            pool: Arc::clone(self.nodes.pool_name(pool)),
            domain: Arc::clone(&self.domains[usize::from(domain)]),
            held,
        })
    }

    /// Remembers a refusal with the pod and, for want of budget, with its domain.
    fn note_refusal(&mut self, id: EntryId, refusal: &Refusal, now: Timestamp) {
        let Some(entry) = &mut self.entries[id as usize] else { return };
        entry.refused = Some(Box::new(refusal.clone()));
        let for_budget = matches!(refusal, Refusal::Budget { .. } | Refusal::Reserve { .. });
        if let (Some(domain), true) = (entry.domain, for_budget) {
            self.last_refused[usize::from(domain)] = Some((now, refusal.clone()));
        }
    }

    /// The domains of which a pod was refused for want of budget since then, each with the last
    /// refusal.
    #[must_use]
    pub fn refused_since(&self, then: Timestamp) -> Vec<Refusal> {
        let all = self.last_refused.iter().flatten();
        all.filter(|(at, _)| *at >= then).map(|(_, refusal)| refusal.clone()).collect()
    }

    /// Why nothing can be judged, if so.
    #[must_use]
    pub fn not_ready(&self) -> Option<Refusal> {
        match self.standing {
            Standing::Follower => Some(Refusal::NotOwner),
            Standing::Warming => Some(Refusal::Warming),
            Standing::Owner if self.budgets.is_none() => Some(Refusal::NoBudgets),
            Standing::Owner => None,
        }
    }

    /// The pool that an earlier scheduling cycle of the pod was given and did not bind in: the
    /// scheduler's own rules (a topology spread, a volume) may forbid it.
    fn earlier_pool(&self, id: EntryId, now: Timestamp) -> Option<PoolId> {
        match self.entries[id as usize].as_ref()?.state {
            State::Held { pool, made, .. } if now.seconds_since(made) > SAME_CYCLE_SECONDS => pool,
            _ => None,
        }
    }

    fn hold(&mut self, id: EntryId, pool: Option<PoolId>, now: Timestamp) {
        let until = now.plus(Duration::from_secs_f64(self.settings.hold_seconds));
        let (version, list) = (self.version, self.list);
        let mut uid = None;
        self.change(id, |entry| {
            if matches!(entry.state, State::Pending | State::Held { .. }) {
                entry.state = State::Held { pool, made: now, until, version };
                entry.list = list;
                entry.refused = None;
                uid = Some(Arc::clone(&entry.uid));
            }
        });
        if let Some(uid) = uid {
            self.holds.push_back((until, uid));
        }
    }

    /// The pool and the nodes for a pod that counts nowhere yet.
    fn judge<S: AsRef<str>>(
        &self,
        id: EntryId,
        ask: &Ask,
        names: &[S],
        earlier: Option<PoolId>,
        now: Timestamp,
    ) -> Result<(PoolId, Vec<u32>), Refusal> {
        let Some(&domain) = self.homes.get(&ask.pod.namespace) else {
            return Err(Refusal::UnknownPod);
        };
        if self.budget(domain).is_none() {
            return Err(Refusal::NoBudgets);
        }
        let class = self.class_of(&ask.pod);
        let found: Vec<Option<(NodeId, PoolId)>> =
            names.iter().map(|name| self.nodes.find(name.as_ref())).collect();
        let mut offered = vec![false; self.nodes.all_pools().count()];
        for (_, pool) in found.iter().flatten() {
            offered[usize::from(*pool)] = true;
        }
        if !offered.contains(&true) {
            return Err(Refusal::UnknownNode);
        }
        let mut closed = Vec::new();
        let mut best: Option<Open> = None;
        for pool in self.nodes.all_pools().filter(|&pool| offered[usize::from(pool)]) {
            let shared = self.nodes.is_shared(pool);
            let headroom = if shared {
                let own = (Amount::ZERO, Some(id));
                match self.room(domain, pool, class, ask.pod.request, Amount::ZERO, own, now) {
                    Ok(headroom) => headroom.cpu_milli,
                    Err(why) => {
                        closed.push(why);
                        continue;
                    }
                }
            } else {
                0
            };
            let open = Open { pool, shared, headroom };
            // A pool that it failed in before comes last; a dedicated pool before a shared one.
            let rank = |open: &Open| (earlier != Some(open.pool), !open.shared, open.headroom);
            if best.as_ref().is_none_or(|best| rank(&open) > rank(best)) {
                best = Some(open);
            }
        }
        let Some(Open { pool, .. }) = best else {
            return Err(self.nowhere(id, domain, class, ask, &offered, &closed, now));
        };
        let candidates = found.iter().enumerate().filter_map(|(at, found)| match found {
            Some((node, home)) if *home == pool => Some((at as u32, *node)),
            _ => None,
        });
        Ok((pool, self.choose(candidates.collect(), class, ask.keeps_choice)))
    }

    /// Why no pool among those offered is open.
    #[expect(clippy::too_many_arguments, reason = "one caller, one step of its reasoning")]
    fn nowhere(
        &self,
        id: EntryId,
        domain: DomainId,
        class: Class,
        ask: &Ask,
        offered: &[bool],
        closed: &[Closed],
        now: Timestamp,
    ) -> Refusal {
        let own = (Amount::ZERO, Some(id));
        let elsewhere = self.nodes.all_pools().any(|pool| {
            !offered[usize::from(pool)]
                && (!self.nodes.is_shared(pool)
                    || self
                        .room(domain, pool, class, ask.pod.request, Amount::ZERO, own, now)
                        .is_ok())
                && self.nodes.takes(pool, ask)
        });
        if elsewhere {
            return Refusal::NodesFull { domain: Arc::clone(&self.domains[usize::from(domain)]) };
        }
        // One word for all pools, and always the same one: memory where CPU alone would do.
        let memory = closed.iter().find(|one| one.resource == Resource::Memory);
        let budget = closed.iter().find(|one| !one.reserve);
        let fallback = Closed { resource: Resource::Cpu, reserve: false };
        self.refusal(domain, *memory.or(budget).or(closed.first()).unwrap_or(&fallback))
    }

    fn refusal(&self, domain: DomainId, closed: Closed) -> Refusal {
        let (domain, resource) = (Arc::clone(&self.domains[usize::from(domain)]), closed.resource);
        if closed.reserve {
            Refusal::Reserve { domain, resource }
        } else {
            Refusal::Budget { domain, resource }
        }
    }

    /// The best few of the nodes: the fullest for work that can wait, so that nodes become free;
    /// the emptiest for the rest.
    fn choose(
        &self,
        mut candidates: Vec<(u32, NodeId)>,
        class: Class,
        keeps_choice: bool,
    ) -> Vec<u32> {
        if keeps_choice || candidates.len() <= self.settings.names {
            return candidates.into_iter().map(|(at, _)| at).collect();
        }
        let sign = if packs(class) { -1.0 } else { 1.0 };
        let mut ranked: Vec<(f64, u32)> =
            candidates.drain(..).map(|(at, node)| (sign * self.nodes.fill(node), at)).collect();
        let better = |a: &(f64, u32), b: &(f64, u32)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
        ranked.select_nth_unstable_by(self.settings.names - 1, better);
        ranked.truncate(self.settings.names);
        ranked.sort_by(better);
        ranked.into_iter().map(|(_, at)| at).collect()
    }

    /// Whether these victims may die for the pod.
    fn may_evict<S: AsRef<str>>(
        &self,
        ask: &Ask,
        domain: DomainId,
        node: NodeId,
        pool: PoolId,
        victims: &[S],
        now: Timestamp,
    ) -> bool {
        let class = self.class_of(&ask.pod);
        if victims.is_empty() {
            return false;
        }
        let (mut freed_own, mut freed_all) = (Amount::ZERO, Amount::ZERO);
        for victim in victims {
            let Some(victim) = self.get(victim.as_ref()) else { return false };
            if !matches!(victim.state, State::Bound { node: home } if home == node) {
                return false;
            }
            let Some(other) = victim.domain else { return false };
            let lower = other == domain && self.entry_class(victim) > class;
            if !lower && !self.above_hard_limit(other, pool, now) {
                return false;
            }
            if self.bypass(&victim.namespace, victim.bound_to_its_node, victim.priority).is_some() {
                return false;
            }
            freed_all += victim.request;
            if other == domain {
                freed_own += victim.request;
            }
        }
        let held = self.by_uid.get(&ask.pod.uid).copied();
        let own_hold = match held.and_then(|id| self.entries[id as usize].as_ref()) {
            Some(entry) => match entry.state {
                State::Held { pool: Some(home), .. } if home == pool => entry.request,
                _ => Amount::ZERO,
            },
            None => Amount::ZERO,
        };
        let own = (freed_own + own_hold, held);
        self.room(domain, pool, class, ask.pod.request, freed_all.less(freed_own), own, now).is_ok()
    }

    /// What the domain has left in a shared pool for a pod of `class` after `request`, or which
    /// limit that would break. `freed_others` is given up by other domains' pods; `own.0` is what
    /// the domain is charged but will not be, `own.1` the pod itself.
    #[expect(clippy::too_many_arguments, reason = "the whole question, in one place")]
    fn room(
        &self,
        domain: DomainId,
        pool: PoolId,
        class: Class,
        request: Amount,
        freed_others: Amount,
        own: (Amount, Option<EntryId>),
        now: Timestamp,
    ) -> Result<Amount, Closed> {
        let nominated = self.nominated_before(domain, pool, class, own.1);
        let used = self.used(domain, pool).less(own.0) + nominated + request;
        let hard = self.hard_limit(domain, pool, Some(class), now);
        if let Some(resource) = short(used, hard) {
            return Err(Closed { resource, reserve: false });
        }
        let all = self.used_by_all(pool).less(own.0 + freed_others) + nominated + request;
        let cap = self.cap(domain, pool, Some(class), now);
        if let Some(resource) = short(all, cap) {
            return Err(Closed { resource, reserve: true });
        }
        Ok(hard.less(used))
    }

    /// Requests of pods of the domain that were promised a node of the pool by preemption, have
    /// at least this class, and count nowhere yet: the freed budget is theirs.
    fn nominated_before(
        &self,
        domain: DomainId,
        pool: PoolId,
        class: Class,
        but: Option<EntryId>,
    ) -> Amount {
        let mut sum = Amount::ZERO;
        for &id in self.nominated.iter().filter(|&&id| Some(id) != but) {
            let Some(entry) = &self.entries[id as usize] else { continue };
            let here = entry.nominated.and_then(|node| self.nodes.pool(node)) == Some(pool);
            if here && entry.domain == Some(domain) && self.entry_class(entry) <= class {
                sum += entry.request;
            }
        }
        sum
    }

    pub(super) fn used(&self, domain: DomainId, pool: PoolId) -> Amount {
        self.uses[usize::from(domain)]
            .get(usize::from(pool))
            .map_or(Amount::ZERO, |used| used.total())
    }

    pub(super) fn used_by_all(&self, pool: PoolId) -> Amount {
        (0..self.uses.len() as DomainId)
            .map(|domain| self.used(domain, pool))
            .fold(Amount::ZERO, |sum, used| sum + used)
    }

    pub(super) fn budget(&self, domain: DomainId) -> Option<&crate::placement::DomainBudget> {
        let at = (*self.budget_of.get(usize::from(domain))?)?;
        self.budgets.as_ref().map(|budgets| &budgets.domains[at])
    }

    /// What the domain's share of the pool is now.
    pub(super) fn limit(&self, domain: DomainId, pool: PoolId) -> Amount {
        let share = self.budget(domain).map_or(0.0, |one| one.share_of(self.nodes.pool_name(pool)));
        self.nodes.usable(pool).part(share)
    }

    /// The limit with the emergency band where it is open to pods of `class`; `None`: to anybody.
    pub(super) fn hard_limit(
        &self,
        domain: DomainId,
        pool: PoolId,
        class: Option<Class>,
        now: Timestamp,
    ) -> Amount {
        let limit = self.limit(domain, pool);
        let (Some(budget), Some(budgets)) = (self.budget(domain), &self.budgets) else {
            return limit;
        };
        let breach = budget.breach_until.is_some_and(|until| now < until)
            && class.is_none_or(|class| class <= budget.class);
        if breach || self.in_emergency(domain, now) {
            limit.part(1.0 + budgets.band)
        } else {
            limit
        }
    }

    fn in_emergency(&self, domain: DomainId, now: Timestamp) -> bool {
        let until = self.budget(domain).and_then(|budget| budget.emergency_until);
        until.is_some_and(|until| now < until)
    }

    /// What all domains together may use of a pool when a pod of `class` asks.
    pub(super) fn cap(
        &self,
        domain: DomainId,
        pool: PoolId,
        class: Option<Class>,
        now: Timestamp,
    ) -> Amount {
        let usable = self.nodes.usable(pool);
        if class == Some(Class::P0) || self.in_emergency(domain, now) {
            return usable;
        }
        let reserve = self
            .budgets
            .as_ref()
            .map_or(0.0, |budgets| budgets.reserve_of(self.nodes.pool_name(pool)));
        usable.part((1.0 - reserve).clamp(0.0, 1.0))
    }

    pub(super) fn above_hard_limit(&self, domain: DomainId, pool: PoolId, now: Timestamp) -> bool {
        self.budget(domain).is_some()
            && !self.used(domain, pool).fits(self.hard_limit(domain, pool, None, now))
    }

    /// The class of a pod: by its `PriorityClass`, else its domain's.
    fn class_of(&self, pod: &Pod) -> Class {
        let mapped = self.settings.priority_classes.get(&*pod.priority_class).copied();
        mapped.unwrap_or_else(|| self.domain_class(self.homes.get(&pod.namespace).copied()))
    }

    pub(super) fn entry_class(&self, entry: &super::Entry) -> Class {
        entry.class.unwrap_or_else(|| self.domain_class(entry.domain))
    }

    fn domain_class(&self, domain: Option<DomainId>) -> Class {
        domain.and_then(|domain| self.budget(domain)).map_or_else(Class::default, |one| one.class)
    }
}

/// Whether a class is packed onto full nodes.
fn packs(class: Class) -> bool {
    class >= Class::P2
}

/// The resource of which `used` is more than `room`, CPU first.
fn short(used: Amount, room: Amount) -> Option<Resource> {
    if used.cpu_milli > room.cpu_milli {
        Some(Resource::Cpu)
    } else if used.memory > room.memory {
        Some(Resource::Memory)
    } else {
        None
    }
}
