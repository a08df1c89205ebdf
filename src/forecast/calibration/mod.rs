//! Quantiles that keep their promise: corrected online by how often traffic came above them.
//!
//! A forecaster's quantiles are right on average and wrong by the hour. Here each time-of-day slice,
//! horizon and quantile of one domain has a correction of its own, and so have forecasts that are made in a
//! spike. It learns from what came, when it came.

mod coverage;
mod tracker;

use std::collections::VecDeque;
use std::fmt;

use serde::{Deserialize, Serialize};

pub use coverage::{Coverage, Exceedance};
use tracker::Tracker;

use super::history::Minute;
use super::slice::{Regime, Slice};
use crate::cluster::Forecast;

/// How many horizons.
pub const HORIZONS: usize = Forecast::HORIZONS.len();

/// How many quantiles.
pub const QUANTILES: usize = Forecast::QUANTILES.len();

/// Quantiles ([`Forecast::QUANTILES`], rising) per horizon ([`Forecast::HORIZONS`]), in requests per second.
pub type Quantiles = [[f64; QUANTILES]; HORIZONS];

/// A horizon in minutes: 5, 15 or 30.
#[must_use]
pub const fn horizon_minutes(horizon: usize) -> Minute {
    (Forecast::HORIZONS[horizon] / 60.0) as Minute
}

/// The longest horizon in minutes.
pub const LONGEST: Minute = horizon_minutes(HORIZONS - 1);

/// How many forecasts wait for their outcome at most: one a minute over the longest horizon.
const MOST_OPEN: usize = LONGEST as usize + 1;

/// Where calibration is kept apart: slices of the day, and spikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// Steady traffic; the slice is that of the minute in which the forecast is made.
    Slice(Slice),
    /// Forecasts made in [`Regime::Spike`], at any hour: there are too few of them to keep hours apart.
    Spike,
}

impl Group {
    /// How many.
    pub const COUNT: usize = Slice::COUNT + 1;

    /// The group of a forecast.
    #[must_use]
    pub const fn of(slice: Slice, regime: Regime) -> Self {
        match regime {
            Regime::Steady => Self::Slice(slice),
            Regime::Spike => Self::Spike,
        }
    }

    /// Every group: the slices from midnight on, then spikes.
    pub fn all() -> impl Iterator<Item = Self> {
        Slice::all().map(Self::Slice).chain([Self::Spike])
    }

    /// Its place among all.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Slice(slice) => slice.index(),
            Self::Spike => Slice::COUNT,
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slice(slice) => slice.fmt(out),
            Self::Spike => out.write_str(Regime::Spike.as_str()),
        }
    }
}

/// The calibration of one domain: 9 groups x 3 horizons x 4 quantiles, and up to 31 forecasts whose outcome
/// is not known yet. It is kept on disk as JSON, beside the weights.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    groups: [[Tracker; HORIZONS]; Group::COUNT],
    /// All steady traffic together: where a slice starts that has seen nothing.
    steady: [Tracker; HORIZONS],
    /// Oldest first.
    open: VecDeque<Open>,
    observed: Option<Minute>,
    coverage: Coverage,
}

/// A forecast whose outcome is not known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Open {
    minute: Minute,
    group: u8,
    raw: Quantiles,
    adjusted: Quantiles,
}

impl Calibration {
    /// Raw quantiles, corrected: times one plus the correction, rising, finite, never negative. What is no
    /// number becomes 0 or the quantile below it.
    #[must_use]
    pub fn adjust(&self, slice: Slice, regime: Regime, raw: &Quantiles) -> Quantiles {
        let group = Group::of(slice, regime);
        std::array::from_fn(|horizon| {
            let corrections = self.tracker(group, horizon).corrections();
            let mut least = 0.0;
            std::array::from_fn(|quantile| {
                let value = raw[horizon][quantile] * (1.0 + corrections[quantile]);
                least = if value.is_finite() { f64::max(least, value) } else { least };
                least
            })
        })
    }

    /// Remembers a forecast that was made at the end of `minute`, as it came and as it went out. Only the
    /// newest forecast of a minute is judged, and those older than the longest horizon are forgotten.
    pub fn issued(
        &mut self,
        minute: Minute,
        slice: Slice,
        regime: Regime,
        raw: &Quantiles,
        adjusted: &Quantiles,
    ) {
        self.open.retain(|open| open.minute < minute && open.minute >= minute - LONGEST);
        if self.open.len() == MOST_OPEN {
            self.open.pop_front();
        }
        // JSON has no NaN; a raw quantile of 0 teaches nothing.
        let finite = |value: f64| if value.is_finite() { value } else { 0.0 };
        let [raw, adjusted] = [raw, adjusted].map(|quantiles| quantiles.map(|row| row.map(finite)));
        let group = Group::of(slice, regime).index() as u8;
        self.open.push_back(Open { minute, group, raw, adjusted });
    }

    /// What came in a minute, in requests per second: the answer to the forecasts made 5, 15 and 30 minutes
    /// before. A minute that is not newer than the last one, and traffic that is not known, teach nothing.
    pub fn observe(&mut self, minute: Minute, rps: f64) {
        if !rps.is_finite() || rps < 0.0 || self.observed.is_some_and(|last| minute <= last) {
            return;
        }
        self.observed = Some(minute);
        for horizon in 0..HORIZONS {
            let made = minute - horizon_minutes(horizon);
            let Some(place) = self.open.iter().position(|open| open.minute == made) else {
                continue;
            };
            let open = self.open[place].clone();
            self.learn(&open, horizon, rps);
        }
        self.coverage.judge(minute);
        self.open.retain(|open| open.minute > minute - LONGEST);
    }

    /// How often traffic came above the quantiles that went out.
    #[must_use]
    pub const fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    fn learn(&mut self, open: &Open, horizon: usize, rps: f64) {
        let group = usize::from(open.group).min(Group::COUNT - 1);
        let (raw, adjusted) = (&open.raw[horizon], &open.adjusted[horizon]);
        let length = horizon_minutes(horizon);
        let start = self.start(group, horizon);
        let tracker = &mut self.groups[group][horizon];
        if let Some(start) = start {
            *tracker = start;
        }
        tracker.learn(open.minute, length, raw, adjusted, rps);
        if group != Group::Spike.index() {
            self.steady[horizon].learn(open.minute, length, raw, adjusted, rps);
        }
        let above = adjusted.map(|quantile| rps > quantile);
        self.coverage.count(group, horizon, open.minute, above);
    }

    fn tracker(&self, group: Group, horizon: usize) -> Tracker {
        let group = group.index();
        self.start(group, horizon).unwrap_or_else(|| self.groups[group][horizon].clone())
    }

    /// Where a group starts that has seen nothing: a slice where steady traffic is now, which is the slice
    /// before it more than any other; spikes wider than that.
    fn start(&self, group: usize, horizon: usize) -> Option<Tracker> {
        let known = self.groups[group][horizon].has_learned();
        let steady = &self.steady[horizon];
        (!known).then(|| {
            if group == Group::Spike.index() { steady.for_spikes() } else { steady.for_slice() }
        })
    }
}

#[cfg(test)]
mod tests;
