//! `hirl forecast`: traffic history, and forecasts of it.

mod calendar;
mod evaluate;
mod generate;
mod import;
mod importance;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Works with traffic history and forecasts of it.
#[derive(Debug, Parser)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Bring traffic from CSV files or from Prometheus into one file
    Import(Box<import::Args>),
    /// Check a calendar of holidays, promotions and deployments, or print an example
    Calendar(calendar::Args),
    /// Say how good forecasts are on traffic of your own, walked through strictly from the past
    Evaluate(evaluate::Args),
    /// Say which inputs a network needs: how much worse it gets without each
    Importance(importance::Args),
    /// Make up traffic history: five domains of a bank, or services of many kinds
    Generate(generate::Args),
}

/// Runs the verb.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.verb {
        Verb::Import(args) => import::run(args),
        Verb::Calendar(args) => calendar::run(args),
        Verb::Evaluate(args) => evaluate::run(args),
        Verb::Importance(args) => importance::run(args),
        Verb::Generate(args) => generate::run(args),
    }
}
