//! Turns a snapshot into the numbers that policies act on. Pure; never reads a clock.
//!
//! A number is only there while it is fresh: policies cannot see an old value by mistake.

mod footprint;
mod trend;

use serde::{Deserialize, Serialize};

use crate::cluster::{App, AppState, Fault, Freshness, PerApp, SignalKind, Snapshot, Timestamp};

pub use footprint::Footprint;
pub use trend::Trend;

/// How raw signals become features.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Settings {
    /// How far ahead traffic is extrapolated, in seconds: pod start plus the age of the signal.
    pub lead_seconds: f64,
    /// Length of the history that a traffic trend is fitted to, in seconds.
    pub trend_seconds: f64,
    /// Share of the variance that a straight line must explain before it is believed, 0 to 1.
    pub trend_fit: f64,
    /// Half-life of the learned CPU cost of a request, in seconds.
    pub cost_half_life_seconds: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lead_seconds: 60.0,
            trend_seconds: 90.0,
            trend_fit: 0.6,
            cost_half_life_seconds: 600.0,
        }
    }
}

impl Settings {
    /// One sentence that says what is wrong, if anything is.
    pub fn validate(&self) -> Result<(), String> {
        let positive = [
            ("observation.leadSeconds", self.lead_seconds),
            ("observation.trendSeconds", self.trend_seconds),
            ("observation.costHalfLifeSeconds", self.cost_half_life_seconds),
        ];
        if let Some((name, value)) =
            positive.into_iter().find(|(_, value)| value.is_nan() || *value <= 0.0)
        {
            return Err(format!("{name} must be above 0, not {value}"));
        }
        if !(0.0..=1.0).contains(&self.trend_fit) {
            return Err(format!("observation.trendFit must be 0 to 1, not {}", self.trend_fit));
        }
        Ok(())
    }
}

/// What is known of one app now. `None` = no fresh value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct AppObservation {
    /// CPU in use over all pods, in cores.
    pub cpu: Option<f64>,
    /// CPU in use over CPU requested by the ready pods, 1 = 100 %.
    pub utilisation: Option<f64>,
    /// Requests per second now.
    pub rps: Option<f64>,
    /// Requests per second expected [`Settings::lead_seconds`] ahead; never below `rps`.
    pub rps_ahead: Option<f64>,
    /// Learned CPU cost of traffic, in cores per request per second.
    pub cores_per_rps: Option<f64>,
    /// p99 latency over the domain's SLO.
    pub latency_ratio: Option<f64>,
    /// Error ratio over the domain's SLO.
    pub error_ratio: Option<f64>,
    /// Whether memory per pod stays flat while traffic changes; `None` until that is known.
    pub fixed_footprint: Option<bool>,
    /// Whether every value here is whole and fresh, so that it may lower a count.
    pub sound: bool,
    /// The first signal that the rule needs and does not have, and why.
    pub missing: Option<(SignalKind, Fault)>,
    /// Age of the oldest value used, in seconds.
    pub age_seconds: Option<f64>,
}

/// What is known of one domain now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct DomainObservation {
    /// Requests per second over its apps.
    pub rps: f64,
    /// Share of these requests that go to apps which break their SLO, 0 to 1.
    pub breaching_share: f64,
    /// Share of its apps whose newest answer held a value that could not be used, 0 to 1.
    pub rejected_share: f64,
}

/// What is known now, in the order of the snapshot's catalog.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// Per app.
    pub apps: Vec<AppObservation>,
    /// Per domain.
    pub domains: Vec<DomainObservation>,
}

/// Keeps the short history that features need.
#[derive(Debug, Clone, Default)]
pub struct Observer {
    settings: Settings,
    freshness: Freshness,
    memory: PerApp<Memory>,
}

#[derive(Debug, Clone, Default)]
struct Memory {
    trend: Trend,
    footprint: Footprint,
    cores_per_rps: Option<f64>,
    learned_at: Timestamp,
}

impl Observer {
    /// An observer without history. `freshness` says how old each signal may be.
    #[must_use]
    pub fn new(settings: Settings, freshness: Freshness) -> Self {
        Self { settings, freshness, memory: PerApp::default() }
    }

    /// What the snapshot says at `now`.
    pub fn observe(&mut self, snapshot: &Snapshot, now: Timestamp) -> Observation {
        let catalog = &snapshot.catalog;
        let mut domains = vec![DomainTally::default(); catalog.domains.len()];
        let memory = self.memory.align(catalog);
        let apps =
            catalog.apps.iter().zip(&snapshot.apps).zip(memory).map(|((app, state), memory)| {
                let seen = see(&self.settings, &self.freshness, snapshot, app, state, memory, now);
                domains[app.domain].add(&seen, state);
                seen
            });
        let apps = apps.collect();
        Observation { apps, domains: domains.iter().map(DomainTally::close).collect() }
    }
}

/// The features of one app.
fn see(
    settings: &Settings,
    freshness: &Freshness,
    snapshot: &Snapshot,
    app: &App,
    state: &AppState,
    memory: &mut Memory,
    now: Timestamp,
) -> AppObservation {
    let slo = &snapshot.catalog.domains[app.domain].slo;
    let fresh = |kind: SignalKind| state.signals[kind].fresh(now, freshness.limit(kind));
    let cpu = fresh(SignalKind::Cpu);
    let rps = fresh(SignalKind::Rps);
    let p99 = fresh(SignalKind::P99);
    let errors = fresh(SignalKind::ErrorRatio);

    let requested = f64::from(state.ready) * state.cpu_request;
    let utilisation = cpu.filter(|_| requested > 0.0).map(|cores| cores / requested);
    if let (Some(rps), Some(reading)) = (rps, state.signals[SignalKind::Rps].reading) {
        memory.trend.push(reading.at, rps, settings.trend_seconds);
    }
    if let (Some(cpu), Some(rps), Some(utilisation)) = (cpu, rps, utilisation) {
        memory.learn_cost(settings, cpu, rps, utilisation, now);
    }
    if let (Some(bytes), Some(rps)) = (fresh(SignalKind::Memory), rps)
        && state.ready > 0
    {
        let pods = f64::from(state.ready);
        memory.footprint.push(rps / pods, bytes / pods);
    }

    // Policies need CPU and traffic; latency only where there is traffic to have one.
    let needed = [SignalKind::Cpu, SignalKind::Rps, SignalKind::P99];
    let missing = needed.into_iter().find_map(|kind| {
        let signal = &state.signals[kind];
        if signal.fresh(now, freshness.limit(kind)).is_some() || signal.fault == Some(Fault::Idle) {
            return None;
        }
        Some((kind, signal.fault.unwrap_or(Fault::Stale)))
    });
    let sound = missing.is_none()
        && needed.into_iter().all(|kind| {
            let signal = &state.signals[kind];
            signal.is_sound() || signal.fault == Some(Fault::Idle)
        });
    let age_seconds = needed
        .into_iter()
        .filter_map(|kind| fresh(kind).and(state.signals[kind].reading))
        .map(|reading| now.seconds_since(reading.at))
        .reduce(f64::max);

    AppObservation {
        cpu,
        utilisation,
        rps,
        rps_ahead: rps
            .map(|rps| memory.trend.ahead(rps, settings.lead_seconds, settings.trend_fit)),
        cores_per_rps: memory.cores_per_rps,
        latency_ratio: p99.map(|seconds| seconds / slo.p99_seconds),
        error_ratio: errors.map(|ratio| ratio / slo.error_ratio),
        fixed_footprint: memory.footprint.is_fixed(),
        sound,
        missing,
        age_seconds,
    }
}

impl Memory {
    /// Learns what a request costs while the app neither idles nor saturates: an idle app's CPU
    /// is mostly overhead, and a saturated one no longer serves what arrives.
    fn learn_cost(
        &mut self,
        settings: &Settings,
        cpu: f64,
        rps: f64,
        utilisation: f64,
        now: Timestamp,
    ) {
        if rps < 1.0 || !(0.1..=0.95).contains(&utilisation) {
            return;
        }
        let seen = cpu / rps;
        self.cores_per_rps = Some(match self.cores_per_rps {
            None => seen,
            Some(known) => {
                let elapsed = now.seconds_since(self.learned_at).max(0.0);
                let keep = (-elapsed / settings.cost_half_life_seconds).exp2();
                known * keep + seen * (1.0 - keep)
            }
        });
        self.learned_at = now;
    }
}

#[derive(Debug, Clone, Default)]
struct DomainTally {
    apps: u32,
    rejected: u32,
    rps: f64,
    breaching_rps: f64,
}

impl DomainTally {
    fn add(&mut self, app: &AppObservation, state: &AppState) {
        self.apps += 1;
        let rejected = SignalKind::ALL.into_iter().any(|kind| {
            matches!(
                state.signals[kind].fault,
                Some(Fault::NotFinite | Fault::OutOfRange | Fault::Duplicate | Fault::UnitJump)
            )
        });
        self.rejected += u32::from(rejected);
        let rps = app.rps.unwrap_or(0.0);
        self.rps += rps;
        let worst = app.latency_ratio.unwrap_or(0.0).max(app.error_ratio.unwrap_or(0.0));
        if worst > 1.0 {
            self.breaching_rps += rps;
        }
    }

    fn close(&self) -> DomainObservation {
        DomainObservation {
            rps: self.rps,
            breaching_share: if self.rps > 0.0 { self.breaching_rps / self.rps } else { 0.0 },
            rejected_share: f64::from(self.rejected) / f64::from(self.apps.max(1)),
        }
    }
}

#[cfg(test)]
mod tests;
