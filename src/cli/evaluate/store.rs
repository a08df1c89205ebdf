//! Finished runs on disk.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::Job;
use crate::cli::files;
use crate::simulation::Run;

/// A file of one run.
#[derive(Serialize, Deserialize)]
struct Kept<R> {
    /// Hash of everything that decided what the run is.
    inputs: String,
    run: R,
}

/// The folder of the runs.
pub(super) struct Store(PathBuf);

impl Store {
    /// Makes the folder where it is not there.
    pub(super) fn new(out: &Path) -> anyhow::Result<Self> {
        let folder = out.join("runs");
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self(folder))
    }

    fn path(&self, job: &Job<'_>) -> PathBuf {
        let name = format!("{}.{}.{}.json", job.scenario, job.policy, job.seed);
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.+".contains(letter);
        self.0.join(name.replace(|letter| !plain(letter), "_"))
    }

    /// The run, where it is there and came from the same inputs.
    pub(super) fn read(&self, job: &Job<'_>) -> Option<Run> {
        let text = std::fs::read(self.path(job)).ok()?;
        let kept: Kept<Run> = serde_json::from_slice(&text).ok()?;
        (kept.inputs == job.inputs).then_some(kept.run)
    }

    /// Keeps a run.
    pub(super) fn write(&self, job: &Job<'_>, run: &Run) -> anyhow::Result<()> {
        let kept = Kept { inputs: job.inputs.clone(), run };
        files::write(&self.path(job), &serde_json::to_vec(&kept)?)
    }
}

/// A file beside a folder; in it where the folder has no parent.
pub(super) fn beside(folder: &Path, name: &str) -> PathBuf {
    let whole = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    whole.parent().unwrap_or(&whole).join(name)
}
