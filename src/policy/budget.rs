//! Divides the shared CPU between domains: floors first, then demand by class, then headroom and
//! what is left by weight. Shares and reserve always sum to 1.

use crate::cluster::{Class, Domain};

/// One domain's claim, as shares of the capacity that is divided.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Claim {
    /// Priority class: whose demand is met first, and whose floor when not even these fit.
    pub class: Class,
    /// Weight, above 0.
    pub weight: f64,
    /// What the domain needs at the least.
    pub floor: f64,
    /// What the domain would use now.
    pub demand: f64,
    /// What it would like to have free beyond that.
    pub headroom: f64,
}

impl Claim {
    /// The claim of a domain that uses nothing.
    #[must_use]
    pub const fn of(domain: &Domain) -> Self {
        Self {
            class: domain.class,
            weight: domain.weight,
            floor: domain.floor_share,
            demand: 0.0,
            headroom: 0.0,
        }
    }
}

/// Shares per claim, summing to `1 - reserve`; all 0 when there is no claim. `reserve` is 0 to 1.
///
/// 1. Floors. If they do not fit, by class (P0 first), inside a class in proportion.
/// 2. Unmet demand, by class (P0 first), inside a class in proportion to weight (weighted max-min
///    fairness): under shortage no lower domain grows while a higher one waits.
/// 3. Headroom, in proportion to weight.
/// 4. What nobody wants goes to everybody in proportion to weight.
#[must_use]
pub fn divide(claims: &[Claim], reserve: f64) -> Vec<f64> {
    let mut shares = vec![0.0; claims.len()];
    let mut left = 1.0 - reserve;
    for class in Class::ALL {
        let floors: f64 = of(claims, class).map(|(_, claim)| claim.floor).sum();
        let part = if floors > left { left / floors } else { 1.0 };
        for (index, claim) in of(claims, class) {
            shares[index] = claim.floor * part;
        }
        left = (left - floors * part).max(0.0);
    }
    for class in Class::ALL {
        let wanted = of(claims, class).map(|(index, claim)| (index, claim.demand));
        left = fill(claims, &mut shares, left, wanted.collect());
    }
    let wanted = claims.iter().map(|claim| claim.demand + claim.headroom).enumerate();
    left = fill(claims, &mut shares, left, wanted.collect());
    let weights: f64 = claims.iter().map(|claim| claim.weight).sum();
    for (share, claim) in shares.iter_mut().zip(claims) {
        *share += left * claim.weight / weights;
    }
    shares
}

fn of(claims: &[Claim], class: Class) -> impl Iterator<Item = (usize, &Claim)> {
    claims.iter().enumerate().filter(move |(_, claim)| claim.class == class)
}

/// Raises shares towards what is `wanted` (by index of the claim), in proportion to weight; gives
/// what is left when nobody wants more. Each round satisfies at least one claim, so there are at
/// most as many rounds as claims.
fn fill(claims: &[Claim], shares: &mut [f64], mut left: f64, mut wanted: Vec<(usize, f64)>) -> f64 {
    wanted.retain(|(index, wanted)| wanted - shares[*index] > 1e-12);
    while left > 1e-12 && !wanted.is_empty() {
        let weights: f64 = wanted.iter().map(|(index, _)| claims[*index].weight).sum();
        // The largest step per weight that overfills nobody.
        let step = wanted
            .iter()
            .map(|(index, wanted)| (wanted - shares[*index]) / claims[*index].weight)
            .fold(left / weights, f64::min);
        for (index, _) in &wanted {
            shares[*index] += step * claims[*index].weight;
        }
        left = (left - step * weights).max(0.0);
        wanted.retain(|(index, wanted)| wanted - shares[*index] > 1e-12);
    }
    left
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn claim(class: Class, weight: f64, floor: f64, demand: f64) -> Claim {
        Claim { class, weight, floor, demand, headroom: 0.0 }
    }

    #[test]
    fn demand_is_met_while_there_is_room_and_the_rest_follows_weight() {
        let shares =
            divide(&[claim(Class::P0, 1.0, 0.1, 0.3), claim(Class::P3, 0.5, 0.05, 0.1)], 0.05);
        // 0.55 is left over: two thirds to the first.
        assert!((shares[0] - (0.3 + 0.55 * 2.0 / 3.0)).abs() < 1e-9, "{shares:?}");
        assert!((shares[1] - (0.1 + 0.55 / 3.0)).abs() < 1e-9, "{shares:?}");
    }

    #[test]
    fn under_shortage_class_decides_above_the_floors_and_weight_inside_a_class() {
        let shares = divide(
            &[
                claim(Class::P1, 1.0, 0.1, 0.6),
                claim(Class::P3, 1.0, 0.1, 0.9),
                claim(Class::P1, 0.5, 0.1, 0.9),
            ],
            0.1,
        );
        assert!((shares[1] - 0.1).abs() < 1e-9, "{shares:?}");
        assert!((shares[0] - (0.1 + 0.6 * 2.0 / 3.0)).abs() < 1e-9, "{shares:?}");
        assert!((shares[2] - (0.1 + 0.6 / 3.0)).abs() < 1e-9, "{shares:?}");
    }

    #[test]
    fn nobody_gets_headroom_while_a_demand_is_unmet() {
        let with = |headroom, claim: Claim| Claim { headroom, ..claim };
        let claims = [
            with(0.5, claim(Class::P3, 0.3, 0.0, 0.2)),
            with(0.2, claim(Class::P0, 1.0, 0.0, 0.7)),
        ];
        let shares = divide(&claims, 0.1);
        assert!((shares[0] - 0.2).abs() < 1e-9 && (shares[1] - 0.7).abs() < 1e-9, "{shares:?}");
    }

    #[test]
    fn floors_that_do_not_fit_are_kept_by_class() {
        let shares = divide(
            &[
                claim(Class::P3, 0.3, 0.5, 0.5),
                claim(Class::P0, 1.0, 0.6, 0.6),
                claim(Class::P3, 0.3, 0.5, 0.5),
            ],
            0.1,
        );
        assert!((shares[1] - 0.6).abs() < 1e-9, "{shares:?}");
        assert!((shares[0] - 0.15).abs() < 1e-9 && (shares[2] - 0.15).abs() < 1e-9, "{shares:?}");
    }

    proptest! {
        #[test]
        fn shares_and_reserve_sum_to_one(
            claims in prop::collection::vec((0..4_usize, 0.01..1.0, 0.0..1.0, 0.0..2.0), 1..16),
            reserve in 0.0..0.5,
        ) {
            let claims: Vec<Claim> = claims
                .into_iter()
                .map(|(class, weight, floor, demand)| claim(Class::ALL[class], weight, floor, demand))
                .collect();
            let shares = divide(&claims, reserve);
            let sum: f64 = shares.iter().sum::<f64>() + reserve;
            prop_assert!((sum - 1.0).abs() < 1e-9, "{sum}");
            prop_assert!(shares.iter().all(|share| *share >= 0.0));
            let floors: f64 = claims.iter().map(|claim| claim.floor).sum();
            if floors <= 1.0 - reserve {
                for (share, claim) in shares.iter().zip(&claims) {
                    prop_assert!(*share >= claim.floor - 1e-9);
                }
            }
        }
    }
}
