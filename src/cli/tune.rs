//! `hirl tune`: the search for the constants of a baseline.

use std::fs::File;
use std::io::Write as _;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, bail};
use clap::Parser;
use serde::{Deserialize, Serialize};

use super::jobs;
use super::provenance::{Fingerprint, command};
use crate::evaluation::pareto;
use crate::simulation::arms::frozen::{Front, Point};
use crate::simulation::arms::search::{self, Constants, TUNABLE};
use crate::simulation::arms::{Arm, untuned};
use crate::simulation::scenario::{Scenario, families};
use crate::simulation::{Foresight, Seed, Space, simulate_with};

/// Trials of one round: later rounds start from the front of all before.
const ROUND: usize = 50;

/// Rounds that draw anywhere.
const WIDE_ROUNDS: usize = 2;

/// Searches the constants of a baseline on members of the scenario families, with seeds of the
/// tuning space.
///
/// Trial 0 is the baseline as it is. Then half of 200 trials are drawn anywhere, the others near
/// the front of those before. Each trial is a line of OUT; the same call again goes on where it
/// was cut off. The Pareto front of weighted breach minutes against paid core-hours is printed as
/// an entry of `src/simulation/arms/frozen.yaml`.
#[derive(Debug, Parser)]
pub(super) struct Args {
    /// The baseline: hpa-tuned, rules or rules+forecast
    #[arg(long)]
    policy: String,
    /// How many trials
    #[arg(long, default_value_t = 200)]
    trials: usize,
    /// Members of each family, levels 1 to 8
    #[arg(long, default_value_t = 3)]
    members: u64,
    /// File for the trials, a JSON object per line
    #[arg(long)]
    out: PathBuf,
    /// Trials at the same time; as many as there are cores unless given
    #[arg(long, value_name = "COUNT")]
    jobs: Option<NonZeroUsize>,
}

/// What one trial was.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Trial {
    #[serde(rename = "trial")]
    number: usize,
    constants: Constants,
    core_hours: f64,
    breach_minutes: f64,
    /// Hash of everything that decided what was measured.
    inputs: String,
}

/// What trials are measured on.
struct Member {
    scenario: Arc<Scenario>,
    seed: Seed,
    number: u64,
    /// Forecasts, for a policy that looks at any.
    foresight: Option<Arc<Foresight>>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if !TUNABLE.contains(&args.policy.as_str()) {
        bail!("{:?} has nothing to search; {} have", args.policy, TUNABLE.join(", "));
    }
    let mut members = members(args.members)?;
    if untuned(&args.policy).is_some_and(|arm| arm.needs_forecast()) {
        // Once, and not for each trial.
        for member in &mut members {
            let made = Foresight::whole(&member.scenario, member.seed);
            member.foresight = Some(made.map_err(anyhow::Error::msg)?);
        }
    }
    let inputs = inputs(&args.policy, &members)?;
    let mut trials = known(&args.out, &inputs)?;
    let file = File::options().create(true).append(true).open(&args.out);
    let file = Mutex::new(file.with_context(|| format!("cannot write {}", args.out.display()))?);
    for begin in (0..args.trials).step_by(ROUND) {
        let parents =
            if begin < WIDE_ROUNDS * ROUND { Vec::new() } else { front(&trials[..begin]) };
        let missing: Vec<usize> = (begin..args.trials.min(begin + ROUND))
            .filter(|number| trials.iter().all(|trial| trial.number != *number))
            .collect();
        let made = jobs::all(&missing, args.jobs, |number| {
            let near = parents.get(number % parents.len().max(1));
            let (constants, arm) =
                drawn(&args.policy, *number, near.map(|trial| &trial.constants))?;
            let (core_hours, breach_minutes) = measure(&members, &arm)?;
            let trial = Trial {
                number: *number,
                constants,
                core_hours,
                breach_minutes,
                inputs: inputs.clone(),
            };
            let line = serde_json::to_string(&trial)?;
            // One write per line: what is there after a cut is whole lines, and maybe a part of one.
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            file.write_all(format!("{line}\n").as_bytes())
                .with_context(|| format!("cannot write {}", args.out.display()))?;
            Ok(jobs::Done { what: trial, reused: false })
        })?;
        trials.extend(made);
        trials.sort_by_key(|trial| trial.number);
    }
    trials.truncate(args.trials);
    super::print(&entry(args, &members, &trials, inputs)?);
    Ok(ExitCode::SUCCESS)
}

fn members(each: u64) -> anyhow::Result<Vec<Member>> {
    let mut members = Vec::new();
    for level in families::LEVELS {
        for number in 0..each {
            let seed = Seed::of(Space::Tuning, number);
            let scenario = Arc::new(families::generate(level, seed)?);
            members.push(Member { scenario, seed, number, foresight: None });
        }
    }
    Ok(members)
}

fn inputs(policy: &str, members: &[Member]) -> anyhow::Result<String> {
    let program = std::env::current_exe().and_then(std::fs::read);
    let mut parts =
        vec![program.context("cannot read the program itself")?, policy.as_bytes().to_vec()];
    for member in members {
        parts.push(serde_json::to_vec(&*member.scenario)?);
    }
    Ok(Fingerprint::of(parts))
}

/// The trials that are there from before, by number. A line that is cut off or came from other
/// inputs counts as not there.
fn known(path: &Path, inputs: &str) -> anyhow::Result<Vec<Trial>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = std::fs::read_to_string(path);
    let text = text.with_context(|| format!("cannot read {}", path.display()))?;
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Trial>(line).ok());
    let mut trials: Vec<Trial> = lines.filter(|trial| trial.inputs == inputs).collect();
    trials.sort_by_key(|trial| trial.number);
    trials.dedup_by_key(|trial| trial.number);
    Ok(trials)
}

/// The constants of a trial; none for trial 0, which is the baseline as it is.
fn drawn(
    policy: &str,
    number: usize,
    near: Option<&Constants>,
) -> anyhow::Result<(Constants, Arm)> {
    let seed = Seed::of(Space::Tuning, number as u64).child("trial").child(policy);
    let found = if number == 0 {
        untuned(policy).map(|arm| (Constants::new(), arm))
    } else {
        search::draw(policy, near, seed)
    };
    found.with_context(|| format!("there is no policy {policy:?}"))
}

/// Paid core-hours and weighted breach minutes over all members.
fn measure(members: &[Member], arm: &Arm) -> anyhow::Result<(f64, f64)> {
    let mut sums = (0.0, 0.0);
    for member in members {
        let Member { scenario, seed, number, foresight } = member;
        let run = simulate_with(scenario, arm, (*seed, *number), None, foresight.as_ref());
        let run = run.map_err(anyhow::Error::msg)?;
        sums.0 += run.summary.counts.paid_core_hours;
        sums.1 += run.summary.weighted_breach_minutes(&member.scenario);
    }
    Ok(sums)
}

/// Trials that no other beats, the cheapest first.
fn front(trials: &[Trial]) -> Vec<&Trial> {
    let points: Vec<[f64; 2]> =
        trials.iter().map(|trial| [trial.core_hours, trial.breach_minutes]).collect();
    pareto::front(&points).into_iter().map(|index| &trials[index]).collect()
}

/// The entry of the frozen file.
fn entry(
    args: &Args,
    members: &[Member],
    trials: &[Trial],
    inputs: String,
) -> anyhow::Result<String> {
    let hpa = untuned("hpa").context("there is no hpa")?;
    let (hpa_core_hours, hpa_breach_minutes) = measure(members, &hpa)?;
    let points = front(trials).into_iter().map(|trial| Point {
        trial: trial.number,
        core_hours: trial.core_hours,
        breach_minutes: trial.breach_minutes,
        constants: trial.constants.clone(),
    });
    let front = Front {
        policy: args.policy.clone(),
        command: command(),
        inputs,
        trials: trials.len(),
        hpa_core_hours,
        hpa_breach_minutes,
        points: points.collect(),
    };
    Ok(serde_saphyr::to_string(&[front])?)
}
