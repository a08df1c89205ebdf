//! `hirl forecast import`: traffic of the past into one file.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Parser;
use jiff::tz::TimeZone;

use crate::cli::provenance::command;
use crate::cli::{block_on, note, print};
use crate::clock;
use crate::cluster::{Class, SignalKind};
use crate::config::Config;
use crate::forecast::{DAY, History, Minute};
use crate::history::parquet::Origin;
use crate::history::prometheus::{Plan, Progress, Source};
use crate::history::{self, Mended, Unit, csv, parquet};
use crate::telemetry::{Prometheus, Settings, queries};

/// Minutes before now that may still change when Prometheus is asked.
const UNSETTLED: Minute = 5;

/// Brings traffic into one Parquet file: requests per second per domain and minute.
///
/// From CSV files, plain or .gz: a header, a column with the time (ISO 8601 with or without zone, or
/// Unix time) and one or several with values. Several values in a minute are averaged. Rows may be
/// up to five minutes apart. Gaps stay gaps, and what was mended (rows out of order, duplicates,
/// values that are none, counter resets) is counted.
///
/// From Prometheus: one range query per domain and day. Answered days are kept beside OUT until all
/// are there: the same call again goes on where it was cut off.
#[derive(Debug, Parser)]
pub(super) struct Args {
    /// The file to write; an older one is replaced
    #[arg(long, value_name = "FILE.parquet")]
    out: PathBuf,
    /// Priority class of a domain, such as payments=P0; P2 unless given
    #[arg(long = "class", value_name = "DOMAIN=CLASS", value_parser = class)]
    classes: Vec<(String, Class)>,
    #[command(flatten)]
    csv: CsvArgs,
    #[command(flatten)]
    prometheus: PrometheusArgs,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "From CSV files")]
struct CsvArgs {
    /// Files to read; values of the same domain are joined
    #[arg(long, value_name = "FILE", num_args = 1.., required_unless_present_any = ["url", "config"])]
    csv: Vec<PathBuf>,
    /// Column with the time; one with a usual name or the first unless given
    #[arg(long, value_name = "COLUMN", conflicts_with_all = ["url", "config"])]
    time_column: Option<String>,
    /// Columns with values, each a domain; `value`, `rps` or `requests`, else all others
    #[arg(long = "value-column", value_name = "COLUMN", conflicts_with_all = ["url", "config"])]
    value_columns: Vec<String>,
    /// Column that names the domain of each row; `domain` where there is one
    #[arg(long, value_name = "COLUMN", conflicts_with_all = ["url", "config"])]
    domain_column: Option<String>,
    /// Name of the domain of files with one value column; the file's own name unless given
    #[arg(long, value_name = "DOMAIN", conflicts_with_all = ["url", "config"])]
    name: Option<String>,
    /// What the values are; count is of requests since the row before
    #[arg(long, value_name = "UNIT", default_value = "per-second", conflicts_with_all = ["url", "config"])]
    unit: UnitArg,
    /// The values only rise, but for resets to 0: requests since a start
    #[arg(long, conflicts_with = "unit", conflicts_with_all = ["url", "config"])]
    counter: bool,
    /// Zone of times that name none; in an hour that a clock change repeats, rows count as the first
    /// passage until they step back
    #[arg(long, value_name = "ZONE", default_value = "UTC", value_parser = zone, conflicts_with_all = ["url", "config"])]
    timezone: TimeZone,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "From Prometheus")]
struct PrometheusArgs {
    /// Root of its HTTP API; telemetry.url of the configuration unless given
    #[arg(long = "prometheus", id = "url", value_name = "URL", conflicts_with = "csv")]
    url: Option<String>,
    /// Configuration whose section telemetry says how to connect and what to ask
    #[arg(long, value_name = "FILE", conflicts_with = "csv")]
    config: Option<PathBuf>,
    /// A domain and its namespaces, asked for with the query of requests per second of telemetry
    #[arg(long = "domain", value_name = "DOMAIN=NAMESPACE,...", value_parser = named, conflicts_with = "csv")]
    domains: Vec<(String, String)>,
    /// A domain and the `PromQL` of its requests per second, one series
    #[arg(long = "query", value_name = "DOMAIN=PROMQL", value_parser = named, conflicts_with = "csv")]
    queries: Vec<(String, String)>,
    /// How many days up to the end
    #[arg(long, conflicts_with = "csv", default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=366))]
    days: u16,
    /// End, such as 2026-05-01T00:00:00Z; five minutes ago unless given
    #[arg(long, value_name = "TIME", conflicts_with = "csv")]
    end: Option<jiff::Timestamp>,
    /// Longest wait for an answer, in seconds
    #[arg(long, value_name = "SECONDS", conflicts_with = "csv", default_value_t = 60, value_parser = clap::value_parser!(u16).range(1..=600))]
    timeout: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum UnitArg {
    PerSecond,
    PerMinute,
    PerHour,
    Count,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let parts = parts(&args.out);
    let from_csv = !args.csv.csv.is_empty();
    let (mut history, mended, files) = if from_csv {
        args.csv.read()?
    } else {
        let (history, mended) = args.prometheus.ask(&parts)?;
        (history, mended, Vec::new())
    };
    for (domain, class) in &args.classes {
        let series = history.series.iter_mut().find(|series| series.name == *domain);
        let series = series.with_context(|| format!("--class: there is no domain {domain:?}"))?;
        series.class = *class;
    }
    let origin = Origin { source: command(), files, mended: mended.to_string() };
    parquet::write(&args.out, &history, &origin)?;
    if !from_csv && let Err(error) = std::fs::remove_dir_all(&parts) {
        note(&format!("cannot remove {}: {error}", parts.display()));
    }
    print(&summary(&args.out, &history, &mended));
    Ok(ExitCode::SUCCESS)
}

/// The folder of answered days.
fn parts(out: &Path) -> PathBuf {
    let mut name = out.file_name().unwrap_or_default().to_owned();
    name.push(".parts");
    out.with_file_name(name)
}

/// A history, what was mended, and the names and hashes of its files.
type Read = (History, Mended, Vec<(String, String)>);

impl CsvArgs {
    fn read(&self) -> anyhow::Result<Read> {
        let unit = match self.unit {
            _ if self.counter => Unit::Counter,
            UnitArg::PerSecond => Unit::PerSecond,
            UnitArg::PerMinute => Unit::PerMinute,
            UnitArg::PerHour => Unit::PerHour,
            UnitArg::Count => Unit::Count,
        };
        let options = csv::Options {
            time_column: self.time_column.clone(),
            value_columns: self.value_columns.clone(),
            domain_column: self.domain_column.clone(),
            name: self.name.clone(),
            unit,
            zone: self.timezone.clone(),
        };
        let (history, mended) = csv::read(&self.csv, &options)?;
        let mut files = Vec::new();
        for path in &self.csv {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            files.push((name, history::sha256(path)?));
        }
        Ok((history, mended, files))
    }
}

impl PrometheusArgs {
    fn ask(&self, parts: &Path) -> anyhow::Result<(History, Mended)> {
        let settings = self.settings()?;
        let end = match self.end {
            Some(end) => end.as_second().div_euclid(60),
            None => (clock::now().as_seconds() / 60.0) as Minute - UNSETTLED,
        };
        let plan = Plan {
            url: settings.url.clone(),
            sources: self.sources(&settings)?,
            start: end - Minute::from(self.days) * DAY as Minute,
            end,
            parts: parts.to_owned(),
            pause: Duration::from_secs(1),
        };
        let mut prometheus = Prometheus::new(&settings)?;
        block_on(async { Ok(history::prometheus::import(&mut prometheus, &plan, told).await?) })
            .with_context(|| format!("what was answered is kept in {}", parts.display()))
    }

    fn settings(&self) -> anyhow::Result<Settings> {
        let mut settings = match &self.config {
            Some(path) => Config::load(path)?.telemetry,
            None => Settings::default(),
        };
        if let Some(url) = &self.url {
            settings.url.clone_from(url);
        }
        settings.validate().map_err(anyhow::Error::msg)?;
        // Beyond what a decision may wait for: nobody waits for this.
        settings.timeout_seconds = f64::from(self.timeout);
        Ok(settings)
    }

    fn sources(&self, settings: &Settings) -> anyhow::Result<Vec<Source>> {
        let preset = self.domains.iter().map(|(domain, namespaces)| {
            let namespaces: Vec<&str> = namespaces.split(',').map(str::trim).collect();
            (domain, queries::total(settings, SignalKind::Rps, &namespaces))
        });
        let own = self.queries.iter().map(|(domain, promql)| (domain, promql.clone()));
        let mut sources: Vec<Source> = Vec::new();
        for (domain, promql) in preset.chain(own) {
            if sources.iter().any(|source| source.domain == *domain) {
                bail!("the domain {domain:?} is asked for twice");
            }
            sources.push(Source { domain: domain.clone(), class: Class::default(), promql });
        }
        if sources.is_empty() {
            bail!("say what to ask for: --domain NAME=NAMESPACE,... or --query NAME=PROMQL");
        }
        Ok(sources)
    }
}

/// A line on standard error: rewritten on a terminal, one in ten elsewhere.
fn told(progress: Progress) {
    let Progress { done, total, kept } = progress;
    let mut out = std::io::stderr();
    let line = format!("{done} of {total} parts, {kept} of them from before");
    // Nobody is left to tell where this fails.
    if out.is_terminal() {
        let _ = write!(out, "\r\x1b[K{line}{}", if done == total { "\n" } else { "" });
        let _ = out.flush();
    } else if done == total || done % (total / 10).max(1) == 0 {
        let _ = writeln!(out, "{line}");
    }
}

fn summary(out: &Path, history: &History, mended: &Mended) -> String {
    let time = |minute: Minute| {
        jiff::Timestamp::from_second(minute * 60).map_or_else(|_| "?".into(), |it| it.to_string())
    };
    let mut text = format!(
        "{}: {} to {}, {} minutes\nread: {mended}\n",
        out.display(),
        time(history.start),
        time(history.end()),
        history.minutes(),
    );
    for series in &history.series {
        let known = series.rps.iter().filter(|rps| !rps.is_nan());
        let (mut count, mut sum, mut peak) = (0_u64, 0.0, 0.0_f32);
        for rps in known {
            count += 1;
            sum += f64::from(*rps);
            peak = peak.max(*rps);
        }
        let mean = if count > 0 { sum / count as f64 } else { 0.0 };
        let share = 100.0 * count as f64 / history.minutes().max(1) as f64;
        let _ = writeln!(
            text,
            "{} ({}): mean {mean:.1} requests per second, peak {peak:.1}, {share:.1} % of minutes known",
            series.name,
            series.class.as_str(),
        );
    }
    text
}

fn zone(name: &str) -> Result<TimeZone, String> {
    TimeZone::get(name).map_err(|_| "it is no time zone, such as Europe/Rome".to_owned())
}

fn named(text: &str) -> Result<(String, String), String> {
    match text.split_once('=').map(|(name, rest)| (name.trim(), rest.trim())) {
        Some((name, rest)) if !name.is_empty() && !rest.is_empty() => {
            Ok((name.to_owned(), rest.to_owned()))
        }
        _ => Err("it is not of the form DOMAIN=...".to_owned()),
    }
}

fn class(text: &str) -> Result<(String, Class), String> {
    let (domain, class) = named(text)?;
    let found = Class::ALL.into_iter().find(|it| it.as_str() == class);
    Ok((domain, found.ok_or_else(|| format!("{class:?} is none of P0, P1, P2 and P3"))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<Args, clap::Error> {
        Args::try_parse_from([&["import", "--out", "h.parquet"], words].concat())
    }

    #[test]
    fn csv_and_prometheus_exclude_each_other_and_one_is_needed() {
        assert!(parsed(&[]).is_err());
        assert!(parsed(&["--csv", "a.csv", "--prometheus", "http://p"]).is_err());
        assert!(parsed(&["--prometheus", "http://p", "--unit", "count"]).is_err());
        assert!(parsed(&["--csv", "a.csv", "--unit", "count", "--counter"]).is_err());
        assert!(parsed(&["--csv", "a.csv", "b.csv", "--counter"]).is_ok());
        assert!(parsed(&["--csv", "a.csv", "--timezone", "Europe/Atlantis"]).is_err());
        assert!(parsed(&["--csv", "a.csv", "--class", "pay=P9"]).is_err());
    }

    #[test]
    fn domains_and_queries_become_what_is_asked() {
        let args = parsed(&[
            "--prometheus",
            "http://p:9090",
            "--domain",
            "pay=pay-a,pay-b",
            "--query",
            "fraud=sum(rate(checks_total{job=\"fraud\"}[1m]))",
        ])
        .unwrap();
        let settings = args.prometheus.settings().unwrap();
        let sources = args.prometheus.sources(&settings).unwrap();
        assert!(sources[0].promql.contains("pay-a|pay-b"), "{}", sources[0].promql);
        assert_eq!(sources[1].promql, "sum(rate(checks_total{job=\"fraud\"}[1m]))");
        let twice =
            parsed(&["--prometheus", "http://p", "--domain", "a=b", "--query", "a=c"]).unwrap();
        assert!(twice.prometheus.sources(&settings).is_err());
        let none = parsed(&["--prometheus", "http://p"]).unwrap();
        assert!(none.prometheus.sources(&settings).is_err());
    }

    #[test]
    fn a_file_that_was_imported_is_read_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let (csv, out) = (folder.path().join("shop.csv"), folder.path().join("h.parquet"));
        std::fs::write(&csv, "time,pay,fraud\n0,60,6\n60,120,12\n120,180,18\n300,180,18\n")
            .unwrap();
        let words = [
            "import",
            "--out",
            out.to_str().unwrap(),
            "--csv",
            csv.to_str().unwrap(),
            "--unit",
            "per-minute",
            "--class",
            "pay=P0",
        ];
        run(&Args::try_parse_from(words).unwrap()).unwrap();
        let kept = parquet::read(&out).unwrap();
        assert_eq!(kept.history.series[0].rps[..3], [1.0, 2.0, 3.0]);
        assert_eq!(kept.history.series[0].class, Class::P0);
        assert_eq!(kept.origin.files, [("shop.csv".to_owned(), history::sha256(&csv).unwrap())]);
        let (opened, mended) = history::open(&out).unwrap();
        assert_eq!(opened.minutes(), 6);
        assert_eq!((mended.gaps, mended.gap_minutes), (2, 4));
        let wrong = Args {
            classes: vec![("shop".to_owned(), Class::P0)],
            ..Args::try_parse_from(words).unwrap()
        };
        assert!(run(&wrong).is_err());
    }
}
