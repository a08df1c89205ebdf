//! What is printed.

use std::fmt::Write as _;

use super::weekly::Told;
use super::{Report, SeriesReport};
use crate::forecast::accuracy::{Compared, Finding, Judged, Judgement};

/// A table and the skill over all series of each forecaster that is judged, and what is wrong with the first.
pub(super) fn text(report: &Report) -> String {
    let mut out = String::new();
    for name in judged(report) {
        accuracy(&mut out, report, name);
        skill(&mut out, report, name);
    }
    for series in &report.series {
        if let Some(told) = weeks(series) {
            let _ = writeln!(out, "{}: {told}", series.name);
        }
    }
    for series in &report.series {
        wrong(&mut out, series);
    }
    out
}

fn accuracy(out: &mut String, report: &Report, name: &str) {
    let _ = writeln!(
        out,
        "{name}: weighted quantile loss and WAPE in % of traffic, outcomes above p80 in %"
    );
    let _ = writeln!(
        out,
        "{:<20}{:>18}{:>18}{:>18}{:>14}{:>12}",
        "", "wql 5/15/30", "wape 5/15/30", "p80 5/15/30", "worst slice", "spike p80"
    );
    for series in &report.series {
        let mut forecasters = series.assessment.forecasters.iter();
        if let Some(judged) = forecasters.find(|judged| judged.name == name) {
            line(out, &series.name, judged);
        }
    }
}

fn skill(out: &mut String, report: &Report, name: &str) {
    let _ = writeln!(out, "\nskill of {name} (1 - pinball / pinball), all horizons");
    let _ = writeln!(
        out,
        "{:<24}{:>9}{:>9}{:>9}{:>14}",
        "against", "median", "worst", "best", "below 0"
    );
    for (theirs, skills) in skills(report, name) {
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
    out.push('\n');
}

/// The names of those that are compared with all others.
pub(super) fn judged(report: &Report) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for it in report.series.iter().flat_map(|series| &series.assessment.skills) {
        if !names.contains(&it.ours.as_str()) {
            names.push(&it.ours);
        }
    }
    names
}

/// What came of the weekly fine-tune, in a sentence.
pub(super) fn weeks(series: &SeriesReport) -> Option<String> {
    Some(match series.fine_tune.as_ref()? {
        Told::Weeks { weeks, accepted } => {
            format!("{accepted} of {weeks} weekly fine-tunes were accepted")
        }
        Told::None { none } => none.clone(),
    })
}

fn line(out: &mut String, name: &str, judged: &Judged) {
    let three = |values: [f64; 3]| values.map(percent).join(" ");
    let at_spike = |finding: &&Finding| finding.group == "spike" && finding.horizon_minutes == 15;
    let spike = judged.verdict.groups.iter().find(at_spike);
    let worst = worst_slice(&judged.verdict.groups);
    let _ = writeln!(
        out,
        "{:<20}{:>18}{:>18}{:>18}{:>14}{:>12}",
        name,
        three(std::array::from_fn(|at| judged.measures[at].wql)),
        three(std::array::from_fn(|at| judged.measures[at].wape)),
        three(std::array::from_fn(|at| judged.measures[at].exceedance[2])),
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

/// Skills of one forecaster over all horizons, per other forecaster, sorted.
pub(super) fn skills<'a>(report: &'a Report, name: &str) -> Vec<(&'a str, Vec<f64>)> {
    let mut all: Vec<(&str, Vec<f64>)> = Vec::new();
    let compared = report.series.iter().flat_map(|series| &series.assessment.skills);
    let wanted = |it: &&Compared| it.ours == name && it.horizon_minutes.is_none();
    for Compared { theirs, skill, .. } in compared.filter(wanted) {
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
