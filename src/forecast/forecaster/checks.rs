//! What a learned network may be asked about, and what it may answer.

use crate::cluster::Forecast;
use crate::forecast::calibration::Quantiles;
use crate::forecast::history::DAY;

/// Less history than this is no ground for a learned forecast, in minutes.
const LEAST_HISTORY: usize = 2 * DAY;

/// Share of the last day, and of the last hour, that must be known.
const KNOWN_OF_DAY: f64 = 0.75;
const KNOWN_OF_HOUR: f64 = 0.5;

/// p90 and p10 closer together than this share of p90 are one number: a forecast that knows no doubt.
const LEAST_WIDTH: f64 = 1e-6;

/// Why a series that ends with the origin is no input for the model, if so.
pub(super) fn input(rps: &[f32]) -> Result<(), String> {
    let first = rps.iter().position(|value| value.is_finite()).unwrap_or(rps.len());
    let minutes = rps.len() - first;
    if minutes < LEAST_HISTORY {
        let (hours, wanted) = (minutes as f64 / 60.0, LEAST_HISTORY / 60);
        return Err(format!("only {hours:.1} h of history are known, it needs {wanted}"));
    }
    for (span, wanted, name) in [(DAY, KNOWN_OF_DAY, "day"), (60, KNOWN_OF_HOUR, "hour")] {
        let last = &rps[rps.len() - span..];
        let known = last.iter().filter(|value| value.is_finite()).count() as f64 / span as f64;
        if known < wanted {
            let missing = (1.0 - known) * 100.0;
            return Err(format!("{missing:.0} % of the last {name}'s traffic is not known"));
        }
    }
    Ok(())
}

/// Why an answer of the model is not to be used, if so.
pub(super) fn output(quantiles: &Quantiles) -> Result<(), String> {
    for (horizon, quantiles) in Forecast::HORIZON_NAMES.into_iter().zip(quantiles) {
        let [low, .., high] = *quantiles;
        if !quantiles.iter().all(|value| value.is_finite()) {
            return Err(format!("its quantiles {horizon} ahead are not numbers"));
        }
        if !quantiles.is_sorted() {
            return Err(format!("its quantiles {horizon} ahead do not rise"));
        }
        if low < 0.0 {
            return Err(format!("it expects less than no traffic {horizon} ahead"));
        }
        if high - low <= LEAST_WIDTH * high {
            return Err(format!("its quantiles {horizon} ahead have collapsed into one number"));
        }
    }
    Ok(())
}
