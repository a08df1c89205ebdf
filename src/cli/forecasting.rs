//! The edges of `hirl serve`'s forecasts: weights, calendar, and where the past is.

use std::sync::Arc;

use anyhow::Context;
use futures::StreamExt as _;

use crate::cluster::{Class, SignalKind};
use crate::config::Config;
use crate::control::forecasting::{Import, Parts, Span};
use crate::forecast::{Calendar, DAY, History, Minute, Model, QuantileModel, Series};
use crate::history;
use crate::instruments::Instruments;
use crate::telemetry::matrix::Matrix;
use crate::telemetry::{Prometheus, Settings, queries};

/// Seconds between two points.
const STEP: u32 = 60;

/// Queries about the past at a time: few, because the queries of every decision go on beside them.
const AT_ONCE: usize = 2;

/// What the forecasting task is made of.
pub(super) fn parts(config: &Config, instruments: &Arc<Instruments>) -> anyhow::Result<Parts> {
    let settings = config.forecast.clone();
    let calendar = match &settings.calendar_file {
        Some(path) => history::calendar::read(path)
            .with_context(|| format!("forecast.calendarFile {}", path.display()))?,
        None => Calendar::default(),
    };
    Ok(Parts {
        model: model(config)?,
        calendar,
        import: Some(import(&config.telemetry)?),
        instruments: Arc::clone(instruments),
        settings,
    })
}

/// The learned network. Weights that do not fit stop the start: who named a file wants what is in it.
fn model(config: &Config) -> anyhow::Result<Option<Arc<dyn QuantileModel>>> {
    let model = match (&config.forecast.weights_file, config.forecast.network.kind()) {
        (Some(path), _) => {
            let about = || format!("forecast.weightsFile {}", path.display());
            let bytes = std::fs::read(path).with_context(about)?;
            Some(Model::from_bytes(&bytes).with_context(about)?)
        }
        (None, Some(kind)) => Some(Model::builtin(kind)?),
        (None, None) => None,
    };
    Ok(model.map(|model| Arc::new(model) as Arc<dyn QuantileModel>))
}

/// Asks the Prometheus that signals come from. All workloads of a domain's namespaces count.
fn import(settings: &Settings) -> anyhow::Result<Import> {
    let prometheus = Prometheus::new(settings).context("preparing the import of the past")?;
    let settings = settings.clone();
    Ok(Box::new(move |span| {
        let (mut prometheus, settings) = (prometheus.clone(), settings.clone());
        Box::pin(async move {
            prometheus.refresh().await;
            past(&prometheus, &settings, &span).await
        })
    }))
}

/// The past of every domain, a day at a time. A domain of which a day cannot be had keeps the others.
async fn past(
    prometheus: &Prometheus,
    settings: &Settings,
    span: &Span,
) -> Result<History, String> {
    let minutes = usize::try_from(span.end - span.start).unwrap_or(0);
    let empty = |(name, class, _): &(String, Class, Vec<Arc<str>>)| Series {
        name: name.clone(),
        class: *class,
        rps: vec![f32::NAN; minutes],
    };
    let mut history =
        History { start: span.start, series: span.domains.iter().map(empty).collect() };
    let mut parts = Vec::new();
    for (index, (_, _, namespaces)) in span.domains.iter().enumerate() {
        let namespaces: Vec<&str> = namespaces.iter().map(|name| &**name).collect();
        let promql: Arc<str> = queries::total(settings, SignalKind::Rps, &namespaces).into();
        for from in (span.start..span.end).step_by(DAY) {
            parts.push((index, Arc::clone(&promql), from));
        }
    }
    let asked = parts.into_iter().map(|(index, promql, from)| async move {
        // The newest mean of a minute is the one at its end.
        let last = (from + DAY as Minute).min(span.end);
        let range = ((from + 1) * i64::from(STEP), last * i64::from(STEP));
        let body =
            prometheus.range(&promql, range, STEP).await.map_err(|error| error.to_string())?;
        let matrix = Matrix::read(&body).map_err(|error| error.to_string())?;
        Ok::<_, String>((index, matrix))
    });
    let mut answers = futures::stream::iter(asked).buffer_unordered(AT_ONCE);
    let mut failure = None;
    while let Some(answer) = answers.next().await {
        match answer {
            Ok((index, matrix)) => take(&mut history, index, &matrix),
            Err(error) => failure = Some(error),
        }
    }
    drop(answers);
    let known = history.series.iter().flat_map(|series| &series.rps).any(|rps| rps.is_finite());
    match failure {
        Some(error) if !known => Err(error),
        _ => Ok(history),
    }
}

fn take(history: &mut History, index: usize, matrix: &Matrix) {
    let (start, Some(series)) = (history.start, history.series.get_mut(index)) else { return };
    for (at, value) in matrix.series.first().into_iter().flatten() {
        let minute = (at / f64::from(STEP)).round() as Minute - 1;
        let place = usize::try_from(minute - start).ok();
        if let Some(cell) = place.and_then(|place| series.rps.get_mut(place))
            && value.is_finite()
            && *value >= 0.0
        {
            *cell = *value as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_the_mean_of_the_minute_before_it_and_gaps_stay() {
        let series = Series { rps: vec![f32::NAN; 3], ..Series::default() };
        let mut history = History { start: 100, series: vec![series] };
        let values =
            vec![(6060.0, 7.0), (6180.0, -1.0), (6120.0, f64::NAN), (9e9, 5.0), (0.0, 5.0)];
        let matrix = Matrix { series: vec![values], incomplete: false };
        take(&mut history, 0, &matrix);
        assert_eq!(history.series[0].rps[0], 7.0);
        assert!(history.series[0].rps[1..].iter().all(|value| value.is_nan()));
        take(&mut history, 1, &matrix);
    }
}
