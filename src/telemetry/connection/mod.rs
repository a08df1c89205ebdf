//! Turns the files of the settings (CAs, client certificate, token) into a connection pool, and
//! follows them when they change. Never drops a working set of files for a broken one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::HeaderValue;
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};

use crate::tls;

use crate::telemetry::settings::Settings;

/// Idle connections are given up after this long: six passes.
const IDLE: Duration = Duration::from_mins(1);

/// The pool of connections to the server.
pub(super) type Pool = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Why the settings give no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// Not a URL.
    #[error("{0:?} is not the URL of a Prometheus server")]
    Url(String),
    /// A file cannot be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{path} holds no usable {what}", path = path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// The system's CAs cannot be read.
    #[error("cannot read the CA certificates of this system, set telemetry.caFile: {0}")]
    NativeRoots(std::io::Error),
    /// Certificate and key do not go together, or TLS cannot be set up.
    #[error("cannot set up TLS to Prometheus: {0}")]
    Tls(#[from] rustls::Error),
}

/// Which files there are.
#[derive(Debug)]
struct Files {
    /// Without TLS nothing needs a CA, and a container may well have none.
    encrypted: bool,
    ca: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    token: Option<PathBuf>,
}

/// What was in them.
#[derive(Clone, PartialEq, Eq)]
struct Contents {
    ca: Option<Vec<u8>>,
    certificate: Option<Vec<u8>>,
    key: Option<Vec<u8>>,
    token: Option<Vec<u8>>,
}

/// Connections to one server with the newest usable files.
#[derive(Clone)]
pub(super) struct Connection {
    files: Arc<Files>,
    contents: Contents,
    /// The last error of a refresh, so that each is logged once.
    trouble: Option<String>,
    pool: Pool,
    authorization: Option<HeaderValue>,
}

impl std::fmt::Debug for Connection {
    /// Without the contents: they are secrets.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Connection").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Connection {
    /// Reads the files. Blocks on them, which is right only at the start.
    pub(super) fn new(settings: &Settings) -> Result<Self, ConnectionError> {
        let files = Files {
            encrypted: settings.url.starts_with("https:"),
            ca: settings.ca_file.clone(),
            certificate: settings.client_cert_file.clone(),
            key: settings.client_key_file.clone(),
            token: settings.bearer_token_file.clone(),
        };
        let contents = Contents::read(&files)?;
        let pool = contents.pool(&files)?;
        let authorization = contents.authorization(&files)?;
        let files = Arc::new(files);
        Ok(Self { files, contents, trouble: None, pool, authorization })
    }

    /// The pool.
    #[must_use]
    pub(super) fn client(&self) -> &Pool {
        &self.pool
    }

    /// The `Authorization` header.
    #[must_use]
    pub(super) fn authorization(&self) -> Option<HeaderValue> {
        self.authorization.clone()
    }

    /// Reads the files again and uses what changed. What is broken is logged once and not used.
    pub(super) async fn refresh(&mut self) {
        let files = Arc::clone(&self.files);
        if files.ca.is_none() && files.certificate.is_none() && files.token.is_none() {
            return;
        }
        let read = tokio::task::spawn_blocking(move || Contents::read(&files)).await;
        let Ok(read) = read else { return };
        match read.and_then(|contents| self.adopt(contents)) {
            Ok(()) => self.trouble = None,
            Err(error) => {
                let error = error.to_string();
                if self.trouble.as_ref() != Some(&error) {
                    tracing::warn!(error, "keeping the old credentials for Prometheus");
                    self.trouble = Some(error);
                }
            }
        }
    }

    fn adopt(&mut self, contents: Contents) -> Result<(), ConnectionError> {
        if contents == self.contents {
            return Ok(());
        }
        let authorization = contents.authorization(&self.files)?;
        // A token of an hour must not cost the open connections.
        if !contents.same_tls(&self.contents) {
            self.pool = contents.pool(&self.files)?;
        }
        self.authorization = authorization;
        self.contents = contents;
        tracing::info!("took in changed credentials for Prometheus");
        Ok(())
    }
}

impl Contents {
    fn read(files: &Files) -> Result<Self, ConnectionError> {
        let read = |path: &Option<PathBuf>| {
            let read = |path: &PathBuf| {
                std::fs::read(path)
                    .map_err(|source| ConnectionError::File { path: path.clone(), source })
            };
            path.as_ref().map(read).transpose()
        };
        Ok(Self {
            ca: read(&files.ca)?,
            certificate: read(&files.certificate)?,
            key: read(&files.key)?,
            token: read(&files.token)?,
        })
    }

    fn same_tls(&self, other: &Self) -> bool {
        (&self.ca, &self.certificate, &self.key) == (&other.ca, &other.certificate, &other.key)
    }

    fn authorization(&self, files: &Files) -> Result<Option<HeaderValue>, ConnectionError> {
        let (Some(token), Some(path)) = (&self.token, &files.token) else {
            return Ok(None);
        };
        let bad = || content(path, "bearer token");
        let token = std::str::from_utf8(token).map_err(|_| bad())?.trim();
        if token.is_empty() {
            return Err(bad());
        }
        let mut header = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| bad())?;
        header.set_sensitive(true);
        Ok(Some(header))
    }

    fn pool(&self, files: &Files) -> Result<Pool, ConnectionError> {
        let builder = ClientConfig::builder_with_provider(tls::provider())
            .with_safe_default_protocol_versions()?;
        let builder = match (&self.ca, &files.ca) {
            (Some(pem), Some(path)) => {
                let roots = tls::roots(pem).map_err(|_| content(path, "certificate"))?;
                builder.with_root_certificates(roots)
            }
            _ if !files.encrypted => builder.with_root_certificates(RootCertStore::empty()),
            _ => builder.with_native_roots().map_err(ConnectionError::NativeRoots)?,
        };
        let config = match (&self.certificate, &files.certificate, &self.key, &files.key) {
            (Some(chain), Some(chain_path), Some(key), Some(key_path)) => {
                let chain =
                    tls::certificates(chain).map_err(|_| content(chain_path, "certificate"))?;
                let key = tls::private_key(key).map_err(|_| content(key_path, "private key"))?;
                builder.with_client_auth_cert(chain, key)?
            }
            _ => builder.with_no_client_auth(),
        };
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(tcp);
        Ok(Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector))
    }
}

fn content(path: &Path, what: &'static str) -> ConnectionError {
    ConnectionError::Content { path: path.to_owned(), what }
}

#[cfg(test)]
mod tests;
