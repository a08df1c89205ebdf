//! From what a network says to what is asked for. Plain arithmetic: what the networks give is finite here,
//! and everything at 0 leaves the rule as it is.

use super::GROUPS;
use super::settings::Settings;

/// What the Commander says of one domain, in units of the settings' reach; -1 to 1 each.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Command {
    /// To the logarithm of its share.
    pub share: f64,
    /// To the headroom.
    pub headroom: f64,
    /// The share of its apps that will break their SLO over the next five minutes, as it expects; 0 to 1.
    pub urgency: f64,
}

/// What a network's log-odds mean as a chance, 0 to 1.
#[must_use]
pub fn chance(log_odds: f32) -> f64 {
    1.0 / (1.0 + f64::from(-log_odds).exp())
}

/// What a Soldier says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Orders {
    /// A step for each member of the view, -2 to 2; heeded for those at risk.
    pub steps: Vec<f64>,
    /// To the logarithm of each group's part, in units of the settings' reach; -1 to 1.
    pub splits: [f64; GROUPS],
    /// Logarithm of the part of the way down that is gone at once; 0 and above is all of it.
    pub velocity: f64,
}

impl Orders {
    /// Of a Soldier that leaves so many apps to what its Commander says.
    #[must_use]
    pub fn nothing(members: usize) -> Self {
        Self { steps: vec![0.0; members], ..Self::default() }
    }

    /// Whether every number is one.
    #[must_use]
    pub fn is_finite(&self) -> bool {
        self.velocity.is_finite()
            && self.steps.iter().chain(&self.splits).all(|value| value.is_finite())
    }
}

impl Command {
    /// Whether every number is one.
    #[must_use]
    pub const fn is_finite(self) -> bool {
        self.share.is_finite() && self.headroom.is_finite() && self.urgency.is_finite()
    }
}

/// The logarithm of the factor that a headroom of -1 to 1 stands for: to be short is more dangerous than to
/// be idle, so that the way down is half as long.
pub(super) fn headroom(settings: &Settings, said: f64) -> f64 {
    let said = said.clamp(-1.0, 1.0);
    if said < 0.0 { said * settings.headroom / 2.0 } else { said * settings.headroom }
}

/// Factors of the groups: each group's part of `cores` moves by its split, and the parts still make up the
/// whole (a softmax over the logarithms of the rule's parts and the differences).
pub(super) fn group_factors(
    settings: &Settings,
    splits: &[f64; GROUPS],
    cores: &[f64; GROUPS],
) -> [f64; GROUPS] {
    let moved: [f64; GROUPS] =
        std::array::from_fn(|group| (splits[group].clamp(-1.0, 1.0) * settings.split).exp());
    if !settings.zero_sum {
        return moved;
    }
    let whole: f64 = cores.iter().sum();
    let sum: f64 = cores.iter().zip(moved).map(|(cores, moved)| cores * moved).sum();
    if whole > 0.0 && sum > 0.0 { moved.map(|moved| moved * whole / sum) } else { [1.0; GROUPS] }
}

/// Shares of the domains after the Commander: a softmax over the logarithms of the rule's shares and the
/// differences, the reserve's logarithm as it is; then floors, the dead zone and the slew limit. Shares and
/// reserve sum to 1. What the limits leave over goes to the reserve.
///
/// `floors` sum to less than 1 and are kept where they fit; `before` are the shares in force, empty at first.
pub(super) fn shares(
    settings: &Settings,
    (rule, reserve): (&[f64], f64),
    said: &[f64],
    floors: &[f64],
    before: &[f64],
) -> (Vec<f64>, f64) {
    if said.iter().all(|said| *said == 0.0) {
        return (rule.to_vec(), reserve);
    }
    let moved: Vec<f64> = rule
        .iter()
        .zip(said)
        .map(|(share, said)| share * (said.clamp(-1.0, 1.0) * settings.share).exp())
        .collect();
    let sum = moved.iter().sum::<f64>() + reserve;
    let mut shares: Vec<f64> = moved.iter().map(|share| share / sum).collect();
    // A floor is never divided away by what is learned; nor is it given where the rule could not.
    for ((share, floor), rule) in shares.iter_mut().zip(floors).zip(rule) {
        *share = share.max(floor.min(*rule));
    }
    if before.len() == shares.len() {
        for (share, before) in shares.iter_mut().zip(before) {
            if (*share - before).abs() < settings.dead_zone * before {
                *share = *before;
            }
            *share = share.clamp(before - settings.slew, before + settings.slew);
        }
    }
    // Whatever was lifted must come from somewhere: first from the reserve, then from all alike.
    let sum: f64 = shares.iter().sum();
    if sum > 1.0 {
        for share in &mut shares {
            *share /= sum;
        }
    }
    let reserve = (1.0 - shares.iter().sum::<f64>()).max(0.0);
    (shares, reserve)
}

/// Replicas after a Soldier: the rule's number times what was said, to the nearest whole one; below what
/// stands only `velocity` of the way. A factor of 1 and no step leave the rule's number untouched.
///
/// A way down leaves what nothing but the forecast asks for (`ahead` of `asked`) as it is: a Soldier does not see the
/// forecast, and pods that wait for a sale look to it like pods that nobody needs.
///
/// A step up also keeps what stands, two steps all of it: with a slow callee the workers of an app wait, its
/// CPU falls, and a rule that follows CPU takes its pods away in the middle of the trouble.
pub(super) fn replicas(
    (asked, ahead): (f64, f64),
    (factor, step): (f64, f64),
    standing: f64,
    velocity: f64,
) -> f64 {
    let wanted = if factor == 1.0 { asked } else { (asked * factor).round().max(1.0) };
    // What is kept is not multiplied: it would grow upon itself with every decision.
    let wanted = if step > 0.0 && standing > asked {
        wanted.max((asked + (standing - asked) * (step / 2.0).min(1.0)).round())
    } else {
        wanted
    };
    let part = velocity.min(0.0).exp();
    let wanted = if wanted < standing && part < 1.0 {
        (standing - (standing - wanted) * part).ceil()
    } else {
        wanted
    };
    if ahead > 0.0 && factor < 1.0 {
        wanted.max(((asked - ahead) * factor + ahead).round())
    } else {
        wanted
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_said_is_the_rule() {
        let settings = Settings::default();
        let rule = [0.41, 0.2, 0.3];
        let said = shares(&settings, (&rule, 0.09), &[0.0; 3], &[0.1; 3], &[0.5, 0.1, 0.3]);
        assert_eq!(said, (rule.to_vec(), 0.09));
        assert_eq!(replicas((7.0, 0.0), (1.0, 0.0), 9.0, 0.0), 7.0);
        assert_eq!(headroom(&settings, 0.0), 0.0);
        let factors = group_factors(&settings, &[0.0; GROUPS], &[1.0; GROUPS]);
        assert_eq!(factors, [1.0; GROUPS]);
    }

    #[test]
    fn what_a_group_gains_the_others_lose_unless_the_projection_is_left_out() {
        let (splits, cores) = ([1.0, 0.0, 0.0, 0.0, 0.0, 0.0], [10.0; GROUPS]);
        let bound = group_factors(&Settings::default(), &splits, &cores);
        assert!(bound[0] > 1.0 && bound[1] < 1.0, "{bound:?}");
        let free = group_factors(&Settings::without(Some("noProjection")), &splits, &cores);
        assert!((free[0] - 0.6_f64.exp()).abs() < 1e-9 && free[1] == 1.0, "{free:?}");
    }

    #[test]
    fn a_share_moves_within_dead_zone_and_slew_and_the_reserve_takes_the_rest() {
        let settings = Settings::default();
        let (moved, reserve) =
            shares(&settings, (&[0.5, 0.4], 0.1), &[1.0, 0.0], &[0.0; 2], &[0.5, 0.4]);
        assert!((moved[0] - 0.6).abs() < 1e-9, "the slew limit: {moved:?}");
        assert!((moved.iter().sum::<f64>() + reserve - 1.0).abs() < 1e-9);
        let (still, _) =
            shares(&settings, (&[0.5, 0.4], 0.1), &[0.01, 0.0], &[0.0; 2], &[0.5, 0.4]);
        assert_eq!(still, [0.5, 0.4]);
    }

    #[test]
    fn a_way_down_may_be_slow_and_a_way_up_is_not() {
        assert_eq!(replicas((4.0, 0.0), (1.0, 0.0), 10.0, 0.5_f64.ln()), 7.0);
        assert_eq!(replicas((14.0, 0.0), (1.0, 0.0), 10.0, -3.0), 14.0);
        assert_eq!(replicas((10.0, 0.0), (1.3, 2.0), 10.0, 0.0), 13.0);
        assert_eq!(replicas((1.0, 0.0), (0.3, -2.0), 1.0, 0.0), 1.0);
    }

    #[test]
    fn what_the_forecast_asks_for_is_not_lowered() {
        assert_eq!(replicas((20.0, 10.0), (0.7, -2.0), 20.0, 0.0), 17.0);
        assert_eq!(replicas((20.0, 0.0), (0.7, -2.0), 20.0, 0.0), 14.0);
        assert_eq!(replicas((20.0, 10.0), (1.3, 2.0), 20.0, 0.0), 26.0);
    }

    #[test]
    fn a_step_up_keeps_what_stands_and_a_step_down_does_not() {
        assert_eq!(replicas((4.0, 0.0), (1.3, 2.0), 10.0, 0.0), 10.0);
        assert_eq!(replicas((9.0, 0.0), (1.3, 2.0), 10.0, 0.0), 12.0);
        assert_eq!(replicas((4.0, 0.0), (1.0, 1.0), 10.0, 0.0), 7.0);
        assert_eq!(
            replicas((4.0, 0.0), (0.7, -2.0), 10.0, 0.0),
            3.0,
            "nothing is kept on a step down"
        );
        assert_eq!(replicas((14.0, 0.0), (1.15, 1.0), 10.0, 0.0), 16.0);
    }

    proptest! {
        #[test]
        fn groups_make_up_the_whole_and_shares_sum_to_one(
            splits in prop::array::uniform6(-3.0..3.0),
            cores in prop::array::uniform6(0.0..50.0),
            rule in prop::collection::vec(0.01..1.0, 1..16),
            said in prop::collection::vec(-2.0..2.0, 16),
            before in prop::collection::vec(0.0..0.5, 16),
            floors in prop::collection::vec(0.0..0.2, 16),
        ) {
            let settings = Settings::default();
            let factors = group_factors(&settings, &splits, &cores);
            let after: f64 = factors.iter().zip(cores).map(|(factor, cores)| factor * cores).sum();
            prop_assert!((after - cores.iter().sum::<f64>()).abs() < 1e-6);

            let whole: f64 = rule.iter().sum::<f64>() * 1.05;
            let rule: Vec<f64> = rule.iter().map(|share| share / whole).collect();
            let reserve = 1.0 - rule.iter().sum::<f64>();
            let n = rule.len();
            let (shares, reserve) =
                shares(&settings, (&rule, reserve), &said[..n], &floors[..n], &before[..n]);
            prop_assert!((shares.iter().sum::<f64>() + reserve - 1.0).abs() < 1e-9);
            prop_assert!(shares.iter().all(|share| *share >= 0.0) && reserve >= 0.0);
        }
    }
}
