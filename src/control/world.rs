//! Where snapshots come from: the watched objects joined with what Prometheus says.

use std::future::Future;
use std::time::Duration;

use tracing::info;

use super::Forecasting;
use crate::clock;
use crate::cluster::{Snapshot, Timestamp};
use crate::kubernetes::Watches;
use crate::telemetry::Telemetry;

/// Somewhere to take snapshots of.
pub trait World: Send {
    /// The time there.
    fn now(&self) -> Timestamp;

    /// The world now, or `None` while it is not known yet.
    fn snapshot(&mut self) -> impl Future<Output = Option<Snapshot>> + Send;
}

/// A real cluster.
#[derive(Debug)]
pub struct LiveWorld {
    watches: Watches,
    telemetry: Telemetry,
    forecasting: Option<Forecasting>,
    awaited: Option<String>,
}

impl LiveWorld {
    /// Joins watched objects with telemetry, and with what is expected where somebody forecasts.
    #[must_use]
    pub fn new(watches: Watches, telemetry: Telemetry, forecasting: Option<Forecasting>) -> Self {
        Self { watches, telemetry, forecasting, awaited: None }
    }
}

/// How long one look at the world may take before it is given up: far below the age limit of a
/// decision, well above the time-out of one query.
const LOOK_LIMIT: Duration = Duration::from_secs(8);

impl World for LiveWorld {
    fn now(&self) -> Timestamp {
        clock::now()
    }

    async fn snapshot(&mut self) -> Option<Snapshot> {
        if let Some(missing) = self.watches.missing() {
            if self.awaited.as_ref() != Some(&missing) {
                info!(%missing, "Waiting for the API server");
                self.awaited = Some(missing);
            }
            return None;
        }
        let mut snapshot = self.watches.snapshot(clock::now());
        let collected = self.telemetry.collect(&mut snapshot, clock::now());
        // A look cut short leaves the signals as they are; their ages tell.
        let _ = tokio::time::timeout(LOOK_LIMIT, collected).await;
        if let Some(forecasting) = &mut self.forecasting {
            forecasting.look(&mut snapshot);
        }
        Some(snapshot)
    }
}
