//! Which windows a step of training sees.

use std::ops::Range;

use crate::forecast::calendar::Calendar;
use crate::forecast::history::{DAY, History, Minute};
use crate::forecast::splits::{Part, Split};
use crate::forecast::window::{FURTHEST, HORIZONS, Prepared, Window};
use crate::seed::Seed;

/// Histories, and the minutes at whose end forecasts are made.
#[derive(Debug)]
pub struct Material<'a> {
    histories: Vec<(Prepared<'a>, Vec<Range<Minute>>)>,
}

/// Windows and what came after them.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// The windows.
    pub windows: Vec<Window>,
    /// Requests per second at each horizon; NaN where they are not known.
    pub outcomes: Vec<[f32; 3]>,
    /// Local minute of the day at which each forecast was made.
    pub minutes_of_day: Vec<u16>,
}

/// Draws of one minute at the most: some see nothing, in gaps and outages.
const TRIES: u64 = 20;

/// What a network needs before its first forecast.
const BEFORE: Minute = 2 * DAY as Minute;

impl<'a> Material<'a> {
    /// All minutes of one part.
    #[must_use]
    pub fn part(histories: &'a [(History, Calendar)], split: Split, part: Part) -> Self {
        Self::of(histories, |history| {
            let stretches = split.stretches(history.start + BEFORE, last(history));
            stretches.into_iter().filter(|(its, _)| *its == part).map(|(_, range)| range).collect()
        })
    }

    /// The last `minutes` of each history, or all but those and the furthest horizon before them.
    #[must_use]
    pub fn ending(histories: &'a [(History, Calendar)], minutes: Minute, inside: bool) -> Self {
        Self::of(histories, |history| {
            let first = (history.end() - minutes).max(history.start + BEFORE);
            let range = if inside {
                first..last(history)
            } else {
                history.start + BEFORE..first - FURTHEST as Minute
            };
            if range.is_empty() { Vec::new() } else { vec![range] }
        })
    }

    fn of(
        histories: &'a [(History, Calendar)],
        ranges: impl Fn(&History) -> Vec<Range<Minute>>,
    ) -> Self {
        let histories = histories.iter().filter_map(|(history, calendar)| {
            let ranges = ranges(history);
            (!ranges.is_empty()).then(|| (Prepared::new(history, calendar), ranges))
        });
        Self { histories: histories.collect() }
    }

    /// Whether there is nothing to draw from.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.histories.is_empty()
    }

    /// Windows of all series of `minutes` random minutes, each of a random history. The same seed gives
    /// the same ones.
    #[must_use]
    pub fn sample(&self, seed: Seed, minutes: usize) -> Sample {
        let mut sample = Sample::default();
        for number in 0..minutes {
            let seed = seed.nth(number as u64);
            for attempt in 0..TRIES {
                let draw = seed.draw(attempt);
                if self.add(draw.uniform(), draw.next().uniform(), &mut sample) {
                    break;
                }
            }
        }
        sample
    }

    /// Windows of all series at every `step`-th minute, in order.
    #[must_use]
    pub fn every(&self, step: usize) -> Sample {
        let mut sample = Sample::default();
        for (prepared, ranges) in &self.histories {
            for minute in ranges.iter().flat_map(|range| range.clone().step_by(step.max(1))) {
                look(prepared, minute, &mut sample);
            }
        }
        sample
    }

    /// Adds the windows of one minute; `history` and `place` are from 0 to 1. False where nothing can
    /// be seen.
    fn add(&self, history: f64, place: f64, sample: &mut Sample) -> bool {
        let index = (history * self.histories.len() as f64) as usize;
        let Some((prepared, ranges)) = self.histories.get(index) else { return false };
        let length = |range: &Range<Minute>| range.end - range.start;
        let all: Minute = ranges.iter().map(length).sum();
        let mut rest = (place * all as f64) as Minute;
        for range in ranges {
            if rest < length(range) {
                return look(prepared, range.start + rest, sample);
            }
            rest -= length(range);
        }
        false
    }
}

/// The minute after the last one whose outcomes are all within a history.
fn last(history: &History) -> Minute {
    history.end() - FURTHEST as Minute
}

fn look(prepared: &Prepared<'_>, origin: Minute, sample: &mut Sample) -> bool {
    let before = sample.windows.len();
    for (series, window) in prepared.windows(origin).into_iter().enumerate() {
        let outcomes = HORIZONS.map(|ahead| prepared.outcome(series, origin, ahead));
        if let Ok(window) = window
            && outcomes.iter().any(|outcome| outcome.is_finite())
        {
            sample.windows.push(window);
            sample.outcomes.push(outcomes);
            sample.minutes_of_day.push(prepared.minute_of_day(origin));
        }
    }
    sample.windows.len() > before
}
