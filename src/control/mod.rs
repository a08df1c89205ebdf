//! The loop: snapshot → decide → publish → report, on the replica that holds the lease; the
//! others fetch each decision from it and publish the same.
//!
//! Serving never depends on this loop. When it stands still the last decision ages until its
//! limit, and reads are then answered with an error.

pub mod forecasting;
mod gauges;
pub mod hierarchy;
mod overdue;
pub mod peer;
mod published;
mod world;

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::instruments::Instruments;
use crate::kubernetes::{Leadership, LeaseGuard};
use crate::pilot::Pilot;
use crate::safety::Decision;

pub use forecasting::Forecasting;
use overdue::overdue;
pub use published::{Entry, Published};
pub use world::{LiveWorld, World};

/// Time without a decision after which the Lease is given up, unless [`Settings::max_age_seconds`] is longer.
const OVERDUE: Duration = Duration::from_mins(1);

/// The rhythm of decisions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Settings {
    /// Time between two decisions, in seconds.
    pub decision_seconds: f64,
    /// How old a decision may become before reads are refused, in seconds. Above the 15 s that a
    /// takeover may last, so that losing the decider is not noticed.
    pub max_age_seconds: f64,
    /// Time between two fetches of the decider's newest decision, in seconds.
    pub follow_seconds: f64,
    /// The other replica.
    pub peer: peer::Settings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            decision_seconds: 10.0,
            max_age_seconds: 60.0,
            follow_seconds: 1.0,
            peer: peer::Settings::default(),
        }
    }
}

impl Settings {
    /// One sentence that says what is wrong, if anything is.
    pub fn validate(&self) -> Result<(), String> {
        for (name, value) in [
            ("decisionSeconds", self.decision_seconds),
            ("maxAgeSeconds", self.max_age_seconds),
            ("followSeconds", self.follow_seconds),
        ] {
            if !(0.1..=3600.0).contains(&value) {
                return Err(format!("control.{name} must be 0.1 to 3600, not {value}"));
            }
        }
        if self.max_age_seconds < 2.0 * self.decision_seconds {
            return Err(format!(
                "control.maxAgeSeconds ({}) must be at least twice control.decisionSeconds ({})",
                self.max_age_seconds, self.decision_seconds
            ));
        }
        Ok(())
    }

    fn max_age(&self) -> Duration {
        Duration::from_secs_f64(self.max_age_seconds)
    }
}

/// What the loop needs besides the world.
pub struct Controller {
    /// Its rhythm.
    pub settings: Settings,
    /// Who decides.
    pub leadership: watch::Receiver<Leadership>,
    /// Whether that still holds, asked right before publication.
    pub guard: LeaseGuard,
    /// Fetches from the decider while somebody else decides.
    pub peer: peer::Client,
    /// Makes the pilot of a new epoch.
    pub pilot: Box<dyn Fn(u64) -> Pilot + Send + Sync>,
    /// Where decisions are published.
    pub published: watch::Sender<Option<Arc<Published>>>,
    /// Told of each decision that this replica made.
    pub report: Box<dyn Fn(Arc<Decision>) + Send + Sync>,
    /// Our metrics.
    pub instruments: Arc<Instruments>,
}

impl std::fmt::Debug for Controller {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Controller").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Controller {
    /// Waits until this replica leads and has published no decision for a minute, and says so.
    pub fn overdue(&self) -> impl Future<Output = String> + Send + use<> {
        let limit = self.settings.max_age().max(OVERDUE);
        overdue(self.leadership.clone(), self.published.subscribe(), limit)
    }

    /// Decides or follows, as the lease says, until `stop`.
    pub async fn run(mut self, mut world: impl World, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let role = self.leadership.borrow_and_update().clone();
            let turn = async {
                match &role {
                    Leadership::Leading { epoch } => self.decide(&mut world, *epoch).await,
                    Leadership::Following { address, .. } => self.follow(address.as_deref()).await,
                }
            };
            let mut changed = self.leadership.clone();
            tokio::select! {
                () = stop.cancelled() => break,
                lost = changed.changed() => if lost.is_err() { break },
                () = turn => {}
            }
        }
    }

    /// Decides every [`Settings::decision_seconds`]. Never returns.
    async fn decide(&self, world: &mut impl World, epoch: u64) {
        self.instruments.leader.set(1);
        let mut pilot = (self.pilot)(epoch);
        if let Some(last) = self.published.borrow().as_deref()
            && last.age() <= last.max_age()
        {
            pilot.resume(last.decision());
        }
        info!(epoch, "Deciding");
        let mut ticks =
            tokio::time::interval(Duration::from_secs_f64(self.settings.decision_seconds));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            // 1. What is the world like?
            let Some(snapshot) = world.snapshot().await else { continue };
            // 2. What should change, and is it safe?
            let started = Instant::now();
            let decision = Arc::new(pilot.decide(&snapshot, world.now()));
            self.instruments.decision_duration.observe(started.elapsed().as_secs_f64());
            // 3. Is it still ours to say? A process that was stopped for a while may have lost it.
            if self.guard.epoch() != Some(epoch) {
                warn!(epoch, "The lease was not renewed in time: this decision is dropped");
                continue;
            }
            // 4. Tell the HPAs.
            self.publish(Arc::clone(&decision), Duration::ZERO);
            // 5. Tell the people.
            (self.report)(decision);
        }
    }

    /// Fetches every [`Settings::follow_seconds`] what the decider at `address` published. Never
    /// returns.
    async fn follow(&self, address: Option<&str>) {
        self.instruments.leader.set(0);
        let Some(address) = address else {
            // Nobody decides: wait for the lease to say who does.
            return std::future::pending().await;
        };
        info!(address, "Following");
        let mut ticks =
            tokio::time::interval(Duration::from_secs_f64(self.settings.follow_seconds));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut reachable = true;
        loop {
            ticks.tick().await;
            let known = self.published.borrow().as_ref().map(|last| Arc::clone(last.decision()));
            match self.peer.fetch(address, known.as_deref()).await {
                Ok(fetched) => {
                    if !reachable {
                        info!(address, "The decider answers again");
                    }
                    reachable = true;
                    if let Some((decision, age)) = fetched
                        && known.is_none_or(|known| decision.supersedes(&known))
                    {
                        self.publish(Arc::new(decision), age);
                    }
                }
                Err(error) => {
                    if reachable {
                        warn!(%error, address, "The decider does not answer: its last decision is served until its age limit");
                    }
                    reachable = false;
                }
            }
        }
    }

    fn publish(&self, decision: Arc<Decision>, age: Duration) {
        let before = self.published.borrow().as_ref().map(|last| Arc::clone(last.decision()));
        gauges::set(&self.instruments, before.as_deref(), &decision, age);
        let published = Published::new(decision, age, self.settings.max_age());
        self.published.send_replace(Some(Arc::new(published)));
    }
}
