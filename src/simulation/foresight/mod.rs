//! What is expected in one scenario with one seed: the forecasts of every domain, minute by minute, made by
//! the forecaster that `hirl serve` has, with the built-in network.
//!
//! It sees the traffic that is *offered*, as late as telemetry shows it and not at all while that is away, and
//! the events that are announced; eight days before the start are known by the minute ([`Traffic::past`]). Its
//! calibration begins without experience and learns during the run. What is simplified: requests that are tried
//! again are not counted, where a real cluster's telemetry counts them. So no policy can move its forecasts, and
//! all policies of one scenario and seed meet the same: the pairing that comparisons need.
//!
//! A minute's forecasts take longer than a minute of the simulator. So they are made only where somebody looks
//! at them, as they are asked for ([`Simulation::with_forecaster`]) or once for many runs
//! ([`Foresight::whole`], [`Simulation::with_foresight`]); both are the same numbers.
//!
//! [`Traffic::past`]: super::Traffic::past
//! [`Simulation::with_forecaster`]: super::Simulation::with_forecaster
//! [`Simulation::with_foresight`]: super::Simulation::with_foresight

mod announced;
mod maker;
mod seen;

use std::sync::Arc;

pub(super) use maker::Maker;

use super::Seed;
use super::scenario::Scenario;
use super::traffic::Glide;
use crate::cluster::{Forecast, Outlook};

/// Time between two forecasts, in seconds: that of `hirl serve`.
const EVERY: f64 = 60.0;

/// How slowly the error of [`Foresight::noisy`] changes, in seconds.
const NOISE_SECONDS: f64 = 900.0;

/// The forecasts of one scenario and seed, from its start to its end.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Foresight {
    domains: usize,
    /// Those of the first minute, one per domain, then those of the second, ...
    outlooks: Vec<Outlook>,
}

impl Foresight {
    /// All forecasts of a scenario that was checked. `Err` is one sentence.
    pub fn whole(scenario: &Arc<Scenario>, seed: Seed) -> Result<Arc<Self>, String> {
        let mut maker = Maker::new(scenario, seed)?;
        let minutes = minute(scenario.duration_seconds) + 1;
        let domains = scenario.domains.len();
        let mut outlooks = Vec::with_capacity(minutes * domains);
        for _ in 0..minutes {
            outlooks.extend(maker.make());
        }
        Ok(Arc::new(Self { domains, outlooks }))
    }

    /// None at all: the forecaster is off.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// The forecasts that stand at `seconds` after the start, one per domain: those made at the last whole
    /// minute. After the last minute it is that one's. Empty without a forecaster.
    #[must_use]
    pub fn at(&self, seconds: f64) -> &[Outlook] {
        let minutes = self.outlooks.len() / self.domains.max(1);
        let minute = minute(seconds).min(minutes.saturating_sub(1));
        &self.outlooks[minute * self.domains..(minute + 1) * self.domains]
    }

    /// The same with errors: all quantiles of a domain times one log-normal factor, whose logarithm glides with
    /// a deviation of `spread` half an hour ahead, and less by the square root of the time for the nearer
    /// horizons. It forgets itself within a quarter of an hour or two, and its median is 1.
    #[must_use]
    pub fn noisy(&self, seed: Seed, spread: f64) -> Self {
        let glide = |domain| Glide::new(seed.nth(domain as u64), NOISE_SECONDS);
        let mut glides: Vec<Glide> = (0..self.domains).map(glide).collect();
        let furthest = Forecast::HORIZONS.into_iter().fold(0.0, f64::max);
        self.changed(|minute, domain, horizon| {
            let error = glides[domain].at(minute as f64 * EVERY);
            (error * spread * (Forecast::HORIZONS[horizon] / furthest).sqrt()).exp()
        })
    }

    /// The same with every quantile times `factor`.
    #[must_use]
    pub fn biased(&self, factor: f64) -> Self {
        self.changed(|_, _, _| factor)
    }

    /// What nobody has: what is to come, announced or not, with a doubt of 5 %.
    #[must_use]
    pub fn known(scenario: &Scenario, seed: Seed) -> Arc<Self> {
        let mut traffic = super::Traffic::of_run(scenario, seed);
        let domain_of = scenario.domain_of();
        let mut rps = vec![0.0; scenario.apps.len()];
        let domains = scenario.domains.len();
        let mut expected = |seconds: f64| {
            traffic.expected(seconds, &mut rps);
            let mut sums = vec![0.0; domains];
            for (domain, rps) in domain_of.iter().zip(&rps) {
                sums[*domain] += rps;
            }
            sums
        };
        let mut outlooks = Vec::new();
        for minute in 0..=minute(scenario.duration_seconds) {
            let now = minute as f64 * EVERY;
            let level = expected(now);
            let then = Forecast::HORIZONS.map(|horizon| expected(now + horizon));
            let start = scenario.start.as_seconds();
            outlooks.extend((0..domains).map(|domain| {
                let around =
                    |then: &Vec<f64>| [0.936, 1.0, 1.042, 1.064].map(|it| it * then[domain]);
                let at = crate::cluster::Timestamp::from_seconds(start + now);
                let ahead = then.each_ref().map(around);
                let forecast = Some(Forecast { at, level: level[domain], ahead });
                Outlook { forecast, source: crate::cluster::ForecastSource::Model, why: None }
            }));
        }
        Arc::new(Self { domains, outlooks })
    }

    /// The same with the quantiles of a minute, domain and horizon times what `factor` says of them.
    fn changed(&self, mut factor: impl FnMut(usize, usize, usize) -> f64) -> Self {
        let mut changed = self.clone();
        for (place, outlook) in changed.outlooks.iter_mut().enumerate() {
            let (minute, domain) = (place / self.domains, place % self.domains);
            let quantiles = outlook.forecast.iter_mut().flat_map(|it| &mut it.ahead);
            for (horizon, quantiles) in quantiles.enumerate() {
                let factor = factor(minute, domain, horizon);
                for quantile in quantiles {
                    *quantile *= factor;
                }
            }
        }
        changed
    }
}

/// The minute of an instant after the start, from 0.
pub(super) fn minute(seconds: f64) -> usize {
    ((seconds + 1e-9) / EVERY).max(0.0) as usize
}

#[cfg(test)]
mod tests;
