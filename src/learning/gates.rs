//! What the stages of a training must reach: read from a file that is written before the run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::episode::Totals;
use crate::simulation::scenario::Shift;

/// The file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Gates {
    /// The first and the last number of the members of each level, in the space of gates.
    pub members: [u64; 2],
    /// The levels.
    pub levels: Vec<u8>,
    /// Worlds in which the limits must be kept as well, each by itself.
    #[serde(default)]
    pub worlds: Vec<ShiftedWorld>,
    /// By the name of the stage: limits as multiples of the rule's.
    pub stages: BTreeMap<String, Limits>,
    /// Goals of the whole, by what it is compared with: written down here, compared by whoever evaluates.
    pub goals: BTreeMap<String, BTreeMap<String, f64>>,
}

/// A world that differs from that of the levels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ShiftedWorld {
    /// The name of a [`Shift`].
    pub shift: String,
    /// The first and the last number of its members of each level.
    pub members: [u64; 2],
}

/// A world, unshifted or shifted, and the first and the last number of its members of each level.
pub type Place = (Option<Shift>, [u64; 2]);

/// The most that a stage may have, as multiples of the rule's on the same members.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Limits {
    /// App-minutes in breach, with the weights of the domains.
    pub weighted_breach: f64,
    /// Core-hours of the nodes.
    pub cost: f64,
    /// Priority inversions.
    pub inversions: f64,
}

/// What a stage has reached of one limit.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reached {
    /// Of what.
    pub measure: &'static str,
    /// As a multiple of the rule's.
    pub found: f64,
    /// The most that it may be.
    pub limit: f64,
    /// Whether it is.
    pub passed: bool,
}

impl Gates {
    /// The world as it is, and the others, each with its members. `Err` is one sentence.
    pub fn worlds(&self) -> Result<Vec<Place>, String> {
        let others = self.worlds.iter().map(|it| Ok((Some(it.shift.parse()?), it.members)));
        std::iter::once(Ok((None, self.members))).chain(others).collect()
    }

    /// One sentence that says what is wrong, if anything is.
    pub fn validate(&self) -> Result<(), String> {
        for (_, [first, last]) in self.worlds()? {
            if first > last {
                return Err(format!(
                    "members go from {first} to {last}: the first must come first"
                ));
            }
        }
        if self.levels.is_empty() {
            return Err("the gates name no level".to_owned());
        }
        let all = self.stages.iter().flat_map(|(stage, limits)| {
            let Limits { weighted_breach, cost, inversions } = *limits;
            [weighted_breach, cost, inversions].map(|limit| (stage, limit))
        });
        match all.into_iter().find(|(_, limit)| !(*limit >= 0.0 && limit.is_finite())) {
            Some((stage, limit)) => Err(format!("a limit of {stage} is {limit}")),
            None => Ok(()),
        }
    }
}

impl Limits {
    /// Against these totals of a stage and of the rule. What nobody had is reached.
    #[must_use]
    pub fn check(&self, own: &Totals, rule: &Totals) -> Vec<Reached> {
        let measures = [
            ("weightedBreach", own.weighted_breach, rule.weighted_breach, self.weighted_breach),
            ("cost", own.core_hours, rule.core_hours, self.cost),
            ("inversions", own.inversions, rule.inversions, self.inversions),
        ];
        let reached = |(measure, own, rule, limit)| {
            let found = if own == 0.0 { 0.0 } else { own / rule };
            Reached { measure, found, limit, passed: found <= limit }
        };
        measures.into_iter().map(reached).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_multiple_of_the_rules_and_what_nobody_had_is_reached() {
        let limits = Limits { weighted_breach: 0.9, cost: 1.0, inversions: 1.0 };
        let own = Totals { weighted_breach: 95.0, core_hours: 99.0, ..Totals::default() };
        let rule = Totals { weighted_breach: 100.0, core_hours: 100.0, ..Totals::default() };
        let reached = limits.check(&own, &rule);
        let passed: Vec<bool> = reached.iter().map(|one| one.passed).collect();
        assert_eq!(passed, [false, true, true]);
        assert!((reached[0].found - 0.95).abs() < 1e-9);
        let some = Totals { inversions: 1.0, ..own };
        assert!(!limits.check(&some, &rule)[2].passed, "any is more than none");
    }
}
