//! Domains on a real API server: validation, membership, conditions, refusals.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::stage::{SOON, Stage};
use crate::testbed::objects::{self, Autoscaler, Workload};
use crate::testbed::run;
use crate::testbed::twin::App;
use crate::testbed::twin::traffic::Traffic;
use crate::testbed::wait::until;

fn domain(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "hirl-scale.io/v1alpha1", "kind": "Domain",
        "metadata": {"name": name}, "spec": spec,
    })
}

/// A good spec that selects the namespaces with the label `team=TEAM`.
fn spec(team: &str, mode: &str) -> Value {
    json!({
        "class": "P0", "weight": 1, "mode": mode,
        "slo": {"p99": "200ms", "errorRatio": 0.001},
        "namespaceSelector": {"matchLabels": {"team": team}},
    })
}

pub(crate) async fn apply(stage: &Stage, object: &Value) -> Result<String> {
    let name = object["metadata"]["name"].as_str().context("no name")?;
    let file =
        stage.plane().scratch().write(&format!("domain-{name}.json"), &object.to_string())?;
    stage.plane().kubectl(&["apply", "-f", &file.display().to_string()]).await
}

async fn condition(stage: &Stage, name: &str, kind: &str) -> Result<Value> {
    let path = format!("/apis/hirl-scale.io/v1alpha1/domains/{name}");
    let object = stage.admin()?.get(&path, &[]).await?.json()?;
    let conditions = object["status"]["conditions"].as_array().context("no conditions")?;
    let found = conditions.iter().find(|condition| condition["type"] == kind).cloned();
    found.with_context(|| format!("no {kind} among {conditions:?}"))
}

#[test]
fn the_api_server_refuses_a_domain_that_makes_no_sense() -> Result<()> {
    run(async {
        let stage = Stage::shared().await?;
        for (field, value) in [
            ("class", json!("P9")),
            ("weight", json!(0)),
            ("weight", json!(1.5)),
            ("mode", json!("Brave")),
            ("mode", json!("Canary")),
            ("floorShare", json!(1.2)),
            ("slo", json!({"p99": "fast", "errorRatio": 0.1})),
            ("slo", json!({"p99": "1s", "errorRatio": 2})),
        ] {
            let mut bad = spec("nobody", "Active");
            bad[field] = value.clone();
            let refused = apply(stage, &domain("nonsense", &bad)).await;
            let Err(refusal) = refused else { anyhow::bail!("{field}: {value} was accepted") };
            let key = if field == "mode" && value == "Canary" { "canaryPercent" } else { field };
            ensure!(format!("{refusal:#}").contains(key), "{field}: {value}: {refusal:#}");
        }
        Ok(())
    })
}

#[test]
fn an_app_belongs_to_the_domain_of_its_namespace_and_shadow_publishes_the_plain_hpa() -> Result<()>
{
    run(async {
        let stage = Stage::shared().await?;
        stage.namespace("member", &[("team", "member")]).await?;
        stage.app("member", "web", 4, |hpa| hpa).await?;
        apply(stage, &domain("member", &spec("member", "Active"))).await?;
        until("the item to carry the domain", SOON, async || {
            let item = stage.answered("member", "web", 4).await?;
            ensure!(item["metricLabels"]["domain"] == "member", "{item}");
            Ok(())
        })
        .await?;
        until("the Domain to be ready", SOON, async || {
            let ready = condition(stage, "member", "Ready").await?;
            ensure!(ready["status"] == "True" && ready["reason"].is_string(), "{ready}");
            Ok(())
        })
        .await?;
        let table = stage.plane().kubectl(&["get", "domains"]).await?;
        for column in ["CLASS", "MODE", "READY", "AGE"] {
            ensure!(table.contains(column), "{table}");
        }

        // A plain HPA has its dead band of 10 % where ours has none: 10 -> 11 tells them apart.
        let with_dead_band = |hpa| Autoscaler { behavior: objects::immediate(None), ..hpa };
        stage.app("member", "banded", 10, with_dead_band).await?;
        stage.want("member", "banded", 11)?;
        stage.answered("member", "banded", 11).await?;
        apply(stage, &domain("member", &spec("member", "Shadow"))).await?;
        stage.answered("member", "banded", 10).await?;
        apply(stage, &domain("member", &spec("member", "Active"))).await?;
        stage.answered("member", "banded", 11).await.map(|_| ())
    })
}

#[test]
fn a_namespace_in_two_domains_is_refused_visibly() -> Result<()> {
    run(async {
        let stage = Stage::shared().await?;
        stage.namespace("disputed", &[("team", "disputed")]).await?;
        stage.app("disputed", "web", 3, |hpa| hpa).await?;
        for name in ["disputed-a", "disputed-b"] {
            apply(stage, &domain(name, &spec("disputed", "Active"))).await?;
        }
        until("reads to be refused by name", SOON, async || {
            let answer = stage.read("disputed", "web").await?;
            ensure!(answer.status == 503, "{}", answer.status);
            ensure!(
                answer.body.contains("disputed-a") && answer.body.contains("disputed-b"),
                "{}",
                answer.body
            );
            Ok(())
        })
        .await?;
        for name in ["disputed-a", "disputed-b"] {
            until(format!("{name} to say so"), SOON, async || {
                let condition = condition(stage, name, "NamespacesUnambiguous").await?;
                ensure!(condition["status"] == "False", "{condition}");
                let message = condition["message"].as_str().unwrap_or_default();
                ensure!(message.contains("disputed"), "{condition}");
                Ok(())
            })
            .await?;
        }
        stage.plane().kubectl(&["delete", "domain", "disputed-b"]).await?;
        stage.answered("disputed", "web", 3).await?;
        stage.plane().kubectl(&["delete", "domain", "disputed-a"]).await.map(|_| ())
    })
}

#[test]
fn hpas_that_would_misread_the_number_get_none() -> Result<()> {
    run(async {
        let stage = Stage::shared().await?;
        stage.namespace("refused", &[]).await?;
        let client = stage.plane().client();
        for (name, kind, field, value, says) in [
            ("value", "Value", "value", "1", "type Value"),
            ("average", "AverageValue", "averageValue", "2", "averageValue is 2"),
        ] {
            stage.testbed.twin.add(App::web("refused", name, Traffic::Constant(50.0)));
            let workload = Workload { replicas: 3, ..Workload::small("refused", name) };
            objects::apply_namespaced(&client, &workload.deployment()?).await?;
            objects::ready(&client, "refused", name, 3, SOON).await?;
            let mut metric = objects::external(name);
            metric["external"]["target"] = json!({"type": kind, field: value});
            let hpa = Autoscaler {
                metrics: vec![metric],
                ..Autoscaler::following("refused", name, 1, 50)
            };
            objects::apply_namespaced(&client, &hpa.object()?).await?;
            until("the read to be refused with its reason", SOON, async || {
                let answer = stage.read("refused", name).await?;
                ensure!(answer.status == 503 && answer.body.contains(says), "{}", answer.body);
                Ok(())
            })
            .await?;
            let standing = objects::spec_replicas(&client, "refused", name).await?;
            ensure!(standing == 3, "{name} was scaled to {standing}");
        }
        Ok(())
    })
}

#[test]
fn we_write_to_no_workload() -> Result<()> {
    run(async {
        let stage = Stage::shared().await?;
        let us = "system:serviceaccount:hirl-system:hirl";
        for (verb, resource) in [
            ("update", "deployments.apps"),
            ("patch", "deployments.apps/scale"),
            ("update", "horizontalpodautoscalers.autoscaling"),
            ("patch", "statefulsets.apps"),
            ("create", "pods"),
            ("delete", "pods"),
            ("get", "secrets"),
        ] {
            let allowed = stage
                .plane()
                .kubectl(&["auth", "can-i", verb, resource, "-A", &format!("--as={us}")])
                .await;
            ensure!(!allowed.is_ok_and(|said| said.trim() == "yes"), "may {verb} {resource}");
        }
        Ok(())
    })
}
