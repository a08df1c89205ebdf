use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::invariants::Rooms;
use super::table::{Moment, Side};
use super::world::{Pair, Shared, SimulatedWorld};
use super::{pilot, planning, speed};
use crate::cli::scenarios;
use crate::cluster::{Class, Timestamp};
use crate::control::{Published, World as _};
use crate::pilot::Pilot;
use crate::safety::Decision;
use crate::simulation::counts::{AppTick, Counts};
use crate::simulation::{Row, Seed, Summary};

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
async fn room_is_left_in_pools_that_are_too_small() {
    let mut rig = Rig::new("level-6");
    while rig.turn(|_| {}).await {}
    assert_eq!(rig.broken(), None);
    let counts = rig.pair.lock().ours.summary().counts;
    assert!(counts.preempted.iter().sum::<u64>() > 0, "nobody wanted the room of another");
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
    let mut moment = Moment::of(&rig.pair.lock());
    let row = &mut moment.ours.row.domains[0];
    row.budget_cores = Some(row.shared_cores - 321.0);
    row.pending = 654.0;
    let (table, lines) = (moment.table(), moment.lines());
    for name in ["payments", "fraud", "merchant", "data", "platform"] {
        assert_eq!(table.lines().filter(|line| line.starts_with(name)).count(), 1, "{table}");
        assert_eq!(lines.lines().filter(|line| line.contains(name)).count(), 1, "{lines}");
    }
    assert!(table.lines().all(|line| line.len() <= 100), "{table}");
    let of_first = |text: &str| {
        let first = moment.domains[0].0.as_str();
        text.lines().find(|line| line.contains(first)).unwrap().to_owned()
    };
    assert!(of_first(&table).contains(" 321 ") && of_first(&table).contains(" 654 / "), "{table}");
    assert!(
        of_first(&lines).contains("borrowed=321 ") && of_first(&lines).contains("pending=654/"),
        "{lines}"
    );
    assert!(
        !lines.contains('\x1b') && lines.lines().all(|line| line.starts_with("2025-11-28T15:"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_may_borrow_far_beyond_its_share_and_must_leave_room() {
    let scenario = Arc::new(scenarios::single("flash-sale-post-mortem", Seed::root(1)).unwrap());
    let growth = f64::from(scenario.pools[0].max_nodes) * scenario.pools[0].node_cpu;
    let mut rig = Rig::new("flash-sale-post-mortem");
    let mut decided = None;
    assert!(rig.turn(|decision| decided = Some(decision.clone())).await);
    let decision = decided.unwrap();
    let mut apps: Vec<AppTick> = rig.pair.lock().ours.app_ticks().to_vec();
    let domains = &decision.catalog.domains;
    let lowest = domains.iter().position(|domain| domain.class == Class::P3).unwrap();
    let highest = domains.iter().position(|domain| domain.class == Class::P0).unwrap();
    assert!(domains[lowest].floor_share > 0.0);
    // What the domains use after a step: so much by one app each.
    let mut step = |rooms: &mut Rooms, low: f64, high: f64, cores: f64| {
        for app in &mut apps {
            app.requested_cores = 0.0;
        }
        for (domain, used) in [(lowest, low), (highest, high)] {
            apps.iter_mut().find(|app| app.domain == domain).unwrap().requested_cores = used;
        }
        rooms.stepped(&decision, cores, &apps)
    };
    let cores = growth / 2.0;
    let floor = domains[lowest].floor_share * cores;
    let mut rooms = Rooms::new(&scenario);
    assert_eq!(step(&mut rooms, 0.0, 0.0, cores), Ok(()));
    // All but nothing of the pool, to either: shares are targets.
    assert_eq!(step(&mut rooms, 0.9 * growth, 0.0, cores), Ok(()));
    // The higher class takes it back: only the floor of the lower one stands in its way.
    assert_eq!(step(&mut rooms, 0.9 * growth, growth - floor, cores), Ok(()));
    let said = step(&mut rooms, 0.9 * growth, growth - floor + 1.0, cores).unwrap_err();
    assert!(said.contains(&domains[highest].name), "{said}");
    // To the lower class all that the higher one has stands in the way, beyond its floor.
    let mut rooms = Rooms::new(&scenario);
    assert_eq!(step(&mut rooms, 0.0, growth, cores), Ok(()));
    assert_eq!(step(&mut rooms, floor, growth, cores), Ok(()));
    let said = step(&mut rooms, floor + 1.0, growth, cores).unwrap_err();
    assert!(said.contains(&format!("{} grew", domains[lowest].name)), "{said}");
    // Standing is no growth.
    let mut rooms = Rooms::new(&scenario);
    assert_eq!(step(&mut rooms, growth, growth, cores), Ok(()));
    assert_eq!(step(&mut rooms, growth, growth, cores), Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_below_the_floor_is_named() {
    let mut rig = Rig::new("flash-sale-post-mortem");
    assert!(rig.turn(|decision| decision.domains[0].budget_cores = Some(1.0)).await);
    assert!(!rig.turn(|_| {}).await, "it goes on");
    let said = rig.broken().unwrap();
    assert!(said.contains("below its floor"), "{said}");
}

#[test]
fn the_end_compares_node_hours_and_says_of_what_the_difference_consists() {
    let side = |paid, requested, idle, warm| Side {
        row: Row::default(),
        summary: Summary {
            counts: Counts {
                paid_core_hours: paid,
                requested_core_hours: requested,
                ..Counts::default()
            },
            idle_core_hours: idle,
            warm_core_hours: warm,
            ..Summary::default()
        },
    };
    let mut moment = Moment {
        now: Timestamp::default(),
        domains: Vec::new(),
        ours: side(130.0, [70.0, 0.0, 0.0, 20.0], 40.0, 25.0),
        plain: side(100.0, [50.0, 0.0, 0.0, 25.0], 25.0, 0.0),
    };
    assert_eq!(
        moment.comparison(),
        "node core-hours 130, +30 (+30 %) against 100 under plain HPAs: warm capacity +25, \
         replicas asked for P0 +20 P3 -5, idle -10"
    );
    moment.ours = moment.plain.clone();
    assert!(moment.comparison().contains("100, +0 (+0 %)"), "{}", moment.comparison());
    moment.plain = Side::default();
    assert!(moment.comparison().contains("none counted"));
}

#[test]
fn speeds_are_above_zero_and_bounded() {
    assert_eq!(speed("0.5"), Ok(0.5));
    for bad in ["0", "-1", "nan", "inf", "10001", "fast"] {
        assert!(speed(bad).is_err(), "{bad}");
    }
}
