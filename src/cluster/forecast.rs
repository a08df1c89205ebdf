//! Traffic that is expected of a domain.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Timestamp;

/// What is expected of one domain, in requests per second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// When it was made.
    pub at: Timestamp,
    /// Traffic at that time, smoothed.
    pub level: f64,
    /// Quantiles ([`Self::QUANTILES`], rising) per horizon ([`Self::HORIZONS`]).
    pub ahead: [[f64; Forecast::QUANTILES.len()]; Forecast::HORIZONS.len()],
}

/// Where a forecast comes from, best first.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum ForecastSource {
    /// The learned network.
    Model,
    /// The present level times what is usual then.
    SeasonalProfile,
    /// The present level, smoothed.
    Smoothing,
    /// Nowhere: there is none.
    #[default]
    None,
}

impl ForecastSource {
    /// Every source, best first.
    pub const ALL: [Self; 4] = [Self::Model, Self::SeasonalProfile, Self::Smoothing, Self::None];

    /// The name in logs and metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::SeasonalProfile => "seasonal_profile",
            Self::Smoothing => "smoothing",
            Self::None => "none",
        }
    }

    /// The name as the reason of a condition.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Model => "Model",
            Self::SeasonalProfile => "SeasonalProfile",
            Self::Smoothing => "Smoothing",
            Self::None => "None",
        }
    }
}

impl fmt::Display for ForecastSource {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// What is known of one domain's future, and from where.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Outlook {
    /// What is expected; `None` exactly when `source` is [`ForecastSource::None`].
    pub forecast: Option<Forecast>,
    /// Who says so.
    pub source: ForecastSource,
    /// Why no better source that is configured says it, in one sentence; `None` when the best does.
    pub why: Option<String>,
}

impl Outlook {
    /// The forecast, unless it is too old to be used at `now`.
    #[must_use]
    pub fn fresh(&self, now: Timestamp) -> Option<Forecast> {
        self.forecast.filter(|it| now.seconds_since(it.at).abs() <= Forecast::MAX_AGE)
    }
}

impl Forecast {
    /// How far ahead it looks, in seconds: 5, 15 and 30 min (`system.md` 2.3).
    pub const HORIZONS: [f64; 3] = [300.0, 900.0, 1800.0];

    /// Which quantiles it gives: p10, p50, p80, p90.
    pub const QUANTILES: [f64; 4] = [0.1, 0.5, 0.8, 0.9];

    /// A forecast older than this is not used, in seconds: three of its periods.
    pub const MAX_AGE: f64 = 180.0;

    /// The names of [`Self::HORIZONS`] in metric labels.
    pub const HORIZON_NAMES: [&str; 3] = ["5m", "15m", "30m"];

    /// The names of [`Self::QUANTILES`] in metric labels.
    pub const QUANTILE_NAMES: [&str; 4] = ["p10", "p50", "p80", "p90"];

    /// The highest value of a quantile (its place in [`Self::QUANTILES`]) from its making to `lead_seconds`
    /// later, over the level: above 1 where traffic is expected to grow, never below. Lines join the
    /// horizons. `None` without a level, or such a quantile.
    #[must_use]
    pub fn growth(&self, lead_seconds: f64, quantile: usize) -> Option<f64> {
        let mut peak = self.level;
        let (mut before, mut from) = (0.0, self.level);
        for (horizon, quantiles) in Self::HORIZONS.into_iter().zip(self.ahead) {
            let expected = *quantiles.get(quantile)?;
            if before >= lead_seconds {
                break;
            }
            let part = ((lead_seconds - before) / (horizon - before)).min(1.0);
            peak = peak.max(from + (expected - from) * part);
            (before, from) = (horizon, expected);
        }
        let growth = peak / self.level;
        (self.level > 0.0 && growth.is_finite()).then_some(growth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_that_of_the_highest_quantile_within_the_lead() {
        let quantiles = |p80| [1.0, 2.0, p80, 500.0];
        let forecast = Forecast {
            at: Timestamp::default(),
            level: 100.0,
            ahead: [quantiles(200.0), quantiles(140.0), quantiles(260.0)],
        };
        for (lead, expected) in
            [(0.0, 1.0), (150.0, 1.5), (300.0, 2.0), (900.0, 2.0), (1800.0, 2.6), (9e9, 2.6)]
        {
            assert_eq!(forecast.growth(lead, 2), Some(expected), "{lead} s");
        }
        let falling = Forecast { ahead: [quantiles(50.0); 3], ..forecast };
        assert_eq!(falling.growth(900.0, 2), Some(1.0));
        assert_eq!(forecast.growth(900.0, 1), Some(1.0), "the median does not grow");
        assert_eq!(forecast.growth(900.0, 4), None);
        assert_eq!(Forecast { level: 0.0, ..forecast }.growth(900.0, 2), None);
        assert_eq!(Forecast { level: f64::NAN, ..forecast }.growth(900.0, 2), None);
    }
}
