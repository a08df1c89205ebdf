//! `hirl evaluate`: runs policies through scenarios and compares them.

mod foresights;
mod seeds;
pub(super) mod store;
#[cfg(test)]
mod tests;
pub(super) use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use serde_json::json;

use crate::cli::files;
use crate::cli::jobs;
use crate::cli::provenance::{Fingerprint, command};
use crate::cli::scenarios::{self, Source};
use crate::evaluation::report::{Recording, Report, recorded, verdicts};
use crate::evaluation::{Comparison, credit, csv, headroom};
use crate::simulation::arms::{Arm, Part, Sight};
use crate::simulation::scenario::{Forecasting, Scenario, Shift};
use crate::simulation::{Foresight, Run, Seed, Space, arms, simulate_with};

use foresights::Foresights;
use seeds::Seeds;
use store::Store;

/// The policy that knows the future.
const ORACLE: &str = "oracle";

/// Runs every policy through every scenario with every seed and compares them.
///
/// The same seed means the same traffic, node start times and failures for every policy. Writes
/// OUT/report.html (one page with everything), OUT/runs.csv (a line per run) and
/// OUT/evaluation.json. Each finished run is kept in OUT/runs: the same call again goes on where
/// it was cut off, and runs again only what a changed scenario, policy or binary makes different.
///
/// Exit code: 0 done, 2 not done.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Built-in scenarios, level-1 to level-8, YAML files, or folders of them, comma-separated
    #[arg(long, value_name = "NAMES|DIR", required = true, value_delimiter = ',')]
    scenarios: Vec<String>,
    /// Policies, comma-separated; `hirl simulate --list` names them
    #[arg(long, value_name = "NAMES", required = true, value_delimiter = ',')]
    policies: Vec<String>,
    /// The policy that the others are compared with; runs even when it is not in --policies
    #[arg(long, value_name = "NAME", default_value = "hpa")]
    baseline: String,
    /// Weights of the policy hirl, from `hirl train policy`; the built-in ones unless given
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Numbers of the seeds: single ones and ranges, both ends included, as in 0..19 or 0..4,7
    #[arg(long, value_name = "SEEDS", default_value = "0..9")]
    seeds: Seeds,
    /// What the seeds are for; without it they are outside every named space
    #[arg(long, value_name = "NAME", value_parser = space)]
    space: Option<Space>,
    /// Put every scenario into a world that differs in one thing from what policies were tuned and trained on:
    /// boot-x3, lag-60s, load-x1.5, size-x6, apps-1550, nodes-lost, apps-replaced, forecast-off, forecast-x2 or forecast-known
    #[arg(long, value_name = "NAME")]
    shift: Option<Shift>,
    /// Folder for everything that is written
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Seeds whose runs can be watched in the report; all unless given
    #[arg(long, value_name = "SEEDS")]
    replay: Option<Seeds>,
    /// Print how far the baseline is from the oracle, per level and class: what learning can win at the most
    #[arg(long)]
    headroom: bool,
    /// Print whose the breach of the baseline hirl is: Commander's, Soldiers' or forecaster's
    #[arg(long)]
    credit: bool,
    /// Runs at the same time; as many as there are cores unless given
    #[arg(long, value_name = "COUNT")]
    jobs: Option<NonZeroUsize>,
}

fn space(name: &str) -> Result<Space, String> {
    Space::ALL
        .into_iter()
        .find(|space| space.as_str() == name)
        .ok_or_else(|| format!("there are the spaces {}", Space::ALL.map(Space::as_str).join(", ")))
}

/// Runs the verb.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let foresights = Foresights::default();
    let weights = args.weights.as_deref().map(scenarios::model).transpose()?.map(Arc::new);
    let comparison = evaluate(args, &arms::NAMES, |scenario, policy, seed, number| {
        let arm = scenarios::policy(policy, weights.as_ref())?;
        run_one(&foresights, scenario, &arm, (seed, number), args.shift)
    })?;
    if args.credit {
        let table = credit(&comparison).context(
            "--credit needs --baseline hirl and the policies hirl-soldiers, hirl-commander and hirl-future",
        )?;
        crate::cli::print(table.trim_end());
    }
    if args.headroom {
        let table = headroom(&comparison).context("--headroom needs the policy oracle")?;
        crate::cli::print(table.trim_end());
    }
    let out = args.out.display();
    for sentence in verdicts(&comparison) {
        crate::cli::print(&sentence);
    }
    crate::cli::print(&format!("{out}/report.html, {out}/runs.csv, {out}/evaluation.json"));
    Ok(ExitCode::SUCCESS)
}

/// Length of a row of the courses, in seconds.
const ROW: f64 = 60.0;

fn run_one(
    foresights: &Foresights,
    scenario: &Arc<Scenario>,
    arm: &Arm,
    seed: (Seed, u64),
    shift: Option<Shift>,
) -> anyhow::Result<Run> {
    let knows = Part::of(&arm.name) == Some(Part::Future);
    let forecasting = if knows { Some(Forecasting::Known) } else { shift.map(Shift::forecasting) };
    // Made only where they are looked at: a network's forecasts cost more than a run.
    let served = || foresights.of(scenario, seed).map_err(anyhow::Error::msg);
    let foresight = match forecasting {
        _ if !arm.needs_forecast() => None,
        None | Some(Forecasting::AsItIs) => Some(served()?),
        Some(Forecasting::Off) => Some(Arc::new(Foresight::none())),
        Some(Forecasting::Times(factor)) => Some(Arc::new(served()?.biased(factor))),
        Some(Forecasting::Known) => Some(Foresight::known(scenario, seed.0)),
    };
    simulate_with(scenario, arm, seed, Some(ROW), foresight.as_ref()).map_err(anyhow::Error::msg)
}

/// One run that is to be had.
struct Job<'a> {
    source: &'a Source,
    /// Name of the scenario.
    scenario: String,
    policy: &'a str,
    seed: u64,
    /// Hash of everything that decides what the run is.
    inputs: String,
}

/// All that the verb does but for talking.
fn evaluate(
    args: &Args,
    known: &[&str],
    run_one: impl Fn(&Arc<Scenario>, &str, Seed, u64) -> anyhow::Result<Run> + Sync,
) -> anyhow::Result<Comparison> {
    let policies = policies(args, known)?;
    let sources = scenarios::all(&args.scenarios)?;
    let (jobs, descriptions) = jobs(args, &sources, &policies)?;
    let inputs = Fingerprint::of(jobs.iter().map(|job| job.inputs.as_bytes()));
    let store = Store::new(&args.out)?;
    if args.space == Some(Space::Final) {
        log_final(&args.out, &inputs)?;
    }
    let done = jobs::all(&jobs, args.jobs, |job| {
        let seed = seed(args, job.seed);
        let kept = store.read(job);
        let reused = kept.is_some();
        let mut run = if let Some(run) = kept {
            run
        } else {
            let scenario = Arc::new(scenario(args, job.source, seed)?);
            let run = run_one(&scenario, job.policy, seed, job.seed)?;
            store.write(job, &run)?;
            run
        };
        let watched = args.replay.as_ref().is_none_or(|seeds| seeds.0.contains(&job.seed));
        let recording = watched.then(|| recorded(&run));
        // Thousands of runs must fit in memory.
        run.timeline.rows = Vec::new();
        Ok(jobs::Done { what: (run, recording), reused })
    })?;
    let (mut runs, recordings): (Vec<Run>, Vec<Option<Recording>>) = done.into_iter().unzip();
    runs.sort_by(|one, other| order(one).cmp(&order(other)));
    let mut recordings: Vec<Recording> = recordings.into_iter().flatten().collect();
    let place = |one: &Recording| policies.iter().position(|policy| *policy == one.policy);
    recordings.sort_by_cached_key(|one| (one.scenario.clone(), one.seed, place(one)));
    let drawings = Seed::root(0).child("bootstrap");
    let comparison = Comparison::new(&runs, &policies, &args.baseline, Some(ORACLE), drawings)
        .map_err(anyhow::Error::msg)?;
    publish(args, &comparison, &runs, &recordings, &descriptions, &inputs)?;
    Ok(comparison)
}

fn order(run: &Run) -> (&str, u64, &str) {
    (&run.scenario, run.seed, &run.policy)
}

fn seed(args: &Args, number: u64) -> Seed {
    args.space.map_or_else(|| Seed::root(number), |space| Seed::of(space, number))
}

/// The scenario of a source in the world that is asked for.
fn scenario(args: &Args, source: &Source, seed: Seed) -> anyhow::Result<Scenario> {
    let mut scenario = source.scenario(seed)?;
    if let Some(shift) = args.shift {
        shift.apply(&mut scenario, seed);
    }
    Ok(scenario)
}

/// The policies that run, the baseline first.
fn policies(args: &Args, known: &[&str]) -> anyhow::Result<Vec<String>> {
    let mut policies = vec![args.baseline.clone()];
    for policy in &args.policies {
        if !policies.contains(policy) {
            policies.push(policy.clone());
        }
    }
    // `rules@3` is a point of the front of `rules`.
    let base = |policy: &str| policy.split('@').next().unwrap_or_default().to_owned();
    let exists = |policy: &str| {
        known.contains(&base(policy).as_str())
            || Part::of(policy).is_some()
            || Sight::of(policy).is_some()
            || policy == arms::UNBUDGETED
    };
    if let Some(unknown) = policies.iter().find(|policy| !exists(policy)) {
        bail!("there is no policy {unknown:?}; there are {}", known.join(", "));
    }
    Ok(policies)
}

/// Every run of the evaluation, and what the scenarios say about themselves. Reads each scenario
/// with each seed, so that a bad one is found before the first run.
fn jobs<'a>(
    args: &Args,
    sources: &'a [Source],
    policies: &'a [String],
) -> anyhow::Result<(Vec<Job<'a>>, BTreeMap<String, String>)> {
    let program = std::env::current_exe().and_then(std::fs::read);
    let program = Fingerprint::of([program.context("cannot read the program itself")?]);
    let space = args.space.map_or("", Space::as_str);
    let weights = args.weights.as_ref().map(std::fs::read).transpose();
    let weights = weights.context("cannot read --weights")?.unwrap_or_default();
    let (mut jobs, mut descriptions) = (Vec::new(), BTreeMap::new());
    for source in sources {
        let mut names = BTreeSet::new();
        for number in &args.seeds.0 {
            let scenario = scenario(args, source, seed(args, *number))?;
            let text = serde_json::to_vec(&scenario)?;
            let number_text = number.to_string();
            for policy in policies {
                let parts = [
                    program.as_bytes(),
                    &text,
                    policy.as_bytes(),
                    space.as_bytes(),
                    number_text.as_bytes(),
                    if Part::of(policy).is_some() { &weights } else { &[] },
                    args.shift.map_or("", Shift::as_str).as_bytes(),
                ];
                let inputs = Fingerprint::of(parts);
                let scenario = scenario.name.clone();
                jobs.push(Job { source, scenario, policy, seed: *number, inputs });
            }
            if names.insert(scenario.name.clone())
                && descriptions.insert(scenario.name.clone(), scenario.description).is_some()
            {
                bail!(
                    "two scenarios are named {:?}, the second in {}",
                    scenario.name,
                    source.name()
                );
            }
        }
    }
    Ok((jobs, descriptions))
}

/// Notes that the final set is run, so that nobody tunes on it unseen.
fn log_final(out: &Path, inputs: &str) -> anyhow::Result<()> {
    let path = store::beside(out, "final-runs.log");
    let before = std::fs::read_to_string(&path).unwrap_or_default();
    let line = format!("{} {inputs} {}\n", crate::clock::now(), command());
    std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .and_then(|mut file| file.write_all(line.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))?;
    crate::cli::note(&format!(
        "the final set is meant to run once per release; this is run {} in {}",
        before.lines().count() + 1,
        path.display()
    ));
    Ok(())
}

fn publish(
    args: &Args,
    comparison: &Comparison,
    runs: &[Run],
    recordings: &[Recording],
    descriptions: &BTreeMap<String, String>,
    inputs: &str,
) -> anyhow::Result<()> {
    let space = args.space.map_or("none", Space::as_str);
    let facts = [
        ("Command", command()),
        ("Version", env!("CARGO_PKG_VERSION").to_owned()),
        ("Space of the seeds", space.to_owned()),
        ("Runs", runs.len().to_string()),
        ("Hash of all inputs", inputs.to_owned()),
    ];
    let summaries: Vec<_> = runs
        .iter()
        .map(|run| {
            let Run { scenario, level, policy, seed, summary, .. } = run;
            json!({"scenario": scenario, "level": level, "policy": policy, "seed": seed, "summary": summary})
        })
        .collect();
    let all = json!({
        "command": command(),
        "version": env!("CARGO_PKG_VERSION"),
        "space": space,
        "inputs": inputs,
        "comparison": comparison,
        "runs": summaries,
    });
    files::write(&args.out.join("runs.csv"), csv(space, runs)?.as_bytes())?;
    files::write(&args.out.join("evaluation.json"), &serde_json::to_vec_pretty(&all)?)?;
    let report = Report { comparison, descriptions, facts: &facts, recordings };
    files::write(&args.out.join("report.html"), report.html().as_bytes())
}
