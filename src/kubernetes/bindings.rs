//! Binds pods to nodes, and asks where a pod is. The only writes to pods that this crate makes
//! besides gates and evictions, and only while the scheduler extender is switched on.

use std::collections::BTreeMap;
use std::fmt;

use hyper::Request;
use kube::Client;
use serde::Deserialize;
use serde_json::json;

/// One Binding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBinding {
    /// Namespace of the pod.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its identity: the API server binds no other pod of that name.
    pub uid: String,
    /// The node.
    pub node: String,
    /// Annotations that the pod gets with it.
    pub annotations: BTreeMap<&'static str, String>,
}

/// What the API server made of a Binding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent {
    /// It is made.
    Made,
    /// It is not made, or was made before: 404, 409 or 422.
    Conflict(String),
    /// It is not made.
    Refused(String),
    /// Nobody knows.
    Unknown(String),
}

/// Where a pod is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Whereabouts {
    /// Its identity.
    pub uid: String,
    /// Its node, once it is bound.
    pub node: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PodOnWire {
    metadata: MetadataOnWire,
    spec: SpecOnWire,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct MetadataOnWire {
    uid: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SpecOnWire {
    node_name: Option<String>,
}

/// Bindings through the API server. Sets no time limit: whoever calls knows his own.
#[derive(Clone)]
pub struct Bindings {
    client: Client,
}

impl fmt::Debug for Bindings {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Bindings").finish_non_exhaustive()
    }
}

impl Bindings {
    /// Binds through `client`.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// Sends a Binding.
    pub async fn create(&self, new: &NewBinding) -> Sent {
        let path = match pod_path(&new.namespace, &new.name) {
            Ok(path) => format!("{path}/binding"),
            Err(sentence) => return Sent::Refused(sentence),
        };
        let body = json!({
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {
                "name": new.name,
                "namespace": new.namespace,
                "uid": new.uid,
                "annotations": new.annotations,
            },
            "target": {"apiVersion": "v1", "kind": "Node", "name": new.node},
        });
        let request = Request::post(path)
            .header("content-type", "application/json")
            .body(body.to_string().into_bytes());
        let Ok(request) = request else {
            return Sent::Refused("the name of the pod makes no address".to_owned());
        };
        match self.client.request_text(request).await {
            Ok(_) => Sent::Made,
            Err(kube::Error::Api(status)) => match status.code {
                404 | 409 | 422 => Sent::Conflict(status.message),
                // Too many requests: the API server did not begin.
                400..=407 | 410..=499 => Sent::Refused(status.message),
                _ => Sent::Unknown(status.message),
            },
            Err(error) => Sent::Unknown(error.to_string()),
        }
    }

    /// Where a pod is; `None` when there is no pod of that name.
    pub async fn find(&self, namespace: &str, name: &str) -> Result<Option<Whereabouts>, String> {
        let request = Request::get(pod_path(namespace, name)?)
            .body(Vec::new())
            .map_err(|error| error.to_string())?;
        match self.client.request::<PodOnWire>(request).await {
            Ok(pod) => {
                let node = pod.spec.node_name.filter(|node| !node.is_empty());
                Ok(Some(Whereabouts { uid: pod.metadata.uid, node }))
            }
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// The path of a pod; names that no object can have are refused, so that none leads elsewhere.
fn pod_path(namespace: &str, name: &str) -> Result<String, String> {
    for part in [namespace, name] {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
        if part.is_empty() || part.starts_with('.') || !part.bytes().all(fits) {
            return Err("no pod can have that namespace and name".to_owned());
        }
    }
    Ok(format!("/api/v1/namespaces/{namespace}/pods/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_leads_elsewhere_makes_no_path() {
        assert_eq!(pod_path("d", "web-1.x").unwrap(), "/api/v1/namespaces/d/pods/web-1.x");
        for (namespace, name) in
            [("", "a"), ("a", ""), ("a", ".."), ("a", "b/c"), ("a?", "b"), ("a", "b%2Fc")]
        {
            assert!(pod_path(namespace, name).is_err(), "{namespace} {name}");
        }
    }
}
