//! Fetches the deciding replica's newest decision over mutual TLS.
//!
//! Both sides present the serving certificate and accept only one that the peer CA signed for the
//! Service's name. Files are read again when they change, so that a rotation needs no restart.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::header::IF_NONE_MATCH;
use hyper::{Request, StatusCode};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::ServerName;
use serde::{Deserialize, Serialize};

use crate::safety::Decision;
use crate::tls;

/// Path of the newest decision on every replica.
pub const PATH: &str = "/hirl/v1/decision";

/// The whole exchange, from connect to the last byte.
const TIMEOUT: Duration = Duration::from_secs(2);
/// 10,000 apps at about 500 bytes each, with room.
const BODY_LIMIT: usize = 16 << 20;

/// Who the replicas are to each other.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Settings {
    /// CA that signed the replicas' certificates (PEM). Without it no replica follows another.
    pub ca_file: Option<PathBuf>,
    /// Name in the replicas' certificates, `<service>.<namespace>.svc`.
    pub server_name: String,
}

/// One decision on the wire.
#[derive(Debug, Serialize, Deserialize)]
pub struct Envelope<D> {
    /// How old the decision was when it was sent, in milliseconds.
    pub age_millis: u64,
    /// The decision.
    pub decision: D,
}

/// The validator of a decision, the same on every replica.
#[must_use]
pub fn etag(decision: &Decision) -> String {
    format!("\"{}-{}\"", decision.epoch, decision.sequence)
}

/// Why nothing could be fetched.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No peer CA or server name is configured.
    #[error("no control.peer.caFile is configured, so this replica cannot follow another")]
    NotConfigured,
    /// The TLS material could not be read.
    #[error("reading the TLS material for the other replica: {0}")]
    Tls(#[from] tls::Error),
    /// The address in the lease is no address.
    #[error("the lease gives {0:?}, which is no address")]
    Address(String),
    /// No connection, or no answer in time.
    #[error("asking {address}: {cause}")]
    Unreachable {
        /// Where.
        address: String,
        /// What happened.
        cause: String,
    },
    /// The answer is no decision.
    #[error("{address} answered {what}")]
    Answer {
        /// Where.
        address: String,
        /// What came.
        what: String,
    },
}

type Http = legacy::Client<HttpsConnector<HttpConnector>, Empty<Bytes>>;

/// A client for the other replicas.
#[derive(Debug)]
pub struct Client {
    settings: Settings,
    cert_file: PathBuf,
    key_file: PathBuf,
    current: Mutex<Option<(Material, Http)>>,
}

#[derive(Debug, Clone, PartialEq)]
struct Material {
    ca: Vec<u8>,
    cert: Vec<u8>,
    key: Vec<u8>,
}

impl Client {
    /// A client that presents the serving pair in `cert_file` and `key_file`.
    #[must_use]
    pub fn new(settings: Settings, cert_file: PathBuf, key_file: PathBuf) -> Self {
        Self { settings, cert_file, key_file, current: Mutex::new(None) }
    }

    /// The newest decision of the replica at `address` (`host:port`) and its age, or `None` when
    /// it is still `known`.
    pub async fn fetch(
        &self,
        address: &str,
        known: Option<&Decision>,
    ) -> Result<Option<(Decision, Duration)>, Error> {
        let http = self.http().await?;
        let mut request = Request::get(format!("https://{address}{PATH}"));
        if let Some(known) = known {
            request = request.header(IF_NONE_MATCH, etag(known));
        }
        let request = request.body(Empty::new()).map_err(|_| Error::Address(address.to_owned()))?;
        let unreachable = |cause: String| Error::Unreachable { address: address.to_owned(), cause };
        let answer = |what: String| Error::Answer { address: address.to_owned(), what };
        let exchange = async {
            let response =
                http.request(request).await.map_err(|error| unreachable(tls::chain(&error)))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), BODY_LIMIT).collect().await;
            let body = body.map_err(|error| unreachable(error.to_string()))?.to_bytes();
            Ok::<_, Error>((status, body))
        };
        let (status, body) = tokio::time::timeout(TIMEOUT, exchange)
            .await
            .map_err(|_| unreachable(format!("no answer within {} s", TIMEOUT.as_secs())))??;
        match status {
            StatusCode::OK => {
                let envelope: Envelope<Decision> = serde_json::from_slice(&body)
                    .map_err(|error| answer(format!("something that is no decision: {error}")))?;
                Ok(Some((envelope.decision, Duration::from_millis(envelope.age_millis))))
            }
            // Still the known one, or none yet: nothing to adopt, and nothing wrong.
            StatusCode::NOT_MODIFIED | StatusCode::SERVICE_UNAVAILABLE => Ok(None),
            other => Err(answer(other.to_string())),
        }
    }

    /// The HTTP client of the present TLS material.
    async fn http(&self) -> Result<Http, Error> {
        let Some(ca_file) = self.settings.ca_file.as_deref() else {
            return Err(Error::NotConfigured);
        };
        let material = Material {
            ca: tls::read(ca_file).await?,
            cert: tls::read(&self.cert_file).await?,
            key: tls::read(&self.key_file).await?,
        };
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, http)) = current.as_ref()
            && *known == material
        {
            return Ok(http.clone());
        }
        let name = ServerName::try_from(self.settings.server_name.clone())
            .map_err(|_| Error::Address(self.settings.server_name.clone()))?;
        let config = tls::client_config(&material.ca, Some((&material.cert, &material.key)))?;
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .build(tls::connector(config, name));
        *current = Some((material, http.clone()));
        Ok(http)
    }
}

/// What another replica is sent: `decision`, `age` old.
#[must_use]
pub fn envelope(decision: &Arc<Decision>, age: Duration) -> Envelope<&Decision> {
    Envelope { age_millis: u64::try_from(age.as_millis()).unwrap_or(u64::MAX), decision }
}
