//! Requests that are offered to each app: patterns, events, calls between domains, and noise.
//!
//! The traffic is a function of the instant: asking twice, or out of order, gives the same
//! numbers, and no policy can change what is offered to it. Retries are not in here: they are made
//! by the queues, which know what failed. Calls follow what is *offered* to the caller.

mod noise;
mod past;
mod shape;

use noise::gamma;
pub(super) use noise::{Glide, poisson};
use shape::{Bump, Shape};

use super::Seed;
use super::scenario::{Path, Pattern, Scenario};

/// Apps whose own traffic has the same shape.
#[derive(Debug, Clone)]
struct Cohort {
    domain: usize,
    shape: usize,
    events: Vec<usize>,
    /// Requests per second where the shape stands at 1.
    rps: f64,
}

#[derive(Debug, Clone)]
struct AppTraffic {
    cohort: usize,
    domain: usize,
    rps: f64,
    /// Its part of the calls to its domain, 0 to 1.
    call_share: f64,
    noise: f64,
    burstiness: f64,
    glide: Glide,
    counts: Seed,
}

/// The traffic of one run.
#[derive(Debug, Clone)]
pub struct Traffic {
    shapes: Vec<Shape>,
    bumps: Vec<Bump>,
    cohorts: Vec<Cohort>,
    paths: Vec<Path>,
    /// Per domain: deviation and course of the shared noise.
    shared: Vec<(f64, Glide)>,
    apps: Vec<AppTraffic>,
    /// Of the noise before the start.
    past: Seed,
    /// Scratch: factor per cohort, called requests per second per domain.
    factors: Vec<f64>,
    called: Vec<f64>,
}

impl Traffic {
    /// The traffic of a scenario that was checked; domains that it does not have count as the
    /// first.
    #[must_use]
    pub fn new(scenario: &Scenario, seed: Seed) -> Self {
        let domain_of: Vec<usize> = scenario.domain_of();
        let touched: Vec<Vec<bool>> =
            scenario.events.iter().map(|event| event.reach.apps(scenario)).collect();
        let mut traffic = Self {
            shapes: Vec::new(),
            bumps: scenario.events.iter().map(Bump::new).collect(),
            cohorts: Vec::new(),
            paths: scenario.paths(),
            shared: scenario
                .domains
                .iter()
                .map(|domain| {
                    let seed = seed.child("domain").child(&domain.name);
                    (domain.noise, Glide::new(seed, domain.noise_seconds))
                })
                .collect(),
            apps: Vec::with_capacity(scenario.apps.len()),
            past: seed.child("past"),
            factors: Vec::new(),
            called: vec![0.0; scenario.domains.len()],
        };
        let call_shares = scenario.call_shares();
        // Pattern of each shape, so that equal ones are computed once.
        let mut patterns: Vec<&Pattern> = Vec::new();
        for (index, (app, domain)) in scenario.apps.iter().zip(&domain_of).enumerate() {
            let pattern = app.traffic.as_ref().unwrap_or(&scenario.domains[*domain].traffic);
            let shape = traffic.shape(&mut patterns, pattern, scenario);
            let events = (0..touched.len()).filter(|event| touched[*event][index]).collect();
            let cohort = traffic.cohort(*domain, shape, events);
            traffic.cohorts[cohort].rps += app.rps;
            let seed = seed.child("app").child(&app.namespace).child(&app.name);
            traffic.apps.push(AppTraffic {
                cohort,
                domain: *domain,
                rps: app.rps,
                call_share: call_shares[index],
                noise: app.noise,
                burstiness: traffic.shapes[shape].burstiness(),
                glide: Glide::new(seed.child("noise"), app.noise_seconds),
                counts: seed.child("counts"),
            });
        }
        traffic.factors = vec![0.0; traffic.cohorts.len()];
        traffic
    }

    /// That of the run with this seed: the same in the simulator and for whoever knows or foresees it.
    #[must_use]
    pub fn of_run(scenario: &Scenario, seed: Seed) -> Self {
        Self::new(scenario, seed.child("traffic"))
    }

    /// Requests per second that are offered to each app between `from_seconds` after the start and
    /// `step_seconds` later, in the order of the scenario: what arrives is a whole number of
    /// requests. The same instant and length of step give the same numbers; another length gives
    /// other counts of the same traffic. Allocates nothing. Apps beyond the end of `out` are left out.
    pub fn offered(&mut self, from_seconds: f64, step_seconds: f64, out: &mut [f64]) {
        if step_seconds <= 0.0 {
            out.fill(0.0);
            return;
        }
        let middle = from_seconds + step_seconds / 2.0;
        self.prepare(middle, true);
        // Milliseconds: steps are never shorter.
        let step = (from_seconds * 1000.0).round() as i64 as u64;
        for (app, out) in self.apps.iter_mut().zip(out) {
            let mean =
                app.rps * self.factors[app.cohort] + app.call_share * self.called[app.domain];
            let noise = if app.noise > 0.0 {
                (1.0 + app.noise * app.glide.at(middle)).max(0.0)
            } else {
                1.0
            };
            let draw = app.counts.draw(step);
            let bursts = gamma(app.burstiness, draw.next());
            *out = poisson(mean * noise * bursts * step_seconds, draw) / step_seconds;
        }
    }

    /// Requests per second that are expected of each app at `at_seconds`, unannounced events
    /// included and without any noise: for starting sizes, and for policies that may know all.
    pub fn expected(&mut self, at_seconds: f64, out: &mut [f64]) {
        self.prepare(at_seconds, false);
        for (app, out) in self.apps.iter().zip(out) {
            *out = app.rps * self.factors[app.cohort] + app.call_share * self.called[app.domain];
        }
    }

    /// Fills the factors of the cohorts and the calls to the domains at an instant.
    fn prepare(&mut self, seconds: f64, noisy: bool) {
        for index in 0..self.cohorts.len() {
            self.factors[index] = self.factor(index, seconds, noisy);
        }
        self.called.fill(0.0);
        for index in 0..self.paths.len() {
            let path = self.paths[index];
            let at = seconds - path.lag_seconds;
            let mut own = 0.0;
            for cohort in 0..self.cohorts.len() {
                if self.cohorts[cohort].domain == path.from {
                    own += self.cohorts[cohort].rps * self.factor(cohort, at, noisy);
                }
            }
            self.called[path.to] += path.per_request * own;
        }
    }

    fn factor(&mut self, cohort: usize, seconds: f64, with_noise: bool) -> f64 {
        let cohort = &self.cohorts[cohort];
        let events: f64 =
            cohort.events.iter().map(|event| self.bumps[*event].at(seconds)).product();
        let (noise, glide) = &mut self.shared[cohort.domain];
        let shared = if with_noise && *noise > 0.0 {
            (1.0 + *noise * glide.at(seconds)).max(0.0)
        } else {
            1.0
        };
        self.shapes[cohort.shape].at(seconds) * events * shared
    }

    fn shape<'a>(
        &mut self,
        patterns: &mut Vec<&'a Pattern>,
        pattern: &'a Pattern,
        scenario: &Scenario,
    ) -> usize {
        if let Some(known) = patterns.iter().position(|known| *known == pattern) {
            return known;
        }
        patterns.push(pattern);
        self.shapes.push(Shape::new(pattern, scenario.start));
        patterns.len() - 1
    }

    fn cohort(&mut self, domain: usize, shape: usize, events: Vec<usize>) -> usize {
        let known = self.cohorts.iter().position(|cohort| {
            cohort.domain == domain && cohort.shape == shape && cohort.events == events
        });
        known.unwrap_or_else(|| {
            self.cohorts.push(Cohort { domain, shape, events, rps: 0.0 });
            self.cohorts.len() - 1
        })
    }
}

#[cfg(test)]
mod tests;
