//! The two halves at once: a stock HPA raises a P0 app by our number while a flash of P3 work fills
//! the same pool. With the extender P0 finds its place; without it, all else equal, it does not.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use serde_json::json;

use super::rig::{Batch, DOMAIN, SCHEDULER, SOON, shipped};
use crate::stage::{self, Stage};
use crate::testbed::control_plane;
use crate::testbed::judge::Course;
use crate::testbed::objects::{self, Autoscaler, Workload};
use crate::testbed::placing::{self, Budget};
use crate::testbed::scheduler::{Scheduler, Setup};
use crate::testbed::twin::traffic::Traffic;
use crate::testbed::twin::{App, Gauge};
use crate::testbed::wait::{throughout, until};
use crate::testbed::{Options, run};

/// Pods that the pool holds.
const ROOM: usize = 100;
/// P3 pods that come at once, and those of them that the budget of their domain holds.
const FLASH: usize = 150;
const FLASH_BUDGET: usize = 40;
/// Replicas of the P0 app before and after its rise.
const CALM: u32 = 5;
const RISEN: u32 = 45;

#[test]
fn a_flash_of_p3_work_does_not_delay_p0_and_without_the_extender_it_does() -> Result<()> {
    run(async {
        let stage = stage(60).await?;
        let setup = |extender| Setup { no_preemption: true, ..Setup::new(SCHEDULER, extender) };

        let with = Some(placing::extender(&stage.hirl, "strict"));
        let mut scheduler = Scheduler::start(stage.plane(), "with", &setup(with)).await?;
        calm(&stage).await?;
        flash(&stage, FLASH_BUDGET).await?;
        let since = rise(&stage).await?;
        until("every P0 pod to be bound", SOON, async || {
            let bound = bound(&stage, "pay").await?;
            ensure!(bound == RISEN as usize, "{bound} are");
            Ok(())
        })
        .await?;
        let seconds = since.elapsed().as_secs_f64();
        ensure!(bound(&stage, "ci").await? == FLASH_BUDGET, "P3 above its budget");
        println!("P0 beside a P3 flash: {RISEN} pods bound {seconds:.1} s after the rise");

        // The same once more without us.
        scheduler.process().kill()?;
        clear(&stage).await?;
        let _plain = Scheduler::start(stage.plane(), "without", &setup(None)).await?;
        calm(&stage).await?;
        flash(&stage, ROOM - CALM as usize).await?;
        rise(&stage).await?;
        throughout("P0 to be kept waiting", Duration::from_secs(10), async || {
            let bound = bound(&stage, "pay").await?;
            ensure!(bound == CALM as usize, "{bound} are bound");
            Ok(())
        })
        .await?;
        println!("the same without the extender: {} P0 pods still wait", RISEN - CALM);
        Ok(())
    })
}

#[test]
fn a_domain_that_breaks_its_slo_may_use_the_band_with_its_own_class() -> Result<()> {
    run(async {
        // The app may not grow: who fills the band are pods without an HPA.
        let stage = stage(CALM).await?;
        let strict = Setup::new(SCHEDULER, Some(placing::extender(&stage.hirl, "strict")));
        let _scheduler = Scheduler::start(stage.plane(), "with", &strict).await?;
        calm(&stage).await?;
        let client = stage.plane().client();
        let pods =
            |prefix| Batch { scheduler: "default-scheduler", ..Batch::new("pay", prefix, "100m") };
        // More than the band holds, and some of a lower class behind them.
        pods("p0-").class("hirl-p0").create(&client, 60).await?;
        let full = |cores: f64| (cores * 10.0) as usize;
        holds(&stage, full(5.0)).await?;
        pods("p2-").class("hirl-p2").create(&client, 10).await?;
        // Half of the requests fail.
        stage.testbed.twin.pin("pay", "checkout", Gauge::ErrorRatio, 0.5)?;
        holds(&stage, full(5.5)).await?;
        let course = Course::read(&stage.plane().audit_log()?, DOMAIN)?;
        let peak = course.peak("payments", "general").cpu;
        ensure!(peak == 5500, "{peak}m, not the budget of 5000m and its band");
        ensure!(course.bound("pay/p2-") == 0, "a lower class used the band");
        println!("breach of the SLO: {peak}m of 5000m and a band of a tenth");
        Ok(())
    })
}

/// Waits until so many pods of the P0 domain are bound, and sees that it stays so.
async fn holds(stage: &Stage, count: usize) -> Result<()> {
    let seen = async || {
        let bound = bound(stage, "pay").await?;
        ensure!(bound == count, "{bound} are bound, not {count}");
        Ok(())
    };
    until("the domain to use what it may", SOON, seen).await?;
    throughout("that limit", Duration::from_secs(12), seen).await
}

/// The pool, the two domains, the P0 app with its HPA, which raises it to `most`, and hirl behind both APIs.
async fn stage(most: u32) -> Result<Stage> {
    let options = Options {
        plane: control_plane::Options { audit: true, ..control_plane::Options::default() },
        ..Options::default()
    };
    let stage = Stage::start_with(options, |place, prometheus| {
        format!(
            "{}extender:
  enabled: true
  listen: 127.0.0.1:{}
  clientCaFile: {}
  fenceSeconds: 1
",
            stage::config(place, prometheus),
            place.spare_port,
            place.cluster_ca.display(),
        )
    })
    .await?;
    let (plane, client) = (stage.plane(), stage.plane().client());
    shipped(plane, &["priorityclasses.yaml", "rbac.yaml", "policy.yaml"]).await?;
    for index in 0..10 {
        let node = objects::node(&format!("general-{index}"), "general", 1, "100Gi")?;
        objects::apply(&client, &node).await?;
    }
    let strict = ("hirl-scale.io/scheduler", "strict");
    for (name, domain) in [("pay", "payments"), ("ci", "platform")] {
        let namespace = objects::namespace(name, &[(DOMAIN, domain), strict])?;
        objects::apply(&client, &namespace).await?;
    }
    for budget in [Budget::new("payments", "P0", 0.5), Budget::new("platform", "P3", 0.4)] {
        budget.apply(plane).await?;
        let limit = (budget.share * 10_000.0) as i64;
        placing::limited(plane, &stage.hirl, (budget.domain, "general"), limit).await?;
    }
    stage.testbed.twin.add(App::web("pay", "checkout", Traffic::Constant(50.0)));
    stage.testbed.twin.pin("pay", "checkout", Gauge::P99, 0.05)?;
    stage.testbed.twin.pin("pay", "checkout", Gauge::ErrorRatio, 0.0)?;
    stage.want("pay", "checkout", CALM)?;
    let workload = Workload { replicas: CALM, ..Workload::small("pay", "checkout") };
    let mut deployment = serde_json::to_value(workload.deployment()?)?;
    deployment["spec"]["template"]["spec"]["priorityClassName"] = json!("hirl-p0");
    let deployment: Deployment = serde_json::from_value(deployment)?;
    objects::apply_namespaced(&client, &deployment).await?;
    let follower = Autoscaler::following("pay", "checkout", 1, most);
    objects::apply_namespaced(&client, &follower.object()?).await?;
    Ok(stage)
}

/// Brings the P0 app to few replicas.
async fn calm(stage: &Stage) -> Result<()> {
    stage.want("pay", "checkout", CALM)?;
    until("the P0 app to be calm", SOON, async || {
        let bound = bound(stage, "pay").await?;
        ensure!(bound == CALM as usize, "{bound} pods are bound");
        Ok(())
    })
    .await
}

/// The flash, of which so many are bound.
async fn flash(stage: &Stage, holds: usize) -> Result<()> {
    // The policy gives them their scheduler, as it does to the pods of the Deployment.
    let pods = Batch { scheduler: "default-scheduler", ..Batch::new("ci", "job-", "100m") };
    pods.class("hirl-p3").create(&stage.plane().client(), FLASH).await?;
    until("the flash to fill what it can", SOON, async || {
        let bound = bound(stage, "ci").await?;
        ensure!(bound == holds, "{bound} are bound, not {holds}");
        Ok(())
    })
    .await
}

/// Raises the P0 app by its HPA; when that was done.
async fn rise(stage: &Stage) -> Result<Instant> {
    stage.want("pay", "checkout", RISEN)?;
    objects::scaled_to(&stage.plane().client(), "pay", "checkout", RISEN, SOON).await?;
    Ok(Instant::now())
}

/// Takes the flash away.
async fn clear(stage: &Stage) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(stage.plane().client(), "ci");
    let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
    pods.delete_collection(&at_once, &ListParams::default()).await?;
    until("the flash to be gone", SOON, async || {
        let left = pods.list(&ListParams::default()).await?.items.len();
        ensure!(left == 0, "{left} are left");
        Ok(())
    })
    .await
}

async fn bound(stage: &Stage, namespace: &str) -> Result<usize> {
    let pods: Api<Pod> = Api::namespaced(stage.plane().client(), namespace);
    let pods = pods.list(&ListParams::default()).await?.items;
    let on_node = |pod: &&Pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
    Ok(pods.iter().filter(on_node).count())
}
