use super::*;
use crate::forecast::history::Series;

fn minute(days: usize) -> usize {
    days * DAY
}

/// A daily wave with a slow deviation.
fn wave(minutes: usize) -> Vec<f32> {
    (0..minutes)
        .map(|minute| {
            let day = (minute % DAY) as f32 / DAY as f32 * TAU;
            let slow = (minute as f32 / 700.0).sin() * 0.05;
            let quick = ((minute * 7919 % 101) as f32 / 101.0 - 0.5) * 0.02;
            (1000.0 - 400.0 * day.cos()) * (1.0 + slow + quick)
        })
        .collect()
}

fn history(series: Vec<Vec<f32>>) -> History {
    let series = series.into_iter().enumerate().map(|(index, rps)| Series {
        name: format!("d{index}"),
        class: Class::P1,
        rps,
    });
    History { start: 28_000_000, series: series.collect() }
}

fn first(prepared: &Prepared<'_>, origin: Minute) -> Result<Window, NoWindow> {
    prepared.windows(origin).remove(0)
}

fn window(history: &History, at: usize) -> Result<Window, NoWindow> {
    let calendar = Calendar::default();
    first(&Prepared::new(history, &calendar), history.start + at as Minute)
}

#[test]
fn shapes_and_limits_are_those_of_the_feature_list() {
    let history = history(vec![wave(minute(4)), wave(minute(4))]);
    let window = window(&history, minute(3)).unwrap();
    assert_eq!(TOKENS, 152);
    assert_eq!(window.past.len(), TOKENS * PAST.len());
    assert_eq!(window.future.len(), 3 * FUTURE.len());
    assert_eq!(window.statics.len(), STATIC.len());
    for (values, features) in
        [(&window.past, &PAST[..]), (&window.future, &FUTURE[..]), (&window.statics, &STATIC[..])]
    {
        for (value, feature) in values.iter().zip(features.iter().cycle()) {
            assert!(value.is_finite() && value.abs() <= feature.limit, "{feature:?}: {value}");
        }
    }
}

#[test]
fn nothing_after_the_origin_is_read() {
    let whole = history(vec![wave(minute(5)), wave(minute(5))]);
    let mut spoiled = whole.clone();
    for series in &mut spoiled.series {
        series.rps[minute(3) + 1..].fill(77_777.0);
    }
    assert_eq!(window(&whole, minute(3)), window(&spoiled, minute(3)));
    let mut cut = whole.clone();
    for series in &mut cut.series {
        series.rps.truncate(minute(3) + 1);
    }
    assert_eq!(window(&whole, minute(3)), window(&cut, minute(3)));
}

#[test]
fn the_newest_windows_need_nothing_that_is_usual_before_them() {
    let history = history(vec![wave(minute(5)), wave(minute(5))]);
    let (calendar, last) = (Calendar::default(), history.end() - 1);
    let newest = Prepared::newest(&history, &calendar);
    assert_eq!(newest.windows(last), Prepared::new(&history, &calendar).windows(last));
    assert!(newest.windows(last).iter().all(Result::is_ok));
}

#[test]
fn the_size_of_a_service_does_not_show() {
    let small = history(vec![wave(minute(4))]);
    let mut large = small.clone();
    large.series[0].rps.iter_mut().for_each(|rps| *rps *= 4096.0);
    let (small, large) = (window(&small, minute(3)).unwrap(), window(&large, minute(3)).unwrap());
    for (small, large) in small.past.iter().zip(&large.past) {
        assert!((small - large).abs() < 0.02, "{small} {large}");
    }
    assert!((small.floor * 4096.0 / large.floor - 1.0).abs() < 1e-3);
}

#[test]
fn what_is_usual_at_another_level_is_the_anchor() {
    let mut series = wave(minute(4));
    series[minute(3) - 100..].iter_mut().for_each(|rps| *rps *= 1.5);
    let plain = wave(minute(4));
    let history = history(vec![series]);
    let window = window(&history, minute(3)).unwrap();
    let flat = [[0.0; 4]; 3];
    for (rps, minutes) in window.rps(&flat).into_iter().zip(HORIZONS) {
        let came = f64::from(plain[minute(3) + minutes]) * 1.5;
        assert!((rps[1] / came - 1.0).abs() < 0.15, "{} for {came}", rps[1]);
    }
}

#[test]
fn what_cannot_be_learned_from_is_refused_with_a_sentence() {
    let told =
        |series: Vec<f32>, at: usize| window(&history(vec![series]), at).unwrap_err().to_string();
    assert_eq!(told(wave(minute(1)), minute(1) - 1), "1.0 days of history are known, 2 are needed");
    let mut gap = wave(minute(4));
    gap[minute(3) - 8..].fill(f32::NAN);
    assert_eq!(told(gap.clone(), minute(3)), "of the last 10 minutes 1 are known, 3 are needed");
    gap[minute(2) + 300..minute(3) - 5].fill(f32::NAN);
    assert!(told(gap, minute(3)).starts_with("79 % of the last day are not known"));
    assert!(told(vec![0.0; minute(4)], minute(3)).contains("no traffic"));
    assert!(told(vec![5.0; minute(4)], minute(3)).contains("constant traffic"));
    let mut shift = wave(minute(4));
    shift[minute(3) - 60..].iter_mut().for_each(|rps| *rps *= 100.0);
    assert!(told(shift, minute(3)).contains("times what is usual now"));
    let mut unknown = wave(minute(4));
    for day in 0..3 {
        unknown[minute(day)..minute(day) + 40].fill(f32::NAN);
    }
    assert!(told(unknown, minute(3) - 1).contains("5 minutes ahead"));
}

#[test]
fn a_leader_shows_where_others_deviate_alike() {
    let mut series = wave(minute(4));
    let mut leader = wave(minute(4));
    for place in minute(2)..minute(4) {
        let both = 1.0 + 0.3 * (place as f32 / 40.0).sin();
        series[place] *= both;
        leader[place] *= both;
    }
    let window = window(&history(vec![series, leader]), minute(3)).unwrap();
    let correlation =
        window.statics[STATIC.iter().position(|it| it.name == "leader correlation").unwrap()];
    assert!(correlation > 0.9, "{correlation}");
    let place = PAST.iter().position(|it| it.name == "leader").unwrap();
    let swing =
        window.past.iter().skip(place).step_by(PAST.len()).fold(0.0_f32, |a, b| a.max(b.abs()));
    assert!(swing > 1.0, "{swing}");
}

#[test]
fn the_calendar_shows_in_the_future_and_moves_nothing_else() {
    let history = history(vec![wave(minute(4))]);
    let origin = history.start + minute(3) as Minute;
    let mut calendar = Calendar::default();
    let plain = first(&Prepared::new(&history, &calendar), origin).unwrap();
    calendar.events.push(crate::forecast::Event {
        name: "sale".to_owned(),
        kind: crate::forecast::EventKind::Promotion,
        domains: vec!["d0".to_owned()],
        start: origin + 10,
        end: origin + 200,
        factor: Some(2.0),
    });
    let sale = first(&Prepared::new(&history, &calendar), origin).unwrap();
    assert_eq!(plain.past, sale.past);
    let begins = FUTURE.iter().position(|it| it.name == "promotion begins, in the anchor").unwrap();
    let seen: Vec<f32> = sale.future.iter().skip(begins).step_by(FUTURE.len()).copied().collect();
    let expected = 2.0_f32.ln();
    assert_eq!(seen, [0.0, expected, expected]);
    let lifted: Vec<f32> = sale.anchor.iter().zip(plain.anchor).map(|(a, b)| a - b).collect();
    assert_eq!(lifted[0], 0.0);
    assert!((lifted[1] - expected).abs() < 1e-5 && (lifted[2] - expected).abs() < 1e-5);
    assert_eq!(sale.spread, plain.spread);
}

#[test]
fn the_end_of_a_promotion_lowers_the_anchor_again() {
    let history = history(vec![wave(minute(4))]);
    let origin = history.start + minute(3) as Minute;
    let mut calendar = Calendar::default();
    let plain = first(&Prepared::new(&history, &calendar), origin).unwrap();
    calendar.events.push(crate::forecast::Event {
        name: "sale".to_owned(),
        kind: crate::forecast::EventKind::Promotion,
        domains: Vec::new(),
        start: origin - 100,
        end: origin + 10,
        factor: Some(3.0),
    });
    let sale = first(&Prepared::new(&history, &calendar), origin).unwrap();
    let lifted: Vec<f32> = sale.anchor.iter().zip(plain.anchor).map(|(a, b)| a - b).collect();
    assert_eq!(lifted[0], 0.0, "the level is that of the sale");
    assert!((lifted[1] + 3.0_f32.ln()).abs() < 1e-5, "{lifted:?}");
}

#[test]
fn what_is_no_number_does_not_become_zero() {
    let window = window(&history(vec![wave(minute(4))]), minute(3)).unwrap();
    let rps = window.rps(&[[f32::NAN, 0.0, 1.0, -900.0]; 3]);
    assert!(rps[0][0].is_nan() && rps[0][1] > 0.0);
    assert_eq!(rps[0][3], 0.0);
}
