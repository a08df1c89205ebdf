//! The calibrated rule: CPU as an HPA counts it, corrected by latency against the SLO and led by
//! traffic; budgets by floors, demand and weight. The fallback for ever, and the baseline that a
//! learned policy must beat.

use serde::{Deserialize, Serialize};

use super::budget::{self, Claim};
use super::hpa::ceil_replicas;
use super::{AppProposal, Policy, Proposal, Reason, Reasons, Stabiliser};
use crate::cluster::{App, AppState, Forecast, PerApp, Snapshot, Timestamp};
use crate::observation::{AppObservation, Observation};

/// The rule's constants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Settings {
    /// How long a higher count is kept before a lower one follows, in seconds.
    pub stabilization_seconds: f64,
    /// Scale-up per unit of SLO excess: at 0.5, a p99 of twice the SLO asks for 1.5 x the pods.
    pub latency_gain: f64,
    /// Latency and errors scale an app up only from this share of its CPU target: below it the
    /// app is slow for another reason (a slow callee), which more pods do not cure.
    pub latency_min_load: f64,
    /// Latency and errors may ask for at most this multiple of what CPU asks for: pods that start
    /// cure nothing yet, and asking for half as many again every ten seconds meanwhile takes the
    /// room of others.
    pub latency_limit: f64,
    /// Whether an app that breaks its promise keeps what stands: with a slow callee its workers
    /// wait, its CPU falls, and CPU alone would take pods away in the middle of the trouble. Only
    /// while its domain stays within its budget: where room is short, it is the callee's.
    pub hold_in_breach: bool,
    /// Traffic may ask for at most this multiple of what CPU asks for.
    pub traffic_limit: f64,
    /// How far ahead the forecast is heeded, in seconds: what pods and nodes take to come. 0: not at
    /// all.
    pub forecast_lead_seconds: f64,
    /// Which quantile of it: 0.5, 0.8 or 0.9. The higher ones keep room for what is not known, all the
    /// time; the median acts where something is known.
    pub forecast_quantile: f64,
    /// The forecast may ask for at most this multiple of what CPU asks for.
    pub forecast_limit: f64,
    /// Share of the shared CPU that is given to nobody, 0 to 1.
    pub reserve_share: f64,
    /// Share of the shared CPU that is kept free on real nodes, 0 to 1.
    pub warm_share: f64,
    /// Room above present demand when budgets are divided: 0.2 = 20 %.
    pub headroom: f64,
    /// How often budgets are divided anew, in seconds.
    pub budget_seconds: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            stabilization_seconds: 120.0,
            latency_gain: 0.5,
            latency_min_load: 0.5,
            latency_limit: 2.0,
            hold_in_breach: true,
            traffic_limit: 3.0,
            forecast_lead_seconds: 0.0,
            forecast_quantile: 0.8,
            forecast_limit: 3.0,
            reserve_share: 0.05,
            warm_share: 0.04,
            headroom: 0.2,
            budget_seconds: 60.0,
        }
    }
}

impl Settings {
    /// One sentence that says what is wrong, if anything is.
    pub fn validate(&self) -> Result<(), String> {
        for (name, value, low, high) in [
            ("stabilizationSeconds", self.stabilization_seconds, 0.0, 3600.0),
            ("latencyGain", self.latency_gain, 0.0, 10.0),
            ("latencyMinLoad", self.latency_min_load, 0.0, 2.0),
            ("latencyLimit", self.latency_limit, 1.0, 100.0),
            ("trafficLimit", self.traffic_limit, 1.0, 100.0),
            ("forecastLeadSeconds", self.forecast_lead_seconds, 0.0, 1800.0),
            ("forecastLimit", self.forecast_limit, 1.0, 100.0),
            ("reserveShare", self.reserve_share, 0.0, 0.9),
            ("warmShare", self.warm_share, 0.0, 0.9),
            ("headroom", self.headroom, 0.0, 10.0),
            ("budgetSeconds", self.budget_seconds, 1.0, 3600.0),
        ] {
            if !(low..=high).contains(&value) {
                return Err(format!("policy.{name} must be {low} to {high}, not {value}"));
            }
        }
        if self.quantile().is_none() {
            return Err(format!(
                "policy.forecastQuantile must be 0.5, 0.8 or 0.9, not {}",
                self.forecast_quantile
            ));
        }
        Ok(())
    }

    /// The place of [`Self::forecast_quantile`] in [`Forecast::QUANTILES`]; none below the median,
    /// which would wait for what has come.
    fn quantile(&self) -> Option<usize> {
        let known = Forecast::QUANTILES.iter().position(|it| *it == self.forecast_quantile);
        known.filter(|place| Forecast::QUANTILES[*place] >= 0.5)
    }
}

/// The rule with its memory: recent peaks per app, and the budgets in force.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    settings: Settings,
    peaks: PerApp<Stabiliser>,
    budgets: Option<Budgets>,
}

#[derive(Debug, Clone)]
struct Budgets {
    divided_at: Timestamp,
    shares: Vec<f64>,
}

impl Rules {
    /// The rule without memory.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings, peaks: PerApp::default(), budgets: None }
    }

    /// Divides the shared CPU; every [`Settings::budget_seconds`], and when domains change.
    fn shares(&mut self, snapshot: &Snapshot, cores: &[Cores], now: Timestamp) -> Vec<f64> {
        let domains = &snapshot.catalog.domains;
        if let Some(budgets) = &self.budgets
            && budgets.shares.len() == domains.len()
            && (0.0..self.settings.budget_seconds).contains(&now.seconds_since(budgets.divided_at))
        {
            return budgets.shares.clone();
        }
        let capacity = snapshot.shared_cpu();
        let part = |cores: f64| if capacity > 0.0 { cores / capacity } else { 0.0 };
        let claims: Vec<Claim> = domains
            .iter()
            .zip(cores)
            .map(|(domain, cores)| Claim {
                floor: domain.floor_share.max(part(cores.minimum)),
                demand: part(cores.wanted),
                headroom: part(cores.wanted) * self.settings.headroom,
                ..Claim::of(domain)
            })
            .collect();
        let shares = budget::divide(&claims, self.settings.reserve_share);
        self.budgets = Some(Budgets { divided_at: now, shares: shares.clone() });
        shares
    }

    /// CPU to be kept free on real nodes: what will be asked for soon and no pod stands for yet, with the
    /// reserve on top. Pods that stand and wait for room are not in it: they make a provisioner act
    /// themselves. Without it consolidation would take away what nobody uses yet.
    fn warm_cores(&self, snapshot: &Snapshot, cores: &[Cores]) -> f64 {
        let sum = |of: &dyn Fn(&Cores) -> f64| cores.iter().map(of).sum::<f64>();
        let needed = sum(&|cores| cores.wanted.max(cores.standing));
        let free = needed / (1.0 - self.settings.reserve_share) - sum(&|cores| cores.standing);
        free.max(0.0) + self.settings.warm_share * snapshot.shared_cpu()
    }
}

/// CPU that the apps of one domain request, in cores.
#[derive(Debug, Clone, Copy, Default)]
struct Cores {
    /// By what was asked for now.
    wanted: f64,
    /// By `spec.replicas`.
    standing: f64,
    /// By their lower bounds.
    minimum: f64,
}

/// Per domain, when the apps ask for these replicas.
fn cores(snapshot: &Snapshot, asked: &[Option<f64>]) -> Vec<Cores> {
    let mut cores = vec![Cores::default(); snapshot.catalog.domains.len()];
    for ((app, state), asked) in snapshot.catalog.apps.iter().zip(&snapshot.apps).zip(asked) {
        let (low, standing) = (f64::from(app.min_replicas), f64::from(state.spec_replicas));
        let high = f64::from(app.max_replicas).max(low);
        let domain = &mut cores[app.domain];
        domain.wanted += asked.unwrap_or(standing).clamp(low, high) * state.cpu_request;
        domain.standing += standing * state.cpu_request;
        domain.minimum += low * state.cpu_request;
    }
    cores
}

impl Rules {
    /// What the rule asks for each app, before anybody looks at budgets.
    pub(super) fn ask(
        &mut self,
        snapshot: &Snapshot,
        observation: &Observation,
        now: Timestamp,
    ) -> Vec<AppProposal> {
        let growth = growth(&self.settings, snapshot, now);
        let peaks = self.peaks.align(&snapshot.catalog);
        let apps =
            snapshot.catalog.apps.iter().zip(&snapshot.apps).zip(&observation.apps).zip(peaks);
        apps.map(|(((app, state), seen), peak)| {
            ask(&self.settings, app, state, seen, growth[app.domain], peak, now)
        })
        .collect()
    }

    /// Divides the shared CPU for what is asked for, and keeps what stands of apps in breach.
    pub(super) fn plan(
        &mut self,
        snapshot: &Snapshot,
        observation: &Observation,
        mut asked: Vec<AppProposal>,
        now: Timestamp,
    ) -> Proposal {
        let demand: Vec<Option<f64>> = asked.iter().map(|asked| asked.replicas).collect();
        let cores = cores(snapshot, &demand);
        let shares = self.shares(snapshot, &cores, now);
        let warm_cores = self.warm_cores(snapshot, &cores);
        if self.settings.hold_in_breach {
            let room =
                |domain: usize| cores[domain].standing <= shares[domain] * snapshot.shared_cpu();
            let apps = snapshot.catalog.apps.iter().zip(&snapshot.apps).zip(&observation.apps);
            for (((app, state), seen), asked) in apps.zip(&mut asked) {
                hold_in_breach(state, seen, room(app.domain), asked);
            }
        }
        let reserve = self.settings.reserve_share;
        Proposal { apps: asked, shares, reserve, warm_cores, weights: None }
    }
}

impl Policy for Rules {
    fn propose(
        &mut self,
        snapshot: &Snapshot,
        observation: &Observation,
        now: Timestamp,
    ) -> Proposal {
        let asked = self.ask(snapshot, observation, now);
        self.plan(snapshot, observation, asked, now)
    }
}

/// Growth of each domain's traffic that the forecast expects, at least 1; 1 without a forecast
/// that is fresh.
fn growth(settings: &Settings, snapshot: &Snapshot, now: Timestamp) -> Vec<f64> {
    let mut growth = vec![1.0; snapshot.catalog.domains.len()];
    if let Some(quantile) = settings.quantile()
        && settings.forecast_lead_seconds > 0.0
    {
        for (growth, outlook) in growth.iter_mut().zip(&snapshot.forecasts) {
            let expected = outlook
                .fresh(now)
                .and_then(|it| it.growth(settings.forecast_lead_seconds, quantile));
            *growth = expected.unwrap_or(1.0).clamp(1.0, settings.forecast_limit);
        }
    }
    growth
}

/// What the rule asks for one app.
fn ask(
    settings: &Settings,
    app: &App,
    state: &AppState,
    seen: &AppObservation,
    growth: f64,
    peak: &mut Stabiliser,
    now: Timestamp,
) -> AppProposal {
    let aim = app.target_cpu * state.cpu_request;
    let (Some(cpu), true) = (seen.cpu, aim > 0.0) else {
        return AppProposal::default();
    };
    let mut reasons = Reasons::default();
    let by_cpu = cpu / aim;
    let mut wanted = ceil_replicas(by_cpu);

    // Traffic leads CPU: it is measured over a shorter window and can be extrapolated.
    if let (Some(ahead), Some(cost)) = (seen.rps_ahead, seen.cores_per_rps) {
        let by_traffic = ceil_replicas((ahead * cost / aim).min(by_cpu * settings.traffic_limit));
        if by_traffic > wanted {
            wanted = by_traffic;
            reasons.add(Reason::Traffic);
        }
    }
    // A broken promise raises beyond what CPU explains, but only where CPU is part of the story.
    let loaded =
        seen.utilisation.is_some_and(|used| used >= settings.latency_min_load * app.target_cpu);
    for (ratio, reason) in
        [(seen.latency_ratio, Reason::Latency), (seen.error_ratio, Reason::Errors)]
    {
        let Some(ratio) = ratio.filter(|ratio| loaded && *ratio > 1.0) else {
            continue;
        };
        let by_slo =
            f64::from(state.ready) * (1.0 + settings.latency_gain * (ratio.min(2.0) - 1.0));
        let by_slo = ceil_replicas(by_slo.min(by_cpu * settings.latency_limit));
        if by_slo > wanted {
            wanted = by_slo;
            reasons.add(reason);
        }
    }
    let by_forecast = ceil_replicas(by_cpu * growth);
    let mut ahead = 0.0;
    if by_forecast > wanted {
        ahead = by_forecast - wanted;
        wanted = by_forecast;
        reasons.add(Reason::Forecast);
    }
    if reasons == Reasons::default() {
        reasons.add(Reason::Cpu);
    }
    let standing = f64::from(state.spec_replicas);
    let kept = peak.hold(now, wanted, standing, settings.stabilization_seconds);
    if kept > wanted {
        reasons.add(Reason::Stabilised);
    }
    AppProposal { replicas: Some(kept), reasons, ahead }
}

/// Keeps what stands of an app that breaks its promise, where there is room for it.
fn hold_in_breach(state: &AppState, seen: &AppObservation, room: bool, asked: &mut AppProposal) {
    let standing = f64::from(state.spec_replicas);
    if room && seen.breaks_slo() && asked.replicas.is_some_and(|wanted| wanted < standing) {
        asked.replicas = Some(standing);
        asked.reasons.add(Reason::Latency);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cluster::{AppId, Catalog, Class, Domain, Mode, PolicyChoice, Slo};
    use crate::cluster::{ForecastSource, Outlook};

    fn ask_once(seen: AppObservation) -> (f64, String) {
        let app = App::fixture(AppId::new("bank", "web"), 0);
        let state =
            AppState { spec_replicas: 10, ready: 10, cpu_request: 1.0, ..AppState::default() };
        let asked = ask(
            &Settings { stabilization_seconds: 0.0, ..Settings::default() },
            &app,
            &state,
            &seen,
            1.0,
            &mut Stabiliser::default(),
            Timestamp::default(),
        );
        (asked.replicas.unwrap(), asked.reasons.to_string())
    }

    fn at(cpu: f64) -> AppObservation {
        AppObservation {
            cpu: Some(cpu),
            utilisation: Some(cpu / 10.0),
            rps: Some(100.0),
            rps_ahead: Some(100.0),
            cores_per_rps: Some(cpu / 100.0),
            latency_ratio: Some(0.5),
            error_ratio: Some(0.1),
            sound: true,
            ..AppObservation::default()
        }
    }

    #[test]
    fn steady_load_is_counted_as_an_hpa_counts_it() {
        assert_eq!(ask_once(at(7.0)), (10.0, "cpu".into()));
        assert_eq!(ask_once(at(7.1)), (11.0, "cpu".into()));
        assert_eq!(ask_once(at(3.5)), (5.0, "cpu".into()));
    }

    #[test]
    fn rising_traffic_leads_cpu_within_its_limit() {
        assert_eq!(
            ask_once(AppObservation { rps_ahead: Some(150.0), ..at(7.0) }),
            (15.0, "traffic".into())
        );
        assert_eq!(
            ask_once(AppObservation { rps_ahead: Some(9e9), ..at(7.0) }),
            (30.0, "traffic".into())
        );
    }

    #[test]
    fn latency_raises_a_loaded_app_and_not_an_idle_one() {
        let slow = |cpu: f64| AppObservation { latency_ratio: Some(1.6), ..at(cpu) };
        assert_eq!(ask_once(slow(7.0)), (13.0, "latency".into()));
        // 20 % of the request: its callee is slow, more pods would not help.
        assert_eq!(ask_once(slow(2.0)), (3.0, "cpu".into()));
        // Nobody asks for many times what the CPU is for.
        let limited = AppObservation { latency_ratio: Some(9.0), ..at(3.6) };
        assert_eq!(ask_once(limited), (11.0, "latency".into()));
    }

    #[test]
    fn a_broken_promise_holds_what_stands_where_there_is_room() {
        let state =
            AppState { spec_replicas: 10, ready: 10, cpu_request: 1.0, ..AppState::default() };
        let held = |latency: f64, room, wanted: f64| {
            let seen = AppObservation { latency_ratio: Some(latency), ..at(2.0) };
            let mut asked = AppProposal { replicas: Some(wanted), ..AppProposal::default() };
            hold_in_breach(&state, &seen, room, &mut asked);
            asked.replicas
        };
        assert_eq!(held(1.6, true, 3.0), Some(10.0));
        assert_eq!(held(1.6, false, 3.0), Some(3.0));
        assert_eq!(held(0.9, true, 3.0), Some(3.0));
        assert_eq!(held(1.6, true, 12.0), Some(12.0));
    }

    #[test]
    fn a_forecast_may_raise_and_never_lowers_alone() {
        let now = Timestamp::from_seconds(1e6);
        let growth_of = |p80: f64, age: f64| {
            let forecast = Forecast {
                at: now.seconds_before(age),
                level: 100.0,
                ahead: [[p80, p80, p80, p80]; 3],
            };
            let source = ForecastSource::Model;
            let outlook = Outlook { forecast: Some(forecast), source, why: None };
            let snapshot = Snapshot {
                at: now,
                catalog: Arc::new(Catalog { domains: vec![domain()], apps: Vec::new() }),
                apps: Vec::new(),
                pools: Vec::new(),
                forecasts: vec![outlook],
            };
            let settings = Settings { forecast_lead_seconds: 900.0, ..Settings::default() };
            growth(&settings, &snapshot, now)[0]
        };
        assert_eq!(growth_of(200.0, 60.0), 2.0);
        assert_eq!(growth_of(20.0, 60.0), 1.0);
        assert_eq!(growth_of(9e9, 60.0), Settings::default().forecast_limit);
        assert_eq!(growth_of(200.0, 181.0), 1.0, "an old one says nothing");
        assert_eq!(growth_of(f64::NAN, 60.0), 1.0);
    }

    fn domain() -> Domain {
        Domain {
            name: "bank".to_owned(),
            class: Class::P0,
            weight: 1.0,
            slo: Slo { p99_seconds: 0.5, error_ratio: 0.01 },
            floor_share: 0.0,
            borrowing: crate::cluster::LoanLimit::default(),
            lending: crate::cluster::LoanLimit::default(),
            policy: PolicyChoice::Hirl,
            mode: Mode::Active,
            calls: Vec::new(),
            budget_by_hand: None,
            emergency: None,
        }
    }

    #[test]
    fn without_cpu_or_a_request_the_rule_has_no_answer() {
        let app = App::fixture(AppId::new("bank", "web"), 0);
        let ask_with = |cpu_request: f64, seen: AppObservation| {
            let state = AppState { ready: 3, cpu_request, ..AppState::default() };
            let peak = &mut Stabiliser::default();
            ask(&Settings::default(), &app, &state, &seen, 1.0, peak, Timestamp::default()).replicas
        };
        assert_eq!(ask_with(1.0, AppObservation { cpu: None, ..at(1.0) }), None);
        assert_eq!(ask_with(0.0, at(1.0)), None);
    }
}
