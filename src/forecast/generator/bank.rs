//! Traffic of the five domains of `system.md` 2, each seed another bank.

use super::chance::Chance;
use super::course::series;
use super::local::Local;
use super::trouble::{Trouble, gaps};
use super::{Calendar, DAY, History, Minute, domains, plan, zones};
use crate::cluster::Class;
use crate::seed::Seed;

/// How many domains.
pub(super) const DOMAINS: usize = 5;

pub(super) const PAYMENTS: usize = 0;
pub(super) const FRAUD: usize = 1;
pub(super) const MERCHANT: usize = 2;
pub(super) const DATA: usize = 3;
pub(super) const PLATFORM: usize = 4;

/// Names, in the order of the series (`system.md` 2).
pub(super) const NAMES: [&str; DOMAINS] = ["payments", "fraud", "merchant", "data", "platform"];

/// Classes; fraud is P0 or P1 there, and P0 here.
const CLASSES: [Class; DOMAINS] = [Class::P0, Class::P0, Class::P1, Class::P2, Class::P3];

/// Days of the month on which salaries arrive.
const PAYDAYS: [&[i8]; 6] = [&[25], &[1], &[15, 31], &[28], &[10, 25], &[31]];

/// `days` days of traffic from `start` on, and what is known of it in advance.
///
/// Campaigns, salaries and deployments stand in the calendar as a company would know them: mostly right,
/// sometimes with another factor, some minutes early or late, or not at all. Fraud checks are a share of
/// the payments with a lag of 10 to 30 s; in some banks a part is checked again when it settles, 8 to 40
/// minutes later. No value is negative or infinite; gaps are NaN.
#[must_use]
pub fn bank(seed: Seed, start: Minute, days: usize) -> (History, Calendar) {
    let mut calendar = calendar(seed.child("calendar"), start, days);
    let local = Local::new(&calendar, start, days * DAY);
    if local.minutes() == 0 {
        let empty = |index: usize| series(NAMES[index], CLASSES[index], Vec::new());
        return (History { start, series: (0..DOMAINS).map(empty).collect() }, calendar);
    }
    let happenings = plan::happenings(&mut Chance::new(seed.child("plan")), &local);
    let mut rps = domains::all(seed, &local, &happenings);
    let mut chance = Chance::new(seed.child("gaps"));
    let often = chance.pick([0.3, 1.0, 3.0]);
    let trouble = Trouble { outages: 0.0, shifts: 0.0, gaps: often, huge: 0.0 };
    for rps in &mut rps {
        gaps(&mut chance, rps, trouble);
    }
    blind(&mut chance, &mut rps);
    calendar.events = happenings.into_iter().filter_map(|happening| happening.announced).collect();
    calendar.events.sort_by_key(|event| event.start);
    let all = rps.into_iter().zip(NAMES).zip(CLASSES);
    let series = all.map(|((rps, name), class)| series(name, class, rps)).collect();
    (History { start, series }, calendar)
}

/// Whoever counts was away: gaps in every series at once.
fn blind(chance: &mut Chance, rps: &mut [Vec<f32>; DOMAINS]) {
    for at in chance.moments(1.0 / 40.0, rps[0].len()) {
        let length = chance.log_uniform(2.0, 240.0) as usize;
        for rps in &mut *rps {
            let end = (at + length).min(rps.len());
            rps[at..end].fill(f32::NAN);
        }
    }
}

/// Zone, paydays and holidays.
fn calendar(seed: Seed, start: Minute, days: usize) -> Calendar {
    let mut chance = Chance::new(seed);
    let zone = zones::draw(&mut chance);
    let paydays = chance.pick(PAYDAYS).to_vec();
    let mut holidays: Vec<_> = chance
        .moments(1.0 / 18.0, days * DAY)
        .into_iter()
        .filter_map(|at| jiff::Timestamp::from_second((start + at as Minute).checked_mul(60)?).ok())
        .map(|instant| instant.to_zoned(zone.clone()).date())
        .collect();
    holidays.dedup();
    Calendar { zone, paydays, holidays, events: Vec::new() }
}
