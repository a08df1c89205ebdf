//! The policies that are compared, by name: how each acts on the cluster, and what decides.
//!
//! | name | what it is |
//! |---|---|
//! | `hpa` | stock HPAs on CPU as the scenario sets them (70 % by default) |
//! | `hpa-tuned` | the same with searched targets and behaviour |
//! | `rules` | the rule with `PriorityClasses`, priority-weighted budgets and a warm reserve |
//! | `rules+forecast` | the same, led by the forecast's p80 |
//! | `static-peak` | replicas for the highest announced demand, all the time |
//! | `oracle` | a planner that knows the future, through the same controllers and nodes |

use super::actuation::{Actuation, Metric};
use super::scenario::Scenario;
use super::{Seed, Simulation};
use crate::observation;
use crate::pilot::Pilot;
use crate::policy::{Policy, Rules, rules};
use crate::safety;

/// One policy that is compared.
#[derive(Debug, Clone, PartialEq)]
pub struct Arm {
    /// Its name.
    pub name: String,
    /// How it acts.
    pub actuation: Actuation,
    /// What decides; none: the stock HPAs alone.
    pub planner: Option<Planner>,
}

/// What decides, through [`Pilot::decide`].
#[derive(Debug, Clone, PartialEq)]
pub struct Planner {
    /// The policy.
    pub policy: Planning,
    /// The hard limits.
    pub safety: safety::Settings,
}

/// Which policy.
#[derive(Debug, Clone, PartialEq)]
pub enum Planning {
    /// The rule with these constants.
    Rules(rules::Settings),
}

impl Arm {
    /// The pilot of a run; none where nothing decides.
    #[must_use]
    pub fn pilot(&self, simulation: &Simulation, scenario: &Scenario, seed: Seed) -> Option<Pilot> {
        Some(self.planner.as_ref()?.pilot(simulation, scenario, seed))
    }
}

impl Planner {
    /// The pilot of a run.
    #[must_use]
    pub fn pilot(&self, simulation: &Simulation, _scenario: &Scenario, _seed: Seed) -> Pilot {
        let policy: Box<dyn Policy> = match &self.policy {
            Planning::Rules(settings) => Box::new(Rules::new(settings.clone())),
        };
        Pilot::new(
            observation::Settings::default(),
            simulation.freshness(),
            policy,
            self.safety.clone(),
            1,
        )
    }
}

/// The names of [`arm`], in the order in which they are reported.
pub const NAMES: [&str; 2] = ["hpa", "rules"];

/// A policy by its name.
#[must_use]
pub fn arm(name: &str) -> Option<Arm> {
    let ours =
        Actuation { metric: Metric::Ours, priorities: true, budgets: true, ..Actuation::default() };
    let (actuation, planner) = match name {
        "hpa" => (Actuation::default(), None),
        "rules" => {
            let policy = Planning::Rules(rules::Settings::default());
            (ours, Some(Planner { policy, safety: safety::Settings::default() }))
        }
        _ => return None,
    };
    Some(Arm { name: name.to_owned(), actuation, planner })
}
