//! Listens with TLS and turns connections into requests: everything that the metrics API and the
//! scheduler extender have in common.
//!
//! Whoever answers is a [`Handler`]. A listener bounds everything that a client can hold on to,
//! serves new certificates when their files change, and ends connections without cutting requests
//! off: all of them when it stops, the open ones on demand.

mod certificate;
mod listener;
mod trust;

use std::path::PathBuf;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use crate::instruments::{OutcomeLabel, RealGauge};

pub use certificate::{CertificateError, Files, Reloader};
pub use listener::{BindError, Closer, Handler, Limits, Listener, Response, Settings};
pub use trust::{Signers, common_name, has_dns_name, has_name};

/// Who may connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Clients {
    /// Anybody; a certificate is asked for, and judged later by whoever answers.
    Any,
    /// Holders of a certificate that a CA of this PEM file signed for clients; nobody else gets
    /// through the handshake.
    SignedBy(PathBuf),
}

/// What a listener counts.
#[derive(Debug, Clone, Default)]
pub struct Meters {
    /// Open connections.
    pub connections: Gauge,
    /// TLS handshakes that failed.
    pub handshake_failures: Counter,
    /// Seconds until the serving certificate ends.
    pub expiry: RealGauge,
    /// Attempts to reload the certificates by outcome.
    pub reloads: Family<OutcomeLabel, Counter>,
}
