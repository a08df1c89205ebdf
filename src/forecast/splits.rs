//! Which minutes a network learns from, is chosen by, and is judged by.

use std::ops::Range;

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::calibration::LONGEST;
use super::history::Minute;

/// What a minute is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Weights are fitted.
    Training,
    /// Models and settings are chosen.
    Validation,
    /// Judged once; the last days of each month.
    HeldOut,
}

impl Part {
    /// Every part, in the order in which they follow each other in a month.
    pub const ALL: [Self; 3] = [Self::Training, Self::Validation, Self::HeldOut];

    /// The name in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Training => "training",
            Self::Validation => "validation",
            Self::HeldOut => "held-out",
        }
    }
}

/// Splits every month (UTC): its last days are held out, those before them are for validation, the
/// first are for training.
///
/// Only *targets* are split: what a forecast looks back on is the past, whosever it was, as in
/// production. Nobody's targets lie within `gap` minutes before the end of a part, so that targets of
/// different parts are at least `gap` minutes apart (`learning.md` 2.1: walk-forward, gap >= horizon).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Split {
    horizon: Minute,
    gap: Minute,
    held_out: i8,
    validation: i8,
}

/// Days of a month that are held out, and days before them for validation.
const WEEK: i8 = 7;

impl Default for Split {
    fn default() -> Self {
        Self { horizon: LONGEST, gap: LONGEST, held_out: WEEK, validation: WEEK }
    }
}

impl Split {
    /// To which part a forecast belongs that is made at the end of `minute`, the last minute that it
    /// knows, about minutes `minute + 1` to `minute + 30`; [`None`] where these are not all of one part,
    /// and in the gap.
    #[must_use]
    pub fn of(&self, minute: Minute) -> Option<Part> {
        let (part, span) = self.month(minute.checked_add(1)?)?;
        let last = minute.checked_add(self.horizon)?.checked_add(self.gap)?;
        (last < span.end).then_some(part)
    }

    /// The part of a target minute, whoever forecasts it.
    #[must_use]
    pub fn target(&self, minute: Minute) -> Option<Part> {
        self.month(minute).map(|(part, _)| part)
    }

    /// The minutes from `start` to before `end` at which a forecast may be made, per stretch of one part,
    /// in order: [`Split::of`] holds for each of them, and for no other minute.
    #[must_use]
    pub fn stretches(&self, start: Minute, end: Minute) -> Vec<(Part, Range<Minute>)> {
        let (mut all, mut at) = (Vec::new(), start);
        while at < end {
            let Some((part, span)) = at.checked_add(1).and_then(|next| self.month(next)) else {
                break;
            };
            // The first target of `at` is `at + 1`.
            let last = (span.end - self.horizon - self.gap).min(end);
            if last > at {
                all.push((part, at..last));
            }
            at = span.end - 1;
        }
        all
    }

    /// The part of a minute and all the minutes of that part around it; [`None`] outside the years that
    /// calendars know.
    fn month(&self, minute: Minute) -> Option<(Part, Range<Minute>)> {
        let second = minute.checked_mul(60)?;
        let date = jiff::Timestamp::from_second(second).ok()?.to_zoned(TimeZone::UTC).date();
        let (first, days) = (minute_of(date.first_of_month())?, date.days_in_month());
        let end = |day: i8| first + Minute::from(day) * DAY;
        let (held_out, validation) = (days - self.held_out, days - self.held_out - self.validation);
        Some(match date.day() {
            day if day > held_out => (Part::HeldOut, end(held_out)..end(days)),
            day if day > validation => (Part::Validation, end(validation)..end(held_out)),
            _ => (Part::Training, first..end(validation)),
        })
    }
}

/// Minutes of a day.
const DAY: Minute = 1440;

fn minute_of(date: Date) -> Option<Minute> {
    Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second().div_euclid(60))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn minute(text: &str) -> Minute {
        text.parse::<jiff::Timestamp>().unwrap().as_second() / 60
    }

    #[test]
    fn the_last_week_of_a_month_is_held_out_and_the_one_before_is_for_validation() {
        let split = Split::default();
        for (text, part) in [
            ("2026-02-01T00:00Z", Part::Training),
            ("2026-02-14T23:59Z", Part::Training),
            ("2026-02-15T00:00Z", Part::Validation),
            ("2026-02-21T23:59Z", Part::Validation),
            ("2026-02-22T00:00Z", Part::HeldOut),
            ("2026-02-28T23:59Z", Part::HeldOut),
            ("2026-03-17T23:59Z", Part::Training),
            ("2026-03-18T00:00Z", Part::Validation),
        ] {
            assert_eq!(split.target(minute(text)), Some(part), "{text}");
        }
    }

    #[test]
    fn forecasts_stop_an_hour_before_a_part_ends() {
        let split = Split::default();
        let border = minute("2026-02-15T00:00Z");
        assert_eq!(split.of(border - 61), Some(Part::Training));
        assert_eq!(split.of(border - 60), None);
        assert_eq!(split.of(border - 2), None);
        assert_eq!(split.of(border - 1), Some(Part::Validation));
    }

    #[test]
    fn years_that_no_calendar_knows_belong_to_no_part() {
        for minute in [Minute::MIN, Minute::MAX, Minute::MAX / 60, Minute::MAX - 1] {
            assert_eq!(Split::default().of(minute), None);
            assert_eq!(Split::default().target(minute), None);
        }
        assert!(Split::default().stretches(Minute::MAX - 5, Minute::MAX).is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn no_target_is_in_two_parts_and_targets_of_two_parts_keep_the_gap(
            minute in 0_i64..60_000_000, after in 0_i64..3_000,
        ) {
            let split = Split::default();
            let Some(part) = split.of(minute) else { return Ok(()) };
            for ahead in 1..=LONGEST {
                prop_assert_eq!(split.target(minute + ahead), Some(part));
            }
            let other = split.of(minute + after);
            if other.is_some_and(|other| other != part) {
                // The last target of this one, and the first of the other.
                prop_assert!(minute + after + 1 - (minute + LONGEST) > LONGEST);
            }
        }

        #[test]
        fn stretches_are_the_minutes_of_their_part(
            start in 29_000_000_i64..29_100_000, length in 0_i64..130_000, pick in 0.0..1.0_f64,
        ) {
            let (split, end) = (Split::default(), start + length);
            let stretches = split.stretches(start, end);
            let at = start + (pick * length as f64) as Minute;
            let found = stretches.iter().find(|(_, span)| span.contains(&at));
            let expected = if at < end { split.of(at) } else { None };
            prop_assert_eq!(found.map(|(part, _)| *part), expected);
            for (part, span) in &stretches {
                prop_assert!(span.start >= start && span.end <= end);
                prop_assert_eq!(split.of(span.start), Some(*part));
                prop_assert_eq!(split.of(span.end - 1), Some(*part));
            }
            prop_assert!(stretches.is_sorted_by(|one, next| one.1.end <= next.1.start));
        }
    }
}
