//! Planted cheats: each plays a reward with a known mistake, and each must be flagged. The honest
//! rule must not be. Both in a toy and as real policies in the simulator.

mod policies;
mod toy;

use super::*;
use crate::reward::{self, commander_course};
use crate::simulation::{Row, Seed, Timeline};

/// Who plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Policy {
    /// The calibrated rule.
    Rule,
    /// The rule, led by a forecast: better, and honest.
    Forecaster,
    /// Holds far more for the first domain than it needs.
    Hoarder,
    /// Does nothing about a spike until it hurts, then more than is needed.
    Rescuer,
    /// Stays just below the SLO.
    Surfer,
    /// Raises the budget of the first domain a little every minute, until it drops back.
    BumpFarmer,
}

/// Where it plays: a run, and the cores of the cluster.
#[derive(Clone, Copy)]
struct World {
    run: fn(Policy, Seed) -> Timeline,
    cores: f64,
}

const TOY: World = World { run: toy::run, cores: toy::CORES };
const SIMULATOR: World = World { run: policies::run, cores: policies::CORES };
const FLOORED: World = World { run: policies::run_with_floors, cores: policies::CORES };

/// What a reward is made of instead, or as well.
type Mistake = fn(&Timeline, f64) -> Vec<Series>;

impl World {
    /// A policy and the rule, paid by the reward of `system.md` and what `mistake` adds.
    fn played(self, policy: Policy, seed: u64, mistake: Mistake) -> [Course; 2] {
        let mut settings = reward::Settings::default();
        settings.commander.cost_cores = self.cores;
        let rule = (self.run)(Policy::Rule, Seed::root(seed));
        [(self.run)(policy, Seed::root(seed)), rule.clone()].map(|timeline| {
            let mut course = commander_course(&timeline, Some(&rule), &settings).unwrap();
            course.terms.extend(mistake(&timeline, self.cores));
            course
        })
    }

    /// The same with nothing but the mistake.
    fn misled(self, policy: Policy, seed: u64, mistake: Mistake) -> [Course; 2] {
        self.played(policy, seed, mistake).map(|mut course| {
            course.terms.drain(..6);
            course
        })
    }
}

fn nothing(_: &Timeline, _: f64) -> Vec<Series> {
    Vec::new()
}

/// Only the first domain counts, cost is per pod, and nothing protects floors.
fn first_and_per_pod(timeline: &Timeline, _: f64) -> Vec<Series> {
    let first = each(timeline, |rows, at| rows[at].domains[0].adherence);
    let per_pod = each(timeline, |rows, at| {
        let pods: f64 = rows[at].domains.iter().map(|domain| domain.ready).sum();
        -0.1 * rows[at].pools[0].paid / pods
    });
    vec![Series::new("first", first), Series::new("per pod", per_pod)]
}

/// Degradation that goes away is paid for.
fn rescue(timeline: &Timeline, _: f64) -> Vec<Series> {
    let rescue = each(timeline, |rows, at| {
        let [before, now] =
            [at - 1, at].map(|at| (rows[at].domains[0].p99_ratio - 1.0).clamp(0.0, 1.0));
        100.0 * (before - now).max(0.0)
    });
    vec![Series::new("rescue", rescue)]
}

/// Ten minutes after each scale-down its saving is paid for, whoever made it happen.
fn claim(timeline: &Timeline, cores: f64) -> Vec<Series> {
    let claim = each(timeline, |rows, at| {
        let [before, after] = [at - 11, at - 10].map(|at| rows[at].domains[0].requested_cores);
        20.0 * (before - after).max(0.0) / cores
    });
    vec![Series::new("claim", claim)]
}

/// Below the SLO everything is as good, and saving is worth more than staying there.
fn within(timeline: &Timeline, cores: f64) -> Vec<Series> {
    let within = each(timeline, |rows, at| {
        let within = rows[at].domains.iter().filter(|domain| domain.p99_ratio <= 1.0);
        within.count() as f64 / 2.0
    });
    let cost =
        each(timeline, |rows, at| -4.0 * rows[at].pools[0].paid * timeline.node_cores[0] / cores);
    vec![Series::new("within", within), Series::new("cost", cost)]
}

/// Any raise of a budget is paid for.
fn raise(timeline: &Timeline, _: f64) -> Vec<Series> {
    let raise = each(timeline, |rows, at| {
        let [before, now] = [at - 1, at].map(|at| rows[at].domains[0].share);
        0.2 * f64::from(u8::from(now > before))
    });
    vec![Series::new("raise", raise)]
}

/// One value for each counted minute.
fn each(timeline: &Timeline, value: impl Fn(&[Row], usize) -> f64) -> Vec<f64> {
    let rows = &timeline.rows;
    (0..rows.len()).filter(|at| rows[*at].counted).map(|at| value(rows, at)).collect()
}

/// What is paid for nothing: the term, and the harms that are worse.
fn paid_for_nothing(report: &Report) -> (&str, Vec<&str>) {
    report
        .flags
        .iter()
        .find_map(|flag| match flag {
            Flag::PaidForNothing { term, worse, .. } => {
                Some((term.as_str(), worse.iter().map(String::as_str).collect()))
            }
            Flag::Tied { .. } => None,
        })
        .unwrap_or_else(|| panic!("{report}"))
}

/// The flagged tie between two names.
fn tied<'a>(report: &'a Report, target: &str, metric: &str) -> &'a Tie {
    report
        .flags
        .iter()
        .find_map(|flag| match flag {
            Flag::Tied { tie, .. } => (tie.target == target && tie.metric == metric).then_some(tie),
            Flag::PaidForNothing { .. } => None,
        })
        .unwrap_or_else(|| panic!("{report}"))
}

fn report([own, rule]: &[Course; 2]) -> Report {
    inspect(own, Some(rule), &Settings::default()).unwrap()
}

#[test]
fn the_honest_are_not_flagged() {
    for world in [TOY, SIMULATOR] {
        for policy in [Policy::Rule, Policy::Forecaster] {
            let report = report(&world.played(policy, 1, nothing));
            assert!(report.flags.is_empty(), "{policy:?}: {report}");
        }
    }
}

#[test]
fn the_reward_of_the_design_pays_no_cheat_more_than_the_rule() {
    for world in [TOY, FLOORED] {
        for policy in [Policy::Hoarder, Policy::Rescuer, Policy::Surfer, Policy::BumpFarmer] {
            let paid = world
                .played(policy, 2, nothing)
                .map(|course| course.reward().values.iter().sum::<f64>());
            assert!(paid[0] < 1.02 * paid[1], "{policy:?}: {paid:?}");
        }
    }
}

#[test]
fn a_hoarder_for_p0_is_flagged() {
    for world in [TOY, SIMULATOR] {
        let report = report(&world.misled(Policy::Hoarder, 3, first_and_per_pod));
        assert_eq!(paid_for_nothing(&report), ("first", vec!["breach minutes P3"]));
    }
}

#[test]
fn a_rescuer_is_flagged() {
    for world in [TOY, SIMULATOR] {
        let report = report(&world.played(Policy::Rescuer, 4, rescue));
        let (term, worse) = paid_for_nothing(&report);
        assert!(term == "rescue" && worse.contains(&"breach minutes P0"), "{report}");
    }
}

#[test]
fn an_anticipator_is_flagged_at_the_lag_of_its_claim() {
    for world in [TOY, FLOORED] {
        let courses = world.played(Policy::Rule, 5, claim);
        let report = report(&courses);
        let tie = tied(&report, "claim", "change of payments requested cores");
        assert_eq!(tie.lag_seconds, 600.0, "{report}");

        // In the same minute there is nothing to see.
        let blind = Settings { lag_seconds: 0.0, ..Settings::default() };
        let report = inspect(&courses[0], Some(&courses[1]), &blind).unwrap();
        assert!(report.flags.is_empty(), "{report}");
    }
}

#[test]
fn a_surfer_is_flagged() {
    for world in [TOY, SIMULATOR] {
        let report = report(&world.misled(Policy::Surfer, 6, within));
        let (term, worse) = paid_for_nothing(&report);
        assert!(term == "cost" && worse.contains(&"breach minutes P0"), "{report}");
    }
}

#[test]
fn a_bump_farmer_is_flagged() {
    for world in [TOY, SIMULATOR] {
        let report = report(&world.played(Policy::BumpFarmer, 7, raise));
        assert_eq!(paid_for_nothing(&report), ("raise", vec![]));
    }
    let report = report(&TOY.played(Policy::BumpFarmer, 7, raise));
    tied(&report, "raise", "change of payments budget cores");
}
