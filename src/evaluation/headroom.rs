//! What learning can win at the most: how far the baseline is from the planner that knows the future.

use std::fmt::Write as _;

use super::comparison::{BREACHES, COST, Comparison, Slice};
use crate::cluster::Class;

/// Costs that differ by more are not equal.
const EQUAL: f64 = 0.02;

/// A table of breach minutes per level and class: the baseline's and how far the oracle is below, in percent of
/// the baseline's with the 95 % interval, and whether both pay the same. `None` without an oracle.
///
/// All of it is what can be won at the most: the oracle knows events that nobody announced, which no policy can.
#[must_use]
pub fn headroom(comparison: &Comparison) -> Option<String> {
    let oracle = comparison.oracle.as_ref()?;
    let baseline = &comparison.baseline;
    let mut levels: Vec<u8> = comparison.cases.iter().map(|case| case.level).collect();
    levels.dedup();
    let slices = levels.into_iter().map(Slice::Level).chain([Slice::All]);
    let measures = breaches();
    let mut text = format!(
        "Headroom: breach minutes per run of {baseline}, and the change with {oracle} [95 %]\n{:<8}",
        "level"
    );
    for (title, _) in &measures {
        // Writing to a string cannot fail.
        let _ = write!(text, "{title:>26}");
    }
    let _ = writeln!(text, "{:>22}", "cost");
    let mut unequal = None;
    for slice in slices {
        let name = match &slice {
            Slice::Level(level) => level.to_string(),
            _ => "all".to_owned(),
        };
        let _ = write!(text, "{name:<8}");
        for (_, measure) in &measures {
            let mean = comparison.figure(&slice, measure, baseline)?.mean;
            let _ = write!(
                text,
                "{:>26}",
                format!("{mean:.1} {}", change(comparison, &slice, measure, oracle))
            );
        }
        let _ = writeln!(text, "{:>22}", change(comparison, &slice, COST, oracle));
        if slice == Slice::All {
            let difference = comparison.figure(&slice, COST, oracle)?.difference?;
            unequal = Some(difference.relative).filter(|it| it.abs() > EQUAL);
        }
    }
    if let Some(more) = unequal {
        let _ = writeln!(
            text,
            "The costs are not equal ({:+.1} %): choose another point of the baseline's front, as in --baseline rules@7.",
            100.0 * more
        );
    }
    Some(text)
}

/// The columns of breach minutes, title and measure: of each class, and weighted over all.
pub(super) fn breaches() -> Vec<(&'static str, String)> {
    let classes = Class::ALL.map(|class| (class.as_str(), format!("breachMinutes{class}")));
    classes.into_iter().chain([("weighted", BREACHES.to_owned())]).collect()
}

/// A policy's change against the baseline, in percent with its interval.
pub(super) fn change(
    comparison: &Comparison,
    slice: &Slice,
    measure: &str,
    policy: &str,
) -> String {
    let difference = comparison.figure(slice, measure, policy).and_then(|figure| figure.difference);
    let Some(difference) = difference.filter(|it| it.relative.is_finite()) else {
        return "-".to_owned();
    };
    let percent = 100.0 * difference.relative;
    match difference.relative_interval {
        Some(interval) => {
            format!("{percent:+.0} % [{:.0}, {:.0}]", 100.0 * interval.low, 100.0 * interval.high)
        }
        None => format!("{percent:+.0} %"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::made_up::run;
    use crate::simulation::Seed;

    fn table(cost: f64) -> String {
        let runs: Vec<_> = (0..4)
            .flat_map(|seed| {
                [
                    run(["sale", "rules"], seed, [200.0, 40.0], 100.0),
                    run(["sale", "oracle"], seed, [50.0, 40.0], cost),
                ]
            })
            .collect();
        let policies = ["rules", "oracle"].map(str::to_owned);
        let comparison =
            Comparison::new(&runs, &policies, "rules", Some("oracle"), Seed::root(1)).unwrap();
        headroom(&comparison).unwrap()
    }

    #[test]
    fn it_says_per_level_and_class_what_the_oracle_does_not_lose() {
        let text = table(100.5);
        for found in ["200.0 -75 % [-75, -75]", "40.0 +0 % [0, 0]", "0.0 -", "+0 % [0, 0]"] {
            assert!(text.contains(found), "{found}\n{text}");
        }
        assert_eq!(text.lines().count(), 4, "{text}");
    }

    #[test]
    fn costs_that_are_not_equal_are_told() {
        let text = table(110.0);
        assert!(
            text.ends_with("as in --baseline rules@7.\n") && text.contains("(+10.0 %)"),
            "{text}"
        );
    }
}
