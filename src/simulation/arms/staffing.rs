//! How many pods each app needs at the least to keep its promise in one step, by the queue model.

use crate::cluster::Slo;
use crate::simulation::calls::Calls;
use crate::simulation::queue::{self, Cohort, Downstream, Outcome, Retries, Service};
use crate::simulation::scenario::Scenario;

/// So many pods that nobody waits.
const IDLE: u32 = 1_000_000_000;

/// Sizes apps, step by step.
#[derive(Debug, Clone)]
pub(super) struct Staffing {
    apps: Vec<Station>,
    calls: Calls,
    /// Length of a step, in seconds.
    seconds: f64,
    /// Pods of each app in the last step: where the search begins.
    last: Vec<u32>,
}

#[derive(Debug, Clone)]
struct Station {
    service: Service,
    slo: Slo,
    call_share: f64,
    most: u32,
}

impl Staffing {
    /// For the apps of a checked scenario.
    pub(super) fn new(scenario: &Scenario) -> Self {
        let calls = Calls::new(scenario);
        let places = scenario.domain_of().into_iter().zip(scenario.call_shares());
        let stations =
            scenario.apps.iter().zip(places).map(|(app, (domain, call_share))| Station {
                service: Service::of(app),
                slo: scenario.domains[domain].to_domain().slo,
                call_share,
                most: app.hpa.max_replicas.max(app.hpa.min_replicas).max(1),
            });
        let apps: Vec<Station> = stations.collect();
        Self { last: vec![1; apps.len()], apps, calls, seconds: scenario.step_seconds }
    }

    /// The least pods with which each app keeps its promise when `offered` requests per second
    /// arrive: all at full speed, without a queue at the beginning, with callees that never let
    /// anybody wait. `None` where not even the HPA's upper bound suffices; at least 1, because an
    /// app without a ready pod is in breach.
    pub(super) fn needed(&mut self, offered: &[f64], out: &mut [Option<u32>]) {
        for &domain in &self.calls.order {
            let downstream = self.calls.of(domain);
            let mut answer = Downstream::default();
            for &app in &self.calls.members[domain] {
                let station = &self.apps[app];
                let outcome =
                    |pods: u32| station.outcome(pods, offered[app], &downstream, self.seconds);
                out[app] =
                    least(|pods| station.keeps(&outcome(pods)), self.last[app], station.most);
                self.last[app] = out[app].unwrap_or(station.most);
                let seen = outcome(IDLE);
                if seen.mean_seconds.is_finite() {
                    answer.seconds += station.call_share * seen.mean_seconds;
                    answer.variance += station.call_share * seen.variance;
                }
            }
            self.calls.answers[domain] = answer;
        }
    }
}

impl Station {
    fn outcome(&self, pods: u32, offered: f64, downstream: &Downstream, seconds: f64) -> Outcome {
        let mut cohorts = [Cohort { pods, speed: 1.0, waiting: 0.0 }];
        let retries = &mut Retries::default();
        queue::advance(&self.service, &mut cohorts, retries, offered, downstream, seconds)
    }

    fn keeps(&self, outcome: &Outcome) -> bool {
        !self.slo.is_broken_by(outcome.p99_seconds, outcome.error_ratio())
    }
}

/// The least number from 1 to `most` that holds, where every number above one that holds does;
/// sought outwards from a guess, then by halving.
fn least(holds: impl Fn(u32) -> bool, guess: u32, most: u32) -> Option<u32> {
    let guess = guess.clamp(1, most);
    // `low` does not hold (0 never does), `high` does.
    let (mut low, mut high);
    let mut step = 1;
    if holds(guess) {
        (low, high) = (guess.saturating_sub(step), guess);
        while low > 0 && holds(low) {
            step *= 2;
            (low, high) = (low.saturating_sub(step), low);
        }
    } else {
        if guess == most {
            return None;
        }
        (low, high) = (guess, (guess + step).min(most));
        while !holds(high) {
            if high == most {
                return None;
            }
            step *= 2;
            (low, high) = (high, high.saturating_add(step).min(most));
        }
    }
    while high - low > 1 {
        let middle = u32::midpoint(low, high);
        if holds(middle) { high = middle } else { low = middle }
    }
    Some(high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_is_found_from_any_guess() {
        for limit in 1..40 {
            for guess in 0..60 {
                assert_eq!(least(|number| number >= limit, guess, 50), Some(limit));
            }
        }
        assert_eq!(least(|number| number >= 51, 7, 50), None);
        assert_eq!(least(|_| false, 50, 50), None);
        assert_eq!(least(|number| number >= 50, 1, 50), Some(50));
    }
}
