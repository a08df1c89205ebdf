//! From what a person wrote to a complete scenario: groups become apps, distributions numbers.

use rand_distr::{Distribution, LogNormal, StandardUniform};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::text::{AppText, Document, Drawn, Error, Located, Spread};
use super::{AppSpec, CallSpec, DomainSpec, HpaSpec, Scenario, StartSpec};
use crate::simulation::Seed;

/// Apps of all groups together.
const MOST_APPS: u64 = 100_000;

impl Document {
    /// Draws what is open and checks the result. The same document and seed give the same
    /// scenario; a group draws the same whatever other groups there are.
    pub fn expand(&self, origin: &str, seed: Seed) -> Result<Scenario, Error> {
        let error = |line: Option<u64>, sentence| Error {
            origin: origin.to_owned(),
            line: line.filter(|line| *line > 0),
            sentence,
        };
        let wanted: u64 = self.apps.iter().map(|app| u64::from(app.value.count.unwrap_or(1))).sum();
        if wanted > MOST_APPS {
            let sentence = format!("at most {MOST_APPS} apps are possible, not {wanted}");
            return Err(error(None, sentence));
        }
        let domains: Vec<DomainSpec> = plain(&self.domains);
        let mut apps: Vec<(usize, AppSpec)> = Vec::with_capacity(wanted as usize);
        for (entry, app) in self.apps.iter().enumerate() {
            let slo = domains
                .iter()
                .find(|domain| domain.name == app.value.domain)
                .map_or(1.0, |domain| domain.slo_p99_seconds);
            let group = app
                .value
                .expand(slo, seed.child("group").child(&app.value.domain).child(&app.value.name))
                .map_err(|what| {
                    error(Some(app.line), format!("app {:?}: {what}", app.value.name))
                })?;
            apps.extend(group.into_iter().map(|app| (entry, app)));
        }
        // Entries of the same name draw the same; that they clash is found by `validate`.
        apps.sort_by(|(_, a), (_, b)| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        let entries: Vec<usize> = apps.iter().map(|(entry, _)| *entry).collect();
        let mut scenario = Scenario {
            name: self.name.clone(),
            description: self.description.trim().to_owned(),
            level: self.level,
            start: self.start,
            duration_seconds: self.duration_seconds,
            warm_up_seconds: self.warm_up_seconds,
            step_seconds: self.step_seconds,
            domains,
            apps: apps.into_iter().map(|(_, app)| app).collect(),
            pools: plain(&self.pools),
            calls: plain::<CallSpec>(&self.calls),
            events: plain(&self.events),
            faults: plain(&self.faults),
            telemetry: self.telemetry.value,
            controller: self.controller.value,
            constants: self.constants.value,
        };
        // Bounds of HPAs follow from the calls, which must be sound for it.
        scenario
            .validate()
            .map_err(|flaw| error(self.line(flaw.place, &entries), flaw.sentence))?;
        scenario.bound(&entries, &self.apps);
        Ok(scenario)
    }
}

fn plain<T: Clone>(items: &[Located<T>]) -> Vec<T> {
    items.iter().map(|item| item.value.clone()).collect()
}

impl AppText {
    fn expand(&self, slo_p99_seconds: f64, seed: Seed) -> Result<Vec<AppSpec>, String> {
        if self.cpu_limit.is_some() && self.cpu_limit_factor.is_some() {
            return Err("cpuLimit and cpuLimitFactor say the same: give one".to_owned());
        }
        let count = self.count.unwrap_or(1);
        let mut apps = Vec::with_capacity(count as usize);
        for number in 0..count {
            let mut rng = seed.nth(u64::from(number)).rng();
            let mut draw =
                |name: &str, spread: Spread| {
                    spread.draw(&mut rng).ok_or_else(|| {
                format!("{name} needs bounds in order, or a median above 0 and a sigma of 0 to 5")
            })
                };
            // The order of these lines is part of what a seed means.
            let rps = draw("rps", self.rps)?;
            let call_weight = draw("callWeight", self.call_weight)?;
            let service_seconds = draw("serviceSeconds", self.service_seconds)?;
            let service_scv = draw("serviceScv", self.service_scv)?;
            let arrival_scv = draw("arrivalScv", self.arrival_scv)?;
            let busy_cpu = draw("busyCpu", self.busy_cpu)?;
            let cpu_request = draw("cpuRequest", self.cpu_request)?;
            let ready = draw("start.readyMedianSeconds", self.start.ready_median_seconds)?;
            let cpu_seconds = match self.cpu_seconds {
                Some(spread) => draw("cpuSeconds", spread)?,
                None => busy_cpu * cpu_request * service_seconds / f64::from(self.workers),
            };
            apps.push(AppSpec {
                name: match self.count {
                    Some(_) => format!("{}-{number:04}", self.name),
                    None => self.name.clone(),
                },
                namespace: self.namespace.as_ref().unwrap_or(&self.domain).clone(),
                domain: self.domain.clone(),
                class: self.class,
                pools: self.pools.clone(),
                rps,
                call_weight,
                traffic: self.traffic.clone(),
                noise: self.noise,
                noise_seconds: self.noise_seconds,
                workers: self.workers,
                service_seconds,
                service_scv,
                arrival_scv,
                cpu_seconds,
                idle_cpu: self.idle_cpu,
                timeout_seconds: self.timeout_seconds.unwrap_or(5.0 * slo_p99_seconds),
                retries: self.retries,
                cpu_request,
                cpu_limit: self
                    .cpu_limit_factor
                    .map_or(self.cpu_limit, |factor| Some(factor * cpu_request)),
                memory: self.memory,
                start: StartSpec {
                    ready_median_seconds: ready,
                    ready_sigma: self.start.ready_sigma,
                    warm_seconds: self.start.warm_seconds,
                    cold_speed: self.start.cold_speed,
                },
                initial_replicas: self.initial_replicas,
                hpa: self.hpa(),
            });
        }
        self.scale(&mut apps)?;
        Ok(apps)
    }

    /// Makes the sum of `rps` what was asked for.
    fn scale(&self, apps: &mut [AppSpec]) -> Result<(), String> {
        let Some(total) = self.total_rps else { return Ok(()) };
        let sum: f64 = apps.iter().map(|app| app.rps).sum();
        if !(total >= 0.0 && total.is_finite()) {
            return Err(format!("totalRps must be 0 or more, not {total}"));
        }
        if sum <= 0.0 && total > 0.0 {
            return Err("totalRps needs an rps above 0 to divide it by".to_owned());
        }
        for app in apps {
            app.rps *= if sum > 0.0 { total / sum } else { 0.0 };
        }
        Ok(())
    }

    fn hpa(&self) -> HpaSpec {
        let text = &self.hpa;
        let max_replicas = text.max_replicas.unwrap_or(u32::MAX);
        HpaSpec {
            min_replicas: text.min_replicas.unwrap_or(2.min(max_replicas)),
            // An open bound is put in by `bound`, when all traffic is known.
            max_replicas: text.max_replicas.unwrap_or(text.min_replicas.unwrap_or(2)),
            target_cpu: text.target_cpu,
            target_memory: text.target_memory,
            tolerance_up: text.tolerance_up,
            tolerance_down: text.tolerance_down,
            scale_up: text.scale_up.clone(),
            scale_down: text.scale_down.clone(),
        }
    }
}

impl Spread {
    /// One number; `None` when the distribution makes no sense.
    fn draw(self, rng: &mut Xoshiro256PlusPlus) -> Option<f64> {
        match self {
            Self::Same(value) => Some(value),
            Self::Drawn(Drawn::Uniform(range)) => {
                let part: f64 = StandardUniform.sample(rng);
                let sound = range.low.is_finite() && range.high.is_finite();
                (sound && range.low <= range.high).then(|| range.at(part))
            }
            Self::Drawn(Drawn::LogNormal(spec)) => {
                if !(spec.median > 0.0 && (0.0..=5.0).contains(&spec.sigma)) {
                    return None;
                }
                LogNormal::new(spec.median.ln(), spec.sigma).ok().map(|normal| normal.sample(rng))
            }
        }
    }
}

impl Scenario {
    /// Puts in the upper bounds that the text left open.
    fn bound(&mut self, entries: &[usize], texts: &[Located<AppText>]) {
        let called = self.called_rps();
        let places = self.domain_of().into_iter().zip(self.call_shares());
        for ((app, (domain, share)), entry) in self.apps.iter_mut().zip(places).zip(entries) {
            if texts[*entry].value.hpa.max_replicas.is_some() {
                continue;
            }
            let needed = app.replicas_for(app.rps + share * called[domain]);
            app.hpa.max_replicas =
                (6.0 * needed).clamp(10.0, 50_000.0).max(f64::from(app.hpa.min_replicas)) as u32;
        }
    }

    /// Requests per second that each domain gets from others where every pattern stands at 1.
    fn called_rps(&self) -> Vec<f64> {
        let mut own = vec![0.0; self.domains.len()];
        for app in &self.apps {
            if let Some(domain) = self.domain(&app.domain) {
                own[domain] += app.rps;
            }
        }
        let mut called = vec![0.0; self.domains.len()];
        for path in self.paths() {
            called[path.to] += path.per_request * own[path.from];
        }
        called
    }
}

impl AppSpec {
    /// Pods that a CPU target asks for at this traffic, at least 1, whole.
    #[must_use]
    pub fn replicas_for(&self, rps: f64) -> f64 {
        let per_pod = self.hpa.target_cpu * self.cpu_request - self.idle_cpu;
        // A target below the idle use can never be met; the request itself then serves.
        let per_pod = if per_pod > 0.0 { per_pod } else { self.cpu_request };
        (rps * self.cpu_seconds / per_pod).ceil().max(1.0)
    }
}
