//! Services of many kinds, which have nothing to do with each other: from them a network learns when the
//! profile, the last value, yesterday or last week is to be trusted.
//!
//! Ranges were set so that the kinds lie on both sides of production services (Microsoft, AIOPS,
//! World Cup 98, WSD; `learning.md` 2.2) in the error of level x profile 15 min ahead and in the
//! correlation of the deviation from it over 1 to 60 min.

use super::chance::Chance;
use super::course::{Course, EVEN, Heat, Noise, Wander, heat, series, wander};
use super::local::Local;
use super::trouble::{Trouble, gaps, spells, strike};
use super::{Calendar, DAY, History, Kind, Minute, eventful, shape, zones};
use crate::cluster::Class;
use crate::seed::Seed;

/// In which order kinds come: those that are frequent in production come more often.
const DECK: [Kind; 24] = [
    Kind::Smooth,
    Kind::Averaged,
    Kind::Weekly,
    Kind::Wandering,
    Kind::EventDriven,
    Kind::Drifting,
    Kind::Bursty,
    Kind::Cron,
    Kind::Plateaus,
    Kind::Sparse,
    Kind::Mixture,
    Kind::Smooth,
    Kind::Averaged,
    Kind::Drifting,
    Kind::Smooth,
    Kind::Weekly,
    Kind::EventDriven,
    Kind::Smooth,
    Kind::Averaged,
    Kind::Mixture,
    Kind::Drifting,
    Kind::Smooth,
    Kind::Bursty,
    Kind::Weekly,
];

/// `count` series of `days` days from `start` on, named by their kind, and a calendar that only knows
/// the time zone. Every kind is among the first 11; no value is negative or infinite, gaps are NaN.
#[must_use]
pub fn services(seed: Seed, start: Minute, days: usize, count: usize) -> (History, Calendar) {
    let zone = zones::draw(&mut Chance::new(seed.child("zone")));
    let calendar = Calendar { zone, ..Calendar::default() };
    let minutes = days * DAY;
    let here = Local::new(&calendar, start, minutes);
    let elsewhere = Local::new(&Calendar::default(), start, minutes);
    let one = |index: usize| {
        let mut chance = Chance::new(seed.child("service").nth(index as u64));
        let kind = DECK[index % DECK.len()];
        let local = if chance.yes(0.5) { &here } else { &elsewhere };
        let mut rps = values(&mut chance, local, kind);
        let trouble = Trouble { gaps: chance.pick([0.0, 0.0, 1.0, 4.0]), ..CALM };
        gaps(&mut chance, &mut rps, trouble);
        series(&format!("{}-{index}", kind.as_str()), chance.pick(Class::ALL), rps)
    };
    (History { start, series: (0..count).map(one).collect() }, calendar)
}

const CALM: Trouble = Trouble { outages: 0.0, shifts: 0.0, gaps: 0.0, huge: 0.0 };

fn values(chance: &mut Chance, local: &Local, kind: Kind) -> Vec<f32> {
    match kind {
        Kind::Smooth => smooth(chance, local),
        Kind::Drifting => drifting(chance, local),
        Kind::Weekly => weekly(chance, local),
        Kind::Wandering => wandering(chance, local),
        Kind::EventDriven => eventful::values(chance, local),
        Kind::Bursty => bursty(chance, local),
        Kind::Cron => cron(chance, local),
        Kind::Plateaus => plateaus(chance, local),
        Kind::Sparse => sparse(chance, local),
        Kind::Averaged => averaged(chance, local),
        Kind::Mixture => mixture(chance, local),
    }
}

/// A level, slow and quick deviations, and what goes wrong.
fn unrest(chance: &mut Chance, local: &Local, course: &mut Course, size: f64) -> Heat {
    let heat = heat(chance);
    let (walk, apart) = (chance.log_uniform(0.004, 0.06), chance.log_uniform(0.004, 0.08));
    course.level(chance, walk * size, apart * size);
    for (least, most, from, to) in [(0.01, 0.12, 150.0, 1500.0), (0.006, 0.06, 8.0, 180.0)] {
        let deviation = size * chance.log_uniform(least, most);
        let of = Wander { deviation, time: chance.log_uniform(from, to), smooth: chance.yes(0.5) };
        course.follow(&wander(chance, local, &heat, of), 1.0);
    }
    if chance.yes(0.3) {
        course.grow(chance.log_uniform(0.6, 1.8));
    }
    let often = chance.pick([0.0, 0.3, 1.0, 4.0]);
    let trouble = Trouble { outages: often * 0.5, shifts: often * 0.5, gaps: 0.0, huge: 0.01 };
    strike(chance, course, trouble);
    if chance.yes(0.3) {
        spells(chance, course);
    }
    if chance.yes(0.03) {
        let born = chance.below(course.rate.len());
        course.rate[..born].fill(0.0);
    }
    eventful::surges(chance, course, often);
    heat
}

/// A week whose days glide into each other.
fn turn(chance: &mut Chance, local: &Local, course: &mut Course, weekend: f64, spread: f64) {
    let half = chance.log_uniform(30.0, 500.0);
    course.weekly(local, &shape::week(chance, weekend, spread), half);
}

fn noise(chance: &mut Chance, size: f64) -> Noise {
    let heavy = chance.yes(0.4);
    Noise {
        counts: chance.yes(0.6),
        burst: 0.0,
        white: size * chance.log_uniform(0.003, 0.05),
        outliers: if heavy { chance.log_uniform(1e-4, 2e-2) } else { 0.0 },
        outlier: chance.log_uniform(0.05, 0.4),
    }
}

/// Seldom changing, many customers: the profile is right.
fn smooth(chance: &mut Chance, local: &Local) -> Vec<f32> {
    let mut course = Course::flat(local.minutes(), chance.log_uniform(20.0, 20_000.0));
    course.daily(local, &shape::any(chance), 0);
    let (weekend, spread) = (chance.log_uniform(0.75, 1.2), chance.uniform(0.0, 0.05));
    turn(chance, local, &mut course, weekend, spread);
    let size = chance.log_uniform(0.7, 2.2);
    let heat = unrest(chance, local, &mut course, size);
    let noise = noise(chance, 1.0);
    course.observed(chance, local, &heat, noise)
}

/// The day comes earlier or later, higher or flatter than yesterday.
fn drifting(chance: &mut Chance, local: &Local) -> Vec<f32> {
    let mut course = Course::flat(local.minutes(), chance.log_uniform(10.0, 20_000.0));
    let shape = shape::any(chance);
    let (late, tall) = (chance.log_uniform(1.0, 25.0), chance.log_uniform(0.02, 0.25));
    let (mut shift, mut power) = (0.0, 1.0);
    let (mut day, mut before) = (usize::MAX, (0.0, 1.0));
    for (index, rate) in course.rate.iter_mut().enumerate() {
        if local.day[index] != day {
            day = local.day[index];
            before = (shift, power);
            shift = 0.9 * shift + late * chance.normal();
            power = 1.0 + 0.85 * (power - 1.0) + tall * chance.normal();
        }
        let minute = local.of_day(index);
        let part = minute as f64 / DAY as f64;
        let now = minute as f64 - (before.0 + (shift - before.0) * part);
        let place = now.rem_euclid(DAY as f64) as usize % DAY;
        *rate *= shape[place].powf((before.1 + (power - before.1) * part).clamp(0.2, 2.0));
    }
    let heat = unrest(chance, local, &mut course, 1.0);
    let noise = noise(chance, 1.0);
    course.observed(chance, local, &heat, noise)
}

/// Weekends are another world, in level and in shape.
fn weekly(chance: &mut Chance, local: &Local) -> Vec<f32> {
    let mut course = Course::flat(local.minutes(), chance.log_uniform(10.0, 10_000.0));
    let around = chance.uniform(9.0, 18.0);
    let work = if chance.yes(0.6) {
        shape::office(chance, around)
    } else {
        shape::customers(chance, around)
    };
    let rest = shape::any(chance);
    let half = chance.log_uniform(30.0, 300.0);
    for (index, rate) in course.rate.iter_mut().enumerate() {
        let today = usize::from(local.flags[index].weekday);
        let (other, part) = local.beside(index, half);
        let of = |day: usize| if day % 7 >= 5 { &rest } else { &work }[local.of_day(index)];
        *rate *= of(today) * (1.0 - part) + of(today + other) * part;
    }
    let (weekend, spread) = (chance.log_uniform(0.15, 0.8), chance.uniform(0.0, 0.1));
    turn(chance, local, &mut course, weekend, spread);
    let heat = unrest(chance, local, &mut course, 1.0);
    let noise = noise(chance, 1.0);
    course.observed(chance, local, &heat, noise)
}

/// No season: it comes back to a mean, or does not.
fn wandering(chance: &mut Chance, local: &Local) -> Vec<f32> {
    let mut course = Course::flat(local.minutes(), chance.log_uniform(10.0, 20_000.0));
    for (from, to) in [(10.0, 200.0), (200.0, 10_000.0)] {
        let (deviation, time) = (chance.log_uniform(0.02, 0.4), chance.log_uniform(from, to));
        let of = Wander { deviation, time, smooth: chance.yes(0.5) };
        course.follow(&wander(chance, local, &EVEN, of), 1.0);
    }
    let heat = heat(chance);
    let noise = noise(chance, 1.0);
    course.observed(chance, local, &heat, noise)
}

/// Wild from minute to minute: only means help.
fn bursty(chance: &mut Chance, local: &Local) -> Vec<f32> {
    let mut course = Course::flat(local.minutes(), chance.log_uniform(2.0, 2000.0));
    course.daily(local, &shape::any(chance), 0);
    let mut heat = unrest(chance, local, &mut course, 1.5);
    for value in &mut heat {
        *value = value.min(1.5);
    }
    let noise = Noise {
        counts: true,
        burst: chance.log_uniform(0.05, 0.5),
        white: 0.0,
        outliers: chance.log_uniform(1e-3, 3e-2),
        outlier: chance.log_uniform(0.2, 0.8),
    };
    course.observed(chance, local, &heat, noise)
}

/// Spikes at fixed minutes of the hour on something else.
fn cron(chance: &mut Chance, local: &Local) -> Vec<f32> {
    let mut course = Course::flat(local.minutes(), chance.log_uniform(5.0, 5000.0));
    let mut shape = shape::any(chance);
    for _ in 0..=chance.below(2) {
        let every = chance.pick([5, 10, 15, 30, 60, 60]);
        let (at, size) = (chance.below(every), chance.log_uniform(0.05, 2.0));
        let fade = chance.log_uniform(0.4, 6.0);
        for (minute, value) in shape.iter_mut().enumerate() {
            let since = ((minute + every - at) % every) as f64;
            *value *= 1.0 + size * (-since / fade).exp();
        }
    }
    course.daily(local, &shape, 0);
    let heat = unrest(chance, local, &mut course, 1.0);
    let noise = noise(chance, 1.0);
    course.observed(chance, local, &heat, noise)
}

/// Steps: workers that are added and taken away.
fn plateaus(chance: &mut Chance, local: &Local) -> Vec<f32> {
    let mut course = Course::flat(local.minutes(), chance.log_uniform(10.0, 5000.0));
    if chance.yes(0.5) {
        course.daily(local, &shape::any(chance), 0);
    }
    let spread = chance.log_uniform(0.05, 0.6);
    let (mut at, mut factor) = (0.0, 1.0);
    let mean = chance.log_uniform(90.0, 2000.0);
    for (index, rate) in course.rate.iter_mut().enumerate() {
        if index as f64 >= at {
            at += chance.exponential(mean) + 5.0;
            factor = (spread * chance.normal()).exp();
        }
        *rate *= factor;
    }
    let noise = noise(chance, 0.7);
    course.observed(chance, local, &EVEN, noise)
}

/// A few requests a minute.
fn sparse(chance: &mut Chance, local: &Local) -> Vec<f32> {
    let mut course = Course::flat(local.minutes(), chance.log_uniform(0.03, 3.0));
    course.daily(local, &shape::any(chance), 0);
    let (weekend, spread) = (chance.log_uniform(0.3, 1.1), chance.uniform(0.0, 0.1));
    turn(chance, local, &mut course, weekend, spread);
    let heat = unrest(chance, local, &mut course, 1.0);
    let noise = Noise { counts: true, burst: chance.uniform(0.0, 0.4), ..Noise::default() };
    course.observed(chance, local, &heat, noise)
}

/// Means over some minutes of something that is no count: it hardly moves from night to day.
fn averaged(chance: &mut Chance, local: &Local) -> Vec<f32> {
    let mut course = Course::flat(local.minutes(), chance.log_uniform(0.1, 1000.0));
    let mut shape = shape::any(chance);
    let power = chance.uniform(0.1, 0.7);
    shape::bend(&mut shape, power);
    course.daily(local, &shape, 0);
    let (weekend, spread) = (chance.log_uniform(0.8, 1.1), chance.uniform(0.0, 0.04));
    turn(chance, local, &mut course, weekend, spread);
    let heat = unrest(chance, local, &mut course, 1.0);
    let noise = Noise { counts: false, ..noise(chance, 1.5) };
    let rps = course.observed(chance, local, &heat, noise);
    let width = chance.pick([1, 1, 2, 5, 10]);
    (0..rps.len())
        .map(|index| {
            let window = &rps[index.saturating_sub(width - 1)..=index];
            window.iter().sum::<f32>() / window.len() as f32
        })
        .collect()
}

/// The sum of two others.
fn mixture(chance: &mut Chance, local: &Local) -> Vec<f32> {
    let mut kind =
        || chance.pick([Kind::Smooth, Kind::Weekly, Kind::Cron, Kind::Plateaus, Kind::Wandering]);
    let (one, other) = (kind(), kind());
    let (mut one, other) = (values(chance, local, one), values(chance, local, other));
    let mean = |rps: &[f32]| rps.iter().map(|it| f64::from(*it)).sum::<f64>().max(1e-6);
    let part = (chance.log_uniform(0.1, 1.0) * mean(&one) / mean(&other)) as f32;
    one.iter_mut().zip(other).for_each(|(sum, other)| *sum += part * other);
    one
}
