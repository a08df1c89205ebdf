//! One series around one minute: logarithms, deviations from the usual, and how the simple forecast did.

use super::{
    FURTHEST, HORIZONS, LEVEL, LEVEL_LEAST, MOST_SHIFT, NoWindow, TOKENS, mean, minutes_of,
};
use crate::forecast::history::DAY;

/// Added before logarithms, as a share of the day's mean.
const FLOOR: f32 = 0.01;

/// Errors below this mean that the simple forecast is as good as exact.
const LEAST_SPREAD: f32 = 0.003;

/// The spread is the mean of this part of the smallest errors, so that an outage does not hide what is
/// usual.
const TRIMMED: f32 = 0.9;

/// The day before a minute. All series have a value per minute of it, the newest last; NaN where one
/// is not known.
pub(super) struct Signals {
    pub(super) floor: f32,
    /// Logarithm of the traffic.
    pub(super) log: Vec<f32>,
    /// Logarithm of what is usual, and of the half hour to come.
    pub(super) log_usual: Vec<f32>,
    /// The first over the second.
    pub(super) deviation: Vec<f32>,
    /// What the simple forecasts for this minute were wrong by, per horizon.
    pub(super) errors: [Vec<f32>; 3],
    pub(super) anchor: [f32; 3],
    pub(super) spread: [f32; 3],
    /// Means over the newest ten and five minutes.
    pub(super) deviation_level: f32,
    pub(super) log_level: f32,
    pub(super) log_level_short: f32,
    pub(super) usual_level: f32,
    /// Mean of all errors over that of the smaller ones.
    pub(super) tail: f32,
    /// Mean change from minute to minute.
    pub(super) roughness: f32,
    /// Standard deviation of what is usual over the day.
    pub(super) swing: f32,
    /// Share of minutes that is not known.
    pub(super) missing: f32,
    /// Traffic of the week and the day ago: logarithm of quarter-hour means from the minute a week (day)
    /// before on, for now and each horizon; NaN where not known.
    week: [f32; 4],
    day: [f32; 4],
    /// Deviation of each token against that of now, in errors; 0 where it is not known.
    pub(super) tokens: Vec<f32>,
    /// Deviations by means of five minutes; NaN where one is not known.
    fives: Vec<f32>,
}

impl Signals {
    /// `rps` ends with the newest minute; `usual` begins where it does and goes on.
    pub(super) fn new(rps: &[f32], usual: &[f32]) -> Result<Self, NoWindow> {
        let end = rps.len();
        if end < 2 * DAY {
            return Err(NoWindow::ShortHistory { days: end as f64 / DAY as f64 });
        }
        let (today, usual_here) = (&rps[end - DAY..], &usual[end - DAY..end + FURTHEST]);
        let average = mean(today).ok_or(NoWindow::Gaps { missing: 1.0 })?;
        let missing = today.iter().filter(|it| it.is_nan()).count() as f32 / DAY as f32;
        if missing > 0.5 {
            return Err(NoWindow::Gaps { missing });
        }
        flat(today, average)?;
        let floor = FLOOR * average;
        let ln = |values: &[f32]| values.iter().map(|it| (it + floor).ln()).collect::<Vec<_>>();
        let (log, log_usual) = (ln(today), ln(usual_here));
        let deviation: Vec<f32> =
            log.iter().zip(&log_usual).map(|(log, usual)| log - usual).collect();
        let levels = levels(&rps[end - DAY - FURTHEST..], &usual[end - DAY - FURTHEST..end]);
        let level = levels.last().copied().unwrap_or(f32::NAN);
        if !level.is_finite() {
            let known = today[DAY - LEVEL..].iter().filter(|it| it.is_finite()).count();
            return Err(NoWindow::NoLevel { known });
        }
        if !(1.0 / MOST_SHIFT..=MOST_SHIFT).contains(&level) && average > 0.0 {
            return Err(NoWindow::Shift { times: level });
        }
        let mut anchor = [0.0; 3];
        for (anchor, minutes) in anchor.iter_mut().zip(HORIZONS) {
            *anchor = (level * usual_here[DAY - 1 + minutes] + floor).ln();
            if !anchor.is_finite() {
                return Err(NoWindow::NothingUsual { minutes });
            }
        }
        let errors = HORIZONS.map(|minutes| {
            (0..DAY)
                .map(|minute| {
                    let made = levels[minute + FURTHEST - minutes];
                    log[minute] - (made * usual_here[minute] + floor).ln()
                })
                .collect::<Vec<_>>()
        });
        let spread = errors.each_ref().map(|errors| trimmed(errors));
        let newest = |of: &[f32], minutes: usize| mean(&of[of.len() - minutes..]);
        let log_level = newest(&log, LEVEL).unwrap_or(anchor[0]);
        let usual_level = newest(&log_usual[..DAY], LEVEL).unwrap_or(log_level);
        let deviation_level = newest(&deviation, LEVEL).unwrap_or(0.0);
        let token = |token| {
            let here = mean(&deviation[minutes_of(token)]);
            here.map_or(0.0, |here| (here - deviation_level) / spread[1])
        };
        let five = |minutes: &[f32]| mean(minutes).unwrap_or(f32::NAN);
        Ok(Self {
            tokens: (0..TOKENS).map(token).collect(),
            fives: deviation.chunks(5).map(five).collect(),
            tail: whole(&errors[1]) / spread[1],
            deviation_level,
            log_level_short: newest(&log, 5).unwrap_or(log_level),
            roughness: roughness(&deviation),
            swing: deviation_of(&log_usual[..DAY]),
            week: quarters(rps, floor, 7 * DAY),
            day: quarters(rps, floor, DAY),
            floor,
            log,
            log_usual,
            deviation,
            errors,
            anchor,
            spread,
            log_level,
            usual_level,
            missing,
        })
    }

    /// Mean deviation of the newest minutes.
    pub(super) fn level_of(&self, minutes: usize) -> f32 {
        mean(&self.deviation[DAY - minutes..]).unwrap_or(self.deviation_level)
    }

    /// Growth from now to a horizon, as it was a day or a week ago; NaN where it is not known.
    pub(super) fn growth(&self, ago: usize, minutes: usize) -> f32 {
        let then = if ago == DAY { &self.day } else { &self.week };
        let index = HORIZONS.iter().position(|it| *it == minutes).map_or(0, |index| index + 1);
        then[index] - then[0]
    }

    /// Mean deviation at the same minute of the last four hours, against that of these hours: what
    /// comes by the clock.
    pub(super) fn same_minute(&self, minutes: usize) -> f32 {
        let place = DAY - 1 + minutes;
        let same: Vec<f32> = (1..=4).map(|hour| self.deviation[place - hour * 60]).collect();
        let around = mean(&self.deviation[place - 240 - 30..(place - 60 + 30).min(DAY)]);
        mean(&same).zip(around).map_or(f32::NAN, |(same, around)| same - around)
    }

    /// Deviation around the same minute yesterday, against that of the same hour.
    pub(super) fn yesterday(&self, minutes: usize) -> f32 {
        let place = minutes - 1;
        let near = mean(&self.deviation[place.saturating_sub(1)..=place + 1]);
        let around = mean(&self.deviation[..60]);
        near.zip(around).map_or(f32::NAN, |(near, around)| near - around)
    }

    /// What the newest simple forecast for now was wrong by, on the mean of five minutes.
    pub(super) fn last_error(&self, horizon: usize) -> f32 {
        self.bias(horizon, 5)
    }

    /// Mean error of the newest minutes.
    pub(super) fn bias(&self, horizon: usize, minutes: usize) -> f32 {
        mean(&self.errors[horizon][DAY - minutes..]).unwrap_or(0.0)
    }

    /// Mean size of the errors of the newest minutes.
    pub(super) fn size(&self, horizon: usize, minutes: usize) -> f32 {
        let errors = &self.errors[horizon][DAY - minutes..];
        let sizes: Vec<f32> = errors.iter().map(|error| error.abs()).collect();
        mean(&sizes).unwrap_or(self.spread[horizon])
    }

    /// Correlation of the deviations of two series over the day, by means of five minutes; 0 where there
    /// is none.
    pub(super) fn correlation(&self, other: &Self) -> f32 {
        let (mut count, mut sums, mut products) = (0.0_f32, [0.0_f32; 2], [0.0_f32; 3]);
        for (own, its) in self.fives.iter().zip(&other.fives) {
            if (own + its).is_nan() {
                continue;
            }
            count += 1.0;
            sums = [sums[0] + own, sums[1] + its];
            products = [products[0] + own * own, products[1] + its * its, products[2] + own * its];
        }
        let variance = |sum: f32, square: f32| square / count - (sum / count) * (sum / count);
        let both = variance(sums[0], products[0]) * variance(sums[1], products[1]);
        let covariance = products[2] / count - sums[0] / count * (sums[1] / count);
        let correlation = covariance / both.sqrt();
        if correlation.is_finite() { correlation.clamp(-1.0, 1.0) } else { 0.0 }
    }
}

/// Ratio of ten-minute sums, observed over usual, in each minute; NaN where too little is known.
fn levels(rps: &[f32], usual: &[f32]) -> Vec<f32> {
    let pairs: Vec<Option<(f64, f64)>> = rps
        .iter()
        .zip(usual)
        .map(|(rps, usual)| {
            let known = rps.is_finite() && usual.is_finite();
            known.then(|| (f64::from(*rps), f64::from(*usual)))
        })
        .collect();
    let (mut sums, mut count) = ((0.0, 0.0), 0_usize);
    (0..pairs.len())
        .map(|minute| {
            if let Some((rps, usual)) = pairs[minute] {
                sums = (sums.0 + rps, sums.1 + usual);
                count += 1;
            }
            if let Some((rps, usual)) = minute.checked_sub(LEVEL).and_then(|it| pairs[it]) {
                sums = (sums.0 - rps, sums.1 - usual);
                count -= 1;
            }
            // A sum of what is taken away again may be a little below 0.
            if count < LEVEL_LEAST { f32::NAN } else { (sums.0.max(0.0) / sums.1) as f32 }
        })
        .collect()
}

/// Mean size of the smaller errors.
fn trimmed(errors: &[f32]) -> f32 {
    let mut sizes: Vec<f32> =
        errors.iter().filter(|it| it.is_finite()).map(|it| it.abs()).collect();
    let part = (sizes.len() as f32 * TRIMMED) as usize;
    if part < sizes.len() {
        sizes.select_nth_unstable_by(part, f32::total_cmp);
    }
    mean(&sizes[..part]).unwrap_or(0.05).max(LEAST_SPREAD)
}

fn whole(errors: &[f32]) -> f32 {
    let sizes: Vec<f32> = errors.iter().map(|it| it.abs()).collect();
    mean(&sizes).unwrap_or(LEAST_SPREAD).max(LEAST_SPREAD)
}

fn roughness(deviation: &[f32]) -> f32 {
    let steps: Vec<f32> = deviation.windows(2).map(|pair| (pair[1] - pair[0]).abs()).collect();
    mean(&steps).unwrap_or(0.0)
}

fn deviation_of(values: &[f32]) -> f32 {
    let Some(average) = mean(values) else { return 0.0 };
    let squares: Vec<f32> = values.iter().map(|it| (it - average) * (it - average)).collect();
    mean(&squares).unwrap_or(0.0).sqrt()
}

/// Logarithms of quarter-hour means around now and each horizon, `ago` minutes before.
fn quarters(rps: &[f32], floor: f32, ago: usize) -> [f32; 4] {
    let now = rps.len() - 1;
    [0, HORIZONS[0], HORIZONS[1], HORIZONS[2]].map(|ahead| {
        let Some(centre) = (now + ahead).checked_sub(ago).filter(|it| *it >= 7) else {
            return f32::NAN;
        };
        mean(&rps[centre - 7..(centre + 8).min(rps.len())]).map_or(f32::NAN, |it| (it + floor).ln())
    })
}

fn flat(today: &[f32], average: f32) -> Result<(), NoWindow> {
    if average <= 0.0 {
        return Err(NoWindow::Flat { what: "no" });
    }
    let known = || today.iter().copied().filter(|it| it.is_finite());
    let (least, most) = (known().fold(f32::INFINITY, f32::min), known().fold(0.0, f32::max));
    if most - least <= 1e-6 * average {
        return Err(NoWindow::Flat { what: "constant" });
    }
    Ok(())
}
