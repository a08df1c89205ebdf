//! The Commander's reward, once a minute.

use serde::Serialize;

use super::proactivity::proactivity;
use super::{Commander, mean, minutes};
use crate::simulation::{DomainRow, Reversals, Row, Timeline};

/// What the Commander is paid for one minute, term by term: coefficient and sign included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CommanderTerms {
    /// Mean adherence of the domains.
    pub adherence: f64,
    /// Paid cores: absolute, never per pod.
    pub cost: f64,
    /// Weighted degradation of the worst domain.
    pub degradation: f64,
    /// Nodes that came and went, or went and came.
    pub thrash: f64,
    /// Budgets that were raised ahead of a forecast spike, beyond what the rule would have done.
    pub proactivity: f64,
    /// Domains near their floors.
    pub floor: f64,
}

impl CommanderTerms {
    /// Every term with its name in logs and reports.
    #[must_use]
    pub const fn named(&self) -> [(&'static str, f64); 6] {
        [
            ("adherence", self.adherence),
            ("cost", self.cost),
            ("degradation", self.degradation),
            ("thrash", self.thrash),
            ("proactivity", self.proactivity),
            ("floor", self.floor),
        ]
    }

    /// The reward: the sum of the terms.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.named().iter().map(|(_, value)| value).sum()
    }
}

/// The Commander's terms for each whole minute of a run.
///
/// `twin` is the run of the calibrated rule from the same state: same scenario, same seed. Without
/// one no proactivity is paid, since nobody can say what the rule would have done. `Err` is one
/// sentence.
pub fn commander(
    timeline: &Timeline,
    twin: Option<&Timeline>,
    settings: &Commander,
) -> Result<Vec<CommanderTerms>, String> {
    let mut thrash = Thrash::new(timeline.pools.len(), settings.thrash_seconds);
    let mut terms: Vec<CommanderTerms> = minutes(timeline)?
        .map(|rows| CommanderTerms {
            adherence: settings.adherence * adherence(rows),
            cost: -settings.cost * paid_cores(timeline, rows) / settings.cost_cores,
            degradation: -settings.degradation * worst_degradation(timeline, rows),
            thrash: -settings.thrash * thrash.nodes(rows) / settings.thrash_nodes,
            proactivity: 0.0,
            floor: -settings.floor * near_floor(timeline, rows, settings.floor_margin),
        })
        .collect();
    if let Some(twin) = twin {
        let met = proactivity(timeline, twin, settings)?;
        for (minute, met) in terms.iter_mut().zip(met) {
            minute.proactivity = settings.proactivity * met;
        }
    }
    Ok(terms)
}

/// Mean over rows and domains.
fn adherence(rows: &[Row]) -> f64 {
    mean(rows.iter().flat_map(|row| row.domains.iter().map(|domain| domain.adherence)))
}

/// Cores of the nodes that are paid for, mean over the rows.
pub(super) fn paid_cores(timeline: &Timeline, rows: &[Row]) -> f64 {
    mean(rows.iter().map(|row| {
        row.pools.iter().zip(&timeline.node_cores).map(|(pool, cores)| pool.paid * cores).sum()
    }))
}

/// How far a domain is from its promise, 0 to 1: the excess of p99 over the SLO or of errors over
/// their budget, whichever is larger.
pub(super) fn degradation(domain: &DomainRow, error_budget: f64) -> f64 {
    // Without a budget any error is too many, and none is none: `max` leaves out what is no number.
    let errors = domain.error_ratio / error_budget;
    [domain.p99_ratio - 1.0, errors - 1.0].into_iter().fold(0.0, f64::max).min(1.0)
}

/// Of the domain for which it is largest, mean over the rows.
fn worst_degradation(timeline: &Timeline, rows: &[Row]) -> f64 {
    mean(rows.iter().map(|row| {
        row.domains
            .iter()
            .zip(&timeline.slo_error_ratios)
            .zip(&timeline.weights)
            .map(|((domain, budget), weight)| weight * degradation(domain, *budget))
            .fold(0.0, f64::max)
    }))
}

/// Sum over the domains of how near each is to its floor: 0 at the margin above it or higher, 1 at
/// it or below; mean over the rows. A domain without floor or without budget is not near.
fn near_floor(timeline: &Timeline, rows: &[Row], margin: f64) -> f64 {
    mean(rows.iter().map(|row| {
        row.domains
            .iter()
            .zip(&timeline.floor_shares)
            .filter(|(domain, floor)| **floor > 0.0 && domain.budget_cores.is_some())
            .map(|(domain, floor)| ((1.0 + margin - domain.share / floor) / margin).clamp(0.0, 1.0))
            .sum()
    }))
}

/// Nodes that came and went or went and came, per pool.
struct Thrash {
    pools: Vec<[Reversals; 2]>,
}

impl Thrash {
    fn new(pools: usize, seconds: f64) -> Self {
        Self { pools: vec![[Reversals::new(seconds), Reversals::new(seconds)]; pools] }
    }

    /// Nodes that thrashed during the rows.
    fn nodes(&mut self, rows: &[Row]) -> f64 {
        let mut nodes = 0.0;
        for row in rows {
            for (pool, [came, went]) in row.pools.iter().zip(&mut self.pools) {
                nodes += came.change(row.at, pool.asked, pool.removed);
                nodes += went.change(row.at, pool.removed, pool.asked);
            }
        }
        nodes
    }
}
