//! What many runs say together: figures with their uncertainty, and a page to read them on.
//! Pure: takes finished runs, gives tables and text.

mod comparison;
mod measures;
pub mod pareto;
pub mod report;
pub mod statistics;

pub use comparison::{Case, Comparison, Difference, Figure, GapClosed, Slice, Worst};
pub use measures::{MEASURES, Measure, weighted_breach_minutes};

use crate::simulation::Run;

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
    let bytes = writer.into_inner().map_err(csv::IntoInnerError::into_error)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
pub(crate) mod made_up;
#[cfg(test)]
mod tests;
