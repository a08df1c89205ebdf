//! How long a pod takes from its node to full speed: image, containers, readiness, warm-up.

use rand_distr::{Distribution, LogNormal};

use super::Seed;
use super::scenario::{AppSpec, Constants, LogNormalSpec, StartSpec};

/// The start of the pods of one app.
#[derive(Debug, Clone, Copy)]
pub struct Startup {
    pull: LogNormal<f64>,
    container: LogNormal<f64>,
    readiness: LogNormal<f64>,
    warm_seconds: f64,
    cold_speed: f64,
    seed: Seed,
}

/// When one pod gets how far, in seconds after it was bound to its node.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Times {
    /// Its image is there.
    pub pulled: f64,
    /// Its containers run.
    pub started: f64,
    /// It is ready and gets requests.
    pub ready: f64,
    /// It is as fast as it will be.
    pub warm: f64,
}

impl Startup {
    /// From what the app and the platform state. `None` where they describe no distribution (a
    /// median that is not above 0, a sigma that is negative).
    #[must_use]
    pub fn new(app: &AppSpec, constants: &Constants, seed: Seed) -> Option<Self> {
        let StartSpec { ready_median_seconds, ready_sigma, warm_seconds, cold_speed } = app.start;
        let draw = |spec: LogNormalSpec| {
            let sound = spec.median > 0.0 && spec.sigma >= 0.0;
            sound.then(|| LogNormal::new(spec.median.ln(), spec.sigma).ok()).flatten()
        };
        Some(Self {
            pull: draw(constants.image_pull)?,
            container: draw(constants.container_start)?,
            readiness: draw(LogNormalSpec { median: ready_median_seconds, sigma: ready_sigma })?,
            warm_seconds,
            cold_speed,
            seed,
        })
    }

    /// The times of pod number `pod` of the app: the same for the same number, whatever else
    /// happens. With the image on its node it skips the pull; nothing else changes.
    #[must_use]
    pub fn times(&self, pod: u64, image_present: bool) -> Times {
        let mut rng = self.seed.nth(pod).rng();
        let container = self.container.sample(&mut rng);
        let readiness = self.readiness.sample(&mut rng);
        let pulled = if image_present { 0.0 } else { self.pull.sample(&mut rng) };
        let started = pulled + container;
        let ready = started + readiness;
        Times { pulled, started, ready, warm: ready + self.warm_seconds }
    }

    /// Speed of a pod that has been ready for this long, as a share of full speed.
    #[must_use]
    pub fn speed(&self, ready_seconds: f64) -> f64 {
        if ready_seconds >= self.warm_seconds {
            1.0
        } else {
            let part = ready_seconds.max(0.0) / self.warm_seconds;
            self.cold_speed + (1.0 - self.cold_speed) * part
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::scenario::{HpaSpec, MemorySpec};

    fn app(start: StartSpec) -> AppSpec {
        AppSpec {
            name: "checkout".into(),
            namespace: "payments".into(),
            domain: "payments".into(),
            class: None,
            pools: Vec::new(),
            rps: 1.0,
            call_weight: 1.0,
            traffic: None,
            noise: 0.0,
            noise_seconds: 60.0,
            workers: 4,
            service_seconds: 0.1,
            service_scv: 1.0,
            arrival_scv: 1.0,
            cpu_seconds: 0.1,
            idle_cpu: 0.0,
            timeout_seconds: 1.0,
            retries: 0,
            cpu_request: 1.0,
            cpu_limit: None,
            memory: MemorySpec::default(),
            start,
            initial_replicas: None,
            hpa: HpaSpec::default(),
        }
    }

    fn startup(start: StartSpec) -> Startup {
        Startup::new(&app(start), &Constants::default(), Seed::root(3)).unwrap()
    }

    #[test]
    fn starts_are_spread_as_the_constants_say() {
        let startup = startup(StartSpec { ready_median_seconds: 40.0, ..StartSpec::default() });
        let all: Vec<Times> = (0..20_000).map(|pod| startup.times(pod, false)).collect();
        let at = |of: &dyn Fn(&Times) -> f64, part: f64| {
            let mut values: Vec<f64> = all.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values[(values.len() as f64 * part) as usize]
        };
        for (name, value, expected) in [
            ("container, median", at(&|times| times.started - times.pulled, 0.5), 1.346),
            ("container, p99", at(&|times| times.started - times.pulled, 0.99), 29.4),
            ("pull, median", at(&|times| times.pulled, 0.5), 4.0),
            ("readiness, median", at(&|times| times.ready - times.started, 0.5), 40.0),
            // exp(0.4 x 1.645) above the median.
            ("readiness, p95", at(&|times| times.ready - times.started, 0.95), 77.2),
        ] {
            assert!((value / expected - 1.0).abs() < 0.08, "{name}: {value} against {expected}");
        }
    }

    #[test]
    fn an_image_that_is_there_saves_its_pull_and_nothing_else() {
        let startup = startup(StartSpec { warm_seconds: 30.0, ..StartSpec::default() });
        for pod in 0..100 {
            let (cold, there) = (startup.times(pod, false), startup.times(pod, true));
            assert_eq!(there.pulled, 0.0);
            assert!((cold.ready - cold.pulled - there.ready).abs() < 1e-9);
            assert!((there.warm - there.ready - 30.0).abs() < 1e-9);
            assert_eq!(startup.times(pod, false), cold, "the same number, the same times");
        }
    }

    #[test]
    fn a_cold_pod_gets_faster_in_a_line() {
        let cold = StartSpec { warm_seconds: 60.0, cold_speed: 0.4, ..StartSpec::default() };
        let speeds = [0.0, 30.0, 60.0, 90.0].map(|at| startup(cold).speed(at));
        for (speed, expected) in speeds.into_iter().zip([0.4, 0.7, 1.0, 1.0]) {
            assert!((speed - expected).abs() < 1e-9, "{speeds:?}");
        }
        assert_eq!(startup(StartSpec::default()).speed(0.0), 1.0);
    }

    #[test]
    fn what_is_no_distribution_is_refused() {
        for (median, sigma) in [(0.0, 0.4), (-1.0, 0.4), (1.0, -0.1), (f64::NAN, 0.4)] {
            let start = StartSpec {
                ready_median_seconds: median,
                ready_sigma: sigma,
                ..StartSpec::default()
            };
            let made = Startup::new(&app(start), &Constants::default(), Seed::root(3));
            assert!(made.is_none(), "{median} {sigma}");
        }
    }
}
