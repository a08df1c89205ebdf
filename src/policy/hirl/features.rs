//! What the learned policy sees: every number with its name, unit and range, live and simulated alike.
//!
//! Ratios enter as natural logarithms, so that twice and half are equally far. What is not fresh is 0 and
//! its flag is 1; an age that nobody knows is the largest. The list's hash stands in the weights: weights
//! that were trained on another list are refused.
//!
//! `system.md` 2.1 also names the throttled share of CPU and the restart rate. No query of ours asks for
//! them, so that they are not here.

use crate::hash::sha256;

/// One number that a network sees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Feature {
    /// Its name.
    pub name: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// Values are clamped to this range.
    pub range: [f32; 2],
}

const fn feature(name: &'static str, unit: &'static str, low: f32, high: f32) -> Feature {
    Feature { name, unit, range: [low, high] }
}

/// What a Soldier sees of each app.
#[rustfmt::skip]
pub const APP: [Feature; 29] = [
    feature("load", "ln(utilisation / target)", -3.0, 1.5),
    feature("utilisation", "share of the request", 0.0, 2.0),
    feature("target", "share of the request", 0.0, 1.0),
    feature("cpu missing", "flag", 0.0, 1.0),
    feature("latency", "ln(p99 / SLO)", -3.0, 2.0),
    feature("latency change", "ln(p99 / its mean over a minute)", -2.0, 2.0),
    feature("latency floor", "ln(lowest p99 / SLO), which rises by half in half an hour", -3.0, 2.0),
    feature("latency missing", "flag", 0.0, 1.0),
    feature("errors", "ln(1 + errors / SLO)", 0.0, 5.0),
    feature("breaks its SLO", "share of the last five minutes", 0.0, 1.0),
    feature("traffic", "ln(1 + requests per second)", 0.0, 14.0),
    feature("traffic ahead", "ln(extrapolated / now)", 0.0, 1.5),
    feature("traffic over its mean", "ln(now / mean over ten minutes)", -2.0, 2.0),
    feature("traffic peak", "ln(highest, forgotten by half in ten minutes / now)", 0.0, 2.0),
    feature("roughness", "mean |ln(traffic / traffic a look before)| over ten minutes", 0.0, 1.0),
    feature("cost of a request", "ln(cores per request per second)", -12.0, 2.0),
    feature("pods", "ln(replicas)", 0.0, 8.0),
    feature("cores", "ln(request of a pod in cores)", -4.0, 4.0),
    feature("start", "ln(seconds from being asked for to ready)", 0.0, 6.0),
    feature("pending", "share of the replicas", 0.0, 1.0),
    feature("not ready", "share of the replicas", 0.0, 1.0),
    feature("rule", "ln(replicas that the rule asks for / replicas)", -1.5, 1.5),
    feature("rule ahead", "ln(replicas that the rule asks for / those that it asks for without the forecast)", 0.0, 2.0),
    feature("below its upper bound", "ln(upper bound / replicas)", 0.0, 4.0),
    feature("above its lower bound", "ln(replicas / lower bound)", 0.0, 4.0),
    feature("own step", "steps, smoothed", -2.0, 2.0),
    feature("since it grew", "minutes", 0.0, 10.0),
    feature("since it shrank", "minutes", 0.0, 10.0),
    feature("age of its signals", "minutes", 0.0, 5.0),
];

/// What a Soldier sees of its domain. No forecast: the Commander's headroom and budget carry it.
#[rustfmt::skip]
pub const DOMAIN: [Feature; 23] = [
    feature("P0", "flag", 0.0, 1.0),
    feature("P1", "flag", 0.0, 1.0),
    feature("P2", "flag", 0.0, 1.0),
    feature("P3", "flag", 0.0, 1.0),
    feature("weight", "", 0.0, 1.0),
    feature("SLO", "ln(p99 in seconds)", -5.0, 3.0),
    feature("apps", "ln(1 + count)", 0.0, 7.0),
    feature("cores", "ln(1 + requested cores)", 0.0, 12.0),
    feature("breaching", "share of the requests", 0.0, 1.0),
    feature("breaching change", "share of the requests over a minute ago", -1.0, 1.0),
    feature("rejected", "share of the apps", 0.0, 1.0),
    feature("pending", "share of the pods", 0.0, 1.0),
    feature("traffic change", "ln(now / mean over five minutes)", -2.0, 2.0),
    feature("traffic acceleration", "ln(mean over a minute / mean over five minutes)", -2.0, 2.0),
    feature("traffic change elsewhere", "the largest of the other domains", -2.0, 2.0),
    feature("traffic change of its callers", "the largest of the domains that call it", -2.0, 2.0),
    feature("latency exposure", "excess of p99 over the SLO in the domains that it waits for, by calls per request", 0.0, 1.0),
    feature("budget", "share of the shared CPU", 0.0, 1.0),
    feature("budget in use", "ln(requested / budget)", -3.0, 1.0),
    feature("wanted", "ln(cores that the rule asks for / requested)", -1.5, 1.5),
    feature("free", "share of the shared CPU that nobody requests", -0.5, 1.0),
    feature("headroom", "ln(factor) that the Commander set", -0.5, 0.7),
    feature("urgency", "that the Commander told", 0.0, 1.0),
];

/// What the Commander sees of each domain beside what its Soldier does.
#[rustfmt::skip]
pub const COMMAND: [Feature; 19] = [
    feature("forecast 5 min", "ln(p80 / level)", -2.0, 2.0),
    feature("forecast 15 min", "ln(p80 / level)", -2.0, 2.0),
    feature("forecast 30 min", "ln(p80 / level)", -2.0, 2.0),
    feature("uncertainty", "(p90 - p10) / p50 at 15 min", 0.0, 3.0),
    feature("forecast missing", "flag", 0.0, 1.0),
    feature("age of the forecast", "minutes", 0.0, 5.0),
    feature("traffic p95", "ln(p95 over 15 minutes / now)", -1.0, 2.0),
    feature("utilisation p75", "share of the request", 0.0, 2.0),
    feature("utilisation spread", "p90 - p50 over the apps", 0.0, 2.0),
    feature("memory p75", "share of the request", 0.0, 2.0),
    feature("latency", "ln(mean p99 / SLO), weighted by requests", -3.0, 2.0),
    feature("floor", "ln(requested / floor)", -2.0, 5.0),
    feature("age of its signals", "minutes", 0.0, 5.0),
    feature("nodes", "ln(1 + nodes of the shared pools)", 0.0, 9.0),
    feature("node churn", "nodes that came or went in ten minutes, share of all, by this domain's share of the pending pods", 0.0, 1.0),
    feature("hour, sine", "", -1.0, 1.0),
    feature("hour, cosine", "", -1.0, 1.0),
    feature("weekend", "flag", 0.0, 1.0),
    feature("special event", "flag: some forecast more than doubles its level", 0.0, 1.0),
];

/// What a Soldier sees of each minute of an app's last half hour of traffic, see [`Shape`](super::Shape).
pub const SHAPE: Feature =
    feature("traffic shape", "ln(mean of a minute / mean of half an hour)", -2.0, 2.0);

/// The hash of the lists: another feature, order, unit or range gives another one.
#[must_use]
pub fn features_hash() -> String {
    let line = |feature: &Feature| {
        let Feature { name, unit, range: [low, high] } = feature;
        format!("{name}|{unit}|{low}|{high}\n")
    };
    let all = APP.iter().chain(&DOMAIN).chain(&COMMAND).chain([&SHAPE]);
    let text: String = all.map(line).collect();
    sha256(text.as_bytes())
}

/// A value within the range of its feature; 0, or the nearest to it, for what is no number.
pub(super) fn clamped<const N: usize>(features: &[Feature; N], values: [f64; N]) -> [f32; N] {
    let mut clamped = [0.0; N];
    for ((clamped, feature), value) in clamped.iter_mut().zip(features).zip(values) {
        let value = if value.is_nan() { 0.0 } else { value as f32 };
        *clamped = value.clamp(feature.range[0], feature.range[1]);
    }
    clamped
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_given_once_and_ranges_go_up() {
        for list in [&APP[..], &DOMAIN[..], &COMMAND[..]] {
            let names: BTreeSet<_> = list.iter().map(|feature| feature.name).collect();
            assert_eq!(names.len(), list.len());
            assert!(list.iter().all(|feature| feature.range[0] < feature.range[1]));
        }
    }

    #[test]
    fn what_is_no_number_or_out_of_range_is_neither_in_a_network() {
        let mut values = [f64::NAN; DOMAIN.len()];
        values[4] = f64::INFINITY;
        values[5] = f64::NEG_INFINITY;
        let clamped = clamped(&DOMAIN, values);
        assert_eq!((clamped[3], clamped[4], clamped[5]), (0.0, 1.0, -5.0));
        assert!(clamped.iter().all(|value| value.is_finite()));
    }
}
