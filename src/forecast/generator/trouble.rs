//! What goes wrong: outages with retries after them, level shifts, and minutes nobody counted.

use super::DAY;
use super::chance::Chance;
use super::course::{Bump, Course};

/// How much goes wrong with a series.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trouble {
    /// Per 30 days.
    pub(super) outages: f64,
    /// Per 30 days.
    pub(super) shifts: f64,
    /// Per 30 days.
    pub(super) gaps: f64,
    /// Probability of a shift by 100: other units, a load test.
    pub(super) huge: f64,
}

/// Days that the rates above count in.
const MONTH: f64 = 30.0;

/// Near-zero minutes, then retries that fade; lasting changes of the level.
pub(super) fn strike(chance: &mut Chance, course: &mut Course, trouble: Trouble) {
    let minutes = course.rate.len();
    for at in chance.moments(trouble.outages / MONTH, minutes) {
        // Most last a minute or two; some last hours, and customers come back slowly.
        let length = if chance.yes(0.5) { 1.0 } else { chance.log_uniform(2.0, 300.0) };
        let left = if chance.yes(0.5) { 0.0 } else { chance.uniform(0.0, 0.25) };
        let slow = length > 30.0 && chance.yes(0.5);
        let decay = if slow { chance.uniform(10.0, 180.0) } else { 0.0 };
        course.bump(Bump { start: at as i64, ramp: 0.0, hold: length, decay, factor: left });
        if !slow && length > 1.0 && chance.yes(0.7) {
            course.bump(Bump {
                start: at as i64 + length.ceil() as i64,
                ramp: 0.0,
                hold: 0.0,
                decay: chance.uniform(3.0, 30.0),
                factor: chance.uniform(1.1, 2.2),
            });
        }
    }
    for at in chance.moments(trouble.shifts / MONTH, minutes) {
        let factor = chance.log_uniform(0.5, 2.0);
        // For good, or for some days.
        let days = if chance.yes(0.5) { 1e3 } else { chance.uniform(0.2, 5.0) };
        let ramp = if chance.yes(0.6) { 0.0 } else { chance.uniform(5.0, 240.0) };
        let hold = days * DAY as f64;
        course.bump(Bump { start: at as i64, ramp, hold, decay: ramp, factor });
    }
    if chance.yes(trouble.huge) {
        let start = chance.below(minutes) as i64;
        let hold = chance.log_uniform(60.0, 1e6);
        course.bump(Bump {
            start,
            ramp: 0.0,
            hold,
            decay: 0.0,
            factor: chance.pick([100.0, 0.01]),
        });
    }
}

/// Takes minutes to hours out.
pub(super) fn gaps(chance: &mut Chance, rps: &mut [f32], trouble: Trouble) {
    for at in chance.moments(trouble.gaps / MONTH, rps.len()) {
        let length = chance.log_uniform(1.0, 400.0) as usize;
        let end = (at + length).min(rps.len());
        rps[at..end].fill(f32::NAN);
    }
}

/// Hours in which every minute is wild: somebody's script, a node that restarts.
pub(super) fn spells(chance: &mut Chance, course: &mut Course) {
    let (per_day, size) = (chance.log_uniform(0.05, 3.0), chance.log_uniform(0.03, 0.25));
    for at in chance.moments(per_day, course.rate.len()) {
        let length = chance.log_uniform(10.0, 500.0) as usize;
        let end = (at + length).min(course.rate.len());
        let (size, up) = (size * chance.log_uniform(0.5, 2.0), chance.yes(0.5));
        for rate in &mut course.rate[at..end] {
            let normal = chance.normal();
            *rate *= (size * if up { normal.abs() } else { normal }).exp();
        }
    }
}
