//! A kubeconfig, or the service account of the pod, becomes a client with time limits.

use std::path::PathBuf;
use std::time::Duration;

use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::Client;
use kube::Config;
use kube::client::ConfigExt as _;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tower::{BoxError, ServiceBuilder};

/// Time to open a connection to the API server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest silence of the API server on one connection. Longer than a watch may be idle
/// (see `watches`), so that only a dead connection is cut.
const READ_TIMEOUT: Duration = Duration::from_secs(90);

/// Silence after which the one connection of [`connect_multiplexed`] is asked whether it lives, ...
const PING_EVERY: Duration = Duration::from_secs(5);
/// ... and the time it has to say so.
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The kubeconfig could not be read or makes no sense.
    #[error("reading the kubeconfig {place}: {source}")]
    Kubeconfig {
        /// The file, or where one was looked for.
        place: String,
        /// What is wrong with it.
        source: Box<kube::config::KubeconfigError>,
    },
    /// There is neither a kubeconfig nor a service account.
    #[error("finding an API server: {0}")]
    Nowhere(#[source] Box<kube::config::InferConfigError>),
    /// The configuration was read, but no client can be built from it (bad certificate or key).
    #[error("building a client for the API server at {url}: {source}")]
    Build {
        /// Address of the API server.
        url: String,
        /// What is wrong.
        source: Box<kube::Error>,
    },
}

/// Makes a client; opens no connection yet. Without `kubeconfig` and `context` it looks where
/// kubectl does (`$KUBECONFIG`, `~/.kube/config`), then at the service account of the pod.
pub async fn connect(
    kubeconfig: Option<PathBuf>,
    context: Option<String>,
) -> Result<Client, ClientError> {
    let config = configure(kubeconfig, context).await?;
    let url = config.cluster_url.to_string();
    Client::try_from(config).map_err(|source| ClientError::Build { url, source: Box::new(source) })
}

/// The same for many small requests at once: they share one HTTP/2 connection, and nothing waits
/// for an acknowledgement of what was sent before. Sets no time limits, and goes through no proxy.
pub async fn connect_multiplexed(
    kubeconfig: Option<PathBuf>,
    context: Option<String>,
) -> Result<Client, ClientError> {
    let config = configure(kubeconfig, context).await?;
    let url = config.cluster_url.to_string();
    let unbuilt = |source| ClientError::Build { url: url.clone(), source: Box::new(source) };
    let mut tls = config.rustls_client_config().map_err(unbuilt)?;
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    let client = legacy::Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .http2_keep_alive_interval(PING_EVERY)
        .http2_keep_alive_timeout(PING_TIMEOUT)
        .build(HttpsConnector::from((tcp, tls)));
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer().map_err(unbuilt)?)
        .map_err(BoxError::from)
        .service(client);
    Ok(Client::new(service, config.default_namespace))
}

/// What `connect` connects to.
async fn configure(
    kubeconfig: Option<PathBuf>,
    context: Option<String>,
) -> Result<Config, ClientError> {
    let place = match &kubeconfig {
        Some(path) => path.display().to_string(),
        None => "of $KUBECONFIG or ~/.kube/config".to_owned(),
    };
    let unreadable = |source| ClientError::Kubeconfig { place, source: Box::new(source) };
    let mut config = if kubeconfig.is_some() || context.is_some() {
        let options = KubeConfigOptions { context, ..KubeConfigOptions::default() };
        let read = match kubeconfig {
            Some(path) => Kubeconfig::read_from(path),
            None => Kubeconfig::read(),
        };
        match read {
            Ok(file) => Config::from_custom_kubeconfig(file, &options).await,
            Err(problem) => Err(problem),
        }
        .map_err(unreadable)?
    } else {
        Config::infer().await.map_err(|source| ClientError::Nowhere(Box::new(source)))?
    };
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    // Else the time that a pooled connection lay idle would count as silence.
    config.reset_reader_on_write = true;
    // It would wait inside a request for up to five minutes on 429, 503 and 504. Whoever asks has
    // a deadline and a loop of its own.
    config.default_retry = false;
    // kube picks its provider from the process default; ours is ring. It may be installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn message(text: &str, context: Option<&str>) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kubeconfig");
        std::fs::write(&path, text).unwrap();
        match connect(Some(path), context.map(str::to_owned)).await {
            Ok(_) => "connected".to_owned(),
            Err(problem) => problem.to_string(),
        }
    }

    const GOOD: &str = r#"{"apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "k", "cluster": {"server": "https://127.0.0.1:6443"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}]}"#;

    #[tokio::test]
    async fn a_good_kubeconfig_makes_a_client_without_a_server() {
        assert_eq!(message(GOOD, None).await, "connected");
        assert_eq!(message(GOOD, Some("c")).await, "connected");
    }

    #[tokio::test]
    async fn a_bad_kubeconfig_is_one_sentence_that_names_the_file() {
        for (text, context, part) in [
            ("{nonsense: [", None, "kubeconfig YAML"),
            (GOOD, Some("other"), "other"),
            (&GOOD.replace("https://127.0.0.1:6443", "https://[::1"), None, "url"),
        ] {
            let said = message(text, context).await;
            assert!(said.starts_with("reading the kubeconfig /"), "{said}");
            assert!(said.contains(part), "{said}");
        }
        let missing = connect(Some("/nowhere/kubeconfig".into()), None).await.err().unwrap();
        assert!(missing.to_string().contains("/nowhere/kubeconfig"), "{missing}");
    }
}
