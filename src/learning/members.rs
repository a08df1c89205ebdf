//! What is trained on: members of the scenario families, by number.

use std::sync::Arc;

use crate::simulation::scenario::{Scenario, families};
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

/// What the wrong ones are multiplied by.
const BIAS: f64 = 2.0;

/// The member of a level with this number in a space. `Err` is one sentence.
pub fn member(space: Space, level: u8, number: u64) -> Result<Member, String> {
    let seed = Seed::of(space, number);
    let scenario = families::generate(level, seed).map_err(|error| error.to_string())?;
    let scenario = Arc::new(scenario);
    let whole = Foresight::whole(&scenario, seed)?;
    let foresight = match number % TROUBLED {
        3 if space == Space::Training => Arc::new(Foresight::none()),
        7 if space == Space::Training => Arc::new(whole.biased(BIAS)),
        _ => whole,
    };
    Ok(Member { level, number, scenario, seed, foresight })
}
