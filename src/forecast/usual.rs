//! What is usual at a minute: the mean of the same minute on the days before.

use super::history::DAY;

/// How many days count.
const DAYS: usize = 7;

/// What is usual in each minute of a series and in the day after its end: the mean of the same minute of
/// the (up to seven) days before it that are known; NaN where none is.
///
/// Daily patterns of services are so regular that the present level times this forecasts most of them to a
/// few per cent (`learning.md` 2.2). It looks back at least a day, so it is known a day ahead.
#[must_use]
pub fn usual(rps: &[f32]) -> Vec<f32> {
    (0..rps.len() + DAY).map(|minute| usual_at(rps, minute)).collect()
}

/// The same for who looks at nothing before minute `first`: it is left out there, as not known.
pub(super) fn usual_since(rps: &[f32], first: usize) -> Vec<f32> {
    let mut usual = vec![f32::NAN; rps.len() + DAY];
    for (minute, usual) in usual.iter_mut().enumerate().skip(first) {
        *usual = usual_at(rps, minute);
    }
    usual
}

/// The same of one minute, at most a day after the end.
pub(super) fn usual_at(rps: &[f32], minute: usize) -> f32 {
    let days = (1..=DAYS).map_while(|day| minute.checked_sub(day * DAY));
    let (sum, count) = days
        .filter_map(|minute| rps.get(minute).filter(|value| value.is_finite()))
        .fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    sum / count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_mean_of_the_days_before_without_the_gaps() {
        let day = |value: f32| vec![value; DAY];
        let mut rps = [day(1.0), day(3.0), day(f32::NAN), day(5.0)].concat();
        rps.extend(day(7.0));
        let usual = usual(&rps);
        assert_eq!(usual.len(), 6 * DAY);
        let at = |day: usize| usual[day * DAY + 700];
        assert!(at(0).is_nan());
        assert_eq!([at(1), at(2), at(3), at(4), at(5)], [1.0, 2.0, 2.0, 3.0, 4.0]);
    }
}
