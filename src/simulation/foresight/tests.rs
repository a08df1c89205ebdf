use super::*;
use crate::cluster::ForecastSource;
use crate::forecast::{Event, Minute};
use crate::simulation::scenario::{FaultKind, FaultSpec, read};
use crate::simulation::{Row, Simulation, Traffic, arms, simulate_with};

/// Two domains, one of which calls the other, on a Tuesday morning.
const SALE: &str = "
name: sale
durationSeconds: 3600
warmUpSeconds: 900
start: 2025-03-04T09:00:00Z
domains:
  - {name: shop, class: P0, weight: 1, sloP99Seconds: 0.2, floorShare: 0.1, noise: 0.03,
     traffic: {diurnal: {swing: 0.5, peakHour: 14, weekend: 1}}}
  - {name: risk, class: P0, weight: 0.9, sloP99Seconds: 0.15, floorShare: 0.1}
apps:
  - {name: web, domain: shop, count: 10, rps: 1, totalRps: 12000, serviceSeconds: 0.022, cpuRequest: 0.5}
  - {name: score, domain: risk, count: 6, serviceSeconds: 0.016, cpuRequest: 0.5}
pools:
  - {name: general, nodeCpu: 15.5, nodeMemoryGib: 58, nodes: 30, minNodes: 4, maxNodes: 60}
calls:
  - {from: shop, to: risk, perRequest: 0.5, lagSeconds: 15, inline: true}
events:
  - {name: sale, kind: flashSale, reach: {domains: [shop]}, startSeconds: 2400, rampSeconds: 60,
     holdSeconds: 900, decaySeconds: 300, factor: 3, announcedSeconds: 2400}
";

fn sale(change: impl FnOnce(&mut Scenario)) -> Arc<Scenario> {
    let mut scenario = read(SALE, "sale", Seed::root(1)).unwrap_or_else(|error| panic!("{error}"));
    change(&mut scenario);
    scenario.validate().unwrap();
    Arc::new(scenario)
}

const SEED: u64 = 5;

fn seed() -> Seed {
    Seed::root(SEED)
}

/// What a policy of this scenario and seed sees at each step, with the instant.
fn seen(simulation: Simulation, every: usize) -> Vec<(f64, Vec<Outlook>)> {
    let mut simulation = simulation;
    let mut seen = Vec::new();
    for step in 0.. {
        if simulation.over() {
            break;
        }
        if step % every == 0 {
            seen.push((simulation.seconds(), simulation.snapshot().forecasts.clone()));
        }
        simulation.step();
    }
    seen
}

fn source(outlook: &Outlook) -> ForecastSource {
    assert_eq!(outlook.forecast.is_some(), outlook.source != ForecastSource::None, "{outlook:?}");
    outlook.source
}

#[test]
fn forecasts_are_the_same_as_they_are_asked_for_and_all_at_once() {
    let scenario = sale(|scenario| scenario.duration_seconds = 1800.0);
    let whole = Foresight::whole(&scenario, seed()).unwrap();
    let simulation = || {
        let arm = arms::untuned("rules+forecast").unwrap();
        Simulation::new(Arc::clone(&scenario), &arm.actuation, seed()).unwrap()
    };
    let lazily = seen(simulation().with_forecaster().unwrap(), 1);
    assert_eq!(lazily, seen(simulation().with_foresight(Arc::clone(&whole)), 1));
    // Who looks less often misses some and sees no others.
    for (seconds, outlooks) in seen(simulation().with_forecaster().unwrap(), 17) {
        assert_eq!(outlooks, whole.at(seconds), "{seconds}");
    }
    for (seconds, outlooks) in lazily {
        for outlook in &outlooks {
            assert_eq!(source(outlook), ForecastSource::Model, "{outlook:?}");
            let age = seconds - (seconds / 60.0).floor() * 60.0;
            let at = outlook.forecast.unwrap().at.seconds_since(scenario.start);
            assert_eq!(at, seconds - age);
        }
    }
    let blind = simulation().snapshot().forecasts.clone();
    assert!(blind.is_empty(), "{blind:?}");
}

#[test]
fn no_policy_moves_its_forecasts_and_who_looks_at_none_has_none() {
    // The sale overwhelms who is not ready: requests are tried again, more or less by policy.
    let scenario = sale(|scenario| {
        scenario.duration_seconds = 3000.0;
        scenario.apps.iter_mut().for_each(|app| app.retries = 3);
    });
    let whole = Foresight::whole(&scenario, seed()).unwrap();
    let rows = |arm: &arms::Arm, foresight: Option<&Arc<Foresight>>| {
        simulate_with(&scenario, arm, (seed(), SEED), Some(60.0), foresight).unwrap().timeline.rows
    };
    let arm = arms::untuned("rules+forecast").unwrap();
    let mut idle = arm.clone();
    idle.actuation.target_cpu = Some([0.95; 4]);
    let (one, other) = (rows(&arm, None), rows(&idle, None));
    let arrived = |rows: &[Row]| rows.iter().map(|row| row.domains[0].arrived).sum::<f64>();
    assert!((arrived(&one) / arrived(&other) - 1.0).abs() > 1e-3, "both meet the same retries");
    for (one, other) in one.iter().zip(&other) {
        for (one, other) in one.domains.iter().zip(&other.domains) {
            assert!(one.forecast.is_some());
            assert_eq!(one.forecast, other.forecast);
        }
    }
    assert_eq!(one, rows(&arm, Some(&whole)));
    let rules = arms::untuned("rules").unwrap();
    for rows in [rows(&rules, None), rows(&rules, Some(&whole))] {
        assert!(rows.iter().all(|row| row.domains[0].forecast.is_none()));
    }
}

#[test]
fn without_metrics_forecasts_live_on_for_three_minutes_and_come_back() {
    let scenario = sale(|scenario| {
        scenario.events.clear();
        scenario.faults.push(FaultSpec {
            start_seconds: 600.0,
            duration_seconds: 600.0,
            fault: FaultKind::PrometheusOutage,
        });
    });
    let whole = Foresight::whole(&scenario, seed()).unwrap();
    let at = |minute: u32| &whole.at(f64::from(minute) * 60.0)[0];
    let sources: Vec<_> = (0..30).map(|minute| source(at(minute))).collect();
    let (model, none) = (ForecastSource::Model, ForecastSource::None);
    assert_eq!(sources[..=12], [model; 13]);
    assert_eq!(sources[14..=20], [none; 7]);
    assert_eq!(sources[23..], [model; 7]);
    // Nothing new is known.
    let level = |minute| at(minute).forecast.unwrap().level;
    assert!((level(12) / level(11) - 1.0).abs() < 0.005, "{} {}", level(11), level(12));
    let why = at(15).why.clone().unwrap();
    assert!(why.contains("no traffic has been measured in the last 3 minutes"), "{why}");
}

#[test]
fn what_is_lost_and_late_is_not_seen() {
    let readings = |fault: Option<FaultKind>| {
        let scenario = sale(|scenario| {
            scenario.faults.extend(fault.map(|fault| FaultSpec {
                start_seconds: 0.0,
                duration_seconds: 3600.0,
                fault,
            }));
        });
        let traffic = Traffic::new(&scenario, seed().child("traffic"));
        let mut seen = seen::Seen::new(&scenario, traffic, seed());
        let mut ages = Vec::new();
        let (mut whole, mut empty) = (0, 0);
        while seen.next() < 3600.0 {
            let Some((at, readings)) = seen.look() else { continue };
            for reading in readings {
                whole += u32::from(reading.is_some());
                empty += u32::from(reading.is_none());
                ages.extend(reading.map(|(taken, _)| at.seconds_since(taken)));
            }
        }
        let age = ages.iter().sum::<f64>() / ages.len() as f64;
        (f64::from(whole) / f64::from((whole + empty).max(1)), age, whole)
    };
    let (known, age, count) = readings(None);
    assert!(known == 1.0 && count > 700, "{known} {count}");
    let (_, late, _) = readings(Some(FaultKind::TelemetryLag { seconds: 120.0 }));
    assert!((late - age - 120.0).abs() < 1e-6, "{age} {late}");
    // Half of the answers is needed.
    let (known, ..) = readings(Some(FaultKind::TelemetryLoss { lost: 0.1, nan: 0.1 }));
    assert!(known > 0.95, "{known}");
    let (known, ..) = readings(Some(FaultKind::TelemetryLoss { lost: 0.4, nan: 0.5 }));
    assert!(known < 0.2, "{known}");
    assert_eq!(readings(Some(FaultKind::PrometheusOutage)).2, 0);
}

#[test]
fn what_is_offered_is_what_is_seen() {
    let scenario = sale(|_| ());
    let traffic = Traffic::new(&scenario, seed().child("traffic"));
    let mut seen = seen::Seen::new(&scenario, traffic, seed());
    let arm = arms::untuned("hpa").unwrap();
    let mut simulation = Simulation::new(Arc::clone(&scenario), &arm.actuation, seed()).unwrap();
    simulation = simulation.with_timeline(scenario.step_seconds);
    while !simulation.over() {
        simulation.step();
    }
    let mut compared = 0;
    while seen.next() < scenario.duration_seconds {
        let Some((_, readings)) = seen.look() else { continue };
        for (domain, reading) in readings.into_iter().enumerate() {
            let (taken, rps) = reading.unwrap();
            let step = (taken.seconds_since(scenario.start) / scenario.step_seconds).round();
            let row = &simulation.timeline().rows[step as usize - 1];
            assert!((rps / row.domains[domain].rps - 1.0).abs() < 1e-9, "{step}");
            compared += 1;
        }
    }
    assert!(compared > 600, "{compared}");
}

#[test]
fn the_calendar_has_what_is_announced_as_it_is_announced() {
    let scenario = sale(|scenario| {
        let mut event = scenario.events[0].clone();
        event.announced_seconds = None;
        scenario.events.push(event.clone());
        event.name = "salaries".into();
        event.kind = crate::simulation::scenario::EventKind::Payday;
        event.announced_seconds = Some(90.0);
        event.announced_factor = Some(5.0);
        event.reach.domains.clear();
        event.reach.limit = Some(11);
        scenario.events.push(event);
    });
    let calendar = announced::calendar(&scenario, &Traffic::new(&scenario, seed()));
    let minute = |after: Minute| scenario.start.as_millis() / 60_000 + after;
    let event = |name: &str, domain: &str, (start, end), factor| Event {
        name: name.to_owned(),
        kind: crate::forecast::EventKind::Promotion,
        domains: vec![domain.to_owned()],
        start: minute(start),
        end: minute(end),
        factor: Some(factor),
    };
    assert_eq!(calendar.paydays, [4]);
    let (risk, shop) = (scenario.domain("risk").unwrap(), scenario.domain("shop").unwrap());
    let reached = scenario.events[2].reach.apps(&scenario);
    let own = scenario.apps.iter().zip(&reached).filter(|(app, hit)| **hit && app.domain == "shop");
    let part = own.count() as f64 / 10.0;
    let mut events = calendar.events;
    for event in &mut events {
        event.factor = event.factor.map(|factor| (factor * 1e6).round() / 1e6);
    }
    let mut expected = vec![event("sale", "shop", (40, 61), 3.0)];
    let mut reach = [("risk", risk, 1.0), ("shop", shop, 1.0 + 4.0 * part)];
    reach.sort_by_key(|(_, index, _)| *index);
    expected.extend(reach.map(|(name, _, factor)| event("salaries", name, (1, 23), factor)));
    assert_eq!(events, expected);
}

/// Nearly all of a sale that is announced to triple the traffic, as soon as a horizon reaches into it; and
/// little of it in the domain that is called, which knows only that there is a promotion elsewhere.
#[test]
fn an_announced_sale_raises_what_is_expected_before_it_begins() {
    let of = |announced: Option<f64>| {
        let scenario = sale(|scenario| {
            scenario.events[0].announced_seconds = announced;
            scenario.duration_seconds = 2400.0;
        });
        Foresight::whole(&scenario, seed()).unwrap()
    };
    let (told, untold) = (of(Some(2400.0)), of(None));
    let ratio = |minute: u32, domain: usize, horizon: usize, quantile: usize| {
        let [told, untold] = [&told, &untold].map(|it| {
            let outlook = &it.at(f64::from(minute) * 60.0)[domain];
            outlook.forecast.unwrap().ahead[horizon][quantile]
        });
        told / untold
    };
    // Half an hour ahead nobody sees it yet.
    for domain in 0..2 {
        assert_eq!(ratio(5, domain, 2, 2), 1.0);
    }
    for (minute, horizon) in [(20, 2), (26, 2), (26, 1), (30, 1), (36, 1), (36, 0), (38, 0)] {
        let (p50, p80) = (ratio(minute, 0, horizon, 1), ratio(minute, 0, horizon, 2));
        assert!((2.3..3.3).contains(&p50) && p80 > 2.5, "{minute}: {p50} {p80}");
        let called = ratio(minute, 1, horizon, 2);
        assert!(called > 1.01, "{minute}: {called}");
    }
    // Half an hour before its end, what comes after it is as usual.
    assert!((0.9..1.2).contains(&ratio(36, 0, 2, 1)));
}

#[test]
fn errors_are_as_large_as_asked_and_glide() {
    let scenario = sale(|scenario| scenario.duration_seconds = 86_400.0);
    let known = Foresight::known(&scenario, seed());
    let noisy = known.noisy(Seed::root(1), 0.1);
    assert_eq!(noisy, known.noisy(Seed::root(1), 0.1));
    assert_ne!(noisy, known.noisy(Seed::root(2), 0.1));
    let errors = |domain: usize, horizon: usize| -> Vec<f64> {
        let each = (0..1440).map(|minute| {
            let [with, without] = [&noisy, &*known]
                .map(|it| it.at(f64::from(minute) * 60.0)[domain].forecast.unwrap().ahead[horizon]);
            let ratio = with[0] / without[0];
            assert!(
                with.iter().zip(without).all(|(one, other)| (one / other - ratio).abs() < 1e-9)
            );
            ratio.ln()
        });
        each.collect()
    };
    let deviation = |errors: &[f64]| {
        (errors.iter().map(|error| error * error).sum::<f64>() / errors.len() as f64).sqrt()
    };
    for (horizon, wanted) in [(0, 0.0408), (1, 0.0707), (2, 0.1)] {
        let errors = errors(0, horizon);
        let found = deviation(&errors);
        assert!((found / wanted - 1.0).abs() < 0.2, "{found} for {wanted}");
        let steps: Vec<f64> = errors.windows(2).map(|it| it[1] - it[0]).collect();
        assert!(deviation(&steps) < 0.2 * wanted, "{}", deviation(&steps));
    }
    assert_ne!(errors(0, 2), errors(1, 2));
    let level = |foresight: &Foresight| foresight.at(0.0)[0].forecast.unwrap().level;
    assert_eq!(level(&noisy), level(&known));
}

#[test]
fn a_forecaster_may_be_biased_or_off() {
    let scenario = sale(|_| ());
    let known = Foresight::known(&scenario, seed());
    let p80 = |foresight: &Foresight| foresight.at(600.0)[1].forecast.unwrap().ahead[1][2];
    assert!((p80(&known.biased(1.3)) / p80(&known) - 1.3).abs() < 1e-9);
    assert!(Foresight::none().at(600.0).is_empty());
    // Beyond the end the last ones stand.
    assert_eq!(known.at(1e9), known.at(3600.0));
    let arm = arms::untuned("rules+forecast").unwrap();
    let off = Arc::new(Foresight::none());
    let run = simulate_with(&scenario, &arm, (seed(), SEED), Some(60.0), Some(&off)).unwrap();
    assert!(run.timeline.rows.iter().all(|row| row.domains[0].forecast.is_none()));
}
