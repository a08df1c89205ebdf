use super::*;
use crate::simulation::Seed;

fn noise(name: &str, count: u64) -> Vec<f64> {
    (0..count).map(|index| Seed::root(9).child(name).draw(index).gauss()).collect()
}

/// A reward that is minus the harm.
fn honest(count: u64) -> Course {
    let harm: Vec<f64> = noise("harm", count).iter().map(|value| value.max(0.0)).collect();
    Course {
        seconds: 60.0,
        terms: vec![Series::new("adherence", harm.iter().map(|harm| -harm).collect())],
        metrics: vec![Series::new("budget", noise("budget", count))],
        harms: vec![Series::new("breach minutes", harm)],
        costs: vec![Series::new("core-hours", noise("cost", count))],
    }
}

fn found(course: &Course) -> Report {
    inspect(course, None, &Settings::default()).unwrap()
}

#[test]
fn a_reward_that_follows_the_outcome_is_not_flagged() {
    let report = found(&honest(600));
    assert!(report.flags.is_empty(), "{report}");
    let strongest = &report.ties[0];
    assert_eq!((&*strongest.metric, strongest.lag_seconds), ("breach minutes", 0.0));
    assert!(strongest.correlation < -0.999, "{report}");
}

#[test]
fn a_reward_that_follows_a_metric_is_flagged_with_its_lag() {
    let mut course = honest(600);
    let budget = course.metrics[0].values.clone();
    let late = (0..600).map(|at: usize| if at < 5 { 0.0 } else { 3.0 * budget[at - 5] });
    course.terms.push(Series::new("bonus", late.collect()));
    let report = found(&course);
    let targets: Vec<(&str, f64)> = report
        .flags
        .iter()
        .map(|flag| match flag {
            Flag::Tied { tie, .. } => (tie.target.as_str(), tie.lag_seconds),
            Flag::PaidForNothing { .. } => panic!("{report}"),
        })
        .collect();
    assert_eq!(targets, [("reward", 300.0), ("bonus", 300.0)], "{report}");
    let sentence = report.flags[0].to_string();
    assert!(
        sentence.contains("reward follows budget") && sentence.contains("+5 min"),
        "{sentence}"
    );
}

#[test]
fn a_metric_that_is_the_outcome_in_disguise_is_not_flagged() {
    let mut course = honest(600);
    let harm = course.harms[0].values.iter();
    course.metrics = vec![Series::new("slow requests", harm.map(|harm| 7.0 * harm).collect())];
    assert!(found(&course).flags.is_empty());
}

#[test]
fn a_term_that_hardly_moves_the_reward_is_left_alone() {
    let mut course = honest(600);
    let budget = course.metrics[0].values.iter();
    course.terms.push(Series::new("bonus", budget.map(|value| 0.01 * value).collect()));
    let report = found(&course);
    assert!(report.flags.is_empty(), "{report}");
    assert!(report.ties.iter().all(|tie| tie.target != "bonus"), "{report}");
}

#[test]
fn what_says_nothing_is_named_and_nothing_panics() {
    let mut course = honest(600);
    course.metrics = vec![
        Series::new("constant", vec![0.1; 600]),
        Series::new("unknown", vec![f64::NAN; 600]),
        Series::new(
            "seldom",
            (0..600).map(|at| if at < 30 { f64::from(at) } else { f64::NAN }).collect(),
        ),
        Series::new("holes", noise("holes", 600)),
    ];
    course.metrics[3].values[100..200].fill(f64::INFINITY);
    let report = found(&course);
    assert_eq!(report.silent, ["constant", "unknown", "seldom"]);
    assert!(report.ties.iter().any(|tie| tie.metric == "holes"));

    let report = found(&honest(20));
    assert_eq!(report.silent.len(), 5, "{report}");
    assert!(report.flags.is_empty() && report.ties.is_empty());
    let empty =
        Course { seconds: 60.0, terms: vec![], metrics: vec![], harms: vec![], costs: vec![] };
    assert!(found(&empty).flags.is_empty());
}

#[test]
fn series_that_do_not_fit_together_are_refused_in_one_sentence() {
    let mut odd = honest(100);
    odd.metrics[0].values.pop();
    let sentence = inspect(&odd, None, &Settings::default()).unwrap_err();
    assert_eq!(sentence, "\"budget\" has 99 values, and the series before it 100");

    let course = honest(100);
    let sentence = inspect(&course, Some(&honest(99)), &Settings::default()).unwrap_err();
    assert_eq!(sentence, "the twin has other terms, outcomes or times than the run");

    let still = Course { seconds: 0.0, ..course };
    assert!(inspect(&still, None, &Settings::default()).is_err());
}

#[test]
fn pay_above_the_twin_needs_less_harm_or_less_cost() {
    let twin = honest(600);
    let verdict = |harm: f64, cost: f64| {
        let mut course = twin.clone();
        for (series, by) in
            [(&mut course.terms, 0.1), (&mut course.harms, harm), (&mut course.costs, cost)]
        {
            series[0].values.iter_mut().for_each(|value| *value += by);
        }
        let report = inspect(&course, Some(&twin), &Settings::default()).unwrap();
        report.flags.first().map(ToString::to_string)
    };
    let sentence = verdict(0.0, 0.0).unwrap();
    assert!(sentence.contains("most by adherence"), "{sentence}");
    assert!(sentence.ends_with("no true outcome is better."), "{sentence}");
    assert_eq!(verdict(-0.1, 0.0), None);
    assert_eq!(verdict(0.0, -0.1), None);
    // Cost may buy less harm, and harm may not buy less cost.
    assert_eq!(verdict(-0.1, 0.1), None);
    assert!(verdict(0.1, -0.1).unwrap().ends_with("there are more of: breach minutes."));
    assert!(verdict(0.0, 0.1).is_some());
}
