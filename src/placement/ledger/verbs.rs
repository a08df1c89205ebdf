//! The four verbs: who may go where, and by whose budget.

use std::sync::Arc;
use std::time::Duration;

use super::claims::Question;
use super::nodes::{NodeId, PoolId};
use super::notices::Path;
use super::reclaim::needed_ones;
use super::{DomainId, EntryId, Ledger, Standing, State};
use crate::cluster::{Amount, Class, Timestamp};
use crate::placement::entitlement::{self, Claim, Denial};
use crate::placement::{
    Ask, BindVerdict, FilterVerdict, Grant, Needs, Pod, PreemptVerdict, Refusal, Resource,
};

/// A filter of the same pod within this time belongs to the same scheduling cycle: the scheduler
/// asks about the nominated node alone first, then about all.
const SAME_CYCLE_SECONDS: f64 = 0.5;

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
                if let Refusal::NodesFull { .. } = refusal {
                    self.wait(id, &ask.needs, Some(now));
                } else {
                    self.stop_waiting(id);
                }
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

    /// Which of the candidate nodes may give up these victims (UIDs) for the pod. `None`: the pod needs
    /// no budget, so all of them.
    ///
    /// A veto first: in a shared pool only if the pod is entitled, runs on that node once they are gone,
    /// and has a right to the place of each: [`Path`]. The scheduler offers the lowest pods of a node, which
    /// may be protected by their domain's floor while others on the same node are not: then those are named.
    #[must_use]
    pub fn preempt<S: AsRef<str>>(
        &mut self,
        ask: &Ask,
        candidates: &[(S, Vec<S>)],
        now: Timestamp,
    ) -> Option<PreemptVerdict> {
        self.expire(now);
        let pod = &ask.pod;
        if self.bypass(&pod.namespace, pod.bound_to_its_node, pod.priority).is_some() {
            return None;
        }
        let mut verdict = PreemptVerdict::default();
        let domain = self.homes.get(&pod.namespace).copied();
        let (None, Some(domain)) = (self.not_ready(), domain) else {
            return Some(verdict);
        };
        let own = self.by_uid.get(&pod.uid).copied();
        if self.was_granted_enough(own) {
            return Some(verdict);
        }
        let mut granted_on = Vec::new();
        let mut others = Vec::new();
        for (at, (node, victims)) in candidates.iter().enumerate() {
            let Some((node, pool)) = self.nodes.find(node.as_ref()) else { continue };
            if !self.nodes.is_shared(pool) {
                verdict.kept.push(at as u32);
            } else if let Some(paths) = self.may_evict(ask, own, domain, (node, pool), victims, now)
            {
                verdict.kept.push(at as u32);
                granted_on.push((node, paths));
            } else if !victims.is_empty() {
                others.push((at as u32, node, pool));
            }
        }
        // Only where nobody else will do: the scheduler has not tried these.
        if verdict.kept.is_empty() && !ask.needs.more {
            for (at, node, pool) in others {
                let Some(victims) = self.other_victims(ask, own, domain, (node, pool), now) else {
                    continue;
                };
                if let Some(paths) = self.may_evict(ask, own, domain, (node, pool), &victims, now) {
                    verdict.kept.push(at);
                    verdict.instead.insert(at, victims);
                    granted_on.push((node, paths));
                }
            }
        }
        if let (Some(id), false) = (own, granted_on.is_empty()) {
            let victims = granted_on.iter().flat_map(|(_, paths)| paths);
            self.count_grant(id, victims.copied());
            self.grant_victims(id, granted_on, now);
        }
        Some(verdict)
    }

    /// Pods of a node whose places the pod has a right to, lowest class and youngest first, as many as it
    /// takes for it to run there.
    fn other_victims(
        &self,
        ask: &Ask,
        own: Option<EntryId>,
        domain: DomainId,
        (node, pool): (NodeId, PoolId),
        now: Timestamp,
    ) -> Option<Vec<Arc<str>>> {
        let rank = self.class_of(&ask.pod).max(self.domain_class(Some(domain)));
        let here = self.nodes.pods(node).iter();
        let mut lower: Vec<&super::Entry> = here
            .filter_map(|&id| self.entries[id as usize].as_ref())
            .filter(|entry| entry.domain.is_some() && !entry.deleting)
            .filter(|entry| self.entry_rank(entry) > rank)
            // The scheduler's own order must agree.
            .filter(|entry| entry.priority <= ask.pod.priority)
            .collect();
        lower.sort_by(|a, b| {
            let key = |one: &super::Entry| (self.entry_rank(one), one.created);
            key(b).cmp(&key(a)).then_with(|| a.uid.cmp(&b.uid))
        });
        let mut free = self.nodes.free(node).less(self.promised_on(node, own, rank));
        let needed = ask.pod.request.less(free);
        let claims = self.claims(pool, &Self::question(own, domain, ask, rank), now).of;
        let mut lost = self.losing(pool, own, now);
        let mut victims = Vec::new();
        for entry in lower {
            if ask.pod.request.fits(free) {
                break;
            }
            let Some(other) = entry.domain.map(usize::from) else { continue };
            let helps = ask.pod.request.less(free).min(entry.request) != Amount::ZERO;
            if helps && entitlement::may_lose(&claims[other], lost[other] + entry.request) {
                lost[other] += entry.request;
                free += entry.request;
                victims.push((Arc::clone(&entry.uid), entry.request));
            }
        }
        ask.pod.request.fits(free).then(|| needed_ones(victims, needed))
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
            let given_up = match state {
                State::Held { pool: Some(held), .. } if *held == pool => request,
                _ => Amount::ZERO,
            };
            // What it tolerates is not known here: it counts as an ordinary pod.
            let needs = &Needs::default();
            let question = Question { pod: Some(id), domain, class, request, given_up, needs };
            self.entitled(pool, &question, now).map_err(|denial| self.refusal(domain, denial))?;
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
        let for_budget = refusal.is_for_budget();
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
        let question = Self::question(Some(id), domain, ask, class);
        let mut denied = Vec::new();
        let mut open: Vec<Open> = Vec::new();
        for pool in self.nodes.all_pools().filter(|&pool| offered[usize::from(pool)]) {
            let shared = self.nodes.is_shared(pool);
            if shared {
                match self.entitled(pool, &question, now) {
                    Ok(left) => open.push(Open { pool, shared, headroom: left.cpu_milli }),
                    Err(why) => denied.push(why),
                }
            } else {
                open.push(Open { pool, shared, headroom: 0 });
            }
        }
        // A pool that it failed in before comes last; a dedicated pool before a shared one.
        let rank = |open: &Open| (earlier != Some(open.pool), !open.shared, open.headroom);
        open.sort_by(|a, b| rank(b).cmp(&rank(a)).then(a.pool.cmp(&b.pool)));
        let guarded = !open.is_empty();
        for Open { pool, shared, .. } in open {
            let candidates = found.iter().enumerate().filter_map(|(at, found)| match found {
                Some((node, home)) if *home == pool => Some((at as u32, *node)),
                _ => None,
            });
            let mut candidates: Vec<(u32, NodeId)> = candidates.collect();
            if shared {
                candidates = self.unguarded(pool, &question, candidates, now);
            }
            if !candidates.is_empty() {
                return Ok((pool, self.choose(candidates, class, ask.keeps_choice)));
            }
        }
        if guarded {
            let domain = Arc::clone(&self.domains[usize::from(domain)]);
            return Err(Refusal::Guarded { domain });
        }
        Err(self.nowhere(domain, &question, &offered, &denied, now))
    }

    fn question(pod: Option<EntryId>, domain: DomainId, ask: &Ask, class: Class) -> Question<'_> {
        let (request, needs) = (ask.pod.request, &*ask.needs);
        Question { pod, domain, class, request, given_up: Amount::ZERO, needs }
    }

    /// Why no pool among those offered is open.
    fn nowhere(
        &self,
        domain: DomainId,
        question: &Question<'_>,
        offered: &[bool],
        denied: &[Denial],
        now: Timestamp,
    ) -> Refusal {
        let elsewhere = self.nodes.all_pools().any(|pool| {
            !offered[usize::from(pool)]
                && (!self.nodes.is_shared(pool) || self.entitled(pool, question, now).is_ok())
                && self.nodes.takes(pool, question.needs)
        });
        if elsewhere {
            return Refusal::NodesFull { domain: Arc::clone(&self.domains[usize::from(domain)]) };
        }
        // One word for all pools, and always the same one: memory where CPU alone would do.
        let memory = denied.iter().find(|one| one.resource() == Resource::Memory);
        let budget = denied.iter().find(|one| !matches!(one, Denial::Reserve(_)));
        let fallback = Denial::Full(Resource::Cpu);
        self.refusal(domain, *memory.or(budget).or(denied.first()).unwrap_or(&fallback))
    }

    fn refusal(&self, domain: DomainId, denial: Denial) -> Refusal {
        let domain = Arc::clone(&self.domains[usize::from(domain)]);
        match denial {
            Denial::Borrowing(resource) => Refusal::Borrowing { domain, resource },
            Denial::Full(resource) => Refusal::Budget { domain, resource },
            Denial::Reserve(resource) => Refusal::Reserve { domain, resource },
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

    /// By which right each of these victims may go for the pod; `None` where one may not, or where the pod
    /// would not run on the node once they are gone.
    fn may_evict<S: AsRef<str>>(
        &self,
        ask: &Ask,
        own: Option<EntryId>,
        domain: DomainId,
        (node, pool): (NodeId, PoolId),
        victims: &[S],
        now: Timestamp,
    ) -> Option<Vec<(EntryId, Path)>> {
        let class = self.class_of(&ask.pod);
        let rank = class.max(self.domain_class(Some(domain)));
        let mut question = Self::question(own, domain, ask, class);
        if let Some(entry) = own.and_then(|id| self.entries[id as usize].as_ref())
            && matches!(entry.state, State::Held { pool: Some(home), .. } if home == pool)
        {
            question.given_up = entry.request;
        }
        let claims = self.claims(pool, &question, now).of;
        let own_claim = claims[usize::from(domain)];
        let within = (own_claim.used + ask.pod.request).fits(own_claim.target);
        let mut lost = self.losing(pool, own, now);
        let mut free = self.nodes.free(node);
        let mut given_up = Amount::ZERO;
        let mut paths = Vec::new();
        for victim in victims {
            let id = *self.by_uid.get(victim.as_ref())?;
            let victim = self.entries[id as usize].as_ref()?;
            if !matches!(victim.state, State::Bound { node: home } if home == node)
                || self
                    .bypass(&victim.namespace, victim.bound_to_its_node, victim.priority)
                    .is_some()
            {
                return None;
            }
            let other = victim.domain?;
            let claim: &Claim = &claims[usize::from(other)];
            let lost = &mut lost[usize::from(other)];
            // One that is going is among what its domain loses.
            let request = if victim.deleting { Amount::ZERO } else { victim.request };
            let path = if other == domain {
                (self.entry_class(victim) > class).then_some(Path::InDomain)
            } else if self.entry_rank(victim) > rank
                && entitlement::may_lose(claim, *lost + request)
            {
                Some(Path::Reclaimed)
            } else {
                let above = !claim.used.less(*lost).fits(claim.target);
                (above && within).then_some(Path::OverTarget)
            };
            paths.push((id, path?));
            *lost += request;
            if other == domain {
                given_up += victim.request;
            }
            free += victim.request;
        }
        question.given_up += given_up;
        let promised = self.promised_on(node, own, rank);
        let runs = (ask.pod.request + promised).fits(free);
        (!victims.is_empty() && runs && self.entitled(pool, &question, now).is_ok())
            .then_some(paths)
    }

    /// Requests of pods that preemption promised this node and that go before a pod of `rank`.
    pub(super) fn promised_on(&self, node: NodeId, but: Option<EntryId>, rank: Class) -> Amount {
        let all = self.nodes.promised(node).iter();
        all.filter(|&id| Some(*id) != but && self.nominated.contains(id))
            .filter_map(|&id| self.entries[id as usize].as_ref())
            .filter(|entry| self.entry_rank(entry) <= rank)
            .fold(Amount::ZERO, |sum, entry| sum + entry.request)
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

    /// The class of a pod: by its `PriorityClass`, else its domain's.
    fn class_of(&self, pod: &Pod) -> Class {
        let mapped = self.settings.priority_classes.get(&*pod.priority_class).copied();
        mapped.unwrap_or_else(|| self.domain_class(self.homes.get(&pod.namespace).copied()))
    }

    pub(super) fn entry_class(&self, entry: &super::Entry) -> Class {
        entry.class.unwrap_or_else(|| self.domain_class(entry.domain))
    }

    pub(super) fn domain_class(&self, domain: Option<DomainId>) -> Class {
        domain.and_then(|domain| self.budget(domain)).map_or_else(Class::default, |one| one.class)
    }
}

/// Whether a class is packed onto full nodes.
fn packs(class: Class) -> bool {
    class >= Class::P2
}
