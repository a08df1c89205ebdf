//! What traffic is expected: per domain, minutes ahead, with quantiles. Pure.
//!
//! [`SeasonalProfile`] is the forecaster that always works, and the one that a learned one must
//! beat: the present level over what is usual now, times what is usual then.

pub mod accuracy;
mod baseline;
mod calendar;
pub mod calibration;
mod forecaster;
pub mod generator;
mod history;
mod network;
mod observed;
mod profile;
mod quantiles;
mod regime;
mod slice;
mod splits;
mod training;
mod usual;
pub mod window;

pub use baseline::Baseline;
pub use calendar::{Calendar, Event, EventKind, Flags};
pub use calibration::{Calibration, Coverage, Group, Quantiles};
pub use forecaster::{Answers, Covered, Forecaster, QuantileModel, Question, Refused, State};
pub use history::{DAY, History, Minute, Series};
pub use network::{
    Attention, Batch, Kind, Model, ModelError, ModelForecaster, Network, Output, Targets,
};
pub use observed::observed;
pub use profile::{Profile, SeasonalProfile};
pub use quantiles::ErrorQuantiles;
pub use regime::regime;
pub use slice::{Regime, Slice};
pub use splits::{Part, Split};
pub use training::{Material, Sample, Schedule, Validation, Verdict};
pub use usual::usual;
pub use window::{
    FUTURE, Feature, HORIZONS, NoWindow, PAST, Prepared, STATIC, TOKENS, Window, features_hash,
};
