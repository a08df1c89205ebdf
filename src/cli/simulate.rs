//! `hirl simulate`: one policy through one scenario.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Parser;

use super::print;
use crate::simulation::arms;
use crate::simulation::scenario::{Scenario, builtin, families, read};
use crate::simulation::{Seed, simulate};

/// What `hirl simulate` is asked.
#[derive(Debug, Parser)]
pub(super) struct Args {
    /// A scenario: a file, the name of a built-in one, or level-1 to level-8
    #[arg(long, default_value = "flash-sale-post-mortem")]
    scenario: String,
    /// The policy
    #[arg(long, default_value = "rules")]
    policy: String,
    /// The seed: the same seed, the same run
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Folder for run.json and timeline.csv
    #[arg(long)]
    out: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let seed = Seed::root(args.seed);
    let scenario = Arc::new(scenario(&args.scenario, seed)?);
    let arm =
        arms::arm(&args.policy).with_context(|| format!("there is no policy {:?}", args.policy))?;
    let begun = std::time::Instant::now();
    let done = simulate(&scenario, &arm, (seed, args.seed), args.out.as_ref().map(|_| 10.0))
        .map_err(anyhow::Error::msg)?;
    print(&format!("{:#?} {:?}", done.summary, begun.elapsed()));
    if let Some(out) = &args.out {
        std::fs::create_dir_all(out)?;
        std::fs::write(out.join("run.json"), serde_json::to_string(&done)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A scenario by its file or name.
pub(super) fn scenario(name: &str, seed: Seed) -> anyhow::Result<Scenario> {
    if let Some(built_in) = builtin::scenario(name, seed) {
        return Ok(built_in?);
    }
    if let Some(level) = name.strip_prefix("level-").and_then(|level| level.parse().ok()) {
        return Ok(families::generate(level, seed)?);
    }
    let path = std::path::Path::new(name);
    if !path.exists() {
        let known: Vec<&str> = builtin::names().collect();
        bail!(
            "there is no file and no built-in scenario {name:?}; built in are {}, and level-1 to level-8",
            known.join(", ")
        );
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {name}"))?;
    Ok(read(&text, name, seed)?)
}
