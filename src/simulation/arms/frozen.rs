//! The constants that the search for each baseline found: reviewed, and the same for everybody.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use super::search::Constants;

/// The trade-offs that the search for one baseline found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Front {
    /// Name of the baseline.
    pub policy: String,
    /// How it was searched.
    pub command: String,
    /// Hash of everything that decided what the trials measured.
    pub inputs: String,
    /// Trials made.
    pub trials: usize,
    /// What `hpa` pays on the same members, in core-hours, ...
    pub hpa_core_hours: f64,
    /// ... and its weighted breach minutes.
    pub hpa_breach_minutes: f64,
    /// The cheapest first.
    pub points: Vec<Point>,
}

/// One trade-off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Point {
    /// Number of the trial.
    pub trial: usize,
    /// Paid core-hours over all members.
    pub core_hours: f64,
    /// Breach minutes over all members, weighted as
    /// [`Summary::weighted_breach_minutes`](crate::simulation::Summary::weighted_breach_minutes).
    pub breach_minutes: f64,
    /// What was searched; empty for the baseline as it is.
    pub constants: Constants,
}

impl Front {
    /// The knee: the point whose cost and breach minutes, each as a multiple of those of `hpa`, have
    /// the least sum.
    #[must_use]
    pub fn knee(&self) -> Option<&Point> {
        let sum = |point: &Point| {
            point.core_hours / self.hpa_core_hours + point.breach_minutes / self.hpa_breach_minutes
        };
        self.points.iter().min_by(|one, other| sum(one).total_cmp(&sum(other)))
    }
}

/// The text of all fronts.
const TEXT: &str = include_str!("frozen.yaml");

static FRONTS: LazyLock<Result<Vec<Front>, String>> = LazyLock::new(|| {
    serde_saphyr::from_str(TEXT).map_err(|error| format!("frozen.yaml does not parse: {error}"))
});

/// Every front. `Err` is one sentence.
pub fn fronts() -> Result<&'static [Front], &'static str> {
    FRONTS.as_deref().map_err(String::as_str)
}

/// The front of a baseline; `None` where it was not searched.
#[must_use]
pub fn front(policy: &str) -> Option<&'static Front> {
    fronts().ok()?.iter().find(|front| front.policy == policy)
}
