//! Turns a proposal into a decision that keeps every hard limit. Pure; no policy output can break
//! it, `NaN` included, and nothing is published that it did not make.
//!
//! Per app: refused → no number. Else the best rung of the ladder that the evidence supports
//! ([`Rung`]), then finite → sound enough to lower → rollout → velocity → bounds; then per domain
//! the budget.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::shares::Divisions;
use super::tolerance;
use super::{AppDecision, Decision, DomainDecision, Evidence, Rung};
use crate::cluster::{
    App, AppState, Declaration, Domain, Fault, Mode, PerApp, SignalKind, Snapshot, Timestamp,
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
        Ok(())
    }
}

/// The shield with what it must remember: the last supported number of each app.
#[derive(Debug, Clone, Default)]
pub struct Shield {
    settings: Settings,
    memory: PerApp<Memory>,
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
        Self { settings, memory: PerApp::default() }
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
        let memory = self.memory.align(catalog);
        let settings = &self.settings;
        let mut apps = Vec::with_capacity(catalog.apps.len());
        for (index, memory) in memory.iter_mut().enumerate() {
            let app = &catalog.apps[index];
            let case = Case {
                settings,
                app,
                domain: &catalog.domains[app.domain],
                state: &snapshot.apps[index],
                seen: &observation.apps[index],
                domain_rejects: observation.domains[app.domain].rejected_share
                    > settings.rejected_limit,
                asked: proposal.apps.get(index).copied().unwrap_or_default(),
                now,
            };
            apps.push(case.decide(memory));
        }
        let divisions = Divisions::new(&catalog.domains, &proposal.shares, proposal.reserve, now);
        let domains = (0..catalog.domains.len())
            .map(|domain| {
                self.hold_budget(snapshot, observation, &divisions, domain, &mut apps, now)
            })
            .collect();
        for (memory, decided) in self.memory.align(catalog).iter_mut().zip(&apps) {
            if let Some(replicas) = decided.replicas {
                memory.supported = Some((replicas, decided.supported_at));
            }
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
            // Not a number is no wish, and nobody may ask for a second cluster.
            warm_cores: proposal.warm_cores.max(0.0).min(snapshot.shared_cpu()),
        }
    }

    /// Cuts the scale-ups of one domain to its budget, then rounds and closes its apps. What
    /// stands already, scale-downs and lower bounds are never cut: a smaller budget stops
    /// growth, it does not kill.
    fn hold_budget(
        &self,
        snapshot: &Snapshot,
        observation: &Observation,
        divisions: &Divisions,
        domain: usize,
        apps: &mut [AppDecision],
        now: Timestamp,
    ) -> DomainDecision {
        let catalog = &snapshot.catalog;
        let seen = &observation.domains[domain];
        let shared = snapshot.pools.iter().filter(|pool| pool.shared);
        let budget = shared.map(|pool| divisions.of(domain, &pool.name) * pool.cpu).sum::<f64>();
        let budget = (snapshot.shared_cpu() > 0.0).then_some(budget);
        let in_breach = seen.breaching_share > self.settings.breach_share;
        let declared = &catalog.domains[domain];
        let until = |declaration: Option<&Declaration>| {
            declaration.filter(|it| it.holds(now)).map(|it| it.until)
        };
        let emergency_until = until(declared.emergency.as_ref());
        let band = if in_breach || emergency_until.is_some() {
            1.0 + self.settings.emergency_band
        } else {
            1.0
        };

        let mut growing: Vec<Growth> = Vec::new();
        let (mut standing, mut minimum) = (0.0, 0.0);
        let members = || (0..apps.len()).filter(|&index| catalog.apps[index].domain == domain);
        for index in members() {
            let (app, state) = (&catalog.apps[index], &snapshot.apps[index]);
            let wanted = apps[index].replicas.unwrap_or(state.spec_replicas);
            let free = state.spec_replicas.max(app.min_replicas).min(wanted);
            standing += f64::from(free) * state.cpu_request;
            minimum += f64::from(app.min_replicas) * state.cpu_request;
            if wanted > free && state.cpu_request > 0.0 {
                let seen = &observation.apps[index];
                let risk = seen
                    .latency_ratio
                    .unwrap_or(0.0)
                    .max(seen.utilisation.unwrap_or(0.0) / app.target_cpu);
                growing.push(Growth {
                    index,
                    from: free,
                    to: wanted,
                    cost: state.cpu_request,
                    risk,
                });
            }
        }
        let members: Vec<usize> = members().collect();
        let mut used = standing + growing.iter().map(Growth::cores).sum::<f64>();
        if let Some(budget) = budget
            && used > budget
        {
            let granted = project(&growing, budget * band - standing);
            for (growth, granted) in growing.iter().zip(granted) {
                let decided = &mut apps[growth.index];
                decided.replicas = Some(growth.from + granted);
                let cut = growth.from + granted < growth.to;
                decided.reasons.add(if cut { Reason::Budget } else { Reason::Emergency });
                used -= f64::from(growth.to - growth.from - granted) * growth.cost;
            }
        }

        let (rungs, refused) = self.close(snapshot, &members, apps);
        DomainDecision {
            share: divisions.common.shares[domain],
            pool_shares: divisions
                .pools
                .iter()
                .map(|(pool, division)| (pool.clone(), division.shares[domain]))
                .collect(),
            by_hand: until(declared.budget_by_hand.as_ref().map(|set| &set.declaration)),
            emergency_until,
            budget_cores: budget,
            used_cores: used,
            shortage_cores: budget.map_or(0.0, |budget| (minimum - budget).max(0.0)),
            in_breach,
            rungs,
            refused,
            rejected_share: seen.rejected_share,
        }
    }

    /// Rounds the numbers of one domain's apps, and counts the apps on each rung and those refused.
    fn close(
        &self,
        snapshot: &Snapshot,
        members: &[usize],
        apps: &mut [AppDecision],
    ) -> ([u32; Rung::ALL.len()], u32) {
        let mut rungs = [0; Rung::ALL.len()];
        let mut refused = 0;
        for &index in members {
            let (app, state, decided) =
                (&snapshot.catalog.apps[index], &snapshot.apps[index], &mut apps[index]);
            refused += u32::from(app.refusal.is_some());
            rungs[decided.rung as usize] += u32::from(app.refusal.is_none());
            let Some(wanted) = decided.replicas else {
                continue;
            };
            let reachable = tolerance::reachable(app, state.status_replicas, wanted);
            if self.settings.round_to_reachable && reachable != wanted {
                decided.replicas = Some(reachable);
                decided.reasons.add(Reason::Rounded);
            } else {
                decided.lost_to_tolerance = tolerance::ignores(app, state.status_replicas, wanted);
            }
        }
        (rungs, refused)
    }
}

/// A scale-up that the budget must carry.
#[derive(Debug, Clone, Copy)]
struct Growth {
    index: usize,
    from: u32,
    to: u32,
    /// Cores per replica.
    cost: f64,
    /// How near the app is to breaking its promise.
    risk: f64,
}

impl Growth {
    fn cores(&self) -> f64 {
        f64::from(self.to - self.from) * self.cost
    }
}

/// Pods granted to each growth so that their cores fit into `free`: everybody the same part of
/// what was asked for, rounded down, and what is left pod by pod to the apps at most risk.
fn project(growing: &[Growth], free: f64) -> Vec<u32> {
    let asked: f64 = growing.iter().map(Growth::cores).sum();
    if asked <= free {
        return growing.iter().map(|growth| growth.to - growth.from).collect();
    }
    let part = (free.max(0.0) / asked).clamp(0.0, 1.0);
    let mut granted: Vec<u32> =
        growing.iter().map(|growth| (f64::from(growth.to - growth.from) * part) as u32).collect();
    let mut left = free
        - growing
            .iter()
            .zip(&granted)
            .map(|(growth, pods)| f64::from(*pods) * growth.cost)
            .sum::<f64>();
    let mut order: Vec<usize> = (0..growing.len()).collect();
    order.sort_by(|&a, &b| growing[b].risk.total_cmp(&growing[a].risk).then(a.cmp(&b)));
    for index in order {
        let growth = &growing[index];
        let more = ((left / growth.cost + 1e-9).max(0.0) as u32)
            .min(growth.to - growth.from - granted[index]);
        granted[index] += more;
        left -= f64::from(more) * growth.cost;
    }
    granted
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
    fn decide(&self, memory: &mut Memory) -> AppDecision {
        let hpa_equivalent = self.hpa_equivalent(memory);
        let (rung, wanted, mut reasons) = self.rung(hpa_equivalent, memory);
        let supported_at = match (rung, memory.supported) {
            (Rung::LastGood | Rung::Withheld, Some((_, at))) => at,
            _ => self.now,
        };
        let replicas = match rung {
            Rung::Withheld => None,
            Rung::LastGood => Some(self.bounded(wanted, &mut reasons)),
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
        Some(self.bounded(kept, &mut Reasons::default()))
    }

    /// The best rung that the evidence supports, and the number it gives.
    fn rung(&self, hpa_equivalent: Option<u32>, memory: &Memory) -> (Rung, f64, Reasons) {
        if self.app.refusal.is_some() {
            return (Rung::Withheld, 0.0, Reasons::default());
        }
        let by_mode = !acts(self.domain.mode, self.app);
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
        self.bounded(wanted, reasons)
    }

    /// The HPA's own bounds; and never 0, which would switch the HPA off.
    fn bounded(&self, wanted: f64, reasons: &mut Reasons) -> u32 {
        let low = self.app.min_replicas.max(1);
        let high = self.app.max_replicas.max(low);
        let wanted = hpa::ceil_replicas(wanted) as u32;
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
fn acts(mode: Mode, app: &App) -> bool {
    match mode {
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
