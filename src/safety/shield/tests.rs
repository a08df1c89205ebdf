use std::time::Duration;

use proptest::prelude::*;

use super::budget::project;
use super::*;
use crate::cluster::{
    AppId, BudgetByHand, Catalog, Class, Declaration, Pool, Refusal, Signal, Slo,
};
use crate::observation::DomainObservation;

const NOW: Timestamp = Timestamp::from_millis(1_000_000_000);

/// One app of 10 replicas with one core each in a shared pool of 100 cores.
struct World {
    settings: Settings,
    policy: PolicyChoice,
    mode: Mode,
    app: App,
    state: AppState,
    seen: AppObservation,
    asked: Option<f64>,
    share: f64,
    breaching_share: f64,
    rejected_share: f64,
    budget_by_hand: Option<BudgetByHand>,
    emergency: Option<Declaration>,
    warm_cores: f64,
}

fn world(asked: f64) -> World {
    let mut state = AppState {
        spec_replicas: 10,
        status_replicas: 10,
        ready: 10,
        cpu_request: 1.0,
        ..AppState::default()
    };
    state.signals[SignalKind::Cpu] = Signal::good(7.0, NOW);
    World {
        settings: Settings { hpa_stabilization_seconds: 0.0, ..Settings::default() },
        policy: PolicyChoice::Hirl,
        mode: Mode::Active,
        app: App::fixture(AppId::new("bank", "web"), 0),
        state,
        seen: AppObservation {
            cpu: Some(7.0),
            utilisation: Some(0.7),
            sound: true,
            ..AppObservation::default()
        },
        asked: Some(asked),
        share: 1.0,
        breaching_share: 0.0,
        rejected_share: 0.0,
        budget_by_hand: None,
        emergency: None,
        warm_cores: 0.0,
    }
}

/// From `NOW` on, for a minute.
fn declared() -> Declaration {
    Declaration {
        from: NOW,
        until: NOW.plus(Duration::from_mins(1)),
        by: "ann".into(),
        reason: "campaign".into(),
    }
}

impl World {
    fn snapshot(&self) -> Snapshot {
        let domain = Domain {
            name: "payments".into(),
            class: Class::P0,
            weight: 1.0,
            slo: Slo { p99_seconds: 0.2, error_ratio: 0.01 },
            floor_share: 0.0,
            borrowing: crate::cluster::LoanLimit::default(),
            lending: crate::cluster::LoanLimit::default(),
            policy: self.policy,
            mode: self.mode,
            calls: Vec::new(),
            budget_by_hand: self.budget_by_hand.clone(),
            emergency: self.emergency.clone(),
        };
        let shared =
            Pool { name: "general".into(), shared: true, nodes: 10, cpu: 100.0, memory: 1e12 };
        Snapshot {
            at: NOW,
            catalog: Arc::new(Catalog { domains: vec![domain], apps: vec![self.app.clone()] }),
            apps: vec![self.state.clone()],
            pools: vec![shared],
            forecasts: Vec::new(),
        }
    }

    fn review_with(&self, shield: &mut Shield, now: Timestamp) -> Decision {
        let observation = Observation {
            apps: vec![self.seen],
            domains: vec![DomainObservation {
                rps: 1.0,
                breaching_share: self.breaching_share,
                rejected_share: self.rejected_share,
            }],
        };
        let proposal = Proposal {
            apps: vec![AppProposal { replicas: self.asked, ..AppProposal::default() }],
            shares: vec![self.share],
            reserve: 0.05,
            warm_cores: self.warm_cores,
            weights: None,
        };
        shield.review(&self.snapshot(), &observation, &proposal, (1, 1), now)
    }

    fn review(&self) -> AppDecision {
        self.review_with(&mut Shield::new(self.settings.clone()), NOW).apps.remove(0)
    }

    /// The published number and what shaped it.
    fn outcome(&self) -> (Option<u32>, String) {
        let decided = self.review();
        (decided.replicas, decided.reasons.to_string())
    }
}

#[test]
fn a_sound_proposal_inside_every_limit_is_published_as_it_is() {
    assert_eq!(world(12.0).outcome(), (Some(12), String::new()));
    assert_eq!(world(8.0).outcome(), (Some(8), String::new()));
}

#[test]
fn what_is_not_a_number_keeps_what_stands() {
    for nonsense in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(world(nonsense).outcome(), (Some(10), "not_finite".into()));
    }
}

#[test]
fn changes_are_no_faster_than_allowed_and_stay_within_the_bounds_of_the_hpa() {
    assert_eq!(world(90.0).outcome(), (Some(30), "velocity".into()));
    assert_eq!(world(0.0).outcome(), (Some(5), "velocity".into()));
    let narrow = |min_replicas, max_replicas| World {
        app: App { min_replicas, max_replicas, ..world(0.0).app },
        ..world(12.0)
    };
    assert_eq!(narrow(1, 11).outcome(), (Some(11), "maximum".into()));
    assert_eq!(narrow(13, 20).outcome(), (Some(13), "minimum".into()));
    assert_eq!(narrow(0, 0).outcome(), (Some(1), "maximum".into()), "never 0");
}

#[test]
fn a_fall_needs_sound_evidence_a_finished_rollout_and_a_trustworthy_domain() {
    let unsound = World { seen: AppObservation { sound: false, ..world(0.0).seen }, ..world(8.0) };
    assert_eq!(unsound.outcome(), (Some(10), "no_lowering".into()));
    let rejected = World { rejected_share: 0.06, ..world(8.0) };
    assert_eq!(rejected.outcome(), (Some(10), "no_lowering".into()));
    let rolling = World { state: AppState { rolling_out: true, ..world(0.0).state }, ..world(8.0) };
    assert_eq!(rolling.outcome(), (Some(10), "rollout".into()));
    let unsound_rise = World { asked: Some(12.0), ..unsound };
    assert_eq!(unsound_rise.outcome(), (Some(12), String::new()), "raising is allowed");
}

#[test]
fn lost_evidence_goes_down_the_ladder_one_rung_at_a_time() {
    let mut shield = Shield::new(world(12.0).settings);
    let healthy = world(12.0);
    assert_eq!(healthy.review_with(&mut shield, NOW).apps[0].rung, Rung::Policy);

    // Latency is lost: CPU alone decides, as an HPA would.
    let latency = Some((SignalKind::P99, Fault::Stale));
    let no_latency =
        World { seen: AppObservation { missing: latency, ..healthy.seen }, ..world(12.0) };
    let decided = no_latency.review_with(&mut shield, NOW).apps.remove(0);
    assert_eq!(
        (decided.rung, decided.replicas, decided.missing),
        (Rung::HpaEquivalent, Some(10), latency)
    );

    // CPU is lost too: the last supported number, for a minute.
    let cpu = Some((SignalKind::Cpu, Fault::Unreachable));
    let blind = World {
        seen: AppObservation { missing: cpu, ..AppObservation::default() },
        asked: None,
        ..world(12.0)
    };
    let at = |shield: &mut Shield, seconds| {
        let decided =
            blind.review_with(shield, NOW.plus(Duration::from_secs(seconds))).apps.remove(0);
        (decided.rung, decided.replicas, decided.supported_at)
    };
    assert_eq!(at(&mut shield, 30), (Rung::LastGood, Some(10), NOW));
    assert_eq!(at(&mut shield, 60), (Rung::LastGood, Some(10), NOW));
    assert_eq!(at(&mut shield, 61), (Rung::Withheld, None, NOW), "holding does not renew itself");
    assert_eq!(healthy.review_with(&mut shield, NOW).apps[0].replicas, Some(12), "and it recovers");
}

#[test]
fn who_takes_over_holds_what_was_published_last() {
    let mut first = Shield::new(world(12.0).settings);
    let last = world(12.0).review_with(&mut first, NOW);
    let mut second = Shield::new(world(12.0).settings);
    second.resume(&last);
    let blind = World { seen: AppObservation::default(), asked: None, ..world(12.0) };
    let decided = blind.review_with(&mut second, NOW.plus(Duration::from_secs(5))).apps.remove(0);
    assert_eq!((decided.rung, decided.replicas), (Rung::LastGood, Some(12)));
}

#[test]
fn only_an_acting_mode_publishes_the_policy() {
    let by = |mode| World { mode, ..world(12.0) }.review();
    assert_eq!(by(Mode::Active).replicas, Some(12));
    for mode in [Mode::Shadow, Mode::Fallback, Mode::Canary(0)] {
        let decided = by(mode);
        assert_eq!((decided.replicas, decided.rung), (Some(10), Rung::HpaEquivalent), "{mode}");
        assert!(decided.reasons.has(Reason::Mode));
        assert_eq!(decided.proposed, Some(12.0), "what the policy asked for stays visible");
    }
    assert_eq!(by(Mode::Canary(100)).replicas, Some(12));
}

#[test]
fn a_canary_takes_its_percentage_of_the_apps() {
    let chosen = (0..2000).filter(|app| canary_bucket("bank", &format!("app-{app}")) < 25).count();
    assert!((400..600).contains(&chosen), "{chosen} of 2000 at 25 %");
}

#[test]
fn a_refused_app_has_no_number() {
    let refused =
        World { app: App { refusal: Some(Refusal::ValueTarget), ..world(0.0).app }, ..world(12.0) };
    assert_eq!(refused.outcome(), (None, String::new()));
}

#[test]
fn a_scale_up_is_cut_to_the_budget_and_a_breach_opens_the_emergency_band() {
    let tight = World { share: 0.12, ..world(15.0) };
    assert_eq!(tight.outcome(), (Some(12), "budget".into()));
    // 10 % of 12 cores is 1.2: one more pod.
    let breach = World { share: 0.12, breaching_share: 0.2, ..world(15.0) };
    assert_eq!(breach.outcome(), (Some(13), "budget".into()));
    let inside_the_band = World { share: 0.12, breaching_share: 0.2, ..world(13.0) };
    assert_eq!(inside_the_band.outcome(), (Some(13), "emergency".into()));
}

#[test]
fn a_share_by_hand_is_the_budget_until_its_end() {
    let by_hand = BudgetByHand { share: Some(0.12), pools: Vec::new(), declaration: declared() };
    let world = World { budget_by_hand: Some(by_hand), share: 0.95, ..world(15.0) };
    let at = |seconds| {
        let now = NOW.plus(Duration::from_secs(seconds));
        let decision = world.review_with(&mut Shield::new(world.settings.clone()), now);
        let domain = decision.domains[0].clone();
        (decision.apps[0].replicas, domain.by_hand, domain.budget_cores, decision.reserve_share)
    };
    let until = declared().until;
    // Nobody else is there: what is left is nobody's.
    assert_eq!(at(0), (Some(12), Some(until), Some(12.0), 0.88));
    assert_eq!(at(59), at(0));
    assert_eq!(at(60), (Some(15), None, Some(95.0), 0.05));
}

#[test]
fn a_pool_share_by_hand_is_the_budget_of_that_pool() {
    let pools = vec![("general".to_owned(), 0.12), ("elsewhere".to_owned(), 0.5)];
    let by_hand = BudgetByHand { share: None, pools, declaration: declared() };
    let world = World { budget_by_hand: Some(by_hand), share: 0.95, ..world(15.0) };
    let decision = world.review_with(&mut Shield::new(world.settings.clone()), NOW);
    let domain = &decision.domains[0];
    assert_eq!((decision.apps[0].replicas, domain.share), (Some(12), 0.95));
    assert_eq!(domain.pool_shares, [("elsewhere".to_owned(), 0.5), ("general".to_owned(), 0.12)]);
    assert_eq!(
        decision.pool_reserves,
        [("elsewhere".to_owned(), 0.5), ("general".to_owned(), 0.88)]
    );
    assert_eq!(decision.reserve_share, 0.05, "other pools keep theirs");
}

#[test]
fn a_declared_emergency_opens_the_band_until_its_end() {
    let world = World { emergency: Some(declared()), share: 0.12, ..world(15.0) };
    let at = |seconds| {
        let now = NOW.plus(Duration::from_secs(seconds));
        let decision = world.review_with(&mut Shield::new(world.settings.clone()), now);
        let domain = &decision.domains[0];
        (decision.apps[0].replicas, domain.emergency_until, domain.in_breach)
    };
    assert_eq!(at(0), (Some(13), Some(declared().until), false));
    assert_eq!(at(60), (Some(12), None, false));
}

#[test]
fn a_budget_below_what_stands_stops_growth_and_kills_nothing() {
    assert_eq!(World { share: 0.05, ..world(15.0) }.outcome(), (Some(10), "budget".into()));
    assert_eq!(World { share: 0.05, ..world(9.0) }.outcome(), (Some(9), String::new()));
    let below_minimum =
        World { share: 0.0, app: App { min_replicas: 14, ..world(0.0).app }, ..world(15.0) };
    assert_eq!(below_minimum.outcome(), (Some(14), "budget".into()), "lower bounds are kept");
}

#[test]
fn a_number_inside_the_dead_band_is_counted_and_not_bent() {
    let app = App { tolerance_up: 0.1, tolerance_down: 0.1, ..world(0.0).app };
    let decided = World { app: app.clone(), ..world(11.0) }.review();
    assert_eq!((decided.replicas, decided.lost_to_tolerance), (Some(11), true));
    let rounding = Settings { round_to_reachable: true, ..world(0.0).settings };
    let decided = World { app, settings: rounding, ..world(11.0) }.review();
    assert_eq!((decided.replicas, decided.lost_to_tolerance), (Some(12), false));
    assert!(decided.reasons.has(Reason::Rounded));
}

fn any_number() -> impl Strategy<Value = f64> {
    prop_oneof![
        -1e3..1e4_f64,
        Just(f64::NAN),
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY),
        Just(1e308),
        Just(-1e308),
    ]
}

proptest! {
    #[test]
    fn no_proposal_escapes_the_limits(
        asked in prop::option::of(any_number()),
        share in any_number(),
        current in 1..500_u32,
        min_replicas in 0..60_u32,
        span in 0..400_u32,
        cpu in prop::option::of(0.0..1e3_f64),
        ready in 0..500_u32,
        sound: bool,
        breaching_share in 0.0..1.0_f64,
    ) {
        let max_replicas = min_replicas + span;
        let world = World {
            app: App { min_replicas, max_replicas, ..world(0.0).app },
            state: AppState { spec_replicas: current, status_replicas: current, ready, ..world(0.0).state },
            seen: AppObservation { cpu, sound, ..world(0.0).seen },
            asked,
            share,
            breaching_share,
            ..world(0.0)
        };
        let mut shield = Shield::new(world.settings.clone());
        let decision = world.review_with(&mut shield, NOW);
        let decided = &decision.apps[0];
        let (low, high) = (min_replicas.max(1), max_replicas.max(min_replicas).max(1));
        if let Some(replicas) = decided.replicas {
            prop_assert!((low..=high).contains(&replicas));
            let bounded = |count: f64| count.clamp(f64::from(low), f64::from(high));
            let fastest = (f64::from(current) * 3.0).max(f64::from(current) + 10.0);
            prop_assert!(f64::from(replicas) <= bounded(fastest).max(f64::from(low)));
            if !sound && decided.rung == Rung::Policy {
                prop_assert!(replicas >= current.min(high));
            }
            let budget = decision.domains[0].budget_cores.unwrap_or(f64::INFINITY) * 1.1;
            prop_assert!(f64::from(replicas) <= budget.max(f64::from(current.max(low))) + 1e-6);
        }
        prop_assert_eq!(decided.replicas.is_none(), decided.rung == Rung::Withheld);
        prop_assert!(decided.proposed.is_none_or(f64::is_finite));
        let text = serde_json::to_string(&decision).unwrap();
        prop_assert_eq!(serde_json::from_str::<Decision>(&text).unwrap().apps.len(), 1);
    }

    #[test]
    fn granted_growth_fits_and_never_exceeds_what_was_asked(
        asked in prop::collection::vec((0..100_u32, 0.01..8.0_f64, 0.0..3.0_f64), 1..40),
        free in -100.0..500.0_f64,
    ) {
        let growing: Vec<Growth> = asked
            .into_iter()
            .enumerate()
            .map(|(index, (pods, cost, risk))| Growth { index, from: 5, to: 5 + pods, cost, risk })
            .collect();
        let granted = project(&growing, free);
        let cores: f64 = growing.iter().zip(&granted).map(|(growth, pods)| f64::from(*pods) * growth.cost).sum();
        prop_assert!(cores <= free.max(0.0) + 1e-6, "{cores} of {free}");
        prop_assert!(growing.iter().zip(&granted).all(|(growth, pods)| *pods <= growth.to - growth.from));
    }
}

#[test]
fn warm_capacity_is_a_number_and_at_most_the_cluster() {
    let shared = world(10.0).snapshot().shared_cpu();
    assert!(shared > 4.0);
    for (asked, given) in
        [(4.0, 4.0), (-1.0, 0.0), (f64::NAN, 0.0), (f64::INFINITY, shared), (1e12, shared)]
    {
        let world = World { warm_cores: asked, ..world(10.0) };
        let decision = world.review_with(&mut Shield::new(world.settings.clone()), NOW);
        assert_eq!(decision.warm_cores, given, "{asked}");
    }
}

#[test]
fn a_domain_that_chose_the_plain_hpa_is_given_its_number_and_the_others_the_policys() {
    for (policy, expected) in
        [(PolicyChoice::Hirl, 14), (PolicyChoice::Rules, 14), (PolicyChoice::Hpa, 10)]
    {
        let world = World { policy, ..world(14.0) };
        let decided = world.review();
        assert_eq!(decided.replicas, Some(expected), "{policy:?}");
        assert_eq!(decided.reasons.has(Reason::Mode), policy == PolicyChoice::Hpa);
    }
}
