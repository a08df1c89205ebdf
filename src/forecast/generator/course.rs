//! The course of one domain's traffic: a rate per minute that is built up factor by factor, and what is
//! counted of it.

use std::f64::consts::TAU;

use rand_distr::Gamma;

use super::chance::Chance;
use super::local::Local;
use super::{DAY, Series};

/// How wild each hour of the local day is, as a factor on deviations.
pub(super) type Heat = [f64; 24];

/// The same at every hour.
pub(super) const EVEN: Heat = [1.0; 24];

/// Highest rate that is ever generated, in requests per second: what comes out stays a plain number.
const MOST: f64 = 1e9;

/// Expected requests per second in each minute.
#[derive(Debug, Clone)]
pub(super) struct Course {
    pub(super) rate: Vec<f64>,
}

/// What the count of a minute adds to its rate.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Noise {
    /// Requests are whole: Poisson counts of the minute.
    pub(super) counts: bool,
    /// Coefficient of variation of a Gamma factor: arrivals in bursts.
    pub(super) burst: f64,
    /// Deviation of a log-normal factor.
    pub(super) white: f64,
    /// Probability that a minute is an outlier.
    pub(super) outliers: f64,
    /// Mean size of an outlier in the logarithm.
    pub(super) outlier: f64,
}

/// A factor that comes and goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bump {
    /// Index of its first minute; may lie outside the run.
    pub(super) start: i64,
    /// Minutes of its parts.
    pub(super) ramp: f64,
    pub(super) hold: f64,
    pub(super) decay: f64,
    /// Factor at its height.
    pub(super) factor: f64,
}

/// A random night or morning that is wilder than the rest.
pub(super) fn heat(chance: &mut Chance) -> Heat {
    let (size, at) = (chance.uniform(0.0, 0.7), chance.uniform(0.0, 24.0));
    let mut hour = 0.0;
    EVEN.map(|_| {
        hour += 1.0;
        (size * (TAU * (hour - at) / 24.0).cos()).exp()
    })
}

impl Course {
    pub(super) fn flat(minutes: usize, level: f64) -> Self {
        Self { rate: vec![level; minutes] }
    }

    /// Times a pattern of the day; `shift` are minutes by which the day runs late.
    pub(super) fn daily(&mut self, local: &Local, shape: &[f64], shift: usize) {
        for (index, rate) in self.rate.iter_mut().enumerate() {
            *rate *= shape[(local.of_day(index) + DAY - shift % DAY) % DAY];
        }
    }

    /// Times a factor per weekday, one gliding into the next over `2 * half` minutes around midnight.
    pub(super) fn weekly(&mut self, local: &Local, factors: &[f64; 7], half: f64) {
        for (index, rate) in self.rate.iter_mut().enumerate() {
            let today = usize::from(local.flags[index].weekday) % 7;
            let (other, part) = local.beside(index, half);
            *rate *= factors[today] * (1.0 - part) + factors[(today + other) % 7] * part;
        }
    }

    /// Times a level that walks from day to day (`walk`) and differs on each (`apart`), both as
    /// deviations of its logarithm; straight lines between noons.
    pub(super) fn level(&mut self, chance: &mut Chance, walk: f64, apart: f64) {
        let count = self.rate.len() / DAY + 2;
        let mut state = 0.0;
        let knots: Vec<f64> = (0..count)
            .map(|_| {
                state = 0.995 * state + walk * chance.normal();
                state + apart * chance.normal()
            })
            .collect();
        for (index, rate) in self.rate.iter_mut().enumerate() {
            let (day, part) = (index / DAY, (index % DAY) as f64 / DAY as f64);
            *rate *= (knots[day] * (1.0 - part) + knots[day + 1] * part).exp();
        }
    }

    /// Times growth by a factor over the run.
    pub(super) fn grow(&mut self, factor: f64) {
        let step = factor.ln() / self.rate.len().max(1) as f64;
        for (index, rate) in self.rate.iter_mut().enumerate() {
            *rate *= (step * index as f64).exp();
        }
    }

    /// Times a deviation that others share.
    pub(super) fn follow(&mut self, path: &[f64], part: f64) {
        for (rate, deviation) in self.rate.iter_mut().zip(path) {
            *rate *= (part * deviation).exp();
        }
    }

    pub(super) fn bump(&mut self, bump: Bump) {
        let length = (bump.ramp + bump.hold + bump.decay).clamp(0.0, 1e6);
        let end = bump.start.saturating_add(length.ceil() as i64);
        let place = |index: i64| index.clamp(0, self.rate.len() as i64) as usize;
        for index in place(bump.start)..place(end) {
            let since = (index as i64 - bump.start) as f64 + 0.5;
            let up = (since / bump.ramp.max(0.5)).min((length - since) / bump.decay.max(0.5));
            self.rate[index] *= 1.0 + (bump.factor - 1.0) * up.clamp(0.0, 1.0);
        }
    }

    /// What is counted.
    pub(super) fn observed(
        &self,
        chance: &mut Chance,
        local: &Local,
        heat: &Heat,
        noise: Noise,
    ) -> Vec<f32> {
        let shape = 1.0 / noise.burst.powi(2);
        let burst = (noise.burst > 0.0).then(|| Gamma::new(shape, 1.0 / shape).ok()).flatten();
        let count = |(index, rate): (usize, &f64)| {
            let hot = heat[local.of_day(index) / 60];
            let mut rate = rate.clamp(0.0, MOST);
            if let Some(burst) = &burst {
                rate *= (1.0 + hot * (chance.of(burst) - 1.0)).max(0.02);
            }
            if noise.white > 0.0 {
                rate *= (hot * noise.white * chance.normal()).exp();
            }
            if noise.outliers > 0.0 && chance.yes(noise.outliers) {
                let size = chance.exponential(noise.outlier).min(3.0);
                rate *= if chance.yes(0.7) { size.exp() } else { (-size).exp() };
            }
            if noise.counts {
                rate = chance.poisson(rate * 60.0) / 60.0;
            }
            rate as f32
        };
        self.rate.iter().enumerate().map(count).collect()
    }
}

/// A mean-reverting deviation of this standard deviation and correlation time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wander {
    pub(super) deviation: f64,
    /// In minutes.
    pub(super) time: f64,
    /// Has momentum: an AR(2) of two equal roots instead of an AR(1).
    pub(super) smooth: bool,
}

/// Its path in the logarithm, larger at hot hours.
pub(super) fn wander(chance: &mut Chance, local: &Local, heat: &Heat, of: Wander) -> Vec<f64> {
    // Two stages remember about twice as long as one.
    let time = if of.smooth { of.time / 2.0 } else { of.time };
    let keep = (-1.0 / time.max(0.1)).exp();
    let push = (1.0 - keep * keep).sqrt();
    // The second stage is fed with weight 1 - keep: its variance is (1 + keep^2) / (1 + keep)^2.
    let scale = (1.0 + keep) / keep.mul_add(keep, 1.0).sqrt();
    let (mut quick, mut slow) = (chance.normal(), chance.normal() / scale);
    let step = |index: usize| {
        quick = keep * quick + push * chance.normal();
        slow = keep * slow + (1.0 - keep) * quick;
        let state = if of.smooth { slow * scale } else { quick };
        of.deviation * state * heat[local.of_day(index) / 60]
    };
    (0..local.minutes()).map(step).collect()
}

/// A series of a name and class.
pub(super) fn series(name: &str, class: crate::cluster::Class, rps: Vec<f32>) -> Series {
    Series { name: name.to_owned(), class, rps }
}
