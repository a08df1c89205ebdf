//! The words: plain data that describes a cluster, live or simulated. Pure; knows nothing else
//! of this crate.

mod amount;
mod app;
mod domain;
mod forecast;
mod per_app;
pub mod quantity;
mod signal;
mod snapshot;
mod time;

pub use amount::Amount;
pub use app::{App, AppId, AppState, METRIC, Refusal};
pub use domain::{
    BudgetByHand, Call, Class, DEFAULT_DOMAIN, Declaration, Domain, LoanLimit, Mode, PolicyChoice,
    Slo, UnknownName,
};
pub use forecast::{Forecast, ForecastSource, Outlook};
pub use per_app::PerApp;
pub use signal::{Fault, Freshness, Reading, Signal, SignalKind, Signals};
pub use snapshot::{Catalog, Pool, Snapshot};
pub use time::Timestamp;
