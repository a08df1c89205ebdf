//! What a read returns, in the words of `OpenAPI` v2 and v3.
//!
//! Definitions of other API groups are written out in place instead of referred to by their
//! usual names, so that the API server's merge of all documents finds no two of one name.

use std::sync::LazyLock;

use hyper::HeaderMap;
use serde_json::{Value, json};

use super::discovery::KIND;
use super::document::Document;
use super::negotiate;
use super::route::{GROUP, VERSION};
use super::status::{ApiError, Response};

const MODELS: &str = "io.k8s.metrics.pkg.apis.external_metrics.v1beta1";

fn model(name: &str) -> String {
    format!("{MODELS}.{name}")
}

fn title() -> Value {
    json!({"title": "HiRL-Scale", "version": concat!("v", env!("CARGO_PKG_VERSION"))})
}

/// The two models. `models` is where references point to.
fn models(models: &str) -> Value {
    let value = json!({
        "description": "ExternalMetricValue is a metric value for external metric",
        "type": "object",
        "required": ["metricName", "metricLabels", "timestamp", "value"],
        "properties": {
            "metricName": {"type": "string", "description": "the name of the metric"},
            "metricLabels": {
                "type": "object",
                "additionalProperties": {"type": "string"},
                "description": "labels that identify the app",
            },
            "timestamp": {
                "type": "string",
                "format": "date-time",
                "description": "when the value was decided",
            },
            "window": {
                "type": "integer",
                "format": "int64",
                "description": "seconds between two decisions",
            },
            "value": {"type": "string", "description": "the value, a quantity"},
        },
    });
    let list = json!({
        "description": "ExternalMetricValueList is a list of values for a given metric",
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "items": {
                "type": "array",
                "items": {"$ref": format!("{models}{}", model("ExternalMetricValue"))},
            },
        },
        "x-kubernetes-group-version-kind": [{"group": GROUP, "version": VERSION, "kind": KIND}],
    });
    json!({model("ExternalMetricValue"): value, model(KIND): list})
}

fn read_path() -> String {
    format!("/apis/{GROUP}/{VERSION}/namespaces/{{namespace}}/{{metric}}")
}

/// The read, without its parameters and answer, which differ between the versions.
fn operation() -> Value {
    json!({
        "description": "read an external metric of a namespace",
        "operationId": "readExternalMetricsV1beta1NamespacedMetric",
        "tags": ["externalMetrics_v1beta1"],
        "x-kubernetes-action": "list",
        "x-kubernetes-group-version-kind": {"group": GROUP, "version": VERSION, "kind": KIND},
    })
}

/// The parameters as (place, name, required).
const PARAMETERS: [(&str, &str, bool); 3] =
    [("path", "namespace", true), ("path", "metric", true), ("query", "labelSelector", false)];

static V2: LazyLock<Document> = LazyLock::new(|| {
    let parameters: Vec<Value> = PARAMETERS
        .iter()
        .map(|(place, name, required)| {
            json!({"in": place, "name": name, "required": required, "type": "string", "uniqueItems": true})
        })
        .collect();
    let mut read = operation();
    read["produces"] = json!(["application/json"]);
    read["parameters"] = json!(parameters);
    read["responses"] = json!({"200": {
        "description": "OK",
        "schema": {"$ref": format!("#/definitions/{}", model(KIND))},
    }});
    Document::new(&json!({
        "swagger": "2.0",
        "info": title(),
        "paths": {read_path(): {"get": read}},
        "definitions": models("#/definitions/"),
    }))
});

static GROUP_V3: LazyLock<Document> = LazyLock::new(|| {
    let parameters: Vec<Value> = PARAMETERS
        .iter()
        .map(|(place, name, required)| {
            json!({"in": place, "name": name, "required": required, "schema": {"type": "string"}})
        })
        .collect();
    let mut read = operation();
    read["parameters"] = json!(parameters);
    read["responses"] = json!({"200": {
        "description": "OK",
        "content": {"application/json": {
            "schema": {"$ref": format!("#/components/schemas/{}", model(KIND))},
        }},
    }});
    Document::new(&json!({
        "openapi": "3.0.0",
        "info": title(),
        "paths": {read_path(): {"get": read}},
        "components": {"schemas": models("#/components/schemas/")},
    }))
});

static INDEX_V3: LazyLock<Document> = LazyLock::new(|| {
    let url = format!("/openapi/v3/apis/{GROUP}/{VERSION}?hash={}", GROUP_V3.hash());
    Document::new(&json!({
        "paths": {format!("apis/{GROUP}/{VERSION}"): {"serverRelativeURL": url}},
    }))
});

/// `/openapi/v2`
pub(super) fn v2(headers: &HeaderMap) -> Result<Response, ApiError> {
    negotiate::json(headers)?;
    Ok(V2.answer(headers))
}

/// `/openapi/v3`
pub(super) fn index(headers: &HeaderMap) -> Result<Response, ApiError> {
    negotiate::json(headers)?;
    Ok(INDEX_V3.answer(headers))
}

/// `/openapi/v3/apis/<group>/<version>`
pub(super) fn group(headers: &HeaderMap) -> Result<Response, ApiError> {
    negotiate::json(headers)?;
    Ok(GROUP_V3.answer(headers))
}
