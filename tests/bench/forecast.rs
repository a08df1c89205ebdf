//! The networks of the forecaster: what a minute's forecasts cost.

use std::time::Instant;

use anyhow::Result;
use hirl_scale::forecast::window::{FUTURE, PAST, Prepared, STATIC, TOKENS, Window};
use hirl_scale::forecast::{
    Batch, Calendar, DAY, HORIZONS, History, Kind, Minute, Model, QuantileModel as _, generator,
};
use hirl_scale::seed::{Seed, Space};
use serde_json::json;

use crate::report::{Report, quantile};

/// Passes that are timed.
const PASSES: usize = 60;
/// Days of history, as `serve` keeps them.
const DAYS: usize = 9;

/// Times windows and networks for 5 and for 16 domains, on one thread when `RAYON_NUM_THREADS=1`.
pub(crate) fn run(report: &mut Report) -> Result<()> {
    report.title(
        "Forecast of one minute, all domains: windows from 9 days of history, then the network",
    );
    for domains in [5, 16] {
        let (history, calendar) = history(domains);
        for kind in Kind::ALL {
            let model = Model::builtin(kind)?;
            let (mut windows, mut all) = (Vec::new(), Vec::new());
            for pass in 0..PASSES {
                let origin = history.end() - 1 - pass as Minute;
                let seen = cut(&history, origin);
                let begun = Instant::now();
                let made = Prepared::new(&seen, &calendar).windows(origin);
                windows.push(begun.elapsed().as_secs_f64() * 1e3);
                anyhow::ensure!(made.len() == domains, "a domain has no window");
                let begun = Instant::now();
                let answers = model.quantiles(&seen, &calendar, origin);
                all.push(begun.elapsed().as_secs_f64() * 1e3);
                anyhow::ensure!(answers.iter().all(Result::is_ok), "a domain has no forecast");
            }
            windows.sort_by(f64::total_cmp);
            all.sort_by(f64::total_cmp);
            alone(report, &model, domains)?;
            let goal = if domains == 5 { "<= 30" } else { "<= 100" };
            let name = |what: &str| format!("{kind}, {domains} domains, {what}");
            report.figure(&name("windows p50"), quantile(&windows, 0.5), "ms", None)?;
            report.figure(&name("all p50"), quantile(&all, 0.5), "ms", Some(goal))?;
            report.figure(&name("all p99"), quantile(&all, 0.99), "ms", Some(goal))?;
        }
    }
    Ok(())
}

/// The network without its windows, on inputs that `onnxruntime_peer.py` makes as well.
fn alone(report: &mut Report, model: &Model, windows: usize) -> Result<()> {
    let window = |index: usize| Window {
        past: wave(index, TOKENS * PAST.len()),
        future: wave(index, HORIZONS.len() * FUTURE.len()),
        statics: wave(index, STATIC.len()),
        anchor: [0.0; 3],
        announced: [0.0; 3],
        spread: [1.0; 3],
        floor: 0.0,
    };
    let windows: Vec<Window> = (0..windows).map(window).collect();
    let batch = Batch::new(&windows)?;
    let mut times = Vec::new();
    let mut answers = Vec::new();
    for _ in 0..400 {
        let begun = Instant::now();
        answers = model.network().forward(&batch)?.quantiles.flatten_all()?.to_vec1::<f32>()?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    let (kind, windows) = (model.network().kind(), windows.len());
    let name = |what: &str| format!("{kind}, {windows} domains, network alone {what}");
    report.figure(&name("p50"), quantile(&times, 0.5), "ms", None)?;
    report.figure(&name("p99"), quantile(&times, 0.99), "ms", None)?;
    if kind == Model::DEFAULT {
        report.record(&json!({"windows": windows, "answers": answers}))?;
    }
    Ok(())
}

/// Part `index` of a sine.
fn wave(index: usize, count: usize) -> Vec<f32> {
    (index * count..(index + 1) * count).map(|it| (0.5 * (0.1 * it as f64).sin()) as f32).collect()
}

fn history(domains: usize) -> (History, Calendar) {
    let start = 28_928_160;
    let (mut history, calendar) = generator::bank(Seed::of(Space::Forecaster, 1000), start, DAYS);
    let mut number = 1001;
    while history.series.len() < domains {
        let (more, _) = generator::bank(Seed::of(Space::Forecaster, number), start, DAYS);
        history.series.extend(more.series);
        number += 1;
    }
    history.series.truncate(domains);
    for series in &mut history.series {
        // A gap at the end would be refused, and cost nothing.
        series.rps.iter_mut().filter(|rps| rps.is_nan()).for_each(|rps| *rps = 1.0);
    }
    (history, calendar)
}

fn cut(history: &History, origin: Minute) -> History {
    let mut cut = history.clone();
    for series in &mut cut.series {
        series.rps.truncate((origin + 1 - history.start) as usize);
    }
    debug_assert!(cut.minutes() > 2 * DAY);
    cut
}
