//! The recent past of every domain, minute by minute, in bounded memory.

use std::collections::VecDeque;

use crate::cluster::{Class, Timestamp};
use crate::forecast::history::{DAY, History, Minute, Series};

/// Minutes that are kept: the seven days of what is usual, and the day that it is asked for.
pub(super) const KEPT: usize = 8 * DAY;

/// The front is dropped a day at a time, so that appending stays cheap.
const SLACK: usize = DAY;

/// How far the instant of a reading may lie from that of its snapshot, in minutes.
const PLAUSIBLE: Minute = 60;

/// Minutes that may still get readings.
const OPEN: usize = 3;

/// The minute of an instant.
pub(super) fn minute_of(at: Timestamp) -> Minute {
    at.as_millis().div_euclid(60_000)
}

/// Means per minute of what was observed.
#[derive(Debug, Clone, Default)]
pub(super) struct Recorder {
    history: History,
    /// Per series: what was added up of its newest minutes.
    open: Vec<Open>,
}

#[derive(Debug, Clone, Default)]
struct Open {
    newest: Option<Timestamp>,
    minutes: VecDeque<(Minute, f64, f64)>,
}

impl Recorder {
    pub(super) fn new(domains: &[(String, Class)]) -> Self {
        let mut recorder = Self::default();
        recorder.align(domains);
        recorder
    }

    /// Every minute so far, the newest ones unfinished.
    pub(super) fn history(&self) -> &History {
        &self.history
    }

    /// How many minutes there are up to `origin` and with it.
    pub(super) fn known(&self, origin: Minute) -> usize {
        (origin + 1 - self.history.start).clamp(0, self.history.minutes() as Minute) as usize
    }

    /// A copy that ends with `origin`.
    pub(super) fn until(&self, origin: Minute) -> History {
        let minutes = self.known(origin);
        let series = self.history.series.iter().map(|series| Series {
            name: series.name.clone(),
            class: series.class,
            rps: series.rps[..minutes].to_vec(),
        });
        History { start: self.history.start, series: series.collect() }
    }

    /// Takes in who there is now; what is known of those that stay is kept.
    pub(super) fn align(&mut self, domains: &[(String, Class)]) {
        let minutes = self.history.minutes();
        let mut before: Vec<Option<(Series, Open)>> = std::mem::take(&mut self.history.series)
            .into_iter()
            .zip(std::mem::take(&mut self.open))
            .map(Some)
            .collect();
        for (name, class) in domains {
            let same = |it: &&mut Option<(Series, Open)>| {
                it.as_ref().is_some_and(|(series, _)| series.name == *name)
            };
            let (series, open) =
                before.iter_mut().find(same).and_then(Option::take).unwrap_or_else(|| {
                    let rps = vec![f32::NAN; minutes];
                    (Series { name: name.clone(), class: *class, rps }, Open::default())
                });
            self.history.series.push(Series { class: *class, ..series });
            self.open.push(open);
        }
    }

    /// Takes in readings of a snapshot taken at `at`, one per series. What is no traffic is left out.
    pub(super) fn observe(&mut self, at: Timestamp, rps: &[Option<(Timestamp, f64)>]) {
        self.reach(minute_of(at));
        for (index, reading) in rps.iter().enumerate().take(self.open.len()) {
            let Some((taken, value)) = *reading else { continue };
            let minute = minute_of(taken);
            let open = &mut self.open[index];
            let repeated = open.newest.is_some_and(|newest| taken <= newest);
            let plausible = (minute_of(at) - minute).abs() <= PLAUSIBLE && taken <= at;
            if repeated || !plausible || !value.is_finite() || value < 0.0 {
                continue;
            }
            open.newest = Some(taken);
            let mean = open.add(minute, value);
            let place = usize::try_from(minute - self.history.start).ok();
            if let Some(cell) = place.and_then(|it| self.history.series[index].rps.get_mut(it)) {
                *cell = mean as f32;
            }
        }
    }

    /// Fills gaps from the past that was kept elsewhere. What was observed here stays.
    pub(super) fn fill(&mut self, past: &History) {
        let known = self.history.minutes() > 0;
        let (start, end) = if known {
            (self.history.start.min(past.start), self.history.end().max(past.end()))
        } else {
            (past.start, past.end())
        };
        let start = start.max(end - KEPT as Minute);
        if past.minutes() == 0 {
            return;
        }
        let before = std::mem::replace(&mut self.history.start, start);
        for series in &mut self.history.series {
            let own = std::mem::replace(&mut series.rps, vec![f32::NAN; (end - start) as usize]);
            let other = past.series.iter().find(|other| other.name == series.name);
            let other = other.map_or(&[][..], |other| &other.rps);
            for (from, values) in [(past.start, other), (before, &own[..])] {
                for (index, value) in values.iter().enumerate() {
                    let place = usize::try_from(from + index as Minute - start).ok();
                    if let Some(cell) = place.and_then(|place| series.rps.get_mut(place))
                        && value.is_finite()
                        && *value >= 0.0
                    {
                        *cell = *value;
                    }
                }
            }
        }
    }

    /// Brings all series up to `minute`, and forgets what is too old.
    pub(super) fn reach(&mut self, minute: Minute) {
        let (end, kept) = (self.history.end(), KEPT as Minute);
        // Before the first minute, and after a clock that jumped for more than all that is kept.
        if self.history.minutes() == 0 || minute - end > kept || self.history.start - minute > kept
        {
            self.history.start = minute;
            self.history.series.iter_mut().for_each(|series| series.rps.clear());
        }
        let wanted = (minute + 1 - self.history.start).max(0) as usize;
        let drop = if wanted > KEPT + SLACK { wanted - KEPT } else { 0 };
        for series in &mut self.history.series {
            if series.rps.len() < wanted {
                series.rps.resize(wanted, f32::NAN);
            }
            series.rps.drain(..drop);
        }
        self.history.start += drop as Minute;
    }
}

impl Open {
    /// The mean of a minute with one more value in it.
    fn add(&mut self, minute: Minute, value: f64) -> f64 {
        if let Some((_, sum, count)) = self.minutes.iter_mut().find(|open| open.0 == minute) {
            (*sum, *count) = (*sum + value, *count + 1.0);
            return *sum / *count;
        }
        if self.minutes.len() == OPEN {
            self.minutes.pop_front();
        }
        self.minutes.push_back((minute, value, 1.0));
        value
    }
}
