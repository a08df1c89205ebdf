//! What is counted of each step, from the truth.

use super::apps::Apps;
use super::nodes::Nodes;
use super::provisioning::Provisioning;
use super::reference::Reference;
use super::scheduler::Queue;
use crate::cluster::{Amount, Class, Outlook, Slo};
use crate::placement::entitlement;
use crate::simulation::Reversals;
use crate::simulation::counts::{
    AppTick, Counter, Definitions, DomainTick, PoolTick, Tick, Use, Waves,
};
use crate::simulation::run::{DomainRow, PoolRow, Row, Summary, Timeline};
use crate::simulation::scenario::Scenario;

/// A domain as a whole is in breach when more than this share of its requests goes to apps that
/// are: the default of `safety.breachShare`.
const BREACH_SHARE: f64 = 0.05;

/// Nodes that came, went and were asked for during a step, per pool.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Flow {
    pub added: u32,
    pub removed: u32,
    pub asked: u32,
}

/// Pods and decisions, counted where they happen.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    pub pods_created: u64,
    pub pods_removed: u64,
    pub decided: u64,
    pub shielded: u64,
}

/// The state of a simulation at the end of a step, as it is counted.
pub(super) struct Scene<'a> {
    pub now: f64,
    pub scenario: &'a Scenario,
    pub apps: &'a Apps,
    pub nodes: &'a Nodes,
    pub queue: &'a Queue,
    pub provisioning: &'a Provisioning,
    pub reference: &'a Reference,
    pub used: &'a [Amount],
    pub flows: &'a [Flow],
    pub preempted: [u32; Class::ALL.len()],
    /// Published share of the shared pools per domain; empty without budgets.
    pub shares: &'a [f64],
    pub reserve: f64,
    /// The forecast per domain that policies see; empty where none asked for it.
    pub forecasts: &'a [Outlook],
    pub shared_cores: f64,
}

impl Scene<'_> {
    fn counted(&self) -> bool {
        self.now > self.scenario.warm_up_seconds + 1e-9
    }
}

/// The counter, its inputs, and the course of the run.
#[derive(Debug, Clone)]
pub(super) struct Accounts {
    counter: Counter,
    apps: Vec<AppTick>,
    domains: Vec<DomainTick>,
    pools: Vec<PoolTick>,
    uses: Vec<Use>,
    slos: Vec<Slo>,
    /// Floor of each domain, as a share of every shared pool, and its largest pod, in cores.
    guaranteed: Vec<(f64, f64)>,
    /// Requests per second to apps in breach, per domain.
    breaching: Vec<f64>,
    start_hours: f64,
    summary: Summary,
    course: Course,
}

/// The rows, and the one that is being filled.
#[derive(Debug, Clone)]
struct Course {
    timeline: Timeline,
    /// Time between two rows, in seconds; none: no course is kept.
    every: Option<f64>,
    row: Row,
    steps: u32,
    /// Replicas that each app's HPA asked for before (NaN: not known), and what was reversed.
    scaled: Vec<(f64, Reversals)>,
    /// Cascades and inversions counted before the row.
    episodes: (u64, u64),
}

/// Floors as placement keeps them, and the largest pod of each domain, in cores.
fn guaranteed(scenario: &Scenario) -> Vec<(f64, f64)> {
    let stated: Vec<(Class, f64)> =
        scenario.domains.iter().map(|domain| (domain.class, domain.floor_share)).collect();
    let largest = |name: &str| {
        let apps = scenario.apps.iter().filter(|app| app.domain == name);
        apps.map(|app| app.cpu_request).fold(0.0, f64::max)
    };
    let floors = entitlement::floors(&stated, 0.0).into_iter();
    floors.zip(&scenario.domains).map(|(floor, domain)| (floor, largest(&domain.name))).collect()
}

impl Accounts {
    pub(super) fn new(scenario: &Scenario, every: Option<f64>) -> Self {
        let (domains, pools) = (scenario.domains.len(), scenario.pools.len());
        Self {
            counter: Counter::new(Definitions::default(), domains, pools),
            apps: Vec::with_capacity(scenario.apps.len()),
            domains: Vec::with_capacity(domains),
            pools: Vec::with_capacity(pools),
            uses: Vec::with_capacity(domains * pools),
            slos: scenario.domains.iter().map(|domain| domain.to_domain().slo).collect(),
            guaranteed: guaranteed(scenario),
            breaching: vec![0.0; domains],
            start_hours: scenario.start.as_seconds() / 3600.0,
            summary: Summary {
                domain_breach_minutes: vec![0.0; domains],
                hour_breach_minutes: vec![0.0; 24],
                ..Summary::default()
            },
            course: Course {
                timeline: Timeline {
                    seconds: every.unwrap_or(0.0),
                    domains: scenario.domains.iter().map(|domain| domain.name.clone()).collect(),
                    classes: scenario.domains.iter().map(|domain| domain.class).collect(),
                    weights: scenario.domains.iter().map(|domain| domain.weight).collect(),
                    slo_seconds: scenario
                        .domains
                        .iter()
                        .map(|domain| domain.slo_p99_seconds)
                        .collect(),
                    slo_error_ratios: scenario
                        .domains
                        .iter()
                        .map(|domain| domain.slo_error_ratio)
                        .collect(),
                    floor_shares: scenario
                        .domains
                        .iter()
                        .map(|domain| domain.floor_share)
                        .collect(),
                    pools: scenario.pools.iter().map(|pool| pool.name.clone()).collect(),
                    node_cores: scenario.pools.iter().map(|pool| pool.node_cpu).collect(),
                    rows: Vec::new(),
                },
                every,
                row: empty_row(domains, pools),
                steps: 0,
                scaled: vec![
                    (f64::NAN, Reversals::new(Definitions::default().reversal_seconds));
                    every.map_or(0, |_| scenario.apps.len())
                ],
                episodes: (0, 0),
            },
        }
    }

    pub(super) const fn timeline(&self) -> &Timeline {
        &self.course.timeline
    }

    /// Apps during the last step, in the order of the scenario.
    pub(super) fn apps(&self) -> &[AppTick] {
        &self.apps
    }

    /// The sums so far.
    pub(super) fn summary(&self, tally: Tally, provisioning: &Provisioning) -> Summary {
        let waves = &provisioning.waves;
        Summary {
            counts: *self.counter.counts(),
            stampedes: waves.iter().map(Waves::stampedes).sum(),
            most_launches: waves.iter().map(Waves::most_in_a_window).max().unwrap_or(0),
            pods_created: tally.pods_created,
            pods_removed: tally.pods_removed,
            decided: tally.decided,
            shielded: tally.shielded,
            ..self.summary.clone()
        }
    }

    /// Counts a step.
    pub(super) fn step(&mut self, scene: &Scene<'_>) {
        self.fill_apps(scene);
        self.fill_domains(scene);
        self.fill_pools(scene);
        self.counter.tick(&Tick {
            at: scene.now,
            seconds: scene.scenario.step_seconds,
            counted: scene.counted(),
            domains: &self.domains,
            apps: &self.apps,
            pools: &self.pools,
            uses: &self.uses,
            preempted: scene.preempted,
        });
        if scene.counted() {
            self.sum(scene);
        }
        if self.course.every.is_some() {
            self.course.add(scene, &self.apps, &self.breaching, &self.slos);
            let counts = self.counter.counts();
            let episodes = (counts.cascades.iter().sum(), counts.inversions.iter().sum());
            self.course.close(scene, &self.pools, episodes);
        }
    }

    fn fill_apps(&mut self, scene: &Scene<'_>) {
        self.apps.clear();
        let apps = scene.apps;
        let each = apps.fixed.iter().zip(&apps.outcomes).zip(&apps.census);
        self.apps.extend(each.map(|((fixed, outcome), census)| AppTick {
            domain: fixed.domain,
            class: fixed.class,
            ready: census.ready,
            p99_seconds: outcome.p99_seconds,
            error_ratio: outcome.error_ratio(),
            requested_cores: f64::from(census.ready + census.starting) * fixed.cpu_request,
            used_cores: outcome.cpu,
        }));
    }

    fn fill_domains(&mut self, scene: &Scene<'_>) {
        self.domains.clear();
        let expected = scene.reference.rps.iter();
        self.domains.extend(scene.scenario.domains.iter().zip(&self.slos).zip(expected).map(
            |((domain, slo), forecast)| DomainTick {
                class: domain.class,
                slo: *slo,
                rps: 0.0,
                forecast_rps: *forecast,
                in_breach: false,
            },
        ));
        self.breaching.fill(0.0);
        for (app, rps) in self.apps.iter().zip(&scene.apps.offered) {
            self.domains[app.domain].rps += rps;
            if app.breaks(&self.slos[app.domain]) {
                self.breaching[app.domain] += rps;
            }
        }
        for (domain, breaching) in self.domains.iter_mut().zip(&self.breaching) {
            domain.in_breach = *breaching > BREACH_SHARE * domain.rps;
        }
    }

    fn fill_pools(&mut self, scene: &Scene<'_>) {
        let domains = self.domains.len();
        self.pools.clear();
        self.uses.clear();
        for (pool, home) in scene.nodes.pools.iter().enumerate() {
            self.pools.push(PoolTick {
                paid_nodes: home.standing() + scene.provisioning.cloud.paid(pool),
                node_cores: scene.scenario.pools[pool].node_cpu,
                added: scene.flows[pool].added,
                removed: scene.flows[pool].removed,
            });
            let cores = home.allocatable().cpu_milli as f64 / 1000.0;
            for (domain, (floor, pod)) in self.guaranteed.iter().enumerate() {
                let budget = scene.reference.shares[domain] * cores;
                self.uses.push(Use {
                    cores: scene.used[pool * domains + domain].cpu_milli as f64 / 1000.0,
                    budget_cores: if home.shared { budget } else { f64::INFINITY },
                    floor_cores: if home.shared { floor * cores + pod } else { f64::INFINITY },
                    pending_seconds: 0.0,
                });
            }
        }
        for entry in scene.queue.iter() {
            let fixed = &scene.apps.fixed[entry.app];
            for &pool in &fixed.pools {
                let one = &mut self.uses[pool * domains + fixed.domain];
                one.pending_seconds = one.pending_seconds.max(scene.now - entry.since);
            }
        }
    }

    fn sum(&mut self, scene: &Scene<'_>) {
        let seconds = scene.scenario.step_seconds;
        let (minutes, hours) = (seconds / 60.0, seconds / 3600.0);
        let summary = &mut self.summary;
        let mut breaching = 0;
        for ((app, outcome), offered) in
            self.apps.iter().zip(&scene.apps.outcomes).zip(&scene.apps.offered)
        {
            if app.breaks(&self.slos[app.domain]) {
                summary.domain_breach_minutes[app.domain] += minutes;
                breaching += 1;
            }
            summary.offered += offered * seconds;
            summary.succeeded += outcome.succeeded * seconds;
            summary.lost += outcome.lost * seconds;
        }
        let hour = (self.start_hours + (scene.now - seconds) / 3600.0).rem_euclid(24.0) as usize;
        summary.hour_breach_minutes[hour.min(23)] += minutes * f64::from(breaching);
        for (pool, (tick, home)) in self.pools.iter().zip(&scene.nodes.pools).enumerate() {
            let domains = self.domains.len();
            let used: f64 =
                self.uses[pool * domains..][..domains].iter().map(|one| one.cores).sum();
            let paid = f64::from(tick.paid_nodes) * tick.node_cores;
            summary.idle_core_hours += (paid - used).max(0.0) * hours;
            let (free, warm) = (home.free_cpu, scene.provisioning.warm[pool]);
            summary.warm_core_hours += free.min(warm).max(0) as f64 / 1000.0 * hours;
            summary.launches += u64::from(scene.flows[pool].asked);
        }
    }
}

fn empty_row(domains: usize, pools: usize) -> Row {
    Row {
        domains: vec![DomainRow::default(); domains],
        pools: vec![PoolRow::default(); pools],
        ..Row::default()
    }
}

impl Course {
    /// Adds a step to the row: sums of what will be means.
    fn add(&mut self, scene: &Scene<'_>, apps: &[AppTick], breaching: &[f64], slos: &[Slo]) {
        self.steps += 1;
        for (index, app) in apps.iter().enumerate() {
            let row = &mut self.row.domains[app.domain];
            let (outcome, rps) = (&scene.apps.outcomes[index], scene.apps.offered[index]);
            row.rps += rps;
            row.arrived += outcome.arrived;
            row.used_cores += app.used_cores;
            // Weighted by requests; divided by their sum when the row closes.
            row.error_ratio += app.error_ratio * outcome.arrived;
            if app.p99_seconds.is_finite() {
                let ratio = app.p99_seconds / slos[app.domain].p99_seconds;
                row.p99_ratio += ratio * rps;
                row.worst_p99_ratio = row.worst_p99_ratio.max(ratio);
            }
            row.adherence += slos[app.domain].adherence(app.p99_seconds);
            let spec = f64::from(scene.apps.census[index].spec);
            let (before, reversals) = &mut self.scaled[index];
            let (up, down) = ((spec - *before).max(0.0), (*before - spec).max(0.0));
            row.reversed += reversals.change(scene.now, up, down);
            *before = spec;
            row.breach_apps += f64::from(u8::from(app.breaks(&slos[app.domain])));
        }
        for (row, breaching) in self.row.domains.iter_mut().zip(breaching) {
            row.breaching_share += breaching;
        }
        for (row, flow) in self.row.pools.iter_mut().zip(scene.flows) {
            row.asked += f64::from(flow.asked);
            row.removed += f64::from(flow.removed);
        }
        // Preemptions are not told apart by pool: they stand with the first.
        if let Some(row) = self.row.pools.first_mut() {
            row.preempted += f64::from(scene.preempted.iter().sum::<u32>());
        }
    }

    /// Closes the row if it is long enough: sums become means, and the state at the end is added.
    fn close(&mut self, scene: &Scene<'_>, pools: &[PoolTick], episodes: (u64, u64)) {
        let Some(every) = self.every else { return };
        if f64::from(self.steps) * scene.scenario.step_seconds + 1e-9 < every {
            return;
        }
        let (domains, count) = (self.row.domains.len(), self.row.pools.len());
        let mut row = std::mem::replace(&mut self.row, empty_row(domains, count));
        let steps = f64::from(std::mem::take(&mut self.steps));
        let mut members = vec![0.0; domains];
        for (fixed, census) in scene.apps.fixed.iter().zip(&scene.apps.census) {
            members[fixed.domain] += 1.0;
            let one = &mut row.domains[fixed.domain];
            one.ready += f64::from(census.ready);
            one.starting += f64::from(census.starting);
            one.pending += f64::from(census.pending);
            one.asked += f64::from(census.spec);
            one.requested_cores += f64::from(census.ready + census.starting) * fixed.cpu_request;
        }
        for (index, one) in row.domains.iter_mut().enumerate() {
            let part = |sum: f64, whole: f64| if whole > 0.0 { sum / whole } else { 0.0 };
            one.p99_ratio = part(one.p99_ratio, one.rps);
            one.breaching_share = part(one.breaching_share, one.rps);
            one.error_ratio = part(one.error_ratio, one.arrived);
            one.adherence = part(one.adherence, members[index] * steps);
            for sum in [&mut one.rps, &mut one.arrived, &mut one.used_cores, &mut one.breach_apps] {
                *sum /= steps;
            }
            one.share = scene.shares.get(index).copied().unwrap_or(0.0);
            one.budget_cores = scene.shares.get(index).map(|share| share * scene.shared_cores);
            let forecast = scene.forecasts.get(index).and_then(|outlook| outlook.forecast);
            one.forecast = forecast.map(|forecast| forecast.ahead[1]);
        }
        for (pool, one) in row.pools.iter_mut().enumerate() {
            let home = &scene.nodes.pools[pool];
            if home.shared {
                let used = &scene.used[pool * domains..][..domains];
                for (domain, used) in row.domains.iter_mut().zip(used) {
                    domain.shared_cores += used.cpu_milli as f64 / 1000.0;
                }
            }
            one.nodes = home.ready.len() as f64;
            one.paid = f64::from(pools[pool].paid_nodes);
            one.free_cores = home.free_cpu as f64 / 1000.0;
        }
        for entry in scene.queue.iter() {
            if let Some(pool) = scene.apps.fixed[entry.app].pools.first() {
                row.pools[*pool].pending += f64::from(entry.count);
            }
        }
        row.at = scene.now;
        row.counted = scene.counted();
        row.reserve_share = scene.reserve;
        row.cascades = (episodes.0 - self.episodes.0) as u32;
        row.inversions = (episodes.1 - self.episodes.1) as u32;
        self.episodes = episodes;
        self.timeline.rows.push(row);
    }
}
