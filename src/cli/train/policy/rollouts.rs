//! `hirl train rollouts`: makes episodes for a trainer that runs elsewhere.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use super::share;

/// Makes part of the episodes of `hirl train policy --share DIR --workers COUNT`, until that is done. Which part is
/// the index of the pod in an Indexed Job, which Kubernetes puts into the environment.
///
/// Exit code: 0 the trainer is done, 2 not done.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// The folder that the trainer shares
    #[arg(long, value_name = "DIR")]
    share: PathBuf,
    /// Which worker this is, from 0
    #[arg(long, value_name = "INDEX", env = "JOB_COMPLETION_INDEX")]
    worker: u64,
    /// How many workers there are
    #[arg(long, value_name = "COUNT")]
    workers: NonZeroUsize,
    /// Seconds without an order after which it gives up
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    patience: u64,
    /// Threads; as many as there are cores unless given
    #[arg(long, value_name = "COUNT")]
    jobs: Option<NonZeroUsize>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let which = (args.worker, args.workers.get() as u64);
    share::work(&args.share, which, Duration::from_secs(args.patience), args.jobs)?;
    Ok(ExitCode::SUCCESS)
}
