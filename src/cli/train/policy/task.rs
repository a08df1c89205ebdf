//! What the episodes of a run are, whoever makes them: the trainer, or workers beside it.

use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use super::Stage;
use crate::cli::jobs;
use crate::learning::{
    Circumstances, Episode, Member, Settings, Twin, episode, is_usual, member, twin,
};
use crate::policy::hirl::Model;
use crate::seed::{Seed, Space};
use crate::simulation::arms::{self, Arm, Planning};
use crate::simulation::scenario::families;

/// Everything that episodes depend on beside the weights, the price and their number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Task {
    /// Number of the training seed.
    pub(super) seed: u64,
    /// Name of the rule beneath.
    pub(super) rule: String,
    /// Who learns.
    pub(super) stage: Stage,
    /// Levels that episodes are of.
    pub(super) levels: Vec<u8>,
    /// Members of each level.
    pub(super) members: u64,
    /// Episodes of an iteration.
    pub(super) episodes: u64,
    /// Numbers of the training.
    pub(super) settings: Settings,
}

impl Task {
    /// The rule of that name, if this is a task that can be done. `Err` is one sentence.
    pub(super) fn arm(&self) -> anyhow::Result<Arm> {
        self.settings.validate().map_err(anyhow::Error::msg)?;
        if let Some(level) = self.levels.iter().find(|level| !families::LEVELS.contains(level)) {
            bail!("there are levels 1 to 8, and {level} is none");
        }
        if self.levels.is_empty() || self.members == 0 || self.episodes == 0 {
            bail!("there must be at least one level, one member of each and one episode");
        }
        let rules = |arm: &Arm| {
            let planner = arm.planner.as_ref();
            planner.is_some_and(|planner| matches!(planner.policy, Planning::Rules(_)))
        };
        let arm = arms::arm(&self.rule).filter(rules);
        arm.with_context(|| format!("there is no rule {:?}", self.rule))
    }

    /// The seed of an iteration.
    pub(super) fn seed(&self, iteration: u64) -> Seed {
        Seed::of(Space::Training, self.seed).child("iteration").nth(iteration)
    }
}

/// Level and number of so many members of each level.
pub(super) fn numbers(levels: &[u8], each: u64) -> Vec<(u8, u64)> {
    levels.iter().flat_map(|level| (0..each).map(move |number| (*level, number))).collect()
}

/// Members of every level with what the rule is paid in them, each made when it is first asked for.
pub(super) struct Roster {
    pub(super) arm: Arm,
    settings: Settings,
    numbers: Vec<(u8, u64)>,
    made: Vec<OnceLock<(Member, Twin)>>,
}

impl Roster {
    /// Of a task, none made yet.
    pub(super) fn new(task: &Task) -> anyhow::Result<Self> {
        let numbers = numbers(&task.levels, task.members);
        Ok(Self {
            arm: task.arm()?,
            settings: task.settings.clone(),
            made: numbers.iter().map(|_| OnceLock::new()).collect(),
            numbers,
        })
    }

    /// The same with all of them made, and how far that is on standard error.
    pub(super) fn whole(task: &Task, threads: Option<NonZeroUsize>) -> anyhow::Result<Self> {
        let roster = Self::new(task)?;
        let places: Vec<usize> = (0..roster.len()).collect();
        jobs::all(&places, threads, |at| {
            roster.get(*at)?;
            Ok(jobs::Done { what: (), reused: false })
        })?;
        Ok(roster)
    }

    pub(super) const fn len(&self) -> usize {
        self.numbers.len()
    }

    /// The places of those whose forecasts are as they should be; of all where none are.
    pub(super) fn usual(&self) -> Vec<usize> {
        let is_usual = |at: &usize| is_usual(self.numbers[*at].1);
        let usual: Vec<usize> = (0..self.len()).filter(is_usual).collect();
        if usual.is_empty() { (0..self.len()).collect() } else { usual }
    }

    /// The member at a place, and what the rule is paid in it.
    pub(super) fn get(&self, at: usize) -> anyhow::Result<&(Member, Twin)> {
        if let Some(made) = self.made[at].get() {
            return Ok(made);
        }
        let (level, number) = self.numbers[at];
        let member = member(Space::Training, level, number).map_err(anyhow::Error::msg)?;
        let twin = twin(&member, &self.arm, &self.settings).map_err(anyhow::Error::msg)?;
        Ok(self.made[at].get_or_init(|| (member, twin)))
    }
}

/// One iteration of a task.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Iteration {
    /// Its number, from 0.
    pub(super) number: u64,
    /// What a core-hour costs, in minutes of breach.
    pub(super) price: f64,
}

/// An episode with its number within the iteration, and the place of its member.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Numbered {
    pub(super) number: u64,
    pub(super) at: u64,
    pub(super) episode: Episode,
}

/// The episodes with these numbers, in any order. Whoever makes them, on however many threads: a number means the
/// same episode.
pub(super) fn made(
    (task, roster): (&Task, &Roster),
    model: &Arc<Model>,
    iteration: Iteration,
    numbers: &[u64],
    threads: Option<NonZeroUsize>,
) -> anyhow::Result<Vec<Numbered>> {
    let seed = task.seed(iteration.number);
    let place = seed.child("member");
    jobs::quietly(numbers, threads, |number| {
        let at = place.draw(*number).below(roster.len());
        let (member, twin) = roster.get(at)?;
        let explore = task.stage.explore(*number);
        let own = seed.child("episode").nth(*number);
        let circumstances = Circumstances {
            price: iteration.price,
            is_taught: iteration.number < task.settings.teacher.iterations,
            seed: own,
        };
        let episode =
            episode((member, twin), &roster.arm, model, explore, &task.settings, circumstances);
        let episode = episode.map_err(anyhow::Error::msg)?;
        Ok(Numbered { number: *number, at: at as u64, episode })
    })
}
