//! Traffic that follows what happens in the world.

use super::chance::Chance;
use super::course::{Bump, Course, Noise, Wander, heat, wander};
use super::local::Local;
use super::shape;

/// Half a match in minutes, with what is added to it.
const HALF: f64 = 47.0;

/// Quiet days and days of matches: bursts of two hours with ramps, and growth over weeks.
pub(super) fn values(chance: &mut Chance, local: &Local) -> Vec<f32> {
    let mut course = Course::flat(local.minutes(), chance.log_uniform(2.0, 2000.0));
    let mut shape = shape::any(chance);
    let power = chance.uniform(0.3, 1.0);
    shape::bend(&mut shape, power);
    course.daily(local, &shape, 0);
    course.grow(chance.log_uniform(0.7, 8.0));
    let (walk, apart) = (chance.log_uniform(0.02, 0.15), chance.log_uniform(0.02, 0.25));
    course.level(chance, walk, apart);
    let heat = heat(chance);
    for (most, from, to) in [(0.25, 120.0, 1000.0), (0.12, 10.0, 90.0)] {
        let (deviation, time) = (chance.log_uniform(0.02, most), chance.log_uniform(from, to));
        let of = Wander { deviation, time, smooth: chance.yes(0.5) };
        course.follow(&wander(chance, local, &heat, of), 1.0);
    }
    // A season of matches from some day on, at a few fixed hours.
    let count = local.days.len().max(1);
    let (first, length) = (chance.below(count.div_ceil(2)), count / 3 + chance.below(count));
    let hours =
        [chance.uniform(10.0, 15.0), chance.uniform(15.0, 19.0), chance.uniform(19.0, 23.0)];
    let (often, height) = (chance.uniform(0.2, 0.9), chance.log_uniform(1.6, 6.0));
    for day in first..(first + length).min(count) {
        if !chance.yes(often) {
            continue;
        }
        for hour in &hours[..=chance.below(hours.len())] {
            let start = local.at(day, hour * 60.0 + chance.uniform(-5.0, 5.0));
            let factor = 1.0 + (height - 1.0) * chance.log_uniform(0.3, 1.8);
            contest(chance, &mut course, start, factor);
        }
    }
    let noise = Noise {
        counts: true,
        burst: chance.log_uniform(0.01, 0.12),
        outliers: chance.log_uniform(1e-5, 1e-3),
        outlier: 0.5,
        ..Noise::default()
    };
    course.observed(chance, local, &heat, noise)
}

/// A match, with a break in its middle that is busier or calmer.
fn contest(chance: &mut Chance, course: &mut Course, kickoff: i64, factor: f64) {
    let ramp = chance.log_uniform(5.0, 90.0);
    let start = kickoff - (ramp * chance.uniform(0.3, 1.0)) as i64;
    let hold = 2.0 * HALF + 15.0 + chance.uniform(-10.0, 40.0);
    let decay = chance.log_uniform(10.0, 150.0);
    course.bump(Bump { start, ramp, hold, decay, factor });
    let factor = chance.log_uniform(0.75, 1.5);
    course.bump(Bump { start: kickoff + HALF as i64, ramp: 3.0, hold: 10.0, decay: 5.0, factor });
    // The second half is often the bigger one.
    let (start, factor) = (kickoff + HALF as i64 + 15, chance.log_uniform(0.85, 1.7));
    course.bump(Bump { start, ramp: 25.0, hold: HALF - 25.0, decay: 20.0, factor });
}

/// Surges and sags that nobody announced, `often` per 3 days.
pub(super) fn surges(chance: &mut Chance, course: &mut Course, often: f64) {
    for at in chance.moments(often / 3.0, course.rate.len()) {
        let ramp = chance.log_uniform(0.5, 20.0);
        let hold = chance.log_uniform(1.0, 90.0);
        let decay = chance.log_uniform(0.5, 60.0);
        let size = chance.exponential(0.25).min(1.6).exp();
        let factor = if chance.yes(0.75) { size } else { 1.0 / size };
        course.bump(Bump { start: at as i64, ramp, hold, decay, factor });
    }
}
