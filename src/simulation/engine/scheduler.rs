//! kube-scheduler: pods that wait for a node, in the order in which it takes them.
//!
//! With `PriorityClasses` the highest class comes first and may preempt lower ones. With budgets
//! the extender is asked before: the same [`entitlement`] that the ledger asks, over the same sums,
//! and its guard of the room for which higher classes wait.

use std::collections::VecDeque;

use super::Simulation;
use super::nodes::{NodeId, Room};
use super::pods::PodId;
use crate::cluster::{Amount, Class};
use crate::placement;
use crate::placement::entitlement::{self, Asker, Claim};
use crate::simulation::scenario::Provisioner;

/// What a refused or unschedulable pod waits before it is tried again: kube-scheduler's
/// `podInitialBackoffSeconds` and `podMaxBackoffSeconds`.
const BACKOFF: (f64, f64) = (1.0, 10.0);

/// kube-scheduler looks for victims on this part of the nodes, and on this many at the least
/// (`minCandidateNodesPercentage`, `minCandidateNodesAbsolute`).
const CANDIDATES: (usize, usize) = (10, 100);

/// Why pods wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waiting {
    /// They were not tried yet.
    New,
    /// No node has room: the provisioner may act.
    Unschedulable,
    /// They are not entitled to room, or higher classes wait for it: nobody but a budget acts.
    Refused,
}

/// Pods of one app that were created together and wait.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub app: usize,
    pub count: u32,
    /// When they were created, in seconds.
    pub since: f64,
    pub why: Waiting,
    /// For how long they have been unschedulable, in seconds: so long they are guarded.
    guarded: f64,
    tries: u32,
    not_before: f64,
    /// The version of the room on the nodes at which they did not fit.
    version: u64,
}

/// The pods that wait.
#[derive(Debug, Clone, Default)]
pub(super) struct Queue {
    /// By class; all in the first where pods have no priority.
    entries: [VecDeque<Entry>; Class::ALL.len()],
    /// Grows whenever room appears on a node.
    pub version: u64,
    /// Part of a placement that the last pass had left.
    credit: f64,
}

impl Queue {
    pub(super) fn push(&mut self, lane: usize, app: usize, count: u32, since: f64) {
        let entry = Entry {
            app,
            count,
            since,
            why: Waiting::New,
            guarded: 0.0,
            tries: 0,
            not_before: since,
            version: 0,
        };
        self.entries[lane].push_back(entry);
    }

    /// Takes up to `count` waiting pods of an app out, the newest first; says how many.
    pub(super) fn cancel(&mut self, lane: usize, app: usize, count: u32) -> u32 {
        let mut left = count;
        for entry in self.entries[lane].iter_mut().rev().filter(|entry| entry.app == app) {
            let gone = entry.count.min(left);
            entry.count -= gone;
            left -= gone;
        }
        self.entries[lane].retain(|entry| entry.count > 0);
        count - left
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().flatten()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.iter().all(VecDeque::is_empty)
    }
}

/// What the extender knows of the pools during one pass of the scheduler.
#[derive(Debug, Clone, Default)]
pub(super) struct Entitlements {
    /// What each domain may claim of each pool, nothing used; empty where no extender is asked.
    stated: Vec<Vec<Claim>>,
    /// What each pool can grow to.
    growth: Vec<Amount>,
    reserve: Vec<Amount>,
    /// Requested by pods that wait for room, by lane, pool and domain.
    waiting: [Vec<Amount>; Class::ALL.len()],
    /// Scratch: the claims that one pod sees.
    claims: Vec<Claim>,
}

/// What came of one attempt.
enum Attempt {
    Placed,
    NoRoom,
    Refused,
}

impl Simulation {
    /// The lane of an app's pods in the queue.
    pub(super) fn lane(&self, app: usize) -> usize {
        if self.actuation.priorities { self.apps.fixed[app].class as usize } else { 0 }
    }

    /// One pass of the scheduler over `seconds` that end at `now`. Says whether pods were newly
    /// found unschedulable.
    pub(super) fn schedule(&mut self, now: f64, seconds: f64) -> bool {
        if self.queue.is_empty() {
            self.queue.credit = 0.0;
            return false;
        }
        let rate = self.scenario.controller.scheduler_pods_per_second;
        let mut attempts = (self.queue.credit + rate * seconds).min(rate * 10.0);
        // Requests that fitted nowhere in a pool: what needs as much need not be tried in this pass.
        let mut hopeless = std::mem::take(&mut self.hopeless);
        hopeless.clear();
        hopeless.resize(self.nodes.pools.len(), None);
        let mut unschedulable = false;
        for entry in self.queue.entries.iter_mut().flatten() {
            entry.guarded += if entry.why == Waiting::Unschedulable { seconds } else { 0.0 };
        }
        self.state_claims(now);
        for lane in 0..Class::ALL.len() {
            let mut entries = std::mem::take(&mut self.queue.entries[lane]);
            for entry in &mut entries {
                if attempts < 1.0 {
                    break;
                }
                unschedulable |= self.try_entry(entry, now, &mut attempts, &mut hopeless);
            }
            entries.retain(|entry| entry.count > 0);
            // Pods that were preempted meanwhile wait behind.
            entries.append(&mut self.queue.entries[lane]);
            self.queue.entries[lane] = entries;
            self.count_waiting(lane);
        }
        self.hopeless = hopeless;
        self.queue.credit = attempts;
        unschedulable
    }

    /// Tries pods of one entry until one does not fit. Says whether they are now unschedulable
    /// and were not before.
    fn try_entry(
        &mut self,
        entry: &mut Entry,
        now: f64,
        attempts: &mut f64,
        hopeless: &mut [Option<Room>],
    ) -> bool {
        let stuck = entry.why == Waiting::Unschedulable && entry.version == self.queue.version;
        if entry.not_before > now || stuck {
            return false;
        }
        while entry.count > 0 && *attempts >= 1.0 {
            let before = entry.why;
            match self.attempt(entry.app, now, hopeless) {
                Attempt::Placed => {
                    *attempts -= 1.0;
                    entry.count -= 1;
                    entry.why = Waiting::New;
                    entry.tries = 0;
                }
                Attempt::NoRoom => {
                    *attempts -= 1.0;
                    entry.why = Waiting::Unschedulable;
                    entry.version = self.queue.version;
                    entry.back_off(now);
                    return before != Waiting::Unschedulable;
                }
                // Each is tried again by its back-off; low ones wait behind scheduling gates (component
                // `gates`) and cost the scheduler nothing.
                Attempt::Refused => {
                    if self.apps.fixed[entry.app].class < Class::P2 {
                        *attempts = (*attempts - f64::from(entry.count)).max(0.0);
                    }
                    entry.why = Waiting::Refused;
                    entry.back_off(now);
                    return false;
                }
            }
        }
        false
    }

    /// Tries to place one pod of an app.
    fn attempt(&mut self, app: usize, now: f64, hopeless: &mut [Option<Room>]) -> Attempt {
        let room = self.apps.fixed[app].room;
        let mut refused = true;
        for index in 0..self.apps.fixed[app].pools.len() {
            let pool = self.apps.fixed[app].pools[index];
            if !self.entitled(app, pool, now) {
                continue;
            }
            let kept = self.kept_for_higher(app, pool);
            if kept == Amount::ZERO {
                refused = false;
                if hopeless[pool].is_some_and(|least| room.holds(least)) {
                    continue;
                }
                if let Some(node) = self.nodes.find(pool, room) {
                    self.place(app, node, now, 0.0);
                    return Attempt::Placed;
                }
                hopeless[pool] = Some(room);
            } else if let Some(node) = self.nodes.find_beyond(pool, room, kept) {
                self.place(app, node, now, 0.0);
                return Attempt::Placed;
            } else if self.nodes.find(pool, room).is_none() {
                refused = false;
            }
        }
        if refused {
            return Attempt::Refused;
        }
        if self.actuation.priorities && self.preempt(app, now) {
            return Attempt::Placed;
        }
        Attempt::NoRoom
    }

    /// Takes down what each domain may claim of each shared pool, for the passes that follow.
    fn state_claims(&mut self, now: f64) {
        self.entitlements.stated.clear();
        let at = self.timestamp(now);
        let Some(budgets) = &self.budgets else { return };
        let entitlements = &mut self.entitlements;
        entitlements.growth.clear();
        entitlements.reserve.clear();
        for (home, spec) in self.nodes.pools.iter().zip(&self.scenario.pools) {
            let standing = home.allocatable();
            let growth = if spec.provisioner == Provisioner::Fixed {
                standing
            } else {
                home.at_the_most().max(standing)
            };
            entitlements.stated.push(budgets.claims(&spec.name, standing, growth, Class::P0, at));
            entitlements.growth.push(growth);
            entitlements.reserve.push(standing.part(budgets.reserve_of(&spec.name)));
        }
        for lane in 0..Class::ALL.len() {
            self.count_waiting(lane);
        }
    }

    /// Counts anew what the pods of a lane request that wait for room.
    fn count_waiting(&mut self, lane: usize) {
        if self.budgets.is_none() {
            return;
        }
        let domains = self.domains();
        let waiting = &mut self.entitlements.waiting[lane];
        waiting.clear();
        waiting.resize(self.nodes.pools.len() * domains, Amount::ZERO);
        let guard = placement::Settings::default().guard_seconds;
        for entry in &self.queue.entries[lane] {
            if entry.why != Waiting::Unschedulable || entry.guarded >= guard {
                continue;
            }
            let fixed = &self.apps.fixed[entry.app];
            for &pool in &fixed.pools {
                if self.nodes.pools[pool].node.holds(fixed.room) {
                    let one = amount(fixed.room);
                    waiting[pool * domains + fixed.domain] += Amount {
                        cpu_milli: one.cpu_milli * u64::from(entry.count),
                        memory: one.memory * u64::from(entry.count),
                    };
                }
            }
        }
    }

    /// Whether the extender is asked about a pool.
    fn has_budgets(&self, pool: usize) -> bool {
        self.budgets.is_some() && self.nodes.pools[pool].shared
    }

    /// The claims on a pool as a pod of the app sees them.
    fn claims(&self, app: usize, pool: usize) -> impl Iterator<Item = Claim> + '_ {
        let (domains, fixed) = (self.domains(), &self.apps.fixed[app]);
        let Entitlements { stated, waiting, .. } = &self.entitlements;
        stated[pool].iter().enumerate().map(move |(domain, stated)| {
            let slot = pool * domains + domain;
            let lanes = fixed.class as usize + usize::from(domain != fixed.domain);
            let before = waiting[..lanes].iter().filter_map(|lane| lane.get(slot));
            let waiting = before.fold(Amount::ZERO, |sum, waits| sum + *waits);
            Claim { used: self.used[slot], waiting, ..*stated }
        })
    }

    /// What the extender says: whether a pod of the app is entitled to room in a pool.
    fn entitled(&mut self, app: usize, pool: usize, now: f64) -> bool {
        if !self.has_budgets(pool) {
            return true;
        }
        let mut claims = std::mem::take(&mut self.entitlements.claims);
        claims.clear();
        claims.extend(self.claims(app, pool));
        let fixed = &self.apps.fixed[app];
        let asker = Asker {
            domain: fixed.domain,
            class: fixed.class,
            request: amount(fixed.room),
            emergency: self.in_emergency(fixed.domain, now),
        };
        let room = entitlement::Room {
            growth: self.entitlements.growth[pool],
            reserve: self.entitlements.reserve[pool],
            claims: &claims,
        };
        let entitled = entitlement::entitlement(&room, &asker).is_ok();
        self.entitlements.claims = claims;
        entitled
    }

    fn in_emergency(&self, domain: usize, now: f64) -> bool {
        let at = self.timestamp(now);
        self.budgets.as_ref().is_some_and(|budgets| budgets.domains[domain].in_emergency(at))
    }

    /// The waiting guard: what is kept in a pool from a pod of the app, because higher classes wait for
    /// room there and the app's domain is above its floor.
    fn kept_for_higher(&self, app: usize, pool: usize) -> Amount {
        if !self.has_budgets(pool) {
            return Amount::ZERO;
        }
        let (domains, fixed) = (self.domains(), &self.apps.fixed[app]);
        let higher = &self.entitlements.waiting[..fixed.class as usize];
        let kept = higher
            .iter()
            .filter_map(|lane| lane.get(pool * domains..(pool + 1) * domains))
            .flatten()
            .fold(Amount::ZERO, |sum, waits| sum + *waits);
        if kept == Amount::ZERO {
            return kept;
        }
        let floor = self.entitlements.stated[pool][fixed.domain].floor;
        let used = self.used[pool * domains + fixed.domain] + amount(fixed.room);
        if used.fits(floor) { Amount::ZERO } else { kept }
    }

    /// Makes room for one pod of an app by stopping pods of lower classes on one node, as
    /// kube-scheduler chooses: the lowest victims, then the fewest. The pod starts when they are
    /// gone; meanwhile the room is its own (`nominatedNodeName`).
    fn preempt(&mut self, app: usize, now: f64) -> bool {
        let class = self.apps.fixed[app].class;
        // `preemptionPolicy: Never` in our PriorityClass of the lowest class.
        if class >= Class::P3 {
            return false;
        }
        let mut best: Option<(Class, usize, NodeId)> = None;
        let (mut victims, mut chosen) = (Vec::new(), Vec::new());
        let mut spare = std::mem::take(&mut self.spare);
        for index in 0..self.apps.fixed[app].pools.len() {
            let pool = self.apps.fixed[app].pools[index];
            if !self.entitled(app, pool, now) {
                continue;
            }
            self.claims_of_victims(app, pool, &mut spare);
            let count = self.nodes.pools[pool].ready.len();
            let wanted = (count * CANDIDATES.0 / 100).max(CANDIDATES.1);
            let mut seen = 0;
            for at in 0..count {
                let node = self.nodes.pools[pool].ready[(at + self.turn) % count];
                if !self.victims(app, node, &spare, &mut victims) {
                    continue;
                }
                let highest = victims.iter().map(|pod| self.class_of(*pod)).min();
                let highest = highest.unwrap_or(Class::P3);
                let better = best.is_none_or(|(class, pods, _)| {
                    highest > class || highest == class && victims.len() < pods
                });
                if better {
                    best = Some((highest, victims.len(), node));
                    std::mem::swap(&mut victims, &mut chosen);
                }
                seen += 1;
                if seen == wanted {
                    break;
                }
            }
        }
        self.spare = spare;
        self.turn = self.turn.wrapping_add(1);
        let Some((_, _, node)) = best else { return false };
        for pod in chosen {
            self.preempted[self.class_of(pod) as usize] += 1;
            self.evict(pod, now, true);
        }
        let grace = self.scenario.constants.termination_grace_seconds;
        self.place(app, node, now, grace);
        true
    }

    fn class_of(&self, pod: PodId) -> Class {
        self.apps.fixed[self.pods.get(pod).app as usize].class
    }

    /// Fills `victims` with the pods that would have to go from a node for one pod of the app:
    /// the lowest classes first, no more than needed, and no domain below its floor. Says whether that
    /// is possible.
    fn victims(
        &self,
        app: usize,
        node: NodeId,
        claims: &[Claim],
        victims: &mut Vec<PodId>,
    ) -> bool {
        victims.clear();
        let fixed = &self.apps.fixed[app];
        let mut free = self.nodes.free(node);
        let pods = self.nodes.pods(node).iter().copied();
        victims.extend(pods.filter(|&pod| self.is_lower(pod, fixed.class)));
        let most = victims.iter().fold(free, |mut sum, &pod| {
            sum.add(self.apps.fixed[self.pods.get(pod).app as usize].room);
            sum
        });
        if !most.holds(fixed.room) {
            return false;
        }
        victims.sort_by_key(|&pod| (std::cmp::Reverse(self.class_of(pod)), pod));
        // Few nodes hold pods of more domains than this.
        let mut lost: [(usize, Amount); 8] = [(usize::MAX, Amount::ZERO); 8];
        let mut count = 0;
        for at in 0..victims.len() {
            let one = &self.apps.fixed[self.pods.get(victims[at]).app as usize];
            if one.domain != fixed.domain && !claims.is_empty() {
                let slot = lost
                    .iter()
                    .position(|(domain, _)| *domain == one.domain || *domain == usize::MAX);
                let Some(slot) = slot else { continue };
                let sum = lost[slot].1 + amount(one.room);
                if !entitlement::may_lose(&claims[one.domain], sum) {
                    continue;
                }
                lost[slot] = (one.domain, sum);
            }
            victims[count] = victims[at];
            count += 1;
            free.add(one.room);
            if free.holds(fixed.room) {
                victims.truncate(count);
                return true;
            }
        }
        false
    }

    /// The claims by which pods of a pool may be preempted for a pod of the app; none where no extender is
    /// asked, and everybody may. The same for every node of the pool.
    fn claims_of_victims(&self, app: usize, pool: usize, claims: &mut Vec<Claim>) {
        claims.clear();
        if self.has_budgets(pool) {
            claims.extend(self.claims(app, pool));
        }
    }

    /// Whether a pod is of a lower class, and not on its way out.
    fn is_lower(&self, pod: PodId, class: Class) -> bool {
        let pod = self.pods.get(pod);
        let fixed = &self.apps.fixed[pod.app as usize];
        fixed.class > class && pod.phase != super::pods::Phase::Stopping
    }
}

impl Entry {
    fn back_off(&mut self, now: f64) {
        self.not_before = now + (BACKOFF.0 * f64::from(1 << self.tries.min(4))).min(BACKOFF.1);
        self.tries += 1;
    }
}

/// Whole requests as the ledger counts them.
pub(super) const fn amount(room: Room) -> Amount {
    Amount { cpu_milli: room.cpu as u64, memory: room.memory as u64 * 1_048_576 }
}
