//! `hirl forecast evaluate`: how good forecasts are on the series of some files.

#![expect(clippy::cast_possible_wrap, reason = "minutes and days of a series are far below 2^63")]

mod files;
mod page;
mod table;
mod weekly;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde::Serialize;

use crate::cli::jobs::{self, Done};
use crate::cli::train::head::Tuning;
use crate::cli::{note, print};
use crate::forecast::accuracy::{
    Assessment, BaselineForecaster, Correction, Origin, Plan, QuantileForecaster, Walk, assess,
    eligible, walk,
};
use crate::forecast::{Baseline, DAY, History, Model, ModelForecaster, Prepared};
use crate::history;
use crate::seed::{Seed, Space};

use self::weekly::{Told, Weekly};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// CSV or Parquet files of traffic; may be given more than once
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    data: Vec<PathBuf>,

    /// Where accuracy.csv, accuracy.json and report.html go
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// Weights of learned forecasters, the first of which is judged [default: those of this program]
    #[arg(long, num_args = 1.., value_name = "FILE")]
    weights: Vec<PathBuf>,

    /// Paydays, holidays and announced events
    #[arg(long, value_name = "FILE")]
    calendar: Option<PathBuf>,

    /// Minutes from one forecast to the next
    #[arg(long, default_value_t = 5, value_name = "MINUTES", value_parser = clap::value_parser!(u32).range(1..=1440))]
    every: u32,

    /// The first day that counts, 1 for the first of a series; the days before it are learned from
    #[arg(long, default_value_t = 8, value_name = "DAY", value_parser = clap::value_parser!(u32).range(2..=3660))]
    from: u32,

    /// Judge the first network a second time with its last layer fine-tuned by so many steps before each week, on all
    /// traffic before it, and kept as `hirl train forecaster --head-only` would keep it; three weeks are needed
    #[arg(long, value_name = "STEPS", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    fine_tune: Option<u64>,
}

/// What is written to accuracy.json.
#[derive(Debug, Serialize)]
struct Report {
    version: &'static str,
    command: String,
    every_minutes: u32,
    from_day: u32,
    /// Quantiles of every forecaster are corrected online on its own errors, as they would be live.
    calibration: &'static str,
    /// Steps of the fine-tune before each week.
    #[serde(skip_serializing_if = "Option::is_none")]
    fine_tune_steps: Option<u64>,
    series: Vec<SeriesReport>,
    ineligible: Vec<Refused>,
}

#[derive(Debug, Serialize)]
struct SeriesReport {
    name: String,
    days: f64,
    #[serde(flatten)]
    assessment: Assessment,
    /// What came of the weeks before which the head was fine-tuned, with all series of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    fine_tune: Option<Told>,
    /// A day to look at.
    #[serde(skip)]
    excerpt: Excerpt,
}

#[derive(Debug, Serialize)]
struct Refused {
    name: String,
    reason: String,
}

/// Forecasts 15 minutes ahead of the last day: hour of the day (it may exceed 24), p10, p50, p80, p90, and what came.
#[derive(Debug, Default)]
struct Excerpt(Vec<[f64; 6]>);

/// A series and where it is.
struct Place {
    name: String,
    file: usize,
    series: usize,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let plan = Plan { every: args.every as usize, from_day: args.from as usize };
    let calendar = args.calendar.as_deref().map(history::calendar::read).transpose()?;
    let calendar = calendar.unwrap_or_default();
    let mut models =
        args.weights.iter().map(|path| model(path)).collect::<anyhow::Result<Vec<_>>>()?;
    if models.is_empty() {
        models.push(Model::builtin(Model::DEFAULT)?);
    }
    let (mut paths, mut histories, mut unreadable) = (Vec::new(), Vec::new(), Vec::new());
    for path in &args.data {
        anyhow::ensure!(path.exists(), "there is no file {}", path.display());
        match read(path) {
            Ok(history) => {
                paths.push(path.clone());
                histories.push(history);
            }
            Err(error) => {
                unreadable.push(Refused { name: stem(path), reason: format!("{error:#}") });
            }
        }
    }
    let (places, mut ineligible) = listed(&paths, &histories, plan);
    ineligible.append(&mut unreadable);
    announce(&places, &ineligible, plan);
    if places.is_empty() {
        bail!("none of the series is long and full enough; `--from 2` needs the least, two days");
    }
    let prepared: Vec<_> =
        histories.iter().map(|history| Prepared::new(history, &calendar)).collect();
    let heads = match args.fine_tune {
        Some(steps) => {
            let files = fine_tuned(&models[0], &prepared, &places, plan, steps)?;
            announce_weekly(&paths, &files);
            files
        }
        None => paths.iter().map(|_| None).collect(),
    };
    let judge = |(index, place): &(usize, Place)| -> anyhow::Result<_> {
        let weekly = heads[place.file].as_ref();
        let walk = walked(&prepared[place.file], &models, weekly, place.series, plan);
        let judged = 1 + usize::from(weekly.is_some_and(Weekly::is_any));
        let report = SeriesReport {
            name: place.name.clone(),
            days: histories[place.file].minutes() as f64 / DAY as f64,
            assessment: assess(&walk, judged, Seed::of(Space::Forecaster, 0).child("accuracy")),
            fine_tune: weekly.map(|weekly| weekly.told.clone()),
            excerpt: Excerpt::of(&walk),
        };
        Ok(Done { what: (*index, report), reused: false })
    };
    let places: Vec<_> = places.into_iter().enumerate().collect();
    let mut series = jobs::all(&places, None, judge)?;
    series.sort_by_key(|(index, _)| *index);
    let series = series.into_iter().map(|(_, report)| report).collect();
    let report = Report {
        version: env!("CARGO_PKG_VERSION"),
        command: crate::cli::provenance::command(),
        every_minutes: args.every,
        from_day: args.from,
        calibration: "online",
        fine_tune_steps: args.fine_tune,
        series,
        ineligible,
    };
    print(&table::text(&report));
    std::fs::create_dir_all(&args.out)
        .with_context(|| format!("cannot make {}", args.out.display()))?;
    files::write(&args.out, &report)?;
    note(&format!("accuracy.csv, accuracy.json and report.html are in {}", args.out.display()));
    Ok(ExitCode::from(u8::from(!report.is_right())))
}

fn read(path: &Path) -> anyhow::Result<History> {
    let (history, mended) = history::open(path)?;
    note(&format!("{}: {mended}", path.display()));
    Ok(history)
}

/// Weights and the name of the network in them.
fn model(path: &Path) -> anyhow::Result<Model> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Model::from_bytes(&bytes).with_context(|| path.display().to_string())
}

/// Which series make figures and which do not: known before the first forecast is made.
fn listed(paths: &[PathBuf], histories: &[History], plan: Plan) -> (Vec<Place>, Vec<Refused>) {
    let (mut places, mut refused) = (Vec::new(), Vec::new());
    for (file, (path, history)) in paths.iter().zip(histories).enumerate() {
        let stem = stem(path);
        for (index, series) in history.series.iter().enumerate() {
            let name = match history.series.len() {
                1 => stem.clone(),
                _ => format!("{stem}/{}", series.name),
            };
            match eligible(&series.rps, plan.from_day) {
                Ok(()) => places.push(Place { name, file, series: index }),
                Err(reason) => refused.push(Refused { name, reason: reason.to_string() }),
            }
        }
    }
    (places, refused)
}

/// The name of a file without its endings.
fn stem(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.split('.').next().unwrap_or_default().to_owned()
}

fn announce(places: &[Place], refused: &[Refused], plan: Plan) {
    let names: Vec<&str> = places.iter().map(|place| place.name.as_str()).collect();
    note(&format!(
        "{} series from day {} on, a forecast every {} min: {}",
        names.len(),
        plan.from_day,
        plan.every,
        names.join(", ")
    ));
    for Refused { name, reason } in refused {
        note(&format!("{name} is left out: {reason}"));
    }
}

/// Per file, the heads that `model` gets week by week; `None` for a file that no series counts of.
fn fine_tuned(
    model: &Model,
    prepared: &[Prepared<'_>],
    places: &[Place],
    plan: Plan,
    steps: u64,
) -> anyhow::Result<Vec<Option<Weekly>>> {
    let mut files: Vec<usize> = places.iter().map(|place| place.file).collect();
    files.dedup();
    note(&format!("fine-tuning before each week of {} files", files.len()));
    let tuning = Tuning { seed: 0, steps, minutes: Tuning::MINUTES, rate: Tuning::RATE };
    let work = |file: &usize| -> anyhow::Result<_> {
        let prepared = &prepared[*file];
        let weekly = Weekly::of(model, prepared.history(), prepared.calendar(), plan, tuning)?;
        Ok(Done { what: (*file, weekly), reused: false })
    };
    let mut all: Vec<Option<Weekly>> = prepared.iter().map(|_| None).collect();
    for (file, weekly) in jobs::all(&files, None, work)? {
        all[file] = Some(weekly);
    }
    Ok(all)
}

fn announce_weekly(paths: &[PathBuf], files: &[Option<Weekly>]) {
    for (path, weekly) in paths.iter().zip(files) {
        if let Some(Told::None { none }) = weekly.as_ref().map(|weekly| &weekly.told) {
            note(&format!("{}: {none}", stem(path)));
        }
    }
}

/// The forecasters of a run; the first is the one that is compared with the others, and so is the fine-tuned one,
/// which is the second where there is one.
fn walked(
    prepared: &Prepared<'_>,
    models: &[Model],
    weekly: Option<&Weekly>,
    series: usize,
    plan: Plan,
) -> Walk {
    let weekly = weekly.filter(|weekly| weekly.is_any());
    let mut tuned = weekly.map(|weekly| weekly.forecaster(&models[0], prepared));
    let mut learned: Vec<_> =
        models.iter().map(|model| ModelForecaster { model, prepared }).collect();
    let strong = Baseline::LevelTimesProfile;
    let others = Baseline::ALL.into_iter().filter(|baseline| *baseline != strong);
    let mut baselines: Vec<BaselineForecaster<'_>> = [strong]
        .into_iter()
        .chain(others)
        .map(|baseline| BaselineForecaster { baseline, prepared })
        .collect();
    let mut all: Vec<&mut dyn QuantileForecaster> =
        learned.iter_mut().map(|it| it as &mut dyn QuantileForecaster).collect();
    if let Some(tuned) = &mut tuned {
        all.insert(1, tuned);
    }
    all.extend(baselines.iter_mut().map(|it| it as &mut dyn QuantileForecaster));
    walk(prepared, series, plan, Correction::Online, &mut all)
}

impl Report {
    /// Whether the first forecaster is calibrated everywhere.
    fn is_right(&self) -> bool {
        let first = |series: &SeriesReport| {
            series.assessment.forecasters.first().is_none_or(|it| it.verdict.is_right())
        };
        self.series.iter().all(first)
    }
}

impl Excerpt {
    /// The horizon that is shown.
    const HORIZON: usize = 1;

    fn of(walk: &Walk) -> Self {
        let Some(last) = walk.origins.last() else { return Self::default() };
        let start = last.minute - DAY as i64;
        let midnight = start - start.rem_euclid(DAY as i64);
        let ahead = crate::forecast::calibration::horizon_minutes(Self::HORIZON);
        let recent = walk.judged(0, Self::HORIZON).filter(|(origin, _)| origin.minute >= start);
        let point = |(origin, [p10, p50, p80, p90]): (&Origin, [f64; 4])| {
            let hour = (origin.minute + ahead - midnight) as f64 / 60.0;
            [hour, p10, p50, p80, p90, origin.came[Self::HORIZON]]
        };
        Self(recent.map(point).collect())
    }
}

#[cfg(test)]
mod tests;
