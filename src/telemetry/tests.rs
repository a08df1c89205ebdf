use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use proptest::prelude::*;
use tokio::net::TcpListener;

use crate::clock;
use crate::cluster::{App, AppId, AppState, Class, Domain, Mode, PolicyChoice, Signal, Slo};

use super::*;

/// What the played Prometheus does with a query.
#[derive(Clone)]
enum Play {
    /// Answers with these series: namespace, workload, part, value; and this end of the body.
    Series(Vec<(&'static str, &'static str, &'static str, String)>, &'static str),
    /// Answers with this status and body.
    Text(StatusCode, &'static str),
    /// Answers an empty vector with a clock that is off by these seconds.
    Clock(i64),
    /// Never answers.
    Hang,
}

/// A Prometheus that plays what it was told per word in the query; the first that fits.
#[derive(Default)]
struct Stage {
    plays: Mutex<Vec<(&'static str, Play)>>,
    asked: AtomicU32,
}

impl Stage {
    fn set(&self, plays: Vec<(&'static str, Play)>) {
        *self.plays.lock().unwrap() = plays;
    }

    fn asked(&self) -> u32 {
        self.asked.load(Relaxed)
    }
}

async fn play(State(stage): State<Arc<Stage>>, body: String) -> Response {
    stage.asked.fetch_add(1, Relaxed);
    let plays = stage.plays.lock().unwrap().clone();
    let play = plays.into_iter().find(|(word, _)| body.contains(word));
    match play.map(|(_, play)| play) {
        None => vector(&[], "").into_response(),
        Some(Play::Series(series, end)) => vector(&series, end).into_response(),
        Some(Play::Text(status, text)) => (status, text).into_response(),
        Some(Play::Hang) => std::future::pending().await,
        Some(Play::Clock(off)) => {
            let there = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(off);
            let date = jiff::fmt::rfc2822::DateTimePrinter::new()
                .timestamp_to_rfc9110_string(&there)
                .unwrap();
            ([(header::DATE, date)], vector(&[], "")).into_response()
        }
    }
}

fn vector(series: &[(&str, &str, &str, String)], end: &str) -> String {
    let series: Vec<String> = series
        .iter()
        .map(|(namespace, workload, part, value)| {
            format!(
                r#"{{"metric":{{"namespace":"{namespace}","workload":"{workload}",
                "destination_workload_namespace":"{namespace}","destination_workload":"{workload}",
                "hirl_part":"{part}"}},"value":[1.0,"{value}"]}}"#
            )
        })
        .collect();
    let series = series.join(",");
    format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{series}]}}{end}}}"#)
}

/// `value` of `workload` in `pay`, sampled one second ago.
fn sampled(
    workload: &'static str,
    value: &str,
) -> Vec<(&'static str, &'static str, &'static str, String)> {
    let at = clock::now().as_seconds() - 1.0;
    vec![("pay", workload, "value", value.to_owned()), ("pay", workload, "at", at.to_string())]
}

/// Words by which the queries of a signal are known to the stage.
const RPS: &str = "sum%20by%20%28destination_workload_namespace%2C%20destination_workload%29%20%28rate%28istio_requests_total";
const CPU: &str = "container_cpu_usage_seconds_total";
const MEMORY: &str = "container_memory_working_set_bytes";
const P99: &str = "histogram_quantile";

/// A telemetry of a played Prometheus, that pass after pass forgets no connection.
async fn stage(change: impl FnOnce(&mut Settings)) -> (Arc<Stage>, Telemetry) {
    let stage = Arc::new(Stage::default());
    let router = Router::new().route("/api/v1/query", post(play)).with_state(Arc::clone(&stage));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut settings = Settings {
        url: format!("http://{}", listener.local_addr().unwrap()),
        ..Settings::default()
    };
    settings.breaker.probe_seconds = 0.001;
    change(&mut settings);
    tokio::spawn(async move { axum::serve(listener, router).await });
    (stage, Telemetry::new(settings, Arc::default()).unwrap())
}

/// A snapshot of apps: domain, namespace, workload. Domains are numbered by their first mention.
fn snapshot(apps: &[(&str, &str, &str)]) -> Snapshot {
    let mut names: Vec<&str> = Vec::new();
    let mut all = BTreeMap::new();
    for (domain, namespace, target) in apps {
        if !names.contains(domain) {
            names.push(domain);
        }
        let app = App {
            id: AppId::new(namespace, &format!("{target}-hpa")),
            kind: "Deployment".into(),
            target: (*target).into(),
            domain: names.iter().position(|name| name == domain).unwrap(),
            min_replicas: 1,
            max_replicas: 10,
            tolerance_up: 0.1,
            tolerance_down: 0.1,
            target_cpu: 0.7,
            refusal: None,
        };
        all.insert(app.id.clone(), app);
    }
    let domains = names.into_iter().map(|name| Domain {
        name: name.to_owned(),
        class: Class::P1,
        weight: 1.0,
        slo: Slo { p99_seconds: 0.2, error_ratio: 0.01 },
        floor_share: 0.0,
        borrowing: crate::cluster::LoanLimit::default(),
        lending: crate::cluster::LoanLimit::default(),
        policy: PolicyChoice::Hirl,
        mode: Mode::Active,
        calls: Vec::new(),
        budget_by_hand: None,
        emergency: None,
    });
    let catalog = Catalog { domains: domains.collect(), apps: all.into_values().collect() };
    Snapshot {
        at: clock::now(),
        apps: vec![AppState::default(); catalog.apps.len()],
        catalog: Arc::new(catalog),
        pools: Vec::new(),
        forecasts: Vec::new(),
    }
}

async fn collect(telemetry: &mut Telemetry, snapshot: &mut Snapshot) {
    telemetry.collect(snapshot, clock::now()).await;
}

fn signal(snapshot: &Snapshot, target: &str, kind: SignalKind) -> Signal {
    let index = snapshot.catalog.apps.iter().position(|app| &*app.target == target).unwrap();
    snapshot.apps[index].signals[kind]
}

fn value(snapshot: &Snapshot, target: &str, kind: SignalKind) -> Option<f64> {
    signal(snapshot, target, kind).reading.map(|reading| reading.value)
}

#[tokio::test]
async fn one_pass_asks_once_per_domain_and_signal_and_fills_in_every_app() {
    let (stage, mut telemetry) = stage(|_| {}).await;
    let mut cpu = sampled("checkout", "2.5");
    cpu.extend(sampled("ledger", "1.5"));
    cpu.extend(sampled("stranger", "9"));
    stage.set(vec![
        (CPU, Play::Series(cpu, "")),
        (P99, Play::Series(sampled("checkout", "NaN"), "")),
        (RPS, Play::Series(sampled("checkout", "+Inf"), "")),
        (MEMORY, Play::Series(sampled("checkout", "3e8"), r#","warnings":["a store is down"]"#)),
    ]);
    let mut snapshot = snapshot(&[
        ("payments", "pay", "checkout"),
        ("payments", "pay", "ledger"),
        ("data", "dwh", "load"),
    ]);
    collect(&mut telemetry, &mut snapshot).await;
    assert_eq!(stage.asked(), 10, "two domains, five signals");

    assert_eq!(value(&snapshot, "checkout", SignalKind::Cpu), Some(2.5));
    assert!(signal(&snapshot, "checkout", SignalKind::Cpu).is_sound());
    assert_eq!(value(&snapshot, "ledger", SignalKind::Cpu), Some(1.5));
    assert_eq!(signal(&snapshot, "load", SignalKind::Cpu), Signal::missing(Fault::Absent));
    assert_eq!(signal(&snapshot, "checkout", SignalKind::P99), Signal::missing(Fault::Idle));
    assert_eq!(signal(&snapshot, "checkout", SignalKind::Rps), Signal::missing(Fault::NotFinite));
    let memory = signal(&snapshot, "checkout", SignalKind::Memory);
    assert_eq!((memory.reading.unwrap().value, memory.fault), (3e8, Some(Fault::Incomplete)));

    let metrics = telemetry.instruments.render();
    for line in [
        r#"hirl_telemetry_faults_total{domain="payments",signal="p99",fault="idle"} 1"#,
        r#"hirl_telemetry_faults_total{domain="payments",signal="p99",fault="absent"} 1"#,
        r#"hirl_telemetry_faults_total{domain="data",signal="cpu",fault="absent"} 1"#,
        r#"hirl_telemetry_queries_total{outcome="ok"} 8"#,
        r#"hirl_telemetry_queries_total{outcome="incomplete"} 2"#,
        r#"hirl_telemetry_age_seconds{domain="payments",signal="cpu"} 1."#,
    ] {
        assert!(metrics.contains(line), "{line} is missing from\n{metrics}");
    }
    assert!(!metrics.contains(r#"telemetry_age_seconds{domain="data""#), "{metrics}");
}

#[tokio::test]
async fn a_query_that_is_refused_harms_its_own_domain_and_signal_only() {
    let (stage, mut telemetry) = stage(|_| {}).await;
    let bad = r#"{"status":"error","errorType":"bad_data","error":"1:1: parse error"}"#;
    stage.set(vec![
        (P99, Play::Text(StatusCode::BAD_REQUEST, bad)),
        (RPS, Play::Text(StatusCode::OK, "<html>login</html>")),
        (CPU, Play::Series(sampled("checkout", "2"), "")),
    ]);
    let mut snapshot = snapshot(&[("payments", "pay", "checkout")]);
    for _ in 0..5 {
        collect(&mut telemetry, &mut snapshot).await;
        for kind in [SignalKind::P99, SignalKind::Rps] {
            assert_eq!(signal(&snapshot, "checkout", kind), Signal::missing(Fault::Unreachable));
        }
        assert!(signal(&snapshot, "checkout", SignalKind::Cpu).is_sound());
    }
    assert_eq!(stage.asked(), 25, "the breaker stayed closed");
}

#[tokio::test]
async fn a_lost_source_keeps_the_last_good_values_and_is_found_again() {
    let (stage, mut telemetry) = stage(|_| {}).await;
    let good = Play::Series(sampled("checkout", "2"), "");
    stage.set(vec![(CPU, good.clone())]);
    let mut snapshot = snapshot(&[("payments", "pay", "checkout")]);
    collect(&mut telemetry, &mut snapshot).await;
    let before = signal(&snapshot, "checkout", SignalKind::Cpu);

    stage.set(vec![("", Play::Text(StatusCode::SERVICE_UNAVAILABLE, ""))]);
    for _ in 0..3 {
        collect(&mut telemetry, &mut snapshot).await;
        let lost = Signal { fault: Some(Fault::Unreachable), ..before };
        assert_eq!(signal(&snapshot, "checkout", SignalKind::Cpu), lost);
    }
    stage.set(vec![(CPU, good)]);
    let deadline = Instant::now() + Duration::from_secs(20);
    while !signal(&snapshot, "checkout", SignalKind::Cpu).is_sound() {
        assert!(Instant::now() < deadline, "never found again");
        tokio::task::yield_now().await;
        collect(&mut telemetry, &mut snapshot).await;
    }
}

#[tokio::test]
async fn passes_do_not_wait_for_a_source_that_is_known_to_hang() {
    let (stage, mut telemetry) = stage(|settings| {
        settings.timeout_seconds = 0.2;
        settings.breaker.probe_seconds = 3600.0;
    })
    .await;
    stage.set(vec![("", Play::Hang)]);
    let mut snapshot = snapshot(&[("payments", "pay", "checkout")]);
    collect(&mut telemetry, &mut snapshot).await;
    let asked = stage.asked();
    for _ in 0..100 {
        collect(&mut telemetry, &mut snapshot).await;
        let cpu = signal(&snapshot, "checkout", SignalKind::Cpu);
        assert_eq!(cpu, Signal::missing(Fault::Unreachable));
    }
    // At most the one probe came on top.
    assert!(stage.asked() <= asked + 1, "{asked} and then {}", stage.asked());
    assert!(telemetry.instruments.render().contains(r#"{outcome="skipped"} 500"#));
}

#[tokio::test]
async fn queries_that_hang_leave_the_others_their_turn() {
    let (stage, mut telemetry) = stage(|settings| {
        settings.timeout_seconds = 0.5;
        settings.concurrency = 2;
    })
    .await;
    stage.set(vec![(P99, Play::Hang), (CPU, Play::Series(sampled("a", "2"), ""))]);
    let mut snapshot = snapshot(&[("one", "pay", "a"), ("two", "b", "b"), ("three", "c", "c")]);
    for _ in 0..2 {
        collect(&mut telemetry, &mut snapshot).await;
        assert!(signal(&snapshot, "a", SignalKind::Cpu).is_sound());
        assert_eq!(signal(&snapshot, "b", SignalKind::Rps), Signal::missing(Fault::Absent));
        assert_eq!(signal(&snapshot, "b", SignalKind::P99), Signal::missing(Fault::Unreachable));
    }
}

#[tokio::test]
async fn a_clock_half_a_minute_off_gives_no_readings() {
    let (stage, mut telemetry) = stage(|_| {}).await;
    let mut snapshot = snapshot(&[("payments", "pay", "checkout")]);
    for off in [40, -40] {
        stage.set(vec![("", Play::Clock(off))]);
        collect(&mut telemetry, &mut snapshot).await;
        assert_eq!(signal(&snapshot, "checkout", SignalKind::Cpu).fault, Some(Fault::Skewed));
        let skew = telemetry.instruments.telemetry_clock_skew.get();
        assert!((skew - off as f64).abs() < 5.0, "{skew}");
    }
    stage.set(vec![("", Play::Clock(10))]);
    collect(&mut telemetry, &mut snapshot).await;
    assert_eq!(signal(&snapshot, "checkout", SignalKind::Cpu).fault, Some(Fault::Absent));
}

#[tokio::test]
async fn an_app_that_vanishes_or_scales_something_else_is_forgotten() {
    let (stage, mut telemetry) = stage(|_| {}).await;
    stage.set(vec![(CPU, Play::Series(sampled("checkout", "2"), ""))]);
    let both = [("payments", "pay", "checkout"), ("data", "dwh", "load")];
    let mut first = snapshot(&both);
    collect(&mut telemetry, &mut first).await;
    stage.set(Vec::new());

    // Known under another index and another domain.
    let mut moved = snapshot(&[("data", "aaa", "first"), ("data", "pay", "checkout")]);
    collect(&mut telemetry, &mut moved).await;
    assert_eq!(value(&moved, "checkout", SignalKind::Cpu), Some(2.0));
    assert_eq!(value(&moved, "first", SignalKind::Cpu), None);
    assert!(!telemetry.instruments.render().contains(r#"age_seconds{domain="payments""#));

    let mut gone = snapshot(&[("data", "dwh", "load")]);
    collect(&mut telemetry, &mut gone).await;
    let mut back = snapshot(&both);
    collect(&mut telemetry, &mut back).await;
    assert_eq!(value(&back, "checkout", SignalKind::Cpu), None);

    stage.set(vec![(CPU, Play::Series(sampled("checkout", "2"), ""))]);
    collect(&mut telemetry, &mut back).await;
    let mut catalog = Catalog::clone(&back.catalog);
    let index = catalog.apps.iter().position(|app| &*app.target == "checkout").unwrap();
    catalog.apps[index].target = "checkout-v2".into();
    back.catalog = Arc::new(catalog);
    collect(&mut telemetry, &mut back).await;
    assert_eq!(value(&back, "checkout-v2", SignalKind::Cpu), None);
}

#[tokio::test]
async fn a_pass_can_run_in_a_task_of_its_own() {
    let (_stage, mut telemetry) = stage(|_| {}).await;
    let mut snapshot = snapshot(&[("payments", "pay", "checkout")]);
    let task = tokio::spawn(async move {
        telemetry.collect(&mut snapshot, clock::now()).await;
        snapshot
    });
    let snapshot = task.await.unwrap();
    assert_eq!(signal(&snapshot, "checkout", SignalKind::Cpu), Signal::missing(Fault::Absent));
}

#[test]
fn settings_that_contradict_themselves_are_refused_with_a_sentence() {
    let settings = Settings { url: "prometheus".to_owned(), ..Settings::default() };
    let error = Telemetry::new(settings, Arc::default()).unwrap_err().to_string();
    assert!(error.starts_with("telemetry.url"), "{error}");
}

#[test]
fn every_signal_has_its_turn() {
    for kind in SignalKind::ALL {
        assert!(ASKED.contains(&kind), "{kind}");
    }
}

proptest! {
    #[test]
    fn no_body_makes_reading_it_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        text in r#"[{}\[\]":,a-z0-9. +]{0,60}"#,
        cut in 0_usize..400,
    ) {
        let whole = vector(&sampled("checkout", "2"), r#","warnings":["w"]"#);
        let cut = cut.min(whole.len());
        let spliced = format!("{}{text}{}", &whole[..cut], &whole[cut..]);
        for body in [&bytes[..], text.as_bytes(), &whole.as_bytes()[..cut], spliced.as_bytes()] {
            let _ = Answer::read(body, "namespace", "workload");
        }
    }
}
