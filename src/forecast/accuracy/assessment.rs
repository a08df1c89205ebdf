//! Everything that is said of one series.

use serde::Serialize;

use super::{Measures, Skill, Verdict, Walk, exceedances, measures, skill, verdict};
use crate::forecast::calibration::{Group, HORIZONS, QUANTILES, horizon_minutes};
use crate::seed::Seed;

/// Everything that is said of one series.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Assessment {
    /// Each forecaster, in the order of the walk.
    pub forecasters: Vec<Judged>,
    /// The first forecasters, each against each other one, over all horizons and at each.
    pub skills: Vec<Compared>,
}

/// What is said of one forecaster.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judged {
    /// Its name.
    pub name: String,
    /// Losses and errors per horizon.
    pub measures: [Measures; HORIZONS],
    /// Exceedances by slice of the day and regime.
    pub coverage: Vec<GroupCoverage>,
    /// Whether they are right.
    pub verdict: Verdict,
}

/// Exceedances of a group at a horizon.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GroupCoverage {
    /// A slice, or "spike".
    pub group: String,
    /// Minutes ahead.
    pub horizon_minutes: i64,
    /// How many outcomes.
    pub outcomes: usize,
    /// Part of them above p10, p50, p80 and p90; NaN (null) without any.
    pub exceedance: [f64; QUANTILES],
}

/// The skill of one forecaster against another.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Compared {
    /// Whose.
    pub ours: String,
    /// Against whom.
    pub theirs: String,
    /// Minutes ahead; `None` over all horizons.
    pub horizon_minutes: Option<i64>,
    /// The skill; `None` without forecasts that both made.
    pub skill: Option<Skill>,
}

/// Says everything of a walk, with the skills of the first `judged` forecasters. The seed is that of the bootstrap.
#[must_use]
pub fn assess(walk: &Walk, judged: usize, seed: Seed) -> Assessment {
    let names = || walk.forecasters.iter().map(|forecaster| forecaster.name.clone()).enumerate();
    let said = |(at, name)| {
        let groups = exceedances(walk, at);
        let coverage = Group::all().flat_map(|group| {
            let of = |(horizon, counted): (usize, &super::Counted)| GroupCoverage {
                group: group.to_string(),
                horizon_minutes: horizon_minutes(horizon),
                outcomes: counted.outcomes,
                exceedance: std::array::from_fn(|quantile| counted.share(quantile)),
            };
            groups[group.index()].iter().enumerate().map(of).collect::<Vec<_>>()
        });
        Judged {
            name,
            measures: measures(walk, at),
            coverage: coverage.collect(),
            verdict: verdict(&groups, walk.every),
        }
    };
    let horizons = || [None].into_iter().chain((0..HORIZONS).map(Some));
    let mut skills = Vec::new();
    for (ours, our_name) in names().take(judged) {
        for (theirs, their_name) in names().filter(|(theirs, _)| *theirs != ours) {
            skills.extend(horizons().map(|horizon| Compared {
                ours: our_name.clone(),
                theirs: their_name.clone(),
                horizon_minutes: horizon.map(horizon_minutes),
                skill: skill(walk, ours, theirs, horizon, seed),
            }));
        }
    }
    Assessment { forecasters: names().map(said).collect(), skills }
}
