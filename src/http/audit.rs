//! One line per metric read: who read what, and what they were told.

use std::sync::atomic::{AtomicU64, Ordering};

use hyper::HeaderMap;

use super::external_metrics::Given;
use super::route;

/// Target of the lines, so that a log filter can send them elsewhere or switch them off.
pub const TARGET: &str = "audit";

/// Header by which the API server names a request in its own audit log.
const AUDIT_ID: &str = "audit-id";

/// Names requests that arrive without an audit id.
#[derive(Debug, Default)]
pub(super) struct Audit {
    next: AtomicU64,
}

/// What a line says of a request.
#[derive(Debug)]
pub(super) struct Line<'a> {
    /// Name of the user; empty when the credentials were refused.
    pub(super) user: &'a str,
    /// Namespace of the read.
    pub(super) namespace: &'a str,
    /// The metric.
    pub(super) metric: &'a str,
    /// The query as it came: it holds the selector.
    pub(super) query: &'a str,
    /// HTTP status.
    pub(super) code: u16,
    /// Microseconds from the arrival of the headers to the answer.
    pub(super) micros: u64,
}

impl Audit {
    /// Writes the line, unless the log level drops it.
    pub(super) fn write(&self, headers: &HeaderMap, line: &Line<'_>, given: &Given) {
        if !tracing::enabled!(target: TARGET, tracing::Level::INFO) {
            return;
        }
        let named = headers.get(AUDIT_ID).and_then(|id| id.to_str().ok());
        // Only requests that did not come through the API server have none.
        let number = named.is_none().then(|| self.next.fetch_add(1, Ordering::Relaxed));
        tracing::info!(
            target: TARGET,
            audit_id = named,
            request = number,
            user = line.user,
            namespace = line.namespace,
            metric = line.metric,
            selector = route::parameter(line.query, "labelSelector").ok().flatten().as_deref(),
            code = line.code,
            value = given.value,
            age_ms = given.age.map(|age| age.as_millis() as u64),
            rung = given.rung.map(crate::safety::Rung::as_str),
            took_us = line.micros,
        );
    }
}
