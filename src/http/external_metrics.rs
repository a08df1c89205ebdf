//! Turns a read of an external metric into exactly one number, or a reason why there is none.
//!
//! It answers from memory and never invents: no number is an error with the cause, never a 0, and
//! never an old number in silence. The HPA adds up the items of an answer, so the desired
//! replicas are always one item.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

use hyper::body::Bytes;
use hyper::{HeaderMap, Method, StatusCode};
use serde::Serialize;

use super::board::{Board, Found, Laid};
use super::discovery::{KIND, RESOURCE};
use super::forecasts;
use super::identity::Identity;
use super::negotiate;
use super::route::{self, GROUP};
use super::selector::Selector;
use super::status::{ApiError, JSON, Response, answer};
use crate::clock;
use crate::cluster::Timestamp;
use crate::control::Entry;
use crate::safety::Rung;

/// The metric that HPAs read: how many replicas we want.
pub const METRIC: &str = "hirl-desired-replicas";
/// A metric for people and for `hirl check`: seconds between two reads of an HPA. It may have
/// several items; an HPA must not use it.
pub const READ_INTERVAL_METRIC: &str = "hirl-hpa-read-interval";

/// A metric for the HPA of balloon pods: CPU of the shared pools that is to be kept free on real
/// nodes, in cores. The HPA divides it by its `averageValue`, what one balloon pod requests.
pub const WARM_METRIC: &str = "hirl-warm-cores";

/// A metric for plain predictive scaling: requests per second that are expected of a domain. Its labels
/// `domain`, `horizon` and `quantile` must name one number, because an HPA adds items up.
pub const FORECAST_METRIC: &str = "hirl-forecast-rps";

const API_VERSION: &str = "external.metrics.k8s.io/v1beta1";

/// The metrics that we answer ourselves.
///
/// A name that is none of these is where an upstream adapter will be asked one day: only one
/// server of a cluster can own this API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Metric {
    DesiredReplicas,
    ReadInterval,
    WarmCores,
    Forecast,
}

impl Metric {
    fn named(name: &str) -> Option<Self> {
        match name {
            METRIC => Some(Self::DesiredReplicas),
            READ_INTERVAL_METRIC => Some(Self::ReadInterval),
            WARM_METRIC => Some(Self::WarmCores),
            FORECAST_METRIC => Some(Self::Forecast),
            _ => None,
        }
    }
}

/// A read, as it came.
#[derive(Debug)]
pub(super) struct Read<'a> {
    /// The namespace.
    pub(super) namespace: &'a str,
    /// The metric.
    pub(super) metric: &'a str,
    /// The query, undecoded.
    pub(super) query: &'a str,
    /// The HTTP method.
    pub(super) method: &'a Method,
}

/// What a read was answered with, for the audit line and our own metrics.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Given {
    /// The number.
    pub(super) value: Option<u32>,
    /// How old it was.
    pub(super) age: Option<Duration>,
    /// Where it came from.
    pub(super) rung: Option<Rung>,
}

#[derive(Serialize)]
struct List<'a> {
    kind: &'static str,
    #[serde(rename = "apiVersion")]
    api_version: &'static str,
    metadata: Empty,
    items: Vec<Item<'a>>,
}

#[derive(Serialize)]
struct Empty {}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Item<'a> {
    pub(super) metric_name: &'static str,
    pub(super) metric_labels: Labels<'a>,
    pub(super) timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) window: Option<u64>,
    pub(super) value: String,
}

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Labels<'a> {
    App { target: &'a str, kind: &'a str, hpa: &'a str, domain: &'a str },
    Forecast { domain: &'a str, horizon: &'a str, quantile: &'a str },
    None {},
}

impl<'a> Labels<'a> {
    fn of(entry: Entry<'a>) -> Self {
        Self::App {
            target: &entry.app.target,
            kind: &entry.app.kind,
            hpa: &entry.app.id.hpa,
            domain: &entry.domain.name,
        }
    }
}

pub(super) fn list(items: Vec<Item<'_>>) -> Bytes {
    let list = List { kind: KIND, api_version: API_VERSION, metadata: Empty {}, items };
    // Strings and numbers always serialise.
    serde_json::to_vec(&list).unwrap_or_default().into()
}

/// RFC 3339 to the second, which is all that `metav1.Time` carries.
pub(super) fn to_the_second(at: Timestamp) -> String {
    Timestamp::from_millis(at.as_millis().div_euclid(1000) * 1000).to_string()
}

/// Answers a read of somebody who may make it. `window` is the time between two decisions in
/// seconds. `given` is filled with what the answer says.
pub(super) fn read(
    board: &Board,
    window: u64,
    identity: &Identity,
    read: &Read<'_>,
    headers: &HeaderMap,
    given: &mut Given,
) -> Result<Response, ApiError> {
    if *read.method != Method::GET {
        return Err(ApiError::method_not_allowed(
            format!("{} is not supported on external metrics, only GET is", read.method),
            "GET",
        )
        .about(GROUP, read.metric, ""));
    }
    if route::is_watch(read.query)? {
        return Err(ApiError::method_not_allowed(
            format!("watch is not supported on resources of kind \"{}\"", read.metric),
            "GET",
        )
        .about(GROUP, read.metric, ""));
    }
    negotiate::json(headers)?;
    let Some(metric) = Metric::named(read.metric) else {
        return Err(ApiError::not_found(format!(
            "the server could not find the metric {} for {RESOURCE}.{GROUP}",
            read.metric
        ))
        .about(GROUP, read.metric, ""));
    };
    let selector: Cow<'_, str> = route::parameter(read.query, "labelSelector")?.unwrap_or_default();
    let selector =
        Selector::parse(&selector).map_err(|error| ApiError::bad_request(error.to_string()))?;
    let laid = board.newest().ok_or_else(|| {
        ApiError::unavailable(format!(
            "no number for {}: nothing has been decided yet",
            read.metric
        ))
    })?;
    let body = match metric {
        Metric::DesiredReplicas => {
            desired_replicas(board, &laid, window, identity, read, &selector, given)?
        }
        Metric::ReadInterval => read_intervals(board, &laid, read, &selector)?,
        Metric::WarmCores => warm_cores(&laid, window)?,
        Metric::Forecast => forecasts::read(&laid, &selector)?,
    };
    Ok(answer(StatusCode::OK, JSON, body))
}

fn desired_replicas(
    board: &Board,
    laid: &Laid,
    window: u64,
    identity: &Identity,
    read: &Read<'_>,
    selector: &Selector<'_>,
    given: &mut Given,
) -> Result<Bytes, ApiError> {
    let entry = match laid.find(read.namespace, selector) {
        Found::One(entry) => entry,
        Found::Nobody => return Err(nobody(read)),
        Found::Several(some, count) => return Err(several(read, &some, count)),
    };
    if identity.reads_for_hpa {
        laid.clock(entry.index).tick(board.since_start());
    }
    let age = laid.published.age();
    given.age = Some(age);
    given.rung = Some(entry.decided.rung);
    let value = number(laid, entry, age)?;
    given.value = Some(value);
    Ok(laid.answer(entry.index, || {
        list(vec![Item {
            metric_name: METRIC,
            metric_labels: Labels::of(entry),
            timestamp: to_the_second(laid.published.decision().at),
            window: Some(window).filter(|window| *window > 0),
            value: value.to_string(),
        }])
    }))
}

/// The number of an app, or why it has none.
fn number(laid: &Laid, entry: Entry<'_>, age: Duration) -> Result<u32, ApiError> {
    let no = |why: std::fmt::Arguments<'_>| {
        ApiError::unavailable(format!("no number for HPA {}: {why}", entry.app.id)).about(
            GROUP,
            METRIC,
            &entry.app.id.hpa,
        )
    };
    if let Some(stale) = stale(laid, age) {
        return Err(no(format_args!("{stale}")));
    }
    if let Some(refusal) = &entry.app.refusal {
        return Err(no(format_args!("{refusal} ({})", refusal.reason())));
    }
    let decided = entry.decided;
    match (decided.replicas, decided.missing) {
        (Some(replicas), _) if decided.rung != Rung::Withheld => Ok(replicas),
        (_, Some((signal, fault))) => Err(no(format_args!(
            "signal {signal} is {fault}, and fresh evidence last supported one at {}",
            to_the_second(decided.supported_at)
        ))),
        (_, None) => Err(no(format_args!(
            "fresh evidence last supported one at {}",
            to_the_second(decided.supported_at)
        ))),
    }
}

/// Says that the newest decision is too old, if it is.
pub(super) fn stale(laid: &Laid, age: Duration) -> Option<String> {
    let limit = laid.published.max_age();
    (age > limit).then(|| {
        let (age, limit) = (age.as_secs_f64(), limit.as_secs_f64());
        format!("the last decision is {age:.1} s old, the limit is {limit:.1} s")
    })
}

/// CPU to be kept free on real nodes, one item: the HPA of the balloon pods adds items up.
fn warm_cores(laid: &Laid, window: u64) -> Result<Bytes, ApiError> {
    if let Some(stale) = stale(laid, laid.published.age()) {
        let message = format!("no number for {WARM_METRIC}: {stale}");
        return Err(ApiError::unavailable(message).about(GROUP, WARM_METRIC, ""));
    }
    let decision = laid.published.decision();
    Ok(list(vec![Item {
        metric_name: WARM_METRIC,
        metric_labels: Labels::None {},
        timestamp: to_the_second(decision.at),
        window: Some(window).filter(|window| *window > 0),
        value: format!("{:.0}m", decision.warm_cores * 1000.0),
    }]))
}

fn nobody(read: &Read<'_>) -> ApiError {
    let selector = route::parameter(read.query, "labelSelector").ok().flatten().unwrap_or_default();
    ApiError::not_found(format!(
        "no HPA of namespace \"{}\" that reads {METRIC} matches labelSelector \"{selector}\"",
        read.namespace
    ))
    .about(GROUP, read.metric, "")
}

fn several(read: &Read<'_>, some: &[Entry<'_>], count: usize) -> ApiError {
    let mut message = format!(
        "the labelSelector must match exactly one app of namespace \"{}\", and it matches {count}:",
        read.namespace
    );
    for (position, entry) in some.iter().enumerate() {
        let comma = if position == 0 { "" } else { "," };
        // Writing into a string cannot fail.
        let _ = write!(message, "{comma} {} (HPA {})", entry.app.target, entry.app.id.hpa);
    }
    if count > some.len() {
        let _ = write!(message, " and {} more", count - some.len());
    }
    ApiError::bad_request(message).about(GROUP, read.metric, "")
}

/// Read intervals of all matching apps that were read at least twice.
fn read_intervals(
    board: &Board,
    laid: &Laid,
    read: &Read<'_>,
    selector: &Selector<'_>,
) -> Result<Bytes, ApiError> {
    let now = board.since_start();
    let timestamp = to_the_second(clock::now());
    let mut apps = 0;
    let mut items = Vec::new();
    for entry in laid.matching(read.namespace, selector) {
        apps += 1;
        let Some(interval) = laid.clock(entry.index).interval(now) else {
            continue;
        };
        items.push(Item {
            metric_name: READ_INTERVAL_METRIC,
            metric_labels: Labels::of(entry),
            timestamp: timestamp.clone(),
            window: None,
            value: format!("{}m", interval.as_millis()),
        });
    }
    if apps == 0 { Err(nobody(read)) } else { Ok(list(items)) }
}
