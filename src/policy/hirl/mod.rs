//! The learned hierarchy: a Commander divides capacity between domains once a minute, a Soldier per domain
//! moves replicas with every decision.
//!
//! ```text
//! the rule asks ─► views ─► Commander (60 s): shares, headroom, urgency
//!                    └────► Soldiers (each decision): splits, steps, velocity ─► replicas ─► the rule plans
//! ```
//!
//! Everything learned is a difference from the tuned rule: networks whose differences are 0 *are* the rule,
//! and what a network cannot say (not a number, wrong shape, no weights) is the rule's in the same decision,
//! for that domain alone. What is learned is bounded by [`Settings`], and the shield comes after.

mod action;
pub mod features;
mod flat;
mod memory;
mod model;
pub mod network;
mod settings;
mod shape;
mod view;

use std::fmt;
use std::sync::Arc;

use self::memory::{AppMemory, Churn, DomainMemory};
use self::view::Scene;
use super::rules;
use super::{AppProposal, Policy, Proposal, Reason, Rules};
use crate::cluster::{Domain, PerApp, PolicyChoice, Snapshot, Timestamp};
use crate::observation::Observation;

pub use action::{Command, Orders, chance};
pub use flat::{FLAT, Flat};
pub use model::{Model, ModelError};
pub use settings::{EVERY_APP, Settings, UNPROJECTED};
pub use shape::{MINUTES, Shape, shape};
pub use view::{CommanderView, SoldierView};

/// Service tiers by size (pods that the rule asks for) and by how long pods take to start. What more pods bring
/// and cost depends on how many there are, and what being late costs on how soon others come, whatever the
/// domain; so the groups mean the same everywhere.
pub const GROUPS: usize = 6;

/// The upper ends of all sizes but the last.
const SIZES: [f64; GROUPS / 2 - 1] = [6.0, 40.0];

/// Pods that take longer than this to start are slow, in seconds.
const SLOW: f64 = 40.0;

/// The group of an app for which the rule asks so many pods that take so long to start.
fn group_of(pods: f64, start_seconds: f64) -> usize {
    let size = SIZES.iter().filter(|end| pods > **end).count();
    2 * size + usize::from(start_seconds > SLOW)
}

/// Who says what to do: a trained model, or, while training, one that tries and remembers.
pub trait Actor: Send {
    /// Of every domain, in the order of the catalog; `None`: as the rule.
    fn command(&mut self, view: &CommanderView) -> Option<Vec<Command>>;

    /// Of every view, in their order; `None` of a domain: the rule alone, at once and without headroom.
    fn order(&mut self, views: &[SoldierView]) -> Vec<Option<Orders>>;

    /// Which weights speak; `None` where no trained ones do.
    fn weights(&self) -> Option<Arc<str>> {
        None
    }
}

/// Whether the networks are heeded in a domain. Where they are not they are asked all the same: the other
/// domains must see it.
fn is_learned(domain: &Domain) -> bool {
    domain.policy == PolicyChoice::Hirl
}

/// The hierarchy with its memory.
pub struct Hirl {
    settings: Settings,
    rules: Rules,
    actor: Box<dyn Actor>,
    apps: PerApp<AppMemory>,
    domains: Vec<(String, DomainMemory)>,
    churn: Churn,
    /// What was divided last: when, for how many domains, and shares and reserve in force.
    division: Option<Division>,
}

#[derive(Debug, Clone)]
struct Division {
    at: Timestamp,
    /// What the Commander said of each share.
    said: Vec<f64>,
    /// Whether shares and reserve are still those of the division before.
    is_new: bool,
    shares: Vec<f64>,
    reserve: f64,
}

impl Division {
    /// The shares of the minute: divided once, on what the rule gives at its beginning, and held. Where the
    /// Commander says nothing they are the rule's.
    fn divide(&mut self, settings: &Settings, snapshot: &Snapshot, proposal: &mut Proposal) {
        let says_nothing = self.said.iter().all(|said| *said == 0.0);
        if says_nothing || self.is_new || self.shares.len() != proposal.shares.len() {
            let domains = &snapshot.catalog.domains;
            let floors: Vec<f64> = domains.iter().map(|domain| domain.floor_share).collect();
            (self.shares, self.reserve) = action::shares(
                settings,
                (&proposal.shares, proposal.reserve),
                &self.said,
                &floors,
                &self.shares,
            );
            self.is_new = false;
        }
        proposal.shares.clone_from(&self.shares);
        proposal.reserve = self.reserve;
    }
}

impl fmt::Debug for Hirl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Hirl").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Hirl {
    /// The hierarchy on top of this rule, without memory.
    #[must_use]
    pub fn new(settings: Settings, rule: rules::Settings, actor: Box<dyn Actor>) -> Self {
        Self {
            settings,
            rules: Rules::new(rule),
            actor,
            apps: PerApp::default(),
            domains: Vec::new(),
            churn: Churn::default(),
            division: None,
        }
    }

    /// The instant on the networks' clock.
    fn own(&self, now: Timestamp) -> Timestamp {
        Timestamp::from_seconds(now.as_seconds() * self.settings.time_scale)
    }

    /// Brings the memory up to `now`; domains keep theirs by name.
    fn remember(&mut self, snapshot: &Snapshot, observation: &Observation, now: Timestamp) -> f64 {
        let now = self.own(now);
        let catalog = &snapshot.catalog;
        let memory = self.apps.align(catalog);
        for ((memory, state), seen) in memory.iter_mut().zip(&snapshot.apps).zip(&observation.apps)
        {
            memory.look(state, seen, now);
        }
        let same = self.domains.len() == catalog.domains.len()
            && self.domains.iter().zip(&catalog.domains).all(|(own, domain)| own.0 == domain.name);
        if !same {
            let mut before = std::mem::take(&mut self.domains);
            self.domains = catalog
                .domains
                .iter()
                .map(|domain| {
                    let known = before.iter().position(|(name, _)| *name == domain.name);
                    known.map_or_else(
                        || (domain.name.clone(), DomainMemory::default()),
                        |known| before.swap_remove(known),
                    )
                })
                .collect();
            self.division = None;
        }
        for ((_, memory), seen) in self.domains.iter_mut().zip(&observation.domains) {
            memory.look(seen.rps, seen.breaching_share, now);
        }
        let shared = snapshot.pools.iter().filter(|pool| pool.shared);
        self.churn.look(shared.map(|pool| pool.nodes).sum(), now)
    }

    /// Everything that is shown at `now`, once it is remembered.
    fn scene<'a>(
        &'a self,
        (snapshot, observation): (&'a Snapshot, &'a Observation),
        asked: &'a [AppProposal],
        node_churn: f64,
        now: Timestamp,
    ) -> Scene<'a> {
        Scene {
            snapshot,
            observation,
            asked,
            apps: self.apps.items(),
            domains: &self.domains,
            shares: self.division.as_ref().map_or(&[][..], |division| &division.shares),
            node_churn,
            now,
            own: self.own(now),
            time_scale: self.settings.time_scale,
            at_risk: self.settings.at_risk,
        }
    }

    /// Whether the Commander is to be asked again.
    fn is_due(&self, now: Timestamp) -> bool {
        let now = self.own(now);
        self.division.as_ref().is_none_or(|division| {
            !(0.0..self.settings.command_seconds).contains(&now.seconds_since(division.at))
        })
    }

    /// Asks the Commander; what it says holds until the next time.
    fn command(&mut self, snapshot: &Snapshot, view: &CommanderView, now: Timestamp) {
        let said = self.actor.command(view).filter(|said| said.len() == self.domains.len());
        let of = |(index, domain): (usize, &Domain)| {
            let command = said.as_ref().map(|said| said[index]);
            // Without a fresh forecast of the domain nobody knows what the network would say it for.
            let is_led = snapshot.forecasts.get(index).is_some_and(|it| it.fresh(now).is_some());
            let heeded = |command: &Command| command.is_finite() && is_learned(domain) && is_led;
            command.filter(heeded).unwrap_or_default()
        };
        let domains = &snapshot.catalog.domains;
        let commands: Vec<Command> = domains.iter().enumerate().map(of).collect();
        for ((_, memory), command) in self.domains.iter_mut().zip(&commands) {
            memory.headroom = action::headroom(&self.settings, command.headroom);
            memory.urgency = command.urgency.clamp(0.0, 1.0);
        }
        let before = self.division.take();
        let (shares, reserve) =
            before.map(|division| (division.shares, division.reserve)).unwrap_or_default();
        let said = commands.iter().map(|command| command.share).collect();
        self.division = Some(Division { at: self.own(now), said, is_new: true, shares, reserve });
    }

    /// Forgets in this decision what the Commander said of domains that were given to somebody else.
    fn leave_alone(&mut self, domains: &[Domain]) {
        let given = domains.iter().enumerate().filter(|(_, domain)| !is_learned(domain));
        for (index, _) in given {
            let memory = &mut self.domains[index].1;
            (memory.headroom, memory.urgency) = (0.0, 0.0);
            if let Some(division) = &mut self.division
                && division.said[index] != 0.0
            {
                division.said[index] = 0.0;
                division.is_new = true;
            }
        }
    }

    /// Moves what the rule asks for by what a Soldier says of its domain.
    fn obey(
        &mut self,
        snapshot: &Snapshot,
        view: &SoldierView,
        orders: Option<&Orders>,
        asked: &mut [AppProposal],
    ) {
        let settings = &self.settings;
        let memory = &mut self.domains[view.domain].1;
        let apps = self.apps.align(&snapshot.catalog);
        let Some(orders) =
            orders.filter(|orders| orders.steps.len() == view.members.len() && orders.is_finite())
        else {
            // The rule in this same decision, the Commander's headroom and all; what was smoothed begins anew.
            memory.split = [0.0; GROUPS];
            view.members.iter().for_each(|index| apps[*index].step = 0.0);
            return;
        };
        let toward = |from: f64, to: f64| {
            let new = from + (to - from) * settings.smoothing;
            // So that what nobody says any more is the rule again, and not nearly.
            if to == 0.0 && new.abs() < 1e-3 { 0.0 } else { new }
        };
        let mut cores = [0.0; GROUPS];
        for (group, own) in view.groups.iter().zip(&view.cores) {
            cores[*group] += own;
        }
        for (split, said) in memory.split.iter_mut().zip(orders.splits) {
            *split = toward(*split, said.clamp(-1.0, 1.0));
        }
        let factors = action::group_factors(settings, &memory.split, &cores);
        let headroom = memory.headroom.exp();
        for (place, index) in view.members.iter().enumerate() {
            let app = &mut apps[*index];
            let said = if view.at_risk[place] { orders.steps[place] } else { 0.0 };
            app.step = toward(app.step, said.clamp(-2.0, 2.0));
            let factor = headroom * factors[view.groups[place]] * (1.0 + settings.step * app.step);
            let asked = &mut asked[*index];
            let Some(rule) = asked.replicas else { continue };
            let standing = f64::from(snapshot.apps[*index].spec_replicas);
            let ask = (rule, asked.ahead);
            let moved = action::replicas(ask, (factor, app.step), standing, orders.velocity);
            if moved != rule {
                asked.replicas = Some(moved);
                asked.reasons.add(Reason::Learned);
            }
        }
    }
}

impl Policy for Hirl {
    fn propose(
        &mut self,
        snapshot: &Snapshot,
        observation: &Observation,
        now: Timestamp,
    ) -> Proposal {
        let mut asked = self.rules.ask(snapshot, observation, now);
        let node_churn = self.remember(snapshot, observation, now);
        if self.is_due(now) {
            let scene = self.scene((snapshot, observation), &asked, node_churn, now);
            let view = scene.commander();
            self.command(snapshot, &view, now);
        }
        self.leave_alone(&snapshot.catalog.domains);
        let mut views = self.scene((snapshot, observation), &asked, node_churn, now).soldiers();
        views.retain(|view| !view.members.is_empty());
        let orders = self.actor.order(&views);
        for (place, view) in views.iter().enumerate() {
            let learned = is_learned(&snapshot.catalog.domains[view.domain]);
            let said = orders.get(place).and_then(Option::as_ref).filter(|_| learned);
            self.obey(snapshot, view, said, &mut asked);
        }
        let mut proposal = self.rules.plan(snapshot, observation, asked, now);
        if let Some(division) = &mut self.division {
            division.divide(&self.settings, snapshot, &mut proposal);
        }
        proposal.weights = self.actor.weights();
        proposal
    }
}

#[cfg(test)]
mod tests;
