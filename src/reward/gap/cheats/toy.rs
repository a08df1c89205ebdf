//! A toy of two domains in one pool: capacity follows a budget three minutes later, latency follows
//! load, everything else follows from these.

use super::Policy;
use crate::cluster::{Class, Slo};
use crate::simulation::{DomainRow, PoolRow, Row, Seed, Timeline};

const DAY: usize = 960;
const DELAY: usize = 3;
const SLOS: [Slo; 2] =
    [Slo { p99_seconds: 0.2, error_ratio: 0.01 }, Slo { p99_seconds: 1.0, error_ratio: 0.05 }];
/// Cores that there are for both.
pub(super) const CORES: f64 = 400.0;
/// The rule aims at this load.
const AIM: f64 = 0.6;

/// What a policy knows in one minute.
struct View<'a> {
    /// Cores that the traffic needs, per minute up to now and per domain.
    needs: &'a [[f64; 2]],
    /// What they are expected to be 15 minutes later.
    expected: [f64; 2],
    /// The budgets so far.
    budgets: &'a [[f64; 2]],
}

impl View<'_> {
    fn now(&self) -> usize {
        self.needs.len() - 1
    }

    /// The honest rule: room for the largest need of the last five minutes.
    fn rule(&self, domain: usize) -> f64 {
        let recent = &self.needs[self.needs.len().saturating_sub(5)..];
        recent.iter().map(|needs| needs[domain]).fold(0.0, f64::max) / AIM
    }

    /// The budget that a policy gives each domain.
    fn budgets_of(&self, policy: Policy) -> [f64; 2] {
        let [first, second] = [self.rule(0), self.rule(1)];
        match policy {
            Policy::Rule => [first, second],
            Policy::Forecaster => {
                [first.max(self.expected[0] / AIM), second.max(self.expected[1] / AIM)]
            }
            Policy::Hoarder => {
                let held = (3.0 * first).min(CORES);
                [held, (CORES - held).min(second)]
            }
            Policy::Rescuer => {
                let need = self.needs[self.now()][0];
                let last = self.budgets.last().map_or(need / AIM, |budgets| budgets[0]);
                let hurts = need > 0.95 * last;
                [if hurts { 1.5 * need / AIM } else { last.min(need / AIM) }, second]
            }
            Policy::Surfer => [first, second].map(|budget| budget * AIM / 0.735),
            Policy::BumpFarmer => [first * (1.0 + 0.0001 * (self.now() % 9) as f64), second],
        }
    }
}

/// Needs per minute: a day's wave, wandering noise, and a spike every one to three hours.
fn needs(seed: Seed) -> Vec<[f64; 2]> {
    let mut wander = [0.0; 2];
    let mut spike_at = 60;
    let mut needs = Vec::new();
    for minute in 0..DAY + 15 {
        let noise = seed.child("noise").draw(minute as u64);
        wander[0] = 0.9 * wander[0] + 0.02 * noise.gauss();
        wander[1] = 0.9 * wander[1] + 0.02 * noise.next().gauss();
        let since = minute as f64 - spike_at as f64;
        let spike =
            if since < 0.0 { 0.0 } else { (since / 6.0).min(1.0).min((30.0 - since) / 8.0) };
        if since >= 30.0 {
            spike_at =
                minute + 60 + (seed.child("spike").draw(minute as u64).uniform() * 90.0) as usize;
        }
        let wave = (minute as f64 / DAY as f64 * std::f64::consts::TAU).sin();
        needs.push([
            (50.0 + 20.0 * wave) * (1.0 + wander[0]) * (1.0 + 0.6 * spike.max(0.0)),
            60.0 * (1.0 + wander[1]),
        ]);
    }
    needs
}

/// A short day of a policy.
pub(super) fn run(policy: Policy, seed: Seed) -> Timeline {
    let needs = needs(seed);
    let mut budgets: Vec<[f64; 2]> = Vec::new();
    let mut rows = Vec::new();
    for minute in 0..DAY {
        let expected = [0, 1].map(|domain| {
            let error = seed.child("forecast").draw((minute * 2 + domain) as u64).gauss();
            needs[minute + 15][domain] * (1.0 + 0.05 * error)
        });
        let view = View { needs: &needs[..=minute], expected, budgets: &budgets };
        budgets.push(view.budgets_of(policy));
        rows.push(row(&budgets, needs[minute], expected));
    }
    Timeline {
        seconds: 60.0,
        domains: vec!["payments".to_owned(), "batch".to_owned()],
        classes: vec![Class::P0, Class::P3],
        weights: vec![1.0, 0.3],
        slo_seconds: SLOS.map(|slo| slo.p99_seconds).to_vec(),
        slo_error_ratios: SLOS.map(|slo| slo.error_ratio).to_vec(),
        floor_shares: vec![0.1, 0.1],
        pools: vec!["shared".to_owned()],
        node_cores: vec![1.0],
        rows,
    }
}

/// The last minute of `budgets`.
fn row(budgets: &[[f64; 2]], needs: [f64; 2], expected: [f64; 2]) -> Row {
    let at = budgets.len();
    // What is raised comes later, what is lowered goes at once.
    let capacity = |at: usize, domain: usize| {
        let since = &budgets[at.saturating_sub(DELAY + 1)..at];
        since.iter().map(|budgets| budgets[domain]).fold(f64::INFINITY, f64::min)
    };
    let total = |at: usize| (capacity(at, 0) + capacity(at, 1)).round();
    let domains = (0..2).map(|domain| {
        let (cores, budget) = (capacity(at, domain), budgets[at - 1][domain]);
        let load = needs[domain] / cores;
        // At the edge of the SLO with a load of three quarters.
        let ratio = if load < 0.95 { 0.25 / (1.0 - load) } else { 5.0 };
        DomainRow {
            rps: needs[domain] * 20.0,
            forecast: Some([0.9, 0.95, 1.0, 1.1].map(|part| part * expected[domain] * 20.0)),
            ready: cores.round(),
            starting: (budget - cores).max(0.0).round(),
            asked: budget.round(),
            requested_cores: cores,
            shared_cores: cores,
            budget_cores: Some(budget),
            share: budget / CORES,
            p99_ratio: ratio,
            adherence: SLOS[domain].adherence(ratio * SLOS[domain].p99_seconds),
            error_ratio: (load - 1.0).clamp(0.0, 1.0),
            // Ten apps that differ: the first breaks its SLO a little before the mean does.
            breach_apps: ((ratio - 0.9) * 25.0).clamp(0.0, 10.0),
            ..DomainRow::default()
        }
    });
    let domains: Vec<DomainRow> = domains.collect();
    let before = if at > 1 { total(at - 1) } else { total(at) };
    Row {
        at: at as f64 * 60.0,
        counted: at > 30,
        domains,
        pools: vec![PoolRow {
            nodes: total(at),
            paid: total(at),
            asked: (total(at) - before).max(0.0),
            removed: (before - total(at)).max(0.0),
            ..PoolRow::default()
        }],
        ..Row::default()
    }
}
