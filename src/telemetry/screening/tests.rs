use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits { freshness: 60.0, maximum: 3600.0, skew: 30.0 };

fn at(seconds: f64) -> Timestamp {
    Timestamp::from_seconds(1_000_000.0 + seconds)
}

fn raw(value: f64, sampled: f64) -> Raw {
    Raw { value: Some(value), at: Some(at(sampled).as_seconds()), duplicate: false }
}

fn whole(raw: Raw) -> Newest {
    Newest::Answered { raw, incomplete: false, skew: Some(0.0) }
}

/// A track that read `value` of `kind` at second 0, with 50 requests per second.
fn read(kind: SignalKind, value: f64) -> Track {
    let mut track = Track::default();
    track.screen(kind, whole(raw(value, 0.0)), Some(50.0), &LIMITS, at(0.0));
    assert_eq!(track.signal(), Signal::good(value, at(0.0)));
    track
}

/// What becomes of the reading 0.5 of second 0 when `newest` comes at second 10.
fn after(kind: SignalKind, newest: Newest) -> Signal {
    read(kind, 0.5).screen(kind, newest, Some(50.0), &LIMITS, at(10.0))
}

fn kept(fault: Fault) -> Signal {
    Signal { fault: Some(fault), ..Signal::good(0.5, at(0.0)) }
}

#[test]
fn a_good_answer_is_the_reading_at_the_instant_of_its_sample() {
    for kind in SignalKind::ALL {
        assert_eq!(after(kind, whole(raw(0.7, 8.0))), Signal::good(0.7, at(8.0)));
    }
}

#[test]
fn row_1_nan_without_traffic_is_no_signal_and_nan_elsewhere_is_a_bad_number() {
    for kind in [SignalKind::P99, SignalKind::ErrorRatio] {
        assert_eq!(after(kind, whole(raw(f64::NAN, 9.0))), Signal::missing(Fault::Idle));
    }
    for kind in [SignalKind::Rps, SignalKind::Cpu, SignalKind::Memory] {
        assert_eq!(after(kind, whole(raw(f64::NAN, 9.0))), kept(Fault::NotFinite));
    }
}

#[test]
fn row_2_infinite_negative_and_huge_values_leave_the_last_good_one() {
    for kind in SignalKind::ALL {
        for value in [f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(after(kind, whole(raw(value, 9.0))), kept(Fault::NotFinite));
        }
        for value in [-1e-9, -5.0, 3601.0, 1e308, -1e308] {
            assert_eq!(after(kind, whole(raw(value, 9.0))), kept(Fault::OutOfRange), "{value}");
        }
    }
}

#[test]
fn a_ratio_above_one_by_rounding_is_one() {
    let limits = Limits { maximum: 1.0, ..LIMITS };
    let mut track = Track::default();
    let newest = whole(raw(1.0 + 1e-12, 0.0));
    let signal = track.screen(SignalKind::ErrorRatio, newest, None, &limits, at(0.0));
    assert_eq!(signal, Signal::good(1.0, at(0.0)));
}

#[test]
fn row_3_a_workload_missing_from_an_answer_is_unknown_and_not_zero() {
    for kind in SignalKind::ALL {
        let signal = after(kind, whole(Raw::default()));
        assert_eq!(signal, kept(Fault::Absent));
        assert_eq!(signal.fresh(at(60.0), 60.0), Some(0.5));
        assert_eq!(signal.fresh(at(60.1), 60.0), None);
        let mut never = Track::default();
        never.screen(kind, whole(Raw::default()), None, &LIMITS, at(0.0));
        assert_eq!(never.signal(), Signal::missing(Fault::Absent));
    }
}

#[test]
fn row_4_a_partial_answer_is_taken_but_is_not_sound() {
    let partial = |raw| Newest::Answered { raw, incomplete: true, skew: None };
    for kind in SignalKind::ALL {
        let signal = after(kind, partial(raw(0.7, 9.0)));
        assert_eq!(signal, Signal { fault: Some(Fault::Incomplete), ..Signal::good(0.7, at(9.0)) });
        assert!(!signal.is_sound());
        assert_eq!(after(kind, partial(Raw::default())), kept(Fault::Incomplete));
    }
    // Nothing was divided by nothing, but the requests may be in the missing part.
    assert_eq!(after(SignalKind::P99, partial(raw(f64::NAN, 9.0))), kept(Fault::Incomplete));
}

#[test]
fn row_5_no_answer_leaves_the_last_good_reading_with_its_age() {
    for kind in SignalKind::ALL {
        assert_eq!(after(kind, Newest::Unanswered), kept(Fault::Unreachable));
    }
}

#[test]
fn row_6_an_old_sample_behind_a_fresh_answer_is_stale() {
    for kind in SignalKind::ALL {
        for value in [0.7, f64::NAN] {
            assert_eq!(after(kind, whole(raw(value, -50.1))), kept(Fault::Stale));
        }
        // A rate outlives its last sample by up to its window.
        let timeless = Raw { at: None, ..raw(0.7, 0.0) };
        assert_eq!(after(kind, whole(timeless)), kept(Fault::Stale));
    }
}

#[test]
fn row_7_traffic_that_is_counted_twice_is_not_believed() {
    for kind in SignalKind::ALL {
        let doubled = Raw { duplicate: true, ..raw(1.0, 9.0) };
        assert_eq!(after(kind, whole(doubled)), kept(Fault::Duplicate));
    }
}

#[test]
fn row_8_latency_a_thousand_times_as_high_at_steady_traffic_is_quarantined() {
    for value in [50.0, 500.0, 0.005, 0.0005] {
        assert_eq!(
            after(SignalKind::P99, whole(raw(value, 9.0))),
            kept(Fault::UnitJump),
            "{value}"
        );
    }
    assert_eq!(after(SignalKind::P99, whole(raw(49.0, 9.0))), Signal::good(49.0, at(9.0)));
    // Only latency has a unit that a library upgrade changes.
    assert_eq!(after(SignalKind::Cpu, whole(raw(500.0, 9.0))), Signal::good(500.0, at(9.0)));
}

#[test]
fn latency_that_jumps_with_its_traffic_or_after_a_pause_is_believed() {
    for (traffic, second) in
        [(Some(100.0), 10.0), (Some(25.0), 10.0), (None, 10.0), (Some(50.0), 61.0)]
    {
        let signal = read(SignalKind::P99, 0.5).screen(
            SignalKind::P99,
            whole(raw(500.0, second)),
            traffic,
            &LIMITS,
            at(second),
        );
        assert_eq!(signal, Signal::good(500.0, at(second)), "{traffic:?} {second}");
    }
}

/// Feeds `values` every 10 s from second 10, and gives the seconds at which they were believed.
fn believed(before: f64, values: impl Iterator<Item = f64>) -> Vec<u32> {
    let mut track = read(SignalKind::P99, before);
    let mut seconds = Vec::new();
    for (second, value) in (10..).step_by(10).zip(values) {
        let now = f64::from(second);
        let signal =
            track.screen(SignalKind::P99, whole(raw(value, now)), Some(50.0), &LIMITS, at(now));
        match signal.fault {
            None => seconds.push(second),
            fault => assert_eq!(fault, Some(Fault::UnitJump)),
        }
    }
    seconds
}

#[test]
fn a_quarantined_latency_is_released_when_it_comes_back() {
    let values = [500.0, 480.0, 520.0, 0.6, 0.5];
    assert_eq!(believed(0.5, values.into_iter()), [40, 50]);
}

#[test]
fn a_new_level_that_lasts_ten_minutes_is_believed() {
    let steady = std::iter::repeat_n(75.0, 62);
    assert_eq!(believed(0.5, steady), [610, 620]);
    // Another level on the way starts the ten minutes anew.
    let restless = std::iter::repeat_n(75.0, 30).chain(std::iter::repeat_n(1600.0, 61));
    assert_eq!(believed(0.5, restless), [910]);
}

#[test]
fn a_new_level_that_is_another_unit_is_never_believed_by_time() {
    assert_eq!(believed(0.5, std::iter::repeat_n(450.0, 500)), [0_u32; 0]);
    assert_eq!(believed(500.0, std::iter::repeat_n(0.5, 500)), [0_u32; 0]);
}

#[test]
fn row_9_a_clock_too_far_away_gives_no_reading() {
    for kind in SignalKind::ALL {
        for skew in [30.1, -30.1, f64::NAN, f64::INFINITY] {
            let newest =
                Newest::Answered { raw: raw(0.7, 9.0), incomplete: false, skew: Some(skew) };
            assert_eq!(after(kind, newest), kept(Fault::Skewed));
        }
        // Exporters may stamp their own samples: a node's clock can be wrong alone.
        assert_eq!(after(kind, whole(raw(0.7, 40.1))), kept(Fault::Skewed));
        // Within the limit a sample from the future is a sample of now.
        let newest = Newest::Answered { raw: raw(0.7, 12.0), incomplete: false, skew: Some(2.0) };
        assert_eq!(after(kind, newest), Signal::good(0.7, at(10.0)));
    }
}

fn any_newest() -> impl Strategy<Value = Newest> {
    let number = || {
        prop_oneof![prop::num::f64::ANY, Just(f64::NAN), Just(-0.0), Just(1e308), 0.0..4000.0_f64,]
    };
    let time = prop_oneof![prop::num::f64::ANY, 999_000.0..1_001_000.0_f64];
    let raw = (prop::option::of(number()), prop::option::of(time), any::<bool>())
        .prop_map(|(value, at, duplicate)| Raw { value, at, duplicate });
    let skew = prop::option::of(prop_oneof![prop::num::f64::ANY, -40.0..40.0_f64]);
    prop_oneof![
        Just(Newest::Unanswered),
        (raw, any::<bool>(), skew).prop_map(|(raw, incomplete, skew)| Newest::Answered {
            raw,
            incomplete,
            skew
        }),
    ]
}

proptest! {
    #[test]
    fn no_answer_puts_nan_infinity_or_a_negative_number_into_a_signal(
        answers in prop::collection::vec((any_newest(), prop::option::of(prop::num::f64::ANY)), 1..20)
    ) {
        for kind in SignalKind::ALL {
            let mut track = Track::default();
            for (second, (newest, traffic)) in answers.iter().enumerate() {
                let now = at(second as f64 * 10.0);
                let before = track.signal();
                let signal = track.screen(kind, *newest, *traffic, &LIMITS, now);
                if let Some(reading) = signal.reading {
                    prop_assert!(reading.value.is_finite());
                    prop_assert!(reading.value.is_sign_positive());
                    prop_assert!(reading.value <= LIMITS.maximum);
                    prop_assert!(reading.at <= now);
                }
                // A rejected answer changes neither the value nor its age.
                if !matches!(signal.fault, None | Some(Fault::Incomplete | Fault::Idle)) {
                    prop_assert_eq!(signal.reading, before.reading);
                }
            }
        }
    }
}
