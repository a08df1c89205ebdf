//! Answers kube-scheduler: the extender protocol over mutual TLS, from the placement ledger.

mod endpoint_slice;
mod gates;
mod pace;
#[cfg(test)]
mod played;
mod reclaim;

pub use endpoint_slice::{Endpoints, keep};
pub use gates::Gatekeeper;
pub use reclaim::Reclaimer;
