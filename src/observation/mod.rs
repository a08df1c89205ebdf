//! Turns a snapshot into the numbers that policies act on. Pure; never reads a clock.
//!
//! A number is only there while it is fresh: policies cannot see an old value by mistake.

mod footprint;
mod trend;

use serde::{Deserialize, Serialize};

use crate::cluster::{AppState, Fault, Freshness, PerApp, SignalKind, Slo, Snapshot, Timestamp};

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

impl AppObservation {
    /// Whether fresh latency or errors break the domain's promise.
    #[must_use]
    pub fn breaks_slo(&self) -> bool {
        [self.latency_ratio, self.error_ratio].into_iter().flatten().any(|ratio| ratio > 1.0)
    }
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
        let mut decay = Decay::new(self.settings.cost_half_life_seconds);
        let oldest = SignalKind::ALL.map(|kind| now.seconds_before(self.freshness.limit(kind)));
        let memory = self.memory.align(catalog);
        let states = catalog.apps.iter().zip(&snapshot.apps);
        let apps: Vec<AppObservation> = states
            .clone()
            .zip(memory)
            .map(|((app, state), memory)| {
                let slo = &catalog.domains[app.domain].slo;
                see(&self.settings, slo, &oldest, state, memory, &mut decay, now)
            })
            .collect();
        for ((app, state), seen) in states.zip(&apps) {
            domains[app.domain].add(seen, state);
        }
        Observation { apps, domains: domains.iter().map(DomainTally::close).collect() }
    }
}

/// The features of one app. `oldest` says per kind how old a fresh reading may be.
fn see(
    settings: &Settings,
    slo: &Slo,
    oldest: &[Timestamp; SignalKind::ALL.len()],
    state: &AppState,
    memory: &mut Memory,
    decay: &mut Decay,
    now: Timestamp,
) -> AppObservation {
    let fresh = |kind: SignalKind| {
        let reading = state.signals[kind].reading.as_ref();
        reading.filter(|reading| reading.at >= oldest[kind as usize])
    };
    // Policies need CPU and traffic; latency only where there is traffic to have one.
    let (mut missing, mut whole, mut oldest_used) = (None, true, None::<Timestamp>);
    let mut need = |kind: SignalKind| {
        let signal = &state.signals[kind];
        let idle = signal.fault == Some(Fault::Idle);
        whole &= signal.is_sound() || idle;
        let reading = fresh(kind);
        match reading {
            Some(reading) => {
                let at = reading.at;
                oldest_used = Some(oldest_used.map_or(at, |oldest| oldest.min(at)));
            }
            None if missing.is_none() && !idle => {
                missing = Some((kind, signal.fault.unwrap_or(Fault::Stale)));
            }
            None => {}
        }
        reading
    };
    let cpu = need(SignalKind::Cpu).map(|reading| reading.value);
    let traffic = need(SignalKind::Rps);
    let p99 = need(SignalKind::P99).map(|reading| reading.value);
    let wanted = |kind: SignalKind| fresh(kind).map(|reading| reading.value);
    let errors = wanted(SignalKind::ErrorRatio);
    let rps = traffic.map(|reading| reading.value);

    let requested = f64::from(state.ready) * state.cpu_request;
    let utilisation = cpu.filter(|_| requested > 0.0).map(|cores| cores / requested);
    if let Some(reading) = traffic {
        memory.trend.push(reading.at, reading.value, settings.trend_seconds);
    }
    let latency_ratio = p99.map(|seconds| seconds / slo.p99_seconds);
    let error_ratio = errors.map(|ratio| ratio / slo.error_ratio);
    let kept = [latency_ratio, error_ratio].into_iter().flatten().all(|ratio| ratio <= 1.0);
    if let (Some(cpu), Some(rps), Some(utilisation), true) = (cpu, rps, utilisation, kept) {
        memory.learn_cost(decay, cpu, rps, utilisation, now);
    }
    if let (Some(bytes), Some(rps)) = (wanted(SignalKind::Memory), rps)
        && state.ready > 0
    {
        let pods = f64::from(state.ready);
        memory.footprint.push(rps / pods, bytes / pods);
    }

    AppObservation {
        cpu,
        utilisation,
        rps,
        rps_ahead: rps
            .map(|rps| memory.trend.ahead(rps, settings.lead_seconds, settings.trend_fit)),
        cores_per_rps: memory.cores_per_rps,
        latency_ratio,
        error_ratio,
        fixed_footprint: memory.footprint.is_fixed(),
        sound: missing.is_none() && whole,
        missing,
        age_seconds: oldest_used.map(|at| now.seconds_since(at)),
    }
}

impl Memory {
    /// Learns what a request costs while the app keeps its promise and neither idles nor saturates:
    /// an idle app's CPU is mostly overhead, a saturated one no longer serves what arrives, and
    /// one whose callee is slow counts requests that were tried again.
    fn learn_cost(
        &mut self,
        decay: &mut Decay,
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
                let keep = decay.after(now.seconds_since(self.learned_at).max(0.0));
                known * keep + seen * (1.0 - keep)
            }
        });
        self.learned_at = now;
    }
}

/// What is left of an old value after a time. Nearly every app asks for the same time in a pass,
/// so that the last answer is kept.
#[derive(Debug, Clone)]
struct Decay {
    half_life_seconds: f64,
    elapsed: f64,
    keep: f64,
}

impl Decay {
    fn new(half_life_seconds: f64) -> Self {
        Self { half_life_seconds, elapsed: 0.0, keep: 1.0 }
    }

    fn after(&mut self, elapsed: f64) -> f64 {
        if elapsed != self.elapsed {
            self.elapsed = elapsed;
            self.keep = (-elapsed / self.half_life_seconds).exp2();
        }
        self.keep
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
        if app.breaks_slo() {
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
