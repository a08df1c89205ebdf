//! One cluster in memory: the same seed, the same bytes. Pure: no I/O, no clock, and every random
//! number comes from the seed tree.

pub mod counts;
pub mod hpa;
pub mod provisioner;
pub mod queue;
pub mod scenario;
mod seed;
pub mod startup;
pub mod traffic;

pub use seed::{Draw, Seed, Space};
pub use traffic::Traffic;
