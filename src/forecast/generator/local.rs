//! Where each minute stands in the local day, week and month.

use super::{Calendar, DAY, Flags, Minute};

/// The local time of a run of minutes.
#[derive(Debug)]
pub(super) struct Local {
    pub(super) start: Minute,
    /// What the calendar says of each minute; events not counted.
    pub(super) flags: Vec<Flags>,
    /// Per minute, which local day it belongs to, 0 for the first.
    pub(super) day: Vec<usize>,
    /// Per local day, its first minute.
    pub(super) days: Vec<usize>,
}

impl Local {
    pub(super) fn new(calendar: &Calendar, start: Minute, minutes: usize) -> Self {
        let plain = Calendar { events: Vec::new(), ..calendar.clone() };
        let flags = plain.flags("", start, minutes);
        let (mut day, mut days) = (Vec::with_capacity(minutes), Vec::new());
        let mut weekday = None;
        for (index, flags) in flags.iter().enumerate() {
            if weekday != Some(flags.weekday) {
                weekday = Some(flags.weekday);
                days.push(index);
            }
            day.push(days.len() - 1);
        }
        Self { start, flags, day, days }
    }

    pub(super) fn minutes(&self) -> usize {
        self.flags.len()
    }

    /// The minute of the local clock on a local day, as an index that may lie outside the run: days
    /// of a clock change are off by its hour, which no drawn event minds.
    pub(super) fn at(&self, day: usize, minute_of_day: f64) -> i64 {
        let first = self.days.get(day).copied().unwrap_or(0);
        let begins = self.flags.get(first).map_or(0, |flags| i64::from(flags.minute_of_day));
        first as i64 - begins + minute_of_day as i64
    }

    /// Near midnight: how many weekdays further the nearer other day is (1 or 6), and its part, which
    /// rises to a half over `half` minutes.
    pub(super) fn beside(&self, index: usize, half: f64) -> (usize, f64) {
        let minute = self.of_day(index) as f64;
        let part = |away: f64| (0.5 - 0.5 * away / half.max(1.0)).max(0.0);
        let (since, until) = (minute, DAY as f64 - minute);
        if since < until { (6, part(since)) } else { (1, part(until)) }
    }

    /// Minute of the local day, 0 to 1,439, as an index.
    pub(super) fn of_day(&self, index: usize) -> usize {
        usize::from(self.flags[index].minute_of_day) % DAY
    }
}
