//! `hirl train gate`: whether a stage of the training has reached what was written down before it.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Parser;

use crate::cli::jobs;
use crate::cli::scenarios;
use crate::learning::{Gates, Totals, as_it_is, shifted};
use crate::policy::hirl::Model;
use crate::seed::Space;
use crate::simulation::arms::{self, Arm, Part};
use crate::simulation::scenario::Shift;

/// Runs the members of the gates under some weights and under the rule beneath, and compares.
///
/// Exit code: 0 all limits reached, 1 some not, 2 not done.
#[derive(Debug, Parser)]
pub(super) struct Args {
    /// Weights of a stage; the built-in ones unless given
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// The stage whose limits count: soldiers, commander or both
    #[arg(long, value_name = "NAME", default_value = "both")]
    stage: String,
    /// The gates (YAML); those that this program was built with unless given
    #[arg(long, value_name = "FILE")]
    gates: Option<PathBuf>,
    /// Threads; as many as there are cores unless given
    #[arg(long, value_name = "COUNT")]
    jobs: Option<NonZeroUsize>,
}

fn gates(args: &Args) -> anyhow::Result<Gates> {
    let (text, origin) = match &args.gates {
        None => (include_str!("../../../weights/gates.yaml").to_owned(), "the gates".to_owned()),
        Some(path) => {
            let text = std::fs::read_to_string(path);
            let origin = path.display().to_string();
            (text.with_context(|| format!("cannot read {origin}"))?, origin)
        }
    };
    let gates: Gates = serde_saphyr::from_str(&text).with_context(|| origin.clone())?;
    gates.validate().map_err(anyhow::Error::msg).context(origin)?;
    Ok(gates)
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let gates = gates(args)?;
    let limits = gates.stages.get(&args.stage).with_context(|| {
        let known: Vec<&str> = gates.stages.keys().map(String::as_str).collect();
        format!("there is no stage {:?}; the gates have {}", args.stage, known.join(", "))
    })?;
    let model = Arc::new(match &args.weights {
        Some(path) => scenarios::model(path)?,
        None => Model::builtin()?,
    });
    let rule = model.origin().get(Model::RULE).cloned().unwrap_or_default();
    let own = arms::learned(model, Part::Whole).map_err(anyhow::Error::msg)?;
    let rule = arms::arm(&rule).context("there is no such rule")?;
    let mut all = true;
    for (shift, [first, last]) in gates.worlds().map_err(anyhow::Error::msg)? {
        let each = |number| gates.levels.iter().map(move |level| (*level, number));
        let numbers: Vec<(u8, u64)> = (first..=last).flat_map(each).collect();
        let (own, rule) = totals(&numbers, shift, [&own, &rule], args.jobs)?;
        let world = shift.map_or_else(String::new, |shift| format!(", {shift}"));
        for one in limits.check(&own, &rule) {
            all &= one.passed;
            let verdict = if one.passed { "reached" } else { "NOT reached" };
            let line = format!(
                "{}{world}: {} {:.3} of the rule's, at most {:.3}: {verdict}",
                args.stage, one.measure, one.found, one.limit
            );
            crate::cli::print(&line);
        }
    }
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// What becomes of all members in a world, under both.
fn totals(
    numbers: &[(u8, u64)],
    shift: Option<Shift>,
    arms: [&Arm; 2],
    threads: Option<NonZeroUsize>,
) -> anyhow::Result<(Totals, Totals)> {
    let mut runs = jobs::all(numbers, threads, |(level, number)| {
        let member = shifted(Space::Gates, *level, *number, shift).map_err(anyhow::Error::msg)?;
        let [own, rule] = arms.map(|arm| as_it_is(&member, arm).map_err(anyhow::Error::msg));
        Ok(jobs::Done { what: ((*level, *number), own?, rule?), reused: false })
    })?;
    runs.sort_by_key(|(at, _, _)| *at);
    Ok((runs.iter().map(|run| &run.1).sum(), runs.iter().map(|run| &run.2).sum()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Args {
        Args::parse_from(["gate"].iter().chain(words).copied())
    }

    #[test]
    fn the_gates_of_this_program_are_sound_and_others_are_refused_in_a_sentence() {
        let own = gates(&parsed(&[])).unwrap();
        assert!(["soldiers", "commander", "both"].iter().all(|it| own.stages.contains_key(*it)));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gates.yaml");
        let text = "members: [5, 2]\nlevels: [1]\nstages: {}\ngoals: {}\n";
        std::fs::write(&path, text).unwrap();
        let words = ["--gates", &path.to_string_lossy()];
        let error = format!("{:#}", gates(&parsed(&words)).unwrap_err());
        assert!(error.contains("the first must come first"), "{error}");
        let error = format!("{:#}", run(&parsed(&["--stage", "last"])).unwrap_err());
        assert!(error.contains("commander"), "{error}");
    }

    #[test]
    fn a_stage_is_judged_on_the_members_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gates.yaml");
        let limits = "{weightedBreach: 9, cost: 9, inversions: 9}";
        let text = format!("members: [0, 0]\nlevels: [1]\nstages: {{x: {limits}}}\ngoals: {{}}\n");
        std::fs::write(&path, text).unwrap();
        let words = ["--stage", "x", "--gates", &path.to_string_lossy()];
        assert_eq!(run(&parsed(&words)).unwrap(), ExitCode::SUCCESS);
    }
}
