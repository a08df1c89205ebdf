//! From many runs to one table of figures: policies beside each other, over the same scenarios
//! and seeds.

mod group;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::measures::{MEASURES, weighted_breach_minutes};
use super::pareto;
use super::statistics::Interval;
use crate::simulation::{Run, Seed};

use group::Group;

/// The measure that the share of the closed gap is about, and the vertical axis of the front.
pub(super) const BREACHES: &str = "weightedBreachMinutes";
/// The horizontal axis of the front.
pub(super) const COST: &str = "paidCoreHours";
/// The measure that is split by domain and by hour.
pub(super) const SPLIT: &str = "breachMinutes";

/// Part of the runs, or part of what they counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "by", content = "name", rename_all = "camelCase")]
pub enum Slice {
    /// Everything.
    All,
    /// The scenarios of one level.
    Level(u8),
    /// One scenario, by its name.
    Scenario(String),
    /// One domain, by its name: breach minutes only.
    Domain(String),
    /// One hour of the day, in UTC: breach minutes only.
    Hour(usize),
}

/// A scenario of the comparison.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Case {
    /// Its level, 1 to 8.
    pub level: u8,
    /// Its name.
    pub scenario: String,
}

/// One measure of one policy in one slice.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Figure {
    /// Which runs.
    pub slice: Slice,
    /// Name of the [`Measure`](super::Measure).
    pub measure: &'static str,
    /// Name of the policy.
    pub policy: String,
    /// How many of the runs have a value.
    pub runs: usize,
    /// Mean over them; NaN (in JSON null) without any.
    pub mean: f64,
    /// Its 95 % interval, where there are several runs of a scenario.
    pub interval: Option<Interval>,
    /// Mean of the middle half of the runs.
    pub interquartile_mean: f64,
    /// The run in which the policy does worst against the baseline. For the baseline itself: the
    /// run with the highest value.
    pub worst: Option<Worst>,
    /// Against the baseline; `None` for the baseline itself.
    pub difference: Option<Difference>,
}

/// The worst of several runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Worst {
    /// Its scenario.
    pub scenario: String,
    /// Its seed.
    pub seed: u64,
    /// Its value.
    pub value: f64,
}

/// A policy less the baseline, run by run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// Mean of the differences.
    pub mean: f64,
    /// Its 95 % interval.
    pub interval: Option<Interval>,
    /// Mean of the middle half of the differences.
    pub interquartile_mean: f64,
    /// The sum over all runs against that of the baseline: -0.4 is 40 % less. NaN (in JSON null)
    /// where the baseline has 0.
    pub relative: f64,
    /// Its 95 % interval.
    pub relative_interval: Option<Interval>,
}

/// How far a policy comes from the baseline to the oracle, in weighted breach minutes.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GapClosed {
    /// Which runs.
    pub slice: Slice,
    /// Name of the policy.
    pub policy: String,
    /// What the policy saves over what the oracle saves, sums over all runs: 0 is the baseline, 1
    /// the oracle, less than 0 is worse than the baseline.
    pub share: f64,
    /// Its 95 % interval.
    pub interval: Option<Interval>,
    /// Mean of the middle half of the same share run by run, each over the mean gap of its
    /// scenario.
    pub interquartile_mean: f64,
}

/// All figures of all policies.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Comparison {
    /// What the others are compared with.
    pub baseline: String,
    /// The policy that knows the future, where it took part.
    pub oracle: Option<String>,
    /// The policies, the baseline first.
    pub policies: Vec<String>,
    /// The scenarios, by level and name.
    pub cases: Vec<Case>,
    /// The seeds of every scenario.
    pub seeds: Vec<u64>,
    /// The figures.
    pub figures: Vec<Figure>,
    /// The shares of the gap, where there is an oracle that saves something.
    pub gaps: Vec<GapClosed>,
    /// Policies that no other one beats in weighted breach minutes and cost over all runs, the
    /// cheapest first.
    pub front: Vec<String>,
}

/// How often the bootstrap draws: the ends of an interval lie on its 50th and 1950th figure.
/// Fewer in tests, which run without optimisation.
const DRAWINGS: u64 = if cfg!(test) { 200 } else { 2000 };

impl Comparison {
    /// Compares the policies. Every policy needs one run of every scenario with every seed: `Err`
    /// says which is missing. `seed` draws the bootstrap.
    pub fn new(
        runs: &[Run],
        policies: &[String],
        baseline: &str,
        oracle: Option<&str>,
        seed: Seed,
    ) -> Result<Self, String> {
        let mut policies = policies.to_vec();
        policies.sort_by_key(|policy| policy != baseline);
        let case = |run: &Run| Case { level: run.level, scenario: run.scenario.clone() };
        let cases: Vec<Case> = runs.iter().map(case).collect::<BTreeSet<_>>().into_iter().collect();
        let seeds: Vec<u64> =
            runs.iter().map(|run| run.seed).collect::<BTreeSet<_>>().into_iter().collect();
        let mut comparison = Self {
            baseline: baseline.to_owned(),
            oracle: oracle.map(str::to_owned).filter(|oracle| policies.contains(oracle)),
            policies,
            cases,
            seeds,
            figures: Vec::new(),
            gaps: Vec::new(),
            front: Vec::new(),
        };
        if comparison.policies.first().is_none_or(|first| first != baseline) {
            return Err(format!("there are no runs of {baseline:?} to compare with"));
        }
        (comparison.figures, comparison.gaps) = comparison.table(runs, seed)?;
        comparison.front = comparison.front_of(&Slice::All);
        Ok(comparison)
    }

    /// One figure, where there is one.
    #[must_use]
    pub fn figure(&self, slice: &Slice, measure: &str, policy: &str) -> Option<&Figure> {
        self.figures.iter().find(|figure| {
            figure.measure == measure && figure.policy == policy && figure.slice == *slice
        })
    }

    /// The policies that no other one beats in weighted breach minutes and cost, cheapest first.
    #[must_use]
    pub fn front_of(&self, slice: &Slice) -> Vec<String> {
        let mean = |measure, policy: &String| {
            self.figure(slice, measure, policy).map_or(f64::NAN, |figure| figure.mean)
        };
        let point = |policy| [mean(COST, policy), mean(BREACHES, policy)];
        let points: Vec<[f64; 2]> = self.policies.iter().map(point).collect();
        pareto::front(&points).into_iter().map(|index| self.policies[index].clone()).collect()
    }

    /// The share of the gap that a policy closed, where there is one.
    #[must_use]
    pub fn gap(&self, slice: &Slice, policy: &str) -> Option<&GapClosed> {
        self.gaps.iter().find(|gap| gap.policy == policy && gap.slice == *slice)
    }

    fn table(&self, runs: &[Run], seed: Seed) -> Result<(Vec<Figure>, Vec<GapClosed>), String> {
        let by_key: BTreeMap<_, &Run> = runs
            .iter()
            .map(|run| ((run.policy.as_str(), run.scenario.as_str(), run.seed), run))
            .collect();
        let levels: BTreeSet<u8> = self.cases.iter().map(|case| case.level).collect();
        let names = self.cases.iter().map(|case| case.scenario.clone());
        let slices = std::iter::once(Slice::All)
            .chain(levels.into_iter().map(Slice::Level))
            .chain(names.map(Slice::Scenario));
        let (mut figures, mut gaps) = (Vec::new(), Vec::new());
        for slice in slices {
            let inside = |case: &&Case| match &slice {
                Slice::Level(level) => case.level == *level,
                Slice::Scenario(name) => case.scenario == *name,
                _ => true,
            };
            let scenarios: Vec<&str> =
                self.cases.iter().filter(inside).map(|case| case.scenario.as_str()).collect();
            let group =
                Group::new(&by_key, &self.policies, &scenarios, &self.seeds, DRAWINGS, seed)?;
            for measure in &MEASURES {
                figures.extend(group.figures(&slice, measure.name, measure.of));
            }
            if let Some(oracle) = &self.oracle {
                gaps.extend(group.gaps(&slice, oracle, weighted_breach_minutes));
            }
            if slice == Slice::All {
                figures.extend(split(&group, runs));
            }
        }
        Ok((figures, gaps))
    }
}

/// Breach minutes by domain and by hour.
fn split(group: &Group<'_>, runs: &[Run]) -> Vec<Figure> {
    let mut figures = Vec::new();
    let domains: BTreeSet<&String> = runs.iter().flat_map(|run| &run.timeline.domains).collect();
    for domain in domains {
        let minutes = |run: &Run| {
            let index = run.timeline.domains.iter().position(|name| name == domain);
            let minutes = index.and_then(|index| run.summary.domain_breach_minutes.get(index));
            minutes.copied().unwrap_or(f64::NAN)
        };
        figures.extend(group.figures(&Slice::Domain(domain.clone()), SPLIT, minutes));
    }
    for hour in 0..24 {
        let minutes =
            |run: &Run| run.summary.hour_breach_minutes.get(hour).copied().unwrap_or(f64::NAN);
        figures.extend(group.figures(&Slice::Hour(hour), SPLIT, minutes));
    }
    figures
}

#[cfg(test)]
mod tests;
