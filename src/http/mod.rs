//! Turns the newest decision into the external metrics API of Kubernetes, over HTTPS.
//!
//! A request passes `server` (TLS, limits), `service` (deadline, order of the steps),
//! `authentication`, `authorization` and one handler. Handlers read memory only; the one thing
//! that a request may wait for is a review by the API server that is not remembered.

mod audit;
mod authentication;
mod authorization;
mod board;
mod decision;
mod discovery;
mod document;
mod external_metrics;
mod forecasts;
mod identity;
mod negotiate;
mod openapi;
mod placement;
mod probes;
mod remembered;
mod route;
mod selector;
mod server;
mod service;
mod settings;
mod status;
mod trust;

#[cfg(test)]
mod tests;

pub use audit::TARGET as AUDIT_TARGET;
pub use external_metrics::{FORECAST_METRIC, METRIC, READ_INTERVAL_METRIC, WARM_METRIC};
pub use probes::LogLevel;
pub use route::{GROUP, VERSION};
pub use server::{Server, StartError};
pub use service::State;
pub use settings::Settings;
