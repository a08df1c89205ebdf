//! A business domain: its priority, its promise and how far our policies may act in it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Timestamp;

/// The domain of every app that no `Domain` object selects.
pub const DEFAULT_DOMAIN: &str = "default";

/// Priority class, `P0` first.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Class {
    /// Lost transactions: never starved.
    P0,
    /// Important to customers.
    P1,
    /// Scheduled work.
    #[default]
    P2,
    /// Internal.
    P3,
}

impl Class {
    /// Every class, highest priority first.
    pub const ALL: [Self; 4] = [Self::P0, Self::P1, Self::P2, Self::P3];

    /// The name in CRDs, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::P0 => "P0",
            Self::P1 => "P1",
            Self::P2 => "P2",
            Self::P3 => "P3",
        }
    }
}

/// How far the policy acts in a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Mode {
    /// Decide and log; publish what a plain HPA would do.
    Shadow,
    /// Publish the policy for this percentage of the apps, chosen by a stable hash.
    Canary(u8),
    /// Publish the policy.
    Active,
    /// Publish what a plain HPA would do, and do not ask the policy.
    Fallback,
}

/// Which policy plans for a domain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PolicyChoice {
    /// The learned hierarchy; the rule where there are no weights.
    #[default]
    Hirl,
    /// The rule alone.
    Rules,
    /// What a plain HPA would do.
    Hpa,
}

impl PolicyChoice {
    /// Every choice.
    pub const ALL: [Self; 3] = [Self::Hirl, Self::Rules, Self::Hpa];

    /// The name in CRDs, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hirl => "hirl",
            Self::Rules => "rules",
            Self::Hpa => "hpa",
        }
    }
}

impl FromStr for PolicyChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|choice| choice.as_str() == text);
        known.ok_or_else(|| format!("policy {text:?} is not one of hirl, rules, hpa"))
    }
}

impl Mode {
    /// The name in CRDs, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shadow => "Shadow",
            Self::Canary(_) => "Canary",
            Self::Active => "Active",
            Self::Fallback => "Fallback",
        }
    }
}

/// A text that names none of the allowed values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not one of {allowed}")]
pub struct UnknownName {
    /// What was given.
    pub text: String,
    /// What would have been accepted.
    pub allowed: &'static str,
}

impl FromStr for Class {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        Self::ALL
            .into_iter()
            .find(|class| class.as_str() == text)
            .ok_or_else(|| UnknownName { text: text.to_owned(), allowed: "P0, P1, P2, P3" })
    }
}

impl fmt::Display for Class {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// How much of the shared pools a domain may borrow beyond its target, or lend of its floor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LoanLimit {
    /// Whatever the rule of placement allows.
    #[default]
    Unlimited,
    /// Nothing.
    None,
    /// This share of each shared pool, 0 to 1.
    Share(f64),
}

impl LoanLimit {
    /// Whether it is the default.
    #[must_use]
    pub fn is_unlimited(&self) -> bool {
        *self == Self::Unlimited
    }
}

/// What a domain promises its callers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Slo {
    /// 99th percentile of latency, in seconds.
    pub p99_seconds: f64,
    /// Share of requests that may fail, 0 to 1.
    pub error_ratio: f64,
}

impl Slo {
    /// Whether a 99th percentile in seconds (NaN without traffic) or a share of failures breaks it.
    #[must_use]
    pub fn is_broken_by(&self, p99_seconds: f64, error_ratio: f64) -> bool {
        p99_seconds > self.p99_seconds || error_ratio > self.error_ratio
    }

    /// How well a 99th percentile keeps the promise, -1 to 1 (`system.md` 2.4): with r = p99 / SLO,
    /// sqrt(1 - r) up to r = 1, -(r - 1) beyond, r at most 2. NaN (no request) is r = 0.
    #[must_use]
    pub fn adherence(&self, p99_seconds: f64) -> f64 {
        let ratio = p99_seconds / self.p99_seconds;
        let ratio = if ratio.is_nan() { 0.0 } else { ratio.clamp(0.0, 2.0) };
        if ratio <= 1.0 { (1.0 - ratio).sqrt() } else { 1.0 - ratio }
    }
}

/// One domain, as its `Domain` object (or the built-in default) states it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Domain {
    /// Name of the `Domain` object.
    pub name: String,
    /// Priority class.
    pub class: Class,
    /// Weight in the division of shared capacity, above 0 and at most 1.
    pub weight: f64,
    /// The promise.
    pub slo: Slo,
    /// Share of shared capacity that is guaranteed to it, 0 to 1.
    pub floor_share: f64,
    /// What it may use of the shared pools beyond its target.
    #[serde(default, skip_serializing_if = "LoanLimit::is_unlimited")]
    pub borrowing: LoanLimit,
    /// What others may use of its floor while it does not.
    #[serde(default, skip_serializing_if = "LoanLimit::is_unlimited")]
    pub lending: LoanLimit,
    /// Which policy plans.
    #[serde(default)]
    pub policy: PolicyChoice,
    /// How far the policy acts.
    pub mode: Mode,
    /// Other domains that its requests wait for, as declared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<Call>,
    /// Shares that an operator set in place of the policy's, while they hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_by_hand: Option<BudgetByHand>,
    /// An emergency that an operator declared, while it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emergency: Option<Declaration>,
}

/// A domain whose answers another one's requests wait for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Name of the called domain.
    pub to: String,
    /// Calls for each request to the caller, 0 or more.
    pub per_request: f64,
}

/// What an operator declared, and for how long: never without an end, never without a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Declaration {
    /// It holds from here, ...
    pub from: Timestamp,
    /// ... and no longer from here on.
    pub until: Timestamp,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
}

impl Declaration {
    /// Whether it holds at `now`: from its beginning, and no longer at its end.
    #[must_use]
    pub fn holds(&self, now: Timestamp) -> bool {
        self.from <= now && now < self.until
    }
}

/// Shares of the shared pools that an operator set by hand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BudgetByHand {
    /// Share of every shared pool, 0 to 1; the policy's when absent, ...
    pub share: Option<f64>,
    /// ... but for these pools: name and share.
    pub pools: Vec<(String, f64)>,
    /// Who, why and for how long.
    pub declaration: Declaration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declaration_holds_from_its_beginning_and_not_at_its_end() {
        let at = Timestamp::from_millis;
        let declared =
            Declaration { from: at(10), until: at(20), by: "ann".into(), reason: "peak".into() };
        assert_eq!([9, 10, 19, 20].map(|now| declared.holds(at(now))), [false, true, true, false]);
    }

    #[test]
    fn adherence_falls_from_one_to_minus_one_and_no_further() {
        let slo = Slo { p99_seconds: 0.2, error_ratio: 0.01 };
        for (p99_seconds, adherence) in [
            (0.0, 1.0),
            (0.15, 0.5),
            (0.2, 0.0),
            (0.3, -0.5),
            (0.4, -1.0),
            (f64::INFINITY, -1.0),
            (f64::NAN, 1.0),
        ] {
            let found = slo.adherence(p99_seconds);
            assert!((found - adherence).abs() < 1e-9, "{p99_seconds}: {found}");
        }
    }

    #[test]
    fn a_domain_of_an_older_snapshot_is_read() {
        let older = r#"{"name": "shop", "class": "P1", "weight": 0.5,
            "slo": {"p99_seconds": 0.2, "error_ratio": 0.0}, "floor_share": 0.0, "mode": "Active"}"#;
        let domain: Domain = serde_json::from_str(older).unwrap();
        assert_eq!((domain.budget_by_hand, domain.emergency), (None, None));
    }

    #[test]
    fn every_class_survives_its_text() {
        for class in Class::ALL {
            assert_eq!(class.as_str().parse::<Class>(), Ok(class));
        }
        assert!("P4".parse::<Class>().is_err());
    }
}
