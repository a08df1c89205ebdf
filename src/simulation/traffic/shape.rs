//! Patterns and events as functions of time.

use crate::cluster::Timestamp;
use crate::simulation::scenario::{BatchWindow, EventSpec, Pattern};

/// Seconds of an hour.
const HOUR: f64 = 3600.0;

/// Days from Monday to the first day of the Unix epoch, a Thursday.
const EPOCH_WEEKDAY: f64 = 3.0;

/// A pattern that knows where in the week the scenario begins.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    pattern: Pattern,
    /// Hours from Monday 00:00 to the start.
    offset_hours: f64,
    /// Of a replay: one over the mean of its values.
    scale: f64,
}

impl Shape {
    pub(super) fn new(pattern: &Pattern, start: Timestamp) -> Self {
        let scale = match pattern {
            Pattern::Replay { values, .. } => {
                let sum: f64 = values.iter().sum();
                if sum > 0.0 { values.len() as f64 / sum } else { 0.0 }
            }
            _ => 1.0,
        };
        let offset_hours = (start.as_seconds() / HOUR + EPOCH_WEEKDAY * 24.0).rem_euclid(168.0);
        Self { pattern: pattern.clone(), offset_hours, scale }
    }

    /// The factor at `seconds` after the start, which may be negative.
    pub(super) fn at(&self, seconds: f64) -> f64 {
        let week = (self.offset_hours + seconds / HOUR).rem_euclid(168.0);
        let day = week % 24.0;
        match &self.pattern {
            Pattern::Steady => 1.0,
            Pattern::Diurnal { swing, peak_hour, weekend } => {
                let angle = (day - peak_hour) / 24.0 * std::f64::consts::TAU;
                (1.0 + swing * angle.cos()) * (1.0 + (weekend - 1.0) * weekend_part(week))
            }
            Pattern::Office { from_hour, to_hour, idle } => {
                // 1 inside, 0 from one hour before or after on; also across midnight.
                let middle = f64::midpoint(*from_hour, *to_hour);
                let half = (to_hour - from_hour) / 2.0;
                let away = (day - middle + 12.0).rem_euclid(24.0) - 12.0;
                let open = (half + 1.0 - away.abs()).clamp(0.0, 1.0) * (1.0 - weekend_part(week));
                idle + (1.0 - idle) * open
            }
            Pattern::Batch { windows, idle } => windows
                .iter()
                .filter(|window| inside(window, day))
                .map(|window| window.level)
                .reduce(f64::max)
                .unwrap_or(*idle),
            Pattern::Replay { interval_seconds, values, .. } => {
                if values.is_empty() {
                    return 0.0;
                }
                let place = (seconds / interval_seconds).rem_euclid(values.len() as f64);
                let left = (place as usize).min(values.len() - 1);
                let right = (left + 1) % values.len();
                let along = place - left as f64;
                (values[left] + (values[right] - values[left]) * along) * self.scale
            }
        }
    }

    /// Coefficient of variation of the Gamma factor per app and step.
    pub(super) fn burstiness(&self) -> f64 {
        match self.pattern {
            Pattern::Replay { burstiness, .. } => burstiness,
            _ => 0.0,
        }
    }
}

/// 1 at weekends, 0 on workdays, and a line in the hour before and after midnight.
fn weekend_part(week_hour: f64) -> f64 {
    let (saturday, monday) = (120.0, 168.0);
    if week_hour < 1.0 {
        return (1.0 - week_hour) / 2.0;
    }
    ((week_hour - saturday + 1.0).min(monday + 1.0 - week_hour) / 2.0).clamp(0.0, 1.0)
}

fn inside(window: &BatchWindow, day_hour: f64) -> bool {
    (day_hour - window.from_hour).rem_euclid(24.0) < window.hours
}

/// An event's factor over time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bump {
    start: f64,
    ramp: f64,
    hold: f64,
    decay: f64,
    factor: f64,
}

impl Bump {
    pub(super) fn new(event: &EventSpec) -> Self {
        Self {
            start: event.start_seconds,
            ramp: event.ramp_seconds,
            hold: event.hold_seconds,
            decay: event.decay_seconds,
            factor: event.factor,
        }
    }

    /// The factor at `seconds` after the start of the scenario.
    pub(super) fn at(&self, seconds: f64) -> f64 {
        let since = seconds - self.start;
        let left = self.ramp + self.hold + self.decay - since;
        if since < 0.0 || left <= 0.0 {
            return 1.0;
        }
        let up = if self.ramp > 0.0 { since / self.ramp } else { 1.0 };
        let down = if self.decay > 0.0 { left / self.decay } else { 1.0 };
        1.0 + (self.factor - 1.0) * up.min(down).min(1.0)
    }
}
