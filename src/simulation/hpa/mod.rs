//! The stock `HorizontalPodAutoscaler` controller: its arithmetic, its memory and its pace.
//!
//! The replica calculator (whole percents of utilisation, pods without metrics, pods that are not
//! ready), the maximum over metrics, stabilisation windows and behaviour policies, written after
//! the source of the controller, and held to answers that were recorded from a running one
//! (`tests/data/hpa-answers.jsonl`). Every HPA here has a `behavior`, as [`HpaSpec`] gives it.
//!
//! [`HpaSpec`]: super::scenario::HpaSpec

mod memory;
mod pace;

pub use memory::Hpa;
pub use pace::{first_sync, period};

/// Relative changes that the controller ignores.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    /// Upwards, 0.1 = 10 %.
    pub up: f64,
    /// Downwards.
    pub down: f64,
}

impl Tolerance {
    fn covers(self, ratio: f64) -> bool {
        1.0 - self.down <= ratio && ratio <= 1.0 + self.up
    }
}

/// What one sync knows of the pods of an app and of one resource (CPU or memory). All pods of an
/// app request the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resource {
    /// In use over the pods counted in `measured`, in thousandths of the unit.
    pub usage_milli: u64,
    /// Request of one pod, in thousandths of the unit.
    pub request_milli: u64,
    /// Pods with a metric that counts.
    pub measured: u32,
    /// Pods that run and have no metric.
    pub missing: u32,
    /// Pods that do not count because they are pending or, for CPU, not ready (see [`counts`]).
    pub unready: u32,
}

/// Replicas that a resource metric asks for at this target (whole percents of the request);
/// `None` when the controller would report an invalid metric: no pod has one, or no request.
#[must_use]
pub fn by_resource(
    resource: &Resource,
    target_percent: u32,
    current: u32,
    tolerance: Tolerance,
) -> Option<u32> {
    if resource.measured == 0 || resource.request_milli == 0 || target_percent == 0 {
        return None;
    }
    let target = f64::from(target_percent);
    // The controller computes utilisation in whole percents, rounded down.
    let ratio_of = |usage: u64, pods: u32| {
        let percent = usage * 100 / (resource.request_milli * u64::from(pods));
        percent as f64 / target
    };
    let ratio = ratio_of(resource.usage_milli, resource.measured);
    let held_up = resource.unready > 0 && ratio > 1.0;
    if !held_up && resource.missing == 0 {
        if tolerance.covers(ratio) {
            return Some(current);
        }
        return Some((ratio * f64::from(resource.measured)).ceil() as u32);
    }
    let (mut usage, mut pods) = (resource.usage_milli, resource.measured);
    if resource.missing > 0 && ratio < 1.0 {
        // On the way down, who has no metric uses all of the request, or the target if higher.
        let assumed = resource.request_milli * u64::from(target_percent.max(100)) / 100;
        usage += assumed * u64::from(resource.missing);
        pods += resource.missing;
    } else if resource.missing > 0 && ratio > 1.0 {
        // On the way up, nothing.
        pods += resource.missing;
    }
    if held_up {
        pods += resource.unready;
    }
    let damped = ratio_of(usage, pods);
    if tolerance.covers(damped) || (ratio < 1.0 && damped > 1.0) || (ratio > 1.0 && damped < 1.0) {
        return Some(current);
    }
    let replicas = (damped * f64::from(pods)).ceil() as u32;
    let turns = (damped < 1.0 && replicas > current) || (damped > 1.0 && replicas < current);
    Some(if turns { current } else { replicas })
}

/// Replicas that an external metric with `averageValue: 1` asks for: our number, within the
/// tolerance of `status_replicas`.
#[must_use]
pub fn by_our_metric(desired: u32, status_replicas: u32, tolerance: Tolerance) -> u32 {
    // The controller divides by the replicas; by none, the ratio is infinite.
    let ratio = f64::from(desired) / f64::from(status_replicas);
    if tolerance.covers(ratio) { status_replicas } else { desired }
}

/// How the controller takes several metrics together: the largest counts; when one is invalid,
/// it does not scale down; when all are, it does nothing (`None`).
#[must_use]
pub fn together(metrics: &[Option<u32>], current: u32) -> Option<u32> {
    let largest = metrics.iter().flatten().max().copied()?;
    let whole = metrics.iter().all(Option::is_some);
    (whole || largest >= current).then_some(largest)
}

/// What the controller looks at to decide whether the CPU of a running pod counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PodTimes {
    /// Whether the pod is ready now.
    pub ready: bool,
    /// Seconds since its start.
    pub age: f64,
    /// Seconds from its start to the last change of its readiness; 0 when it never changed.
    pub changed_after: f64,
    /// Seconds from that change to the sample; negative when the sample is older.
    pub sampled_after: f64,
}

/// Whether the CPU of a running pod counts: `window` is the length of the sample in seconds,
/// `initialization` and `readiness_delay` are the controller's flags in seconds.
#[must_use]
pub fn counts(pod: &PodTimes, window: f64, initialization: f64, readiness_delay: f64) -> bool {
    if pod.age < initialization {
        // While it starts, only a whole sample from after it became ready counts.
        pod.ready && pod.sampled_after >= window
    } else {
        // Later, only a pod that never became ready does not.
        pod.ready || pod.changed_after >= readiness_delay
    }
}

#[cfg(test)]
mod tests;
