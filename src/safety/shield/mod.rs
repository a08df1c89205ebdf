//! Turns a proposal into a decision that keeps every hard limit. Pure; no policy output can break
//! it, `NaN` included, and nothing is published that it did not make.
//!
//! Per app: refused → no number. Else the best rung of the ladder that the evidence supports
//! ([`Rung`]), then finite → sound enough to lower → rollout → velocity → bounds; then per domain
//! the budget.

mod budget;
mod spread;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use self::budget::{Growth, Load};
use self::spread::{Batches, Raise};
use super::shares::Divisions;
use super::tolerance;
use super::{AppDecision, Decision, Evidence, Rung};
use crate::cluster::{
    App, AppState, Domain, Fault, Mode, PerApp, PolicyChoice, SignalKind, Snapshot, Timestamp,
};
use crate::observation::{AppObservation, Observation};
use crate::policy::hpa::{self, HpaInput};
use crate::policy::{AppProposal, Proposal, Reason, Reasons, Stabiliser};

/// The hard limits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Settings {
    /// One decision may raise a count to at most this multiple of what stands, ...
    pub up_factor: f64,
    /// ... or by this many pods, whichever is more.
    pub up_pods: u32,
    /// One decision may lower a count to no less than this share of what stands, 0 to 1, ...
    pub down_factor: f64,
    /// ... or by this many pods, whichever is lower.
    pub down_pods: u32,
    /// What a domain that breaks its SLO may use beyond its budget: 0.1 = 10 %.
    pub emergency_band: f64,
    /// A domain breaks its SLO when more than this share of its requests go to apps that do.
    pub breach_share: f64,
    /// Above this share of apps with rejected values a domain's scale-downs stop.
    pub rejected_limit: f64,
    /// How long the last supported number is held without fresh CPU, in seconds.
    pub last_good_seconds: f64,
    /// Down-scale stabilisation of the plain HPA that is imitated, in seconds.
    pub hpa_stabilization_seconds: f64,
    /// Whether numbers are rounded to what the HPA's tolerance lets through.
    pub round_to_reachable: bool,
    /// How raises that need new nodes are spread.
    pub spread: spread::Settings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            up_factor: 3.0,
            up_pods: 10,
            down_factor: 0.5,
            down_pods: 2,
            emergency_band: 0.1,
            breach_share: 0.05,
            rejected_limit: 0.05,
            last_good_seconds: 60.0,
            hpa_stabilization_seconds: 300.0,
            round_to_reachable: false,
            spread: spread::Settings::default(),
        }
    }
}

impl Settings {
    /// One sentence that says what is wrong, if anything is.
    pub fn validate(&self) -> Result<(), String> {
        for (name, value, low, high) in [
            ("upFactor", self.up_factor, 1.0, 1e6),
            ("downFactor", self.down_factor, 0.0, 1.0),
            ("emergencyBand", self.emergency_band, 0.0, 1.0),
            ("breachShare", self.breach_share, 0.0, 1.0),
            ("rejectedLimit", self.rejected_limit, 0.0, 1.0),
            ("lastGoodSeconds", self.last_good_seconds, 0.0, 3600.0),
            ("hpaStabilizationSeconds", self.hpa_stabilization_seconds, 0.0, 3600.0),
        ] {
            if !(low..=high).contains(&value) {
                return Err(format!("safety.{name} must be {low} to {high}, not {value}"));
            }
        }
        if self.up_pods == 0 || self.down_pods == 0 {
            return Err("safety.upPods and safety.downPods must be at least 1: with 0 a small app could never move".into());
        }
        self.spread.validate()
    }
}

/// The shield with what it must remember: the last supported number of each app.
#[derive(Debug, Clone, Default)]
pub struct Shield {
    settings: Settings,
    memory: PerApp<Memory>,
    batches: Batches,
}

#[derive(Debug, Clone, Copy, Default)]
struct Memory {
    supported: Option<(u32, Timestamp)>,
    hpa_peak: Stabiliser,
}

impl Shield {
    /// A shield without memory.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings, memory: PerApp::default(), batches: Batches::default() }
    }

    /// Takes over from another decider: its numbers are the last supported ones.
    pub fn resume(&mut self, decision: &Decision) {
        let memory = self.memory.align(&decision.catalog);
        for (memory, decided) in memory.iter_mut().zip(&decision.apps) {
            memory.supported = decided.replicas.map(|replicas| (replicas, decided.supported_at));
        }
    }

    /// The decision that keeps every limit, numbered with its epoch and its sequence in it.
    pub fn review(
        &mut self,
        snapshot: &Snapshot,
        observation: &Observation,
        proposal: &Proposal,
        (epoch, sequence): (u64, u64),
        now: Timestamp,
    ) -> Decision {
        let catalog = &snapshot.catalog;
        let settings = &self.settings;
        let case = |index: usize| {
            let app = &catalog.apps[index];
            Case {
                settings,
                app,
                domain: &catalog.domains[app.domain],
                state: &snapshot.apps[index],
                seen: &observation.apps[index],
                domain_rejects: observation.domains[app.domain].rejected_share
                    > settings.rejected_limit,
                asked: proposal.apps.get(index).copied().unwrap_or_default(),
                now,
            }
        };
        let memory = self.memory.align(catalog);
        let mut loads: Vec<Load> = (0..catalog.domains.len()).map(Load::new).collect();
        let apps = memory.iter_mut().enumerate().map(|(index, memory)| {
            let case = case(index);
            let mut decided = case.decide(memory);
            // What grows must pass the budget first.
            if !loads[case.app.domain].add(index, &case, &decided) {
                case.close(&mut decided, memory);
            }
            decided
        });
        let mut apps: Vec<AppDecision> = apps.collect();
        let divisions = Divisions::new(&catalog.domains, &proposal.shares, proposal.reserve, now);
        let domains = loads.iter().map(|load| {
            load.hold_budget(settings, snapshot, observation, &divisions, &mut apps, now)
        });
        let domains = domains.collect();
        // Not a number is no wish, and nobody may ask for a second cluster.
        let warm_cores = proposal.warm_cores.max(0.0).min(snapshot.shared_cpu());
        let growing: Vec<Growth> = loads.iter().flat_map(|load| &load.growing).copied().collect();
        let raises: Vec<Raise> = growing
            .iter()
            .map(|&growth| Raise {
                growth,
                granted: apps[growth.index]
                    .replicas
                    .unwrap_or(growth.from)
                    .saturating_sub(growth.from),
                in_breach: observation.apps[growth.index].breaks_slo()
                    || growth.risk >= spread::URGENT_RISK,
                need: growth.risk * catalog.domains[catalog.apps[growth.index].domain].weight,
            })
            .collect();
        let standing = loads.iter().map(Load::standing).sum();
        let spread =
            self.batches.spread(&settings.spread, snapshot, standing, &raises, warm_cores, now);
        for ((growth, held), raise) in growing.iter().zip(&spread.held).zip(&raises) {
            let decided = &mut apps[growth.index];
            if *held > 0 {
                decided.replicas = Some(growth.from + raise.granted - held);
                decided.reasons.add(Reason::Spread);
            }
            case(growth.index).close(decided, &mut memory[growth.index]);
        }
        Decision {
            epoch,
            sequence,
            at: now,
            catalog: Arc::clone(catalog),
            apps,
            domains,
            reserve_share: divisions.common.reserve,
            pool_reserves: divisions
                .pools
                .iter()
                .map(|(pool, division)| (pool.clone(), division.reserve))
                .collect(),
            warm_cores: spread.warm_cores,
            spread_cores: spread.held_cores,
            forecasts: snapshot.forecasts.clone(),
            weights: proposal.weights.clone(),
        }
    }
}

/// One app on its way to a decision.
struct Case<'a> {
    settings: &'a Settings,
    app: &'a App,
    domain: &'a Domain,
    state: &'a AppState,
    seen: &'a AppObservation,
    /// Whether too many values of the domain were rejected to trust any fall.
    domain_rejects: bool,
    asked: AppProposal,
    now: Timestamp,
}

impl Case<'_> {
    /// Inlined, so that the decision is written where it stays.
    #[inline]
    fn decide(&self, memory: &mut Memory) -> AppDecision {
        let hpa_equivalent = self.hpa_equivalent(memory);
        let (rung, wanted, mut reasons) = self.rung(hpa_equivalent, memory);
        let supported_at = match (rung, memory.supported) {
            (Rung::LastGood | Rung::Withheld, Some((_, at))) => at,
            _ => self.now,
        };
        let replicas = match rung {
            Rung::Withheld => None,
            Rung::LastGood => Some(self.bounded(wanted as u32, &mut reasons)),
            Rung::Policy | Rung::HpaEquivalent => Some(self.limited(wanted, rung, &mut reasons)),
        };
        AppDecision {
            replicas,
            rung,
            reasons,
            // Not a number is no JSON either; the reason says that it happened.
            proposed: self.asked.replicas.filter(|asked| asked.is_finite()),
            hpa_equivalent,
            current: self.state.spec_replicas,
            supported_at,
            lost_to_tolerance: false,
            missing: self.missing(rung),
            evidence: Evidence {
                utilisation: self.seen.utilisation,
                rps: self.seen.rps,
                latency_ratio: self.seen.latency_ratio,
                error_ratio: self.seen.error_ratio,
                age_seconds: self.seen.age_seconds,
                fixed_footprint: self.seen.fixed_footprint,
            },
        }
    }

    /// Rounds the number, which nothing changes any more, and remembers it.
    fn close(&self, decided: &mut AppDecision, memory: &mut Memory) {
        let Some(wanted) = decided.replicas else {
            return;
        };
        let standing = self.state.status_replicas;
        let reachable = if self.settings.round_to_reachable {
            tolerance::reachable(self.app, standing, wanted)
        } else {
            wanted
        };
        if reachable == wanted {
            decided.lost_to_tolerance = tolerance::ignores(self.app, standing, wanted);
        } else {
            decided.replicas = Some(reachable);
            decided.reasons.add(Reason::Rounded);
        }
        memory.supported = decided.replicas.map(|replicas| (replicas, decided.supported_at));
    }

    /// What a plain HPA would stand at: with its tolerance, its stabilisation and its bounds.
    fn hpa_equivalent(&self, memory: &mut Memory) -> Option<u32> {
        let desired = hpa::desired_replicas(&HpaInput {
            cpu: self.seen.cpu?,
            cpu_request: self.state.cpu_request,
            ready: self.state.ready,
            unready: self.state.pending,
            current: self.state.spec_replicas,
            target: self.app.target_cpu,
            tolerance_up: self.app.tolerance_up,
            tolerance_down: self.app.tolerance_down,
        })?;
        let window = self.settings.hpa_stabilization_seconds;
        let standing = f64::from(self.state.spec_replicas);
        let kept = memory.hpa_peak.hold(self.now, desired, standing, window);
        Some(self.bounded(kept as u32, &mut Reasons::default()))
    }

    /// The best rung that the evidence supports, and the number it gives.
    fn rung(&self, hpa_equivalent: Option<u32>, memory: &Memory) -> (Rung, f64, Reasons) {
        if self.app.refusal.is_some() {
            return (Rung::Withheld, 0.0, Reasons::default());
        }
        let by_mode = !acts(self.domain, self.app);
        if let (false, Some(replicas), None) = (by_mode, self.asked.replicas, self.seen.missing) {
            return (Rung::Policy, replicas, self.asked.reasons);
        }
        if let Some(replicas) = hpa_equivalent {
            let mut reasons = Reasons::default();
            reasons.add(Reason::Cpu);
            if by_mode {
                reasons.add(Reason::Mode);
            }
            return (Rung::HpaEquivalent, f64::from(replicas), reasons);
        }
        match memory.supported {
            Some((replicas, at))
                if self.now.seconds_since(at) <= self.settings.last_good_seconds =>
            {
                (Rung::LastGood, f64::from(replicas), Reasons::default())
            }
            _ => (Rung::Withheld, 0.0, Reasons::default()),
        }
    }

    /// The limits on a number that is about to move an app.
    fn limited(&self, wanted: f64, rung: Rung, reasons: &mut Reasons) -> u32 {
        let current = f64::from(self.state.spec_replicas);
        let mut wanted = if wanted.is_finite() {
            wanted
        } else {
            reasons.add(Reason::NotFinite);
            current
        };
        if wanted < current {
            let sound = match rung {
                Rung::Policy => self.seen.sound,
                _ => self.state.signals[SignalKind::Cpu].is_sound(),
            };
            if !sound || self.domain_rejects {
                reasons.add(Reason::NoLowering);
                wanted = current;
            } else if self.state.rolling_out {
                reasons.add(Reason::Rollout);
                wanted = current;
            }
        }
        let settings = self.settings;
        let fastest = (current * settings.up_factor).max(current + f64::from(settings.up_pods));
        let slowest =
            (current * settings.down_factor).min(current - f64::from(settings.down_pods)).max(0.0);
        if wanted > fastest || wanted < slowest {
            reasons.add(Reason::Velocity);
            wanted = wanted.clamp(slowest, fastest);
        }
        self.bounded(hpa::ceil_replicas(wanted) as u32, reasons)
    }

    /// The HPA's own bounds; and never 0, which would switch the HPA off.
    fn bounded(&self, wanted: u32, reasons: &mut Reasons) -> u32 {
        let low = self.app.min_replicas.max(1);
        let high = self.app.max_replicas.max(low);
        if wanted < low {
            reasons.add(Reason::Minimum);
        } else if wanted > high {
            reasons.add(Reason::Maximum);
        }
        wanted.clamp(low, high)
    }

    /// What keeps the app below the policy's rung.
    fn missing(&self, rung: Rung) -> Option<(SignalKind, Fault)> {
        if rung == Rung::Policy || self.app.refusal.is_some() {
            return None;
        }
        let without_pods = || (SignalKind::Cpu, Fault::Absent);
        self.seen.missing.or_else(|| (rung >= Rung::LastGood).then(without_pods))
    }
}

/// Whether the policy's number is published for `app`.
fn acts(domain: &Domain, app: &App) -> bool {
    if domain.policy == PolicyChoice::Hpa {
        return false;
    }
    match domain.mode {
        Mode::Active => true,
        Mode::Shadow | Mode::Fallback => false,
        Mode::Canary(percent) => canary_bucket(&app.id.namespace, &app.target) < u64::from(percent),
    }
}

/// 0 to 99, the same for an app on every replica and in every version: 64-bit FNV-1a of
/// `namespace/target`, modulo 100.
fn canary_bucket(namespace: &str, target: &str) -> u64 {
    let bytes = namespace.bytes().chain([b'/']).chain(target.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash % 100
}

#[cfg(test)]
mod tests;
