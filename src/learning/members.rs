//! What is trained on: members of the scenario families, by number.

use std::sync::Arc;

use crate::simulation::scenario::{Scenario, Shift, families};
use crate::simulation::{Foresight, Seed, Space};

/// A scenario, the seed of its run, and what is forecast in it.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its level, 1 to 8.
    pub level: u8,
    /// Its number within level and space.
    pub number: u64,
    /// The scenario.
    pub scenario: Arc<Scenario>,
    /// The seed of the run.
    pub seed: Seed,
    /// What is forecast; the same in every run of it.
    pub foresight: Arc<Foresight>,
}

/// Of so many members to learn from one has no forecasts, and one wrong ones: who never missed them does not know
/// what to do without.
const TROUBLED: u64 = 12;

/// Which of them has none, and which wrong ones.
const UNLED: u64 = 3;
const MISLED: u64 = 7;

/// Of so many members one is six times as large: sizes from a dozen apps of a team to those of a bank.
const LARGE: u64 = 3;

/// What the wrong ones are multiplied by.
const BIAS: f64 = 2.0;

/// Whether a member to learn from with this number has forecasts that are as they should be.
#[must_use]
pub const fn is_usual(number: u64) -> bool {
    !matches!(number % TROUBLED, UNLED | MISLED)
}

/// Whether the member with this number is one of the large ones.
#[must_use]
pub const fn is_large(number: u64) -> bool {
    number % LARGE == 1
}

/// The member of a level with this number in a space, of its size; among those to learn from some have no forecasts,
/// or wrong ones. `Err` is one sentence.
pub fn member(space: Space, level: u8, number: u64) -> Result<Member, String> {
    in_world(space, level, number, is_large(number).then_some(Shift::Size))
}

/// The same in another world. What a shift does to forecasts is left out. `Err` is one sentence.
pub fn in_world(
    space: Space,
    level: u8,
    number: u64,
    shift: Option<Shift>,
) -> Result<Member, String> {
    let seed = Seed::of(space, number);
    let mut scenario = families::generate(level, seed).map_err(|error| error.to_string())?;
    if let Some(shift) = shift {
        shift.apply(&mut scenario, seed);
    }
    let scenario = Arc::new(scenario);
    let whole = Foresight::whole(&scenario, seed)?;
    let foresight = match number % TROUBLED {
        UNLED if space == Space::Training => Arc::new(Foresight::none()),
        MISLED if space == Space::Training => Arc::new(whole.biased(BIAS)),
        _ => whole,
    };
    Ok(Member { level, number, scenario, seed, foresight })
}
