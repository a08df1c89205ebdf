//! The five domains of a bank.

use super::DAY;
use super::bank::{DATA, DOMAINS, FRAUD, MERCHANT, PAYMENTS, PLATFORM};
use super::chance::Chance;
use super::course::{Bump, Course, Heat, Noise, Wander, heat, wander};
use super::local::Local;
use super::plan::Happening;
use super::shape;
use super::trouble::{Trouble, spells, strike};
use crate::seed::Seed;

/// What is counted in every domain, in their order.
pub(super) fn all(seed: Seed, local: &Local, happenings: &[Happening]) -> [Vec<f32>; DOMAINS] {
    let mut chance = Chance::new(seed.child("payments"));
    let pulse = pulse(&mut chance, local);
    let payments = payments(&mut chance, local, happenings, &pulse);
    let fraud = fraud(&mut Chance::new(seed.child("fraud")), local, happenings, &payments);
    let merchant = merchant(&mut Chance::new(seed.child("merchant")), local, happenings, &pulse);
    let data = data(&mut Chance::new(seed.child("data")), local, happenings);
    let platform = platform(&mut Chance::new(seed.child("platform")), local, happenings);
    [payments, fraud, merchant, data, platform]
}

/// How busy customers are beyond the hour: shared by payments and merchants.
fn pulse(chance: &mut Chance, local: &Local) -> Vec<f64> {
    let heat = heat(chance);
    let (deviation, time) = (chance.log_uniform(0.01, 0.06), chance.log_uniform(30.0, 600.0));
    let of = Wander { deviation, time, smooth: chance.yes(0.5) };
    wander(chance, local, &heat, of)
}

/// Deviations of its own, what goes wrong, and what happens; then the count.
fn finish(
    chance: &mut Chance,
    local: &Local,
    mut course: Course,
    domain: usize,
    happenings: &[Happening],
) -> Vec<f32> {
    let heat = unrest(chance, local, &mut course);
    happen(&mut course, domain, happenings);
    let noise = noise(chance);
    course.observed(chance, local, &heat, noise)
}

fn happen(course: &mut Course, domain: usize, happenings: &[Happening]) {
    let bumps = happenings.iter().flat_map(|happening| &happening.bumps);
    bumps.filter(|(touched, _)| *touched == domain).for_each(|(_, bump)| course.bump(*bump));
}

fn unrest(chance: &mut Chance, local: &Local, course: &mut Course) -> Heat {
    let heat = heat(chance);
    let (walk, apart) = (chance.log_uniform(0.004, 0.025), chance.log_uniform(0.005, 0.05));
    course.level(chance, walk, apart);
    for (least, most, from, to) in [(0.01, 0.07, 90.0, 900.0), (0.008, 0.05, 5.0, 180.0)] {
        let (deviation, time) = (chance.log_uniform(least, most), chance.log_uniform(from, to));
        let of = Wander { deviation, time, smooth: chance.yes(0.4) };
        course.follow(&wander(chance, local, &heat, of), 1.0);
    }
    let trouble = Trouble {
        outages: chance.pick([0.0, 0.3, 1.5]),
        shifts: chance.pick([0.0, 0.2, 0.6]),
        gaps: 0.0,
        huge: 0.01,
    };
    strike(chance, course, trouble);
    if chance.yes(0.15) {
        spells(chance, course);
    }
    heat
}

fn noise(chance: &mut Chance) -> Noise {
    Noise {
        counts: true,
        burst: chance.log_uniform(0.005, 0.06),
        white: 0.0,
        outliers: if chance.yes(0.3) { chance.log_uniform(1e-4, 3e-3) } else { 0.0 },
        outlier: chance.log_uniform(0.05, 0.4),
    }
}

fn weekly(chance: &mut Chance, local: &Local, course: &mut Course, weekend: (f64, f64)) {
    let (weekend, spread) = (chance.log_uniform(weekend.0, weekend.1), chance.uniform(0.0, 0.06));
    let half = chance.log_uniform(30.0, 300.0);
    course.weekly(local, &shape::week(chance, weekend, spread), half);
}

/// Days on which a flag of the calendar holds, times a factor; over an hour at each end.
fn holidays(local: &Local, course: &mut Course, factor: f64) {
    lift(local, course, 0.0, 60.0, factor, |local, index| local.flags[index].holiday);
}

/// Times a factor on local days of some kind, from an hour of the day on.
fn lift(
    local: &Local,
    course: &mut Course,
    from: f64,
    ramp: f64,
    factor: f64,
    is: impl Fn(&Local, usize) -> bool,
) {
    for (day, first) in local.days.iter().enumerate() {
        if is(local, *first) {
            let hold = DAY as f64 - from - ramp;
            course.bump(Bump { start: local.at(day, from), ramp, hold, decay: ramp, factor });
        }
    }
}

fn payments(
    chance: &mut Chance,
    local: &Local,
    happenings: &[Happening],
    pulse: &[f64],
) -> Vec<f32> {
    let mut course = Course::flat(local.minutes(), chance.log_uniform(300.0, 20_000.0));
    let around = chance.uniform(13.0, 17.0);
    let mut shape = shape::customers(chance, around);
    let size = chance.log_uniform(0.002, 0.02);
    shape::fine(chance, &mut shape, size);
    course.daily(local, &shape, 0);
    weekly(chance, local, &mut course, (0.6, 1.3));
    course.follow(pulse, 1.0);
    course.grow(chance.log_uniform(0.85, 1.6));
    let factor = chance.log_uniform(0.6, 1.4);
    holidays(local, &mut course, factor);
    // Salaries arrive at some hour; the day after still feels it.
    let factor = chance.log_uniform(1.25, 2.0);
    let (from, ramp) = (chance.pick([0.0, 360.0, 480.0, 540.0]), chance.log_uniform(5.0, 60.0));
    lift(local, &mut course, from, ramp, factor, |local, index| local.flags[index].payday);
    let next = 1.0 + (factor - 1.0) * chance.uniform(0.1, 0.5);
    let after = |local: &Local, index: usize| index > 0 && local.flags[index - 1].payday;
    lift(local, &mut course, 0.0, 60.0, next, after);
    let (factor, from) = (chance.log_uniform(1.05, 1.4), chance.uniform(0.0, 600.0));
    lift(local, &mut course, from, 30.0, factor, |local, index| local.flags[index].month_end);
    finish(chance, local, course, PAYMENTS, happenings)
}

/// Every payment asks once, 10 to 30 s later (`system.md` 2); scores of its own on top.
fn fraud(
    chance: &mut Chance,
    local: &Local,
    happenings: &[Happening],
    payments: &[f32],
) -> Vec<f32> {
    let late = chance.uniform(10.0, 30.0) / 60.0;
    let share = chance.log_uniform(0.2, 1.1);
    // In some banks a part is looked at once more when it settles.
    let again = if chance.yes(0.5) { chance.uniform(0.05, 0.35) } else { 0.0 };
    let settled = settled(payments, chance.uniform(8.0, 40.0) as usize);
    let mut before = payments.first().copied().map_or(0.0, f64::from);
    let mut course = Course::flat(local.minutes(), 0.0);
    for ((rate, now), settled) in course.rate.iter_mut().zip(payments).zip(settled) {
        let now = f64::from(*now);
        let once = before * late + now * (1.0 - late);
        *rate = share * (once * (1.0 - again) + settled * again);
        before = now;
    }
    let heat = heat(chance);
    let (deviation, time) = (chance.log_uniform(0.004, 0.03), chance.log_uniform(10.0, 300.0));
    let of = Wander { deviation, time, smooth: false };
    course.follow(&wander(chance, local, &heat, of), 1.0);
    happen(&mut course, FRAUD, happenings);
    let mean = course.rate.iter().sum::<f64>() / course.rate.len().max(1) as f64;
    let own = shape::any(chance);
    let part = chance.log_uniform(0.01, 0.12) * mean;
    for (index, rate) in course.rate.iter_mut().enumerate() {
        *rate += part * own[local.of_day(index)];
    }
    let noise = Noise { burst: chance.log_uniform(0.01, 0.08), ..noise(chance) };
    course.observed(chance, local, &heat, noise)
}

/// Payments of some minutes ago, as the mean of [`SETTLING`] minutes.
fn settled(payments: &[f32], ago: usize) -> Vec<f64> {
    let at = |index: usize| payments.get(index).copied().map_or(0.0, f64::from);
    let mut sum = at(0) * SETTLING as f64;
    (0..payments.len())
        .map(|index| {
            let newest = index.saturating_sub(ago);
            sum += at(newest) - at(newest.saturating_sub(SETTLING));
            (sum / SETTLING as f64).max(0.0)
        })
        .collect()
}

/// Minutes over which a payment settles.
const SETTLING: usize = 5;

fn merchant(
    chance: &mut Chance,
    local: &Local,
    happenings: &[Happening],
    pulse: &[f64],
) -> Vec<f32> {
    let mut course = Course::flat(local.minutes(), chance.log_uniform(100.0, 8000.0));
    let around = chance.uniform(12.0, 15.0);
    course.daily(local, &shape::office(chance, around), 0);
    weekly(chance, local, &mut course, (0.25, 0.8));
    course.follow(pulse, chance.uniform(0.0, 1.0));
    let factor = chance.log_uniform(0.3, 0.8);
    holidays(local, &mut course, factor);
    finish(chance, local, course, MERCHANT, happenings)
}

/// Batches at fixed local times, a little late or early each day, on a quiet rest.
fn data(chance: &mut Chance, local: &Local, happenings: &[Happening]) -> Vec<f32> {
    let level = chance.log_uniform(20.0, 2000.0);
    let mut course = Course::flat(local.minutes(), level);
    let strength = chance.uniform(0.05, 0.4);
    course.daily(local, &shape::harmonic(chance, strength), 0);
    for _ in 0..2 + chance.below(4) {
        let at = 15.0 * chance.uniform(0.0, 96.0).floor();
        let (length, factor) = (chance.log_uniform(10.0, 240.0), chance.log_uniform(1.5, 10.0));
        let (ramp, jitter) = (chance.log_uniform(0.5, 10.0), chance.log_uniform(0.2, 8.0));
        let (spread, workdays) = (chance.log_uniform(0.02, 0.25), chance.yes(0.3));
        let month_end = if chance.yes(0.3) { chance.uniform(1.2, 2.5) } else { 1.0 };
        for (day, first) in local.days.iter().enumerate() {
            let flags = local.flags[*first];
            if workdays && flags.weekday >= 5 {
                continue;
            }
            let start = local.at(day, at + jitter * chance.normal());
            let longer = if flags.month_end { month_end } else { 1.0 };
            let hold = longer * length * (spread * chance.normal()).exp();
            let factor = 1.0 + (factor - 1.0) * (0.5 * spread * chance.normal()).exp();
            course.bump(Bump { start, ramp, hold, decay: ramp * 2.0, factor });
        }
    }
    finish(chance, local, course, DATA, happenings)
}

/// Office hours, and bursts of builds in them.
fn platform(chance: &mut Chance, local: &Local, happenings: &[Happening]) -> Vec<f32> {
    let mut course = Course::flat(local.minutes(), chance.log_uniform(20.0, 1000.0));
    let around = chance.uniform(12.0, 15.0);
    let shape = shape::office(chance, around);
    course.daily(local, &shape, 0);
    weekly(chance, local, &mut course, (0.1, 0.6));
    let factor = chance.log_uniform(0.15, 0.6);
    holidays(local, &mut course, factor);
    let (often, size) = (chance.log_uniform(3.0, 40.0), chance.log_uniform(0.1, 0.8));
    for at in chance.moments(often, local.minutes()) {
        // Builds come while people work.
        let flags = local.flags[at];
        let busy = shape[local.of_day(at)].min(1.0);
        if flags.holiday || flags.weekday >= 5 && chance.yes(0.8) || !chance.yes(busy) {
            continue;
        }
        let (ramp, hold) = (chance.uniform(0.5, 3.0), chance.log_uniform(2.0, 30.0));
        let (decay, factor) = (chance.uniform(0.5, 6.0), 1.0 + chance.exponential(size).min(4.0));
        course.bump(Bump { start: at as i64, ramp, hold, decay, factor });
    }
    finish(chance, local, course, PLATFORM, happenings)
}
