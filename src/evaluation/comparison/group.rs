//! Runs that are looked at together.

use std::collections::BTreeMap;
use std::ops::Range;

use super::{Difference, Figure, GapClosed, Slice, Worst};
use crate::evaluation::statistics::{Bootstrap, interquartile_mean, mean, paired_differences};
use crate::simulation::{Run, Seed};

/// A gap smaller than this part of the baseline's breaches is none: the share of it that a policy
/// closed would be noise. Ours.
const LEAST_GAP: f64 = 0.02;

/// The runs of every policy over the same scenarios and seeds, in the same order, so that equal
/// places are pairs.
pub(super) struct Group<'a> {
    policies: &'a [String],
    /// Per policy; the first is the baseline.
    runs: Vec<Vec<&'a Run>>,
    /// The places of each scenario.
    strata: Vec<Range<usize>>,
    bootstrap: Bootstrap,
}

impl<'a> Group<'a> {
    /// `Err` names the run that is missing.
    pub(super) fn new(
        by_key: &BTreeMap<(&str, &str, u64), &'a Run>,
        policies: &'a [String],
        scenarios: &[&str],
        seeds: &[u64],
        drawings: u64,
        seed: Seed,
    ) -> Result<Self, String> {
        let mut runs = Vec::new();
        for policy in policies {
            let mut of_policy = Vec::new();
            for scenario in scenarios {
                for seed in seeds {
                    let run = by_key.get(&(policy.as_str(), scenario, *seed));
                    let run = run.ok_or_else(|| {
                        format!("there is no run of {policy} through {scenario} with seed {seed}")
                    })?;
                    of_policy.push(*run);
                }
            }
            runs.push(of_policy);
        }
        let count = seeds.len();
        let strata: Vec<Range<usize>> =
            (0..scenarios.len()).map(|index| index * count..(index + 1) * count).collect();
        let bootstrap = Bootstrap::new(&strata, drawings, seed);
        Ok(Self { policies, runs, strata, bootstrap })
    }

    /// One measure of every policy; nothing where no run has a value.
    pub(super) fn figures(
        &self,
        slice: &Slice,
        measure: &'static str,
        of: impl Fn(&Run) -> f64,
    ) -> Vec<Figure> {
        let values: Vec<Vec<f64>> = self.values(of);
        let Some(baseline) = values.first() else { return Vec::new() };
        if values.iter().flatten().all(|value| value.is_nan()) {
            return Vec::new();
        }
        let policies = self.policies.iter().zip(&values).enumerate();
        policies
            .map(|(index, (policy, own))| {
                let differences = paired_differences(own, baseline);
                Figure {
                    slice: slice.clone(),
                    measure,
                    policy: policy.clone(),
                    runs: own.iter().filter(|value| !value.is_nan()).count(),
                    mean: mean(own.iter().copied()),
                    interval: self.bootstrap.interval(|places| mean_at(places, own)),
                    interquartile_mean: interquartile_mean(own.iter().copied()),
                    worst: self.worst(index, own, &differences),
                    difference: (index > 0).then(|| self.difference(own, baseline, &differences)),
                }
            })
            .collect()
    }

    fn values(&self, of: impl Fn(&Run) -> f64) -> Vec<Vec<f64>> {
        let values = |runs: &Vec<&Run>| runs.iter().map(|run| of(run)).collect();
        self.runs.iter().map(values).collect()
    }

    fn difference(&self, own: &[f64], baseline: &[f64], differences: &[f64]) -> Difference {
        // Both means are over the same runs, so that their ratio is that of the sums.
        let relative = |places: &[usize]| {
            let base = mean_at(places, baseline);
            if base > 0.0 { mean_at(places, differences) / base } else { f64::NAN }
        };
        let all: Vec<usize> = (0..own.len()).collect();
        Difference {
            mean: mean(differences.iter().copied()),
            interval: self.bootstrap.interval(|places| mean_at(places, differences)),
            interquartile_mean: interquartile_mean(differences.iter().copied()),
            relative: relative(&all),
            relative_interval: self.bootstrap.interval(relative),
        }
    }

    fn worst(&self, policy: usize, own: &[f64], differences: &[f64]) -> Option<Worst> {
        let runs = self.runs.get(policy)?.iter();
        let measured = runs.zip(own).zip(differences).filter(|((_, value), _)| !value.is_nan());
        let worst = measured.max_by(|((_, value), difference), ((_, other), others)| {
            difference.total_cmp(others).then(value.total_cmp(other))
        });
        worst.map(|((run, value), _)| Worst {
            scenario: run.scenario.clone(),
            seed: run.seed,
            value: *value,
        })
    }

    /// How far each policy but the baseline comes towards the oracle; nothing without a gap.
    pub(super) fn gaps(
        &self,
        slice: &Slice,
        oracle: &str,
        of: impl Fn(&Run) -> f64,
    ) -> Vec<GapClosed> {
        let values = self.values(of);
        let place = self.policies.iter().position(|policy| policy == oracle);
        let (Some(baseline), Some(best)) = (values.first(), place.and_then(|it| values.get(it)))
        else {
            return Vec::new();
        };
        let share = |places: &[usize], own: &[f64]| {
            let (base, best) = (mean_at(places, baseline), mean_at(places, best));
            let gap = base - best;
            if gap > LEAST_GAP * base { (base - mean_at(places, own)) / gap } else { f64::NAN }
        };
        let all: Vec<usize> = (0..baseline.len()).collect();
        let others = self.policies.iter().zip(&values).skip(1);
        let gaps = others.map(|(policy, own)| {
            let by_run = self.strata.iter().flat_map(|stratum| {
                let places: Vec<usize> = stratum.clone().collect();
                let gap = mean_at(&places, baseline) - mean_at(&places, best);
                let real = gap > LEAST_GAP * mean_at(&places, baseline);
                let closed = move |place: usize| (baseline[place] - own[place]) / gap;
                places.into_iter().filter(move |_| real).map(closed)
            });
            GapClosed {
                slice: slice.clone(),
                policy: policy.clone(),
                share: share(&all, own),
                interval: self.bootstrap.interval(|places| share(places, own)),
                interquartile_mean: interquartile_mean(by_run),
            }
        });
        gaps.filter(|gap| !gap.share.is_nan()).collect()
    }
}

/// Mean of the values at these places: [`mean`], as a plain loop because intervals ask for it
/// hundreds of millions of times.
fn mean_at(places: &[usize], values: &[f64]) -> f64 {
    let (mut sum, mut count) = (0.0, 0.0);
    for place in places {
        let value = values[*place];
        if !value.is_nan() {
            sum += value;
            count += 1.0;
        }
    }
    sum / count
}
