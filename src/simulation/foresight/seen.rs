//! What telemetry shows of the traffic that is offered to each domain.

use std::sync::Arc;

use crate::cluster::Timestamp;
use crate::forecast::LEAST_OBSERVED;
use crate::simulation::broken::Broken;
use crate::simulation::scenario::Scenario;
use crate::simulation::traffic::{Traffic, poisson};
use crate::simulation::{Draw, Seed};

/// The newest reading of each domain: when it was measured, and requests per second.
pub(super) type Readings = Vec<Option<(Timestamp, f64)>>;

/// A domain is measured as a whole: at the mean age of its apps' samples, and not at all in a step in which more
/// than half of their answers are missing.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    scenario: Arc<Scenario>,
    traffic: Traffic,
    seed: Seed,
    /// Steps that are over.
    steps: u64,
    domain_of: Vec<usize>,
    /// Apps per domain.
    apps: Vec<f64>,
    /// The step whose traffic was seen last.
    shown: Option<u64>,
    /// Scratch: requests per second per app.
    rps: Vec<f64>,
}

impl Seen {
    pub(super) fn new(scenario: &Arc<Scenario>, traffic: Traffic, seed: Seed) -> Self {
        let domain_of = scenario.domain_of();
        let mut apps = vec![0.0; scenario.domains.len()];
        for domain in &domain_of {
            apps[*domain] += 1.0;
        }
        Self {
            traffic,
            seed,
            steps: 0,
            domain_of,
            apps,
            shown: None,
            rps: vec![0.0; scenario.apps.len()],
            scenario: Arc::clone(scenario),
        }
    }

    /// Seconds from the start to the next look.
    pub(super) fn next(&self) -> f64 {
        self.steps as f64 * self.scenario.step_seconds
    }

    /// What is seen after the next step, and when; the first look is at the start. Nothing new: `None`.
    pub(super) fn look(&mut self) -> Option<(Timestamp, Readings)> {
        let (now, length) = (self.next(), self.scenario.step_seconds);
        self.steps += 1;
        // What the control plane sees between two steps was broken or whole in the step before.
        let broken = Broken::during(&self.scenario, now - length);
        if broken.prometheus {
            return None;
        }
        let lag = self.scenario.telemetry.prometheus_lag.at(0.5) + broken.lag;
        // The step that ended last by then: its end is the instant of the sample.
        let ended = ((now - lag) / length).floor();
        if ended < 1.0 || self.shown == Some(ended as u64) {
            return None;
        }
        self.shown = Some(ended as u64);
        self.traffic.offered((ended - 1.0) * length, length, &mut self.rps);
        let mut sums = vec![0.0; self.apps.len()];
        for (domain, rps) in self.domain_of.iter().zip(&self.rps) {
            sums[*domain] += rps;
        }
        let taken = self.instant(ended * length);
        let readings = sums.into_iter().enumerate().map(|(domain, rps)| {
            let draw = self.seed.nth(domain as u64).draw(ended as u64);
            self.answer(domain, rps, &broken, draw).map(|rps| (taken, rps))
        });
        let readings = readings.collect();
        Some((self.instant(now), readings))
    }

    /// What the answers about the apps of a domain add up to; `None` where too few came.
    fn answer(&self, domain: usize, rps: f64, broken: &Broken, draw: Draw) -> Option<f64> {
        let (telemetry, apps) = (self.scenario.telemetry, self.apps[domain]);
        let missing = telemetry.lost + broken.lost + telemetry.nan + broken.nan;
        let missing = poisson(missing * apps, draw).min(apps);
        let noise = telemetry.noise / apps.max(1.0).sqrt() * draw.next().gauss();
        let came = apps - missing;
        (came > 0.0 && came >= LEAST_OBSERVED * apps).then(|| rps * (1.0 + noise).max(0.0))
    }

    fn instant(&self, seconds: f64) -> Timestamp {
        let start = self.scenario.start.as_millis();
        Timestamp::from_millis(start + (seconds * 1000.0).round() as i64)
    }
}
