//! What is known of the future: days that differ, and events that somebody announced.

use jiff::tz::TimeZone;

use super::history::Minute;

/// Days and events that a forecast may know of in advance.
#[derive(Debug, Clone, PartialEq)]
pub struct Calendar {
    /// Where the customers live: days, hours and their slices are counted in this zone.
    pub zone: TimeZone,
    /// Days of the month on which salaries arrive, 1 to 31; one beyond the end of a month counts as
    /// its last day.
    pub paydays: Vec<i8>,
    /// Holidays.
    pub holidays: Vec<jiff::civil::Date>,
    /// Announced events.
    pub events: Vec<Event>,
}

/// An announced event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// A short name.
    pub name: String,
    /// What it is.
    pub kind: EventKind,
    /// Names of the domains that it concerns; empty: every domain.
    pub domains: Vec<String>,
    /// First minute.
    pub start: Minute,
    /// The minute after the last.
    pub end: Minute,
    /// Traffic at its height as a multiple of the usual, as far as anybody knows.
    pub factor: Option<f64>,
}

/// What an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventKind {
    /// More customers: a campaign, a sale.
    Promotion,
    /// New software: restarts, cold caches.
    Deployment,
}

/// What the calendar says of one domain and minute. Shares and flags are 0 or 1.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is an input of its own")]
pub struct Flags {
    /// Minute of the local day, 0 to 1,439.
    pub minute_of_day: u16,
    /// Day of the week, 0 for Monday.
    pub weekday: u8,
    /// Salaries arrive today.
    pub payday: bool,
    /// The last day of a month.
    pub month_end: bool,
    /// A holiday.
    pub holiday: bool,
    /// A promotion that concerns this domain.
    pub promotion: bool,
    /// Its factor, the largest of several; 1 without one, NaN where nobody said.
    pub promotion_factor: f64,
    /// A promotion that concerns another domain and not this one.
    pub promotion_elsewhere: bool,
    /// Its factor, as above.
    pub elsewhere_factor: f64,
    /// A deployment that concerns this domain.
    pub deployment: bool,
}

impl Default for Calendar {
    fn default() -> Self {
        Self { zone: TimeZone::UTC, paydays: Vec::new(), holidays: Vec::new(), events: Vec::new() }
    }
}

impl Calendar {
    /// What it says of a domain from `start` on, minute by minute.
    #[must_use]
    pub fn flags(&self, domain: &str, start: Minute, minutes: usize) -> Vec<Flags> {
        let mut days = Days::default();
        let mut all: Vec<Flags> =
            (0..minutes).map(|index| days.flags(self, start + index as Minute)).collect();
        for event in &self.events {
            let place = |minute: Minute| (minute - start).clamp(0, minutes as Minute) as usize;
            let here = event.domains.is_empty() || event.domains.iter().any(|it| it == domain);
            for flags in &mut all[place(event.start)..place(event.end).max(place(event.start))] {
                event.mark(here, flags);
            }
        }
        all
    }
}

impl Event {
    fn mark(&self, here: bool, flags: &mut Flags) {
        let factor = self.factor.unwrap_or(f64::NAN);
        let (flag, known) = match (self.kind, here) {
            (EventKind::Promotion, true) => (&mut flags.promotion, &mut flags.promotion_factor),
            (EventKind::Promotion, false) => {
                (&mut flags.promotion_elsewhere, &mut flags.elsewhere_factor)
            }
            (EventKind::Deployment, here) => {
                flags.deployment |= here;
                return;
            }
        };
        // `max` prefers a number to NaN: what somebody knows counts.
        *known = if *flag { known.max(factor) } else { factor };
        *flag = true;
    }
}

/// The civil day of the minute that was asked for last: a zone is asked once per quarter of an hour, the
/// step in which the offsets of zones differ.
#[derive(Default)]
struct Days {
    known: Option<(Minute, Flags)>,
}

/// Offsets of time zones are multiples of this, in minutes.
const QUARTER: Minute = 15;

impl Days {
    fn flags(&mut self, calendar: &Calendar, minute: Minute) -> Flags {
        let quarter = minute.div_euclid(QUARTER);
        let mut flags = match self.known {
            Some((known, flags)) if known == quarter => flags,
            _ => {
                let flags = of_quarter(calendar, quarter * QUARTER);
                self.known = Some((quarter, flags));
                flags
            }
        };
        flags.minute_of_day += minute.rem_euclid(QUARTER) as u16;
        flags
    }
}

fn of_quarter(calendar: &Calendar, minute: Minute) -> Flags {
    let Ok(instant) = jiff::Timestamp::from_second(minute.saturating_mul(60)) else {
        return Flags { promotion_factor: 1.0, elsewhere_factor: 1.0, ..Flags::default() };
    };
    let local = instant.to_zoned(calendar.zone.clone());
    let (date, last) = (local.date(), local.date().days_in_month());
    Flags {
        minute_of_day: local.hour() as u16 * 60 + local.minute() as u16,
        weekday: local.weekday().to_monday_zero_offset() as u8,
        payday: calendar.paydays.iter().any(|day| (*day).min(last) == date.day()),
        month_end: date.day() == last,
        holiday: calendar.holidays.contains(&date),
        promotion_factor: 1.0,
        elsewhere_factor: 1.0,
        ..Flags::default()
    }
}
