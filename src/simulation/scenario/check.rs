//! Whether a scenario makes sense: one sentence about the first thing that does not.

use std::collections::BTreeSet;

use super::{
    AppSpec, Constants, ControllerSpec, DomainSpec, EventSpec, FaultKind, FaultSpec, HpaSpec,
    Pattern, PoolSpec, Range, Reach, ScaleRules, Scenario, Select, TelemetrySpec,
};

/// Which part of a scenario; items by their index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The scenario itself.
    Whole,
    /// One of [`Scenario::domains`].
    Domain(usize),
    /// One of [`Scenario::apps`].
    App(usize),
    /// One of [`Scenario::pools`].
    Pool(usize),
    /// One of [`Scenario::calls`].
    Call(usize),
    /// One of [`Scenario::events`].
    Event(usize),
    /// One of [`Scenario::faults`].
    Fault(usize),
    /// [`Scenario::telemetry`].
    Telemetry,
    /// [`Scenario::controller`].
    Controller,
    /// [`Scenario::constants`].
    Constants,
}

/// What is wrong with a scenario.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{sentence}")]
pub struct Flaw {
    /// Where.
    pub place: Place,
    /// What.
    pub sentence: String,
}

/// A day's worth of seconds times 400: more than any run needs.
const LONGEST: f64 = 400.0 * 86_400.0;

/// Paths of calls that the traffic follows one by one.
const MOST_PATHS: u64 = 4096;

type Checked = Result<(), String>;

/// A finite number from `low` to `high`.
fn within(name: &str, value: f64, low: f64, high: f64) -> Checked {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(format!("{name} must be {low} to {high}, not {value}"))
}

/// A finite number above 0, up to `high`.
fn positive(name: &str, value: f64, high: f64) -> Checked {
    if value > 0.0 && value <= high {
        return Ok(());
    }
    Err(format!("{name} must be above 0 and at most {high}, not {value}"))
}

fn ensure(good: bool, sentence: impl FnOnce() -> String) -> Checked {
    if good { Ok(()) } else { Err(sentence()) }
}

impl Scenario {
    /// The first thing that is wrong, if anything is.
    pub fn validate(&self) -> Result<(), Flaw> {
        let at = |place| move |sentence| Flaw { place, sentence };
        self.check_whole().map_err(at(Place::Whole))?;
        self.telemetry.check().map_err(at(Place::Telemetry))?;
        self.controller.check().map_err(at(Place::Controller))?;
        self.constants.check().map_err(at(Place::Constants))?;
        let mut names = BTreeSet::new();
        for (index, pool) in self.pools.iter().enumerate() {
            pool.check()
                .and_then(|()| {
                    ensure(names.insert(&pool.name), || "another pool has its name".to_owned())
                })
                .map_err(|what| format!("pool {:?}: {what}", pool.name))
                .map_err(at(Place::Pool(index)))?;
        }
        names.clear();
        let mut floors = 0.0;
        for (index, domain) in self.domains.iter().enumerate() {
            floors += domain.floor_share;
            domain
                .check()
                .and_then(|()| {
                    ensure(names.insert(&domain.name), || "another domain has its name".to_owned())
                })
                .and_then(|()| {
                    ensure(floors <= 1.0 + 1e-9, || {
                        "with it, the floor shares are more than 1".to_owned()
                    })
                })
                .map_err(|what| format!("domain {:?}: {what}", domain.name))
                .map_err(at(Place::Domain(index)))?;
        }
        self.check_apps()?;
        self.check_calls()?;
        for (index, event) in self.events.iter().enumerate() {
            event
                .check(self)
                .map_err(|what| format!("event {:?}: {what}", event.name))
                .map_err(at(Place::Event(index)))?;
        }
        for (index, fault) in self.faults.iter().enumerate() {
            fault
                .check(self)
                .map_err(|what| format!("fault {}: {what}", index + 1))
                .map_err(at(Place::Fault(index)))?;
        }
        Ok(())
    }

    fn check_whole(&self) -> Checked {
        ensure(!self.name.is_empty(), || "the scenario has no name".to_owned())?;
        ensure((1..=8).contains(&self.level), || {
            format!("level must be 1 to 8, not {}", self.level)
        })?;
        positive("durationSeconds", self.duration_seconds, LONGEST)?;
        within("stepSeconds", self.step_seconds, 1.0, 60.0)?;
        ensure(
            self.warm_up_seconds >= 0.0 && self.warm_up_seconds < self.duration_seconds,
            || {
                format!(
                    "warmUpSeconds must be 0 or more and below durationSeconds, not {}",
                    self.warm_up_seconds
                )
            },
        )?;
        ensure(!self.domains.is_empty(), || "the scenario has no domains".to_owned())?;
        ensure(self.domains.len() <= 64, || {
            format!("at most 64 domains are possible, not {}", self.domains.len())
        })?;
        ensure(!self.pools.is_empty(), || "the scenario has no pools".to_owned())?;
        ensure(!self.apps.is_empty(), || "the scenario has no apps".to_owned())
    }

    fn check_apps(&self) -> Result<(), Flaw> {
        let mut before: Option<&AppSpec> = None;
        for (index, app) in self.apps.iter().enumerate() {
            app.check()
                .and_then(|()| {
                    ensure(self.domain(&app.domain).is_some(), || {
                        format!("there is no domain {:?}", app.domain)
                    })
                })
                .and_then(|()| self.has_room_for(app))
                .and_then(|()| {
                    let Some(before) = before else { return Ok(()) };
                    let order = (&before.namespace, &before.name).cmp(&(&app.namespace, &app.name));
                    ensure(order.is_ne(), || "another app has its name and namespace".to_owned())?;
                    ensure(order.is_lt(), || "apps must be sorted by namespace and name".to_owned())
                })
                .map_err(|what| Flaw {
                    place: Place::App(index),
                    sentence: format!("app {:?}: {what}", app.name),
                })?;
            before = Some(app);
        }
        Ok(())
    }

    /// Whether a pod fits on an empty node of a pool that it may use.
    fn has_room_for(&self, app: &AppSpec) -> Checked {
        for name in &app.pools {
            ensure(self.pool(name).is_some(), || format!("there is no pool {name:?}"))?;
        }
        let mut usable = self.pools.iter().filter(|pool| {
            if app.pools.is_empty() { pool.shared } else { app.pools.contains(&pool.name) }
        });
        ensure(
            usable.any(|pool| {
                app.cpu_request <= pool.node_cpu
                    && app.memory.request_mib <= pool.node_memory_gib * 1024.0
            }),
            || {
                format!(
                    "a pod of {} cores and {} MiB fits on no node of the pools that it may use",
                    app.cpu_request, app.memory.request_mib
                )
            },
        )
    }

    fn check_calls(&self) -> Result<(), Flaw> {
        let mut seen = BTreeSet::new();
        for (index, call) in self.calls.iter().enumerate() {
            let checked = (|| {
                for name in [&call.from, &call.to] {
                    ensure(self.domain(name).is_some(), || format!("there is no domain {name:?}"))?;
                }
                ensure(seen.insert((&call.from, &call.to)), || "it stands twice".to_owned())?;
                within("perRequest", call.per_request, 0.0, 1000.0)?;
                within("lagSeconds", call.lag_seconds, 0.0, 3600.0)?;
                ensure(!self.reaches(&call.to, &call.from), || {
                    "calls must not come back to where they started".to_owned()
                })
            })();
            checked.map_err(|what: String| Flaw {
                place: Place::Call(index),
                sentence: format!("call from {:?} to {:?}: {what}", call.from, call.to),
            })?;
        }
        // Without a cycle, as many rounds as domains count every path.
        let mut paths = vec![1_u64; self.domains.len()];
        let mut total = 0_u64;
        for _ in 1..self.domains.len() {
            let mut longer = vec![0_u64; self.domains.len()];
            for call in &self.calls {
                if let (Some(from), Some(to)) = (self.domain(&call.from), self.domain(&call.to)) {
                    longer[to] = longer[to].saturating_add(paths[from]);
                }
            }
            total = longer.iter().fold(total, |sum, more| sum.saturating_add(*more));
            paths = longer;
        }
        ensure(total <= MOST_PATHS, || {
            format!("there are {total} paths of calls, and at most {MOST_PATHS} are possible")
        })
        .map_err(|sentence| Flaw { place: Place::Whole, sentence })
    }

    /// Whether calls lead from one domain to another, or it is the same.
    fn reaches(&self, from: &str, to: &str) -> bool {
        let (mut open, mut known) = (vec![from], BTreeSet::from([from]));
        while let Some(name) = open.pop() {
            if name == to {
                return true;
            }
            let called = self.calls.iter().filter(|call| call.from == name);
            open.extend(called.map(|call| call.to.as_str()).filter(|next| known.insert(next)));
        }
        false
    }
}

impl DomainSpec {
    fn check(&self) -> Checked {
        ensure(!self.name.is_empty(), || "it has no name".to_owned())?;
        positive("weight", self.weight, 1.0)?;
        positive("sloP99Seconds", self.slo_p99_seconds, 3600.0)?;
        within("sloErrorRatio", self.slo_error_ratio, 0.0, 1.0)?;
        within("floorShare", self.floor_share, 0.0, 1.0)?;
        within("noise", self.noise, 0.0, 1.0)?;
        positive("noiseSeconds", self.noise_seconds, 86_400.0)?;
        self.traffic.check()
    }
}

impl Pattern {
    fn check(&self) -> Checked {
        match self {
            Self::Steady => Ok(()),
            Self::Diurnal { swing, peak_hour, weekend } => {
                within("swing", *swing, 0.0, 1.0)?;
                within("peakHour", *peak_hour, 0.0, 24.0)?;
                within("weekend", *weekend, 0.0, 100.0)
            }
            Self::Office { from_hour, to_hour, idle } => {
                within("fromHour", *from_hour, 0.0, 24.0)?;
                within("toHour", *to_hour, 0.0, 24.0)?;
                ensure(from_hour < to_hour, || "fromHour must be below toHour".to_owned())?;
                within("idle", *idle, 0.0, 1.0)
            }
            Self::Batch { windows, idle } => {
                within("idle", *idle, 0.0, 100.0)?;
                ensure(!windows.is_empty(), || "a batch pattern needs a window".to_owned())?;
                windows.iter().try_for_each(|window| {
                    within("fromHour", window.from_hour, 0.0, 24.0)?;
                    positive("hours", window.hours, 24.0)?;
                    within("level", window.level, 0.0, 100.0)
                })
            }
            Self::Replay { interval_seconds, values, burstiness } => {
                positive("intervalSeconds", *interval_seconds, 86_400.0)?;
                within("burstiness", *burstiness, 0.0, 1.0)?;
                ensure(values.len() >= 2, || "a replay needs at least two values".to_owned())?;
                values
                    .iter()
                    .try_for_each(|value| within("a replayed value", *value, 0.0, 1e12))?;
                ensure(values.iter().any(|value| *value > 0.0), || {
                    "a replay needs a value above 0".to_owned()
                })
            }
        }
    }
}

impl AppSpec {
    fn check(&self) -> Checked {
        ensure(!self.name.is_empty() && !self.namespace.is_empty(), || {
            "it needs a name and a namespace".to_owned()
        })?;
        within("rps", self.rps, 0.0, 1e9)?;
        within("callWeight", self.call_weight, 0.0, 1e9)?;
        within("noise", self.noise, 0.0, 1.0)?;
        positive("noiseSeconds", self.noise_seconds, 86_400.0)?;
        within("workers", f64::from(self.workers), 1.0, 4096.0)?;
        positive("serviceSeconds", self.service_seconds, 86_400.0)?;
        within("serviceScv", self.service_scv, 0.0, 100.0)?;
        within("arrivalScv", self.arrival_scv, 0.0, 100.0)?;
        positive("cpuSeconds", self.cpu_seconds, 86_400.0)?;
        within("idleCpu", self.idle_cpu, 0.0, 1000.0)?;
        positive("timeoutSeconds", self.timeout_seconds, 86_400.0)?;
        within("retries", f64::from(self.retries), 0.0, 10.0)?;
        positive("cpuRequest", self.cpu_request, 1000.0)?;
        if let Some(limit) = self.cpu_limit {
            ensure(limit.is_finite() && limit >= self.cpu_request, || {
                format!("cpuLimit must not be below cpuRequest, and is {limit}")
            })?;
        }
        let memory = &self.memory;
        positive("memory.requestMib", memory.request_mib, 1e8)?;
        within("memory.limitMib", memory.limit_mib, memory.request_mib, 1e8)?;
        within("memory.idleMib", memory.idle_mib, 0.0, memory.limit_mib)?;
        within("memory.busyMib", memory.busy_mib, memory.idle_mib, 1e8)?;
        let start = &self.start;
        positive("start.readyMedianSeconds", start.ready_median_seconds, 3600.0)?;
        within("start.readySigma", start.ready_sigma, 0.0, 3.0)?;
        within("start.warmSeconds", start.warm_seconds, 0.0, 3600.0)?;
        positive("start.coldSpeed", start.cold_speed, 1.0)?;
        if let Some(initial) = self.initial_replicas {
            within("initialReplicas", f64::from(initial), 1.0, 100_000.0)?;
        }
        self.traffic.as_ref().map_or(Ok(()), Pattern::check)?;
        self.hpa.check()
    }
}

impl HpaSpec {
    fn check(&self) -> Checked {
        within("hpa.minReplicas", f64::from(self.min_replicas), 1.0, 100_000.0)?;
        within(
            "hpa.maxReplicas",
            f64::from(self.max_replicas),
            f64::from(self.min_replicas),
            100_000.0,
        )?;
        positive("hpa.targetCpu", self.target_cpu, 10.0)?;
        if let Some(target) = self.target_memory {
            positive("hpa.targetMemory", target, 10.0)?;
        }
        for tolerance in [self.tolerance_up, self.tolerance_down].into_iter().flatten() {
            within("hpa.tolerance", tolerance, 0.0, 10.0)?;
        }
        self.scale_up.check("hpa.scaleUp")?;
        self.scale_down.check("hpa.scaleDown")
    }
}

impl ScaleRules {
    fn check(&self, name: &str) -> Checked {
        if let Some(seconds) = self.stabilization_seconds {
            within(&format!("{name}.stabilizationSeconds"), seconds, 0.0, 3600.0)?;
        }
        ensure(self.select == Select::Disabled || !self.policies.is_empty(), || {
            format!("{name} needs a policy, or select: Disabled")
        })?;
        self.policies.iter().try_for_each(|policy| {
            within(&format!("{name}.policies.value"), f64::from(policy.value), 1.0, 1e6)?;
            positive(&format!("{name}.policies.periodSeconds"), policy.period_seconds, 1800.0)
        })
    }
}

impl PoolSpec {
    fn check(&self) -> Checked {
        ensure(!self.name.is_empty(), || "it has no name".to_owned())?;
        within("zones", f64::from(self.zones), 1.0, 64.0)?;
        positive("nodeCpu", self.node_cpu, 1e4)?;
        positive("nodeMemoryGib", self.node_memory_gib, 1e5)?;
        within("nodePods", f64::from(self.node_pods), 1.0, 10_000.0)?;
        within("maxNodes", f64::from(self.max_nodes), 1.0, 100_000.0)?;
        let (low, high) = (f64::from(self.min_nodes), f64::from(self.max_nodes));
        ensure(self.min_nodes <= self.max_nodes, || {
            format!("minNodes ({low}) must not be above maxNodes ({high})")
        })?;
        within("nodes", f64::from(self.nodes), low, high)
    }
}

impl Reach {
    fn check(&self, scenario: &Scenario) -> Checked {
        for name in &self.domains {
            ensure(scenario.domain(name).is_some(), || format!("there is no domain {name:?}"))?;
        }
        ensure(self.apps(scenario).contains(&true), || "it reaches no app".to_owned())
    }
}

impl EventSpec {
    fn check(&self, scenario: &Scenario) -> Checked {
        ensure(!self.name.is_empty(), || "it has no name".to_owned())?;
        for (name, value) in [
            ("startSeconds", self.start_seconds),
            ("rampSeconds", self.ramp_seconds),
            ("holdSeconds", self.hold_seconds),
            ("decaySeconds", self.decay_seconds),
            ("announcedSeconds", self.announced_seconds.unwrap_or(0.0)),
        ] {
            within(name, value, 0.0, LONGEST)?;
        }
        within("factor", self.factor, 0.0, 1000.0)?;
        within("announcedFactor", self.announced_factor.unwrap_or(1.0), 0.0, 1000.0)?;
        ensure(self.announced_factor.is_none() || self.announced_seconds.is_some(), || {
            "announcedFactor needs announcedSeconds".to_owned()
        })?;
        self.reach.check(scenario)
    }
}

impl FaultSpec {
    fn check(&self, scenario: &Scenario) -> Checked {
        within("startSeconds", self.start_seconds, 0.0, LONGEST)?;
        within("durationSeconds", self.duration_seconds, 0.0, LONGEST)?;
        let pool = |name: &str| {
            scenario
                .pools
                .iter()
                .find(|pool| pool.name == name)
                .ok_or_else(|| format!("there is no pool {name:?}"))
        };
        let named =
            |name: &Option<String>| name.as_deref().map_or(Ok(()), |name| pool(name).map(|_| ()));
        let lasts =
            || ensure(self.duration_seconds > 0.0, || "durationSeconds must be above 0".to_owned());
        match &self.fault {
            FaultKind::NodeLoss { pool: name, share, zone } => {
                positive("share", *share, 1.0)?;
                let zones = pool(name)?.zones;
                let zone = zone.unwrap_or(0);
                ensure(zone < zones, || format!("zone {zone} does not exist: the pool has {zones}"))
            }
            FaultKind::ProvisionerStall { pool } => named(pool).and_then(|()| lasts()),
            FaultKind::SlowNodes { pool, factor } => {
                within("factor", *factor, 1.0, 1000.0)?;
                named(pool).and_then(|()| lasts())
            }
            FaultKind::Dependency { reach, delay_seconds, error_ratio } => {
                within("delaySeconds", *delay_seconds, 0.0, 3600.0)?;
                within("errorRatio", *error_ratio, 0.0, 1.0)?;
                reach.check(scenario).and_then(|()| lasts())
            }
            FaultKind::Crash { reach, share } => {
                positive("share", *share, 1.0)?;
                reach.check(scenario)
            }
            FaultKind::PrometheusOutage | FaultKind::ResourceMetricsOutage => lasts(),
            FaultKind::TelemetryLag { seconds } => {
                within("seconds", *seconds, 0.0, 3600.0)?;
                lasts()
            }
            FaultKind::TelemetryLoss { lost, nan } => {
                within("lost", *lost, 0.0, 1.0)?;
                within("nan", *nan, 0.0, 1.0 - lost)?;
                lasts()
            }
        }
    }
}

impl Range {
    fn check(self, name: &str, high: f64) -> Checked {
        within(&format!("{name}.low"), self.low, 0.0, high)?;
        within(&format!("{name}.high"), self.high, self.low, high)
    }
}

impl TelemetrySpec {
    fn check(&self) -> Checked {
        self.resource_lag.check("telemetry.resourceLag", 600.0)?;
        self.prometheus_lag.check("telemetry.prometheusLag", 600.0)?;
        within("telemetry.lost", self.lost, 0.0, 1.0)?;
        within("telemetry.nan", self.nan, 0.0, 1.0 - self.lost)?;
        within("telemetry.noise", self.noise, 0.0, 1.0)
    }
}

impl ControllerSpec {
    fn check(&self) -> Checked {
        within("controller.syncSeconds", self.sync_seconds, 1.0, 600.0)?;
        within("controller.concurrentSyncs", f64::from(self.concurrent_syncs), 1.0, 1000.0)?;
        within("controller.syncCostSeconds", self.sync_cost_seconds, 0.0, 60.0)?;
        positive("controller.clientQps", self.client_qps, 1e6)?;
        within("controller.tolerance", self.tolerance, 0.0, 10.0)?;
        for (name, value) in [
            ("downscaleStabilizationSeconds", self.downscale_stabilization_seconds),
            ("cpuInitializationSeconds", self.cpu_initialization_seconds),
            ("initialReadinessSeconds", self.initial_readiness_seconds),
        ] {
            within(&format!("controller.{name}"), value, 0.0, 3600.0)?;
        }
        positive("controller.schedulerPodsPerSecond", self.scheduler_pods_per_second, 1e6)
    }
}

impl Constants {
    fn check(&self) -> Checked {
        for (name, spec) in [
            ("containerStart", self.container_start),
            ("imagePull", self.image_pull),
            ("nodeStart", self.node_start),
        ] {
            positive(&format!("constants.{name}.median"), spec.median, 3600.0)?;
            within(&format!("constants.{name}.sigma"), spec.sigma, 0.0, 3.0)?;
        }
        self.scan_node_start.check("constants.scanNodeStart", 3600.0)?;
        for (name, value) in [
            ("batchIdleSeconds", self.batch_idle_seconds),
            ("batchMaxSeconds", self.batch_max_seconds),
            ("launchRetrySeconds", self.launch_retry_seconds),
            ("consolidateAfterSeconds", self.consolidate_after_seconds),
            ("consolidationValidationSeconds", self.consolidation_validation_seconds),
            ("scanDecisionSeconds", self.scan_decision_seconds),
            ("unneededSeconds", self.unneeded_seconds),
            ("afterAddSeconds", self.after_add_seconds),
            ("afterFailureSeconds", self.after_failure_seconds),
            ("terminationGraceSeconds", self.termination_grace_seconds),
        ] {
            within(&format!("constants.{name}"), value, 0.0, 86_400.0)?;
        }
        for (name, value) in [
            ("consolidationPollSeconds", self.consolidation_poll_seconds),
            ("registrationTimeoutSeconds", self.registration_timeout_seconds),
            ("scanSeconds", self.scan_seconds),
            ("launchBurst", self.launch_burst),
            ("launchPerSecond", self.launch_per_second),
        ] {
            positive(&format!("constants.{name}"), value, 1e6)?;
        }
        for (name, value) in [
            ("launchFailure", self.launch_failure),
            ("disruptionBudget", self.disruption_budget),
            ("maxUnavailable", self.max_unavailable),
            ("unneededUtilization", self.unneeded_utilization),
        ] {
            within(&format!("constants.{name}"), value, 0.0, 1.0)?;
        }
        Ok(())
    }
}
