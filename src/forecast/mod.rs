//! What traffic is expected: per domain, minutes ahead, with quantiles. Pure.
//!
//! [`Forecaster`] forecasts for all domains: by a learned network where it can be believed, and by the present
//! level over what is usual now, times what is usual then, where not. The latter is also what the network must beat
//! ([`Baseline::LevelTimesProfile`]).

pub mod accuracy;
mod baseline;
mod calendar;
pub mod calibration;
mod forecaster;
pub mod generator;
mod history;
mod network;
mod observed;
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
pub use observed::{LEAST_OBSERVED, observed};
pub use regime::regime;
pub use slice::{Regime, Slice};
pub use splits::{Part, Split};
pub use training::{Material, Sample, Schedule, Validation, Verdict};
pub use usual::usual;
pub use window::{
    FUTURE, Feature, HORIZONS, NoWindow, PAST, Prepared, STATIC, TOKENS, Window, features_hash,
};
