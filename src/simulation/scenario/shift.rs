//! Worlds that differ from those that a policy was trained and tuned on, in one thing each.

use std::fmt;
use std::str::FromStr;

use super::{AppSpec, FaultKind, FaultSpec, Scenario};
use crate::seed::Seed;

/// One such difference (`learning.md` 1.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shift {
    /// New nodes take three times as long.
    Boot,
    /// Every measurement comes a minute later.
    Lag,
    /// Half as much traffic again, with the same pools and quotas.
    Load,
    /// Six times the traffic with six times the pools, quotas and bounds: apps as large as those of 1,550 that have
    /// 100,000 pods.
    Size,
    /// Every app as often as makes 1,550 of them, the pools and quotas as much larger: as many as the system has to lead.
    Count,
    /// A tenth of the nodes of every shared pool is lost halfway.
    Nodes,
    /// A fifth of the apps is replaced by others, of which nothing was known.
    Apps,
    /// The forecaster is off.
    ForecastOff,
    /// The forecaster expects twice of what it would.
    ForecastTwice,
    /// The forecaster knows the traffic that is to come, announced or not: what better forecasts could bring at
    /// the most.
    ForecastKnown,
}

/// What a shift does to forecasts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Forecasting {
    /// Nothing.
    AsItIs,
    /// There are none.
    Off,
    /// All of them times this.
    Times(f64),
    /// What really comes.
    Known,
}

/// Part of the apps that [`Shift::Apps`] replaces.
const REPLACED: f64 = 0.2;

/// How much larger everything is in [`Shift::Size`].
const SIZE: u32 = 6;

/// Apps that [`Shift::Count`] comes to, about.
const COUNT: f64 = 1550.0;

impl Shift {
    /// Every one.
    pub const ALL: [Self; 10] = [
        Self::Boot,
        Self::Lag,
        Self::Load,
        Self::Size,
        Self::Count,
        Self::Nodes,
        Self::Apps,
        Self::ForecastOff,
        Self::ForecastTwice,
        Self::ForecastKnown,
    ];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Boot => "boot-x3",
            Self::Lag => "lag-60s",
            Self::Load => "load-x1.5",
            Self::Size => "size-x6",
            Self::Count => "apps-1550",
            Self::Nodes => "nodes-lost",
            Self::Apps => "apps-replaced",
            Self::ForecastOff => "forecast-off",
            Self::ForecastTwice => "forecast-x2",
            Self::ForecastKnown => "forecast-known",
        }
    }

    /// What becomes of the forecasts.
    #[must_use]
    pub const fn forecasting(self) -> Forecasting {
        match self {
            Self::ForecastOff => Forecasting::Off,
            Self::ForecastTwice => Forecasting::Times(2.0),
            Self::ForecastKnown => Forecasting::Known,
            _ => Forecasting::AsItIs,
        }
    }

    /// Puts a scenario into this world. The seed draws which apps are replaced, and by what.
    pub fn apply(self, scenario: &mut Scenario, seed: Seed) {
        match self {
            Self::Boot => scenario.constants.node_start.median *= 3.0,
            Self::Lag => {
                let telemetry = &mut scenario.telemetry;
                for lag in [&mut telemetry.resource_lag, &mut telemetry.prometheus_lag] {
                    lag.low += 60.0;
                    lag.high += 60.0;
                }
            }
            Self::Load => scenario.apps.iter_mut().for_each(|app| app.rps *= 1.5),
            Self::Size => enlarge(scenario, SIZE),
            Self::Count => multiply(scenario, COUNT),
            Self::Nodes => {
                let counted = scenario.duration_seconds - scenario.warm_up_seconds;
                let lost = |pool: &super::PoolSpec| FaultSpec {
                    start_seconds: scenario.warm_up_seconds + 0.5 * counted,
                    duration_seconds: 0.0,
                    fault: FaultKind::NodeLoss { pool: pool.name.clone(), share: 0.1, zone: None },
                };
                let faults: Vec<FaultSpec> =
                    scenario.pools.iter().filter(|pool| pool.shared).map(lost).collect();
                scenario.faults.extend(faults);
            }
            Self::Apps => replace(scenario, seed.child("replaced")),
            Self::ForecastOff | Self::ForecastTwice | Self::ForecastKnown => {}
        }
    }
}

fn enlarge(scenario: &mut Scenario, factor: u32) {
    for app in &mut scenario.apps {
        app.rps *= f64::from(factor);
        app.hpa.max_replicas = app.hpa.max_replicas.saturating_mul(factor);
    }
    enlarge_pools(scenario, factor);
}

fn enlarge_pools(scenario: &mut Scenario, factor: u32) {
    for pool in &mut scenario.pools {
        for nodes in [&mut pool.nodes, &mut pool.min_nodes, &mut pool.max_nodes] {
            *nodes = nodes.saturating_mul(factor);
        }
    }
}

/// Every app as often as comes closest to so many of them, the pools and quotas as much larger.
///
/// Copies stand beside each other, so that the first apps of a reach are copies of the same ones.
pub fn multiply(scenario: &mut Scenario, apps: f64) {
    let factor = (apps / scenario.apps.len().max(1) as f64).round().max(1.0) as u32;
    let copies = |app: &AppSpec| {
        let app = app.clone();
        (0..factor)
            .map(move |copy| AppSpec { name: format!("{}-{copy:03}", app.name), ..app.clone() })
    };
    scenario.apps = scenario.apps.iter().flat_map(copies).collect();
    enlarge_pools(scenario, factor);
    let dependencies = scenario.faults.iter_mut().filter_map(|fault| match &mut fault.fault {
        FaultKind::Dependency { reach, .. } | FaultKind::Crash { reach, .. } => Some(reach),
        _ => None,
    });
    let reaches = scenario.events.iter_mut().map(|event| &mut event.reach).chain(dependencies);
    for limit in reaches.filter_map(|reach| reach.limit.as_mut()) {
        *limit = limit.saturating_mul(factor);
    }
}

/// Other apps under the names of some: each costs, takes and starts between half and twice as much, and has as
/// much traffic as gives it the same load, so that pools and quotas still fit.
fn replace(scenario: &mut Scenario, seed: Seed) {
    for (index, app) in scenario.apps.iter_mut().enumerate() {
        let seed = seed.nth(index as u64);
        if seed.draw(0).uniform() >= REPLACED {
            continue;
        }
        let factor = |number: u64| 4.0_f64.powf(seed.draw(number).uniform() - 0.5);
        let (cost, start) = (factor(1), factor(2));
        app.cpu_seconds *= cost;
        app.service_seconds *= cost;
        app.rps /= cost;
        app.call_weight /= cost;
        app.start.ready_median_seconds *= start;
        app.noise_seconds *= factor(3);
    }
}

impl fmt::Display for Shift {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl FromStr for Shift {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|shift| shift.as_str() == text).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|shift| shift.as_str()).collect();
            format!("there is no shift {text:?}; there are {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::scenario::families;

    #[test]
    fn every_shift_is_read_by_its_name_and_changes_one_thing() {
        let plain = families::generate(6, Seed::root(1)).unwrap();
        for shift in Shift::ALL {
            assert_eq!(shift.to_string().parse::<Shift>().unwrap(), shift);
            let mut shifted = plain.clone();
            shift.apply(&mut shifted, Seed::root(1));
            assert_eq!(shifted == plain, shift.forecasting() != Forecasting::AsItIs, "{shift}");
            let mut again = plain.clone();
            shift.apply(&mut again, Seed::root(1));
            assert_eq!(shifted, again, "{shift}");
        }
        assert!("boot-x4".parse::<Shift>().unwrap_err().contains("boot-x3"));
    }

    #[test]
    fn as_many_apps_as_a_bank_has_need_as_much_of_everything() {
        let plain = families::generate(6, Seed::root(1)).unwrap();
        let mut shifted = plain.clone();
        Shift::Count.apply(&mut shifted, Seed::root(1));
        let factor = shifted.apps.len() as f64 / plain.apps.len() as f64;
        assert!((1400..1700).contains(&shifted.apps.len()), "{}", shifted.apps.len());
        let rps = |scenario: &Scenario| scenario.apps.iter().map(|app| app.rps).sum::<f64>();
        assert!((rps(&shifted) / rps(&plain) - factor).abs() < 1e-9);
        let nodes = |scenario: &Scenario| f64::from(scenario.pools[0].max_nodes);
        assert_eq!(nodes(&shifted) / nodes(&plain), factor);
        let mut names: Vec<_> =
            shifted.apps.iter().map(|app| (&app.namespace, &app.name)).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), shifted.apps.len());
    }

    #[test]
    fn about_a_fifth_of_the_apps_is_replaced_by_others_of_the_same_load() {
        let plain = families::generate(6, Seed::root(1)).unwrap();
        let mut shifted = plain.clone();
        Shift::Apps.apply(&mut shifted, Seed::root(1));
        let apps = || plain.apps.iter().zip(&shifted.apps);
        let replaced = apps().filter(|(one, other)| one != other).count() as f64;
        let share = replaced / plain.apps.len() as f64;
        assert!((0.05..0.4).contains(&share), "{share}");
        for (one, other) in apps() {
            let load = |app: &AppSpec| app.rps * app.cpu_seconds;
            assert!((load(one) - load(other)).abs() < 1e-9 * load(one).max(1.0));
        }
    }
}
