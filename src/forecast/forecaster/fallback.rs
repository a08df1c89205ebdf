//! The two forecasters that need no weights.

use crate::cluster::Forecast;
use crate::forecast::calibration::{HORIZONS, QUANTILES, Quantiles, horizon_minutes};

/// Half-life of the smoothed level, in minutes: noise does not move it, a jump is followed soon.
const LEVEL_HALF_LIFE: f64 = 2.0;

/// Minutes that the level looks back.
const LEVEL_MINUTES: usize = 15;

/// Relative error of level times profile before it is known: the median over 109 real series
/// (`learning.md` 2.2). Its own calibration learns the rest.
const SEASONAL_SPREAD: f64 = 0.05;

/// The same of a level that nobody told about the time of day: wide, because half an hour of a morning's
/// rise is a quarter of the traffic.
const SMOOTHING_SPREAD: f64 = 0.25;

/// Quantiles of the standard normal distribution at [`Forecast::QUANTILES`].
const NORMAL: [f64; QUANTILES] = [-1.2816, 0.0, 0.8416, 1.2816];

const _: () = assert!(Forecast::QUANTILES[1] == 0.5);

/// Traffic of the last minutes, smoothed, and what is usual in the same minutes, weighted alike (`None`
/// where not enough is known of it). `None` when nothing was seen in these minutes.
pub(super) fn level(rps: &[f32], usual: &[f32]) -> Option<(f64, Option<f64>)> {
    let mut all = (0.0, 0.0);
    let mut both = (0.0, 0.0, 0.0);
    for (age, (rps, usual)) in rps.iter().zip(usual).rev().take(LEVEL_MINUTES).enumerate() {
        if !rps.is_finite() {
            continue;
        }
        let weight = (-(age as f64) / LEVEL_HALF_LIFE).exp2();
        all = (all.0 + weight, all.1 + weight * f64::from(*rps));
        if usual.is_finite() {
            both.0 += weight;
            both.1 += weight * f64::from(*rps);
            both.2 += weight * f64::from(*usual);
        }
    }
    let (weight, sum) = all;
    let ratio = (both.2 > 0.0 && both.0 >= weight / 2.0).then(|| both.1 / both.2);
    (weight > 0.0).then(|| (sum / weight, ratio))
}

/// Level times profile: `ratio` of the level to the usual, times what is usual then. `usual` begins with
/// the minute after the origin.
pub(super) fn seasonal(ratio: Option<f64>, usual: &[f32]) -> Result<Quantiles, String> {
    let ratio = ratio.ok_or("less than a day of history is known, or nothing came at this hour")?;
    let mut quantiles = [[0.0; QUANTILES]; HORIZONS];
    for (horizon, quantiles) in quantiles.iter_mut().enumerate() {
        let ahead = usual.get(horizon_minutes(horizon) as usize - 1).copied().unwrap_or(f32::NAN);
        let expected = ratio * f64::from(ahead);
        if !expected.is_finite() {
            return Err("nothing is known of the same minutes of earlier days".to_owned());
        }
        *quantiles = around(expected, SEASONAL_SPREAD);
    }
    Ok(quantiles)
}

/// Exponential smoothing: what is, stays.
pub(super) fn smoothing(level: f64) -> Quantiles {
    [around(level, SMOOTHING_SPREAD); HORIZONS]
}

fn around(expected: f64, spread: f64) -> [f64; QUANTILES] {
    NORMAL.map(|deviation| (expected * (1.0 + deviation * spread)).max(0.0))
}
