//! Turns Prometheus into the [`Signals`](crate::cluster::Signals) of every app: one query per
//! domain and signal, never one per app. Never fails as a whole, never takes an unknown value for
//! zero, and never lets a source that hangs hold up a pass for longer than twice the timeout.
//!
//! A workload is known by its namespace and name alone: a `Deployment` and a `StatefulSet` of the
//! same name in one namespace share what is measured.

pub mod answer;
mod breaker;
mod connection;
pub mod matrix;
mod prometheus;
pub mod queries;
pub mod screening;
mod settings;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;

use crate::cluster::{Catalog, Fault, PerApp, SignalKind, Snapshot, Timestamp};
use crate::instruments::{FaultLabel, Instruments, OutcomeLabel, SignalLabel};

use self::answer::Answer;
use self::breaker::Breaker;
use self::screening::{Limits, Newest, Track};

pub use self::connection::ConnectionError;
pub use self::prometheus::{Prometheus, QueryError, Reply};
pub use self::settings::{BreakerSettings, Maxima, Preset, Queries, Query, Settings, Windows};

/// Why there can be no telemetry at all.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The settings contradict themselves.
    #[error("{0}")]
    Settings(String),
    /// The connection cannot be set up.
    #[error("cannot prepare the connection to Prometheus: {0}")]
    Connection(#[from] ConnectionError),
}

/// The signals of one app over time.
#[derive(Debug, Default)]
struct Tracks {
    /// Kind and name of the scale target that they were measured on.
    target: (Arc<str>, Arc<str>),
    /// In the order of [`SignalKind::ALL`].
    signals: [Track; SignalKind::ALL.len()],
}

/// The order of asking: what the fallback needs first, and last the histograms, which cost most and
/// must not use up the time of the others.
const ASKED: [SignalKind; SignalKind::ALL.len()] =
    [SignalKind::Cpu, SignalKind::Rps, SignalKind::ErrorRatio, SignalKind::Memory, SignalKind::P99];

/// One query of every pass.
#[derive(Debug)]
struct Planned {
    /// Index into [`Catalog::domains`].
    domain: usize,
    kind: SignalKind,
    promql: Arc<str>,
    label: SignalLabel,
    /// Why the newest answer could not be used, so that each reason is logged once.
    trouble: Option<String>,
}

/// What came of one query; `None` while the source is known not to answer.
type Outcome = Option<Result<Reply, QueryError>>;

/// The signals of every app over time.
#[derive(Debug)]
pub struct Telemetry {
    settings: Settings,
    instruments: Arc<Instruments>,
    prometheus: Prometheus,
    breaker: Breaker,
    catalog: Arc<Catalog>,
    tracks: PerApp<Tracks>,
    /// Indices of the apps of each domain.
    members: Vec<Vec<usize>>,
    /// In the order of [`SignalKind::ALL`], so that requests are known when latency is judged.
    plan: Vec<Planned>,
    reachable: bool,
    skewed: bool,
}

impl Telemetry {
    /// Checks `settings` and reads the files they name. Does not wait for Prometheus.
    pub fn new(settings: Settings, instruments: Arc<Instruments>) -> Result<Self, TelemetryError> {
        settings.validate().map_err(TelemetryError::Settings)?;
        Ok(Self {
            prometheus: Prometheus::new(&settings)?,
            breaker: Breaker::new(settings.breaker.failures),
            settings,
            instruments,
            catalog: Arc::default(),
            tracks: PerApp::default(),
            members: Vec::new(),
            plan: Vec::new(),
            reachable: true,
            skewed: false,
        })
    }

    /// Fills in the signals of every app of `snapshot`. `now` is the present time by our clock.
    pub async fn collect(&mut self, snapshot: &mut Snapshot, now: Timestamp) {
        self.align(&snapshot.catalog);
        self.prometheus.refresh().await;
        let outcomes = self.ask(now).await;
        self.note_endpoint(&outcomes);
        for (index, outcome) in outcomes.into_iter().enumerate() {
            self.take_in(index, outcome, now);
        }
        let tracks = self.tracks.align(&self.catalog);
        for (state, tracks) in snapshot.apps.iter_mut().zip(tracks) {
            for (kind, track) in SignalKind::ALL.into_iter().zip(&tracks.signals) {
                state.signals[kind] = track.signal();
            }
        }
    }

    /// Takes in a changed catalog: an app that is gone is forgotten, and so is one that now scales
    /// something else.
    fn align(&mut self, catalog: &Arc<Catalog>) {
        if Arc::ptr_eq(&self.catalog, catalog) {
            return;
        }
        self.catalog = Arc::clone(catalog);
        for (tracks, app) in self.tracks.align(catalog).iter_mut().zip(&catalog.apps) {
            let target = (Arc::clone(&app.kind), Arc::clone(&app.target));
            if tracks.target != target {
                *tracks = Tracks { target, ..Tracks::default() };
            }
        }
        self.members = vec![Vec::new(); catalog.domains.len()];
        for (index, app) in catalog.apps.iter().enumerate() {
            if let Some(members) = self.members.get_mut(app.domain) {
                members.push(index);
            }
        }
        let stale = std::mem::take(&mut self.plan);
        self.plan = self.planned();
        for planned in &mut self.plan {
            let same = stale.iter().find(|old| old.label == planned.label);
            planned.trouble = same.and_then(|old| old.trouble.clone());
        }
        for gone in stale.iter().filter(|old| !self.plan.iter().any(|new| new.label == old.label)) {
            self.instruments.telemetry_age.remove(&gone.label);
        }
    }

    fn planned(&self) -> Vec<Planned> {
        let mut plan = Vec::new();
        for kind in SignalKind::ALL {
            for (domain, members) in self.members.iter().enumerate() {
                if members.is_empty() {
                    continue;
                }
                // The apps are sorted by id, so each namespace comes in one run.
                let mut namespaces: Vec<&str> =
                    members.iter().map(|&app| &*self.catalog.apps[app].id.namespace).collect();
                namespaces.dedup();
                plan.push(Planned {
                    domain,
                    kind,
                    promql: queries::render(&self.settings, kind, &namespaces).into(),
                    label: SignalLabel {
                        domain: self.catalog.domains[domain].name.clone(),
                        signal: kind.as_str(),
                    },
                    trouble: None,
                });
            }
        }
        plan
    }

    /// Asks everything, a few queries at a time. A query whose turn comes after the timeout has
    /// passed is not asked, which bounds the pass.
    async fn ask(&mut self, now: Timestamp) -> Vec<Outcome> {
        let mut outcomes: Vec<Outcome> = self.plan.iter().map(|_| None).collect();
        if !self.breaker.begin_pass() {
            return outcomes;
        }
        let began = Instant::now();
        let (breaker, prometheus, limit) =
            (&self.breaker, &self.prometheus, self.settings.timeout());
        let mut order: Vec<usize> = (0..self.plan.len()).collect();
        order.sort_by_key(|&index| ASKED.iter().position(|kind| *kind == self.plan[index].kind));
        let queries: Vec<(usize, Arc<str>)> =
            order.into_iter().map(|index| (index, Arc::clone(&self.plan[index].promql))).collect();
        let asked = queries.into_iter().map(|(index, promql)| async move {
            let waited = began.elapsed();
            if breaker.is_open() {
                return (index, None);
            }
            if waited >= limit {
                return (index, Some(Err(prometheus.timed_out())));
            }
            let result = prometheus.query(&promql, now.plus(waited)).await;
            breaker.record(!result.as_ref().is_err_and(QueryError::concerns_endpoint));
            (index, Some(result))
        });
        let mut asked = futures::stream::iter(asked).buffer_unordered(self.settings.concurrency);
        while let Some((index, outcome)) = asked.next().await {
            outcomes[index] = outcome;
        }
        drop(asked);
        let prober = self.prometheus.clone();
        let pause = Duration::from_secs_f64(self.settings.breaker.probe_seconds);
        self.breaker.end_pass(pause, move || {
            let mut prober = prober.clone();
            async move {
                prober.refresh().await;
                prober.answers().await
            }
        });
        outcomes
    }

    /// Logs when the endpoint is lost or found, and when its clock goes wrong or right.
    fn note_endpoint(&mut self, outcomes: &[Outcome]) {
        let lost = outcomes.iter().find_map(|outcome| match outcome {
            Some(Err(error)) if error.concerns_endpoint() => Some(error),
            _ => None,
        });
        let answered = outcomes.iter().any(|outcome| match outcome {
            Some(Err(error)) => !error.concerns_endpoint(),
            Some(Ok(_)) => true,
            None => false,
        });
        match lost {
            Some(error) if self.reachable => {
                self.reachable = false;
                tracing::warn!(%error, "signals keep their last good values and age");
            }
            None if answered && !self.reachable => {
                self.reachable = true;
                tracing::info!("Prometheus answers again");
            }
            _ => {}
        }
        // The greatest, so that one wrong server behind a balancer is seen.
        let skew = outcomes
            .iter()
            .filter_map(|outcome| outcome.as_ref()?.as_ref().ok()?.skew)
            .max_by(|a, b| a.abs().total_cmp(&b.abs()));
        if let Some(skew) = skew {
            self.instruments.telemetry_clock_skew.set(skew);
            let skewed = skew.abs() > self.settings.skew_warn_seconds;
            if skewed && !self.skewed {
                tracing::warn!(seconds = skew, "the clock of Prometheus differs from ours");
            } else if self.skewed && !skewed {
                tracing::info!(seconds = skew, "the clock of Prometheus agrees with ours again");
            }
            self.skewed = skewed;
        }
    }

    /// Takes in what came of one query.
    fn take_in(&mut self, index: usize, outcome: Outcome, now: Timestamp) {
        let (reply, mut failure) = match outcome {
            None => (None, None),
            Some(Ok(reply)) => (Some(reply), None),
            Some(Err(error)) => (None, Some(error)),
        };
        let kind = self.plan[index].kind;
        let query = queries::template(&self.settings, kind);
        let answer = reply.as_ref().and_then(|reply| {
            Answer::read(&reply.body, &query.namespace_label, &query.workload_label)
                .map_err(|error| failure = Some(error.into()))
                .ok()
        });
        let outcome = match (&answer, &failure) {
            (Some(answer), _) if answer.incomplete => "incomplete",
            (Some(_), _) => "ok",
            (None, Some(error)) => error.outcome(),
            (None, None) => "skipped",
        };
        self.instruments.telemetry_queries.get_or_create(&OutcomeLabel { outcome }).inc();
        if answer.is_some() || failure.is_some() {
            self.plan[index].note(failure.as_ref(), &queries::key(&self.settings, kind));
        }
        let skew = reply.as_ref().and_then(|reply| reply.skew);
        self.screen(index, answer.as_ref(), skew, now);
    }

    /// Screens one answer, or its absence, for every app of its domain, and counts what was found.
    fn screen(
        &mut self,
        index: usize,
        answer: Option<&Answer<'_>>,
        skew: Option<f64>,
        now: Timestamp,
    ) {
        let Planned { domain, kind, ref label, .. } = self.plan[index];
        let limits = Limits {
            freshness: self.settings.freshness.limit(kind),
            maximum: self.settings.maxima.of(kind),
            skew: self.settings.skew_hold_seconds,
        };
        let mut faults = [0_u64; Fault::ALL.len()];
        let mut newest_sample = None;
        let tracks = self.tracks.align(&self.catalog);
        for &member in &self.members[domain] {
            let app = &self.catalog.apps[member];
            let newest = answer.map_or(Newest::Unanswered, |answer| Newest::Answered {
                raw: answer.of(&app.id.namespace, &app.target),
                incomplete: answer.incomplete,
                skew,
            });
            let tracks = &mut tracks[member].signals;
            let traffic = tracks[SignalKind::Rps as usize].signal();
            let traffic = traffic.fresh(now, self.settings.freshness.rps);
            let signal = tracks[kind as usize].screen(kind, newest, traffic, &limits, now);
            newest_sample = newest_sample.max(signal.reading.map(|reading| reading.at));
            // A refused app gets no number: what it lacks is nobody's trouble.
            if let Some(fault) = signal.fault.filter(|_| app.refusal.is_none()) {
                faults[fault as usize] += 1;
            }
        }
        for fault in Fault::ALL {
            let count = faults[fault as usize];
            if count > 0 {
                let SignalLabel { domain, signal } = label.clone();
                let label = FaultLabel { domain, signal, fault: fault.as_str() };
                self.instruments.telemetry_faults.get_or_create(&label).inc_by(count);
            }
        }
        let ages = &self.instruments.telemetry_age;
        if let Some(at) = newest_sample {
            ages.get_or_create(label).set(now.seconds_since(at));
        } else {
            ages.remove(label);
        }
    }
}

impl Planned {
    /// Logs what is wrong with this one query, when that changes. `key` is the configuration key
    /// that holds it. Failures of the endpoint are logged once for all queries.
    fn note(&mut self, failure: Option<&QueryError>, key: &str) {
        let SignalLabel { domain, signal } = &self.label;
        match failure {
            Some(error) if error.concerns_endpoint() => {}
            Some(error) => {
                let error = error.to_string();
                if self.trouble.as_ref() != Some(&error) {
                    tracing::warn!(domain, signal, key, error, "a query gives no signals");
                    self.trouble = Some(error);
                }
            }
            None => {
                if self.trouble.take().is_some() {
                    tracing::info!(domain, signal, "the query gives signals again");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
