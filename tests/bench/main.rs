//! `make bench`: what the decision pass, the reads and the memory cost on this machine, the reads
//! beside the Go adapter of the field. Prints figures with the goals that they are held to; never
//! fails on one.

#[path = "../testbed/mod.rs"]
mod testbed;

mod bank;
mod cluster;
mod decision;
mod forecast;
mod ledger;
mod load;
mod peer;
mod placement;
mod report;
mod simulation;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};
use serde_json::json;

use report::Report;

/// Apps, in every figure.
const APPS: usize = 1550;
/// Domains that they belong to.
const DOMAINS: usize = 5;

/// Prints figures: decision time, reads per CPU-second beside the Go adapter, latency, memory
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Args {
    /// Also writes the figures to this file, one JSON object a line
    #[arg(long)]
    out: Option<PathBuf>,
    /// Only the decision pass, the placement ledger, the simulator and the forecaster, which need no control plane
    #[arg(long)]
    pure: bool,
    /// Leave everything running after the memory figures, for a profiler
    #[arg(long)]
    hold: bool,
    /// Runs of the read benchmark on each server
    #[arg(long, default_value_t = 3)]
    runs: u32,
    /// Length of such a run, in seconds
    #[arg(long, default_value_t = 8)]
    seconds: u64,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Only the throughput of a real kube-scheduler: without an extender, with one that says yes to
    /// everything, and with ours
    Placement {
        /// Nodes
        #[arg(long, default_value_t = 500)]
        nodes: usize,
        /// Pods that are pending when the scheduler starts
        #[arg(long, default_value_t = 1500)]
        pods: usize,
        /// Runs of each, in turn
        #[arg(long, default_value_t = 3)]
        runs: usize,
    },
}

fn main() -> Result<()> {
    let args = Args::parse();
    let mut report = Report::new(args.out.as_deref())?;
    let command = std::env::args().collect::<Vec<_>>().join(" ");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    report.title(&format!("{command}: {cores} cores, hirl {}", env!("CARGO_PKG_VERSION")));
    report.record(&json!({"command": command, "cores": cores}))?;
    if let Some(Verb::Placement { nodes, pods, runs }) = args.verb {
        return testbed::run(placement::run(&mut report, nodes, pods, runs));
    }
    decision::run(&mut report)?;
    ledger::run(&mut report)?;
    simulation::run(&mut report)?;
    forecast::run(&mut report)?;
    if args.pure {
        return Ok(());
    }
    testbed::run(cluster::run(&mut report, &args))
}
