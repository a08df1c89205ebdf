//! The file that a person writes: YAML, with groups of apps, distributions and defaults.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_saphyr::Spanned;

use super::{
    CallSpec, Constants, ControllerSpec, DomainSpec, EventSpec, FaultSpec, MemorySpec, Pattern,
    Place, PoolSpec, ScaleRules, Scenario, TelemetrySpec,
};
use crate::cluster::{Class, Timestamp};
use crate::simulation::Seed;

/// Why a text is no scenario.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{origin}{}: {sentence}", line.map(|line| format!(":{line}")).unwrap_or_default())]
pub struct Error {
    /// Where the text came from: a path or a name.
    pub origin: String,
    /// The line, where it is known.
    pub line: Option<u64>,
    /// What is wrong, and how it would be right.
    pub sentence: String,
}

/// Reads and checks the text of a scenario and draws what it leaves open. `origin` says in errors
/// where the text came from. The same text and seed give the same scenario.
pub fn read(text: &str, origin: &str, seed: Seed) -> Result<Scenario, Error> {
    Document::parse(text, origin)?.expand(origin, seed)
}

/// A value and the line on which it stands.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Its line, from 1; 0 for a value that came from no text.
    pub line: u64,
}

impl<T> From<T> for Located<T> {
    fn from(value: T) -> Self {
        Self { value, line: 0 }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Located<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<T>::deserialize(deserializer)?;
        Ok(Self { line: spanned.referenced.line(), value: spanned.value })
    }
}

impl<T: Serialize> Serialize for Located<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

/// A scenario as it is written. Fields are those of [`Scenario`], most of them with defaults, and
/// an entry of `apps` may stand for many.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Document {
    /// See [`Scenario::name`].
    pub name: String,
    /// See [`Scenario::description`].
    #[serde(default)]
    pub description: String,
    /// See [`Scenario::level`]; 1 unless given.
    #[serde(default = "one")]
    pub level: u8,
    /// See [`Scenario::start`]; a Monday at midnight unless given.
    #[serde(default = "monday")]
    pub start: Timestamp,
    /// See [`Scenario::duration_seconds`].
    pub duration_seconds: f64,
    /// See [`Scenario::warm_up_seconds`]; 0 unless given.
    #[serde(default)]
    pub warm_up_seconds: f64,
    /// See [`Scenario::step_seconds`]; 10 unless given.
    #[serde(default = "ten")]
    pub step_seconds: f64,
    /// See [`Scenario::domains`].
    pub domains: Vec<Located<DomainSpec>>,
    /// Apps and groups of apps.
    pub apps: Vec<Located<AppText>>,
    /// See [`Scenario::pools`].
    pub pools: Vec<Located<PoolSpec>>,
    /// See [`Scenario::calls`].
    #[serde(default)]
    pub calls: Vec<Located<CallSpec>>,
    /// See [`Scenario::events`].
    #[serde(default)]
    pub events: Vec<Located<EventSpec>>,
    /// See [`Scenario::faults`].
    #[serde(default)]
    pub faults: Vec<Located<FaultSpec>>,
    /// See [`Scenario::telemetry`].
    #[serde(default)]
    pub telemetry: Located<TelemetrySpec>,
    /// See [`Scenario::controller`].
    #[serde(default)]
    pub controller: Located<ControllerSpec>,
    /// See [`Scenario::constants`].
    #[serde(default)]
    pub constants: Located<Constants>,
}

fn one() -> u8 {
    1
}

fn ten() -> f64 {
    10.0
}

/// Monday 2025-03-03, 00:00 UTC.
pub(super) fn monday() -> Timestamp {
    Timestamp::from_millis(1_740_960_000_000)
}

impl Document {
    /// Reads a text without judging its numbers.
    pub fn parse(text: &str, origin: &str) -> Result<Self, Error> {
        serde_saphyr::from_str(text).map_err(|error| {
            let line = error.location().map(|location| location.line());
            let plain = error.without_snippet().to_string();
            // The parser ends its sentence with the place, which stands in front here.
            let sentence = plain.lines().next().unwrap_or_default();
            let sentence = sentence.split(" at line ").next().unwrap_or_default().to_owned();
            Error { origin: origin.to_owned(), line, sentence }
        })
    }

    /// The line of a part of the scenario; `apps` tells for each app from which entry it came.
    pub(super) fn line(&self, place: Place, apps: &[usize]) -> Option<u64> {
        let line = match place {
            Place::Whole => None,
            Place::Domain(index) => self.domains.get(index).map(|domain| domain.line),
            Place::App(index) => {
                apps.get(index).and_then(|entry| self.apps.get(*entry)).map(|app| app.line)
            }
            Place::Pool(index) => self.pools.get(index).map(|pool| pool.line),
            Place::Call(index) => self.calls.get(index).map(|call| call.line),
            Place::Event(index) => self.events.get(index).map(|event| event.line),
            Place::Fault(index) => self.faults.get(index).map(|fault| fault.line),
            Place::Telemetry => Some(self.telemetry.line),
            Place::Controller => Some(self.controller.line),
            Place::Constants => Some(self.constants.line),
        };
        line.filter(|line| *line > 0)
    }
}

/// One number, or a distribution from which each app of a group draws its own.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a number, uniform: {low, high} or logNormal: {median, sigma}"
)]
pub enum Spread {
    /// The same number for all.
    Same(f64),
    /// Drawn.
    Drawn(Drawn),
}

/// A distribution.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub enum Drawn {
    /// Equally likely between two bounds.
    Uniform(super::Range),
    /// Log-normal.
    LogNormal(super::LogNormalSpec),
}

/// An app, or a group of `count` apps that differ by what they draw.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct AppText {
    /// Its name; a group's apps are `name-0000`, `name-0001`, ...
    pub name: String,
    /// See [`super::AppSpec::namespace`]; the domain's name unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// See [`super::AppSpec::domain`].
    pub domain: String,
    /// How many apps; without it one, whose name is `name` itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// See [`super::AppSpec::class`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<Class>,
    /// See [`super::AppSpec::pools`].
    #[serde(default)]
    pub pools: Vec<String>,
    /// See [`super::AppSpec::rps`]; 0 unless given.
    #[serde(default = "AppText::nothing")]
    pub rps: Spread,
    /// Scales what the group drew as `rps` so that its sum becomes this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_rps: Option<f64>,
    /// See [`super::AppSpec::call_weight`]; 1 unless given.
    #[serde(default = "AppText::unity")]
    pub call_weight: Spread,
    /// See [`super::AppSpec::traffic`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Pattern>,
    /// See [`super::AppSpec::noise`]; 0.05 unless given.
    #[serde(default = "AppText::little")]
    pub noise: f64,
    /// See [`super::AppSpec::noise_seconds`]; 60 unless given.
    #[serde(default = "AppText::minute")]
    pub noise_seconds: f64,
    /// See [`super::AppSpec::workers`]; 8 unless given.
    #[serde(default = "AppText::eight")]
    pub workers: u32,
    /// See [`super::AppSpec::service_seconds`].
    pub service_seconds: Spread,
    /// See [`super::AppSpec::service_scv`]; 1 unless given.
    #[serde(default = "AppText::unity")]
    pub service_scv: Spread,
    /// See [`super::AppSpec::arrival_scv`]; 1 unless given.
    #[serde(default = "AppText::unity")]
    pub arrival_scv: Spread,
    /// See [`super::AppSpec::cpu_seconds`]; follows from `busyCpu` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_seconds: Option<Spread>,
    /// CPU of a pod whose workers are all busy, as a share of its request; 1.3 unless given. At
    /// 1.3, a CPU target of 70 % keeps 54 % of the workers busy.
    #[serde(default = "AppText::busy")]
    pub busy_cpu: Spread,
    /// See [`super::AppSpec::idle_cpu`]; 0.01 unless given.
    #[serde(default = "AppText::hundredth")]
    pub idle_cpu: f64,
    /// See [`super::AppSpec::timeout_seconds`]; five times the domain's SLO unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<f64>,
    /// See [`super::AppSpec::retries`]; 1 unless given.
    #[serde(default = "AppText::once")]
    pub retries: u32,
    /// See [`super::AppSpec::cpu_request`].
    pub cpu_request: Spread,
    /// See [`super::AppSpec::cpu_limit`], in cores; no limit unless this or `cpuLimitFactor` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_limit: Option<f64>,
    /// CPU limit as a multiple of the request, in place of `cpuLimit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_limit_factor: Option<f64>,
    /// See [`super::AppSpec::memory`].
    #[serde(default)]
    pub memory: MemorySpec,
    /// See [`super::AppSpec::start`].
    #[serde(default)]
    pub start: StartText,
    /// See [`super::AppSpec::initial_replicas`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_replicas: Option<u32>,
    /// See [`super::AppSpec::hpa`].
    #[serde(default)]
    pub hpa: HpaText,
}

impl AppText {
    fn nothing() -> Spread {
        Spread::Same(0.0)
    }

    fn unity() -> Spread {
        Spread::Same(1.0)
    }

    fn busy() -> Spread {
        Spread::Same(1.3)
    }

    fn little() -> f64 {
        0.05
    }

    fn hundredth() -> f64 {
        0.01
    }

    fn minute() -> f64 {
        60.0
    }

    fn eight() -> u32 {
        8
    }

    fn once() -> u32 {
        1
    }

    /// A group with all defaults, for generators.
    #[must_use]
    pub fn group(domain: &str, name: &str, count: u32, service: Spread, request: Spread) -> Self {
        Self {
            name: name.to_owned(),
            namespace: None,
            domain: domain.to_owned(),
            count: Some(count),
            class: None,
            pools: Vec::new(),
            rps: Self::nothing(),
            total_rps: None,
            call_weight: Self::unity(),
            traffic: None,
            noise: Self::little(),
            noise_seconds: Self::minute(),
            workers: Self::eight(),
            service_seconds: service,
            service_scv: Self::unity(),
            arrival_scv: Self::unity(),
            cpu_seconds: None,
            busy_cpu: Self::busy(),
            idle_cpu: Self::hundredth(),
            timeout_seconds: None,
            retries: Self::once(),
            cpu_request: request,
            cpu_limit: None,
            cpu_limit_factor: None,
            memory: MemorySpec::default(),
            start: StartText::default(),
            initial_replicas: None,
            hpa: HpaText::default(),
        }
    }
}

/// [`super::StartSpec`] with distributions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct StartText {
    /// See [`super::StartSpec::ready_median_seconds`]; 10 unless given.
    pub ready_median_seconds: Spread,
    /// See [`super::StartSpec::ready_sigma`].
    pub ready_sigma: f64,
    /// See [`super::StartSpec::warm_seconds`].
    pub warm_seconds: f64,
    /// See [`super::StartSpec::cold_speed`].
    pub cold_speed: f64,
}

impl Default for StartText {
    fn default() -> Self {
        let plain = super::StartSpec::default();
        Self {
            ready_median_seconds: Spread::Same(plain.ready_median_seconds),
            ready_sigma: plain.ready_sigma,
            warm_seconds: plain.warm_seconds,
            cold_speed: plain.cold_speed,
        }
    }
}

/// [`super::HpaSpec`] with bounds that follow from the traffic unless they are given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct HpaText {
    /// See [`super::HpaSpec::min_replicas`]; 2 unless given, or `maxReplicas` where that is 1.
    pub min_replicas: Option<u32>,
    /// See [`super::HpaSpec::max_replicas`]; six times what the traffic needs at pattern 1, and 10
    /// at the least, unless given.
    pub max_replicas: Option<u32>,
    /// See [`super::HpaSpec::target_cpu`].
    pub target_cpu: f64,
    /// See [`super::HpaSpec::target_memory`].
    pub target_memory: Option<f64>,
    /// See [`super::HpaSpec::tolerance_up`].
    pub tolerance_up: Option<f64>,
    /// See [`super::HpaSpec::tolerance_down`].
    pub tolerance_down: Option<f64>,
    /// See [`super::HpaSpec::scale_up`].
    pub scale_up: ScaleRules,
    /// See [`super::HpaSpec::scale_down`].
    pub scale_down: ScaleRules,
}

impl Default for HpaText {
    fn default() -> Self {
        let plain = super::HpaSpec::default();
        Self {
            min_replicas: None,
            max_replicas: None,
            target_cpu: plain.target_cpu,
            target_memory: None,
            tolerance_up: None,
            tolerance_down: None,
            scale_up: plain.scale_up,
            scale_down: plain.scale_down,
        }
    }
}
