//! Whether the state still adds up: every sum counted anew.

use super::Simulation;
use super::pods::Phase;
use super::scheduler::amount;
use crate::cluster::Amount;

impl Simulation {
    /// Counts everything anew: pods and nodes are conserved, nothing is used twice, and no number
    /// is undefined. `Err` is one sentence about the first thing that does not add up.
    pub fn audit(&self) -> Result<(), String> {
        self.audit_apps()?;
        self.audit_nodes()?;
        self.audit_requests()
    }

    fn audit_apps(&self) -> Result<(), String> {
        let mut waiting = vec![0_u32; self.apps.len()];
        for entry in self.queue.iter() {
            waiting[entry.app] += entry.count;
        }
        for (app, census) in self.apps.census.iter().enumerate() {
            let name = &self.scenario.apps[app].name;
            let phase = |wanted: fn(Phase) -> bool| {
                let pods = self.apps.pods[app].iter();
                pods.filter(|pod| wanted(self.pods.get(**pod).phase)).count() as u32
            };
            let starting = phase(|phase| phase == Phase::Starting);
            let ready = phase(|phase| matches!(phase, Phase::Ready(_)));
            let serving: u32 = self.apps.cohorts[app].iter().map(|cohort| cohort.pods).sum();
            let counted = (waiting[app], starting, ready, serving);
            if counted != (census.pending, census.starting, census.ready, census.ready) {
                return Err(format!(
                    "app {name}: {counted:?} pods wait, start, are ready and serve, not {census:?}"
                ));
            }
            if census.replicas() != census.spec {
                return Err(format!(
                    "app {name} has {} pods, and {} were asked for",
                    census.replicas(),
                    census.spec
                ));
            }
        }
        Ok(())
    }

    fn audit_nodes(&self) -> Result<(), String> {
        let domains = self.domains();
        let mut used = vec![Amount::ZERO; self.used.len()];
        for (index, pool) in self.nodes.pools.iter().enumerate() {
            let name = &self.scenario.pools[index].name;
            let mut free_cpu = 0;
            for (node, ready) in pool
                .ready
                .iter()
                .map(|node| (*node, true))
                .chain(pool.draining.iter().map(|node| (*node, false)))
            {
                let mut free = pool.node;
                for pod in self.nodes.pods(node) {
                    let fixed = &self.apps.fixed[self.pods.get(*pod).app as usize];
                    free.take(fixed.room, 1);
                    used[index * domains + fixed.domain] += amount(fixed.room);
                }
                if free != self.nodes.free(node) || free.cpu < 0 || free.memory < 0 {
                    return Err(format!(
                        "node {node} of pool {name} has {free:?} free by its pods"
                    ));
                }
                free_cpu += if ready { i64::from(free.cpu) } else { 0 };
            }
            if free_cpu != pool.free_cpu {
                return Err(format!("pool {name} has {free_cpu} free, not {}", pool.free_cpu));
            }
            if pool.standing() > pool.max_nodes.max(self.scenario.pools[index].nodes) {
                return Err(format!("pool {name} has {} nodes, above its quota", pool.standing()));
            }
        }
        if used != self.used {
            return Err("what domains use of the pools is not the sum of their pods".to_owned());
        }
        Ok(())
    }

    fn audit_requests(&self) -> Result<(), String> {
        for (app, outcome) in self.apps.outcomes.iter().enumerate() {
            let sound = |value: f64| value.is_finite() && value >= -1e-9;
            let (arrived, cpu) = (outcome.arrived, outcome.cpu);
            let answered = [outcome.succeeded, outcome.failed, outcome.lost];
            if !sound(arrived) || !sound(cpu) || !answered.into_iter().all(sound) {
                return Err(format!("app {}: {outcome:?}", self.scenario.apps[app].name));
            }
        }
        Ok(())
    }
}
