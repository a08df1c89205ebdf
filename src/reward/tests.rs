use super::*;
use crate::cluster::Class;
use crate::simulation::{DomainRow, GroupRow, PoolRow};

/// A quiet hour of a `P0` and a `P3` domain, in rows of ten seconds.
fn quiet() -> Timeline {
    let domain = DomainRow {
        rps: 100.0,
        ready: 80.0,
        asked: 80.0,
        shared_cores: 85.0,
        budget_cores: Some(100.0),
        share: 0.4,
        p99_ratio: 0.75,
        adherence: 0.5,
        groups: vec![
            GroupRow { requested_cores: 60.0, needed_cores: 30.0 },
            GroupRow { requested_cores: 25.0, needed_cores: 12.5 },
        ],
        ..DomainRow::default()
    };
    let row = Row {
        counted: true,
        domains: vec![domain; 2],
        pools: vec![PoolRow { nodes: 10.0, paid: 10.0, ..PoolRow::default() }],
        ..Row::default()
    };
    Timeline {
        seconds: 10.0,
        domains: vec!["payments".to_owned(), "platform".to_owned()],
        classes: vec![Class::P0, Class::P3],
        weights: vec![1.0, 0.3],
        slo_seconds: vec![0.2, 1.0],
        slo_error_ratios: vec![0.01, 0.0],
        floor_shares: vec![0.1, 0.0],
        pools: vec!["general".to_owned()],
        node_cores: vec![16.0],
        rows: (1..=360).map(|at| Row { at: f64::from(at) * 10.0, ..row.clone() }).collect(),
    }
}

/// Changes every row of the minutes, the first is 0.
fn during(
    timeline: &mut Timeline,
    minutes: std::ops::Range<usize>,
    mut change: impl FnMut(usize, &mut Row),
) {
    for minute in minutes {
        timeline.rows[minute * 6..][..6].iter_mut().for_each(|row| change(minute, row));
    }
}

fn commander_of(timeline: &Timeline) -> Vec<CommanderTerms> {
    commander(timeline, None, &Commander::default()).unwrap()
}

fn soldier_of(timeline: &Timeline) -> SoldierTerms {
    soldier(timeline, 0, &Soldier::default()).unwrap()[0]
}

fn near(one: f64, other: f64) {
    assert!((one - other).abs() < 1e-6, "{one} for {other}");
}

#[test]
fn a_quiet_minute_pays_adherence_and_costs_its_nodes() {
    let terms = commander_of(&quiet());
    assert_eq!(terms.len(), 60);
    near(terms[7].adherence, 0.5);
    near(terms[7].cost, -0.3 * 160.0 / 50_000.0);
    near(terms[7].total(), 0.5 - 0.3 * 160.0 / 50_000.0);
    assert_eq!((terms[7].degradation, terms[7].thrash, terms[7].floor), (0.0, 0.0, 0.0));
}

#[test]
fn twice_the_nodes_cost_twice_whatever_pods_they_carry() {
    let mut timeline = quiet();
    during(&mut timeline, 5..6, |_, row| {
        row.pools[0].paid *= 2.0;
        row.domains[0].ready *= 100.0;
    });
    let terms = commander_of(&timeline);
    near(terms[5].cost, 2.0 * terms[4].cost);
}

#[test]
fn degradation_is_of_the_worst_domain_by_weight_and_clipped() {
    let degradation = |change: &dyn Fn(&mut Row)| {
        let mut timeline = quiet();
        during(&mut timeline, 3..4, |_, row| change(row));
        commander_of(&timeline)[3].degradation / -Commander::default().degradation
    };
    near(degradation(&|row| row.domains[0].p99_ratio = 1.4), 0.4);
    near(degradation(&|row| row.domains[0].p99_ratio = f64::INFINITY), 1.0);
    // Errors at 1.5 times their budget.
    near(degradation(&|row| row.domains[0].error_ratio = 0.015), 0.5);
    // Without a budget any error is too many, and none is none.
    near(degradation(&|row| row.domains[1].error_ratio = 1e-6), 0.3);
    near(
        degradation(&|row| {
            row.domains[0].p99_ratio = 1.2;
            row.domains[1].p99_ratio = 5.0;
        }),
        0.3,
    );
}

#[test]
fn nodes_that_go_within_ten_minutes_have_thrashed() {
    let mut timeline = quiet();
    timeline.rows[0].pools[0].asked = 10.0;
    timeline.rows[6 * 5].pools[0].removed = 4.0;
    timeline.rows[6 * 6].pools[0].asked = 1.0;
    timeline.rows[6 * 20].pools[0].removed = 9.0;
    let terms = commander_of(&timeline);
    near(terms[5].thrash, -0.1 * 0.4);
    near(terms[6].thrash, -0.1 * 0.1);
    assert_eq!(terms[20].thrash, 0.0);
}

#[test]
fn only_domains_near_their_floor_are_near_it() {
    let mut timeline = quiet();
    for (minute, share) in [(0, 0.12), (1, 0.115), (2, 0.1075), (3, 0.1), (4, 0.05)] {
        during(&mut timeline, minute..minute + 1, |_, row| row.domains[0].share = share);
    }
    // The second has no floor.
    during(&mut timeline, 5..6, |_, row| row.domains[1].share = 0.0);
    let floors: Vec<f64> = commander_of(&timeline).iter().map(|terms| terms.floor).collect();
    for (found, expected) in floors.iter().zip([0.0, 0.0, 0.5, 1.0, 1.0, 0.0]) {
        near(*found, -0.2 * expected);
    }
}

/// A spike to twice the traffic at minute 20, which the forecast sees from minute 5 on.
fn spike() -> Timeline {
    let mut timeline = quiet();
    during(&mut timeline, 5..20, |_, row| {
        row.domains[0].forecast = Some([150.0, 180.0, 200.0, 210.0]);
    });
    during(&mut timeline, 20..60, |_, row| row.domains[0].rps = 200.0);
    timeline
}

/// What is paid in all for a spike, in spikes met, when budgets are as given per minute.
fn met(budgets: impl Fn(usize) -> f64, twin: impl Fn(usize) -> f64) -> f64 {
    let [own, twin] = [&budgets as &dyn Fn(usize) -> f64, &twin].map(|budgets| {
        let mut timeline = spike();
        during(&mut timeline, 0..60, |minute, row| {
            row.domains[0].budget_cores = Some(budgets(minute));
        });
        timeline
    });
    let paid = commander(&own, Some(&twin), &Commander::default()).unwrap();
    assert!(paid.iter().enumerate().all(|(at, terms)| at == 20 || terms.proactivity == 0.0));
    paid[20].proactivity / Commander::default().proactivity
}

fn raise(from: usize, to: f64) -> impl Fn(usize) -> f64 {
    move |minute| if minute < from { 100.0 } else { to }
}

#[test]
fn a_raise_ahead_of_a_spike_is_paid_at_the_spike_by_the_gap_that_it_closes() {
    let flat = |_| 100.0;
    near(met(raise(10, 150.0), flat), 0.5);
    near(met(raise(10, 200.0), flat), 1.0);
    near(met(raise(10, 900.0), flat), 1.0);
    // In force at the end of minute 13: more than five minutes before minute 20 begins.
    near(met(raise(13, 200.0), flat), 1.0);
    near(met(raise(14, 200.0), flat), 0.0);
    near(met(flat, flat), 0.0);
}

#[test]
fn what_the_rule_does_as_well_is_not_paid() {
    near(met(raise(10, 200.0), raise(8, 200.0)), 0.0);
    near(met(raise(10, 200.0), raise(8, 140.0)), 0.6);
    near(met(raise(10, 140.0), raise(8, 200.0)), 0.0);
    // Too late, the rule meets nothing.
    near(met(raise(10, 200.0), raise(18, 200.0)), 1.0);
}

#[test]
fn lowering_first_bumps_and_dropping_early_bring_nothing() {
    let flat = |_| 100.0;
    near(met(|minute| if (3..10).contains(&minute) { 50.0 } else { 100.0 }, flat), 0.0);
    near(met(|minute| if (10..18).contains(&minute) { 200.0 } else { 100.0 }, flat), 0.0);
    // Many small raises are worth their sum, and bumps their lowest.
    near(met(|minute| 100.0 + 10.0 * (minute.clamp(5, 10) - 5) as f64, flat), 0.5);
    near(met(|minute| if minute % 2 == 0 { 101.0 } else { 100.0 }, flat), 0.0);
}

#[test]
fn a_spike_that_hurts_or_never_comes_pays_less() {
    let settings = Commander::default();
    let run = |change: &dyn Fn(&mut Timeline)| {
        let mut own = spike();
        let twin = spike();
        during(&mut own, 10..60, |_, row| row.domains[0].budget_cores = Some(200.0));
        change(&mut own);
        let terms = commander(&own, Some(&twin), &settings).unwrap();
        terms.iter().map(|terms| terms.proactivity).sum::<f64>() / settings.proactivity
    };
    near(run(&|own| during(own, 20..21, |_, row| row.domains[0].p99_ratio = 1.25)), 0.75);
    near(run(&|own| during(own, 20..60, |_, row| row.domains[0].rps = 110.0)), 0.0);
    // A forecast of 1.2 times the traffic announces nothing.
    near(
        run(&|own| {
            during(own, 5..20, |_, row| {
                row.domains[0].forecast = Some([100.0, 110.0, 120.0, 200.0])
            });
        }),
        0.0,
    );
    near(run(&|own| during(own, 0..60, |_, row| row.domains[0].budget_cores = None)), 0.0);
}

#[test]
fn one_target_serves_the_use_of_the_budget_and_the_alignment() {
    let settings = Soldier::default();
    let at = |used: f64| {
        let mut timeline = quiet();
        let domain = &mut timeline.rows[0].domains[0];
        domain.shared_cores = used;
        soldier_of(&timeline)
    };
    near(at(85.0).budget, 0.0);
    near(at(85.0).alignment, settings.alignment);
    near(at(65.0).budget, -settings.budget * 0.04);
    near(at(42.5).alignment, settings.alignment * 0.5);
    near(at(170.0).alignment, 0.0);
    near(at(300.0).alignment, 0.0);
    for used in [70.0, 80.0, 90.0, 100.0] {
        assert!(at(used).budget < at(85.0).budget && at(used).alignment < at(85.0).alignment);
    }
}

#[test]
fn alignment_is_the_cosine_with_the_needs() {
    let with = |groups: &[(f64, f64)]| {
        let mut timeline = quiet();
        timeline.rows[0].domains[0].groups = groups
            .iter()
            .map(|&(requested_cores, needed_cores)| GroupRow { requested_cores, needed_cores })
            .collect();
        soldier_of(&timeline).alignment / Soldier::default().alignment
    };
    near(with(&[(85.0, 0.0), (0.0, 50.0)]), 0.0);
    near(with(&[(60.0, 40.0), (25.0, 40.0)]), 85.0 * 40.0 / (65.0 * 40.0 * 2.0_f64.sqrt()));
    // Nothing by nothing is nothing, not a perfect split.
    near(with(&[(0.0, 0.0), (0.0, 0.0)]), 0.0);
    near(with(&[]), 0.0);
}

#[test]
fn oscillation_and_cold_pods_are_shares() {
    let mut timeline = quiet();
    let domain = &mut timeline.rows[0].domains[0];
    (domain.reversed, domain.starting, domain.pending) = (8.0, 15.0, 5.0);
    let terms = soldier_of(&timeline);
    near(terms.oscillation, -0.5 * 0.1);
    near(terms.cold, -0.2 * 0.2);
    let domain = &mut timeline.rows[0].domains[0];
    *domain = DomainRow { adherence: 1.0, ..DomainRow::default() };
    near(soldier_of(&timeline).total(), 1.0);
}

#[test]
fn a_timeline_that_contradicts_itself_is_refused_in_one_sentence() {
    let refusal = |change: &dyn Fn(&mut Timeline)| {
        let mut timeline = quiet();
        change(&mut timeline);
        let refused = commander(&timeline, None, &Commander::default());
        assert_eq!(
            refused.as_ref().err(),
            soldier(&timeline, 0, &Soldier::default()).as_ref().err()
        );
        refused.unwrap_err()
    };
    assert_eq!(refusal(&|timeline| timeline.seconds = 0.0), "rows of 0 s do not make up a minute");
    assert!(refusal(&|timeline| timeline.seconds = 25.0).contains("25 s"));
    assert!(refusal(&|timeline| timeline.seconds = f64::NAN).contains("NaN"));
    assert!(refusal(&|timeline| timeline.floor_shares.clear()).contains("0 floorShares"));
    assert!(refusal(&|timeline| timeline.rows[3].domains.truncate(1)).contains("row 4"));
    assert!(soldier(&quiet(), 2, &Soldier::default()).unwrap_err().contains("no domain 2"));
    let mut other = quiet();
    other.domains.swap(0, 1);
    assert!(commander(&quiet(), Some(&other), &Commander::default()).is_err());
}

#[test]
fn a_course_has_every_counted_minute() {
    let mut timeline = quiet();
    during(&mut timeline, 0..10, |_, row| row.counted = false);
    timeline.rows[6 * 30].cascades = 2;
    during(&mut timeline, 40..41, |_, row| row.domains[1].breach_apps = 3.0);
    let settings = Settings::default();
    for course in [
        commander_course(&timeline, None, &settings).unwrap(),
        soldier_course(&timeline, 1, &settings).unwrap(),
    ] {
        let series = |series: &[gap::Series], name: &str| {
            let found = series.iter().find(|series| series.name == name);
            found.map(|series| series.values.clone()).unwrap()
        };
        assert_eq!(series(&course.terms, "adherence"), [0.5; 50]);
        assert_eq!(series(&course.harms, "breach minutes P3")[30], 3.0);
        assert_eq!(series(&course.harms, "breach minutes P0")[30], 0.0);
        assert_eq!(series(&course.harms, "cascades")[20], 2.0);
        near(series(&course.costs, "paid core-hours")[0], 160.0 / 60.0);
        assert_eq!(series(&course.metrics, "payments budget cores"), [100.0; 50]);
    }
}

#[test]
fn settings_survive_their_text_and_are_checked() {
    let text = serde_saphyr::to_string(&Settings::default()).unwrap();
    assert_eq!(serde_saphyr::from_str::<Settings>(&text).unwrap(), Settings::default());
    assert_eq!(serde_saphyr::from_str::<Settings>("{}").unwrap().validate(), Ok(()));
    assert!(serde_saphyr::from_str::<Settings>("commander: {wSlo: 1}").is_err());
    for (text, names) in [
        ("commander: {cost: -1}", "reward.commander.cost "),
        ("commander: {spikeRatio: 1}", "reward.commander.spikeRatio"),
        ("commander: {leadSeconds: 1800}", "reward.commander.leadSeconds"),
        ("soldier: {target: 0}", "reward.soldier.target"),
        ("soldier: {cold: .nan}", "reward.soldier.cold"),
        ("gap: {margin: 2}", "reward.gap.margin"),
    ] {
        let sentence = serde_saphyr::from_str::<Settings>(text).unwrap().validate().unwrap_err();
        assert!(sentence.contains(names) && sentence.lines().count() == 1, "{sentence}");
    }
}
