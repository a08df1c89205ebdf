//! Traffic from CSV files.

mod columns;
mod time;

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Take};
use std::path::{Path, PathBuf};

use csv::StringRecord;
use flate2::bufread::MultiGzDecoder;
use jiff::tz::TimeZone;

use crate::forecast::History;

use super::minutes::{self, Reading, Readings, Unit};
use super::{Error, MAX_VALUES, Mended};

use self::columns::Columns;
use self::time::{Fault, Times};

/// Most values that are read: one every 15 s.
const MAX_READINGS: usize = 4 * MAX_VALUES;
/// Most bytes of a file after decompression.
const MAX_BYTES: u64 = 2 << 30;
/// Most domains of one import.
const MAX_DOMAINS: usize = 256;
/// Texts for a value that is not known, in small letters.
const UNKNOWN: [&str; 7] = ["", "nan", "null", "none", "na", "n/a", "-"];

/// How to read the files.
#[derive(Debug, Clone)]
pub struct Options {
    /// Name of the column with the time; a usual name or the first column when absent.
    pub time_column: Option<String>,
    /// Names of the columns with values; when empty, the one called `value`, `rps` or `requests`, or
    /// else every column but the time and known labels.
    pub value_columns: Vec<String>,
    /// Name of the column that names the domain of each row; one called `domain` when absent.
    pub domain_column: Option<String>,
    /// Name of the domain of files with a single value column; the file's own name when absent.
    pub name: Option<String>,
    /// What the values count.
    pub unit: Unit,
    /// The zone of times that name none.
    pub zone: TimeZone,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            time_column: None,
            value_columns: Vec::new(),
            domain_column: None,
            name: None,
            unit: Unit::default(),
            zone: TimeZone::UTC,
        }
    }
}

impl Options {
    fn names(&self) -> impl Iterator<Item = &String> {
        self.time_column.iter().chain(&self.value_columns).chain(&self.domain_column)
    }
}

/// Reads files, plain or compressed with gzip, into one history. Values of the same domain in several
/// files are joined. Minutes without a value stay unknown.
///
/// # Errors
///
/// One sentence with file and line for the first row that makes no sense, and one for a file that has
/// no rows, wrong columns, a single time, rows more than five minutes apart or too many of them.
pub fn read(paths: &[PathBuf], options: &Options) -> Result<(History, Mended), Error> {
    let mut all = All::default();
    for path in paths {
        all.read(path, options)?;
    }
    let All { mut mended, sources, .. } = all;
    // Several files are one import: the sentence names the first.
    let first = paths.first().map_or(Path::new("-"), PathBuf::as_path);
    let history = minutes::history(sources, options.unit, &mut mended);
    Ok((history.map_err(|what| Error::content(first, what))?, mended))
}

/// The readings of all files.
#[derive(Debug, Default)]
struct All {
    sources: Vec<Readings>,
    /// Places of domains in `sources`.
    places: HashMap<String, usize>,
    count: usize,
    mended: Mended,
}

/// Rows of one file, decompressed and bounded.
type Rows = csv::Reader<Take<Box<dyn BufRead>>>;

impl All {
    fn read(&mut self, path: &Path, options: &Options) -> Result<(), Error> {
        let mut rows = rows(path)?;
        let mut times = Times::of(options.zone.clone());
        let mut row = StringRecord::new();
        if !next(&mut rows, &mut row, path)? {
            return Err(Error::content(path, "it is empty"));
        }
        let header = row.get(0).is_some_and(|cell| times.read(cell) == Err(Fault::NotATime));
        let columns = if header {
            Columns::find(&row, options)
        } else {
            Columns::without_header(&row, options)
        };
        let columns = columns.map_err(|what| Error::content(path, what))?;
        let names = names(path, &columns, options)?;
        let mut file = OneFile { path, columns, names, times, latest: HashMap::new() };
        let mut more = !header || next(&mut rows, &mut row, path)?;
        if !more {
            return Err(Error::content(path, "it has a header and no rows"));
        }
        while more {
            file.take(&row, self)?;
            more = next(&mut rows, &mut row, path)?;
        }
        if rows.get_ref().limit() == 0 {
            return Err(Error::content(path, format!("it is larger than {MAX_BYTES} bytes")));
        }
        Ok(())
    }

    /// The place of a domain.
    fn place(&mut self, name: &str) -> Option<usize> {
        if let Some(place) = self.places.get(name) {
            return Some(*place);
        }
        if self.sources.len() == MAX_DOMAINS {
            return None;
        }
        self.sources.push(Readings { name: name.to_owned(), all: Vec::new() });
        self.places.insert(name.to_owned(), self.sources.len() - 1);
        Some(self.sources.len() - 1)
    }
}

/// The domain of each value column.
fn names(path: &Path, columns: &Columns, options: &Options) -> Result<Vec<String>, Error> {
    let several = columns.values.len() > 1;
    if several && columns.domain.is_some() {
        let what =
            "it has a column with the domain and several value columns: name the one to import";
        return Err(Error::content(path, what));
    }
    if options.name.is_some() && (several || columns.domain.is_some()) {
        let what = "it has several domains, so none can be given the name asked for";
        return Err(Error::content(path, what));
    }
    if several {
        return Ok(columns.values.iter().map(|(_, name)| name.clone()).collect());
    }
    Ok(vec![options.name.clone().unwrap_or_else(|| stem(path))])
}

/// One file on its way in.
struct OneFile<'a> {
    path: &'a Path,
    columns: Columns,
    /// Domains of the value columns.
    names: Vec<String>,
    times: Times,
    /// The latest time so far per domain.
    latest: HashMap<usize, i64>,
}

impl OneFile<'_> {
    fn take(&mut self, row: &StringRecord, all: &mut All) -> Result<(), Error> {
        let wrong = |what: String| {
            let line = row.position().map_or(0, csv::Position::line);
            Error::Line { path: self.path.to_owned(), line, what }
        };
        if row.len() < self.columns.count {
            let what = format!("it has {} columns, not {}", row.len(), self.columns.count);
            return Err(wrong(what));
        }
        all.mended.rows += 1;
        all.count += self.columns.values.len();
        if all.count > MAX_READINGS {
            return Err(wrong(
                "there are too many rows: a year of sixteen domains is the most".into(),
            ));
        }
        let time = &row[self.columns.time];
        let at = match self.times.read(time) {
            Ok(at) => at,
            Err(Fault::Skipped) => {
                all.mended.skipped += 1;
                return Ok(());
            }
            Err(Fault::NotATime) => return Err(wrong(format!("{time:?} is not a time"))),
        };
        for ((column, title), name) in self.columns.values.iter().zip(&self.names) {
            let cell = &row[*column];
            let value = value(cell)
                .ok_or_else(|| wrong(format!("{cell:?} in column {title:?} is not a number")))?;
            let name = self.columns.domain.map_or(name.as_str(), |domain| row[domain].trim());
            if name.is_empty() {
                return Err(wrong("the name of the domain is empty".to_owned()));
            }
            let place = all.place(name).ok_or_else(|| {
                wrong(format!("there are more than {MAX_DOMAINS} domains: is the column right?"))
            })?;
            let latest = self.latest.entry(place).or_insert(at);
            all.mended.unsorted += u64::from(at < *latest);
            *latest = at.max(*latest);
            all.mended.unknown += u64::from(value.is_nan());
            all.sources[place].all.push(Reading { at, value });
        }
        Ok(())
    }
}

/// NaN where it is not known; `None` for what is no number.
fn value(cell: &str) -> Option<f64> {
    let cell = cell.trim();
    if UNKNOWN.iter().any(|unknown| cell.eq_ignore_ascii_case(unknown)) {
        return Some(f64::NAN);
    }
    let value: f64 = cell.parse().ok()?;
    let known = (0.0..=f64::from(f32::MAX)).contains(&value);
    Some(if known { value } else { f64::NAN })
}

/// The name of a file without `.csv` and `.gz`.
fn stem(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    name.strip_suffix(".csv").unwrap_or(name).to_owned()
}

fn rows(path: &Path) -> Result<Rows, Error> {
    let read = |cause| Error::read(path, cause);
    let mut file = BufReader::new(File::open(path).map_err(read)?);
    let gzip = file.fill_buf().map_err(read)?.starts_with(&[0x1f, 0x8b]);
    let mut text: Box<dyn BufRead> =
        if gzip { Box::new(BufReader::new(MultiGzDecoder::new(file))) } else { Box::new(file) };
    let start = text.fill_buf().map_err(read)?;
    let first = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let delimiter = first.iter().copied().find(|byte| b",;\t".contains(byte)).unwrap_or(b',');
    let mut builder = csv::ReaderBuilder::new();
    builder.has_headers(false).flexible(true).delimiter(delimiter);
    Ok(builder.from_reader(text.take(MAX_BYTES)))
}

fn next(rows: &mut Rows, row: &mut StringRecord, path: &Path) -> Result<bool, Error> {
    rows.read_record(row).map_err(|error| {
        let line = error.position().map_or(0, csv::Position::line);
        match error.into_kind() {
            csv::ErrorKind::Io(cause) => Error::read(path, cause),
            csv::ErrorKind::Utf8 { .. } => {
                Error::Line { path: path.to_owned(), line, what: "it is not UTF-8".to_owned() }
            }
            other => Error::Line { path: path.to_owned(), line, what: format!("{other:?}") },
        }
    })
}

#[cfg(test)]
mod tests;
