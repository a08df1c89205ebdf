//! Reads of the forecast: one number of one domain, or a reason why there is none.

use std::collections::BTreeSet;

use hyper::body::Bytes;

use super::board::Laid;
use super::external_metrics::{FORECAST_METRIC, Item, Labels, list, stale, to_the_second};
use super::route::GROUP;
use super::selector::Selector;
use super::status::ApiError;
use crate::cluster::{Forecast, Outlook};
use crate::safety::Decision;

/// The labels of an item, which together name one.
const LABELS: [&str; 3] = ["domain", "horizon", "quantile"];

/// Names that an answer lists at most.
const NAMED: usize = 16;

/// One number that could be asked for.
#[derive(Debug, Clone, Copy)]
struct Candidate<'a> {
    outlook: &'a Outlook,
    /// In the order of [`LABELS`].
    values: [&'a str; LABELS.len()],
    /// Places of horizon and quantile.
    place: (usize, usize),
}

impl Candidate<'_> {
    fn label(&self, name: &str) -> Option<&str> {
        let place = LABELS.iter().position(|label| *label == name)?;
        Some(self.values[place])
    }
}

/// Every number of every domain.
fn candidates(decision: &Decision) -> impl Iterator<Item = Candidate<'_>> {
    let domains = decision.catalog.domains.iter().zip(&decision.forecasts);
    domains.flat_map(|(domain, outlook)| {
        let horizons = Forecast::HORIZON_NAMES.into_iter().enumerate();
        horizons.flat_map(move |(row, horizon)| {
            let quantiles = Forecast::QUANTILE_NAMES.into_iter().enumerate();
            quantiles.map(move |(column, quantile)| Candidate {
                outlook,
                values: [&*domain.name, horizon, quantile],
                place: (row, column),
            })
        })
    })
}

/// Answers a read with the one number that `selector` names.
pub(super) fn read(laid: &Laid, selector: &Selector<'_>) -> Result<Bytes, ApiError> {
    let decision = laid.published.decision();
    let age = laid.published.age();
    let no = |why: String| {
        let message = format!("no number for {FORECAST_METRIC}: {why}");
        ApiError::unavailable(message).about(GROUP, FORECAST_METRIC, "")
    };
    if let Some(stale) = stale(laid, age) {
        return Err(no(stale));
    }
    if decision.forecasts.is_empty() {
        return Err(no("nothing has been forecast yet, or forecast.enabled is false".to_owned()));
    }
    let named = |candidate: &Candidate<'_>| {
        // The labels live as long as the decision; the selector only looks at them.
        selector.matches(|name| candidate.label(name))
    };
    let found: Vec<Candidate<'_>> = candidates(decision).filter(named).collect();
    let candidate = match found[..] {
        [] => return Err(nobody(decision)),
        [one] => one,
        _ => return Err(several(&found)),
    };
    let [domain, horizon, quantile] = candidate.values;
    let outlook = candidate.outlook;
    let Some(forecast) = outlook.forecast else {
        let why = outlook.why.as_deref().unwrap_or("nothing has been forecast yet");
        return Err(no(format!("domain {domain}: {why}")));
    };
    let seconds = decision.at.seconds_since(forecast.at) + age.as_secs_f64();
    if seconds > Forecast::MAX_AGE {
        let limit = Forecast::MAX_AGE;
        let old = format!("the last forecast is {seconds:.0} s old, the limit is {limit:.0} s");
        return Err(no(format!("domain {domain}: {old}")));
    }
    let value = forecast.ahead[candidate.place.0][candidate.place.1];
    let Some(value) = milli(value) else {
        return Err(no(format!("domain {domain}: the forecast is no number")));
    };
    Ok(list(vec![Item {
        metric_name: FORECAST_METRIC,
        metric_labels: Labels::Forecast { domain, horizon, quantile },
        timestamp: to_the_second(forecast.at),
        window: None,
        value,
    }]))
}

/// A quantity in thousandths, rounded up as Kubernetes rounds; `None` for what is none.
fn milli(value: f64) -> Option<String> {
    let milli = (value * 1000.0).ceil();
    // An int64 of thousandths is what a quantity holds without loss.
    (milli >= 0.0 && milli < i64::MAX as f64).then(|| format!("{}m", milli as i64))
}

fn nobody(decision: &Decision) -> ApiError {
    let domains: Vec<&str> =
        decision.catalog.domains.iter().map(|domain| &*domain.name).take(NAMED).collect();
    ApiError::not_found(format!(
        "no forecast matches the labelSelector: domain is one of {}, horizon of {}, quantile of {}",
        domains.join(", "),
        Forecast::HORIZON_NAMES.join(", "),
        Forecast::QUANTILE_NAMES.join(", "),
    ))
    .about(GROUP, FORECAST_METRIC, "")
}

/// An HPA would add them up.
fn several(found: &[Candidate<'_>]) -> ApiError {
    let open: Vec<String> = LABELS
        .iter()
        .enumerate()
        .filter_map(|(place, label)| {
            let values: BTreeSet<&str> = found.iter().map(|it| it.values[place]).collect();
            let some: Vec<&str> = values.iter().copied().take(NAMED).collect();
            (values.len() > 1).then(|| format!("{label} ({})", some.join(", ")))
        })
        .collect();
    ApiError::bad_request(format!(
        "the labelSelector must match exactly one forecast, and it matches {}: it leaves open {}",
        found.len(),
        open.join(" and "),
    ))
    .about(GROUP, FORECAST_METRIC, "")
}
