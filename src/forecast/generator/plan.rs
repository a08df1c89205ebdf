//! What happens to the five domains, and how much of it the calendar says.

use super::bank::{DATA, DOMAINS, FRAUD, MERCHANT, NAMES, PAYMENTS, PLATFORM};
use super::chance::Chance;
use super::course::Bump;
use super::local::Local;
use super::{Event, EventKind, Minute};

/// Something that happens: factors on the domains that it touches, and what is announced of it.
#[derive(Debug, Clone)]
pub(super) struct Happening {
    pub(super) bumps: Vec<(usize, Bump)>,
    /// [`None`]: it comes as a surprise.
    pub(super) announced: Option<Event>,
}

/// Days that rates of happenings count in.
const MONTH: f64 = 30.0;

/// Everything that happens in a run.
pub(super) fn happenings(chance: &mut Chance, local: &Local) -> Vec<Happening> {
    let mut all = Vec::new();
    let rates = [
        (chance.uniform(1.5, 4.0), promotion as fn(&mut Chance, &Local, i64) -> Happening),
        (chance.uniform(1.0, 4.0), flash_sale),
        (chance.uniform(6.0, 24.0), deployment),
        (chance.uniform(2.0, 12.0), surprise),
    ];
    for (per_month, make) in rates {
        for at in chance.moments(per_month / MONTH, local.minutes()) {
            let happening = make(chance, local, at as i64);
            all.push(happening);
        }
    }
    all
}

fn event(
    name: &str,
    kind: EventKind,
    domains: &[usize],
    span: (Minute, Minute),
    factor: Option<f64>,
) -> Event {
    let domains = domains.iter().map(|domain| NAMES[*domain].to_owned()).collect();
    Event {
        name: name.to_owned(),
        kind,
        domains,
        start: span.0,
        end: span.1.max(span.0 + 1),
        factor,
    }
}

/// What is said of a factor: mostly near the truth, sometimes wrong, sometimes nothing.
fn said(chance: &mut Chance, factor: f64) -> Option<f64> {
    match chance.below(10) {
        0..=4 => Some(factor * chance.log_uniform(0.93, 1.07)),
        5..=7 => Some((factor * chance.log_uniform(0.6, 1.6)).max(1.05)),
        _ => None,
    }
}

/// Minutes by which the world is later than the calendar; mostly none.
fn late(chance: &mut Chance) -> i64 {
    if chance.yes(0.6) { 0 } else { chance.uniform(-15.0, 20.0) as i64 }
}

/// A campaign of hours to days, from a round hour of the day on.
fn promotion(chance: &mut Chance, local: &Local, at: i64) -> Happening {
    let day = local.day[(at.max(0) as usize).min(local.minutes() - 1)];
    let from = local.at(day, 60.0 * chance.uniform(7.0, 21.0).floor());
    let length = 60.0 * chance.pick([2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 24.0, 48.0]);
    let factor = chance.log_uniform(1.25, 3.5);
    let bump = Bump {
        start: from + late(chance),
        ramp: chance.log_uniform(2.0, 45.0),
        hold: length * chance.uniform(0.7, 1.0),
        decay: chance.log_uniform(10.0, 180.0),
        factor,
    };
    let part = if chance.yes(0.6) { chance.uniform(0.3, 0.9) } else { 0.0 };
    let bumps =
        vec![(PAYMENTS, bump), (MERCHANT, Bump { factor: 1.0 + (factor - 1.0) * part, ..bump })];
    // Whether merchants are named has little to do with whether they feel it.
    let named: &[usize] =
        if part > 0.0 && chance.yes(0.7) { &[PAYMENTS, MERCHANT] } else { &[PAYMENTS] };
    let span = (local.start + from, local.start + from + length as i64);
    let announced = chance.yes(0.88).then(|| {
        let factor = said(chance, factor);
        event("campaign", EventKind::Promotion, named, span, factor)
    });
    Happening { bumps, announced }
}

/// Minutes to an hour, steep.
fn flash_sale(chance: &mut Chance, local: &Local, at: i64) -> Happening {
    let day = local.day[(at.max(0) as usize).min(local.minutes() - 1)];
    let from = local.at(day, 30.0 * chance.uniform(18.0, 46.0).floor());
    let factor = chance.log_uniform(1.8, 6.0);
    let announced = chance.yes(0.6);
    let bump = Bump {
        start: from + if announced { late(chance) / 3 } else { chance.uniform(-60.0, 60.0) as i64 },
        ramp: chance.log_uniform(1.0, 6.0),
        hold: chance.log_uniform(8.0, 60.0),
        decay: chance.log_uniform(5.0, 90.0),
        factor,
    };
    let merchant = Bump { factor: 1.0 + (factor - 1.0) * chance.uniform(0.1, 0.5), ..bump };
    let end = from + (bump.ramp + bump.hold).ceil() as i64;
    let announced = announced.then(|| {
        let (span, factor) = ((local.start + from, local.start + end), said(chance, factor));
        event("flash sale", EventKind::Promotion, &[PAYMENTS], span, factor)
    });
    Happening { bumps: vec![(PAYMENTS, bump), (MERCHANT, merchant)], announced }
}

/// Minutes of restarts: a dip, or a spike of cold caches.
fn deployment(chance: &mut Chance, local: &Local, at: i64) -> Happening {
    let domain = chance.below(DOMAINS);
    let day = local.day[(at.max(0) as usize).min(local.minutes() - 1)];
    let from = local.at(day, chance.uniform(9.0, 18.0) * 60.0);
    let hold = chance.log_uniform(2.0, 15.0);
    let factor =
        if chance.yes(0.6) { chance.uniform(0.5, 0.95) } else { chance.uniform(1.05, 1.7) };
    let (ramp, decay) = (chance.uniform(0.5, 3.0), chance.uniform(0.5, 8.0));
    let start = from + late(chance) / 4;
    let announced = chance.yes(0.8).then(|| {
        let span = (local.start + from, local.start + from + (ramp + hold + decay).ceil() as i64);
        event("deployment", EventKind::Deployment, &[domain], span, None)
    });
    Happening { bumps: vec![(domain, Bump { start, ramp, hold, decay, factor })], announced }
}

/// What nobody knew: a mention on television, a partner's outage, somebody's script.
fn surprise(chance: &mut Chance, _: &Local, at: i64) -> Happening {
    let domain = chance.pick([PAYMENTS, PAYMENTS, FRAUD, MERCHANT, DATA, PLATFORM]);
    let size = chance.exponential(0.3).min(1.5).exp();
    let bump = Bump {
        start: at,
        ramp: chance.log_uniform(0.5, 30.0),
        hold: chance.log_uniform(2.0, 120.0),
        decay: chance.log_uniform(2.0, 90.0),
        factor: if chance.yes(0.75) { size } else { 1.0 / size },
    };
    Happening { bumps: vec![(domain, bump)], announced: None }
}
