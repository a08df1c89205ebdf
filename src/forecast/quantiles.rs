//! Quantiles of a forecaster's own relative errors, learned online.

use crate::cluster::Forecast;

/// Quantiles of the standard normal distribution at [`Forecast::QUANTILES`].
const NORMAL: [f64; Forecast::QUANTILES.len()] = [-1.2816, 0.0, 0.8416, 1.2816];

/// Relative error before anything was seen: the median over 109 real series of this forecaster
/// 15 min ahead (`learning.md` 2.2).
const FIRST_SPREAD: f64 = 0.05;

/// Step of the quantiles per score, in spreads, and part of the newest score in the spread. Scores
/// of forecasts whose horizons overlap come in crowds, so both are small (`learning.md` 2.4).
const STEP: f64 = 0.02;

/// Below this relative error there is nothing to learn.
const LEAST_SPREAD: f64 = 1e-3;

/// Online quantile tracking of scores `s = (what came - forecast) / forecast`: the step
/// `q += step * spread * (1{s > q} - (1 - tau))` keeps the long-run share of scores below `q` at
/// `tau` whatever the sequence (Angelopoulos et al. 2023, "Conformal PID control", the P part;
/// `learning.md` 2.4).
#[derive(Debug, Clone, PartialEq)]
pub struct ErrorQuantiles {
    spread: f64,
    quantiles: [f64; Forecast::QUANTILES.len()],
}

impl Default for ErrorQuantiles {
    fn default() -> Self {
        Self { spread: FIRST_SPREAD, quantiles: NORMAL.map(|quantile| quantile * FIRST_SPREAD) }
    }
}

impl ErrorQuantiles {
    /// Learns from a forecast that was made earlier and what came. Without a forecast above 0
    /// there is no relative error.
    pub fn learn(&mut self, forecast: f64, came: f64) {
        let score = (came - forecast) / forecast;
        if forecast <= 0.0 || !score.is_finite() {
            return;
        }
        self.spread = (self.spread + STEP * (score.abs() - self.spread)).max(LEAST_SPREAD);
        for (quantile, level) in self.quantiles.iter_mut().zip(Forecast::QUANTILES) {
            let above = f64::from(u8::from(score > *quantile));
            *quantile += STEP * self.spread * (above - (1.0 - level));
        }
    }

    /// The quantiles around a forecast: rising, and never negative.
    #[must_use]
    pub fn around(&self, forecast: f64) -> [f64; Forecast::QUANTILES.len()] {
        let mut least = 0.0;
        self.quantiles.map(|quantile| {
            least = f64::max(least, forecast * (1.0 + quantile));
            least
        })
    }
}
