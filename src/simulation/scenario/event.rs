//! What changes the traffic for a while, and what breaks.

use serde::{Deserialize, Serialize};

/// Traffic multiplied for a while: rises in a line over `ramp`, stays for `hold`, falls in a line
/// over `decay`. Events that overlap multiply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct EventSpec {
    /// A short name.
    pub name: String,
    /// What it is. The shape is in the numbers.
    pub kind: EventKind,
    /// Whose own traffic changes. Traffic that others call for follows by itself.
    pub reach: Reach,
    /// When it really begins to rise, in seconds after the start.
    pub start_seconds: f64,
    /// How long it rises, in seconds.
    pub ramp_seconds: f64,
    /// How long it stays at its height, in seconds.
    pub hold_seconds: f64,
    /// How long it falls, in seconds.
    pub decay_seconds: f64,
    /// Factor at its height; below 1 traffic falls away.
    pub factor: f64,
    /// When the calendar says that it begins, in seconds after the start; none: it is not in the
    /// calendar. An event may come before its announced time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub announced_seconds: Option<f64>,
    /// Factor that the calendar announces; none: the real one. Only for announced events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub announced_factor: Option<f64>,
}

/// What an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum EventKind {
    /// Salaries arrive: a whole day is higher.
    Payday,
    /// A campaign: hours, moderate.
    Promotion,
    /// Everybody at once: minutes, steep.
    FlashSale,
    /// Scheduled work outside its usual window.
    Batch,
    /// Anything else.
    Surge,
}

/// Whom something concerns.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Reach {
    /// Names of domains; empty: every domain.
    pub domains: Vec<String>,
    /// Only apps whose name begins with this; empty: every app of these domains.
    pub app_prefix: String,
    /// At most so many apps, the first in the order of the scenario; none: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Something that breaks for a while.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct FaultSpec {
    /// When, in seconds after the start.
    pub start_seconds: f64,
    /// For how long, in seconds. What happens at one instant (nodes lost, pods killed) happens at
    /// the start.
    #[serde(default)]
    pub duration_seconds: f64,
    /// What.
    pub fault: FaultKind,
}

impl FaultSpec {
    /// Whether it lasts at an instant, in seconds after the start.
    #[must_use]
    pub fn lasts_at(&self, seconds: f64) -> bool {
        self.start_seconds < seconds && seconds < self.start_seconds + self.duration_seconds
    }
}

/// What can break.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum FaultKind {
    /// Nodes vanish with their pods.
    NodeLoss {
        /// Name of the pool.
        pool: String,
        /// Share of its nodes, 0 to 1.
        share: f64,
        /// Only in this zone, from 0; none: in all.
        #[serde(default)]
        zone: Option<u32>,
    },
    /// The provisioner launches nothing; what it launched before still arrives.
    ProvisionerStall {
        /// Name of the pool; none: all pools.
        #[serde(default)]
        pool: Option<String>,
    },
    /// New nodes take longer.
    SlowNodes {
        /// Name of the pool; none: all pools.
        #[serde(default)]
        pool: Option<String>,
        /// Factor on the time that a node takes.
        factor: f64,
    },
    /// Something that these apps depend on, and that is not in the cluster, is slow or fails.
    Dependency {
        /// Whose requests suffer.
        reach: Reach,
        /// Seconds added to every request (a worker waits, CPU does not work).
        delay_seconds: f64,
        /// Share of requests that fail, 0 to 1.
        error_ratio: f64,
    },
    /// Pods are killed and start again.
    Crash {
        /// Whose.
        reach: Reach,
        /// Share of the ready pods of each app, 0 to 1.
        share: f64,
    },
    /// Prometheus does not answer: every signal keeps its last reading and ages.
    PrometheusOutage,
    /// The resource metrics that stock HPAs read do not answer.
    ResourceMetricsOutage,
    /// Measurements come later than usual.
    TelemetryLag {
        /// Seconds on top of the usual lag.
        seconds: f64,
    },
    /// Measurements get lost or come as NaN more often than usual.
    TelemetryLoss {
        /// Share of the answers that are missing, 0 to 1.
        lost: f64,
        /// Share of the answers that are NaN, 0 to 1.
        nan: f64,
    },
}
