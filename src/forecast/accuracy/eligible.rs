//! Which series make accuracy figures.

use crate::forecast::history::DAY;

/// More missing minutes than this and a figure says more about the gaps than about the forecasts.
const MOST_GAPS: f64 = 0.2;

/// Why a series makes no accuracy figure.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Ineligible {
    /// Too short.
    #[error("it spans {days:.1} days, and figures from day {needed} on need {needed}")]
    Short {
        /// How many days it has.
        days: f64,
        /// How many it needs.
        needed: usize,
    },
    /// Too many gaps, or values that are further apart than a minute.
    #[error("{percent:.0} % of its minutes are missing, more than 20 %")]
    Gaps {
        /// How many per cent.
        percent: f64,
    },
    /// Nothing to forecast most of the time.
    #[error("its median is 0: there is no traffic to forecast")]
    Zero,
    /// Nothing to forecast ever.
    #[error("all its values are the same: every forecast is right")]
    Constant,
}

/// Whether figures from this day on (1 for the first) can be made of a series: long enough, known in most
/// minutes between its first and last value, with traffic, not constant.
pub fn eligible(rps: &[f32], from_day: usize) -> Result<(), Ineligible> {
    let known = |value: &f32| value.is_finite();
    let first = rps.iter().position(known).unwrap_or(0);
    let end = rps.iter().rposition(known).map_or(first, |last| last + 1);
    let (rps, days) = (&rps[first..end], (end - first) as f64 / DAY as f64);
    // The last minute of a file may be the one before midnight's.
    if ((end - first + 1) as f64) < (from_day * DAY) as f64 {
        return Err(Ineligible::Short { days, needed: from_day });
    }
    let mut values: Vec<f32> = rps.iter().copied().filter(known).collect();
    let missing = 1.0 - values.len() as f64 / rps.len().max(1) as f64;
    if missing >= MOST_GAPS {
        return Err(Ineligible::Gaps { percent: 100.0 * missing });
    }
    values.sort_unstable_by(f32::total_cmp);
    if values.first() == values.last() {
        return Err(Ineligible::Constant);
    }
    if values.get(values.len() / 2).is_none_or(|median| *median <= 0.0) {
        return Err(Ineligible::Zero);
    }
    Ok(())
}
