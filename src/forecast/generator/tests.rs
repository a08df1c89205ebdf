use super::*;
use crate::cluster::Class;
use crate::seed::{Seed, Space};

/// 2026-06-01T00:00Z, a Monday.
const START: Minute = 29_671_200;

fn seed(number: u64) -> Seed {
    Seed::of(Space::Forecaster, number)
}

fn named<'a>(history: &'a History, name: &str) -> &'a [f32] {
    &history.series.iter().find(|series| series.name == name).unwrap().rps
}

fn mean(values: impl Iterator<Item = f32>) -> f64 {
    let known: Vec<f64> = values.filter(|value| value.is_finite()).map(f64::from).collect();
    known.iter().sum::<f64>() / known.len() as f64
}

/// Bits, so that gaps compare too.
fn bits(history: &History) -> Vec<u32> {
    history.series.iter().flat_map(|series| &series.rps).map(|value| value.to_bits()).collect()
}

#[test]
fn a_seed_means_the_same_traffic_and_another_seed_means_another() {
    let (one, calendar) = bank(seed(1), START, 5);
    let (again, same) = bank(seed(1), START, 5);
    assert_eq!((bits(&one), calendar), (bits(&again), same));
    assert_ne!(bits(&one), bits(&bank(seed(2), START, 5).0));
    let (one, _) = services(seed(1), START, 3, 11);
    assert_eq!(bits(&one), bits(&services(seed(1), START, 3, 11).0));
    assert_ne!(bits(&one), bits(&services(seed(2), START, 3, 11).0));
    assert_eq!(bits(&planted(seed(1), 2)), bits(&planted(seed(1), 2)));
}

#[test]
fn more_services_do_not_change_the_first_ones() {
    let (few, _) = services(seed(4), START, 2, 3);
    let (many, _) = services(seed(4), START, 2, 8);
    assert_eq!(bits(&few), bits(&many)[..bits(&few).len()]);
}

#[test]
fn every_value_is_a_number_from_zero_on_or_a_gap() {
    let histories = (0..6).map(|number| bank(seed(number), START, 8).0);
    let others = (0..3).map(|number| services(seed(number), START, 4, 24).0);
    for history in histories.chain(others).chain([planted(seed(0), 3)]) {
        for series in &history.series {
            assert_eq!(series.rps.len(), history.minutes(), "{}", series.name);
            let fine = |value: &f32| value.is_nan() || value.is_finite() && *value >= 0.0;
            assert!(series.rps.iter().all(fine), "{}", series.name);
            assert!(series.rps.iter().any(|value| *value > 0.0), "{}", series.name);
        }
    }
}

#[test]
fn a_bank_has_its_five_domains_in_their_classes() {
    let (history, _) = bank(seed(3), START, 2);
    let found: Vec<_> = history.series.iter().map(|it| (it.name.as_str(), it.class)).collect();
    let expected = [
        ("payments", Class::P0),
        ("fraud", Class::P0),
        ("merchant", Class::P1),
        ("data", Class::P2),
        ("platform", Class::P3),
    ];
    assert_eq!(found, expected);
    assert_eq!((history.start, history.minutes()), (START, 2 * DAY));
}

#[test]
fn no_days_are_an_empty_history() {
    assert_eq!(bank(seed(3), START, 0).0.minutes(), 0);
    assert_eq!(services(seed(3), START, 0, 12).0.minutes(), 0);
    assert_eq!(planted(seed(3), 0).minutes(), 0);
}

#[test]
fn gaps_exist_in_single_domains_and_in_all_at_once() {
    let (mut single, mut every) = (0, 0);
    for number in 0..8 {
        let (history, _) = bank(seed(number), START, 40);
        for minute in 0..history.minutes() {
            let gaps = history.series.iter().filter(|it| it.rps[minute].is_nan()).count();
            single += usize::from(gaps == 1);
            every += usize::from(gaps == 5);
        }
    }
    assert!(single > 100 && every > 10, "{single} {every}");
}

/// Mean of a domain at minutes of some kind over the mean of what is usual there.
fn lift(domain: &str, days: usize, pick: impl Fn(&Flags) -> bool) -> f64 {
    let ratios = (0..6).map(|number| {
        let (history, calendar) = bank(seed(number), START, days);
        let rps = named(&history, domain);
        let usual = crate::forecast::usual(rps);
        let flags = calendar.flags(domain, START, history.minutes());
        let picked = (7 * DAY..history.minutes()).filter(|at| pick(&flags[*at]));
        let mut ratios: Vec<f32> =
            picked.map(|at| rps[at] / usual[at]).filter(|ratio| ratio.is_finite()).collect();
        ratios.sort_by(f32::total_cmp);
        f64::from(ratios.get(ratios.len() / 2).copied().unwrap_or(1.0))
    });
    ratios.sum::<f64>() / 6.0
}

#[test]
fn salaries_and_campaigns_lift_payments() {
    let plain = |flags: &Flags| !flags.payday && !flags.promotion && !flags.month_end;
    let usual = lift("payments", 40, plain);
    let payday = lift("payments", 40, |flags| flags.payday && flags.minute_of_day > 660);
    let campaign = lift("payments", 40, |flags| flags.promotion && !flags.payday);
    assert!((usual - 1.0).abs() < 0.1, "{usual}");
    assert!(payday > 1.15 * usual && campaign > 1.15 * usual, "{usual} {payday} {campaign}");
}

/// Correlation of the changes of one with those of the other `lag` minutes later.
fn follows(one: &[f32], other: &[f32], lag: usize) -> f64 {
    let pairs: Vec<(f64, f64)> = (1..one.len() - lag)
        .map(|at| {
            (one[at].ln() - one[at - 1].ln(), other[at + lag].ln() - other[at + lag - 1].ln())
        })
        .map(|(one, other)| (f64::from(one), f64::from(other)))
        .filter(|(one, other)| one.is_finite() && other.is_finite())
        .collect();
    let sum = |of: fn(&(f64, f64)) -> f64| pairs.iter().map(of).sum::<f64>();
    sum(|(one, other)| one * other)
        / (sum(|(one, _)| one * one) * sum(|(_, other)| other * other)).sqrt()
}

#[test]
fn fraud_follows_payments_within_a_minute() {
    let (mut soon, mut later) = (0.0, 0.0);
    for number in 0..6 {
        let (history, _) = bank(seed(number), START, 6);
        let [payments, fraud] = ["payments", "fraud"].map(|name| named(&history, name));
        soon += follows(payments, fraud, 0) / 6.0;
        later += follows(payments, fraud, 5) / 6.0;
        let level = mean(fraud.iter().copied()) / mean(payments.iter().copied());
        assert!((0.15..1.5).contains(&level), "{number}: {level}");
    }
    assert!(soon > 0.12 && soon > 4.0 * later.abs(), "{soon} {later}");
}

#[test]
fn what_nobody_announced_is_not_in_the_calendar() {
    let (mut silent, mut announced) = (0, 0);
    for number in 0..4 {
        let (history, calendar) = bank(seed(number), START, 60);
        let local = local::Local::new(&calendar, START, history.minutes());
        let plan = plan::happenings(&mut chance::Chance::new(seed(number).child("plan")), &local);
        silent += plan.iter().filter(|happening| happening.announced.is_none()).count();
        announced += calendar.events.len();
        let mut known: Vec<_> = plan.into_iter().filter_map(|it| it.announced).collect();
        known.sort_by_key(|event| event.start);
        assert_eq!(known, calendar.events);
    }
    assert!(silent > 20 && announced > 60, "{silent} {announced}");
}

#[test]
fn announcements_are_mostly_right_and_sometimes_not() {
    let mut factors = (0, 0);
    for number in 0..6 {
        let (_, calendar) = bank(seed(number), START, 60);
        for event in &calendar.events {
            assert!(event.end > event.start, "{event:?}");
            assert!(!event.domains.is_empty(), "{event:?}");
            assert!(event.factor.is_none_or(|factor| factor > 1.0), "{event:?}");
            let unknown = event.kind == EventKind::Promotion && event.factor.is_none();
            factors.0 += usize::from(event.factor.is_some());
            factors.1 += usize::from(unknown);
        }
    }
    assert!(factors.0 > 20 && factors.1 > 3, "{factors:?}");
}

#[test]
fn some_banks_change_their_clocks() {
    let zones: Vec<_> = (0..12).map(|number| bank(seed(number), START, 1).1.zone).collect();
    assert!(zones.iter().any(|zone| zone.to_fixed_offset().is_err()));
    assert!(zones.iter().any(|zone| zone.to_fixed_offset().is_ok()));
}

#[test]
fn every_kind_of_service_occurs_and_the_calendar_says_nothing() {
    let (history, calendar) = services(seed(5), START, 1, Kind::ALL.len());
    for kind in Kind::ALL {
        let of = |series: &&Series| series.name.starts_with(kind.as_str());
        assert_eq!(history.series.iter().filter(of).count(), 1, "{}", kind.as_str());
    }
    assert!(calendar.events.is_empty() && calendar.holidays.is_empty());
}

#[test]
fn quiet_services_count_whole_requests() {
    let (history, _) = services(seed(6), START, 2, Kind::ALL.len());
    let sparse = history.series.iter().find(|it| it.name.starts_with("sparse")).unwrap();
    for value in sparse.rps.iter().filter(|value| value.is_finite()) {
        let count = f64::from(*value) * 60.0;
        assert!((count - count.round()).abs() < 1e-3, "{count}");
    }
}

#[test]
fn planted_mornings_are_wild_and_nights_calm() {
    let history = planted(seed(7), 20);
    let rps = &history.series[0].rps;
    let usual = crate::forecast::usual(rps);
    let wild = |hours: std::ops::Range<usize>| {
        let inside = |at: &usize| hours.contains(&(at % DAY / 60));
        mean((7 * DAY..rps.len()).filter(inside).map(|at| (rps[at] / usual[at] - 1.0).abs()))
    };
    let (morning, day, night) = (wild(6..12), wild(12..24), wild(0..6));
    assert!(morning > 1.8 * day && night < 0.7 * day, "{morning} {day} {night}");
}

#[test]
fn a_wandering_path_has_the_deviation_it_promises() {
    let local = local::Local::new(&Calendar::default(), START, 60 * DAY);
    for smooth in [false, true] {
        let of = course::Wander { deviation: 0.2, time: 30.0, smooth };
        let mut chance = chance::Chance::new(seed(8));
        let path = course::wander(&mut chance, &local, &course::EVEN, of);
        let square = path.iter().map(|value| value * value).sum::<f64>() / path.len() as f64;
        assert!((square.sqrt() - 0.2).abs() < 0.01, "{smooth} {}", square.sqrt());
    }
}
