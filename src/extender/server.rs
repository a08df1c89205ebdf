//! Turns requests of the scheduler into answers: who asks, for which verb, within which limits.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Body, Bytes};
use hyper::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, StatusCode};
use rustls::pki_types::CertificateDer;

use super::bind::Binder;
use super::verbs::{self, Answer, Mode};
use crate::clock;
use crate::https::{Handler, Response, has_name};
use crate::instruments::{Instruments, VerbLabel, VerdictLabel};
use crate::kubernetes::Placements;
use crate::placement::Standing;

/// Bytes that a question may have: 5,000 long names are a quarter of a megabyte.
const BODY_LIMIT: usize = 4 << 20;
/// Time that a question may take to arrive.
const BODY_TIME: Duration = Duration::from_millis(300);

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Filter,
    Prioritize,
    Preempt,
    Bind,
}

impl Verb {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Prioritize => "prioritize",
            Self::Preempt => "preempt",
            Self::Bind => "bind",
        }
    }
}

fn route(path: &str) -> Option<(Mode, Verb)> {
    let (mode, verb) = path.strip_prefix("/v1/")?.split_once('/')?;
    let mode = match mode {
        "strict" => Mode::Strict,
        "open" => Mode::Open,
        _ => return None,
    };
    let verb = match verb {
        "filter" => Verb::Filter,
        "prioritize" => Verb::Prioritize,
        "preempt" => Verb::Preempt,
        "bind" => Verb::Bind,
        _ => return None,
    };
    Some((mode, verb))
}

/// Whether the client of a connection may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Admitted(pub(super) bool);

/// Answers the scheduler.
#[derive(Debug)]
pub(super) struct Service {
    /// Where answers come from.
    pub(super) placements: Placements,
    /// Who writes.
    pub(super) binder: Binder,
    /// Names of which a client certificate must carry one.
    pub(super) client_names: Vec<String>,
    /// Our metrics.
    pub(super) instruments: Arc<Instruments>,
}

impl Handler for Service {
    type Connection = Admitted;

    fn connected(&self, chain: Vec<CertificateDer<'static>>) -> Admitted {
        // The handshake has proved who signed it.
        let admitted = chain.first().is_some_and(|leaf| has_name(leaf, &self.client_names));
        if !admitted {
            tracing::warn!(wanted = ?self.client_names, "a client certificate carries none of the names of schedulers");
        }
        Admitted(admitted)
    }

    fn answer(
        &self,
        request: Request<hyper::body::Incoming>,
        connection: &Admitted,
    ) -> impl Future<Output = Response> + Send {
        self.respond(request, *connection)
    }
}

impl Service {
    /// Answers one request, a panic included.
    pub(super) async fn respond<B>(&self, request: Request<B>, client: Admitted) -> Response
    where
        B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
    {
        let work = AssertUnwindSafe(self.route(request, client)).catch_unwind();
        work.await.unwrap_or_else(|_| {
            tracing::error!("a verb panicked");
            say(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the question could not be answered: internal error",
            )
        })
    }

    async fn route<B>(&self, request: Request<B>, client: Admitted) -> Response
    where
        B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
    {
        let arrived = Instant::now();
        let (parts, body) = request.into_parts();
        let path = parts.uri.path();
        if !client.0 {
            return say(
                StatusCode::FORBIDDEN,
                "the client certificate carries none of the names in extender.clientNames",
            );
        }
        if matches!(path, "/healthz" | "/readyz") {
            if !matches!(parts.method, Method::GET | Method::HEAD) {
                return not_allowed("GET, HEAD", "probes can only be read");
            }
            return match (path, self.placements.lock().standing()) {
                ("/healthz", _) | (_, Standing::Owner) => say(StatusCode::OK, "ok"),
                (_, standing) => say(StatusCode::SERVICE_UNAVAILABLE, not_ready(standing)),
            };
        }
        let Some((mode, verb)) = route(path) else {
            return say(
                StatusCode::NOT_FOUND,
                "there are /v1/strict and /v1/open, each with filter, prioritize, preempt and bind",
            );
        };
        if parts.method != Method::POST {
            return not_allowed("POST", "verbs are asked by POST");
        }
        if self.placements.lock().standing() == Standing::Follower {
            self.count(verb, mode, "not-owner");
            return say(StatusCode::SERVICE_UNAVAILABLE, not_ready(Standing::Follower));
        }
        let body = match read(body).await {
            Ok(body) => body,
            Err((code, sentence)) => {
                self.count(verb, mode, "malformed");
                return say(code, sentence);
            }
        };
        let answer = self.ask(verb, mode, &body).await;
        self.count(verb, mode, answer.outcome);
        let label = VerbLabel { verb: verb.as_str() };
        let meters = &self.instruments.extender;
        meters.duration.get_or_create(&label).observe(arrived.elapsed().as_secs_f64());
        let content = if answer.code == StatusCode::OK { JSON } else { TEXT };
        whole(answer.code, content, answer.body.into())
    }

    async fn ask(&self, verb: Verb, mode: Mode, body: &[u8]) -> Answer {
        let (placements, meters) = (&self.placements, &self.instruments.extender);
        match verb {
            Verb::Filter => verbs::filter(placements, mode, body, clock::now(), meters),
            Verb::Prioritize => verbs::prioritize(placements, body),
            Verb::Preempt => verbs::preempt(placements, mode, body, clock::now(), meters),
            Verb::Bind => self.binder.bind(body).await,
        }
    }

    fn count(&self, verb: Verb, mode: Mode, outcome: &'static str) {
        let label = VerdictLabel { verb: verb.as_str(), mode: mode.as_str(), outcome };
        self.instruments.extender.verdicts.get_or_create(&label).inc();
    }
}

fn not_ready(standing: Standing) -> &'static str {
    match standing {
        Standing::Follower => "another replica owns the placement ledger",
        Standing::Warming => "the placement ledger is being read",
        Standing::Owner => "ok",
    }
}

async fn read<B>(body: B) -> Result<Bytes, (StatusCode, &'static str)>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
{
    let too_large = (StatusCode::PAYLOAD_TOO_LARGE, "the question is longer than 4 MiB");
    if body.size_hint().lower() > BODY_LIMIT as u64 {
        return Err(too_large);
    }
    let collected = Box::pin(Limited::new(body, BODY_LIMIT)).collect();
    match tokio::time::timeout(BODY_TIME, collected).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large),
        Ok(Err(_)) => Err((StatusCode::BAD_REQUEST, "the question ended early")),
        Err(_) => Err((StatusCode::REQUEST_TIMEOUT, "the question did not arrive in time")),
    }
}

/// An answer whose length is known: over HTTP/1.1 Go would not use the connection again else.
fn whole(code: StatusCode, content: HeaderValue, body: Bytes) -> Response {
    let length = HeaderValue::from(body.len());
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, content);
    response.headers_mut().insert(CONTENT_LENGTH, length);
    response
}

fn say(code: StatusCode, sentence: &'static str) -> Response {
    whole(code, TEXT, Bytes::from_static(sentence.as_bytes()))
}

fn not_allowed(allow: &'static str, sentence: &'static str) -> Response {
    let mut response = say(StatusCode::METHOD_NOT_ALLOWED, sentence);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}
