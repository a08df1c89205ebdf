//! The operator's verbs against a real API server, with the operator's own rights.

use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};

use crate::stage::{SOON, Stage};
use crate::testbed::objects::{self, Autoscaler, Workload};
use crate::testbed::run;
use crate::testbed::twin::App;
use crate::testbed::twin::traffic::Traffic;
use crate::testbed::wait::until;

/// Runs `hirl` as an operator with all rights.
async fn hirl(stage: &Stage, arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hirl"));
    command.args(arguments).env("KUBECONFIG", stage.plane().kubeconfig());
    tokio::task::spawn_blocking(move || command.output()).await?.context("running hirl")
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn a_plain_hpa_is_adopted_and_given_back_by_the_printed_patches() -> Result<()> {
    run(async {
        let stage = Stage::shared().await?;
        let client = stage.plane().client();
        stage.namespace("adopt", &[]).await?;
        stage.testbed.twin.add(App::web("adopt", "web", Traffic::Constant(50.0)));
        let workload = Workload { replicas: 3, ..Workload::small("adopt", "web") };
        objects::apply_namespaced(&client, &workload.deployment()?).await?;
        objects::ready(&client, "adopt", "web", 3, SOON).await?;
        let plain = Autoscaler::plain("adopt", "web", 1, 20, &[("cpu", 60), ("memory", 80)]);
        objects::apply_namespaced(&client, &plain.object()?).await?;
        let path = "/apis/autoscaling/v2/namespaces/adopt/horizontalpodautoscalers/web";
        let before = stage.admin()?.get(path, &[]).await?.json()?;

        let printed = hirl(stage, &["adopt", "adopt/web", "-o", "json"]).await?;
        ensure!(printed.status.success(), "{}", said(&printed));
        apply_patch(stage, &printed).await?;
        let adopted = stage.admin()?.get(path, &[]).await?.json()?;
        ensure!(
            adopted["spec"]["metrics"][0]["external"]["metric"]["name"] == objects::METRIC,
            "{adopted}"
        );
        ensure!(adopted["spec"]["behavior"]["scaleUp"]["tolerance"] == "0", "{}", adopted["spec"]);
        ensure!(
            adopted["metadata"]["annotations"]["hirl-scale.io/target-cpu"] == "60",
            "{adopted}"
        );
        until("the adopted HPA to be served", SOON, async || {
            let answer = stage.read("adopt", "web").await?;
            ensure!(answer.status == 200, "{}", answer.body);
            Ok(())
        })
        .await?;
        let twice = hirl(stage, &["adopt", "adopt/web"]).await?;
        ensure!(!twice.status.success(), "adopted twice: {}", said(&twice));

        let back = hirl(stage, &["adopt", "adopt/web", "--back", "-o", "json"]).await?;
        ensure!(back.status.success(), "{}", said(&back));
        apply_patch(stage, &back).await?;
        let after = stage.admin()?.get(path, &[]).await?.json()?;
        ensure!(after["spec"] == before["spec"], "{} is not {}", after["spec"], before["spec"]);
        Ok(())
    })
}

async fn apply_patch(stage: &Stage, printed: &Output) -> Result<()> {
    let patch = String::from_utf8_lossy(&printed.stdout).into_owned();
    let patch = ["patch", "hpa", "web", "-n", "adopt", "--type=merge", "-p", patch.as_str()];
    stage.plane().kubectl(&patch).await.map(|_| ())
}

#[test]
fn lint_finds_the_memory_trap_on_a_live_cluster_and_check_is_content() -> Result<()> {
    run(async {
        let stage = Stage::shared().await?;
        let client = stage.plane().client();
        stage.namespace("lint", &[]).await?;
        let mi = 1_048_576.0;
        stage.testbed.twin.add(App {
            base_memory: 332.0 * mi,
            memory_per_rps: 0.0,
            ..App::web("lint", "bankchurn", Traffic::Constant(1.0))
        });
        let workload = Workload {
            replicas: 3,
            memory: "512Mi",
            cpu: "500m",
            ..Workload::small("lint", "bankchurn")
        };
        objects::apply_namespaced(&client, &workload.deployment()?).await?;
        objects::ready(&client, "lint", "bankchurn", 3, SOON).await?;
        let plain = Autoscaler::plain("lint", "bankchurn", 1, 5, &[("cpu", 50), ("memory", 80)]);
        objects::apply_namespaced(&client, &plain.object()?).await?;
        until("the trap with its arithmetic", SOON, async || {
            let found = hirl(stage, &["lint", "-n", "lint"]).await?;
            let text = said(&found);
            ensure!(found.status.code() == Some(1), "{:?}: {text}", found.status.code());
            ensure!(text.contains("ceil(2.43) = 3"), "{text}");
            Ok(())
        })
        .await?;

        // Other tests refuse HPAs on purpose, and no Secret is needed outside the cluster, so
        // `check` as a whole is not content: these lines must be.
        let checked = said(&hirl(stage, &["check"]).await?);
        for passed in [
            "Kubernetes v1.36",
            "APIService v1beta1.external.metrics.k8s.io points at hirl-system/hirl",
            "the aggregation layer is set up",
            "CRD domains.hirl-scale.io serves v1alpha1",
            "system:serviceaccount:hirl-system:hirl has all",
            "the controller-manager syncs each HPA every",
        ] {
            ensure!(checked.contains(&format!("✓ {passed}")), "no ✓ {passed} in {checked}");
        }
        Ok(())
    })
}

#[test]
fn check_refuses_to_take_over_somebody_elses_api() -> Result<()> {
    run(async {
        let stage = Stage::shared().await?;
        let checked = hirl(stage, &["check", "--service", "keda/keda-metrics"]).await?;
        let text = said(&checked);
        ensure!(!checked.status.success() && text.contains("hirl-system"), "{text}");
        Ok(())
    })
}

#[test]
fn malformed_input_is_one_sentence_and_an_exit_code() -> Result<()> {
    run(async {
        let stage = Stage::shared().await?;
        let scratch = stage.plane().scratch();
        let broken = scratch.write("broken.yaml", "telemetry:\n  url: [\n")?;
        let unknown = scratch.write("unknown.yaml", "telemetri: {}\n")?;
        let kubeconfig = scratch.write("broken-kubeconfig", "clusters: 7\n")?;
        let manifest =
            scratch.write("broken-hpa.yaml", "kind: HorizontalPodAutoscaler\nspec: [\n")?;
        let [broken, unknown, kubeconfig, manifest] =
            [&broken, &unknown, &kubeconfig, &manifest].map(|path| path.display().to_string());
        for arguments in [
            &["serve", "--config", &broken][..],
            &["serve", "--config", &unknown],
            &["serve", "--config", "/does/not/exist.yaml"],
            &["serve", "--kubeconfig", &kubeconfig],
            &["check", "--kubeconfig", &kubeconfig],
            &["lint", "--file", &manifest],
            &["adopt", "no-slash"],
            &["adopt", "nowhere/nothing"],
        ] {
            let output = hirl(stage, arguments).await?;
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            ensure!(
                output.status.code() == Some(2),
                "{arguments:?}: {:?} {text}",
                output.status.code()
            );
            ensure!(!text.contains("panicked"), "{arguments:?}: {text}");
            ensure!(text.trim().lines().count() <= 3, "{arguments:?}: {text}");
        }
        Ok(())
    })
}
