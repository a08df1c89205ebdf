//! The edges of `hirl serve`'s forecasts: weights, calendar, and where the past is.

use std::sync::Arc;

use anyhow::Context;
use futures::StreamExt as _;

use crate::cluster::{Class, SignalKind};
use crate::config::Config;
use crate::control::forecasting::{Import, Parts, Span};
use crate::forecast::{Calendar, History, Model, QuantileModel, Series};
use crate::history::{self, prometheus::chunks};
use crate::instruments::Instruments;
use crate::telemetry::{Prometheus, Settings, queries};

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
        let chunks = chunks(span.start, span.end);
        parts.extend(chunks.map(|(from, to)| (index, Arc::clone(&promql), from, to)));
    }
    let asked = parts.into_iter().map(|(index, promql, from, to)| async move {
        let rps = history::prometheus::minutes(prometheus, &promql, from, to).await;
        rps.map(|rps| (index, from, rps)).map_err(|error| error.to_string())
    });
    let mut answers = futures::stream::iter(asked).buffer_unordered(AT_ONCE);
    let mut failure = None;
    while let Some(answer) = answers.next().await {
        match answer {
            Ok((index, from, rps)) => {
                let place = usize::try_from(from - span.start).unwrap_or(0);
                let cells = history.series[index].rps.iter_mut().skip(place);
                cells.zip(rps).for_each(|(cell, rps)| *cell = rps);
            }
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

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::http::StatusCode;
    use axum::routing::post;

    use super::*;
    use crate::forecast::{DAY, Minute};

    #[tokio::test]
    async fn every_minute_is_where_it_belongs_and_a_domain_that_is_refused_hurts_no_other() {
        // Two days and a half, from the middle of a day: each point tells its own minute, and one is a gap.
        let start = 20_000 * DAY as Minute + 700;
        let span = Span {
            domains: ["fraud", "pay"].map(|it| (it.to_owned(), Class::P1, vec![it.into()])).into(),
            start,
            end: start + 3600,
        };
        let gap = start + 2000;
        let answer = move |form: String| async move {
            let field = |name: &str| {
                form.split('&').find_map(|field| field.strip_prefix(name)?.parse::<i64>().ok())
            };
            if form.contains("fraud") {
                return (StatusCode::BAD_REQUEST, String::new());
            }
            let points = (field("start=").unwrap()..=field("end=").unwrap()).step_by(60);
            let minutes = points.map(|second| second / 60 - 1).filter(|minute| *minute != gap);
            let values = minutes.map(|it| format!("[{},\"{}\"]", 60 * (it + 1), it - start));
            let body = format!(
                r#"{{"status":"success","data":{{"resultType":"matrix","result":[{{"metric":{{}},"values":[{}]}}]}}}}"#,
                values.collect::<Vec<_>>().join(",")
            );
            (StatusCode::OK, body)
        };
        let router = Router::new().route("/api/v1/query_range", post(answer));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let settings = Settings { url, ..Settings::default() };
        let prometheus = Prometheus::new(&settings).unwrap();
        let history = past(&prometheus, &settings, &span).await.unwrap();
        assert_eq!((history.start, history.end()), (span.start, span.end));
        assert!(history.series[0].rps.iter().all(|rps| rps.is_nan()));
        for (minute, rps) in (start..).zip(&history.series[1].rps) {
            let expected = (minute != gap).then_some((minute - start) as f32);
            assert_eq!((!rps.is_nan()).then_some(*rps), expected, "minute {minute}");
        }
        let refused = Span { domains: span.domains[..1].to_vec(), ..span };
        assert!(past(&prometheus, &settings, &refused).await.is_err());
    }
}
