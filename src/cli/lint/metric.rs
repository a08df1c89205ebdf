//! HPAs that read our metric in a way that cannot give the number we decided.

use serde_json::{Value, json};

use crate::cli::objects::view::{Hpa, NamedMetric, Selector};
use crate::cli::objects::{Objects, Placed};
use crate::cluster::METRIC;

use super::finding::{Finding, Severity};

/// HPAs that read our metric.
pub(crate) fn ours(objects: &Objects) -> impl Iterator<Item = &Placed> {
    objects.hpas.iter().filter(|placed| placed.hpa.external(METRIC).next().is_some())
}

/// Finds targets of type `Value`.
pub(super) fn value_target(objects: &Objects) -> Vec<Finding> {
    let mut found = Vec::new();
    for placed in ours(objects) {
        if placed.hpa.external(METRIC).any(|it| it.target.average_value.is_none()) {
            let sentence = "a Value target is multiplied by the ready pods: when we say 5 and 3 \
                            pods are ready, the HPA asks for 15; we publish no number for it";
            let finding = Finding::on(placed, Severity::Error, sentence.to_owned());
            found.push(finding.patched(placed, with_ours(placed, &plain_target)));
        }
    }
    found
}

/// Finds `averageValue` other than 1.
pub(super) fn average_value(objects: &Objects) -> Vec<Finding> {
    let mut found = Vec::new();
    for placed in ours(objects) {
        let amounts = placed.hpa.external(METRIC).filter_map(|it| it.target.average_value.as_ref());
        for amount in amounts.filter(|amount| amount.value != 1.0) {
            let sentence = format!(
                "averageValue {} divides our number: when we say 10, the HPA asks for {}; we \
                 publish no number for it",
                amount.text,
                (10.0 / amount.value).ceil()
            );
            let finding = Finding::on(placed, Severity::Error, sentence);
            found.push(finding.patched(placed, with_ours(placed, &plain_target)));
        }
    }
    found
}

/// Finds selectors that match no app, another app, or several.
pub(super) fn selector(objects: &Objects) -> Vec<Finding> {
    let mut found = Vec::new();
    for placed in ours(objects) {
        let here = |other: &&Placed| other.hpa.metadata.namespace == placed.hpa.metadata.namespace;
        let neighbours: Vec<&Placed> = ours(objects).filter(here).collect();
        for metric in placed.hpa.external(METRIC) {
            let Some(sentence) = judge(placed, &neighbours, metric) else {
                continue;
            };
            let target = &placed.hpa.spec.scale_target_ref.name;
            let shared = neighbours
                .iter()
                .filter(|other| &other.hpa.spec.scale_target_ref.name == target)
                .count();
            let labels = if shared > 1 {
                json!({"target": target, "hpa": placed.hpa.metadata.name})
            } else {
                json!({"target": target})
            };
            let change = move |external: &mut Value| {
                external["metric"]["selector"] = json!({"matchLabels": labels});
            };
            let finding = Finding::on(placed, Severity::Error, sentence);
            found.push(finding.patched(placed, with_ours(placed, &change)));
        }
    }
    found
}

fn judge(placed: &Placed, neighbours: &[&Placed], metric: &NamedMetric) -> Option<String> {
    let selector = metric.metric.selector.as_ref();
    let matched: Vec<&str> = neighbours
        .iter()
        .filter(|other| selector.is_none_or(|selector| may_match(selector, &other.hpa)))
        .map(|other| other.hpa.metadata.name.as_str())
        .collect();
    let namespace = &placed.hpa.metadata.namespace;
    match matched[..] {
        [] => {
            Some(format!("its selector matches no app in {namespace}: each read is answered 404"))
        }
        [one] if one == placed.hpa.metadata.name => None,
        [other] => {
            Some(format!("its selector matches {other}, so it would follow that HPA's number"))
        }
        _ => {
            let how = if selector.is_some() {
                "its selector matches"
            } else {
                "without a selector it matches"
            };
            Some(format!(
                "{how} {} apps in {namespace} ({}): each read is answered 400",
                matched.len(),
                matched.join(", ")
            ))
        }
    }
}

/// Whether a selector can match the item of an app. Its domain is not known here, so that any
/// condition on it may hold.
fn may_match(selector: &Selector, hpa: &Hpa) -> bool {
    let label = |key: &str| match key {
        "target" => Some(hpa.spec.scale_target_ref.name.as_str()),
        "kind" => Some(hpa.spec.scale_target_ref.kind.as_str()),
        "hpa" => Some(hpa.metadata.name.as_str()),
        _ => None,
    };
    let labels = selector.match_labels.iter().filter(|(key, _)| *key != "domain");
    let expressions = selector.match_expressions.iter().filter(|it| it.key != "domain");
    labels.into_iter().all(|(key, value)| label(key) == Some(value))
        && expressions.into_iter().all(|it| {
            let value = label(&it.key);
            let named = value.is_some_and(|value| it.values.iter().any(|one| one == value));
            match it.operator.as_str() {
                "In" => named,
                "NotIn" => !named,
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => true,
            }
        })
}

/// Finds scale targets without a CPU request.
pub(super) fn no_cpu_request(objects: &Objects) -> Vec<Finding> {
    let mut found = Vec::new();
    for placed in ours(objects) {
        let Some(workload) = objects.target(&placed.hpa) else {
            continue;
        };
        if workload.request("cpu").is_none_or(|cores| cores <= 0.0) {
            let target = &placed.hpa.spec.scale_target_ref;
            let sentence = format!(
                "a container of {target} requests no CPU, so that no utilisation can be computed; \
                 we publish no number for it"
            );
            found.push(Finding::on(placed, Severity::Error, sentence));
        }
    }
    found
}

fn plain_target(external: &mut Value) {
    external["target"] = json!({"type": "AverageValue", "averageValue": "1"});
}

/// The patch that changes our entries of `spec.metrics` and keeps the others.
fn with_ours(placed: &Placed, change: &dyn Fn(&mut Value)) -> Value {
    let mut metrics = placed.metrics.clone();
    for metric in &mut metrics {
        if metric["external"]["metric"]["name"] == METRIC {
            change(&mut metric["external"]);
        }
    }
    json!({"spec": {"metrics": metrics}})
}
