//! What went wrong and what it cost, counted from plain observations: the same code for a
//! simulated and a live cluster.
//!
//! Definitions are those of `system.md` section 1. Observations must be the truth (not what a
//! delayed pipeline showed to a policy); forecasts and budgets must be reference ones that no
//! policy can shape.

mod stampede;

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::cluster::{Class, Slo};

pub use stampede::{Ticket, Waves};

/// The numbers in the definitions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Definitions {
    /// Length of the window in which a stampede happens, in seconds.
    pub stampede_window_seconds: f64,
    /// A stampede asks for nodes at more than this multiple of the mean rate ...
    pub stampede_rate: f64,
    /// ... of this long before the window, in seconds, ...
    pub stampede_mean_seconds: f64,
    /// ... and the 95th percentile of the time until these nodes are ready is more than this
    /// multiple of the nominal one.
    pub stampede_delay: f64,
    /// Fewer nodes in a window are no stampede, however quiet it was before. Ours: the page
    /// states no least number, and after a quiet hour a single slow node would be one.
    pub stampede_least_nodes: u32,
    /// Growth counts for this long, in seconds.
    pub growth_seconds: f64,
    /// In a cascade the traffic of the bystander is at most this part away from its forecast.
    pub cascade_traffic: f64,
    /// In a cascade the bystander breaks its SLO for at least this long, in seconds.
    pub cascade_breach_seconds: f64,
    /// In an inversion pods are pending for at least this long, in seconds.
    pub inversion_pending_seconds: f64,
    /// Where room is lent, a pod may be pending for as long as preemption takes: the grace period of its
    /// victims, its binding and one back-off, in seconds.
    pub preemption_seconds: f64,
    /// What stops for less than this is still the same cascade or inversion, in seconds. Ours.
    pub episode_gap_seconds: f64,
    /// Replicas that go less than this after they were asked for have oscillated, in seconds
    /// (`system.md` 2.4).
    pub reversal_seconds: f64,
}

impl Default for Definitions {
    fn default() -> Self {
        Self {
            stampede_window_seconds: 30.0,
            stampede_rate: 5.0,
            stampede_mean_seconds: 3600.0,
            stampede_delay: 2.0,
            stampede_least_nodes: 10,
            growth_seconds: 300.0,
            cascade_traffic: 0.1,
            cascade_breach_seconds: 30.0,
            inversion_pending_seconds: 30.0,
            preemption_seconds: 45.0,
            episode_gap_seconds: 60.0,
            reversal_seconds: 120.0,
        }
    }
}

/// One app during a tick.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AppTick {
    /// Index of its domain.
    pub domain: usize,
    /// Priority class of its pods.
    pub class: Class,
    /// Pods that are ready.
    pub ready: u32,
    /// 99th percentile of latency, in seconds; NaN without traffic.
    pub p99_seconds: f64,
    /// Share of requests that failed or timed out, 0 to 1.
    pub error_ratio: f64,
    /// CPU that its placed pods request, in cores.
    pub requested_cores: f64,
    /// CPU that they use, in cores.
    pub used_cores: f64,
}

impl AppTick {
    /// Whether the promise is broken: too slow, too many failures, or nobody ready.
    #[must_use]
    pub fn breaks(&self, slo: &Slo) -> bool {
        self.ready == 0 || slo.is_broken_by(self.p99_seconds, self.error_ratio)
    }
}

/// One domain during a tick.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DomainTick {
    /// Its priority class.
    pub class: Class,
    /// What it promises.
    pub slo: Slo,
    /// Requests per second that its apps were offered.
    pub rps: f64,
    /// The median that the reference forecast expected, in requests per second; NaN: unknown.
    pub forecast_rps: f64,
    /// Whether the domain as a whole breaks its SLO.
    pub in_breach: bool,
}

/// One domain in one pool at the end of a tick.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Use {
    /// CPU requested by its pods on the pool's nodes, in cores.
    pub cores: f64,
    /// Its reference budget there, in cores; infinite where none applies.
    pub budget_cores: f64,
    /// Its floor there and one pod, in cores; infinite where none applies.
    pub floor_cores: f64,
    /// How long its oldest pod that could go there has been pending for capacity, in seconds;
    /// 0 when none is.
    pub pending_seconds: f64,
}

/// One pool during a tick.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PoolTick {
    /// Nodes paid for: from launch to termination.
    pub paid_nodes: u32,
    /// CPU of one node, in cores.
    pub node_cores: f64,
    /// Nodes that came during the tick.
    pub added: u32,
    /// Nodes that went during the tick.
    pub removed: u32,
}

/// What happened from one observation to the next.
#[derive(Debug, Clone, Copy)]
pub struct Tick<'a> {
    /// Its end, in seconds on any clock that never goes back.
    pub at: f64,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Whether it counts. What does not (a warm-up) is still remembered.
    pub counted: bool,
    /// The domains.
    pub domains: &'a [DomainTick],
    /// The apps.
    pub apps: &'a [AppTick],
    /// The pools.
    pub pools: &'a [PoolTick],
    /// Every domain in every pool: the domains of the first pool, then those of the second, ...
    pub uses: &'a [Use],
    /// Pods preempted during the tick, in the order of [`Class::ALL`].
    pub preempted: [u32; Class::ALL.len()],
}

/// The sums, per class in the order of [`Class::ALL`] where there are four of one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Time that was counted, in hours.
    pub hours: f64,
    /// App-minutes in breach.
    pub breach_minutes: [f64; Class::ALL.len()],
    /// CPU requested by placed pods, in core-hours.
    pub requested_core_hours: [f64; Class::ALL.len()],
    /// CPU used, in core-hours.
    pub used_core_hours: [f64; Class::ALL.len()],
    /// Nodes paid for, in core-hours.
    pub paid_core_hours: f64,
    /// Nodes that came.
    pub nodes_added: u64,
    /// Nodes that went.
    pub nodes_removed: u64,
    /// Pods preempted, by their class.
    pub preempted: [u64; Class::ALL.len()],
    /// Cascades: bystanders hit, once per episode, by the bystander's class.
    pub cascades: [u64; Class::ALL.len()],
    /// How long they were, in minutes.
    pub cascade_minutes: f64,
    /// Inversions, once per episode, domain and pool, by the class of the domain that waits.
    pub inversions: [u64; Class::ALL.len()],
    /// How long they were, in minutes.
    pub inversion_minutes: f64,
    /// Episodes in which a domain waited for longer than preemption takes while a lower one had more than
    /// its floor and one pod: those that the rule of placement excludes, wherever the room is.
    #[serde(default)]
    pub withheld: [u64; Class::ALL.len()],
}

impl Counts {
    /// CPU requested for each core used; NaN where nothing was used.
    #[must_use]
    pub fn over_provisioning(&self) -> [f64; Class::ALL.len()] {
        std::array::from_fn(|class| self.requested_core_hours[class] / self.used_core_hours[class])
    }
}

/// Something that goes on for a while.
#[derive(Debug, Clone, Copy)]
struct Episode {
    last: f64,
}

impl Episode {
    const NONE: Self = Self { last: f64::NEG_INFINITY };

    /// Notes that it goes on during the tick that ends at `at`; whether it is a new one.
    fn goes_on(&mut self, at: f64, seconds: f64, gap: f64) -> bool {
        let new = at - seconds - self.last >= gap;
        self.last = at;
        new
    }
}

/// Counts breaches, cost, churn, cascades, inversions and preemptions. Stampedes are counted by
/// [`Waves`], which hears of every node.
#[derive(Debug, Clone)]
pub struct Counter {
    definitions: Definitions,
    domains: usize,
    counts: Counts,
    /// For how long each domain has been in breach without a break, in seconds.
    breach_seconds: Vec<f64>,
    cascades: Vec<Episode>,
    inversions: Vec<Episode>,
    withheld: Vec<Episode>,
    /// Cores per pool and domain, newest last, one entry older than the growth window.
    history: VecDeque<(f64, Vec<f64>)>,
}

impl Counter {
    /// A counter for this many domains and pools, with nothing counted.
    #[must_use]
    pub fn new(definitions: Definitions, domains: usize, pools: usize) -> Self {
        Self {
            definitions,
            domains,
            counts: Counts::default(),
            breach_seconds: vec![0.0; domains],
            cascades: vec![Episode::NONE; domains],
            inversions: vec![Episode::NONE; domains * pools],
            withheld: vec![Episode::NONE; domains * pools],
            history: VecDeque::new(),
        }
    }

    /// What was counted so far.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Takes in one tick. Its slices are as long as the numbers given at the beginning; what is
    /// beyond is ignored.
    pub fn tick(&mut self, tick: &Tick<'_>) {
        self.remember(tick);
        if tick.counted {
            self.sum(tick);
        }
        self.cascades(tick);
        self.inversions(tick);
    }

    fn remember(&mut self, tick: &Tick<'_>) {
        let edge = tick.at - self.definitions.growth_seconds;
        let mut spare = None;
        // The newest entry that is old enough stays: growth is measured from there.
        while self.history.get(1).is_some_and(|(at, _)| *at <= edge) {
            spare = self.history.pop_front();
        }
        let mut cores = spare.map(|(_, cores)| cores).unwrap_or_default();
        cores.clear();
        cores.extend(tick.uses.iter().map(|one| one.cores));
        self.history.push_back((tick.at, cores));
        for (seconds, domain) in self.breach_seconds.iter_mut().zip(tick.domains) {
            *seconds = if domain.in_breach { *seconds + tick.seconds } else { 0.0 };
        }
    }

    /// Whether the domain in the pool has more now than at the beginning of the growth window.
    fn grew(&self, index: usize, now: f64) -> bool {
        let begin = self.history.front().and_then(|(_, cores)| cores.get(index));
        begin.is_some_and(|begin| now > begin + 1e-9)
    }

    fn sum(&mut self, tick: &Tick<'_>) {
        let counts = &mut self.counts;
        let (minutes, hours) = (tick.seconds / 60.0, tick.seconds / 3600.0);
        counts.hours += hours;
        for app in tick.apps {
            let class = app.class as usize;
            counts.requested_core_hours[class] += app.requested_cores * hours;
            counts.used_core_hours[class] += app.used_cores * hours;
            if tick.domains.get(app.domain).is_some_and(|domain| app.breaks(&domain.slo)) {
                counts.breach_minutes[class] += minutes;
            }
        }
        for pool in tick.pools {
            counts.paid_core_hours += f64::from(pool.paid_nodes) * pool.node_cores * hours;
            counts.nodes_added += u64::from(pool.added);
            counts.nodes_removed += u64::from(pool.removed);
        }
        for (sum, pods) in counts.preempted.iter_mut().zip(tick.preempted) {
            *sum += u64::from(pods);
        }
    }

    /// A bystander as busy as expected cannot get pods where somebody else grew, and breaks its SLO.
    fn cascades(&mut self, tick: &Tick<'_>) {
        let rules = self.definitions;
        for (index, domain) in tick.domains.iter().enumerate().take(self.domains) {
            // An unknown forecast (NaN) is not near anything.
            let away = (domain.rps - domain.forecast_rps).abs();
            let expected = away <= rules.cascade_traffic * domain.forecast_rps;
            if !expected || self.breach_seconds[index] < rules.cascade_breach_seconds {
                continue;
            }
            let crowded = tick.uses.chunks_exact(self.domains).enumerate().any(|(pool, uses)| {
                uses[index].pending_seconds > 0.0
                    && uses.iter().enumerate().any(|(other, one)| {
                        other != index && self.grew(pool * self.domains + other, one.cores)
                    })
            });
            if crowded {
                let gap = rules.episode_gap_seconds;
                let new = self.cascades[index].goes_on(tick.at, tick.seconds, gap);
                if tick.counted {
                    self.counts.cascades[domain.class as usize] += u64::from(new);
                    self.counts.cascade_minutes += tick.seconds / 60.0;
                }
            }
        }
    }

    /// Inversions: a domain waits in a pool where a lower one has more than its budget, or grew. And
    /// withheld room: it waits for long where a lower one has more than its floor and one pod.
    fn inversions(&mut self, tick: &Tick<'_>) {
        let rules = self.definitions;
        let least = rules.inversion_pending_seconds.min(rules.preemption_seconds);
        for (pool, uses) in tick.uses.chunks_exact(self.domains.max(1)).enumerate() {
            for (index, (domain, own)) in tick.domains.iter().zip(uses).enumerate() {
                if own.pending_seconds < least {
                    continue;
                }
                let slot = pool * self.domains;
                let (mut inverted, mut withheld) = (false, false);
                for (other, (lower, one)) in tick.domains.iter().zip(uses).enumerate() {
                    if lower.class > domain.class {
                        inverted |= one.cores > one.budget_cores + 1e-9
                            || self.grew(slot + other, one.cores);
                        withheld |= one.cores > one.floor_cores + 1e-9;
                    }
                }
                inverted &= own.pending_seconds >= rules.inversion_pending_seconds;
                withheld &= own.pending_seconds > rules.preemption_seconds;
                let gap = rules.episode_gap_seconds;
                if let (true, Some(episode)) = (inverted, self.inversions.get_mut(slot + index)) {
                    let new = episode.goes_on(tick.at, tick.seconds, gap);
                    if tick.counted {
                        self.counts.inversions[domain.class as usize] += u64::from(new);
                        self.counts.inversion_minutes += tick.seconds / 60.0;
                    }
                }
                if let (true, Some(episode)) = (withheld, self.withheld.get_mut(slot + index)) {
                    let new = episode.goes_on(tick.at, tick.seconds, gap);
                    if tick.counted {
                        self.counts.withheld[domain.class as usize] += u64::from(new);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
