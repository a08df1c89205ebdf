//! Turns an HPA into the merge patch that points it at our metric, and into the one that takes it
//! back. Pure: `now` is the object as it stands, the outcome is text for the operator.

use serde_json::{Value, json};

use crate::cli::objects::patch;
use crate::cli::objects::view::Hpa;
use crate::cluster::METRIC;
use crate::kubernetes::TARGET_CPU;

/// Keeps `spec.metrics` from before, as JSON.
pub(super) const ADOPTED_METRICS: &str = "hirl-scale.io/adopted-metrics";
/// Keeps `spec.behavior` from before, as JSON.
pub(super) const ADOPTED_BEHAVIOR: &str = "hirl-scale.io/adopted-behavior";
/// Says that the CPU target stood in its annotation before, and stays when we go.
const KEPT_TARGET_CPU: &str = "hirl-scale.io/adopted-target-cpu";

/// Seconds of one sync: the shortest period in which an HPA can act.
const SYNC: u32 = 15;

/// Why no patch is printed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// Adopted before.
    #[error("HPA {0} is adopted already: --back prints the patch that takes it back")]
    AlreadyAdopted(String),
    /// Reads our metric without the annotations of an adoption.
    #[error(
        "HPA {0} reads {METRIC} already, and was not adopted by this program: there is nothing to do"
    )]
    AlreadyOurs(String),
    /// Was never adopted.
    #[error("HPA {0} was not adopted: it has no annotation {ADOPTED_METRICS}")]
    NotAdopted(String),
    /// May go to zero.
    #[error(
        "HPA {0} has minReplicas 0: set it to 1 or more first, scaling to zero is not decided here"
    )]
    ToZero(String),
    /// Another HPA that reads our metric scales the same target.
    #[error("HPA {0} scales the same {1} as HPA {2}: delete one of them first")]
    SharedTarget(String, String, String),
    /// The annotation was edited.
    #[error("HPA {0}: annotation {1} is not the JSON that adoption wrote: {2}")]
    Annotation(String, &'static str, String),
}

/// A patch and what an operator should know before applying it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plan {
    /// The merge patch.
    pub(super) body: Value,
    /// One sentence each.
    pub(super) notes: Vec<String>,
}

/// The patch that points `now` at our metric. `target_cpu` is the CPU target in percent where
/// the HPA has one, `tolerance` whether the cluster keeps `tolerance: "0"`.
pub(super) fn adopt(
    now: &Value,
    hpa: &Hpa,
    target_cpu: Option<u32>,
    tolerance: bool,
) -> Result<Plan, Refused> {
    let id = format!("{}/{}", hpa.metadata.namespace, hpa.metadata.name);
    if hpa.metadata.annotations.contains_key(ADOPTED_METRICS) {
        return Err(Refused::AlreadyAdopted(id));
    }
    if hpa.external(METRIC).next().is_some() {
        return Err(Refused::AlreadyOurs(id));
    }
    if hpa.min() < 1 {
        return Err(Refused::ToZero(id));
    }
    let mut wanted = now.clone();
    let annotations = &mut wanted["metadata"]["annotations"];
    annotations[ADOPTED_METRICS] = json!(now["spec"]["metrics"].to_string());
    annotations[ADOPTED_BEHAVIOR] = json!(now["spec"]["behavior"].to_string());
    if hpa.metadata.annotations.contains_key(TARGET_CPU) {
        annotations[KEPT_TARGET_CPU] = json!("kept");
    } else if let Some(percent) = target_cpu {
        annotations[TARGET_CPU] = json!(percent.to_string());
    }
    wanted["spec"]["metrics"] = json!([{"type": "External", "external": {
        "metric": {"name": METRIC,
            "selector": {"matchLabels": {"target": hpa.spec.scale_target_ref.name}}},
        "target": {"type": "AverageValue", "averageValue": "1"}}}]);
    wanted["spec"]["behavior"] = behavior(hpa.spec.max_replicas, tolerance);
    Ok(Plan { body: patch::between(now, &wanted), notes: notes(hpa, target_cpu) })
}

/// The patch that undoes [`adopt`].
pub(super) fn back(now: &Value, hpa: &Hpa) -> Result<Plan, Refused> {
    let id = format!("{}/{}", hpa.metadata.namespace, hpa.metadata.name);
    let annotations = &hpa.metadata.annotations;
    if !annotations.contains_key(ADOPTED_METRICS) {
        return Err(Refused::NotAdopted(id));
    }
    let mut wanted = now.clone();
    let parse = |name: &'static str| -> Result<Value, Refused> {
        let text = annotations.get(name).map_or("null", String::as_str);
        serde_json::from_str(text)
            .map_err(|error| Refused::Annotation(id.clone(), name, error.to_string()))
    };
    for (field, name) in [("metrics", ADOPTED_METRICS), ("behavior", ADOPTED_BEHAVIOR)] {
        let old = parse(name)?;
        if let Some(spec) = wanted["spec"].as_object_mut() {
            if old.is_null() {
                spec.remove(field);
            } else {
                spec.insert(field.to_owned(), old);
            }
        }
    }
    let kept = annotations.contains_key(KEPT_TARGET_CPU);
    if let Some(annotations) = wanted["metadata"]["annotations"].as_object_mut() {
        for name in [ADOPTED_METRICS, ADOPTED_BEHAVIOR, KEPT_TARGET_CPU] {
            annotations.remove(name);
        }
        if !kept {
            annotations.remove(TARGET_CPU);
        }
    }
    Ok(Plan { body: patch::between(now, &wanted), notes: Vec::new() })
}

/// Our numbers are stabilised and limited before they are published. A second window or limit
/// here would only delay them, so that the HPA may go anywhere within its bounds in one sync.
fn behavior(max_replicas: i32, tolerance: bool) -> Value {
    let pods = json!({"type": "Pods", "value": max_replicas.max(1), "periodSeconds": SYNC});
    let all = json!({"type": "Percent", "value": 100, "periodSeconds": SYNC});
    let mut up =
        json!({"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": [pods]});
    let mut down =
        json!({"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": [all]});
    if tolerance {
        up["tolerance"] = json!("0");
        down["tolerance"] = json!("0");
    }
    json!({"scaleUp": up, "scaleDown": down})
}

fn notes(hpa: &Hpa, target_cpu: Option<u32>) -> Vec<String> {
    let mut notes = Vec::new();
    if hpa.metadata.annotations.contains_key(TARGET_CPU) {
        notes.push(format!("{TARGET_CPU} stands already and is kept"));
    } else if target_cpu.is_none() {
        notes.push("it has no CPU target of 1 to 100 % of the request: 70 % is assumed".to_owned());
    }
    for metric in &hpa.spec.metrics {
        match metric.on_resource().map(|it| it.name.as_str()) {
            Some("cpu") => {}
            Some("memory") => notes.push(
                "its memory target goes: memory never holds our numbers up (limits still protect)"
                    .to_owned(),
            ),
            _ => notes.push(format!(
                "its metric {} goes, and our numbers know nothing of it",
                metric.describe()
            )),
        }
    }
    notes
}
