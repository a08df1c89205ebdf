//! Any run again: the baseline on the left, a policy on the right, the same seed.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::json;

use super::html;
use crate::simulation::{DomainRow, PoolRow, Row, Run, Timeline};

/// Draws the replay from the data in the page.
pub(super) const SCRIPT: &str = include_str!("replay.js");

/// Rows that a recording keeps at most: a column of the replay has about as many pixels.
const ROWS: usize = 240;

/// The course of a run, small enough to lie in a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    /// Name of the scenario.
    pub scenario: String,
    /// Name of the policy.
    pub policy: String,
    /// Number of the seed.
    pub seed: u64,
    /// The course, as JSON.
    json: String,
}

impl Recording {
    /// The course, as JSON.
    #[must_use]
    pub fn json(&self) -> &str {
        &self.json
    }
}

/// Arrays over time; numbers have three digits.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Course<'a> {
    /// Minutes since the start.
    minutes: Vec<f64>,
    /// Where counting begins, in minutes.
    counted_from: f64,
    domains: Vec<DomainCourse<'a>>,
    pools: Vec<PoolCourse<'a>>,
    cascades: Vec<u32>,
    inversions: Vec<u32>,
}

#[derive(Serialize)]
struct DomainCourse<'a> {
    name: &'a str,
    class: &'static str,
    rps: Vec<f64>,
    /// p99 over the SLO; the highest of the rows that became one.
    p99: Vec<f64>,
    ready: Vec<f64>,
    /// Pods that wait for a node or start.
    waiting: Vec<f64>,
    cores: Vec<f64>,
    /// NaN (null) without a budget.
    budget: Vec<f64>,
}

#[derive(Serialize)]
struct PoolCourse<'a> {
    name: &'a str,
    nodes: Vec<f64>,
    paid: Vec<f64>,
}

/// Three digits that count.
fn short(value: f64) -> f64 {
    format!("{value:.2e}").parse().unwrap_or(f64::NAN)
}

/// Rows of a timeline, several of them at a time.
struct Thinned<'a> {
    timeline: &'a Timeline,
    /// How many rows become one.
    width: usize,
}

impl<'a> Thinned<'a> {
    fn of(timeline: &'a Timeline) -> Self {
        Self { timeline, width: timeline.rows.len().div_ceil(ROWS).max(1) }
    }

    fn each<T>(&self, of: impl Fn(&[Row]) -> T) -> Vec<T> {
        self.timeline.rows.chunks(self.width).map(of).collect()
    }

    fn last(&self, of: impl Fn(&Row) -> Option<f64>) -> Vec<f64> {
        self.each(|rows| short(rows.last().and_then(&of).unwrap_or(f64::NAN)))
    }

    fn domain(&self, index: usize, name: &'a str) -> DomainCourse<'a> {
        let last = |of: fn(&DomainRow) -> f64| self.last(|row| row.domains.get(index).map(of));
        let highest = |rows: &[Row]| {
            let domains = rows.iter().filter_map(|row| row.domains.get(index));
            short(domains.map(|domain| domain.p99_ratio).fold(f64::NAN, f64::max))
        };
        DomainCourse {
            name,
            class: self.timeline.classes.get(index).map_or("", |class| class.as_str()),
            rps: last(|domain| domain.rps),
            p99: self.each(highest),
            ready: last(|domain| domain.ready),
            waiting: last(|domain| domain.pending + domain.starting),
            cores: last(|domain| domain.requested_cores),
            budget: last(|domain| domain.budget_cores.unwrap_or(f64::NAN)),
        }
    }

    fn pool(&self, index: usize, name: &'a str) -> PoolCourse<'a> {
        let last = |of: fn(&PoolRow) -> f64| self.last(|row| row.pools.get(index).map(of));
        PoolCourse { name, nodes: last(|pool| pool.nodes), paid: last(|pool| pool.paid) }
    }
}

/// The course of a run for the page: at most 240 rows, of which each keeps the highest p99 and all
/// cascades and inversions of the rows that it stands for, and otherwise the last values.
#[must_use]
pub fn recorded(run: &Run) -> Recording {
    let timeline = &run.timeline;
    let rows = Thinned::of(timeline);
    let counted = timeline.rows.iter().find(|row| row.counted);
    let course = Course {
        minutes: rows.last(|row| Some(row.at / 60.0)),
        counted_from: counted.map_or(0.0, |row| short((row.at - timeline.seconds) / 60.0)),
        domains: (0..).zip(&timeline.domains).map(|(at, name)| rows.domain(at, name)).collect(),
        pools: (0..).zip(&timeline.pools).map(|(at, name)| rows.pool(at, name)).collect(),
        cascades: rows.each(|rows| rows.iter().map(|row| row.cascades).sum()),
        inversions: rows.each(|rows| rows.iter().map(|row| row.inversions).sum()),
    };
    Recording {
        scenario: run.scenario.clone(),
        policy: run.policy.clone(),
        seed: run.seed,
        json: json!(course).to_string(),
    }
}

/// The section with the controls and the data; nothing without recordings.
pub(super) fn section(recordings: &[Recording], baseline: &str) -> String {
    if recordings.is_empty() {
        return String::new();
    }
    let runs: Vec<_> = recordings
        .iter()
        .map(|run| json!({"scenario": run.scenario, "policy": run.policy, "seed": run.seed}))
        .collect();
    let mut body = html::paragraph(
        "Both sides meet the same traffic, node start times and failures. Red marks: a cascade. \
         Orange marks: a priority inversion. Shaded: the warm-up, which does not count.",
    );
    body.push_str("<div id=\"replay\"><noscript>The replay needs JavaScript.</noscript></div>\n");
    body.push_str(&html::data(
        "replay-runs",
        &json!({"baseline": baseline, "runs": runs}).to_string(),
    ));
    for (index, recording) in recordings.iter().enumerate() {
        let _ = write!(body, "{}", html::data(&format!("run-{index}"), &recording.json));
    }
    html::section("replay-section", "Replay: the same day twice", &body)
}
