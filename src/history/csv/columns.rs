//! Which columns hold the time, the values and the domain.

use csv::StringRecord;

use super::Options;

/// Names of time columns, in small letters.
const TIMES: [&str; 9] =
    ["timestamp", "time", "datetime", "date", "date_time", "minute", "ts", "ds", "unix"];
/// Names of the one value column beside others that are none, in small letters.
const VALUES: [&str; 3] = ["value", "rps", "requests"];
/// Names of columns that are no traffic, in small letters.
const LABELS: [&str; 9] =
    ["", "label", "labels", "anomaly", "is_anomaly", "missing", "kpi id", "class", "index"];
/// Name of the column with the domain, in small letters.
const DOMAIN: &str = "domain";
/// Most value columns of a file.
const MAX_VALUE_COLUMNS: usize = 64;

/// Places of columns in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Columns {
    pub(super) time: usize,
    /// Place and name.
    pub(super) values: Vec<(usize, String)>,
    pub(super) domain: Option<usize>,
    /// How many columns a row has at least.
    pub(super) count: usize,
}

impl Columns {
    /// The first two columns of a file without a header.
    pub(super) fn without_header(row: &StringRecord, options: &Options) -> Result<Self, String> {
        if let Some(name) = options.names().next() {
            return Err(format!("it has no header, so no column is named {name:?}"));
        }
        if row.len() < 2 {
            return Err("it has one column, not a time and a value".to_owned());
        }
        Ok(Self { time: 0, values: vec![(1, "value".to_owned())], domain: None, count: 2 })
    }

    /// Columns by the names that were asked for, or else by the usual ones.
    pub(super) fn find(header: &StringRecord, options: &Options) -> Result<Self, String> {
        let names: Vec<&str> = header.iter().map(str::trim).collect();
        let small: Vec<String> = names.iter().map(|name| name.to_lowercase()).collect();
        let by_name = |wanted: &str| {
            names
                .iter()
                .position(|name| *name == wanted)
                .ok_or_else(|| format!("there is no column {wanted:?}, only {}", quoted(&names)))
        };
        let time = match &options.time_column {
            Some(name) => by_name(name)?,
            None => small.iter().position(|name| TIMES.contains(&name.as_str())).unwrap_or(0),
        };
        let domain = match &options.domain_column {
            Some(name) => Some(by_name(name)?),
            None => small.iter().position(|name| name == DOMAIN),
        };
        let values = if options.value_columns.is_empty() {
            let other = |place: usize| place != time && Some(place) != domain;
            let usual = (0..names.len())
                .find(|place| other(*place) && VALUES.contains(&small[*place].as_str()));
            match usual {
                Some(place) => vec![place],
                None => (0..names.len())
                    .filter(|place| other(*place) && !LABELS.contains(&small[*place].as_str()))
                    .collect(),
            }
        } else {
            options.value_columns.iter().map(|name| by_name(name)).collect::<Result<_, _>>()?
        };
        if values.is_empty() {
            return Err(format!("it has no value column beside the time, only {}", quoted(&names)));
        }
        if values.len() > MAX_VALUE_COLUMNS {
            return Err(format!("it has {} value columns: name those to import", values.len()));
        }
        if values.contains(&time) {
            return Err(format!("column {:?} is the time and a value", names[time]));
        }
        let count = values.iter().chain([&time]).chain(domain.as_ref()).max();
        Ok(Self {
            time,
            domain,
            count: count.map_or(0, |last| last + 1),
            values: values.into_iter().map(|place| (place, names[place].to_owned())).collect(),
        })
    }
}

fn quoted(names: &[&str]) -> String {
    names.iter().take(12).map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(header: &[&str]) -> (usize, Vec<usize>, Option<usize>) {
        let columns = Columns::find(&StringRecord::from(header), &Options::default()).unwrap();
        (columns.time, columns.values.into_iter().map(|it| it.0).collect(), columns.domain)
    }

    #[test]
    fn the_usual_headers_are_understood() {
        assert_eq!(found(&["timestamp", "value"]), (0, vec![1], None));
        assert_eq!(found(&["TimeStamp", "Value", "Label"]), (0, vec![1], None));
        assert_eq!(found(&["", "time", "rps"]), (1, vec![2], None));
        assert_eq!(found(&["when", "payments", "fraud", "label"]), (0, vec![1, 2], None));
        assert_eq!(found(&["minute", "domain", "class", "rps"]), (0, vec![3], Some(1)));
    }

    #[test]
    fn a_column_that_is_not_there_is_named_beside_those_that_are() {
        let options = Options { value_columns: vec!["rqs".to_owned()], ..Options::default() };
        let header = StringRecord::from(vec!["time", "rps"]);
        let sentence = Columns::find(&header, &options).unwrap_err();
        assert_eq!(sentence, r#"there is no column "rqs", only "time", "rps""#);
        let header = StringRecord::from(vec!["time"]);
        let sentence = Columns::find(&header, &Options::default()).unwrap_err();
        assert_eq!(sentence, r#"it has no value column beside the time, only "time""#);
    }
}
