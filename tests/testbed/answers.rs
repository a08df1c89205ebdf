//! Metrics that a test dictates, behind `metrics.k8s.io` and `external.metrics.k8s.io`: for the
//! HPA's arithmetic, which the load twin, with its pods and queues, cannot put to the point.

use std::sync::Arc;

use anyhow::Result;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use futures::future::BoxFuture;
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

use super::control_plane::ControlPlane;
use super::objects;
use super::pki::Leaf;
use super::tls;

/// Namespace and name of the Service behind both groups.
const SERVICE: (&str, &str) = ("kube-system", "answers");
const RESOURCE: &str = "/apis/metrics.k8s.io/v1beta1";
const EXTERNAL: &str = "/apis/external.metrics.k8s.io/v1beta1";

/// What is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// CPU and memory of the pods of an app: items of a `PodMetricsList`.
    Resource,
    /// The one metric of an app: items of an `ExternalMetricValueList`.
    External,
}

/// Says what the items are when the metrics of an app (the value of the one label in the selector)
/// are read; none: the read fails.
pub type Answer = Arc<dyn Fn(Read, String) -> BoxFuture<'static, Option<Vec<Value>>> + Send + Sync>;

/// Serves both groups from `answer`, and waits until they are available.
pub async fn serve(plane: &ControlPlane, answer: Answer) -> Result<AbortOnDropHandle<()>> {
    let identity = plane
        .pki()
        .serving
        .issue(&Leaf::server("answers", &["answers.kube-system.svc", "localhost"]))?;
    let router = Router::new()
        .route(RESOURCE, get(async || resources("metrics.k8s.io")))
        .route(EXTERNAL, get(async || resources("external.metrics.k8s.io")))
        .route(&format!("{RESOURCE}/namespaces/{{namespace}}/pods"), get(resource))
        .route(&format!("{EXTERNAL}/namespaces/{{namespace}}/{{metric}}"), get(external))
        .with_state(answer);
    let (port, serving) = tls::serve(&identity, router).await?;
    for group in ["metrics.k8s.io", "external.metrics.k8s.io"] {
        let authority = plane.pki().serving.pem();
        objects::register(&plane.client(), group, SERVICE, port, authority).await?;
    }
    Ok(serving)
}

fn resources(group: &str) -> Json<Value> {
    Json(json!({
        "kind": "APIResourceList", "apiVersion": "v1",
        "groupVersion": format!("{group}/v1beta1"), "resources": [],
    }))
}

async fn resource(State(answer): State<Answer>, RawQuery(query): RawQuery) -> Response {
    let items = answer(Read::Resource, app(query)).await;
    list("PodMetricsList", "metrics.k8s.io/v1beta1", items)
}

async fn external(State(answer): State<Answer>, RawQuery(query): RawQuery) -> Response {
    let items = answer(Read::External, app(query)).await;
    list("ExternalMetricValueList", "external.metrics.k8s.io/v1beta1", items)
}

/// The value in `labelSelector=key%3Dvalue`.
fn app(query: Option<String>) -> String {
    let query = query.unwrap_or_default();
    let selector = query.split('&').find_map(|pair| pair.strip_prefix("labelSelector="));
    let value = selector.and_then(|selector| selector.split("%3D").nth(1));
    value.unwrap_or_default().to_owned()
}

fn list(kind: &str, version: &str, items: Option<Vec<Value>>) -> Response {
    match items {
        Some(items) => {
            let list = json!({"kind": kind, "apiVersion": version, "metadata": {}, "items": items});
            Json(list).into_response()
        }
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}
