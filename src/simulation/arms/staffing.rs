//! How many pods each app needs to keep its promise, by the queue model.

use crate::cluster::Slo;
use crate::simulation::calls::Calls;
use crate::simulation::queue::{self, Cohort, Downstream, Outcome, Retries, Service};
use crate::simulation::scenario::Scenario;

/// So many pods that nobody waits.
const IDLE: u32 = 1_000_000_000;

/// What callers find at the apps that they call inline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Callees {
    /// The pods that these need.
    Staffed,
    /// More pods than anybody could have.
    Idle,
}

/// Sizes apps, step by step.
#[derive(Debug, Clone)]
pub(super) struct Staffing {
    apps: Vec<Station>,
    calls: Calls,
    callees: Callees,
    /// How long what is offered keeps on, in seconds.
    seconds: f64,
    /// Pods of each app in the last step: where the search begins.
    last: Vec<u32>,
}

#[derive(Debug, Clone)]
struct Station {
    service: Service,
    /// What is promised, with the margin.
    slo: Slo,
    call_share: f64,
    most: u32,
}

impl Staffing {
    /// Sizes that keep this part of the promises for so many seconds of the same traffic: 1 keeps
    /// them just.
    pub(super) fn new(scenario: &Scenario, part: f64, callees: Callees, seconds: f64) -> Self {
        let calls = Calls::new(scenario);
        let mut weights = vec![0.0; scenario.domains.len()];
        for (domain, members) in calls.members.iter().enumerate() {
            weights[domain] = members.iter().map(|app| scenario.apps[*app].call_weight).sum();
        }
        let stations = scenario.apps.iter().map(|app| {
            let domain = scenario.domain(&app.domain).unwrap_or(0);
            let slo = scenario.domains[domain].to_domain().slo;
            Station {
                service: Service::of(app),
                slo: Slo {
                    p99_seconds: slo.p99_seconds * part,
                    error_ratio: slo.error_ratio * part,
                },
                call_share: if weights[domain] > 0.0 {
                    app.call_weight / weights[domain]
                } else {
                    0.0
                },
                most: app.hpa.max_replicas.max(app.hpa.min_replicas).max(1),
            }
        });
        let apps: Vec<Station> = stations.collect();
        Self { last: vec![1; apps.len()], apps, calls, callees, seconds }
    }

    /// The least pods with which each app keeps its promise, beginning without a queue, when `offered` requests per second arrive, all at full speed; `None` where not even the
    /// HPA's upper bound suffices. At least 1: an app without a ready pod is in breach.
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
                let seen = outcome(match self.callees {
                    Callees::Staffed => self.last[app],
                    Callees::Idle => IDLE,
                });
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
        // Without traffic the percentile is NaN: no promise is broken.
        let slow = outcome.p99_seconds > self.slo.p99_seconds;
        !slow && outcome.error_ratio() <= self.slo.error_ratio
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
