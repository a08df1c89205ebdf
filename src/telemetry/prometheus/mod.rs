//! Turns a `PromQL` text into the body of an answer, over the Prometheus HTTP API. Never waits
//! longer than the timeout and never holds more than a bounded body.

use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap};
use hyper::{Method, Request, Uri};

use crate::clock;
use crate::cluster::Timestamp;
use crate::tls;

use crate::telemetry::answer::{Refused, Unreadable, refusal};
use crate::telemetry::connection::{Connection, ConnectionError};
use crate::telemetry::settings::Settings;

/// Largest body that is read, in bytes: the answer for a domain of 500 apps is below half a MiB,
/// one without a namespace matcher in a cluster of 20,000 workloads about 15 MiB.
const MAX_BODY: usize = 32 << 20;
/// Most characters of a server's error text that are repeated in ours.
const MAX_MESSAGE: usize = 400;

/// Why a query gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// No connection, or it broke.
    #[error("cannot reach Prometheus at {url}: {reason}")]
    Unreachable {
        /// Where it was looked for.
        url: Uri,
        /// The chain of causes.
        reason: String,
    },
    /// Nothing in time.
    #[error("Prometheus at {url} did not answer within {seconds} s")]
    Timeout {
        /// Where it was asked.
        url: Uri,
        /// How long it was waited for.
        seconds: f64,
    },
    /// An HTTP status without an explanation of the query API.
    #[error("Prometheus at {url} answered with HTTP status {status}")]
    Status {
        /// Where it was asked.
        url: Uri,
        /// The status code.
        status: u16,
    },
    /// Prometheus says that the query cannot be answered.
    #[error("Prometheus refused the query: {}: {}", .0.kind, .0.message)]
    Refused(Refused),
    /// The body is larger than we read.
    #[error("the answer of Prometheus is larger than {MAX_BODY} bytes")]
    TooLarge,
    /// The body is no answer.
    #[error("cannot read the answer of Prometheus: {0}")]
    Unreadable(#[source] Unreadable),
}

impl QueryError {
    /// Whether the endpoint as a whole does not work, rather than this one query.
    #[must_use]
    pub fn concerns_endpoint(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Timeout { .. } | Self::Status { .. } => true,
            // Prometheus' own words for overload and shutdown, sent with status 503.
            Self::Refused(refused) => {
                matches!(refused.kind.as_str(), "timeout" | "canceled" | "unavailable")
            }
            Self::TooLarge | Self::Unreadable(_) => false,
        }
    }

    /// The name in metric labels.
    #[must_use]
    pub const fn outcome(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "unreachable",
            Self::Timeout { .. } => "timeout",
            Self::Status { .. } => "status",
            Self::Refused(_) => "refused",
            Self::TooLarge => "too_large",
            Self::Unreadable(_) => "unreadable",
        }
    }
}

impl From<Unreadable> for QueryError {
    fn from(error: Unreadable) -> Self {
        match error {
            Unreadable::Refused(refused) => Self::Refused(shortened(refused)),
            error => Self::Unreadable(error),
        }
    }
}

/// A body that came with a status of success.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The JSON text.
    pub body: Bytes,
    /// The server's clock at the end of the answer minus ours, in seconds, good to half a second;
    /// `None` without a `Date` header.
    pub skew: Option<f64>,
}

/// A client of one Prometheus server.
#[derive(Debug, Clone)]
pub struct Prometheus {
    connection: Connection,
    endpoint: Uri,
    /// Where series over time are asked for.
    ranges: Uri,
    timeout: Duration,
}

impl Prometheus {
    /// Reads the files that `settings` name; connects later.
    pub fn new(settings: &Settings) -> Result<Self, ConnectionError> {
        let root = settings.url.trim_end_matches('/');
        let uri = |path: &str| {
            let uri = format!("{root}/api/v1/{path}").parse();
            uri.map_err(|_| ConnectionError::Url(settings.url.clone()))
        };
        let (endpoint, ranges) = (uri("query")?, uri("query_range")?);
        let connection = Connection::new(settings)?;
        Ok(Self { connection, endpoint, ranges, timeout: settings.timeout() })
    }

    /// Takes in a changed token, CA or client certificate. Broken files leave the old ones in use.
    pub async fn refresh(&mut self) {
        self.connection.refresh().await;
    }

    /// Evaluates `promql` at `now`, which is our present time.
    pub async fn query(&self, promql: &str, now: Timestamp) -> Result<Reply, QueryError> {
        let asked = Instant::now();
        let time = format!("{:.3}", now.as_seconds());
        let (headers, body) =
            self.post(&self.endpoint, &[("query", promql), ("time", &time)]).await?;
        let here = now.as_seconds() + asked.elapsed().as_secs_f64();
        Ok(Reply { body, skew: date(&headers).map(|there| there - here) })
    }

    /// Evaluates `promql` at `first`, at `last`, and every `step` seconds between, in Unix seconds:
    /// the body of a matrix. Prometheus gives at most 11,000 points per series.
    pub async fn range(
        &self,
        promql: &str,
        (first, last): (i64, i64),
        step: u32,
    ) -> Result<Bytes, QueryError> {
        let (first, last, step) = (first.to_string(), last.to_string(), step.to_string());
        let fields = [("query", promql), ("start", &first), ("end", &last), ("step", &step)];
        Ok(self.post(&self.ranges, &fields).await?.1)
    }

    /// Whether the endpoint answers at all.
    pub async fn answers(&self) -> bool {
        match self.query("vector(1)", clock::now()).await {
            Ok(_) => true,
            Err(error) => !error.concerns_endpoint(),
        }
    }

    /// The error of a query that got no time of its own, because the pass had used it up.
    #[must_use]
    pub fn timed_out(&self) -> QueryError {
        self.timed_out_at(&self.endpoint)
    }

    fn timed_out_at(&self, url: &Uri) -> QueryError {
        QueryError::Timeout { url: url.clone(), seconds: self.timeout.as_secs_f64() }
    }

    async fn post(
        &self,
        url: &Uri,
        fields: &[(&str, &str)],
    ) -> Result<(HeaderMap, Bytes), QueryError> {
        let answer = tokio::time::timeout(self.timeout, self.exchange(url, fields)).await;
        answer.map_err(|_| self.timed_out_at(url))?
    }

    async fn exchange(
        &self,
        url: &Uri,
        fields: &[(&str, &str)],
    ) -> Result<(HeaderMap, Bytes), QueryError> {
        // As a body, because a list of namespaces may be longer than a URL may be.
        let timeout = format!("{}ms", self.timeout.as_millis());
        let fields = [fields, &[("timeout", timeout.as_str())]].concat();
        let mut request = Request::new(Full::new(Bytes::from(form(&fields))));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = url.clone();
        let headers = request.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            hyper::header::HeaderValue::from_static("application/x-www-form-urlencoded"),
        );
        if let Some(authorization) = self.connection.authorization() {
            headers.insert(AUTHORIZATION, authorization);
        }
        let response = self.connection.client().request(request).await.map_err(|error| {
            QueryError::Unreachable { url: url.clone(), reason: tls::chain(&error) }
        })?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, MAX_BODY).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                QueryError::TooLarge
            } else {
                QueryError::Unreachable { url: url.clone(), reason: tls::chain(&*error) }
            }
        })?;
        let body = body.to_bytes();
        if parts.status.is_success() {
            return Ok((parts.headers, body));
        }
        Err(match refusal(&body) {
            Some(refused) => QueryError::Refused(shortened(refused)),
            None => QueryError::Status { url: url.clone(), status: parts.status.as_u16() },
        })
    }
}

/// The middle of the second that a `Date` header names, as a Unix time.
fn date(headers: &HeaderMap) -> Option<f64> {
    let text = headers.get(DATE)?.to_str().ok()?;
    let date = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(date.timestamp().as_second() as f64 + 0.5)
}

fn shortened(refused: Refused) -> Refused {
    let Refused { kind, message } = refused;
    let cut = |text: String| match text.char_indices().nth(MAX_MESSAGE) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    };
    Refused { kind: cut(kind), message: cut(message) }
}

/// `application/x-www-form-urlencoded`.
fn form(fields: &[(&str, &str)]) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut text = String::new();
    for (name, value) in fields {
        if !text.is_empty() {
            text.push('&');
        }
        text.push_str(name);
        text.push('=');
        for byte in value.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                    text.push(char::from(byte));
                }
                _ => {
                    text.push('%');
                    text.push(char::from(HEX[usize::from(byte >> 4)]));
                    text.push(char::from(HEX[usize::from(byte & 15)]));
                }
            }
        }
    }
    text
}

#[cfg(test)]
mod tests;
