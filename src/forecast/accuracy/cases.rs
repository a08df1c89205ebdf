//! Losses window by window, for comparisons of networks on the same windows.

use crate::cluster::Forecast;
use crate::forecast::network::{Model, ModelError};
use crate::forecast::window::Window;
use crate::seed::Seed;

/// A window and what came after it, in requests per second; NaN where it is not known.
pub type Case = (Window, [f32; 3]);

/// Mean pinball loss of each window over its known outcomes, in errors of the simple forecast.
pub fn losses(model: &Model, cases: &[Case]) -> Result<Vec<f64>, ModelError> {
    let windows: Vec<&Window> = cases.iter().map(|(window, _)| window).collect();
    let answers = model.ask(&windows)?;
    let loss = |((window, came), quantiles): (&Case, [[f64; 4]; 3])| {
        let (mut sum, mut count) = (0.0, 0.0);
        for horizon in (0..3).filter(|horizon| came[*horizon].is_finite()) {
            // Announcements move the forecast, not the unit that it is judged in.
            let usual = window.anchor[horizon] - window.announced[horizon];
            let unit = f64::from(usual.exp() * window.spread[horizon]);
            for (quantile, level) in quantiles[horizon].into_iter().zip(Forecast::QUANTILES) {
                let missed = f64::from(came[horizon]) - quantile;
                sum += (level * missed).max((level - 1.0) * missed) / unit;
                count += 1.0;
            }
        }
        sum / f64::max(count, 1.0)
    };
    Ok(cases.iter().zip(answers).map(loss).collect())
}

/// How much lower the second losses are, as a part of the first, with a 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gain {
    /// The gain; negative where the second are higher.
    pub gain: f64,
    /// Lower end of its interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

const RESAMPLES: u64 = 1000;

/// Compares losses of the same windows in the order of time. The interval is a bootstrap over blocks of
/// `block` windows, because neighbours see nearly the same.
#[must_use]
pub fn gain(before: &[f64], after: &[f64], block: usize, seed: Seed) -> Gain {
    let sums = |losses: &[f64]| -> Vec<f64> {
        losses.chunks(block.max(1)).map(|block| block.iter().sum()).collect()
    };
    let (before, after) = (sums(before), sums(after));
    let count = before.len().min(after.len());
    let of = |blocks: &mut dyn Iterator<Item = usize>| {
        let (old, new) =
            blocks.fold((0.0, 0.0), |(old, new), it| (old + before[it], new + after[it]));
        1.0 - new / old
    };
    let mut gains: Vec<f64> = (0..RESAMPLES)
        .map(|number| {
            let seed = seed.nth(number);
            let draw = |index| seed.draw(index).below(count);
            of(&mut (0..count as u64).map(draw))
        })
        .collect();
    gains.sort_by(f64::total_cmp);
    let at = |part: f64| gains[(RESAMPLES as f64 * part) as usize];
    Gain { gain: of(&mut (0..count)), low: at(0.025), high: at(0.975) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gain_that_is_everywhere_has_no_interval_and_noise_has_one_around_zero() {
        let seed = Seed::root(2);
        let old: Vec<f64> = (0..700).map(|index| 1.0 + seed.draw(index).uniform()).collect();
        let better: Vec<f64> = old.iter().map(|loss| 0.9 * loss).collect();
        let found = gain(&old, &better, 10, seed);
        for value in [found.gain, found.low, found.high] {
            assert!((value - 0.1).abs() < 1e-9, "{found:?}");
        }
        let other: Vec<f64> =
            (0..700).map(|index| 1.0 + seed.draw(index + 700).uniform()).collect();
        let found = gain(&old, &other, 10, seed);
        assert!(found.low < 0.0 && found.high > 0.0, "{found:?}");
    }
}
