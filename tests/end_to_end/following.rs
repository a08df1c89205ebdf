//! Stock HPAs follow: a real `autoscaling/v2` HPA with one External metric brings its Deployment
//! to exactly the number that was computed from a real Prometheus. The controller syncs every
//! second instead of every 15 s.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::stage::{MAX_AGE, SOON, Stage};
use crate::testbed::objects::{self, Autoscaler};
use crate::testbed::run;
use crate::testbed::twin::Fault;
use crate::testbed::wait::{throughout, until};

/// Without the field `tolerance`: the HPA's default of 10 %.
fn with_dead_band(hpa: Autoscaler<'_>) -> Autoscaler<'_> {
    Autoscaler { behavior: objects::immediate(None), ..hpa }
}

#[test]
fn a_stock_hpa_lands_on_exactly_the_number_that_was_decided() -> Result<()> {
    run(async {
        let stage = Stage::shared().await?;
        let namespace = "exact";
        stage.namespace(namespace, &[]).await?;
        stage.app(namespace, "web", 1, |hpa| hpa).await?;
        for replicas in [50, 51, 50, 100, 101, 100, 99, 10, 11, 10, 7, 1] {
            stage.follows(namespace, "web", replicas).await?;
        }
        let client = stage.plane().client();
        let active = objects::hpa_condition(&client, namespace, "web", "ScalingActive").await?;
        ensure!(active == ("True".into(), "ValidMetricFound".into()), "{active:?}");
        let limited = objects::hpa_condition(&client, namespace, "web", "ScalingLimited").await?;
        ensure!(limited.0 == "False", "{limited:?}");
        Ok(())
    })
}

#[test]
fn a_thousand_replicas_move_by_one() -> Result<()> {
    run(async {
        let stage = Stage::shared().await?;
        let namespace = "thousand";
        stage.namespace(namespace, &[]).await?;
        stage.namespace("thousand-more", &[]).await?;
        stage.namespace("thousand-most", &[]).await?;
        stage.app(namespace, "web", 1, |hpa| hpa).await?;
        // The count that is asked for is what is tested; a thousand simulated pods need not start.
        let client = stage.plane().client();
        for replicas in [1000, 1001] {
            stage.want(namespace, "web", replicas)?;
            objects::scaled_to(&client, namespace, "web", replicas, 3 * SOON).await?;
        }
        stage.want(namespace, "web", 1)?;
        objects::scaled_to(&client, namespace, "web", 1, SOON).await
    })
}

#[test]
fn the_dead_band_of_a_stock_hpa_is_as_modelled_and_is_counted_and_reported() -> Result<()> {
    run(async {
        let stage = Stage::shared().await?;
        let namespace = "deadband";
        stage.namespace(namespace, &[]).await?;
        let client = stage.plane().client();
        let mut lost = 0;
        for (name, from, to, expected) in [
            ("a", 9, 10, 10),
            ("b", 10, 11, 10),
            ("c", 10, 9, 10),
            ("d", 100, 110, 100),
            ("e", 100, 111, 111),
            ("f", 100, 90, 100),
            ("g", 100, 89, 89),
        ] {
            stage.app(namespace, name, from, with_dead_band).await?;
            stage.want(namespace, name, to)?;
            stage.answered(namespace, name, to).await?;
            if expected == to {
                objects::scaled_to(&client, namespace, name, to, SOON).await?;
                continue;
            }
            lost += 1;
            // Several syncs of a controller that keeps being told `to`.
            throughout(format!("{name}: {from} of {to}"), Duration::from_secs(4), async || {
                let standing = objects::spec_replicas(&client, namespace, name).await?;
                ensure!(standing == from, "stands at {standing}");
                Ok(())
            })
            .await?;
            let series =
                format!("hirl_lost_to_tolerance_total{{namespace=\"{namespace}\",hpa=\"{name}\"}}");
            ensure!(stage.metric(&series).await? == Some(1.0), "{series} is not 1");
            until("an Event that names the HPA", SOON, async || {
                let path = format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events");
                let events = stage.admin()?.get(&path, &[]).await?.json()?;
                let about = |event: &&Value| {
                    event["regarding"]["name"] == name && event["reason"] == "LostToTolerance"
                };
                let found = events["items"].as_array().into_iter().flatten().find(about).cloned();
                ensure!(found.is_some(), "no such Event among {}", events["items"]);
                Ok(())
            })
            .await?;
        }
        ensure!(lost == 4);
        Ok(())
    })
}

#[test]
fn without_telemetry_reads_fail_replicas_hold_and_it_recovers() -> Result<()> {
    run(async {
        let stage = Stage::shared().await?;
        let namespace = "silence";
        stage.namespace(namespace, &[]).await?;
        stage.app(namespace, "web", 7, |hpa| hpa).await?;
        let client = stage.plane().client();
        stage.testbed.twin.set_fault(namespace, "web", Some(Fault::Silent))?;
        // Only ever the last good number or an error, never 0 and never another number.
        until("reads to fail", SOON, async || {
            let answer = stage.read(namespace, "web").await?;
            if answer.status == 200 {
                ensure!(answer.json()?["items"][0]["value"] == "7", "told {}", answer.body);
            }
            ensure!(answer.status == 503, "still {}", answer.status);
            ensure!(answer.header("retry-after").is_none(), "Retry-After would stall the HPA");
            let status = answer.json()?;
            ensure!(status["kind"] == "Status" && status["reason"] == "ServiceUnavailable");
            Ok(())
        })
        .await?;
        until("the HPA to say so", SOON, async || {
            let active = objects::hpa_condition(&client, namespace, "web", "ScalingActive").await?;
            ensure!(active == ("False".into(), "FailedGetExternalMetric".into()), "{active:?}");
            Ok(())
        })
        .await?;
        throughout("7 replicas", Duration::from_secs(4), async || {
            ensure!(objects::spec_replicas(&client, namespace, "web").await? == 7);
            Ok(())
        })
        .await?;
        stage.testbed.twin.set_fault(namespace, "web", None)?;
        until("the HPA to be active again", SOON, async || {
            let active = objects::hpa_condition(&client, namespace, "web", "ScalingActive").await?;
            ensure!(active.0 == "True", "{active:?}");
            Ok(())
        })
        .await?;
        stage.follows(namespace, "web", 8).await
    })
}

#[test]
fn nonsense_from_prometheus_moves_nothing() -> Result<()> {
    run(async {
        let stage = Stage::shared().await?;
        let namespace = "nonsense";
        stage.namespace(namespace, &[]).await?;
        let client = stage.plane().client();
        for (name, fault) in [
            ("nan", Fault::NotANumber),
            ("infinite", Fault::Infinite),
            ("duplicate", Fault::Duplicate),
            ("frozen", Fault::Frozen),
        ] {
            stage.app(namespace, name, 5, |hpa| hpa).await?;
            stage.testbed.twin.set_fault(namespace, name, Some(fault))?;
            let whole = Duration::from_secs(MAX_AGE + 6);
            throughout(format!("{name}: 5 replicas"), whole, async || {
                ensure!(objects::spec_replicas(&client, namespace, name).await? == 5);
                let answer = stage.read(namespace, name).await?;
                ensure!(
                    answer.status == 503 || answer.json()?["items"][0]["value"] == "5",
                    "{}",
                    answer.body
                );
                Ok(())
            })
            .await?;
            let answer = stage.read(namespace, name).await?;
            ensure!(answer.status == 503, "{name}: {} {}", answer.status, answer.body);
        }
        Ok(())
    })
}

#[test]
fn with_a_cpu_metric_beside_ours_a_failure_of_ours_holds_a_fall_and_lets_a_rise_through()
-> Result<()> {
    run(async {
        let stage = Stage::shared().await?;
        let namespace = "beside";
        stage.namespace(namespace, &[]).await?;
        let client = stage.plane().client();
        let with_cpu = |hpa| {
            let cpu = Autoscaler::plain(namespace, "web", 1, 100, &[("cpu", 70)]).metrics;
            let metrics = [objects::external("web")].into_iter().chain(cpu).collect();
            Autoscaler { metrics, ..hpa }
        };
        stage.app(namespace, "web", 6, with_cpu).await?;
        // Ours fails; CPU would go down to 2.
        stage.testbed.twin.set_fault(namespace, "web", Some(Fault::Silent))?;
        until("our reads to fail", SOON, async || {
            ensure!(stage.read(namespace, "web").await?.status == 503);
            Ok(())
        })
        .await?;
        stage.want(namespace, "web", 2)?;
        throughout("6 replicas", Duration::from_secs(4), async || {
            ensure!(objects::spec_replicas(&client, namespace, "web").await? == 6);
            Ok(())
        })
        .await?;
        stage.want(namespace, "web", 9)?;
        until("CPU alone to scale up", SOON, async || {
            let standing = objects::spec_replicas(&client, namespace, "web").await?;
            ensure!(standing >= 9, "stands at {standing}");
            Ok(())
        })
        .await
    })
}
