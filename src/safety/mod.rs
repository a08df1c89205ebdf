//! The last word: every proposal passes here before it is published. Pure.

mod decision;

pub use decision::{AppDecision, Decision, DomainDecision, Evidence, Reason, Rung};
