//! The cloud: launches nodes as fast as its API allows, and takes its time until they are ready.

use std::collections::VecDeque;

use rand_distr::{Distribution, LogNormal};

use crate::simulation::Seed;
use crate::simulation::scenario::{Constants, Provisioner, Range};

/// What is special about one pool for now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PoolState {
    /// Nothing is launched; what was launched before still comes.
    pub stalled: bool,
    /// Factor on the time that a node takes.
    pub slowness: f64,
}

impl Default for PoolState {
    fn default() -> Self {
        Self { stalled: false, slowness: 1.0 }
    }
}

/// What became of one launch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Arrival {
    /// Index of the pool.
    pub pool: usize,
    /// Number of the request within its pool, from 0 in the order of asking.
    pub number: u64,
    /// When it was launched, in seconds.
    pub launched: f64,
    /// When the node was ready or given up, in seconds.
    pub at: f64,
    /// Whether the node is ready; else it was given up, and nothing is asked for in its place.
    pub ready: bool,
    /// Whether there was a machine to pay for from launch on.
    pub paid: bool,
}

/// A node that was asked for and is not launched yet.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    pool: usize,
    number: u64,
    since: f64,
}

/// How long nodes of one pool take.
#[derive(Debug, Clone, Copy)]
enum Start {
    LogNormal(LogNormal<f64>),
    Uniform(Range),
}

/// Every node on its way, of all pools: they share one API limit (a bucket of tokens).
#[derive(Debug, Clone)]
pub struct Cloud {
    seed: Seed,
    starts: Vec<Start>,
    failure: f64,
    failure_seconds: f64,
    timeout_seconds: f64,
    burst: f64,
    per_second: f64,
    /// Tokens in the bucket, and since when.
    tokens: (f64, f64),
    asked: Vec<u64>,
    wanted: VecDeque<Wanted>,
    starting: Vec<Arrival>,
}

impl Cloud {
    /// Nothing on its way, a full bucket, at time 0. `None` where the constants describe no
    /// distribution (a median that is not above 0, a sigma that is negative) or no rate.
    #[must_use]
    pub fn new(constants: &Constants, pools: &[Provisioner], seed: Seed) -> Option<Self> {
        let node = constants.node_start;
        let start = LogNormal::new(node.median.ln(), node.sigma).ok()?;
        let rate = constants.launch_per_second;
        let sound = node.median > 0.0 && node.sigma >= 0.0 && rate > 0.0 && rate.is_finite();
        sound.then(|| Self {
            seed,
            starts: pools
                .iter()
                .map(|provisioner| match provisioner {
                    Provisioner::Scanning => Start::Uniform(constants.scan_node_start),
                    Provisioner::Batching | Provisioner::Fixed => Start::LogNormal(start),
                })
                .collect(),
            failure: constants.launch_failure,
            failure_seconds: constants.launch_retry_seconds,
            timeout_seconds: constants.registration_timeout_seconds,
            burst: constants.launch_burst.max(1.0),
            per_second: rate,
            tokens: (constants.launch_burst.max(1.0), 0.0),
            asked: vec![0; pools.len()],
            wanted: VecDeque::new(),
            starting: Vec::new(),
        })
    }

    /// Whether nothing is on its way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.wanted.is_empty() && self.starting.is_empty()
    }

    /// Asks for `nodes` in a pool at `at` (seconds, never going back). The quota is the caller's.
    pub fn ask(&mut self, pool: usize, nodes: u32, at: f64) {
        let Some(asked) = self.asked.get_mut(pool) else { return };
        for _ in 0..nodes {
            self.wanted.push_back(Wanted { pool, number: *asked, since: at });
            *asked += 1;
        }
    }

    /// Nodes of a pool that were asked for and are neither ready nor given up: they count
    /// against the quota.
    #[must_use]
    pub fn coming(&self, pool: usize) -> u32 {
        let wanted = self.wanted.iter().filter(|node| node.pool == pool).count();
        let starting = self.starting.iter().filter(|node| node.pool == pool).count();
        u32::try_from(wanted + starting).unwrap_or(u32::MAX)
    }

    /// Nodes of a pool that are launched, paid for and not ready yet.
    #[must_use]
    pub fn paid(&self, pool: usize) -> u32 {
        let paid = self.starting.iter().filter(|node| node.pool == pool && node.paid).count();
        u32::try_from(paid).unwrap_or(u32::MAX)
    }

    /// Moves on to `now` (seconds, never going back): launches what the API lets through, first
    /// asked first served, and appends what became of launches to `arrivals`, oldest first.
    /// A pool without a state in `pools` has the usual one.
    pub fn advance(&mut self, now: f64, pools: &[PoolState], arrivals: &mut Vec<Arrival>) {
        for _ in 0..self.wanted.len() {
            let Some(mut node) = self.wanted.pop_front() else { break };
            let state = pools.get(node.pool).copied().unwrap_or_default();
            if state.stalled {
                // It is as if it were asked for when the stall ends.
                node.since = now;
                self.wanted.push_back(node);
            } else if let Some(at) = self.token(node.since, now) {
                let launched = self.launch(&node, at, state.slowness);
                self.starting.push(launched);
            } else {
                self.wanted.push_back(node);
            }
        }
        let begin = arrivals.len();
        arrivals.extend(self.starting.extract_if(.., |node| node.at <= now));
        arrivals[begin..].sort_by(|one, other| {
            one.at
                .total_cmp(&other.at)
                .then((one.pool, one.number).cmp(&(other.pool, other.number)))
        });
    }

    /// When a launch that was asked for at `since` gets its token, if that is by `now`.
    fn token(&mut self, since: f64, now: f64) -> Option<f64> {
        let (tokens, filled) = self.tokens;
        let from = since.max(filled);
        let held = (tokens + (from - filled) * self.per_second).min(self.burst);
        let at = from + (1.0 - held).max(0.0) / self.per_second;
        (at <= now).then(|| {
            self.tokens = ((held - 1.0).max(0.0), at);
            at
        })
    }

    /// The fate of one launch: the same for the same number in its pool, whatever else happens.
    fn launch(&self, node: &Wanted, launched: f64, slowness: f64) -> Arrival {
        let seed = self.seed.nth(node.pool as u64).nth(node.number);
        let takes = match self.starts[node.pool] {
            Start::LogNormal(start) => start.sample(&mut seed.child("start").rng()),
            Start::Uniform(range) => range.at(seed.child("start").draw(0).uniform()),
        } * slowness;
        let fails = seed.draw(0).uniform() < self.failure;
        // Stock-outs have no machine behind them; one that never registers has.
        let (takes, ready) = match (fails, takes > self.timeout_seconds) {
            (true, _) => (self.failure_seconds, false),
            (false, true) => (self.timeout_seconds, false),
            (false, false) => (takes, true),
        };
        Arrival {
            pool: node.pool,
            number: node.number,
            launched,
            at: launched + takes,
            ready,
            paid: !fails,
        }
    }
}
