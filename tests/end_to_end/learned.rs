//! The learned policy in front of real HPAs: its own weights, others in their place while it runs, and a
//! choice per domain.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use candle_core::{Device, Tensor};
use hirl_scale::policy::hirl::Model;
use hirl_scale::seed::Seed;
use serde_json::json;

use crate::stage::{SOON, Stage, administrator, config};
use crate::testbed::objects;
use crate::testbed::wait::{throughout, until};
use crate::testbed::{Options, run};

/// Networks that say one thing: two steps up for every app, which is 30 % more and nothing taken away.
fn eager() -> Result<Vec<u8>> {
    let model = Model::untrained(Seed::root(1))?;
    let bias = model.parameters().iter().find(|(name, _)| *name == "soldier.steps.bias");
    let (_, bias) = bias.context("the steps have no bias")?;
    bias.set(&Tensor::new(&[-9.0_f32, -9.0, -9.0, -9.0, 9.0], &Device::Cpu)?)?;
    Ok(model.to_bytes(BTreeMap::new())?)
}

/// Whole or not at all, as kubelet swaps a mounted file.
fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    let beside = path.with_extension("new");
    fs::write(&beside, bytes)?;
    Ok(fs::rename(beside, path)?)
}

/// Gives the domain to a policy.
async fn choose(stage: &Stage, policy: &str) -> Result<()> {
    let domain = json!({
        "apiVersion": "hirl-scale.io/v1alpha1", "kind": "Domain", "metadata": {"name": "eager"},
        "spec": {
            "class": "P0", "weight": 1, "policy": policy,
            "slo": {"p99": "200ms", "errorRatio": 0.001},
            "namespaceSelector": {"matchLabels": {"team": "eager"}},
        },
    });
    crate::domains::apply(stage, &domain).await.map(|_| ())
}

/// The series that name the weights which plan.
async fn weights_in_force(stage: &Stage) -> Result<Vec<String>> {
    let administrator = administrator(stage.plane())?;
    let text = stage.hirl.requests(Some(&administrator))?.text("/metrics").await?;
    let ours = text.lines().filter(|line| line.starts_with("hirl_policy_weights{"));
    Ok(ours.map(str::to_owned).collect())
}

#[test]
fn real_hpas_follow_the_networks_and_other_weights_take_over_while_it_runs() -> Result<()> {
    run(async {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("policy.safetensors");
        put(&path, &eager()?)?;
        let file = path.display().to_string();
        let stage = Stage::start_with(Options::default(), |place, prometheus| {
            let off = "hierarchy: {enabled: false}";
            let on =
                format!("hierarchy: {{enabled: true, weightsFile: {file}, reloadSeconds: 0.5}}");
            config(place, prometheus).replace(off, &on)
        })
        .await?;
        let client = stage.plane().client();
        stage.namespace("eager", &[("team", "eager")]).await?;
        choose(&stage, "rules").await?;
        // Under the rule the number is exactly what CPU asks for.
        stage.app("eager", "web", 10, |hpa| hpa).await?;
        let before = weights_in_force(&stage).await?;
        ensure!(before.len() == 1, "{before:?}");

        // The domain is given to the networks: 30 % more, and the real HPA goes there.
        choose(&stage, "hirl").await?;
        stage.answered("eager", "web", 13).await?;
        objects::scaled_to(&client, "eager", "web", 13, SOON).await?;
        // Less CPU takes nothing away as long as they say two steps up. Steps are smoothed over decisions, of
        // which there is one a second here.
        tokio::time::sleep(Duration::from_secs(15)).await;
        stage.want("eager", "web", 5)?;
        throughout("13 replicas".to_owned(), Duration::from_secs(6), async || {
            let standing = objects::spec_replicas(&client, "eager", "web").await?;
            ensure!(standing == 13, "stands at {standing}");
            Ok(())
        })
        .await?;

        // Bytes that are no weights change nothing, and are counted.
        put(&path, b"not weights")?;
        until("the refusal to be counted", SOON, async || {
            let series = "hirl_policy_weights_reloads_total{outcome=\"refused\"}";
            ensure!(stage.metric(series).await? == Some(1.0), "not yet");
            Ok(())
        })
        .await?;
        ensure!(weights_in_force(&stage).await? == before);

        // Others do: the untrained ones are the rule, which asks for 5.
        put(&path, &Model::untrained(Seed::root(2))?.to_bytes(BTreeMap::new())?)?;
        stage.answered("eager", "web", 5).await?;
        objects::scaled_to(&client, "eager", "web", 5, SOON).await?;
        let after = weights_in_force(&stage).await?;
        ensure!(after.len() == 1 && after != before, "{after:?}");
        Ok(())
    })
}

#[test]
fn the_weights_that_ship_drive_a_real_hpa_and_the_decision_names_them() -> Result<()> {
    run(async {
        let stage = Stage::start_with(Options::default(), |place, prometheus| {
            config(place, prometheus).replace("enabled: false", "enabled: true")
        })
        .await?;
        let client = stage.plane().client();
        stage.namespace("shipped", &[]).await?;
        stage.plant("shipped", "web", 10, |hpa| hpa).await?;
        // Not exactly the rule's number, and within what the networks may do with it.
        until("the HPA to be told about 10", SOON, async || {
            let standing = objects::spec_replicas(&client, "shipped", "web").await?;
            let answer = stage.read("shipped", "web").await?;
            ensure!(answer.status == 200, "{}", answer.body);
            let told: u32 =
                answer.json()?["items"][0]["value"].as_str().unwrap_or_default().parse()?;
            ensure!(standing == told && (4..=24).contains(&told), "{standing} of {told}");
            Ok(())
        })
        .await?;
        let named = weights_in_force(&stage).await?;
        let own = Model::builtin()?;
        let id = own.id().context("built-in weights have a name")?;
        ensure!(named.len() == 1 && named[0].contains(&**id), "{named:?} without {id}");
        ensure!(stage.metric("hirl_policy_faults_total").await?.is_none_or(|faults| faults == 0.0));
        Ok(())
    })
}
