//! `hirl forecast`: traffic of the past, and what is expected of it.

mod calendar;
mod import;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Traffic of the past, and forecasts.
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
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.verb {
        Verb::Import(args) => import::run(args),
        Verb::Calendar(args) => calendar::run(args),
    }
}
