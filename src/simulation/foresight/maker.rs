//! Makes the forecasts, a minute after the other.

use std::sync::Arc;

use super::EVERY;
use super::announced::calendar;
use super::seen::Seen;
use crate::cluster::{Outlook, Timestamp};
use crate::forecast::{DAY, Forecaster, History, Minute, Model, Series};
use crate::simulation::scenario::Scenario;
use crate::simulation::{Seed, Traffic};

/// Minutes of the past that are known at the start: as many as the forecaster keeps.
const PAST: usize = 8 * DAY;

/// The forecaster, and what it sees.
#[derive(Debug, Clone)]
pub(in crate::simulation) struct Maker {
    forecaster: Forecaster,
    seen: Seen,
    start: Timestamp,
    /// Minutes whose forecasts are made.
    made: usize,
}

impl Maker {
    /// A forecaster that knows the past and has forecast nothing. `Err` is one sentence.
    pub(in crate::simulation) fn new(scenario: &Arc<Scenario>, seed: Seed) -> Result<Self, String> {
        let model = Model::builtin(Model::DEFAULT).map_err(|error| error.to_string())?;
        // The traffic of the simulation of this seed.
        let traffic = Traffic::of_run(scenario, seed);
        let domains: Vec<_> =
            scenario.domains.iter().map(|domain| (domain.name.clone(), domain.class)).collect();
        let calendar = calendar(scenario, &traffic);
        let mut forecaster = Forecaster::new(&domains, calendar, Some(Arc::new(model)));
        let series = traffic.past(PAST, scenario.step_seconds).into_iter().zip(domains);
        let series = series.map(|(rps, (name, class))| Series {
            name,
            class,
            rps: rps.into_iter().map(|rps| rps as f32).collect(),
        });
        forecaster.seed_history(&History {
            start: scenario.start.as_millis().div_euclid(60_000) - PAST as Minute,
            series: series.collect(),
        });
        Ok(Self {
            forecaster,
            seen: Seen::new(scenario, traffic, seed.child("foresight")),
            start: scenario.start,
            made: 0,
        })
    }

    /// How many minutes are made.
    pub(in crate::simulation) const fn made(&self) -> usize {
        self.made
    }

    /// The forecasts of the next minute, one per domain.
    pub(in crate::simulation) fn make(&mut self) -> Vec<Outlook> {
        let seconds = self.made as f64 * EVERY;
        while self.seen.next() <= seconds + 1e-9 {
            if let Some((at, readings)) = self.seen.look() {
                self.forecaster.observe(at, &readings);
            }
        }
        self.made += 1;
        let now = self.start.as_millis() + (seconds * 1000.0) as i64;
        self.forecaster.forecast(Timestamp::from_millis(now))
    }
}
