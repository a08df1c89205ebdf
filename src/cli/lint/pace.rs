//! HPAs that follow our number late, or not to the end.

use serde_json::json;

use crate::cli::objects::Objects;
use crate::cli::objects::view::{Hpa, Policy, Rules};

use super::finding::{Finding, Severity};
use super::memory::DEFAULT_TOLERANCE;
use super::metric::ours;

/// Seconds between two syncs of one HPA.
const SYNC: u32 = 15;
/// `scaleDown.stabilizationWindowSeconds` when the HPA does not say.
const DEFAULT_DOWN_WINDOW: u32 = 300;
/// A window up to this many seconds is somebody's choice; the default is an oversight.
const ACCEPTED_DOWN_WINDOW: u32 = 60;
/// Reaching `maxReplicas` within this many seconds needs no remark.
const ACCEPTED_RISE: u32 = 30;

/// Finds HPAs that ignore small changes of our number.
pub(super) fn tolerance(objects: &Objects) -> Vec<Finding> {
    let mut found = Vec::new();
    for placed in ours(objects) {
        let behavior = &placed.hpa.spec.behavior;
        let of = |rules: Option<&Rules>| {
            rules.and_then(|it| it.tolerance.as_ref()).map_or(DEFAULT_TOLERANCE, |it| it.value)
        };
        let (up, down) = (of(behavior.scale_up.as_ref()), of(behavior.scale_down.as_ref()));
        let max = u32::try_from(placed.hpa.spec.max_replicas).unwrap_or(0);
        let (low, high) = dead_band(max, up, down);
        if low == max && high == max {
            continue;
        }
        let sentence = format!(
            "a change of up to {:.0} % up and {:.0} % down is ignored: at {max} replicas the \
             numbers {low}..{high} do nothing, for ever (the patch needs Kubernetes 1.35, or 1.33 \
             with the gate HPAConfigurableTolerance)",
            up * 100.0,
            down * 100.0
        );
        let zero = json!({"tolerance": "0"});
        let body = json!({"spec": {"behavior": {"scaleUp": zero, "scaleDown": zero}}});
        found.push(Finding::on(placed, Severity::Warning, sentence).patched(placed, body));
    }
    found
}

/// The numbers that an HPA at `replicas` ignores, both ends included.
pub(crate) fn dead_band(replicas: u32, up: f64, down: f64) -> (u32, u32) {
    let replicas = f64::from(replicas);
    // Both ends are ignored; doubles must not lose one.
    let low = (replicas * (1.0 - down) - 1e-9).ceil().max(0.0);
    let high = (replicas * (1.0 + up) + 1e-9).floor();
    (low as u32, high as u32)
}

/// Finds HPAs that obey a lower number minutes late.
pub(super) fn slow_scale_down(objects: &Objects) -> Vec<Finding> {
    let mut found = Vec::new();
    for placed in ours(objects) {
        let rules = placed.hpa.spec.behavior.scale_down.as_ref();
        let stated = rules.and_then(|it| it.stabilization_window_seconds);
        let window = stated.unwrap_or(DEFAULT_DOWN_WINDOW);
        if window <= ACCEPTED_DOWN_WINDOW {
            continue;
        }
        let by = if stated.is_some() { "" } else { " (the default)" };
        let sentence = format!(
            "a lower number is obeyed {window} s{by} after the last higher one; our numbers are \
             stabilised before they are published, so that this waits twice"
        );
        let body = json!({"spec": {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}}}});
        found.push(Finding::on(placed, Severity::Warning, sentence).patched(placed, body));
    }
    found
}

/// Finds HPAs whose policies hold a rise back.
pub(super) fn capped_scale_up(objects: &Objects) -> Vec<Finding> {
    let mut found = Vec::new();
    for placed in ours(objects) {
        let hpa = &placed.hpa;
        let max = u32::try_from(hpa.spec.max_replicas).unwrap_or(0);
        let body = json!({"spec": {"behavior": {"scaleUp": {"selectPolicy": "Max",
            "policies": [{"type": "Pods", "value": max.max(1), "periodSeconds": SYNC}]}}}});
        let finding = match rise(hpa) {
            Rise::Off => Finding::on(
                placed,
                Severity::Error,
                "behavior.scaleUp.selectPolicy is Disabled: no higher number is ever obeyed"
                    .to_owned(),
            ),
            Rise::Steps(steps) if (steps.len() as u32 - 1) * SYNC > ACCEPTED_RISE => {
                let path: Vec<String> = steps.iter().map(ToString::to_string).collect();
                let sentence = format!(
                    "from {} to {max} replicas takes {} s whatever we ask for: {}",
                    steps[0],
                    (steps.len() - 1) as u32 * SYNC,
                    path.join(" -> ")
                );
                Finding::on(placed, Severity::Warning, sentence)
            }
            Rise::Steps(_) => continue,
        };
        found.push(finding.patched(placed, body));
    }
    found
}

enum Rise {
    /// Scale-up is switched off.
    Off,
    /// Replicas at each sync, from the lower bound to the upper.
    Steps(Vec<u32>),
}

/// Syncs that are looked at; slower rises are cut off here.
const MOST_SYNCS: usize = 40;

/// Plays the fastest possible rise from the lower bound to the upper, sync by sync.
fn rise(hpa: &Hpa) -> Rise {
    let rules = hpa.spec.behavior.scale_up.clone().unwrap_or_default();
    if rules.select_policy.as_deref() == Some("Disabled") {
        return Rise::Off;
    }
    let policies = if rules.policies.is_empty() { default_policies() } else { rules.policies };
    let least = rules.select_policy.as_deref() == Some("Min");
    let max = u32::try_from(hpa.spec.max_replicas).unwrap_or(0);
    let mut steps = vec![u32::try_from(hpa.min()).unwrap_or(0).max(1)];
    while let Some(&now) = steps.last() {
        if now >= max || steps.len() > MOST_SYNCS {
            break;
        }
        let limits = policies.iter().map(|policy| {
            // What was added within the period counts against its allowance.
            let back = (policy.period_seconds / SYNC).max(1) as usize - 1;
            let start = steps[steps.len() - 1 - back.min(steps.len() - 1)];
            match policy.kind.as_str() {
                "Percent" => {
                    (f64::from(start) * (1.0 + f64::from(policy.value) / 100.0)).ceil() as u32
                }
                _ => start.saturating_add(policy.value),
            }
        });
        let limit = if least { limits.min() } else { limits.max() };
        steps.push(limit.unwrap_or(max).clamp(now, max));
    }
    Rise::Steps(steps)
}

fn default_policies() -> Vec<Policy> {
    let policy = |kind: &str, value| Policy { kind: kind.into(), value, period_seconds: SYNC };
    vec![policy("Pods", 4), policy("Percent", 100)]
}
