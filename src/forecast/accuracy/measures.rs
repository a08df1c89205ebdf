//! The figures of one forecaster, series and horizon.

use serde::Serialize;

use super::{Origin, Walk};
use crate::cluster::Forecast;
use crate::forecast::calibration::{Group, HORIZONS, QUANTILES, horizon_minutes};

/// Minutes below this part of the median are masked in the mean absolute percentage error: outages.
const MASK: f64 = 0.05;

const P50: usize = 1;
const P80: usize = 2;

/// What is said of the forecasts of one forecaster at one horizon. NaN (null in JSON) where nothing can be
/// said. Losses are in the unit of the series.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measures {
    /// How far ahead, in minutes.
    pub horizon_minutes: i64,
    /// How many forecasts were judged.
    pub forecasts: usize,
    /// How many were asked for and not given.
    pub refused: usize,
    /// Mean pinball loss of p10, p50, p80 and p90.
    pub pinball: [f64; QUANTILES],
    /// Its mean over the quantiles.
    pub mean_pinball: f64,
    /// Weighted quantile loss: twice the pinball losses over the traffic, mean over the quantiles.
    pub wql: f64,
    /// Absolute errors of p50 over the traffic.
    pub wape: f64,
    /// Mean absolute percentage error of p50, without the masked minutes (a part, not per cent).
    pub masked_mape: f64,
    /// Part of the minutes below 5 % of the median, which are masked.
    pub masked: f64,
    /// The least a MAPE can be if the series is requests per second that arrive independently: the mean of
    /// sqrt(2 / (pi lambda)), where lambda is the requests of a minute (`learning.md` 2.1).
    pub poisson_floor: f64,
    /// Width from p10 to p90 over p50, as a ratio of sums.
    pub sharpness: f64,
    /// Part of the outcomes above each quantile.
    pub exceedance: [f64; QUANTILES],
    /// Outcomes more than five median absolute deviations off the usual. They are chosen by outcome, so that
    /// they exceed by construction: these three are for reading, not for judging.
    pub outliers: usize,
    /// Mean pinball loss in them.
    pub outlier_pinball: f64,
    /// Part of them above p80.
    pub outlier_exceedance: f64,
}

/// Pinball loss of a quantile: `level` per unit that comes above it, `1 - level` per unit below.
#[must_use]
pub(super) fn pinball(level: f64, quantile: f64, came: f64) -> f64 {
    let above = came - quantile;
    if above > 0.0 { level * above } else { (level - 1.0) * above }
}

/// The mean of the pinball losses over the quantiles.
pub(super) fn mean_pinball(quantiles: &[f64; QUANTILES], came: f64) -> f64 {
    let losses = Forecast::QUANTILES.iter().zip(quantiles);
    losses.map(|(level, quantile)| pinball(*level, *quantile, came)).sum::<f64>() / QUANTILES as f64
}

/// What is said of a forecaster of a walk at each horizon.
#[must_use]
pub fn measures(walk: &Walk, forecaster: usize) -> [Measures; HORIZONS] {
    std::array::from_fn(|horizon| of_horizon(walk, forecaster, horizon))
}

fn of_horizon(walk: &Walk, forecaster: usize, horizon: usize) -> Measures {
    let judged: Vec<(&Origin, [f64; QUANTILES])> = walk.judged(forecaster, horizon).collect();
    let rows = || judged.iter().map(|(origin, quantiles)| (origin.came[horizon], quantiles));
    let count = judged.len() as f64;
    let came: f64 = rows().map(|(came, _)| came).sum();
    let loss = |at: usize| {
        rows().map(|(came, quantiles)| pinball(Forecast::QUANTILES[at], quantiles[at], came)).sum()
    };
    let losses: [f64; QUANTILES] = std::array::from_fn(loss);
    let above = |at: usize| rows().filter(|(came, quantiles)| *came > quantiles[at]).count() as f64;

    let floor = MASK * median(rows().map(|(came, _)| came).collect());
    let unmasked = || rows().filter(|(came, _)| *came >= floor && *came > 0.0);
    let kept = unmasked().count() as f64;
    let percentage =
        |(came, quantiles): (f64, &[f64; QUANTILES])| (came - quantiles[P50]).abs() / came;
    let poisson = |(came, _): (f64, _)| (2.0 / (std::f64::consts::PI * 60.0 * came)).sqrt();
    let width: f64 = rows().map(|(_, quantiles)| quantiles[3] - quantiles[0]).sum();
    let middle: f64 = rows().map(|(_, quantiles)| quantiles[P50]).sum();

    let outliers: Vec<_> = judged.iter().filter(|(origin, _)| origin.outlier[horizon]).collect();
    let of_outliers = |value: &dyn Fn(f64, &[f64; QUANTILES]) -> f64| {
        let values = outliers.iter().map(|(origin, row)| value(origin.came[horizon], row));
        values.sum::<f64>() / outliers.len() as f64
    };
    let known = walk.origins.iter().filter(|origin| origin.came[horizon].is_finite()).count();
    Measures {
        horizon_minutes: horizon_minutes(horizon),
        forecasts: judged.len(),
        refused: known - judged.len(),
        pinball: losses.map(|loss| loss / count),
        mean_pinball: losses.iter().sum::<f64>() / QUANTILES as f64 / count,
        wql: 2.0 * losses.iter().sum::<f64>() / QUANTILES as f64 / came,
        wape: 2.0 * losses[P50] / came,
        masked_mape: unmasked().map(percentage).sum::<f64>() / kept,
        masked: 1.0 - kept / count,
        poisson_floor: unmasked().map(poisson).sum::<f64>() / kept,
        sharpness: width / middle,
        exceedance: std::array::from_fn(|at| above(at) / count),
        outliers: outliers.len(),
        outlier_pinball: of_outliers(&|came, row| mean_pinball(row, came)),
        outlier_exceedance: of_outliers(&|came, row| f64::from(u8::from(came > row[P80]))),
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    match values.len() {
        0 => f64::NAN,
        count => *values.select_nth_unstable_by(count / 2, f64::total_cmp).1,
    }
}

/// How many outcomes there were, and how many above each quantile.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// Outcomes.
    pub outcomes: usize,
    /// Above p10, p50, p80 and p90.
    pub above: [usize; QUANTILES],
}

impl Counted {
    /// The part above a quantile; NaN without outcomes.
    #[must_use]
    pub fn share(&self, quantile: usize) -> f64 {
        self.above[quantile] as f64 / self.outcomes as f64
    }

    pub(super) fn add(&mut self, quantiles: &[f64; QUANTILES], came: f64) {
        self.outcomes += 1;
        for (above, quantile) in self.above.iter_mut().zip(quantiles) {
            *above += usize::from(came > *quantile);
        }
    }
}

/// Outcomes and exceedances by [`Group`] and horizon.
#[must_use]
pub fn exceedances(walk: &Walk, forecaster: usize) -> [[Counted; HORIZONS]; Group::COUNT] {
    let mut groups = [[Counted::default(); HORIZONS]; Group::COUNT];
    let horizons = (0..HORIZONS).flat_map(|horizon| {
        walk.judged(forecaster, horizon).map(move |(origin, row)| (horizon, origin, row))
    });
    for (horizon, origin, quantiles) in horizons {
        groups[origin.group.index()][horizon].add(&quantiles, origin.came[horizon]);
    }
    groups
}
