//! From readings at any instant to requests per second in each minute.

use crate::cluster::Class;
use crate::forecast::{History, Minute, Series};

use super::{MAX_VALUES, Mended};

/// Milliseconds of a minute.
pub(super) const MINUTE: i64 = 60_000;

/// Coarsest step of a source, in milliseconds. Forecasts look 5 to 30 minutes ahead: a coarser
/// source does not show what they are asked about.
const COARSEST: i64 = 5 * MINUTE;

/// 1973-03-03 in milliseconds. Numbers that rise by one and end before are no Unix times.
const EARLIEST: i64 = 100_000_000_000;

/// What a value of a source counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Unit {
    /// Requests per second.
    #[default]
    PerSecond,
    /// Requests per minute.
    PerMinute,
    /// Requests per hour.
    PerHour,
    /// Requests since the row before, at the usual distance of the source's rows.
    Count,
    /// Requests since a process started: a counter that only rises, but for resets to 0.
    Counter,
}

/// One value of a source.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Reading {
    /// Milliseconds since the epoch.
    pub(super) at: i64,
    /// At least 0; NaN where it is not known.
    pub(super) value: f64,
}

/// The readings of one domain as they come.
#[derive(Debug, Clone, Default)]
pub(super) struct Readings {
    pub(super) name: String,
    pub(super) all: Vec<Reading>,
}

/// Brings the readings of all domains to the same minutes. The error is one sentence.
pub(super) fn history(
    sources: Vec<Readings>,
    unit: Unit,
    mended: &mut Mended,
) -> Result<History, String> {
    let mut known: Vec<(String, Vec<Reading>, i64)> = Vec::with_capacity(sources.len());
    for source in sources {
        let readings = sorted(source.all, mended);
        let step = step(&readings, &source.name)?;
        known.push((source.name, readings, step));
    }
    let minutes = |pick: fn(&[Reading]) -> Option<&Reading>| {
        known.iter().filter_map(move |(_, readings, _)| pick(readings)).map(|it| minute(it.at))
    };
    let (Some(start), Some(last)) = (minutes(<[_]>::first).min(), minutes(<[_]>::last).max())
    else {
        return Err("it has no rows".to_owned());
    };
    let span = (last - start) as usize + 1;
    if span.saturating_mul(known.len()) > MAX_VALUES {
        return Err(format!(
            "it spans {} days for {} domains, more than a year of sixteen: is a time wrong?",
            span / 1440,
            known.len()
        ));
    }
    let mut series = Vec::with_capacity(known.len());
    for (name, readings, step) in known {
        let mut sums = Sums::over(start, span);
        match unit {
            Unit::Counter => sums.add_counter(&readings, mended),
            _ => sums.add_rates(&readings, step, factor(unit, step), mended),
        }
        series.push(Series { name, class: Class::default(), rps: sums.means() });
    }
    let history = History { start, series };
    mended.count_gaps(&history);
    Ok(history)
}

fn minute(at: i64) -> Minute {
    at.div_euclid(MINUTE)
}

/// What turns a value into requests per second.
fn factor(unit: Unit, step: i64) -> f64 {
    match unit {
        Unit::PerSecond | Unit::Counter => 1.0,
        Unit::PerMinute => 1.0 / 60.0,
        Unit::PerHour => 1.0 / 3600.0,
        Unit::Count => 1000.0 / step as f64,
    }
}

/// One reading per instant, in order.
fn sorted(mut readings: Vec<Reading>, mended: &mut Mended) -> Vec<Reading> {
    readings.sort_by_key(|reading| reading.at);
    let same = |a: f64, b: f64| a == b || a.is_nan() && b.is_nan();
    let mut one = Vec::with_capacity(readings.len());
    for group in readings.chunk_by(|a, b| a.at == b.at) {
        let first = group[0];
        let mut different = vec![first.value];
        for reading in &group[1..] {
            if different.iter().any(|value| same(*value, reading.value)) {
                mended.duplicates += 1;
            } else {
                mended.conflicts += 1;
                different.push(reading.value);
            }
        }
        different.retain(|value| !value.is_nan());
        let count = different.len() as f64;
        // Divided first: the sum of two great numbers may be infinite. 0 / 0 is unknown.
        let value = if different.is_empty() {
            f64::NAN
        } else {
            different.iter().map(|value| value / count).sum()
        };
        one.push(Reading { at: first.at, value });
    }
    one
}

/// The usual distance of readings, in milliseconds: the median.
fn step(readings: &[Reading], name: &str) -> Result<i64, String> {
    let mut steps: Vec<i64> = readings.windows(2).map(|pair| pair[1].at - pair[0].at).collect();
    if steps.is_empty() {
        return Err(format!("all rows of {name:?} have the same time"));
    }
    let middle = steps.len() / 2;
    let step = *steps.select_nth_unstable(middle).1;
    if step <= 1000 && readings.last().is_some_and(|last| last.at < EARLIEST) {
        return Err(format!("the time column of {name:?} counts rows, it holds no times"));
    }
    if step > COARSEST {
        return Err(format!(
            "{name:?} has a row every {} minutes: forecasts 5 to 30 minutes ahead need one at least every 5",
            step / MINUTE
        ));
    }
    Ok(step)
}

/// Weighted sums per minute.
struct Sums {
    start: Minute,
    totals: Vec<f64>,
    weights: Vec<f64>,
}

impl Sums {
    fn over(start: Minute, span: usize) -> Self {
        Self { start, totals: vec![0.0; span], weights: vec![0.0; span] }
    }

    fn add(&mut self, minute: Minute, value: f64, weight: f64) {
        let index = (minute - self.start) as usize;
        if let (Some(sum), Some(total)) = (self.totals.get_mut(index), self.weights.get_mut(index))
        {
            *sum += value * weight;
            *total += weight;
        }
    }

    /// A reading stands for its minute, and for the minutes up to the next reading where that comes
    /// no later than half a step late; before a gap, for as long as the step is.
    fn add_rates(&mut self, readings: &[Reading], step: i64, factor: f64, mended: &mut Mended) {
        for (index, reading) in readings.iter().enumerate() {
            let here = minute(reading.at);
            let next = readings.get(index + 1).map(|next| next.at);
            let until = if let Some(next) = next.filter(|next| next - reading.at <= step + step / 2)
            {
                minute(next)
            } else {
                let end = self.start + self.totals.len() as Minute;
                (here + (step + MINUTE / 2) / MINUTE).min(next.map_or(end, minute))
            };
            if reading.value.is_nan() {
                continue;
            }
            for minute in here..until.max(here + 1) {
                self.add(minute, reading.value * factor, 1.0);
            }
            mended.held += (until - here - 1).max(0) as u64;
        }
    }

    /// What a counter rose between two readings happened evenly between them. Where it fell it began
    /// anew at 0, so that it rose by what it shows: as Prometheus' `rate` has it. Over more than five
    /// minutes it is not known when it rose.
    fn add_counter(&mut self, readings: &[Reading], mended: &mut Mended) {
        let known: Vec<Reading> =
            readings.iter().copied().filter(|reading| !reading.value.is_nan()).collect();
        for pair in known.windows(2) {
            let (from, to) = (pair[0], pair[1]);
            let reset = to.value < from.value;
            mended.resets += u64::from(reset);
            if to.at - from.at > COARSEST {
                continue;
            }
            let rise = if reset { to.value } else { to.value - from.value };
            let rate = rise * 1000.0 / (to.at - from.at) as f64;
            for minute in minute(from.at)..=minute(to.at) {
                let begin = from.at.max(minute * MINUTE);
                let end = to.at.min((minute + 1) * MINUTE);
                if end > begin {
                    self.add(minute, rate, (end - begin) as f64);
                }
            }
        }
    }

    fn means(self) -> Vec<f32> {
        let means = self.totals.into_iter().zip(self.weights).map(|(sum, weight)| {
            let mean = (sum / weight) as f32;
            // No weight: unknown. What no f32 holds is not known either.
            if mean.is_finite() { mean } else { f32::NAN }
        });
        means.collect()
    }
}
