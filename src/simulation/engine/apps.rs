//! The apps of a run: what does not change, and how many pods of each are where.

use super::nodes::Room;
use super::pods::{COHORTS, PodId};
use crate::cluster::Class;
use crate::simulation::Seed;
use crate::simulation::queue::{Cohort, Outcome, Retries, Service};
use crate::simulation::scenario::{AppSpec, Scenario};
use crate::simulation::startup::Startup;

/// What does not change about an app.
#[derive(Debug, Clone)]
pub(super) struct Fixed {
    pub domain: usize,
    pub class: Class,
    /// What a pod takes of a node.
    pub room: Room,
    /// Indices of the pools that it may use, the preferred one first.
    pub pools: Vec<usize>,
    pub service: Service,
    pub startup: Startup,
    /// Its part of the calls to its domain, 0 to 1.
    pub call_share: f64,
    pub warm_seconds: f64,
    pub cpu_request: f64,
    pub idle_mib: f64,
    pub busy_mib: f64,
    pub limit_mib: f64,
}

/// How many pods of an app are where.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Census {
    /// What its HPA asks for.
    pub spec: u32,
    /// Waiting for a node.
    pub pending: u32,
    /// On a node and not ready yet.
    pub starting: u32,
    /// Getting requests.
    pub ready: u32,
}

impl Census {
    /// All that the controller counts: `status.replicas`.
    pub(super) const fn replicas(&self) -> u32 {
        self.pending + self.starting + self.ready
    }
}

/// All apps, as structures of arrays: each loop reads what it needs and nothing else.
#[derive(Debug, Clone)]
pub(super) struct Apps {
    pub fixed: Vec<Fixed>,
    pub census: Vec<Census>,
    /// Pods on nodes that are not stopping, the oldest first.
    pub pods: Vec<Vec<PodId>>,
    /// Pods ever created, which numbers them.
    pub created: Vec<u64>,
    pub cohorts: Vec<[Cohort; COHORTS]>,
    pub retries: Vec<Retries>,
    pub outcomes: Vec<Outcome>,
    /// Requests per second offered in the last step.
    pub offered: Vec<f64>,
}

impl Apps {
    /// The apps of a checked scenario, without a pod. `Err` is one sentence.
    pub(super) fn new(scenario: &Scenario, seed: Seed) -> Result<Self, String> {
        let places = scenario.domain_of().into_iter().zip(scenario.call_shares());
        let fixed = scenario
            .apps
            .iter()
            .zip(places)
            .map(|(app, place)| Fixed::new(scenario, app, place, seed))
            .collect::<Result<Vec<_>, _>>()?;
        let count = fixed.len();
        Ok(Self {
            cohorts: fixed.iter().map(cohorts).collect(),
            fixed,
            census: vec![Census::default(); count],
            pods: vec![Vec::new(); count],
            created: vec![0; count],
            retries: vec![Retries::default(); count],
            outcomes: vec![Outcome::default(); count],
            offered: vec![0.0; count],
        })
    }

    pub(super) const fn len(&self) -> usize {
        self.fixed.len()
    }
}

impl Fixed {
    fn new(
        scenario: &Scenario,
        app: &AppSpec,
        (domain, call_share): (usize, f64),
        seed: Seed,
    ) -> Result<Self, String> {
        let seed = seed.child(&app.namespace).child(&app.name);
        let startup = Startup::new(app, &scenario.constants, seed).ok_or_else(|| {
            format!("app {}: its start or the constants of starts are no distribution", app.name)
        })?;
        let pools = if app.pools.is_empty() {
            (0..scenario.pools.len()).filter(|pool| scenario.pools[*pool].shared).collect()
        } else {
            app.pools.iter().filter_map(|name| scenario.pool(name)).collect()
        };
        Ok(Self {
            domain,
            class: app.class.unwrap_or(scenario.domains[domain].class),
            room: Room::of_pod(app.cpu_request, app.memory.request_mib),
            pools,
            service: Service::of(app),
            startup,
            call_share,
            warm_seconds: app.start.warm_seconds,
            cpu_request: app.cpu_request,
            idle_mib: app.memory.idle_mib,
            busy_mib: app.memory.busy_mib,
            limit_mib: app.memory.limit_mib,
        })
    }

    /// How long a pod stays in each cohort of its warm-up, in seconds.
    pub(super) fn warm_stage(&self) -> f64 {
        self.warm_seconds / (COHORTS - 1) as f64
    }
}

/// Empty cohorts: the first at full speed, the others at the middle of their part of the warm-up,
/// the coldest last.
fn cohorts(app: &Fixed) -> [Cohort; COHORTS] {
    std::array::from_fn(|index| {
        let speed = if index == 0 {
            1.0
        } else {
            let stage = (COHORTS - 1 - index) as f64 + 0.5;
            app.startup.speed(stage * app.warm_stage())
        };
        Cohort { pods: 0, speed, waiting: 0.0 }
    })
}
