//! Made-up traffic to learn from: five domains of a bank, services of many kinds, and one history that
//! is planted to catch reports that only look at aggregates. Pure: a seed means the same numbers on every
//! machine, except for the last bits of `exp` and `ln`, which the standard library leaves open.

#![expect(clippy::cast_possible_wrap, reason = "places in a run of minutes are far below 2^63")]

mod bank;
mod chance;
mod course;
mod domains;
mod eventful;
mod kind;
mod local;
mod plan;
mod planted;
mod services;
mod shape;
#[cfg(test)]
mod tests;
mod trouble;
mod zones;

pub use bank::bank;
pub use kind::Kind;
pub use planted::planted;
pub use services::services;

use super::{Calendar, DAY, Event, EventKind, Flags, History, Minute, Series};
