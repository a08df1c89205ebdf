//! What a day and a week look like: drawn patterns of mean 1.

use std::f64::consts::TAU;

use super::DAY;
use super::chance::Chance;

/// A factor per minute of the local day, mean 1.
pub(super) type Daily = Vec<f64>;

/// Highest harmonic of the fine pattern that repeats each day: half an hour.
const FINE: usize = 48;

/// The circular distance of a minute of the day from an hour, in hours, -12 to 12.
fn away(minute: usize, hour: f64) -> f64 {
    (minute as f64 / 60.0 - hour + 12.0).rem_euclid(24.0) - 12.0
}

fn bump(minute: usize, hour: f64, width: f64) -> f64 {
    (-0.5 * (away(minute, hour) / width).powi(2)).exp()
}

fn of(value: impl Fn(usize) -> f64) -> Daily {
    let mut shape: Daily = (0..DAY).map(value).collect();
    let mean = shape.iter().sum::<f64>() / DAY as f64;
    for value in &mut shape {
        *value = (*value / mean).max(1e-3);
    }
    shape
}

/// A sum of harmonics in the logarithm: the swing of the first one is `exp(2 * strength)`.
pub(super) fn harmonic(chance: &mut Chance, strength: f64) -> Daily {
    let waves: Vec<(f64, f64)> = (0..4_i32)
        .map(|order| {
            let part =
                if order == 0 { 1.0 } else { chance.uniform(0.0, 0.6) * 0.6_f64.powi(order) };
            (strength * part, chance.uniform(0.0, 1.0))
        })
        .collect();
    of(|minute| {
        let day = minute as f64 / DAY as f64;
        let sum = waves
            .iter()
            .enumerate()
            .map(|(order, (size, phase))| size * (TAU * ((order + 1) as f64 * day - phase)).cos());
        sum.sum::<f64>().exp()
    })
}

/// A night floor and peaks of the day: customers. `around` is the hour of the middle of the day.
pub(super) fn customers(chance: &mut Chance, around: f64) -> Daily {
    let floor = chance.log_uniform(0.05, 0.7);
    let count = 1 + chance.below(3);
    let mut peaks: Vec<(f64, f64, f64)> = (0..count)
        .map(|_| {
            let hour = around + chance.uniform(-5.0, 7.0);
            (hour, chance.uniform(1.0, 4.0), chance.uniform(0.3, 1.0))
        })
        .collect();
    // A broad day below the peaks, often with a dip at lunch.
    peaks.push((around + chance.uniform(-1.0, 2.0), chance.uniform(3.5, 5.5), 1.0));
    let dip = if chance.yes(0.5) { chance.uniform(0.05, 0.3) } else { 0.0 };
    let lunch = around - chance.uniform(0.5, 2.0);
    of(|minute| {
        let day: f64 =
            peaks.iter().map(|(hour, width, size)| size * bump(minute, *hour, *width)).sum();
        (floor + day) * (1.0 - dip * bump(minute, lunch, 0.7))
    })
}

/// Open from some hour to some other with ramps, a lunch dip, and little else.
pub(super) fn office(chance: &mut Chance, around: f64) -> Daily {
    let half = chance.uniform(3.5, 6.5);
    let ramp = chance.uniform(0.4, 2.5);
    let floor = chance.log_uniform(0.03, 0.5);
    let (dip, lunch) = (chance.uniform(0.0, 0.35), around - chance.uniform(-0.5, 1.0));
    of(|minute| {
        let open = ((half - away(minute, around).abs()) / ramp + 0.5).clamp(0.0, 1.0);
        // Smooth ends.
        let open = open * open * (3.0 - 2.0 * open);
        (floor + (1.0 - floor) * open) * (1.0 - dip * bump(minute, lunch, 0.6))
    })
}

/// A broad day with narrow peaks at fixed minutes: jobs and meals.
fn ragged(chance: &mut Chance, around: f64) -> Daily {
    let strength = chance.uniform(0.1, 0.6);
    let mut shape = harmonic(chance, strength);
    for _ in 0..3 + chance.below(8) {
        let hour = around + chance.uniform(-9.0, 9.0);
        let (width, size) = (chance.log_uniform(0.08, 1.2), chance.log_uniform(0.1, 1.2));
        // A steep side and a flat one.
        let lean = chance.uniform(0.1, 1.0);
        for (minute, value) in shape.iter_mut().enumerate() {
            let lean = if away(minute, hour) < 0.0 { lean } else { 1.0 };
            *value *= 1.0 + size * bump(minute, hour, width * lean);
        }
    }
    of(|minute| shape[minute])
}

/// Jobs at fixed minutes of the day: spikes of minutes.
fn jobs(chance: &mut Chance, shape: &mut [f64]) {
    for _ in 0..=chance.below(5) {
        let at = if chance.yes(0.3) { 0.0 } else { chance.uniform(0.0, 24.0) };
        let (width, size) = (chance.log_uniform(0.015, 0.15), chance.log_uniform(0.05, 1.0));
        let factor = if chance.yes(0.8) { size } else { -0.5 * size };
        for (minute, value) in shape.iter_mut().enumerate() {
            *value *= 1.0 + factor * bump(minute, at, width);
        }
    }
}

/// Any of the above, anywhere in the day: time zones of foreign services are not known.
pub(super) fn any(chance: &mut Chance) -> Daily {
    let around =
        if chance.yes(0.6) { chance.uniform(11.0, 17.0) } else { chance.uniform(0.0, 24.0) };
    let mut shape = match chance.below(6) {
        0 | 1 => {
            let strength = chance.log_uniform(0.05, 0.9);
            harmonic(chance, strength)
        }
        2 | 3 => customers(chance, around),
        4 => ragged(chance, around),
        _ => office(chance, around),
    };
    // Flatter or sharper: averaged values hardly move from night to day.
    let power = if chance.yes(0.25) { chance.uniform(0.08, 0.5) } else { chance.uniform(0.5, 1.2) };
    bend(&mut shape, power);
    let size = chance.log_uniform(0.002, 0.03);
    fine(chance, &mut shape, size);
    if chance.yes(0.35) {
        jobs(chance, &mut shape);
    }
    shape
}

/// Flattens a pattern, or sharpens it with a power above 1.
pub(super) fn bend(shape: &mut [f64], power: f64) {
    for value in shape {
        *value = value.powf(power);
    }
}

/// A fine pattern that repeats each day on top: jobs and habits at fixed minutes.
pub(super) fn fine(chance: &mut Chance, shape: &mut [f64], size: f64) {
    for _ in 0..6 {
        let order = (4 + chance.below(FINE - 4)) as f64;
        let (size, phase) = (size * chance.normal().abs(), chance.uniform(0.0, 1.0));
        for (minute, value) in shape.iter_mut().enumerate() {
            *value *=
                1.0 + size.min(0.3) * (TAU * (order * minute as f64 / DAY as f64 - phase)).cos();
        }
    }
}

/// A factor per weekday, Monday first. `weekend` is the factor of Saturday; Sunday is near it.
pub(super) fn week(chance: &mut Chance, weekend: f64, spread: f64) -> [f64; 7] {
    let sunday = weekend * chance.log_uniform(0.8, 1.15);
    let mut factors = [1.0, 1.0, 1.0, 1.0, 1.0, weekend, sunday];
    for factor in &mut factors {
        *factor *= (spread * chance.normal()).exp();
    }
    factors
}
