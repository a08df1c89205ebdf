//! `hirl train forecaster --head-only`: the weekly fine-tune.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;

use super::checkpoint::Folder;
use super::forecaster::{Args, Data};
use super::workers::{SHARDS, Workers};
use crate::cli::{print, provenance};
use crate::forecast::{DAY, Material, Minute, Model, Network, Sample, Schedule, Slice, Validation};
use crate::nn::{Adam, AdamSettings};
use crate::seed::{Seed, Space};

/// The last week judges, and is not learned from.
const WEEK: Minute = 7 * DAY as Minute;
/// Minutes between two forecasts that judge: the shortest horizon.
const EVERY: usize = 5;
/// A slice may lose this part at the most, where the whole gains.
const LOSS_OF_A_SLICE: f64 = 0.02;
/// The highest rate, as a part of that of a training from nothing: the rest of the network stays.
const GENTLE: f64 = 0.2;

/// Runs it. Exit code 1: the old weights stay.
pub(super) fn run(args: &Args, data: &Data) -> anyhow::Result<ExitCode> {
    let path = args.weights.as_deref().context("--head-only needs --weights")?;
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let old = Model::from_bytes(&bytes)?;
    let new = Model::from_bytes(&bytes)?.into_network();
    let learning = Material::ending(&data.histories, WEEK, false);
    let judging = Material::ending(&data.histories, WEEK, true);
    anyhow::ensure!(
        !learning.is_empty() && !judging.is_empty(),
        "the history is too short: ten days are needed, of which the last week judges"
    );
    fine_tune(args, &learning, &new)?;
    let slices = Slices::of(&judging.every(EVERY))?;
    let (verdict, accepted) = slices.compare(old.network(), &new)?;
    let folder = Folder::new(&args.out)?;
    let mut origin: BTreeMap<_, _> = old.origin().clone();
    origin.extend(data.origin.iter().cloned());
    origin.insert("fine-tuned by".to_owned(), provenance::command());
    origin.insert("fine-tuned from".to_owned(), format!("sha256 {}", crate::nn::sha256(&bytes)));
    let tuned = Model::bytes_of(&new, origin)?;
    folder.write("previous.safetensors", &bytes)?;
    folder.write("tuned.safetensors", &tuned)?;
    folder.write("weights.safetensors", if accepted { &tuned } else { &bytes })?;
    print(&verdict);
    Ok(if accepted { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn fine_tune(args: &Args, learning: &Material<'_>, network: &Network) -> anyhow::Result<()> {
    let seed = Seed::of(Space::Forecaster, args.seed).child("head");
    let workers = Workers::new(learning, network.kind(), seed, args.minutes.div_ceil(SHARDS))?;
    let mut adam = Adam::new(network.parameters(), AdamSettings::default());
    let schedule =
        Schedule { peak: GENTLE * args.rate, warm_up: 50.min(args.steps / 4), steps: args.steps };
    for step in 0..args.steps {
        let (_, mut gradients) = workers.step(network, seed.child("step").nth(step))?;
        gradients.keep(network.parameters(), Network::is_head);
        adam.step(network.parameters(), gradients, schedule.rate(step))?;
    }
    Ok(())
}

/// The last week, by hours of the local day.
struct Slices(Vec<(String, Validation)>);

impl Slices {
    fn of(sample: &Sample) -> anyhow::Result<Self> {
        let mut slices = vec![("all".to_owned(), Validation::new(sample)?)];
        for slice in Slice::all() {
            let mut part = Sample::default();
            for index in 0..sample.windows.len() {
                if Slice::of(sample.minutes_of_day[index]) == slice {
                    part.windows.push(sample.windows[index].clone());
                    part.outcomes.push(sample.outcomes[index]);
                }
            }
            if !part.windows.is_empty() {
                slices.push((slice.to_string(), Validation::new(&part)?));
            }
        }
        Ok(Self(slices))
    }

    /// A table, and whether the new network is better in all and nowhere much worse.
    fn compare(&self, old: &Network, new: &Network) -> anyhow::Result<(String, bool)> {
        let mut text = String::from("last week   old loss   new loss   gain\n");
        let mut accepted = true;
        for (index, (name, validation)) in self.0.iter().enumerate() {
            let (before, after) = (validation.judge(old)?.loss, validation.judge(new)?.loss);
            let gain = 1.0 - after / before;
            let least = if index == 0 { 0.0 } else { -LOSS_OF_A_SLICE };
            accepted &= gain > least;
            let _ =
                writeln!(text, "{name:<11} {before:>8.4} {after:>10.4} {:>6.1} %", 100.0 * gain);
        }
        text.push_str(if accepted {
            "accepted: weights.safetensors is the tuned one; previous.safetensors keeps the old\n"
        } else {
            "refused: the old weights stay in weights.safetensors; tuned.safetensors keeps the new\n"
        });
        Ok((text, accepted))
    }
}
