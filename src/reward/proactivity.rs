//! Pay for budgets that were raised ahead of a spike.
//!
//! One announced spike is paid once, at its minute, for what the budget had been raised in time
//! and held until then. So neither many small raises nor lowering first brings more, and a raise
//! that the rule makes as well brings nothing.

use super::commander::degradation;
use super::{Commander, MINUTE, mean, minutes};
use crate::simulation::Timeline;

/// One domain in one minute.
struct Minute {
    rps: f64,
    /// The forecast p80 for 15 minutes later; NaN without one, which announces nothing.
    forecast: f64,
    /// Infinite without one, which nobody can raise.
    budget: f64,
    degradation: f64,
}

/// A spike that the forecast saw, and that came. All in minutes since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Spike {
    announced: usize,
    came: usize,
}

/// Spikes met per minute of `timeline`, summed over the domains, beyond those that `twin` met.
pub(super) fn proactivity(
    timeline: &Timeline,
    twin: &Timeline,
    settings: &Commander,
) -> Result<Vec<f64>, String> {
    if twin.domains != timeline.domains {
        return Err("the twin has other domains than the run".to_owned());
    }
    let mut paid = vec![0.0; minutes(timeline)?.len()];
    for domain in 0..timeline.domains.len() {
        let own = course(timeline, domain)?;
        let rule = course(twin, domain)?;
        let end = own.len().min(rule.len());
        for spike in spikes(&own[..end], settings) {
            let before = (settings.memory_seconds / MINUTE) as usize;
            let from = spike.announced.saturating_sub(before);
            // The budgets before the announcement; that of its own minute may be an answer to it.
            let base = own[from..spike.announced.max(1)]
                .iter()
                .map(|minute| minute.budget)
                .fold(0.0, f64::max);
            let gap = own[spike.announced].forecast / own[spike.announced].rps - 1.0;
            let [own, rule] = [&own, &rule].map(|course| met(course, spike, base, gap, settings));
            paid[spike.came] += (own - rule).max(0.0);
        }
    }
    Ok(paid)
}

fn course(timeline: &Timeline, domain: usize) -> Result<Vec<Minute>, String> {
    let error_budget = timeline.slo_error_ratios.get(domain).copied().unwrap_or(f64::NAN);
    let minutes = minutes(timeline)?.map(|rows| {
        let rows = || rows.iter().map(|row| &row.domains[domain]);
        let last = rows().next_back();
        Minute {
            rps: mean(rows().map(|row| row.rps)),
            forecast: last.and_then(|row| row.forecast).map_or(f64::NAN, |forecast| forecast[2]),
            budget: last.and_then(|row| row.budget_cores).unwrap_or(f64::INFINITY),
            degradation: mean(rows().map(|row| degradation(row, error_budget))),
        }
    });
    Ok(minutes.collect())
}

/// The spikes of one domain, one after the other.
fn spikes(course: &[Minute], settings: &Commander) -> Vec<Spike> {
    let wait = (settings.wait_seconds / MINUTE) as usize;
    let mut spikes = Vec::new();
    let mut next = 0;
    while let Some(announced) = (next..course.len()).find(|&minute| {
        let Minute { rps, forecast, .. } = course[minute];
        rps > 0.0 && forecast > settings.spike_ratio * rps
    }) {
        let level = settings.spike_ratio * course[announced].rps;
        let end = course.len().min(announced + wait + 1);
        let came = (announced + 1..end).find(|&minute| course[minute].rps > level);
        spikes.extend(came.map(|came| Spike { announced, came }));
        next = came.unwrap_or(end).max(announced + 1);
    }
    spikes
}

/// How well a spike was met, 0 to 1: the part of the forecast gap by which the budget had been
/// raised over `base`, more than the lead ahead, and held, times 1 less the degradation.
fn met(course: &[Minute], spike: Spike, base: f64, gap: f64, settings: &Commander) -> f64 {
    // A minute's budget stands at its end, and the spike begins at the beginning of its minute.
    let lead = (settings.lead_seconds / MINUTE) as usize + 2;
    let Some(raised) = spike.came.checked_sub(lead).filter(|raised| *raised >= spike.announced)
    else {
        return 0.0;
    };
    let held = course[raised..=spike.came]
        .iter()
        .map(|minute| minute.budget)
        .fold(f64::INFINITY, f64::min);
    let part = ((held / base - 1.0) / gap).clamp(0.0, 1.0);
    if part.is_nan() { 0.0 } else { part * (1.0 - course[spike.came].degradation) }
}
