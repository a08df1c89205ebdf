use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::table::Moment;
use super::world::{Pair, Shared, SimulatedWorld};
use super::{pilot, planning, speed};
use crate::cli::scenarios;
use crate::control::{Published, World as _};
use crate::pilot::Pilot;
use crate::safety::Decision;
use crate::simulation::Seed;

/// A small cluster under the default policy, with its world and where decisions are published.
struct Rig {
    pair: Shared,
    world: SimulatedWorld,
    ended: CancellationToken,
    pilot: Pilot,
    published: watch::Sender<Option<Arc<Published>>>,
}

impl Rig {
    fn new(scenario: &str) -> Self {
        let seed = Seed::root(1);
        let scenario = Arc::new(scenarios::single(scenario, seed).unwrap());
        let (arm, planner) = planning("rules").unwrap();
        let pair = Shared::new(Pair::new(&scenario, &arm, seed).unwrap());
        let pilot = pilot(planner, &scenario, &pair, seed)(1);
        let (published, reader) = watch::channel(None);
        let ended = CancellationToken::new();
        let world = SimulatedWorld::new(pair.clone(), reader, ended.clone());
        Self { pair, world, ended, pilot, published }
    }

    /// One turn of the controller, with a change to what was decided; whether the world goes on.
    async fn turn(&mut self, change: impl FnOnce(&mut Decision)) -> bool {
        let Some(snapshot) = self.world.snapshot().await else { return false };
        let mut decision = self.pilot.decide(&snapshot, self.world.now());
        change(&mut decision);
        let (age, limit) = (Duration::ZERO, Duration::from_mins(1));
        self.published.send_replace(Some(Arc::new(Published::new(Arc::new(decision), age, limit))));
        true
    }

    fn broken(&self) -> Option<String> {
        self.pair.lock().broken.clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_clusters_move_together_one_step_per_decision_until_the_scenario_is_over() {
    let mut rig = Rig::new("adr-001");
    let mut turns = 0;
    while rig.turn(|_| {}).await {
        turns += 1;
        let pair = rig.pair.lock();
        assert_eq!(pair.ours.now(), pair.plain.now());
    }
    assert_eq!(rig.broken(), None);
    assert_eq!(turns, 534, "5400 s in steps of 10 s, but for the first minute");
    assert!(rig.pair.lock().ours.over() && rig.ended.is_cancelled());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_outside_its_bounds_ends_the_demo_and_is_named() {
    let mut rig = Rig::new("adr-001");
    assert!(rig.turn(|_| {}).await);
    assert!(rig.turn(|decision| decision.apps[0].replicas = Some(6)).await);
    assert!(!rig.turn(|_| {}).await, "it goes on");
    let said = rig.broken().unwrap();
    assert!(said.contains("6 replicas were published for ml/bank-churn"), "{said}");
    assert!(rig.ended.is_cancelled());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_that_is_exceeded_or_no_number_is_named() {
    type Change = fn(&mut Decision);
    let changes: [(&str, Change); 2] = [
        ("cores were published for models", |decision| decision.domains[0].used_cores = 1e6),
        ("the budget of models is no number", |decision| decision.domains[0].share = f64::NAN),
    ];
    for (sentence, change) in changes {
        let mut rig = Rig::new("adr-001");
        assert!(rig.turn(change).await);
        assert!(!rig.turn(|_| {}).await, "it goes on");
        let said = rig.broken().unwrap();
        assert!(said.contains(sentence), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_has_a_row_per_domain_and_fits_into_a_hundred_columns() {
    let mut rig = Rig::new("flash-sale-post-mortem");
    for _ in 0..3 {
        assert!(rig.turn(|_| {}).await);
    }
    let moment = Moment::of(&rig.pair.lock());
    let (table, lines) = (moment.table(), moment.lines());
    for name in ["payments", "fraud", "merchant", "data", "platform"] {
        assert_eq!(table.lines().filter(|line| line.starts_with(name)).count(), 1, "{table}");
        assert_eq!(lines.lines().filter(|line| line.contains(name)).count(), 1, "{lines}");
    }
    assert!(table.lines().all(|line| line.len() <= 100), "{table}");
    assert!(
        !lines.contains('\x1b') && lines.lines().all(|line| line.starts_with("2025-11-28T15:"))
    );
}

#[test]
fn speeds_are_above_zero_and_bounded() {
    assert_eq!(speed("0.5"), Ok(0.5));
    for bad in ["0", "-1", "nan", "inf", "10001", "fast"] {
        assert!(speed(bad).is_err(), "{bad}");
    }
}
