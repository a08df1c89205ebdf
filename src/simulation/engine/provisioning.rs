//! Which nodes are asked for: for pods that fit nowhere, and for the capacity that is kept warm.
//!
//! Batching pools answer at the end of a batch window, as Karpenter does; scanning pools at every
//! scan, as the Cluster Autoscaler does. Both pack what waits onto nodes that are on their way
//! first, then onto new ones, largest requests first, within the quota.

use std::collections::VecDeque;

use super::Simulation;
use super::nodes::Room;
use super::scheduler::Waiting;
use crate::simulation::Seed;
use crate::simulation::counts::{Definitions, Ticket, Waves};
use crate::simulation::provisioner::{Arrival, Batch, Cloud, PoolState};
use crate::simulation::scenario::{Provisioner, Scenario};

/// The provisioner and what it asked for.
#[derive(Debug, Clone)]
pub(super) struct Provisioning {
    kinds: Vec<Provisioner>,
    batch: Batch,
    pub cloud: Cloud,
    /// What is special about each pool for now.
    pub states: Vec<PoolState>,
    arrivals: Vec<Arrival>,
    /// Scans whose decision is still to come: when, pool, nodes.
    decided: VecDeque<(f64, usize, u32)>,
    next_scan: f64,
    pub waves: Vec<Waves>,
    /// Tickets of the waves by pool and number of the request.
    tickets: Vec<Vec<Ticket>>,
    /// CPU to be kept free on real nodes, in thousandths of a core per pool.
    pub warm: Vec<i64>,
    /// When the Cluster Autoscaler last added a node or failed to.
    pub added_at: Vec<f64>,
    pub failed_at: Vec<f64>,
    /// Scratch: requests that wait, and nodes to fill.
    groups: Vec<(usize, u32)>,
    bins: Vec<Vec<Room>>,
}

impl Provisioning {
    /// Nothing asked for. `None` where the constants describe no cloud.
    pub(super) fn new(scenario: &Scenario, seed: Seed) -> Option<Self> {
        let kinds: Vec<Provisioner> = scenario.pools.iter().map(|pool| pool.provisioner).collect();
        let constants = &scenario.constants;
        let nominal = |kind: &Provisioner| match kind {
            Provisioner::Scanning => constants.scan_node_start.at(0.5),
            Provisioner::Batching | Provisioner::Fixed => constants.node_start.median,
        };
        let count = kinds.len();
        Some(Self {
            batch: Batch::new(constants),
            cloud: Cloud::new(constants, &kinds, seed)?,
            states: vec![PoolState::default(); count],
            arrivals: Vec::new(),
            decided: VecDeque::new(),
            next_scan: 0.0,
            waves: kinds
                .iter()
                .map(|kind| Waves::new(Definitions::default(), nominal(kind)))
                .collect(),
            tickets: vec![Vec::new(); count],
            warm: vec![0; count],
            added_at: vec![f64::NEG_INFINITY; count],
            failed_at: vec![f64::NEG_INFINITY; count],
            groups: Vec::new(),
            bins: vec![Vec::new(); count],
            kinds,
        })
    }

    fn ask(&mut self, pool: usize, nodes: u32, at: f64) {
        self.cloud.ask(pool, nodes, at);
        for _ in 0..nodes {
            self.tickets[pool].push(self.waves[pool].ask(at));
        }
    }
}

impl Simulation {
    /// Pods were found unschedulable at `now`.
    pub(super) fn note_unschedulable(&mut self, now: f64) {
        self.provisioning.batch.see(now);
    }

    /// Everything that the provisioner and the cloud do by `now`.
    pub(super) fn provision(&mut self, now: f64) {
        if self.provisioning.batch.ends().is_none() && self.lacks_warm() {
            self.provisioning.batch.see(now);
        }
        if let Some(at) = self.provisioning.batch.close(now) {
            for (pool, nodes) in self.plan(Provisioner::Batching) {
                self.flows[pool].asked += nodes;
                self.provisioning.ask(pool, nodes, at);
            }
        }
        self.scan(now);
        if self.provisioning.cloud.is_idle() {
            return;
        }
        let provisioning = &mut self.provisioning;
        let mut arrivals = std::mem::take(&mut provisioning.arrivals);
        provisioning.cloud.advance(now, &provisioning.states, &mut arrivals);
        for arrival in arrivals.drain(..) {
            self.arrive(&arrival, now);
        }
        self.provisioning.arrivals = arrivals;
    }

    fn arrive(&mut self, arrival: &Arrival, now: f64) {
        let pool = arrival.pool;
        let ticket = self.provisioning.tickets[pool].get(arrival.number as usize).copied();
        let Some(ticket) = ticket else { return };
        if arrival.ready {
            self.nodes.add(pool);
            self.flows[pool].added += 1;
            self.queue.version += 1;
            self.provisioning.waves[pool].ready(ticket, arrival.at);
            self.provisioning.added_at[pool] = now;
        } else {
            self.provisioning.waves[pool].give_up(ticket);
            self.provisioning.failed_at[pool] = now;
            // What waited for it still waits.
            self.provisioning.batch.see(now);
        }
    }

    /// The scans of the Cluster Autoscaler.
    fn scan(&mut self, now: f64) {
        while let Some(&(at, pool, nodes)) = self.provisioning.decided.front() {
            if at > now {
                break;
            }
            self.provisioning.decided.pop_front();
            self.provisioning.ask(pool, nodes, at);
            self.flows[pool].asked += nodes;
        }
        let constants = &self.scenario.constants;
        let (every, takes) = (constants.scan_seconds, constants.scan_decision_seconds);
        if now < self.provisioning.next_scan {
            return;
        }
        let at = self.provisioning.next_scan;
        self.provisioning.next_scan += every;
        // It decides on one scan before it looks again.
        if !self.provisioning.kinds.contains(&Provisioner::Scanning)
            || !self.provisioning.decided.is_empty()
        {
            return;
        }
        for (pool, nodes) in self.plan(Provisioner::Scanning) {
            self.provisioning.decided.push_back((at + takes, pool, nodes));
        }
    }

    /// Whether a batching pool has less free than is to be kept warm, nodes on their way included.
    fn lacks_warm(&self) -> bool {
        (0..self.nodes.pools.len()).any(|pool| {
            self.provisioning.kinds[pool] == Provisioner::Batching && self.warm_deficit(pool) > 0
        })
    }

    /// Nodes that are missing for the warm capacity of a pool, within its quota.
    fn warm_deficit(&self, pool: usize) -> u32 {
        let warm = self.provisioning.warm[pool];
        if warm <= 0 {
            return 0;
        }
        let (home, coming) = (&self.nodes.pools[pool], self.provisioning.cloud.coming(pool));
        let node = i64::from(home.node.cpu).max(1);
        let missing = warm - home.free_cpu - i64::from(coming) * node;
        // Less than half a node is not worth one.
        let nodes = ((missing + node / 2) / node).clamp(0, i64::from(u32::MAX)) as u32;
        nodes.min(home.max_nodes.saturating_sub(home.standing() + coming))
    }

    /// Nodes to ask for in the pools of one kind: pool and number.
    fn plan(&mut self, kind: Provisioner) -> Vec<(usize, u32)> {
        let mut bins = std::mem::take(&mut self.provisioning.bins);
        let mut groups = std::mem::take(&mut self.provisioning.groups);
        let mut coming = Vec::with_capacity(bins.len());
        for (pool, bins) in bins.iter_mut().enumerate() {
            let count = self.provisioning.cloud.coming(pool);
            coming.push(count);
            bins.clear();
            bins.resize(count as usize, self.nodes.pools[pool].node);
        }
        groups.clear();
        let waiting = self.queue.iter().filter(|entry| entry.why == Waiting::Unschedulable);
        groups.extend(waiting.map(|entry| (entry.app, entry.count)));
        groups.sort_by_key(|(app, _)| (std::cmp::Reverse(self.apps.fixed[*app].room.cpu), *app));
        for &(app, count) in &groups {
            self.pack(app, count, kind, &mut bins);
        }
        let mut asked = Vec::new();
        for pool in 0..bins.len() {
            if self.provisioning.kinds[pool] == kind {
                let packed = bins[pool].len() as u32 - coming[pool];
                let nodes = packed.max(self.warm_deficit(pool));
                if nodes > 0 {
                    asked.push((pool, nodes));
                }
            }
        }
        self.provisioning.bins = bins;
        self.provisioning.groups = groups;
        asked
    }

    /// Packs pods of one app onto nodes that come, and opens new ones within the quota.
    fn pack(&self, app: usize, count: u32, kind: Provisioner, bins: &mut [Vec<Room>]) {
        let fixed = &self.apps.fixed[app];
        let mut left = count;
        for &pool in &fixed.pools {
            for bin in &mut bins[pool] {
                let fit = bin.times(fixed.room).min(left);
                bin.take(fixed.room, fit);
                left -= fit;
                if left == 0 {
                    return;
                }
            }
        }
        for &pool in &fixed.pools {
            let home = &self.nodes.pools[pool];
            let each = home.node.times(fixed.room);
            if self.provisioning.kinds[pool] != kind || each == 0 {
                continue;
            }
            while left > 0 && home.standing() + (bins[pool].len() as u32) < home.max_nodes {
                let fit = each.min(left);
                let mut bin = home.node;
                bin.take(fixed.room, fit);
                bins[pool].push(bin);
                left -= fit;
            }
        }
    }
}
