//! The listener of the metrics API: its settings, its service, and why it cannot start.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use rustls::pki_types::CertificateDer;
use tokio_util::sync::CancellationToken;

use super::authentication::Connection;
use super::service::{Service, State};
use super::settings::{Settings, span};
use super::status::Response;
use crate::cluster::AppId;
use crate::control::peer;
use crate::https::{self, BindError, CertificateError, Clients, Files, Handler, Limits, Listener};

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting cannot work.
    #[error("http settings: {0}")]
    Settings(String),
    /// The serving certificate cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The CA of the other replica cannot be used.
    #[error("{0}")]
    PeerCa(String),
    /// The address cannot be listened on.
    #[error("listening on {address} failed: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What went wrong.
        source: io::Error,
    },
}

impl From<BindError> for StartError {
    fn from(error: BindError) -> Self {
        match error {
            BindError::Certificate(error) => Self::Certificate(error),
            BindError::Listen { address, source } => Self::Listen { address, source },
        }
    }
}

impl Handler for Service {
    type Connection = Connection;

    fn connected(&self, chain: Vec<CertificateDer<'static>>) -> Connection {
        Connection::new(chain)
    }

    fn answer(
        &self,
        request: Request<Incoming>,
        connection: &Connection,
    ) -> impl Future<Output = Response> + Send {
        Self::answer(self, request, connection)
    }

    fn stopping(&self) {
        self.stop();
    }

    fn look(&self) {
        if let Err(error) = self.peers().reload() {
            tracing::warn!(%error, "the previous peer CA stays in force");
        }
    }
}

/// The HTTPS server, listening but not yet answering.
#[derive(Debug)]
pub struct Server(Listener<Service>);

impl Server {
    /// Loads the certificates and listens.
    pub async fn bind(
        settings: Settings,
        peer: peer::Settings,
        state: State,
    ) -> Result<Self, StartError> {
        settings.validate().map_err(StartError::Settings)?;
        let meters = https::Meters {
            connections: state.instruments.connections.clone(),
            handshake_failures: state.instruments.handshake_failures.clone(),
            expiry: state.instruments.serving_cert_expiry.clone(),
            reloads: state.instruments.serving_cert_reloads.clone(),
        };
        let files = Files {
            certificate: settings.cert_file.clone(),
            key: settings.key_file.clone(),
            clients: Clients::Any,
        };
        let service = Arc::new(Service::new(&settings, peer, state));
        let listener =
            Listener::bind(listening(&settings), files, Arc::clone(&service), meters).await?;
        service.peers().reload().map_err(StartError::PeerCa)?;
        Ok(Self(listener))
    }

    /// The address that we listen on, with the port that the system chose for port 0.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.0.address()
    }

    /// How often the HPA controller reads each app from this replica, asked whenever it is called.
    pub fn read_intervals(&self) -> impl Fn() -> Vec<(AppId, Duration)> + Send + Sync + use<> {
        let service = Arc::clone(self.0.handler());
        move || service.read_intervals()
    }

    /// Answers until `cancel`; then says "not ready" for a while, stops accepting, and lets open
    /// requests end.
    pub async fn run(self, cancel: CancellationToken) {
        self.0.run(cancel).await;
    }
}

fn listening(settings: &Settings) -> https::Settings {
    https::Settings {
        listen: settings.listen,
        max_connections: settings.max_connections,
        limits: Limits {
            handshake: span(settings.handshake_seconds),
            header: span(settings.header_seconds),
            idle: span(settings.idle_seconds),
            ping: span(settings.ping_seconds),
            age: span(settings.max_connection_age_seconds),
            drain: span(settings.drain_seconds),
            max_streams: settings.max_streams,
            max_header_bytes: settings.max_header_bytes,
        },
        reload_every: span(settings.reload_seconds),
        ready_delay: span(settings.ready_delay_seconds),
    }
}
