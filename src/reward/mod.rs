//! What policies are paid for (`system.md` 2.4), term by term, and whether that is what we want.
//! Pure: everything is a function of a run's timeline.

mod commander;
mod course;
pub mod gap;
mod proactivity;
mod settings;
mod soldier;

use std::slice::ChunksExact;

use crate::simulation::{Row, Timeline};

pub use commander::{CommanderTerms, commander};
pub use course::{commander_course, soldier_course};
pub use settings::{Commander, Settings, Soldier};
pub use soldier::{SoldierTerms, soldier};

/// Time between two payments of the Commander, in seconds.
const MINUTE: f64 = 60.0;

/// Rows per minute. `Err` is one sentence: the timeline contradicts itself.
fn check(timeline: &Timeline) -> Result<usize, String> {
    let rows = (MINUTE / timeline.seconds).round();
    if !(1.0..=MINUTE).contains(&rows) || (rows * timeline.seconds - MINUTE).abs() > 1e-6 {
        return Err(format!("rows of {} s do not make up a minute", timeline.seconds));
    }
    let (domains, pools) = (timeline.domains.len(), timeline.pools.len());
    for (name, found, expected) in [
        ("classes", timeline.classes.len(), domains),
        ("weights", timeline.weights.len(), domains),
        ("sloErrorRatios", timeline.slo_error_ratios.len(), domains),
        ("floorShares", timeline.floor_shares.len(), domains),
        ("nodeCores", timeline.node_cores.len(), pools),
    ] {
        if found != expected {
            return Err(format!("the timeline has {found} {name} and needs {expected}"));
        }
    }
    for (index, row) in timeline.rows.iter().enumerate() {
        if row.domains.len() != domains || row.pools.len() != pools {
            return Err(format!(
                "row {} of the timeline has not {domains} domains and {pools} pools",
                index + 1
            ));
        }
    }
    Ok(rows as usize)
}

/// The rows of each whole minute, oldest first; the beginning of a minute at the end is left out.
fn minutes(timeline: &Timeline) -> Result<ChunksExact<'_, Row>, String> {
    Ok(timeline.rows.chunks_exact(check(timeline)?))
}

/// The mean of what is a number; 0 of nothing.
fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut count) = (0.0, 0.0);
    for value in values.filter(|value| value.is_finite()) {
        sum += value;
        count += 1.0;
    }
    if count > 0.0 { sum / count } else { 0.0 }
}

#[cfg(test)]
mod tests;
