//! How new nodes come: the batching of a Karpenter-like provisioner, and the cloud that launches
//! what was asked for, in its own time.
//!
//! Which nodes to ask for is decided elsewhere, from the pods that fit nowhere.

mod batch;
mod cloud;

pub use batch::Batch;
pub use cloud::{Arrival, Cloud, PoolState};

#[cfg(test)]
mod tests;
