//! `cargo run --example testbed`: the real control plane on loopback, and the demo on it.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[path = "mod.rs"]
mod testbed;

use testbed::binaries::Binaries;
use testbed::demo::{self, Choices};

/// The real control plane on loopback, with Prometheus and simulated load
#[derive(Debug, Parser)]
#[command(name = "testbed")]
struct Arguments {
    /// Only say what is missing, in one line
    #[arg(long)]
    check_prereqs: bool,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Stock HPAs follow hirl, live in this terminal
    Demo {
        /// Seconds to run; 0 runs until Ctrl-C
        #[arg(long = "for", default_value_t = 0)]
        length: u64,
        /// A CSV (time, value; plain or .gz) whose shape drives the traffic
        #[arg(long)]
        trace: Option<PathBuf>,
        /// Leave every file and log in place afterwards
        #[arg(long)]
        keep: bool,
    },
    /// Only the control plane, Prometheus and the load twin, until Ctrl-C
    Up {
        /// Leave every file and log in place afterwards
        #[arg(long)]
        keep: bool,
    },
}

fn main() -> ExitCode {
    run(Arguments::parse()).unwrap_or_else(|error| {
        // Nobody listens any more: nothing to be done about it.
        let _ = writeln!(std::io::stderr(), "testbed: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(arguments: Arguments) -> Result<ExitCode> {
    Binaries::find()?;
    match arguments.verb {
        _ if arguments.check_prereqs => Ok(ExitCode::SUCCESS),
        None => testbed::run(demo::up(false)).map(success),
        Some(Verb::Up { keep }) => testbed::run(demo::up(keep)).map(success),
        Some(Verb::Demo { length, trace, keep }) => {
            let length = (length > 0).then(|| Duration::from_secs(length));
            let followed = testbed::run(demo::run(Choices { length, trace, keep }))?;
            Ok(if followed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}

fn success((): ()) -> ExitCode {
    ExitCode::SUCCESS
}
