//! How often traffic comes above the quantiles that went out.

use serde::{Deserialize, Serialize};

use super::{Group, HORIZONS, QUANTILES, horizon_minutes};
use crate::cluster::Forecast;
use crate::forecast::history::{DAY, Minute};
use crate::forecast::slice::Slice;

/// Minutes of forecasts that an exceedance remembers (exponentially). A slice is on for three hours a day,
/// so its memory spans eight days; that of the whole domain spans one.
const MEMORY: f64 = DAY as f64;

/// Forecasts of half a day are needed before anything is concluded.
const ENOUGH: f64 = MEMORY / 2.0;

/// Exceedance of p80 outside this is a miscalibration. Forecasts 30 minutes ahead give about 96 independent
/// outcomes within the memory, and so a standard error of 4 points around 20 %: 10 % and 35 % are 2.5 and
/// nearly 4 of them away, and the online correction pulls back long before.
const TOLERATED: [f64; 2] = [0.10, 0.35];

/// It has to last this long.
const LASTING: Minute = 60;

/// The place of p80 among the quantiles.
const P80: usize = 2;

/// Exceedances by group, horizon and quantile over a rolling window, and whether they are far off.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Coverage {
    groups: [[Rolling; HORIZONS]; Group::COUNT],
    all: [Rolling; HORIZONS],
    /// Since when which group or all (last) is outside the tolerated range.
    outside: [Option<Minute>; Group::COUNT + 1],
}

/// The share of outcomes above a quantile, and how much it rests on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exceedance {
    /// 0 to 1; 1 - tau is right.
    pub share: f64,
    /// Minutes of forecasts within the memory, at most 1,440. Half of that is enough to conclude something.
    pub minutes: f64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Rolling {
    last: Option<Minute>,
    minutes: f64,
    above: [f64; QUANTILES],
}

impl Rolling {
    /// A forecast stands for the minutes since the last one, up to its horizon.
    fn count(&mut self, made: Minute, horizon: Minute, above: [bool; QUANTILES]) {
        let gap = self.last.map_or(1, |last| made.saturating_sub(last).clamp(0, horizon)) as f64;
        self.last = Some(made);
        let keep = (-gap / MEMORY).exp();
        self.minutes = self.minutes * keep + gap;
        for (sum, above) in self.above.iter_mut().zip(above) {
            *sum = *sum * keep + gap * f64::from(u8::from(above));
        }
    }

    fn exceedance(&self, quantile: usize) -> Option<Exceedance> {
        let share = self.above.get(quantile)? / self.minutes;
        (self.minutes > 0.0).then_some(Exceedance { share, minutes: self.minutes })
    }

    fn is_outside(&self) -> bool {
        let [low, high] = TOLERATED;
        self.exceedance(P80)
            .is_some_and(|it| it.minutes >= ENOUGH && !(low..=high).contains(&it.share))
    }
}

impl Coverage {
    /// The exceedance of a group by horizon (0 to 2) and quantile (0 to 3); `None` before its first outcome.
    #[must_use]
    pub fn of(&self, group: Group, horizon: usize, quantile: usize) -> Option<Exceedance> {
        self.groups[group.index()].get(horizon)?.exceedance(quantile)
    }

    /// The exceedance of all forecasts of the domain.
    #[must_use]
    pub fn overall(&self, horizon: usize, quantile: usize) -> Option<Exceedance> {
        self.all.get(horizon)?.exceedance(quantile)
    }

    /// Since when the p80 of the whole domain, or of this slice of the day, is exceeded in less than 10 % or
    /// more than 35 % of the minutes, at any horizon, when that has lasted for an hour at `now`: time to
    /// forecast otherwise. Spikes do not count: they are reported, and there is nothing better for them.
    #[must_use]
    pub fn miscalibrated_since(&self, slice: Slice, now: Minute) -> Option<Minute> {
        let since = [Group::COUNT, slice.index()].map(|place| self.outside[place]);
        let since = since.into_iter().flatten().min()?;
        (now - since >= LASTING).then_some(since)
    }

    pub(super) fn count(
        &mut self,
        group: usize,
        horizon: usize,
        made: Minute,
        above: [bool; QUANTILES],
    ) {
        let minutes = horizon_minutes(horizon);
        self.groups[group][horizon].count(made, minutes, above);
        self.all[horizon].count(made, minutes, above);
    }

    /// Notes who is outside the tolerated range at `now`.
    pub(super) fn judge(&mut self, now: Minute) {
        for (place, outside) in self.outside.iter_mut().enumerate() {
            let horizons = self.groups.get(place).unwrap_or(&self.all);
            let is = horizons.iter().any(Rolling::is_outside);
            *outside = is.then(|| outside.unwrap_or(now));
        }
    }
}

const _: () = assert!(Forecast::QUANTILES[P80] == 0.8);
