//! Turns one request into one answer: who asks, may they, then the one handler.
//!
//! Every request is answered within the deadline, with a `Status` when anything goes wrong, a
//! panic included. The metric read is answered without waiting for anything, unless an access
//! has to be reviewed first.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Body, Bytes};
use hyper::http::request::Parts;
use hyper::{Method, Request};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::{Semaphore, watch};

use super::audit::{Audit, Line};
use super::authentication::{Authenticator, Connection};
use super::authorization::Authorizer;
use super::board::Board;
use super::decision::{self, Peers};
use super::external_metrics::{self, Given, Read};
use super::identity::Identity;
use super::placement::Placing;
use super::probes::{self, LogLevel};
use super::route::{self, Route};
use super::settings::{Settings, span};
use super::status::{ApiError, Response};
use super::{discovery, openapi};
use crate::cluster::AppId;
use crate::control::{Published, peer};
use crate::instruments::{AnswerLabel, Instruments};
use crate::kubernetes::{FrontProxy, Leadership, Placements, Reviews};

/// What the server answers from; other rooms keep it up to date.
#[derive(Debug, Clone)]
pub struct State {
    /// The newest decision; `None` while nothing was decided.
    pub published: watch::Receiver<Option<Arc<Published>>>,
    /// Whom the API server tells us to believe; `None` until it was read.
    pub front_proxy: watch::Receiver<Option<Arc<FrontProxy>>>,
    /// Where tokens and accesses are reviewed.
    pub reviews: Reviews,
    /// Our own metrics.
    pub instruments: Arc<Instruments>,
    /// Changes the log level.
    pub log_level: LogLevel,
    /// Time between two decisions: the window of a value.
    pub decision_interval: Duration,
    /// The placement ledger, where this replica keeps one.
    pub placements: Option<Placements>,
    /// Who decides, and so owns the ledger.
    pub leadership: watch::Receiver<Leadership>,
}

/// Answers requests.
#[derive(Debug)]
pub(crate) struct Service {
    authenticator: Authenticator,
    authorizer: Authorizer,
    board: Board,
    peers: Peers,
    placing: Placing,
    log_level: LogLevel,
    audit: Audit,
    instruments: Arc<Instruments>,
    answered_ok: Counter,
    window: u64,
    deadline: Duration,
    max_target_bytes: usize,
    max_body_bytes: usize,
    max_in_flight: usize,
    in_flight: AtomicUsize,
    stopping: AtomicBool,
}

/// One of the requests being worked on.
struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Service {
    /// Answers from `state`.
    pub(crate) fn new(settings: &Settings, peer: peer::Settings, state: State) -> Self {
        let at_once = Arc::new(Semaphore::new(settings.max_reviews));
        let instruments = state.instruments;
        Self {
            authenticator: Authenticator::new(
                settings,
                state.front_proxy,
                state.reviews.clone(),
                Arc::clone(&at_once),
                Arc::clone(&instruments),
            ),
            authorizer: Authorizer::new(settings, state.reviews, at_once, Arc::clone(&instruments)),
            board: Board::new(state.published, Arc::clone(&instruments)),
            peers: Peers::new(peer),
            placing: Placing { placements: state.placements, leadership: state.leadership },
            log_level: state.log_level,
            audit: Audit::default(),
            answered_ok: instruments
                .requests
                .get_or_create_owned(&AnswerLabel { code: 200, reason: "OK" }),
            instruments,
            window: state.decision_interval.as_secs(),
            deadline: span(settings.deadline_seconds),
            max_target_bytes: settings.max_target_bytes,
            max_body_bytes: settings.max_body_bytes,
            max_in_flight: settings.max_in_flight,
            in_flight: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
        }
    }

    /// Who may fetch whole decisions.
    pub(super) fn peers(&self) -> &Peers {
        &self.peers
    }

    /// How often the HPA controller reads each app from this replica.
    pub(super) fn read_intervals(&self) -> Vec<(AppId, Duration)> {
        self.board.read_intervals()
    }

    /// From now on we are not ready: nobody new should be sent here.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Answers one request of `connection`.
    pub(crate) async fn answer<B>(&self, request: Request<B>, connection: &Connection) -> Response
    where
        B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
    {
        let is_head = request.method() == Method::HEAD;
        let work = AssertUnwindSafe(self.route(request, connection)).catch_unwind();
        let mut response = match tokio::time::timeout(self.deadline, work).await {
            Ok(Ok(response)) => response,
            Ok(Err(_)) => {
                tracing::error!("a request handler panicked");
                let error = ApiError::internal("the request could not be answered: internal error");
                self.count(&error);
                error.response()
            }
            Err(_) => {
                let error = ApiError::timeout(format!("no answer within {:?}", self.deadline));
                self.count(&error);
                error.response()
            }
        };
        if is_head {
            *response.body_mut() = Full::default();
        }
        response
    }

    async fn route<B>(&self, request: Request<B>, connection: &Connection) -> Response
    where
        B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
    {
        let arrived = Instant::now();
        let (parts, body) = request.into_parts();
        let target_bytes = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
        if target_bytes > self.max_target_bytes {
            return ApiError::target_too_long(self.max_target_bytes).response();
        }
        let path = parts.uri.path();
        let query = parts.uri.query().unwrap_or_default();
        let route = match Route::of(path) {
            Ok(route) => route,
            Err(error) => return error.response(),
        };
        // Probes are answered whatever else is going on.
        match route {
            Route::Live => return probes::probe("livez", &[("ping", true)], query),
            Route::Health => return probes::probe("healthz", &[("ping", true)], query),
            Route::Ready => return probes::probe("readyz", &self.readiness(), query),
            _ => {}
        }
        let place = Place(&self.in_flight);
        if self.in_flight.fetch_add(1, Ordering::Relaxed) >= self.max_in_flight {
            let error = ApiError::unavailable(format!(
                "too many requests: {} are being worked on",
                self.max_in_flight
            ));
            self.count(&error);
            return error.response();
        }
        let answered = match &route {
            Route::Metric { namespace, metric } => {
                let read = Read { namespace, metric, query, method: &parts.method };
                self.metric(&route, &read, &parts, connection, arrived).await
            }
            Route::Decision => self.decision(&parts, connection),
            _ => Box::pin(self.other(&route, &parts, body, connection)).await,
        };
        drop(place);
        answered.unwrap_or_else(|error| error.response())
    }

    /// Who asks, if they may.
    async fn admit(
        &self,
        route: &Route<'_>,
        parts: &Parts,
        path: &str,
        watching: bool,
        connection: &Connection,
    ) -> Result<Arc<Identity>, (Option<Arc<Identity>>, ApiError)> {
        let identity = self
            .authenticator
            .identify(connection, &parts.headers)
            .await
            .map_err(|error| (None, error))?;
        let attributes = route.attributes(&parts.method, path, watching);
        match self.authorizer.authorize(&identity, &attributes).await {
            Ok(()) => Ok(identity),
            Err(error) => Err((Some(identity), error)),
        }
    }

    async fn metric(
        &self,
        route: &Route<'_>,
        read: &Read<'_>,
        parts: &Parts,
        connection: &Connection,
        arrived: Instant,
    ) -> Result<Response, ApiError> {
        let mut given = Given::default();
        let watching = route::is_watch(read.query).unwrap_or(false);
        let (identity, answered) =
            match self.admit(route, parts, parts.uri.path(), watching, connection).await {
                Ok(identity) => {
                    let answered = external_metrics::read(
                        &self.board,
                        self.window,
                        &identity,
                        read,
                        &parts.headers,
                        &mut given,
                    );
                    (Some(identity), answered)
                }
                Err((identity, error)) => (identity, Err(error)),
            };
        let took = arrived.elapsed();
        self.instruments.request_duration.observe(took.as_secs_f64());
        match (&answered, given.age) {
            (Ok(_), Some(age)) => {
                self.answered_ok.inc();
                self.instruments.metric_freshness.observe(age.as_secs_f64());
            }
            (Ok(_), None) => {
                self.answered_ok.inc();
            }
            (Err(error), _) => self.count(error),
        }
        let line = Line {
            user: identity.as_ref().map_or("", |identity| &identity.user.name),
            namespace: read.namespace,
            metric: read.metric,
            query: read.query,
            code: answered.as_ref().map_or_else(ApiError::code, Response::status).as_u16(),
            micros: took.as_micros() as u64,
        };
        self.audit.write(&parts.headers, &line, &given);
        answered
    }

    fn decision(&self, parts: &Parts, connection: &Connection) -> Result<Response, ApiError> {
        if parts.method != Method::GET {
            return Err(ApiError::method_not_allowed("decisions can only be read", "GET"));
        }
        decision::decision(&self.board, &self.peers, connection, &parts.headers)
    }

    /// Everything that is neither a metric read nor a probe.
    async fn other<B>(
        &self,
        route: &Route<'_>,
        parts: &Parts,
        body: B,
        connection: &Connection,
    ) -> Result<Response, ApiError>
    where
        B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
    {
        let path = route::decoded(parts.uri.path())?;
        self.admit(route, parts, &path, false, connection).await.map_err(|(_, error)| error)?;
        let headers = &parts.headers;
        match (route, &parts.method) {
            (Route::NoObject { .. } | Route::Other, _) => Err(ApiError::no_such_path()),
            (Route::LogLevel, &Method::PUT) => {
                let level = self.read_body(body).await?;
                probes::set_log_level(&self.log_level, &level)
            }
            (Route::LogLevel, _) => {
                Err(ApiError::method_not_allowed("the log level can only be set", "PUT"))
            }
            (_, method) if !matches!(*method, Method::GET | Method::HEAD) => {
                Err(ApiError::method_not_allowed(format!("{path} can only be read"), "GET, HEAD"))
            }
            (Route::Groups, _) => discovery::groups(headers),
            (Route::Group, _) => discovery::one_group(headers),
            (Route::Resources, _) => discovery::resources(headers),
            // A single 404 here would make the API server forget our OpenAPI v3 for good.
            (Route::OpenApiV2 | Route::OpenApiIndex | Route::OpenApiGroup, _)
                if !self.is_ready() =>
            {
                Err(ApiError::unavailable("the server is starting or stopping"))
            }
            (Route::OpenApiV2, _) => openapi::v2(headers),
            (Route::OpenApiIndex, _) => openapi::index(headers),
            (Route::OpenApiGroup, _) => openapi::group(headers),
            (Route::OwnMetrics, _) => {
                self.board.export_read_intervals();
                Ok(probes::own_metrics(self.instruments.render()))
            }
            (Route::Version, _) => Ok(probes::version()),
            (Route::Placement, _) => self.placing.pools(),
            (Route::PlacedPod { namespace, name }, _) => self.placing.pod(namespace, name),
            // Answered before this function is called.
            (
                Route::Live | Route::Ready | Route::Health | Route::Decision | Route::Metric { .. },
                _,
            ) => Err(ApiError::no_such_path()),
        }
    }

    async fn read_body<B>(&self, body: B) -> Result<Bytes, ApiError>
    where
        B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
    {
        let body = Box::pin(Limited::new(body, self.max_body_bytes));
        match body.collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => {
                Err(ApiError::too_large(self.max_body_bytes))
            }
            Err(error) => Err(ApiError::bad_request(format!("reading the body failed: {error}"))),
        }
    }

    fn readiness(&self) -> [probes::Check; 2] {
        [
            ("front-proxy-configuration", self.authenticator.is_configured()),
            ("not-stopping", !self.stopping.load(Ordering::Relaxed)),
        ]
    }

    fn is_ready(&self) -> bool {
        self.readiness().iter().all(|(_, holds)| *holds)
    }

    fn count(&self, error: &ApiError) {
        let label = AnswerLabel { code: error.code().as_u16(), reason: error.reason() };
        self.instruments.requests.get_or_create(&label).inc();
    }
}
