//! What operators ask the process itself: whether it lives, whether it may be sent requests, its
//! metrics, its version and its log level.
//!
//! Readiness says only that requests can be told apart and answered. It never depends on
//! Prometheus, on leadership or on there being a decision: a replica without one answers with a
//! reason, and an unready one would make the whole API unavailable.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use hyper::StatusCode;
use hyper::header::{HeaderValue, X_CONTENT_TYPE_OPTIONS};
use serde_json::json;

use super::status::{ApiError, JSON, Response, answer};

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

type SetLevel = dyn Fn(&str) -> Result<(), String> + Send + Sync;

/// Changes the log level; says in a sentence what is wrong with a level that it refuses.
#[derive(Clone)]
pub struct LogLevel(Arc<SetLevel>);

impl LogLevel {
    /// Calls `set` with the level or filter that was asked for.
    pub fn new(set: impl Fn(&str) -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(set))
    }
}

impl fmt::Debug for LogLevel {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("LogLevel")
    }
}

/// A named check and whether it holds.
pub(super) type Check = (&'static str, bool);

/// Answers a probe: `ok`, or every check by name where the query asks for `verbose` or one fails.
pub(super) fn probe(name: &str, checks: &[Check], query: &str) -> Response {
    let passed = checks.iter().all(|(_, holds)| *holds);
    let verbose = query.split('&').any(|pair| pair == "verbose" || pair.starts_with("verbose="));
    let mut text = String::new();
    if passed && !verbose {
        text.push_str("ok");
    } else {
        for (check, holds) in checks {
            // Writing into a string cannot fail.
            let _ = if *holds {
                writeln!(text, "[+]{check} ok")
            } else {
                writeln!(text, "[-]{check} failed")
            };
        }
        let _ = writeln!(text, "{name} check {}", if passed { "passed" } else { "failed" });
    }
    let code = if passed { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    text_answer(code, text)
}

fn text_answer(code: StatusCode, text: String) -> Response {
    let mut response = answer(code, TEXT, text.into());
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// `/metrics`
pub(super) fn own_metrics(rendered: String) -> Response {
    answer(StatusCode::OK, OPEN_METRICS, rendered.into())
}

/// `/version`
pub(super) fn version() -> Response {
    let mut numbers = env!("CARGO_PKG_VERSION").split('.');
    let version = json!({
        "major": numbers.next(),
        "minor": numbers.next(),
        "gitVersion": concat!("v", env!("CARGO_PKG_VERSION")),
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    });
    answer(StatusCode::OK, JSON, version.to_string().into())
}

/// `PUT /log-level` with the level or filter as body.
pub(super) fn set_log_level(log_level: &LogLevel, body: &[u8]) -> Result<Response, ApiError> {
    let level = std::str::from_utf8(body)
        .map_err(|_| ApiError::bad_request("the log level is no text"))?
        .trim();
    (log_level.0)(level)
        .map_err(|error| ApiError::bad_request(format!("log level {level:?}: {error}")))?;
    tracing::warn!(level, "log level changed");
    Ok(text_answer(StatusCode::OK, format!("log level is now {level}\n")))
}
