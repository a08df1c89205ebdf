//! Turns each published decision into our own metrics.

use std::time::Duration;

use crate::cluster::{Forecast, ForecastSource, Outlook};
use crate::instruments::{AppLabel, DomainLabel, DomainNameLabel, Instruments};
use crate::instruments::{QuantileLabel, SourceLabel};
use crate::safety::{AppDecision, Decision, Rung};

/// Exports `decision`, which follows `before`.
pub(super) fn set(
    instruments: &Instruments,
    before: Option<&Decision>,
    decision: &Decision,
    age: Duration,
) {
    instruments.decisions.inc();
    instruments.epoch.set(i64::try_from(decision.epoch).unwrap_or(i64::MAX));
    let same_apps = before.filter(|before| before.catalog == decision.catalog);
    if same_apps.is_none() {
        forget(instruments);
    }
    for (index, domain) in decision.catalog.domains.iter().enumerate() {
        let decided = &decision.domains[index];
        let label = DomainLabel { domain: domain.name.clone() };
        let named = |name| DomainNameLabel { domain: domain.name.clone(), name };
        instruments.decision_age.get_or_create(&label).set(age.as_secs_f64());
        instruments
            .domain_budget
            .get_or_create(&label)
            .set(decided.budget_cores.unwrap_or(f64::NAN));
        instruments.domain_used.get_or_create(&label).set(decided.used_cores);
        instruments.apps_refused.get_or_create(&label).set(i64::from(decided.refused));
        for (rung, count) in Rung::ALL.into_iter().zip(decided.rungs) {
            instruments.apps.get_or_create(&named(rung.as_str())).set(i64::from(count));
        }
        instruments.mode.get_or_create(&named(domain.mode.as_str())).set(1);
        if let Some(outlook) = decision.forecasts.get(index) {
            let age = |forecast: &Forecast| {
                (decision.at.seconds_since(forecast.at) + age.as_secs_f64()).max(0.0)
            };
            set_outlook(instruments, &label, outlook, outlook.forecast.as_ref().map(age));
        }
    }
    for (index, (app, decided)) in decision.catalog.apps.iter().zip(&decision.apps).enumerate() {
        let label =
            AppLabel { namespace: app.id.namespace.to_string(), hpa: app.id.hpa.to_string() };
        set_app(instruments, &label, decided);
        let last = same_apps.map(|before| &before.apps[index]);
        if decided.lost_to_tolerance && !last.is_some_and(|last| same_loss(last, decided)) {
            instruments.lost_to_tolerance.get_or_create(&label).inc();
        }
        let domain = &decision.catalog.domains[app.domain].name;
        for reason in decided.reasons.iter().filter(|reason| reason.is_shield()) {
            let label = DomainNameLabel { domain: domain.clone(), name: reason.as_str() };
            instruments.shield_interventions.get_or_create(&label).inc();
        }
    }
}

/// One number that the HPA ignores is one loss, however often it is decided again.
fn same_loss(last: &AppDecision, now: &AppDecision) -> bool {
    last.lost_to_tolerance && last.replicas == now.replicas && last.current == now.current
}

fn set_app(instruments: &Instruments, label: &AppLabel, decided: &AppDecision) {
    match decided.replicas {
        Some(replicas) => {
            instruments.desired_replicas.get_or_create(label).set(i64::from(replicas));
        }
        // No number: an old one must not stand there as if it were in force.
        None => {
            instruments.desired_replicas.remove(label);
        }
    }
    match decided.hpa_equivalent {
        Some(replicas) => {
            instruments.hpa_counterfactual_replicas.get_or_create(label).set(i64::from(replicas));
        }
        None => {
            instruments.hpa_counterfactual_replicas.remove(label);
        }
    }
}

fn set_outlook(
    instruments: &Instruments,
    label: &DomainLabel,
    outlook: &Outlook,
    age: Option<f64>,
) {
    match age {
        Some(age) => {
            instruments.forecast_age.get_or_create(label).set(age);
        }
        None => {
            instruments.forecast_age.remove(label);
        }
    }
    for source in ForecastSource::ALL {
        let label = SourceLabel { domain: label.domain.clone(), source: source.as_str() };
        let used = i64::from(source == outlook.source);
        instruments.forecast_source.get_or_create(&label).set(used);
    }
    let usable = outlook.forecast.filter(|_| age.is_some_and(|age| age <= Forecast::MAX_AGE));
    for (place, horizon) in Forecast::HORIZON_NAMES.into_iter().enumerate() {
        for (at, quantile) in Forecast::QUANTILE_NAMES.into_iter().enumerate() {
            let label = QuantileLabel { domain: label.domain.clone(), horizon, quantile };
            match usable {
                Some(forecast) => {
                    instruments.forecast_rps.get_or_create(&label).set(forecast.ahead[place][at]);
                }
                None => {
                    instruments.forecast_rps.remove(&label);
                }
            }
        }
    }
}

/// Apps or domains changed: series of those that are gone must not stay.
fn forget(instruments: &Instruments) {
    instruments.desired_replicas.clear();
    instruments.hpa_counterfactual_replicas.clear();
    instruments.apps.clear();
    instruments.apps_refused.clear();
    instruments.mode.clear();
    instruments.domain_budget.clear();
    instruments.domain_used.clear();
    instruments.decision_age.clear();
    instruments.forecast_rps.clear();
    instruments.forecast_age.clear();
    instruments.forecast_source.clear();
}
