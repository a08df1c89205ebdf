//! The calendar that a forecaster is told of.

use jiff::tz::TimeZone;

use crate::cluster::Timestamp;
use crate::forecast::{Calendar, Event, EventKind, Minute};
use crate::simulation::scenario::{EventKind as Kind, EventSpec, Scenario};
use crate::simulation::traffic::Traffic;

/// Seconds of a minute.
const MINUTE: f64 = 60.0;

/// Announced events when and as they are announced, and no others; UTC. Each is a promotion of every domain that
/// it touches, by what its factor makes of that domain's traffic as a whole. The day of an announced payday is
/// one on which salaries arrive.
pub(super) fn calendar(scenario: &Scenario, traffic: &Traffic) -> Calendar {
    let usual = traffic.usual();
    let domain_of = scenario.domain_of();
    let mut calendar = Calendar::default();
    for event in &scenario.events {
        let Some(start) = event.announced_seconds else { continue };
        let at = instant(scenario, start);
        if event.kind == Kind::Payday {
            calendar.paydays.extend(day_of_month(at));
        }
        let length = event.ramp_seconds + event.hold_seconds + event.decay_seconds;
        let end = instant(scenario, start + length);
        for (domain, part) in touched(event, scenario, &domain_of, &usual) {
            let factor = event.announced_factor.unwrap_or(event.factor);
            calendar.events.push(Event {
                name: event.name.clone(),
                kind: EventKind::Promotion,
                domains: vec![scenario.domains[domain].name.clone()],
                start: (at.as_seconds() / MINUTE).floor() as Minute,
                end: (end.as_seconds() / MINUTE).ceil() as Minute,
                factor: Some(1.0 + (factor - 1.0) * part),
            });
        }
    }
    calendar.paydays.sort_unstable();
    calendar.paydays.dedup();
    calendar
}

/// The domains of which an event touches apps, and the part of their usual traffic that is their own and touched.
fn touched(
    event: &EventSpec,
    scenario: &Scenario,
    domain_of: &[usize],
    usual: &[f64],
) -> Vec<(usize, f64)> {
    let mut sums = vec![(false, 0.0, 0.0); scenario.domains.len()];
    let reached = event.reach.apps(scenario);
    for (((app, domain), usual), reached) in
        scenario.apps.iter().zip(domain_of).zip(usual).zip(reached)
    {
        let (any, own, all) = &mut sums[*domain];
        *any |= reached;
        *own += if reached { app.rps } else { 0.0 };
        *all += usual;
    }
    let each = sums.into_iter().enumerate().filter(|(_, (any, ..))| *any);
    each.map(|(domain, (_, own, all))| (domain, if all > 0.0 { own / all } else { 0.0 })).collect()
}

fn instant(scenario: &Scenario, seconds: f64) -> Timestamp {
    Timestamp::from_seconds(scenario.start.as_seconds() + seconds)
}

fn day_of_month(at: Timestamp) -> Option<i8> {
    let instant = jiff::Timestamp::from_millisecond(at.as_millis()).ok()?;
    Some(instant.to_zoned(TimeZone::UTC).day())
}
