//! Turns YAML files or a cluster into the objects that the verbs look at. Never writes anything.

pub(crate) mod live;
pub(crate) mod patch;
pub(crate) mod view;
pub(crate) mod yaml;

use serde::de::DeserializeOwned;
use serde_json::Value;

use view::{Hpa, Node, Reference, Vpa, Workload};
use yaml::{Document, ReadError};

/// An HPA and where it was read.
#[derive(Debug, Clone)]
pub(crate) struct Placed {
    /// File and line, or `cluster`.
    pub(crate) origin: String,
    /// The HPA.
    pub(crate) hpa: Hpa,
    /// `spec.metrics` as it stands, for patches that must keep what they do not change.
    pub(crate) metrics: Vec<Value>,
}

impl Placed {
    fn new(origin: String, value: Value, namespace: &str) -> Result<Self, ReadError> {
        let metrics = value["spec"]["metrics"].as_array().cloned().unwrap_or_default();
        let mut hpa: Hpa = typed(&origin, "HorizontalPodAutoscaler", value)?;
        place(&mut hpa.metadata.namespace, namespace);
        Ok(Self { origin, hpa, metrics })
    }
}

/// All objects of one look.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    /// HPAs.
    pub(crate) hpas: Vec<Placed>,
    /// Things with a pod template.
    pub(crate) workloads: Vec<Workload>,
    /// Vertical autoscalers.
    pub(crate) vpas: Vec<Vpa>,
    /// Nodes.
    pub(crate) nodes: Vec<Node>,
}

impl Objects {
    /// Sorts documents into what the verbs look at; other kinds are left out. `namespace` is for
    /// objects that name none.
    pub(crate) fn from_documents(
        documents: Vec<Document>,
        namespace: &str,
    ) -> Result<Self, ReadError> {
        let mut all = Self::default();
        for Document { origin, value } in documents {
            let kind = value["kind"].as_str().unwrap_or_default().to_owned();
            let version = value["apiVersion"].as_str().unwrap_or_default().to_owned();
            match (version.as_str(), kind.as_str()) {
                ("autoscaling/v2" | "autoscaling/v2beta2", "HorizontalPodAutoscaler") => {
                    all.hpas.push(Placed::new(origin, value, namespace)?);
                }
                ("autoscaling/v1", "HorizontalPodAutoscaler") => {
                    all.hpas.push(Placed::new(origin, from_v1(value), namespace)?);
                }
                (other, "HorizontalPodAutoscaler") => {
                    let what = format!(
                        "apiVersion {other:?} of a HorizontalPodAutoscaler is not served any more: use autoscaling/v2"
                    );
                    return Err(ReadError::Object { origin, what });
                }
                (_, "Deployment" | "StatefulSet" | "ReplicaSet" | "Rollout") => {
                    let mut workload: Workload = typed(&origin, &kind, value)?;
                    place(&mut workload.metadata.namespace, namespace);
                    all.workloads.push(workload);
                }
                (_, "VerticalPodAutoscaler") => {
                    let mut vpa: Vpa = typed(&origin, &kind, value)?;
                    place(&mut vpa.metadata.namespace, namespace);
                    all.vpas.push(vpa);
                }
                ("v1", "Node") => all.nodes.push(typed(&origin, &kind, value)?),
                _ => {}
            }
        }
        Ok(all)
    }

    /// The scale target of an HPA, when it was read.
    pub(crate) fn target(&self, hpa: &Hpa) -> Option<&Workload> {
        let wanted = &hpa.spec.scale_target_ref;
        self.workloads.iter().find(|workload| {
            workload.metadata.namespace == hpa.metadata.namespace
                && workload.kind == wanted.kind
                && workload.metadata.name == wanted.name
        })
    }
}

/// Two HPAs of one namespace, or none: whether they scale the same thing.
pub(crate) fn same_target(one: &Hpa, other: &Hpa) -> bool {
    let target = |hpa: &Hpa| -> (String, Reference) {
        (hpa.metadata.namespace.clone(), hpa.spec.scale_target_ref.clone())
    };
    target(one) == target(other)
}

/// Reads `value` as a view; the message says which object and what is wrong with it.
pub(crate) fn typed<T: DeserializeOwned>(
    origin: &str,
    kind: &str,
    value: Value,
) -> Result<T, ReadError> {
    let name = value["metadata"]["name"].as_str().unwrap_or("(no name)").to_owned();
    serde_json::from_value(view::without_nulls(value)).map_err(|error| ReadError::Object {
        origin: origin.to_owned(),
        what: format!("{kind} {name}: {error}"),
    })
}

fn place(namespace: &mut String, default: &str) {
    if namespace.is_empty() {
        default.clone_into(namespace);
    }
}

/// `autoscaling/v1` has room for one CPU target only.
fn from_v1(mut value: Value) -> Value {
    let percent = value["spec"]["targetCPUUtilizationPercentage"].clone();
    if percent.is_number() {
        value["spec"]["metrics"] = serde_json::json!([{"type": "Resource", "resource": {
            "name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent}}}]);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects(text: &str) -> Result<Objects, ReadError> {
        Objects::from_documents(yaml::parse("x.yaml", text)?, "shop")
    }

    #[test]
    fn a_v1_hpa_keeps_its_cpu_target() {
        let all = objects(
            "apiVersion: autoscaling/v1\nkind: HorizontalPodAutoscaler\nmetadata: {name: web}\n\
             spec: {maxReplicas: 3, targetCPUUtilizationPercentage: 60}\n",
        )
        .unwrap();
        let hpa = &all.hpas[0].hpa;
        assert_eq!(hpa.metadata.namespace, "shop");
        assert_eq!(hpa.resource("cpu").next().unwrap().target.average_utilization, Some(60));
    }

    #[test]
    fn requests_are_summed_over_containers_and_sidecars_but_not_over_init_steps() {
        let all = objects(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  template:\n    spec:\n\
             \x20     initContainers:\n\
             \x20     - {name: migrate, resources: {requests: {cpu: 4}}}\n\
             \x20     - {name: mesh, restartPolicy: Always, resources: {requests: {cpu: 100m}}}\n\
             \x20     containers:\n\
             \x20     - {name: app, resources: {requests: {cpu: 1}, limits: {memory: 512Mi}}}\n",
        )
        .unwrap();
        let cpu = all.workloads[0].request("cpu").unwrap();
        assert!((cpu - 1.1).abs() < 1e-9, "{cpu}");
        // The sidecar requests no memory, so that there is no sum.
        assert_eq!(all.workloads[0].request("memory"), None);
        assert_eq!(all.workloads[0].container_request("app", "memory"), Some(536_870_912.0));
    }

    #[test]
    fn a_field_of_the_wrong_type_names_the_object_and_the_place() {
        for (text, part) in [
            ("maxReplicas: ten", "HorizontalPodAutoscaler web: invalid type: string \"ten\""),
            ("metrics: [{type: External, external: {target: {averageValue: 1x}}}]", "1x"),
        ] {
            let text = format!(
                "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {{name: web}}\nspec: {{{text}}}\n"
            );
            let message = objects(&text).unwrap_err().to_string();
            assert!(message.starts_with("x.yaml:1: "), "{message}");
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn a_version_that_no_cluster_serves_any_more_is_refused() {
        let text = "apiVersion: autoscaling/v2beta1\nkind: HorizontalPodAutoscaler\n";
        assert!(objects(text).unwrap_err().to_string().contains("use autoscaling/v2"));
    }
}
