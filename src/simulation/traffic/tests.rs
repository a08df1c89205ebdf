//! The traffic against what its scenario says.

use super::*;
use crate::cluster::Timestamp;
use crate::simulation::scenario::{BatchWindow, EventKind, EventSpec, read};

const HOUR: f64 = 3600.0;

fn scenario(extra: &str) -> Scenario {
    let text = format!(
        "name: t\ndurationSeconds: 604800\n\
domains:\n  - {{name: pay, class: P0, weight: 1, sloP99Seconds: 0.2}}\n  - {{name: risk, class: P1, weight: 0.9, sloP99Seconds: 0.2}}\n\
apps:\n  - {{name: a, domain: pay, rps: 1000, noise: 0, serviceSeconds: 0.01, cpuRequest: 1}}\n  - {{name: b, domain: pay, rps: 500, noise: 0, serviceSeconds: 0.01, cpuRequest: 1}}\n  - {{name: c, domain: risk, rps: 10, noise: 0, callWeight: 3, serviceSeconds: 0.01, cpuRequest: 1}}\n  - {{name: d, domain: risk, noise: 0, serviceSeconds: 0.01, cpuRequest: 1}}\n\
pools:\n  - {{name: p, nodeCpu: 16, nodeMemoryGib: 64, nodes: 4, maxNodes: 20}}\n\
calls:\n  - {{from: pay, to: risk, perRequest: 0.5, lagSeconds: 20}}\n{extra}"
    );
    read(&text, "t", Seed::root(1)).unwrap()
}

fn sale(announced: Option<f64>) -> EventSpec {
    EventSpec {
        name: "sale".into(),
        kind: EventKind::FlashSale,
        reach: crate::simulation::scenario::Reach {
            domains: vec!["pay".into()],
            app_prefix: "a".into(),
            limit: None,
        },
        start_seconds: 1000.0,
        ramp_seconds: 100.0,
        hold_seconds: 200.0,
        decay_seconds: 400.0,
        factor: 5.0,
        announced_seconds: announced,
        announced_factor: None,
    }
}

fn expected(scenario: &Scenario, at: f64) -> Vec<f64> {
    let mut out = vec![0.0; scenario.apps.len()];
    Traffic::new(scenario, Seed::root(1)).expected(at, &mut out);
    out
}

fn near(found: &[f64], wanted: &[f64]) {
    let close = found.len() == wanted.len()
        && found.iter().zip(wanted).all(|(found, wanted)| (found - wanted).abs() < 1e-6);
    assert!(close, "{found:?} is not {wanted:?}");
}

#[test]
fn calls_follow_their_callers_by_the_lag_and_are_divided_by_weight() {
    let mut scenario = scenario("");
    scenario.events.push(sale(None));
    // Before the event: 1,500 requests, 750 calls, 3 to 1.
    near(&expected(&scenario, 0.0), &[1000.0, 500.0, 572.5, 187.5]);
    // In the middle of the ramp `a` stands at 3; 20 s before it stood at 2.2.
    let calls = 0.5 * (2200.0 + 500.0);
    near(&expected(&scenario, 1050.0), &[3000.0, 500.0, 10.0 + calls * 0.75, calls * 0.25]);
    // At its height, in the middle of the decay, and afterwards.
    assert!((expected(&scenario, 1250.0)[0] - 5000.0).abs() < 1e-6);
    assert!((expected(&scenario, 1500.0)[0] - 3000.0).abs() < 1e-6);
    assert!((expected(&scenario, 1700.0)[0] - 1000.0).abs() < 1e-6);
}

#[test]
fn calls_go_on_over_several_domains() {
    let mut scenario = scenario("");
    let mut third = scenario.domains[1].clone();
    third.name = "deep".into();
    scenario.domains.push(third);
    let mut app = scenario.apps[3].clone();
    (app.name, app.namespace, app.domain) = ("e".into(), "zdeep".into(), "deep".into());
    scenario.apps.push(app);
    for (from, to, per_request, lag_seconds) in
        [("risk", "deep", 2.0, 5.0), ("pay", "deep", 1.0, 0.0)]
    {
        scenario.calls.push(crate::simulation::scenario::CallSpec {
            from: from.into(),
            to: to.into(),
            per_request,
            lag_seconds,
            inline: false,
        });
    }
    scenario.validate().unwrap();
    // 1,500 directly, 2 x 10 of risk's own, 2 x 750 of what pay asked of risk.
    assert!((expected(&scenario, 0.0)[4] - 3020.0).abs() < 1e-6);
}

#[test]
fn offered_traffic_is_a_function_of_the_instant() {
    let scenario = {
        let mut scenario = scenario("");
        scenario.domains[0].noise = 0.1;
        scenario.apps[0].noise = 0.3;
        scenario.events.push(sale(None));
        scenario
    };
    let mut forward = Traffic::new(&scenario, Seed::root(5));
    let steps: Vec<f64> = (0..200).map(|step| f64::from(step) * 10.0).collect();
    let mut ask = |from: f64| {
        let mut out = vec![0.0; 4];
        forward.offered(from, 10.0, &mut out);
        out
    };
    let first: Vec<Vec<f64>> = steps.iter().map(|from| ask(*from)).collect();
    let mut backward: Vec<Vec<f64>> = steps.iter().rev().map(|from| ask(*from)).collect();
    backward.reverse();
    assert_eq!(first, backward);
    // Whole requests, and another seed gives others.
    assert!(first.iter().flatten().all(|rps| (rps * 10.0 - (rps * 10.0).round()).abs() < 1e-9));
    let mut other = vec![0.0; 4];
    Traffic::new(&scenario, Seed::root(6)).offered(0.0, 10.0, &mut other);
    assert_ne!(first[0], other);
}

#[test]
fn what_is_offered_agrees_with_what_is_expected() {
    let mut scenario = scenario("");
    scenario.domains[0].noise = 0.1;
    scenario.apps[0].noise = 0.3;
    let mut traffic = Traffic::new(&scenario, Seed::root(9));
    let (steps, mut sums, mut out) = (20_000, [0.0; 4], [0.0; 4]);
    for step in 0..steps {
        traffic.offered(f64::from(step) * 10.0, 10.0, &mut out);
        for (sum, rps) in sums.iter_mut().zip(out) {
            *sum += rps / f64::from(steps);
        }
    }
    for (mean, wanted) in sums.iter().zip(expected(&scenario, 0.0)) {
        assert!((mean / wanted - 1.0).abs() < 0.03, "{sums:?}");
    }
}

#[test]
fn arrivals_have_the_variance_of_a_poisson_count() {
    for mean in [0.3, 5.0, 29.0, 31.0, 400.0] {
        let (mut sum, mut square) = (0.0, 0.0);
        let count = 40_000;
        for number in 0..count {
            let arrived = poisson(mean, Seed::root(2).draw(number));
            sum += arrived;
            square += arrived * arrived;
        }
        let average = sum / count as f64;
        let variance = square / count as f64 - average * average;
        assert!((average / mean - 1.0).abs() < 0.03, "{mean}: mean {average}");
        assert!((variance / mean - 1.0).abs() < 0.05, "{mean}: variance {variance}");
    }
    assert_eq!(poisson(0.0, Seed::root(2).draw(1)), 0.0);
}

#[test]
fn a_gamma_factor_has_mean_one_and_its_variation() {
    for variation in [0.1, 0.3, 0.6, 1.0] {
        let (mut sum, mut square) = (0.0, 0.0);
        let count = 40_000;
        for number in 0..count {
            let factor = gamma(variation, Seed::root(3).draw(number));
            sum += factor;
            square += factor * factor;
        }
        let mean = sum / count as f64;
        let found = (square / count as f64 - mean * mean).sqrt() / mean;
        assert!((mean - 1.0).abs() < 0.02, "{variation}: mean {mean}");
        assert!((found / variation - 1.0).abs() < 0.06, "{variation}: {found}");
    }
}

#[test]
fn noise_glides_and_keeps_its_deviation_everywhere() {
    let mut glide = Glide::new(Seed::root(4), 60.0);
    for offset in [0.0, 15.0, 30.0, 45.0] {
        let values: Vec<f64> =
            (0..20_000).map(|index| glide.at(f64::from(index) * 60.0 + offset)).collect();
        let square = values.iter().map(|value| value * value).sum::<f64>() / 20_000.0;
        assert!((square - 1.0).abs() < 0.05, "{offset}: {square}");
    }
    for index in 0..10_000 {
        let at = f64::from(index) * 0.37;
        let step = glide.at(at + 0.01) - glide.at(at);
        assert!(step.abs() < 0.01, "a jump of {step} at {at}");
    }
}

fn shape(pattern: &Pattern) -> Shape {
    // A Monday.
    Shape::new(pattern, Timestamp::from_millis(1_740_960_000_000))
}

#[test]
fn a_day_peaks_at_its_hour_and_weekends_differ() {
    let shape = shape(&Pattern::Diurnal { swing: 0.6, peak_hour: 14.0, weekend: 0.5 });
    let day = |day: f64, hour: f64| shape.at((day * 24.0 + hour) * HOUR);
    assert!((day(0.0, 14.0) - 1.6).abs() < 1e-9);
    assert!((day(1.0, 2.0) - 0.4).abs() < 1e-9);
    assert!((day(5.0, 14.0) - 0.8).abs() < 1e-9, "Saturday");
    assert!((day(6.0, 14.0) - 0.8).abs() < 1e-9, "Sunday");
    assert!((day(7.0, 14.0) - 1.6).abs() < 1e-9, "Monday again");
    for minute in 0..7 * 24 * 60 {
        let at = f64::from(minute) * 60.0;
        assert!((shape.at(at + 60.0) - shape.at(at)).abs() < 0.02, "a jump at minute {minute}");
    }
}

#[test]
fn offices_open_and_batches_run_when_they_say() {
    let office = shape(&Pattern::Office { from_hour: 8.0, to_hour: 18.0, idle: 0.1 });
    for (hour, wanted) in
        [(3.0, 0.1), (7.5, 0.55), (8.0, 1.0), (13.0, 1.0), (18.5, 0.55), (20.0, 0.1), (130.0, 0.1)]
    {
        assert!((office.at(hour * HOUR) - wanted).abs() < 1e-9, "{hour}");
    }
    let window = |from_hour, hours, level| BatchWindow { from_hour, hours, level };
    let batch = shape(&Pattern::Batch {
        windows: vec![window(22.0, 4.0, 1.0), window(23.0, 1.0, 3.0)],
        idle: 0.0,
    });
    for (hour, wanted) in
        [(1.0, 1.0), (2.0, 0.0), (12.0, 0.0), (22.5, 1.0), (23.5, 3.0), (24.5, 1.0)]
    {
        assert_eq!(batch.at(hour * HOUR), wanted, "{hour}");
    }
}

#[test]
fn a_recording_is_played_around_its_mean_and_begins_again() {
    let replay = shape(&Pattern::Replay {
        interval_seconds: 60.0,
        values: vec![10.0, 30.0, 20.0],
        burstiness: 0.2,
    });
    for (at, wanted) in [
        (0.0, 0.5),
        (30.0, 1.0),
        (60.0, 1.5),
        (120.0, 1.0),
        (150.0, 0.75),
        (180.0, 0.5),
        (-30.0, 0.75),
    ] {
        assert!((replay.at(at) - wanted).abs() < 1e-9, "{at}: {}", replay.at(at));
    }
    assert_eq!(replay.burstiness(), 0.2);
}

#[test]
fn apps_of_their_own_pattern_keep_it() {
    let mut scenario = scenario("");
    scenario.apps[1].traffic = Some(Pattern::Office { from_hour: 8.0, to_hour: 18.0, idle: 0.0 });
    near(&expected(&scenario, 0.0), &[1000.0, 0.0, 10.0 + 375.0, 125.0]);
    near(&expected(&scenario, 12.0 * HOUR), &[1000.0, 500.0, 572.5, 187.5]);
}

#[test]
fn one_app_more_changes_nothing_for_the_others() {
    let mut scenario = scenario("");
    for app in &mut scenario.apps {
        app.noise = 0.2;
    }
    let offered = |scenario: &Scenario| {
        let mut out = vec![0.0; scenario.apps.len()];
        Traffic::new(scenario, Seed::root(1)).offered(600.0, 10.0, &mut out);
        out
    };
    let before = offered(&scenario);
    let mut app = scenario.apps[3].clone();
    (app.name, app.call_weight) = ("z".into(), 0.0);
    scenario.apps.push(app);
    scenario.validate().unwrap();
    assert_eq!(offered(&scenario)[..4], before);
}

#[test]
fn a_replayed_app_is_burstier_than_a_steady_one() {
    let mut scenario = scenario("");
    let recording =
        Pattern::Replay { interval_seconds: 60.0, values: vec![7.0, 7.0], burstiness: 0.3 };
    scenario.apps[1].traffic = Some(recording);
    let mut traffic = Traffic::new(&scenario, Seed::root(2));
    let (mut out, mut squares) = (vec![0.0; 4], [0.0; 2]);
    for step in 0..4000 {
        traffic.offered(f64::from(step) * 10.0, 10.0, &mut out);
        squares[0] += (out[0] / 1000.0 - 1.0).powi(2) / 4000.0;
        squares[1] += (out[1] / 500.0 - 1.0).powi(2) / 4000.0;
    }
    // Poisson alone: one over the square root of 10,000 requests.
    assert!((squares[0].sqrt() / 0.01 - 1.0).abs() < 0.1, "{}", squares[0].sqrt());
    assert!((squares[1].sqrt() / 0.3 - 1.0).abs() < 0.1, "{}", squares[1].sqrt());
}

#[test]
fn a_reach_is_narrowed_by_domain_prefix_and_number() {
    let scenario = scenario("");
    let reached = |domains: &[&str], prefix: &str, limit| {
        crate::simulation::scenario::Reach {
            domains: domains.iter().map(|name| (*name).to_owned()).collect(),
            app_prefix: prefix.to_owned(),
            limit,
        }
        .apps(&scenario)
    };
    assert_eq!(reached(&[], "", None), [true; 4]);
    assert_eq!(reached(&["risk"], "", None), [false, false, true, true]);
    assert_eq!(reached(&[], "b", None), [false, true, false, false]);
    assert_eq!(reached(&[], "", Some(3)), [true, true, true, false]);
    assert_eq!(reached(&["risk"], "", Some(1)), [false, false, true, false]);
}

/// Mean and deviation of a series.
fn moments(values: &[f64]) -> (f64, f64) {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let square = values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>();
    (mean, (square / values.len() as f64).sqrt())
}

#[test]
fn the_past_follows_the_pattern_and_its_calls_and_knows_no_event() {
    let mut scenario = scenario("");
    scenario.domains[0].traffic = Pattern::Diurnal { swing: 0.5, peak_hour: 14.0, weekend: 1.0 };
    scenario.calls[0].lag_seconds = 1800.0;
    scenario.events.push(EventSpec { start_seconds: 0.0, ..sale(None) });
    let past = Traffic::new(&scenario, Seed::root(1)).past(1440, 10.0);
    assert_eq!(past.iter().map(Vec::len).collect::<Vec<_>>(), [1440, 1440]);
    let start = scenario.start.as_seconds() / 3600.0;
    for back in [1_usize, 100, 700, 1440] {
        let at = |late: f64| {
            let hour = start - back as f64 / 60.0 - late;
            1500.0 * (1.0 + 0.5 * ((hour - 14.0) / 24.0 * std::f64::consts::TAU).cos())
        };
        let hour = |domain: usize| {
            let place = 1440 - back;
            moments(&past[domain][place.saturating_sub(10)..(place + 11).min(1440)]).0
        };
        assert!((hour(0) / at(0.0) - 1.0).abs() < 0.03, "{back}: {} for {}", hour(0), at(0.0));
        let called = 10.0 + 0.5 * at(0.5);
        assert!((hour(1) / called - 1.0).abs() < 0.03, "{back}: {} for {called}", hour(1));
    }
}

#[test]
fn the_past_is_as_noisy_as_what_is_offered() {
    let mut scenario = scenario("");
    scenario.domains[0].noise = 0.1;
    for app in &mut scenario.apps {
        (app.noise, app.noise_seconds) = (0.2, 300.0);
    }
    let recording =
        Pattern::Replay { interval_seconds: 60.0, values: vec![7.0, 7.0], burstiness: 0.3 };
    scenario.domains[1].traffic = recording;
    let mut traffic = Traffic::new(&scenario, Seed::root(4));
    let (minutes, step) = (20_000, 10.0);
    let past = traffic.past(minutes, step);
    let (mut out, mut later) = ([0.0; 4], [Vec::new(), Vec::new()]);
    for minute in 0..minutes {
        let mut sums = [0.0; 2];
        for part in 0..6 {
            traffic.offered(minute as f64 * 60.0 + f64::from(part) * step, step, &mut out);
            sums[0] += (out[0] + out[1]) / 6.0;
            sums[1] += (out[2] + out[3]) / 6.0;
        }
        later.iter_mut().zip(sums).for_each(|(series, sum)| series.push(sum));
    }
    let steps = |series: &[f64]| series.windows(2).map(|it| it[1] - it[0]).collect::<Vec<_>>();
    for (before, after) in past.iter().zip(&later) {
        let ((mean, spread), (other, its)) = (moments(before), moments(after));
        assert!((mean / other - 1.0).abs() < 0.01, "{mean} {other}");
        assert!((spread / its - 1.0).abs() < 0.05, "{spread} {its}");
        // And from minute to minute.
        let (rough, its) = (moments(&steps(before)).1, moments(&steps(after)).1);
        assert!((rough / its - 1.0).abs() < 0.1, "{rough} {its}");
    }
    assert_eq!(past, traffic.past(minutes, step));
    // More of the past is the same past.
    assert_eq!(past[0][minutes - 100..], traffic.past(100, step)[0]);
}
