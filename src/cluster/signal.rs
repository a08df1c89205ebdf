//! What was measured of one app, and how far it can be trusted.

use std::fmt;
use std::ops::{Index, IndexMut};

use serde::{Deserialize, Serialize};

use super::Timestamp;

/// The signals read for every app. The order is the order of [`Signals`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignalKind {
    /// Requests per second that arrived at the app, over all its pods.
    Rps,
    /// 99th percentile of request latency, in seconds.
    P99,
    /// Share of requests that failed, 0 to 1.
    ErrorRatio,
    /// CPU in use over all pods of the app, in cores.
    Cpu,
    /// Memory working set over all pods of the app, in bytes.
    Memory,
}

impl SignalKind {
    /// Every kind, in the order of [`Signals`].
    pub const ALL: [Self; 5] = [Self::Rps, Self::P99, Self::ErrorRatio, Self::Cpu, Self::Memory];

    /// The name in configuration, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rps => "rps",
            Self::P99 => "p99",
            Self::ErrorRatio => "error_ratio",
            Self::Cpu => "cpu",
            Self::Memory => "memory",
        }
    }
}

impl fmt::Display for SignalKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// Why the newest answer for a signal could not be used as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// `NaN` where a ratio of nothing is expected (no traffic): no signal, and no error.
    Idle,
    /// Infinite, or `NaN` where there is no ratio.
    NotFinite,
    /// Finite, but outside what this signal can be (negative, 1e308).
    OutOfRange,
    /// The source answered and had nothing for this app: unknown, never zero.
    Absent,
    /// The sample behind the answer is older than the signal's freshness limit.
    Stale,
    /// The source said that its answer is partial. The value may raise, never lower.
    Incomplete,
    /// The source did not answer in time, or with an error.
    Unreachable,
    /// The source's clock is too far from ours to judge ages.
    Skewed,
    /// The same traffic is counted more than once.
    Duplicate,
    /// The value jumped by the factor of a changed unit while traffic was steady.
    UnitJump,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 10] = [
        Self::Idle,
        Self::NotFinite,
        Self::OutOfRange,
        Self::Absent,
        Self::Stale,
        Self::Incomplete,
        Self::Unreachable,
        Self::Skewed,
        Self::Duplicate,
        Self::UnitJump,
    ];

    /// The name in logs and metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::NotFinite => "not_finite",
            Self::OutOfRange => "out_of_range",
            Self::Absent => "absent",
            Self::Stale => "stale",
            Self::Incomplete => "incomplete",
            Self::Unreachable => "unreachable",
            Self::Skewed => "skewed",
            Self::Duplicate => "duplicate",
            Self::UnitJump => "unit_jump",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// One number and the instant of the newest sample behind it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// In the unit that [`SignalKind`] states.
    pub value: f64,
    /// When the newest sample behind the value was taken, by the source's clock.
    pub at: Timestamp,
}

/// One signal of one app: the last usable reading, and what was wrong with the newest answer.
///
/// A rejected answer leaves the older reading in place with its old instant, so that its age
/// tells the truth.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Signal {
    /// The last usable reading.
    pub reading: Option<Reading>,
    /// What was wrong with the newest answer; `None` when `reading` is that answer.
    pub fault: Option<Fault>,
}

impl Signal {
    /// A signal whose newest answer was good.
    #[must_use]
    pub const fn good(value: f64, at: Timestamp) -> Self {
        Self { reading: Some(Reading { value, at }), fault: None }
    }

    /// A signal that was never read.
    #[must_use]
    pub const fn missing(fault: Fault) -> Self {
        Self { reading: None, fault: Some(fault) }
    }

    /// The value, if its newest sample is at most `limit_seconds` old at `now`.
    #[must_use]
    pub fn fresh(&self, now: Timestamp, limit_seconds: f64) -> Option<f64> {
        let reading = self.reading?;
        (now.seconds_since(reading.at) <= limit_seconds).then_some(reading.value)
    }

    /// Whether the newest answer was whole and good: only such a value may lower a count.
    #[must_use]
    pub const fn is_sound(&self) -> bool {
        self.fault.is_none()
    }
}

/// The signals of one app, indexed by [`SignalKind`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Signals([Signal; SignalKind::ALL.len()]);

impl Default for Signals {
    fn default() -> Self {
        Self([Signal::missing(Fault::Absent); SignalKind::ALL.len()])
    }
}

impl Index<SignalKind> for Signals {
    type Output = Signal;

    fn index(&self, kind: SignalKind) -> &Signal {
        &self.0[kind as usize]
    }
}

impl IndexMut<SignalKind> for Signals {
    fn index_mut(&mut self, kind: SignalKind) -> &mut Signal {
        &mut self.0[kind as usize]
    }
}

/// How old the newest sample behind each signal may be, in seconds.
///
/// The defaults are the scrape chain's worst sensible age: mesh metrics scraped every 15 s, the
/// kubelet's own 10 to 15 s before that for CPU and memory.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Freshness {
    /// For [`SignalKind::Rps`].
    pub rps: f64,
    /// For [`SignalKind::P99`].
    pub p99: f64,
    /// For [`SignalKind::ErrorRatio`].
    pub error_ratio: f64,
    /// For [`SignalKind::Cpu`].
    pub cpu: f64,
    /// For [`SignalKind::Memory`].
    pub memory: f64,
}

impl Default for Freshness {
    fn default() -> Self {
        Self { rps: 45.0, p99: 60.0, error_ratio: 60.0, cpu: 90.0, memory: 90.0 }
    }
}

impl Freshness {
    /// The limit for one kind, in seconds.
    #[must_use]
    pub const fn limit(&self, kind: SignalKind) -> f64 {
        match kind {
            SignalKind::Rps => self.rps,
            SignalKind::P99 => self.p99,
            SignalKind::ErrorRatio => self.error_ratio,
            SignalKind::Cpu => self.cpu,
            SignalKind::Memory => self.memory,
        }
    }
}
