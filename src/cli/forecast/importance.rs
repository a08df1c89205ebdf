//! `hirl forecast importance`: which inputs a network needs.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;

use crate::cli::print;
use crate::forecast::accuracy::{Case, GROUPS, importance};
use crate::forecast::window::{FUTURE, PAST, Prepared};
use crate::forecast::{
    Batch, Calendar, EventKind, HORIZONS, History, Minute, Model, Part, Split, generator,
};
use crate::seed::{Seed, Space};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Weights [default: those of this program]
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,

    /// Made-up banks, none of which was trained on
    #[arg(long, default_value_t = 12)]
    banks: u64,

    /// Random minutes of each, beside those around its announced promotions
    #[arg(long, default_value_t = 150)]
    minutes: usize,
}

/// The first bank: training takes those from 0 on.
const FIRST: u64 = 1000;
/// 2025-01-01T00:00Z.
const START: Minute = 28_928_160;
/// Days of a bank.
const DAYS: usize = 90;
/// Minutes around the start of a promotion at which forecasts are made.
const AROUND: std::ops::Range<Minute> = -30..31;

/// Runs the verb.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let model = match &args.weights {
        Some(path) => {
            let bytes =
                std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            Model::from_bytes(&bytes).with_context(|| path.display().to_string())?
        }
        None => Model::builtin(Model::DEFAULT)?,
    };
    let mut domains: Vec<(String, Vec<Case>)> = Vec::new();
    for number in FIRST..FIRST + args.banks {
        let seed = Seed::of(Space::Forecaster, number);
        let (history, calendar) = generator::bank(seed, START, DAYS);
        let origins = origins(&history, &calendar, seed.child("importance"), args.minutes);
        collect(&Prepared::new(&history, &calendar), &origins, &mut domains);
    }
    let mut text = format!(
        "{}: rise of the pinball loss when an input is taken from another window, % [95 % interval]\n{:<22}",
        model.network().kind(),
        "domain (windows)"
    );
    for inputs in GROUPS {
        let _ = write!(text, "{:>24}", inputs.name);
    }
    text.push('\n');
    for (name, cases) in &domains {
        let _ = write!(text, "{:<22}", format!("{name} ({})", cases.len()));
        for inputs in GROUPS {
            let seed = Seed::of(Space::Forecaster, FIRST).child(inputs.name);
            let found = importance(&model, cases, inputs, seed)?;
            let [rise, low, high] = [found.rise, found.low, found.high].map(|it| 100.0 * it);
            let _ = write!(text, "{:>24}", format!("{rise:.1} [{low:.1}, {high:.1}]"));
        }
        text.push('\n');
    }
    text.push_str(&selected(&model, &domains)?);
    print(&text);
    Ok(ExitCode::SUCCESS)
}

/// Held-out minutes: some at random, and those around announced promotions.
fn origins(history: &History, calendar: &Calendar, seed: Seed, random: usize) -> Vec<Minute> {
    let split = Split::default();
    let span = history.end() - history.start - 1;
    let drawn = (0..50 * random as u64)
        .map(|index| history.start + (seed.draw(index).uniform() * span as f64) as Minute)
        .filter(|minute| split.of(*minute) == Some(Part::HeldOut))
        .take(random);
    let promotions = calendar.events.iter().filter(|event| event.kind == EventKind::Promotion);
    let near = promotions.flat_map(|event| AROUND.step_by(5).map(move |it| event.start + it));
    let near = near.filter(|minute| split.of(*minute) == Some(Part::HeldOut));
    drawn.chain(near).collect()
}

fn collect(prepared: &Prepared<'_>, origins: &[Minute], domains: &mut Vec<(String, Vec<Case>)>) {
    for origin in origins {
        for (index, window) in prepared.windows(*origin).into_iter().enumerate() {
            let came = HORIZONS.map(|ahead| prepared.outcome(index, *origin, ahead));
            let Ok(window) = window else { continue };
            let name = &prepared.history().series[index].name;
            if came.iter().any(|it| it.is_finite()) {
                match domains.iter_mut().find(|(known, _)| known == name) {
                    Some((_, cases)) => cases.push((window, came)),
                    None => domains.push((name.clone(), vec![(window, came)])),
                }
            }
        }
    }
}

/// Mean selection weights of a network that has them: where it looks, which proves nothing.
fn selected(model: &Model, domains: &[(String, Vec<Case>)]) -> anyhow::Result<String> {
    let windows: Vec<_> = domains
        .iter()
        .flat_map(|(_, cases)| cases.iter().step_by(40).map(|(window, _)| window))
        .collect();
    if windows.is_empty() {
        return Ok(String::new());
    }
    let Some(weights) = model.network().forward(&Batch::new(windows)?)?.attention else {
        return Ok(String::new());
    };
    let mut text = String::from("where it looks (mean selection weights, not a proof):\n");
    for (name, tensor, features) in
        [("past", weights.past, &PAST[..]), ("horizons", weights.future, &FUTURE[..])]
    {
        let means = tensor.flatten_to(1)?.mean(0)?.to_vec1::<f32>()?;
        let mut pairs: Vec<_> = features.iter().map(|it| it.name).zip(means).collect();
        pairs.sort_by(|a, b| b.1.total_cmp(&a.1));
        let shown = pairs.iter().take(6).map(|(name, weight)| format!("{name} {weight:.2}"));
        let _ = writeln!(text, "  {name}: {}", shown.collect::<Vec<_>>().join(", "));
    }
    Ok(text)
}
