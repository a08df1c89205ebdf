//! Turns observations into a proposal: replicas per app and shares per domain. Pure.
//!
//! A policy may ask for anything; `safety` has the last word.

pub mod budget;
pub mod hirl;
pub mod hpa;
mod proposal;
pub mod rules;
mod stabiliser;

use crate::cluster::{Snapshot, Timestamp};
use crate::observation::Observation;

pub use proposal::{AppProposal, Proposal, Reason, Reasons};
pub use rules::Rules;
pub use stabiliser::Stabiliser;

/// Something that plans: the rule, or the learned hierarchy on top of it.
pub trait Policy: Send {
    /// What it asks for at `now`, in the order of the snapshot's catalog.
    fn propose(
        &mut self,
        snapshot: &Snapshot,
        observation: &Observation,
        now: Timestamp,
    ) -> Proposal;
}
