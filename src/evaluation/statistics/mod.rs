//! The few statistics that a comparison needs. NaN stands for "not measured" and is left out.

use std::ops::Range;

use serde::Serialize;

use crate::simulation::Seed;

/// Mean; NaN without any value.
#[must_use]
pub fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let (mut sum, mut count) = (0.0, 0.0);
    for value in values.into_iter().filter(|value| !value.is_nan()) {
        sum += value;
        count += 1.0;
    }
    sum / count
}

/// The value below which this part (0 to 1) of the values lies, linear between two of them; NaN
/// without any.
///
/// Definition 7 of Hyndman and Fan, "Sample Quantiles in Statistical Packages" (1996): the
/// default of R and `NumPy`.
#[must_use]
pub fn quantile(values: impl IntoIterator<Item = f64>, part: f64) -> f64 {
    let values = sorted(values);
    let place = values.len().saturating_sub(1) as f64 * part.clamp(0.0, 1.0);
    let at = |index: f64| values.get(index as usize).copied().unwrap_or(f64::NAN);
    let (low, high) = (at(place.floor()), at(place.ceil()));
    low + (high - low) * place.fract()
}

/// Mean of the middle half: a quarter of the values, rounded down, is cut off at each end. NaN
/// without any.
///
/// Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice" (2021):
/// less moved by a single run than the mean, and less wasteful than the median.
#[must_use]
pub fn interquartile_mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let values = sorted(values);
    let cut = values.len() / 4;
    mean(values[cut..values.len() - cut].iter().copied())
}

fn sorted(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.into_iter().filter(|value| !value.is_nan()).collect();
    values.sort_unstable_by(f64::total_cmp);
    values
}

/// Each of `ours` less the one of `theirs` at the same place: runs that met the same traffic, the
/// same delays and the same failures, so that only the policy differs.
#[must_use]
pub fn paired_differences(ours: &[f64], theirs: &[f64]) -> Vec<f64> {
    ours.iter().zip(theirs).map(|(ours, theirs)| ours - theirs).collect()
}

/// Where a figure may lie.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Interval {
    /// Whether 0 is outside.
    #[must_use]
    pub fn excludes_zero(&self) -> bool {
        self.low > 0.0 || self.high < 0.0
    }
}

/// Stratified bootstrap: how much a figure moves when runs are drawn again, with replacement, from
/// the runs of the same stratum.
///
/// The percentile method of Efron, "Bootstrap Methods: Another Look at the Jackknife" (1979), with
/// strata as in Agarwal et al. (2021). All figures are asked about the same drawings, so that runs
/// stay paired. With few runs a stratum the intervals are too narrow.
#[derive(Debug, Clone)]
pub struct Bootstrap {
    /// The drawings: for each place of the data, the place of the same stratum that was drawn.
    drawn: Vec<Vec<usize>>,
}

impl Bootstrap {
    /// Draws this many times. `strata` are the places of each stratum in the data, one after
    /// another from 0.
    #[must_use]
    pub fn new(strata: &[Range<usize>], times: u64, seed: Seed) -> Self {
        if strata.iter().all(|stratum| stratum.len() < 2) {
            return Self { drawn: Vec::new() };
        }
        let draw = |seed: Seed, stratum: &Range<usize>, place: usize| {
            let part = seed.draw(place as u64).uniform();
            stratum.start + (part * stratum.len() as f64) as usize
        };
        let drawing = |time| {
            let seed = seed.nth(time);
            let places =
                |stratum| Range::clone(stratum).map(move |place| draw(seed, stratum, place));
            strata.iter().flat_map(places).collect()
        };
        Self { drawn: (0..times).map(drawing).collect() }
    }

    /// The middle 95 % of a figure. It is given places of the data; where it has no value (NaN)
    /// the drawing is left out. `None` where no stratum has two runs, or no drawing a value.
    pub fn interval(&self, figure: impl Fn(&[usize]) -> f64) -> Option<Interval> {
        let figures = sorted(self.drawn.iter().map(|places| figure(places)));
        let at = |part| quantile(figures.iter().copied(), part);
        let interval = Interval { low: at(0.025), high: at(0.975) };
        (interval.low.is_finite() && interval.high.is_finite()).then_some(interval)
    }
}

#[cfg(test)]
mod tests;
