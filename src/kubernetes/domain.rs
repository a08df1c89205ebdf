//! The `Domain` CRD: its schema for the API server, and its objects as domains of the core.
#![expect(unreachable_pub, reason = "the schema derive copies each struct into a function body")]

use std::collections::BTreeSet;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResource;
use kube::CustomResourceExt;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Selector;
use super::settings::check;
use crate::cluster;
use crate::cluster::DEFAULT_DOMAIN;
use crate::cluster::LoanLimit;
use crate::cluster::Mode;
use crate::cluster::PolicyChoice;
use crate::cluster::Slo;
use crate::cluster::Timestamp;
use crate::cluster::{BudgetByHand, Declaration};

/// Longest time for which something is set by hand, in seconds: longer is an edit of the spec.
const LONGEST_BY_HAND: f64 = 4.0 * 3600.0;

/// A business domain: which apps belong to it, what it promises, and how far hirl acts in it.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "hirl-scale.io",
    version = "v1alpha1",
    kind = "Domain",
    plural = "domains",
    category = "hirl",
    doc = "A business domain of HiRL-Scale: which apps belong to it, what it promises its callers, and how far hirl acts in it.",
    status = "DomainStatus",
    derive = "PartialEq",
    validation = Rule::new("self.metadata.name != 'default' || !has(self.spec.namespaceSelector)").message("the Domain named default holds every app that no other Domain selects: it takes no namespaceSelector"),
    printcolumn(name = "Class", type_ = "string", json_path = ".spec.class"),
    printcolumn(name = "Policy", type_ = "string", json_path = ".spec.policy"),
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode"),
    printcolumn(name = "Weight", type_ = "number", json_path = ".spec.weight"),
    printcolumn(name = "P99", type_ = "string", json_path = ".spec.slo.p99"),
    printcolumn(name = "Apps", type_ = "integer", json_path = ".status.apps"),
    printcolumn(name = "Used", type_ = "string", json_path = ".status.placement.used"),
    printcolumn(name = "Target", type_ = "string", json_path = ".status.placement.target"),
    printcolumn(
        name = "Floor",
        type_ = "string",
        json_path = ".status.placement.floor",
        priority = 1
    ),
    printcolumn(name = "Borrowed", type_ = "string", json_path = ".status.placement.borrowed"),
    printcolumn(
        name = "Lent",
        type_ = "string",
        json_path = ".status.placement.lent",
        priority = 1
    ),
    printcolumn(name = "Waiting", type_ = "string", json_path = ".status.placement.waiting"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(
        name = "BudgetByHand",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"BudgetByHand\")].status",
        priority = 1
    ),
    printcolumn(
        name = "BudgetUntil",
        type_ = "string",
        json_path = ".spec.budget.until",
        priority = 1
    ),
    printcolumn(
        name = "Emergency",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Emergency\")].status",
        priority = 1
    ),
    printcolumn(
        name = "EmergencyUntil",
        type_ = "string",
        json_path = ".spec.emergency.until",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.weight > 0.0").message("weight must be above 0"),
    validation = Rule::new("(self.mode == 'Canary') == has(self.canaryPercent)").message("canaryPercent is required when mode is Canary, and allowed only then")
)]
pub struct DomainSpec {
    /// Priority class, P0 first: a higher class is never starved for a lower one.
    #[schemars(extend("enum" = ["P0", "P1", "P2", "P3"]))]
    pub class: String,
    /// Weight in the division of shared capacity, above 0 and at most 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub weight: f64,
    /// What the domain promises its callers.
    pub slo: SloSpec,
    /// The namespaces whose apps belong to this domain; none when absent, all when empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<Selector>,
    /// Share of every shared pool that is guaranteed to this domain, 0 to 1. While it does not use it, others may.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub floor_share: f64,
    /// How much the domain may use of the shared pools beyond its target, while nobody with a better right needs it.
    #[serde(default, skip_serializing_if = "LoanSpec::is_unlimited")]
    pub borrowing: LoanSpec,
    /// How much of its floor others may use while the domain does not.
    #[serde(default, skip_serializing_if = "LoanSpec::is_unlimited")]
    pub lending: LoanSpec,
    /// Which policy plans. hirl: the learned hierarchy. rules: the rule that it was trained on top of.
    /// hpa: what a plain HPA would do.
    #[serde(default = "hirl")]
    #[schemars(extend("enum" = ["hirl", "rules", "hpa"]))]
    pub policy: String,
    /// How far the policy acts. Shadow: decide and log, publish what a plain HPA would do.
    /// Canary: publish the policy for canaryPercent of the apps. Active: publish the policy.
    /// Fallback: publish what a plain HPA would do, and do not ask the policy.
    #[serde(default = "active")]
    #[schemars(extend("enum" = ["Shadow", "Canary", "Active", "Fallback"]))]
    pub mode: String,
    /// Percentage of the apps, chosen by a stable hash, that follow the policy in mode Canary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub canary_percent: Option<i32>,
    /// Other domains that requests to this one wait for. A slow one is then not taken for this one's own trouble, and
    /// traffic that is on its way to it is seen here first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["to".to_owned()]))]
    pub calls: Vec<CallSpec>,
    /// Shares set by hand in place of the policy's, for at most four hours: the other domains and,
    /// if it must be, the reserve make room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetSpec>,
    /// An emergency, for at most four hours: the domain may exceed its budget by the emergency
    /// band, and its pods may use the reserve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emergency: Option<EmergencySpec>,
}

/// A limit of borrowing or lending.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(self.limit == 'Share') == has(self.share)").message("share is required when limit is Share, and allowed only then")
)]
pub struct LoanSpec {
    /// Unlimited: whatever the rule of placement allows. None: nothing. Share: the share below.
    #[serde(default = "unlimited")]
    #[schemars(extend("enum" = ["Unlimited", "None", "Share"]))]
    pub limit: String,
    /// Share of every shared pool, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub share: Option<f64>,
}

impl Default for LoanSpec {
    fn default() -> Self {
        Self { limit: unlimited(), share: None }
    }
}

impl LoanSpec {
    fn is_unlimited(&self) -> bool {
        *self == Self::default()
    }

    fn limit(&self, field: &str) -> Result<LoanLimit, String> {
        match (self.limit.as_str(), self.share) {
            ("Unlimited", None) => Ok(LoanLimit::Unlimited),
            ("None", None) => Ok(LoanLimit::None),
            ("Share", Some(share)) if (0.0..=1.0).contains(&share) => Ok(LoanLimit::Share(share)),
            ("Share", Some(share)) => {
                Err(format!("{field}.share is {share}: it must lie between 0 and 1"))
            }
            ("Share", None) => Err(format!("{field}.limit is Share without {field}.share")),
            ("Unlimited" | "None", Some(_)) => {
                Err(format!("{field}.share is set but {field}.limit is not Share"))
            }
            (other, _) => {
                Err(format!("{field}.limit {other:?} is not one of Unlimited, None, Share"))
            }
        }
    }
}

/// A domain that requests wait for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CallSpec {
    /// Name of the called domain. A domain that is not there counts for nothing.
    #[schemars(length(min = 1, max = 63))]
    pub to: String,
    /// Calls for each request, 0 to 1000.
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub per_request: f64,
}

/// Shares set by hand. Ignored before its beginning and from its end on.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.share) || size(self.pools) > 0").message("budget needs a share or a pool"),
    validation = Rule::new("self.until > self.from && self.until - self.from <= duration('4h')").message("budget.until must be after budget.from, and at most 4 hours")
)]
pub struct BudgetSpec {
    /// Share of the allocatable CPU and memory of every shared pool, 0 to 1; the policy's when
    /// absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub share: Option<f64>,
    /// Shares of single pools, which go before share.
    #[serde(default)]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_owned()]))]
    pub pools: Vec<PoolShareSpec>,
    /// It holds from here on.
    #[schemars(extend("format" = "date-time"))]
    pub from: String,
    /// It holds no longer from here on.
    #[schemars(extend("format" = "date-time"))]
    pub until: String,
    /// Who sets it.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"\S"))]
    pub by: String,
    /// Why.
    #[schemars(length(min = 1, max = 512), regex(pattern = r"\S"))]
    pub reason: String,
}

/// The share of one pool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolShareSpec {
    /// Value of the pool label; empty for the nodes without it.
    #[schemars(length(max = 63))]
    pub name: String,
    /// Share of its allocatable CPU and memory, 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub share: f64,
}

/// An emergency. Ignored before its beginning and from its end on.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.until > self.from && self.until - self.from <= duration('4h')").message("emergency.until must be after emergency.from, and at most 4 hours")
)]
pub struct EmergencySpec {
    /// It holds from here on.
    #[schemars(extend("format" = "date-time"))]
    pub from: String,
    /// It holds no longer from here on.
    #[schemars(extend("format" = "date-time"))]
    pub until: String,
    /// Who declares it.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"\S"))]
    pub by: String,
    /// Why.
    #[schemars(length(min = 1, max = 512), regex(pattern = r"\S"))]
    pub reason: String,
}

/// What a domain promises its callers.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("duration(self.p99) > duration('0s')").message("slo.p99 must be above 0, such as 200ms or 2s")
)]
pub struct SloSpec {
    /// 99th percentile of latency, in milliseconds or seconds: 200ms, 1.5s.
    #[schemars(length(max = 12), regex(pattern = r"^[0-9]{1,6}(\.[0-9]{1,3})?(ms|s)$"))]
    pub p99: String,
    /// Share of requests that may fail, 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub error_ratio: f64,
}

/// What hirl last found about a domain. Written when something changes, never on a timer.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DomainStatus {
    /// Generation of the spec that was last looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Apps in the domain, refused ones included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apps: Option<i32>,
    /// Use of the shared node pools, where pods are placed by us. Its numbers may have moved by 2 % of the
    /// pools since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<PlacementStatus>,
    /// What is true of the domain, one entry a type.
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_owned()]))]
    pub conditions: Vec<Condition>,
}

/// Use of all shared node pools by a domain, in cores of CPU.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct PlacementStatus {
    /// Requests of its pods that are bound, being bound or promised a place.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub used: String,
    /// Its share of the nodes that are there.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub target: String,
    /// The part that is guaranteed to it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub floor: String,
    /// Its use beyond its target.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub borrowed: String,
    /// The part of its target that others use.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub lent: String,
    /// Requests of its pods that wait for room.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub waiting: String,
    /// Size to which the pools can grow; unlimited where nothing limits them.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub growth: String,
    /// Source of that: the nodes that are there, the limits of Karpenter, or our configuration.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(extend("enum" = ["Nodes", "NodePool", "Configuration"]))]
    pub growth_source: String,
}

/// One thing that is true, false or unknown of a domain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What it speaks of, such as Ready.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 316))]
    pub type_: String,
    /// Whether it is so.
    #[schemars(extend("enum" = ["True", "False", "Unknown"]))]
    pub status: String,
    /// Why, in one word.
    #[schemars(length(min = 1, max = 1024))]
    pub reason: String,
    /// Why, in one sentence.
    #[schemars(length(max = 32768))]
    pub message: String,
    /// When the status last changed.
    #[schemars(extend("format" = "date-time"))]
    pub last_transition_time: String,
    /// Generation of the spec behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

fn hirl() -> String {
    PolicyChoice::Hirl.as_str().to_owned()
}

fn unlimited() -> String {
    "Unlimited".to_owned()
}

fn active() -> String {
    Mode::Active.as_str().to_owned()
}

/// The CRD, for the API server.
#[must_use]
pub fn crd() -> CustomResourceDefinition {
    Domain::crd()
}

/// The CRD as the text of a manifest.
pub fn crd_yaml() -> Result<String, serde_saphyr::ser::Error> {
    serde_saphyr::to_string(&crd())
}

impl DomainSpec {
    /// The domain that this spec of the object `name` describes, or what is wrong with it in one
    /// sentence. The API server has checked the same rules, if its CRD is ours.
    pub fn domain(&self, name: &str) -> Result<cluster::Domain, String> {
        if name == DEFAULT_DOMAIN && self.namespace_selector.is_some() {
            return Err("the Domain named default takes no namespaceSelector".to_owned());
        }
        if let Some(selector) = &self.namespace_selector {
            selector.check()?;
        }
        let mode = match (self.mode.as_str(), self.canary_percent) {
            ("Canary", Some(percent)) => Mode::Canary(
                u8::try_from(percent)
                    .map_err(|_| format!("canaryPercent is {percent}: it must lie in 0 to 100"))?,
            ),
            ("Canary", None) => return Err("mode is Canary without canaryPercent".to_owned()),
            (_, Some(_)) => return Err("canaryPercent is set but mode is not Canary".to_owned()),
            ("Shadow", None) => Mode::Shadow,
            ("Active", None) => Mode::Active,
            ("Fallback", None) => Mode::Fallback,
            (other, None) => {
                return Err(format!(
                    "mode {other:?} is not one of Shadow, Canary, Active, Fallback"
                ));
            }
        };
        let domain = cluster::Domain {
            name: name.to_owned(),
            class: self.class.parse().map_err(|problem| format!("class {problem}"))?,
            weight: self.weight,
            slo: Slo { p99_seconds: seconds(&self.slo.p99)?, error_ratio: self.slo.error_ratio },
            floor_share: self.floor_share,
            borrowing: self.borrowing.limit("borrowing")?,
            lending: self.lending.limit("lending")?,
            policy: self.policy.parse()?,
            mode,
            calls: self
                .calls
                .iter()
                .map(|call| cluster::Call { to: call.to.clone(), per_request: call.per_request })
                .collect(),
            budget_by_hand: self.budget.as_ref().map(BudgetSpec::by_hand).transpose()?,
            emergency: self.emergency.as_ref().map(EmergencySpec::declaration).transpose()?,
        };
        check(&domain)?;
        Ok(domain)
    }
}

impl BudgetSpec {
    fn by_hand(&self) -> Result<BudgetByHand, String> {
        let Self { share, pools, from, until, by, reason } = self;
        if share.is_none() && pools.is_empty() {
            return Err("budget needs a share or a pool".to_owned());
        }
        for share in share.iter().chain(pools.iter().map(|pool| &pool.share)) {
            if !(0.0..=1.0).contains(share) {
                return Err(format!(
                    "budget names a share of {share}: it must lie between 0 and 1"
                ));
            }
        }
        let mut named = BTreeSet::new();
        if let Some(twice) = pools.iter().find(|pool| !named.insert(pool.name.as_str())) {
            return Err(format!("budget names pool {:?} twice", twice.name));
        }
        Ok(BudgetByHand {
            share: *share,
            pools: pools.iter().map(|pool| (pool.name.clone(), pool.share)).collect(),
            declaration: declaration("budget", [from, until, by, reason])?,
        })
    }
}

impl EmergencySpec {
    fn declaration(&self) -> Result<Declaration, String> {
        let Self { from, until, by, reason } = self;
        declaration("emergency", [from, until, by, reason])
    }
}

/// Reads what makes a declaration accountable: when, by whom and why.
fn declaration(field: &str, text: [&String; 4]) -> Result<Declaration, String> {
    let [from, until, by, reason] = text;
    let instant = |name: &str, text: &str| {
        let time: Result<jiff::Timestamp, _> = text.parse();
        time.map(|time| Timestamp::from_millis(time.as_millisecond())).map_err(|_| {
            format!("{field}.{name} {text:?} is not an instant such as 2026-01-31T12:00:00Z")
        })
    };
    let (from, until) = (instant("from", from)?, instant("until", until)?);
    let seconds = until.seconds_since(from);
    if !(seconds > 0.0 && seconds <= LONGEST_BY_HAND) {
        return Err(format!("{field}.until must be after {field}.from, and at most 4 hours"));
    }
    for (name, text) in [("by", by), ("reason", reason)] {
        if text.trim().is_empty() {
            return Err(format!("{field}.{name} is empty: say who sets it and why"));
        }
    }
    Ok(Declaration { from, until, by: by.clone(), reason: reason.clone() })
}

/// Reads `200ms` or `1.5s` as seconds.
fn seconds(text: &str) -> Result<f64, String> {
    let (number, factor) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(number), _) => (number, 1e-3),
        (None, Some(number)) => (number, 1.0),
        (None, None) => ("", 1.0),
    };
    // `f64` would also read `inf` and `1e9`.
    let plain = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    match number.parse::<f64>() {
        Ok(value) if plain => Ok(value * factor),
        _ => Err(format!("slo.p99 {text:?} is not a time such as 200ms or 1.5s")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(change: &str) -> DomainSpec {
        let mut whole = serde_json::json!({
            "class": "P0", "weight": 1, "slo": {"p99": "200ms", "errorRatio": 0.001},
            "namespaceSelector": {"matchLabels": {"domain": "payments"}}
        });
        let change: serde_json::Value = serde_json::from_str(change).unwrap();
        for (key, value) in change.as_object().unwrap() {
            whole[key] = value.clone();
        }
        serde_json::from_value(whole).unwrap()
    }

    #[test]
    fn a_spec_becomes_a_domain() {
        let domain = spec("{}").domain("payments").unwrap();
        assert_eq!(domain.class, cluster::Class::P0);
        assert_eq!(domain.mode, Mode::Active);
        assert!((domain.slo.p99_seconds - 0.2).abs() < 1e-12);
        let canary = spec(r#"{"mode": "Canary", "canaryPercent": 25}"#).domain("payments");
        assert_eq!(canary.unwrap().mode, Mode::Canary(25));
        let slow = spec(r#"{"slo": {"p99": "1.5s", "errorRatio": 0}}"#).domain("data").unwrap();
        assert_eq!(slow.slo.p99_seconds, 1.5);
    }

    #[test]
    fn a_bad_spec_is_one_sentence_that_names_the_field() {
        for (change, part) in [
            (r#"{"class": "P9"}"#, "class \"P9\" is not one of P0, P1, P2, P3"),
            (r#"{"weight": 0}"#, "weight is 0"),
            (r#"{"weight": 1.5}"#, "weight is 1.5"),
            (r#"{"slo": {"p99": "200", "errorRatio": 0}}"#, "slo.p99 \"200\""),
            (r#"{"slo": {"p99": "infs", "errorRatio": 0}}"#, "slo.p99"),
            (r#"{"slo": {"p99": "0s", "errorRatio": 0}}"#, "p99 is 0"),
            (r#"{"slo": {"p99": "1s", "errorRatio": 2}}"#, "error ratio is 2"),
            (r#"{"floorShare": -1}"#, "floor share is -1"),
            (r#"{"calls": [{"to": "fraud", "perRequest": -1}]}"#, "calls fraud -1 times"),
            (r#"{"calls": [{"to": "payments", "perRequest": 1}]}"#, "calls itself"),
            (
                r#"{"calls": [{"to": "a", "perRequest": 1}, {"to": "a", "perRequest": 2}]}"#,
                "names a twice",
            ),
            (r#"{"borrowing": {"limit": "Some"}}"#, "borrowing.limit \"Some\""),
            (r#"{"borrowing": {"limit": "Share"}}"#, "without borrowing.share"),
            (r#"{"lending": {"limit": "Share", "share": 2}}"#, "lending.share is 2"),
            (r#"{"lending": {"limit": "None", "share": 0.5}}"#, "lending.limit is not Share"),
            (r#"{"mode": "Turbo"}"#, "\"Turbo\""),
            (r#"{"mode": "Canary"}"#, "without canaryPercent"),
            (r#"{"canaryPercent": 5}"#, "mode is not Canary"),
            (r#"{"mode": "Canary", "canaryPercent": 101}"#, "101 %"),
            (r#"{"mode": "Canary", "canaryPercent": -1}"#, "-1"),
        ] {
            let said = spec(change).domain("payments").unwrap_err();
            assert!(said.contains(part), "{change}: {said}");
        }
        assert!(spec("{}").domain("default").unwrap_err().contains("namespaceSelector"));
    }

    fn by_hand(change: &str) -> String {
        let mut budget = serde_json::json!({"share": 0.4, "pools": [{"name": "gpu", "share": 0}],
            "from": "2026-05-01T08:00:00Z", "until": "2026-05-01T12:00:00Z",
            "by": "ann", "reason": "campaign"});
        let change: serde_json::Value = serde_json::from_str(change).unwrap();
        for (key, value) in change.as_object().unwrap() {
            budget[key] = value.clone();
        }
        serde_json::json!({ "budget": budget }).to_string()
    }

    #[test]
    fn what_is_set_by_hand_becomes_part_of_the_domain() {
        let domain = spec(&by_hand("{}")).domain("payments").unwrap();
        let budget = domain.budget_by_hand.unwrap();
        assert_eq!((budget.share, &*budget.pools), (Some(0.4), &[("gpu".to_owned(), 0.0)][..]));
        assert_eq!((&*budget.declaration.by, &*budget.declaration.reason), ("ann", "campaign"));
        let span = budget.declaration.until.seconds_since(budget.declaration.from);
        assert!((span - LONGEST_BY_HAND).abs() < 1e-9);
        assert_eq!(domain.emergency, None);
        let emergency = r#"{"emergency": {"from": "2026-05-01T10:00:00+02:00",
            "until": "2026-05-01T09:00:00Z", "by": "ann", "reason": "outage"}}"#;
        let declared = spec(emergency).domain("payments").unwrap().emergency.unwrap();
        assert_eq!(declared.until.seconds_since(declared.from), 3600.0);
    }

    #[test]
    fn what_is_set_by_hand_without_end_name_or_sense_is_refused() {
        for (change, part) in [
            (r#"{"until": "2026-05-01T12:00:01Z"}"#, "budget.until must be after"),
            (r#"{"until": "2026-05-01T08:00:00Z"}"#, "budget.until must be after"),
            (r#"{"until": "tomorrow"}"#, "budget.until \"tomorrow\""),
            (r#"{"from": ""}"#, "budget.from \"\""),
            (r#"{"by": " "}"#, "budget.by is empty"),
            (r#"{"reason": ""}"#, "budget.reason is empty"),
            (r#"{"share": 1.1}"#, "share of 1.1"),
            (r#"{"pools": [{"name": "a", "share": -0.1}]}"#, "share of -0.1"),
            (r#"{"pools": [{"name": "a", "share": 0}, {"name": "a", "share": 1}]}"#, "\"a\" twice"),
            (r#"{"share": null, "pools": []}"#, "a share or a pool"),
        ] {
            let said = spec(&by_hand(change)).domain("payments").unwrap_err();
            assert!(said.contains(part), "{change}: {said}");
        }
    }

    #[test]
    fn the_manifest_is_the_crd_of_this_build() {
        let manifest = include_str!("../../manifests/base/domain-crd.yaml");
        assert_eq!(
            manifest,
            crd_yaml().unwrap(),
            "write it anew: hirl crd > manifests/base/domain-crd.yaml"
        );
    }
}
