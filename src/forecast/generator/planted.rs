//! A history that an aggregate cannot judge.

use super::chance::Chance;
use super::course::{Course, EVEN, Heat, Noise, Wander, series, wander};
use super::local::Local;
use super::{Calendar, DAY, History, shape};
use crate::cluster::Class;
use crate::seed::Seed;

/// Local hours whose deviations are wild, and how wild.
const MORNING: std::ops::Range<usize> = 6..12;
const WILD: f64 = 2.5;

/// Local hours that are calm, and how calm.
const NIGHT: std::ops::Range<usize> = 0..6;
const CALM: f64 = 0.3;

/// Quick enough that 15 min ahead most of it is news.
const QUICK: Wander = Wander { deviation: 0.05, time: 12.0, smooth: false };

/// `days` days of one domain from 1970-01-01T00:00Z on, in UTC, whose deviations are wild from 6 to 12
/// and calm from 0 to 6. Quantiles of one width for all hours are over-confident in its mornings and
/// under-confident in its nights while their aggregate looks perfect: what the original system failed
/// to see (`system.md` 2.3).
#[must_use]
pub fn planted(seed: Seed, days: usize) -> History {
    let local = Local::new(&Calendar::default(), 0, days * DAY);
    let mut chance = Chance::new(seed.child("planted"));
    let mut heat: Heat = EVEN;
    heat[MORNING].fill(WILD);
    heat[NIGHT].fill(CALM);
    let mut course = Course::flat(local.minutes(), chance.log_uniform(500.0, 2000.0));
    course.daily(&local, &shape::harmonic(&mut chance, 0.4), 0);
    course.follow(&wander(&mut chance, &local, &heat, QUICK), 1.0);
    let noise = Noise { counts: true, white: 0.02, ..Noise::default() };
    let rps = course.observed(&mut chance, &local, &heat, noise);
    History { start: 0, series: vec![series("payments", Class::P0, rps)] }
}
