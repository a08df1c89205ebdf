//! Turns the `ConfigMap` in which the API server says who may speak for its users into what our
//! authenticator needs. Never writes to it, and never trusts anybody while it is unknown.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Where the API server publishes its client CAs and header names.
pub const AUTHENTICATION_NAMESPACE: &str = "kube-system";
/// Name of that `ConfigMap`.
pub const AUTHENTICATION_CONFIG_MAP: &str = "extension-apiserver-authentication";

/// Whom to believe about identities: client CAs, and how the front proxy names its users.
///
/// The default believes nobody: that is what a cluster without the `ConfigMap` gets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FrontProxy {
    /// PEM bundle that signs ordinary client certificates; `None` when the cluster has none.
    pub client_ca: Option<String>,
    /// PEM bundle that signs the front proxy's certificate; `None` switches its headers off.
    pub requestheader_ca: Option<String>,
    /// Common names the front proxy may have; empty means any.
    pub allowed_names: Vec<String>,
    /// Headers with the user's name, lower case, in order of preference.
    pub username_headers: Vec<String>,
    /// Headers with the user's uid, lower case.
    pub uid_headers: Vec<String>,
    /// Headers with a group each, lower case.
    pub group_headers: Vec<String>,
    /// Prefixes of headers with further attributes, lower case.
    pub extra_prefixes: Vec<String>,
}

/// An entry of the `ConfigMap` that is no JSON list of strings.
#[derive(Debug, thiserror::Error)]
#[error(
    "ConfigMap {AUTHENTICATION_NAMESPACE}/{AUTHENTICATION_CONFIG_MAP}: {key} is not a JSON list of strings"
)]
pub struct BadEntry {
    key: &'static str,
    source: serde_json::Error,
}

impl FrontProxy {
    /// Reads the data of the `ConfigMap`. An absent key is an empty list, as in the API server.
    pub fn from_config_map(data: &BTreeMap<String, String>) -> Result<Self, BadEntry> {
        let pem = |key: &str| data.get(key).filter(|pem| !pem.trim().is_empty()).cloned();
        let list = |key: &'static str| match data.get(key) {
            Some(text) if !text.trim().is_empty() => {
                serde_json::from_str::<Vec<String>>(text).map_err(|source| BadEntry { key, source })
            }
            _ => Ok(Vec::new()),
        };
        // HTTP header names ignore case; lower case is what arrives over HTTP/2.
        let headers = |key| {
            list(key).map(|names| names.iter().map(|name| name.to_ascii_lowercase()).collect())
        };
        Ok(Self {
            client_ca: pem("client-ca-file"),
            requestheader_ca: pem("requestheader-client-ca-file"),
            allowed_names: list("requestheader-allowed-names")?,
            username_headers: headers("requestheader-username-headers")?,
            uid_headers: headers("requestheader-uid-headers")?,
            group_headers: headers("requestheader-group-headers")?,
            extra_prefixes: headers("requestheader-extra-headers-prefix")?,
        })
    }
}

/// Watches the `ConfigMap` until `cancel`, and sends what it says whenever that changes.
///
/// A cluster without it gets the default, which believes nobody. While the API server does not
/// answer, or after an edit that cannot be read, the last good version stays in force.
pub async fn watch_front_proxy(
    client: Client,
    sender: watch::Sender<Option<Arc<FrontProxy>>>,
    cancel: CancellationToken,
) {
    let maps: Api<ConfigMap> = Api::namespaced(client, AUTHENTICATION_NAMESPACE);
    let mut versions =
        pin!(watcher::watch_object(maps, AUTHENTICATION_CONFIG_MAP).default_backoff());
    loop {
        let version = tokio::select! {
            () = cancel.cancelled() => return,
            version = versions.try_next() => version,
        };
        let map = match version {
            Ok(Some(map)) => map,
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(
                    %error,
                    "watching ConfigMap {AUTHENTICATION_NAMESPACE}/{AUTHENTICATION_CONFIG_MAP} failed; trying again"
                );
                continue;
            }
        };
        match FrontProxy::from_config_map(&map.and_then(|map| map.data).unwrap_or_default()) {
            Ok(read) => publish(&sender, read),
            Err(error) => tracing::warn!(
                error = %error.source, "{error}; the previous version stays in force"
            ),
        }
    }
}

/// Sends `read` unless it says what is known already, so that nobody verifies again for nothing.
fn publish(sender: &watch::Sender<Option<Arc<FrontProxy>>>, read: FrontProxy) {
    sender.send_if_modified(|known| {
        if known.as_deref() == Some(&read) {
            return false;
        }
        if read.requestheader_ca.is_none() {
            tracing::warn!(
                "the cluster names no front-proxy CA; the API server cannot read metrics from us"
            );
        }
        *known = Some(Arc::new(read));
        true
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn every_key_is_read_and_header_names_lose_their_case() {
        let read = FrontProxy::from_config_map(&data(&[
            ("client-ca-file", "CLIENT"),
            ("requestheader-client-ca-file", "PROXY"),
            ("requestheader-allowed-names", r#"["Front-Proxy"]"#),
            ("requestheader-username-headers", r#"["X-Remote-User"]"#),
            ("requestheader-uid-headers", r#"["X-Remote-Uid"]"#),
            ("requestheader-group-headers", r#"["X-Remote-Group"]"#),
            ("requestheader-extra-headers-prefix", r#"["X-Remote-Extra-"]"#),
        ]))
        .unwrap();
        assert_eq!(read.client_ca.as_deref(), Some("CLIENT"));
        assert_eq!(read.requestheader_ca.as_deref(), Some("PROXY"));
        assert_eq!(read.allowed_names, ["Front-Proxy"]);
        assert_eq!(read.username_headers, ["x-remote-user"]);
        assert_eq!(read.uid_headers, ["x-remote-uid"]);
        assert_eq!(read.group_headers, ["x-remote-group"]);
        assert_eq!(read.extra_prefixes, ["x-remote-extra-"]);
    }

    #[test]
    fn an_empty_config_map_believes_nobody() {
        let read = FrontProxy::from_config_map(&data(&[("client-ca-file", " \n")])).unwrap();
        assert_eq!(read, FrontProxy::default());
    }

    #[test]
    fn a_broken_list_is_refused_by_name() {
        let broken = data(&[("requestheader-allowed-names", "front-proxy")]);
        let error = FrontProxy::from_config_map(&broken).unwrap_err().to_string();
        assert!(error.contains("requestheader-allowed-names"), "{error}");
    }

    #[test]
    fn the_same_version_twice_wakes_nobody() {
        let (sender, mut receiver) = watch::channel(None);
        publish(&sender, FrontProxy::default());
        assert!(receiver.has_changed().unwrap());
        receiver.mark_unchanged();
        publish(&sender, FrontProxy::default());
        assert!(!receiver.has_changed().unwrap());
    }
}
