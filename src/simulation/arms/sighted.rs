//! Knows exactly what is offered now and for some seconds to come, and nothing beyond: how much of the oracle's
//! lead is foresight, and how much is only to know what is so.
//!
//! Every app has the pods that its CPU target asks for at the highest offer of the last minutes and the known
//! seconds ahead, times a margin against what is not known. Unlike the oracle it must pay for that margin all the time.

use std::collections::VecDeque;

use super::oracle::{PACKING, again, asking};
use crate::cluster::{Snapshot, Timestamp};
use crate::observation::Observation;
use crate::policy::{Policy, Proposal};
use crate::simulation::scenario::{AppSpec, Scenario};
use crate::simulation::{Seed, Traffic};

/// A pod that was needed within the last so many seconds stays. Assumed: the Kubernetes default of the HPA's
/// stabilisation on the way down.
const KEPT: f64 = 300.0;

/// Part of the shared CPU that is kept free on real nodes: as the rule's default.
const WARM: f64 = 0.04;

/// How far it sees, and what it adds for what it does not see.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sight {
    /// Seconds ahead; 0: the present alone, which no telemetry gives without a delay.
    pub seconds: f64,
    /// Pods, as a multiple of what the highest known offer asks for.
    pub margin: f64,
}

impl Sight {
    /// The longest that can be asked for, in seconds.
    const LONGEST: f64 = 3600.0;

    /// Of a policy's name, `sighted-SECONDS` or `sighted-SECONDS@MARGIN`.
    #[must_use]
    pub fn of(policy: &str) -> Option<Self> {
        let text = policy.strip_prefix("sighted-")?;
        let (seconds, margin) = text.split_once('@').unwrap_or((text, "1"));
        let (seconds, margin) = (seconds.parse().ok()?, margin.parse().ok()?);
        let sound = (0.0..=Self::LONGEST).contains(&seconds) && (0.1..=10.0).contains(&margin);
        sound.then_some(Self { seconds, margin })
    }
}

/// The planner.
#[derive(Debug, Clone)]
pub struct Sighted {
    sight: Sight,
    start: Timestamp,
    step_seconds: f64,
    traffic: Traffic,
    apps: Vec<AppSpec>,
    /// Requests per second that each app is offered, from step `first` on.
    first: usize,
    offered: VecDeque<Vec<f64>>,
}

impl Sighted {
    /// Of the runs of this scenario and seed.
    #[must_use]
    pub fn new(scenario: &Scenario, seed: Seed, sight: Sight) -> Self {
        Self {
            sight,
            start: scenario.start,
            step_seconds: scenario.step_seconds,
            traffic: Traffic::of_run(scenario, seed),
            apps: scenario.apps.clone(),
            first: 0,
            offered: VecDeque::new(),
        }
    }

    /// Looks as far as it sees from a step, and forgets what is past.
    fn look(&mut self, now: usize) {
        let steps = |seconds: f64| (seconds / self.step_seconds).round() as usize;
        let (begin, last) = (now.saturating_sub(steps(KEPT)), now + steps(self.sight.seconds));
        while self.first + self.offered.len() <= last {
            let at = (self.first + self.offered.len()) as f64 * self.step_seconds;
            let mut rps = vec![0.0; self.apps.len()];
            self.traffic.offered(at, self.step_seconds, &mut rps);
            self.offered.push_back(rps);
        }
        while self.first < begin {
            self.offered.pop_front();
            self.first += 1;
        }
    }
}

impl Policy for Sighted {
    fn propose(&mut self, snapshot: &Snapshot, seen: &Observation, now: Timestamp) -> Proposal {
        let step = (now.seconds_since(self.start) / self.step_seconds).round().max(0.0) as usize;
        self.look(step);
        let present = &self.offered[step - self.first];
        let pods = seen.apps.iter().enumerate().map(|(index, seen)| {
            let most = self.offered.iter().map(|rps| rps[index]).fold(0.0, f64::max);
            let pods = self.apps[index].replicas_for(most * self.sight.margin);
            (pods * again(seen, present[index])).ceil()
        });
        let (proposal, cores) = asking(snapshot, pods);
        let soon = (cores.asked * PACKING - cores.standing).max(0.0);
        let warm_cores = soon + WARM * snapshot.shared_cpu().max(1e-9);
        Proposal { warm_cores, ..proposal }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_how_far_and_with_what_margin() {
        assert_eq!(Sight::of("sighted-180"), Some(Sight { seconds: 180.0, margin: 1.0 }));
        assert_eq!(Sight::of("sighted-0@1.15"), Some(Sight { seconds: 0.0, margin: 1.15 }));
        for nonsense in
            ["sighted", "sighted-", "sighted--5", "sighted-60@0", "sighted-NaN", "oracle"]
        {
            assert_eq!(Sight::of(nonsense), None, "{nonsense}");
        }
    }
}
