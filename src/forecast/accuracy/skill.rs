//! Who forecasts better, and how sure that is.

#![expect(clippy::cast_possible_wrap, reason = "minutes and days of a series are far below 2^63")]

use serde::Serialize;

use super::Walk;
use super::measures::mean_pinball;
use crate::forecast::calibration::HORIZONS;
use crate::forecast::history::DAY;
use crate::seed::Seed;

/// How many times days are drawn.
const DRAWINGS: u64 = 1000;

/// With fewer days there is no interval.
const LEAST_DAYS: usize = 4;

/// By how much a forecaster's pinball loss is smaller than that of another.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Skill {
    /// 1 - loss / loss of the other: above 0 is better.
    pub skill: f64,
    /// The middle 95 % of it when days are drawn again; `None` with fewer than four days.
    pub interval: Option<[f64; 2]>,
}

/// The skill of a forecaster against another on the forecasts that both made, at a horizon or over all of
/// them. `None` without any, or when the other has no loss.
///
/// Its interval is a moving-block bootstrap over days (Künsch, 1989): blocks of the cube root of their number
/// keep days together that resemble each other.
#[must_use]
pub fn skill(
    walk: &Walk,
    ours: usize,
    theirs: usize,
    horizon: Option<usize>,
    seed: Seed,
) -> Option<Skill> {
    let days = losses_by_day(walk, ours, theirs, horizon)?;
    let skill = ratio(&days);
    if !skill.is_finite() {
        return None;
    }
    let block = (days.len() as f64).cbrt().round().max(1.0) as usize;
    let interval = (days.len() >= LEAST_DAYS).then(|| {
        let mut skills: Vec<f64> =
            (0..DRAWINGS).map(|time| ratio(&drawn(&days, block, seed.nth(time)))).collect();
        skills.retain(|skill| skill.is_finite());
        skills.sort_unstable_by(f64::total_cmp);
        let at = |part: f64| {
            let place = (part * skills.len().saturating_sub(1) as f64).round() as usize;
            skills.get(place).copied().unwrap_or(skill)
        };
        [at(0.025), at(0.975)]
    });
    Some(Skill { skill, interval })
}

fn ratio(days: &[[f64; 2]]) -> f64 {
    let sum = |who: usize| days.iter().map(|day| day[who]).sum::<f64>();
    1.0 - sum(0) / sum(1)
}

/// The losses of both on each day, summed over the forecasts that both made.
fn losses_by_day(
    walk: &Walk,
    ours: usize,
    theirs: usize,
    horizon: Option<usize>,
) -> Option<Vec<[f64; 2]>> {
    let [ours, theirs] = [ours, theirs].map(|at| walk.forecasters.get(at));
    let pairs = ours?.quantiles.iter().zip(&theirs?.quantiles);
    let mut days: Vec<(i64, [f64; 2])> = Vec::new();
    for (origin, pair) in walk.origins.iter().zip(pairs) {
        let (Some(ours), Some(theirs)) = pair else { continue };
        let day = origin.minute.div_euclid(DAY as i64);
        if days.last().is_none_or(|(last, _)| *last != day) {
            days.push((day, [0.0; 2]));
        }
        let counted = (0..HORIZONS).filter(|at| horizon.is_none_or(|wanted| wanted == *at));
        for at in counted.filter(|at| origin.came[*at].is_finite()) {
            if let Some((_, losses)) = days.last_mut() {
                losses[0] += mean_pinball(&ours[at], origin.came[at]);
                losses[1] += mean_pinball(&theirs[at], origin.came[at]);
            }
        }
    }
    (!days.is_empty()).then(|| days.into_iter().map(|(_, losses)| losses).collect())
}

/// As many days, in blocks that begin anywhere.
fn drawn(days: &[[f64; 2]], block: usize, seed: Seed) -> Vec<[f64; 2]> {
    let starts = days.len() - block + 1;
    let blocks = days.len().div_ceil(block) as u64;
    (0..blocks)
        .flat_map(|number| {
            let start = seed.draw(number).below(starts);
            &days[start..start + block]
        })
        .take(days.len())
        .copied()
        .collect()
}
