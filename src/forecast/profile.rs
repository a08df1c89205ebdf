//! Level times profile.

use std::collections::VecDeque;

use super::ErrorQuantiles;
use crate::cluster::{Forecast, Timestamp};

/// Half-life of the smoothed level, in seconds: long enough that noise does not move it, short
/// enough that a spike that nobody announced is followed within a few minutes.
const LEVEL_HALF_LIFE: f64 = 120.0;

/// Traffic as history and calendar teach it: requests per second of each domain at regular times.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    start: Timestamp,
    step_seconds: f64,
    /// A series per domain.
    domains: Vec<Vec<f64>>,
}

impl Profile {
    /// A series per domain; the first value is that of `start`, the others follow every
    /// `step_seconds`, which is above 0.
    #[must_use]
    pub const fn new(start: Timestamp, step_seconds: f64, domains: Vec<Vec<f64>>) -> Self {
        Self { start, step_seconds, domains }
    }

    /// The value of a domain at an instant, with lines between the values and flat ends; 0 for a
    /// domain without values.
    fn at(&self, domain: usize, at: Timestamp) -> f64 {
        let values = self.domains.get(domain).map_or(&[][..], Vec::as_slice);
        let last = values.len().saturating_sub(1);
        let place = (at.seconds_since(self.start) / self.step_seconds).clamp(0.0, last as f64);
        let left = place as usize;
        let value = |index: usize| values.get(index.min(last)).copied().unwrap_or(0.0);
        value(left) + (value(left + 1) - value(left)) * (place - left as f64)
    }
}

/// The forecaster: the smoothed ratio of what was observed to the profile, times the profile then,
/// with quantiles from its own recent errors.
#[derive(Debug, Clone)]
pub struct SeasonalProfile {
    profile: Profile,
    domains: Vec<Track>,
}

/// What is remembered of one domain.
#[derive(Debug, Clone, Default)]
struct Track {
    /// Observed over profile, smoothed, and when it was observed last.
    ratio: Option<(Timestamp, f64)>,
    horizons: [Horizon; Forecast::HORIZONS.len()],
}

/// What is remembered of one domain and horizon.
#[derive(Debug, Clone, Default)]
struct Horizon {
    errors: ErrorQuantiles,
    /// Forecasts whose time has not come: for when, and how much. Oldest first.
    open: VecDeque<(Timestamp, f64)>,
}

impl SeasonalProfile {
    /// A forecaster without experience.
    #[must_use]
    pub fn new(profile: Profile) -> Self {
        let domains = vec![Track::default(); profile.domains.len()];
        Self { profile, domains }
    }

    /// What is expected at `now`, when `observed` is the newest traffic of each domain and when it
    /// was measured. A domain without a new observation, or whose profile is 0, has no forecast.
    pub fn forecast(
        &mut self,
        observed: &[Option<(Timestamp, f64)>],
        now: Timestamp,
    ) -> Vec<Option<Forecast>> {
        let profile = &self.profile;
        let tracks = self.domains.iter_mut().zip(observed).enumerate();
        tracks
            .map(|(domain, (track, observed))| {
                let (at, rps) = (*observed)?;
                track.judge(at, rps);
                let ratio = track.smooth(at, rps / profile.at(domain, at))?;
                let usual = |seconds: f64| {
                    let then = Timestamp::from_seconds(now.as_seconds() + seconds);
                    (then, ratio * profile.at(domain, then))
                };
                let mut horizons = track.horizons.iter_mut().zip(Forecast::HORIZONS);
                let ahead = std::array::from_fn(|_| {
                    let Some((horizon, seconds)) = horizons.next() else { return [0.0; 4] };
                    let (then, expected) = usual(seconds);
                    horizon.open.push_back((then, expected));
                    horizon.errors.around(expected)
                });
                Some(Forecast { at: now, level: usual(0.0).1, ahead })
            })
            .collect()
    }
}

impl Track {
    /// Learns from the forecasts whose time has come: what was observed is the answer to them.
    fn judge(&mut self, at: Timestamp, rps: f64) {
        for horizon in &mut self.horizons {
            let mut newest = None;
            while let Some(&(due, expected)) = horizon.open.front() {
                if due > at {
                    break;
                }
                newest = Some(expected);
                horizon.open.pop_front();
            }
            // After a gap in the observations only the last one is answered by this one.
            if let Some(expected) = newest {
                horizon.errors.learn(expected, rps);
            }
        }
    }

    /// The smoothed ratio after a new one; `None` when it is no number or not newer.
    fn smooth(&mut self, at: Timestamp, ratio: f64) -> Option<f64> {
        if !ratio.is_finite() {
            return None;
        }
        let smoothed = match self.ratio {
            None => ratio,
            Some((before, _)) if at <= before => return None,
            Some((before, known)) => {
                let keep = (-at.seconds_since(before) / LEVEL_HALF_LIFE).exp2();
                known * keep + ratio * (1.0 - keep)
            }
        };
        self.ratio = Some((at, smoothed));
        Some(smoothed)
    }
}

#[cfg(test)]
mod tests;
