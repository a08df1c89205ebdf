//! The corrections of one group and horizon.

use serde::{Deserialize, Serialize};

use super::QUANTILES;
use crate::cluster::Forecast;
use crate::forecast::history::Minute;

// The constants below were chosen among 23 settings with level times profile on 15 of the series that come with
// the project (five of 208 days, the World Cup site, nine of 11 to 14 days), none of which was held out: coverage
// and loss of that baseline on these series are not out of sample. Rate and I term trade sharpness for coverage.
// 5 minutes ahead, with this I term, a rate of 0.05 instead of 0.15 has 1.3 % less pinball loss on the long
// series, and three instead of none of the nine short ones have a slice outside 15-25 %. 30 minutes ahead nine or
// eight of the nine have one: four days hold about 24 independent outcomes a slice.

/// Step per independent score, in spreads.
const RATE: f64 = 0.15;

/// A group that has seen `n` independent scores steps by `FIRST_RATE / n` at least, up to this.
const FIRST_RATE: f64 = 1.0;
const MOST_RATE: f64 = 0.5;

/// Part of the newest independent score in the spread.
const SPREAD_RATE: f64 = 0.03;

/// Relative error before anything was seen: the median over 109 real series of level times profile 15
/// minutes ahead (`learning.md` 2.2).
const FIRST_SPREAD: f64 = 0.05;

/// Below this relative error there is nothing to learn.
const LEAST_SPREAD: f64 = 1e-3;

/// What one score may be in the spread, in spreads: one outage must not make a day of wild steps.
const MOST_SPREADS: f64 = 8.0;

/// The I term at its most, in spreads, and the surplus of exceedances (in independent scores) at which it
/// is at tanh(1) of that. The surplus is forgotten over so many independent scores.
const INTEGRAL: f64 = 0.5;
const SATURATION: f64 = 5.0;
const MEMORY: f64 = 50.0;

/// Corrections are relative: traffic is never below 0, and never expected above 21 times a raw quantile.
const LEAST: f64 = -1.0;
const MOST: f64 = 20.0;

/// Quantiles of the standard normal distribution at [`Forecast::QUANTILES`].
const NORMAL: [f64; QUANTILES] = [-1.2816, 0.0, 0.8416, 1.2816];

/// The standard deviation of a normal distribution over its mean absolute deviation.
const NORMAL_OVER_MEAN: f64 = 1.2533;

/// Errors in spikes over those in steady minutes: 14.3 % and 4.8 % in the median of 109 real series
/// (`learning.md` 2.2).
const SPIKE_WIDTH: f64 = 3.0;

/// Conformal PID of Angelopoulos et al. (2023) on relative scores `s = (came - raw) / raw`: the P term
/// `q += rate * spread * (1{came > issued} - (1 - tau))`, which keeps the long-run share of exceedances at
/// `1 - tau` whatever the sequence, and a saturated I term on the surplus of exceedances.
///
/// Scores of forecasts whose horizons overlap come in crowds: one shock is seen by every forecast within a
/// horizon of it. A score made `gap` minutes after the last counts as `gap / horizon` of an
/// independent one (`learning.md` 2.4), so that it makes no difference how often forecasts are made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Tracker {
    /// Independent scores seen.
    seen: f64,
    /// When the last forecast was made that was learned from.
    last: Option<Minute>,
    /// Mean distance of the scores from the correction.
    spread: [f64; QUANTILES],
    quantiles: [f64; QUANTILES],
    surplus: [f64; QUANTILES],
}

impl Default for Tracker {
    fn default() -> Self {
        Self {
            seen: 0.0,
            last: None,
            spread: [FIRST_SPREAD; QUANTILES],
            quantiles: [0.0; QUANTILES],
            surplus: [0.0; QUANTILES],
        }
    }
}

impl Tracker {
    pub(super) fn has_learned(&self) -> bool {
        self.last.is_some()
    }

    /// What is added to 1 and multiplies the raw quantiles.
    pub(super) fn corrections(&self) -> [f64; QUANTILES] {
        std::array::from_fn(|at| {
            let integral = INTEGRAL * (self.surplus[at] / SATURATION).tanh();
            (self.quantiles[at] + integral * self.spread[at]).clamp(LEAST, MOST)
        })
    }

    /// Learns from a forecast that was made at the end of `made` and what came `horizon` minutes later.
    pub(super) fn learn(
        &mut self,
        made: Minute,
        horizon: Minute,
        raw: &[f64; QUANTILES],
        issued: &[f64; QUANTILES],
        came: f64,
    ) {
        let gap = self.last.map_or(horizon, |last| made.saturating_sub(last).clamp(0, horizon));
        let weight = gap as f64 / horizon as f64;
        let first = (FIRST_RATE / (1.0 + self.seen)).min(MOST_RATE);
        let (rate, spread_rate) = (first.max(RATE) * weight, first.max(SPREAD_RATE) * weight);
        for (at, level) in Forecast::QUANTILES.into_iter().enumerate() {
            let score = (came - raw[at]) / raw[at];
            if raw[at] <= 0.0 || !score.is_finite() {
                continue;
            }
            let error = f64::from(u8::from(came > issued[at])) - (1.0 - level);
            let distance = (score - self.quantiles[at]).abs().min(MOST_SPREADS * self.spread[at]);
            let spread = self.spread[at] + spread_rate * (distance - self.spread[at]);
            self.spread[at] = spread.max(LEAST_SPREAD);
            let moved = self.quantiles[at] + rate * self.spread[at] * error;
            self.quantiles[at] = moved.clamp(LEAST, MOST);
            self.surplus[at] += weight * (error - self.surplus[at] / MEMORY);
        }
        self.seen += weight;
        self.last = Some(made);
    }

    /// Where a slice starts whose neighbours have learned: with their corrections, and quick steps.
    pub(super) fn for_slice(&self) -> Self {
        let first = Self::default();
        Self { spread: self.spread, quantiles: self.quantiles, ..first }
    }

    /// Where spikes start: as steady traffic with wider errors.
    pub(super) fn for_spikes(&self) -> Self {
        let mut start = self.for_slice();
        // Errors of the median are what the others spread around.
        let deviation = self.spread[1] * NORMAL_OVER_MEAN;
        for (quantile, normal) in start.quantiles.iter_mut().zip(NORMAL) {
            *quantile = (*quantile + (SPIKE_WIDTH - 1.0) * deviation * normal).clamp(LEAST, MOST);
        }
        start
    }
}
