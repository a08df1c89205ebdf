//! The cluster in memory: every part joined, step by step.
//!
//! A step is [`Scenario::step_seconds`] long. The control plane (HPA syncs, scheduler,
//! provisioner, pods that get ready) moves on by a second at a time; the requests of the whole
//! step are served once, by the pods that are ready in its middle.
//!
//! | file | part |
//! |---|---|
//! | `apps` `pods` `nodes` | the state, as structures of arrays |
//! | `autoscaling` | the HPA controller |
//! | `lifecycle` | pods from their creation to their end |
//! | `scheduler` | who gets a node: priorities, preemption, budgets |
//! | `provisioning` `consolidation` | nodes that come and go |
//! | `serving` | requests, calls between domains, CPU and memory |
//! | `telemetry` | what is seen of the truth, and when |
//! | `forecasting` | the forecasts that policies see |
//! | `faults` | what is broken |
//! | `reference` `accounting` | what is counted, and against what |

mod accounting;
mod apps;
mod audit;
mod autoscaling;
mod consolidation;
mod faults;
mod forecasting;
mod lifecycle;
mod nodes;
mod pods;
mod provisioning;
mod reference;
mod scheduler;
mod serving;
mod telemetry;

use std::sync::Arc;

use accounting::{Accounts, Flow, Scene, Tally};
use apps::Apps;
use autoscaling::Autoscalers;
use consolidation::Consolidation;
use forecasting::Forecasting;
use nodes::{Nodes, Room};
use pods::Pods;
use provisioning::Provisioning;
use reference::Reference;
use scheduler::{Entitlements, Queue};
use serving::Outside;
use telemetry::Telemetry;

use super::actuation::Actuation;
use super::calls::Calls;
use super::counts::AppTick;
use super::foresight::{Foresight, Maker};
use super::run::{Run, Summary, Timeline};
use super::scenario::Scenario;
use super::{Seed, Traffic};
use crate::cluster::{Amount, Class, Freshness, Snapshot, Timestamp};
use crate::pilot::Pilot;
use crate::placement::entitlement::Claim;
use crate::placement::{self, Budgets};
use crate::policy::Reason;
use crate::safety::{self, Decision};

/// One cluster in memory.
#[derive(Debug, Clone)]
pub struct Simulation {
    scenario: Arc<Scenario>,
    actuation: Actuation,
    seed: Seed,
    /// Steps done.
    steps: u64,
    traffic: Traffic,
    apps: Apps,
    pods: Pods,
    nodes: Nodes,
    queue: Queue,
    autoscalers: Autoscalers,
    provisioning: Provisioning,
    consolidation: Consolidation,
    calls: Calls,
    telemetry: Telemetry,
    forecasting: Forecasting,
    reference: Reference,
    accounts: Accounts,
    tally: Tally,
    flows: Vec<Flow>,
    preempted: [u32; Class::ALL.len()],
    /// Requested per pool and domain: the domains of the first pool, then of the second, ...
    used: Vec<Amount>,
    /// Per app while something outside is broken; empty otherwise.
    outside: Vec<Outside>,
    domain_of: Vec<usize>,
    /// Apps whose memory can exceed its limit.
    greedy: Vec<usize>,
    /// What the HPAs read, and since when (seconds).
    published: Vec<Option<u32>>,
    published_at: f64,
    /// What the extender knows; none where it is not asked or nothing was published.
    budgets: Option<Budgets>,
    shares: Vec<f64>,
    reserve: f64,
    /// Where the search for victims begins.
    turn: usize,
    hopeless: Vec<Option<Room>>,
    entitlements: Entitlements,
    spare: Vec<Claim>,
}

impl Simulation {
    /// A cluster at its initial size: all pods that fit are ready. The scenario must have been
    /// checked. `Err` is one sentence.
    pub fn new(scenario: Arc<Scenario>, actuation: &Actuation, seed: Seed) -> Result<Self, String> {
        let specs = autoscaling::specs(&scenario, actuation, seed.child("traffic"));
        let apps = Apps::new(&scenario, seed.child("pods"))?;
        let provisioning = Provisioning::new(&scenario, seed.child("nodes"))
            .ok_or("the constants describe no cloud: check nodeStart and launchPerSecond")?;
        let lag = faults::longest_lag(&scenario);
        let domain_of = scenario.domain_of();
        let mut new = Self {
            traffic: Traffic::of_run(&scenario, seed),
            pods: Pods::default(),
            nodes: Nodes::new(&scenario.pools, apps.len()),
            queue: Queue::default(),
            autoscalers: Autoscalers::new(&scenario, &specs, seed.child("hpas")),
            provisioning,
            consolidation: Consolidation::new(&scenario),
            calls: Calls::new(&scenario),
            telemetry: Telemetry::new(&scenario, &specs, lag, seed.child("telemetry")),
            forecasting: Forecasting::default(),
            reference: Reference::new(&scenario, seed.child("traffic")),
            accounts: Accounts::new(&scenario, None),
            tally: Tally::default(),
            flows: vec![Flow::default(); scenario.pools.len()],
            preempted: [0; Class::ALL.len()],
            used: vec![Amount::ZERO; scenario.pools.len() * scenario.domains.len()],
            outside: Vec::new(),
            greedy: (0..apps.len())
                .filter(|app| apps.fixed[*app].busy_mib > apps.fixed[*app].limit_mib)
                .collect(),
            domain_of,
            published: Vec::new(),
            published_at: f64::NEG_INFINITY,
            budgets: None,
            shares: Vec::new(),
            reserve: 0.0,
            turn: 0,
            hopeless: Vec::new(),
            entitlements: Entitlements::default(),
            spare: Vec::new(),
            steps: 0,
            actuation: actuation.clone(),
            apps,
            seed,
            scenario,
        };
        new.fill();
        Ok(new)
    }

    /// Keeps the course, a row every so many seconds.
    #[must_use]
    pub fn with_timeline(mut self, every_seconds: f64) -> Self {
        self.accounts = Accounts::new(&self.scenario, Some(every_seconds));
        self
    }

    /// Lets policies see forecasts, made as they are asked for. Without this and
    /// [`Self::with_foresight`] there are none, and nobody pays for them. `Err` is one sentence.
    pub fn with_forecaster(mut self) -> Result<Self, String> {
        let maker = Maker::new(&self.scenario, self.seed)?;
        self.forecasting = Forecasting::Own(Box::new(maker));
        Ok(self)
    }

    /// Lets policies see forecasts that are there: those of this scenario and seed, or what was made
    /// of them.
    #[must_use]
    pub fn with_foresight(mut self, foresight: Arc<Foresight>) -> Self {
        self.forecasting = Forecasting::Known(foresight);
        self
    }

    /// Every app at its initial size, ready where it fits.
    fn fill(&mut self) {
        let scenario = Arc::clone(&self.scenario);
        let mut rps = vec![0.0; scenario.apps.len()];
        self.traffic.expected(0.0, &mut rps);
        for (index, app) in scenario.apps.iter().enumerate() {
            let needed = app.replicas_for(rps[index]) as u32;
            let count = app.initial_replicas.unwrap_or(needed);
            let count = count.clamp(app.hpa.min_replicas, app.hpa.max_replicas);
            self.apps.census[index].spec = count;
            let room = self.apps.fixed[index].room;
            for _ in 0..count {
                self.apps.census[index].pending += 1;
                let pools = self.apps.fixed[index].pools.clone();
                let node = pools.into_iter().find_map(|pool| self.nodes.find(pool, room));
                if let Some(node) = node {
                    self.place_ready(index, node);
                } else {
                    let lane = self.lane(index);
                    self.queue.push(lane, index, 1, 0.0);
                }
            }
        }
    }

    /// Seconds since the start.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.steps as f64 * self.scenario.step_seconds
    }

    /// Now, by the scenario's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.timestamp(self.seconds())
    }

    fn timestamp(&self, seconds: f64) -> Timestamp {
        let start = self.scenario.start.as_millis();
        Timestamp::from_millis(start + (seconds * 1000.0).round() as i64)
    }

    /// Whether the scenario is over.
    #[must_use]
    pub fn over(&self) -> bool {
        self.seconds() + 1e-9 >= self.scenario.duration_seconds
    }

    /// How old signals may be before a decider takes them as stale, for this telemetry.
    #[must_use]
    pub fn freshness(&self) -> Freshness {
        self.telemetry.freshness()
    }

    /// What telemetry and watches show now.
    pub fn snapshot(&mut self) -> &Snapshot {
        let (seconds, now) = (self.seconds(), self.now());
        self.telemetry.look(seconds, self.scenario.start);
        let snapshot = &mut self.telemetry.snapshot;
        snapshot.at = now;
        for (state, census) in snapshot.apps.iter_mut().zip(&self.apps.census) {
            state.spec_replicas = census.spec;
            state.status_replicas = census.replicas();
            state.ready = census.ready;
            state.pending = census.pending + census.starting;
        }
        for (pool, home) in snapshot.pools.iter_mut().zip(&self.nodes.pools) {
            let allocatable = home.allocatable();
            pool.nodes = home.ready.len() as u32;
            pool.cpu = allocatable.cpu_milli as f64 / 1000.0;
            pool.memory = allocatable.memory as f64;
        }
        self.forecasting.look(seconds, &mut snapshot.forecasts);
        snapshot
    }

    /// What HPAs and the extender read from now on. Balloon pods hold the capacity that is to be
    /// kept warm.
    pub fn publish(&mut self, decision: &Decision) {
        self.published.clear();
        self.published.extend(decision.apps.iter().map(|app| app.replicas));
        self.published_at = self.seconds();
        for decided in &decision.apps {
            let shielded = decided.reasons.iter().any(Reason::is_shield);
            self.tally.shielded += u64::from(shielded);
        }
        self.tally.decided += decision.apps.len() as u64;
        self.shares.clear();
        self.shares.extend(decision.domains.iter().map(|domain| domain.share));
        self.reserve = decision.reserve_share;
        if self.actuation.budgets {
            let band = placement::Settings::default().band_seconds;
            let until = self.timestamp(self.seconds() + band);
            let emergency = safety::Settings::default().emergency_band;
            self.budgets = Some(Budgets::of(decision, emergency, until));
        }
        self.warm(decision.warm_cores);
    }

    /// Spreads the capacity that is to be kept free on real nodes over the shared pools.
    fn warm(&mut self, warm_cores: f64) {
        let shared = self.shared_cores();
        for (pool, home) in self.nodes.pools.iter().enumerate() {
            let cores = home.allocatable().cpu_milli as f64 / 1000.0;
            let part = if home.shared && shared > 0.0 { cores / shared } else { 0.0 };
            self.provisioning.warm[pool] = (warm_cores * part * 1000.0) as i64;
        }
    }

    /// Allocatable CPU of the shared pools, in cores.
    fn shared_cores(&self) -> f64 {
        let shared = self.nodes.pools.iter().filter(|pool| pool.shared);
        shared.map(|pool| pool.allocatable().cpu_milli as f64 / 1000.0).sum()
    }

    fn domains(&self) -> usize {
        self.scenario.domains.len()
    }

    /// One step under a pilot: what is seen is decided upon, published, and lived with. Without a
    /// pilot the stock HPAs are alone.
    pub fn turn(&mut self, pilot: Option<&mut Pilot>) {
        if let Some(pilot) = pilot {
            let now = self.now();
            let decision = pilot.decide(self.snapshot(), now);
            self.publish(&decision);
        }
        self.step();
    }

    /// Moves on by one step.
    pub fn step(&mut self) {
        let (from, length) = (self.seconds(), self.scenario.step_seconds);
        self.break_things(from);
        let ticks = length.ceil();
        let tick = length / ticks;
        let middle = (ticks / 2.0).floor();
        let mut done = 0.0;
        while done < ticks {
            if done == middle {
                self.serve(from);
            }
            done += 1.0;
            self.control(from + done * tick, tick);
        }
        self.kill_over_memory(from + length);
        self.steps += 1;
        self.account(from + length);
    }

    /// The control plane moves on to `now`, `seconds` after it last did.
    fn control(&mut self, now: f64, seconds: f64) {
        self.advance_pods(now);
        self.sync_hpas(now);
        self.provision(now);
        if self.schedule(now, seconds) {
            self.note_unschedulable(now);
        }
        self.consolidate(now);
    }

    /// Counts the step that ends at `now`.
    fn account(&mut self, now: f64) {
        let shared_cores = self.shared_cores();
        self.reference.look(now, &self.scenario, &self.domain_of, shared_cores);
        self.accounts.step(&Scene {
            now,
            scenario: &self.scenario,
            apps: &self.apps,
            nodes: &self.nodes,
            queue: &self.queue,
            provisioning: &self.provisioning,
            reference: &self.reference,
            used: &self.used,
            flows: &self.flows,
            preempted: self.preempted,
            shares: &self.shares,
            reserve: self.reserve,
            forecasts: &self.telemetry.snapshot.forecasts,
            shared_cores,
        });
        for waves in &mut self.provisioning.waves {
            waves.settle(now);
        }
        self.flows.fill(Flow::default());
        self.preempted = [0; Class::ALL.len()];
    }

    /// The sums so far.
    #[must_use]
    pub fn summary(&self) -> Summary {
        self.accounts.summary(self.tally, &self.provisioning)
    }

    /// The course so far; without rows unless [`Self::with_timeline`] asked for them.
    #[must_use]
    pub const fn timeline(&self) -> &Timeline {
        self.accounts.timeline()
    }

    /// The record of the run so far under the name of a policy; `number` is that of the seed in its
    /// space.
    #[must_use]
    pub fn record(&self, policy: &str, number: u64) -> Run {
        Run {
            scenario: self.scenario.name.clone(),
            level: self.scenario.level,
            policy: policy.to_owned(),
            seed: number,
            summary: self.summary(),
            timeline: self.timeline().clone(),
        }
    }

    /// The truth about each app in the last step, in the order of the scenario.
    #[must_use]
    pub fn app_ticks(&self) -> &[AppTick] {
        self.accounts.apps()
    }

    /// What the HPA of each app asks for now, in the order of the scenario.
    pub fn replicas(&self) -> impl Iterator<Item = u32> + '_ {
        self.apps.census.iter().map(|census| census.spec)
    }
}

#[cfg(test)]
mod tests;
