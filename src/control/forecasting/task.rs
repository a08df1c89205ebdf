//! The task: learn, forecast once a minute, keep the state.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Imported, Newest, Parts, Seen, Span};
use crate::cluster::{Forecast, ForecastSource, Outlook, Timestamp};
use crate::files;
use crate::forecast::{Answers, Forecaster, History, Minute, Question, Refused, State};
use crate::instruments::CoverageLabel;

/// Minutes between two writes of the state.
const KEEP_EVERY: Minute = 5;

/// A hole of so many minutes in what was seen is filled from where the past is kept: this replica has just
/// started, or has followed another.
const HOLE: Minute = 3;

/// How long an import may take.
const IMPORT_LIMIT: Duration = Duration::from_mins(2);

/// How long the first forecast waits for the past.
const FIRST_WAIT: Duration = Duration::from_secs(20);

/// Minutes before an import that failed is tried again.
const IMPORT_AGAIN: Minute = 5;

type Answer = Vec<Result<crate::forecast::Quantiles, Refused>>;

struct Task {
    parts: Parts,
    forecaster: Forecaster,
    newest: watch::Sender<Newest>,
    /// The minute that was forecast in last, seen last, imported last and kept last.
    forecast_in: Option<Minute>,
    seen_in: Option<Minute>,
    import_in: Option<Minute>,
    kept_in: Option<Minute>,
    /// The network, while it has not answered.
    asked: Option<oneshot::Receiver<Answer>>,
    /// Sources in use, so that a change is logged once.
    sources: Vec<(String, ForecastSource)>,
}

fn minute_of(at: Timestamp) -> Minute {
    at.as_millis().div_euclid(60_000)
}

/// Runs until `stop`.
pub(super) async fn run(
    parts: Parts,
    mut queue: mpsc::Receiver<Seen>,
    newest: watch::Sender<Newest>,
    stop: CancellationToken,
) {
    let mut forecaster = Forecaster::new(&[], parts.calendar.clone(), parts.model.clone());
    if let Some(path) = &parts.settings.state_file {
        match load(path).await {
            Ok(Some(state)) => forecaster.restore(state),
            Ok(None) => info!(path = %path.display(), "No calibration of forecasts is kept yet"),
            Err(error) => {
                warn!(error, "The calibration of forecasts cannot be read and is learned anew");
            }
        }
    }
    let mut task = Task {
        parts,
        forecaster,
        newest,
        forecast_in: None,
        seen_in: None,
        import_in: None,
        kept_in: None,
        asked: None,
        sources: Vec::new(),
    };
    let mut import: Option<Imported> = None;
    loop {
        let seen = tokio::select! {
            () = stop.cancelled() => break,
            seen = queue.recv() => seen,
            done = pending(&mut import) => {
                import = None;
                task.take_in(done);
                continue;
            }
        };
        let Some(seen) = seen else { break };
        if let Some(wanted) = task.see(&seen)
            && import.is_none()
        {
            import = task.import(wanted);
            if task.forecast_in.is_none()
                && let Ok(done) = tokio::time::timeout(FIRST_WAIT, pending(&mut import)).await
            {
                import = None;
                task.take_in(done);
            }
        }
        if task.forecast_in.is_none_or(|last| minute_of(seen.at) != last) {
            task.forecast(seen.at).await;
            task.keep(minute_of(seen.at), false).await;
        }
    }
    task.keep(0, true).await;
}

/// What becomes of an import; never, without one.
async fn pending(import: &mut Option<Imported>) -> Result<History, String> {
    match import {
        Some(import) => import.await,
        None => std::future::pending().await,
    }
}

impl Task {
    /// Learns from a snapshot. Gives the past that is missing, if it is.
    fn see(&mut self, seen: &Seen) -> Option<Span> {
        self.forecaster.align(&seen.domains);
        self.forecaster.observe(seen.at, &seen.rps);
        let now = minute_of(seen.at);
        let hole = self.seen_in.is_none_or(|last| now - last >= HOLE);
        self.seen_in = Some(now);
        let again = self.import_in.is_some_and(|last| now - last >= IMPORT_AGAIN);
        let days = i64::from(self.parts.settings.import_days);
        if days == 0 || self.parts.import.is_none() || !(hole || again) {
            return None;
        }
        self.import_in = Some(now);
        let named = seen.domains.iter().zip(&seen.namespaces);
        Some(Span {
            domains: named
                .filter(|(_, namespaces)| !namespaces.is_empty())
                .map(|((name, class), namespaces)| (name.clone(), *class, namespaces.clone()))
                .collect(),
            start: now - days * crate::forecast::DAY as Minute,
            end: now,
        })
    }

    fn import(&self, wanted: Span) -> Option<Imported> {
        let asked = (self.parts.import.as_ref()?)(wanted);
        Some(Box::pin(async move {
            let late = |_| format!("no answer within {} s", IMPORT_LIMIT.as_secs());
            tokio::time::timeout(IMPORT_LIMIT, asked).await.map_err(late)?
        }))
    }

    fn take_in(&mut self, imported: Result<History, String>) {
        match imported {
            Ok(history) => {
                info!(minutes = history.minutes(), "The traffic of the past is known");
                self.forecaster.seed_history(&history);
                self.import_in = None;
            }
            Err(error) => {
                warn!(
                    error,
                    "The traffic of the past cannot be had: forecasts grow better with time"
                );
            }
        }
    }

    async fn forecast(&mut self, now: Timestamp) {
        self.forecast_in = Some(minute_of(now));
        let started = Instant::now();
        let answers = match self.forecaster.question(now) {
            Some(question) => Some(self.ask(question).await),
            None => None,
        };
        let outlooks = self.forecaster.conclude(now, answers.as_ref());
        let instruments = &self.parts.instruments;
        instruments.forecast_duration.observe(started.elapsed().as_secs_f64());
        let series = &self.forecaster.history().series;
        let named: Vec<(String, Outlook)> =
            series.iter().map(|series| series.name.clone()).zip(outlooks).collect();
        self.note(&named);
        self.export(&named);
        self.newest.send_replace(Arc::new(named));
    }

    /// Asks the network on a thread of its own, and waits for it for a while.
    async fn ask(&mut self, question: Question) -> Answers {
        if let Some(asked) = &mut self.asked {
            // Still at work on an earlier minute: a second one would only make it slower.
            if matches!(asked.try_recv(), Err(oneshot::error::TryRecvError::Empty)) {
                return Err(Refused("it has not answered an earlier question yet".to_owned()));
            }
        }
        let (answer, mut asked) = oneshot::channel();
        // Not among the runtime's threads: one that never ends would hold up the end of the process.
        let work = move || {
            let _ = answer.send(question.ask());
        };
        self.asked = None;
        if let Err(error) = std::thread::Builder::new().name("forecast".to_owned()).spawn(work) {
            return Err(Refused(format!("there is no thread for it: {error}")));
        }
        let limit = self.parts.settings.limit_seconds;
        match tokio::time::timeout(Duration::from_secs_f64(limit), &mut asked).await {
            Ok(Ok(answers)) => Ok(answers),
            Ok(Err(_)) => Err(Refused("it broke off".to_owned())),
            Err(_) => {
                self.asked = Some(asked);
                Err(Refused(format!("it did not answer within {limit} s")))
            }
        }
    }

    /// Logs who forecasts, when that changes.
    fn note(&mut self, named: &[(String, Outlook)]) {
        for (domain, outlook) in named {
            let before = self.sources.iter().find(|(name, _)| name == domain);
            if before.is_none_or(|(_, source)| *source != outlook.source) {
                let why = outlook.why.as_deref().unwrap_or_default();
                info!(domain, source = %outlook.source, why, "Forecasts come from here");
            }
        }
        self.sources = named.iter().map(|(name, it)| (name.clone(), it.source)).collect();
    }

    fn export(&self, named: &[(String, Outlook)]) {
        let gauge = &self.parts.instruments.forecast_coverage;
        // A source that stepped down must not leave its shares behind.
        gauge.clear();
        for (index, (domain, _)) in named.iter().enumerate() {
            for covered in self.forecaster.covered(index) {
                let label = CoverageLabel {
                    domain: domain.clone(),
                    slice: covered.group.map_or_else(|| "all".to_owned(), |it| it.to_string()),
                    quantile: Forecast::QUANTILE_NAMES[covered.quantile],
                };
                gauge.get_or_create(&label).set(covered.share);
            }
        }
    }

    /// Keeps what was learned, every few minutes, or `at_once`.
    async fn keep(&mut self, minute: Minute, at_once: bool) {
        let Some(path) = &self.parts.settings.state_file else { return };
        let due = self.kept_in.is_none_or(|last| (minute - last).abs() >= KEEP_EVERY);
        if !(due || at_once) || self.sources.is_empty() {
            return;
        }
        self.kept_in = Some(minute);
        if let Err(error) = store(path, &self.forecaster.state()).await {
            warn!(error, "The calibration of forecasts cannot be kept");
        }
    }
}

/// The state in a file; `None` without one.
pub(super) async fn load(path: &Path) -> Result<Option<State>, String> {
    let place = path.display();
    match tokio::fs::read(path).await {
        Ok(text) => serde_json::from_slice(&text)
            .map(Some)
            .map_err(|error| format!("{place} does not hold what we wrote: {error}")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("reading {place}: {error}")),
    }
}

/// Writes the state: a crash leaves the old one or the new one.
pub(super) async fn store(path: &Path, state: &State) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("writing {}: {error}", path.display());
    let text = serde_json::to_vec(state).map_err(|error| failed(error.into()))?;
    let file = path.to_owned();
    // A disk may be slow, and this is one of the runtime's threads.
    let written = tokio::task::spawn_blocking(move || files::write(&file, &text)).await;
    written.unwrap_or_else(|error| Err(error.into())).map_err(failed)
}
