//! A Soldier's reward, once per row and domain.

use serde::Serialize;

use super::{Soldier, check};
use crate::simulation::{DomainRow, GroupRow, Timeline};

/// Keeps a quotient of nothing by nothing a number. It stands in denominators only: added above as
/// well, it would pay an idle domain for a perfect split.
const EPSILON: f64 = 1e-9;

/// What a Soldier is paid for one row, term by term: coefficient and sign included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SoldierTerms {
    /// Adherence of the domain.
    pub adherence: f64,
    /// Distance of the use of the budget from the target, squared.
    pub budget: f64,
    /// How well the split between the groups follows demand.
    pub alignment: f64,
    /// Replicas that went up and down again.
    pub oscillation: f64,
    /// Pods that are pending or starting.
    pub cold: f64,
}

impl SoldierTerms {
    /// Every term with its name in logs and reports.
    #[must_use]
    pub const fn named(&self) -> [(&'static str, f64); 5] {
        [
            ("adherence", self.adherence),
            ("budget", self.budget),
            ("alignment", self.alignment),
            ("oscillation", self.oscillation),
            ("cold", self.cold),
        ]
    }

    /// The reward: the sum of the terms.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.named().iter().map(|(_, value)| value).sum()
    }
}

/// A Soldier's terms for each row, by the index of its domain. `Err` is one sentence.
pub fn soldier(
    timeline: &Timeline,
    domain: usize,
    settings: &Soldier,
) -> Result<Vec<SoldierTerms>, String> {
    check(timeline)?;
    if domain >= timeline.domains.len() {
        return Err(format!("the timeline has no domain {domain}"));
    }
    Ok(timeline.rows.iter().map(|row| terms(&row.domains[domain], settings)).collect())
}

fn terms(domain: &DomainRow, settings: &Soldier) -> SoldierTerms {
    // Without a budget there is none to use, and none to split.
    let (missed, aligned) = domain.budget_cores.map_or((0.0, 0.0), |budget| {
        // What is used of the target, 1 at it.
        let ratio = domain.shared_cores / (settings.target * budget + EPSILON);
        let missed = (settings.target * (ratio - 1.0)).powi(2);
        (missed, cosine(&domain.groups) * (1.0 - (1.0 - ratio).abs()).max(0.0))
    });
    let pods = domain.ready + domain.starting + domain.pending;
    SoldierTerms {
        adherence: settings.adherence * domain.adherence,
        budget: -settings.budget * missed,
        alignment: settings.alignment * aligned,
        oscillation: -settings.oscillation * part(domain.reversed, domain.asked),
        cold: -settings.cold * part(domain.pending + domain.starting, pods),
    }
}

/// A part of a whole, at most 1; 0 of nothing.
fn part(part: f64, whole: f64) -> f64 {
    (part / (whole + EPSILON)).clamp(0.0, 1.0)
}

/// Cosine of the angle between the groups' cores and the demand-weighted split of the budget; 0
/// without groups. That split is the groups' needs at another length, which a cosine does not see.
fn cosine(groups: &[GroupRow]) -> f64 {
    let (mut dot, mut actual, mut needed) = (0.0, 0.0, 0.0);
    for group in groups {
        dot += group.requested_cores * group.needed_cores;
        actual += group.requested_cores.powi(2);
        needed += group.needed_cores.powi(2);
    }
    dot / (actual.sqrt() * needed.sqrt() + EPSILON)
}
