//! What is trained on: members of the scenario families, by number.

use std::sync::Arc;

use crate::simulation::scenario::{Scenario, Shift, families, multiply};
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

/// What the wrong ones are multiplied by.
const BIAS: f64 = 2.0;

/// What a member is like: what is learned from a dozen apps of a team must hold for those of a bank.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum World {
    /// As its family has it.
    Usual,
    /// Six times as large apps.
    Large,
    /// More apps: of most domains only a part has a step of its own.
    Many,
}

/// Apps of [`World::Many`], about: a fifth of the 1,550 of the whole system, and of its time.
const MANY: f64 = 320.0;

impl World {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Usual, Self::Large, Self::Many];

    /// That of the member with this number: every third is large, every sixth has many apps.
    #[must_use]
    pub const fn of(number: u64) -> Self {
        match number % 6 {
            1 | 4 => Self::Large,
            5 => Self::Many,
            _ => Self::Usual,
        }
    }

    fn apply(self, scenario: &mut Scenario, seed: Seed) {
        match self {
            Self::Usual => {}
            Self::Large => Shift::Size.apply(scenario, seed),
            Self::Many => multiply(scenario, MANY),
        }
    }
}

/// Whether a member to learn from with this number has forecasts that are as they should be.
#[must_use]
pub const fn is_usual(number: u64) -> bool {
    !matches!(number % TROUBLED, UNLED | MISLED)
}

/// The member of a level with this number in a space, in its world; among those to learn from some have no forecasts,
/// or wrong ones. `Err` is one sentence.
pub fn member(space: Space, level: u8, number: u64) -> Result<Member, String> {
    made(space, level, number, |scenario, seed| World::of(number).apply(scenario, seed))
}

/// The same in a shifted world instead. What a shift does to forecasts is left out. `Err` is one sentence.
pub fn shifted(
    space: Space,
    level: u8,
    number: u64,
    shift: Option<Shift>,
) -> Result<Member, String> {
    made(space, level, number, |scenario, seed| {
        if let Some(shift) = shift {
            shift.apply(scenario, seed);
        }
    })
}

fn made(
    space: Space,
    level: u8,
    number: u64,
    change: impl FnOnce(&mut Scenario, Seed),
) -> Result<Member, String> {
    let seed = Seed::of(space, number);
    let mut scenario = families::generate(level, seed).map_err(|error| error.to_string())?;
    change(&mut scenario, seed);
    let scenario = Arc::new(scenario);
    let whole = Foresight::whole(&scenario, seed)?;
    let foresight = match number % TROUBLED {
        UNLED if space == Space::Training => Arc::new(Foresight::none()),
        MISLED if space == Space::Training => Arc::new(whole.biased(BIAS)),
        _ => whole,
    };
    Ok(Member { level, number, scenario, seed, foresight })
}
