//! The one function that serves, simulates and replays: [`Pilot::decide`].

use std::sync::Arc;

use hirl_scale::cluster::{Fault, Freshness, Signal, SignalKind, Snapshot};
use hirl_scale::observation;
use hirl_scale::pilot::Pilot;
use hirl_scale::policy::hirl::{self, Hirl, Model};
use hirl_scale::policy::{Reason, Rules, rules};
use hirl_scale::safety::{self, Decision, Rung};

use crate::bank::{instant, snapshot};

fn pilot(epoch: u64) -> Pilot {
    let rules = Box::new(Rules::new(rules::Settings::default()));
    let (observation, safety) = (observation::Settings::default(), safety::Settings::default());
    Pilot::new(observation, Freshness::default(), rules, safety, epoch)
}

/// The learned hierarchy with the weights that ship.
#[expect(clippy::unwrap_used, reason = "built-in weights that do not load have failed the test")]
fn learned(epoch: u64) -> Pilot {
    let model = Arc::new(Model::builtin().unwrap());
    let rule = model.rule().cloned().unwrap();
    let policy = Box::new(Hirl::new(hirl::Settings::default(), rule, Box::new(model)));
    let (observation, safety) = (observation::Settings::default(), safety::Settings::default());
    Pilot::new(observation, Freshness::default(), policy, safety, epoch)
}

/// Loads of an eventful quarter of an hour.
fn loads() -> impl Iterator<Item = (u32, f64)> {
    (0..90).map(|tick| (tick, 1.0 + 0.8 * (f64::from(tick) / 9.0).sin()))
}

#[test]
fn the_same_snapshots_give_the_same_decisions_to_the_last_bit() {
    let (mut first, mut second) = (pilot(7), pilot(7));
    for (tick, load) in loads() {
        let snapshot = snapshot(20, load, tick);
        let decided = first.decide(&snapshot, instant(tick));
        assert!(decided == second.decide(&snapshot, instant(tick)), "tick {tick} differs");
        assert_eq!((decided.epoch, decided.sequence), (7, u64::from(tick) + 1));
    }
}

#[test]
fn a_recorded_run_of_the_learned_policy_is_decided_again_to_the_last_bit() {
    let recorded = loads().map(|(tick, load)| {
        let snapshot = snapshot(20, load, tick);
        let text = serde_json::to_string(&snapshot).unwrap();
        (tick, snapshot, text)
    });
    let (mut live, mut replayed) = (learned(7), learned(7));
    let mut moved = 0;
    for (tick, snapshot, text) in recorded {
        let decided = live.decide(&snapshot, instant(tick));
        let read: Snapshot = serde_json::from_str(&text).unwrap();
        let again = replayed.decide(&read, instant(tick));
        assert!(decided == again, "tick {tick} differs");
        assert_eq!(decided.weights, Model::builtin().unwrap().id().cloned());
        moved += decided.apps.iter().filter(|app| app.reasons.has(Reason::Learned)).count();
    }
    assert!(moved > 0, "weights that never move anything are the rule");
}

#[test]
fn a_decision_survives_the_way_to_the_other_replica() {
    let mut pilot = pilot(1);
    for (tick, load) in loads() {
        let decided = pilot.decide(&snapshot(5, load, tick), instant(tick));
        let text = serde_json::to_string(&decided).unwrap();
        assert!(serde_json::from_str::<Decision>(&text).unwrap() == decided, "tick {tick} differs");
    }
}

#[test]
fn a_fault_in_one_domain_stays_in_that_domain() {
    let (mut healthy, mut wounded) = (pilot(1), pilot(1));
    let fraud = 1;
    for (tick, load) in loads() {
        let whole = snapshot(20, load, tick);
        let mut broken = whole.clone();
        if tick >= 30 {
            // Everything that Prometheus says of fraud stops, and what was said ages.
            for (state, app) in broken.apps.iter_mut().zip(&whole.catalog.apps) {
                for kind in SignalKind::ALL.into_iter().filter(|_| app.domain == fraud) {
                    let reading = snapshot(1, 1.0, 30).apps[0].signals[kind].reading;
                    state.signals[kind] = Signal { reading, fault: Some(Fault::Unreachable) };
                }
            }
        }
        let (decided, hurt) =
            (healthy.decide(&whole, instant(tick)), wounded.decide(&broken, instant(tick)));
        for (index, app) in whole.catalog.apps.iter().enumerate() {
            if app.domain != fraud {
                assert_eq!(decided.apps[index].rung, hurt.apps[index].rung, "tick {tick}");
                assert_eq!(decided.apps[index].rung, Rung::Policy, "tick {tick}");
            } else if tick >= 30 {
                // Whatever rung: never below what stands, and never a number without a reason.
                let replicas = hurt.apps[index].replicas;
                assert!(replicas.is_none_or(|replicas| replicas >= 20), "tick {tick}");
                assert_eq!(replicas.is_none(), hurt.apps[index].rung == Rung::Withheld);
            }
        }
        if tick >= 30 + 16 {
            let share = hurt.domains[fraud].rungs[Rung::Withheld as usize];
            assert_eq!(share, 20, "tick {tick}: 90 s of fresh CPU and 60 s of hold are over");
        }
    }
}

#[test]
fn under_shortage_the_first_class_keeps_growing_longest() {
    let mut pilot = pilot(1);
    let mut short = snapshot(20, 1.6, 0);
    short.pools[0].cpu /= 1.8;
    let decided = pilot.decide(&short, instant(0));
    let grown = |domain: usize| -> u32 {
        let apps = short.catalog.apps.iter().zip(&decided.apps);
        apps.filter(|(app, _)| app.domain == domain)
            .filter_map(|(_, decided)| decided.replicas)
            .sum()
    };
    assert!(grown(0) > grown(3) && grown(3) >= grown(4), "{:?}", [0, 1, 2, 3, 4].map(grown));
    // Nobody grows beyond his budget; who stands above it already is not killed.
    let standing = 20.0 * 20.0 * 0.5;
    for (domain, decided) in short.catalog.domains.iter().zip(&decided.domains) {
        let allowed = decided.budget_cores.unwrap_or_default().max(standing);
        assert!(
            decided.used_cores <= allowed + 1e-9,
            "{}: {} cores",
            domain.name,
            decided.used_cores
        );
    }
}

#[test]
fn a_traffic_ramp_is_answered_before_cpu_shows_it() {
    let mut pilot = pilot(1);
    let mut led = 0;
    for tick in 0..30 {
        // Traffic rises by 5 % a tick from the tenth; CPU, over a longer window, not yet.
        let mut snapshot = snapshot(1, 1.0, tick);
        let ramp = 1.0 + 0.05 * f64::from(tick.saturating_sub(10));
        for state in &mut snapshot.apps {
            state.signals[SignalKind::Rps] = Signal::good(1000.0 * ramp, instant(tick));
        }
        let decided = pilot.decide(&snapshot, instant(tick));
        let by_hpa = decided.apps[0].hpa_equivalent;
        led += u32::from(decided.apps[0].replicas > by_hpa);
    }
    assert!(led >= 10, "led in {led} of 20 ticks");
}
