use std::sync::Mutex;
use std::sync::mpsc as channel;
use std::time::Duration;

use super::*;
use crate::cluster::{
    App, AppId, AppState, Catalog, Domain, ForecastSource, Mode, PolicyChoice, Signal, SignalKind,
    Slo,
};
use crate::forecast::calibration::horizon_minutes;
use crate::forecast::{DAY, Quantiles, Refused, Series};

/// A minute.
const START: Minute = 29_453_760;

/// Patience with the task; nothing waits for it to pass.
const SOON: Duration = Duration::from_secs(30);

fn instant(minute: Minute, second: i64) -> Timestamp {
    Timestamp::from_millis((minute * 60 + second) * 1000)
}

/// One app of one domain, with 100 requests per second.
fn snapshot(at: Timestamp) -> Snapshot {
    let domain = Domain {
        name: "payments".into(),
        class: Class::P0,
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
    };
    let mut state = AppState::default();
    state.signals[SignalKind::Rps] = Signal::good(100.0, at);
    let apps = vec![App::fixture(AppId::new("bank", "web"), 0)];
    Snapshot {
        at,
        catalog: Arc::new(Catalog { domains: vec![domain], apps }),
        apps: vec![state],
        pools: Vec::new(),
        forecasts: Vec::new(),
    }
}

type Answer = Box<dyn Fn(Minute) -> Quantiles + Send + Sync>;

struct Played(Answer);

impl QuantileModel for Played {
    fn quantiles(
        &self,
        history: &History,
        _: &Calendar,
        origin: Minute,
    ) -> Vec<Result<Quantiles, Refused>> {
        vec![Ok((self.0)(origin)); history.series.len()]
    }
}

fn sound(_: Minute) -> Quantiles {
    std::array::from_fn(|horizon| {
        [80.0, 100.0, 110.0, 120.0].map(|value| value + horizon_minutes(horizon) as f64)
    })
}

/// Three days of a rhythm that ends at the start.
fn past(span: &Span) -> Imported {
    assert_eq!((span.start, span.end), (START - 8 * DAY as Minute, START));
    assert_eq!(&*span.domains[0].2[0], "bank");
    let start = START - 3 * DAY as Minute;
    let rps = (start..START).map(|minute| 100.0 + (minute % 60) as f32).collect();
    let series = vec![Series { name: "payments".into(), class: Class::P0, rps }];
    Box::pin(std::future::ready(Ok(History { start, series })))
}

fn parts(model: impl Fn(Minute) -> Quantiles + Send + Sync + 'static) -> Parts {
    Parts {
        settings: Settings { limit_seconds: 20.0, ..Settings::default() },
        calendar: Calendar::default(),
        model: Some(Arc::new(Played(Box::new(model)))),
        import: Some(Box::new(|span| past(&span))),
        instruments: Arc::default(),
    }
}

/// The outlook after a snapshot of this minute, as the next one carries it.
async fn after(forecasting: &mut Forecasting, minute: Minute) -> Outlook {
    forecasting.look(&mut snapshot(instant(minute, 3)));
    tokio::time::timeout(SOON, forecasting.newest.changed()).await.unwrap().unwrap();
    let mut next = snapshot(instant(minute, 13));
    forecasting.look(&mut next);
    next.forecasts.remove(0)
}

#[tokio::test]
async fn the_past_is_imported_and_the_model_forecasts_beside_the_loop() {
    let parts = parts(sound);
    let instruments = Arc::clone(&parts.instruments);
    let stop = CancellationToken::new();
    let mut forecasting = Forecasting::start(parts, &Supervisor::new(stop.clone()), stop.clone());
    let mut first = snapshot(instant(START, 0));
    forecasting.look(&mut first);
    assert_eq!(first.forecasts, [], "the loop waits for nothing");
    let outlook = after(&mut forecasting, START + 1).await;
    assert_eq!((outlook.source, outlook.why), (ForecastSource::Model, None));
    let forecast = outlook.forecast.unwrap();
    assert!(forecast.ahead[1][2] > 100.0 && forecast.level > 0.0);
    assert!(instruments.render().contains("hirl_forecast_duration_seconds_count"));
    stop.cancel();
}

#[tokio::test]
async fn a_model_that_panics_costs_a_fallback_and_nothing_else() {
    let parts = parts(|minute| match minute - START {
        // As a panic, without the page that the hook would print.
        0 => std::panic::resume_unwind(Box::new("as the test wants it")),
        _ => sound(minute),
    });
    let stop = CancellationToken::new();
    let mut forecasting = Forecasting::start(parts, &Supervisor::new(stop.clone()), stop.clone());
    let first = after(&mut forecasting, START).await;
    assert_eq!(first.source, ForecastSource::Model);
    let broken = after(&mut forecasting, START + 1).await;
    assert_eq!(broken.source, ForecastSource::SeasonalProfile);
    assert!(broken.why.unwrap().ends_with("it broke off"));
    let mended = after(&mut forecasting, START + 2).await;
    assert_eq!((mended.source, mended.why), (ForecastSource::Model, None));
    stop.cancel();
}

#[tokio::test]
async fn a_model_that_is_late_costs_a_fallback_and_is_not_asked_twice() {
    let (release, gate) = channel::channel::<()>();
    let gate = Mutex::new(gate);
    let mut parts = parts(move |minute| {
        // Until somebody lets it go on.
        let _ = gate.lock().unwrap().recv();
        sound(minute)
    });
    parts.settings.limit_seconds = 0.2;
    let stop = CancellationToken::new();
    let mut forecasting = Forecasting::start(parts, &Supervisor::new(stop.clone()), stop.clone());
    for (minute, reason) in [
        (0, "it did not answer within 0.2 s"),
        (1, "it has not answered an earlier question yet"),
        (2, "it has not answered an earlier question yet"),
    ] {
        let outlook = after(&mut forecasting, START + minute).await;
        assert_eq!(outlook.source, ForecastSource::SeasonalProfile, "{reason}");
        let why = outlook.why.unwrap();
        assert!(why.contains(reason), "{why}");
    }
    drop(release);
    stop.cancel();
}

#[tokio::test]
async fn calibration_outlives_a_restart_and_a_broken_file_does_not_hurt() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calibration.json");
    let run = async |minutes: Minute| {
        let mut parts = parts(sound);
        parts.settings.state_file = Some(path.clone());
        let stop = CancellationToken::new();
        let tasks = Supervisor::new(stop.clone());
        let mut forecasting = Forecasting::start(parts, &tasks, stop.clone());
        for minute in 0..=minutes {
            after(&mut forecasting, START + minute).await;
        }
        stop.cancel();
        tokio::time::timeout(SOON, tasks.ended()).await.unwrap().unwrap();
        task::load(&path).await.unwrap().unwrap()
    };
    let learned = run(8).await;
    assert_ne!(learned, run(0).await, "the second run learned no more than the first minute");
    std::fs::write(&path, "{\"domains\":").unwrap();
    assert!(task::load(&path).await.unwrap_err().contains("does not hold what we wrote"));
    assert_ne!(run(1).await, learned);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
}
