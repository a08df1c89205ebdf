//! Forecasts of the past, each made from what was known at its time.

#![expect(clippy::cast_possible_wrap, reason = "minutes and days of a series are far below 2^63")]

use crate::forecast::baseline::Baseline;
use crate::forecast::calendar::Flags;
use crate::forecast::calibration::{
    Calibration, Group, HORIZONS, LONGEST, QUANTILES, Quantiles, horizon_minutes,
};
use crate::forecast::history::{DAY, Minute};
use crate::forecast::regime::regime;
use crate::forecast::slice::{Regime, Slice};
use crate::forecast::window::Prepared;

/// Forecasts that are asked for at once.
const BATCH: usize = 1024;

/// How many median absolute deviations off the usual an outcome is a spike.
const SPIKE: f64 = 5.0;

/// Something that forecasts quantiles.
pub trait QuantileForecaster {
    /// The name in reports.
    fn name(&self) -> &str;

    /// What it expects of a series after each of these minutes, each the last one that it may look at: raw
    /// quantiles, before any calibration. One answer per origin; `None` where it has none. Origins rise, and
    /// may be computed together.
    fn quantiles(&mut self, series: usize, origins: &[Minute]) -> Vec<Option<Quantiles>>;
}

/// A baseline over a prepared history.
#[derive(Debug)]
pub struct BaselineForecaster<'a> {
    /// Which.
    pub baseline: Baseline,
    /// Of what.
    pub prepared: &'a Prepared<'a>,
}

impl QuantileForecaster for BaselineForecaster<'_> {
    fn name(&self) -> &str {
        self.baseline.as_str()
    }

    fn quantiles(&mut self, series: usize, origins: &[Minute]) -> Vec<Option<Quantiles>> {
        let history = self.prepared.history();
        let (rps, usual) = (&history.series[series].rps, self.prepared.usual(series));
        let place = |origin: &Minute| usize::try_from(origin - history.start).ok();
        let forecast = |origin| self.baseline.quantiles(rps, usual, place(origin)?);
        origins.iter().map(forecast).collect()
    }
}

/// Which forecasts are made and counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Minutes from one forecast to the next, at least 1.
    pub every: usize,
    /// The first day that counts, 1 for the first of the series. Calibration learns from the second on.
    pub from_day: usize,
}

impl Default for Plan {
    /// Every five minutes, the shortest horizon: forecasts in between add little that is new. From the
    /// eighth day on, when a week is known.
    fn default() -> Self {
        Self { every: 5, from_day: 8 }
    }
}

/// Whether quantiles are corrected before they are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Correction {
    /// By a [`Calibration`] per forecaster, as they would be live.
    Online,
    /// Not at all.
    None,
}

/// When a forecast was made and what came of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Origin {
    /// The last minute that was known.
    pub minute: Minute,
    /// Slice of the day or spike, as known then.
    pub group: Group,
    /// What came at each horizon, in requests per second; NaN where it is not known.
    pub came: [f64; HORIZONS],
    /// Whether what came is more than five median absolute deviations off the usual. Chosen by outcome:
    /// no forecaster can be calibrated there.
    pub outlier: [bool; HORIZONS],
}

/// The forecasts of one forecaster, one per origin.
#[derive(Debug, Clone, PartialEq)]
pub struct Forecasts {
    /// Its name.
    pub name: String,
    /// What it said; `None` where it had nothing to say.
    pub quantiles: Vec<Option<Quantiles>>,
}

/// All forecasts that count of one series.
#[derive(Debug, Clone, PartialEq)]
pub struct Walk {
    /// Minutes from one origin to the next.
    pub every: usize,
    /// When forecasts were made, rising.
    pub origins: Vec<Origin>,
    /// By whom, in the order in which they were given.
    pub forecasters: Vec<Forecasts>,
}

/// Walks through one series.
pub fn walk(
    prepared: &Prepared<'_>,
    series: usize,
    plan: Plan,
    correction: Correction,
    forecasters: &mut [&mut dyn QuantileForecaster],
) -> Walk {
    let history = prepared.history();
    let flags = prepared.flags(series);
    let all = origins(prepared, &flags, series, plan);
    let start = history.start + first(&history.series[series].rps) as Minute;
    let counts_from = start + (plan.from_day.saturating_sub(1) * DAY) as Minute;
    let skipped = all.partition_point(|origin| origin.minute < counts_from);
    let minutes: Vec<Minute> = all.iter().map(|origin| origin.minute).collect();
    let forecasters = forecasters
        .iter_mut()
        .map(|forecaster| {
            let batches = minutes.chunks(BATCH);
            let mut quantiles: Vec<Option<Quantiles>> = batches
                .flat_map(|batch| {
                    let mut answers = forecaster.quantiles(series, batch);
                    answers.resize(batch.len(), None);
                    answers
                })
                .collect();
            if correction == Correction::Online {
                corrected(prepared, &flags, series, &all, &mut quantiles);
            }
            Forecasts {
                name: forecaster.name().to_owned(),
                quantiles: quantiles.split_off(skipped),
            }
        })
        .collect();
    Walk { every: plan.every.max(1), origins: all[skipped..].to_vec(), forecasters }
}

/// Every origin from the second day on whose shortest horizon ends within the series.
fn origins(prepared: &Prepared<'_>, flags: &[Flags], series: usize, plan: Plan) -> Vec<Origin> {
    let history = prepared.history();
    let rps = &history.series[series].rps;
    let usual = prepared.usual(series);
    let [low, high] = usual_range(rps, usual);
    (first(rps) + DAY..rps.len().saturating_sub(horizon_minutes(0) as usize))
        .step_by(plan.every.max(1))
        .map(|at| {
            let due = |horizon: usize| at + horizon_minutes(horizon) as usize;
            let came = |horizon: usize| rps.get(due(horizon)).map_or(f64::NAN, |it| f64::from(*it));
            let off = |horizon: usize| came(horizon) / f64::from(usual[due(horizon)]);
            let outlier = |horizon: usize| off(horizon) < low || off(horizon) > high;
            let slice = Slice::of(flags[at].minute_of_day);
            Origin {
                minute: history.start + at as Minute,
                group: Group::of(slice, regime(rps, usual, flags, at)),
                came: std::array::from_fn(came),
                outlier: std::array::from_fn(outlier),
            }
        })
        .collect()
}

/// The first minute that is known.
fn first(rps: &[f32]) -> usize {
    rps.iter().position(|value| value.is_finite()).unwrap_or(rps.len())
}

/// Traffic over what is usual: the range outside of which it is a spike.
fn usual_range(rps: &[f32], usual: &[f32]) -> [f64; 2] {
    let ratios = rps.iter().zip(usual).map(|(rps, usual)| f64::from(*rps) / f64::from(*usual));
    let mut ratios: Vec<f64> = ratios.filter(|ratio| ratio.is_finite()).collect();
    let median = |values: &mut [f64]| match values.len() {
        0 => f64::NAN,
        count => *values.select_nth_unstable_by(count / 2, f64::total_cmp).1,
    };
    let middle = median(&mut ratios);
    for ratio in &mut ratios {
        *ratio = (*ratio - middle).abs();
    }
    let deviation = SPIKE * median(&mut ratios);
    [middle - deviation, middle + deviation]
}

/// Replaces raw quantiles by those that would have gone out.
fn corrected(
    prepared: &Prepared<'_>,
    flags: &[Flags],
    series: usize,
    origins: &[Origin],
    quantiles: &mut [Option<Quantiles>],
) {
    let history = prepared.history();
    let rps = &history.series[series].rps;
    let mut calibration = Calibration::default();
    let mut observed = 0;
    for (origin, quantiles) in origins.iter().zip(quantiles) {
        let at = (origin.minute - history.start) as usize;
        let from = observed.max(at.saturating_sub(LONGEST as usize));
        for (minute, rps) in rps.iter().enumerate().take(at + 1).skip(from) {
            calibration.observe(history.start + minute as Minute, f64::from(*rps));
        }
        observed = at + 1;
        let Some(raw) = quantiles else { continue };
        let regime = match origin.group {
            Group::Spike => Regime::Spike,
            Group::Slice(_) => Regime::Steady,
        };
        let slice = Slice::of(flags[at].minute_of_day);
        let adjusted = calibration.adjust(slice, regime, raw);
        calibration.issued(origin.minute, slice, regime, raw, &adjusted);
        *quantiles = Some(adjusted);
    }
}

impl Walk {
    /// The forecasts of a forecaster whose outcome is known at a horizon: origin and quantiles.
    pub fn judged(
        &self,
        forecaster: usize,
        horizon: usize,
    ) -> impl Iterator<Item = (&Origin, [f64; QUANTILES])> {
        let quantiles = self.forecasters.get(forecaster).map_or(&[][..], |it| &it.quantiles);
        self.origins.iter().zip(quantiles).filter_map(move |(origin, quantiles)| {
            let known = origin.came[horizon].is_finite();
            quantiles.filter(|_| known).map(|quantiles| (origin, quantiles[horizon]))
        })
    }
}
