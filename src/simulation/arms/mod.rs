//! The policies that are compared, by name: how each acts on the cluster, and what decides.
//!
//! | name | what it is |
//! |---|---|
//! | `hpa` | stock HPAs on CPU as the scenario sets them (70 % by default) |
//! | `hpa-tuned` | the same with searched targets, tolerance and behaviour |
//! | `rules` | the rule with `PriorityClasses`, priority-weighted budgets and a warm reserve |
//! | `rules+forecast` | the same, led by the forecast's p80 |
//! | `static-peak` | replicas for the highest announced demand, all the time |
//! | `oracle` | a planner that knows the future, through the same controllers and nodes |
//! | `sighted-SECONDS@MARGIN` | knows the present and so many seconds of the future, and adds the margin (1 unless given) for the rest |
//! | `hirl` | the learned hierarchy with the built-in weights, on top of the rule that they name; others: [`learned`] |
//! | `hirl-commander` | its Commander alone, above the rule's replicas |
//! | `hirl-soldiers` | its Soldiers alone, below the rule's budgets |
//! | `hirl-future` | both, told what really comes |
//! | `hirl-unbudgeted` | the same without the extender: `PriorityClasses` alone when pods are placed |
//!
//! The constants of `hpa-tuned`, `rules` and `rules+forecast` come from a recorded search
//! ([`frozen`]). A name alone is the knee of its front;
//! `rules@3` is the third point, so that a policy can be compared with the one at its own cost.

mod bound;
pub mod frozen;
mod oracle;
pub mod search;
mod sighted;
mod staffing;

use std::sync::Arc;

use super::actuation::{Actuation, Metric};
use super::scenario::{HpaSpec, ScaleRules, Scenario};
use super::{Foresight, Seed, Simulation};
use crate::observation;
use crate::pilot::Pilot;
use crate::policy::hirl::{self, Actor, Command, CommanderView, Flat, Hirl, Orders, SoldierView};
use crate::policy::{Policy, Rules, rules};
use crate::safety;

pub use bound::Bound;
pub use oracle::Oracle;
pub use sighted::{Sight, Sighted};

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
    /// How signals become features.
    pub observation: observation::Settings,
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
    /// Knows the future.
    Oracle,
    /// Knows the present, and so much of the future.
    Sighted(Sight),
    /// The learned hierarchy.
    Learned(Learned),
}

/// The learned hierarchy on top of a rule. Equal where the same model decides.
#[derive(Debug, Clone)]
pub struct Learned {
    /// The rule.
    pub rule: rules::Settings,
    /// The networks.
    pub model: Arc<hirl::Model>,
    /// Which of them are heeded.
    pub part: Part,
}

/// Which levels of the learned hierarchy speak; the rule speaks for the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Both.
    Whole,
    /// The Commander above the rule's replicas.
    Commander,
    /// The Soldiers below the rule's budgets.
    Soldiers,
    /// Both, told what really comes: who runs this gives it such forecasts.
    Future,
}

impl Part {
    /// Every part.
    pub const ALL: [Self; 4] = [Self::Whole, Self::Commander, Self::Soldiers, Self::Future];

    /// The name of the policy in which it alone speaks.
    #[must_use]
    pub const fn policy(self) -> &'static str {
        match self {
            Self::Whole => LEARNED,
            Self::Commander => "hirl-commander",
            Self::Soldiers => "hirl-soldiers",
            Self::Future => "hirl-future",
        }
    }

    /// The part of a policy's name.
    #[must_use]
    pub fn of(policy: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|part| part.policy() == policy)
    }
}

/// A model of which one part is heeded.
struct Partly {
    model: Arc<hirl::Model>,
    part: Part,
}

impl Actor for Partly {
    fn command(&mut self, view: &CommanderView) -> Option<Vec<Command>> {
        if self.part == Part::Soldiers { None } else { self.model.command(view) }
    }

    fn order(&mut self, views: &[SoldierView]) -> Vec<Option<Orders>> {
        if self.part == Part::Commander {
            views.iter().map(|view| Some(Orders::nothing(view.members.len()))).collect()
        } else {
            self.model.order(views)
        }
    }

    fn weights(&self) -> Option<Arc<str>> {
        self.model.weights()
    }
}

impl PartialEq for Learned {
    fn eq(&self, other: &Self) -> bool {
        self.rule == other.rule && self.part == other.part && Arc::ptr_eq(&self.model, &other.model)
    }
}

impl Arm {
    /// The cluster of a run as the policy acts on it, with the forecasts that it looks at: `foresight`
    /// where given, otherwise made as the run goes. A policy that looks at none costs none. `Err` is
    /// one sentence.
    pub fn simulation(
        &self,
        scenario: &Arc<Scenario>,
        seed: Seed,
        foresight: Option<&Arc<Foresight>>,
    ) -> Result<Simulation, String> {
        let simulation = Simulation::new(Arc::clone(scenario), &self.actuation, seed)?;
        match foresight {
            _ if !self.needs_forecast() => Ok(simulation),
            Some(foresight) => Ok(simulation.with_foresight(Arc::clone(foresight))),
            None => simulation.with_forecaster(),
        }
    }

    /// Whether the policy looks at forecasts.
    #[must_use]
    pub fn needs_forecast(&self) -> bool {
        self.planner.as_ref().is_some_and(Planner::needs_forecast)
    }

    /// The pilot of a run; none where nothing decides.
    #[must_use]
    pub fn pilot(&self, simulation: &Simulation, scenario: &Scenario, seed: Seed) -> Option<Pilot> {
        Some(self.planner.as_ref()?.pilot(simulation, scenario, seed))
    }
}

impl Planner {
    /// Whether it looks at forecasts.
    #[must_use]
    pub fn needs_forecast(&self) -> bool {
        match &self.policy {
            Planning::Rules(settings) => settings.forecast_lead_seconds > 0.0,
            Planning::Oracle | Planning::Sighted(_) => false,
            Planning::Learned(_) => true,
        }
    }

    /// The pilot of a run.
    #[must_use]
    pub fn pilot(&self, simulation: &Simulation, scenario: &Scenario, seed: Seed) -> Pilot {
        let policy: Box<dyn Policy> = match &self.policy {
            Planning::Rules(settings) => Box::new(Rules::new(settings.clone())),
            Planning::Oracle => Box::new(Oracle::new(scenario, seed)),
            Planning::Sighted(sight) => Box::new(Sighted::new(scenario, seed, *sight)),
            Planning::Learned(Learned { rule, model, part }) => {
                let actor = Partly { model: Arc::clone(model), part: *part };
                let actor: Box<dyn Actor> = match model.ablation() {
                    Some(hirl::FLAT) => Box::new(Flat(actor)),
                    _ => Box::new(actor),
                };
                let reach = hirl::Settings::without(model.ablation());
                Box::new(Hirl::new(reach, rule.clone(), actor))
            }
        };
        self.pilot_with(simulation, policy)
    }

    /// The same with another policy in its place.
    #[must_use]
    pub fn pilot_with(&self, simulation: &Simulation, policy: Box<dyn Policy>) -> Pilot {
        let freshness = simulation.freshness();
        Pilot::new(self.observation.clone(), freshness, policy, self.safety.clone(), 1)
    }

    fn of(policy: Planning) -> Self {
        Self {
            observation: observation::Settings::default(),
            policy,
            safety: safety::Settings::default(),
        }
    }
}

/// The names of [`arm`], in the order in which they are reported.
pub const NAMES: [&str; 7] =
    ["hpa", "hpa-tuned", "static-peak", "rules", "rules+forecast", LEARNED, "oracle"];

/// `static-peak` has this much of what the highest announced demand asks for. Assumed: a fifth
/// more than expected is what people add by hand.
const PEAK_MARGIN: f64 = 1.2;

/// Forecast lead of `rules+forecast` before any search, in seconds: a node and a pod on it.
const FORECAST_LEAD: f64 = 300.0;

/// A policy by its name, with searched constants where it has some.
#[must_use]
pub fn arm(name: &str) -> Option<Arm> {
    if name == UNBUDGETED {
        let arm = arm(LEARNED)?;
        let actuation = Actuation { budgets: false, ..arm.actuation };
        return Some(Arm { name: name.to_owned(), actuation, ..arm });
    }
    if let Some(part) = Part::of(name) {
        // A test loads them.
        return learned(Arc::new(hirl::Model::builtin().ok()?), part).ok();
    }
    if Sight::of(name).is_some() {
        return untuned(name);
    }
    let (base, number) = match name.split_once('@') {
        Some((base, number)) => (base, Some(number.parse::<usize>().ok()?)),
        None => (name, None),
    };
    let plain = untuned(base)?;
    let front = frozen::front(base);
    let point = match number {
        Some(number) => Some(front?.points.get(number.checked_sub(1)?)?),
        None => front.and_then(frozen::Front::knee),
    };
    let searched = point.and_then(|point| search::build(base, &point.constants));
    Some(Arm { name: name.to_owned(), ..searched.unwrap_or(plain) })
}

/// The learned hierarchy where nobody asks the extender.
pub const UNBUDGETED: &str = "hirl-unbudgeted";

/// The name of the learned hierarchy.
pub const LEARNED: &str = "hirl";

/// A part of the learned hierarchy of a model, acting as the rule acts that its weights were trained on top of.
/// `Err` is one sentence.
pub fn learned(model: Arc<hirl::Model>, part: Part) -> Result<Arm, String> {
    let rule = model.origin().get(hirl::Model::RULE).cloned().unwrap_or_default();
    on_top_of(&rule, model, part).ok_or_else(|| {
        format!("the weights were trained on top of {rule:?}, which is no rule here")
    })
}

/// A part of the learned hierarchy on top of the rule of this name; `None` where there is no such rule.
#[must_use]
pub fn on_top_of(rule: &str, model: Arc<hirl::Model>, part: Part) -> Option<Arm> {
    let arm = arm(rule)?;
    let planner = arm.planner?;
    let Planning::Rules(rule) = planner.policy else { return None };
    let policy = Planning::Learned(Learned { rule, model, part });
    Some(Arm {
        name: part.policy().to_owned(),
        planner: Some(Planner { policy, ..planner }),
        ..arm
    })
}

/// It knows when pods are needed again: what it lets go goes at once.
fn at_once(actuation: Actuation) -> Actuation {
    let down = HpaSpec::default().scale_down;
    let down = ScaleRules { stabilization_seconds: Some(0.0), ..down };
    Actuation { scale_down: Some(down), ..actuation }
}

/// A policy by its name as it is before any search.
#[must_use]
pub fn untuned(name: &str) -> Option<Arm> {
    let stock = Actuation::default;
    let ours = || Actuation { metric: Metric::Ours, priorities: true, budgets: true, ..stock() };
    let rules = |settings| Some(Planner::of(Planning::Rules(settings)));
    let (actuation, planner) = match name {
        "hpa" | "hpa-tuned" => (stock(), None),
        "static-peak" => (Actuation { peak_margin: Some(PEAK_MARGIN), ..stock() }, None),
        "rules" => (ours(), rules(rules::Settings::default())),
        "rules+forecast" => {
            let led = rules::Settings::default();
            (ours(), rules(rules::Settings { forecast_lead_seconds: FORECAST_LEAD, ..led }))
        }
        "oracle" => (at_once(ours()), Some(Planner::of(Planning::Oracle))),
        _ => (at_once(ours()), Some(Planner::of(Planning::Sighted(Sight::of(name)?)))),
    };
    Some(Arm { name: name.to_owned(), actuation, planner })
}

#[cfg(test)]
mod tests;
