use std::sync::Arc;

use super::bound::Bound;
use super::*;
use crate::simulation::scenario::{builtin, families};
use crate::simulation::{Run, simulate};

fn run(scenario: &Arc<Scenario>, policy: &str, seed: u64) -> Run {
    simulate(scenario, &arm(policy).unwrap(), (Seed::root(seed), seed), None).unwrap()
}

fn breach(run: &Run) -> f64 {
    run.summary.counts.breach_minutes.iter().sum()
}

#[test]
fn every_name_is_a_policy_with_sound_constants() {
    for name in NAMES {
        let arm = arm(name).unwrap();
        assert_eq!(arm.name, name);
        if let Some(planner) = arm.planner {
            planner.safety.validate().unwrap();
            planner.observation.validate().unwrap();
        }
    }
    for name in ["", "nobody", "hpa@1", "rules@0", "rules@99999", "rules@x"] {
        assert!(arm(name).is_none(), "{name}");
    }
}

#[test]
fn every_frozen_point_builds_a_policy_and_fronts_fall() {
    let fronts = frozen::fronts().unwrap();
    assert_eq!(fronts.len(), search::TUNABLE.len());
    for front in fronts {
        assert!(front.trials >= 200, "{}: {} trials", front.policy, front.trials);
        for (number, point) in front.points.iter().enumerate() {
            let name = format!("{}@{}", front.policy, number + 1);
            let built = search::build(&front.policy, &point.constants).unwrap();
            assert_eq!(arm(&name).unwrap(), Arm { name, ..built });
        }
        let falls = |pair: &[frozen::Point]| {
            pair[0].core_hours < pair[1].core_hours
                && pair[0].breach_minutes > pair[1].breach_minutes
        };
        assert!(front.points.windows(2).all(falls), "{}", front.policy);
    }
}

#[test]
fn nobody_beats_the_bound() {
    for level in [2, 4, 6] {
        let scenario = Arc::new(families::generate(level, Seed::root(5)).unwrap());
        let bound = Bound::new(&scenario, Seed::root(5));
        for policy in NAMES {
            let run = run(&scenario, policy, 5);
            let least = bound.breach_minutes(run.summary.counts.paid_core_hours);
            assert!(breach(&run) >= least, "level {level}, {policy}: {} < {least}", breach(&run));
        }
        // With nothing to pay, every app is in breach all the time; with all money hardly anybody.
        let all = scenario.apps.len() as f64 * 120.0;
        assert!((bound.breach_minutes(0.0) - all).abs() < 1e-6);
        assert!(bound.breach_minutes(1e9) < 0.2 * all);
    }
}

#[test]
fn who_knows_the_future_keeps_most_promises() {
    let seed = Seed::root(1);
    let sale = builtin::scenario("flash-sale-post-mortem", seed).unwrap().unwrap();
    let sale = Arc::new(sale);
    let [hpa, oracle] = ["hpa", "oracle"].map(|policy| breach(&run(&sale, policy, 1)));
    assert!(oracle < 0.25 * hpa, "{oracle} against {hpa}");
}
