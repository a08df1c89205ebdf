//! Plays the node provisioner on the testbed with the simulator's own batches and cloud, so that
//! the same request gets its node after the same time.

use anyhow::{Context as _, Result};
use hirl_scale::simulation::Seed;
use hirl_scale::simulation::provisioner::{Batch, Cloud, PoolState};
use hirl_scale::simulation::scenario::{FaultKind, FaultSpec, PoolSpec, Scenario};
use kube::Client;

use crate::testbed::objects;

/// The provisioner of the one pool of a scenario.
pub(super) struct Provisioner {
    pool: PoolSpec,
    batch: Batch,
    cloud: Cloud,
    faults: Vec<FaultSpec>,
    /// Pods that waited when it last looked.
    waited: u32,
    /// Nodes that are there.
    pub(super) nodes: u32,
}

impl Provisioner {
    /// With the initial nodes, which must be made.
    pub(super) fn new(scenario: &Scenario, seed: Seed) -> Result<Self> {
        let pool = scenario.pools.first().context("a scenario without a pool")?.clone();
        // As the simulator seeds its own.
        let cloud = Cloud::new(&scenario.constants, &[pool.provisioner], seed.child("nodes"));
        Ok(Self {
            batch: Batch::new(&scenario.constants),
            faults: scenario.faults.clone(),
            cloud: cloud.context("the constants describe no cloud")?,
            waited: 0,
            nodes: 0,
            pool,
        })
    }

    /// Makes the nodes that a cluster begins with.
    pub(super) async fn begin(&mut self, client: &Client) -> Result<()> {
        for _ in 0..self.pool.nodes {
            self.add(client).await?;
        }
        Ok(())
    }

    /// Everything that it does by `now` (scenario seconds) when pods of `cores` in all wait.
    pub(super) async fn advance(
        &mut self,
        client: &Client,
        now: f64,
        (waiting, cores): (u32, f64),
    ) -> Result<()> {
        if waiting > self.waited {
            self.batch.see(now);
        }
        self.waited = waiting;
        if let Some(at) = self.batch.close(now) {
            let coming = self.cloud.coming(0);
            // All pods request the same, and they fill a node to its last core.
            let wanted = (cores / self.pool.node_cpu).ceil() as u32;
            let quota = self.pool.max_nodes.saturating_sub(self.nodes + coming);
            self.cloud.ask(0, wanted.saturating_sub(coming).min(quota), at);
        }
        let mut arrivals = Vec::new();
        let state = self.state(now);
        self.cloud.advance(now, &[state], &mut arrivals);
        for _ in arrivals.iter().filter(|arrival| arrival.ready) {
            self.add(client).await?;
        }
        Ok(())
    }

    /// What the scenario's faults do to the pool at `now`; those of other kinds are not played here.
    fn state(&self, now: f64) -> PoolState {
        let mut state = PoolState::default();
        let is_on = |fault: &&FaultSpec| {
            (fault.start_seconds..fault.start_seconds + fault.duration_seconds).contains(&now)
        };
        for fault in self.faults.iter().filter(is_on) {
            match &fault.fault {
                FaultKind::ProvisionerStall { .. } => state.stalled = true,
                FaultKind::SlowNodes { factor, .. } => state.slowness *= factor,
                _ => {}
            }
        }
        state
    }

    async fn add(&mut self, client: &Client) -> Result<()> {
        let PoolSpec { name, node_cpu, node_memory_gib, .. } = &self.pool;
        let memory = format!("{node_memory_gib}Gi");
        let node = format!("general-{}", self.nodes);
        self.nodes += 1;
        objects::apply(client, &objects::node(&node, name, *node_cpu as u32, &memory)?).await
    }
}
