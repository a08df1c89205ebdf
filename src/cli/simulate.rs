//! `hirl simulate`: one policy through one scenario.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use clap::Parser;

use super::{print, scenarios};
use crate::evaluation::report::{course, html};
use crate::evaluation::{MEASURES, timeline_csv};
use crate::simulation::scenario::{Scenario, builtin};
use crate::simulation::{Run, Seed, arms, simulate};

/// Runs one policy through one scenario of a cluster in memory.
///
/// The same scenario, policy and seed give the same numbers. With --out it writes OUT/report.html
/// (the course: requests, with the forecast's fan where the policy looks at forecasts, latency, pods,
/// budgets, nodes), OUT/timeline.csv, OUT/run.json and OUT/scenario.yaml, the complete scenario with all that the seed drew.
#[derive(Debug, Parser)]
pub(super) struct Args {
    /// A file, the name of a built-in scenario, or level-1 to level-8 (the seed picks the member)
    #[arg(long, default_value = "flash-sale-post-mortem")]
    scenario: String,
    /// The policy; --list names them
    #[arg(long, default_value = "rules+forecast")]
    policy: String,
    /// Weights of the policy hirl, from `hirl train policy`; the built-in ones unless given
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// The seed
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Folder for everything that is written
    #[arg(long)]
    out: Option<PathBuf>,
    /// Print the names of scenarios and policies, and do nothing else
    #[arg(long)]
    list: bool,
    /// Print the text of a built-in scenario, to start one's own from, and do nothing else
    #[arg(long, value_name = "NAME")]
    print: Option<String>,
}

/// Rows of a course at the most; shorter runs have a row per step.
const MOST_ROWS: f64 = 1500.0;

/// Runs the verb.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if args.list {
        print(&list());
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(name) = &args.print {
        print(builtin::text(name).with_context(|| scenarios::unknown(name))?);
        return Ok(ExitCode::SUCCESS);
    }
    let seed = Seed::root(args.seed);
    let scenario = Arc::new(scenarios::single(&args.scenario, seed)?);
    let weights = args.weights.as_deref().map(scenarios::model).transpose()?.map(Arc::new);
    let arm = scenarios::policy(&args.policy, weights.as_ref())?;
    let begun = Instant::now();
    let row = row_seconds(&scenario);
    let done = simulate(&scenario, &arm, (seed, args.seed), args.out.as_ref().map(|_| row))
        .map_err(anyhow::Error::msg)?;
    print(&summary(&scenario, &done, begun.elapsed().as_secs_f64()));
    if let Some(out) = &args.out {
        write(out, &scenario, &done)?;
        print(&format!(
            "{0}/report.html, {0}/timeline.csv, {0}/run.json, {0}/scenario.yaml",
            out.display()
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn row_seconds(scenario: &Scenario) -> f64 {
    let steps = scenario.duration_seconds / scenario.step_seconds;
    scenario.step_seconds * (steps / MOST_ROWS).ceil().max(1.0)
}

fn list() -> String {
    let mut text = "Scenarios (or a file, or level-1 to level-8):\n".to_owned();
    for name in builtin::names() {
        let described = builtin::scenario(name, Seed::root(0)).and_then(Result::ok);
        let description = described.map(|scenario| scenario.description).unwrap_or_default();
        let _ = writeln!(text, "  {name:<26} {description}");
    }
    let _ = writeln!(text, "Policies:\n  {}", arms::NAMES.join(", "));
    text
}

/// What the run came to, a line per figure.
fn summary(scenario: &Scenario, run: &Run, took: f64) -> String {
    let hours = scenario.duration_seconds / 3600.0;
    let mut text = format!(
        "{}, policy {}, seed {}: {hours:.2} h in {took:.2} s, {:.0} times real time\n",
        run.scenario,
        run.policy,
        run.seed,
        scenario.duration_seconds / took.max(1e-9)
    );
    for measure in &MEASURES {
        let value = html::number((measure.of)(run));
        let _ = writeln!(text, "  {:<34} {value:>12} {}", measure.title, measure.unit);
    }
    text
}

fn write(out: &Path, scenario: &Scenario, run: &Run) -> anyhow::Result<()> {
    std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let complete = serde_saphyr::to_string(scenario).context("writing out the scenario")?;
    for (name, text) in [
        ("run.json", serde_json::to_string(run)?),
        ("timeline.csv", timeline_csv(&run.timeline)?),
        ("scenario.yaml", complete),
        ("report.html", course::page(run, &scenario.description)),
    ] {
        let path = out.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
