//! What was decided, and why: the only thing that is ever published.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::cluster::{Catalog, Fault, Outlook, SignalKind, Timestamp};
use crate::policy::Reasons;

/// Where an app's number comes from, best first. Lost evidence moves an app down this ladder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rung {
    /// The policy of the domain, on fresh evidence.
    Policy,
    /// What a plain HPA on CPU would do, on fresh CPU.
    HpaEquivalent,
    /// The last number that fresh evidence supported, held for a stated time.
    LastGood,
    /// No number: the read is answered with an error and the HPA holds.
    Withheld,
}

impl Rung {
    /// Every rung, best first.
    pub const ALL: [Self; 4] = [Self::Policy, Self::HpaEquivalent, Self::LastGood, Self::Withheld];

    /// The name in logs and metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::HpaEquivalent => "hpa_equivalent",
            Self::LastGood => "last_good",
            Self::Withheld => "withheld",
        }
    }
}

impl fmt::Display for Rung {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// What was decided for one app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AppDecision {
    /// The number to publish; `None` exactly when `rung` is [`Rung::Withheld`].
    pub replicas: Option<u32>,
    /// Where the number comes from.
    pub rung: Rung,
    /// What shaped it.
    pub reasons: Reasons,
    /// What the policy asked for before the shield; `None` when it was not asked or had no answer.
    pub proposed: Option<f64>,
    /// What a plain HPA on CPU would do; `None` without fresh CPU.
    pub hpa_equivalent: Option<u32>,
    /// `spec.replicas` at the time.
    pub current: u32,
    /// When fresh evidence last supported the number.
    pub supported_at: Timestamp,
    /// Whether the HPA's tolerance will ignore the number.
    pub lost_to_tolerance: bool,
    /// What is missing, when the app stands below [`Rung::Policy`].
    pub missing: Option<(SignalKind, Fault)>,
    /// The evidence, as it was judged.
    pub evidence: Evidence,
}

/// The numbers that a decision was based on; `None` where there was no fresh one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// CPU in use over CPU requested, 1 = 100 %.
    pub utilisation: Option<f64>,
    /// Requests per second.
    pub rps: Option<f64>,
    /// p99 latency over the SLO.
    pub latency_ratio: Option<f64>,
    /// Error ratio over the SLO's.
    pub error_ratio: Option<f64>,
    /// Age of the oldest of these, in seconds.
    pub age_seconds: Option<f64>,
    /// Whether memory stays flat while traffic changes; `None` until that is known.
    pub fixed_footprint: Option<bool>,
}

/// What was decided for one domain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DomainDecision {
    /// Share of the shared pools' allocatable CPU and memory, 0 to 1.
    pub share: f64,
    /// The same in cores; `None` while no shared node is known, so that no budget applies.
    pub budget_cores: Option<f64>,
    /// CPU requested by what is published now, in cores.
    pub used_cores: f64,
    /// CPU that the apps' lower bounds need beyond the budget, in cores.
    pub shortage_cores: f64,
    /// Shares of pools that differ from `share`, by name: somebody set some by hand there.
    #[serde(default)]
    pub pool_shares: Vec<(String, f64)>,
    /// Until when shares that an operator set for this domain hold; `None` when they do not now.
    #[serde(default)]
    pub by_hand: Option<Timestamp>,
    /// Until when an emergency that an operator declared holds, so that the domain may exceed its
    /// budget by the emergency band; `None` when it does not now.
    #[serde(default)]
    pub emergency_until: Option<Timestamp>,
    /// Whether the domain breaks its SLO, so that it may exceed its budget by the emergency band.
    pub in_breach: bool,
    /// Apps on each rung, in the order of [`Rung::ALL`].
    pub rungs: [u32; Rung::ALL.len()],
    /// Apps refused (see [`crate::cluster::Refusal`]).
    pub refused: u32,
    /// Share of the domain's apps with a rejected value in the newest answers, 0 to 1.
    pub rejected_share: f64,
}

/// One whole decision: a number, or the absence of one, for every app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// Grows with each change of the deciding replica: a lower one is never served after a higher.
    pub epoch: u64,
    /// Grows by one with each decision of an epoch.
    pub sequence: u64,
    /// When it was made, by the decider's clock.
    pub at: Timestamp,
    /// Who is who.
    pub catalog: Arc<Catalog>,
    /// Per app, in the order of [`Catalog::apps`].
    pub apps: Vec<AppDecision>,
    /// Per domain, in the order of [`Catalog::domains`].
    pub domains: Vec<DomainDecision>,
    /// Share of the shared pools' allocatable CPU that is given to nobody.
    pub reserve_share: f64,
    /// The same for pools in which shares set by hand leave another reserve, by name.
    #[serde(default)]
    pub pool_reserves: Vec<(String, f64)>,
    /// CPU of the shared pools that balloon pods keep free on real nodes, in cores.
    #[serde(default)]
    pub warm_cores: f64,
    /// CPU of raises and of warm capacity that waits for the next provisioning batches, in cores.
    #[serde(default)]
    pub spread_cores: f64,
    /// What is expected of each domain, in the order of [`Catalog::domains`], as the snapshot had it:
    /// passed on, so that every replica can tell. Empty without a forecaster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forecasts: Vec<Outlook>,
    /// The first digits of the SHA-256 of the weights that spoke; none where the rule alone did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<Arc<str>>,
}

impl Decision {
    /// Whether this decision comes after `other`.
    #[must_use]
    pub fn supersedes(&self, other: &Self) -> bool {
        (self.epoch, self.sequence) > (other.epoch, other.sequence)
    }
}
