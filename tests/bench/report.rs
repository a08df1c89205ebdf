//! Figures: printed as lines for people and, with `--out`, written as one JSON object a line.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

/// Where figures go.
#[derive(Debug)]
pub(crate) struct Report {
    file: Option<File>,
}

impl Report {
    /// Prints, and writes to `file` where there is one.
    pub(crate) fn new(file: Option<&Path>) -> Result<Self> {
        let open = |path: &Path| {
            File::create(path).with_context(|| format!("writing to {}", path.display()))
        };
        Ok(Self { file: file.map(open).transpose()? })
    }

    /// Begins a part of the report.
    #[expect(clippy::unused_self, reason = "a part of the report like the figures")]
    pub(crate) fn title(&self, title: &str) {
        line(&format!("\n{title}"));
    }

    /// A sentence that belongs to the figures around it.
    #[expect(clippy::unused_self, reason = "a part of the report like the figures")]
    pub(crate) fn note(&self, sentence: &str) {
        line(&format!("  {sentence}"));
    }

    /// One figure. `name` is stable, so that runs can be compared.
    pub(crate) fn figure(
        &mut self,
        name: &str,
        value: f64,
        unit: &str,
        goal: Option<&str>,
    ) -> Result<()> {
        let shown =
            if value.abs() >= 100.0 { format!("{value:.0}") } else { format!("{value:.3}") };
        let aim = goal.map(|goal| format!("   (goal {goal})")).unwrap_or_default();
        line(&format!("  {name:<46} {shown:>10} {unit}{aim}"));
        self.record(&json!({"figure": name, "value": value, "unit": unit, "goal": goal}))
    }

    /// A line for the file alone.
    pub(crate) fn record(&mut self, entry: &Value) -> Result<()> {
        match &mut self.file {
            Some(file) => writeln!(file, "{entry}").context("writing a figure"),
            None => Ok(()),
        }
    }
}

/// The value below which `share` of `sorted` lies; not a number when there is none.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    let index = (sorted.len() as f64 * share) as usize;
    sorted.get(index.min(last)).copied().unwrap_or(f64::NAN)
}

/// The middle of a few values.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    quantile(&sorted, 0.5)
}

fn line(text: &str) {
    // A reader that went away is no error.
    let _ = writeln!(std::io::stdout(), "{text}");
}
