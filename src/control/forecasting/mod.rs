//! Forecasts beside the loop: a task learns from every snapshot and forecasts once a minute; the loop
//! takes what is there. Nothing here can hold up a decision or a read: the task is told through a bounded
//! queue, and the network runs on a thread of its own that may be late, or panic.

mod task;

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::cluster::{Class, Outlook, Snapshot, Timestamp};
use crate::forecast::{Calendar, History, Kind, Minute, QuantileModel, observed};
use crate::instruments::Instruments;
use crate::supervision::Supervisor;

/// How forecasts are made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Settings {
    /// Whether traffic is forecast at all.
    pub enabled: bool,
    /// Which of the built-in networks forecasts: `mixer` or `tft`; `none` for the seasonal profile.
    pub network: Choice,
    /// Weights to use instead (safetensors, by `hirl train forecaster`).
    pub weights_file: Option<PathBuf>,
    /// Days and events that are known in advance. Without it every day is like any other.
    pub calendar_file: Option<PathBuf>,
    /// Where calibration is kept over a restart. Without it each start learns it anew.
    pub state_file: Option<PathBuf>,
    /// How long the network may take, in seconds; then its stand-in forecasts.
    pub limit_seconds: f64,
    /// How much of the past is asked of Prometheus at the start, in days; 0 for nothing.
    pub import_days: u32,
}

/// Who forecasts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Choice {
    /// The default network.
    #[default]
    Mixer,
    /// The Temporal Fusion Transformer.
    Tft,
    /// No network.
    None,
}

impl Choice {
    /// The network, if it is one.
    #[must_use]
    pub const fn kind(self) -> Option<Kind> {
        match self {
            Self::Mixer => Some(Kind::Mixer),
            Self::Tft => Some(Kind::Tft),
            Self::None => None,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            enabled: true,
            network: Choice::default(),
            weights_file: None,
            calendar_file: None,
            state_file: None,
            limit_seconds: 10.0,
            import_days: 8,
        }
    }
}

impl Settings {
    /// One sentence that says what is wrong, if anything is.
    pub fn validate(&self) -> Result<(), String> {
        if !(0.1..=50.0).contains(&self.limit_seconds) {
            let given = self.limit_seconds;
            return Err(format!("forecast.limitSeconds must be 0.1 to 50, not {given}"));
        }
        if self.import_days > 8 {
            let given = self.import_days;
            return Err(format!("forecast.importDays must be 0 to 8, not {given}"));
        }
        Ok(())
    }
}

/// Which past is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Name, class and namespaces (sorted) of each domain.
    pub domains: Vec<(String, Class, Vec<Arc<str>>)>,
    /// The first minute.
    pub start: Minute,
    /// The minute after the last.
    pub end: Minute,
}

/// What becomes of a request for the past: a history, or a sentence that says why there is none.
pub type Imported = Pin<Box<dyn Future<Output = Result<History, String>> + Send>>;

/// Asks somebody for the past.
pub type Import = Box<dyn Fn(Span) -> Imported + Send + Sync>;

/// What the task is made of.
pub struct Parts {
    /// How forecasts are made.
    pub settings: Settings,
    /// What is known of the future.
    pub calendar: Calendar,
    /// The network.
    pub model: Option<Arc<dyn QuantileModel>>,
    /// Where the past is; `None` where nobody keeps it.
    pub import: Option<Import>,
    /// Our metrics.
    pub instruments: Arc<Instruments>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Parts").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// What a snapshot shows to the task.
#[derive(Debug)]
struct Seen {
    at: Timestamp,
    domains: Vec<(String, Class)>,
    namespaces: Vec<Vec<Arc<str>>>,
    rps: Vec<Option<(Timestamp, f64)>>,
}

/// The newest outlooks, by the name of the domain. Empty before the first.
type Newest = Arc<Vec<(String, Outlook)>>;

/// Snapshots that may wait for the task: what comes beyond is left out, and the next one follows soon.
const QUEUE: usize = 64;

/// The loop's side.
#[derive(Debug)]
pub struct Forecasting {
    seen: mpsc::Sender<Seen>,
    newest: watch::Receiver<Newest>,
}

impl Forecasting {
    /// Starts the task under `supervisor`; it ends with `stop`, after it has kept its state.
    #[must_use]
    pub fn start(parts: Parts, supervisor: &Supervisor, stop: CancellationToken) -> Self {
        let (seen, queue) = mpsc::channel(QUEUE);
        let (sender, newest) = watch::channel(Newest::default());
        supervisor.spawn("the forecaster", task::run(parts, queue, sender, stop));
        Self { seen, newest }
    }

    /// Shows a snapshot to the task, and puts the newest forecasts into it. Waits for nothing.
    pub fn look(&mut self, snapshot: &mut Snapshot) {
        let catalog = &snapshot.catalog;
        let mut namespaces = vec![Vec::new(); catalog.domains.len()];
        for app in &catalog.apps {
            // Apps are sorted by id, so each namespace comes in one run.
            let known: &mut Vec<Arc<str>> = &mut namespaces[app.domain];
            if known.last() != Some(&app.id.namespace) {
                known.push(Arc::clone(&app.id.namespace));
            }
        }
        let domains = catalog.domains.iter();
        let seen = Seen {
            at: snapshot.at,
            domains: domains.map(|domain| (domain.name.clone(), domain.class)).collect(),
            namespaces,
            rps: observed(snapshot),
        };
        // A queue that is full belongs to a task that has enough to do.
        let _ = self.seen.try_send(seen);
        let newest = Arc::clone(&self.newest.borrow_and_update());
        if newest.is_empty() {
            return;
        }
        let of = |name: &str| {
            let known = newest.iter().find(|(known, _)| known == name);
            known.map(|(_, outlook)| outlook.clone()).unwrap_or_default()
        };
        snapshot.forecasts = catalog.domains.iter().map(|domain| of(&domain.name)).collect();
    }
}

#[cfg(test)]
mod tests;
