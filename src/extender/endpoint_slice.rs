//! Leads the scheduler to the replica that owns the ledger: that replica is the one endpoint of a
//! Service without a selector.
//!
//! The owner compares and swaps: it reads the `EndpointSlice` and writes itself into the version
//! that it read. A former owner that is late fails by the version, and nobody ever takes an entry
//! out.

use std::net::SocketAddr;
use std::time::Duration;

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use kube::Api;
use kube::Client;
use kube::api::{ObjectMeta, PostParams};
use tokio::sync::watch;

/// Time between two looks while we own the ledger: somebody may have deleted or changed it.
const RENEW: Duration = Duration::from_secs(10);
/// Time until a write that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How long one request may take.
const LIMIT: Duration = Duration::from_secs(5);
/// Joins an `EndpointSlice` to its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Says whose an `EndpointSlice` is, so that no controller takes it for its own.
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "hirl-scale.io";
/// Name of the Service's port.
const PORT: &str = "extender";

/// Where the scheduler finds this replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// Namespace of the Service.
    pub namespace: String,
    /// Name of the Service, and of its one `EndpointSlice`.
    pub name: String,
    /// Our address and port.
    pub address: SocketAddr,
}

/// Why it was not written.
#[derive(Debug, thiserror::Error)]
enum Failed {
    /// Another replica was faster, or this one owns the ledger no longer.
    #[error("another replica wrote it in between")]
    Overtaken,
    /// The kind of address cannot be changed.
    #[error("it holds {0} addresses and ours is another kind: delete it")]
    OtherFamily(String),
    /// The API server did not answer in time.
    #[error("no answer within {LIMIT:?}")]
    Slow,
    /// The API server said no.
    #[error("{0}")]
    Kube(#[from] kube::Error),
}

/// Writes us into the `EndpointSlice` whenever this replica owns the ledger, until nobody tells who
/// owns it any more. `still` says right before each write whether it does; `owner` may be late.
pub async fn keep(
    client: Client,
    endpoints: Endpoints,
    mut owner: watch::Receiver<bool>,
    still: impl Fn() -> bool,
) {
    let api: Api<EndpointSlice> = Api::namespaced(client, &endpoints.namespace);
    let (namespace, name) = (&endpoints.namespace, &endpoints.name);
    // Told once, not once per try.
    let mut complaint = None;
    while owner.wait_for(|owner| *owner).await.is_ok() {
        let pause = match write(&api, &endpoints, &still).await {
            Ok(written) => {
                if written {
                    let address = endpoints.address;
                    tracing::info!(%namespace, %name, %address, "The scheduler is led to us");
                }
                complaint = None;
                RENEW
            }
            Err(problem) => {
                let problem = problem.to_string();
                if complaint.as_ref() != Some(&problem) {
                    tracing::warn!(%namespace, %name, error = %problem, "EndpointSlice not written");
                    complaint = Some(problem);
                }
                RETRY
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            changed = owner.changed() => if changed.is_err() { return },
        }
    }
}

/// Makes it say what it should; false when it does already.
async fn write(
    api: &Api<EndpointSlice>,
    endpoints: &Endpoints,
    still: &impl Fn() -> bool,
) -> Result<bool, Failed> {
    let found = limited(api.get_opt(&endpoints.name)).await?;
    let wanted = wanted(endpoints);
    let params = PostParams::default();
    let Some(found) = found else {
        if !still() {
            return Err(Failed::Overtaken);
        }
        limited(api.create(&params, &wanted)).await?;
        return Ok(true);
    };
    if found.address_type != wanted.address_type {
        return Err(Failed::OtherFamily(found.address_type));
    }
    let labels = |slice: &EndpointSlice| {
        let label = |key| slice.metadata.labels.as_ref().and_then(|all| all.get(key)).cloned();
        (label(SERVICE_NAME), label(MANAGED_BY))
    };
    if found.endpoints == wanted.endpoints
        && found.ports == wanted.ports
        && labels(&found) == labels(&wanted)
    {
        return Ok(false);
    }
    let metadata =
        ObjectMeta { resource_version: found.metadata.resource_version, ..wanted.metadata.clone() };
    if !still() {
        return Err(Failed::Overtaken);
    }
    limited(api.replace(&endpoints.name, &params, &EndpointSlice { metadata, ..wanted })).await?;
    Ok(true)
}

async fn limited<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Failed> {
    match tokio::time::timeout(LIMIT, request).await {
        Ok(Err(kube::Error::Api(status))) if status.code == 409 => Err(Failed::Overtaken),
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Failed::Slow),
    }
}

fn wanted(endpoints: &Endpoints) -> EndpointSlice {
    let family = if endpoints.address.is_ipv4() { "IPv4" } else { "IPv6" };
    let labels = [(SERVICE_NAME, endpoints.name.as_str()), (MANAGED_BY, MANAGER)];
    EndpointSlice {
        address_type: family.to_owned(),
        endpoints: vec![Endpoint {
            addresses: vec![endpoints.address.ip().to_string()],
            conditions: Some(EndpointConditions {
                ready: Some(true),
                serving: Some(true),
                terminating: Some(false),
            }),
            ..Endpoint::default()
        }],
        metadata: ObjectMeta {
            name: Some(endpoints.name.clone()),
            namespace: Some(endpoints.namespace.clone()),
            labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
            ..ObjectMeta::default()
        },
        ports: Some(vec![EndpointPort {
            name: Some(PORT.to_owned()),
            port: Some(i32::from(endpoints.address.port())),
            protocol: Some("TCP".to_owned()),
            ..EndpointPort::default()
        }]),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use serde_json::{Value, json};
    use tokio::task::JoinHandle;

    use super::*;
    use crate::extender::played::Played;

    const PATH: &str = "/apis/discovery.k8s.io/v1/namespaces/hirl-system/endpointslices";

    struct Scene {
        played: Played,
        tell: watch::Sender<bool>,
        still: Arc<AtomicBool>,
        task: JoinHandle<()>,
    }

    /// A replica at 10.0.0.1 that owns the ledger.
    fn scene() -> Scene {
        let (client, played) = Played::new();
        let (tell, owner) = watch::channel(true);
        let still = Arc::new(AtomicBool::new(true));
        let endpoints = Endpoints {
            namespace: "hirl-system".to_owned(),
            name: "hirl-extender".to_owned(),
            address: ([10, 0, 0, 1], 10262).into(),
        };
        let asked = Arc::clone(&still);
        let still_owner = move || asked.load(Ordering::SeqCst);
        let task = tokio::spawn(keep(client, endpoints, owner, still_owner));
        Scene { played, tell, still, task }
    }

    fn slice(address: &str, version: &str) -> Value {
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {
                "name": "hirl-extender", "namespace": "hirl-system", "resourceVersion": version,
                "labels": {SERVICE_NAME: "hirl-extender", MANAGED_BY: MANAGER}
            },
            "endpoints": [{"addresses": [address],
                "conditions": {"ready": true, "serving": true, "terminating": false}}],
            "ports": [{"name": "extender", "port": 10262, "protocol": "TCP"}]
        })
    }

    #[tokio::test]
    async fn the_owner_makes_the_slice_that_its_service_finds() {
        let mut scene = scene();
        scene.played.answer_all(404, 1).await;
        let (method, path, sent) = scene.played.answer(201, &Value::Null).await;
        assert_eq!((&*method, &*path), ("POST", PATH));
        let mut wanted = slice("10.0.0.1", "");
        wanted["metadata"].as_object_mut().unwrap().remove("resourceVersion");
        assert_eq!(sent, wanted);
        drop(scene.tell);
        tokio::time::timeout(Duration::from_secs(30), scene.task).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn the_new_owner_replaces_the_old_one_in_the_version_that_it_read() {
        let mut scene = scene();
        scene.played.answer(200, &slice("10.0.0.2", "7")).await;
        let (method, path, sent) = scene.played.answer(200, &Value::Null).await;
        assert_eq!((method, path), ("PUT".to_owned(), format!("{PATH}/hirl-extender")));
        assert_eq!(sent["metadata"]["resourceVersion"], "7");
        assert_eq!(sent["endpoints"][0]["addresses"], json!(["10.0.0.1"]));
        // Told again that it is the owner: it looks, and there is nothing to write.
        scene.tell.send_replace(true);
        let (method, _, _) = scene.played.answer(200, &slice("10.0.0.1", "8")).await;
        assert_eq!(method, "GET");
        assert!(scene.played.silent().await);
    }

    #[tokio::test]
    async fn a_conflict_is_looked_at_again() {
        let mut scene = scene();
        scene.played.answer(200, &slice("10.0.0.2", "7")).await;
        let (method, _, _) = scene.played.answer_all(409, 1).await.remove(0);
        assert_eq!(method, "PUT");
        scene.played.answer(200, &slice("10.0.0.3", "8")).await;
        let (_, _, sent) = scene.played.answer(200, &Value::Null).await;
        assert_eq!(sent["metadata"]["resourceVersion"], "8");
    }

    #[tokio::test]
    async fn a_former_owner_writes_nothing_even_when_it_has_not_been_told() {
        let mut scene = scene();
        scene.still.store(false, Ordering::SeqCst);
        scene.played.answer(200, &slice("10.0.0.2", "7")).await;
        // It looks again, as it believes that it owns the ledger, and still does not write.
        let (method, _, _) = scene.played.answer(200, &slice("10.0.0.2", "7")).await;
        assert_eq!(method, "GET");
        scene.tell.send_replace(false);
        drop(scene.tell);
        tokio::time::timeout(Duration::from_secs(30), scene.task).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn an_address_of_another_kind_is_no_slice_of_ours() {
        let mut scene = scene();
        let mut other = slice("fd00::2", "7");
        other["addressType"] = json!("IPv6");
        scene.played.answer(200, &other).await;
        let (method, _, _) = scene.played.answer(200, &other).await;
        assert_eq!(method, "GET", "not written");
    }

    #[tokio::test]
    async fn a_follower_asks_nothing() {
        let mut scene = scene();
        scene.played.answer(200, &slice("10.0.0.1", "1")).await;
        scene.tell.send_replace(false);
        assert!(scene.played.silent().await);
    }
}
