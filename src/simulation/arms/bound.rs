//! What no policy can beat: the least breach for what is paid.
//!
//! Everything that makes breaches in a run is left out: queues and retries that earlier steps left
//! behind, cold pods, slow callees, failures, lags, packing, and the way from one step to the next.
//! What is left is that an app which keeps its promise in a step has at least the cores on nodes
//! that its requests of this step need. So it is paid for where it costs least.

use super::staffing::Staffing;
use crate::simulation::scenario::Scenario;
use crate::simulation::{Seed, Traffic};

/// The least app-minutes in breach as a function of paid core-hours.
#[derive(Debug, Clone)]
pub struct Bound {
    step_seconds: f64,
    /// Cores that keep one app's promise in one step, over all apps and counted steps whose price
    /// can be paid; the cheapest first.
    prices: Vec<f64>,
    /// App-steps that nobody can save: the HPA's upper bound or the quota forbids it.
    lost: u64,
}

impl Bound {
    /// The bound of the runs of this scenario and seed.
    #[must_use]
    pub fn new(scenario: &Scenario, seed: Seed) -> Self {
        let step = scenario.step_seconds;
        let mut traffic = Traffic::of_run(scenario, seed);
        let mut staffing = Staffing::new(scenario);
        let mut offered = vec![0.0; scenario.apps.len()];
        let mut needed = vec![None; scenario.apps.len()];
        let nodes = scenario.pools.iter();
        let quota: f64 =
            nodes.map(|pool| f64::from(pool.nodes.max(pool.max_nodes)) * pool.node_cpu).sum();
        let mut bound = Self { step_seconds: step, prices: Vec::new(), lost: 0 };
        for number in 0..(scenario.duration_seconds / step).ceil() as u64 {
            let begin = number as f64 * step;
            if begin + step <= scenario.warm_up_seconds + 1e-9 {
                continue;
            }
            traffic.offered(begin, step, &mut offered);
            staffing.needed(&offered, &mut needed);
            bound.add(scenario, &needed, quota);
        }
        bound.prices.sort_by(f64::total_cmp);
        bound
    }

    /// Adds the apps of one step. More than the quota holds cannot be saved in it, and the dearest
    /// are the ones to lose.
    fn add(&mut self, scenario: &Scenario, needed: &[Option<u32>], quota: f64) {
        let each = scenario.apps.iter().zip(needed);
        let mut prices: Vec<f64> = each
            .filter_map(|(app, pods)| pods.map(|pods| f64::from(pods) * app.cpu_request))
            .collect();
        prices.sort_by(f64::total_cmp);
        let mut left = quota;
        let held = prices.iter().take_while(|price| {
            left -= **price;
            left >= 0.0
        });
        let held = held.count();
        self.lost += (needed.len() - held) as u64;
        self.prices.extend(&prices[..held]);
    }

    /// The least app-minutes in breach that any policy can have which pays for so many core-hours.
    #[must_use]
    pub fn breach_minutes(&self, paid_core_hours: f64) -> f64 {
        let mut left = paid_core_hours * 3600.0 / self.step_seconds;
        let saved = self.prices.iter().take_while(|price| {
            left -= **price;
            left >= -1e-9
        });
        let breached = self.lost + (self.prices.len() - saved.count()) as u64;
        breached as f64 * self.step_seconds / 60.0
    }
}
