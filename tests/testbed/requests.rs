//! Plain HTTPS requests, for everything that a Kubernetes client would hide: status codes,
//! headers, and who is asking.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::{HeaderMap, Method, Request, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::pki::Identity;

/// The longest that an answer may take.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Somebody who asks one server.
#[derive(Debug, Clone)]
pub struct Requests {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    base: String,
}

/// What the server said.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status code.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body, as text.
    pub body: String,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_str(&self.body)
            .with_context(|| format!("reading an answer as JSON: {}", self.body))
    }

    /// One header, if it is there and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl Requests {
    /// Without certificates, for `http://HOST:PORT`.
    pub fn plain(base: impl Into<String>) -> Result<Self> {
        Self::over(base.into(), RootCertStore::empty(), None)
    }

    /// For `https://HOST:PORT`, trusting `authority` (PEM), as `identity` or as nobody.
    pub fn tls(
        base: impl Into<String>,
        authority: &str,
        identity: Option<&Identity>,
    ) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(authority.as_bytes()) {
            roots.add(certificate.context("reading a CA")?).context("reading a CA")?;
        }
        Self::over(base.into(), roots, identity)
    }

    fn over(base: String, roots: RootCertStore, identity: Option<&Identity>) -> Result<Self> {
        let config = ClientConfig::builder().with_root_certificates(roots);
        let config = match identity {
            None => config.with_no_client_auth(),
            Some(identity) => config
                .with_client_auth_cert(
                    CertificateDer::pem_slice_iter(identity.certificate.as_bytes())
                        .collect::<Result<_, _>>()
                        .context("reading a client certificate")?,
                    PrivateKeyDer::from_pem_slice(identity.key.as_bytes())
                        .context("reading a client key")?,
                )
                .context("taking a client certificate")?,
        };
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        // As Go's clients do: a body must not wait 40 ms for the acknowledgement of its headers.
        tcp.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(tcp);
        Ok(Self { client: Client::builder(TokioExecutor::new()).build(connector), base })
    }

    /// A GET of `path` (with its query), whatever the status of the answer.
    pub async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Result<Answer> {
        self.send(Method::GET, path, headers, "").await
    }

    /// The body of a GET that must succeed.
    pub async fn text(&self, path: &str) -> Result<String> {
        let answer = self.get(path, &[]).await?;
        ensure!(answer.status.is_success(), "{path} answered {}: {}", answer.status, answer.body);
        Ok(answer.body)
    }

    /// Any request, whatever the status of the answer.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Answer> {
        let url = format!("{}{path}", self.base);
        let mut request = Request::builder().method(method).uri(&url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request
            .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
            .with_context(|| format!("asking {url}"))?;
        let exchange = async {
            let (head, body) = self.client.request(request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            anyhow::Ok(Answer {
                status: head.status,
                headers: head.headers,
                body: String::from_utf8_lossy(&body).into_owned(),
            })
        };
        tokio::time::timeout(TIMEOUT, exchange)
            .await
            .with_context(|| format!("no answer from {url} within {} s", TIMEOUT.as_secs()))?
            .with_context(|| format!("asking {url}"))
    }
}
