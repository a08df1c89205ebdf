//! The ledger: every pod once, what it is charged to, and the running sums.
//!
//! | state | charged to | left by |
//! |---|---|---|
//! | pending | nothing (its domain's queue) | `filter`, the watch |
//! | held | its domain in one pool, until the hold expires | `filter` (replaces it), `bind`, time, another refusal by the scheduler |
//! | binding | its domain in the pool of its node | the API server's answer, or the watch |
//! | bound | its domain in the live pool of its node | the end of the pod |

mod claims;
mod demand;
mod explain;
mod grants;
mod nodes;
mod notices;
mod reclaim;
mod verbs;
mod waiters;

#[cfg(test)]
mod tests;

pub use demand::PodName;
pub use nodes::HOST_NAME;
pub use notices::{Notice, Path};
pub use reclaim::{Eviction, Victim};

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use serde::Serialize;

use self::nodes::{NodeId, Nodes, PoolId};
use super::{Budgets, Bypass, Epoch, NodeFacts, Outcome, Pod, Refusal, Settings};
use crate::cluster::{Amount, Class, Timestamp};

/// Pods of this priority and above are the cluster's own (`system-cluster-critical`).
const SYSTEM_PRIORITY: i32 = 2_000_000_000;

/// How far the ledger may be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Another replica owns it.
    #[default]
    Follower,
    /// This replica owns it, but has not read every pod since.
    Warming,
    /// This replica owns it and has.
    Owner,
}

/// Use of one shared pool by one domain.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolUse {
    /// The pool.
    pub pool: Arc<str>,
    /// The domain.
    pub domain: Arc<str>,
    /// Its share.
    pub share: f64,
    /// What its pods request on the nodes that ordinary pods can use: held, being bound and bound.
    pub used: Amount,
    /// Its target: what that is of what ordinary pods can use of the pool now, at least its floor.
    pub target: Amount,
    /// What is guaranteed to it.
    pub floor: Amount,
    /// The most that it may use, where its Domain limits borrowing.
    pub most: Option<Amount>,
    /// Pods that wait for room in the pool.
    pub waiting: Amount,
    /// What the pool can grow to; none where nothing limits it.
    pub growth: Option<Amount>,
    /// Bound pods.
    pub bound: Amount,
    /// Bindings under way.
    pub binding: Amount,
    /// Holds.
    pub held: Amount,
    /// What all domains together may use: all but the reserve.
    pub cap: Amount,
    /// What all domains together use.
    pub all: Amount,
}

/// A Binding whose outcome is unknown: UID, namespace and name of the pod, and the node.
pub type Unsettled = (Arc<str>, Arc<str>, Arc<str>, Arc<str>);

type DomainId = u16;
type EntryId = u32;

/// What one domain uses of one pool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Use {
    bound: Amount,
    binding: Amount,
    held: Amount,
    /// The part of `bound` that is going.
    going: Amount,
}

impl Use {
    fn total(self) -> Amount {
        self.bound + self.binding + self.held
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Pending,
    /// Granted by `filter`; without a pool: a pod that needs no budget, remembered until it binds.
    Held {
        pool: Option<PoolId>,
        made: Timestamp,
        until: Timestamp,
        /// [`Ledger::version`] when it was granted.
        version: u64,
    },
    Binding {
        node: NodeId,
        /// Whether the outcome of what was sent is unknown.
        in_doubt: bool,
    },
    Bound {
        node: NodeId,
    },
}

#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "facts that do not exclude each other")]
struct Entry {
    uid: Arc<str>,
    namespace: Arc<str>,
    name: Arc<str>,
    request: Amount,
    domain: Option<DomainId>,
    /// By its `PriorityClass`.
    class: Option<Class>,
    priority: i32,
    bound_to_its_node: bool,
    state: State,
    nominated: Option<NodeId>,
    gated: bool,
    gated_by_us: bool,
    deleting: bool,
    unscheduled: u64,
    created: Timestamp,
    /// Whether a watch has shown it; else only `filter` has.
    known: bool,
    /// The last list that showed it.
    list: u32,
    refused: Option<Box<Refusal>>,
}

/// Where a pod counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Charge {
    Nothing,
    /// Waits for a place, in its domain's queue.
    Waiting(DomainId),
    Held(DomainId, PoolId),
    Binding(Option<DomainId>, NodeId),
    Bound(Option<DomainId>, NodeId),
}

/// Counts since this process began, for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Pods of a domain that somebody else bound.
    pub foreign_binds: u64,
    /// Holds that ended without a binding.
    pub holds_released: u64,
    /// Bindings without a valid hold, judged anew.
    pub bound_without_hold: u64,
}

/// All pods, nodes, holds and budgets.
#[derive(Debug)]
pub struct Ledger {
    settings: Settings,
    exempt: HashSet<Arc<str>>,
    standing: Standing,
    /// Domain of each namespace.
    homes: HashMap<Arc<str>, DomainId>,
    domains: Vec<Arc<str>>,
    budgets: Option<Budgets>,
    /// Position in [`Budgets::domains`] of each domain.
    budget_of: Vec<Option<usize>>,
    /// Grows when budgets change in substance: a hold survives one such change.
    version: u64,
    nodes: Nodes,
    entries: Vec<Option<Entry>>,
    free: Vec<EntryId>,
    by_uid: HashMap<Arc<str>, EntryId>,
    /// By domain, then pool.
    uses: Vec<Vec<Use>>,
    /// Requests of the pods in each domain's queue.
    waiting: Vec<Amount>,
    nominated: HashSet<EntryId>,
    waiters: BTreeMap<EntryId, waiters::Waiter>,
    /// Requests of the waiters that are guarded, by pool, domain and rank.
    guarded: BTreeMap<(PoolId, DomainId, Class), Amount>,
    /// Nodes on which waiters will find room, as reclaim chose them.
    rooms: BTreeMap<EntryId, NodeId>,
    /// Waiters without a beginning, or whose entitlement is not known yet.
    undated: BTreeSet<EntryId>,
    /// The last time that the entitlement of all waiters was judged.
    weighed: Option<Timestamp>,
    /// What pools can grow to, by name.
    growth: HashMap<Arc<str>, Amount>,
    /// How often each pod was granted victims.
    preemptions: HashMap<EntryId, u32>,
    /// Victims granted to each pod that waits, while it is not known yet which of them go.
    grants: HashMap<EntryId, grants::Grants>,
    notices: notices::Notices,
    gated: HashSet<EntryId>,
    in_doubt: HashSet<EntryId>,
    /// Holds in the order in which they end.
    holds: VecDeque<(Timestamp, Arc<str>)>,
    /// The last time that a pod of each domain was refused for its budget, and the refusal.
    last_refused: Vec<Option<(Timestamp, Refusal)>>,
    /// Domains above what they may use of a pool by their limit of borrowing, and since when.
    above_since: HashMap<(DomainId, PoolId), Timestamp>,
    list: u32,
    listing: bool,
    texts: HashSet<Arc<str>>,
    counts: Counts,
}

impl Ledger {
    /// An empty ledger. `shared` names the shared pools, all when empty; `own_namespace` is ours.
    #[must_use]
    pub fn new(settings: Settings, shared: &[String], own_namespace: &str) -> Self {
        let exempt = settings.exempt_namespaces.iter().map(String::as_str);
        let stated = settings.growth.iter();
        Self {
            exempt: exempt.chain(["kube-system", own_namespace]).map(Arc::from).collect(),
            growth: stated.map(|(pool, growth)| (Arc::from(&**pool), growth.amount())).collect(),
            settings,
            standing: Standing::default(),
            homes: HashMap::new(),
            domains: Vec::new(),
            budgets: None,
            budget_of: Vec::new(),
            version: 0,
            nodes: Nodes::new(shared),
            entries: Vec::new(),
            free: Vec::new(),
            by_uid: HashMap::new(),
            uses: Vec::new(),
            waiting: Vec::new(),
            nominated: HashSet::new(),
            waiters: BTreeMap::new(),
            guarded: BTreeMap::new(),
            rooms: BTreeMap::new(),
            undated: BTreeSet::new(),
            weighed: None,
            preemptions: HashMap::new(),
            grants: HashMap::new(),
            notices: notices::Notices::default(),
            gated: HashSet::new(),
            in_doubt: HashSet::new(),
            holds: VecDeque::new(),
            last_refused: Vec::new(),
            above_since: HashMap::new(),
            list: 0,
            listing: false,
            texts: HashSet::new(),
            counts: Counts::default(),
        }
    }

    /// How far it may be relied on.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// Changes that. Holds do not survive the loss of ownership; bindings under way do.
    pub fn stand(&mut self, standing: Standing) {
        self.standing = standing;
        if standing == Standing::Follower {
            for (_, uid) in std::mem::take(&mut self.holds) {
                self.release(&uid);
            }
        }
    }

    /// Counts since this process began.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Pods that are held.
    #[must_use]
    pub fn pods(&self) -> usize {
        self.by_uid.len()
    }

    /// Which domain each namespace belongs to. A namespace that is missing belongs to none.
    pub fn set_namespaces(&mut self, homes: HashMap<Arc<str>, Arc<str>>) {
        let homes: HashMap<Arc<str>, DomainId> = homes
            .into_iter()
            .map(|(namespace, domain)| {
                let id = self.domain_id(&domain);
                (namespace, id)
            })
            .collect();
        if homes == self.homes {
            return;
        }
        self.homes = homes;
        for id in self.ids() {
            let Some(entry) = &self.entries[id as usize] else { continue };
            let home = self.homes.get(&entry.namespace).copied();
            if home != entry.domain {
                self.change(id, |entry| entry.domain = home);
            }
        }
    }

    /// Takes in new budgets; false when they are older than those in force, which then stay.
    pub fn install(&mut self, budgets: Budgets) -> bool {
        if self.budgets.as_ref().is_some_and(|old| budgets.epoch < old.epoch) {
            return false;
        }
        if self.budgets.as_ref().is_none_or(|old| old.differ(&budgets)) {
            self.version += 1;
        }
        for domain in &budgets.domains {
            self.domain_id(&domain.name);
        }
        self.budgets = Some(budgets);
        self.find_budgets();
        true
    }

    /// Epoch of the budgets in force.
    #[must_use]
    pub fn epoch(&self) -> Option<Epoch> {
        self.budgets.as_ref().map(|budgets| budgets.epoch)
    }

    /// A complete list of pods begins.
    pub fn begin_pods(&mut self) {
        self.list = self.list.wrapping_add(1);
        self.listing = true;
    }

    /// The list is complete: what it did not show is gone.
    pub fn end_pods(&mut self) {
        self.listing = false;
        for id in self.ids() {
            let unseen = |entry: &Entry| entry.known && entry.list != self.list;
            if self.entries[id as usize].as_ref().is_some_and(unseen) {
                self.drop_entry(id);
            }
        }
    }

    /// A pod as the API server shows it.
    pub fn put_pod(&mut self, pod: &Pod) {
        if pod.ended {
            self.remove_pod(&pod.uid);
            return;
        }
        let node = pod.node.as_ref().map(|name| self.nodes.id(name));
        let nominated = pod.nominated.as_ref().map(|name| self.nodes.id(name));
        let id = self.entry(pod);
        let (listing, list) = (self.listing, self.list);
        let mut foreign = false;
        let mut released = false;
        self.change(id, |entry| {
            entry.known = true;
            entry.list = list;
            entry.request = pod.request;
            entry.gated = pod.gated;
            entry.gated_by_us = pod.gated_by_us;
            entry.deleting = pod.deleting;
            entry.nominated = nominated;
            match (node, &entry.state) {
                (Some(node), State::Bound { node: old }) if *old == node => {}
                (Some(node), state) => {
                    foreign = !listing && !matches!(state, State::Binding { .. });
                    entry.state = State::Bound { node };
                    entry.refused = None;
                }
                // The scheduler gave up after our answer, or the pod is going.
                (None, State::Held { .. })
                    if pod.deleting
                        || (pod.unscheduled != 0 && pod.unscheduled != entry.unscheduled) =>
                {
                    entry.state = State::Pending;
                    released = true;
                }
                // An event from before the binding.
                (None, _) => {}
            }
            entry.unscheduled = pod.unscheduled;
        });
        if pod.nominated.is_some() {
            self.stop_counting(id);
        }
        // Only the owner knows which Bindings were its own.
        match &pod.unschedulable {
            Some(needs) => self.wait(id, needs, None),
            None if pod.unscheduled != 0 => self.stop_waiting(id),
            None => {}
        }
        if pod.deleting {
            self.tell_preemption(id);
        }
        let budgeted = self.standing == Standing::Owner && self.judge_bypass(id).is_none();
        self.counts.foreign_binds += u64::from(foreign && budgeted);
        self.counts.holds_released += u64::from(released);
    }

    /// A pod is gone.
    pub fn remove_pod(&mut self, uid: &str) {
        if let Some(&id) = self.by_uid.get(uid) {
            self.drop_entry(id);
        }
    }

    /// A complete list of nodes begins.
    pub fn begin_nodes(&mut self) {
        self.nodes.begin();
    }

    /// The list is complete.
    pub fn end_nodes(&mut self) {
        for node in self.nodes.unseen() {
            self.move_node(node, None);
        }
    }

    /// A node as the API server shows it.
    pub fn put_node(&mut self, name: &str, node: NodeFacts) {
        let id = self.nodes.id(name);
        self.move_node(id, Some(node));
    }

    /// A node is gone. Its pods count nowhere until it comes back or they end.
    pub fn remove_node(&mut self, name: &str) {
        let id = self.nodes.id(name);
        self.move_node(id, None);
    }

    /// What became of a Binding that was sent.
    pub fn settle(&mut self, uid: &str, outcome: Outcome) {
        let Some(&id) = self.by_uid.get(uid) else { return };
        let list = self.list;
        self.change(id, |entry| {
            entry.list = list;
            if let State::Binding { node, .. } = entry.state {
                entry.state = match outcome {
                    Outcome::Bound => State::Bound { node },
                    Outcome::Rejected => State::Pending,
                    Outcome::Unknown => State::Binding { node, in_doubt: true },
                };
            }
        });
        self.forget_unknown(id);
    }

    /// Whether the outcome of a Binding of this pod is unknown.
    #[must_use]
    pub fn is_unsettled(&self, uid: &str) -> bool {
        self.by_uid.get(uid).is_some_and(|id| self.in_doubt.contains(id))
    }

    /// Bindings whose outcome is unknown, to be asked of the API server.
    #[must_use]
    pub fn unsettled(&self) -> Vec<Unsettled> {
        let entries = self.in_doubt.iter().filter_map(|&id| self.entries[id as usize].as_ref());
        entries
            .filter_map(|entry| match entry.state {
                State::Binding { node, .. } => Some((
                    Arc::clone(&entry.uid),
                    Arc::clone(&entry.namespace),
                    Arc::clone(&entry.name),
                    Arc::clone(self.nodes.name(node)),
                )),
                _ => None,
            })
            .collect()
    }

    /// What all pods use, counted anew per domain and pool: equal to the running sums.
    #[must_use]
    pub fn recount(&self) -> BTreeMap<(Arc<str>, Arc<str>), Amount> {
        let mut sums = BTreeMap::new();
        for entry in self.entries.iter().flatten() {
            let (domain, pool) = match charge(entry) {
                Charge::Held(domain, pool) => (Some(domain), Some(pool)),
                Charge::Binding(domain, node) | Charge::Bound(domain, node) => {
                    (domain, self.nodes.pool(node))
                }
                Charge::Nothing | Charge::Waiting(_) => (None, None),
            };
            if let (Some(domain), Some(pool)) = (domain, pool) {
                let key = (
                    Arc::clone(&self.domains[usize::from(domain)]),
                    Arc::clone(self.nodes.pool_name(pool)),
                );
                *sums.entry(key).or_insert(Amount::ZERO) += entry.request;
            }
        }
        sums
    }

    /// The running sums, in the form of [`Self::recount`].
    #[must_use]
    pub fn sums(&self) -> BTreeMap<(Arc<str>, Arc<str>), Amount> {
        let mut sums = BTreeMap::new();
        for (domain, row) in self.uses.iter().enumerate() {
            for (pool, used) in row.iter().enumerate() {
                if used.total() != Amount::ZERO {
                    let pool = Arc::clone(self.nodes.pool_name(pool as PoolId));
                    sums.insert((Arc::clone(&self.domains[domain]), pool), used.total());
                }
            }
        }
        sums
    }

    /// Ends the holds whose time is over.
    fn expire(&mut self, now: Timestamp) {
        self.date_waiters(now);
        while let Some((until, uid)) = self.holds.front() {
            if *until > now {
                return;
            }
            let uid = Arc::clone(uid);
            self.holds.pop_front();
            let over =
                |entry: &Entry| matches!(entry.state, State::Held { until, .. } if until <= now);
            if self.get(&uid).is_some_and(over) {
                self.release(&uid);
            }
        }
    }

    /// Takes a hold back.
    fn release(&mut self, uid: &str) {
        let Some(&id) = self.by_uid.get(uid) else { return };
        let held = |entry: &Entry| matches!(entry.state, State::Held { .. });
        if self.entries[id as usize].as_ref().is_some_and(held) {
            self.change(id, |entry| entry.state = State::Pending);
            self.counts.holds_released += 1;
            self.forget_unknown(id);
        }
    }

    fn get(&self, uid: &str) -> Option<&Entry> {
        self.entries[*self.by_uid.get(uid)? as usize].as_ref()
    }

    fn ids(&self) -> std::ops::Range<EntryId> {
        0..self.entries.len() as EntryId
    }

    /// The entry of a pod, made when it is new.
    fn entry(&mut self, pod: &Pod) -> EntryId {
        match self.by_uid.get(&pod.uid) {
            Some(&id) => id,
            None => self.insert(pod),
        }
    }

    fn insert(&mut self, pod: &Pod) -> EntryId {
        let namespace = nodes::one_copy(&mut self.texts, Arc::clone(&pod.namespace));
        let entry = Entry {
            uid: Arc::clone(&pod.uid),
            domain: self.homes.get(&namespace).copied(),
            namespace,
            name: Arc::clone(&pod.name),
            request: pod.request,
            class: self.settings.priority_classes.get(&*pod.priority_class).copied(),
            priority: pod.priority,
            bound_to_its_node: pod.bound_to_its_node,
            state: State::Pending,
            nominated: None,
            gated: pod.gated,
            gated_by_us: pod.gated_by_us,
            deleting: pod.deleting,
            unscheduled: 0,
            created: pod.created,
            known: false,
            list: self.list,
            refused: None,
        };
        let id = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            (self.entries.len() - 1) as EntryId
        });
        self.add(id, &entry);
        self.entries[id as usize] = Some(entry);
        self.by_uid.insert(Arc::clone(&pod.uid), id);
        id
    }

    fn drop_entry(&mut self, id: EntryId) {
        if let Some(entry) = self.entries[id as usize].take() {
            self.take(id, &entry);
            self.stop_waiting(id);
            self.preemptions.remove(&id);
            self.grants.remove(&id);
            self.notices.forget(id);
            self.by_uid.remove(&entry.uid);
            self.free.push(id);
        }
    }

    /// Drops a pod that only `filter` has shown and that holds nothing: nobody else would.
    fn forget_unknown(&mut self, id: EntryId) {
        let idle = |entry: &Entry| !entry.known && entry.state == State::Pending;
        if self.entries[id as usize].as_ref().is_some_and(idle) {
            self.drop_entry(id);
        }
    }

    /// Changes an entry and, with it, the sums.
    fn change(&mut self, id: EntryId, how: impl FnOnce(&mut Entry)) {
        if let Some(mut entry) = self.entries[id as usize].take() {
            self.take(id, &entry);
            how(&mut entry);
            self.add(id, &entry);
            self.entries[id as usize] = Some(entry);
        }
    }

    fn add(&mut self, id: EntryId, entry: &Entry) {
        if let Some(node) = entry.nominated {
            self.nodes.promise(node, id);
            if entry.state == State::Pending && !entry.deleting {
                self.nominated.insert(id);
            }
        }
        if entry.state != State::Pending || entry.deleting {
            self.stop_waiting(id);
        }
        if matches!(entry.state, State::Bound { .. }) {
            self.preemptions.remove(&id);
            self.grants.remove(&id);
            self.notices.settled(id);
        }
        if entry.gated_by_us && entry.domain.is_some() && !entry.deleting {
            self.gated.insert(id);
        }
        if matches!(entry.state, State::Binding { in_doubt: true, .. }) {
            self.in_doubt.insert(id);
        }
        let charge = charge(entry);
        if let Charge::Binding(_, node) | Charge::Bound(_, node) = charge {
            self.nodes.settle_pod(node, id, entry.domain, entry.request);
        }
        if let Some(amount) = self.account(charge) {
            *amount += entry.request;
        }
        if let Some(used) = self.where_it_goes(entry, charge) {
            used.going += entry.request;
        }
    }

    fn take(&mut self, id: EntryId, entry: &Entry) {
        if let Some(node) = entry.nominated {
            self.nodes.take_promise(node, id);
            self.nominated.remove(&id);
        }
        self.gated.remove(&id);
        self.in_doubt.remove(&id);
        let charge = charge(entry);
        if let Some(amount) = self.account(charge) {
            *amount -= entry.request;
        }
        if let Some(used) = self.where_it_goes(entry, charge) {
            used.going -= entry.request;
        }
        if let Charge::Binding(_, node) | Charge::Bound(_, node) = charge {
            self.nodes.unsettle_pod(node, id, entry.domain, entry.request);
        }
    }

    /// The sum that a charge goes to.
    fn account(&mut self, charge: Charge) -> Option<&mut Amount> {
        let (domain, pool, part): (_, _, fn(&mut Use) -> &mut Amount) = match charge {
            Charge::Nothing => return None,
            Charge::Waiting(domain) => return self.waiting.get_mut(usize::from(domain)),
            Charge::Held(domain, pool) => (domain, pool, |used| &mut used.held),
            Charge::Binding(domain, node) => {
                (domain?, self.nodes.pool(node)?, |used| &mut used.binding)
            }
            Charge::Bound(domain, node) => {
                (domain?, self.nodes.pool(node)?, |used| &mut used.bound)
            }
        };
        let row = &mut self.uses[usize::from(domain)];
        if row.len() <= usize::from(pool) {
            row.resize(usize::from(pool) + 1, Use::default());
        }
        Some(part(&mut row[usize::from(pool)]))
    }

    /// The use that a bound pod which is going belongs to.
    fn where_it_goes(&mut self, entry: &Entry, charge: Charge) -> Option<&mut Use> {
        let Charge::Bound(Some(domain), node) = charge else { return None };
        let pool = self.nodes.pool(node).filter(|_| entry.deleting)?;
        self.uses[usize::from(domain)].get_mut(usize::from(pool))
    }

    /// Changes what is known of a node; its pods count in its new pool.
    fn move_node(&mut self, node: NodeId, facts: Option<NodeFacts>) {
        let pool = facts.as_ref().map(|facts| self.nodes.pool_id(&facts.pool));
        if self.nodes.stays(node, facts.as_ref()) {
            self.nodes.set(node, pool, facts);
            return;
        }
        let pods: Vec<EntryId> = self.nodes.pods(node).to_vec();
        let taken: Vec<(EntryId, Entry)> = pods
            .into_iter()
            .filter_map(|id| Some((id, self.entries[id as usize].take()?)))
            .collect();
        for (id, entry) in &taken {
            self.take(*id, entry);
        }
        self.nodes.set(node, pool, facts);
        for (id, entry) in taken {
            self.add(id, &entry);
            self.entries[id as usize] = Some(entry);
        }
    }

    fn domain_id(&mut self, name: &Arc<str>) -> DomainId {
        if let Some(id) = self.domains.iter().position(|one| one == name) {
            return id as DomainId;
        }
        self.domains.push(Arc::clone(name));
        self.uses.push(Vec::new());
        self.waiting.push(Amount::ZERO);
        self.last_refused.push(None);
        self.find_budgets();
        (self.domains.len() - 1) as DomainId
    }

    fn find_budgets(&mut self) {
        let budgets = self.budgets.as_ref().map_or(&[][..], |budgets| &budgets.domains);
        self.budget_of = self
            .domains
            .iter()
            .map(|name| budgets.iter().position(|one| one.name == *name))
            .collect();
    }

    /// Why the pod of an entry needs no budget, if so.
    fn judge_bypass(&self, id: EntryId) -> Option<Bypass> {
        let entry = self.entries[id as usize].as_ref()?;
        self.bypass(&entry.namespace, entry.bound_to_its_node, entry.priority)
    }

    fn bypass(&self, namespace: &str, bound_to_its_node: bool, priority: i32) -> Option<Bypass> {
        if self.exempt.contains(namespace) {
            Some(Bypass::Namespace)
        } else if bound_to_its_node {
            Some(Bypass::DaemonSet)
        } else if priority >= SYSTEM_PRIORITY {
            Some(Bypass::SystemPriority)
        } else if self.standing == Standing::Owner && !self.homes.contains_key(namespace) {
            // Before that, the domains may not all be known.
            Some(Bypass::NoDomain)
        } else {
            None
        }
    }
}

/// Where a pod counts.
fn charge(entry: &Entry) -> Charge {
    match (&entry.state, entry.domain) {
        (State::Bound { node }, domain) => Charge::Bound(domain, *node),
        (State::Binding { node, .. }, domain) => Charge::Binding(domain, *node),
        (State::Held { pool: Some(pool), .. }, Some(domain)) => Charge::Held(domain, *pool),
        (State::Pending, Some(domain)) if entry.known && !entry.gated && !entry.deleting => {
            Charge::Waiting(domain)
        }
        _ => Charge::Nothing,
    }
}
