//! Scenario by scenario, domain by domain, hour by hour.

use std::fmt::Write as _;

use super::Report;
use super::chart::{Line, intervals, lines};
use super::html::{Cell, folded, number, paragraph, section, table};
use super::overview::front_drawing;
use super::words::{cell, changes, title};
use crate::evaluation::MEASURES;
use crate::evaluation::comparison::{BREACHES, Comparison, SPLIT, Slice};

fn head(comparison: &Comparison, first: &str) -> Vec<String> {
    std::iter::once(first.to_owned()).chain(comparison.policies.iter().cloned()).collect()
}

/// Weighted breach minutes of every policy in every scenario and level.
pub(super) fn matrix(report: &Report<'_>) -> String {
    let comparison = report.comparison;
    let row = |name: String, slice: &Slice| {
        let cells = comparison.policies.iter().map(|it| cell(comparison, slice, BREACHES, it));
        std::iter::once(Cell::plain(name)).chain(cells).collect::<Vec<_>>()
    };
    let mut rows = Vec::new();
    for case in &comparison.cases {
        let name = format!("{} (level {})", case.scenario, case.level);
        rows.push(row(name, &Slice::Scenario(case.scenario.clone())));
    }
    let mut levels: Vec<u8> = comparison.cases.iter().map(|case| case.level).collect();
    levels.dedup();
    if levels.len() < comparison.cases.len() {
        rows.extend(
            levels.iter().map(|level| row(format!("all of level {level}"), &Slice::Level(*level))),
        );
    }
    let body = table(&head(comparison, "Scenario"), &rows);
    section("scenarios", "Weighted breach minutes by scenario", &body)
}

/// Breach minutes by domain, and over the day.
pub(super) fn domains_and_hours(comparison: &Comparison) -> String {
    let mut domains: Vec<&String> = Vec::new();
    for figure in &comparison.figures {
        if let Slice::Domain(name) = &figure.slice
            && !domains.contains(&name)
        {
            domains.push(name);
        }
    }
    let rows: Vec<Vec<Cell>> = domains
        .into_iter()
        .map(|domain| {
            let slice = Slice::Domain(domain.clone());
            let cells = comparison.policies.iter().map(|it| cell(comparison, &slice, SPLIT, it));
            std::iter::once(Cell::plain(domain)).chain(cells).collect()
        })
        .collect();
    let hour = |policy: &str, hour| {
        let figure = comparison.figure(&Slice::Hour(hour), SPLIT, policy);
        [hour as f64, figure.map_or(f64::NAN, |figure| figure.mean)]
    };
    let by_hour: Vec<Line> = comparison
        .policies
        .iter()
        .enumerate()
        .map(|(colour, policy)| Line {
            name: policy.clone(),
            colour,
            points: (0..24).map(|at| hour(policy, at)).collect(),
        })
        .collect();
    let drawing = lines(
        "Breach minutes by hour of the day",
        "hour of the day, UTC",
        "breach app-minutes per run",
        &by_hour,
    );
    let body = format!("{}<figure>{drawing}</figure>\n", table(&head(comparison, "Domain"), &rows));
    section("domains", "Breach minutes by domain and hour (unweighted)", &body)
}

/// Every measure of every policy, for each scenario and for all together.
pub(super) fn details(report: &Report<'_>) -> String {
    let comparison = report.comparison;
    let mut body = folded("All scenarios together", &measures(comparison, &Slice::All));
    for case in &comparison.cases {
        let slice = Slice::Scenario(case.scenario.clone());
        let mut inside = String::new();
        if let Some(description) = report.descriptions.get(&case.scenario) {
            inside.push_str(&paragraph(description));
        }
        let label = format!("Change in weighted breach minutes against {}, %", comparison.baseline);
        let rows = changes(comparison, &slice, BREACHES);
        let _ = writeln!(
            inside,
            "<div class=\"pair\"><figure>{}</figure>{}</div>",
            intervals(&label, &label, &rows),
            front_drawing(comparison, &slice)
        );
        inside.push_str(&measures(comparison, &slice));
        let heading = format!("{} (level {})", case.scenario, case.level);
        body.push_str(&folded(&heading, &inside));
    }
    section("details", "Every measure, scenario by scenario", &body)
}

fn measures(comparison: &Comparison, slice: &Slice) -> String {
    let mut rows = Vec::new();
    for measure in &MEASURES {
        if comparison.figure(slice, measure.name, &comparison.baseline).is_none() {
            continue;
        }
        let cells = comparison.policies.iter().map(|it| cell(comparison, slice, measure.name, it));
        rows.push(std::iter::once(Cell::plain(title(measure))).chain(cells).collect());
        if measure.name == BREACHES {
            rows.push(middle(comparison, slice));
            rows.push(worst(comparison, slice));
        }
    }
    table(&head(comparison, "Mean per run"), &rows)
}

/// The row of interquartile means.
fn middle(comparison: &Comparison, slice: &Slice) -> Vec<Cell> {
    let cell = |policy: &String| {
        let figure = comparison.figure(slice, BREACHES, policy);
        Cell::plain(number(figure.map_or(f64::NAN, |figure| figure.interquartile_mean)))
    };
    let name = Cell::plain("its mean over the middle half of the runs (IQM)");
    std::iter::once(name).chain(comparison.policies.iter().map(cell)).collect()
}

/// The row of the worst seeds.
fn worst(comparison: &Comparison, slice: &Slice) -> Vec<Cell> {
    let cell = |policy: &String| {
        let worst = comparison.figure(slice, BREACHES, policy).and_then(|it| it.worst.as_ref());
        worst.map_or_else(Cell::default, |worst| {
            let note = match slice {
                Slice::Scenario(_) => format!("seed {}", worst.seed),
                _ => format!("{}, seed {}", worst.scenario, worst.seed),
            };
            Cell { text: number(worst.value), note, ..Cell::default() }
        })
    };
    let name = Cell {
        text: "its worst seed".to_owned(),
        note: format!("against {}", comparison.baseline),
        ..Cell::default()
    };
    std::iter::once(name).chain(comparison.policies.iter().map(cell)).collect()
}
