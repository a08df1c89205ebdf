//! The format of histories on disk: one Parquet file, a row per domain and minute.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use parquet::basic::{Compression, Encoding};
use parquet::column::reader::get_typed_column_reader;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, FloatType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, ParquetMetaData};
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, RowGroupReader, SerializedFileReader};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::{ColumnPath, SchemaDescriptor};

use crate::cluster::Class;
use crate::forecast::{History, Minute, Series};

use super::minutes::MINUTE;
use super::{Error, MAX_VALUES, write_atomically};

/// Version of the format.
pub const FORMAT: &str = "1";

/// Columns of a file, in Parquet's own notation.
pub const SCHEMA: &str = "message hirl_history {
  REQUIRED INT64 minute (TIMESTAMP(MILLIS,true));
  REQUIRED BYTE_ARRAY domain (UTF8);
  REQUIRED BYTE_ARRAY class (UTF8);
  OPTIONAL FLOAT rps;
}";

const KEY_FORMAT: &str = "hirl.history.format";
const KEY_UNIT: &str = "hirl.history.unit";
const KEY_SOURCE: &str = "hirl.history.source";
const KEY_MENDED: &str = "hirl.history.mended";
/// Before the name of a source; the value is its SHA-256.
const KEY_SHA: &str = "hirl.history.sha256.";
/// The unit of `rps`.
const UNIT: &str = "requests per second, mean of the minute";

/// Values that are read at once.
const BATCH: usize = 1 << 16;

/// Where a history came from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// One line: the command or the generator that made it.
    pub source: String,
    /// Names and SHA-256 (hexadecimal) of the files that it was made from.
    pub files: Vec<(String, String)>,
    /// What was mended on the way in; may be empty.
    pub mended: String,
}

/// A history and where it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    /// The traffic.
    pub history: History,
    /// Where it came from.
    pub origin: Origin,
}

/// Writes a file, whole or not at all; an older one is replaced. What is not known becomes null.
pub fn write(path: &Path, history: &History, origin: &Origin) -> Result<(), Error> {
    let minutes = history.minutes();
    if minutes == 0 || history.series.iter().any(|series| series.rps.len() != minutes) {
        return Err(Error::content(path, "the series have no minutes, or not the same"));
    }
    write_atomically(path, |file| {
        fill(file, history, origin).map_err(|error| match error {
            ParquetError::External(cause) => std::io::Error::other(cause),
            other => std::io::Error::other(other),
        })
    })
}

fn fill(file: &mut File, history: &History, origin: &Origin) -> Result<(), ParquetError> {
    let schema = Arc::new(parse_message_type(SCHEMA)?);
    let mut notes = vec![
        KeyValue::new(KEY_FORMAT.to_owned(), FORMAT.to_owned()),
        KeyValue::new(KEY_UNIT.to_owned(), UNIT.to_owned()),
        KeyValue::new(KEY_SOURCE.to_owned(), origin.source.clone()),
        KeyValue::new(KEY_MENDED.to_owned(), origin.mended.clone()),
    ];
    let files = origin.files.iter();
    notes.extend(files.map(|(name, sha)| KeyValue::new(format!("{KEY_SHA}{name}"), sha.clone())));
    let minute = ColumnPath::from("minute");
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        // Equal steps take a bit each this way, and a dictionary of distinct times takes 64.
        .set_column_dictionary_enabled(minute.clone(), false)
        .set_column_encoding(minute, Encoding::DELTA_BINARY_PACKED)
        .set_key_value_metadata(Some(notes))
        .build();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties))?;
    let times: Vec<i64> = (history.start..history.end()).map(|minute| minute * MINUTE).collect();
    for series in &history.series {
        let mut group = writer.next_row_group()?;
        column::<Int64Type, _>(&mut group, &times, None)?;
        let name = vec![ByteArray::from(series.name.as_str()); times.len()];
        column::<ByteArrayType, _>(&mut group, &name, None)?;
        let class = vec![ByteArray::from(series.class.as_str()); times.len()];
        column::<ByteArrayType, _>(&mut group, &class, None)?;
        let known: Vec<f32> = series.rps.iter().copied().filter(|rps| !rps.is_nan()).collect();
        let levels: Vec<i16> = series.rps.iter().map(|rps| i16::from(!rps.is_nan())).collect();
        column::<FloatType, _>(&mut group, &known, Some(&levels))?;
        group.close()?;
    }
    writer.close()?;
    Ok(())
}

fn column<T: DataType, W: std::io::Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    values: &[T::T],
    levels: Option<&[i16]>,
) -> Result<(), ParquetError> {
    let column = group.next_column()?;
    let mut column = column.ok_or_else(|| ParquetError::General("a column is missing".into()))?;
    column.typed::<T>().write_batch(values, levels, None)?;
    column.close()
}

/// Reads a file that [`write()`] made, here or elsewhere; rows may stand in any order, and minutes
/// without a row are not known.
///
/// # Errors
///
/// Another schema, another version, a value that is no rate, a domain and minute that is there twice.
pub fn read(path: &Path) -> Result<Kept, Error> {
    let file = File::open(path).map_err(|cause| Error::read(path, cause))?;
    let broken = |error: ParquetError| {
        Error::content(path, format!("it is not readable as Parquet: {error}"))
    };
    let reader = SerializedFileReader::new(file).map_err(broken)?;
    let metadata = reader.metadata();
    let origin = recognise(metadata).map_err(|what| Error::content(path, what))?;
    let mut rows = Rows::default();
    for index in 0..metadata.num_row_groups() {
        let group = reader.get_row_group(index).map_err(broken)?;
        rows.take(&*group).map_err(broken)?;
    }
    let history = rows.history().map_err(|what| Error::content(path, what))?;
    Ok(Kept { history, origin })
}

/// Checks that this is a history, and says where it came from.
fn recognise(metadata: &ParquetMetaData) -> Result<Origin, String> {
    let notes = metadata.file_metadata().key_value_metadata();
    let notes: HashMap<&str, &str> = notes
        .into_iter()
        .flatten()
        .filter_map(|note| Some((note.key.as_str(), note.value.as_deref()?)))
        .collect();
    match notes.get(KEY_FORMAT) {
        Some(&FORMAT) => {}
        Some(other) => return Err(format!("it has format version {other}, and this is {FORMAT}")),
        None => {
            let what =
                "it is Parquet, but no history: import it from CSV with hirl forecast import";
            return Err(what.to_owned());
        }
    }
    let expected = parse_message_type(SCHEMA).map_err(|error| error.to_string())?;
    let expected = SchemaDescriptor::new(Arc::new(expected));
    let found = metadata.file_metadata().schema_descr();
    let same = found.num_columns() == expected.num_columns()
        && (expected.columns().iter().zip(found.columns()))
            .all(|(a, b)| a.self_type() == b.self_type());
    if !same {
        return Err("its columns are not minute, domain, class and rps of a history".to_owned());
    }
    let rows = metadata.file_metadata().num_rows();
    if !(1..=MAX_VALUES as i64).contains(&rows) {
        return Err(format!("it has {rows} rows; 1 to {MAX_VALUES} are read"));
    }
    let note = |key: &str| notes.get(key).copied().unwrap_or_default().to_owned();
    let mut files: Vec<(String, String)> = notes
        .iter()
        .filter_map(|(key, value)| {
            Some((key.strip_prefix(KEY_SHA)?.to_owned(), (*value).to_owned()))
        })
        .collect();
    files.sort();
    Ok(Origin { source: note(KEY_SOURCE), files, mended: note(KEY_MENDED) })
}

/// The rows of one domain.
#[derive(Debug)]
struct Domain {
    name: String,
    class: String,
    known: Vec<(i64, f32)>,
}

#[derive(Debug, Default)]
struct Rows {
    domains: Vec<Domain>,
}

impl Rows {
    fn take(&mut self, group: &dyn RowGroupReader) -> Result<(), ParquetError> {
        let times = values::<Int64Type>(group, 0)?.0;
        let names = values::<ByteArrayType>(group, 1)?.0;
        let classes = values::<ByteArrayType>(group, 2)?.0;
        let (rates, levels) = values::<FloatType>(group, 3)?;
        let known = levels.iter().filter(|level| **level == 1).count();
        if [times.len(), names.len(), classes.len()] != [levels.len(); 3] || known != rates.len() {
            return Err(ParquetError::General("its columns differ in length".to_owned()));
        }
        let mut rates = rates.into_iter();
        let mut place = 0;
        for (((time, name), class), level) in times.into_iter().zip(names).zip(classes).zip(levels)
        {
            let name = name.as_utf8()?;
            // Rows of a domain stand together as a rule: the last one is tried first.
            if self.domains.get(place).is_none_or(|domain| domain.name != name) {
                place = self.domains.iter().position(|domain| domain.name == name).unwrap_or_else(
                    || {
                        let class = String::from_utf8_lossy(class.data()).into_owned();
                        self.domains.push(Domain {
                            name: name.to_owned(),
                            class,
                            known: Vec::new(),
                        });
                        self.domains.len() - 1
                    },
                );
            }
            let rate = if level == 1 { rates.next().unwrap_or(f32::NAN) } else { f32::NAN };
            if let Some(domain) = self.domains.get_mut(place) {
                domain.known.push((time, rate));
            }
        }
        Ok(())
    }

    fn history(self) -> Result<History, String> {
        let times = || self.domains.iter().flat_map(|domain| domain.known.iter().map(|row| row.0));
        if let Some(time) = times().find(|time| time.rem_euclid(MINUTE) != 0) {
            return Err(format!("{time} ms is not the beginning of a minute"));
        }
        let (Some(first), Some(last)) = (times().min(), times().max()) else {
            return Err("it has no rows".to_owned());
        };
        let (start, end) = (first / MINUTE, last / MINUTE);
        let span = (end - start) as usize + 1;
        if span.saturating_mul(self.domains.len()) > MAX_VALUES {
            return Err(format!("it spans {} days, more than are read", span / 1440));
        }
        let series = self.domains.into_iter().map(|domain| domain.series(start, span));
        Ok(History { start, series: series.collect::<Result<_, _>>()? })
    }
}

impl Domain {
    fn series(self, start: Minute, span: usize) -> Result<Series, String> {
        let Self { name, class, known } = self;
        let class = Class::ALL.into_iter().find(|it| it.as_str() == class);
        let class = class.ok_or_else(|| format!("the class of {name:?} is none of P0 to P3"))?;
        let mut rps = vec![f32::NAN; span];
        let mut seen = vec![false; span];
        for (time, rate) in known {
            let index = (time / MINUTE - start) as usize;
            if std::mem::replace(&mut seen[index], true) {
                return Err(format!("{name:?} has two rows of the same minute"));
            }
            if rate.is_infinite() || rate < 0.0 {
                return Err(format!("{name:?} has a rate of {rate}"));
            }
            rps[index] = rate;
        }
        Ok(Series { name, class, rps })
    }
}

/// The values of a column, and for each row whether it has one.
fn values<T: DataType>(
    group: &dyn RowGroupReader,
    index: usize,
) -> Result<(Vec<T::T>, Vec<i16>), ParquetError> {
    let mut reader = get_typed_column_reader::<T>(group.get_column_reader(index)?);
    let (mut values, mut levels) = (Vec::new(), Vec::new());
    loop {
        let (rows, _, _) = reader.read_records(BATCH, Some(&mut levels), None, &mut values)?;
        if rows == 0 {
            return Ok((values, levels));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history() -> History {
        let series =
            |name: &str, class, rps: &[f32]| Series { name: name.into(), class, rps: rps.into() };
        History {
            start: 28_000_000,
            series: vec![
                series("payments", Class::P0, &[1.5, f32::NAN, 0.0, 3e9]),
                series("gestión", Class::P3, &[f32::NAN, 2.0, 2.5, f32::NAN]),
            ],
        }
    }

    fn origin() -> Origin {
        Origin {
            source: "hirl forecast import --csv a.csv".to_owned(),
            files: vec![("a.csv".to_owned(), "00ff".to_owned())],
            mended: "4 rows".to_owned(),
        }
    }

    fn bits(history: &History) -> Vec<Vec<u32>> {
        history.series.iter().map(|it| it.rps.iter().map(|rps| rps.to_bits()).collect()).collect()
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("below/history.parquet");
        write(&path, &history(), &origin()).unwrap();
        let kept = read(&path).unwrap();
        assert_eq!(kept.origin, origin());
        assert_eq!(kept.history.start, history().start);
        assert_eq!(bits(&kept.history), bits(&history()));
        let names: Vec<_> = kept.history.series.iter().map(|it| (&*it.name, it.class)).collect();
        assert_eq!(names, [("payments", Class::P0), ("gestión", Class::P3)]);
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "a rest is left");
    }

    #[test]
    fn a_day_of_many_batches_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.parquet");
        let mut long = history();
        for series in &mut long.series {
            series.rps =
                (0..BATCH + 99).map(|it| if it % 7 == 0 { f32::NAN } else { it as f32 }).collect();
        }
        write(&path, &long, &origin()).unwrap();
        assert_eq!(bits(&read(&path).unwrap().history), bits(&long));
    }

    /// Writes a file with another schema or other notes.
    fn foreign(path: &Path, schema: &str, notes: &[(&str, &str)], times: &[i64]) {
        let notes =
            notes.iter().map(|(key, value)| KeyValue::new((*key).to_owned(), (*value).to_owned()));
        let properties = WriterProperties::builder().set_key_value_metadata(Some(notes.collect()));
        let message = Arc::new(parse_message_type(schema).unwrap());
        let file = File::create(path).unwrap();
        let mut writer =
            SerializedFileWriter::new(file, message, Arc::new(properties.build())).unwrap();
        let mut group = writer.next_row_group().unwrap();
        column::<Int64Type, _>(&mut group, times, None).unwrap();
        if schema == SCHEMA {
            let text = vec![ByteArray::from("P0"); times.len()];
            column::<ByteArrayType, _>(&mut group, &text, None).unwrap();
            column::<ByteArrayType, _>(&mut group, &text, None).unwrap();
            let levels = vec![1; times.len()];
            column::<FloatType, _>(&mut group, &vec![1.0; times.len()], Some(&levels)).unwrap();
        }
        group.close().unwrap();
        writer.close().unwrap();
    }

    #[test]
    fn foreign_and_broken_files_are_refused_with_a_sentence() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("other.parquet");
        let refusal = || read(&path).unwrap_err().to_string();
        let ours = [(KEY_FORMAT, FORMAT)];
        foreign(&path, SCHEMA, &[], &[0]);
        assert!(refusal().contains("but no history"), "{}", refusal());
        foreign(&path, SCHEMA, &[(KEY_FORMAT, "2")], &[0]);
        assert!(refusal().contains("format version 2"), "{}", refusal());
        foreign(&path, "message other { REQUIRED INT64 minute; }", &ours, &[0]);
        assert!(refusal().contains("its columns are not"), "{}", refusal());
        foreign(&path, SCHEMA, &ours, &[0, 0]);
        assert!(refusal().contains("two rows of the same minute"), "{}", refusal());
        foreign(&path, SCHEMA, &ours, &[1]);
        assert!(refusal().contains("1 ms is not the beginning of a minute"), "{}", refusal());
        foreign(&path, SCHEMA, &ours, &[0, i64::MAX / MINUTE * MINUTE]);
        assert!(refusal().contains("more than are read"), "{}", refusal());
        foreign(&path, SCHEMA, &ours, &[120_000, 0]);
        let kept = read(&path).unwrap().history;
        assert_eq!((kept.start, kept.minutes()), (0, 3));
        assert!(kept.series[0].rps[1].is_nan());

        write(&path, &history(), &origin()).unwrap();
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 20]).unwrap();
        assert!(refusal().contains("not readable as Parquet"), "{}", refusal());
    }

    #[test]
    fn nothing_is_written_of_series_that_differ_in_length() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.parquet");
        let mut uneven = history();
        uneven.series[0].rps.pop();
        assert!(write(&path, &uneven, &origin()).is_err());
        assert!(write(&path, &History::default(), &origin()).is_err());
        assert!(!path.exists());
    }
}
