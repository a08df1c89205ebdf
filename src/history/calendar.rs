//! The calendar file: what a user knows of days to come.

use std::path::Path;

use jiff::civil::{Date, DateTime};
use jiff::fmt::temporal::{DateTimeParser, DateTimePrinter};
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use serde_saphyr::Spanned;

use crate::forecast::{Calendar, Event, EventKind, Minute};

use super::{Error, write_atomically};

/// Greatest factor of an event: more is a slip of the pen.
const MAX_FACTOR: f64 = 1000.0;

/// An annotated calendar file.
pub const EXAMPLE: &str = include_str!("calendar.example.yaml");

/// Reads a calendar file.
///
/// # Errors
///
/// One sentence with the line: not YAML, a field that is not known, a zone, day or time that is none,
/// an event that ends before it starts, a factor that is not above 0.
pub fn read(path: &Path) -> Result<Calendar, Error> {
    let text = std::fs::read_to_string(path).map_err(|cause| Error::read(path, cause))?;
    parse(&text).map_err(|fault| match fault {
        Fault { line: 0, what } => Error::content(path, what),
        Fault { line, what } => Error::Line { path: path.to_owned(), line, what },
    })
}

/// Writes a calendar file, whole or not at all.
pub fn write(path: &Path, calendar: &Calendar) -> Result<(), Error> {
    let text = text(calendar).map_err(|what| Error::content(path, what))?;
    write_atomically(path, |file| std::io::Write::write_all(file, text.as_bytes()))
}

/// What is wrong, and where; line 0 when that is not known.
#[derive(Debug, PartialEq, Eq)]
struct Fault {
    line: u64,
    what: String,
}

impl Fault {
    fn at<T>(node: &Spanned<T>, what: String) -> Self {
        Self { line: node.referenced.line(), what }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct Document {
    timezone: Option<Spanned<String>>,
    paydays: Vec<Spanned<i8>>,
    holidays: Vec<Spanned<String>>,
    promotions: Vec<Entry>,
    deployments: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Entry {
    name: String,
    #[serde(default)]
    domains: Vec<String>,
    start: Spanned<String>,
    end: Spanned<String>,
    #[serde(default)]
    factor: Option<Spanned<f64>>,
}

fn parse(text: &str) -> Result<Calendar, Fault> {
    let document = if text.trim().is_empty() {
        Document::default()
    } else {
        serde_saphyr::from_str(text).map_err(|error| {
            let line = error.location().map_or(0, |location| location.line());
            // The first line says what; the rest draws the place.
            let what = error.to_string().lines().next().unwrap_or_default().to_owned();
            Fault { line, what }
        })?
    };
    let zone = match &document.timezone {
        None => TimeZone::UTC,
        // A name, or a POSIX rule such as "CET-1CEST,M3.5.0,M10.5.0/3".
        Some(name) => DateTimeParser::new()
            .parse_time_zone(&name.value)
            .map_err(|_| Fault::at(name, format!("{:?} is not a time zone", name.value)))?,
    };
    let paydays = document.paydays.iter().map(|day| match day.value {
        1..=31 => Ok(day.value),
        other => Err(Fault::at(day, format!("{other} is not a day of a month"))),
    });
    let holidays = document.holidays.iter().map(|day| {
        day.value
            .parse::<Date>()
            .map_err(|_| Fault::at(day, format!("{:?} is not a date", day.value)))
    });
    let of = |kind: EventKind, entries: &[Entry]| -> Result<Vec<Event>, Fault> {
        entries.iter().map(|entry| entry.event(kind, &zone)).collect()
    };
    let mut events = of(EventKind::Promotion, &document.promotions)?;
    events.extend(of(EventKind::Deployment, &document.deployments)?);
    Ok(Calendar {
        paydays: paydays.collect::<Result<_, _>>()?,
        holidays: holidays.collect::<Result<_, _>>()?,
        events,
        zone,
    })
}

impl Entry {
    fn event(&self, kind: EventKind, zone: &TimeZone) -> Result<Event, Fault> {
        let (start, end) = (minute(&self.start, zone)?, minute(&self.end, zone)?);
        if end <= start {
            let what = format!("{:?} ends at {}, not after its start", self.name, self.end.value);
            return Err(Fault::at(&self.end, what));
        }
        if let Some(factor) = &self.factor
            && !(factor.value > 0.0 && factor.value <= MAX_FACTOR)
        {
            let what =
                format!("a factor of {} is not above 0 and at most {MAX_FACTOR}", factor.value);
            return Err(Fault::at(factor, what));
        }
        Ok(Event {
            name: self.name.clone(),
            kind,
            domains: self.domains.clone(),
            start,
            end,
            factor: self.factor.as_ref().map(|factor| factor.value),
        })
    }
}

/// A time with a zone, or one of the calendar's zone: the earlier one where a clock change makes two of
/// it, and as much later as the clock jumps where it makes none.
fn minute(text: &Spanned<String>, zone: &TimeZone) -> Result<Minute, Fault> {
    let instant = text.value.parse::<jiff::Timestamp>().or_else(|_| {
        let local: DateTime = text.value.parse()?;
        Ok(local.to_zoned(zone.clone())?.timestamp())
    });
    instant.map(|instant| instant.as_second().div_euclid(60)).map_err(|_: jiff::Error| {
        Fault::at(text, format!("{:?} is neither a time nor a date", text.value))
    })
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    timezone: &'a str,
    paydays: &'a [i8],
    holidays: Vec<String>,
    promotions: Vec<WrittenEvent<'a>>,
    deployments: Vec<WrittenEvent<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenEvent<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    domains: &'a [String],
    start: String,
    end: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    factor: Option<f64>,
}

/// The text of a calendar file. The error is one sentence.
fn text(calendar: &Calendar) -> Result<String, String> {
    let zone = DateTimePrinter::new().time_zone_to_string(&calendar.zone);
    let zone = zone.map_err(|_| "its time zone has no name")?;
    let local = |minute: Minute| {
        let instant = jiff::Timestamp::from_second(minute.saturating_mul(60));
        let instant = instant.map_err(|_| format!("minute {minute} is out of range"))?;
        let local = instant.to_zoned(calendar.zone.clone());
        Ok::<_, String>(local.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string())
    };
    let of = |kind: EventKind| -> Result<Vec<WrittenEvent<'_>>, String> {
        let events = calendar.events.iter().filter(|event| event.kind == kind);
        let written = events.map(|event| {
            let Event { name, domains, factor, .. } = event;
            let (start, end) = (local(event.start)?, local(event.end)?);
            Ok(WrittenEvent { name, domains, start, end, factor: *factor })
        });
        written.collect()
    };
    let written = Written {
        timezone: &zone,
        paydays: &calendar.paydays,
        holidays: calendar.holidays.iter().map(Date::to_string).collect(),
        promotions: of(EventKind::Promotion)?,
        deployments: of(EventKind::Deployment)?,
    };
    serde_saphyr::to_string(&written).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Minute {
        text.parse::<jiff::Timestamp>().unwrap().as_second() / 60
    }

    #[test]
    fn the_example_is_read_as_it_says() {
        let calendar = parse(EXAMPLE).unwrap();
        assert_eq!(calendar.zone.iana_name(), Some("Europe/Rome"));
        assert_eq!(calendar.paydays, [10, 27]);
        assert_eq!(calendar.holidays[0], jiff::civil::date(2026, 12, 25));
        let sale = &calendar.events[0];
        assert_eq!(
            (sale.start, sale.end),
            (at("2026-11-27T07:00:00Z"), at("2026-11-27T23:00:00Z"))
        );
        assert_eq!((sale.kind, sale.factor), (EventKind::Promotion, Some(3.5)));
        assert_eq!(sale.domains, ["payments", "cart"]);
        assert_eq!(calendar.events.last().unwrap().kind, EventKind::Deployment);
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("calendar.yaml");
        for calendar in [parse(EXAMPLE).unwrap(), Calendar::default()] {
            write(&path, &calendar).unwrap();
            assert_eq!(read(&path).unwrap(), calendar);
        }
        assert_eq!(parse("").unwrap(), Calendar::default());
    }

    #[test]
    fn local_times_follow_the_clock_changes_of_the_zone() {
        let start = |zone: &str, start: &str| {
            let text = format!(
                "timezone: {zone}\npromotions:\n- {{name: a, start: '{start}', end: '2030-01-01'}}\n"
            );
            parse(&text).unwrap().events[0].start
        };
        assert_eq!(start("Europe/Rome", "2026-07-01T08:00"), at("2026-07-01T06:00:00Z"));
        assert_eq!(start("Europe/Rome", "2026-12-01 08:00:00"), at("2026-12-01T07:00:00Z"));
        assert_eq!(start("Europe/Rome", "2026-10-25T02:30"), at("2026-10-25T00:30:00Z"));
        assert_eq!(start("Europe/Rome", "2026-12-01T08:00:00+09:00"), at("2026-11-30T23:00:00Z"));
        assert_eq!(start("UTC", "2026-12-01"), at("2026-12-01T00:00:00Z"));
    }

    #[test]
    fn each_mistake_is_named_with_its_line() {
        let event = |start: &str, end: &str, rest: &str| {
            format!("promotions:\n- name: sale\n  start: {start}\n  end: {end}\n{rest}")
        };
        for (text, line, sentence) in [
            ("timezone: Europe/Atlantis\n".to_owned(), 1, "\"Europe/Atlantis\" is not a time zone"),
            ("paydays:\n- 10\n- 32\n".to_owned(), 3, "32 is not a day of a month"),
            (
                "holidays: [2026-12-25,\n 2026-02-30]\n".to_owned(),
                2,
                "\"2026-02-30\" is not a date",
            ),
            (event("2026-01-02", "2026-01-02", ""), 4, "\"sale\" ends at 2026-01-02, not after"),
            (event("soon", "2026-01-02", ""), 3, "\"soon\" is neither a time nor a date"),
            (
                event("2026-01-01", "2026-01-02", "  factor: -2\n"),
                5,
                "a factor of -2 is not above 0",
            ),
            (event("2026-01-01", "2026-01-02", "  factor: .nan\n"), 5, "a factor of NaN"),
            (event("2026-01-01", "2026-01-02", "  colour: red\n"), 5, "colour"),
            ("holiday: [2026-12-25]\n".to_owned(), 1, "holiday"),
        ] {
            let fault = parse(&text).unwrap_err();
            assert!(fault.line == line && fault.what.contains(sentence), "{text}: {fault:?}");
        }
    }
}
