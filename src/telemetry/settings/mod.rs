//! What an operator may set about the metric source.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cluster::{Freshness, SignalKind};

/// Longest [`Settings::timeout_seconds`]: decisions are made every 10 s.
const MAX_TIMEOUT_SECONDS: f64 = 3.5;

/// Where the signals come from, how they are asked for, and what is believed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Settings {
    /// Root of the Prometheus HTTP API, without `/api/v1`; a path prefix is kept.
    pub url: String,
    /// PEM file of the CAs that sign the server's certificate; the system's when absent.
    pub ca_file: Option<PathBuf>,
    /// File with a bearer token, read again before every pass.
    pub bearer_token_file: Option<PathBuf>,
    /// PEM file of our client certificate chain; needs `clientKeyFile`.
    pub client_cert_file: Option<PathBuf>,
    /// PEM file of our client key; needs `clientCertFile`.
    pub client_key_file: Option<PathBuf>,
    /// Longest wait for one query, in seconds. A pass takes at most twice as long.
    pub timeout_seconds: f64,
    /// Queries under way at once.
    pub concurrency: usize,
    /// Which mesh or library measures requests, latency and errors.
    pub preset: Preset,
    /// Interval at which Prometheus scrapes these metrics, in seconds.
    pub scrape_interval_seconds: u32,
    /// Rate windows per signal.
    pub windows: Windows,
    /// Queries that replace the preset's, by signal.
    pub queries: Queries,
    /// Labels whose several values for one workload mean that its traffic is counted several
    /// times. Take a label out where several values are right (sharded Prometheus servers).
    pub dedup_labels: Vec<String>,
    /// A domain with more namespaces than this is queried without a namespace matcher, in number
    /// of namespaces: one regular expression of thousands of names costs more than it saves.
    pub max_namespaces: usize,
    /// How old a signal's newest sample may be, in seconds.
    pub freshness: Freshness,
    /// Greatest believable value per signal, in the signal's unit. None can be below 0.
    pub maxima: Maxima,
    /// Clock difference to Prometheus that is logged, in seconds.
    pub skew_warn_seconds: f64,
    /// Clock difference beyond which no age can be trusted and no value is taken, in seconds.
    pub skew_hold_seconds: f64,
    /// When to stop asking a source that does not answer.
    pub breaker: BreakerSettings,
}

impl Default for Settings {
    fn default() -> Self {
        let dedup = ["job", "metrics_path", "prometheus", "prometheus_replica"];
        Self {
            url: "http://prometheus.monitoring.svc:9090".to_owned(),
            ca_file: None,
            bearer_token_file: None,
            client_cert_file: None,
            client_key_file: None,
            timeout_seconds: 2.0,
            concurrency: 8,
            preset: Preset::Istio,
            scrape_interval_seconds: 15,
            windows: Windows::default(),
            queries: Queries::default(),
            dedup_labels: dedup.map(str::to_owned).to_vec(),
            max_namespaces: 300,
            freshness: Freshness::default(),
            maxima: Maxima::default(),
            skew_warn_seconds: 2.0,
            skew_hold_seconds: 30.0,
            breaker: BreakerSettings::default(),
        }
    }
}

/// Where requests, latency and errors are measured. CPU and memory come from cAdvisor, joined
/// with the `namespace_workload_pod:kube_pod_owner:relabel` recording rule, in every preset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// Istio sidecars, as the destination reports.
    Istio,
    /// Linkerd proxies, inbound. Latency is time to first byte; only Deployments carry the label.
    Linkerd,
    /// Envoy, where the scrape adds the pod's `namespace` and the upstream cluster is named after
    /// the workload. Other names need queries of your own.
    Envoy,
    /// `OpenTelemetry` HTTP servers (`http.server.request.duration`), where `service.namespace` is
    /// the namespace and `service.name` the workload.
    OpenTelemetry,
}

/// Rate windows per signal, in seconds. Memory has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Windows {
    /// Window of requests per second, in seconds.
    pub rps: u32,
    /// Window of latency, in seconds.
    pub p99: u32,
    /// Window of the error ratio, in seconds.
    pub error_ratio: u32,
    /// Window of CPU, in seconds.
    pub cpu: u32,
}

impl Default for Windows {
    fn default() -> Self {
        Self { rps: 60, p99: 120, error_ratio: 120, cpu: 120 }
    }
}

impl Windows {
    /// The window of one signal, in seconds; `None` for memory.
    #[must_use]
    pub const fn of(&self, kind: SignalKind) -> Option<u32> {
        match kind {
            SignalKind::Rps => Some(self.rps),
            SignalKind::P99 => Some(self.p99),
            SignalKind::ErrorRatio => Some(self.error_ratio),
            SignalKind::Cpu => Some(self.cpu),
            SignalKind::Memory => None,
        }
    }
}

/// Queries that replace the preset's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Queries {
    /// Requests per second.
    pub rps: Option<Query>,
    /// 99th percentile of latency, in seconds.
    pub p99: Option<Query>,
    /// Share of requests that failed, 0 to 1.
    pub error_ratio: Option<Query>,
    /// CPU in use over all pods of the workload, in cores.
    pub cpu: Option<Query>,
    /// Memory working set over all pods of the workload, in bytes.
    pub memory: Option<Query>,
}

impl Queries {
    /// The query of one signal, if it is configured.
    #[must_use]
    pub const fn of(&self, kind: SignalKind) -> Option<&Query> {
        match kind {
            SignalKind::Rps => self.rps.as_ref(),
            SignalKind::P99 => self.p99.as_ref(),
            SignalKind::ErrorRatio => self.error_ratio.as_ref(),
            SignalKind::Cpu => self.cpu.as_ref(),
            SignalKind::Memory => self.memory.as_ref(),
        }
    }
}

/// The name of a signal's field in the sections that have one per signal.
pub(super) const fn field(kind: SignalKind) -> &'static str {
    match kind {
        SignalKind::ErrorRatio => "errorRatio",
        _ => kind.as_str(),
    }
}

/// How one signal is asked for. In every text `{namespaces}` becomes a regular expression of the
/// domain's namespaces (write it inside double quotes) and `{window}` the rate window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Query {
    /// `PromQL` of the value, one series per workload, in the unit that [`SignalKind`] states.
    pub query: String,
    /// The plain series selector behind the value (`name{matchers}`): its newest sample gives the
    /// age, its copies give double counting.
    pub sample: String,
    /// How `{series}` made of `sample` gets the two labels below; as it is when absent.
    #[serde(default = "Query::unjoined")]
    pub join: String,
    /// Label that holds the namespace.
    #[serde(default = "Query::default_namespace_label")]
    pub namespace_label: String,
    /// Label that holds the name of the scale target.
    #[serde(default = "Query::default_workload_label")]
    pub workload_label: String,
}

impl Query {
    /// The placeholder of [`Query::join`].
    pub(super) const SERIES: &'static str = "{series}";

    fn unjoined() -> String {
        Self::SERIES.to_owned()
    }

    fn default_namespace_label() -> String {
        "namespace".to_owned()
    }

    fn default_workload_label() -> String {
        "workload".to_owned()
    }

    fn validate(&self) -> Result<(), String> {
        if self.query.trim().is_empty() {
            return Err("query is empty".to_owned());
        }
        if !is_plain_selector(&self.sample) {
            // `timestamp()` of anything else is the time of the query, so nothing would ever age.
            return Err(format!("sample {:?} is not a plain selector name{{…}}", self.sample));
        }
        if !self.join.contains(Self::SERIES) {
            return Err(format!("join {:?} does not contain {}", self.join, Self::SERIES));
        }
        for label in [&self.namespace_label, &self.workload_label] {
            if !is_label(label) {
                return Err(format!("{label:?} is not a label name"));
            }
        }
        Ok(())
    }
}

/// Greatest believable value per signal.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Maxima {
    /// Requests per second.
    pub rps: f64,
    /// Seconds.
    pub p99: f64,
    /// Share, 0 to 1.
    pub error_ratio: f64,
    /// Cores.
    pub cpu: f64,
    /// Bytes.
    pub memory: f64,
}

impl Default for Maxima {
    /// An order of magnitude above what one app of a 5,000-node cluster can reach.
    fn default() -> Self {
        Self { rps: 1e7, p99: 3600.0, error_ratio: 1.0, cpu: 1e5, memory: 1e15 }
    }
}

impl Maxima {
    /// The maximum of one signal, in its unit.
    #[must_use]
    pub const fn of(&self, kind: SignalKind) -> f64 {
        match kind {
            SignalKind::Rps => self.rps,
            SignalKind::P99 => self.p99,
            SignalKind::ErrorRatio => self.error_ratio,
            SignalKind::Cpu => self.cpu,
            SignalKind::Memory => self.memory,
        }
    }
}

/// When to stop asking a source that does not answer, and how to find out that it does again.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct BreakerSettings {
    /// Failures in a row, with no answer between them, after which passes no longer wait.
    pub failures: u32,
    /// Pause between two probes of a source that does not answer, in seconds.
    pub probe_seconds: f64,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self { failures: 3, probe_seconds: 1.0 }
    }
}

impl Settings {
    /// [`Settings::timeout_seconds`] as a duration.
    pub(super) fn timeout(&self) -> Duration {
        Duration::from_secs_f64(self.timeout_seconds)
    }

    /// Says in one sentence what makes these settings unusable.
    pub fn validate(&self) -> Result<(), String> {
        self.validate_endpoint()?;
        self.validate_times()?;
        for kind in SignalKind::ALL {
            if let Some(query) = self.queries.of(kind) {
                let field = field(kind);
                query.validate().map_err(|error| format!("telemetry.queries.{field}: {error}"))?;
            }
        }
        if let Some(label) = self.dedup_labels.iter().find(|label| !is_label(label)) {
            return Err(format!("telemetry.dedupLabels: {label:?} is not a label name"));
        }
        for kind in SignalKind::ALL {
            let maximum = self.maxima.of(kind);
            if !(maximum.is_finite() && maximum > 0.0) {
                return Err(format!("telemetry.maxima.{} is {maximum}, not above 0", field(kind)));
            }
        }
        if self.concurrency == 0 || self.breaker.failures == 0 {
            return Err("telemetry.concurrency and breaker.failures must be at least 1".to_owned());
        }
        Ok(())
    }

    fn validate_endpoint(&self) -> Result<(), String> {
        let bad = |why: &str| Err(format!("telemetry.url {:?} {why}", self.url));
        let Ok(url) = self.url.parse::<hyper::Uri>() else {
            return bad("is not a URL");
        };
        let Some(authority) = url.authority() else {
            return bad("has no host");
        };
        if authority.as_str().contains('@') {
            return Err("telemetry.url holds a user name: use bearerTokenFile".to_owned());
        }
        if url.query().is_some() {
            return bad("has a query part");
        }
        let encrypted = match url.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return bad("starts with neither http:// nor https://"),
        };
        if self.bearer_token_file.is_some() && !encrypted {
            return bad("would send the bearer token unencrypted: use https");
        }
        if self.client_cert_file.is_some() != self.client_key_file.is_some() {
            return Err("telemetry.clientCertFile and clientKeyFile need each other".to_owned());
        }
        Ok(())
    }

    fn validate_times(&self) -> Result<(), String> {
        let seconds = [
            ("timeoutSeconds", self.timeout_seconds),
            ("skewWarnSeconds", self.skew_warn_seconds),
            ("skewHoldSeconds", self.skew_hold_seconds),
            ("breaker.probeSeconds", self.breaker.probe_seconds),
        ];
        // A pass may take two of them, and the next decision must not wait for it.
        if self.timeout_seconds > MAX_TIMEOUT_SECONDS {
            return Err(format!(
                "telemetry.timeoutSeconds is {}, above {MAX_TIMEOUT_SECONDS}",
                self.timeout_seconds
            ));
        }
        for (name, value) in seconds {
            if !(value > 0.0 && value <= 3600.0) {
                return Err(format!("telemetry.{name} is {value}, not between 0 and 3600"));
            }
        }
        let scrape = self.scrape_interval_seconds;
        if !(1..=3600).contains(&scrape) {
            return Err(format!(
                "telemetry.scrapeIntervalSeconds is {scrape}, not between 1 and 3600"
            ));
        }
        for kind in SignalKind::ALL {
            let field = field(kind);
            // A window of fewer scrapes gives no rate when one or two are lost.
            if let Some(window) = self.windows.of(kind)
                && window < 4 * scrape
            {
                return Err(format!(
                    "telemetry.windows.{field} is {window} s, below four scrapes of {scrape} s"
                ));
            }
            let limit = self.freshness.limit(kind);
            // Below two scrapes a single late one would make a healthy signal stale.
            if !(limit.is_finite() && limit >= 2.0 * f64::from(scrape)) {
                return Err(format!(
                    "telemetry.freshness.{field} is {limit} s, below two scrapes of {scrape} s"
                ));
            }
        }
        Ok(())
    }
}

/// Whether `text` can be a Prometheus label name.
fn is_label(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|first: char| first.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Whether `text` is `name`, `name{…}` or `{…}` and nothing more.
fn is_plain_selector(text: &str) -> bool {
    let text = text.trim();
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':';
    let name = text.bytes().take_while(|&byte| is_name(byte)).count();
    let rest = text[name..].trim_start();
    if rest.is_empty() {
        return name > 0 && !text.starts_with(|first: char| first.is_ascii_digit());
    }
    let Some(matchers) = rest.strip_prefix('{') else {
        return false;
    };
    // `{namespaces}` stands inside quotes, where braces mean nothing.
    let mut quote = None;
    let mut escaped = false;
    for (at, char) in matchers.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some('"' | '\'') if char == '\\' => escaped = true,
            Some(open) if char == open => quote = None,
            None if matches!(char, '"' | '\'' | '`') => quote = Some(char),
            None if char == '}' => return at + 1 == matchers.len(),
            Some(_) | None => {}
        }
    }
    false
}

#[cfg(test)]
mod tests;
