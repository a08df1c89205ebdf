//! The short history that the learned policy needs of each app and domain. Bounded, and a function of the
//! snapshots alone.

use std::collections::VecDeque;

use super::GROUPS;
use super::shape::{self, Shape, shape};
use crate::cluster::{AppState, Timestamp};
use crate::observation::AppObservation;

/// Time constants of means, in seconds.
const MINUTE: f64 = 60.0;
const FIVE_MINUTES: f64 = 300.0;
const TEN_MINUTES: f64 = 600.0;

/// The lowest latency is forgotten by this rate per second: half as much again in half an hour.
const FLOOR_RISE: f64 = 0.405 / 1800.0;

/// The highest traffic is forgotten by this rate per second: half of it in ten minutes.
const PEAK_FALL: f64 = 0.693 / 600.0;

/// What is known of starts is forgotten by this rate per second: half of it in an hour.
const START_FALL: f64 = 0.693 / 3600.0;

/// Seconds that a pod is taken to need before one was seen to start: a JVM, the middle of `learning.md` 5.2.
const START: f64 = 30.0;

/// Minutes of traffic that the 95th percentile is of.
const QUARTER: usize = 15;

/// Seconds after which nobody cares when an app last moved.
pub(super) const LONG: f64 = 600.0;

/// A mean that forgets exponentially.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Mean(Option<f64>);

impl Mean {
    /// Takes in a value that stood for `elapsed` seconds; what is no number is left out.
    fn add(&mut self, value: f64, elapsed: f64, constant: f64) {
        if value.is_finite() {
            let known = self.0.unwrap_or(value);
            self.0 = Some(known + (value - known) * (1.0 - (-elapsed / constant).exp()));
        }
    }

    pub(super) const fn get(self) -> Option<f64> {
        self.0
    }
}

/// The means of the last minutes, that which is not over included.
#[derive(Debug, Clone, Copy)]
pub(super) struct Minutes<const COUNT: usize> {
    /// The newest last.
    means: [f64; COUNT],
    /// How many of them there are yet.
    seen: usize,
    /// The begin, the sum and the number of values of the newest.
    newest: (Timestamp, f64, f64),
}

impl<const COUNT: usize> Default for Minutes<COUNT> {
    fn default() -> Self {
        Self { means: [0.0; COUNT], seen: 0, newest: (Timestamp::from_seconds(0.0), 0.0, 0.0) }
    }
}

impl<const COUNT: usize> Minutes<COUNT> {
    fn look(&mut self, value: f64, now: Timestamp) {
        let (begun, sum, count) = self.newest;
        let goes_on = self.seen > 0 && (0.0..MINUTE).contains(&now.seconds_since(begun));
        let (sum, count) = if goes_on { (sum + value, count + 1.0) } else { (value, 1.0) };
        self.newest = (if goes_on { begun } else { now }, sum, count);
        if !goes_on {
            self.means.rotate_left(1);
            self.seen = (self.seen + 1).min(COUNT);
        }
        self.means[COUNT - 1] = sum / count;
    }

    fn means(&self) -> &[f64] {
        &self.means[COUNT - self.seen..]
    }
}

/// What is remembered of one app.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct AppMemory {
    at: Option<Timestamp>,
    pub latency: Mean,
    pub latency_floor: Option<f64>,
    pub breach: Mean,
    pub traffic: Mean,
    /// The most requests per second, forgotten by half in ten minutes.
    pub peak: Option<f64>,
    /// How far traffic moves from one look to the next, as a logarithm.
    pub roughness: Mean,
    half_hour: Minutes<{ shape::MINUTES }>,
    rps: Option<f64>,
    replicas: u32,
    ready: u32,
    /// Pod-seconds that were asked for and not ready, and pods that became ready; both forgotten by half in an hour.
    starting: f64,
    started: f64,
    pub grew: Option<Timestamp>,
    pub shrank: Option<Timestamp>,
    /// The smoothed step, -2 to 2.
    pub step: f64,
}

impl AppMemory {
    pub(super) fn look(&mut self, state: &AppState, seen: &AppObservation, now: Timestamp) {
        let elapsed = self.at.map_or(f64::INFINITY, |at| now.seconds_since(at).max(0.0));
        let known = self.at.is_some();
        self.at = Some(now);
        if let Some(latency) = seen.latency_ratio.filter(|it| it.is_finite()) {
            self.latency.add(latency, elapsed, MINUTE);
            let risen =
                self.latency_floor.unwrap_or(latency) * (FLOOR_RISE * elapsed.min(LONG)).exp();
            self.latency_floor = Some(latency.min(risen));
        }
        self.breach.add(f64::from(u8::from(seen.breaks_slo())), elapsed, FIVE_MINUTES);
        if let Some(rps) = seen.rps {
            if rps.is_finite() {
                self.half_hour.look(rps, now);
            }
            self.traffic.add(rps, elapsed, TEN_MINUTES);
            let forgotten = self.peak.map_or(0.0, |peak| peak * (-PEAK_FALL * elapsed).exp());
            self.peak = Some(rps.max(forgotten));
            if let Some(before) = self.rps.replace(rps) {
                self.roughness.add((rps / before).ln().abs().min(2.0), elapsed, TEN_MINUTES);
            }
        }
        if known && state.spec_replicas > self.replicas {
            self.grew = Some(now);
        } else if known && state.spec_replicas < self.replicas {
            self.shrank = Some(now);
        }
        self.replicas = state.spec_replicas;
        if known {
            let kept = (-START_FALL * elapsed).exp();
            let missing = f64::from(state.spec_replicas.saturating_sub(state.ready));
            self.starting = self.starting * kept + missing * elapsed.min(MINUTE);
            self.started = self.started * kept + f64::from(state.ready.saturating_sub(self.ready));
        }
        self.ready = state.ready;
    }

    /// The shape of its traffic.
    pub(super) fn shape(&self) -> Shape {
        let mut means = [0.0; shape::MINUTES];
        let seen = self.half_hour.means();
        means.iter_mut().zip(seen).for_each(|(own, seen)| *own = *seen as f32);
        shape(&means[..seen.len()])
    }

    /// Seconds that a pod takes from being asked for to ready: by Little's law the mean number of those that are
    /// missing over the rate at which they become ready. [`START`] weighs as much as one pod that was seen.
    pub(super) fn start_seconds(&self) -> f64 {
        (self.starting + START) / (self.started + 1.0)
    }
}

/// What is remembered of one domain.
#[derive(Debug, Clone, Default)]
pub(super) struct DomainMemory {
    at: Option<Timestamp>,
    pub breach: Mean,
    pub minute: Mean,
    pub five_minutes: Mean,
    quarter: Minutes<QUARTER>,
    /// What the Commander last said.
    pub headroom: f64,
    pub urgency: f64,
    /// The smoothed split, as logarithms.
    pub split: [f64; GROUPS],
}

impl DomainMemory {
    pub(super) fn look(&mut self, rps: f64, breaching: f64, now: Timestamp) {
        let elapsed = self.at.map_or(f64::INFINITY, |at| now.seconds_since(at).max(0.0));
        self.at = Some(now);
        self.breach.add(breaching, elapsed, MINUTE);
        self.minute.add(rps, elapsed, MINUTE);
        self.five_minutes.add(rps, elapsed, FIVE_MINUTES);
        self.quarter.look(rps, now);
    }

    /// The 95th percentile of the minutes' means.
    pub(super) fn p95(&self) -> Option<f64> {
        percentile(self.quarter.means().to_vec(), 0.95)
    }
}

/// How many nodes came or went in the last ten minutes.
#[derive(Debug, Clone, Default)]
pub(super) struct Churn {
    nodes: Option<u32>,
    moved: VecDeque<(Timestamp, u32)>,
}

impl Churn {
    pub(super) fn look(&mut self, nodes: u32, now: Timestamp) -> f64 {
        let moved = self.nodes.replace(nodes).map_or(0, |before| nodes.abs_diff(before));
        if moved > 0 {
            self.moved.push_back((now, moved));
        }
        while self.moved.front().is_some_and(|(at, _)| now.seconds_since(*at) > TEN_MINUTES) {
            self.moved.pop_front();
        }
        f64::from(self.moved.iter().map(|(_, moved)| moved).sum::<u32>())
    }
}

/// The value below which this part of the values lies, the nearest one; `None` of none.
pub(super) fn percentile(mut values: Vec<f64>, part: f64) -> Option<f64> {
    values.retain(|value| value.is_finite());
    let last = values.len().checked_sub(1)?;
    let (_, value, _) =
        values.select_nth_unstable_by((part * last as f64).round() as usize, f64::total_cmp);
    Some(*value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Timestamp {
        Timestamp::from_seconds(1e6 + seconds)
    }

    #[test]
    fn a_mean_goes_two_thirds_of_the_way_in_its_time_constant() {
        let mut mean = Mean::default();
        mean.add(f64::NAN, 10.0, 60.0);
        assert_eq!(mean.get(), None);
        mean.add(1.0, f64::INFINITY, 60.0);
        mean.add(2.0, 60.0, 60.0);
        assert!((mean.get().unwrap() - 1.632).abs() < 1e-3);
    }

    #[test]
    fn the_lowest_latency_is_forgotten_slowly() {
        let mut memory = AppMemory::default();
        let state = AppState { spec_replicas: 3, ..AppState::default() };
        let mut look = |seconds: f64, latency: f64| {
            let seen = AppObservation { latency_ratio: Some(latency), ..AppObservation::default() };
            memory.look(&state, &seen, at(seconds));
            memory.latency_floor.unwrap()
        };
        assert_eq!(look(0.0, 0.2), 0.2);
        let later = (1..=180).map(|step| look(f64::from(step) * 10.0, 0.9)).last().unwrap();
        assert!((later - 0.3).abs() < 0.01, "{later}");
    }

    #[test]
    fn a_peak_is_forgotten_by_half_in_ten_minutes_and_rough_traffic_is_known() {
        let mut memory = AppMemory::default();
        let mut look = |seconds: f64, rps: f64| {
            let seen = AppObservation { rps: Some(rps), ..AppObservation::default() };
            memory.look(&AppState::default(), &seen, at(seconds));
            (memory.peak.unwrap(), memory.roughness.get().unwrap_or(0.0))
        };
        assert_eq!(look(0.0, 80.0), (80.0, 0.0));
        let (peak, rough) = look(600.0, 20.0);
        assert!((peak - 40.0).abs() < 0.1 && (rough - 4.0_f64.ln()).abs() < 1e-9);
        assert!(look(610.0, 0.0).1.is_finite());
    }

    fn looked(memory: &mut AppMemory, seconds: f64, rps: f64) {
        let seen = AppObservation { rps: Some(rps), ..AppObservation::default() };
        memory.look(&AppState::default(), &seen, at(seconds));
    }

    #[test]
    fn a_shape_is_of_minutes_whatever_the_size() {
        let shape_of = |size: f64| {
            let mut memory = AppMemory::default();
            for step in 0..60 * 6 {
                let rps = if step < 50 * 6 { 1.0 } else { 3.0 };
                looked(&mut memory, f64::from(step) * 10.0, size * rps);
            }
            memory.shape()
        };
        let shape = shape_of(7.0);
        // Of thirty minutes the last ten are three times the others.
        let mean = (20.0 + 10.0 * 3.0) / 30.0;
        let near = |value: f32, of: f64| (f64::from(value) - of.ln()).abs() < 1e-5;
        assert!(near(shape[0], 1.0 / mean) && near(shape[19], 1.0 / mean), "{shape:?}");
        assert!(near(shape[20], 3.0 / mean) && near(shape[29], 3.0 / mean), "{shape:?}");
        assert!(shape_of(900.0).iter().zip(shape).all(|(one, other)| (one - other).abs() < 1e-5));
    }

    #[test]
    fn a_shape_is_as_the_mean_where_nothing_was_seen() {
        let mut memory = AppMemory::default();
        assert_eq!(memory.shape(), [0.0; shape::MINUTES]);
        looked(&mut memory, 0.0, f64::NAN);
        looked(&mut memory, 0.0, 4.0);
        looked(&mut memory, 60.0, 1.0);
        let shape = memory.shape();
        assert_eq!(shape[..28], [0.0; 28]);
        assert!(shape[28] > 0.0 && shape[29] < 0.0);
    }

    #[test]
    fn growth_is_known_from_the_second_look_on() {
        let mut memory = AppMemory::default();
        let look = |memory: &mut AppMemory, seconds: f64, replicas: u32| {
            let state = AppState { spec_replicas: replicas, ..AppState::default() };
            memory.look(&state, &AppObservation::default(), at(seconds));
            (memory.grew, memory.shrank)
        };
        assert_eq!(look(&mut memory, 0.0, 5), (None, None));
        assert_eq!(look(&mut memory, 10.0, 7), (Some(at(10.0)), None));
        assert_eq!(look(&mut memory, 20.0, 6), (Some(at(10.0)), Some(at(20.0))));
    }

    #[test]
    fn a_quarter_of_an_hour_is_fifteen_minutes() {
        let mut memory = DomainMemory::default();
        for step in 0..600 {
            memory.look(f64::from(step), 0.0, at(f64::from(step) * 10.0));
        }
        assert_eq!(memory.quarter.means().len(), 15);
        // The means of the last 15 minutes go up by 6 from 512.5 to 596.5.
        assert!((memory.p95().unwrap() - 590.5).abs() < 1e-9, "{:?}", memory.p95());
    }

    #[test]
    fn nodes_that_came_are_forgotten_after_ten_minutes() {
        let mut churn = Churn::default();
        assert_eq!(churn.look(10, at(0.0)), 0.0);
        assert_eq!(churn.look(14, at(10.0)), 4.0);
        assert_eq!(churn.look(13, at(300.0)), 5.0);
        assert_eq!(churn.look(13, at(620.0)), 1.0);
    }
}
