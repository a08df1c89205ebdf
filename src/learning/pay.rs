//! What each app is paid for a step: the Soldier's reward of `system.md` 2.4, app by app.

use serde::{Deserialize, Serialize};

use super::settings::Pay;
use crate::cluster::{Class, Slo};
use crate::policy::hirl::network::VALUES;
use crate::simulation::scenario::Scenario;
use crate::simulation::{Reversals, Simulation};

/// Replicas that went up and down again within this time oscillate, in seconds (`system.md` 2.4).
const OSCILLATION: f64 = 120.0;

/// What an app was paid for a step: all but the cost, and the cores that the cost is for.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Paid {
    /// In minutes of breach, by term.
    pub terms: [f32; TERMS.len()],
    /// Core-hours requested.
    pub core_hours: f32,
    /// 1 in breach, else 0.
    pub breach: f32,
}

/// The names of the terms of [`Paymaster::terms`]; the cost comes on top, by its price.
pub(super) const TERMS: [&str; 5] = ["breach", "degradation", "adherence", "oscillation", "cold"];

const _: () =
    assert!(VALUES == TERMS.len() + 1, "the critic has a value for each term and the cost");

impl Paid {
    /// What it was paid beyond the rule, by term; the cost, at its price, comes last.
    pub(super) fn beyond(&self, rule: &Self, price: f32) -> [f32; VALUES] {
        std::array::from_fn(|term| match (self.terms.get(term), rule.terms.get(term)) {
            (Some(own), Some(rule)) => own - rule,
            _ => -price * (self.core_hours - rule.core_hours),
        })
    }
}

/// Pays the apps of one run.
#[derive(Debug)]
pub(super) struct Paymaster {
    pay: Pay,
    slos: Vec<(Slo, f64)>,
    standing: Vec<u32>,
    reversals: Vec<Reversals>,
    minutes: f64,
    terms: [f64; TERMS.len()],
}

impl Paymaster {
    pub(super) fn new(scenario: &Scenario, pay: Pay) -> Self {
        let domain = |domain: &crate::simulation::scenario::DomainSpec| {
            (domain.to_domain().slo, domain.weight)
        };
        Self {
            pay,
            slos: scenario.domains.iter().map(domain).collect(),
            standing: Vec::new(),
            reversals: vec![Reversals::new(OSCILLATION); scenario.apps.len()],
            minutes: scenario.step_seconds / 60.0,
            terms: [0.0; TERMS.len()],
        }
    }

    /// The pay for the step that has just been done, in the order of the scenario's apps.
    pub(super) fn pay(&mut self, simulation: &Simulation) -> Vec<Paid> {
        let at = simulation.seconds();
        let replicas: Vec<u32> = simulation.replicas().collect();
        let before = std::mem::replace(&mut self.standing, replicas);
        let mut paid = Vec::with_capacity(self.standing.len());
        self.terms = [0.0; TERMS.len()];
        for (index, tick) in simulation.app_ticks().iter().enumerate() {
            let (slo, weight) = &self.slos[tick.domain];
            let pay = &self.pay;
            let breach = f64::from(u8::from(tick.breaks(slo)));
            let errors = tick.error_ratio / slo.error_ratio;
            let late = tick.p99_seconds / slo.p99_seconds;
            // `max` leaves out what is no number: nobody asked.
            let degradation = (late - 1.0).max(errors - 1.0).clamp(0.0, 1.0);
            let now = self.standing[index];
            let then = before.get(index).copied().unwrap_or(now);
            let (grown, shrunk) = (now.saturating_sub(then), then.saturating_sub(now));
            let reversed = self.reversals[index].change(at, f64::from(grown), f64::from(shrunk));
            let all = f64::from(now.max(1));
            let cold = (1.0 - f64::from(tick.ready) / all).clamp(0.0, 1.0);
            let terms = [
                -pay.breach * breach * self.minutes,
                -pay.degradation * degradation.max(0.0) * self.minutes,
                pay.adherence * slo.adherence(tick.p99_seconds) * self.minutes,
                -pay.oscillation * reversed / all,
                -pay.cold * cold * self.minutes,
            ];
            self.terms.iter_mut().zip(terms).for_each(|(sum, term)| *sum += weight * term);
            paid.push(Paid {
                terms: terms.map(|term| (weight * term) as f32),
                breach: breach as f32,
                core_hours: (tick.requested_cores * self.minutes / 60.0) as f32,
            });
        }
        paid
    }

    /// What all apps were paid in the last step, by term.
    pub(super) const fn terms(&self) -> [f64; TERMS.len()] {
        self.terms
    }
}

/// App-minutes in breach by class so far, and what was paid for, of a finished run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// App-minutes in breach, each with the weight of its domain.
    pub weighted_breach: f64,
    /// By class.
    pub breach: [f64; Class::ALL.len()],
    /// Core-hours of the nodes that were paid for.
    pub core_hours: f64,
    /// Nodes that came and went.
    pub churn: f64,
    /// Priority inversions.
    pub inversions: f64,
    /// Cascades.
    pub cascades: f64,
}

impl Totals {
    /// Of a run that is over.
    pub(super) fn of(simulation: &Simulation, scenario: &Scenario) -> Self {
        let summary = simulation.summary();
        let counts = &summary.counts;
        Self {
            weighted_breach: summary.weighted_breach_minutes(scenario),
            breach: std::array::from_fn(|class| counts.breach_minutes[class]),
            core_hours: counts.paid_core_hours,
            churn: (counts.nodes_added + counts.nodes_removed) as f64,
            inversions: counts.inversions.iter().sum::<u64>() as f64,
            cascades: counts.cascades.iter().sum::<u64>() as f64,
        }
    }

    /// With those of another run.
    fn add(&mut self, other: &Self) {
        self.weighted_breach += other.weighted_breach;
        self.breach.iter_mut().zip(other.breach).for_each(|(sum, value)| *sum += value);
        self.core_hours += other.core_hours;
        self.churn += other.churn;
        self.inversions += other.inversions;
        self.cascades += other.cascades;
    }
}

impl<'a> std::iter::Sum<&'a Self> for Totals {
    fn sum<I: Iterator<Item = &'a Self>>(runs: I) -> Self {
        runs.fold(Self::default(), |mut sum, run| {
            sum.add(run);
            sum
        })
    }
}
