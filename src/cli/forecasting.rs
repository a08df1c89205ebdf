//! The edges of `hirl serve`'s forecasts: weights, calendar, and where the past is.

use std::sync::Arc;

use crate::config::Config;
use crate::control::forecasting::Parts;
use crate::forecast::Calendar;
use crate::instruments::Instruments;

/// What the forecasting task is made of.
pub(super) fn parts(config: &Config, instruments: &Arc<Instruments>) -> anyhow::Result<Parts> {
    let settings = config.forecast.clone();
    // The reader of weights and that of the calendar belong to rooms that are not merged yet.
    if settings.weights_file.is_some() {
        tracing::warn!("forecast.weightsFile is not read yet: the seasonal profile forecasts");
    }
    if settings.calendar_file.is_some() {
        tracing::warn!("forecast.calendarFile is not read yet: every day is like any other");
    }
    Ok(Parts {
        settings,
        calendar: Calendar::default(),
        model: None,
        import: None,
        instruments: Arc::clone(instruments),
    })
}
