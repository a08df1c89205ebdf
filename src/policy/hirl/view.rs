//! What the networks are shown, made from a snapshot, what was observed, and the short memory.

use serde::{Deserialize, Serialize};

use super::features::{APP, COMMAND, DOMAIN, clamped};
use super::group_of;
use super::memory::{AppMemory, DomainMemory, LONG, percentile};
use super::shape::Shape;
use crate::cluster::{App, AppState, Class, Domain, Forecast, SignalKind, Snapshot, Timestamp};
use crate::observation::{AppObservation, DomainObservation, Observation};
use crate::policy::AppProposal;

/// One domain as its Soldier sees it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SoldierView {
    /// Index of the domain in the catalog.
    pub domain: usize,
    /// [`DOMAIN`].
    pub features: [f32; DOMAIN.len()],
    /// The apps that the rule has an answer for: indices into the catalog.
    pub members: Vec<usize>,
    /// [`APP`] of each member.
    pub apps: Vec<[f32; APP.len()]>,
    /// The shape of each member's traffic.
    pub shapes: Vec<Shape>,
    /// The group of each member.
    pub groups: Vec<usize>,
    /// Whether each member is among those at most risk, which get a step of their own.
    pub at_risk: Vec<bool>,
    /// What the rule asks for, in cores, of each member.
    pub cores: Vec<f64>,
}

/// All domains as the Commander sees them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CommanderView {
    /// [`DOMAIN`] of each.
    pub domains: Vec<[f32; DOMAIN.len()]>,
    /// [`COMMAND`] of each.
    pub features: Vec<[f32; COMMAND.len()]>,
    /// Calls for each request of the domain of the row to that of the column, at most 1; 0 where it does not wait.
    pub calls: Vec<Vec<f32>>,
}

/// Everything that views are made of.
pub(super) struct Scene<'a> {
    pub snapshot: &'a Snapshot,
    pub observation: &'a Observation,
    pub asked: &'a [AppProposal],
    pub apps: &'a [AppMemory],
    pub domains: &'a [(String, DomainMemory)],
    /// The shares in force; empty before the first division.
    pub shares: &'a [f64],
    pub node_churn: f64,
    pub now: Timestamp,
    /// The same on the networks' clock, which is the memory's.
    pub own: Timestamp,
    /// Seconds of that clock in one of `now`.
    pub time_scale: f64,
    /// Apps per domain that get a step of their own.
    pub at_risk: usize,
}

/// What all views of an instant have in common.
struct Common {
    /// Of each domain.
    sums: Vec<Sums>,
    /// Calls for each request, of the row to the column; 0 to 1.
    calls: Vec<Vec<f64>>,
}

/// Sums over the apps of one domain.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    apps: f64,
    pods: f64,
    pending: f64,
    standing: f64,
    wanted: f64,
    rps: f64,
    latency: f64,
    excess: f64,
    oldest: f64,
}

impl Sums {
    /// By how much p99 is over the SLO, as a part of it, at most 1: the mean over the requests.
    fn mean_excess(&self) -> f64 {
        if self.rps > 0.0 { self.excess / self.rps } else { 0.0 }
    }
}

/// ln(a / b), 0 where that is no number.
fn ratio(a: f64, b: f64) -> f64 {
    let ratio = (a / b).ln();
    if ratio.is_nan() { 0.0 } else { ratio }
}

const fn flag(value: bool) -> f64 {
    if value { 1.0 } else { 0.0 }
}

/// Age in minutes of something that may never have been.
fn minutes_since(then: Option<Timestamp>, now: Timestamp) -> f64 {
    then.map_or(LONG, |then| now.seconds_since(then)) / 60.0
}

impl Scene<'_> {
    /// What the networks take an age for.
    fn minutes(&self, seconds: f64) -> f64 {
        seconds * self.time_scale / 60.0
    }

    /// Every domain as its Soldier sees it, in the order of the catalog.
    pub(super) fn soldiers(&self) -> Vec<SoldierView> {
        let common = self.common();
        let catalog = &self.snapshot.catalog;
        let mut views: Vec<SoldierView> = catalog
            .domains
            .iter()
            .enumerate()
            .map(|(index, domain)| SoldierView {
                domain: index,
                features: self.domain(index, domain, &common),
                ..SoldierView::default()
            })
            .collect();
        for (index, (app, state)) in catalog.apps.iter().zip(&self.snapshot.apps).enumerate() {
            let (seen, ahead) = (&self.observation.apps[index], self.asked[index].ahead);
            let asked = self.asked[index].replicas.filter(|_| app.refusal.is_none());
            let Some(asked) = asked else { continue };
            let view = &mut views[app.domain];
            view.members.push(index);
            view.apps.push(self.app(app, state, seen, (asked, ahead), &self.apps[index]));
            view.shapes.push(self.apps[index].shape());
            view.groups.push(group_of(asked, self.apps[index].start_seconds()));
            view.cores.push(asked * state.cpu_request);
        }
        for view in &mut views {
            view.at_risk = self.at_risk(&view.members);
        }
        views
    }

    /// All domains as the Commander sees them.
    pub(super) fn commander(&self) -> CommanderView {
        let common = self.common();
        let domains = self.snapshot.catalog.domains.iter().enumerate();
        let (own, features) = domains
            .map(|(index, domain)| {
                let own = self.domain(index, domain, &common);
                (own, self.command(index, domain, &common.sums))
            })
            .unzip();
        let row = |row: &Vec<f64>| row.iter().map(|calls| *calls as f32).collect();
        CommanderView { domains: own, features, calls: common.calls.iter().map(row).collect() }
    }

    /// The members at most risk: by load over target, latency and errors over the SLO, or pending pods
    /// over replicas, whichever is the largest (`system.md` 2.2).
    fn at_risk(&self, members: &[usize]) -> Vec<bool> {
        let risk = |index: usize| {
            let (state, seen) = (&self.snapshot.apps[index], &self.observation.apps[index]);
            let target = self.snapshot.catalog.apps[index].target_cpu;
            let load = seen.utilisation.map_or(0.0, |used| used / target);
            let pending = f64::from(state.pending) / f64::from(state.spec_replicas.max(1));
            let promise = [seen.latency_ratio, seen.error_ratio];
            let worst = promise.into_iter().flatten().fold(load.max(pending), f64::max);
            if worst.is_finite() { worst } else { 0.0 }
        };
        let mut order: Vec<(f64, usize)> =
            members.iter().enumerate().map(|(place, index)| (risk(*index), place)).collect();
        let mut at_risk = vec![members.len() <= self.at_risk; members.len()];
        if members.len() > self.at_risk {
            // Ties go to the first by name, so that the same state has the same apps at risk.
            let worst = |one: &(f64, usize), other: &(f64, usize)| {
                other.0.total_cmp(&one.0).then(one.1.cmp(&other.1))
            };
            order.select_nth_unstable_by(self.at_risk.saturating_sub(1), worst);
            for (_, place) in &order[..self.at_risk] {
                at_risk[*place] = true;
            }
        }
        at_risk
    }

    fn common(&self) -> Common {
        let domains = &self.snapshot.catalog.domains;
        let calls = |from: &Domain| {
            let to = |to: &Domain| {
                let call = from.calls.iter().find(|call| call.to == to.name);
                call.map_or(0.0, |call| call.per_request.clamp(0.0, 1.0))
            };
            domains.iter().map(to).collect()
        };
        Common { sums: self.sums(), calls: domains.iter().map(calls).collect() }
    }

    fn sums(&self) -> Vec<Sums> {
        let catalog = &self.snapshot.catalog;
        let mut sums = vec![Sums::default(); catalog.domains.len()];
        for (index, (app, state)) in catalog.apps.iter().zip(&self.snapshot.apps).enumerate() {
            let (sum, seen) = (&mut sums[app.domain], &self.observation.apps[index]);
            let standing = f64::from(state.spec_replicas);
            let (low, high) = (f64::from(app.min_replicas), f64::from(app.max_replicas));
            let asked = self.asked[index].replicas.unwrap_or(standing);
            sum.apps += 1.0;
            sum.pods += standing;
            sum.pending += f64::from(state.pending);
            sum.standing += standing * state.cpu_request;
            sum.wanted += asked.clamp(low, high.max(low)) * state.cpu_request;
            let rps = seen.rps.unwrap_or(0.0);
            sum.rps += rps;
            let latency = seen.latency_ratio.filter(|it| it.is_finite()).unwrap_or(0.0);
            sum.latency += rps * latency;
            sum.excess += rps * (latency - 1.0).clamp(0.0, 1.0);
            sum.oldest = sum.oldest.max(seen.age_seconds.unwrap_or(0.0));
        }
        sums
    }

    fn domain(&self, index: usize, domain: &Domain, common: &Common) -> [f32; DOMAIN.len()] {
        let Common { sums, calls } = common;
        let (sum, memory) = (&sums[index], &self.domains[index].1);
        let seen: &DomainObservation = &self.observation.domains[index];
        let capacity = self.snapshot.shared_cpu();
        let requested: f64 = sums.iter().map(|sum| sum.standing).sum();
        let share = self.shares.get(index).copied().unwrap_or(0.0);
        let (minute, five) = (memory.minute.get(), memory.five_minutes.get());
        let over = |mean: Option<f64>, value: f64| mean.map_or(0.0, |mean| ratio(value, mean));
        let change = |other: usize| {
            let mean = self.domains[other].1.five_minutes.get();
            over(mean, self.observation.domains[other].rps)
        };
        let others = || (0..sums.len()).filter(|other| *other != index);
        let elsewhere = others().map(change).reduce(f64::max);
        let calling = others().filter(|other| calls[*other][index] > 0.0).map(change);
        let exposure = calls[index].iter().zip(sums);
        let exposure = exposure.map(|(calls, callee)| calls * callee.mean_excess()).sum();
        clamped(
            &DOMAIN,
            [
                flag(domain.class == Class::P0),
                flag(domain.class == Class::P1),
                flag(domain.class == Class::P2),
                flag(domain.class == Class::P3),
                domain.weight,
                domain.slo.p99_seconds.ln(),
                sum.apps.ln_1p(),
                sum.standing.ln_1p(),
                seen.breaching_share,
                memory.breach.get().map_or(0.0, |before| seen.breaching_share - before),
                seen.rejected_share,
                sum.pending / sum.pods.max(1.0),
                over(five, seen.rps),
                minute.map_or(0.0, |minute| over(five, minute)),
                elsewhere.unwrap_or(0.0),
                calling.reduce(f64::max).unwrap_or(0.0),
                exposure,
                share,
                ratio(sum.standing, share * capacity),
                ratio(sum.wanted, sum.standing),
                if capacity > 0.0 { 1.0 - requested / capacity } else { 0.0 },
                memory.headroom,
                memory.urgency,
            ],
        )
    }

    fn command(&self, index: usize, domain: &Domain, sums: &[Sums]) -> [f32; COMMAND.len()] {
        let (sum, memory) = (&sums[index], &self.domains[index].1);
        let outlook = self.snapshot.forecasts.get(index);
        let forecast = outlook.and_then(|outlook| outlook.fresh(self.now));
        let ahead =
            |horizon: usize| forecast.map_or(0.0, |it| ratio(it.ahead[horizon][2], it.level));
        let doubt = forecast.map_or(0.0, |it| {
            let [p10, p50, _, p90] = it.ahead[1];
            (p90 - p10) / p50
        });
        let doubles = |it: &Forecast| it.ahead.iter().any(|[_, p50, _, _]| *p50 > 2.0 * it.level);
        let all = self.snapshot.forecasts.iter();
        let special = all.filter_map(|it| it.fresh(self.now)).any(|it| doubles(&it));
        let catalog = &self.snapshot.catalog;
        let own = || (0..catalog.apps.len()).filter(|app| catalog.apps[*app].domain == index);
        let used: Vec<f64> =
            own().filter_map(|app| self.observation.apps[app].utilisation).collect();
        let memory_used = own().filter_map(|app| {
            let state = &self.snapshot.apps[app];
            let bytes = state.signals[SignalKind::Memory].reading?.value;
            Some(bytes / (f64::from(state.ready) * state.memory_request))
        });
        let memory_used = percentile(memory_used.collect(), 0.75);
        let high = percentile(used.clone(), 0.9);
        let middle = percentile(used.clone(), 0.5);
        let pools = self.snapshot.pools.iter().filter(|pool| pool.shared);
        let nodes: f64 = pools.map(|pool| f64::from(pool.nodes)).sum();
        let pending: f64 = sums.iter().map(|sum| sum.pending).sum();
        let hours = self.now.as_seconds() / 3600.0;
        let angle = hours.rem_euclid(24.0) / 24.0 * std::f64::consts::TAU;
        // The first day of the Unix epoch was a Thursday.
        let weekend = (hours / 24.0 + 3.0).rem_euclid(7.0) >= 5.0;
        let floor = domain.floor_share * self.snapshot.shared_cpu();
        clamped(
            &COMMAND,
            [
                ahead(0),
                ahead(1),
                ahead(2),
                doubt,
                flag(forecast.is_none()),
                forecast.map_or(5.0, |it| self.minutes(self.now.seconds_since(it.at))),
                memory.p95().map_or(0.0, |p95| ratio(p95, sum.rps)),
                percentile(used, 0.75).unwrap_or(0.0),
                high.zip(middle).map_or(0.0, |(high, middle)| high - middle),
                memory_used.unwrap_or(0.0),
                if sum.rps > 0.0 { ratio(sum.latency, sum.rps) } else { 0.0 },
                if floor > 0.0 { ratio(sum.standing, floor) } else { 5.0 },
                self.minutes(sum.oldest),
                nodes.ln_1p(),
                self.node_churn / nodes.max(1.0)
                    * if pending > 0.0 { sum.pending / pending } else { 0.0 },
                angle.sin(),
                angle.cos(),
                flag(weekend),
                flag(special),
            ],
        )
    }

    fn app(
        &self,
        app: &App,
        state: &AppState,
        seen: &AppObservation,
        (asked, ahead): (f64, f64),
        memory: &AppMemory,
    ) -> [f32; APP.len()] {
        let replicas = f64::from(state.spec_replicas.max(1));
        let latency = seen.latency_ratio.filter(|it| it.is_finite());
        let rps = seen.rps.unwrap_or(0.0);
        let over = |mean: Option<f64>, value: Option<f64>| match (mean, value) {
            (Some(mean), Some(value)) => ratio(value, mean),
            _ => 0.0,
        };
        clamped(
            &APP,
            [
                seen.utilisation.map_or(0.0, |used| ratio(used, app.target_cpu)),
                seen.utilisation.unwrap_or(0.0),
                app.target_cpu,
                flag(seen.utilisation.is_none()),
                latency.map_or(0.0, f64::ln),
                over(memory.latency.get(), latency),
                memory.latency_floor.map_or(0.0, f64::ln),
                flag(latency.is_none()),
                seen.error_ratio.map_or(0.0, f64::ln_1p),
                memory.breach.get().unwrap_or(0.0),
                rps.ln_1p(),
                over(seen.rps, seen.rps_ahead),
                over(memory.traffic.get(), seen.rps),
                over(seen.rps, memory.peak),
                memory.roughness.get().unwrap_or(0.0),
                seen.cores_per_rps.map_or(0.0, f64::ln),
                replicas.ln(),
                state.cpu_request.ln(),
                memory.start_seconds().ln(),
                f64::from(state.pending) / replicas,
                (replicas - f64::from(state.ready)) / replicas,
                ratio(asked, replicas),
                ratio(asked, asked - ahead),
                ratio(f64::from(app.max_replicas), replicas),
                ratio(replicas, f64::from(app.min_replicas.max(1))),
                memory.step,
                minutes_since(memory.grew, self.own),
                minutes_since(memory.shrank, self.own),
                seen.age_seconds.map_or(5.0, |seconds| self.minutes(seconds)),
            ],
        )
    }
}
