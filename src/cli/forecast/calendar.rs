//! `hirl forecast calendar`: the file of what is known of days to come.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::cli::print;
use crate::forecast::EventKind;
use crate::history::calendar;

/// Checks a calendar file, or prints an example with a comment on every field.
#[derive(Debug, Parser)]
pub(super) struct Args {
    /// Print an example
    #[arg(long, conflicts_with = "file")]
    example: bool,
    /// The calendar file to check
    #[arg(required_unless_present = "example")]
    file: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let Some(file) = &args.file else {
        print(calendar::EXAMPLE);
        return Ok(ExitCode::SUCCESS);
    };
    let calendar = calendar::read(file)?;
    let count = |kind| calendar.events.iter().filter(|event| event.kind == kind).count();
    print(&format!(
        "{}: {} paydays a month, {} holidays, {} promotions, {} deployments, in the zone {}",
        file.display(),
        calendar.paydays.len(),
        calendar.holidays.len(),
        count(EventKind::Promotion),
        count(EventKind::Deployment),
        calendar.zone.iana_name().unwrap_or("without a name"),
    ));
    Ok(ExitCode::SUCCESS)
}
