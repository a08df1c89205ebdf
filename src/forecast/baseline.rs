//! Forecasts of one line each: what a learned one must beat, and what takes over when it fails.

use super::calibration::{HORIZONS, LONGEST, Quantiles, horizon_minutes};
use super::history::DAY;
use crate::cluster::Forecast;

/// Minutes of the last value.
const LAST: usize = 5;

/// Minutes of the level.
const LEVEL: usize = 10;

/// Minutes on each side of the same minute of an earlier day: as smooth as the last value.
const AROUND: usize = 2;

/// Minutes that exponential smoothing looks back.
const SMOOTHED: usize = 120;

/// Exponential smoothing with a damped trend (Gardner and `McKenzie`, "Forecasting Trends in Time Series",
/// 1985): parts of the newest value in level and trend, and what is left of the trend a minute later. The
/// weights belong to the method's usual ranges; they are not fitted to any series.
const LEVEL_WEIGHT: f64 = 0.2;
const TREND_WEIGHT: f64 = 0.05;
const DAMPING: f64 = 0.95;

/// Relative errors before a calibration has seen any: normal quantiles of the median over 109 real series of level
/// times profile 15 minutes ahead, 5 % (`learning.md` 2.2).
const FIRST_ERRORS: [f64; Forecast::QUANTILES.len()] = [-0.064, 0.0, 0.042, 0.064];

/// A forecast of one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Baseline {
    /// The mean of the last five minutes.
    LastValue,
    /// The same five minutes of the day before.
    SeasonalDay,
    /// The same five minutes of the week before.
    SeasonalWeek,
    /// The mean of the last ten minutes over what is usual in them, times what is usual then: the strong one
    /// (`learning.md` 2.2).
    LevelTimesProfile,
    /// Exponential smoothing with a damped trend: needs no more than some minutes.
    Smoothing,
}

impl Baseline {
    /// Every baseline.
    pub const ALL: [Self; 5] = [
        Self::LastValue,
        Self::SeasonalDay,
        Self::SeasonalWeek,
        Self::LevelTimesProfile,
        Self::Smoothing,
    ];

    /// The name in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LastValue => "last-value",
            Self::SeasonalDay => "seasonal-day",
            Self::SeasonalWeek => "seasonal-week",
            Self::LevelTimesProfile => "level-x-profile",
            Self::Smoothing => "exponential-smoothing",
        }
    }

    /// What is expected 5, 15 and 30 minutes after minute `origin`, the last one that is known, in requests per
    /// second. `rps` and `usual` ([`super::usual()`]) begin at the same minute. `None` where what it needs is
    /// not known.
    #[must_use]
    pub fn points(self, rps: &[f32], usual: &[f32], origin: usize) -> Option<[f64; HORIZONS]> {
        // Nothing below can look further.
        let rps = rps.get(..=origin)?;
        let points = match self {
            Self::LastValue => [mean(&rps[(origin + 1).checked_sub(LAST)?..])?; HORIZONS],
            Self::SeasonalDay => seasonal(rps, origin, DAY)?,
            Self::SeasonalWeek => seasonal(rps, origin, 7 * DAY)?,
            Self::LevelTimesProfile => level_times_profile(rps, usual, origin)?,
            Self::Smoothing => smoothing(rps)?,
        };
        points.iter().all(|point| point.is_finite()).then_some(points)
    }

    /// The same with quantiles, before any calibration: 5 % of spread around the points.
    #[must_use]
    pub fn quantiles(self, rps: &[f32], usual: &[f32], origin: usize) -> Option<Quantiles> {
        let points = self.points(rps, usual, origin)?;
        Some(points.map(|point| FIRST_ERRORS.map(|error| point * (1.0 + error))))
    }
}

fn mean(values: &[f32]) -> Option<f64> {
    let known = || values.iter().filter(|value| value.is_finite());
    let count = known().count();
    (count > 0).then(|| known().map(|value| f64::from(*value)).sum::<f64>() / count as f64)
}

fn seasonal(rps: &[f32], origin: usize, period: usize) -> Option<[f64; HORIZONS]> {
    let mut points = [0.0; HORIZONS];
    for (at, point) in points.iter_mut().enumerate() {
        let middle = (origin + horizon_minutes(at) as usize).checked_sub(period)?;
        *point = mean(rps.get(middle.checked_sub(AROUND)?..=middle + AROUND)?)?;
    }
    Some(points)
}

fn level_times_profile(rps: &[f32], usual: &[f32], origin: usize) -> Option<[f64; HORIZONS]> {
    let from = (origin + 1).checked_sub(LEVEL)?;
    let (mut came, mut expected) = (0.0, 0.0);
    for (rps, usual) in rps[from..].iter().zip(usual.get(from..=origin)?) {
        if rps.is_finite() && usual.is_finite() {
            came += f64::from(*rps);
            expected += f64::from(*usual);
        }
    }
    if expected <= 0.0 {
        return None;
    }
    let mut points = [0.0; HORIZONS];
    for (at, point) in points.iter_mut().enumerate() {
        let then = usual.get(origin + horizon_minutes(at) as usize)?;
        *point = came / expected * f64::from(*then);
    }
    Some(points)
}

fn smoothing(rps: &[f32]) -> Option<[f64; HORIZONS]> {
    let mut state: Option<(f64, f64)> = None;
    for value in &rps[rps.len().saturating_sub(SMOOTHED)..] {
        state = match (state, f64::from(*value)) {
            (None, value) if value.is_finite() => Some((value, 0.0)),
            (None, _) => None,
            (Some((level, trend)), value) => {
                let expected = level + DAMPING * trend;
                let surprise = if value.is_finite() { value - expected } else { 0.0 };
                let trend = DAMPING * trend + TREND_WEIGHT * LEVEL_WEIGHT * surprise;
                Some((expected + LEVEL_WEIGHT * surprise, trend))
            }
        };
    }
    let (level, trend) = state?;
    let grown = |minutes: i32| {
        let factor = DAMPING * (1.0 - DAMPING.powi(minutes)) / (1.0 - DAMPING);
        (level + trend * factor).max(0.0)
    };
    Some(std::array::from_fn(|at| grown(horizon_minutes(at) as i32)))
}

const _: () = assert!(LONGEST as usize + AROUND < DAY);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forecast::usual;

    /// Nine days that grow by one a minute.
    fn ramp() -> Vec<f32> {
        (0..9 * DAY).map(|minute| minute as f32).collect()
    }

    #[test]
    fn each_baseline_forecasts_what_is_worked_by_hand() {
        let rps = ramp();
        let usual = usual(&rps);
        let origin = 8 * DAY;
        let of = |baseline: Baseline| baseline.points(&rps, &usual, origin).unwrap();
        let at = origin as f64;
        assert_eq!(of(Baseline::LastValue), [at - 2.0; 3]);
        let day = at - DAY as f64;
        assert_eq!(of(Baseline::SeasonalDay), [day + 5.0, day + 15.0, day + 30.0]);
        let week = at - 7.0 * DAY as f64;
        assert_eq!(of(Baseline::SeasonalWeek), [week + 5.0, week + 15.0, week + 30.0]);
        // Usual is what it was four days ago, on average.
        let usual_at = |minute: f64| minute - 4.0 * DAY as f64;
        let level = (at - 4.5) / usual_at(at - 4.5);
        for (point, horizon) in of(Baseline::LevelTimesProfile).into_iter().zip([5.0, 15.0, 30.0]) {
            assert!((point - level * usual_at(at + horizon)).abs() < 0.01);
        }
        let smoothed = of(Baseline::Smoothing);
        assert!(smoothed[0] < smoothed[1] && smoothed[1] < smoothed[2]);
        assert!((smoothed[0] - at).abs() < 10.0, "{smoothed:?}");
    }

    #[test]
    fn no_baseline_sees_what_comes_after_the_origin() {
        let rps = ramp();
        let origin = 8 * DAY + 77;
        let mut other = rps.clone();
        other[origin + 1..].fill(1e6);
        for baseline in Baseline::ALL {
            let usual = usual(&rps);
            let here = baseline.points(&rps, &usual, origin);
            assert!(here.is_some());
            assert_eq!(here, baseline.points(&other, &crate::forecast::usual(&other), origin));
        }
    }

    #[test]
    fn what_is_not_known_is_no_forecast_and_never_nan() {
        let gap = vec![f32::NAN; 9 * DAY];
        let zero = vec![0.0; 9 * DAY];
        for baseline in Baseline::ALL {
            assert_eq!(baseline.points(&gap, &usual(&gap), 8 * DAY), None);
            assert_eq!(baseline.points(&[], &[], 0), None);
            let on_zero = baseline.quantiles(&zero, &usual(&zero), 8 * DAY);
            assert!(on_zero.is_none_or(|quantiles| quantiles == [[0.0; 4]; 3]));
        }
        let mut holes = ramp();
        holes[8 * DAY - 3..8 * DAY].fill(f32::NAN);
        for baseline in Baseline::ALL {
            assert!(baseline.points(&holes, &usual(&holes), 8 * DAY).is_some(), "{baseline:?}");
        }
    }
}
