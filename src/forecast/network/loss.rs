//! What training makes small.

use candle_core::{Device, Result, Tensor};

use crate::cluster::Forecast;
use crate::forecast::window::Window;

/// An outcome beyond this multiple of the simple forecast counts as this: one lost hour must not teach for
/// all the others.
const MOST_RATIO: f32 = 20.0;
/// Quantiles are kept within this logarithm of the simple forecast before the exponential.
const MOST_LOG: f64 = 3.5;

/// What came, beside a batch.
#[derive(Debug, Clone)]
pub struct Targets {
    /// Outcome over the simple forecast: windows × horizons × 1.
    ratio: Tensor,
    /// Spread of the simple forecast's errors, as above.
    spread: Tensor,
    /// 1 over the spread where the outcome is known, else 0.
    weight: Tensor,
    known: f64,
}

impl Targets {
    /// The outcome of each window and horizon in requests per second; NaN where it is not known.
    pub fn new(windows: &[Window], outcomes: &[[f32; 3]]) -> Result<Self> {
        let (mut ratio, mut spread, mut weight) = (Vec::new(), Vec::new(), Vec::new());
        for (window, outcomes) in windows.iter().zip(outcomes) {
            for (horizon, came) in outcomes.iter().enumerate() {
                let known = came.is_finite();
                let over = (came + window.floor) / window.anchor[horizon].exp();
                ratio.push(if known { over.min(MOST_RATIO) } else { 1.0 });
                spread.push(window.spread[horizon]);
                weight.push(if known { 1.0 / window.spread[horizon] } else { 0.0 });
            }
        }
        let known = weight.iter().filter(|weight| **weight > 0.0).count() as f64;
        let shape = (windows.len(), outcomes.first().map_or(0, |row| row.len()), 1);
        let tensor = |values| Tensor::from_vec(values, shape, &Device::Cpu);
        Ok(Self { ratio: tensor(ratio)?, spread: tensor(spread)?, weight: tensor(weight)?, known })
    }

    /// How many outcomes are known.
    #[must_use]
    pub const fn known(&self) -> f64 {
        self.known
    }

    /// Mean pinball loss over quantiles and known outcomes (Koenker and Bassett 1978), in requests per
    /// second over the simple forecast and its error: so a loud series counts as much as a calm one, and within a
    /// series a busy hour more than a quiet one.
    ///
    /// `quantiles`: windows × horizons × quantiles, in units of the spread.
    pub fn pinball(&self, quantiles: &Tensor) -> Result<Tensor> {
        let log = quantiles.broadcast_mul(&self.spread)?.clamp(-MOST_LOG, MOST_LOG)?;
        let missed = self.ratio.broadcast_sub(&log.exp()?)?;
        let levels = Forecast::QUANTILES.map(|level| level as f32);
        let levels = Tensor::new(&levels, &Device::Cpu)?;
        // max(level * d, (level - 1) * d) = level * d + max(-d, 0)
        let loss = (missed.broadcast_mul(&levels)? + missed.neg()?.relu()?)?;
        let count = self.known.max(1.0) * levels.elem_count() as f64;
        loss.broadcast_mul(&self.weight)?.sum_all()? / count
    }
}
