//! What is printed.

use std::fmt::Write as _;

use super::{Report, SeriesReport};
use crate::forecast::accuracy::{Compared, Finding, Judgement};

/// A table of the first forecaster, its skill over all series, and what is wrong.
pub(super) fn text(report: &Report) -> String {
    let mut out = String::new();
    let Some(first) = report.series.first().and_then(|it| it.assessment.forecasters.first()) else {
        return out;
    };
    let _ = writeln!(
        out,
        "{}: weighted quantile loss and WAPE in % of traffic, outcomes above p80 in %",
        first.name
    );
    let _ = writeln!(
        out,
        "{:<20}{:>18}{:>18}{:>18}{:>14}{:>12}",
        "", "wql 5/15/30", "wape 5/15/30", "p80 5/15/30", "worst slice", "spike p80"
    );
    for series in &report.series {
        line(&mut out, series);
    }
    let _ = writeln!(out, "\nskill of {} (1 - pinball / pinball), all horizons", first.name);
    let _ = writeln!(
        out,
        "{:<24}{:>9}{:>9}{:>9}{:>14}",
        "against", "median", "worst", "best", "below 0"
    );
    for (theirs, skills) in skills(report) {
        let count = skills.len();
        let below = skills.iter().filter(|skill| **skill < 0.0).count();
        let at = |place: usize| skills.get(place).copied().unwrap_or(f64::NAN);
        let _ = writeln!(
            out,
            "{theirs:<24}{:>9}{:>9}{:>9}{:>14}",
            percent(median(&skills)),
            percent(at(0)),
            percent(at(count.saturating_sub(1))),
            format!("{below} of {count}")
        );
    }
    for series in &report.series {
        wrong(&mut out, series);
    }
    out
}

fn line(out: &mut String, series: &SeriesReport) {
    let Some(first) = series.assessment.forecasters.first() else { return };
    let three = |values: [f64; 3]| values.map(percent).join(" ");
    let at_spike = |finding: &&Finding| finding.group == "spike" && finding.horizon_minutes == 15;
    let spike = first.verdict.groups.iter().find(at_spike);
    let worst = worst_slice(&first.verdict.groups);
    let _ = writeln!(
        out,
        "{:<20}{:>18}{:>18}{:>18}{:>14}{:>12}",
        series.name,
        three(std::array::from_fn(|at| first.measures[at].wql)),
        three(std::array::from_fn(|at| first.measures[at].wape)),
        three(std::array::from_fn(|at| first.measures[at].exceedance[2])),
        worst.map_or_else(|| "-".into(), |it| format!("{} {}", it.group, percent(it.exceedance))),
        spike.map_or_else(|| "-".into(), |it| percent(it.exceedance)),
    );
}

/// The slice that is furthest from 20 % 15 minutes ahead.
pub(super) fn worst_slice(findings: &[Finding]) -> Option<&Finding> {
    let off = |finding: &Finding| (finding.exceedance - 0.2).abs();
    let slices = findings.iter().filter(|it| it.horizon_minutes == 15 && it.group != "spike");
    let seen = slices.filter(|finding| finding.exceedance.is_finite());
    seen.max_by(|one, other| off(one).total_cmp(&off(other)))
}

fn wrong(out: &mut String, series: &SeriesReport) {
    let Some(first) = series.assessment.forecasters.first() else { return };
    let all = first.verdict.aggregate.iter().chain(&first.verdict.groups);
    for finding in all.filter(|finding| finding.judgement == Judgement::Wrong) {
        let _ = writeln!(
            out,
            "miscalibrated: {}, {}, {} min ahead: {} % above p80 of about {:.0} independent outcomes",
            series.name,
            finding.group,
            finding.horizon_minutes,
            percent(finding.exceedance),
            finding.independent
        );
    }
}

/// Over all horizons, per other forecaster, sorted.
pub(super) fn skills(report: &Report) -> Vec<(&str, Vec<f64>)> {
    let mut all: Vec<(&str, Vec<f64>)> = Vec::new();
    let compared = report.series.iter().flat_map(|series| &series.assessment.skills);
    for Compared { theirs, skill, .. } in compared.filter(|it| it.horizon_minutes.is_none()) {
        let Some(skill) = skill else { continue };
        match all.iter_mut().find(|(name, _)| name == theirs) {
            Some((_, skills)) => skills.push(skill.skill),
            None => all.push((theirs, vec![skill.skill])),
        }
    }
    for (_, skills) in &mut all {
        skills.sort_unstable_by(f64::total_cmp);
    }
    all
}

pub(super) fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        count if count.is_multiple_of(2) => f64::midpoint(sorted[middle - 1], sorted[middle]),
        _ => sorted[middle],
    }
}

fn percent(part: f64) -> String {
    if part.is_finite() { format!("{:.1}", 100.0 * part) } else { "-".to_owned() }
}
