//! A scheduler extender that does as it is told: to measure what having one costs, and to show
//! what goes wrong without ours.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use axum::extract::{Path, State};
use axum::routing::post;
use axum::{Json, Router};
use k8s_openapi::api::core::v1::{Binding, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

use super::control_plane::ControlPlane;
use super::pki::Leaf;
use super::scheduler::Extender;
use super::tls;

/// The label of pods that the stub refuses, whatever its value.
pub const BLOCKED: &str = "testbed.hirl-scale.io/blocked";

/// How the stub answers `filter` for pods with the label [`BLOCKED`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// As for all others: every node.
    Yes,
    /// Every node failed, in words that never change: `FailedNodes`.
    Failed,
    /// The same in `FailedAndUnresolvableNodes`.
    Unresolvable,
    /// A constant `Error`.
    Error,
}

/// A running stub. It agrees to every preemption as it was proposed, and binds what it is asked to.
#[derive(Debug)]
pub struct Stub {
    shared: Arc<Shared>,
    port: u16,
    _serving: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct Shared {
    answer: Mutex<Answer>,
    /// Calls per verb and pod (`namespace/name`).
    calls: Mutex<HashMap<(String, String), u32>>,
    client: Mutex<ClientHolder>,
}

/// A client that says nothing about itself.
struct ClientHolder(Client);

impl std::fmt::Debug for ClientHolder {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Client")
    }
}

impl Stub {
    /// Starts one that says yes to everything.
    pub async fn start(plane: &ControlPlane) -> Result<Self> {
        let identity = plane.pki().serving.issue(&Leaf::server("stub", &["127.0.0.1"]))?;
        let shared = Arc::new(Shared {
            answer: Mutex::new(Answer::Yes),
            calls: Mutex::default(),
            client: Mutex::new(ClientHolder(plane.client())),
        });
        let router = Router::new().route("/{verb}", post(answer)).with_state(Arc::clone(&shared));
        let (port, serving) = tls::serve(&identity, router).await?;
        Ok(Self { shared, port, _serving: serving })
    }

    /// How a scheduler reaches it.
    pub fn extender(&self, plane: &ControlPlane, verbs: &[&'static str]) -> Result<Extender> {
        let authority = plane.scratch().write("stub-ca.crt", plane.pki().serving.pem())?;
        let url = format!("https://127.0.0.1:{}", self.port);
        Ok(Extender { verbs: verbs.to_vec(), ..Extender::recommended(url, authority, "127.0.0.1") })
    }

    /// How it answers `filter` for pods with the label [`BLOCKED`] from now on.
    pub fn set(&self, answer: Answer) {
        *lock(&self.shared.answer) = answer;
    }

    /// Calls of `verb` for pods whose `namespace/name` begins with `prefix`.
    pub fn calls(&self, verb: &str, prefix: &str) -> u32 {
        let calls = lock(&self.shared.calls);
        let of = calls.iter().filter(|((known, pod), _)| known == verb && pod.starts_with(prefix));
        of.map(|(_, count)| count).sum()
    }

    /// The most calls of `verb` for one of those pods.
    pub fn most_calls(&self, verb: &str, prefix: &str) -> u32 {
        let calls = lock(&self.shared.calls);
        let of = calls.iter().filter(|((known, pod), _)| known == verb && pod.starts_with(prefix));
        of.map(|(_, count)| *count).max().unwrap_or_default()
    }
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    Path(verb): Path<String>,
    Json(mut asked): Json<Value>,
) -> Json<Value> {
    let (namespace, name, blocked) = if verb == "bind" {
        let text = |key: &str| asked[key].as_str().unwrap_or_default().to_owned();
        (text("PodNamespace"), text("PodName"), false)
    } else {
        let metadata = &asked["Pod"]["metadata"];
        let text = |key: &str| metadata[key].as_str().unwrap_or_default().to_owned();
        (text("namespace"), text("name"), !metadata["labels"][BLOCKED].is_null())
    };
    let pod = format!("{namespace}/{name}");
    *lock(&shared.calls).entry((verb.clone(), pod)).or_default() += 1;
    Json(match verb.as_str() {
        "filter" => {
            let answer = if blocked { *lock(&shared.answer) } else { Answer::Yes };
            filter(answer, &asked["NodeNames"])
        }
        "prioritize" => {
            let names = asked["NodeNames"].as_array().into_iter().flatten();
            names.map(|name| json!({"Host": name, "Score": 5})).collect()
        }
        "preempt" => json!({"NodeNameToMetaVictims": asked["NodeNameToMetaVictims"].take()}),
        "bind" => {
            let node = asked["Node"].as_str().unwrap_or_default();
            let uid = asked["PodUID"].as_str().unwrap_or_default();
            let client = lock(&shared.client).0.clone();
            let error = match bind(client, &namespace, &name, uid, node).await {
                Ok(()) => String::new(),
                Err(error) => format!("{error:#}"),
            };
            json!({"Error": error})
        }
        _ => Value::Null,
    })
}

fn filter(answer: Answer, names: &Value) -> Value {
    const REASON: &str = "the stub refuses";
    let failed = |key: &str| {
        let names = names.as_array().into_iter().flatten().filter_map(Value::as_str);
        let failed: HashMap<&str, &str> = names.map(|name| (name, REASON)).collect();
        json!({"NodeNames": [], key: failed, "Error": ""})
    };
    match answer {
        Answer::Yes => json!({"NodeNames": names, "Error": ""}),
        Answer::Failed => failed("FailedNodes"),
        Answer::Unresolvable => failed("FailedAndUnresolvableNodes"),
        Answer::Error => json!({"Error": REASON}),
    }
}

async fn bind(client: Client, namespace: &str, name: &str, uid: &str, node: &str) -> Result<()> {
    let binding = Binding {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            uid: Some(uid.to_owned()),
            ..ObjectMeta::default()
        },
        target: ObjectReference {
            kind: Some("Node".to_owned()),
            name: Some(node.to_owned()),
            ..ObjectReference::default()
        },
    };
    let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(client, namespace);
    let _: Value =
        pods.create_subresource("binding", name, &PostParams::default(), &binding).await?;
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
