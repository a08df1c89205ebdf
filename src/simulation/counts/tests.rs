use super::*;

const SLO: Slo = Slo { p99_seconds: 0.2, error_ratio: 0.01 };

fn domain(class: Class) -> DomainTick {
    DomainTick { class, slo: SLO, rps: 100.0, forecast_rps: 100.0, in_breach: false }
}

fn held(cores: f64, pending_seconds: f64) -> Use {
    Use { cores, budget_cores: f64::INFINITY, floor_cores: f64::INFINITY, pending_seconds }
}

/// One pool, `P0` and `P3`, a tick of 10 s each: what each domain is and has.
fn run(ticks: impl IntoIterator<Item = ([DomainTick; 2], [Use; 2])>) -> Counts {
    let mut counter = Counter::new(Definitions::default(), 2, 1);
    for ((domains, uses), index) in ticks.into_iter().zip(1_u32..) {
        counter.tick(&Tick {
            at: f64::from(index) * 10.0,
            seconds: 10.0,
            counted: true,
            domains: &domains,
            apps: &[],
            pools: &[],
            uses: &uses,
            preempted: [0; 4],
        });
    }
    *counter.counts()
}

#[test]
fn breaches_and_cost_are_summed_by_class() {
    let app = |class, ready, p99_seconds, error_ratio| AppTick {
        domain: 0,
        class,
        ready,
        p99_seconds,
        error_ratio,
        requested_cores: 2.0,
        used_cores: 1.0,
    };
    let apps = [
        app(Class::P0, 3, 0.1, 0.0),
        app(Class::P0, 3, 0.3, 0.0),
        app(Class::P1, 3, 0.1, 0.02),
        app(Class::P2, 0, f64::NAN, 0.0),
        app(Class::P3, 1, f64::NAN, 0.0),
    ];
    let mut counter = Counter::new(Definitions::default(), 1, 1);
    let tick = |at: f64, counted| Tick {
        at,
        seconds: 30.0,
        counted,
        domains: &[DomainTick {
            class: Class::P0,
            slo: SLO,
            rps: 1.0,
            forecast_rps: 1.0,
            in_breach: false,
        }],
        apps: &apps,
        pools: &[PoolTick { paid_nodes: 10, node_cores: 16.0, added: 2, removed: 1 }],
        uses: &[Use { cores: 1.0, budget_cores: 2.0, floor_cores: 2.0, pending_seconds: 0.0 }],
        preempted: [0, 0, 1, 4],
    };
    counter.tick(&tick(30.0, false));
    assert_eq!(*counter.counts(), Counts::default(), "a warm-up is not counted");
    for index in 2_u8..122 {
        counter.tick(&tick(f64::from(index) * 30.0, true));
    }
    let counts = counter.counts();
    let near = |value: f64, expected: f64| assert!((value - expected).abs() < 1e-9, "{counts:?}");
    near(counts.hours, 1.0);
    for (minutes, expected) in counts.breach_minutes.into_iter().zip([60.0, 60.0, 60.0, 0.0]) {
        near(minutes, expected);
    }
    near(counts.paid_core_hours, 160.0);
    near(counts.requested_core_hours[0], 4.0);
    near(counts.over_provisioning()[0], 2.0);
    assert_eq!((counts.nodes_added, counts.nodes_removed), (240, 120));
    assert_eq!(counts.preempted, [0, 0, 120, 480]);
}

#[test]
fn a_bystander_that_starves_is_a_cascade() {
    let breaking = DomainTick { in_breach: true, ..domain(Class::P0) };
    let other = domain(Class::P3);
    // The other one grows at 50 s; pods are pending from then on; the breach begins at 60 s.
    let tick = |index: u32, own: DomainTick, grown: bool| {
        let own = if index >= 6 { own } else { domain(Class::P0) };
        let pending = if index >= 5 { 10.0 } else { 0.0 };
        let cores = if grown && index >= 5 { 20.0 } else { 10.0 };
        ([own, other], [held(5.0, pending), held(cores, 0.0)])
    };
    let counts = run((1..=12).map(|index| tick(index, breaking, true)));
    // It has been in breach for 30 s at the end of the tick of 80 s.
    assert_eq!(counts.cascades, [1, 0, 0, 0]);
    assert!((counts.cascade_minutes * 6.0 - 5.0).abs() < 1e-9, "{counts:?}");
    assert_eq!(
        run((1..=12).map(|index| tick(index, breaking, false))).cascades,
        [0; 4],
        "nobody grew"
    );
    let busy = DomainTick { rps: 112.0, ..breaking };
    assert_eq!(
        run((1..=12).map(|index| tick(index, busy, true))).cascades,
        [0; 4],
        "its own spike"
    );
    let unknown = DomainTick { forecast_rps: f64::NAN, ..breaking };
    assert_eq!(
        run((1..=12).map(|index| tick(index, unknown, true))).cascades,
        [0; 4],
        "no forecast"
    );
    // Five minutes after the other one grew it is no longer its doing.
    let long = run((1..=100).map(|index| tick(index, breaking, true)));
    assert_eq!(long.cascades, [1, 0, 0, 0]);
    assert!((long.cascade_minutes * 6.0 - 27.0).abs() < 1e-9, "{long:?}");
}

#[test]
fn the_growth_of_the_bystander_itself_is_no_cascade() {
    let breaking = DomainTick { in_breach: true, ..domain(Class::P0) };
    let counts = run((1..=12).map(|index| {
        ([breaking, domain(Class::P3)], [held(f64::from(index), 20.0), held(10.0, 0.0)])
    }));
    assert_eq!(counts.cascades, [0; 4]);
}

#[test]
fn a_lower_domain_above_its_budget_is_an_inversion() {
    let domains = [domain(Class::P0), domain(Class::P3)];
    let above = Use { cores: 12.0, budget_cores: 10.0, ..held(0.0, 0.0) };
    let waits = |seconds| held(5.0, seconds);
    assert_eq!(run([(domains, [waits(29.0), above])]).inversions, [0; 4], "not long enough");
    assert_eq!(run([(domains, [waits(30.0), above])]).inversions, [1, 0, 0, 0]);
    let within = Use { budget_cores: 12.0, ..above };
    assert_eq!(run([(domains, [waits(90.0), within])]).inversions, [0; 4]);
    // A lower domain that waits for a higher one is as it should be.
    let over = Use { budget_cores: 1.0, ..held(5.0, 0.0) };
    assert_eq!(run([(domains, [over, Use { pending_seconds: 90.0, ..above }])]).inversions, [0; 4]);
    // Within its budget, but it grew.
    let growing = (1..=3).map(|index| (domains, [waits(40.0), held(f64::from(index), 0.0)]));
    let counts = run(growing);
    assert_eq!(counts.inversions, [1, 0, 0, 0]);
    assert!((counts.inversion_minutes * 6.0 - 2.0).abs() < 1e-9, "{counts:?}");
}

#[test]
fn room_above_a_floor_is_withheld_from_who_waits_for_longer_than_preemption_takes() {
    let domains = [domain(Class::P0), domain(Class::P3)];
    let lower = |floor_cores| Use { floor_cores, ..held(12.0, 0.0) };
    let withheld = |seconds, floor| run([(domains, [held(5.0, seconds), lower(floor)])]).withheld;
    assert_eq!(withheld(60.0, 10.0), [1, 0, 0, 0]);
    assert_eq!(withheld(45.0, 10.0), [0; 4], "its victims may still be going");
    assert_eq!(withheld(600.0, 12.0), [0; 4], "all of it is guaranteed");
    // The lower one may wait as long as it takes.
    let above = Use { floor_cores: 1.0, ..held(12.0, 0.0) };
    assert_eq!(run([(domains, [above, held(5.0, 600.0)])]).withheld, [0; 4]);
}

#[test]
fn a_pause_makes_a_new_episode_and_a_short_one_does_not() {
    let domains = [domain(Class::P1), domain(Class::P3)];
    let above = Use { cores: 12.0, budget_cores: 10.0, ..held(0.0, 0.0) };
    let with_pause = |pause: u32| {
        run((1..=30).map(|index| {
            let waits = if (10..10 + pause).contains(&index) { 0.0 } else { 40.0 };
            (domains, [held(5.0, waits), above])
        }))
    };
    assert_eq!(with_pause(5).inversions, [0, 1, 0, 0]);
    assert_eq!(with_pause(6).inversions, [0, 2, 0, 0]);
}

/// Nodes of which one is asked for per minute for an hour, then `burst` within ten seconds, each of
/// which takes `took` seconds.
fn waves(burst: u32, took: f64) -> Waves {
    let mut waves = Waves::new(Definitions::default(), 60.0);
    for minute in 0..60_u32 {
        let at = f64::from(minute) * 60.0;
        let ticket = waves.ask(at);
        waves.ready(ticket, at + 60.0);
        waves.settle(at);
    }
    let tickets: Vec<Ticket> = (0..burst)
        .map(|index| waves.ask(3600.0 + 10.0 * f64::from(index) / f64::from(burst)))
        .collect();
    waves.settle(3700.0);
    assert_eq!(waves.stampedes(), 0, "not judged before the nodes came");
    for ticket in tickets {
        waves.ready(ticket, 3610.0 + took);
    }
    waves.settle(3610.0 + took);
    waves
}

#[test]
fn many_late_nodes_at_once_are_a_stampede() {
    assert_eq!(waves(50, 200.0).stampedes(), 1);
    assert_eq!(waves(50, 200.0).most_in_a_window(), 50);
    assert_eq!(waves(50, 90.0).stampedes(), 0, "in time");
    assert_eq!(waves(9, 200.0).stampedes(), 0, "too few");
}

#[test]
fn a_busy_pool_needs_more_for_a_stampede_and_waves_that_touch_are_one() {
    let mut busy = Waves::new(Definitions::default(), 60.0);
    // 10 nodes per 30 s for an hour: 50 more are needed. The first ones are a wave of their own.
    for index in 0..1200_u32 {
        let at = f64::from(index) * 3.0;
        let ticket = busy.ask(at);
        busy.ready(ticket, at + 30.0);
        busy.settle(at);
    }
    for index in 0..38_u32 {
        let ticket = busy.ask(3600.0 + f64::from(index) * 0.1);
        busy.give_up(ticket);
    }
    busy.settle(4000.0);
    assert_eq!(busy.stampedes(), 0);
    let mut quiet = Waves::new(Definitions::default(), 60.0);
    for index in 0..100_u32 {
        let ticket = quiet.ask(4000.0 + f64::from(index));
        quiet.give_up(ticket);
        quiet.settle(4000.0 + f64::from(index));
    }
    quiet.settle(9000.0);
    assert_eq!(quiet.stampedes(), 1);
}
