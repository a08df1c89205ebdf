//! What a policy asks for, and which of its terms asked.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One thing that shaped an app's number. The order is the order in which they act: the policy's
/// own terms first, the shield's after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// CPU utilisation against its target asked for this count.
    Cpu,
    /// Expected requests asked for more than CPU did.
    Traffic,
    /// Latency beyond the SLO asked for more.
    Latency,
    /// Errors beyond the SLO asked for more.
    Errors,
    /// The forecast of the domain's traffic asked for more.
    Forecast,
    /// The learned policy moved what the rule asked for.
    Learned,
    /// A recent higher count is kept until it has been too high for long enough.
    Stabilised,
    /// The domain's mode publishes what a plain HPA would do.
    Mode,
    /// The proposal was not a finite number; the present count is kept.
    NotFinite,
    /// A lower count was asked for, but its evidence is not sound enough to lower.
    NoLowering,
    /// A lower count was asked for while a rollout is under way.
    Rollout,
    /// The change was cut to the fastest allowed.
    Velocity,
    /// Raised to the HPA's lower bound.
    Minimum,
    /// Cut to the HPA's upper bound.
    Maximum,
    /// A scale-up was cut to the domain's budget.
    Budget,
    /// Within the band that a domain in breach may use beyond its budget.
    Emergency,
    /// Held back for the next provisioning batch: the raise needs nodes that others ask for at once.
    Spread,
    /// Rounded to a count that the HPA's tolerance does not ignore.
    Rounded,
}

impl Reason {
    /// Every reason, in the order in which they act.
    pub const ALL: [Self; 18] = [
        Self::Cpu,
        Self::Traffic,
        Self::Latency,
        Self::Errors,
        Self::Forecast,
        Self::Learned,
        Self::Stabilised,
        Self::Mode,
        Self::NotFinite,
        Self::NoLowering,
        Self::Rollout,
        Self::Velocity,
        Self::Minimum,
        Self::Maximum,
        Self::Budget,
        Self::Emergency,
        Self::Spread,
        Self::Rounded,
    ];

    /// The name in logs and metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Traffic => "traffic",
            Self::Latency => "latency",
            Self::Errors => "errors",
            Self::Forecast => "forecast",
            Self::Learned => "learned",
            Self::Stabilised => "stabilised",
            Self::Mode => "mode",
            Self::NotFinite => "not_finite",
            Self::NoLowering => "no_lowering",
            Self::Rollout => "rollout",
            Self::Velocity => "velocity",
            Self::Minimum => "minimum",
            Self::Maximum => "maximum",
            Self::Budget => "budget",
            Self::Emergency => "emergency",
            Self::Spread => "spread",
            Self::Rounded => "rounded",
        }
    }

    /// Whether the shield, not the policy, acted.
    #[must_use]
    pub const fn is_shield(self) -> bool {
        self as u32 >= Self::NotFinite as u32
    }
}

/// A set of reasons, kept in a word so that a pass over thousands of apps allocates nothing.
/// Written as a list of names.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Reasons(u32);

impl Reasons {
    /// Adds a reason.
    pub const fn add(&mut self, reason: Reason) {
        self.0 |= 1 << reason as u32;
    }

    /// Whether `reason` acted.
    #[must_use]
    pub const fn has(self, reason: Reason) -> bool {
        self.0 & (1 << reason as u32) != 0
    }

    /// The reasons, in the order in which they act.
    pub fn iter(self) -> impl Iterator<Item = Reason> {
        Reason::ALL.into_iter().filter(move |reason| self.has(*reason))
    }
}

impl FromIterator<Reason> for Reasons {
    fn from_iter<I: IntoIterator<Item = Reason>>(reasons: I) -> Self {
        let mut set = Self::default();
        reasons.into_iter().for_each(|reason| set.add(reason));
        set
    }
}

impl fmt::Debug for Reasons {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_set().entries(self.iter()).finish()
    }
}

impl fmt::Display for Reasons {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, reason) in self.iter().enumerate() {
            out.write_str(if index > 0 { "," } else { "" })?;
            out.write_str(reason.as_str())?;
        }
        Ok(())
    }
}

impl Serialize for Reasons {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Reasons {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Vec::<Reason>::deserialize(deserializer)?.into_iter().collect())
    }
}

/// What a policy asks for one app.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct AppProposal {
    /// Replicas; `None` when the policy lacks what it needs.
    pub replicas: Option<f64>,
    /// What asked for them.
    pub reasons: Reasons,
    /// Those of them that nothing but the forecast asks for.
    pub ahead: f64,
}

/// What a policy asks for, in the order of the snapshot's catalog.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Proposal {
    /// Per app.
    pub apps: Vec<AppProposal>,
    /// Share of shared CPU per domain.
    pub shares: Vec<f64>,
    /// Share of shared CPU that is given to nobody.
    pub reserve: f64,
    /// CPU to be kept free on real nodes by balloon pods, in cores: what will be needed soon.
    pub warm_cores: f64,
    /// Which weights spoke; none where the rule did.
    pub weights: Option<Arc<str>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_reasons_survives_json_in_the_order_of_acting() {
        let reasons: Reasons = [Reason::Rounded, Reason::Cpu, Reason::Budget].into_iter().collect();
        let text = serde_json::to_string(&reasons).unwrap();
        assert_eq!(text, r#"["cpu","budget","rounded"]"#);
        assert_eq!(serde_json::from_str::<Reasons>(&text).unwrap(), reasons);
        assert_eq!(reasons.to_string(), "cpu,budget,rounded");
    }

    #[test]
    fn every_reason_is_its_own_bit() {
        for reason in Reason::ALL {
            let alone: Reasons = [reason].into_iter().collect();
            assert!(alone.iter().eq([reason]), "{reason:?}");
        }
        assert!(!Reason::Mode.is_shield() && Reason::NotFinite.is_shield());
    }
}
