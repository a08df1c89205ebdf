//! What the ready pods do with the requests: queues, calls between domains, CPU and memory.

use super::Simulation;
use super::telemetry::Sample;
use crate::simulation::queue::{self, Downstream, Outcome};

/// Something outside the cluster that an app depends on, as it is now.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Outside {
    pub delay_seconds: f64,
    pub error_ratio: f64,
}

impl Simulation {
    /// Serves the requests of one step of `step_seconds` that begins at `from`.
    pub(super) fn serve(&mut self, from: f64) {
        let step = self.scenario.step_seconds;
        self.traffic.offered(from, step, &mut self.apps.offered);
        let mut calls = std::mem::take(&mut self.calls);
        let mut again = std::mem::take(&mut calls.again);
        for &domain in &calls.order {
            let downstream = calls.of(domain);
            let mut answer = Downstream::default();
            let (mut arrived, mut offered) = (0.0, 0.0);
            for &app in &calls.members[domain] {
                let share = self.apps.fixed[app].call_share;
                let extra = again[domain] * share;
                let outcome = self.serve_app(app, extra, &downstream, step);
                arrived += outcome.arrived;
                offered += self.apps.offered[app];
                if outcome.mean_seconds.is_finite() {
                    answer.seconds += share * outcome.mean_seconds;
                    answer.variance += share * outcome.variance;
                }
                answer.error_ratio += share * outcome.error_ratio();
            }
            calls.answers[domain] = answer;
            again[domain] = 0.0;
            // What was tried again calls again, in the next step of the callee.
            for &(to, per_request) in &calls.all[domain] {
                again[to] += per_request * (arrived - offered).max(0.0);
            }
        }
        calls.again = again;
        self.calls = calls;
        self.record_samples();
    }

    fn serve_app(
        &mut self,
        app: usize,
        extra: f64,
        downstream: &Downstream,
        seconds: f64,
    ) -> Outcome {
        let mut downstream = *downstream;
        if let Some(outside) = self.outside.get(app) {
            downstream.seconds += outside.delay_seconds;
            let good = (1.0 - downstream.error_ratio) * (1.0 - outside.error_ratio);
            downstream.error_ratio = 1.0 - good;
        }
        let apps = &mut self.apps;
        let offered = apps.offered[app] + extra;
        let outcome = queue::advance(
            &apps.fixed[app].service,
            &mut apps.cohorts[app],
            &mut apps.retries[app],
            offered,
            &downstream,
            seconds,
        );
        apps.outcomes[app] = outcome;
        outcome
    }

    fn record_samples(&mut self) {
        let apps = &self.apps;
        for (app, sample) in self.telemetry.record().iter_mut().enumerate() {
            let (outcome, fixed) = (&apps.outcomes[app], &apps.fixed[app]);
            let ready = apps.census[app].ready;
            let each = fixed.idle_mib + (fixed.busy_mib - fixed.idle_mib) * outcome.busy;
            *sample = Sample {
                rps: outcome.arrived as f32,
                p99: outcome.p99_seconds as f32,
                error_ratio: outcome.error_ratio() as f32,
                cpu: outcome.cpu as f32,
                memory: (f64::from(ready) * each) as f32,
                ready,
            };
        }
    }

    /// Pods that exceed their memory limit are killed and start again: a tenth of the ready ones
    /// in each step, as their memory grows one after the other.
    pub(super) fn kill_over_memory(&mut self, now: f64) {
        for index in 0..self.greedy.len() {
            let app = self.greedy[index];
            let fixed = &self.apps.fixed[app];
            let busy = self.apps.outcomes[app].busy;
            let used = fixed.idle_mib + (fixed.busy_mib - fixed.idle_mib) * busy;
            if used > fixed.limit_mib {
                let count = self.apps.census[app].ready.div_ceil(10);
                self.restart_pods(app, count, now);
            }
        }
    }
}
