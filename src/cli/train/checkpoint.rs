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

/// A line of a log that knows its place.
pub(super) trait Numbered: serde::Serialize + serde::de::DeserializeOwned {
    /// How many steps or iterations were done.
    fn number(&self) -> u64;
}

impl Numbered for Line {
    fn number(&self) -> u64 {
        self.step
    }
}

/// The log of a run: a CSV file.
pub(super) struct Log<L> {
    path: PathBuf,
    line: std::marker::PhantomData<L>,
}

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

const LOG: &str = "log.csv";

impl<L: Numbered> Log<L> {
    pub(super) fn new(folder: &Folder) -> Self {
        Self { path: folder.file(LOG), line: std::marker::PhantomData }
    }

    /// Adds a line.
    pub(super) fn add(&self, line: &L) -> anyhow::Result<()> {
        let path = &self.path;
        let header = !path.exists();
        let file = fs::OpenOptions::new().create(true).append(true).open(path);
        let file = file.with_context(|| format!("cannot open {}", path.display()))?;
        let mut csv = csv::WriterBuilder::new().has_headers(header).from_writer(file);
        csv.serialize(line)?;
        csv.flush()?;
        csv.into_inner().map_err(csv::IntoInnerError::into_error)?.flush()?;
        Ok(())
    }

    /// All lines.
    pub(super) fn lines(&self) -> anyhow::Result<Vec<L>> {
        if !self.path.exists() {
            return Ok(Vec::new());
        }
        let lines = csv::Reader::from_path(&self.path)?.deserialize().collect::<Result<_, _>>();
        lines.with_context(|| format!("cannot read {}", self.path.display()))
    }

    /// Lines after the checkpoint are of what is done again.
    pub(super) fn cut(&self, done: u64) -> anyhow::Result<()> {
        let mut csv = csv::Writer::from_writer(Vec::new());
        for line in self.lines()?.iter().filter(|line| line.number() <= done) {
            csv.serialize(line)?;
        }
        let bytes = csv.into_inner().map_err(csv::IntoInnerError::into_error)?;
        files::write(&self.path, &bytes)
    }
}

impl Folder {
    /// The file of the state.
    pub(super) const CHECKPOINT: &'static str = "checkpoint.safetensors";
    /// What a run must have in common with the one that it goes on with.
    pub(super) const SETTINGS: &'static str = "settings";

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

    /// The state of the run that was interrupted here, if there is one; it must be of the same settings.
    pub(super) fn kept(&self, settings: &str) -> anyhow::Result<Option<Weights>> {
        let path = self.file(Self::CHECKPOINT);
        if !path.exists() {
            return Ok(None);
        }
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let weights = Weights::from_bytes(&bytes).with_context(|| path.display().to_string())?;
        let found = weights.origin().get(Self::SETTINGS).map_or("", String::as_str);
        if found != settings {
            bail!(
                "{} is of a run with other settings; choose another --out, or remove it\n  there: {found}\n  here:  {settings}",
                path.display()
            );
        }
        Ok(Some(weights))
    }

    /// Goes on with the run that was interrupted here, if there is one of the same settings.
    pub(super) fn resume(
        &self,
        settings: &str,
        network: &Network,
        constants: AdamSettings,
    ) -> anyhow::Result<Option<(Standing, Adam)>> {
        let Some(weights) = self.kept(settings)? else { return Ok(None) };
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
        Log::<Line>::new(self).cut(standing.step)?;
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
            (Self::SETTINGS.to_owned(), settings.to_owned()),
            ("step".to_owned(), standing.step.to_string()),
            ("seconds".to_owned(), standing.seconds.to_string()),
        ]);
        if let Some((loss, step)) = standing.best {
            origin.insert("best".to_owned(), loss.to_string());
            origin.insert("bestStep".to_owned(), step.to_string());
        }
        let weights = Weights::of(network.parameters())?.with_origin(origin).with_optimiser(adam);
        self.write(Self::CHECKPOINT, &weights.to_bytes()?)
    }
}
