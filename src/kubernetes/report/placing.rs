//! How the domains share the node pools, as the placement ledger has it. Pure.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::kubernetes::{GrowthSource, PlacementStatus};
use crate::placement::{PoolUse, UNLIMITED};

/// Part of the pools by which a number must move before it is written again.
const STEP: f64 = 0.02;

/// Use of all shared pools by all domains.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Placing {
    domains: HashMap<String, Figures>,
    /// CPU of the pools, in thousandths of a core.
    size: u64,
}

/// Use of all shared pools by one domain: CPU in thousandths of a core.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Figures {
    used: u64,
    target: u64,
    floor: u64,
    borrowed: u64,
    lent: u64,
    waiting: u64,
    growth: u64,
    source: Option<GrowthSource>,
    /// Whether its Domain limits borrowing.
    pub(super) limited: bool,
    /// Pools of which it uses more than it may by that limit.
    pub(super) beyond: Vec<Arc<str>>,
}

/// Use of one pool by all domains together.
#[derive(Debug, Clone, Copy, Default)]
struct Pool {
    borrowed: u64,
    unused: u64,
    targets: u64,
    used: u64,
}

impl Placing {
    /// Adds up what the ledger says of each domain and pool.
    pub(super) fn of(uses: &[PoolUse], sources: &BTreeMap<Arc<str>, GrowthSource>) -> Self {
        let mut pools: HashMap<&str, Pool> = HashMap::new();
        for one in uses {
            let (taken, target) = (one.used.cpu_milli, one.target.cpu_milli);
            let pool = pools.entry(&one.pool).or_default();
            pool.borrowed += taken.saturating_sub(target);
            pool.unused += target.saturating_sub(taken);
            pool.targets += target;
            pool.used += taken;
        }
        let mut domains: HashMap<String, Figures> = HashMap::new();
        for one in uses {
            let pool = pools.get(&*one.pool).copied().unwrap_or_default();
            let source = sources.get(&one.pool).copied();
            domains.entry(one.domain.to_string()).or_default().add(one, pool, source);
        }
        let size = pools.values().map(|pool| pool.targets.max(pool.used)).sum();
        Self { domains, size }
    }

    /// Figures of a domain; none where the ledger does not know it.
    pub(super) fn of_domain(&self, name: &str) -> Option<&Figures> {
        self.domains.get(name)
    }

    /// Whether a status is so different from what was written that it is worth writing.
    pub(super) fn moved(&self, old: &PlacementStatus, new: &PlacementStatus) -> bool {
        let step = STEP * self.size as f64 / 1000.0;
        let far = |old: &String, new: &String| match (old.parse::<f64>(), new.parse::<f64>()) {
            (Ok(old), Ok(new)) => (old - new).abs() > step,
            _ => old != new,
        };
        let numbers = |of: &PlacementStatus| {
            let of = of.clone();
            [of.used, of.target, of.floor, of.borrowed, of.lent, of.waiting, of.growth]
        };
        let nobody = |of: &PlacementStatus| of.waiting == cores(0);
        old.growth_source != new.growth_source
            || nobody(old) != nobody(new)
            || numbers(old).iter().zip(&numbers(new)).any(|(old, new)| far(old, new))
    }
}

impl Figures {
    fn add(&mut self, one: &PoolUse, pool: Pool, source: Option<GrowthSource>) {
        let (used, target) = (one.used, one.target.cpu_milli);
        let unused = target.saturating_sub(used.cpu_milli);
        self.used += used.cpu_milli;
        self.target += target;
        self.floor += one.floor.cpu_milli;
        self.borrowed += used.cpu_milli.saturating_sub(target);
        self.lent += lent(unused, pool);
        self.waiting += one.waiting.cpu_milli;
        self.growth =
            (self.growth + one.growth.unwrap_or(UNLIMITED).cpu_milli).min(UNLIMITED.cpu_milli);
        self.source = self.source.max(source);
        if let Some(most) = one.most {
            self.limited = true;
            if !used.fits(most) {
                self.beyond.push(Arc::clone(&one.pool));
            }
        }
    }

    /// The same as the status of a Domain states it.
    pub(super) fn status(&self) -> PlacementStatus {
        // The ledger takes what closed nodes have away from a growth without limit, too.
        let unlimited = self.growth >= UNLIMITED.cpu_milli / 2;
        PlacementStatus {
            used: cores(self.used),
            target: cores(self.target),
            floor: cores(self.floor),
            borrowed: cores(self.borrowed),
            lent: cores(self.lent),
            waiting: cores(self.waiting),
            growth: if unlimited { "unlimited".to_owned() } else { cores(self.growth) },
            growth_source: self.source.map_or("Nodes", GrowthSource::as_str).to_owned(),
        }
    }
}

/// The part of a domain's unused target that others use: all domains of the pool together lend what is
/// borrowed there, each in proportion.
fn lent(unused: u64, pool: Pool) -> u64 {
    if pool.unused == 0 {
        return 0;
    }
    let part = (pool.borrowed as f64 / pool.unused as f64).min(1.0);
    (unused as f64 * part).round() as u64
}

/// Thousandths of a core as cores with at most one decimal. Parts of it round up, so that a little is not
/// shown as nothing.
fn cores(milli: u64) -> String {
    let tenths = milli.div_ceil(100);
    match (tenths / 10, tenths % 10) {
        (whole, 0) => whole.to_string(),
        (whole, rest) => format!("{whole}.{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Amount;

    fn cpu(cpu_milli: u64) -> Amount {
        Amount { cpu_milli, memory: 0 }
    }

    fn pool_use(pool: &str, domain: &str, used: u64, target: u64) -> PoolUse {
        PoolUse {
            pool: Arc::from(pool),
            domain: Arc::from(domain),
            share: 0.0,
            used: cpu(used),
            target: cpu(target),
            floor: cpu(target / 2),
            most: None,
            waiting: Amount::ZERO,
            growth: Some(cpu(1_000_000)),
            bound: cpu(used / 2),
            binding: Amount::ZERO,
            held: cpu(used - used / 2),
            cap: cpu(1_000_000),
            all: Amount::ZERO,
        }
    }

    fn status(placing: &Placing, domain: &str) -> PlacementStatus {
        placing.of_domain(domain).unwrap().status()
    }

    #[test]
    fn sums_over_the_pools_and_lends_in_proportion() {
        let uses = [
            // 300 cores are borrowed, of 400 that are not used.
            pool_use("general", "shop", 700_000, 400_000),
            pool_use("general", "data", 0, 100_000),
            pool_use("general", "batch", 0, 300_000),
            // More is borrowed than anybody leaves: the reserve, or what was freed by nobody.
            pool_use("gpu", "shop", 12_450, 0),
            pool_use("gpu", "data", 2_000, 4_000),
        ];
        let sources = BTreeMap::from([(Arc::from("gpu"), GrowthSource::NodePool)]);
        let placing = Placing::of(&uses, &sources);
        let shop = status(&placing, "shop");
        assert_eq!((&*shop.used, &*shop.target, &*shop.floor), ("712.5", "400", "200"));
        assert_eq!((&*shop.borrowed, &*shop.lent, &*shop.waiting), ("312.5", "0", "0"));
        assert_eq!((&*shop.growth, &*shop.growth_source), ("2000", "NodePool"));
        let (data, batch) = (status(&placing, "data"), status(&placing, "batch"));
        assert_eq!((&*data.lent, &*batch.lent), ("77", "225"), "75 and 2 of the other pool");
        assert_eq!(&*batch.growth_source, "Nodes");
        assert!(placing.of_domain("nobody").is_none());
    }

    #[test]
    fn growth_without_a_limit_is_a_word() {
        let mut one = pool_use("general", "shop", 0, 0);
        one.growth = None;
        let of = |one: &PoolUse| {
            status(&Placing::of(std::slice::from_ref(one), &BTreeMap::new()), "shop").growth
        };
        assert_eq!(of(&one), "unlimited");
        // Memory alone is limited.
        one.growth = Some(Amount { cpu_milli: UNLIMITED.cpu_milli - 4_000, memory: 1 });
        assert_eq!(of(&one), "unlimited");
        let twice = [one.clone(), PoolUse { pool: Arc::from("gpu"), ..one }];
        assert_eq!(status(&Placing::of(&twice, &BTreeMap::new()), "shop").growth, "unlimited");
    }

    #[test]
    fn use_beyond_a_limit_of_borrowing_is_seen_per_pool() {
        let mut uses = [pool_use("general", "shop", 500, 100), pool_use("gpu", "shop", 500, 100)];
        let of = |uses: &[PoolUse]| {
            let placing = Placing::of(uses, &BTreeMap::new());
            let shop = placing.of_domain("shop").unwrap();
            (shop.limited, shop.beyond.clone())
        };
        assert_eq!(of(&uses), (false, vec![]));
        uses[0].most = Some(cpu(500));
        uses[1].most = Some(cpu(499));
        assert_eq!(of(&uses), (true, vec![Arc::from("gpu")]));
    }

    #[test]
    fn a_status_has_moved_by_two_percent_of_the_pools_or_when_waiting_begins_or_ends() {
        let uses = |used: u64, waiting: u64| {
            let mut shop = pool_use("general", "shop", used, 60_000);
            shop.waiting = cpu(waiting);
            Placing::of(&[shop, pool_use("general", "data", 0, 40_000)], &BTreeMap::new())
        };
        let base = uses(10_000, 0);
        let moved = |placing: &Placing, from: &Placing| {
            placing.moved(&status(from, "shop"), &status(placing, "shop"))
        };
        assert!(!moved(&uses(12_000, 0), &base));
        assert!(moved(&uses(12_100, 0), &base));
        assert!(moved(&uses(7_900, 0), &base));
        assert!(moved(&uses(10_000, 20), &base), "waiting begins");
        assert!(moved(&base, &uses(10_000, 20)), "and ends");
        assert!(!moved(&uses(10_000, 900), &uses(10_000, 20)));
        let (old, mut new) = (status(&base, "shop"), status(&base, "shop"));
        new.growth_source = "Configuration".to_owned();
        assert!(base.moved(&old, &new));
        for odd in ["", "unlimited", "many"] {
            new = PlacementStatus { growth: odd.to_owned(), ..old.clone() };
            assert!(base.moved(&old, &new) && base.moved(&new, &old), "{odd}");
        }
        assert!(!base.moved(&old, &old));
        assert!(base.moved(&PlacementStatus::default(), &old), "of an older version");
    }

    #[test]
    fn a_little_is_not_nothing() {
        for (milli, text) in
            [(0, "0"), (1, "0.1"), (100, "0.1"), (1000, "1"), (412_500, "412.5"), (999_999, "1000")]
        {
            assert_eq!(cores(milli), text);
        }
    }
}
