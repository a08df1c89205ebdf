//! What we serve, in the words of Kubernetes discovery: the legacy documents, and aggregated
//! discovery v2 for the API server, which trusts it fully and asks for it once a minute.
//!
//! One placeholder resource stands for all metrics: an empty list makes clients complain, and a
//! list of metrics costs every client of the cluster.

use std::sync::LazyLock;

use hyper::HeaderMap;
use hyper::header::HeaderValue;
use serde_json::json;

use super::document::Document;
use super::negotiate::{self, Form};
use super::route::{GROUP, VERSION};
use super::status::{ApiError, Response};

/// The placeholder.
pub(super) const RESOURCE: &str = "externalmetrics";
/// Kind of what a read returns.
pub(super) const KIND: &str = "ExternalMetricValueList";

static AGGREGATED: LazyLock<Document> = LazyLock::new(|| {
    let resource = json!({
        "resource": RESOURCE,
        "responseKind": {"group": GROUP, "version": VERSION, "kind": KIND},
        "scope": "Namespaced",
        "singularResource": "",
        "verbs": ["get"],
    });
    Document::typed(
        &json!({
            "kind": "APIGroupDiscoveryList",
            "apiVersion": "apidiscovery.k8s.io/v2",
            "metadata": {},
            "items": [{
                "metadata": {"name": GROUP, "creationTimestamp": null},
                "versions": [{
                    "version": VERSION,
                    "freshness": "Current",
                    "resources": [resource],
                }],
            }],
        }),
        HeaderValue::from_static(
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
        ),
    )
});

fn group() -> serde_json::Value {
    let version = json!({"groupVersion": format!("{GROUP}/{VERSION}"), "version": VERSION});
    json!({"name": GROUP, "versions": [version], "preferredVersion": version})
}

static GROUPS: LazyLock<Document> = LazyLock::new(|| {
    Document::new(&json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [group()]}))
});

static GROUP_ITSELF: LazyLock<Document> = LazyLock::new(|| {
    let mut group = group();
    group["kind"] = json!("APIGroup");
    group["apiVersion"] = json!("v1");
    Document::new(&group)
});

static RESOURCES: LazyLock<Document> = LazyLock::new(|| {
    Document::new(&json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": format!("{GROUP}/{VERSION}"),
        "resources": [{
            "name": RESOURCE,
            "singularName": "",
            "namespaced": true,
            "kind": KIND,
            "verbs": ["get"],
        }],
    }))
});

/// `/apis`, in the form that the client prefers.
pub(super) fn groups(headers: &HeaderMap) -> Result<Response, ApiError> {
    Ok(match negotiate::discovery(headers)? {
        Form::Aggregated => AGGREGATED.answer(headers),
        Form::Json => GROUPS.answer(headers),
    })
}

/// `/apis/<group>`
pub(super) fn one_group(headers: &HeaderMap) -> Result<Response, ApiError> {
    negotiate::json(headers)?;
    Ok(GROUP_ITSELF.answer(headers))
}

/// `/apis/<group>/<version>`
pub(super) fn resources(headers: &HeaderMap) -> Result<Response, ApiError> {
    negotiate::json(headers)?;
    Ok(RESOURCES.answer(headers))
}
