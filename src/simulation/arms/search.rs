//! What is searched of each baseline, and how a trial is drawn.

use std::collections::BTreeMap;

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::Rng;

use super::{Arm, Planning, untuned};
use crate::cluster::Class;
use crate::simulation::Seed;
use crate::simulation::scenario::{PolicyKind, ScalePolicy, ScaleRules, Select};

/// Searched constants by their names.
pub type Constants = BTreeMap<String, f64>;

/// The baselines that are searched.
pub const TUNABLE: [&str; 3] = ["hpa-tuned", "rules", "rules+forecast"];

/// Part of the constants that differ between a trial and the earlier one that it starts from, and
/// how far, as part of their range.
const CHANGED: f64 = 0.4;
const REACH: f64 = 0.2;

/// Draws one trial of a baseline: anywhere in its space, or near an earlier trial's constants.
/// `None` for a policy that is not searched.
#[must_use]
pub fn draw(policy: &str, near: Option<&Constants>, seed: Seed) -> Option<(Constants, Arm)> {
    shape(policy, Dice { rng: seed.rng(), near, changed: CHANGED, drawn: Constants::new() })
}

/// The baseline with the constants of a trial; without any, as it is. `None` for a policy that is
/// not searched, and where a constant is missing.
#[must_use]
pub fn build(policy: &str, constants: &Constants) -> Option<Arm> {
    if constants.is_empty() {
        return untuned(policy);
    }
    let rng = Seed::root(0).rng();
    let dice = Dice { rng, near: Some(constants), changed: 0.0, drawn: Constants::new() };
    shape(policy, dice).filter(|(used, _)| used == constants).map(|(_, arm)| arm)
}

fn shape(policy: &str, mut dice: Dice<'_>) -> Option<(Constants, Arm)> {
    let mut arm = untuned(policy).filter(|_| TUNABLE.contains(&policy))?;
    let targets = Class::ALL.map(|class| dice.between(&format!("target{class}"), 0.4, 0.9));
    arm.actuation.target_cpu = Some(targets);
    if let Some(planner) = &mut arm.planner {
        planner.observation.lead_seconds = dice.between("leadSeconds", 20.0, 180.0);
        if let Planning::Rules(settings) = &mut planner.policy {
            settings.stabilization_seconds = dice.between("stabilizationSeconds", 30.0, 600.0);
            settings.latency_gain = dice.between("latencyGain", 0.0, 2.0);
            settings.latency_min_load = dice.between("latencyMinLoad", 0.2, 1.0);
            settings.latency_limit = dice.between("latencyLimit", 1.0, 4.0);
            settings.hold_in_breach = dice.between("holdInBreach", 0.0, 1.0) > 0.3;
            settings.traffic_limit = dice.between("trafficLimit", 1.0, 4.0);
            settings.reserve_share = dice.between("reserveShare", 0.0, 0.1);
            settings.warm_share = dice.between("warmShare", 0.0, 0.2);
            settings.headroom = dice.between("headroom", 0.0, 0.5);
            settings.budget_seconds = dice.between("budgetSeconds", 10.0, 120.0);
            if settings.forecast_lead_seconds > 0.0 {
                settings.forecast_lead_seconds = dice.between("forecastLeadSeconds", 60.0, 1800.0);
                settings.forecast_limit = dice.between("forecastLimit", 1.05, 4.0);
                let quantile = dice.between("forecastQuantile", 0.0, 3.0);
                settings.forecast_quantile = [0.5, 0.8, 0.9][(quantile as usize).min(2)];
            }
        }
        let wait = dice.between("hpaDownSeconds", 0.0, 300.0);
        arm.actuation.scale_down = Some(rules(wait, vec![percent(100.0, 15.0)]));
    } else {
        let tolerance = ["toleranceUp", "toleranceDown"].map(|name| dice.between(name, 0.01, 0.3));
        arm.actuation.tolerance = Some(tolerance);
        let up = vec![
            percent(dice.between("upPercent", 50.0, 400.0), 15.0),
            pods(dice.between("upPods", 2.0, 30.0), 15.0),
        ];
        arm.actuation.scale_up = Some(rules(dice.between("upSeconds", 0.0, 60.0), up));
        let down = vec![percent(dice.between("downPercent", 5.0, 100.0), 60.0)];
        arm.actuation.scale_down = Some(rules(dice.between("downSeconds", 60.0, 900.0), down));
    }
    Some((dice.drawn, arm))
}

fn rules(stabilization_seconds: f64, policies: Vec<ScalePolicy>) -> ScaleRules {
    let stabilization_seconds = Some(stabilization_seconds);
    ScaleRules { stabilization_seconds, select: Select::Max, policies }
}

fn percent(value: f64, period_seconds: f64) -> ScalePolicy {
    ScalePolicy { kind: PolicyKind::Percent, value: value.round() as u32, period_seconds }
}

fn pods(value: f64, period_seconds: f64) -> ScalePolicy {
    ScalePolicy { kind: PolicyKind::Pods, value: value.round() as u32, period_seconds }
}

struct Dice<'a> {
    rng: Xoshiro256PlusPlus,
    near: Option<&'a Constants>,
    /// Part of the constants that differ from those near.
    changed: f64,
    drawn: Constants,
}

impl Dice<'_> {
    /// 0 included and 1 not.
    fn uniform(&mut self) -> f64 {
        (self.rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A constant between two bounds, with three digits, as people would write it.
    fn between(&mut self, name: &str, low: f64, high: f64) -> f64 {
        let (whether, anywhere) = (self.uniform(), self.uniform());
        let value = match self.near.and_then(|near| near.get(name)) {
            None => low + (high - low) * anywhere,
            Some(known) if whether >= self.changed => *known,
            Some(known) => known + (high - low) * REACH * (2.0 * anywhere - 1.0),
        };
        let digits = 10_f64.powf(2.0 - value.abs().max(1e-9).log10().floor());
        let value = ((value * digits).round() / digits).clamp(low, high);
        self.drawn.insert(name.to_owned(), value);
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_is_a_function_of_its_seed_and_what_it_starts_from() {
        for policy in TUNABLE {
            let far = |seed| draw(policy, None, Seed::root(seed)).unwrap();
            let (constants, arm) = far(1);
            assert_eq!(build(policy, &constants), Some(arm.clone()));
            assert_eq!(far(1), (constants.clone(), arm));
            assert_ne!(far(1), far(2));
            let (near, _) = draw(policy, Some(&constants), Seed::root(3)).unwrap();
            let kept = constants.iter().filter(|(name, value)| near.get(*name) == Some(*value));
            assert!((1..constants.len()).contains(&kept.count()), "{near:?}");
        }
        assert!(draw("hpa", None, Seed::root(1)).is_none());
    }

    #[test]
    fn every_trial_has_constants_that_a_configuration_may_have() {
        for number in 0..300 {
            for policy in ["rules", "rules+forecast"] {
                let (_, arm) = draw(policy, None, Seed::root(number)).unwrap();
                let planner = arm.planner.unwrap();
                planner.observation.validate().unwrap();
                let Planning::Rules(settings) = planner.policy else { panic!("no rule") };
                settings.validate().unwrap();
                assert_eq!(settings.forecast_lead_seconds > 0.0, policy == "rules+forecast");
            }
        }
    }
}
