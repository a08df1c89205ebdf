//! Runs that nobody simulated, for tests: shaped as a spike in one domain and a bystander.

use crate::cluster::Class;
use crate::simulation::counts::Counts;
use crate::simulation::{DomainRow, PoolRow, Row, Run, Seed, Summary, Timeline};

/// A run with these breach minutes (P0 and P2), at this cost, and without a course.
pub(crate) fn run(
    [scenario, policy]: [&str; 2],
    seed: u64,
    [p0, p2]: [f64; 2],
    paid_core_hours: f64,
) -> Run {
    let counts = Counts {
        hours: 2.0,
        breach_minutes: [p0, 0.0, p2, 0.0],
        requested_core_hours: [30.0, 0.0, 10.0, 0.0],
        used_core_hours: [20.0, 0.0, 8.0, 0.0],
        paid_core_hours,
        ..Counts::default()
    };
    let mut hour_breach_minutes = vec![0.0; 24];
    hour_breach_minutes[9] = p0 + p2;
    Run {
        scenario: scenario.to_owned(),
        level: 6,
        policy: policy.to_owned(),
        seed,
        summary: Summary {
            counts,
            domain_breach_minutes: vec![p0, p2],
            hour_breach_minutes,
            offered: 1000.0,
            lost: 1.0,
            decided: 100,
            shielded: 5,
            ..Summary::default()
        },
        timeline: Timeline {
            seconds: 60.0,
            domains: vec!["payments".into(), "data".into()],
            classes: vec![Class::P0, Class::P2],
            weights: vec![1.0, 0.5],
            slo_seconds: vec![0.2, 2.0],
            slo_error_ratios: vec![0.001, 0.001],
            floor_shares: vec![0.1, 0.0],
            pools: vec!["general".into()],
            node_cores: vec![15.5],
            rows: Vec::new(),
        },
    }
}

/// A run with a course: `skill` from 0 (as bad as can be) to 1 shapes it, `seed` adds some noise.
pub(crate) fn shaped([scenario, policy]: [&str; 2], seed: u64, skill: f64) -> Run {
    let noise = Seed::root(seed).child(scenario);
    let size = 1.0 + 0.2 * noise.draw(0).gauss();
    let [p0, p2] = [400.0, 250.0].map(|minutes| size * minutes * (1.05 - skill));
    let own = noise.child(policy).draw(0).gauss();
    let mut run =
        run([scenario, policy], seed, [p0 + 5.0 * own, p2], 900.0 + 150.0 * skill + 9.0 * own);
    run.summary.counts.cascades[2] = (4.0 * (1.0 - skill)).round() as u64;
    run.summary.counts.inversions[0] = (3.0 * (1.0 - skill)).round() as u64;
    run.summary.counts.nodes_added = (160.0 - 90.0 * skill) as u64;
    run.summary.stampedes = u64::from(skill < 0.5);
    let row = |minute: u32| {
        let minute = f64::from(minute);
        let spike = size * (-((minute - 75.0) / 18.0).powi(2)).exp();
        let late = (1.0 - skill) * (-((minute - 68.0) / 9.0).powi(2)).exp();
        let domain = |rps: f64, share: f64, late: f64| DomainRow {
            rps,
            ready: rps / 20.0 * (1.0 - 0.4 * late),
            pending: rps / 20.0 * 0.4 * late,
            requested_cores: rps / 20.0 * (1.0 - 0.4 * late),
            budget_cores: (skill > 0.4).then_some(share * 300.0),
            p99_ratio: 0.6 + 3.0 * late + 0.05 * noise.draw(minute as u64).gauss(),
            ..DomainRow::default()
        };
        Row {
            at: 60.0 * minute,
            counted: minute > 30.0,
            domains: vec![
                domain(1500.0 + 3000.0 * spike, 0.7, late),
                domain(900.0, 0.3, 0.7 * late),
            ],
            pools: vec![PoolRow {
                nodes: 20.0 + 12.0 * spike * (1.0 - 0.5 * late),
                paid: 20.0 + 12.0 * spike,
                ..PoolRow::default()
            }],
            cascades: u32::from(late > 0.4),
            inversions: u32::from(late > 0.5),
            reserve_share: 0.05,
        }
    };
    run.timeline.rows = (1..=150).map(row).collect();
    run
}
