//! kube-scheduler: pods that wait for a node, in the order in which it takes them.
//!
//! With `PriorityClasses` the highest class comes first and may preempt lower ones. With budgets
//! the extender is asked before: its verdict is that of `placement::Ledger` (the same limits over
//! the same sums), without the names.

use std::collections::VecDeque;

use super::Simulation;
use super::nodes::{NodeId, Room};
use super::pods::PodId;
use crate::cluster::{Amount, Class};
use crate::placement::Budgets;

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
    /// Their domain's budget is used up: nobody but a budget acts.
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
        let entry =
            Entry { app, count, since, why: Waiting::New, tries: 0, not_before: since, version: 0 };
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
            if !self.within_budget(app, pool, now) {
                continue;
            }
            refused = false;
            if hopeless[pool].is_some_and(|least| room.holds(least)) {
                continue;
            }
            if let Some(node) = self.nodes.find(pool, room) {
                self.place(app, node, now, 0.0);
                return Attempt::Placed;
            }
            hopeless[pool] = Some(room);
        }
        if refused {
            return Attempt::Refused;
        }
        if self.actuation.priorities && self.preempt(app, now) {
            return Attempt::Placed;
        }
        Attempt::NoRoom
    }

    /// What the extender says: whether a pod of the app may go to a pool.
    fn within_budget(&self, app: usize, pool: usize, now: f64) -> bool {
        let Some(budgets) = self.budgets.as_ref().filter(|_| self.nodes.pools[pool].shared) else {
            return true;
        };
        let fixed = &self.apps.fixed[app];
        let ask = amount(fixed.room);
        let own = self.used[pool * self.domains() + fixed.domain] + ask;
        if !own.fits(self.hard_limit(budgets, pool, fixed.domain, fixed.class, now)) {
            return false;
        }
        let all = self.used_in(pool) + ask;
        let usable = self.nodes.pools[pool].allocatable();
        let reserve = if fixed.class == Class::P0 { 0.0 } else { budgets.reserve };
        all.fits(usable.part((1.0 - reserve).clamp(0.0, 1.0)))
    }

    /// What a domain may use of a pool when a pod of `class` asks.
    pub(super) fn hard_limit(
        &self,
        budgets: &Budgets,
        pool: usize,
        domain: usize,
        class: Class,
        now: f64,
    ) -> Amount {
        let budget = &budgets.domains[domain];
        let share = budget.share_of(&self.scenario.pools[pool].name);
        let limit = self.nodes.pools[pool].allocatable().part(share);
        let breach = budget.breach_until.is_some_and(|until| self.timestamp(now) < until);
        if breach && class <= budget.class { limit.part(1.0 + budgets.band) } else { limit }
    }

    /// What all domains use of a pool.
    pub(super) fn used_in(&self, pool: usize) -> Amount {
        let domains = self.domains();
        self.used[pool * domains..(pool + 1) * domains]
            .iter()
            .fold(Amount::ZERO, |sum, used| sum + *used)
    }

    /// Makes room for one pod of an app by stopping pods of lower classes on one node, as
    /// kube-scheduler chooses: the lowest victims, then the fewest. The pod starts when they are
    /// gone; meanwhile the room is its own (`nominatedNodeName`).
    fn preempt(&mut self, app: usize, now: f64) -> bool {
        let class = self.apps.fixed[app].class;
        // `preemptionPolicy: Never` in our PriorityClasses.
        if class >= Class::P2 {
            return false;
        }
        let mut best: Option<(Class, usize, NodeId)> = None;
        let (mut victims, mut chosen) = (Vec::new(), Vec::new());
        let mut exposed = std::mem::take(&mut self.exposed);
        for index in 0..self.apps.fixed[app].pools.len() {
            let pool = self.apps.fixed[app].pools[index];
            if !self.within_budget(app, pool, now) {
                continue;
            }
            self.expose(app, pool, now, &mut exposed);
            let count = self.nodes.pools[pool].ready.len();
            let wanted = (count * CANDIDATES.0 / 100).max(CANDIDATES.1);
            let mut seen = 0;
            for at in 0..count {
                let node = self.nodes.pools[pool].ready[(at + self.turn) % count];
                if !self.victims(app, node, &exposed, &mut victims) {
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
        self.exposed = exposed;
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
    /// the lowest classes first, no more than needed. Says whether that is possible.
    fn victims(
        &self,
        app: usize,
        node: NodeId,
        exposed: &[bool],
        victims: &mut Vec<PodId>,
    ) -> bool {
        victims.clear();
        let fixed = &self.apps.fixed[app];
        let pods = self.nodes.pods(node).iter().copied();
        victims.extend(pods.filter(|&pod| self.may_die(pod, fixed.class, exposed)));
        victims.sort_by_key(|&pod| (std::cmp::Reverse(self.class_of(pod)), pod));
        let mut free = self.nodes.free(node);
        let needed = victims.iter().position(|&pod| {
            free.add(self.apps.fixed[self.pods.get(pod).app as usize].room);
            free.holds(fixed.room)
        });
        let Some(last) = needed else { return false };
        victims.truncate(last + 1);
        true
    }

    /// Sets of each domain whether its pods in a pool may be preempted for a pod of the app: where budgets act, the
    /// extender lets it be the same domain, or one above its own limit. The same for every node of the pool.
    fn expose(&self, app: usize, pool: usize, now: f64, exposed: &mut Vec<bool>) {
        let budgets = self.budgets.as_ref().filter(|_| self.nodes.pools[pool].shared);
        exposed.clear();
        exposed.extend((0..self.domains()).map(|other| {
            let Some(budgets) = budgets else { return true };
            let limit = self.hard_limit(budgets, pool, other, Class::P0, now);
            other == self.apps.fixed[app].domain
                || !self.used[pool * self.domains() + other].fits(limit)
        }));
    }

    /// Whether a pod may be preempted for one of a class: a lower one of an exposed domain.
    fn may_die(&self, pod: PodId, class: Class, exposed: &[bool]) -> bool {
        let pod = self.pods.get(pod);
        let fixed = &self.apps.fixed[pod.app as usize];
        fixed.class > class && exposed[fixed.domain] && pod.phase != super::pods::Phase::Stopping
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
