//! `hirl forecast`: what is known of traffic ahead, and how well.

mod evaluate;

use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Say how good forecasts are on traffic of your own, walked through strictly from the past
    Evaluate(evaluate::Args),
}

/// Runs the verb.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.verb {
        Verb::Evaluate(args) => evaluate::run(args),
    }
}
