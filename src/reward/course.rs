//! A run as the gap detector sees it: terms, metrics and true outcomes per minute.
//!
//! Latency and errors are no metrics here: they are the promise itself in finer steps, and a reward
//! that follows them is right.

use super::commander::paid_cores;
use super::gap::{Course, Series};
use super::{MINUTE, Settings, check, commander, mean, minutes, soldier};
use crate::cluster::Class;
use crate::simulation::{Row, Timeline};

/// The course of the Commander's reward over the counted minutes. `Err` is one sentence.
pub fn commander_course(
    timeline: &Timeline,
    twin: Option<&Timeline>,
    settings: &Settings,
) -> Result<Course, String> {
    let paid = commander(timeline, twin, &settings.commander)?;
    let paid: Vec<_> = paid.iter().map(|terms| terms.named().to_vec()).collect();
    course(timeline, &paid)
}

/// The course of one Soldier's reward over the counted minutes, by the index of its domain. `Err`
/// is one sentence.
pub fn soldier_course(
    timeline: &Timeline,
    domain: usize,
    settings: &Settings,
) -> Result<Course, String> {
    let rows = soldier(timeline, domain, &settings.soldier)?;
    let paid: Vec<_> = rows
        .chunks_exact(check(timeline)?)
        .map(|rows| {
            let mut terms = rows[0].named().to_vec();
            for (index, (_, value)) in terms.iter_mut().enumerate() {
                *value = mean(rows.iter().map(|row| row.named()[index].1));
            }
            terms
        })
        .collect();
    course(timeline, &paid)
}

/// One value of a row.
type Measure<'a> = (String, Box<dyn Fn(&Row) -> f64 + 'a>);

/// The terms of one minute.
type Paid = Vec<(&'static str, f64)>;

fn course(timeline: &Timeline, paid: &[Paid]) -> Result<Course, String> {
    let minutes: Vec<(&[Row], &Paid)> = minutes(timeline)?
        .zip(paid)
        .filter(|(rows, _)| rows.iter().all(|row| row.counted))
        .collect();
    let terms = paid.first().map_or(&[][..], |terms| &terms[..]).iter().enumerate();
    let terms = terms
        .map(|(index, (name, _))| {
            Series::new(*name, minutes.iter().map(|(_, terms)| terms[index].1).collect())
        })
        .collect();
    let rows: Vec<&[Row]> = minutes.iter().map(|(rows, _)| *rows).collect();
    let mut metrics: Vec<Series> = measures(timeline)
        .into_iter()
        .map(|(name, measure)| {
            Series::new(name, rows.iter().map(|rows| mean(rows.iter().map(&measure))).collect())
        })
        .collect();
    let changes: Vec<Series> = metrics
        .iter()
        .filter(|series| CHANGING.iter().any(|name| series.name.ends_with(name)))
        .map(|series| Series::new(format!("change of {}", series.name), changes(&series.values)))
        .collect();
    metrics.extend(changes);
    let hours = |rows: &&[Row]| paid_cores(timeline, rows) * MINUTE / 3600.0;
    let costs = vec![Series::new("paid core-hours", rows.iter().map(hours).collect())];
    Ok(Course { seconds: MINUTE, terms, metrics, harms: harms(timeline, &rows), costs })
}

/// Metrics whose changes are metrics as well: pay is often for an act, not for a state.
const CHANGING: [&str; 3] = [TRAFFIC, BUDGET, REQUESTED];

const TRAFFIC: &str = "requests per second";
const BUDGET: &str = "budget cores";
const REQUESTED: &str = "requested cores";

/// What a policy can move or see, and nobody asked for.
fn measures(timeline: &Timeline) -> Vec<Measure<'_>> {
    let mut measures: Vec<Measure<'_>> = Vec::new();
    for (index, domain) in timeline.domains.iter().enumerate() {
        let mut add = |name: &str, measure: fn(&crate::simulation::DomainRow) -> f64| {
            let measure = move |row: &Row| measure(&row.domains[index]);
            measures.push((format!("{domain} {name}"), Box::new(measure)));
        };
        add(TRAFFIC, |row| row.rps);
        add(BUDGET, |row| row.budget_cores.unwrap_or(f64::NAN));
        add("budget share", |row| row.share);
        add("budget used", |row| row.shared_cores / row.budget_cores.unwrap_or(f64::NAN));
        add(REQUESTED, |row| row.requested_cores);
        add("ready pods", |row| row.ready);
        add("starting pods", |row| row.starting);
        add("pending pods", |row| row.pending);
        add("asked replicas", |row| row.asked);
        add("reversed replicas", |row| row.reversed);
    }
    for (index, pool) in timeline.pools.iter().enumerate() {
        let mut add = |name: &str, measure: fn(&crate::simulation::PoolRow) -> f64| {
            let measure = move |row: &Row| measure(&row.pools[index]);
            measures.push((format!("{pool} {name}"), Box::new(measure)));
        };
        add("nodes asked", |row| row.asked);
        add("nodes removed", |row| row.removed);
        add("free cores", |row| row.free_cores);
        add("preempted pods", |row| row.preempted);
    }
    measures.push(("reserve share".to_owned(), Box::new(|row| row.reserve_share)));
    measures
}

/// From each value to the next; nothing is known before the first.
fn changes(values: &[f64]) -> Vec<f64> {
    let steps = values.windows(2).map(|pair| pair[1] - pair[0]);
    std::iter::once(f64::NAN).chain(steps).take(values.len()).collect()
}

/// What no user should have to bear, per minute.
fn harms(timeline: &Timeline, rows: &[&[Row]]) -> Vec<Series> {
    let per_minute = |name: String, measure: &dyn Fn(&[Row]) -> f64| {
        Series::new(name, rows.iter().map(|rows| measure(rows)).collect())
    };
    let breaches = Class::ALL.into_iter().map(|class| {
        per_minute(format!("breach minutes {class}"), &|rows| {
            mean(rows.iter().map(|row| {
                let domains = row.domains.iter().zip(&timeline.classes);
                domains.filter(|(_, own)| **own == class).map(|(row, _)| row.breach_apps).sum()
            }))
        })
    });
    let cascades = |rows: &[Row]| rows.iter().map(|row| f64::from(row.cascades)).sum();
    let inversions = |rows: &[Row]| rows.iter().map(|row| f64::from(row.inversions)).sum();
    breaches
        .chain([
            per_minute("cascades".to_owned(), &cascades),
            per_minute("inversions".to_owned(), &inversions),
        ])
        .collect()
}
