//! `hirl train`: makes the weights.

mod card;
mod checkpoint;
mod forecaster;
mod gate;
pub(super) mod head;
mod policy;
mod workers;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Trains what is learned.
#[derive(Debug, Parser)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Train the forecaster on made-up or recorded history; interrupted runs go on where they were
    Forecaster(forecaster::Args),
    /// Train the Commander and the Soldiers in the simulator; interrupted runs go on where they were
    Policy(policy::Args),
    /// Make episodes for a `train policy` elsewhere, as one of several workers
    Rollouts(policy::rollouts::Args),
    /// Compare weights with what was written down before their training
    Gate(gate::Args),
}

/// Runs the verb.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.what {
        What::Forecaster(args) => forecaster::run(args),
        What::Policy(args) => policy::run(args),
        What::Rollouts(args) => policy::rollouts::run(args),
        What::Gate(args) => gate::run(args),
    }
}
