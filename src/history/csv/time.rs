//! The texts for an instant.

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};

/// 2200-01-01T00:00Z in milliseconds: nothing later is a time of traffic.
const LATEST: i64 = 7_258_118_400_000;

/// A local time that steps back by at least this within a repeated hour has passed its end once.
/// Rows that are out of order are closer.
const STEP_BACK_MINUTES: i64 = 15;

/// Why a text gives no instant.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is not a time.
    NotATime,
    /// It is a local time that a clock change skipped.
    Skipped,
}

/// Reads times in the order of rows.
///
/// A local time in the hour that a clock change repeats means its first passage, until the local time
/// has stepped back within that hour; from then on it means the second.
#[derive(Debug)]
pub(super) struct Times {
    zone: TimeZone,
    /// The last local time, while it is in a repeated hour.
    repeated: Option<DateTime>,
    second: bool,
}

impl Times {
    pub(super) fn of(zone: TimeZone) -> Self {
        Self { zone, repeated: None, second: false }
    }

    /// Milliseconds since the epoch.
    pub(super) fn read(&mut self, text: &str) -> Result<i64, Fault> {
        let text = text.trim();
        let at = match number(text) {
            Some(at) => at,
            None => self.civil(text)?,
        };
        if (0..LATEST).contains(&at) { Ok(at) } else { Err(Fault::NotATime) }
    }

    fn civil(&mut self, text: &str) -> Result<i64, Fault> {
        if let Ok(time) = text.parse::<jiff::Timestamp>() {
            return Ok(time.as_millisecond());
        }
        let local = text.parse::<DateTime>().or_else(|_| slashes(text));
        let local = local.map_err(|_| Fault::NotATime)?;
        let offset = match self.zone.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => {
                self.repeated = None;
                self.second = false;
                offset
            }
            AmbiguousOffset::Gap { .. } => return Err(Fault::Skipped),
            AmbiguousOffset::Fold { before, after } => {
                let back = self.repeated.is_some_and(|last| {
                    let minutes = last.duration_since(local).as_secs() / 60;
                    minutes >= STEP_BACK_MINUTES
                });
                self.second |= back;
                self.repeated = Some(local);
                if self.second { after } else { before }
            }
        };
        let time = offset.to_timestamp(local).map_err(|_| Fault::NotATime)?;
        Ok(time.as_millisecond())
    }
}

/// `2024/03/31 02:30:00`, as spreadsheets write it; seconds may be absent.
fn slashes(text: &str) -> Result<DateTime, jiff::Error> {
    let with_seconds = DateTime::strptime("%Y/%m/%d %H:%M:%S", text);
    with_seconds.or_else(|_| DateTime::strptime("%Y/%m/%d %H:%M", text))
}

/// Unix time in seconds, or in milli-, micro- or nanoseconds, told apart by size: 10^11 seconds are
/// the year 5138, 10^11 milliseconds 1973.
fn number(text: &str) -> Option<i64> {
    if !text.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    let value: f64 = text.parse().ok()?;
    let milliseconds = match value.abs() {
        size if size < 1e11 => value * 1e3,
        size if size < 1e14 => value,
        size if size < 1e17 => value / 1e3,
        _ => value / 1e6,
    };
    milliseconds.is_finite().then_some(milliseconds.round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utc(text: &str) -> i64 {
        text.parse::<jiff::Timestamp>().unwrap().as_millisecond()
    }

    #[test]
    fn the_same_instant_is_read_from_every_form() {
        let at = utc("2018-04-25T10:20:00Z");
        let mut times = Times::of(TimeZone::UTC);
        for text in [
            "2018-04-25T10:20:00Z",
            "2018-04-25T12:20:00+02:00",
            "2018-04-25 10:20:00+00:00",
            "2018-04-25 10:20:00",
            "2018-04-25T10:20",
            "2018/04/25 10:20",
            " 2018-04-25 10:20:00.000 ",
            "1524651600",
            "1524651600.0",
            "1524651600000",
            "1524651600000000",
            "1524651600000000000",
        ] {
            assert_eq!(times.read(text), Ok(at), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        let mut times = Times::of(TimeZone::UTC);
        for text in
            ["", "yesterday", "-5", "2018-13-01 00:00:00", "9999-01-01T00:00:00Z", "NaN", "1e400"]
        {
            assert_eq!(times.read(text), Err(Fault::NotATime), "{text}");
        }
    }

    #[test]
    fn the_hour_that_a_clock_change_repeats_is_read_twice_in_order() {
        let mut times = Times::of(TimeZone::get("Europe/Rome").unwrap());
        let local = ["01:59", "02:00", "02:59", "02:58", "02:00", "02:59", "03:00"];
        let read = local.map(|time| times.read(&format!("2024-10-27 {time}")).unwrap());
        let instants = ["23:59", "00:00", "00:59", "00:58", "01:00", "01:59", "02:00"];
        let days = [26, 27, 27, 27, 27, 27, 27];
        for ((read, instant), day) in read.into_iter().zip(instants).zip(days) {
            assert_eq!(read, utc(&format!("2024-10-{day}T{instant}:00Z")), "{instant}");
        }
    }

    #[test]
    fn a_time_that_a_clock_change_skipped_never_was() {
        let mut times = Times::of(TimeZone::get("Europe/Rome").unwrap());
        assert_eq!(times.read("2024-03-31 02:30:00"), Err(Fault::Skipped));
        assert_eq!(times.read("2024-03-31 03:00:00"), Ok(utc("2024-03-31T01:00:00Z")));
    }
}
