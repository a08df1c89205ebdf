#![expect(clippy::cast_possible_wrap, reason = "minutes and days of a series are far below 2^63")]

use super::*;
use crate::forecast::DAY;
use crate::seed::Seed;

const STEADY: Regime = Regime::Steady;

/// What comes around a forecast of 100: noise whose width and bias depend on the hour, and that lasts for
/// some minutes.
fn came(minutes: usize, seed: u64) -> Vec<f64> {
    let seed = Seed::root(seed);
    let mut noise = 0.0;
    (0..minutes)
        .map(|minute| {
            noise = 0.9 * noise + (1.0_f64 - 0.81).sqrt() * seed.draw(minute as u64).gauss();
            let hour = minute % DAY / 60;
            let (bias, width) = match hour {
                6..12 => (0.05, 0.20),
                0..6 => (0.0, 0.01),
                _ => (-0.02, 0.05),
            };
            100.0 * (1.0 + bias + width * noise)
        })
        .collect()
}

fn slice(minute: Minute) -> Slice {
    Slice::of((minute as usize % DAY) as u16)
}

/// What a forecaster says that has one width for all hours.
const RAW: Quantiles = [[95.0, 100.0, 104.0, 106.0]; HORIZONS];

/// Forecasts every `every` minutes of a steady domain, each of which is handed to `judge`.
fn walk(
    came: &[f64],
    every: usize,
    calibration: &mut Calibration,
    mut judge: impl FnMut(Minute, &Quantiles),
) {
    for (minute, rps) in came.iter().enumerate() {
        calibration.observe(minute as Minute, *rps);
        if minute % every == 0 {
            let minute = minute as Minute;
            let adjusted = calibration.adjust(slice(minute), STEADY, &RAW);
            calibration.issued(minute, slice(minute), STEADY, &RAW, &adjusted);
            judge(minute, &adjusted);
        }
    }
}

/// Exceedances of p80 after the first three days, by slice and horizon, and the shares over all.
fn exceedances(came: &[f64]) -> ([[f64; HORIZONS]; Slice::COUNT], [f64; HORIZONS]) {
    let (mut above, mut counts) =
        ([[0.0; HORIZONS]; Slice::COUNT], [[0.0; HORIZONS]; Slice::COUNT]);
    walk(came, 1, &mut Calibration::default(), |made, adjusted| {
        for horizon in 0..HORIZONS {
            let due = (made + horizon_minutes(horizon)) as usize;
            if made as usize > 3 * DAY && due < came.len() {
                let place = slice(made).index();
                counts[place][horizon] += 1.0;
                above[place][horizon] += f64::from(u8::from(came[due] > adjusted[horizon][2]));
            }
        }
    });
    let all = std::array::from_fn(|horizon| {
        let sum = |table: &[[f64; HORIZONS]; Slice::COUNT]| -> f64 {
            table.iter().map(|row| row[horizon]).sum()
        };
        sum(&above) / sum(&counts)
    });
    let share = |place: usize, horizon: usize| above[place][horizon] / counts[place][horizon];
    (std::array::from_fn(|place| std::array::from_fn(|horizon| share(place, horizon))), all)
}

#[test]
fn noise_that_differs_by_hour_ends_calibrated_in_every_slice() {
    let (slices, all) = exceedances(&came(28 * DAY, 1));
    assert!(all.iter().all(|share| (0.18..=0.22).contains(share)), "{all:?}");
    for (place, horizons) in slices.iter().enumerate() {
        let right = horizons.iter().all(|share| (0.15..=0.25).contains(share));
        assert!(right, "slice {place}: {horizons:?}");
    }
}

#[test]
fn without_calibration_the_same_noise_misses_in_the_mornings() {
    // What the test above is worth: the raw quantiles fail it.
    let came = came(28 * DAY, 1);
    let mornings =
        came.iter().enumerate().filter(|(minute, _)| (6..9).contains(&(minute % DAY / 60)));
    let (above, count) = mornings
        .fold((0, 0), |(above, count), (_, rps)| (above + u32::from(*rps > RAW[0][2]), count + 1));
    assert!(f64::from(above) / f64::from(count) > 0.4);
}

#[test]
fn nothing_is_learned_before_the_outcome_is_there() {
    let mut calibration = Calibration::default();
    let slice = slice(600);
    calibration.issued(600, slice, STEADY, &RAW, &RAW);
    for minute in 601..605 {
        calibration.observe(minute, 500.0);
    }
    assert_eq!(calibration.adjust(slice, STEADY, &RAW), RAW);
    calibration.observe(605, 500.0);
    let after = calibration.adjust(slice, STEADY, &RAW);
    assert!(after[0][2] > RAW[0][2]);
    assert_eq!(after[1..], RAW[1..], "15 and 30 minutes have not passed");
}

#[test]
fn how_often_forecasts_are_made_makes_little_difference() {
    let came = came(14 * DAY, 2);
    let widths = [1, 5].map(|every| {
        let mut calibration = Calibration::default();
        walk(&came, every, &mut calibration, |_, _| ());
        Slice::all().map(|it| calibration.adjust(it, STEADY, &RAW)[1][3]).collect::<Vec<_>>()
    });
    for (often, seldom) in widths[0].iter().zip(&widths[1]) {
        assert!((often - seldom).abs() < 0.1 * often, "{widths:?}");
    }
}

#[test]
fn quantiles_rise_and_are_never_negative_nor_nan() {
    let mut calibration = Calibration::default();
    let slice = slice(0);
    let bad = [[f64::NAN, -3.0, f64::INFINITY, 2.0], [0.0; 4], [9.0, 7.0, 5.0, 1.0]];
    let traffic = [0.0, 1e9, f64::NAN, -5.0, f64::INFINITY, 3.0, 0.0, 1e-9];
    for minute in 0..400 {
        calibration.observe(minute, traffic[minute as usize % traffic.len()]);
        for regime in Regime::ALL {
            let adjusted = calibration.adjust(slice, regime, &bad);
            for row in adjusted {
                assert!(row.iter().all(|value| value.is_finite() && *value >= 0.0), "{row:?}");
                assert!(row.is_sorted(), "{row:?}");
            }
            calibration.issued(minute, slice, regime, &bad, &adjusted);
        }
    }
}

#[test]
fn a_slice_that_has_seen_nothing_starts_where_its_neighbours_are() {
    let mut calibration = Calibration::default();
    let biased: Vec<f64> = came(DAY / 2, 3).iter().map(|rps| rps * 2.0).collect();
    walk(&biased, 1, &mut calibration, |_, _| ());
    let unseen = calibration.adjust(slice(900), STEADY, &RAW);
    assert!(unseen[0][1] > 1.5 * RAW[0][1], "{unseen:?}");
    let spike = calibration.adjust(slice(900), Regime::Spike, &RAW);
    assert!(spike[0][3] > unseen[0][3], "{spike:?}");
}

#[test]
fn state_survives_json_and_stays_small() {
    let came = came(3 * DAY, 4);
    let mut calibration = Calibration::default();
    walk(&came, 1, &mut calibration, |_, _| ());
    let nothing_known = [[f64::NAN; 4]; HORIZONS];
    calibration.issued(9_999, slice(0), STEADY, &nothing_known, &nothing_known);
    let json = serde_json::to_string(&calibration).unwrap();
    assert!(json.len() < 64 * 1024, "{}", json.len());
    let mut again: Calibration = serde_json::from_str(&json).unwrap();
    assert_eq!(again, calibration);
    walk(&came, 1, &mut calibration, |_, _| ());
    walk(&came, 1, &mut again, |_, _| ());
    assert_eq!(again, calibration);
}

#[test]
fn a_minute_teaches_once() {
    let mut calibration = Calibration::default();
    calibration.issued(0, slice(0), STEADY, &RAW, &RAW);
    calibration.observe(5, 200.0);
    let once = calibration.clone();
    calibration.observe(5, 300.0);
    calibration.observe(4, 300.0);
    assert_eq!(calibration, once);
}

#[test]
fn miscalibration_is_seen_when_it_lasts_and_not_in_good_times() {
    let mut calibration = Calibration::default();
    let came = came(12 * DAY, 5);
    walk(&came, 5, &mut calibration, |minute, _| assert!(minute >= 0));
    let end = came.len() as Minute;
    for it in Slice::all() {
        assert_eq!(calibration.coverage().miscalibrated_since(it, end), None, "{it}");
    }
    // A forecaster that grows without end: its every p80 is far too high, whatever is learned of the last.
    let since = |calibration: &Calibration, minute| {
        calibration.coverage().miscalibrated_since(slice(minute), minute)
    };
    let mut first = None;
    for minute in end..end + 3 * DAY as Minute {
        calibration.observe(minute, 100.0);
        let raw = RAW.map(|row| row.map(|value| value * 1.02_f64.powi((minute - end) as i32 / 5)));
        let adjusted = calibration.adjust(slice(minute), STEADY, &raw);
        calibration.issued(minute, slice(minute), STEADY, &raw, &adjusted);
        if first.is_none() {
            first = since(&calibration, minute).map(|since| (minute, since));
        }
    }
    let (noticed, began) = first.unwrap();
    assert!(noticed - began >= 60, "{noticed} {began}");
    assert!(noticed - end < 2 * DAY as Minute, "{}", noticed - end);
}

#[test]
fn coverage_counts_what_went_out() {
    let mut calibration = Calibration::default();
    for minute in 0..60 {
        calibration.observe(minute, if minute % 4 == 0 { 105.0 } else { 99.0 });
        calibration.issued(minute, slice(minute), STEADY, &RAW, &RAW);
    }
    let group = Group::of(slice(0), STEADY);
    let shares = [0, 1, 2, 3].map(|at| calibration.coverage().of(group, 0, at).unwrap().share);
    assert_eq!(shares[0], 1.0);
    assert!((shares[1] - 0.25).abs() < 0.03 && (shares[2] - 0.25).abs() < 0.03, "{shares:?}");
    assert_eq!(shares[3], 0.0);
    assert_eq!(calibration.coverage().overall(0, 2), calibration.coverage().of(group, 0, 2));
    assert_eq!(calibration.coverage().of(Group::Spike, 0, 2), None);
}
