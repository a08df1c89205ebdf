//! HPAs of the simulator's scenarios as stock objects.

use hirl_scale::simulation::scenario::{HpaSpec, ScaleRules};
use serde_json::{Value, json};

/// `spec.metrics` on CPU, and on memory where the scenario says so.
pub fn metrics(hpa: &HpaSpec) -> Vec<Value> {
    let resource = |name: &str, target: f64| {
        let percent = (target * 100.0).round() as u32;
        json!({"type": "Resource", "resource": {
            "name": name, "target": {"type": "Utilization", "averageUtilization": percent},
        }})
    };
    let memory = hpa.target_memory.map(|target| resource("memory", target));
    std::iter::once(resource("cpu", hpa.target_cpu)).chain(memory).collect()
}

/// `spec.behavior`, with every span divided by `compression`; Kubernetes wants whole seconds.
pub fn behavior(hpa: &HpaSpec, compression: f64) -> Value {
    json!({
        "scaleUp": rules(&hpa.scale_up, hpa.tolerance_up, compression),
        "scaleDown": rules(&hpa.scale_down, hpa.tolerance_down, compression),
    })
}

fn rules(rules: &ScaleRules, tolerance: Option<f64>, compression: f64) -> Value {
    let seconds = |span: f64| (span / compression).round() as u32;
    let policies = rules.policies.iter().map(|policy| {
        json!({
            "type": policy.kind,
            "value": policy.value,
            "periodSeconds": seconds(policy.period_seconds).max(1),
        })
    });
    let mut object =
        json!({"selectPolicy": rules.select, "policies": policies.collect::<Vec<_>>()});
    if let Some(window) = rules.stabilization_seconds {
        object["stabilizationWindowSeconds"] = seconds(window).into();
    }
    if let Some(tolerance) = tolerance {
        object["tolerance"] = tolerance.to_string().into();
    }
    object
}
