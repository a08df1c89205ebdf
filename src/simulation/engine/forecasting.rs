//! The forecaster that stands beside every policy. It knows what history and the calendar would
//! have taught: the patterns and the announced events, never the others.

use crate::cluster::{Forecast, ForecastSource, Outlook, Snapshot, Timestamp};
use crate::forecast::{Profile, SeasonalProfile, observed};
use crate::simulation::Traffic;
use crate::simulation::scenario::Scenario;

/// Time between two forecasts, and between two values of the profile, in seconds.
const EVERY: f64 = 60.0;

/// The forecaster and when it is asked next.
#[derive(Debug, Clone)]
pub(super) struct Forecasting {
    forecaster: SeasonalProfile,
    next: f64,
}

impl Forecasting {
    /// `traffic` is what is announced.
    pub(super) fn new(scenario: &Scenario, domain_of: &[usize], mut traffic: Traffic) -> Self {
        let furthest = Forecast::HORIZONS.into_iter().fold(0.0, f64::max);
        let count = ((scenario.duration_seconds + furthest) / EVERY).ceil() as usize + 1;
        let mut series = vec![Vec::with_capacity(count); scenario.domains.len()];
        let mut rps = vec![0.0; scenario.apps.len()];
        for step in 0..count {
            traffic.expected(step as f64 * EVERY, &mut rps);
            let mut sums = vec![0.0; scenario.domains.len()];
            for (domain, rps) in domain_of.iter().zip(&rps) {
                sums[*domain] += rps;
            }
            for (series, sum) in series.iter_mut().zip(sums) {
                series.push(sum);
            }
        }
        let profile = Profile::new(scenario.start, EVERY, series);
        Self { forecaster: SeasonalProfile::new(profile), next: 0.0 }
    }

    /// Brings the forecasts of the snapshot up to `now`, from the traffic that it shows.
    pub(super) fn look(&mut self, seconds: f64, now: Timestamp, snapshot: &mut Snapshot) {
        if seconds < self.next {
            return;
        }
        self.next = seconds + EVERY;
        let made = self.forecaster.forecast(&observed(snapshot), now);
        // Without a new one the last one stands and grows old.
        snapshot.forecasts.resize(made.len(), Outlook::default());
        for (known, made) in snapshot.forecasts.iter_mut().zip(made) {
            if made.is_some() {
                let source = ForecastSource::SeasonalProfile;
                *known = Outlook { forecast: made, source, why: None };
            }
        }
    }
}
