//! Follows the pods of the real API server.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1 as core;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};

use super::lock;
use super::state::{Pod, State};

/// Keeps the pods in `state` as they are on the API server, for ever.
pub(super) async fn follow(client: Client, state: Arc<Mutex<State>>) {
    let pods: Api<core::Pod> = Api::all(client);
    let mut events = watcher(pods, watcher::Config::default()).default_backoff().boxed();
    let mut listed = HashMap::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(pod)) => listed.extend(read(&pod)),
            Ok(Event::InitDone) => lock(&state).pods = std::mem::take(&mut listed),
            Ok(Event::Apply(pod)) => {
                let mut state = lock(&state);
                match read(&pod) {
                    Some((key, pod)) => state.pods.insert(key, pod),
                    None => state.pods.remove(&key(&pod)),
                };
            }
            Ok(Event::Delete(pod)) => {
                lock(&state).pods.remove(&key(&pod));
            }
            // The watcher starts again by itself; until then the twin goes on with what it knows.
            Err(_) => {}
        }
    }
}

fn key(pod: &core::Pod) -> (String, String) {
    let metadata = &pod.metadata;
    (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
}

/// What the twin keeps of a pod; `None` for one that belongs to no Deployment or is going.
fn read(pod: &core::Pod) -> Option<((String, String), Pod)> {
    let metadata = &pod.metadata;
    if metadata.deletion_timestamp.is_some() {
        return None;
    }
    let labels = metadata.labels.clone().unwrap_or_default();
    // A Deployment's pod belongs to a ReplicaSet that is called after both.
    let owner =
        metadata.owner_references.as_ref()?.iter().find(|owner| owner.kind == "ReplicaSet")?;
    let hash = labels.get("pod-template-hash")?;
    let workload = owner.name.strip_suffix(hash)?.strip_suffix('-')?.to_owned();
    let status = pod.status.as_ref();
    let running = status.and_then(|status| status.phase.as_deref()) == Some("Running");
    let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let ready =
        conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let (namespace, name) = key(pod);
    let placed = pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
    let kept = Pod { namespace, name, workload, labels, placed, running, ready: running && ready };
    Some((key(pod), kept))
}
