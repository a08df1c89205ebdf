//! The verbs of `hirl`. The only place that prints, and that turns an error into an exit code:
//! 0 done, 1 done and something is wrong, 2 not done.

mod adopt;
mod certs;
mod check;
mod connect;
mod crd;
mod demo;
mod evaluate;
mod files;
mod forecast;
mod forecasting;
mod jobs;
mod lint;
mod logging;
mod objects;
mod provenance;
mod scenarios;
mod serve;
mod simulate;
mod threads;
mod train;
mod tune;
mod why;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

/// Plans replicas for many apps at once and serves them to stock HPAs.
#[derive(Debug, Parser)]
#[command(name = "hirl", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Serve a simulated cluster and show it beside the same cluster under plain HPAs
    Demo(demo::Args),
    /// Serve external.metrics.k8s.io: decide every 10 s and answer the HPAs
    Serve(serve::Args),
    /// Say whether a cluster is ready for us, and whether we do our job in it
    Check(check::Args),
    /// Find HPAs that cannot work as meant, with the arithmetic and a patch
    Lint(lint::Args),
    /// Print the patch that points an existing HPA at our metric, or takes it back
    Adopt(adopt::Args),
    /// Make a CA and a serving certificate
    Certs(certs::Args),
    /// Run policies through scenarios of a cluster in memory, and compare them
    Evaluate(evaluate::Args),
    /// Traffic history, and how good forecasts of it are
    Forecast(forecast::Args),
    /// Run one policy through one scenario of a cluster in memory
    Simulate(simulate::Args),
    /// Train what is learned, and write its weights
    Train(train::Args),
    /// Search the constants of a baseline on training scenarios
    Tune(tune::Args),
    /// Say why a pod is where it is: domain, budget, use and the last refusal
    Why(why::Args),
    /// Print the Domain CRD
    Crd,
}

/// Runs the verb on the command line.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    threads::fix();
    // kube and hyper-rustls ask for the process-wide provider. Only an earlier call can fail this.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let done = match cli.verb {
        Verb::Demo(args) => demo::run(&args),
        Verb::Serve(args) => serve::run(&args),
        Verb::Check(args) => check::run(&args),
        Verb::Lint(args) => lint::run(&args),
        Verb::Adopt(args) => adopt::run(&args),
        Verb::Certs(args) => certs::run(&args),
        Verb::Evaluate(args) => evaluate::run(&args),
        Verb::Forecast(args) => forecast::run(&args),
        Verb::Simulate(args) => simulate::run(&args),
        Verb::Train(args) => train::run(&args),
        Verb::Tune(args) => tune::run(&args),
        Verb::Why(args) => why::run(&args),
        Verb::Crd => crd::run(),
    };
    done.unwrap_or_else(|error| {
        complain(&format!("{error:#}"));
        ExitCode::from(2)
    })
}

/// Writes to standard output. A reader that went away is no error: nobody is left to tell.
fn print(text: &str) {
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
}

fn complain(sentence: &str) {
    let _ = writeln!(std::io::stderr(), "error: {sentence}");
}

fn note(sentence: &str) {
    let _ = writeln!(std::io::stderr(), "note: {sentence}");
}

/// Runs a verb that asks a cluster.
fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// From here on the wish to end this process is heard. The future ends with it, and says which
/// signal it was.
fn stop_signal() -> anyhow::Result<impl Future<Output = &'static str>> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
