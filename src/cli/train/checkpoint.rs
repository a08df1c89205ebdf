//! A run that can be interrupted: its state on disk, and the log of its steps.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::cli::files;
use crate::forecast::Network;
use crate::nn::{Adam, AdamSettings, Weights};

/// The files of one run.
pub(super) struct Folder(PathBuf);

/// Where a run stands.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Standing {
    /// Steps that are done.
    pub(super) step: u64,
    /// The best validation loss so far, and its step.
    pub(super) best: Option<(f64, u64)>,
    /// Seconds of training.
    pub(super) seconds: f64,
}

/// A line of the log.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct Line {
    pub(super) step: u64,
    /// Mean training loss since the line before.
    pub(super) loss: f64,
    pub(super) validation_loss: f64,
    pub(super) validation_skill: f64,
    pub(super) rate: f64,
    pub(super) gradient_norm: f64,
    pub(super) skipped: u64,
    pub(super) seconds: f64,
}

const CHECKPOINT: &str = "checkpoint.safetensors";
const LOG: &str = "log.csv";
/// What a run must have in common with the one that it goes on with.
const SETTINGS: &str = "settings";

impl Folder {
    pub(super) fn new(path: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path.to_owned()))
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file whole or not at all.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        files::write(&self.file(name), bytes)
    }

    /// Goes on with the run that was interrupted here, if there is one of the same settings.
    pub(super) fn resume(
        &self,
        settings: &str,
        network: &Network,
        constants: AdamSettings,
    ) -> anyhow::Result<Option<(Standing, Adam)>> {
        let path = self.file(CHECKPOINT);
        if !path.exists() {
            return Ok(None);
        }
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let weights = Weights::from_bytes(&bytes).with_context(|| path.display().to_string())?;
        let found = weights.origin().get(SETTINGS).map_or("", String::as_str);
        if found != settings {
            bail!(
                "{} is of a run with other settings; choose another --out, or remove it\n  there: {found}\n  here:  {settings}",
                path.display()
            );
        }
        weights.load_into(network.parameters())?;
        let adam = weights.optimiser(network.parameters(), constants)?;
        let number =
            |key: &str| weights.origin().get(key).and_then(|text| text.parse::<f64>().ok());
        let best = number("best").zip(number("bestStep")).map(|(loss, step)| (loss, step as u64));
        let standing = Standing {
            step: number("step").unwrap_or(0.0) as u64,
            best,
            seconds: number("seconds").unwrap_or(0.0),
        };
        self.cut_log(standing.step)?;
        Ok(Some((standing, adam)))
    }

    /// Keeps the state of a run.
    pub(super) fn keep(
        &self,
        settings: &str,
        network: &Network,
        adam: &Adam,
        standing: &Standing,
    ) -> anyhow::Result<()> {
        let mut origin = BTreeMap::from([
            (SETTINGS.to_owned(), settings.to_owned()),
            ("step".to_owned(), standing.step.to_string()),
            ("seconds".to_owned(), standing.seconds.to_string()),
        ]);
        if let Some((loss, step)) = standing.best {
            origin.insert("best".to_owned(), loss.to_string());
            origin.insert("bestStep".to_owned(), step.to_string());
        }
        let weights = Weights::of(network.parameters())?.with_origin(origin).with_optimiser(adam);
        self.write(CHECKPOINT, &weights.to_bytes()?)
    }

    /// Adds a line to the log.
    pub(super) fn log(&self, line: &Line) -> anyhow::Result<()> {
        let path = self.file(LOG);
        let header = !path.exists();
        let file = fs::OpenOptions::new().create(true).append(true).open(&path);
        let file = file.with_context(|| format!("cannot open {}", path.display()))?;
        let mut csv = csv::WriterBuilder::new().has_headers(header).from_writer(file);
        csv.serialize(line)?;
        csv.flush()?;
        csv.into_inner().map_err(csv::IntoInnerError::into_error)?.flush()?;
        Ok(())
    }

    /// The log so far.
    pub(super) fn lines(&self) -> anyhow::Result<Vec<Line>> {
        let path = self.file(LOG);
        if !path.exists() {
            return Ok(Vec::new());
        }
        let lines = csv::Reader::from_path(&path)?.deserialize().collect::<Result<_, _>>();
        lines.with_context(|| format!("cannot read {}", path.display()))
    }

    /// Lines after the checkpoint are of steps that are done again.
    fn cut_log(&self, step: u64) -> anyhow::Result<()> {
        let mut csv = csv::Writer::from_writer(Vec::new());
        for line in self.lines()?.iter().filter(|line| line.step <= step) {
            csv.serialize(line)?;
        }
        self.write(LOG, &csv.into_inner().map_err(csv::IntoInnerError::into_error)?)
    }
}
