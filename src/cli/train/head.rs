//! `hirl train forecaster --head-only`: the weekly fine-tune.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;

use super::checkpoint::Folder;
use super::forecaster::{Args, Data};
use super::workers::{SHARDS, Workers};
use crate::cli::{print, provenance};
use crate::forecast::accuracy::{Case, gain, losses};
use crate::forecast::{
    Calendar, DAY, History, Material, Minute, Model, Network, Sample, Schedule, Slice,
};
use crate::hash::sha256;
use crate::nn::{Adam, AdamSettings};
use crate::seed::{Seed, Space};

/// The last week judges, and is not learned from.
pub(in crate::cli) const WEEK: Minute = 7 * DAY as Minute;
/// Minutes between two forecasts that judge: the shortest horizon.
const EVERY: usize = 5;
/// A slice may lose this part at the most, where the whole gains.
const LOSS_OF_A_SLICE: f64 = 0.02;

/// How a head is moved.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli) struct Tuning {
    /// The seed of the windows that are drawn.
    pub(in crate::cli) seed: u64,
    /// Steps of the optimiser.
    pub(in crate::cli) steps: u64,
    /// Minutes per step, each with the windows of all series of one history.
    pub(in crate::cli) minutes: usize,
    /// The highest learning rate.
    pub(in crate::cli) rate: f64,
}

impl Tuning {
    /// Minutes per step where nothing is said.
    pub(in crate::cli) const MINUTES: usize = 16;
    /// The highest learning rate where nothing is said.
    pub(in crate::cli) const RATE: f64 = 2e-3;
}

/// A network whose head was moved, and what the last week says of it.
#[derive(Debug)]
pub(in crate::cli) struct Tuned {
    /// The new network, without an origin.
    pub(in crate::cli) model: Model,
    /// A table by hours of the local day.
    pub(in crate::cli) verdict: String,
    /// Whether it is better than the old one, surely in all and nowhere much worse.
    pub(in crate::cli) accepted: bool,
}

/// Runs it. Exit code 1: the old weights stay.
pub(super) fn run(args: &Args, data: &Data) -> anyhow::Result<ExitCode> {
    let path = args.weights.as_deref().context("--head-only needs --weights")?;
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let old = Model::from_bytes(&bytes)?;
    let Args { seed, steps, minutes, rate, .. } = *args;
    let tuned = tuned(&old, &data.histories, Tuning { seed, steps, minutes, rate })?;
    let Tuned { model, mut verdict, accepted } = tuned
        .context("the history is too short: ten days are needed, of which the last week judges")?;
    let mut origin: BTreeMap<_, _> = old.origin().clone();
    origin.extend(data.origin.iter().cloned());
    origin.insert("fine-tuned by".to_owned(), provenance::command());
    origin.insert("fine-tuned from".to_owned(), format!("sha256 {}", sha256(&bytes)));
    let new = Model::bytes_of(model.network(), origin)?;
    let folder = Folder::new(&args.out)?;
    folder.write("previous.safetensors", &bytes)?;
    folder.write("tuned.safetensors", &new)?;
    folder.write("weights.safetensors", if accepted { &new } else { &bytes })?;
    verdict.push_str(if accepted {
        "accepted: weights.safetensors is the tuned one; previous.safetensors keeps the old\n"
    } else {
        "refused: the old weights stay in weights.safetensors; tuned.safetensors keeps the new\n"
    });
    print(&verdict);
    Ok(if accepted { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Moves the head of `old` on all of the histories but their last week and the furthest horizon before it, and
/// compares both networks on that week. `None` where nothing can be learned or judged: about ten days are needed.
pub(in crate::cli) fn tuned(
    old: &Model,
    histories: &[(History, Calendar)],
    tuning: Tuning,
) -> anyhow::Result<Option<Tuned>> {
    let learning = Material::ending(histories, WEEK, false);
    let week = Material::ending(histories, WEEK, true).every(EVERY);
    let seed = Seed::of(Space::Forecaster, tuning.seed).child("head");
    // A history may be long and still show nothing, in gaps.
    let look = learning.sample(seed.child("look"), tuning.minutes);
    if look.windows.is_empty() || week.windows.is_empty() {
        return Ok(None);
    }
    let new = Model::from_bytes(&Model::bytes_of(old.network(), BTreeMap::new())?)?;
    fine_tune(tuning, seed, &learning, new.network())?;
    let series = histories.iter().map(|(history, _)| history.series.len()).max().unwrap_or(1);
    let (verdict, accepted) = compared(&week, old, &new, series)?;
    Ok(Some(Tuned { model: new, verdict, accepted }))
}

fn fine_tune(
    tuning: Tuning,
    seed: Seed,
    learning: &Material<'_>,
    network: &Network,
) -> anyhow::Result<()> {
    let workers = Workers::new(learning, network.kind(), seed, tuning.minutes.div_ceil(SHARDS))?;
    let mut adam = Adam::new(network.parameters(), AdamSettings::default());
    let steps = tuning.steps;
    let schedule = Schedule { peak: tuning.rate, warm_up: 50.min(steps / 4), steps };
    for step in 0..steps {
        let (_, mut gradients) = workers.step(network, seed.child("step").nth(step))?;
        gradients.keep(network.parameters(), Network::is_head);
        adam.step(network.parameters(), gradients, schedule.rate(step))?;
    }
    Ok(())
}

/// A table by hours of the local day, and whether the new network is surely better in all and nowhere much worse.
fn compared(
    week: &Sample,
    old: &Model,
    new: &Model,
    series: usize,
) -> anyhow::Result<(String, bool)> {
    let cases: Vec<Case> =
        week.windows.iter().cloned().zip(week.outcomes.iter().copied()).collect();
    let (before, after) = (losses(old, &cases)?, losses(new, &cases)?);
    let mut text = String::from("last week   old loss   new loss   gain, % [95 %]\n");
    let mut accepted = true;
    for slice in std::iter::once(None).chain(Slice::all().map(Some)) {
        let here =
            |index: &usize| slice.is_none_or(|it| Slice::of(week.minutes_of_day[*index]) == it);
        let part: Vec<usize> = (0..cases.len()).filter(here).collect();
        if part.is_empty() {
            continue;
        }
        let of = |losses: &[f64]| part.iter().map(|index| losses[*index]).collect::<Vec<_>>();
        let (old, new) = (of(&before), of(&after));
        // A block is half a day of all series, or a slice of one day.
        let block = series * if slice.is_none() { DAY / 2 } else { DAY / Slice::COUNT } / EVERY;
        let found = gain(&old, &new, block, Seed::root(0).child("gain"));
        accepted &= if slice.is_none() { found.low > 0.0 } else { found.gain > -LOSS_OF_A_SLICE };
        let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
        let name = slice.map_or_else(|| "all".to_owned(), |slice| slice.to_string());
        let [gain, low, high] = [found.gain, found.low, found.high].map(|it| 100.0 * it);
        let _ = writeln!(
            text,
            "{name:<11} {:>8.4} {:>10.4} {gain:>6.2} [{low:.2}, {high:.2}]",
            mean(&old),
            mean(&new),
        );
    }
    Ok((text, accepted))
}
