//! `hirl train forecaster`.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;

use super::card;
use super::checkpoint::{Folder, Line, Log, Standing};
use super::head::{self, Tuning};
use super::workers::{SHARDS, Workers};
use crate::cli::print;
use crate::cli::provenance::{self, Fingerprint};
use crate::forecast::{
    Calendar, History, Kind, Material, Minute, Model, Network, Part, Schedule, Split, Validation,
    Verdict, generator,
};
use crate::history;
use crate::nn::{Adam, AdamSettings, Step};
use crate::seed::{Seed, Space};

/// Trains the forecaster.
///
/// Without --data it learns from made-up history: banks of five domains with a calendar, and services of many
/// kinds. OUT gets weights.safetensors (the best on validation), log.csv, report.html with the losses and
/// `MODEL_CARD.md`; what was interrupted goes on where it was. The same settings and seed give the same weights.
#[derive(Debug, Parser)]
pub(super) struct Args {
    /// The network: tft or mixer
    #[arg(long, default_value_t = Kind::Tft)]
    pub(super) network: Kind,
    /// The seed of the first parameters and of the windows that are drawn
    #[arg(long, default_value_t = 0)]
    pub(super) seed: u64,
    /// Steps of training
    #[arg(long, default_value_t = 4000)]
    pub(super) steps: u64,
    /// Minutes per step, each with the windows of all series of one history
    #[arg(long, default_value_t = Tuning::MINUTES)]
    pub(super) minutes: usize,
    /// The highest learning rate
    #[arg(long, default_value_t = Tuning::RATE)]
    pub(super) rate: f64,
    /// Made-up banks to learn from
    #[arg(long, default_value_t = 16)]
    pub(super) banks: u64,
    /// Made-up groups of eleven foreign services to learn from
    #[arg(long, default_value_t = 24)]
    pub(super) services: u64,
    /// Days of made-up history
    #[arg(long, default_value_t = 180)]
    pub(super) days: usize,
    /// Recorded history instead: CSV or Parquet files
    #[arg(long, num_args = 1..)]
    pub(super) data: Vec<PathBuf>,
    /// The calendar of the recorded history
    #[arg(long)]
    pub(super) calendar: Option<PathBuf>,
    /// Move only the last layers of these weights, on the recorded history but its last week; they are replaced only
    /// when the new ones are better in that week
    #[arg(long, requires = "data", requires = "weights")]
    pub(super) head_only: bool,
    /// Weights to start from
    #[arg(long)]
    pub(super) weights: Option<PathBuf>,
    /// Minutes of the validation sample
    #[arg(long, default_value_t = 400)]
    pub(super) validation_minutes: usize,
    /// Folder for everything that is written
    #[arg(long)]
    pub(super) out: PathBuf,
}

/// Steps between two looks at the validation sample.
const LOOK: u64 = 250;
/// Series in a group of services: every kind once.
const GROUP: usize = 11;
/// 2025-01-01T00:00Z: made-up history begins here.
const START: Minute = 28_928_160;

/// What is learned from, and what names it.
pub(super) struct Data {
    pub(super) histories: Vec<(History, Calendar)>,
    pub(super) origin: Vec<(String, String)>,
}

/// Runs the verb.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let data = if args.data.is_empty() { made_up(args) } else { recorded(args)? };
    if args.head_only {
        return head::run(args, &data);
    }
    let training = train(args, &data)?;
    print(&training.told());
    Ok(ExitCode::SUCCESS)
}

/// Histories of the generator: they depend on their number alone.
fn made_up(args: &Args) -> Data {
    let mut histories = Vec::new();
    for number in 0..args.banks {
        histories.push(generator::bank(Seed::of(Space::Forecaster, number), START, args.days));
    }
    for number in 0..args.services {
        let seed = Seed::of(Space::Forecaster, number).child("services");
        histories.push(generator::services(seed, START, args.days.min(60), GROUP));
    }
    let origin = vec![(
        "data".to_owned(),
        format!(
            "made up: banks 0..{} of {} days, groups 0..{} of {GROUP} services of {} days",
            args.banks,
            args.days,
            args.services,
            args.days.min(60)
        ),
    )];
    Data { histories, origin }
}

fn recorded(args: &Args) -> anyhow::Result<Data> {
    let calendar = args.calendar.as_deref().map(history::calendar::read).transpose()?;
    let calendar = calendar.unwrap_or_default();
    let (mut histories, mut origin) = (Vec::new(), Vec::new());
    for path in &args.data {
        let (history, _) = history::open(path)?;
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        origin.push((
            format!("data {}", name.unwrap_or_default()),
            format!("sha256 {}", history::sha256(path)?),
        ));
        histories.push((history, calendar.clone()));
    }
    Ok(Data { histories, origin })
}

/// A finished run.
struct Training {
    verdict: Verdict,
    standing: Standing,
    out: PathBuf,
}

impl Training {
    fn told(&self) -> String {
        format!(
            "best at step {}: validation loss {:.4}, {:.1} % below the simple forecast\n{}\n",
            self.standing.best.map_or(0, |(_, step)| step),
            self.verdict.loss,
            100.0 * self.verdict.skill,
            self.out.join("weights.safetensors").display(),
        )
    }
}

fn train(args: &Args, data: &Data) -> anyhow::Result<Training> {
    let folder = Folder::new(&args.out)?;
    let seed = Seed::of(Space::Forecaster, args.seed).child("network");
    let network = match &args.weights {
        Some(path) => Model::from_bytes(&std::fs::read(path)?)?.into_network(),
        None => Network::new(args.network, seed)?,
    };
    let split = Split::default();
    let material = Material::part(&data.histories, split, Part::Training);
    let judging = Material::part(&data.histories, split, Part::Validation);
    let sample =
        judging.sample(Seed::of(Space::Forecaster, 0).child("validation"), args.validation_minutes);
    anyhow::ensure!(
        !sample.windows.is_empty(),
        "the history has no window to validate on: six weeks are needed"
    );
    let validation = Validation::new(&sample)?;
    let settings = settings(args, data);
    let constants = AdamSettings::default();
    let (mut standing, mut adam) = match folder.resume(&settings, &network, constants)? {
        Some(found) => found,
        None => (Standing::default(), Adam::new(network.parameters(), constants)),
    };
    let schedule =
        Schedule { peak: args.rate, warm_up: 100.min(args.steps / 4), steps: args.steps };
    let workers = Workers::new(&material, network.kind(), seed, args.minutes.div_ceil(SHARDS))?;
    let mut mean = Mean::default();
    let (begun, before) = (Instant::now(), standing.seconds);
    while standing.step < args.steps {
        let rate = schedule.rate(standing.step);
        let (loss, gradients) = workers.step(&network, seed.child("step").nth(standing.step))?;
        let norm = match adam.step(network.parameters(), gradients, rate)? {
            Step::Taken { norm } => norm,
            Step::Skipped => f64::NAN,
        };
        mean.add(loss);
        standing.step += 1;
        if standing.step % LOOK != 0 && standing.step != args.steps {
            continue;
        }
        standing.seconds = before + begun.elapsed().as_secs_f64();
        let verdict = validation.judge(&network)?;
        if standing.best.is_none_or(|(best, _)| verdict.loss < best) {
            standing.best = Some((verdict.loss, standing.step));
            let model = origin(args, data, &standing, verdict);
            folder.write("weights.safetensors", &with_origin(&network, model)?)?;
        }
        let line = Line {
            step: standing.step,
            loss: mean.take(),
            validation_loss: verdict.loss,
            validation_skill: verdict.skill,
            rate,
            gradient_norm: norm,
            skipped: adam.skipped(),
            seconds: standing.seconds,
        };
        Log::new(&folder).add(&line)?;
        folder.keep(&settings, &network, &adam, &standing)?;
        folder.write(
            "report.html",
            card::report(args, &Log::<Line>::new(&folder).lines()?).as_bytes(),
        )?;
        progress(&line, args.steps);
    }
    let model = Model::from_bytes(&std::fs::read(folder.file("weights.safetensors"))?)?;
    let verdict = validation.judge(model.network())?;
    folder.write(
        "MODEL_CARD.md",
        card::text(args, &model, &Log::<Line>::new(&folder).lines()?).as_bytes(),
    )?;
    Ok(Training { verdict, standing, out: args.out.clone() })
}

/// Everything that the weights depend on.
fn settings(args: &Args, data: &Data) -> String {
    let start = args.weights.as_ref().map(|path| format!("{:?}", std::fs::read(path).ok()));
    let parts = [
        format!("{} {} {} {} {}", args.network, args.seed, args.steps, args.minutes, args.rate),
        args.validation_minutes.to_string(),
        format!("{:?}", data.origin),
        format!("{start:?}"),
        crate::forecast::features_hash(),
    ];
    format!("{} {}", parts[0], Fingerprint::of(parts.iter()))
}

fn origin(
    args: &Args,
    data: &Data,
    standing: &Standing,
    verdict: Verdict,
) -> BTreeMap<String, String> {
    let mut origin: BTreeMap<_, _> = data.origin.iter().cloned().collect();
    // Where it was written says nothing of the weights, and much of a machine.
    let out = format!(" --out {}", args.out.display());
    origin.insert("command".to_owned(), provenance::command().replace(&out, ""));
    origin.insert("seed".to_owned(), args.seed.to_string());
    origin.insert("step".to_owned(), standing.step.to_string());
    origin.insert("validation loss".to_owned(), format!("{:.5}", verdict.loss));
    origin.insert("validation skill".to_owned(), format!("{:.4}", verdict.skill));
    origin
}

fn with_origin(network: &Network, origin: BTreeMap<String, String>) -> anyhow::Result<Vec<u8>> {
    Ok(Model::bytes_of(network, origin)?)
}

/// Mean of what was added since it was taken.
#[derive(Default)]
struct Mean {
    sum: f64,
    count: f64,
}

impl Mean {
    fn add(&mut self, value: f64) {
        self.sum += value;
        self.count += 1.0;
    }

    fn take(&mut self) -> f64 {
        let Self { sum, count } = std::mem::take(self);
        sum / count
    }
}

fn progress(line: &Line, steps: u64) {
    let left = line.seconds / line.step as f64 * (steps - line.step) as f64;
    let text = format!(
        "step {}/{steps}: loss {:.4}, validation {:.4} ({:.1} % below the simple forecast), {:.0} s, about {left:.0} s left",
        line.step,
        line.loss,
        line.validation_loss,
        100.0 * line.validation_skill,
        line.seconds,
    );
    let mut out = std::io::stderr();
    let (begin, end) = if out.is_terminal() { ("\r\x1b[K", "") } else { ("", "\n") };
    // Nobody is left to tell where this fails.
    let _ = write!(out, "{begin}{text}{end}");
    let _ = out.flush();
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    #[derive(Debug, Parser)]
    struct Words {
        #[command(flatten)]
        args: Args,
    }

    fn trained(out: &Path, more: &[&str]) -> anyhow::Result<ExitCode> {
        let out = out.to_string_lossy();
        let words =
            ["train", "--network", "mixer", "--steps", "3", "--minutes", "2", "--banks", "1"];
        let rest = ["--services", "0", "--days", "40", "--validation-minutes", "4", "--out", &out];
        run(&Words::parse_from(words.iter().chain(&rest).chain(more)).args)
    }

    #[test]
    fn a_short_training_leaves_weights_that_load_and_is_not_done_twice() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        trained(&one, &[]).unwrap();
        let weights = |of: &Path| fs::read(of.join("weights.safetensors")).unwrap();
        let model = Model::from_bytes(&weights(&one)).unwrap();
        assert_eq!(model.origin()["step"], "3");
        assert_eq!(fs::read_to_string(one.join("log.csv")).unwrap().lines().count(), 2);
        for name in ["report.html", "MODEL_CARD.md"] {
            assert!(one.join(name).exists(), "{name}");
        }
        trained(&two, &[]).unwrap();
        assert!(weights(&one) == weights(&two), "the same seed gave other weights");
        trained(&one, &[]).unwrap();
        assert!(weights(&one) == weights(&two), "a finished run went on");
        let error = trained(&one, &["--seed", "5"]).unwrap_err().to_string();
        assert!(error.contains("other settings"), "{error}");
    }
}
