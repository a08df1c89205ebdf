//! A JSON text that never changes while we run, with its entity tag.

use std::fmt::Write as _;

use hyper::body::Bytes;
use hyper::header::{ETAG, HeaderValue, VARY};
use hyper::{HeaderMap, StatusCode};
use serde_json::Value;

use super::negotiate;
use super::status::{JSON, Response, answer};

/// The text and its tag.
#[derive(Debug)]
pub(super) struct Document {
    body: Bytes,
    etag: String,
    content_type: HeaderValue,
}

impl Document {
    /// Plain JSON.
    pub(super) fn new(json: &Value) -> Self {
        Self::typed(json, JSON)
    }

    /// JSON under a content type of its own.
    pub(super) fn typed(json: &Value, content_type: HeaderValue) -> Self {
        let body = json.to_string();
        let hash = ring::digest::digest(&ring::digest::SHA256, body.as_bytes());
        let mut etag = String::from("\"");
        for byte in &hash.as_ref()[..16] {
            // Writing into a string cannot fail.
            let _ = write!(etag, "{byte:02X}");
        }
        etag.push('"');
        Self { body: body.into(), etag, content_type }
    }

    /// The tag without its quotes.
    pub(super) fn hash(&self) -> &str {
        self.etag.trim_matches('"')
    }

    /// The text, or 304 where the client holds it already.
    pub(super) fn answer(&self, headers: &HeaderMap) -> Response {
        let mut response = if negotiate::is_held(headers, &self.etag) {
            let mut response = Response::default();
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response
        } else {
            answer(StatusCode::OK, self.content_type.clone(), self.body.clone())
        };
        if let Ok(etag) = HeaderValue::from_str(&self.etag) {
            response.headers_mut().insert(ETAG, etag);
        }
        // The same path has several shapes; a cache must not mix them up.
        response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
        response
    }
}
