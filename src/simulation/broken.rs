//! What is wrong with the metrics pipelines, and when.

use super::scenario::{FaultKind, Scenario};

/// How far the pipelines are broken at an instant.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Broken {
    /// Prometheus does not answer.
    pub prometheus: bool,
    /// The resource metrics do not answer.
    pub resources: bool,
    /// Seconds on top of the usual lag.
    pub lag: f64,
    /// Shares of the answers that are missing or NaN, on top of the usual ones.
    pub lost: f64,
    pub nan: f64,
}

impl Broken {
    /// What is broken during the step that begins `from` seconds after the start: what lasts in its middle.
    pub(super) fn during(scenario: &Scenario, from: f64) -> Self {
        let mut broken = Self::default();
        let middle = from + scenario.step_seconds / 2.0;
        for fault in scenario.faults.iter().filter(|fault| fault.lasts_at(middle)) {
            match fault.fault {
                FaultKind::PrometheusOutage => broken.prometheus = true,
                FaultKind::ResourceMetricsOutage => broken.resources = true,
                FaultKind::TelemetryLag { seconds } => broken.lag += seconds,
                FaultKind::TelemetryLoss { lost, nan } => {
                    broken.lost += lost;
                    broken.nan += nan;
                }
                _ => {}
            }
        }
        broken
    }
}
