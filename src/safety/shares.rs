//! Divides the shared pools anew where an operator set shares by hand. Shares and reserve sum to 1
//! whenever something is set by hand, in every pool.

use crate::cluster::{Domain, Timestamp};

/// Shares per domain, in the order of the catalog, and what nobody gets.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Division {
    /// Share per domain.
    pub(super) shares: Vec<f64>,
    /// Share that is given to nobody.
    pub(super) reserve: f64,
}

/// The division of all shared pools, and that of pools with shares of their own.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Divisions {
    /// Every shared pool, ...
    pub(super) common: Division,
    /// ... but for these, by name.
    pub(super) pools: Vec<(String, Division)>,
}

impl Divisions {
    /// Puts the shares that hold by hand at `now` in place of the proposed ones. Whatever the
    /// policy proposed, no share is negative or not a number.
    pub(super) fn new(domains: &[Domain], proposed: &[f64], reserve: f64, now: Timestamp) -> Self {
        let sane = |share: f64| if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
        let proposed: Vec<f64> =
            (0..domains.len()).map(|at| sane(proposed.get(at).copied().unwrap_or(0.0))).collect();
        let reserve = sane(reserve);
        let by_hand = |domain: &Domain, pool: Option<&str>| {
            let set = domain.budget_by_hand.as_ref().filter(|set| set.declaration.holds(now))?;
            let of_pool = pool.and_then(|pool| set.pools.iter().find(|(name, _)| name == pool));
            of_pool.map(|(_, share)| *share).or(set.share).map(sane)
        };
        let divide = |pool: Option<&str>| {
            let fixed: Vec<Option<f64>> =
                domains.iter().map(|domain| by_hand(domain, pool)).collect();
            make_room(&proposed, &fixed, reserve)
        };
        let holding = domains
            .iter()
            .filter_map(|domain| domain.budget_by_hand.as_ref())
            .filter(|set| set.declaration.holds(now));
        let mut named: Vec<&str> =
            holding.flat_map(|set| &set.pools).map(|(name, _)| name.as_str()).collect();
        named.sort_unstable();
        named.dedup();
        let pools = named.into_iter().map(|pool| (pool.to_owned(), divide(Some(pool)))).collect();
        Self { common: divide(None), pools }
    }

    /// The share of one domain in one pool.
    pub(super) fn of(&self, domain: usize, pool: &str) -> f64 {
        let own = self.pools.iter().find(|(name, _)| name == pool);
        own.map_or(&self.common, |(_, division)| division).shares[domain]
    }
}

/// Keeps the fixed shares as far as they fit together, then the reserve, and divides the rest in
/// proportion to what was proposed. Without fixed shares the proposal stays as it is.
fn make_room(proposed: &[f64], fixed: &[Option<f64>], reserve: f64) -> Division {
    if fixed.iter().all(Option::is_none) {
        return Division { shares: proposed.to_vec(), reserve };
    }
    let asked: f64 = fixed.iter().flatten().sum();
    let part = if asked > 1.0 { 1.0 / asked } else { 1.0 };
    let left = (1.0 - asked * part).max(0.0);
    let mut reserve = reserve.min(left);
    let rest = left - reserve;
    let others: f64 = proposed
        .iter()
        .zip(fixed)
        .filter(|(_, fixed)| fixed.is_none())
        .map(|(share, _)| share)
        .sum();
    // Shares below this are rounding: dividing by their sum would make noise the law.
    let divisible = others > 1e-9;
    if !divisible {
        reserve += rest;
    }
    let scale = if divisible { rest / others } else { 0.0 };
    let shares = proposed
        .iter()
        .zip(fixed)
        .map(|(share, fixed)| fixed.map_or(share * scale, |fixed| fixed * part))
        .collect();
    Division { shares, reserve }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cluster::{BudgetByHand, Class, Declaration, Mode, PolicyChoice, Slo};

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    /// Share, shares of pools, beginning and end.
    type Set = Option<(Option<f64>, Vec<(String, f64)>, i64, i64)>;

    /// A domain with these shares by hand from `from` to `until`, in milliseconds from now.
    fn domain(set: Set) -> Domain {
        let at = |offset: i64| Timestamp::from_millis(NOW.as_millis() + offset);
        Domain {
            name: "shop".into(),
            class: Class::P1,
            weight: 0.5,
            slo: Slo { p99_seconds: 0.2, error_ratio: 0.0 },
            floor_share: 0.0,
            borrowing: crate::cluster::LoanLimit::default(),
            lending: crate::cluster::LoanLimit::default(),
            policy: PolicyChoice::Hirl,
            mode: Mode::Active,
            calls: Vec::new(),
            budget_by_hand: set.map(|(share, pools, from, until)| BudgetByHand {
                share,
                pools,
                declaration: Declaration {
                    from: at(from),
                    until: at(until),
                    by: "ann".into(),
                    reason: "campaign".into(),
                },
            }),
            emergency: None,
        }
    }

    fn share(share: f64) -> Domain {
        domain(Some((Some(share), Vec::new(), 0, 1)))
    }

    fn close(one: &[f64], other: &[f64]) -> bool {
        one.len() == other.len() && one.iter().zip(other).all(|(a, b)| (a - b).abs() < 1e-9)
    }

    #[test]
    fn a_share_by_hand_replaces_the_policys_and_the_others_make_room_in_proportion() {
        let found =
            Divisions::new(&[share(0.55), domain(None), domain(None)], &[0.1, 0.5, 0.3], 0.1, NOW);
        assert!(close(&found.common.shares, &[0.55, 0.35 * 5.0 / 8.0, 0.35 * 3.0 / 8.0]));
        assert!((found.common.reserve - 0.1).abs() < 1e-9);
        assert!(found.pools.is_empty());
    }

    #[test]
    fn the_reserve_gives_way_last_and_too_much_by_hand_is_scaled_down() {
        let found = Divisions::new(&[share(0.95), domain(None)], &[0.1, 0.8], 0.1, NOW);
        assert!(close(&found.common.shares, &[0.95, 0.0]), "{found:?}");
        assert!((found.common.reserve - 0.05).abs() < 1e-9);
        let found = Divisions::new(&[share(0.9), share(0.6)], &[0.1, 0.8], 0.1, NOW);
        assert!(close(&found.common.shares, &[0.6, 0.4]), "{found:?}");
        assert!(found.common.reserve.abs() < 1e-9);
    }

    #[test]
    fn what_nobody_is_there_to_take_goes_to_the_reserve() {
        let found = Divisions::new(&[share(0.3), share(0.2)], &[0.5, 0.4], 0.1, NOW);
        assert!(close(&found.common.shares, &[0.3, 0.2]));
        assert!((found.common.reserve - 0.5).abs() < 1e-9);
    }

    #[test]
    fn a_pool_share_moves_everybody_in_that_pool_alone() {
        let pools = vec![("gpu".to_owned(), 0.7)];
        let domains = [domain(Some((None, pools, 0, 1))), domain(None)];
        let found = Divisions::new(&domains, &[0.4, 0.5], 0.1, NOW);
        assert!(close(&found.common.shares, &[0.4, 0.5]));
        assert!(close(&[found.of(0, "gpu"), found.of(1, "gpu")], &[0.7, 0.2]));
        assert!(close(&[found.of(0, "web"), found.of(1, "web")], &[0.4, 0.5]));
    }

    #[test]
    fn nothing_set_by_hand_holds_before_its_beginning_or_at_its_end() {
        let set = |from, until| {
            let pools = vec![("gpu".to_owned(), 0.7)];
            let domains = [domain(Some((Some(0.8), pools, from, until))), domain(None)];
            Divisions::new(&domains, &[0.4, 0.5], 0.1, NOW)
        };
        let policy = Division { shares: vec![0.4, 0.5], reserve: 0.1 };
        for (from, until) in [(1, 9), (-9, 0), (-9, -1)] {
            let found = set(from, until);
            assert_eq!((found.common, found.pools), (policy.clone(), Vec::new()), "{from} {until}");
        }
        for (from, until) in [(0, 9), (-9, 1)] {
            assert_eq!(set(from, until).common.shares[0], 0.8, "{from} {until}");
        }
    }

    fn any_set() -> impl Strategy<Value = Set> {
        let pool = prop_oneof![Just("a".to_owned()), Just("b".to_owned()), Just(String::new())];
        let share = prop_oneof![0.0..=1.0_f64, Just(f64::NAN), Just(-1.0), Just(7.0)];
        prop::option::of((
            prop::option::of(share.clone()),
            prop::collection::vec((pool, share), 0..3),
            -2..2_i64,
            -2..3_i64,
        ))
    }

    proptest! {
        #[test]
        fn shares_and_reserve_sum_to_one_in_every_pool_and_none_is_negative(
            sets in prop::collection::vec((any_set(), 0.0..1.0_f64), 1..8),
            reserve in 0.0..0.9_f64,
        ) {
            let total: f64 = sets.iter().map(|(_, weight)| weight).sum::<f64>().max(1e-3);
            let proposed: Vec<f64> =
                sets.iter().map(|(_, weight)| weight / total * (1.0 - reserve)).collect();
            let whole = (proposed.iter().sum::<f64>() + reserve - 1.0).abs() < 1e-6;
            prop_assume!(whole);
            let domains: Vec<Domain> = sets.into_iter().map(|(set, _)| domain(set)).collect();
            let found = Divisions::new(&domains, &proposed, reserve, NOW);
            for division in std::iter::once(&found.common).chain(found.pools.iter().map(|(_, it)| it)) {
                let sum = division.shares.iter().sum::<f64>() + division.reserve;
                prop_assert!((sum - 1.0).abs() < 1e-6, "{sum}: {found:?}");
                prop_assert!(division.shares.iter().all(|share| *share >= 0.0));
                prop_assert!(division.reserve >= 0.0);
            }
            let any_holds = domains.iter().any(|domain| {
                domain.budget_by_hand.as_ref().is_some_and(|set| set.declaration.holds(NOW))
            });
            if !any_holds {
                prop_assert_eq!(found.common.shares, proposed);
                prop_assert!(found.pools.is_empty());
            }
        }
    }
}
