#![expect(clippy::cast_possible_wrap, reason = "minutes and days of a series are far below 2^63")]

use super::*;
use crate::forecast::{
    Baseline, Calendar, DAY, Group, History, Minute, Prepared, Quantiles, Series, Slice,
};
use crate::seed::Seed;

/// Traffic around a daily rhythm with noise of this relative size, by hour.
fn history(days: usize, noise: impl Fn(usize) -> f64) -> History {
    let seed = Seed::root(11);
    let value = |minute: usize| {
        let day = minute as f64 / DAY as f64 * std::f64::consts::TAU;
        let noise = noise(minute % DAY / 60) * seed.draw(minute as u64).gauss();
        ((200.0 + 100.0 * day.sin()) * (1.0 + noise)) as f32
    };
    let rps = (0..days * DAY).map(value).collect();
    History { start: 0, series: vec![Series { name: "shop".into(), rps, ..Series::default() }] }
}

/// Forecasts whatever it is told, by minute.
struct Told<F>(&'static str, F);

impl<F: Fn(Minute) -> Option<Quantiles>> QuantileForecaster for Told<F> {
    fn name(&self) -> &str {
        self.0
    }

    fn quantiles(&mut self, _: usize, origins: &[Minute]) -> Vec<Option<Quantiles>> {
        origins.iter().map(|origin| (self.1)(*origin)).collect()
    }
}

/// A series of 1s and 3s by turns of the forecasts, for figures worked by hand.
fn by_turns() -> History {
    let rps = (0..9 * DAY).map(|minute| if minute / 5 % 2 == 0 { 1.0 } else { 3.0 }).collect();
    History { start: 0, series: vec![Series { rps, ..Series::default() }] }
}

fn walked(history: &History, correction: Correction, told: &mut dyn QuantileForecaster) -> Walk {
    let calendar = Calendar::default();
    let prepared = Prepared::new(history, &calendar);
    walk(&prepared, 0, Plan::default(), correction, &mut [told])
}

#[test]
fn measures_are_those_worked_by_hand() {
    let history = by_turns();
    let said = [1.0, 2.0, 2.5, 3.0];
    let walk = walked(&history, Correction::None, &mut Told("told", |_| Some([said; 3])));
    let [five, _, thirty] = measures(&walk, 0);
    // The last day and its two forecasts that have no outcome: their time is after the end.
    assert_eq!(five.forecasts, 2 * DAY / 5 - 1);
    assert_eq!(thirty.forecasts, 2 * DAY / 5 - 6);
    assert_eq!(five.refused, 0);
    let near = |one: f64, other: f64| assert!((one - other).abs() < 0.01, "{one} {other}");
    // 1 came: 0, 0.5, 0.3, 0.2. 3 came: 0.2, 0.5, 0.4, 0.
    for (pinball, expected) in five.pinball.into_iter().zip([0.1, 0.5, 0.35, 0.1]) {
        near(pinball, expected);
    }
    near(five.mean_pinball, 1.05 / 4.0);
    near(five.wql, 2.0 * 1.05 / 4.0 / 2.0);
    near(five.wape, 0.5);
    near(five.masked_mape, 2.0 / 3.0);
    near(five.masked, 0.0);
    near(five.poisson_floor, 0.081);
    near(five.sharpness, 1.0);
    for (share, expected) in five.exceedance.into_iter().zip([0.5, 0.5, 0.5, 0.0]) {
        near(share, expected);
    }
}

#[test]
fn outages_are_masked_and_the_mask_is_told() {
    let mut history = history(9, |_| 0.01);
    history.series[0].rps[8 * DAY..8 * DAY + DAY / 10].fill(0.001);
    let walk = walked(&history, Correction::None, &mut Told("told", |_| Some([[200.0; 4]; 3])));
    let [five, ..] = measures(&walk, 0);
    assert!((five.masked - 0.05).abs() < 0.002, "{}", five.masked);
    assert!(five.masked_mape < 0.6, "{}", five.masked_mape);
    assert!(five.outliers >= DAY / 50, "{}", five.outliers);
}

/// Knows the rhythm and says where p80 is, off by some widths of the noise in each hour.
fn off_by(widths: impl Fn(usize) -> f64) -> impl Fn(Minute) -> Option<Quantiles> {
    move |origin| {
        let at = |horizon: Minute| {
            let minute = origin + horizon;
            let day = minute as f64 / DAY as f64 * std::f64::consts::TAU;
            let middle = 200.0 + 100.0 * day.sin();
            let width = widths(origin as usize % DAY / 60);
            [-1.2816, 0.0, 0.8416, 1.2816].map(|z| middle * (1.0 + 0.05 * z * width))
        };
        Some([at(5), at(15), at(30)])
    }
}

fn p80_verdict(walk: &Walk) -> Verdict {
    verdict(&exceedances(walk, 0), walk.every)
}

/// The original system passed an aggregate check with mornings that were too sure of themselves and nights
/// that were not sure enough.
#[test]
fn a_perfect_aggregate_does_not_hide_bad_mornings_and_nights() {
    let history = history(22, |_| 0.05);
    // Above p80 + d widths: 37 % at 0.4 of the width, 7 % at 1.75.
    let widths = |hour: usize| match hour {
        6..12 => 0.4,
        0..6 => 1.75,
        _ => 1.0,
    };
    let mut told = Told("the original", off_by(widths));
    let walk = walked(&history, Correction::None, &mut told);
    let verdict = p80_verdict(&walk);
    for finding in &verdict.aggregate {
        assert!((0.18..=0.22).contains(&finding.exceedance), "{finding:?}");
    }
    assert!(verdict.aggregate_looks_right());
    assert!(!verdict.is_right());
    let wrong = |group: &str| verdict.wrong().filter(|it| it.group == group).count();
    for group in ["00-03h", "03-06h", "06-09h", "09-12h"] {
        assert_eq!(wrong(group), 3, "{group} {:?}", verdict.groups);
    }
    for group in ["12-15h", "15-18h", "18-21h", "21-24h"] {
        assert_eq!(wrong(group), 0, "{group} {:?}", verdict.groups);
    }
}

#[test]
fn calibration_mends_the_same_forecaster_in_every_slice() {
    let history = history(22, |_| 0.05);
    let widths = |hour: usize| if (6..12).contains(&hour) { 0.4 } else { 1.75 };
    let mut told = Told("the original", off_by(widths));
    let walk = walked(&history, Correction::Online, &mut told);
    let verdict = p80_verdict(&walk);
    assert!(verdict.is_right(), "{:?}", verdict.wrong().collect::<Vec<_>>());
    let steady = verdict.groups.iter().filter(|finding| finding.group != "spike");
    for finding in steady {
        assert!((0.15..=0.25).contains(&finding.exceedance), "{finding:?}");
    }
}

#[test]
fn a_few_outcomes_prove_nothing() {
    let mut groups = [[Counted::default(); 3]; Group::COUNT];
    groups[2][0] = Counted { outcomes: 10, above: [9, 5, 4, 1] };
    groups[3][0] = Counted { outcomes: 400, above: [360, 200, 160, 40] };
    groups[4][2] = Counted { outcomes: 120, above: [110, 60, 36, 12] };
    let verdict = verdict(&groups, 5);
    let of = |group: usize, horizon: usize| verdict.groups[3 * group + horizon].judgement;
    assert_eq!(of(2, 0), Judgement::TooFew);
    assert_eq!(of(3, 0), Judgement::Wrong);
    // 120 forecasts every five minutes for 30 minutes ahead are 20 independent ones.
    assert_eq!(of(4, 2), Judgement::TooFew);
    assert_eq!(of(5, 0), Judgement::TooFew, "nothing seen");
}

#[test]
fn spikes_may_be_cautious_and_not_careless() {
    let mut groups = [[Counted::default(); 3]; Group::COUNT];
    let spikes = |above| Counted { outcomes: 1000, above: [900, 500, above, 0] };
    groups[Group::Spike.index()] = [spikes(20), spikes(290), spikes(400)];
    let found = verdict(&groups, 5);
    let of_spikes: Vec<Judgement> = found.groups[24..].iter().map(|it| it.judgement).collect();
    assert_eq!(of_spikes, [Judgement::Right, Judgement::Right, Judgement::Wrong]);
}

#[test]
fn skill_is_the_part_of_the_loss_that_is_gone() {
    let history = history(20, |_| 0.05);
    let calendar = Calendar::default();
    let prepared = Prepared::new(&history, &calendar);
    let mut good = Told("good", off_by(|_| 1.0));
    let mut bad = Told("bad", off_by(|_| 4.0));
    let mut silent = Told("silent", |_| None);
    let forecasters: &mut [&mut dyn QuantileForecaster] = &mut [&mut good, &mut bad, &mut silent];
    let walk = walk(&prepared, 0, Plan::default(), Correction::None, forecasters);
    let of = |ours, theirs| skill(&walk, ours, theirs, None, Seed::root(1));
    let better = of(0, 1).unwrap();
    let [low, high] = better.interval.unwrap();
    assert!(low > 0.0 && low < better.skill && better.skill < high && high < 1.0, "{better:?}");
    assert!(of(1, 0).unwrap().interval.unwrap()[1] < 0.0);
    assert_eq!(of(0, 0), Some(Skill { skill: 0.0, interval: Some([0.0; 2]) }));
    assert_eq!(of(0, 2), None);
    let losses = [0, 1].map(|at| measures(&walk, at)[2].mean_pinball);
    let at_thirty = skill(&walk, 0, 1, Some(2), Seed::root(1)).unwrap().skill;
    assert!((at_thirty - (1.0 - losses[0] / losses[1])).abs() < 1e-9);
}

#[test]
fn a_forecast_of_the_walk_knows_nothing_of_what_comes_later() {
    let long = history(10, |_| 0.05);
    let mut short = long.clone();
    short.series[0].rps.truncate(9 * DAY);
    let mut other = long.clone();
    other.series[0].rps[9 * DAY..].fill(1e5);
    let walks = [&long, &short, &other].map(|history| {
        let calendar = Calendar::default();
        let prepared = Prepared::new(history, &calendar);
        let mut all =
            Baseline::ALL.map(|baseline| BaselineForecaster { baseline, prepared: &prepared });
        let mut all: Vec<&mut dyn QuantileForecaster> =
            all.iter_mut().map(|it| it as &mut dyn QuantileForecaster).collect();
        walk(&prepared, 0, Plan::default(), Correction::Online, &mut all)
    });
    let until = walks[1].origins.len();
    assert!(until > 0);
    for at in 0..Baseline::ALL.len() {
        let said = |walk: &Walk| walk.forecasters[at].quantiles[..until].to_vec();
        assert!(said(&walks[0]).iter().all(Option::is_some));
        assert!(said(&walks[0]) == said(&walks[1]) && said(&walks[0]) == said(&walks[2]));
    }
    let groups = |walk: &Walk| walk.origins[..until].iter().map(|it| it.group).collect::<Vec<_>>();
    assert_eq!(groups(&walks[0]), groups(&walks[2]));
    assert_eq!(walks[0].origins[0].minute, 7 * DAY as Minute);
}

#[test]
fn what_makes_no_figure_is_refused_with_the_reason() {
    let good = history(9, |_| 0.05).series.remove(0).rps;
    assert_eq!(eligible(&good, 8), Ok(()));
    let reason = |rps: &[f32]| eligible(rps, 8).unwrap_err().to_string();
    assert_eq!(reason(&good[..2 * DAY]), "it spans 2.0 days, and figures from day 8 on need 8");
    assert_eq!(eligible(&good[..2 * DAY], 2), Ok(()));
    assert!(reason(&[]).contains("0.0 days"));
    assert!(reason(&vec![f32::NAN; 9 * DAY]).contains("0.0 days"));
    assert!(reason(&vec![7.0; 9 * DAY]).contains("the same"));
    let mut mostly_zero = vec![0.0; 9 * DAY];
    mostly_zero[5] = 1.0;
    assert!(reason(&mostly_zero).contains("median is 0"));
    let mut hourly = vec![f32::NAN; 9 * DAY];
    (0..9 * DAY).step_by(60).for_each(|minute| hourly[minute] = minute as f32);
    hourly[9 * DAY - 1] = 1.0;
    assert!(reason(&hourly).contains("98 % of its minutes are missing"));
}

#[test]
fn the_strong_baseline_is_calibrated_in_every_slice_of_noise_that_differs() {
    let history = history(22, |hour| if hour < 8 { 0.02 } else { 0.08 });
    let calendar = Calendar::default();
    let prepared = Prepared::new(&history, &calendar);
    let baseline = Baseline::LevelTimesProfile;
    let mut strong = BaselineForecaster { baseline, prepared: &prepared };
    let walk = walk(&prepared, 0, Plan::default(), Correction::Online, &mut [&mut strong]);
    assert!(p80_verdict(&walk).is_right());
    assert_eq!(Slice::COUNT, 8);
}
