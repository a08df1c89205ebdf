//! The last word: every proposal passes here before it is published. Pure.

mod decision;
mod shares;
mod shield;
pub mod tolerance;

pub use crate::policy::{Reason, Reasons};
pub use decision::{AppDecision, Decision, DomainDecision, Evidence, Rung};
pub use shield::{Settings, Shield};
