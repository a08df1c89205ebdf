//! Memory metrics that make scale-down impossible. A service that loads its data at start holds
//! the same memory with and without traffic, and the HPA takes the largest of its metrics.

use serde_json::{Value, json};

use crate::cli::objects::view::{Hpa, ResourceMetric};
use crate::cli::objects::{Objects, Placed};

use super::finding::{Finding, Severity};

/// Change that an HPA ignores when its behavior does not say.
pub(super) const DEFAULT_TOLERANCE: f64 = 0.1;

/// CPU target for an HPA that would have no metric left, in percent.
const CPU_TARGET: i32 = 70;

/// One memory target and what is known about the pods.
struct Memory {
    /// Measured per pod, in bytes.
    used: Option<f64>,
    /// Requested per pod, in bytes.
    request: Option<f64>,
    /// Measured, in percent of the request, as the controller rounds it.
    utilisation: Option<f64>,
    /// Aimed at: percent of the request, or bytes per pod.
    target: Aim,
}

#[derive(Clone, Copy)]
enum Aim {
    Percent(f64),
    Bytes(f64),
}

/// Finds HPAs that memory keeps above their lower bound.
pub(super) fn blocks_scale_down(objects: &Objects) -> Vec<Finding> {
    let mut found = Vec::new();
    for placed in &objects.hpas {
        if placed.hpa.min() >= placed.hpa.spec.max_replicas {
            continue;
        }
        for metric in placed.hpa.resource("memory") {
            let Some(memory) = Memory::read(objects, &placed.hpa, metric) else {
                continue;
            };
            let finding = match memory.ratio() {
                Some(ratio) => memory.measured(placed, ratio),
                None => Some(memory.unmeasured(placed)),
            };
            found.extend(finding.map(|it| it.patched(placed, without_memory(placed))));
        }
    }
    found
}

impl Memory {
    fn read(objects: &Objects, hpa: &Hpa, metric: &ResourceMetric) -> Option<Self> {
        let target = &metric.target;
        let target = match (target.average_utilization, &target.average_value) {
            (Some(percent), _) => Aim::Percent(f64::from(percent)),
            (None, Some(bytes)) => Aim::Bytes(bytes.value),
            (None, None) => return None,
        };
        let current = hpa
            .status
            .current_metrics
            .iter()
            .filter_map(|it| it.on_resource())
            .find(|it| it.name == "memory" && it.container == metric.container)
            .map(|it| &it.current);
        let workload = objects.target(hpa);
        Some(Self {
            used: current.and_then(|it| it.average_value.as_ref()).map(|it| it.value),
            request: workload.and_then(|workload| match &metric.container {
                Some(container) => workload.container_request(container, "memory"),
                None => workload.request("memory"),
            }),
            utilisation: current.and_then(|it| it.average_utilization).map(f64::from),
            target,
        })
    }

    /// What the controller multiplies the pods by.
    fn ratio(&self) -> Option<f64> {
        match self.target {
            Aim::Bytes(target) => Some(self.used? / target),
            Aim::Percent(target) => {
                // The controller cuts the percentage to a whole number.
                let computed = || Some((100.0 * self.used? / self.request?).floor());
                Some(self.utilisation.or_else(computed)? / target)
            }
        }
        .filter(|ratio| ratio.is_finite() && *ratio > 0.0)
    }

    fn measured(&self, placed: &Placed, ratio: f64) -> Option<Finding> {
        let hpa = &placed.hpa;
        let min = u32::try_from(hpa.min()).unwrap_or(1);
        let max = u32::try_from(hpa.spec.max_replicas).unwrap_or(1);
        // At its lower bound now: what would happen after the next peak?
        let current = hpa.status.current_replicas.unwrap_or(0);
        let start = if current > min { current } else { max };
        let floor = resting_point(start, ratio, tolerance_down(hpa));
        if floor <= min {
            return None;
        }
        // Where CPU asks for as many pods at this moment, memory is not what keeps them.
        let cpu = cpu_wants(hpa, floor);
        let severity = if cpu.is_some_and(|wants| wants >= floor) {
            Severity::Warning
        } else {
            Severity::Error
        };
        let sentence = format!(
            "{}: never below {floor} (minReplicas is {min}) while the pods hold that much memory, \
             and memory that is loaded at start does not fall with traffic",
            self.arithmetic(floor)
        );
        Some(Finding::on(placed, severity, sentence))
    }

    /// `3 pods x 332 Mi of 512 Mi = 64.8 %; ceil(3 x 64.8 / 80) = ceil(2.43) = 3`.
    fn arithmetic(&self, pods: u32) -> String {
        let (measured, share, aim) = match (self.target, self.used, self.request) {
            (Aim::Percent(target), Some(used), Some(request)) => {
                let percent = 100.0 * used / request;
                let of = format!("{} of {} = {percent:.1} %", mebi(used), mebi(request));
                // As many digits as it is printed with.
                (of, (10.0 * percent).round() / 10.0, target)
            }
            (Aim::Percent(target), _, _) => {
                let percent = self.utilisation.unwrap_or(0.0);
                (format!("{percent:.0} % of the request"), percent, target)
            }
            (Aim::Bytes(target), used, _) => {
                let used = used.unwrap_or(0.0);
                (mebi(used), used / 1_048_576.0, target / 1_048_576.0)
            }
        };
        let product = f64::from(pods) * share / aim;
        format!(
            "{pods} pods x {measured}; ceil({pods} x {} / {}) = ceil({}) = {}",
            short(share),
            short(aim),
            short(product),
            product.ceil()
        )
    }

    /// Without a measurement: how little memory the pods may hold for the last step down.
    fn unmeasured(&self, placed: &Placed) -> Finding {
        let min = placed.hpa.min().max(1);
        let (low, high) = (f64::from(min), f64::from(min + 1));
        let ratio = (low / high).min(1.0 - tolerance_down(&placed.hpa));
        let limit = match (self.target, self.request) {
            (Aim::Percent(target), Some(request)) => format!(
                "{} of {} ({:.1} %)",
                mebi(request * target * ratio / 100.0),
                mebi(request),
                target * ratio
            ),
            (Aim::Percent(target), None) => format!("{:.1} % of its request", target * ratio),
            (Aim::Bytes(target), _) => mebi(target * ratio),
        };
        let aim = match self.target {
            Aim::Percent(target) => short(target),
            Aim::Bytes(target) => mebi(target),
        };
        let sentence = format!(
            "the step from {high} to {low} pods needs at most {limit} per pod, because \
             ceil({high} x used / {aim}) must be {low}: a service that holds more at rest never \
             gets below {high} (its memory was not measured)"
        );
        Finding::on(placed, Severity::Warning, sentence)
    }
}

fn tolerance_down(hpa: &Hpa) -> f64 {
    let rules = hpa.spec.behavior.scale_down.as_ref();
    rules.and_then(|it| it.tolerance.as_ref()).map_or(DEFAULT_TOLERANCE, |it| it.value)
}

/// Where an HPA comes to rest from `start` when every pod keeps its memory.
fn resting_point(start: u32, ratio: f64, tolerance: f64) -> u32 {
    let mut pods = start;
    if (1.0 - ratio).abs() <= tolerance {
        return pods;
    }
    loop {
        let wanted = (f64::from(pods) * ratio).ceil() as u32;
        if wanted >= pods {
            return pods;
        }
        pods = wanted;
    }
}

/// What the CPU target asks for at the measured CPU, in pods; `None` when there is no CPU target
/// or nothing was measured.
fn cpu_wants(hpa: &Hpa, pods: u32) -> Option<u32> {
    let target = hpa.resource("cpu").find_map(|it| it.target.average_utilization)?;
    let current = hpa.status.current_metrics.iter().filter_map(|it| it.on_resource());
    let used =
        current.filter(|it| it.name == "cpu").find_map(|it| it.current.average_utilization)?;
    let now = hpa.status.current_replicas.unwrap_or(pods);
    Some((f64::from(now) * f64::from(used) / f64::from(target)).ceil() as u32)
}

fn without_memory(placed: &Placed) -> Value {
    let about_memory = |metric: &Value| {
        metric["resource"]["name"] == "memory" || metric["containerResource"]["name"] == "memory"
    };
    let mut kept: Vec<Value> =
        placed.metrics.iter().filter(|metric| !about_memory(metric)).cloned().collect();
    if kept.is_empty() {
        kept.push(json!({"type": "Resource", "resource": {"name": "cpu", "target":
            {"type": "Utilization", "averageUtilization": CPU_TARGET}}}));
    }
    json!({"spec": {"metrics": kept}})
}

fn mebi(bytes: f64) -> String {
    format!("{:.0} Mi", bytes / 1_048_576.0)
}

/// A number without digits that say nothing.
fn short(number: f64) -> String {
    let text = format!("{number:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    text.to_owned()
}
