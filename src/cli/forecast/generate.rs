//! `hirl forecast generate`: made-up traffic in files.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::{Parser, ValueEnum};
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::cli::print;
use crate::cli::provenance::command;
use crate::forecast::{DAY, generator};
use crate::history::parquet::{self, Origin};
use crate::history::{MAX_VALUES, calendar};
use crate::seed::{Seed, Space};

/// Makes up traffic history: the same seed, kind, start and length mean the same file.
///
/// `bank` draws the five domains of a bank with salaries, campaigns, deployments, outages and gaps, most
/// of it announced in the calendar and some of it not. `services` draws services of eleven kinds that have
/// nothing to do with each other.
#[derive(Debug, Parser)]
pub(in crate::cli) struct Args {
    /// Number of the seed, in the space of forecasters
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many days
    #[arg(long, default_value_t = 180)]
    days: usize,
    /// What to make up
    #[arg(long, value_enum, default_value_t = Kind::Bank)]
    kind: Kind,
    /// How many services; a bank has five domains
    #[arg(long, default_value_t = 24)]
    count: usize,
    /// First day, in UTC
    #[arg(long, default_value = "2026-01-01")]
    start: Date,
    /// File for the history (Parquet)
    #[arg(long)]
    out: PathBuf,
    /// File for the calendar (YAML)
    #[arg(long)]
    calendar: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Bank,
    Services,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let most = MAX_VALUES / DAY;
    let series = if args.kind == Kind::Bank { 5 } else { args.count };
    if args.days == 0 || series == 0 || args.days.saturating_mul(series) > most {
        bail!("the days times the series must be 1 to {most}: give other --days or --count");
    }
    let start = args.start.to_zoned(TimeZone::UTC)?.timestamp().as_second().div_euclid(60);
    let seed = Seed::of(Space::Forecaster, args.seed);
    let (history, known) = match args.kind {
        Kind::Bank => generator::bank(seed, start, args.days),
        Kind::Services => generator::services(seed, start, args.days, args.count),
    };
    let origin = Origin { source: command(), ..Origin::default() };
    parquet::write(&args.out, &history, &origin)?;
    print(&format!(
        "{}: {} series of {} days from {}",
        args.out.display(),
        history.series.len(),
        args.days,
        args.start
    ));
    if let Some(path) = &args.calendar {
        calendar::write(path, &known)?;
        let events = known.events.len();
        print(&format!("{}: {events} announced events", path.display()));
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(folder: &std::path::Path, more: &[&str]) -> Args {
        let [out, calendar] = ["a.parquet", "a.yaml"].map(|name| folder.join(name));
        let files = ["--out", out.to_str().unwrap(), "--calendar", calendar.to_str().unwrap()];
        Args::parse_from(["generate"].iter().chain(&files).chain(more))
    }

    #[test]
    fn what_was_generated_is_read_back_whatever_its_time_zone() {
        let folder = tempfile::tempdir().unwrap();
        for seed in 0..6 {
            let args = args(folder.path(), &["--days", "3", "--seed", &seed.to_string()]);
            run(&args).unwrap();
            let start = 20_454 * DAY as i64;
            let (history, known) = generator::bank(Seed::of(Space::Forecaster, seed), start, 3);
            let kept = parquet::read(&args.out).unwrap().history;
            assert_eq!((kept.start, kept.minutes()), (start, history.minutes()));
            assert_eq!(kept.series.len(), 5);
            let read = calendar::read(args.calendar.as_ref().unwrap()).unwrap();
            assert_eq!(read.events.len(), known.events.len());
            let flags = |calendar: &crate::forecast::Calendar| calendar.flags("", start, DAY);
            let minutes = |calendar| flags(calendar).iter().map(|it| it.minute_of_day).collect();
            let (one, other): (Vec<u16>, Vec<u16>) = (minutes(&read), minutes(&known));
            assert_eq!(one, other);
        }
    }

    #[test]
    fn too_much_and_nothing_at_all_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        for days in ["0", "9999999"] {
            assert!(run(&args(folder.path(), &["--days", days])).is_err());
        }
        let args = args(folder.path(), &["--kind", "services", "--count", "0"]);
        assert!(run(&args).is_err());
    }
}
