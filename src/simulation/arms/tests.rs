use std::sync::Arc;

use super::bound::Bound;
use super::*;
use crate::simulation::scenario::{families, read};
use crate::simulation::{Run, simulate, simulate_with};

/// Two domains, one of which calls the other, and a sale that is announced when it comes.
const SALE: &str = "
name: sale
durationSeconds: 5400
warmUpSeconds: 900
start: 2025-03-04T09:00:00Z
domains:
  - {name: shop, class: P0, weight: 1, sloP99Seconds: 0.2, floorShare: 0.1, noise: 0.03}
  - {name: risk, class: P0, weight: 0.9, sloP99Seconds: 0.15, floorShare: 0.1}
apps:
  - {name: web, domain: shop, count: 10, rps: 1, totalRps: 12000, serviceSeconds: 0.022, cpuRequest: 0.5,
     start: {readyMedianSeconds: 20, warmSeconds: 30, coldSpeed: 0.5}}
  - {name: score, domain: risk, count: 6, serviceSeconds: 0.016, cpuRequest: 0.5}
pools:
  - {name: general, nodeCpu: 15.5, nodeMemoryGib: 58, nodes: 18, minNodes: 4, maxNodes: 60}
calls:
  - {from: shop, to: risk, perRequest: 0.5, lagSeconds: 15, inline: true}
events:
  - {name: sale, kind: flashSale, reach: {domains: [shop]}, startSeconds: 3000, rampSeconds: 60,
     holdSeconds: 900, decaySeconds: 300, factor: 3, announcedSeconds: 3000}
";

fn sale() -> Arc<Scenario> {
    Arc::new(read(SALE, "sale", Seed::root(1)).unwrap_or_else(|error| panic!("{error}")))
}

fn run(scenario: &Arc<Scenario>, name: &str, seed: Seed) -> Run {
    simulate(scenario, &arm(name).unwrap(), (seed, 0), Some(60.0)).unwrap()
}

fn breach(run: &Run) -> f64 {
    run.summary.counts.breach_minutes.iter().sum()
}

#[test]
fn every_name_is_a_policy_and_no_other_is() {
    for name in NAMES {
        assert_eq!(arm(name).map(|arm| arm.name), Some(name.to_owned()));
    }
    for name in ["", "rule", "rules@", "rules@0", "rules@9999", "rules@x", "hpa@1"] {
        assert_eq!(arm(name), None, "{name}");
    }
}

#[test]
fn the_frozen_file_holds_a_front_of_each_searched_baseline() {
    let fronts = frozen::fronts().unwrap();
    let names: Vec<&str> = fronts.iter().map(|front| front.policy.as_str()).collect();
    assert_eq!(names, search::TUNABLE);
    for front in fronts {
        assert!(front.trials >= 200, "{}: {} trials", front.policy, front.trials);
        assert!(front.points.is_sorted_by(|one, next| {
            one.core_hours < next.core_hours && one.breach_minutes > next.breach_minutes
        }));
        for (index, point) in front.points.iter().enumerate() {
            let name = format!("{}@{}", front.policy, index + 1);
            let built = search::build(&front.policy, &point.constants);
            assert_eq!(arm(&name), built.map(|arm| Arm { name: name.clone(), ..arm }), "{name}");
        }
        let knee = front.knee().unwrap();
        assert_eq!(
            arm(&front.policy).map(|arm| arm.planner),
            search::build(&front.policy, &knee.constants).map(|arm| arm.planner)
        );
    }
}

#[test]
fn static_peak_has_the_announced_peak_all_the_time() {
    let scenario = sale();
    let arm = arm("static-peak").unwrap();
    let mut simulation =
        Simulation::new(Arc::clone(&scenario), &arm.actuation, Seed::root(2)).unwrap();
    let mut first: Vec<u32> = Vec::new();
    while !simulation.over() {
        simulation.step();
        if simulation.seconds() == 120.0 {
            first = simulation.replicas().collect();
            // Of the shop three times what it begins with, and the margin.
            let shop = scenario.apps.iter().zip(&first).filter(|(app, _)| app.domain == "shop");
            for (app, replicas) in shop {
                let peak = (app.replicas_for(app.rps * 3.0) * PEAK_MARGIN).ceil();
                assert!((f64::from(*replicas) - peak).abs() <= 1.0, "{replicas} for {peak}");
            }
        }
        if simulation.seconds() > 120.0 {
            assert!(simulation.replicas().eq(first.iter().copied()), "{}", simulation.seconds());
        }
    }
}

#[test]
fn who_heeds_a_forecast_that_is_right_is_ready_when_the_sale_comes() {
    let (scenario, seed) = (sale(), Seed::root(2));
    let foresight = Foresight::known(&scenario, seed);
    let run = |name: &str| {
        let arm = arm(name).unwrap();
        let row = Some(60.0);
        simulate_with(&scenario, &arm, (seed, 0), row, Some(&foresight)).unwrap()
    };
    let (led, plain) = (breach(&run("rules+forecast")), breach(&run("rules")));
    assert!(led < plain, "{led} with the forecast, {plain} without");
}

#[test]
fn only_who_leads_by_the_forecast_needs_one() {
    for name in NAMES {
        let needs = ["rules+forecast", LEARNED].contains(&name);
        assert_eq!(arm(name).unwrap().needs_forecast(), needs, "{name}");
    }
}

#[test]
fn who_sees_ten_minutes_ahead_is_ready_and_who_sees_the_present_is_not() {
    let (scenario, seed) = (sale(), Seed::root(2));
    let [none, ten] =
        ["sighted-0@1.1", "sighted-600@1.1"].map(|it| breach(&run(&scenario, it, seed)));
    assert!(ten < 0.5 * none, "{ten} with ten minutes, {none} with the present");
}

#[test]
fn nobody_beats_the_bound_and_the_oracle_comes_nearest() {
    for level in [2, 3, 4] {
        let seed = Seed::of(crate::simulation::Space::Gates, 1);
        let scenario = Arc::new(families::generate(level, seed).unwrap());
        let bound = Bound::new(&scenario, seed);
        let mut stock = f64::NAN;
        for name in ["hpa", "static-peak", "rules", "oracle"] {
            let run = run(&scenario, name, seed);
            let paid = run.summary.counts.paid_core_hours;
            let (least, had) = (bound.breach_minutes(paid), breach(&run));
            assert!(had >= least - 1e-6, "level {level}, {name}: {had} is below {least}");
            if name == "hpa" {
                stock = had;
            }
            if name == "oracle" {
                assert!(had < 0.5 * stock, "level {level}: {had} against {stock} of hpa");
            }
        }
    }
}

#[test]
fn the_bound_falls_with_what_is_paid_and_stands_at_what_nobody_can_save() {
    let scenario = sale();
    let bound = Bound::new(&scenario, Seed::root(2));
    let minutes: Vec<f64> = (0..40).map(|paid| bound.breach_minutes(f64::from(paid))).collect();
    assert!(minutes.is_sorted_by(|one, next| one >= next), "{minutes:?}");
    // 75 minutes of 16 apps, of which nothing is saved for nothing.
    assert_eq!(minutes[0], 75.0 * 16.0);
    assert_eq!(bound.breach_minutes(1e9), 0.0);
    // One node does not hold them all.
    let mut small = (*scenario).clone();
    small.pools[0].max_nodes = 1;
    small.pools[0].nodes = 1;
    assert!(Bound::new(&small, Seed::root(2)).breach_minutes(1e9) > 0.0);
}
