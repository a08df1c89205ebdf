//! What the learned forecaster sees of one domain at one minute.

mod features;
mod signals;

use std::f32::consts::TAU;

pub use features::{FUTURE, Feature, PAST, STATIC, features_hash};
use signals::Signals;

use super::calendar::{Calendar, Flags};
use super::calibration::{LONGEST, horizon_minutes};
use super::history::{DAY, History, Minute};
use super::usual::{usual, usual_since};
use crate::cluster::{Class, Forecast};

/// Minutes of the past that stay single.
const RAW: usize = 60;
/// Minutes of a token before those.
const POOL: usize = 15;
/// Tokens of the past: the last hour minute by minute, the day before it in quarters of an hour.
pub const TOKENS: usize = RAW + (DAY - RAW) / POOL;
/// Horizons in minutes.
pub const HORIZONS: [usize; 3] =
    [horizon_minutes(0) as usize, horizon_minutes(1) as usize, horizon_minutes(2) as usize];
/// The furthest one.
pub(super) const FURTHEST: usize = LONGEST as usize;

/// History with what is usual, computed once for many windows.
#[derive(Debug, Clone)]
pub struct Prepared<'a> {
    history: &'a History,
    calendar: &'a Calendar,
    usual: Vec<Vec<f32>>,
}

/// The inputs for one domain, and what turns the answer into requests per second.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    /// [`TOKENS`] times [`PAST`], the oldest token first.
    pub past: Vec<f32>,
    /// A row of [`FUTURE`] per horizon.
    pub future: Vec<f32>,
    /// [`STATIC`].
    pub statics: Vec<f32>,
    /// Logarithm of the simple forecast (level times usual, and what is announced) plus the floor, per horizon.
    pub anchor: [f32; 3],
    /// The part of it that announcements made, per horizon.
    pub announced: [f32; 3],
    /// Size of its recent errors in logarithms, per horizon.
    pub spread: [f32; 3],
    /// Added to requests per second before the logarithm, so that zero has one.
    pub floor: f32,
}

/// Why there is no window, and so no learned forecast.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum NoWindow {
    /// Less than two days.
    #[error("{days:.1} days of history are known, 2 are needed")]
    ShortHistory {
        /// How many there are.
        days: f64,
    },
    /// The newest minutes are not known.
    #[error("of the last {LEVEL} minutes {known} are known, {LEVEL_LEAST} are needed")]
    NoLevel {
        /// How many are.
        known: usize,
    },
    /// Too much of the last day is not known.
    #[error("{:.0} % of the last day are not known, at most half may be missing", missing * 100.0)]
    Gaps {
        /// How much, 0 to 1.
        missing: f32,
    },
    /// It says nothing of what is usual then.
    #[error("no day before says what is usual {minutes} minutes ahead")]
    NothingUsual {
        /// The horizon.
        minutes: usize,
    },
    /// No traffic, or always the same.
    #[error("the last day has {what} traffic: nothing can be learned from it")]
    Flat {
        /// `no` or `constant`.
        what: &'static str,
    },
    /// A level that no history explains.
    #[error(
        "traffic is {times:.3e} times what is usual now, beyond the {MOST_SHIFT} times that were learned from"
    )]
    Shift {
        /// How many times.
        times: f32,
    },
}

/// Minutes whose mean is the level.
pub(super) const LEVEL: usize = 10;
/// So many of them must be known.
const LEVEL_LEAST: usize = 3;
/// Beyond this factor the simple forecast means nothing.
const MOST_SHIFT: f32 = 50.0;

impl<'a> Prepared<'a> {
    /// Computes what is usual for every series of `history`.
    #[must_use]
    pub fn new(history: &'a History, calendar: &'a Calendar) -> Self {
        let usual = history.series.iter().map(|series| usual(&series.rps)).collect();
        Self { history, calendar, usual }
    }

    /// The same for windows at the end of `history` alone: of what is usual, only what these see.
    #[must_use]
    pub fn newest(history: &'a History, calendar: &'a Calendar) -> Self {
        let first = history.minutes().saturating_sub(DAY + FURTHEST);
        let usual = history.series.iter().map(|series| usual_since(&series.rps, first)).collect();
        Self { history, calendar, usual }
    }

    /// The history.
    #[must_use]
    pub const fn history(&self) -> &'a History {
        self.history
    }

    /// What is known of the future.
    #[must_use]
    pub const fn calendar(&self) -> &'a Calendar {
        self.calendar
    }

    /// What is usual for a series: in its minutes and the day after them.
    #[must_use]
    pub fn usual(&self, series: usize) -> &[f32] {
        &self.usual[series]
    }

    /// What the calendar says of a series: in its minutes and the day after them.
    #[must_use]
    pub fn flags(&self, series: usize) -> Vec<Flags> {
        let name = &self.history.series[series].name;
        self.calendar.flags(name, self.history.start, self.history.minutes() + DAY)
    }

    /// What happened `minutes` after `origin`; NaN where it is not known.
    #[must_use]
    pub fn outcome(&self, series: usize, origin: Minute, minutes: usize) -> f32 {
        let place = origin + minutes as Minute - self.history.start;
        let rps = self.history.series.get(series).map_or(&[][..], |series| &series.rps);
        usize::try_from(place).ok().and_then(|place| rps.get(place)).copied().unwrap_or(f32::NAN)
    }

    /// Minute of the local day, 0 to 1,439.
    #[must_use]
    pub fn minute_of_day(&self, minute: Minute) -> u16 {
        self.calendar.flags("", minute, 1).first().map_or(0, |flags| flags.minute_of_day)
    }

    /// What is seen of each series when `origin` is the last minute that is known. Nothing after it is
    /// read but the calendar.
    #[must_use]
    pub fn windows(&self, origin: Minute) -> Vec<Result<Window, NoWindow>> {
        let place = origin - self.history.start;
        let here = usize::try_from(place).ok().filter(|place| *place < self.history.minutes());
        let series = 0..self.history.series.len();
        let Some(here) = here.filter(|here| *here >= 2 * DAY) else {
            let days = place.max(0) as f64 / DAY as f64;
            return series.map(|_| Err(NoWindow::ShortHistory { days })).collect();
        };
        let mut signals: Vec<_> = series.map(|series| self.signals(series, here)).collect();
        (0..signals.len())
            .map(|index| {
                let refused = Err(NoWindow::ShortHistory { days: 0.0 });
                let own = std::mem::replace(&mut signals[index], refused)?;
                let others: Vec<&Signals> =
                    signals.iter().filter_map(|it| it.as_ref().ok()).collect();
                let window = self.window_of(index, here, &own, &others);
                signals[index] = Ok(own);
                Ok(window)
            })
            .collect()
    }

    /// What is seen of one of them.
    pub fn window(&self, series: usize, origin: Minute) -> Result<Window, NoWindow> {
        self.windows(origin)
            .into_iter()
            .nth(series)
            .unwrap_or(Err(NoWindow::ShortHistory { days: 0.0 }))
    }

    fn window_of(&self, index: usize, here: usize, own: &Signals, others: &[&Signals]) -> Window {
        let series = &self.history.series[index];
        let first = self.history.start + (here + 1 - DAY) as Minute;
        let flags = self.calendar.flags(&series.name, first, DAY + FURTHEST);
        Builder { own, others, flags: &flags, announced: announced(&flags) }
            .window(series.class, here)
    }

    fn signals(&self, series: usize, here: usize) -> Result<Signals, NoWindow> {
        Signals::new(&self.history.series[series].rps[..=here], &self.usual[series])
    }
}

/// Puts a window together.
struct Builder<'a> {
    own: &'a Signals,
    others: &'a [&'a Signals],
    /// From the first minute of the day before to the furthest horizon.
    flags: &'a [Flags],
    /// What announcements add to the simple forecast.
    announced: [f32; 3],
}

impl Builder<'_> {
    fn window(&self, class: Class, here: usize) -> Window {
        let leader = self.leader();
        Window {
            past: self.past(leader),
            future: self.future(),
            statics: self.statics(class, leader, here),
            anchor: std::array::from_fn(|index| self.own.anchor[index] + self.announced[index]),
            announced: self.announced,
            spread: self.own.spread,
            floor: self.own.floor,
        }
    }

    /// The other domain whose deviations went with ours most in the last day, and their correlation.
    fn leader(&self) -> (Option<&Signals>, f32) {
        self.others.iter().fold((None, 0.0_f32), |best, &other| {
            let correlation = self.own.correlation(other);
            if correlation.abs() > best.1.abs() { (Some(other), correlation) } else { best }
        })
    }

    fn past(&self, (leader, correlation): (Option<&Signals>, f32)) -> Vec<f32> {
        let own = self.own;
        let unit = own.spread[1];
        let mut rows = Vec::with_capacity(TOKENS * PAST.len());
        for token in 0..TOKENS {
            let minutes = minutes_of(token);
            let mean = |of: &[f32]| mean(&of[minutes.clone()]).unwrap_or(0.0);
            let middle = &self.flags[minutes.start.midpoint(minutes.end)];
            let missing = own.deviation[minutes.clone()].iter().filter(|it| it.is_nan()).count();
            let others = self.others.iter().fold(0.0_f32, |most, other| {
                let here = other.tokens[token];
                if here.abs() > most.abs() { here } else { most }
            });
            let known = missing < minutes.len();
            let leading = leader.map_or(0.0, |leader| correlation * leader.tokens[token]);
            let [sine, cosine] = circle(middle.minute_of_day);
            let row: [f32; PAST.len()] = [
                own.tokens[token],
                if known { (mean(&own.log) - own.log_level) / unit } else { 0.0 },
                mean(&own.log_usual[..DAY]) - own.usual_level,
                missing as f32 / minutes.len() as f32,
                mean(&own.errors[1]) / unit,
                leading,
                others,
                promoted(middle.promotion, middle.promotion_factor),
                promoted(middle.promotion_elsewhere, middle.elsewhere_factor),
                f32::from(u8::from(middle.deployment)),
                sine,
                cosine,
                day_off(middle),
            ];
            push(&mut rows, &row, &PAST);
        }
        rows
    }

    fn future(&self) -> Vec<f32> {
        let own = self.own;
        let now = &self.flags[DAY - 1];
        let mut rows = Vec::with_capacity(HORIZONS.len() * FUTURE.len());
        for (index, minutes) in HORIZONS.into_iter().enumerate() {
            let unit = own.spread[index];
            let anchor = own.anchor[index] + self.announced[index];
            let then = &self.flags[DAY - 1 + minutes];
            let usual = own.log_usual[DAY - 1 + minutes];
            let growth = usual - own.log_usual[DAY - 1];
            let at = |deviation: f32| (usual + deviation - anchor) / unit;
            let promotion = |flags: &Flags| promoted(flags.promotion, flags.promotion_factor);
            let elsewhere =
                |flags: &Flags| promoted(flags.promotion_elsewhere, flags.elsewhere_factor);
            let [sine, cosine] = circle(then.minute_of_day);
            let row: [f32; FUTURE.len()] = [
                growth / unit,
                known((own.growth(7 * DAY, minutes) - growth) / unit),
                known((own.growth(DAY, minutes) - growth) / unit),
                (own.log_level_short - anchor) / unit,
                at(own.level_of(60)),
                at(own.level_of(180)),
                at(own.level_of(DAY)),
                at(0.0),
                known(own.same_minute(minutes) / unit),
                known(own.yesterday(minutes) / unit),
                own.last_error(index) / unit,
                own.bias(index, 60) / unit,
                own.size(index, 60) / unit,
                (unit / 0.05).ln(),
                promotion(then),
                promotion(then) - promotion(now),
                elsewhere(then),
                elsewhere(then) - elsewhere(now),
                f32::from(u8::from(then.deployment)),
                f32::from(u8::from(then.payday)),
                f32::from(u8::from(then.month_end)),
                day_off(then),
                sine,
                cosine,
            ];
            push(&mut rows, &row, &FUTURE);
        }
        rows
    }

    fn statics(&self, class: Class, leader: (Option<&Signals>, f32), here: usize) -> Vec<f32> {
        let own = self.own;
        let mut row = [0.0; STATIC.len()];
        for (place, each) in row.iter_mut().zip(Class::ALL) {
            *place = f32::from(u8::from(each == class));
        }
        let rest = [
            (own.spread[1] / 0.05).ln(),
            (own.spread[2] / own.spread[0]).ln(),
            own.tail.ln(),
            own.roughness / own.spread[1],
            own.swing,
            own.missing,
            leader.1,
            (here as f32 / (7 * DAY) as f32).min(1.0),
        ];
        row[Class::ALL.len()..].copy_from_slice(&rest);
        let mut rows = Vec::with_capacity(STATIC.len());
        push(&mut rows, &row, &STATIC);
        rows
    }
}

/// Requests per second of the quantiles that a network gives in units of the spread around the anchor.
impl Window {
    /// `answer` has the quantiles of [`Forecast::QUANTILES`] per horizon.
    #[must_use]
    pub fn rps(&self, answer: &[[f32; 4]; 3]) -> [[f64; Forecast::QUANTILES.len()]; 3] {
        std::array::from_fn(|horizon| {
            answer[horizon].map(|quantile| {
                let log = self.anchor[horizon] + self.spread[horizon] * quantile;
                let rps = f64::from(log.exp() - self.floor);
                // What is no number stays none, so that it is refused: `max` would make it 0.
                if rps < 0.0 { 0.0 } else { rps }
            })
        })
    }
}

/// Minutes of a token, counted from the first of the day.
fn minutes_of(token: usize) -> std::ops::Range<usize> {
    let pooled = TOKENS - RAW;
    if token < pooled {
        token * POOL..(token + 1) * POOL
    } else {
        let minute = pooled * POOL + (token - pooled);
        minute..minute + 1
    }
}

/// Mean of what is known; `None` where nothing is.
fn mean(values: &[f32]) -> Option<f32> {
    let (mut sum, mut count) = (0.0, 0.0);
    for value in values.iter().filter(|value| value.is_finite()) {
        sum += value;
        count += 1.0;
    }
    (count > 0.0).then(|| sum / count)
}

/// What is not known says nothing.
fn known(value: f32) -> f32 {
    if value.is_finite() { value } else { 0.0 }
}

fn push(rows: &mut Vec<f32>, row: &[f32], features: &[Feature]) {
    rows.extend(
        row.iter()
            .zip(features)
            .map(|(value, feature)| known(*value).clamp(-feature.limit, feature.limit)),
    );
}

fn circle(minute_of_day: u16) -> [f32; 2] {
    let angle = f32::from(minute_of_day) / DAY as f32 * TAU;
    [angle.sin(), angle.cos()]
}

/// Saturday, Sunday or a holiday.
fn day_off(flags: &Flags) -> f32 {
    f32::from(u8::from(flags.holiday || flags.weekday >= 5))
}

/// A promotion whose factor nobody said counts as this one.
const UNSAID: f64 = 1.5;

/// By what the simple forecast is lifted by the promotions that begin after the minutes of the level, and lowered
/// by those that end, per horizon, in logarithms. A network that gives differences in units of small errors cannot say "three times" by itself; what
/// announcements are worth, and how late they are, it learns beside this. `flags` begin a day before now.
fn announced(flags: &[Flags]) -> [f32; 3] {
    let said = |flags: &Flags| promoted(flags.promotion, flags.promotion_factor);
    let level = flags[DAY - LEVEL..DAY].iter().map(said).sum::<f32>() / LEVEL as f32;
    HORIZONS.map(|ahead| said(&flags[DAY - 1 + ahead]) - level)
}

/// Logarithm of a promotion's factor; 0 without one.
fn promoted(promotion: bool, factor: f64) -> f32 {
    let factor = if factor.is_nan() { UNSAID } else { factor };
    if promotion { factor.max(0.05).ln() as f32 } else { 0.0 }
}

#[cfg(test)]
mod tests;
