//! Whether quantiles keep their promise in every slice, and not only on average.

use serde::Serialize;

use super::measures::Counted;
use crate::forecast::calibration::{Group, HORIZONS, QUANTILES, horizon_minutes};

/// Exceedance of p80 over everything that is right.
pub const AGGREGATE: [f64; 2] = [0.18, 0.22];

/// Exceedance of p80 in a slice of steady traffic that is right.
pub const SLICE: [f64; 2] = [0.15, 0.25];

/// Exceedance of p80 in spikes that is right: caution is no fault there.
pub const SPIKES: [f64; 2] = [0.0, 0.30];

const P80: usize = 2;
const RIGHT: f64 = 0.2;

/// How many standard errors off a share must be before chance is no excuse.
const STANDARD_ERRORS: f64 = 2.0;

/// What is found of a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Judgement {
    /// Within the range.
    Right,
    /// Outside, or nothing seen; so few independent outcomes that a right forecaster may look like this.
    TooFew,
    /// Outside, and not by chance.
    Wrong,
}

/// One share and what is found of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// "all", a slice or "spike".
    pub group: String,
    /// Minutes ahead.
    pub horizon_minutes: i64,
    /// Part of the outcomes above p80; NaN (null) without any.
    pub exceedance: f64,
    /// Outcomes.
    pub outcomes: usize,
    /// Independent ones, about: those of forecasts whose horizons overlap count once.
    pub independent: f64,
    /// What is found.
    pub judgement: Judgement,
}

/// What is found of one forecaster on one series.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// Over all groups, per horizon.
    pub aggregate: Vec<Finding>,
    /// Per group and horizon.
    pub groups: Vec<Finding>,
}

impl Verdict {
    /// Whether a look at the aggregate alone finds nothing.
    #[must_use]
    pub fn aggregate_looks_right(&self) -> bool {
        self.aggregate.iter().all(|finding| finding.judgement != Judgement::Wrong)
    }

    /// The groups that are wrong.
    pub fn wrong(&self) -> impl Iterator<Item = &Finding> {
        self.groups.iter().filter(|finding| finding.judgement == Judgement::Wrong)
    }

    /// Whether nothing is wrong, neither over all nor anywhere.
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.aggregate_looks_right() && self.wrong().next().is_none()
    }
}

/// Judges exceedances ([`super::exceedances`]) of forecasts that were made every so many minutes.
#[must_use]
pub fn verdict(groups: &[[Counted; HORIZONS]; Group::COUNT], every: usize) -> Verdict {
    let finding = |name: &str, horizon: usize, counted: &Counted, range: [f64; 2]| {
        let minutes = horizon_minutes(horizon);
        let independent = counted.outcomes as f64 * (every as f64 / minutes as f64).min(1.0);
        let exceedance = counted.share(P80);
        Finding {
            group: name.to_owned(),
            horizon_minutes: minutes,
            exceedance,
            outcomes: counted.outcomes,
            independent,
            judgement: judged(exceedance, independent, range),
        }
    };
    let all = |horizon: usize| {
        groups.iter().fold(Counted::default(), |sum, group| Counted {
            outcomes: sum.outcomes + group[horizon].outcomes,
            above: std::array::from_fn::<_, QUANTILES, _>(|at| {
                sum.above[at] + group[horizon].above[at]
            }),
        })
    };
    let of_group = |group: Group| {
        let range = if group == Group::Spike { SPIKES } else { SLICE };
        let counted = &groups[group.index()];
        let of = |horizon| finding(&group.to_string(), horizon, &counted[horizon], range);
        (0..HORIZONS).map(of).collect::<Vec<_>>()
    };
    Verdict {
        aggregate: (0..HORIZONS).map(|at| finding("all", at, &all(at), AGGREGATE)).collect(),
        groups: Group::all().flat_map(of_group).collect(),
    }
}

fn judged(exceedance: f64, independent: f64, [low, high]: [f64; 2]) -> Judgement {
    let chance = STANDARD_ERRORS * (RIGHT * (1.0 - RIGHT) / independent).sqrt();
    if (low..=high).contains(&exceedance) {
        Judgement::Right
    } else if (exceedance - RIGHT).abs() > chance {
        Judgement::Wrong
    } else {
        Judgement::TooFew
    }
}
