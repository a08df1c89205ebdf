//! Objects that work against each other, or against the size of the cluster.

use serde_json::json;

use crate::cli::objects::patch::Patch;
use crate::cli::objects::{Objects, same_target};
use crate::cluster::METRIC;

use super::finding::{Finding, Severity};

/// Finds bounds that cannot hold.
pub(super) fn bounds(objects: &Objects) -> Vec<Finding> {
    let mut found = Vec::new();
    for placed in &objects.hpas {
        let (min, max) = (placed.hpa.min(), placed.hpa.spec.max_replicas);
        if max < 1 {
            let sentence = format!("maxReplicas is {max}: it must be at least 1");
            found.push(Finding::on(placed, Severity::Error, sentence));
        } else if min > max {
            let sentence =
                format!("minReplicas {min} is above maxReplicas {max}: the API server refuses it");
            let finding = Finding::on(placed, Severity::Error, sentence);
            found.push(finding.patched(placed, json!({"spec": {"maxReplicas": min}})));
        } else if min < 0 {
            let sentence = format!("minReplicas is {min}: it must not be negative");
            found.push(Finding::on(placed, Severity::Error, sentence));
        }
    }
    found
}

/// Finds targets that two HPAs scale.
pub(super) fn shared_target(objects: &Objects) -> Vec<Finding> {
    let mut found = Vec::new();
    for (index, placed) in objects.hpas.iter().enumerate() {
        let earlier =
            objects.hpas[..index].iter().find(|other| same_target(&other.hpa, &placed.hpa));
        if let Some(other) = earlier {
            let sentence = format!(
                "scales {}, as HPA {} does: each undoes what the other does; delete one",
                placed.hpa.spec.scale_target_ref, other.hpa.metadata.name
            );
            found.push(Finding::on(placed, Severity::Error, sentence));
        }
    }
    found
}

/// Finds CPU that an HPA reads and a VPA changes.
pub(super) fn vpa_on_cpu(objects: &Objects) -> Vec<Finding> {
    let mut found = Vec::new();
    for placed in &objects.hpas {
        let hpa = &placed.hpa;
        let own = hpa.external(METRIC).next().is_some();
        let on_cpu = hpa.resource("cpu").any(|it| it.target.average_utilization.is_some());
        if !own && !on_cpu {
            continue;
        }
        let same = |vpa: &&crate::cli::objects::view::Vpa| {
            vpa.metadata.namespace == hpa.metadata.namespace
                && vpa.spec.target_ref == hpa.spec.scale_target_ref
                && vpa.changes_cpu()
        };
        let Some(vpa) = objects.vpas.iter().find(same) else {
            continue;
        };
        let reads = if on_cpu {
            "scales on CPU per request"
        } else {
            "follows a number made from CPU per request"
        };
        let severity = if on_cpu { Severity::Error } else { Severity::Warning };
        let sentence = format!(
            "{reads} of {}, while VPA {} changes that request: a request doubled halves the \
             utilisation, and the count with it",
            hpa.spec.scale_target_ref, vpa.metadata.name
        );
        let mut finding = Finding::on(placed, severity, sentence);
        let body = json!({"spec": {"resourcePolicy": {"containerPolicies":
            [{"containerName": "*", "controlledResources": ["memory"]}]}}});
        finding.patch = Some(Patch {
            resource: "vpa",
            namespace: vpa.metadata.namespace.clone(),
            name: vpa.metadata.name.clone(),
            body,
        });
        found.push(finding);
    }
    found
}

/// How the two resources are asked for and written.
const RESOURCES: [(&str, f64, &str); 2] =
    [("cpu", 1.0, "cores"), ("memory", 1_073_741_824.0, "Gi")];

/// Compares what all HPAs may ask for with what the nodes have.
pub(super) fn sum_of_max(objects: &Objects) -> Vec<Finding> {
    let nodes: Vec<_> = objects.nodes.iter().filter(|node| node.takes_pods()).collect();
    if nodes.is_empty() {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (resource, unit, name) in RESOURCES {
        let have: f64 = nodes
            .iter()
            .filter_map(|node| node.status.allocatable.get(resource))
            .map(|it| it.value)
            .sum();
        let mut asks: Vec<(f64, String)> = Vec::new();
        let mut unknown = 0;
        for placed in &objects.hpas {
            let request =
                objects.target(&placed.hpa).and_then(|workload| workload.request(resource));
            let Some(request) = request else {
                unknown += 1;
                continue;
            };
            let (max, meta) = (placed.hpa.spec.max_replicas, &placed.hpa.metadata);
            asks.push((f64::from(max) * request, format!("{}/{}", meta.namespace, meta.name)));
        }
        let want: f64 = asks.iter().map(|(ask, _)| ask).sum();
        if have <= 0.0 || want <= have {
            continue;
        }
        asks.sort_by(|one, other| other.0.total_cmp(&one.0));
        let largest: Vec<String> =
            asks.iter().take(3).map(|(ask, hpa)| format!("{hpa} {:.1}", ask / unit)).collect();
        let sentence = format!(
            "at maxReplicas {} HPAs request {:.1} {name} of {resource}, {:.0} % of the {:.1} {name} \
             that {} nodes have to give; the largest: {}{}",
            asks.len(),
            want / unit,
            100.0 * want / have,
            have / unit,
            nodes.len(),
            largest.join(", "),
            if unknown > 0 {
                format!("; {unknown} HPAs with unknown requests are not in it")
            } else {
                String::new()
            }
        );
        found.push(Finding {
            rule: "",
            severity: Severity::Warning,
            object: "cluster".to_owned(),
            origin: "cluster".to_owned(),
            sentence,
            patch: None,
        });
    }
    found
}
