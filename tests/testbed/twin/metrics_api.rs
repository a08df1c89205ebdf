//! Serves `metrics.k8s.io/v1beta1` from the twin's load, so that plain CPU and memory HPAs work.
//!
//! It trusts whoever can reach it on loopback, and offers only what the HPA asks for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::extract::{Path, RawQuery, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::lock;
use super::state::{Pod, PodLoad, Running, State};

/// The path of the group.
const GROUP: &str = "/apis/metrics.k8s.io/v1beta1";

/// What it answers.
pub(super) fn router(state: Arc<Mutex<State>>) -> Router {
    Router::new()
        .route(GROUP, get(resources))
        .route(&format!("{GROUP}/namespaces/{{namespace}}/pods"), get(pods))
        .with_state(state)
}

async fn resources() -> Json<Value> {
    Json(json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": "metrics.k8s.io/v1beta1",
        "resources": [{
            "name": "pods", "singularName": "", "namespaced": true,
            "kind": "PodMetrics", "verbs": ["get", "list"],
        }],
    }))
}

async fn pods(
    Shared(state): Shared<Arc<Mutex<State>>>,
    Path(namespace): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    let selector = label_selector(query.as_deref().unwrap_or_default());
    let Some(wanted) = equalities(&selector) else {
        let status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "reason": "BadRequest", "code": 400,
            "message": format!("the load twin only knows a=b,c=d, not {selector:?}"),
        });
        return (StatusCode::BAD_REQUEST, Json(status)).into_response();
    };
    let state = lock(&state);
    let at = jiff::Timestamp::try_from(state.stepped_at).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let items: Vec<Value> = state
        .pods
        .values()
        .filter(|pod| pod.namespace == namespace && matches(&wanted, &pod.labels))
        .filter_map(|pod| Some((pod, state.apps.get(&(namespace.clone(), pod.workload.clone()))?)))
        .filter(|(pod, _)| pod.running)
        .map(|(pod, app)| item(pod, app, at))
        .collect();
    Json(json!({
        "kind": "PodMetricsList",
        "apiVersion": "metrics.k8s.io/v1beta1",
        "metadata": {},
        "items": items,
    }))
    .into_response()
}

/// How much older the sample of a pod is that was not seen at work for a whole step: it is one from
/// its start, as a kubelet has it, so that the HPA knows better than to count it.
const FROM_ITS_START: jiff::SignedDuration = jiff::SignedDuration::from_secs(10);

/// The sample of a pod that runs. Without one, the HPA would take it for busy on the way down, and
/// stand still for a whole stabilisation window.
fn item(pod: &Pod, app: &Running, at: jiff::Timestamp) -> Value {
    let started = PodLoad {
        measured_cpu: app.app.service.idle_cpu,
        memory: app.app.base_memory,
        unseen: true,
        ..PodLoad::default()
    };
    let load = app.pods.get(&pod.name).unwrap_or(&started);
    let at = if load.unseen { at - FROM_ITS_START } else { at };
    json!({
        "metadata": {"name": pod.name, "namespace": pod.namespace, "labels": pod.labels},
        "timestamp": at.to_string(),
        "window": "1s",
        "containers": [{
            "name": "app",
            "usage": {
                "cpu": format!("{}n", nano(load.measured_cpu)),
                "memory": format!("{}", load.memory.max(0.0) as u64),
            },
        }],
    })
}

/// Cores in billionths, as the kubelet reports them. What is not a number becomes 0 here: this
/// API cannot say it.
fn nano(cores: f64) -> u64 {
    (cores.max(0.0) * 1e9) as u64
}

/// The label selector of a query, decoded; empty when there is none.
fn label_selector(query: &str) -> String {
    let value = query.split('&').find_map(|pair| pair.strip_prefix("labelSelector="));
    let mut bytes = value.unwrap_or_default().bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [bytes.next().unwrap_or(b'?'), bytes.next().unwrap_or(b'?')];
                let text = String::from_utf8_lossy(&digits);
                u8::from_str_radix(&text, 16).unwrap_or(b'?')
            }
            byte => byte,
        });
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// The pairs of a selector of equalities, which is what HPAs send; `None` for any other.
fn equalities(selector: &str) -> Option<BTreeMap<&str, &str>> {
    selector
        .split(',')
        .map(str::trim)
        .filter(|term| !term.is_empty())
        .map(|term| {
            let (key, value) = term.split_once('=')?;
            let plain = |text: &str| !text.contains(['!', ' ', '(']);
            (plain(key) && plain(value)).then_some((key, value.trim_start_matches('=')))
        })
        .collect()
}

fn matches(wanted: &BTreeMap<&str, &str>, labels: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(key, value)| labels.get(*key).is_some_and(|label| label == value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_is_decoded() {
        assert_eq!(label_selector("limit=5&labelSelector=app%3Dweb%2Ctier+%3D"), "app=web,tier =");
        assert_eq!(label_selector("limit=5"), "");
    }

    #[test]
    fn equalities_are_understood_and_nothing_else() {
        assert_eq!(equalities("app=web,tier==x").unwrap(), [("app", "web"), ("tier", "x")].into());
        assert!(equalities("").unwrap().is_empty());
        for text in ["app!=web", "app in (a,b)", "!app", "app"] {
            assert!(equalities(text).is_none(), "{text}");
        }
    }
}
