//! One cluster in memory: the same seed, the same bytes. Pure: no I/O, no clock, and every random
//! number comes from the seed tree.

mod actuation;
pub mod arms;
mod broken;
mod calls;
pub mod counts;
mod engine;
mod foresight;
pub mod hpa;
pub mod provisioner;
pub mod queue;
mod reversals;
mod run;
pub mod scenario;
pub mod startup;
pub mod traffic;

pub use crate::seed::{Draw, Seed, Space};
pub use actuation::{Actuation, Metric};
pub use engine::Simulation;
pub use foresight::Foresight;
pub use reversals::Reversals;
pub use run::{DomainRow, GroupRow, PoolRow, Row, Run, Summary, Timeline, simulate, simulate_with};
pub use traffic::Traffic;
