//! Traffic of the past from files and from Prometheus, and its one format on disk.
//!
//! Everything ends as a [`History`]: requests per second per domain and minute, with gaps left as
//! they are. What had to be mended on the way is counted in [`Mended`], never hidden. The format on
//! disk and the calendar file are described in `README.md` beside this file.

pub mod calendar;
pub mod csv;
mod mended;
mod minutes;
pub mod parquet;
pub mod prometheus;

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::files;
use crate::forecast::{DAY, History};
use crate::hash::Sha256;

pub use self::mended::Mended;
pub use self::minutes::Unit;

/// Most values of one history, minutes times domains: a year of sixteen domains.
pub const MAX_VALUES: usize = 366 * DAY * 16;

/// Why there is no history, or why it could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("cannot read {path}: {cause}", path = path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {path}: {cause}", path = path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// A line of a file is not what it should be.
    #[error("{path}, line {line}: {what}", path = path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1 on.
        line: u64,
        /// One sentence.
        what: String,
    },
    /// A file as a whole is not what it should be.
    #[error("{path}: {what}", path = path.display())]
    Content {
        /// Which file.
        path: PathBuf,
        /// One sentence.
        what: String,
    },
    /// What was asked for contradicts itself.
    #[error("{0}")]
    Asked(String),
    /// Prometheus gave no usable answer.
    #[error("{domain}: {cause}")]
    Prometheus {
        /// The domain whose traffic was asked for.
        domain: String,
        /// Why.
        cause: Box<prometheus::Fault>,
    },
}

impl Error {
    pub(in crate::history) fn content(path: &Path, what: impl Into<String>) -> Self {
        Self::Content { path: path.to_owned(), what: what.into() }
    }

    pub(in crate::history) fn read(path: &Path, cause: std::io::Error) -> Self {
        Self::Read { path: path.to_owned(), cause }
    }

    pub(in crate::history) fn write(path: &Path, cause: std::io::Error) -> Self {
        Self::Write { path: path.to_owned(), cause }
    }
}

/// Reads a history from a file: `.parquet` as [`parquet::write`] makes it, anything else as CSV,
/// plain or compressed with gzip, with columns found by name and times without a zone in UTC.
pub fn open(path: &Path) -> Result<(History, Mended), Error> {
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("parquet")) {
        let history = parquet::read(path)?.history;
        let mended = Mended::of_kept(&history);
        return Ok((history, mended));
    }
    csv::read(&[path.to_owned()], &csv::Options::default())
}

/// SHA-256 of a file, in hexadecimal digits.
pub fn sha256(path: &Path) -> Result<String, Error> {
    let mut file = File::open(path).map_err(|cause| Error::read(path, cause))?;
    let mut hash = Sha256::default();
    let mut block = vec![0; 1 << 16];
    loop {
        let length = file.read(&mut block).map_err(|cause| Error::read(path, cause))?;
        if length == 0 {
            return Ok(hash.finish());
        }
        hash.update(&block[..length]);
    }
}

/// Writes a file whole or not at all, and its folder where there is none.
fn write_atomically(
    path: &Path,
    fill: impl FnOnce(&mut File) -> std::io::Result<()>,
) -> Result<(), Error> {
    let write = || {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        files::fill(path, fill)
    };
    write().map_err(|cause| Error::write(path, cause))
}
