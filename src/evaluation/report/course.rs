//! The course of one run on one page: per domain requests with the forecast's fan, latency, pods
//! and budget; per pool nodes and free CPU.

use super::chart::{self, Band, Line};
use super::html;
use crate::simulation::{DomainRow, PoolRow, Row, Run, Timeline};

/// How far ahead the forecast in a row looks, in minutes.
const FORECAST_MINUTES: f64 = 15.0;

/// The page.
#[must_use]
pub fn page(run: &Run, description: &str) -> String {
    let timeline = &run.timeline;
    let mut body = html::paragraph(description);
    body += &html::paragraph(&format!(
        "Policy {}, seed {}. Times are minutes after the start; what is before minute {:.0} is the \
         warm-up and is not counted.",
        run.policy,
        run.seed,
        timeline.rows.iter().find(|row| row.counted).map_or(0.0, |row| row.at / 60.0)
    ));
    for (index, name) in timeline.domains.iter().enumerate() {
        let heading = format!("{name} ({})", timeline.classes[index]);
        body += &html::section(name, &heading, &domain(timeline, index));
    }
    for (index, name) in timeline.pools.iter().enumerate() {
        let heading = format!("Pool {name}");
        body += &html::section(&format!("pool-{name}"), &heading, &pool(timeline, index));
    }
    html::page(&format!("{}: {}", run.scenario, run.policy), &body, "")
}

/// A value of every row, over minutes.
fn series(timeline: &Timeline, of: impl Fn(&Row) -> f64) -> Vec<[f64; 2]> {
    timeline.rows.iter().map(|row| [row.at / 60.0, of(row)]).collect()
}

fn line(name: &str, colour: usize, points: Vec<[f64; 2]>) -> Line {
    Line { name: name.to_owned(), colour, points }
}

fn domain(timeline: &Timeline, index: usize) -> String {
    let of = |value: fn(&DomainRow) -> f64| series(timeline, |row| value(&row.domains[index]));
    let fan = |quantile: usize| -> Vec<[f64; 2]> {
        let shown = |row: &Row| {
            let forecast = row.domains[index].forecast;
            forecast.map(|forecast| [row.at / 60.0 + FORECAST_MINUTES, forecast[quantile]])
        };
        timeline.rows.iter().filter_map(shown).collect()
    };
    let mut requests = vec![line("offered", 0, of(|row| row.rps))];
    requests.push(line("arrived, with tries again", 1, of(|row| row.arrived)));
    let mut bands = Vec::new();
    let median = fan(1);
    if !median.is_empty() {
        requests.push(line("forecast p50, made 15 min before", 2, median));
        requests.push(line("p80", 3, fan(2)));
        bands.push(Band { low: fan(0), high: fan(3) });
    }
    let pods = [
        line("asked for", 0, of(|row| row.asked)),
        line("ready", 1, of(|row| row.ready)),
        line("starting", 2, of(|row| row.starting)),
        line("waiting for a node", 3, of(|row| row.pending)),
    ];
    let mut cores = vec![
        line("requested", 0, of(|row| row.requested_cores)),
        line("used", 1, of(|row| row.used_cores)),
    ];
    let budget = of(|row| row.budget_cores.unwrap_or(f64::NAN));
    if budget.iter().any(|point| point[1].is_finite()) {
        cores.push(line("budget", 4, budget));
    }
    let latency = [
        line("p99 over SLO, by requests", 0, of(|row| row.p99_ratio)),
        line("worst app", 3, of(|row| row.worst_p99_ratio)),
    ];
    let x = "minutes";
    [
        chart::fan("requests per second", x, "requests/s", &requests, &bands),
        chart::lines("latency", x, "p99 / SLO", &latency),
        chart::lines("pods", x, "pods", &pods),
        chart::lines("CPU", x, "cores", &cores),
    ]
    .concat()
}

fn pool(timeline: &Timeline, index: usize) -> String {
    let of = |value: fn(&PoolRow) -> f64| series(timeline, |row| value(&row.pools[index]));
    let nodes = [
        line("paid for", 0, of(|row| row.paid)),
        line("ready", 1, of(|row| row.nodes)),
        line("asked for in the row", 3, of(|row| row.asked)),
    ];
    let free = [
        line("free cores", 0, of(|row| row.free_cores)),
        line("pods that wait", 3, of(|row| row.pending)),
    ];
    [
        chart::lines("nodes", "minutes", "nodes", &nodes),
        chart::lines("free CPU and waiting pods", "minutes", "cores, pods", &free),
    ]
    .concat()
}
