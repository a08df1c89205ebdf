//! One scenario and seed, twice: under the policy, as the controller's world, and under plain HPAs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::invariants::{self, Rooms};
use crate::cluster::{Snapshot, Timestamp};
use crate::control::{Published, World};
use crate::safety::Decision;
use crate::simulation::arms::Arm;
use crate::simulation::scenario::Scenario;
use crate::simulation::{Actuation, Seed, Simulation};

/// Both clusters, always at the same time.
pub(super) struct Pair {
    /// Under the policy.
    pub(super) ours: Simulation,
    /// Under plain HPAs.
    pub(super) plain: Simulation,
    /// What went wrong, in one sentence. Nothing moves any more then.
    pub(super) broken: Option<String>,
    /// Where placement follows budgets.
    rooms: Option<Rooms>,
}

impl Pair {
    /// Both as soon as telemetry shows them, the policy acting as `arm` says. Before that
    /// every number would be withheld. `Err` is one sentence.
    pub(super) fn new(scenario: &Arc<Scenario>, arm: &Arm, seed: Seed) -> Result<Self, String> {
        let plain = Simulation::new(Arc::clone(scenario), &Actuation::default(), seed)?;
        let [mut ours, mut plain] = [arm.simulation(scenario, seed, None)?, plain]
            .map(|simulation| simulation.with_timeline(scenario.step_seconds));
        while ours.seconds() < scenario.telemetry.prometheus_lag.high {
            ours.step();
            plain.step();
        }
        Ok(Self {
            ours,
            plain,
            broken: None,
            rooms: arm.actuation.budgets.then(|| Rooms::new(scenario)),
        })
    }

    /// One step, after which everything must be in order.
    fn step(&mut self, decision: &Decision) -> Result<(), String> {
        let snapshot = self.ours.snapshot();
        invariants::published(snapshot, decision)?;
        let cores = snapshot.shared_cpu();
        self.ours.publish(decision);
        self.ours.step();
        self.plain.step();
        self.ours.audit()?;
        self.plain.audit().map_err(|sentence| format!("under plain HPAs: {sentence}"))?;
        let cores = cores.max(self.ours.snapshot().shared_cpu());
        match &mut self.rooms {
            Some(rooms) => rooms.stepped(decision, cores, self.ours.app_ticks()),
            None => Ok(()),
        }
    }
}

/// The pair, for whoever moves it and whoever shows it.
#[derive(Clone)]
pub(super) struct Shared(Arc<Mutex<Pair>>);

impl Shared {
    /// Shares a pair.
    pub(super) fn new(pair: Pair) -> Self {
        Self(Arc::new(Mutex::new(pair)))
    }

    /// The pair, while nobody else has it.
    pub(super) fn lock(&self) -> MutexGuard<'_, Pair> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The cluster under the policy: each look at it comes one step after the last decision.
pub(super) struct SimulatedWorld {
    pair: Shared,
    published: watch::Receiver<Option<Arc<Published>>>,
    ended: CancellationToken,
}

impl SimulatedWorld {
    /// Follows what is `published`, and says when it has `ended`: the scenario is over, or
    /// something is broken.
    pub(super) fn new(
        pair: Shared,
        published: watch::Receiver<Option<Arc<Published>>>,
        ended: CancellationToken,
    ) -> Self {
        Self { pair, published, ended }
    }

    fn look(&self) -> Option<Snapshot> {
        let mut pair = self.pair.lock();
        let published = self.published.borrow().clone();
        if !self.ended.is_cancelled()
            && let Some(published) = published
        {
            if let Err(sentence) = pair.step(published.decision()) {
                pair.broken = Some(format!("at {}: {sentence}", pair.ours.now()));
            }
            if pair.broken.is_some() || pair.ours.over() {
                self.ended.cancel();
            }
        }
        (!self.ended.is_cancelled()).then(|| pair.ours.snapshot().clone())
    }
}

impl World for SimulatedWorld {
    fn now(&self) -> Timestamp {
        self.pair.lock().ours.now()
    }

    async fn snapshot(&mut self) -> Option<Snapshot> {
        // A step is pure computation: the other tasks of this thread must not wait for it.
        tokio::task::block_in_place(|| self.look())
    }
}
