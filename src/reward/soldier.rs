//! A Soldier's reward, once per row and domain.

use serde::Serialize;

use super::{Soldier, minutes};
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
    minutes(timeline)?;
    if domain >= timeline.domains.len() {
        return Err(format!("the timeline has no domain {domain}"));
    }
    Ok(timeline.rows.iter().map(|row| terms(&row.domains[domain], settings)).collect())
}

fn terms(domain: &DomainRow, settings: &Soldier) -> SoldierTerms {
    let target = settings.target;
    // Without a budget there is none to use, and none to split.
    let (missed, aligned) = domain.budget_cores.map_or((0.0, 0.0), |budget| {
        let used: f64 = domain.groups.iter().map(|group| group.requested_cores).sum();
        let missed = (used / (budget + EPSILON) - target).powi(2);
        (missed, alignment(&domain.groups, target * budget))
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

/// Cosine of the groups' cores and their needs, times 1 less the distance of their sum from
/// `aim`, in parts of it: 1 only where the whole aim is used, split as demand is.
///
/// The demand-weighted split of the budget is `aim` in proportion to the needs; the cosine does
/// not see its length, so the needs themselves stand for it.
fn alignment(groups: &[GroupRow], aim: f64) -> f64 {
    let (mut dot, mut actual, mut needed, mut sum) = (0.0, 0.0, 0.0, 0.0);
    for group in groups {
        dot += group.requested_cores * group.needed_cores;
        actual += group.requested_cores.powi(2);
        needed += group.needed_cores.powi(2);
        sum += group.requested_cores;
    }
    let cosine = dot / (actual.sqrt() * needed.sqrt() + EPSILON);
    let ratio = sum / (aim + EPSILON);
    cosine * (1.0 - (1.0 - ratio).abs()).max(0.0)
}
