use rand_distr::{Distribution, StandardNormal};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::SeedableRng;

use super::*;

/// Minutes of a day.
const DAY: u32 = 1440;

fn minute(minute: u32) -> Timestamp {
    Timestamp::from_seconds(f64::from(minute) * 60.0)
}

/// A day between 600 and 1,400 requests per second.
fn usual(minute: u32) -> f64 {
    let angle = f64::from(minute % DAY) / f64::from(DAY) * std::f64::consts::TAU;
    1000.0 - 400.0 * angle.cos()
}

fn forecaster(days: u32) -> SeasonalProfile {
    let series = (0..=(days + 1) * DAY).map(usual).collect();
    SeasonalProfile::new(Profile::new(minute(0), 60.0, vec![series]))
}

#[test]
fn what_follows_the_profile_at_another_level_is_met() {
    let mut forecaster = forecaster(1);
    for now in 1..400 {
        let observed = [Some((minute(now - 1), 1.5 * usual(now - 1)))];
        let forecast = forecaster.forecast(&observed, minute(now)).remove(0).unwrap();
        assert!((forecast.level / (1.5 * usual(now)) - 1.0).abs() < 1e-9);
        for ([_, p50, _, _], minutes) in forecast.ahead.into_iter().zip([5, 15, 30]) {
            let came = 1.5 * usual(now + minutes);
            assert!((p50 / came - 1.0).abs() < 0.01, "{p50} for {came} at {now} + {minutes}");
        }
    }
}

#[test]
fn quantiles_hold_what_they_promise_over_days_with_noise() {
    let days = 30;
    let mut forecaster = forecaster(days);
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(11);
    let mut noise = 0.0;
    let traffic: Vec<f64> = (0..=days * DAY)
        .map(|now| {
            // Noise with a memory of a quarter of an hour, twice as wild at noon.
            let wild = if (600..840).contains(&(now % DAY)) { 2.0 } else { 1.0 };
            let draw: f64 = StandardNormal.sample(&mut rng);
            noise += -noise / 15.0 + 0.015 * wild * draw;
            usual(now) * (1.0 + noise)
        })
        .collect();
    let mut below = [[0_u32; 4]; 3];
    let mut counted = [0_u32; 3];
    for now in 1..days * DAY {
        let observed = [Some((minute(now - 1), traffic[now as usize - 1]))];
        let forecast = forecaster.forecast(&observed, minute(now)).remove(0).unwrap();
        for (horizon, minutes) in [5, 15, 30].into_iter().enumerate() {
            let Some(came) = traffic.get((now + minutes) as usize).filter(|_| now > 2 * DAY) else {
                continue;
            };
            counted[horizon] += 1;
            let quantiles = forecast.ahead[horizon];
            assert!(quantiles.is_sorted(), "{quantiles:?}");
            for (below, quantile) in below[horizon].iter_mut().zip(quantiles) {
                *below += u32::from(*came <= quantile);
            }
        }
    }
    for (below, counted) in below.into_iter().zip(counted) {
        for (below, level) in below.into_iter().zip(Forecast::QUANTILES) {
            let share = f64::from(below) / f64::from(counted);
            assert!((share - level).abs() < 0.02, "{share} instead of {level}");
        }
    }
}

#[test]
fn an_outcome_is_learned_from_only_when_it_has_come() {
    let mut forecaster = forecaster(1);
    let fresh = ErrorQuantiles::default();
    for now in 1..=7 {
        // Twice what is usual from the second minute on.
        let rps = usual(now - 1) * if now > 1 { 2.0 } else { 1.0 };
        forecaster.forecast(&[Some((minute(now - 1), rps))], minute(now));
        let learned = forecaster.domains[0].horizons.each_ref().map(|it| it.errors != fresh);
        // The forecast of minute 1 for minute 6 is judged in minute 7, when 6 is observed.
        assert_eq!(learned, [now == 7, false, false], "minute {now}");
    }
}

#[test]
fn without_a_new_observation_or_a_profile_there_is_no_forecast() {
    let mut forecaster = forecaster(1);
    assert!(forecaster.forecast(&[None], minute(1))[0].is_none());
    assert!(forecaster.forecast(&[Some((minute(1), 900.0))], minute(2))[0].is_some());
    assert!(forecaster.forecast(&[Some((minute(1), 900.0))], minute(3))[0].is_none());
    assert!(forecaster.forecast(&[Some((minute(4), f64::NAN))], minute(5))[0].is_none());
    let mut empty = SeasonalProfile::new(Profile::new(minute(0), 60.0, vec![Vec::new()]));
    assert!(empty.forecast(&[Some((minute(1), 900.0))], minute(2))[0].is_none());
}
