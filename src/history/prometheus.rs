//! Traffic from a Prometheus server, a day at a time.
//!
//! What has been answered is kept in a folder of parts until the import is done, so that one that was
//! cut off goes on where it stopped. A part is known by the server, the query and its minutes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cluster::Class;
use crate::forecast::{DAY, History, Minute, Series};
use crate::hash::sha256;
use crate::telemetry::matrix::Matrix;
use crate::telemetry::{Prometheus, QueryError};

use super::{Error, MAX_VALUES, Mended, write_atomically};

/// Minutes of one query: Prometheus gives at most 11,000 points, and a day of one series is cheap.
const CHUNK: Minute = DAY as Minute;
/// Seconds between two points.
const STEP: u32 = 60;
/// How often a part is asked for before giving up.
const ATTEMPTS: u32 = 5;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// No answer, or none that can be read.
    #[error("{0}")]
    Query(#[from] QueryError),
    /// The source said that something is missing.
    #[error("Prometheus warns that its answer is incomplete")]
    Incomplete,
    /// Not one series.
    #[error("the query gives {0} series: bring it to one with sum()")]
    Several(usize),
    /// No value at all.
    #[error("Prometheus has no value of this query in the whole time")]
    Nothing,
}

impl Fault {
    /// Whether the same question may be answered a little later.
    fn passes(&self) -> bool {
        match self {
            Self::Query(error) => error.concerns_endpoint(),
            Self::Incomplete => true,
            Self::Several(_) | Self::Nothing => false,
        }
    }
}

/// The traffic of one domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Name of the domain.
    pub domain: String,
    /// Its priority class.
    pub class: Class,
    /// `PromQL` of one series: requests per second at an instant, as a mean of the minute before.
    pub promql: String,
}

/// What to import.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Root of the server's HTTP API, which parts are known by.
    pub url: String,
    /// What is asked.
    pub sources: Vec<Source>,
    /// First minute.
    pub start: Minute,
    /// The minute after the last.
    pub end: Minute,
    /// Folder of parts; it may be there from before.
    pub parts: PathBuf,
    /// Pause before the second attempt; each later one is twice as long.
    pub pause: Duration,
}

/// How far an import is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Parts that are there.
    pub done: usize,
    /// All parts.
    pub total: usize,
    /// Parts that were there from before.
    pub kept: usize,
}

/// A part on disk: requests per second of each minute, null where it is not known.
#[derive(Debug, Serialize, Deserialize)]
struct Part {
    rps: Vec<Option<f32>>,
}

/// Asks for everything that is not there yet. Minutes without a value stay unknown; unknown ones at
/// the beginning and the end are left out. `said` hears of each part. The folder of parts is left
/// where it is: whoever keeps the history may then remove it.
///
/// # Errors
///
/// A plan without minutes or beyond [`MAX_VALUES`]; a server that does not answer five times in a
/// row or refuses the query; a query of more than one series; a domain without any value.
pub async fn import(
    prometheus: &mut Prometheus,
    plan: &Plan,
    mut said: impl FnMut(Progress),
) -> Result<(History, Mended), Error> {
    let span = usize::try_from(plan.end - plan.start).unwrap_or(0);
    if span == 0 || plan.sources.is_empty() {
        return Err(Error::Asked("there is no minute or no domain to import".to_owned()));
    }
    if span.saturating_mul(plan.sources.len()) > MAX_VALUES {
        let what = "a year of sixteen domains is the most that is imported at once";
        return Err(Error::Asked(what.to_owned()));
    }
    let chunks: Vec<(Minute, Minute)> = chunks(plan.start, plan.end).collect();
    let total = chunks.len() * plan.sources.len();
    let mut progress = Progress { done: 0, total, kept: 0 };
    let mut history = History { start: plan.start, series: Vec::new() };
    for source in &plan.sources {
        let mut rps = Vec::with_capacity(span);
        for &(from, to) in &chunks {
            let path = plan.part(source, from, to);
            let known = kept(&path, from, to);
            progress.kept += usize::from(known.is_some());
            let values = if let Some(values) = known {
                values
            } else {
                prometheus.refresh().await;
                let values = ask(prometheus, source, plan.pause, from, to).await?;
                keep(&path, &values)?;
                values
            };
            rps.extend(values);
            progress.done += 1;
            said(progress);
        }
        if rps.iter().all(|rps| rps.is_nan()) {
            return Err(source.failed(Fault::Nothing));
        }
        let (name, class) = (source.domain.clone(), source.class);
        history.series.push(Series { name, class, rps });
    }
    trim(&mut history);
    let mended = Mended::of_kept(&history);
    Ok((history, mended))
}

impl Plan {
    fn part(&self, source: &Source, from: Minute, to: Minute) -> PathBuf {
        let known_by = format!("{}\n{}\n{from}\n{to}", self.url, source.promql);
        self.parts.join(format!("{}.json", sha256(known_by.as_bytes())))
    }
}

impl Source {
    fn failed(&self, cause: Fault) -> Error {
        Error::Prometheus { domain: self.domain.clone(), cause: Box::new(cause) }
    }
}

/// Cuts minutes into what is asked for at once: whole days where possible, so that a later import with another
/// beginning or end finds them.
pub fn chunks(start: Minute, end: Minute) -> impl Iterator<Item = (Minute, Minute)> {
    let first = start.div_euclid(CHUNK);
    let days = first..=(end - 1).div_euclid(CHUNK);
    days.map(move |day| ((day * CHUNK).max(start), ((day + 1) * CHUNK).min(end)))
}

/// A part that is there and whole.
fn kept(path: &Path, from: Minute, to: Minute) -> Option<Vec<f32>> {
    let text = std::fs::read(path).ok()?;
    let part: Part = serde_json::from_slice(&text).ok()?;
    let rps: Vec<f32> = part.rps.into_iter().map(|rps| sound(rps.unwrap_or(f32::NAN))).collect();
    (rps.len() as Minute == to - from).then_some(rps)
}

fn keep(path: &Path, rps: &[f32]) -> Result<(), Error> {
    let part = Part { rps: rps.iter().map(|rps| (!rps.is_nan()).then_some(*rps)).collect() };
    let text = serde_json::to_vec(&part).map_err(|error| Error::write(path, error.into()))?;
    write_atomically(path, |file| std::io::Write::write_all(file, &text))
}

/// Asks for one part, again and again while that may help.
async fn ask(
    prometheus: &Prometheus,
    source: &Source,
    mut pause: Duration,
    from: Minute,
    to: Minute,
) -> Result<Vec<f32>, Error> {
    let mut attempt = 1;
    loop {
        match minutes(prometheus, &source.promql, from, to).await {
            Ok(rps) => return Ok(rps),
            Err(fault) if fault.passes() && attempt < ATTEMPTS => {
                tracing::warn!(domain = source.domain, %fault, attempt, "asking again");
                tokio::time::sleep(pause).await;
                attempt += 1;
                pause *= 2;
            }
            Err(fault) => return Err(source.failed(fault)),
        }
    }
}

/// Asks once for the minutes from `from` on and before `to`, at most a day: requests per second of each as `promql`
/// gives them, NaN where they are not known.
///
/// # Errors
///
/// No answer, or one that is incomplete or of several series.
pub async fn minutes(
    prometheus: &Prometheus,
    promql: &str,
    from: Minute,
    to: Minute,
) -> Result<Vec<f32>, Fault> {
    // A rate at an instant looks back: that of a minute is told at its end.
    let seconds = |minute: Minute| (minute + 1) * i64::from(STEP);
    let body = prometheus.range(promql, (seconds(from), seconds(to - 1)), STEP).await?;
    let Matrix { mut series, incomplete } = Matrix::read(&body).map_err(QueryError::from)?;
    if incomplete {
        return Err(Fault::Incomplete);
    }
    if series.len() > 1 {
        return Err(Fault::Several(series.len()));
    }
    let mut rps = vec![f32::NAN; (to - from) as usize];
    for (at, value) in series.pop().unwrap_or_default() {
        let minute = (at / f64::from(STEP)).round() as Minute - 1;
        let place = usize::try_from(minute - from).ok().and_then(|place| rps.get_mut(place));
        if let Some(place) = place {
            *place = sound(value as f32);
        }
    }
    Ok(rps)
}

/// NaN for what is no rate.
fn sound(rps: f32) -> f32 {
    if rps.is_finite() && rps >= 0.0 { rps } else { f32::NAN }
}

/// Leaves out minutes at both ends in which nothing is known of any domain.
fn trim(history: &mut History) {
    let known = |minute: &usize| history.series.iter().any(|series| !series.rps[*minute].is_nan());
    let first = (0..history.minutes()).find(known).unwrap_or(0);
    let last = (0..history.minutes()).rfind(known).unwrap_or(0);
    for series in &mut history.series {
        series.rps.truncate(last + 1);
        series.rps.drain(..first);
    }
    history.start += first as Minute;
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::Router;
    use axum::http::StatusCode;
    use axum::response::IntoResponse as _;
    use axum::routing::post;

    use super::*;
    use crate::telemetry::Settings;

    const START: Minute = 20_000 * CHUNK;
    const BAD_QUERY: &str = r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#;

    /// A played server: `answer` gets the form and the number of the request.
    async fn played(
        answer: impl Fn(&str, usize) -> (StatusCode, String) + Clone + Send + Sync + 'static,
    ) -> (Prometheus, String, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let handler = move |body: String| async move {
            answer(&body, count.fetch_add(1, Ordering::Relaxed)).into_response()
        };
        let router = Router::new().route("/api/v1/query_range", post(handler));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let settings = Settings { url: url.clone(), ..Settings::default() };
        (Prometheus::new(&settings).unwrap(), url, asked)
    }

    fn field(form: &str, name: &str) -> i64 {
        let field = form.split('&').find_map(|field| field.strip_prefix(&format!("{name}=")));
        field.unwrap().parse().unwrap()
    }

    /// Each point tells its own minute of the day; a third of each hour is a gap.
    fn good(form: &str) -> (StatusCode, String) {
        assert_eq!(field(form, "step"), 60);
        let points = (field(form, "start")..=field(form, "end")).step_by(60).filter_map(|second| {
            let minute = second / 60 - 1;
            (minute % 60 < 40).then(|| format!("[{second},\"{}\"]", minute % CHUNK))
        });
        let points = points.collect::<Vec<_>>();
        assert!(points.len() <= 11_000);
        let body = format!(
            r#"{{"status":"success","data":{{"resultType":"matrix","result":[{{"metric":{{}},"values":[{}]}}]}}}}"#,
            points.join(",")
        );
        (StatusCode::OK, body)
    }

    fn plan(url: String, parts: &Path) -> Plan {
        let source = |domain: &str| Source {
            domain: domain.to_owned(),
            class: Class::P1,
            promql: format!("sum({domain})"),
        };
        Plan {
            url,
            sources: vec![source("payments"), source("fraud")],
            start: START + 1000,
            end: START + 2 * CHUNK + 100,
            parts: parts.to_owned(),
            pause: Duration::from_millis(1),
        }
    }

    fn check(history: &History) {
        assert_eq!(history.series.len(), 2);
        // The first minute that is known, and the last.
        assert_eq!((history.start, history.end()), (START + 1020, START + 2 * CHUNK + 100));
        for series in &history.series {
            assert_eq!(series.class, Class::P1);
            for (minute, rps) in (history.start..).zip(&series.rps) {
                let expected = (minute % 60 < 40).then_some((minute % CHUNK) as f32);
                assert_eq!((!rps.is_nan()).then_some(*rps), expected, "minute {minute}");
            }
        }
    }

    #[tokio::test]
    async fn an_import_that_was_cut_off_goes_on_without_asking_twice() {
        let folder = tempfile::tempdir().unwrap();
        // The first part, then a server that is gone; from then on all is well.
        let (mut prometheus, url, asked) = played(|form, number| match number {
            1..=5 => (StatusCode::BAD_GATEWAY, String::new()),
            _ => good(form),
        })
        .await;
        let plan = plan(url, &folder.path().join("parts"));
        let error = import(&mut prometheus, &plan, |_| {}).await.unwrap_err().to_string();
        assert!(error.starts_with("payments: Prometheus at ") && error.contains("502"), "{error}");
        assert_eq!(asked.load(Ordering::Relaxed), 6);

        let mut told = Vec::new();
        let (history, mended) =
            import(&mut prometheus, &plan, |progress| told.push(progress)).await.unwrap();
        check(&history);
        assert_eq!(asked.load(Ordering::Relaxed), 11, "a part was asked for twice");
        assert_eq!(told.last(), Some(&Progress { done: 6, total: 6, kept: 1 }));
        assert!(mended.gaps > 30, "{mended}");

        check(&import(&mut prometheus, &plan, |_| {}).await.unwrap().0);
        assert_eq!(asked.load(Ordering::Relaxed), 11, "everything was there");
        let other = Plan { url: "http://other".to_owned(), ..plan };
        import(&mut prometheus, &other, |_| {}).await.unwrap();
        assert_eq!(asked.load(Ordering::Relaxed), 17, "parts of another server were taken");
    }

    #[tokio::test]
    async fn a_part_that_is_broken_is_asked_for_again() {
        let folder = tempfile::tempdir().unwrap();
        let (mut prometheus, url, asked) = played(|form, _| good(form)).await;
        let plan = plan(url, folder.path());
        import(&mut prometheus, &plan, |_| {}).await.unwrap();
        let part = plan.part(&plan.sources[0], START + CHUNK, START + 2 * CHUNK);
        std::fs::write(&part, "{\"rps\":[1.0,").unwrap();
        check(&import(&mut prometheus, &plan, |_| {}).await.unwrap().0);
        std::fs::write(&part, "{\"rps\":[1.0]}").unwrap();
        check(&import(&mut prometheus, &plan, |_| {}).await.unwrap().0);
        assert_eq!(asked.load(Ordering::Relaxed), 8);
    }

    #[tokio::test]
    async fn failures_that_pass_are_tried_again_and_others_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let (mut prometheus, url, asked) = played(|form, number| match number {
            0 => (StatusCode::SERVICE_UNAVAILABLE, String::new()),
            1 => {
                let (status, body) = good(form);
                (status, body.replacen('{', r#"{"warnings":["a store is away"],"#, 1))
            }
            _ => good(form),
        })
        .await;
        check(&import(&mut prometheus, &plan(url, folder.path()), |_| {}).await.unwrap().0);
        assert_eq!(asked.load(Ordering::Relaxed), 8);

        let several = r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{}},{"metric":{}}]}}"#;
        let nothing = r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#;
        for (status, body, times, sentence) in [
            (
                StatusCode::BAD_REQUEST,
                BAD_QUERY,
                1,
                "payments: Prometheus refused the query: bad_data",
            ),
            (StatusCode::OK, several, 1, "payments: the query gives 2 series"),
            (StatusCode::OK, nothing, 3, "payments: Prometheus has no value of this query"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let (mut prometheus, url, asked) = played(move |_, _| (status, body.to_owned())).await;
            let plan = plan(url, folder.path());
            let error = import(&mut prometheus, &plan, |_| {}).await.unwrap_err().to_string();
            assert!(error.starts_with(sentence), "{error}");
            assert_eq!(asked.load(Ordering::Relaxed), times, "{sentence}");
        }
    }

    #[tokio::test]
    async fn a_plan_without_minutes_or_of_too_many_is_refused() {
        let (mut prometheus, url, asked) = played(|form, _| good(form)).await;
        let plan = plan(url, Path::new("nowhere"));
        for end in [plan.start, plan.start - 5, plan.start + MAX_VALUES as Minute] {
            let plan = Plan { end, ..plan.clone() };
            assert!(import(&mut prometheus, &plan, |_| {}).await.is_err());
        }
        assert_eq!(asked.load(Ordering::Relaxed), 0);
    }
}
