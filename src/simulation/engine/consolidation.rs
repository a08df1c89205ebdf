//! Which nodes go: Karpenter's consolidation in batching pools, the Cluster Autoscaler's
//! scale-down in scanning pools.
//!
//! Pods move only as their apps' `PodDisruptionBudget` allows: a tenth may be away, and one may
//! always be.

use super::Simulation;
use super::nodes::{NodeId, Room};
use super::pods::Phase;
use crate::simulation::scenario::{Provisioner, Scenario};

/// Karpenter looks at this many nodes together at most (`MaxParallelConsolidation`).
const TOGETHER: usize = 100;

/// After a fruitless look the next one is this much later, in seconds, unless more is free.
const LOOK_AGAIN: f64 = 60.0;

/// What is known of nodes that may go, per pool.
#[derive(Debug, Clone)]
pub(super) struct Consolidation {
    next_poll: f64,
    /// Nodes found to be superfluous, and when that is checked again.
    found: Vec<Option<(f64, Vec<NodeId>)>>,
    /// When nothing was found last, and what was free then: as long as not half a node more is free,
    /// the next look is a minute later.
    fruitless: Vec<(f64, i64)>,
    /// Since when each node of a scanning pool has not been needed.
    unneeded: Vec<Vec<(NodeId, f64)>>,
    /// Scratch: room on the nodes that stay.
    rooms: Vec<Room>,
}

impl Consolidation {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let pools = scenario.pools.len();
        Self {
            next_poll: 0.0,
            found: vec![None; pools],
            fruitless: vec![(f64::NEG_INFINITY, 0); pools],
            unneeded: vec![Vec::new(); pools],
            rooms: Vec::new(),
        }
    }
}

impl Simulation {
    /// Everything that has to do with nodes going, by `now`.
    pub(super) fn consolidate(&mut self, now: f64) {
        self.drain(now);
        if now < self.consolidation.next_poll {
            return;
        }
        self.consolidation.next_poll = now + self.scenario.constants.consolidation_poll_seconds;
        for pool in 0..self.nodes.pools.len() {
            match self.scenario.pools[pool].provisioner {
                Provisioner::Batching => self.consolidate_pool(pool, now),
                Provisioner::Scanning => self.scale_down_pool(pool, now),
                Provisioner::Fixed => {}
            }
        }
    }

    /// Evicts what may go from draining nodes, and lets empty ones go.
    fn drain(&mut self, now: f64) {
        for pool in 0..self.nodes.pools.len() {
            let mut index = 0;
            while let Some(&node) = self.nodes.pools[pool].draining.get(index) {
                if self.nodes.pods(node).is_empty() {
                    self.remove_node(node);
                    continue;
                }
                index += 1;
                let mut at = 0;
                while let Some(&pod) = self.nodes.pods(node).get(at) {
                    at += 1;
                    let one = self.pods.get(pod);
                    if one.phase != Phase::Stopping && self.may_move(one.app as usize) {
                        self.evict(pod, now, false);
                    }
                }
            }
        }
    }

    /// Whether one more ready pod of an app may be away.
    fn may_move(&self, app: usize) -> bool {
        let census = &self.apps.census[app];
        let away = census.spec.saturating_sub(census.ready);
        f64::from(away + 1)
            <= (self.scenario.constants.max_unavailable * f64::from(census.spec)).max(1.0)
    }

    /// One poll of Karpenter in a pool: what it found earlier is checked and done, or it looks anew.
    fn consolidate_pool(&mut self, pool: usize, now: f64) {
        if let Some((check_at, nodes)) = self.consolidation.found[pool].take() {
            if now < check_at {
                self.consolidation.found[pool] = Some((check_at, nodes));
            } else if self.fit_elsewhere(pool, &nodes) {
                for node in nodes {
                    self.nodes.drain(node);
                }
            }
            return;
        }
        let constants = &self.scenario.constants;
        let home = &self.nodes.pools[pool];
        let disrupted = home.draining.len();
        let budget = (constants.disruption_budget * home.ready.len() as f64).ceil() as usize;
        let above = home.ready.len().saturating_sub(home.min_nodes as usize);
        let most = budget.saturating_sub(disrupted).min(above).min(TOGETHER);
        let spare = home.free_cpu - self.provisioning.warm[pool];
        let by_room = (spare / i64::from(home.node.cpu).max(1)).max(0) as usize;
        let most = most.min(by_room);
        // While nodes come, what there is does not suffice.
        if most == 0 || self.provisioning.cloud.coming(pool) > 0 {
            return;
        }
        let (last, free_then) = self.consolidation.fruitless[pool];
        if now - last < LOOK_AGAIN && home.free_cpu < free_then + i64::from(home.node.cpu) / 2 {
            return;
        }
        let nodes: Vec<NodeId> = home.emptiest_first().take(most).collect();
        // The most of them whose pods fit on the others: found by halving.
        let (mut fits, mut fails) = (0, nodes.len() + 1);
        while fits + 1 < fails {
            let middle = usize::midpoint(fits, fails);
            if self.fit_elsewhere(pool, &nodes[..middle]) { fits = middle } else { fails = middle }
        }
        if fits > 0 {
            let validation = self.scenario.constants.consolidation_validation_seconds;
            let after = self.scenario.constants.consolidate_after_seconds;
            self.consolidation.found[pool] =
                Some((now + after + validation, nodes[..fits].to_vec()));
        } else {
            self.consolidation.fruitless[pool] = (now, self.nodes.pools[pool].free_cpu);
        }
    }

    /// Whether the pods of these nodes fit on the other ready nodes of the pool, with the warm
    /// capacity left.
    fn fit_elsewhere(&mut self, pool: usize, going: &[NodeId]) -> bool {
        let home = &self.nodes.pools[pool];
        if home.ready.len() < going.len() + home.min_nodes as usize {
            return false;
        }
        let room_of = |pod: &u32| self.apps.fixed[self.pods.get(*pod).app as usize].room;
        let moving = || going.iter().flat_map(|node| self.nodes.pods(*node)).map(room_of);
        let needed: i64 = moving().map(|room| i64::from(room.cpu)).sum();
        let gone: i64 = going.iter().map(|node| i64::from(self.nodes.free(*node).cpu)).sum();
        if needed + self.provisioning.warm[pool] > home.free_cpu - gone {
            return false;
        }
        // Rooms that no moving pod fits into need not be looked at.
        let least = moving().map(|room| room.cpu).min().unwrap_or(0);
        let mut rooms = std::mem::take(&mut self.consolidation.rooms);
        rooms.clear();
        let stay = home.emptiest_first().filter(|node| !going.contains(node));
        rooms.extend(stay.map(|node| self.nodes.free(node)).take_while(|room| room.cpu >= least));
        let count = rooms.len();
        let mut place = 0;
        let fits = moving().all(|room| {
            let found = (0..count).find(|step| rooms[(place + step) % count].holds(room));
            found.is_some_and(|step| {
                place = (place + step) % count;
                rooms[place].take(room, 1);
                true
            })
        });
        self.consolidation.rooms = rooms;
        fits
    }

    /// One scan of the Cluster Autoscaler for nodes that are not needed.
    fn scale_down_pool(&mut self, pool: usize, now: f64) {
        let constants = self.scenario.constants;
        let home = &self.nodes.pools[pool];
        let mut unneeded = std::mem::take(&mut self.consolidation.unneeded[pool]);
        let idle = |node: NodeId| {
            let free = self.nodes.free(node);
            let used = 1.0 - f64::from(free.cpu) / f64::from(home.node.cpu);
            let memory = 1.0 - f64::from(free.memory) / f64::from(home.node.memory);
            used.max(memory) < constants.unneeded_utilization
        };
        unneeded.retain(|(node, _)| home.ready.contains(node) && idle(*node));
        for &node in &home.ready {
            if idle(node) && !unneeded.iter().any(|(known, _)| *known == node) {
                unneeded.push((node, now));
            }
        }
        let quiet = now - self.provisioning.added_at[pool] >= constants.after_add_seconds
            && now - self.provisioning.failed_at[pool] >= constants.after_failure_seconds;
        if quiet && home.draining.is_empty() {
            let ripe: Vec<NodeId> = unneeded
                .iter()
                .filter(|(_, since)| now - since >= constants.unneeded_seconds)
                .map(|(node, _)| *node)
                .take(constants.removed_at_once as usize)
                .collect();
            // Empty ones together, others one at a time.
            let empty = ripe.iter().filter(|node| self.nodes.pods(**node).is_empty()).count();
            let going = if empty > 0 {
                ripe.into_iter().filter(|node| self.nodes.pods(*node).is_empty()).collect()
            } else {
                ripe.into_iter().take(1).collect::<Vec<_>>()
            };
            if !going.is_empty() && self.fit_elsewhere(pool, &going) {
                for node in going {
                    self.nodes.drain(node);
                }
            }
        }
        self.consolidation.unneeded[pool] = unneeded;
    }
}
