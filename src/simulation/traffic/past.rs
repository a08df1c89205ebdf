//! The traffic before the start, by the minute and by domain: what a forecaster has learned from.

use super::{Glide, Traffic, poisson};

/// Length of a minute in seconds.
const MINUTE: f64 = 60.0;

/// Noise that does not come from the shared one, of a domain as a whole.
#[derive(Debug, Clone, Copy)]
struct Apart {
    /// Deviation and course of what its apps' noises add up to, as a share of its traffic.
    apps: (f64, Glide),
    /// Deviation of the mean of a minute that is due to bursts, as a share of its traffic.
    bursts: f64,
}

impl Traffic {
    /// Requests per second of each domain in each of the `minutes` minutes before the start, the oldest first,
    /// as they would have been counted: patterns, calls and the domains' shared noise are those of
    /// [`Self::offered`]; the noise of the apps is drawn for the domain as a whole, with the deviation that
    /// theirs add up to. Events have not begun. `step_seconds` is how long one draw of a burst lasts.
    #[must_use]
    pub fn past(&self, minutes: usize, step_seconds: f64) -> Vec<Vec<f64>> {
        let lag = self.paths.iter().map(|path| path.lag_seconds).fold(0.0, f64::max);
        let before = (lag / MINUTE).ceil() as usize + 1;
        let own = self.own(minutes + before);
        let mut apart = self.apart(step_seconds);
        let domains = own.iter().zip(&mut apart).enumerate();
        domains
            .map(|(domain, (series, apart))| {
                let seed = self.past.nth(domain as u64);
                let paths = || self.paths.iter().filter(|path| path.to == domain);
                let minute = |place: usize| {
                    let called: f64 = paths()
                        .map(|path| {
                            let late = path.lag_seconds / MINUTE;
                            path.per_request * between(&own[path.from], place as f64 - late)
                        })
                        .sum();
                    let back = (minutes + before - place) as u64;
                    let middle = (0.5 - back as f64) * MINUTE;
                    let draw = seed.draw(back);
                    let (deviation, glide) = &mut apart.apps;
                    let apps = 1.0 + *deviation * glide.at(middle);
                    let bursts = 1.0 + apart.bursts * draw.next().gauss();
                    let mean = (series[place] + called) * (apps * bursts).max(0.0);
                    poisson(mean * MINUTE, draw) / MINUTE
                };
                (before..minutes + before).map(minute).collect()
            })
            .collect()
    }

    /// Own traffic of each domain, calls left out, in the middle of each of so many minutes before the start.
    fn own(&self, minutes: usize) -> Vec<Vec<f64>> {
        // Before any event, apps of one shape are one.
        let mut parts: Vec<Vec<(usize, f64)>> = vec![Vec::new(); self.shared.len()];
        for cohort in &self.cohorts {
            let parts = &mut parts[cohort.domain];
            match parts.iter_mut().find(|(shape, _)| *shape == cohort.shape) {
                Some((_, rps)) => *rps += cohort.rps,
                None => parts.push((cohort.shape, cohort.rps)),
            }
        }
        let mut shared = self.shared.clone();
        let mut shapes = vec![0.0; self.shapes.len()];
        let mut own = vec![Vec::with_capacity(minutes); self.shared.len()];
        for minute in 0..minutes {
            let middle = (minute as f64 + 0.5 - minutes as f64) * MINUTE;
            for (level, shape) in shapes.iter_mut().zip(&self.shapes) {
                *level = shape.at(middle);
            }
            for ((own, parts), (noise, glide)) in own.iter_mut().zip(&parts).zip(&mut shared) {
                let rps: f64 = parts.iter().map(|(shape, rps)| rps * shapes[*shape]).sum();
                let noise = if *noise > 0.0 { 1.0 + *noise * glide.at(middle) } else { 1.0 };
                own.push(rps * noise.max(0.0));
            }
        }
        own
    }

    /// Requests per second of each app where every shape stands at 1, without events, calls included.
    pub(in crate::simulation) fn usual(&self) -> Vec<f64> {
        let mut own = vec![0.0; self.shared.len()];
        for cohort in &self.cohorts {
            own[cohort.domain] += cohort.rps;
        }
        let mut called = vec![0.0; self.shared.len()];
        for path in &self.paths {
            called[path.to] += path.per_request * own[path.from];
        }
        self.apps.iter().map(|app| app.rps + app.call_share * called[app.domain]).collect()
    }

    fn apart(&self, step_seconds: f64) -> Vec<Apart> {
        #[derive(Clone, Copy, Default)]
        struct Sum {
            rps: f64,
            noise: f64,
            bursts: f64,
            periods: f64,
        }
        let mut sums = vec![Sum::default(); self.shared.len()];
        for (app, rps) in self.apps.iter().zip(self.usual()) {
            let sum = &mut sums[app.domain];
            sum.rps += rps;
            sum.noise += (rps * app.noise).powi(2);
            sum.bursts += (rps * app.burstiness).powi(2);
            sum.periods += (rps * app.noise).powi(2) * app.glide.period();
        }
        let steps = (MINUTE / step_seconds).max(1.0);
        let each = sums.into_iter().enumerate();
        each.map(|(domain, sum)| {
            let share = |square: f64| if sum.rps > 0.0 { square.sqrt() / sum.rps } else { 0.0 };
            let period = if sum.noise > 0.0 { sum.periods / sum.noise } else { 0.0 };
            let seed = self.past.child("apps").nth(domain as u64);
            Apart {
                apps: (share(sum.noise), Glide::new(seed, period)),
                bursts: share(sum.bursts / steps),
            }
        })
        .collect()
    }
}

/// The value at a place between two others, which are there.
fn between(values: &[f64], place: f64) -> f64 {
    let left = place.floor();
    let value = |at: f64| values.get(at as usize).copied().unwrap_or(0.0);
    value(left) + (value(left + 1.0) - value(left)) * (place - left)
}
