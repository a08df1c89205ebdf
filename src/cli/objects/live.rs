//! Lists objects of a running cluster, page by page. Only reads.

use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams};
use serde_json::Value;

use super::yaml::Document;

/// Objects per page of a list.
const PAGE: u32 = 500;

/// The kinds that `lint` reads.
const KINDS: [(&str, &str, &str, &str); 5] = [
    ("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers"),
    ("apps", "v1", "Deployment", "deployments"),
    ("apps", "v1", "StatefulSet", "statefulsets"),
    ("autoscaling.k8s.io", "v1", "VerticalPodAutoscaler", "verticalpodautoscalers"),
    ("", "v1", "Node", "nodes"),
];

/// A kind by its names.
pub(crate) fn resource(group: &str, version: &str, kind: &str, plural: &str) -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}

/// The HPA kind in the version whose fields we name in patches.
pub(crate) fn hpa() -> ApiResource {
    let (group, version, kind, plural) = KINDS[0];
    resource(group, version, kind, plural)
}

/// Reads everything that `lint` looks at, from one namespace or (`None`) from all. The second
/// list says what could not be read; HPAs must be readable, all else is optional.
pub(crate) async fn read(
    client: &kube::Client,
    namespace: Option<&str>,
) -> Result<(Vec<Document>, Vec<String>), kube::Error> {
    let mut all = Vec::new();
    let mut notes = Vec::new();
    for (group, version, kind, plural) in KINDS {
        let what = resource(group, version, kind, plural);
        let scope = namespace.filter(|_| kind != "Node");
        match list(client, &what, scope).await {
            Ok(objects) => all.extend(objects),
            Err(error) if kind == "HorizontalPodAutoscaler" => return Err(error),
            // Most clusters have no VerticalPodAutoscaler: nothing to say about that.
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => notes.push(format!("{plural} were not looked at: {}", plain(&error))),
        }
    }
    Ok((all, notes))
}

/// Lists one kind.
pub(crate) async fn list(
    client: &kube::Client,
    what: &ApiResource,
    namespace: Option<&str>,
) -> Result<Vec<Document>, kube::Error> {
    let api: Api<DynamicObject> = match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, what),
        None => Api::all_with(client.clone(), what),
    };
    let mut all = Vec::new();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let found = api.list(&page).await?;
        for object in found.items {
            let mut value = serde_json::to_value(object).map_err(kube::Error::SerdeError)?;
            value["kind"] = Value::String(what.kind.clone());
            value["apiVersion"] = Value::String(what.api_version.clone());
            all.push(Document { origin: "cluster".to_owned(), value });
        }
        match found.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = ListParams::default().limit(PAGE).continue_token(&token),
            None => return Ok(all),
        }
    }
}

/// An API error as one line: the server's own sentence where there is one.
pub(crate) fn plain(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        other => other.to_string(),
    }
}
