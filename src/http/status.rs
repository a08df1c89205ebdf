//! Turns everything that can go wrong with a request into a `metav1.Status`, the only error body
//! that Kubernetes clients read.
//!
//! It never sends `Retry-After`: client-go would sleep and retry inside a worker of the HPA
//! controller, and five sleeping workers stop every HPA of the cluster.

use http_body_util::Full;
use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use serde::Serialize;

pub(super) use crate::https::Response;

pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");
const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache, private");
const NO_SNIFF: HeaderValue = HeaderValue::from_static("nosniff");

/// An answer with a body; every answer has a content type, or clients would guess protobuf.
pub(super) fn answer(code: StatusCode, content_type: HeaderValue, body: Bytes) -> Response {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(CACHE_CONTROL, NO_CACHE);
    response
}

/// A request that is answered with an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ApiError {
    code: StatusCode,
    reason: &'static str,
    message: String,
    about: Option<Box<About>>,
    allow: Option<&'static str>,
}

/// The object that an error is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct About {
    name: String,
    group: &'static str,
    kind: String,
}

#[derive(Serialize)]
struct Status<'a> {
    kind: &'static str,
    #[serde(rename = "apiVersion")]
    api_version: &'static str,
    metadata: Empty,
    #[serde(rename = "status")]
    outcome: &'static str,
    message: &'a str,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<&'a About>,
    code: u16,
}

#[derive(Serialize)]
struct Empty {}

impl ApiError {
    fn new(code: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), about: None, allow: None }
    }

    /// 400: the client can repair the request.
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    /// 401: credentials were given and are not good.
    pub(super) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized")
    }

    /// 403: the identity is known (or anonymous) and may not do this.
    pub(super) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "Forbidden", message)
    }

    /// 404: there is no such path, metric or app.
    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NotFound", message)
    }

    /// 404 for a path that nothing answers.
    pub(super) fn no_such_path() -> Self {
        Self::not_found("the server could not find the requested resource")
    }

    /// 405; `allow` lists the methods that would be answered.
    pub(super) fn method_not_allowed(message: impl Into<String>, allow: &'static str) -> Self {
        let error = Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message);
        Self { allow: Some(allow), ..error }
    }

    /// 406: the client accepts nothing that we can write.
    pub(super) fn not_acceptable(offered: &str) -> Self {
        Self::new(
            StatusCode::NOT_ACCEPTABLE,
            "NotAcceptable",
            format!("only the following media types are accepted: {offered}"),
        )
    }

    /// 413: the body is longer than we read.
    pub(super) fn too_large(limit: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "RequestEntityTooLarge",
            format!("the body of the request is longer than {limit} bytes"),
        )
    }

    /// 414: path and query are longer than we read.
    pub(super) fn target_too_long(limit: usize) -> Self {
        Self::new(
            StatusCode::URI_TOO_LONG,
            "BadRequest",
            format!("path and query of the request are longer than {limit} bytes"),
        )
    }

    /// 500: our fault.
    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message)
    }

    /// 503: no answer now; the HPA holds.
    pub(super) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message)
    }

    /// 504: the deadline passed.
    pub(super) fn timeout(message: impl Into<String>) -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, "Timeout", message)
    }

    /// The same error with the object that it is about: a resource (here: a metric) of `group`.
    pub(super) fn about(self, group: &'static str, kind: &str, name: &str) -> Self {
        let about = About { name: name.to_owned(), group, kind: kind.to_owned() };
        Self { about: Some(Box::new(about)), ..self }
    }

    /// HTTP status.
    pub(super) fn code(&self) -> StatusCode {
        self.code
    }

    /// Machine-readable reason, of a closed set.
    pub(super) fn reason(&self) -> &'static str {
        self.reason
    }

    /// The answer.
    pub(super) fn response(&self) -> Response {
        let status = Status {
            kind: "Status",
            api_version: "v1",
            metadata: Empty {},
            outcome: "Failure",
            message: &self.message,
            reason: self.reason,
            details: self.about.as_deref(),
            code: self.code.as_u16(),
        };
        // Strings and numbers always serialise.
        let body = serde_json::to_vec(&status).unwrap_or_default();
        let mut response = answer(self.code, JSON, body.into());
        let headers = response.headers_mut();
        headers.insert(X_CONTENT_TYPE_OPTIONS, NO_SNIFF);
        if let Some(allow) = self.allow {
            headers.insert(HeaderName::from_static("allow"), HeaderValue::from_static(allow));
        }
        response
    }
}
