//! Divides the shared CPU between domains: floors first, then demand by weight, then what is left
//! by weight. Shares and reserve always sum to 1.

use crate::cluster::Class;

/// One domain's claim, as shares of the capacity that is divided.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Claim {
    /// Priority class: decides only when not even the floors fit.
    pub class: Class,
    /// Weight, above 0.
    pub weight: f64,
    /// What the domain needs at the least.
    pub floor: f64,
    /// What the domain would use now.
    pub demand: f64,
}

/// Shares per claim, summing to `1 - reserve`; all 0 when there is no claim. `reserve` is 0 to 1.
///
/// 1. Floors. If they do not fit, by class (P0 first), inside a class in proportion.
/// 2. The rest goes to unmet demand, in proportion to weight (weighted max-min fairness).
/// 3. What no demand wants goes to everybody in proportion to weight.
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
    left = fill(claims, &mut shares, left);
    let weights: f64 = claims.iter().map(|claim| claim.weight).sum();
    for (share, claim) in shares.iter_mut().zip(claims) {
        *share += left * claim.weight / weights;
    }
    shares
}

fn of(claims: &[Claim], class: Class) -> impl Iterator<Item = (usize, &Claim)> {
    claims.iter().enumerate().filter(move |(_, claim)| claim.class == class)
}

/// Fills unmet demand in proportion to weight; gives what is left when nobody wants more. Each
/// round satisfies at least one claim, so there are at most as many rounds as claims.
fn fill(claims: &[Claim], shares: &mut [f64], mut left: f64) -> f64 {
    let mut hungry: Vec<usize> =
        (0..claims.len()).filter(|&index| claims[index].demand > shares[index]).collect();
    while left > 1e-12 && !hungry.is_empty() {
        let weights: f64 = hungry.iter().map(|&index| claims[index].weight).sum();
        // The largest step per weight that overfills nobody.
        let step = hungry
            .iter()
            .map(|&index| (claims[index].demand - shares[index]) / claims[index].weight)
            .fold(left / weights, f64::min);
        for &index in &hungry {
            shares[index] += step * claims[index].weight;
        }
        left = (left - step * weights).max(0.0);
        hungry.retain(|&index| claims[index].demand > shares[index] + 1e-12);
    }
    left
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn claim(class: Class, weight: f64, floor: f64, demand: f64) -> Claim {
        Claim { class, weight, floor, demand }
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
    fn under_shortage_weight_decides_above_the_floors() {
        let shares =
            divide(&[claim(Class::P0, 1.0, 0.1, 0.9), claim(Class::P3, 0.25, 0.1, 0.9)], 0.0);
        assert!((shares[0] - (0.1 + 0.8 * 0.8)).abs() < 1e-9, "{shares:?}");
        assert!((shares[1] - (0.1 + 0.8 * 0.2)).abs() < 1e-9, "{shares:?}");
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
