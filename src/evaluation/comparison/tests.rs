use super::*;
use crate::evaluation::made_up::{run, shaped};

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Two scenarios, four seeds: `rules` saves 10 P0 minutes in every run of a scenario in which the
/// days differ by far more than that, and costs 2 core-hours more; `oracle` saves 40.
fn paired() -> Vec<Run> {
    let mut runs = Vec::new();
    for (scenario, hard) in [("easy", 100.0), ("hard", 1000.0)] {
        for seed in 0..4 {
            let day = hard + 50.0 * seed as f64;
            runs.push(run([scenario, "hpa"], seed, [day, 0.0], 100.0));
            runs.push(run([scenario, "rules"], seed, [day - 10.0, 0.0], 102.0));
            runs.push(run([scenario, "oracle"], seed, [day - 40.0, 0.0], 101.0));
        }
    }
    runs
}

fn compared(runs: &[Run]) -> Comparison {
    let policies = names(&["rules", "hpa", "oracle"]);
    Comparison::new(runs, &policies, "hpa", Some("oracle"), Seed::root(1)).unwrap()
}

#[test]
fn pairs_show_what_means_cannot() {
    let comparison = compared(&paired());
    assert_eq!(comparison.policies, names(&["hpa", "rules", "oracle"]));
    assert_eq!(comparison.seeds, [0, 1, 2, 3]);
    let figure = comparison.figure(&Slice::All, BREACHES, "rules").unwrap();
    // (100 + 150 + 200 + 250) / 4 = 175, and 1075 in the hard one; less 10.
    assert_eq!((figure.runs, figure.mean), (8, 615.0));
    let interval = figure.interval.unwrap();
    assert!(interval.high - interval.low > 40.0, "{interval:?}");
    let difference = figure.difference.unwrap();
    assert_eq!((difference.mean, difference.interquartile_mean), (-10.0, -10.0));
    assert_eq!(difference.interval, Some(Interval { low: -10.0, high: -10.0 }));
    assert_eq!(difference.relative, -10.0 / 625.0);
    assert!(comparison.figure(&Slice::All, BREACHES, "hpa").unwrap().difference.is_none());
}

#[test]
fn slices_hold_what_they_name() {
    let comparison = compared(&paired());
    let mean = |slice, measure| comparison.figure(&slice, measure, "hpa").map(|it| it.mean);
    assert_eq!(mean(Slice::Scenario("easy".into()), BREACHES), Some(175.0));
    assert_eq!(mean(Slice::Level(6), BREACHES), Some(625.0));
    assert_eq!(mean(Slice::Level(5), BREACHES), None);
    assert_eq!(mean(Slice::Domain("payments".into()), SPLIT), Some(625.0));
    assert_eq!(mean(Slice::Domain("data".into()), SPLIT), Some(0.0));
    assert_eq!(mean(Slice::Hour(9), SPLIT), Some(625.0));
    assert_eq!(mean(Slice::Hour(10), SPLIT), Some(0.0));
    // Nobody ran P1 apps.
    assert_eq!(mean(Slice::All, "overProvisioningP1"), None);
}

#[test]
fn the_gap_is_measured_between_baseline_and_oracle() {
    let comparison = compared(&paired());
    let gap = comparison.gap(&Slice::All, "rules").unwrap();
    assert_eq!((gap.share, gap.interquartile_mean), (0.25, 0.25));
    assert_eq!(gap.interval, Some(Interval { low: 0.25, high: 0.25 }));
    assert_eq!(comparison.gap(&Slice::All, "oracle").unwrap().share, 1.0);
    assert!(comparison.gap(&Slice::All, "hpa").is_none());
}

#[test]
fn where_the_oracle_saves_nothing_there_is_no_gap() {
    let mut runs = paired();
    for run in runs.iter_mut().filter(|run| run.scenario == "easy" && run.policy == "oracle") {
        run.summary.domain_breach_minutes[0] += 39.0;
    }
    let comparison = compared(&runs);
    assert!(comparison.gap(&Slice::Scenario("easy".into()), "rules").is_none());
    let hard = comparison.gap(&Slice::Scenario("hard".into()), "rules").unwrap();
    assert_eq!(hard.share, 0.25);
    // Run by run only the scenario with a gap counts.
    assert_eq!(comparison.gap(&Slice::All, "rules").unwrap().interquartile_mean, 0.25);
}

#[test]
fn the_worst_run_is_the_one_that_lost_most_against_the_baseline() {
    let mut runs = paired();
    let bad =
        runs.iter_mut().find(|it| it.policy == "rules" && it.scenario == "easy" && it.seed == 2);
    bad.unwrap().summary.domain_breach_minutes[0] += 100.0;
    let comparison = compared(&runs);
    let worst = |policy| {
        let figure = comparison.figure(&Slice::All, BREACHES, policy).unwrap();
        let worst = figure.worst.clone().unwrap();
        (worst.scenario, worst.seed, worst.value)
    };
    assert_eq!(worst("rules"), ("easy".to_owned(), 2, 290.0));
    assert_eq!(worst("hpa"), ("hard".to_owned(), 3, 1150.0));
}

#[test]
fn the_front_leaves_out_what_is_beaten_in_both() {
    // rules costs more than the oracle and breaks more.
    assert_eq!(compared(&paired()).front, names(&["hpa", "oracle"]));
}

#[test]
fn a_run_that_is_missing_is_named() {
    let mut runs = paired();
    runs.retain(|run| !(run.policy == "rules" && run.scenario == "hard" && run.seed == 2));
    let policies = names(&["hpa", "rules"]);
    let error = Comparison::new(&runs, &policies, "hpa", None, Seed::root(1)).unwrap_err();
    assert_eq!(error, "there is no run of rules through hard with seed 2");
    let error = Comparison::new(&runs, &policies, "static-peak", None, Seed::root(1)).unwrap_err();
    assert_eq!(error, "there are no runs of \"static-peak\" to compare with");
}

#[test]
fn one_seed_gives_figures_without_intervals() {
    let runs =
        [run(["easy", "hpa"], 0, [0.0, 0.0], 9.0), run(["easy", "rules"], 0, [3.0, 0.0], 9.0)];
    let policies = names(&["hpa", "rules"]);
    let comparison = Comparison::new(&runs, &policies, "hpa", None, Seed::root(1)).unwrap();
    let figure = comparison.figure(&Slice::All, BREACHES, "rules").unwrap();
    let difference = figure.difference.unwrap();
    assert_eq!((figure.mean, figure.interval, difference.mean), (3.0, None, 3.0));
    // 3 minutes instead of none is no percentage.
    assert!(difference.relative.is_nan());
}

#[test]
fn the_same_runs_give_the_same_table_in_any_order() {
    let runs: Vec<Run> = (0..3)
        .flat_map(|seed| [shaped(["a", "hpa"], seed, 0.1), shaped(["a", "rules"], seed, 0.6)])
        .collect();
    let policies = names(&["hpa", "rules"]);
    let table = |runs: &[Run]| {
        let comparison = Comparison::new(runs, &policies, "hpa", None, Seed::root(1)).unwrap();
        serde_json::to_string(&comparison).unwrap()
    };
    let backwards: Vec<Run> = runs.iter().rev().cloned().collect();
    assert_eq!(table(&runs), table(&backwards));
}
