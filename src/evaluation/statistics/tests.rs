use super::*;

const NAN: f64 = f64::NAN;

#[test]
fn a_mean_is_that_of_what_was_measured() {
    assert_eq!(mean([1.0, 2.0, NAN, 6.0]), 3.0);
    assert!(mean([]).is_nan());
    assert!(mean([NAN]).is_nan());
}

#[test]
fn quantiles_are_those_worked_by_hand() {
    // Five values: the p-quantile lies at place 4p. 0.9 -> 3.6: 35 + 0.6 * (50 - 35) = 44.
    let values = [50.0, 15.0, NAN, 35.0, 20.0, 40.0];
    let values = values.map(|value| if value == 40.0 { 34.0 } else { value });
    assert_eq!(quantile(values, 0.0), 15.0);
    assert_eq!(quantile(values, 0.5), 34.0);
    assert!((quantile(values, 0.9) - 44.0).abs() < 1e-12);
    assert_eq!(quantile(values, 1.0), 50.0);
    assert_eq!(quantile([7.0], 0.3), 7.0);
    assert!(quantile([], 0.5).is_nan());
}

#[test]
fn the_interquartile_mean_leaves_a_quarter_out_at_each_end() {
    // Two of eight at each end: (3 + 4 + 5 + 6) / 4.
    let eight = [8.0, 1.0, 7.0, 2.0, 6.0, 3.0, 5.0, 4.0];
    assert_eq!(interquartile_mean(eight), 4.5);
    // A catastrophe in one run moves the mean by 124 and this one not at all.
    assert_eq!(interquartile_mean(eight.map(|it| if it == 8.0 { 1000.0 } else { it })), 4.5);
    // One of six at each end: 6 / 4 = 1.5, rounded down.
    assert_eq!(interquartile_mean([0.0, 1.0, 2.0, 3.0, 6.0, 100.0]), 3.0);
    // Nothing to cut from three.
    assert_eq!(interquartile_mean([1.0, 2.0, 6.0]), 3.0);
    assert!(interquartile_mean([]).is_nan());
}

#[test]
fn pairs_take_out_what_both_met() {
    // A bad day for both is no difference between them.
    assert_eq!(paired_differences(&[9.0, 109.0, 4.0], &[10.0, 110.0, NAN])[..2], [-1.0, -1.0]);
    assert!(paired_differences(&[4.0], &[NAN])[0].is_nan());
}

#[test]
fn a_drawing_never_leaves_its_stratum() {
    let strata = [0..3, 3..5, 5..6];
    let bootstrap = Bootstrap::new(&strata, 200, Seed::root(1));
    let mut seen = [false; 6];
    for places in &bootstrap.drawn {
        assert_eq!(places.len(), 6);
        for (place, drawn) in places.iter().enumerate() {
            let stratum = strata.iter().find(|stratum| stratum.contains(&place)).unwrap();
            assert!(stratum.contains(drawn), "{place} became {drawn}");
            seen[*drawn] = true;
        }
    }
    assert_eq!(seen, [true; 6]);
}

#[test]
fn the_interval_of_two_values_is_known_exactly() {
    // Two values drawn twice: means 0, 1/2 and 1 with chances 1/4, 1/2 and 1/4, so that the middle
    // 95 % reaches from 0 to 1.
    let data = [0.0, 1.0];
    let bootstrap = Bootstrap::new(std::slice::from_ref(&(0..2)), 1000, Seed::root(2));
    let interval = bootstrap.interval(|places| mean(places.iter().map(|place| data[*place])));
    assert_eq!(interval, Some(Interval { low: 0.0, high: 1.0 }));
    let half = bootstrap.drawn.iter().filter(|places| places[0] != places[1]).count();
    assert!((450..550).contains(&half), "{half}");
}

#[test]
fn the_interval_of_a_mean_is_as_wide_as_theory_says() {
    // 0, 1, ..., 99 in one stratum: the mean is 49.5 and its deviation sqrt(833.25 / 100) = 2.887.
    let data: Vec<f64> = (0..100).map(f64::from).collect();
    let bootstrap = Bootstrap::new(std::slice::from_ref(&(0..100)), 4000, Seed::root(3));
    let interval = bootstrap.interval(|places| mean(places.iter().map(|place| data[*place])));
    let Interval { low, high } = interval.unwrap();
    assert!((low - (49.5 - 1.96 * 2.887)).abs() < 0.4, "{low}");
    assert!((high - (49.5 + 1.96 * 2.887)).abs() < 0.4, "{high}");
}

#[test]
fn differences_between_strata_are_no_uncertainty() {
    // A hard and an easy scenario, each always the same: nothing is left to chance.
    let data = [100.0, 100.0, 1.0, 1.0];
    let bootstrap = Bootstrap::new(&[0..2, 2..4], 100, Seed::root(4));
    let interval = bootstrap.interval(|places| mean(places.iter().map(|place| data[*place])));
    assert_eq!(interval, Some(Interval { low: 50.5, high: 50.5 }));
}

#[test]
fn one_run_a_stratum_has_no_interval() {
    let single = Bootstrap::new(&[0..1, 1..2], 100, Seed::root(5));
    assert_eq!(single.interval(|_| 1.0), None);
    let pair = Bootstrap::new(std::slice::from_ref(&(0..2)), 100, Seed::root(5));
    assert_eq!(pair.interval(|_| NAN), None);
}

#[test]
fn zero_is_outside_only_on_one_side() {
    let excludes = |low, high| Interval { low, high }.excludes_zero();
    assert!(excludes(0.1, 2.0) && excludes(-2.0, -0.1));
    assert!(!excludes(-1.0, 1.0) && !excludes(0.0, 1.0));
}

#[test]
fn the_same_seed_gives_the_same_interval() {
    let draw = |seed| Bootstrap::new(std::slice::from_ref(&(0..9)), 50, Seed::root(seed)).drawn;
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
}
