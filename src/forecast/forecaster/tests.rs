use super::*;
use crate::forecast::calibration::{QUANTILES, horizon_minutes};
use crate::forecast::history::Series;

/// A Monday, 00:00.
const START: Minute = 29_453_760;

fn instant(minute: Minute, second: i64) -> Timestamp {
    Timestamp::from_millis((minute * 60 + second) * 1000)
}

/// Traffic with a daily rhythm, from 50 to 150.
fn rhythm(minute: Minute) -> f64 {
    let part = minute.rem_euclid(DAY as Minute) as f64 / DAY as f64;
    100.0 + 50.0 * (part * std::f64::consts::TAU).sin()
}

fn names(count: usize) -> Vec<(String, Class)> {
    (0..count).map(|number| (format!("domain-{number}"), Class::P1)).collect()
}

/// `days` of rhythm before [`START`], for `count` domains.
fn past(days: f64, count: usize) -> History {
    let minutes = (days * DAY as f64) as Minute;
    let rps: Vec<f32> = (START - minutes..START).map(|minute| rhythm(minute) as f32).collect();
    let series = names(count).into_iter();
    let series = series.map(|(name, class)| Series { name, class, rps: rps.clone() });
    History { start: START - minutes, series: series.collect() }
}

/// A model that answers what it is told.
struct Played<F>(F);

impl<F: Fn(&History, Minute) -> Vec<Result<Quantiles, Refused>> + Send + Sync> QuantileModel
    for Played<F>
{
    fn quantiles(
        &self,
        history: &History,
        _: &Calendar,
        origin: Minute,
    ) -> Vec<Result<Quantiles, Refused>> {
        (self.0)(history, origin)
    }
}

fn around(expected: f64) -> [f64; QUANTILES] {
    [0.9, 1.0, 1.1, 1.2].map(|factor| factor * expected)
}

/// The truth, with some doubt.
fn truth(origin: Minute) -> Quantiles {
    std::array::from_fn(|horizon| around(rhythm(origin + horizon_minutes(horizon))))
}

fn forecaster<F>(days: f64, count: usize, model: F) -> Forecaster
where
    F: Fn(&History, Minute) -> Vec<Result<Quantiles, Refused>> + Send + Sync + 'static,
{
    let mut made =
        Forecaster::new(&names(count), Calendar::default(), Some(Arc::new(Played(model))));
    made.seed_history(&past(days, count));
    made
}

/// One domain whose model answers `answer`.
fn answered(answer: Result<Quantiles, Refused>) -> Outlook {
    let mut made = forecaster(3.0, 1, move |_, _| vec![answer.clone()]);
    made.forecast(instant(START, 3)).remove(0)
}

#[track_caller]
fn assert_sane(outlook: &Outlook) {
    assert_eq!(outlook.forecast.is_some(), outlook.source != ForecastSource::None, "{outlook:?}");
    let Some(forecast) = outlook.forecast else { return };
    for quantiles in forecast.ahead {
        assert!(quantiles.is_sorted(), "{outlook:?}");
        assert!(quantiles.iter().all(|value| value.is_finite() && *value >= 0.0), "{outlook:?}");
    }
    assert!(forecast.level.is_finite() && forecast.level >= 0.0, "{outlook:?}");
}

#[test]
fn a_sound_model_is_used_and_asked_with_whole_minutes() {
    let mut made = forecaster(3.0, 2, |history, origin| {
        assert_eq!((history.end(), origin), (START, START - 1));
        assert_eq!(history.series.len(), 2);
        vec![Ok(truth(origin)); 2]
    });
    // A reading of the minute that is not over is not shown.
    made.observe(instant(START, 2), &[Some((instant(START, 1), 9e9)), None]);
    let outlooks = made.forecast(instant(START, 3));
    for outlook in &outlooks {
        assert_sane(outlook);
        assert_eq!((outlook.source, &outlook.why), (ForecastSource::Model, &None));
        assert_eq!(outlook.forecast.unwrap().at, instant(START, 3));
    }
}

#[test]
fn what_a_broken_model_says_is_refused_with_the_reason_and_the_profile_stands_in() {
    let with = |change: fn(&mut Quantiles)| {
        let mut quantiles = truth(START - 1);
        change(&mut quantiles);
        Ok(quantiles)
    };
    let cases: [(Result<Quantiles, Refused>, &str); 6] = [
        (with(|it| it[1][2] = f64::NAN), "15m ahead are not numbers"),
        (with(|it| it[0] = [f64::INFINITY; 4]), "5m ahead are not numbers"),
        (with(|it| it[2] = [80.0; 4]), "30m ahead have collapsed into one number"),
        (with(|it| it[0].reverse()), "5m ahead do not rise"),
        (with(|it| it[0][0] = -1.0), "less than no traffic 5m ahead"),
        (Err(Refused("the level moved a hundredfold".into())), "the level moved a hundredfold"),
    ];
    for (answer, reason) in cases {
        let outlook = answered(answer);
        assert_sane(&outlook);
        assert_eq!(outlook.source, ForecastSource::SeasonalProfile, "{reason}");
        let why = outlook.why.unwrap();
        assert!(
            why.starts_with("the learned model is not used: ") && why.ends_with(reason),
            "{why}"
        );
        let expected = rhythm(START + 14);
        let [_, p50, ..] = outlook.forecast.unwrap().ahead[1];
        assert!((p50 / expected - 1.0).abs() < 0.02, "{p50} for {expected}");
    }
}

#[test]
fn one_domains_trouble_stays_in_that_domain() {
    let mut made = forecaster(3.0, 3, |_, origin| {
        vec![Ok(truth(origin)), Ok([[f64::NAN; QUANTILES]; HORIZONS])]
    });
    let outlooks = made.forecast(instant(START, 3));
    let sources: Vec<_> = outlooks.iter().map(|outlook| outlook.source).collect();
    let profile = ForecastSource::SeasonalProfile;
    assert_eq!(sources, [ForecastSource::Model, profile, profile]);
    assert!(outlooks[2].why.as_ref().unwrap().contains("did not answer for this domain"));
}

#[test]
fn a_model_that_did_not_answer_at_all_is_replaced_and_its_reason_told() {
    let mut made = forecaster(3.0, 2, |_, origin| vec![Ok(truth(origin)); 2]);
    let late = Err(Refused("it did not answer within 10 s".to_owned()));
    for outlook in made.conclude(instant(START, 3), Some(&late)) {
        assert_sane(&outlook);
        assert_eq!(outlook.source, ForecastSource::SeasonalProfile);
        assert!(outlook.why.unwrap().contains("did not answer within 10 s"));
    }
}

#[test]
fn the_chain_ends_where_history_ends() {
    let source = |days: f64| {
        let mut made = forecaster(days, 1, |_, origin| vec![Ok(truth(origin))]);
        let outlook = made.forecast(instant(START, 3)).remove(0);
        assert_sane(&outlook);
        (outlook.source, outlook.why.unwrap_or_default())
    };
    assert_eq!(source(2.0).0, ForecastSource::Model);
    let (short, why) = source(1.9);
    assert_eq!(short, ForecastSource::SeasonalProfile);
    assert!(why.contains("only 45.6 h of history are known, it needs 48"), "{why}");
    assert_eq!(source(0.5).0, ForecastSource::Smoothing);
    let (none, why) = source(0.0);
    assert_eq!(none, ForecastSource::None);
    assert!(why.contains("no traffic has been measured"), "{why}");
}

#[test]
fn without_a_model_the_profile_is_the_best_and_needs_no_excuse() {
    let mut made = Forecaster::new(&names(1), Calendar::default(), None);
    made.seed_history(&past(3.0, 1));
    assert!(made.question(instant(START, 3)).is_none());
    let outlook = made.forecast(instant(START, 3)).remove(0);
    assert_eq!((outlook.source, outlook.why), (ForecastSource::SeasonalProfile, None));
}

#[test]
fn gaps_are_gaps_and_many_of_them_are_no_input() {
    let mut history = past(3.0, 1);
    let last = history.series[0].rps.len();
    history.series[0].rps[last - 500..last - 100].fill(f32::NAN);
    let mut made = Forecaster::new(
        &names(1),
        Calendar::default(),
        Some(Arc::new(Played(|_: &History, origin| vec![Ok(truth(origin))]))),
    );
    made.seed_history(&history);
    let outlook = made.forecast(instant(START, 3)).remove(0);
    assert_eq!(outlook.source, ForecastSource::SeasonalProfile);
    assert!(outlook.why.unwrap().contains("28 % of the last day's traffic is not known"));
    // Silence for longer than a few minutes: what is usual is no knowledge of the present.
    let outlook = made.forecast(instant(START + 5, 3)).remove(0);
    assert_eq!(outlook.source, ForecastSource::None);
}

#[test]
fn a_source_that_is_wrong_for_long_steps_down_and_comes_back_an_hour_after_it_is_right() {
    // Far beyond what a correction can mend for a day, then right.
    let right_from = START + DAY as Minute;
    let mut track = Track::default();
    let mut doubts = Vec::new();
    let steady = crate::forecast::slice::Regime::Steady;
    let seed = crate::seed::Seed::root(5);
    let deviations = [-1.2816, 0.0, 0.8416, 1.2816];
    let honest = |minute: Minute, factor: f64| -> Quantiles {
        std::array::from_fn(|horizon| {
            let expected = factor * rhythm(minute + horizon_minutes(horizon));
            deviations.map(|deviation| expected * (1.0 + 0.05 * deviation))
        })
    };
    for minute in START..START + 5 * DAY as Minute {
        let factor = if minute < right_from { 1e-3 } else { 1.0 };
        let came = rhythm(minute) * (1.0 + 0.05 * seed.draw(minute as u64).gauss());
        track.teach(&[came as f32], minute);
        let slice = Slice::of(minute.rem_euclid(DAY as Minute) as u16);
        let (_, doubt) = track.issue(0, &honest(minute, factor), minute, (slice, steady));
        doubts.push(doubt);
        // The others are scored apart.
        let (_, doubt) = track.issue(1, &honest(minute, 1.0), minute, (slice, steady));
        assert_eq!(doubt, None);
    }
    let first = doubts.iter().position(Option::is_some).unwrap();
    let last = doubts.iter().rposition(Option::is_some).unwrap();
    // Half a day of forecasts is needed to conclude anything, and an hour of it.
    assert!((720..DAY).contains(&first), "{first}");
    assert!(doubts[first].as_ref().unwrap().contains("miscalibrated in this domain for 60 min"));
    assert!(doubts[last].as_ref().unwrap().contains("less than an hour ago"), "{last}");
    let healing = doubts.iter().flatten().filter(|doubt| doubt.contains("less than an hour ago"));
    assert!(healing.count() >= 60);
    assert!(last < doubts.len() - 1);
}

#[test]
fn minutes_are_means_of_their_readings_and_repeated_ones_count_once() {
    let mut made = Forecaster::new(&names(1), Calendar::default(), None);
    for (second, taken, rps) in [(10, 0, 10.0), (20, 0, 10.0), (40, 30, 40.0), (59, 90, 7.0)] {
        let reading = Some((instant(START, taken), rps));
        made.observe(instant(START, second), &[reading]);
    }
    made.observe(instant(START, 59), &[Some((instant(START, 58), f64::NAN))]);
    // Late, into the minute before.
    made.observe(instant(START + 1, 5), &[Some((instant(START, 59), 70.0))]);
    let history = made.history();
    assert_eq!((history.start, history.series[0].rps[0]), (START, 40.0));
    assert!(history.series[0].rps[1].is_nan());
}

#[test]
fn memory_is_bounded_and_a_clock_that_jumps_starts_anew() {
    let mut made = Forecaster::new(&names(1), Calendar::default(), None);
    made.seed_history(&past(30.0, 1));
    assert_eq!(made.history().minutes(), 8 * DAY);
    for minute in (START..START + 4 * DAY as Minute).step_by(7) {
        made.observe(instant(minute, 0), &[Some((instant(minute, 0), 1.0))]);
        assert!(made.history().minutes() <= 9 * DAY);
    }
    for minute in [START + 400 * DAY as Minute, START] {
        made.observe(instant(minute, 0), &[Some((instant(minute, 0), 1.0))]);
        assert_eq!((made.history().start, made.history().minutes()), (minute, 1));
    }
}

#[test]
fn an_import_fills_gaps_and_never_what_was_observed() {
    let mut made = Forecaster::new(&names(1), Calendar::default(), None);
    made.observe(instant(START - 2, 30), &[Some((instant(START - 2, 20), 7.0))]);
    made.seed_history(&past(1.0, 1));
    let rps = &made.history().series[0].rps;
    assert_eq!((rps.len(), rps[DAY - 2]), (DAY, 7.0));
    assert_eq!(rps[DAY - 1], rhythm(START - 1) as f32);
}

#[test]
fn what_was_learned_survives_a_restart_and_a_domain_that_goes_and_comes() {
    let mut made = forecaster(2.0, 2, |_, origin| vec![Ok(truth(origin)); 2]);
    for minute in START..START + 40 {
        made.forecast(instant(minute, 3));
        let reading = Some((instant(minute, 45), rhythm(minute)));
        made.observe(instant(minute, 50), &[reading, reading]);
    }
    let state = made.state();
    let text = serde_json::to_string(&state).unwrap();
    let read: State = serde_json::from_str(&text).unwrap();
    assert_eq!(read, state);
    let mut other = Forecaster::new(&names(1), Calendar::default(), None);
    other.restore(read);
    assert_eq!(other.state(), state);
    other.align(&names(2));
    assert_eq!(other.state(), state);
    assert!(serde_json::from_str::<State>(r#"{"domains":{"a":{"scored":[]}}}"#).is_err());
}
