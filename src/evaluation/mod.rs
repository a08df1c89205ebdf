//! What many runs say together: figures with their uncertainty, and a page to read them on.
//! Pure: takes finished runs, gives tables and text.

mod comparison;
mod credit;
mod headroom;
mod measures;
pub mod pareto;
pub mod report;
pub mod statistics;

pub use comparison::{Case, Comparison, Difference, Figure, GapClosed, Slice, Worst};
pub use credit::credit;
pub use headroom::headroom;
pub use measures::{MEASURES, Measure, weighted_breach_minutes};

use crate::simulation::{Run, Timeline};

/// One line per run with every measure, under a line of names (RFC 4180).
pub fn csv(space: &str, runs: &[Run]) -> Result<String, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let names = ["scenario", "level", "policy", "space", "seed"];
    writer.write_record(names.into_iter().chain(MEASURES.iter().map(|measure| measure.name)))?;
    for run in runs {
        let (level, seed) = (run.level.to_string(), run.seed.to_string());
        let values = MEASURES.iter().map(|measure| (measure.of)(run).to_string());
        let head = [&run.scenario, &level, &run.policy, space, &seed].map(str::to_owned);
        writer.write_record(head.into_iter().chain(values))?;
    }
    text(writer)
}

/// A line per row and domain: who, when, and every number of it; empty where there is none.
pub fn timeline_csv(timeline: &Timeline) -> Result<String, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record([
        "atSeconds",
        "counted",
        "domain",
        "rps",
        "arrived",
        "ready",
        "starting",
        "pending",
        "asked",
        "requestedCores",
        "usedCores",
        "budgetCores",
        "p99Ratio",
        "worstP99Ratio",
        "errorRatio",
        "breachApps",
        "forecastP50",
        "forecastP80",
    ])?;
    for row in &timeline.rows {
        for (name, one) in timeline.domains.iter().zip(&row.domains) {
            let given = |value: Option<f64>| value.map(|it| it.to_string()).unwrap_or_default();
            let numbers = [
                one.rps,
                one.arrived,
                one.ready,
                one.starting,
                one.pending,
                one.asked,
                one.requested_cores,
                one.used_cores,
            ];
            let ratios = [one.p99_ratio, one.worst_p99_ratio, one.error_ratio, one.breach_apps];
            let mut record = vec![row.at.to_string(), row.counted.to_string(), name.clone()];
            record.extend(numbers.map(|value| value.to_string()));
            record.push(given(one.budget_cores));
            record.extend(ratios.map(|value| value.to_string()));
            record.push(given(one.forecast.map(|forecast| forecast[1])));
            record.push(given(one.forecast.map(|forecast| forecast[2])));
            writer.write_record(record)?;
        }
    }
    text(writer)
}

fn text(writer: csv::Writer<Vec<u8>>) -> Result<String, csv::Error> {
    let bytes = writer.into_inner().map_err(csv::IntoInnerError::into_error)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
pub(crate) mod made_up;
#[cfg(test)]
mod tests;
