//! Our own Prometheus metrics: every name, label and bucket in one place.
//!
//! Labels come from closed sets (domains, HPAs, enums), never from error texts.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// A gauge of real numbers.
pub type RealGauge = Gauge<f64, AtomicU64>;

/// Labels of what is counted per domain.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DomainLabel {
    /// Name of the domain.
    pub domain: String,
}

/// Labels of what is counted per app.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AppLabel {
    /// Namespace of the HPA.
    pub namespace: String,
    /// Name of the HPA.
    pub hpa: String,
}

/// Labels of a domain and one name of a closed set (a rung, a mode, a fault).
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DomainNameLabel {
    /// Name of the domain.
    pub domain: String,
    /// The name.
    pub name: &'static str,
}

/// Labels of a domain and where its forecast comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SourceLabel {
    /// Name of the domain.
    pub domain: String,
    /// `model`, `seasonal_profile`, `smoothing` or `none`.
    pub source: &'static str,
}

/// Labels of one number of a forecast.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct QuantileLabel {
    /// Name of the domain.
    pub domain: String,
    /// `5m`, `15m` or `30m`.
    pub horizon: &'static str,
    /// `p10`, `p50`, `p80` or `p90`.
    pub quantile: &'static str,
}

/// Labels of how often a quantile held.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CoverageLabel {
    /// Name of the domain.
    pub domain: String,
    /// Hours of the local day (`06-09h`), `spike`, or `all`.
    pub slice: String,
    /// `p10`, `p50`, `p80` or `p90`.
    pub quantile: &'static str,
}

/// Labels of a signal that was read for a domain.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SignalLabel {
    /// Name of the domain.
    pub domain: String,
    /// Which signal.
    pub signal: &'static str,
}

/// Labels of a fault seen in a signal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FaultLabel {
    /// Name of the domain.
    pub domain: String,
    /// Which signal.
    pub signal: &'static str,
    /// Which fault.
    pub fault: &'static str,
}

/// Labels of an answered request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AnswerLabel {
    /// HTTP status code.
    pub code: u16,
    /// Reason of the `Status` body, `OK` for a success.
    pub reason: &'static str,
}

/// Labels of a lookup or a review.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabel {
    /// What came out, of a closed set.
    pub outcome: &'static str,
}

/// Labels of the weights that plan.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct WeightsLabel {
    /// The first digits of the SHA-256 of their bytes.
    pub weights: String,
}

/// Labels of a watched kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ResourceLabel {
    /// Plural name of the resource.
    pub resource: &'static str,
}

/// Labels of a verdict of the scheduler extender.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct VerdictLabel {
    /// `filter`, `prioritize`, `preempt` or `bind`.
    pub verb: &'static str,
    /// `strict` or `open`.
    pub mode: &'static str,
    /// What came out, of a closed set.
    pub outcome: &'static str,
}

/// Labels of a refusal for want of budget.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RefusalLabel {
    /// Name of the domain.
    pub domain: String,
    /// `cpu`, `memory`, or `none` where merely the nodes are full.
    pub resource: String,
    /// `budget`, `borrowing`, `guarded`, `reserve` or `nodes-full`.
    pub reason: &'static str,
}

/// Labels of a pod that had to go for another one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PreemptionLabel {
    /// By which right: `InDomain`, `Reclaimed` or `OverTarget`.
    pub path: &'static str,
    /// Domain of the pod that went.
    pub victim_domain: String,
    /// Domain of the other one.
    pub preemptor_domain: String,
}

/// Labels of a verb.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct VerbLabel {
    /// `filter`, `prioritize`, `preempt` or `bind`.
    pub verb: &'static str,
}

/// Labels of the use of a shared pool.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PoolLabel {
    /// Name of the domain.
    pub domain: String,
    /// Name of the pool.
    pub pool: String,
}

/// Metrics of the scheduler extender.
#[derive(Debug)]
pub struct ExtenderInstruments {
    /// Answers by verb, mode and outcome.
    pub verdicts: Family<VerdictLabel, Counter>,
    /// Refusals for want of budget.
    pub refusals: Family<RefusalLabel, Counter>,
    /// Holds granted by `filter`.
    pub holds: Counter,
    /// Holds that ended without a binding.
    pub holds_released: Counter,
    /// Bindings by outcome: `bound`, `already`, `rejected`, `unknown`, `refused`.
    pub binds: Family<OutcomeLabel, Counter>,
    /// Bindings refused by the ledger, by reason.
    pub bind_refusals: Family<OutcomeLabel, Counter>,
    /// Pods let through our scheduling gate, by what became of it.
    pub gates: Family<OutcomeLabel, Counter>,
    /// Evictions of pods whose domain is to give room back, by what became of them.
    pub evictions: Family<OutcomeLabel, Counter>,
    /// Pods that had to go for others.
    pub preemptions: Family<PreemptionLabel, Counter>,
    /// Events about them: `written`, `refused`, `failed`, `dropped`.
    pub preemption_events: Family<OutcomeLabel, Counter>,
    /// Pods of domains that somebody else bound.
    pub foreign_binds: Counter,
    /// Pods passed in open mode because we could not judge, by reason.
    pub fail_open: Family<OutcomeLabel, Counter>,
    /// Time to answer, body included, by verb.
    pub duration: Family<VerbLabel, Histogram, fn() -> Histogram>,
    /// 0 another replica owns the ledger, 1 this one does and reads it, 2 it answers from it.
    pub standing: Gauge,
    /// Epoch of the budgets in force.
    pub budget_epoch: Gauge,
    /// 1 while shares follow the domains' weights because no decision came for long.
    pub static_shares: Gauge,
    /// Bindings whose outcome is not known.
    pub unsettled: Gauge,
    /// CPU used per domain and shared pool: bound, binding and held, in cores.
    pub pool_used: Family<PoolLabel, RealGauge>,
    /// Target of the domain there, in cores.
    pub pool_target: Family<PoolLabel, RealGauge>,
    /// The part that is guaranteed to the domain there, in cores.
    pub pool_floor: Family<PoolLabel, RealGauge>,
    /// Requests of its pods that wait for room there, in cores.
    pub pool_waiting: Family<PoolLabel, RealGauge>,
    /// Open connections.
    pub connections: Gauge,
    /// TLS handshakes that failed, those without a good client certificate included.
    pub handshake_failures: Counter,
    /// Seconds until the serving certificate ends.
    pub serving_cert_expiry: RealGauge,
    /// Attempts to reload certificates by outcome.
    pub serving_cert_reloads: Family<OutcomeLabel, Counter>,
}

impl Default for ExtenderInstruments {
    fn default() -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(VERB_BUCKETS);
        Self {
            verdicts: Family::default(),
            refusals: Family::default(),
            holds: Counter::default(),
            holds_released: Counter::default(),
            binds: Family::default(),
            bind_refusals: Family::default(),
            gates: Family::default(),
            evictions: Family::default(),
            preemptions: Family::default(),
            preemption_events: Family::default(),
            foreign_binds: Counter::default(),
            fail_open: Family::default(),
            duration: Family::new_with_constructor(histogram),
            standing: Gauge::default(),
            budget_epoch: Gauge::default(),
            static_shares: Gauge::default(),
            unsettled: Gauge::default(),
            pool_used: Family::default(),
            pool_target: Family::default(),
            pool_floor: Family::default(),
            pool_waiting: Family::default(),
            connections: Gauge::default(),
            handshake_failures: Counter::default(),
            serving_cert_expiry: RealGauge::default(),
            serving_cert_reloads: Family::default(),
        }
    }
}

impl ExtenderInstruments {
    #[expect(clippy::too_many_lines, reason = "one line a metric: the table of names")]
    fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("extender");
        registry.register(
            "verdicts",
            "Answers to the scheduler by verb, mode and outcome",
            self.verdicts.clone(),
        );
        registry.register("refusals", "Pods refused for want of budget", self.refusals.clone());
        registry.register("holds", "Holds granted by filter", self.holds.clone());
        registry.register(
            "holds_released",
            "Holds that ended without a binding",
            self.holds_released.clone(),
        );
        registry.register("binds", "Bindings by outcome", self.binds.clone());
        registry.register(
            "bind_refusals",
            "Bindings refused by the ledger, by reason",
            self.bind_refusals.clone(),
        );
        registry.register(
            "foreign_binds",
            "Pods of domains that somebody else bound",
            self.foreign_binds.clone(),
        );
        registry.register("gates", "Scheduling gates opened by outcome", self.gates.clone());
        registry.register(
            "evictions",
            "Evictions of pods whose domain is to give room back by outcome",
            self.evictions.clone(),
        );
        registry.register(
            "preemptions",
            "Pods that had to go for others, by right and domains",
            self.preemptions.clone(),
        );
        registry.register(
            "preemption_events",
            "Events about pods that had to go for others by outcome",
            self.preemption_events.clone(),
        );
        registry.register(
            "fail_open",
            "Pods passed in open mode because they could not be judged",
            self.fail_open.clone(),
        );
        registry.register_with_unit(
            "duration",
            "Time to answer the scheduler, by verb",
            Unit::Seconds,
            self.duration.clone(),
        );
        registry.register(
            "standing",
            "0 another replica owns the placement ledger, 1 this one reads it, 2 this one answers",
            self.standing.clone(),
        );
        registry.register(
            "budget_epoch",
            "Epoch of the budgets in force",
            self.budget_epoch.clone(),
        );
        registry.register(
            "static_shares",
            "1 while shares follow the weights of the domains because no decision came for long",
            self.static_shares.clone(),
        );
        registry.register(
            "unsettled_bindings",
            "Bindings whose outcome is not known",
            self.unsettled.clone(),
        );
        registry.register(
            "pool_used_cores",
            "CPU used per domain and shared pool: bound, binding and held",
            self.pool_used.clone(),
        );
        registry.register(
            "pool_target_cores",
            "Target of a domain in a shared pool, in CPU",
            self.pool_target.clone(),
        );
        registry.register(
            "pool_floor_cores",
            "CPU that is guaranteed to a domain in a shared pool",
            self.pool_floor.clone(),
        );
        registry.register(
            "pool_waiting_cores",
            "CPU that pods of a domain wait for in a shared pool",
            self.pool_waiting.clone(),
        );
        registry.register("connections", "Open connections", self.connections.clone());
        registry.register(
            "handshake_failures",
            "TLS handshakes that failed",
            self.handshake_failures.clone(),
        );
        registry.register_with_unit(
            "serving_cert_expiry",
            "Time until the serving certificate ends",
            Unit::Seconds,
            self.serving_cert_expiry.clone(),
        );
        registry.register(
            "serving_cert_reloads",
            "Reloads of the serving certificate and the client CA by outcome",
            self.serving_cert_reloads.clone(),
        );
    }
}

/// All metrics of this process.
#[derive(Debug)]
pub struct Instruments {
    registry: Registry,
    /// Those of the scheduler extender.
    pub extender: ExtenderInstruments,
    /// 1 for the weights that plan.
    pub policy_weights: Family<WeightsLabel, Gauge>,
    /// Questions to the learned policy that the rule answered in its place: `late`, `panic`, `not_finite`.
    pub policy_faults: Family<OutcomeLabel, Counter>,
    /// New bytes in the weights' file: `ok` or `refused`.
    pub weights_reloads: Family<OutcomeLabel, Counter>,
    /// Time one decision pass took.
    pub decision_duration: Histogram,
    /// Decisions made or adopted.
    pub decisions: Counter,
    /// Age of the newest decision per domain when last published.
    pub decision_age: Family<DomainLabel, RealGauge>,
    /// Number published per app.
    pub desired_replicas: Family<AppLabel, Gauge>,
    /// Number a plain HPA would reach per app.
    pub hpa_counterfactual_replicas: Family<AppLabel, Gauge>,
    /// Budget per domain.
    pub domain_budget: Family<DomainLabel, RealGauge>,
    /// CPU requested by the published numbers per domain.
    pub domain_used: Family<DomainLabel, RealGauge>,
    /// Apps per domain and rung of the ladder.
    pub apps: Family<DomainNameLabel, Gauge>,
    /// Apps refused per domain.
    pub apps_refused: Family<DomainLabel, Gauge>,
    /// Mode of each domain, 1 for the one in force.
    pub mode: Family<DomainNameLabel, Gauge>,
    /// Decisions that changed a proposal, per domain and reason of the shield.
    pub shield_interventions: Family<DomainNameLabel, Counter>,
    /// Numbers that the HPA's tolerance ignores.
    pub lost_to_tolerance: Family<AppLabel, Counter>,
    /// Requests per second that are expected of each domain.
    pub forecast_rps: Family<QuantileLabel, RealGauge>,
    /// Age of the newest forecast per domain.
    pub forecast_age: Family<DomainLabel, RealGauge>,
    /// Where the forecast of each domain comes from: 1 for the source in use.
    pub forecast_source: Family<SourceLabel, Gauge>,
    /// Share of outcomes at or below a quantile of the source in use.
    pub forecast_coverage: Family<CoverageLabel, RealGauge>,
    /// Time to make the forecasts of all domains.
    pub forecast_duration: Histogram,
    /// Age of the newest sample per domain and signal.
    pub telemetry_age: Family<SignalLabel, RealGauge>,
    /// Values not used as they came.
    pub telemetry_faults: Family<FaultLabel, Counter>,
    /// Prometheus queries by outcome.
    pub telemetry_queries: Family<OutcomeLabel, Counter>,
    /// Difference between Prometheus' clock and ours.
    pub telemetry_clock_skew: RealGauge,
    /// Metric reads by answer.
    pub requests: Family<AnswerLabel, Counter>,
    /// Time to answer a metric read.
    pub request_duration: Histogram,
    /// Age of the number in an answered metric read.
    pub metric_freshness: Histogram,
    /// Seconds between two reads of the same HPA by the controller.
    pub hpa_read_interval: Family<AppLabel, RealGauge>,
    /// Access and token reviews by outcome: `hit`, `coalesced`, `allowed`, `denied`, `error`.
    pub reviews: Family<OutcomeLabel, Counter>,
    /// Open connections.
    pub connections: Gauge,
    /// TLS handshakes that failed.
    pub handshake_failures: Counter,
    /// Seconds until the serving certificate ends.
    pub serving_cert_expiry: RealGauge,
    /// Attempts to reload the serving certificate by outcome.
    pub serving_cert_reloads: Family<OutcomeLabel, Counter>,
    /// Log lines dropped because nobody read the log.
    pub log_lines_dropped: Gauge,
    /// 1 while this replica decides.
    pub leader: Gauge,
    /// Epoch of the newest decision.
    pub epoch: Gauge,
    /// 1 while the `APIService` points at us, 0 when somebody else owns it.
    pub apiservice_owned: Gauge,
    /// Times a watch had to start again.
    pub watch_restarts: Family<ResourceLabel, Counter>,
    /// Objects held per watched resource.
    pub watched_objects: Family<ResourceLabel, Gauge>,
}

/// Buckets of request times, in seconds: from 10 µs to the 1 s deadline.
const REQUEST_BUCKETS: [f64; 12] =
    [1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 1e-1, 1.0];
/// Buckets of the extender's answers, in seconds: from 50 µs to the scheduler's time-out.
const VERB_BUCKETS: [f64; 13] =
    [5e-5, 1e-4, 2e-4, 3e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 5e-2, 0.2, 0.8, 1.0];
/// Buckets of a decision pass, in seconds.
const DECISION_BUCKETS: [f64; 9] = [1e-4, 5e-4, 1e-3, 5e-3, 1e-2, 2e-2, 5e-2, 1e-1, 1.0];
/// Buckets of a forecast of all domains, in seconds.
const FORECAST_BUCKETS: [f64; 9] = [1e-3, 5e-3, 1e-2, 3e-2, 1e-1, 0.3, 1.0, 5.0, 20.0];
/// Buckets of a number's age, in seconds.
const AGE_BUCKETS: [f64; 8] = [1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0];

impl Default for Instruments {
    fn default() -> Self {
        let histogram = |buckets: &[f64]| Histogram::new(buckets.iter().copied());
        let mut all = Self {
            registry: Registry::with_prefix("hirl"),
            extender: ExtenderInstruments::default(),
            policy_weights: Family::default(),
            policy_faults: Family::default(),
            weights_reloads: Family::default(),
            decision_duration: histogram(&DECISION_BUCKETS),
            decisions: Counter::default(),
            decision_age: Family::default(),
            desired_replicas: Family::default(),
            hpa_counterfactual_replicas: Family::default(),
            domain_budget: Family::default(),
            domain_used: Family::default(),
            apps: Family::default(),
            apps_refused: Family::default(),
            mode: Family::default(),
            shield_interventions: Family::default(),
            lost_to_tolerance: Family::default(),
            forecast_rps: Family::default(),
            forecast_age: Family::default(),
            forecast_source: Family::default(),
            forecast_coverage: Family::default(),
            forecast_duration: histogram(&FORECAST_BUCKETS),
            telemetry_age: Family::default(),
            telemetry_faults: Family::default(),
            telemetry_queries: Family::default(),
            telemetry_clock_skew: RealGauge::default(),
            requests: Family::default(),
            request_duration: histogram(&REQUEST_BUCKETS),
            metric_freshness: histogram(&AGE_BUCKETS),
            hpa_read_interval: Family::default(),
            reviews: Family::default(),
            connections: Gauge::default(),
            handshake_failures: Counter::default(),
            serving_cert_expiry: RealGauge::default(),
            serving_cert_reloads: Family::default(),
            log_lines_dropped: Gauge::default(),
            leader: Gauge::default(),
            epoch: Gauge::default(),
            apiservice_owned: Gauge::default(),
            watch_restarts: Family::default(),
            watched_objects: Family::default(),
        };
        all.register();
        all
    }
}

impl Instruments {
    /// The metrics in the `OpenMetrics` text format.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing into a string cannot fail.
        let _ = text::encode(&mut text, &self.registry);
        text
    }

    #[expect(clippy::too_many_lines, reason = "one line a metric: the table of names")]
    fn register(&mut self) {
        let registry = &mut self.registry;
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "Version of this program", build);
        registry.register(
            "policy_weights",
            "1 for the weights of the learned policy that plan, by the first digits of their SHA-256",
            self.policy_weights.clone(),
        );
        registry.register(
            "policy_faults",
            "Questions to the learned policy that the rule answered in its place",
            self.policy_faults.clone(),
        );
        registry.register(
            "policy_weights_reloads",
            "New bytes in the file of the policy's weights, by outcome",
            self.weights_reloads.clone(),
        );
        registry.register_with_unit(
            "decision_duration",
            "Time one decision pass took",
            Unit::Seconds,
            self.decision_duration.clone(),
        );
        registry.register("decisions", "Decisions made or adopted", self.decisions.clone());
        registry.register_with_unit(
            "decision_age",
            "Age of the newest decision per domain",
            Unit::Seconds,
            self.decision_age.clone(),
        );
        registry.register(
            "desired_replicas",
            "Number published per HPA",
            self.desired_replicas.clone(),
        );
        registry.register(
            "hpa_counterfactual_replicas",
            "Number a plain HPA on CPU would reach",
            self.hpa_counterfactual_replicas.clone(),
        );
        registry.register(
            "domain_budget_cores",
            "Budget per domain, in cores",
            self.domain_budget.clone(),
        );
        registry.register(
            "domain_used_cores",
            "CPU requested by the published numbers per domain, in cores",
            self.domain_used.clone(),
        );
        registry.register("apps", "Apps per domain and rung of the ladder", self.apps.clone());
        registry.register("apps_refused", "Apps refused per domain", self.apps_refused.clone());
        registry.register("mode", "Mode in force per domain", self.mode.clone());
        registry.register(
            "shield_interventions",
            "Numbers that the shield changed, by reason",
            self.shield_interventions.clone(),
        );
        registry.register(
            "lost_to_tolerance",
            "Decisions that the HPA's tolerance ignores",
            self.lost_to_tolerance.clone(),
        );
        registry.register(
            "forecast_rps",
            "Requests per second expected per domain, horizon and quantile",
            self.forecast_rps.clone(),
        );
        registry.register_with_unit(
            "forecast_age",
            "Age of the newest forecast per domain",
            Unit::Seconds,
            self.forecast_age.clone(),
        );
        registry.register(
            "forecast_source",
            "1 for the source that the forecast of a domain comes from",
            self.forecast_source.clone(),
        );
        registry.register(
            "forecast_coverage_ratio",
            "Share of outcomes at or below a quantile, per domain and slice of the day, over all horizons",
            self.forecast_coverage.clone(),
        );
        registry.register_with_unit(
            "forecast_duration",
            "Time to make the forecasts of all domains",
            Unit::Seconds,
            self.forecast_duration.clone(),
        );
        registry.register_with_unit(
            "telemetry_age",
            "Age of the newest sample per domain and signal",
            Unit::Seconds,
            self.telemetry_age.clone(),
        );
        registry.register(
            "telemetry_faults",
            "Values that were not used as they came",
            self.telemetry_faults.clone(),
        );
        registry.register(
            "telemetry_queries",
            "Prometheus queries by outcome",
            self.telemetry_queries.clone(),
        );
        registry.register_with_unit(
            "telemetry_clock_skew",
            "Prometheus' clock minus ours",
            Unit::Seconds,
            self.telemetry_clock_skew.clone(),
        );
        registry.register(
            "external_metrics_requests",
            "Metric reads by answer",
            self.requests.clone(),
        );
        registry.register_with_unit(
            "external_metrics_request_duration",
            "Time to answer a metric read",
            Unit::Seconds,
            self.request_duration.clone(),
        );
        registry.register_with_unit(
            "metric_freshness",
            "Age of the number in an answered metric read",
            Unit::Seconds,
            self.metric_freshness.clone(),
        );
        registry.register_with_unit(
            "hpa_read_interval",
            "Time between two reads of one HPA by the controller",
            Unit::Seconds,
            self.hpa_read_interval.clone(),
        );
        registry.register("reviews", "Token and access reviews by outcome", self.reviews.clone());
        registry.register("connections", "Open connections", self.connections.clone());
        registry.register(
            "handshake_failures",
            "TLS handshakes that failed",
            self.handshake_failures.clone(),
        );
        registry.register_with_unit(
            "serving_cert_expiry",
            "Time until the serving certificate ends",
            Unit::Seconds,
            self.serving_cert_expiry.clone(),
        );
        registry.register(
            "serving_cert_reloads",
            "Reloads of the serving certificate by outcome",
            self.serving_cert_reloads.clone(),
        );
        registry.register(
            "log_lines_dropped",
            "Log lines dropped because nobody read the log",
            self.log_lines_dropped.clone(),
        );
        registry.register(
            "leader_election_master_status",
            "1 while this replica decides",
            self.leader.clone(),
        );
        registry.register("epoch", "Epoch of the newest decision", self.epoch.clone());
        registry.register(
            "apiservice_owned",
            "1 while the APIService points at us",
            self.apiservice_owned.clone(),
        );
        registry.register(
            "watch_restarts",
            "Times a watch had to start again",
            self.watch_restarts.clone(),
        );
        registry.register(
            "watched_objects",
            "Objects held per watched resource",
            self.watched_objects.clone(),
        );
        self.extender.register(registry);
    }
}
