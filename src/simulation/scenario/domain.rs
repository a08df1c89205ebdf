//! Domains, the shape of their traffic, and who calls whom.

use serde::{Deserialize, Serialize};

use crate::cluster::{Class, Domain, LoanLimit, Mode, PolicyChoice, Slo};

/// One domain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct DomainSpec {
    /// Its name.
    pub name: String,
    /// Priority class.
    pub class: Class,
    /// Weight in the division of shared capacity, above 0 and at most 1.
    pub weight: f64,
    /// Promised 99th percentile of latency, in seconds.
    pub slo_p99_seconds: f64,
    /// Share of requests that may fail, 0 to 1.
    #[serde(default = "one_in_a_thousand")]
    pub slo_error_ratio: f64,
    /// Share of shared capacity that is never divided away from it, 0 to 1.
    #[serde(default)]
    pub floor_share: f64,
    /// Shape of its own traffic over time.
    #[serde(default)]
    pub traffic: Pattern,
    /// Standard deviation of the noise that all its apps share, as a share of the traffic.
    #[serde(default)]
    pub noise: f64,
    /// How slowly that noise changes, in seconds.
    #[serde(default = "five_minutes")]
    pub noise_seconds: f64,
}

fn one_in_a_thousand() -> f64 {
    0.001
}

fn five_minutes() -> f64 {
    300.0
}

impl DomainSpec {
    /// The domain as policies know it, active.
    #[must_use]
    pub fn to_domain(&self) -> Domain {
        Domain {
            name: self.name.clone(),
            class: self.class,
            weight: self.weight,
            slo: Slo { p99_seconds: self.slo_p99_seconds, error_ratio: self.slo_error_ratio },
            floor_share: self.floor_share,
            borrowing: LoanLimit::default(),
            lending: LoanLimit::default(),
            policy: PolicyChoice::Hirl,
            mode: Mode::Active,
            calls: Vec::new(),
            budget_by_hand: None,
            emergency: None,
        }
    }
}

/// Shape of traffic over time: a factor on [`super::AppSpec::rps`], about 1 on average. Hours are
/// hours of the day in UTC.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Pattern {
    /// Always 1.
    #[default]
    Steady,
    /// A day with one peak, and weekends.
    Diurnal {
        /// How far peak and trough are from the mean, 0 to 1.
        swing: f64,
        /// Hour of the peak, 0 to 24.
        peak_hour: f64,
        /// Factor on Saturday and Sunday.
        weekend: f64,
    },
    /// 1 in office hours, with a ramp of one hour on both sides, and `idle` otherwise.
    Office {
        /// First hour at 1, 0 to 24.
        from_hour: f64,
        /// Last hour at 1, above `from_hour`, up to 24.
        to_hour: f64,
        /// Factor outside these hours and at weekends.
        idle: f64,
    },
    /// Scheduled work: 1 inside a window, `idle` otherwise.
    Batch {
        /// When it runs.
        windows: Vec<BatchWindow>,
        /// Factor outside every window.
        idle: f64,
    },
    /// A recorded series, played back and begun again at its end: its values over their mean,
    /// between two values on the line through them, modulated by a Gamma factor per step.
    Replay {
        /// Time between two values, in seconds.
        interval_seconds: f64,
        /// The recorded values, in any unit.
        values: Vec<f64>,
        /// Coefficient of variation of the Gamma factor; 0 for none.
        burstiness: f64,
    },
}

/// A window of scheduled work.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct BatchWindow {
    /// Hour of the day at which it begins, 0 to 24.
    pub from_hour: f64,
    /// How long it takes, in hours; it may run past midnight.
    pub hours: f64,
    /// Factor inside; the highest counts where windows overlap.
    pub level: f64,
}

/// One domain calls another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct CallSpec {
    /// Name of the calling domain.
    pub from: String,
    /// Name of the called domain.
    pub to: String,
    /// Calls for each request to the caller.
    pub per_request: f64,
    /// How much later the called domain sees the traffic, in seconds.
    #[serde(default)]
    pub lag_seconds: f64,
    /// Whether the caller waits: then a slow callee slows it, and a failed call fails it.
    #[serde(default)]
    pub inline: bool,
}
