//! One cluster in memory: the same seed, the same bytes. Pure: no I/O, no clock, and every random
//! number comes from the seed tree.

mod actuation;
pub mod counts;
pub mod hpa;
pub mod provisioner;
pub mod queue;
mod reversals;
mod run;
pub mod scenario;
mod seed;
pub mod startup;
pub mod traffic;

pub use actuation::{Actuation, Metric};
pub use reversals::Reversals;
pub use run::{DomainRow, GroupRow, PoolRow, Row, Run, Summary, Timeline};
pub use seed::{Draw, Seed, Space};
pub use traffic::Traffic;
