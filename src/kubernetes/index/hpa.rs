//! One HPA that reads our metric, read once when it changes.

use std::sync::Arc;

use super::names::Names;
use super::pods::{Kind, TargetKey};
use crate::cluster::METRIC;
use crate::cluster::Refusal;
use crate::cluster::quantity;
use crate::kubernetes::TARGET_CPU;
use crate::kubernetes::objects;
use crate::kubernetes::objects::Metric;
use crate::kubernetes::objects::Rules;
use crate::kubernetes::objects::holds;

/// What the controller-manager ignores where an HPA does not say (its flag's default).
const DEFAULT_TOLERANCE: f64 = 0.1;

/// The fields of a managed HPA.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Hpa {
    pub(super) uid: Arc<str>,
    pub(super) kind: Arc<str>,
    pub(super) name: Arc<str>,
    /// The scale target, when it is of a kind that is followed.
    pub(super) target: Option<TargetKey>,
    pub(super) min_replicas: u32,
    pub(super) max_replicas: u32,
    pub(super) tolerance_up: f64,
    pub(super) tolerance_down: f64,
    /// Where the HPA states one.
    pub(super) target_cpu: Option<f64>,
    /// The annotation, when it makes no sense.
    pub(super) bad_target_cpu: Option<String>,
    /// What is wrong with the metric's target.
    pub(super) refusal: Option<Refusal>,
    /// The HPA itself, not a person, went to 0 replicas.
    pub(super) scaled_to_zero: bool,
}

impl Hpa {
    /// `None` for an HPA that does not name our metric.
    pub(super) fn read(object: &objects::Hpa, names: &mut Names) -> Option<Self> {
        let spec = &object.spec;
        let ours = spec
            .metrics
            .iter()
            .filter_map(|metric| metric.external.as_ref())
            .find(|external| external.metric.name == METRIC)?;
        let namespace = names.get(object.metadata.namespace.as_deref()?);
        let target = &spec.scale_target_ref;
        let name = names.get(&target.name);
        let kind = match (target.api_version.split('/').next(), target.kind.as_str()) {
            (Some("apps"), "Deployment") => Some(Kind::Deployment),
            (Some("apps"), "StatefulSet") => Some(Kind::StatefulSet),
            _ => None,
        };
        let behavior = spec.behavior.clone().unwrap_or_default();
        let annotation = object.metadata.annotations.as_ref().and_then(|all| all.get(TARGET_CPU));
        let stated = annotation.map(|text| percentage(text).ok_or(text));
        Some(Self {
            uid: object.metadata.uid.as_deref().unwrap_or_default().into(),
            kind: names.get(&target.kind),
            target: kind.map(|kind| TargetKey { namespace, kind, name: Arc::clone(&name) }),
            name,
            min_replicas: count(spec.min_replicas.unwrap_or(1)),
            max_replicas: count(spec.max_replicas),
            tolerance_up: tolerance(behavior.scale_up.as_ref()),
            tolerance_down: tolerance(behavior.scale_down.as_ref()),
            target_cpu: match stated {
                Some(Ok(share)) => Some(share),
                Some(Err(_)) => None,
                None => own_cpu_target(&spec.metrics),
            },
            bad_target_cpu: stated.and_then(Result::err).cloned(),
            // The HPA looks at averageValue first and at no other field when it is there.
            refusal: match &ours.target.average_value {
                None => Some(Refusal::ValueTarget),
                Some(text) if quantity::parse(text) == Ok(1.0) => None,
                Some(text) => Some(Refusal::AverageValueNotOne(text.clone())),
            },
            scaled_to_zero: object
                .status
                .as_ref()
                .is_some_and(|status| holds(status.conditions.as_ref(), "ScaledToZero")),
        })
    }
}

fn count(replicas: i32) -> u32 {
    u32::try_from(replicas).unwrap_or(0)
}

fn tolerance(rules: Option<&Rules>) -> f64 {
    rules
        .and_then(|rules| rules.tolerance.as_ref())
        .and_then(|text| quantity::parse(text).ok())
        .unwrap_or(DEFAULT_TOLERANCE)
}

/// Reads `70` or `70%`, 1 to 100, as a share.
fn percentage(text: &str) -> Option<f64> {
    let number: u8 = text.strip_suffix('%').unwrap_or(text).parse().ok()?;
    (1..=100).contains(&number).then(|| f64::from(number) / 100.0)
}

/// The utilisation that a CPU metric still on the HPA aims at.
fn own_cpu_target(metrics: &[Metric]) -> Option<f64> {
    metrics
        .iter()
        .filter_map(|metric| metric.resource.as_ref())
        .find(|resource| resource.name == "cpu")
        .and_then(|resource| resource.target.average_utilization)
        .filter(|percent| *percent > 0)
        .map(|percent| f64::from(percent) / 100.0)
}
