//! The operator's verbs.

pub mod adopt;
pub mod certs;
pub mod check;
mod connect;
pub mod lint;
mod objects;

use std::process::ExitCode;

use clap::Parser;

/// Plans replicas and serves them to stock HPAs.
#[derive(Debug, Parser)]
#[command(version)]
enum Verb {
    Adopt(adopt::Args),
    Certs(certs::Args),
    Check(check::Args),
    Lint(lint::Args),
}

/// Runs what the command line says.
pub fn main() -> anyhow::Result<ExitCode> {
    let verb = Verb::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    match verb {
        Verb::Adopt(args) => runtime.block_on(adopt::run(args)),
        Verb::Certs(args) => certs::run(args),
        Verb::Check(args) => runtime.block_on(check::run(args)),
        Verb::Lint(args) => runtime.block_on(lint::run(args)),
    }
}
