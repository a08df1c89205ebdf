//! Which regime a forecast is made in, from what is known when it is made.

use super::calendar::Flags;
use super::slice::Regime;

/// Minutes of the level.
const LEVEL: usize = 5;

/// How many of them must be known.
const LEAST_LEVEL: usize = 3;

/// The level over what is usual, relative to what that was over the last day, from which traffic is far
/// above the usual (`learning.md` 2.4).
const FAR_ABOVE: f64 = 1.2;

/// Minutes over which a change is fast.
const CHANGE: usize = 10;

/// From how many robust deviations on a change is fast.
const DEVIATIONS: f64 = 4.0;

/// The standard deviation of a normal distribution over its median absolute deviation.
const NORMAL_OVER_MAD: f64 = 1.4826;

/// A smaller change is never fast, whatever the deviations of a smooth series.
const LEAST_CHANGE: f64 = 0.05;

/// What is typical is asked of the last day, every so many minutes, and needs a quarter of a day.
const STEP: usize = 5;
const WINDOW: usize = super::history::DAY / STEP;
const LEAST_WINDOW: usize = WINDOW / 4;

/// An announced promotion counts from so many minutes before its start: the longest horizon.
const ANNOUNCED: usize = 30;

/// The regime of a forecast that is made at the end of minute `origin`.
///
/// **Defined before any coverage was looked at, and not tuned on coverage since.** With the deviation
/// `d(t)` = mean traffic of the five minutes up to `t` over the mean of what is usual in them, it is
/// [`Regime::Spike`] when one of these holds:
///
/// 1. `d(origin)` is above 1.2 times the median of `d` over the last day, and above `d` five minutes ago:
///    traffic is far above the usual and still rising;
/// 2. `ln d(origin) - ln d(origin - 10)` exceeds four robust deviations (1.4826 MAD) of such changes over
///    the last day, and 5 %: it rises fast;
/// 3. a promotion of this domain is on, or announced to start within 30 minutes.
///
/// It looks at `rps` up to `origin` and at nothing later. `usual` is that of [`super::usual()`], `flags`
/// those of the same minutes (and 30 more, where they are known). Without a week or a day of experience
/// only the third can hold.
#[must_use]
pub fn regime(rps: &[f32], usual: &[f32], flags: &[Flags], origin: usize) -> Regime {
    let announced = flags.iter().skip(origin).take(ANNOUNCED + 1).any(|flags| flags.promotion);
    if announced || far_and_rising(rps, usual, origin).unwrap_or(false) {
        Regime::Spike
    } else {
        Regime::Steady
    }
}

fn far_and_rising(rps: &[f32], usual: &[f32], origin: usize) -> Option<bool> {
    let deviation = |minute: usize| deviation(rps, usual, minute);
    let now = deviation(origin)?;
    let window = || (1..=WINDOW).filter_map(|step| origin.checked_sub(step * STEP));
    let far = || {
        if now <= deviation(origin.checked_sub(LEVEL)?)? {
            return Some(false);
        }
        let typical = median(&mut window().filter_map(deviation).collect::<Vec<_>>())?;
        Some(now > FAR_ABOVE * typical)
    };
    let fast = || {
        let change = |minute: usize| {
            let before = deviation(minute.checked_sub(CHANGE)?)?;
            Some((deviation(minute)? / before).ln()).filter(|change| change.is_finite())
        };
        let now = change(origin)?;
        if now <= LEAST_CHANGE {
            return Some(false);
        }
        let mut changes: Vec<f64> = window().filter_map(change).collect();
        let typical = median(&mut changes)?;
        for change in &mut changes {
            *change = (*change - typical).abs();
        }
        Some(now - typical > DEVIATIONS * NORMAL_OVER_MAD * median(&mut changes)?)
    };
    Some(far().unwrap_or(false) || fast().unwrap_or(false))
}

/// Traffic of the five minutes up to this one over what is usual in them.
fn deviation(rps: &[f32], usual: &[f32], minute: usize) -> Option<f64> {
    let from = (minute + 1).checked_sub(LEVEL)?;
    let pairs = rps.get(from..=minute)?.iter().zip(usual.get(from..=minute)?);
    let (mut came, mut expected, mut known) = (0.0, 0.0, 0);
    for (rps, usual) in pairs.filter(|(rps, usual)| rps.is_finite() && usual.is_finite()) {
        came += f64::from(*rps);
        expected += f64::from(*usual);
        known += 1;
    }
    (known >= LEAST_LEVEL && expected > 0.0).then_some(came / expected)
}

/// `None` with too few values.
fn median(values: &mut [f64]) -> Option<f64> {
    if values.len() < LEAST_WINDOW {
        return None;
    }
    let middle = values.len() / 2;
    Some(*values.select_nth_unstable_by(middle, f64::total_cmp).1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forecast::{DAY, usual};
    use crate::seed::Seed;

    /// Three days of a daily rhythm with 2 % of noise.
    fn days() -> Vec<f32> {
        let seed = Seed::root(1);
        let rhythm = |minute: usize| (minute as f64 / DAY as f64 * std::f64::consts::TAU).sin();
        let value =
            |m: usize| 100.0 * (2.0 + rhythm(m)) * (1.0 + 0.02 * seed.draw(m as u64).gauss());
        (0..3 * DAY).map(|minute| value(minute) as f32).collect()
    }

    fn of(rps: &[f32], flags: &[Flags], origin: usize) -> Regime {
        regime(rps, &usual(rps), flags, origin)
    }

    #[test]
    fn a_usual_day_is_steady() {
        let rps = days();
        let usual = usual(&rps);
        let spikes =
            (2 * DAY..3 * DAY).filter(|at| regime(&rps, &usual, &[], *at) == Regime::Spike);
        assert!(spikes.count() < DAY / 100);
    }

    #[test]
    fn a_jump_is_a_spike_once_it_is_seen_and_not_before() {
        let mut rps = days();
        let start = 2 * DAY + 600;
        rps[start..start + 60].iter_mut().for_each(|value| *value *= 1.6);
        assert_eq!(of(&rps, &[], start - 1), Regime::Steady);
        assert_eq!(of(&rps, &[], start + 4), Regime::Spike);
        // What comes later changes nothing.
        assert_eq!(of(&rps[..=start + 4], &[], start + 4), Regime::Spike);
    }

    #[test]
    fn a_level_that_is_high_all_day_is_no_spike() {
        let mut rps = days();
        rps[DAY + 200..].iter_mut().for_each(|value| *value *= 2.0);
        assert_eq!(of(&rps, &[], 2 * DAY + 1000), Regime::Steady);
    }

    #[test]
    fn an_announced_promotion_counts_half_an_hour_ahead() {
        let rps = days();
        let mut flags = vec![Flags::default(); 3 * DAY];
        let start = 2 * DAY + 600;
        flags[start..start + 60].iter_mut().for_each(|flags| flags.promotion = true);
        assert_eq!(of(&rps, &flags, start - 31), Regime::Steady);
        assert_eq!(of(&rps, &flags, start - 30), Regime::Spike);
        assert_eq!(of(&rps, &flags, start + 59), Regime::Spike);
        assert_eq!(of(&rps, &flags, start + 60), Regime::Steady);
    }

    #[test]
    fn nothing_known_is_steady() {
        for rps in [vec![], vec![f32::NAN; 3 * DAY], vec![0.0; 3 * DAY], vec![5.0; 3]] {
            assert_eq!(of(&rps, &[], 2 * DAY + 7), Regime::Steady);
            assert_eq!(of(&rps, &[], 0), Regime::Steady);
        }
    }
}
