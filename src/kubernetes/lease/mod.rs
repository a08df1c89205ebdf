//! A Lease decides which replica decides: the holder renews it, the others take it when they have
//! not seen it renewed for its whole duration.
//!
//! Time is the monotonic clock of each replica and what it saw itself; the instants inside the
//! object are for people. The epoch is the Lease's count of transitions: it grows whenever a
//! process begins to lead, the same one included, and never falls. Leading ends on its own when
//! the holder could not renew for the renew deadline, which is shorter than the duration; a
//! replica that slept through its term finds that out by [`LeaseGuard::still_leading`].

mod step;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::Client;
use kube::api::{ObjectMeta, PostParams};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::step::{Memory, Record, Step, next_step};
use crate::instruments::Instruments;
use crate::supervision::Supervisor;

/// Annotation on the Lease: where the holder hands out its decisions, `host:port`.
const PEER_ADDRESS: &str = "hirl-scale.io/peer-address";
/// How long giving the Lease back may take when this process ends.
const RELEASE_LIMIT: Duration = Duration::from_secs(2);

/// The Lease and its times. A dead holder is replaced within `durationSeconds` + `retrySeconds`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct LeaseSettings {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// Seconds without a renewal after which another replica may take it.
    pub duration_seconds: u16,
    /// Seconds without a successful renewal after which the holder stops deciding; less than the
    /// duration, so that two never decide at once.
    pub renew_deadline_seconds: f64,
    /// Seconds between two looks at the Lease.
    pub retry_seconds: f64,
}

impl Default for LeaseSettings {
    fn default() -> Self {
        Self {
            namespace: "hirl-system".to_owned(),
            name: "hirl".to_owned(),
            duration_seconds: 10,
            renew_deadline_seconds: 7.0,
            retry_seconds: 2.0,
        }
    }
}

impl LeaseSettings {
    /// Refuses times with which two replicas could decide at once, in one sentence.
    pub fn validate(&self) -> Result<(), String> {
        let duration = f64::from(self.duration_seconds);
        let ordered = self.retry_seconds > 0.0
            && self.retry_seconds < self.renew_deadline_seconds
            && self.renew_deadline_seconds < duration;
        if ordered {
            return Ok(());
        }
        Err(format!(
            "kubernetes.lease: it needs 0 < retrySeconds ({}) < renewDeadlineSeconds ({}) < durationSeconds ({duration})",
            self.retry_seconds, self.renew_deadline_seconds
        ))
    }

    fn renew_deadline(&self) -> Duration {
        Duration::from_secs_f64(self.renew_deadline_seconds)
    }

    fn retry(&self) -> Duration {
        Duration::from_secs_f64(self.retry_seconds)
    }
}

/// Who decides, as far as this replica knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leadership {
    /// This replica, in this epoch.
    Leading {
        /// Higher than that of anybody who led before.
        epoch: u64,
    },
    /// Another replica, or nobody.
    Following {
        /// Identity of the holder.
        holder: Option<String>,
        /// Where it hands out its decisions, `host:port`.
        address: Option<String>,
    },
}

/// The term in which this process leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Term {
    epoch: u64,
    /// Just before the last successful renewal was sent.
    renewed: Instant,
}

/// Answers, at the very moment of publishing, whether this process may still decide.
#[derive(Debug, Clone)]
pub struct LeaseGuard {
    term: Arc<Mutex<Option<Term>>>,
    renew_deadline: Duration,
}

impl LeaseGuard {
    /// A guard that always holds `epoch`: for a process that shares its world with nobody.
    #[must_use]
    pub fn alone(epoch: u64) -> Self {
        let term = Term { epoch, renewed: Instant::now() };
        Self { term: Arc::new(Mutex::new(Some(term))), renew_deadline: Duration::MAX }
    }

    /// The epoch of the term, if it was renewed recently enough that nobody else can have begun
    /// one.
    #[must_use]
    pub fn epoch(&self) -> Option<u64> {
        self.epoch_at(Instant::now())
    }

    /// Whether there is such a term. False after a long pause of the process, before any task of
    /// ours has run again.
    #[must_use]
    pub fn still_leading(&self) -> bool {
        self.epoch().is_some()
    }

    fn epoch_at(&self, now: Instant) -> Option<u64> {
        let term = (*self.term())?;
        (now.saturating_duration_since(term.renewed) < self.renew_deadline).then_some(term.epoch)
    }

    fn term(&self) -> MutexGuard<'_, Option<Term>> {
        self.term.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// This replica's part in the election, which runs until it is stopped.
#[derive(Debug)]
pub struct Election {
    leadership: watch::Receiver<Leadership>,
    guard: LeaseGuard,
    ended: CancellationToken,
}

impl Election {
    /// Takes part. `identity` must belong to this process alone (a pod name does); `address` is
    /// where its decisions can be fetched while it leads. Ends with `stop`, and then gives the
    /// Lease back.
    #[must_use]
    pub fn start(
        client: &Client,
        settings: &LeaseSettings,
        identity: String,
        address: Option<String>,
        instruments: Arc<Instruments>,
        supervisor: &Supervisor,
        stop: CancellationToken,
    ) -> Self {
        let nobody = Leadership::Following { holder: None, address: None };
        let (published, leadership) = watch::channel(nobody);
        let guard = LeaseGuard { term: Arc::default(), renew_deadline: settings.renew_deadline() };
        let candidate = Candidate {
            api: Api::namespaced(client.clone(), &settings.namespace),
            settings: settings.clone(),
            identity,
            address,
            instruments,
            published,
            guard: guard.clone(),
            born: Instant::now(),
            memory: Memory::default(),
            held: None,
        };
        let ended = CancellationToken::new();
        let told = ended.clone().drop_guard();
        supervisor.spawn("the election", async move {
            candidate.run(stop).await;
            drop(told);
        });
        Self { leadership, guard, ended }
    }

    /// Who decides; changes as it changes.
    #[must_use]
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    /// The check to make right before publishing.
    #[must_use]
    pub fn guard(&self) -> LeaseGuard {
        self.guard.clone()
    }

    /// Waits until the election has ended and the Lease was given back.
    pub async fn ended(self) {
        self.ended.cancelled().await;
    }
}

struct Candidate {
    api: Api<Lease>,
    settings: LeaseSettings,
    identity: String,
    address: Option<String>,
    instruments: Arc<Instruments>,
    published: watch::Sender<Leadership>,
    guard: LeaseGuard,
    born: Instant,
    memory: Memory,
    /// The Lease as we last wrote it, to give it back.
    held: Option<Lease>,
}

impl Candidate {
    async fn run(mut self, stop: CancellationToken) {
        loop {
            let pause = tokio::select! {
                () = stop.cancelled() => break,
                pause = self.look() => pause,
            };
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(pause) => {}
            }
        }
        self.release().await;
    }

    /// One look at the Lease and what follows from it; answers how long to wait for the next.
    async fn look(&mut self) -> Duration {
        // Half the deadline, so that one lost connection leaves time for a second try.
        let deadline = self.settings.renew_deadline();
        let limit = self.left().map_or(deadline / 2, |left| left.min(deadline / 2));
        let outcome = tokio::time::timeout(limit, self.attempt()).await;
        let pause = match outcome {
            Ok(Ok(pause)) => pause,
            Ok(Err(problem)) => {
                tracing::warn!(error = %problem, "Lease could not be read or written");
                self.settings.retry()
            }
            Err(_) => {
                tracing::warn!(after = ?limit, "API server did not answer about the Lease");
                self.settings.retry()
            }
        };
        match self.left() {
            Some(left) if left.is_zero() => {
                tracing::warn!("Lease was not renewed in time");
                self.follow(None, None);
                self.settings.retry()
            }
            Some(left) => pause.min(left),
            None => pause,
        }
    }

    async fn attempt(&mut self) -> Result<Duration, kube::Error> {
        let lease = self.api.get_opt(&self.settings.name).await?;
        let record = lease.as_ref().map(Record::read);
        let now = self.born.elapsed();
        self.memory.observe(record.as_ref(), now);
        if let Some(epoch) = self.epoch()
            && record.as_ref().is_some_and(|record| !record.belongs_to(&self.identity, epoch))
        {
            tracing::warn!(epoch, "Lease was taken from this replica");
            self.follow(None, None);
        }
        let leading = self.epoch();
        match next_step(record.as_ref(), &self.identity, leading, now, &self.memory, minutes()) {
            Step::Wait(left) => {
                let record = record.unwrap_or_default();
                self.follow(record.holder, record.address);
                Ok(left.min(self.settings.retry()))
            }
            Step::Take { epoch } => {
                self.write(lease, epoch, true).await?;
                Ok(self.settings.retry())
            }
            Step::Renew { epoch } => {
                self.write(lease, epoch, false).await?;
                Ok(self.settings.retry())
            }
        }
    }

    /// Writes the Lease as ours, guarded by the resource version that was read.
    async fn write(
        &mut self,
        read: Option<Lease>,
        epoch: u64,
        begin: bool,
    ) -> Result<(), kube::Error> {
        let existed = read.is_some();
        let mut lease = read.unwrap_or_else(|| Lease {
            metadata: ObjectMeta {
                name: Some(self.settings.name.clone()),
                namespace: Some(self.settings.namespace.clone()),
                ..ObjectMeta::default()
            },
            spec: None,
        });
        let wall = MicroTime(jiff::Timestamp::now());
        let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
        spec.holder_identity = Some(self.identity.clone());
        spec.lease_duration_seconds = Some(self.settings.duration_seconds.into());
        spec.lease_transitions = Some(i32::try_from(epoch).unwrap_or(i32::MAX));
        spec.renew_time = Some(wall.clone());
        if begin {
            spec.acquire_time = Some(wall);
        }
        let annotations = lease.metadata.annotations.get_or_insert_with(BTreeMap::new);
        match &self.address {
            Some(address) => annotations.insert(PEER_ADDRESS.to_owned(), address.clone()),
            None => annotations.remove(PEER_ADDRESS),
        };
        // Before the request: others count from when they see it, which is later.
        let sent = Instant::now();
        let params = PostParams::default();
        let written = if existed {
            self.api.replace(&self.settings.name, &params, &lease).await?
        } else {
            self.api.create(&params, &lease).await?
        };
        self.memory.observe(Some(&Record::read(&written)), self.born.elapsed());
        self.held = Some(written);
        *self.guard.term() = Some(Term { epoch, renewed: sent });
        if begin {
            tracing::info!(epoch, identity = self.identity, "Began to lead");
        }
        self.instruments.leader.set(1);
        self.publish(Leadership::Leading { epoch });
        Ok(())
    }

    /// Epoch of the term, if there is one.
    fn epoch(&self) -> Option<u64> {
        self.guard.term().map(|term| term.epoch)
    }

    /// Time left of the term, if there is one.
    fn left(&self) -> Option<Duration> {
        let term = (*self.guard.term())?;
        Some(self.settings.renew_deadline().saturating_sub(term.renewed.elapsed()))
    }

    fn follow(&mut self, holder: Option<String>, address: Option<String>) {
        if self.guard.term().take().is_some() {
            tracing::info!(holder, "Leads no longer");
        }
        self.held = None;
        self.instruments.leader.set(0);
        self.publish(Leadership::Following { holder, address });
    }

    fn publish(&self, now: Leadership) {
        self.published.send_if_modified(|last| {
            let changed = *last != now;
            *last = now;
            changed
        });
    }

    /// Empties the Lease if it is ours, so that another replica need not wait for its end.
    async fn release(&mut self) {
        let held = self.held.take();
        self.follow(None, None);
        let Some(mut lease) = held else { return };
        let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
        spec.holder_identity = None;
        spec.lease_duration_seconds = Some(1);
        spec.renew_time = Some(MicroTime(jiff::Timestamp::now()));
        if let Some(annotations) = &mut lease.metadata.annotations {
            annotations.remove(PEER_ADDRESS);
        }
        let params = PostParams::default();
        let given_back = self.api.replace(&self.settings.name, &params, &lease);
        match tokio::time::timeout(RELEASE_LIMIT, given_back).await {
            Ok(Ok(_)) => tracing::info!("Gave the Lease back"),
            Ok(Err(problem)) => tracing::warn!(error = %problem, "Lease not given back"),
            Err(_) => tracing::warn!(after = ?RELEASE_LIMIT, "Lease not given back"),
        }
    }
}

/// Minutes since 1970 by the wall clock: see [`Step::Take`].
fn minutes() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_second() / 60).unwrap_or(0)
}
