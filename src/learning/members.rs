//! What is trained on: members of the scenario families, by number.

use std::sync::Arc;

use crate::simulation::scenario::{Scenario, families};
use crate::simulation::{Seed, Space};

/// A scenario and the seed of its run.
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
}

/// The member of a level with this number in a space. `Err` is one sentence.
pub fn member(space: Space, level: u8, number: u64) -> Result<Member, String> {
    let seed = Seed::of(space, number);
    let scenario = families::generate(level, seed).map_err(|error| error.to_string())?;
    Ok(Member { level, number, scenario: Arc::new(scenario), seed })
}
