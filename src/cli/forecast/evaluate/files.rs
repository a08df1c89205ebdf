//! accuracy.csv, accuracy.json and report.html.

use std::path::Path;

use anyhow::Context as _;

use super::{Report, page};

const MEASURES: [&str; 23] = [
    "series",
    "forecaster",
    "horizon_minutes",
    "forecasts",
    "refused",
    "pinball_p10",
    "pinball_p50",
    "pinball_p80",
    "pinball_p90",
    "mean_pinball",
    "wql",
    "wape",
    "masked_mape",
    "masked",
    "poisson_floor",
    "sharpness",
    "above_p10",
    "above_p50",
    "above_p80",
    "above_p90",
    "outliers",
    "outlier_pinball",
    "outlier_above_p80",
];

/// Writes them.
pub(super) fn write(folder: &Path, report: &Report) -> anyhow::Result<()> {
    let save = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    save("accuracy.csv", &csv(report)?)?;
    save("accuracy.json", &serde_json::to_string_pretty(report)?)?;
    save("report.html", &page::html(report))
}

/// A row per series, forecaster and horizon; empty where nothing can be said.
fn csv(report: &Report) -> anyhow::Result<String> {
    let mut out = csv::Writer::from_writer(Vec::new());
    out.write_record(MEASURES)?;
    let number = |value: f64| if value.is_finite() { value.to_string() } else { String::new() };
    for series in &report.series {
        for forecaster in &series.assessment.forecasters {
            for it in &forecaster.measures {
                let mut row = vec![series.name.clone(), forecaster.name.clone()];
                row.push(it.horizon_minutes.to_string());
                row.extend([it.forecasts, it.refused].map(|count| count.to_string()));
                row.extend(it.pinball.map(number));
                let errors = [it.mean_pinball, it.wql, it.wape, it.masked_mape, it.masked];
                row.extend(errors.map(number));
                row.extend([it.poisson_floor, it.sharpness].map(number));
                row.extend(it.exceedance.map(number));
                row.push(it.outliers.to_string());
                row.extend([it.outlier_pinball, it.outlier_exceedance].map(number));
                out.write_record(&row)?;
            }
        }
    }
    Ok(String::from_utf8(out.into_inner().map_err(csv::IntoInnerError::into_error)?)?)
}
