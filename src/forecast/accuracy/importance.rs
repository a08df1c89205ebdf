//! What an input is worth: how much worse forecasts get when it is taken from another window.
//!
//! Breiman (2001), "Random forests": permutation importance. Unlike attention and selection weights it says what the
//! network loses, and not where it looks.

use super::cases::{Case, losses};
use crate::forecast::network::{Model, ModelError};
use crate::forecast::window::{FUTURE, Feature, PAST, Window};
use crate::seed::Seed;

/// Inputs that are taken from another window together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inputs {
    /// The name in reports.
    pub name: &'static str,
    /// Names of features, of the past and of the horizons.
    pub features: &'static [&'static str],
}

/// The groups that are looked at.
pub const GROUPS: [Inputs; 6] = [
    Inputs { name: "promotion", features: &["promotion", IN_THE_ANCHOR] },
    Inputs {
        name: "promotion elsewhere",
        features: &["promotion elsewhere", "promotion elsewhere begins"],
    },
    Inputs { name: "payday and month end", features: &["payday", "month end"] },
    Inputs { name: "deployment", features: &["deployment"] },
    Inputs { name: "other domains", features: &["leader", "others"] },
    Inputs {
        name: "day and week ago",
        features: &["growth a day ago", "growth a week ago", "same minute yesterday"],
    },
];

/// The rise of the pinball loss, as a part of the loss with all inputs in place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Importance {
    /// The rise; 0 where the input does not matter.
    pub rise: f64,
    /// 95 % interval by a bootstrap over the windows.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

const RESAMPLES: u64 = 1000;

/// Permutes the inputs among `cases`, of which there are some of one domain.
pub fn importance(
    model: &Model,
    cases: &[Case],
    inputs: Inputs,
    seed: Seed,
) -> Result<Importance, ModelError> {
    let whole = losses(model, cases)?;
    let order = shuffled(cases.len(), seed.child("order"));
    let mixed: Vec<Case> = cases
        .iter()
        .zip(order)
        .map(|((window, came), other)| (taken(window, &cases[other].0, inputs), *came))
        .collect();
    let without = losses(model, &mixed)?;
    let rise = |indices: &mut dyn Iterator<Item = usize>| {
        let (mut before, mut after) = (0.0, 0.0);
        for index in indices {
            before += whole[index];
            after += without[index];
        }
        after / before - 1.0
    };
    let count = cases.len();
    let mut rises: Vec<f64> = (0..RESAMPLES)
        .map(|number| {
            let seed = seed.child("bootstrap").nth(number);
            let draw = |index| seed.draw(index).below(count);
            rise(&mut (0..count as u64).map(draw))
        })
        .collect();
    rises.sort_by(f64::total_cmp);
    let at = |part: f64| rises[(RESAMPLES as f64 * part) as usize];
    Ok(Importance { rise: rise(&mut (0..count)), low: at(0.025), high: at(0.975) })
}

/// `window` with these inputs of `other`.
fn taken(window: &Window, other: &Window, inputs: Inputs) -> Window {
    let mut mixed = window.clone();
    let copy = |to: &mut [f32], from: &[f32], list: &[Feature]| {
        for (index, (to, from)) in to.iter_mut().zip(from).enumerate() {
            if inputs.features.contains(&list[index % list.len()].name) {
                *to = *from;
            }
        }
    };
    copy(&mut mixed.past, &other.past, &PAST);
    copy(&mut mixed.future, &other.future, &FUTURE);
    if inputs.features.contains(&IN_THE_ANCHOR) {
        announce(&mut mixed, other.announced);
    }
    mixed
}

/// The feature that is a part of the simple forecast as well.
const IN_THE_ANCHOR: &str = "promotion begins, in the anchor";

/// Features that are distances from the simple forecast.
const FROM_THE_ANCHOR: [&str; 5] =
    ["last value", "level of an hour", "level of three hours", "level of a day", "usual itself"];

/// `window` with other announcements in its simple forecast, and in everything that is told as a distance from it.
fn announce(window: &mut Window, announced: [f32; 3]) {
    let rows = window.future.chunks_mut(FUTURE.len());
    for (horizon, (row, announced)) in rows.zip(announced).enumerate() {
        let moved = announced - window.announced[horizon];
        window.anchor[horizon] += moved;
        for (value, feature) in row.iter_mut().zip(&FUTURE) {
            if FROM_THE_ANCHOR.contains(&feature.name) {
                let further = *value - moved / window.spread[horizon];
                *value = further.clamp(-feature.limit, feature.limit);
            }
        }
    }
    window.announced = announced;
}

/// The numbers below `count` in a random order (Fisher and Yates).
fn shuffled(count: usize, seed: Seed) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    for index in (1..count).rev() {
        let other = seed.draw(index as u64).below(index + 1);
        order.swap(index, other);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forecast::Kind;

    #[test]
    fn every_name_in_the_groups_is_a_feature() {
        let names = GROUPS.iter().flat_map(|inputs| inputs.features).chain(&FROM_THE_ANCHOR);
        for name in names {
            assert!(PAST.iter().chain(&FUTURE).any(|feature| feature.name == *name), "{name}");
        }
    }

    #[test]
    fn what_no_window_differs_in_is_worth_nothing_and_noise_for_all_inputs_is_worth_much() {
        let model = Model::builtin(Kind::Mixer).unwrap();
        let case = |index: u64| {
            let seed = Seed::root(9).nth(index);
            let noise = |count: usize, name: &str| {
                let seed = seed.child(name);
                (0..count as u64).map(|it| seed.draw(it).gauss() as f32 * 0.3).collect::<Vec<_>>()
            };
            let mut window = Window {
                past: vec![0.0; crate::forecast::TOKENS * PAST.len()],
                future: noise(3 * FUTURE.len(), "future"),
                statics: vec![0.0; crate::forecast::STATIC.len()],
                anchor: [5.0; 3],
                announced: [0.0; 3],
                spread: [0.05; 3],
                floor: 1.0,
            };
            for (place, feature) in FUTURE.iter().enumerate().cycle().take(window.future.len()) {
                if feature.name == "deployment" {
                    window.future[place] = 0.0;
                }
            }
            let answer = model.ask(&[&window]).unwrap()[0];
            // The network's own medians come: every change of an input is a loss.
            (window, answer.map(|row| row[1] as f32))
        };
        let cases: Vec<Case> = (0..60).map(case).collect();
        let worth = |inputs| importance(&model, &cases, inputs, Seed::root(1)).unwrap();
        let all =
            Inputs { name: "growth", features: &["usual growth", "last value", "usual itself"] };
        let found = worth(all);
        assert!(
            found.low > 0.1 && found.low <= found.rise && found.rise <= found.high,
            "{found:?}"
        );
        let mut same = cases.clone();
        for (window, _) in &mut same {
            window.future.clone_from(&cases[0].0.future);
        }
        let nothing = importance(&model, &same, all, Seed::root(1)).unwrap();
        assert_eq!(nothing, Importance { rise: 0.0, low: 0.0, high: 0.0 });
    }
}
