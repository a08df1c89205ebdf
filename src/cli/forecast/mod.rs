//! `hirl forecast`: traffic history, and forecasts of it.

mod generate;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Makes traffic history to learn from.
#[derive(Debug, Parser)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make up traffic history: five domains of a bank, or services of many kinds
    Generate(generate::Args),
}

/// Runs the verb.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.verb {
        Verb::Generate(args) => generate::run(args),
    }
}
