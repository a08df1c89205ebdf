//! Who may decide in the demo, by name.

use anyhow::bail;

use crate::cluster::Freshness;
use crate::observation;
use crate::pilot::Pilot;
use crate::policy::Rules;
use crate::policy::rules;
use crate::safety;
use crate::simulation::{Actuation, Metric};

/// Who decides unless somebody else is named.
pub(super) const DEFAULT: &str = "rules";

/// A policy and how it acts.
#[derive(Debug)]
pub(super) struct Named {
    /// How its numbers reach the cluster.
    pub(super) actuation: Actuation,
}

/// The policy of this name.
pub(super) fn named(name: &str) -> anyhow::Result<Named> {
    if name != DEFAULT {
        bail!("{name:?} is no policy: {DEFAULT}");
    }
    let actuation =
        Actuation { metric: Metric::Ours, priorities: true, budgets: true, ..Actuation::default() };
    Ok(Named { actuation })
}

impl Named {
    /// Makes its pilot for an epoch.
    #[expect(clippy::unused_self, reason = "stub")]
    pub(super) fn pilot(&self) -> Box<dyn Fn(u64) -> Pilot + Send + Sync> {
        Box::new(|epoch| {
            Pilot::new(
                observation::Settings::default(),
                Freshness::default(),
                Box::new(Rules::new(rules::Settings::default())),
                safety::Settings::default(),
                epoch,
            )
        })
    }
}
