//! A CSV file of one series: a stand-in until `history::open` reads files. Time in the first column, a value
//! in the second.

#![expect(clippy::cast_possible_wrap, reason = "minutes and days of a series are far below 2^63")]

use std::path::Path;

use anyhow::{Context as _, bail};

use crate::forecast::{DAY, History, Minute, Series};

/// Ten years.
const MOST_MINUTES: Minute = 3660 * DAY as Minute;

/// Reads a file: the mean of the values of each minute.
pub(super) fn open(path: &Path) -> anyhow::Result<(History, ())> {
    let name = path.display();
    let mut reader = csv::Reader::from_path(path).with_context(|| format!("cannot read {name}"))?;
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.with_context(|| format!("{name} is no CSV"))?;
        let time = record.get(0).and_then(minute);
        let value = record.get(1).and_then(|it| it.trim().parse::<f64>().ok());
        let Some((time, value)) = time.zip(value) else {
            let line = record.position().map_or(0, csv::Position::line);
            bail!("{name}, line {line}: no time and value");
        };
        rows.push((time, value));
    }
    let times = || rows.iter().map(|(time, _)| *time);
    let (Some(start), Some(last)) = (times().min(), times().max()) else {
        bail!("{name} has no rows")
    };
    if last - start > MOST_MINUTES {
        bail!("{name} spans more than ten years");
    }
    let mut sums = vec![(0.0, 0.0); (last - start + 1) as usize];
    for (time, value) in rows.into_iter().filter(|(_, value)| value.is_finite() && *value >= 0.0) {
        let (sum, count) = &mut sums[(time - start) as usize];
        *sum += value;
        *count += 1.0;
    }
    let rps = sums.into_iter().map(|(sum, count)| (sum / count) as f32).collect();
    Ok((History { start, series: vec![Series { rps, ..Series::default() }] }, ()))
}

fn minute(text: &str) -> Option<Minute> {
    let text = text.trim();
    let seconds = text.parse::<f64>().ok().map(|seconds| seconds as i64).or_else(|| {
        let civil = text.parse::<jiff::civil::DateTime>().ok();
        let civil = || civil?.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|it| it.timestamp());
        text.parse::<jiff::Timestamp>().ok().or_else(civil).map(jiff::Timestamp::as_second)
    })?;
    Some(seconds.div_euclid(60))
}
