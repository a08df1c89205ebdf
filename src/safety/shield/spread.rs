//! Spreads raises that need new nodes over provisioning batches, so that many apps that grow at once do
//! not ask the provisioner for all their nodes in one moment (a stampede).
//!
//! What fits on nodes that stand is never held back, nor an app in breach, nor anything for more than
//! [`Settings::batches`] batches. Warm capacity waits first, then the raises of the least weighted need.

use serde::{Deserialize, Serialize};

use super::budget::Growth;
use crate::cluster::{Snapshot, Timestamp};

/// An app whose latency or CPU is at this multiple of its limit or target is about to break its promise:
/// it is held back as little as one in breach.
pub(super) const URGENT_RISK: f64 = 1.2;

/// How raises are spread.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Settings {
    /// Batches for which a raise may wait, 0 to 2; 0 switches spreading off.
    pub batches: u32,
    /// Length of a batch, in seconds.
    pub batch_seconds: f64,
    /// Nodes that one batch may ask for: this many, ...
    pub nodes: f64,
    /// ... or this share of the nodes that stand, whichever is more.
    pub node_share: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { batches: 2, batch_seconds: 30.0, nodes: 4.0, node_share: 0.02 }
    }
}

impl Settings {
    /// One sentence that says what is wrong, if anything is.
    pub fn validate(&self) -> Result<(), String> {
        if self.batches > 2 {
            return Err(format!(
                "safety.spread.batches must be 0 to 2, not {}: a raise may not wait for longer",
                self.batches
            ));
        }
        for (name, value, low, high) in [
            ("batchSeconds", self.batch_seconds, 1.0, 120.0),
            ("nodes", self.nodes, 1.0, 1e6),
            ("nodeShare", self.node_share, 0.0, 1.0),
        ] {
            if !(low..=high).contains(&value) {
                return Err(format!("safety.spread.{name} must be {low} to {high}, not {value}"));
            }
        }
        Ok(())
    }
}

/// A raise that the spread may hold back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Raise {
    pub(super) growth: Growth,
    /// What was granted of it so far, in pods.
    pub(super) granted: u32,
    /// Whether the app is in breach or near it, so that nothing holds it back.
    pub(super) in_breach: bool,
    /// Its need, weighted by its domain: who goes first.
    pub(super) need: f64,
}

/// What came of a spread.
#[derive(Debug, Clone, Default)]
pub(super) struct Spread {
    /// Pods held back, for each raise.
    pub(super) held: Vec<u32>,
    /// What is left of the warm capacity, in cores.
    pub(super) warm_cores: f64,
    /// CPU that is held back, in cores.
    pub(super) held_cores: f64,
}

/// What was released, and since when something is held.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Batches {
    /// Cores asked for by the last decision, warm ones included.
    released: f64,
    /// Beginning of the batch, and what was released in it beyond what stood then.
    batch: Option<(Timestamp, f64)>,
    held_since: Option<Timestamp>,
}

impl Batches {
    /// Holds back what this batch may not ask for any more. `standing` is what is asked for without the
    /// raises, in cores.
    pub(super) fn spread(
        &mut self,
        settings: &Settings,
        snapshot: &Snapshot,
        standing: f64,
        raises: &[Raise],
        warm_cores: f64,
        now: Timestamp,
    ) -> Spread {
        let mut spread = Spread { held: vec![0; raises.len()], warm_cores, ..Spread::default() };
        let shared = || snapshot.pools.iter().filter(|pool| pool.shared);
        let nodes: f64 = shared().map(|pool| f64::from(pool.nodes)).sum();
        let capacity = snapshot.shared_cpu();
        let cores = |raise: &Raise, pods: u32| f64::from(pods) * raise.growth.cost;
        let growth: f64 = raises.iter().map(|raise| cores(raise, raise.granted)).sum();
        let wanted = standing + growth + warm_cores;
        if settings.batches == 0 || nodes == 0.0 || wanted <= capacity {
            self.released = wanted;
            self.held_since = None;
            return spread;
        }
        let batch = self.batch.filter(|(begun, _)| {
            (0.0..settings.batch_seconds).contains(&now.seconds_since(*begun))
        });
        let (begun, mut used) = batch.unwrap_or((now, 0.0));
        let allowed = settings.nodes.max(settings.node_share * nodes) * capacity / nodes;
        let base = capacity.max(self.released);
        let mut excess = wanted - base - (allowed - used).max(0.0);
        let most = f64::from(settings.batches) * settings.batch_seconds;
        let overdue = self.held_since.is_some_and(|since| now.seconds_since(since) >= most);
        if excess > 1e-9 && !overdue {
            self.held_since.get_or_insert(now);
            let from_warm = excess.min(warm_cores);
            spread.warm_cores -= from_warm;
            excess -= from_warm;
            let mut order: Vec<usize> =
                (0..raises.len()).filter(|at| !raises[*at].in_breach).collect();
            order.sort_by(|&a, &b| raises[a].need.total_cmp(&raises[b].need).then(b.cmp(&a)));
            for at in order {
                if excess <= 1e-9 {
                    break;
                }
                let raise = &raises[at];
                let pods = ((excess / raise.growth.cost).ceil() as u32).min(raise.granted);
                spread.held[at] = pods;
                excess -= cores(raise, pods);
            }
        } else if excess <= 1e-9 || overdue {
            self.held_since = None;
        }
        let kept: f64 =
            raises.iter().zip(&spread.held).map(|(raise, held)| cores(raise, *held)).sum();
        spread.held_cores = kept + warm_cores - spread.warm_cores;
        let released = wanted - spread.held_cores;
        used += (released - base).max(0.0);
        self.batch = Some((begun, used));
        self.released = released;
        spread
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cluster::{Catalog, Pool};

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn after(seconds: u64) -> Timestamp {
        NOW.plus(std::time::Duration::from_secs(seconds))
    }

    /// Ten nodes of ten cores.
    fn snapshot() -> Snapshot {
        let name = "general".to_owned();
        Snapshot {
            at: NOW,
            catalog: Arc::new(Catalog::default()),
            apps: Vec::new(),
            pools: vec![Pool { name, shared: true, nodes: 10, cpu: 100.0, memory: 1e12 }],
            forecasts: Vec::new(),
        }
    }

    fn raise(cores: u32, need: f64) -> Raise {
        let growth = Growth { index: 0, from: 0, to: cores, cost: 1.0, risk: need };
        Raise { growth, granted: cores, in_breach: false, need }
    }

    fn settings() -> Settings {
        Settings { nodes: 2.0, node_share: 0.0, ..Settings::default() }
    }

    fn held(
        batches: &mut Batches,
        standing: f64,
        raises: &[Raise],
        warm: f64,
        now: Timestamp,
    ) -> (Vec<u32>, f64) {
        let spread = batches.spread(&settings(), &snapshot(), standing, raises, warm, now);
        (spread.held, spread.warm_cores)
    }

    #[test]
    fn what_fits_on_standing_nodes_is_never_held_back() {
        let mut batches = Batches::default();
        assert_eq!(
            held(&mut batches, 40.0, &[raise(30, 1.0), raise(20, 0.5)], 10.0, NOW),
            (vec![0, 0], 10.0)
        );
    }

    #[test]
    fn warm_capacity_waits_first_then_the_least_need_and_breach_never() {
        let mut batches = Batches::default();
        let raises = [raise(30, 1.0), raise(20, 0.5)];
        // 100 stand, two nodes are one batch: 10 warm cores and 20 of the second raise are too much.
        assert_eq!(held(&mut batches, 100.0, &raises, 10.0, NOW), (vec![10, 20], 0.0));
        let breach = raises.map(|raise| Raise { in_breach: true, ..raise });
        assert_eq!(held(&mut Batches::default(), 100.0, &breach, 10.0, NOW), (vec![0, 0], 0.0));
    }

    #[test]
    fn each_batch_lets_more_through_and_two_are_the_most() {
        let mut batches = Batches::default();
        let raises = [raise(60, 1.0)];
        assert_eq!(held(&mut batches, 100.0, &raises, 0.0, NOW).0, [40]);
        // The same batch lets nothing more through.
        assert_eq!(held(&mut batches, 100.0, &raises, 0.0, after(10)).0, [40]);
        assert_eq!(held(&mut batches, 100.0, &raises, 0.0, after(30)).0, [20]);
        // After two batches everything goes.
        assert_eq!(held(&mut batches, 100.0, &raises, 0.0, after(60)).0, [0]);
        let off = Settings { batches: 0, ..settings() };
        let spread = Batches::default().spread(&off, &snapshot(), 100.0, &raises, 5.0, NOW);
        assert_eq!((spread.held, spread.warm_cores, spread.held_cores), (vec![0], 5.0, 0.0));
    }

    #[test]
    fn a_cluster_without_nodes_holds_nothing_back() {
        let empty = Snapshot { pools: Vec::new(), ..snapshot() };
        let spread =
            Batches::default().spread(&settings(), &empty, 1.0, &[raise(5, 1.0)], 0.0, NOW);
        assert_eq!(spread.held, [0]);
        for bad in
            [Settings { batches: 3, ..settings() }, Settings { nodes: f64::NAN, ..settings() }]
        {
            assert!(bad.validate().is_err());
        }
    }
}
