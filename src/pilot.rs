//! Turns a snapshot into a decision. Pure: no I/O, no clock, no global randomness, so that
//! whatever serves, simulates, evaluates or replays calls this one function.

use crate::cluster::{Freshness, Snapshot, Timestamp};
use crate::observation::{self, Observer};
use crate::policy::Policy;
use crate::safety::{self, Decision, Shield};

/// Observe, propose, review: with the memory that each needs.
pub struct Pilot {
    observer: Observer,
    policy: Box<dyn Policy>,
    shield: Shield,
    epoch: u64,
    sequence: u64,
}

impl std::fmt::Debug for Pilot {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Pilot").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

impl Pilot {
    /// A pilot without memory. Its decisions carry `epoch` and count up from sequence 1.
    #[must_use]
    pub fn new(
        observation: observation::Settings,
        freshness: Freshness,
        policy: Box<dyn Policy>,
        safety: safety::Settings,
        epoch: u64,
    ) -> Self {
        let observer = Observer::new(observation, freshness);
        Self { observer, policy, shield: Shield::new(safety), epoch, sequence: 0 }
    }

    /// Takes over from another decider: what it last published is held where evidence is missing.
    pub fn resume(&mut self, decision: &Decision) {
        self.shield.resume(decision);
    }

    /// What every app should have at `now`, given the snapshot.
    pub fn decide(&mut self, snapshot: &Snapshot, now: Timestamp) -> Decision {
        let observation = self.observer.observe(snapshot, now);
        let proposal = self.policy.propose(snapshot, &observation, now);
        self.sequence += 1;
        let number = (self.epoch, self.sequence);
        self.shield.review(snapshot, &observation, &proposal, number, now)
    }
}
