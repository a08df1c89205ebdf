//! Plain predictive scaling: a stock HPA follows the forecast of a domain's traffic, without any policy.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::stage::{SOON, Stage, V};
use crate::testbed::objects::{self, Autoscaler, Workload};
use crate::testbed::run;
use crate::testbed::twin::traffic::Traffic;
use crate::testbed::wait::until;

/// A forecast is made once a minute, when the minute before it is over.
const FORECAST_SOON: Duration = Duration::from_mins(3);

/// Requests per second that one pod is meant to carry.
const PER_POD: f64 = 10.0;

/// The path of a read of the forecast with a selector.
fn path(selector: &str) -> String {
    format!("{V}/namespaces/foreseen/hirl-forecast-rps?labelSelector={selector}")
}

const COMPLETE: &str = "domain%3Dforeseen,horizon%3D15m,quantile%3Dp80";

/// The forecast, in requests per second.
async fn foreseen(stage: &Stage) -> Result<f64> {
    let answer = stage.admin()?.get(&path(COMPLETE), &[]).await?;
    ensure!(answer.status == 200, "{}: {}", answer.status, answer.body);
    let items = answer.json()?["items"].clone();
    ensure!(items.as_array().is_some_and(|items| items.len() == 1), "{items}");
    let value = items[0]["value"].as_str().context("no value")?;
    let milli: f64 = value.strip_suffix('m').context("not in thousandths")?.parse()?;
    Ok(milli / 1000.0)
}

fn predictive() -> Vec<Value> {
    let labels = json!({"domain": "foreseen", "horizon": "15m", "quantile": "p80"});
    vec![json!({"type": "External", "external": {
        "metric": {"name": "hirl-forecast-rps", "selector": {"matchLabels": labels}},
        "target": {"type": "AverageValue", "averageValue": format!("{PER_POD}")},
    }})]
}

#[test]
fn a_stock_hpa_scales_by_the_forecast_alone() -> Result<()> {
    run(async {
        let stage = Stage::shared().await?;
        let client = stage.plane().client();
        stage.namespace("foreseen", &[("team", "foreseen")]).await?;
        let domain = json!({
            "apiVersion": "hirl-scale.io/v1alpha1", "kind": "Domain",
            "metadata": {"name": "foreseen"},
            "spec": {
                "class": "P1", "weight": 1, "mode": "Shadow",
                "slo": {"p99": "200ms", "errorRatio": 0.001},
                "namespaceSelector": {"matchLabels": {"team": "foreseen"}},
            },
        });
        let file = stage.plane().scratch().write("domain-foreseen.json", &domain.to_string())?;
        stage.plane().kubectl(&["apply", "-f", &file.display().to_string()]).await?;
        // What the domain is measured by, and an app that knows nothing of us but the forecast.
        stage.app("foreseen", "web", 2, |hpa| hpa).await?;
        let gateway = Workload { replicas: 1, ..Workload::small("foreseen", "gateway") };
        objects::apply_namespaced(&client, &gateway.deployment()?).await?;
        let hpa = Autoscaler {
            metrics: predictive(),
            behavior: objects::immediate(None),
            ..Autoscaler::plain("foreseen", "gateway", 1, 100, &[])
        };
        objects::apply_namespaced(&client, &hpa.object()?).await?;

        // 50 requests per second now, and p80 above it.
        until("the forecast to be served", FORECAST_SOON, async || {
            let rps = foreseen(stage).await?;
            ensure!((45.0..100.0).contains(&rps), "{rps}");
            Ok(())
        })
        .await?;
        follows(stage).await?;
        let before = objects::spec_replicas(&client, "foreseen", "gateway").await?;

        // Four times as much: what is expected grows, and the Deployment with it.
        stage.testbed.twin.set_traffic("foreseen", "web", Traffic::Constant(200.0))?;
        until("the forecast to follow", FORECAST_SOON, async || {
            let rps = foreseen(stage).await?;
            ensure!(rps > 150.0, "{rps}");
            Ok(())
        })
        .await?;
        follows(stage).await?;
        let after = objects::spec_replicas(&client, "foreseen", "gateway").await?;
        ensure!(after >= 2 * before, "{before} -> {after}");

        // An HPA would add several items up: they are refused, and so is what nobody forecasts.
        for (selector, status, says) in [
            ("domain%3Dforeseen,quantile%3Dp80", 400, "horizon (15m, 30m, 5m)"),
            ("domain%3Dnobody", 404, "no forecast matches"),
        ] {
            let answer = stage.admin()?.get(&path(selector), &[]).await?;
            ensure!(answer.status == status && answer.body.contains(says), "{}", answer.body);
        }
        Ok(())
    })
}

/// Waits until the Deployment has what the forecast asks for.
async fn follows(stage: &Stage) -> Result<()> {
    let client = stage.plane().client();
    until("the Deployment to follow the forecast", SOON, async || {
        let wanted = (foreseen(stage).await? / PER_POD).ceil();
        let standing = f64::from(objects::spec_replicas(&client, "foreseen", "gateway").await?);
        // The dead band of a stock HPA.
        ensure!((wanted / standing - 1.0).abs() <= 0.1, "{standing} of {wanted}");
        Ok(())
    })
    .await
}
