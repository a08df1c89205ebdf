use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};

use super::*;
use crate::cluster::{
    App, AppId, AppState, Call, Catalog, Class, Domain, Forecast, ForecastSource, Freshness, Mode,
    Outlook, PolicyChoice, Pool, Reading, Signal, SignalKind, Slo,
};
use crate::observation::{self, Observer};
use crate::policy::hirl::features::{APP, DOMAIN};
use crate::seed::Seed;

fn now(step: u32) -> Timestamp {
    Timestamp::from_seconds(1e9 + f64::from(step) * 10.0)
}

fn catalog(apps: &[usize]) -> Arc<Catalog> {
    let domain = |index: usize| Domain {
        name: format!("domain-{index}"),
        class: Class::ALL[index % 4],
        weight: 1.0 / (1.0 + index as f64),
        slo: Slo { p99_seconds: 0.2, error_ratio: 0.001 },
        floor_share: 0.05,
        borrowing: crate::cluster::LoanLimit::default(),
        lending: crate::cluster::LoanLimit::default(),
        policy: PolicyChoice::Hirl,
        mode: Mode::Active,
        calls: Vec::new(),
        budget_by_hand: None,
        emergency: None,
    };
    let app = |(domain, count): (usize, &usize)| {
        (0..*count).map(move |app| {
            App::fixture(AppId::new(&format!("ns-{domain:02}"), &format!("app-{app:04}")), domain)
        })
    };
    Arc::new(Catalog {
        domains: (0..apps.len()).map(domain).collect(),
        apps: apps.iter().enumerate().flat_map(app).collect(),
    })
}

fn outlook(at: Timestamp) -> Outlook {
    let forecast = Forecast { at, level: 100.0, ahead: [[90.0, 100.0, 110.0, 120.0]; 3] };
    Outlook { forecast: Some(forecast), source: ForecastSource::Model, why: None }
}

fn snapshot(catalog: &Arc<Catalog>, step: u32, stale: bool) -> Snapshot {
    let at = now(step);
    let doing = |index: usize| {
        let mut doing = AppState {
            spec_replicas: 4 + (index as u32 * 7) % 30,
            status_replicas: 4 + (index as u32 * 7) % 30,
            ready: 3 + (index as u32 * 7) % 30,
            pending: 1,
            cpu_request: 0.5,
            memory_request: 1e9,
            ..AppState::default()
        };
        let swing = 1.0 + 0.3 * (f64::from(step) / 9.0 + index as f64).sin();
        let replicas = f64::from(doing.ready);
        let taken = if stale { at.seconds_before(900.0) } else { at.seconds_before(20.0) };
        for (kind, value) in [
            (SignalKind::Rps, 40.0 * replicas * swing),
            (SignalKind::P99, 0.12 * swing * swing),
            (SignalKind::ErrorRatio, 0.0),
            (SignalKind::Cpu, 0.33 * replicas * swing),
            (SignalKind::Memory, 5e8 * replicas),
        ] {
            doing.signals[kind] = Signal::good(value, taken);
        }
        doing
    };
    let pool = Pool { name: "general".into(), shared: true, nodes: 40, cpu: 640.0, memory: 2e12 };
    Snapshot {
        at,
        catalog: Arc::clone(catalog),
        apps: (0..catalog.apps.len()).map(doing).collect(),
        pools: vec![pool],
        forecasts: vec![outlook(at); catalog.domains.len()],
    }
}

/// Proposals of a policy over some snapshots.
fn proposals(policy: &mut dyn Policy, snapshots: &[Snapshot]) -> Vec<Proposal> {
    let mut observer = Observer::new(observation::Settings::default(), Freshness::default());
    let propose = |snapshot: &Snapshot| {
        let observation = observer.observe(snapshot, snapshot.at);
        policy.propose(snapshot, &observation, snapshot.at)
    };
    snapshots.iter().map(propose).collect()
}

fn hirl(actor: Box<dyn Actor>) -> Hirl {
    Hirl::new(Settings::default(), rules::Settings::default(), actor)
}

fn rule() -> Rules {
    Rules::new(rules::Settings::default())
}

fn course(catalog: &Arc<Catalog>) -> Vec<Snapshot> {
    (0..40).map(|step| snapshot(catalog, step, false)).collect()
}

/// Says the same of everything.
struct Always {
    command: Option<Command>,
    orders: Option<(f64, f64)>,
    views: Sender<Vec<SoldierView>>,
}

impl Always {
    fn new(command: Option<Command>, orders: Option<(f64, f64)>) -> Self {
        Self::watched(command, orders).0
    }

    /// And who is told what it is shown.
    fn watched(
        command: Option<Command>,
        orders: Option<(f64, f64)>,
    ) -> (Self, Receiver<Vec<SoldierView>>) {
        let (views, shown) = mpsc::channel();
        (Self { command, orders, views }, shown)
    }
}

impl Actor for Always {
    fn command(&mut self, view: &CommanderView) -> Option<Vec<Command>> {
        self.command.map(|command| vec![command; view.domains.len()])
    }

    fn order(&mut self, views: &[SoldierView]) -> Vec<Option<Orders>> {
        let _ = self.views.send(views.to_vec());
        let order = |view: &SoldierView| {
            let (step, velocity) = self.orders?;
            let steps = vec![step; view.members.len()];
            Some(Orders { steps, splits: [0.0; GROUPS], velocity })
        };
        views.iter().map(order).collect()
    }
}

/// Its Soldiers have nothing to say.
struct WithNothing(Always);

impl Actor for WithNothing {
    fn command(&mut self, view: &CommanderView) -> Option<Vec<Command>> {
        self.0.command(view)
    }

    fn order(&mut self, views: &[SoldierView]) -> Vec<Option<Orders>> {
        views.iter().map(|view| Some(Orders::nothing(view.members.len()))).collect()
    }
}

/// Answers for the wrong number of domains and apps.
struct Misshapen;

impl Actor for Misshapen {
    fn command(&mut self, _: &CommanderView) -> Option<Vec<Command>> {
        Some(vec![Command { headroom: 1.0, ..Command::default() }])
    }

    fn order(&mut self, _: &[SoldierView]) -> Vec<Option<Orders>> {
        vec![Some(Orders { steps: vec![2.0], ..Orders::default() })]
    }
}

/// Wants more for the first domain.
struct First;

impl Actor for First {
    fn command(&mut self, view: &CommanderView) -> Option<Vec<Command>> {
        let said = |index: usize| Command {
            share: if index == 0 { 1.0 } else { 0.0 },
            ..Command::default()
        };
        Some((0..view.domains.len()).map(said).collect())
    }

    fn order(&mut self, views: &[SoldierView]) -> Vec<Option<Orders>> {
        views.iter().map(|view| Some(Orders::nothing(view.members.len()))).collect()
    }
}

/// Says two steps up for a minute.
struct Briefly(u32);

impl Actor for Briefly {
    fn command(&mut self, _: &CommanderView) -> Option<Vec<Command>> {
        None
    }

    fn order(&mut self, views: &[SoldierView]) -> Vec<Option<Orders>> {
        self.0 += 1;
        let speaks = self.0 <= 6;
        let order = |view: &SoldierView| {
            speaks.then(|| Orders { steps: vec![2.0; view.members.len()], ..Orders::default() })
        };
        views.iter().map(order).collect()
    }
}

#[test]
fn untrained_networks_are_the_rule_exactly() {
    let catalog = catalog(&[30, 5, 1, 0]);
    let course = course(&catalog);
    let model = Arc::new(Model::untrained(Seed::root(7)).unwrap());
    assert_eq!(proposals(&mut hirl(Box::new(model)), &course), proposals(&mut rule(), &course));
}

#[test]
fn whatever_is_no_number_or_of_another_shape_is_the_rule() {
    let catalog = catalog(&[8, 3]);
    let course = course(&catalog);
    let expected = proposals(&mut rule(), &course);
    let nan = Command { share: f64::NAN, headroom: 0.5, urgency: 0.5 };
    for actor in [
        Always::new(Some(nan), Some((f64::NAN, 0.0))),
        Always::new(None, Some((1.0, f64::NAN))),
        Always::new(Some(Command { headroom: f64::INFINITY, ..Command::default() }), None),
    ] {
        assert_eq!(proposals(&mut hirl(Box::new(actor)), &course), expected);
    }
    assert_eq!(proposals(&mut hirl(Box::new(Misshapen)), &course), expected);
    let weights = Model::untrained(Seed::root(7)).unwrap();
    let count = weights.parameters().count();
    weights.parameters().set_flat(&vec![f32::NAN; count]).unwrap();
    assert_eq!(proposals(&mut hirl(Box::new(Arc::new(weights))), &course), expected);
}

#[test]
fn headroom_and_steps_move_what_is_asked_within_their_reach() {
    let catalog = catalog(&[12, 4]);
    let course = course(&catalog);
    let settings = Settings::default();
    let more = Command { headroom: 9.0, ..Command::default() };
    let moved = proposals(&mut hirl(Box::new(Always::new(Some(more), Some((9.0, 0.0))))), &course);
    let ruled = proposals(&mut rule(), &course);
    let most = settings.headroom.exp() * (1.0 + 2.0 * settings.step);
    let mut learned = 0;
    for ((moved, ruled), snapshot) in moved.iter().zip(&ruled).zip(&course) {
        for ((moved, ruled), state) in moved.apps.iter().zip(&ruled.apps).zip(&snapshot.apps) {
            let (moved_to, from) = (moved.replicas.unwrap(), ruled.replicas.unwrap());
            // Two steps up keep what stands.
            let kept = from.max(f64::from(state.spec_replicas));
            assert!(moved_to >= from && moved_to <= (kept * most).round(), "{from} {moved_to}");
            learned += u32::from(moved.reasons.has(Reason::Learned));
        }
    }
    assert!(learned > 300, "{learned}");
    // With more asked for, more is divided: nobody is promised pods that the plan has no room for.
    assert!(moved[30].warm_cores > ruled[30].warm_cores);
}

#[test]
fn without_a_fresh_forecast_the_commander_is_the_rule() {
    let catalog = catalog(&[12, 4]);
    let mut course = course(&catalog);
    let more = || Always::new(Some(Command { headroom: 1.0, share: 1.0, urgency: 0.5 }), None);
    let with = proposals(&mut hirl(Box::new(WithNothing(more()))), &course);
    assert_ne!(with, proposals(&mut rule(), &course));
    for snapshot in &mut course {
        for outlook in &mut snapshot.forecasts {
            let old = snapshot.at.seconds_before(900.0);
            outlook.forecast = outlook.forecast.map(|it| Forecast { at: old, ..it });
        }
    }
    let without = proposals(&mut hirl(Box::new(WithNothing(more()))), &course);
    assert_eq!(without, proposals(&mut rule(), &course));
}

#[test]
fn a_domain_that_is_given_to_the_rule_is_the_rules_in_the_same_decision() {
    let before = catalog(&[8, 8]);
    let mut after = (*before).clone();
    after.domains[1].policy = PolicyChoice::Rules;
    let after = Arc::new(after);
    // The second within the Commander's minute.
    let course = [snapshot(&before, 6, false), snapshot(&after, 7, false)];
    let more = Command { headroom: 1.0, share: 1.0, urgency: 0.5 };
    let mut both = hirl(Box::new(Always::new(Some(more), Some((2.0, 0.0)))));
    let (moved, ruled) = (proposals(&mut both, &course), proposals(&mut rule(), &course));
    assert!(moved[0].apps[8..].iter().zip(&ruled[0].apps[8..]).any(|(one, other)| one != other));
    assert_eq!(moved[1].apps[8..], ruled[1].apps[8..]);
    assert!(moved[1].apps[..8].iter().zip(&ruled[1].apps[..8]).any(|(one, other)| one != other));
}

#[test]
fn what_nobody_says_any_more_is_the_rule_in_the_same_decision() {
    let catalog = catalog(&[10]);
    let course = course(&catalog);
    let (moved, ruled) =
        (proposals(&mut hirl(Box::new(Briefly(0))), &course), proposals(&mut rule(), &course));
    assert_ne!(moved[5].apps, ruled[5].apps);
    assert_eq!(moved[6..], ruled[6..]);
}

#[test]
fn a_slow_callee_and_a_growing_caller_are_seen_where_the_calls_are_declared() {
    let mut catalog = (*catalog(&[3, 3, 3])).clone();
    catalog.domains[0].calls = vec![
        Call { to: "domain-1".to_owned(), per_request: 0.5 },
        Call { to: "gone".to_owned(), per_request: 1.0 },
    ];
    let catalog = Arc::new(catalog);
    let mut course: Vec<Snapshot> = (0..30).map(|step| snapshot(&catalog, step, false)).collect();
    for snapshot in &mut course {
        let at = snapshot.at.seconds_before(20.0);
        for app in &mut snapshot.apps {
            app.signals[SignalKind::Rps] = Signal::good(100.0, at);
            app.signals[SignalKind::P99] = Signal::good(0.1, at);
        }
    }
    let last = course.last_mut().unwrap();
    let at = last.at.seconds_before(20.0);
    for (app, state) in last.apps.iter_mut().enumerate() {
        match app / 3 {
            // Three times the traffic of the caller, and a callee at twice its SLO of 200 ms.
            0 => state.signals[SignalKind::Rps] = Signal::good(300.0, at),
            1 => state.signals[SignalKind::P99] = Signal::good(0.4, at),
            _ => {}
        }
    }
    let (actor, shown) = Always::watched(None, None);
    proposals(&mut hirl(Box::new(actor)), &course);
    let views = shown.try_iter().last().unwrap();
    let place = |name: &str| DOMAIN.iter().position(|it| it.name == name).unwrap();
    let seen = |name: &str| {
        let of = |view: &SoldierView| view.features[place(name)];
        views.iter().map(of).collect::<Vec<_>>()
    };
    let exposure = seen("latency exposure");
    assert!((exposure[0] - 0.5).abs() < 1e-6 && exposure[1..] == [0.0, 0.0], "{exposure:?}");
    let callers = seen("traffic change of its callers");
    assert!(callers[0] == 0.0 && callers[1] > 0.5 && callers[2] == 0.0, "{callers:?}");
}

/// A snapshot of a cluster that runs so many times faster than life.
fn faster(mut snapshot: Snapshot, times: f64) -> Snapshot {
    let begin = now(0);
    let sooner = |at: Timestamp| begin.seconds_before(-at.seconds_since(begin) / times);
    for app in &mut snapshot.apps {
        for kind in SignalKind::ALL {
            let signal = &mut app.signals[kind];
            signal.reading = signal.reading.map(|it| Reading { at: sooner(it.at), ..it });
        }
    }
    snapshot.at = sooner(snapshot.at);
    snapshot.forecasts = vec![outlook(snapshot.at); snapshot.catalog.domains.len()];
    snapshot
}

#[test]
fn what_runs_faster_than_life_is_seen_as_in_life() {
    let catalog = catalog(&[3, 2]);
    let seen = |times: f64| {
        let (actor, shown) = Always::watched(None, Some((1.0, -0.5)));
        let reach = Settings { time_scale: times, ..Settings::default() };
        let life = rules::Settings::default();
        let rule = rules::Settings {
            stabilization_seconds: life.stabilization_seconds / times,
            budget_seconds: life.budget_seconds / times,
            ..life
        };
        let life = observation::Settings::default();
        let observation = observation::Settings {
            lead_seconds: life.lead_seconds / times,
            trend_seconds: life.trend_seconds / times,
            cost_half_life_seconds: life.cost_half_life_seconds / times,
            ..life
        };
        let mut observer = Observer::new(observation, Freshness::default());
        let mut hirl = Hirl::new(reach, rule, Box::new(actor));
        for step in 0..40 {
            let mut snapshot = faster(snapshot(&catalog, step, false), times);
            snapshot.apps[0].ready += step / 10;
            hirl.propose(&snapshot, &observer.observe(&snapshot, snapshot.at), snapshot.at);
        }
        shown.try_iter().last().unwrap()
    };
    for (own, fast) in seen(1.0).iter().zip(&seen(20.0)) {
        for (own, fast) in own.apps.iter().zip(&fast.apps) {
            for (feature, (own, fast)) in APP.iter().zip(own.iter().zip(fast)) {
                assert!((own - fast).abs() < 1e-3, "{}: {own}, not {fast}", feature.name);
            }
        }
        for (feature, (own, fast)) in DOMAIN.iter().zip(own.features.iter().zip(&fast.features)) {
            assert!((own - fast).abs() < 1e-3, "{}: {own}, not {fast}", feature.name);
        }
    }
}

#[test]
fn twenty_apps_are_at_risk_and_stale_ones_are_left_to_the_shield() {
    let catalog = catalog(&[500, 20, 3]);
    let (actor, shown) = Always::watched(None, None);
    let stale = [snapshot(&catalog, 0, false), snapshot(&catalog, 1, true)];
    let proposed = proposals(&mut hirl(Box::new(actor)), &stale);
    let views: Vec<_> = shown.try_iter().collect();
    let at_risk: Vec<usize> =
        views[0].iter().map(|view| view.at_risk.iter().filter(|it| **it).count()).collect();
    assert_eq!(at_risk, [20, 20, 3]);
    assert!(views[1].is_empty(), "nobody is asked about apps without fresh evidence");
    assert!(proposed[1].apps.iter().all(|app| app.replicas.is_none()));
}

#[test]
fn apps_and_domains_that_come_and_go_keep_or_lose_their_own_memory_alone() {
    let (few, more) = (catalog(&[4, 2]), catalog(&[4, 2, 6]));
    let up = || Box::new(Always::new(None, Some((2.0, 0.0))));
    let mut course: Vec<Snapshot> = (0..20).map(|step| snapshot(&few, step, false)).collect();
    course.extend((20..40).map(|step| snapshot(&more, step, false)));
    course.extend((40..45).map(|step| snapshot(&few, step, false)));
    let proposed = proposals(&mut hirl(up()), &course);
    assert!(proposed.iter().zip(&course).all(|(proposal, snapshot)| {
        proposal.apps.len() == snapshot.apps.len()
            && proposal.apps.iter().all(|app| app.replicas.is_some_and(f64::is_finite))
            && (proposal.shares.iter().sum::<f64>() + proposal.reserve - 1.0).abs() < 1e-9
    }));
    // The old apps went on with their smoothed steps, the new ones began at the rule.
    let factor = |step: usize, app: usize| {
        let mut rule = rule();
        let ruled = proposals(&mut rule, &course[..=step]);
        proposed[step].apps[app].replicas.unwrap() / ruled[step].apps[app].replicas.unwrap()
    };
    assert!(factor(20, 0) > 1.2 && factor(20, 11) < 1.2, "{} {}", factor(20, 0), factor(20, 11));
}

#[test]
fn shares_of_the_commander_hold_for_a_minute_and_keep_the_sum() {
    let catalog = catalog(&[20, 20, 20]);
    let course = course(&catalog);
    let (moved, ruled) =
        (proposals(&mut hirl(Box::new(First)), &course), proposals(&mut rule(), &course));
    for (moved, ruled) in moved.iter().zip(&ruled).skip(12) {
        assert!(moved.shares[0] > ruled.shares[0] && moved.shares[1] < ruled.shares[1]);
        assert!((moved.shares.iter().sum::<f64>() + moved.reserve - 1.0).abs() < 1e-9);
    }
}

#[test]
fn a_domain_that_chose_the_rule_has_the_rules_numbers_and_the_others_the_learned_ones() {
    let mut catalog = (*catalog(&[8, 8])).clone();
    catalog.domains[1].policy = PolicyChoice::Rules;
    let catalog = Arc::new(catalog);
    let course = course(&catalog);
    let more = Command { headroom: 0.5, ..Command::default() };
    let up = Always::new(Some(more), Some((2.0, 0.0)));
    let (moved, ruled) =
        (proposals(&mut hirl(Box::new(up)), &course), proposals(&mut rule(), &course));
    let first = |app: usize| app < 8;
    let changed = |learned: bool| {
        moved.iter().zip(&ruled).any(|(moved, ruled)| {
            let apps = moved.apps.iter().zip(&ruled.apps).enumerate();
            apps.filter(|(app, _)| first(*app) == learned).any(|(_, (moved, ruled))| moved != ruled)
        })
    };
    assert!(changed(true) && !changed(false));
}
