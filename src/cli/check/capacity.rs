//! Whether warm capacity is kept, and whether it is known what the shared pools can grow to.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::Api;
use serde_json::Value;

use crate::cli::objects::live::{self, plain};
use crate::cli::objects::{Objects, Placed};
use crate::http::WARM_METRIC;
use crate::placement::Growth;

use super::line::Line;
use super::permissions::{self, Who};

/// API group of capacity buffers, and their versions, newest first.
const BUFFERS: (&str, [&str; 2]) = ("autoscaling.x-k8s.io", ["v1beta1", "v1alpha1"]);
/// Their kind and plural.
const BUFFER: (&str, &str) = ("CapacityBuffer", "capacitybuffers");
/// Group, version and plural of Karpenter's node pools.
const NODE_POOLS: (&str, &str, &str) = ("karpenter.sh", "v1", "nodepools");
/// The condition that says that an autoscaler looks after a buffer.
const LOOKED_AFTER: &str = "ReadyForProvisioning";

const READABLE: &str = "run as a user that may read Deployments and CapacityBuffers";
const EITHER: &str = "keep one of the components balloon and capacity-buffer, and remove the other";
const SWITCHED_OFF: &str = "switch capacity buffers on in the node autoscaler (see manifests/scheduler/capacity-buffer), or use the component balloon";

/// An HPA that reads the warm capacity, and its scale target.
#[derive(Debug, Clone, PartialEq)]
struct Keeper {
    /// Namespace and name of the target.
    target: String,
    /// Kind of the target.
    kind: String,
    /// Its pods.
    pods: Pods,
    /// The capacity buffer that follows the target.
    buffer: Option<Value>,
}

/// What the pods of a scale target are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pods {
    /// The target is not there.
    Absent,
    /// They hold nodes.
    Hold,
    /// They are behind a scheduling gate, and only a number.
    Gated,
}

/// Says what keeps warm capacity, by the HPAs among `objects`.
pub(super) async fn warm(client: &kube::Client, objects: &Objects) -> Line {
    let unknown = |what: String| {
        Line::warn(format!("{what}: whether warm capacity is kept is not known"), READABLE)
    };
    let version = match served_buffers(client).await {
        Ok(version) => version,
        Err(error) => {
            return unknown(format!("the API groups cannot be listed: {}", plain(&error)));
        }
    };
    let mut buffers = Vec::new();
    if let Some(version) = version {
        let what = live::resource(BUFFERS.0, version, BUFFER.0, BUFFER.1);
        match live::list(client, &what, None).await {
            Ok(found) => buffers.extend(found.into_iter().map(|document| document.value)),
            Err(error) => {
                return unknown(format!("CapacityBuffers cannot be listed: {}", plain(&error)));
            }
        }
    }
    let mut keepers = Vec::new();
    let reads = |placed: &&Placed| placed.hpa.external(WARM_METRIC).next().is_some();
    for placed in objects.hpas.iter().filter(reads) {
        match keeper(client, placed, &buffers).await {
            Ok(keeper) => keepers.push(keeper),
            Err(error) => {
                return unknown(format!("a Deployment cannot be read: {}", plain(&error)));
            }
        }
    }
    judge(version.is_some(), &keepers, &buffers)
}

/// The newest version in which the API server serves capacity buffers.
async fn served_buffers(client: &kube::Client) -> Result<Option<&'static str>, kube::Error> {
    let (group, versions) = BUFFERS;
    for version in versions {
        if serves(client, group, version, BUFFER.1).await? {
            return Ok(Some(version));
        }
    }
    Ok(None)
}

async fn serves(
    client: &kube::Client,
    group: &str,
    version: &str,
    plural: &str,
) -> Result<bool, kube::Error> {
    match client.list_api_group_resources(&format!("{group}/{version}")).await {
        Ok(list) => Ok(list.resources.iter().any(|resource| resource.name == plural)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
        Err(error) => Err(error),
    }
}

async fn keeper(
    client: &kube::Client,
    placed: &Placed,
    buffers: &[Value],
) -> Result<Keeper, kube::Error> {
    let namespace = &placed.hpa.metadata.namespace;
    let target = &placed.hpa.spec.scale_target_ref;
    let pods = if target.kind == "Deployment" {
        let api: Api<Deployment> = Api::namespaced(client.clone(), namespace);
        api.get_opt(&target.name).await?.map_or(Pods::Absent, |found| {
            let pod = found.spec.and_then(|spec| spec.template.spec).unwrap_or_default();
            if pod.scheduling_gates.is_some_and(|gates| !gates.is_empty()) {
                Pods::Gated
            } else {
                Pods::Hold
            }
        })
    } else {
        Pods::Hold
    };
    let follows = |buffer: &&Value| {
        let scalable = &buffer["spec"]["scalableRef"];
        buffer["metadata"]["namespace"] == namespace.as_str()
            && scalable["kind"] == target.kind.as_str()
            && scalable["name"] == target.name.as_str()
    };
    Ok(Keeper {
        target: format!("{namespace}/{}", target.name),
        kind: target.kind.clone(),
        pods,
        buffer: buffers.iter().find(follows).cloned(),
    })
}

/// Judges by the HPAs that read the warm capacity, whether capacity buffers are served, and which
/// there are.
fn judge(served: bool, keepers: &[Keeper], buffers: &[Value]) -> Line {
    let keeper = match keepers {
        [] => return nobody(served, buffers),
        [keeper] => keeper,
        several => {
            let targets: Vec<&str> = several.iter().map(|keeper| keeper.target.as_str()).collect();
            return Line::warn(
                format!(
                    "warm capacity is kept {} times over: {} follow {WARM_METRIC}",
                    several.len(),
                    targets.join(" and ")
                ),
                EITHER,
            );
        }
    };
    let Keeper { target, kind, pods, buffer } = keeper;
    match (pods, buffer) {
        (Pods::Absent, _) => Line::warn(
            format!(
                "warm capacity is not kept: {kind} {target} is absent, and an HPA scales it by {WARM_METRIC}"
            ),
            "apply the component that it belongs to: balloon or capacity-buffer",
        ),
        (_, Some(buffer)) => looked_after(buffer),
        (Pods::Gated, None) => Line::warn(
            format!(
                "warm capacity is not kept: the pods of {kind} {target} stay behind a gate, and no CapacityBuffer follows them"
            ),
            cure(served),
        ),
        (Pods::Hold, None) => Line::pass(format!(
            "balloon pods ({kind} {target}) keep as much capacity warm as {WARM_METRIC} asks for"
        )),
    }
}

/// Without an HPA that reads the warm capacity.
fn nobody(served: bool, buffers: &[Value]) -> Line {
    let part_of =
        |buffer: &&Value| buffer["metadata"]["labels"]["app.kubernetes.io/part-of"] == "hirl-scale";
    if let Some(buffer) = buffers.iter().find(part_of) {
        return Line::warn(
            format!("{} is there, and no HPA makes it follow {WARM_METRIC}", name(buffer)),
            cure(served),
        );
    }
    Line::warn(
        format!(
            "warm capacity is not kept, so that growth waits for nodes: neither balloon pods nor a CapacityBuffer follow {WARM_METRIC}"
        ),
        cure(served),
    )
}

/// Whether an autoscaler looks after a buffer.
fn looked_after(buffer: &Value) -> Line {
    let conditions = buffer["status"]["conditions"].as_array().map_or(&[][..], Vec::as_slice);
    let condition = conditions.iter().find(|condition| condition["type"] == LOOKED_AFTER);
    let name = name(buffer);
    match condition {
        Some(condition) if condition["status"] == "True" => {
            Line::pass(format!("{name} keeps as much capacity warm as {WARM_METRIC} asks for"))
        }
        Some(condition) => Line::warn(
            format!(
                "{name} keeps no capacity warm: {}",
                condition["message"].as_str().unwrap_or("no message").trim()
            ),
            "see its conditions and the log of the node autoscaler",
        ),
        None => Line::warn(
            format!("{name} keeps no capacity warm: no node autoscaler looks after it"),
            SWITCHED_OFF,
        ),
    }
}

fn name(buffer: &Value) -> String {
    let text = |field: &str| buffer["metadata"][field].as_str().unwrap_or_default();
    format!("{} {}/{}", BUFFER.0, text("namespace"), text("name"))
}

/// Tells how warm capacity comes to be kept.
fn cure(served: bool) -> &'static str {
    if served {
        "apply the component manifests/scheduler/capacity-buffer: this cluster has capacity buffers"
    } else {
        "apply the component manifests/scheduler/balloon"
    }
}

/// Says whether it is known what the shared pools can grow to: by Karpenter's node pools, which
/// `who` must be allowed to read, or by `growth` of the configuration.
pub(super) async fn growth(
    client: &kube::Client,
    who: &Who,
    growth: &BTreeMap<String, Growth>,
) -> Line {
    let (group, version, plural) = NODE_POOLS;
    let found = match serves(client, group, version, plural).await {
        Ok(false) => None,
        Ok(true) => match permissions::growing(client, who).await {
            Ok(allowed) => Some(allowed),
            Err(error) => {
                return Line::warn(
                    format!(
                        "the right of {} to read NodePools could not be asked for: {}",
                        who.name(),
                        plain(&error)
                    ),
                    "run as a user that may create subjectaccessreviews",
                );
            }
        },
        Err(error) => {
            return Line::warn(
                format!("whether there are NodePools cannot be found out: {}", plain(&error)),
                "run as a user that may list API groups",
            );
        }
    };
    judge_growth(found, who.name(), growth.len())
}

/// Judges by whether node pools may be listed, where there are any, and by the number of pools of
/// which the configuration says what they can grow to.
fn judge_growth(readable: Option<bool>, who: &str, stated: usize) -> Line {
    let (group, _, plural) = NODE_POOLS;
    let consequence =
        "pods beyond what stands are refused there, not Unschedulable, and no node comes for them";
    match readable {
        Some(true) => Line::pass("NodePools say what the shared pools can grow to"),
        Some(false) => {
            let others = if stated == 0 { "" } else { " that placement.growth does not name" };
            Line::warn(
                format!(
                    "{who} may not list {plural} ({group}): pools{others} are taken as not growing"
                ),
                format!("apply manifests/scheduler/rbac.yaml: {consequence}"),
            )
        }
        None if stated == 0 => Line::warn(
            "pools are taken as not growing: there are no NodePools, and placement.growth names no pool",
            format!("write placement.growth where nodes are added: {consequence}"),
        ),
        None => Line::pass(format!(
            "placement.growth says what {stated} {} can grow to",
            if stated == 1 { "pool" } else { "pools" }
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::check::line::Mark;

    fn buffer(status: &Value) -> Value {
        json!({"metadata": {"namespace": "hirl-system", "name": "hirl-warm",
            "labels": {"app.kubernetes.io/part-of": "hirl-scale"}}, "status": status})
    }

    fn ready(status: &str) -> Value {
        buffer(&json!({"conditions": [
            {"type": "ReadyForProvisioning", "status": status, "message": "no such Deployment"}]}))
    }

    fn keeper(pods: Pods, buffer: Option<Value>) -> Keeper {
        let target = "hirl-system/hirl-warm".to_owned();
        Keeper { target, kind: "Deployment".to_owned(), pods, buffer }
    }

    #[test]
    fn warm_capacity_is_kept_by_balloons_or_by_a_buffer_and_else_the_cure_is_named() {
        for (served, keepers, buffers, mark, said, cure) in [
            (false, vec![keeper(Pods::Hold, None)], vec![], Mark::Pass, "balloon pods", ""),
            (
                true,
                vec![keeper(Pods::Gated, Some(ready("True")))],
                vec![],
                Mark::Pass,
                "hirl-warm keeps",
                "",
            ),
            (false, vec![], vec![], Mark::Warn, "neither", "scheduler/balloon"),
            (true, vec![], vec![], Mark::Warn, "neither", "scheduler/capacity-buffer"),
            (
                true,
                vec![],
                vec![ready("True")],
                Mark::Warn,
                "no HPA makes it follow",
                "capacity-buffer",
            ),
            (
                false,
                vec![keeper(Pods::Gated, None)],
                vec![],
                Mark::Warn,
                "behind a gate",
                "balloon",
            ),
            (true, vec![keeper(Pods::Absent, None)], vec![], Mark::Warn, "is absent", "apply"),
            (
                true,
                vec![keeper(Pods::Gated, Some(ready("False")))],
                vec![],
                Mark::Warn,
                "no such Deployment",
                "conditions",
            ),
            (
                true,
                vec![keeper(Pods::Gated, Some(buffer(&Value::Null)))],
                vec![],
                Mark::Warn,
                "no node autoscaler looks after it",
                "switch capacity buffers on",
            ),
            (
                true,
                vec![keeper(Pods::Hold, None), keeper(Pods::Gated, Some(ready("True")))],
                vec![],
                Mark::Warn,
                "2 times over",
                "remove the other",
            ),
        ] {
            let line = judge(served, &keepers, &buffers);
            assert_eq!(line.mark, mark, "{line:?}");
            assert!(line.what.contains(said) && line.hint.contains(cure), "{line:?}");
        }
    }

    #[test]
    fn what_pools_can_grow_to_is_read_or_stated_and_else_they_are_taken_as_not_growing() {
        for (readable, stated, mark, said) in [
            (Some(true), 0, Mark::Pass, "NodePools say"),
            (Some(false), 0, Mark::Warn, "may not list nodepools (karpenter.sh): pools are"),
            (Some(false), 2, Mark::Warn, "pools that placement.growth does not name"),
            (None, 0, Mark::Warn, "taken as not growing"),
            (None, 1, Mark::Pass, "what 1 pool can"),
            (None, 2, Mark::Pass, "what 2 pools can"),
        ] {
            let line = judge_growth(readable, "hirl", stated);
            assert_eq!(line.mark, mark, "{line:?}");
            assert!(line.what.contains(said), "{line:?}");
            assert_eq!(line.hint.contains("Unschedulable"), mark == Mark::Warn, "{line:?}");
        }
    }
}
