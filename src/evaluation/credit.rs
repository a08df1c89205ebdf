//! Whose breach it was: what the same seeds give when one part of the learned hierarchy is taken away, or when
//! the forecaster knows what comes.
//!
//! Whole runs are compared and not single instants: what one part does changes what the others see. The parts
//! need not add up.

use std::fmt::Write as _;

use super::comparison::{BREACHES, COST, Comparison, Slice};
use super::headroom::{breaches, change};
use crate::simulation::arms::Part;

/// What speaks in each replay, what it is given, and whose the breach is that it does without.
const REPLAYS: [(Part, &str, &str); 3] = [
    (Part::Soldiers, "the rule's budgets", "Commander"),
    (Part::Commander, "the rule's replicas", "Soldiers"),
    (Part::Future, "the true future", "forecaster"),
];

/// A table of breach minutes per class: those of the baseline, and the change with each replay, in percent with
/// the 95 % interval; below 0 the replay does without breach, which is the named part's. `None` where a replay
/// is missing.
#[must_use]
pub fn credit(comparison: &Comparison) -> Option<String> {
    let baseline = &comparison.baseline;
    let measures = breaches();
    let mut text = format!(
        "Credit: breach minutes per run of {baseline}, and the change when it is given ... [95 %]\n{:<34}",
        ""
    );
    for (title, _) in &measures {
        // Writing to a string cannot fail.
        let _ = write!(text, "{title:>24}");
    }
    let _ = writeln!(text, "{:>22}", "cost");
    let _ = write!(text, "{:<34}", "as it is");
    for (_, measure) in &measures {
        let mean = comparison.figure(&Slice::All, measure, baseline)?.mean;
        let _ = write!(text, "{mean:>24.1}");
    }
    let _ = writeln!(text, "{:>22.0}", comparison.figure(&Slice::All, COST, baseline)?.mean);
    for (part, given, whose) in REPLAYS {
        let policy = part.policy();
        comparison.figure(&Slice::All, BREACHES, policy)?;
        let _ = write!(text, "{:<34}", format!("{given} ({whose})"));
        for (_, measure) in &measures {
            let _ = write!(text, "{:>24}", change(comparison, &Slice::All, measure, policy));
        }
        let _ = writeln!(text, "{:>22}", change(comparison, &Slice::All, COST, policy));
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::made_up::run;
    use crate::simulation::Seed;

    #[test]
    fn it_says_what_each_replay_does_without() {
        let names = ["hirl", "hirl-soldiers", "hirl-commander", "hirl-future"];
        let runs: Vec<_> = (0..4)
            .flat_map(|seed| {
                let p0 = [100.0, 80.0, 125.0, 50.0];
                names
                    .iter()
                    .zip(p0)
                    .map(move |(name, p0)| run(["sale", name], seed, [p0, 10.0], 9.0))
            })
            .collect();
        let table = |names: &[&str]| {
            let policies: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let runs: Vec<_> =
                runs.iter().filter(|run| policies.contains(&run.policy)).cloned().collect();
            let all = Comparison::new(&runs, &policies, "hirl", None, Seed::root(1)).unwrap();
            credit(&all)
        };
        let text = table(&names).unwrap();
        for found in ["rule's budgets (Commander)", "-20 %", "+25 %", "-50 %"] {
            assert!(text.contains(found), "{found}\n{text}");
        }
        assert_eq!(table(&names[..3]), None);
    }
}
