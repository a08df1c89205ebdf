//! The HPA path and the extender in one scenario: a flash load of P3 in a full pool does not delay
//! the P0 pods that an HPA asks for. Without the extender it does; the priority classes are the same
//! and nobody preempts, with it and without.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;

use super::rig::{DOMAIN, SCHEDULER, SOON, shipped};
use super::stand::{fair, limit};
use crate::testbed::hirl::{self, Hirl, Place};
use crate::testbed::judge::Course;
use crate::testbed::objects::{self, Autoscaler, Workload};
use crate::testbed::placing::{self, Budget, Choices};
use crate::testbed::scheduler::{Scheduler, Setup};
use crate::testbed::twin::traffic::Traffic;
use crate::testbed::twin::{App, Gauge};
use crate::testbed::wait::{throughout, until};
use crate::testbed::{Options, Testbed, run};

/// A scheduler without an extender.
const PLAIN: &str = "plain-scheduler";
/// Replicas that the P0 app has, and that it needs under load.
const CALM: u32 = 2;
const LOADED: u32 = 10;

/// A Deployment of pods of one core that `scheduler` places.
fn deployment(namespace: &str, name: &str, class: &str, scheduler: &str) -> Result<Deployment> {
    let workload = Workload { cpu: "1", ..Workload::small(namespace, name) };
    let mut deployment = workload.deployment()?;
    let template = deployment.spec.as_mut().context("no spec")?.template.spec.as_mut();
    let pod = template.context("no template")?;
    pod.scheduler_name = Some(scheduler.to_owned());
    pod.priority_class_name = Some(class.to_owned());
    Ok(deployment)
}

/// Makes the rule want so many replicas of the P0 app.
fn want(testbed: &Testbed, name: &str, replicas: u32) -> Result<()> {
    testbed.twin.pin_cpu("shop", name, (f64::from(replicas) - 0.5) * 0.7)
}

/// The P0 app called `name` with its HPA, calm and ready.
async fn calm(testbed: &Testbed, name: &str, scheduler: &str) -> Result<()> {
    let client = testbed.plane.client();
    testbed.twin.add(App::web("shop", name, Traffic::Constant(50.0)));
    testbed.twin.pin("shop", name, Gauge::P99, 0.05)?;
    testbed.twin.pin("shop", name, Gauge::ErrorRatio, 0.0)?;
    want(testbed, name, CALM)?;
    let mut app = deployment("shop", name, "hirl-p0", scheduler)?;
    app.spec.as_mut().context("no spec")?.replicas = Some(2);
    objects::apply_namespaced(&client, &app).await?;
    objects::ready(&client, "shop", name, CALM, SOON).await?;
    let hpa = Autoscaler::following("shop", name, 1, 100).object()?;
    objects::apply_namespaced(&client, &hpa).await?;
    until("the HPA to follow", SOON, async || {
        let (status, reason) =
            objects::hpa_condition(&client, "shop", name, "ScalingActive").await?;
        ensure!(status == "True", "{status}: {reason}");
        Ok(())
    })
    .await
}

/// A flash of sixty P3 pods, until `placed` of them run.
async fn flash(testbed: &Testbed, name: &str, scheduler: &str, placed: u32) -> Result<()> {
    let client = testbed.plane.client();
    let mut flash = deployment("lake", name, "hirl-p3", scheduler)?;
    flash.spec.as_mut().context("no spec")?.replicas = Some(60);
    objects::apply_namespaced(&client, &flash).await?;
    objects::ready(&client, "lake", name, placed, SOON).await
}

fn config(testbed: &Testbed, place: &Place) -> String {
    let url = testbed.prometheus.url();
    let choices = Choices {
        telemetry: format!(
            "  url: {url}\n  scrapeIntervalSeconds: 1\n  \
             freshness: {{rps: 4, p99: 4, errorRatio: 4, cpu: 4, memory: 4}}\n{}",
            hirl::gauges()
        ),
        policy: "stabilizationSeconds: 0, trafficLimit: 1, headroom: 10",
        extender: "safety: {upFactor: 100000, downFactor: 0, downPods: 100000, lastGoodSeconds: 3}\n",
        ..Choices::new(&["general"])
    };
    choices.config(&testbed.plane, place)
}

/// The longest wait for a Binding of the pods of a P0 app, in seconds.
fn longest(course: &Course, name: &str) -> f64 {
    course.waits(&format!("shop/{name}-")).last().copied().unwrap_or(f64::NAN)
}

#[test]
#[expect(clippy::print_stdout, reason = "figures, with --nocapture")]
fn a_flash_load_of_p3_delays_no_p0_pod_and_without_the_extender_it_does() -> Result<()> {
    run(async {
        let mut options = Options::default();
        options.plane.audit = true;
        let testbed = Testbed::start(options).await?;
        let plane = &testbed.plane;
        hirl::install(plane).await?;
        shipped(plane, &["priorityclasses.yaml", "rbac.yaml"]).await?;
        let client = plane.client();
        for (namespace, domain) in [("shop", "payments"), ("lake", "data")] {
            let labels = [(DOMAIN, domain)];
            objects::apply(&client, &objects::namespace(namespace, &labels)?).await?;
        }
        for node in 0..10 {
            let node = objects::node(&format!("general-{node}"), "general", 4, "100Gi")?;
            objects::apply(&client, &node).await?;
        }
        for budget in [Budget::new("payments", "P0", 0.4), Budget::new("data", "P3", 0.6)] {
            budget.apply(plane).await?;
        }
        let mut server = Hirl::start(plane, "hirl", |place| config(&testbed, place))?;
        server.ready().await?;
        server.register(plane).await?;
        placing::limited(plane, &server, ("payments", "general"), 16_000).await?;
        let extender = placing::extender(&server, "strict");
        let ours = Setup { no_preemption: true, ..Setup::new(SCHEDULER, Some(extender)) };
        let plain = Setup { no_preemption: true, ..Setup::new(PLAIN, None) };
        let _ours = Scheduler::start(plane, "second-scheduler", &ours).await?;
        let _plain = Scheduler::start(plane, PLAIN, &plain).await?;

        // With the extender: 24 of 40 cores go to the flash, and the P0 app finds its ten.
        calm(&testbed, "web", SCHEDULER).await?;
        flash(&testbed, "flash", SCHEDULER, 24).await?;
        want(&testbed, "web", LOADED)?;
        objects::scaled_to(&client, "shop", "web", LOADED, SOON).await?;
        objects::ready(&client, "shop", "web", LOADED, SOON).await?;
        let limits = [limit("payments", "general", 16_000), limit("data", "general", 24_000)];
        let course = Course::read(&plane.audit_log()?, DOMAIN)?;
        fair(&course, &limits)?;
        let with = longest(&course, "web");

        // Without: the flash takes every core that is left, and the P0 app waits.
        objects::delete::<Deployment>(&client, "lake", "flash").await?;
        objects::delete::<Deployment>(&client, "shop", "web").await?;
        calm(&testbed, "bare", PLAIN).await?;
        until("the pool to be empty but for the calm app", SOON, async || {
            let course = Course::read(&plane.audit_log()?, DOMAIN)?;
            let left: i64 = course.used.values().map(|room| room.cpu).sum();
            ensure!(left == 2000, "{left}m are used");
            Ok(())
        })
        .await?;
        flash(&testbed, "burst", PLAIN, 38).await?;
        want(&testbed, "bare", LOADED)?;
        objects::scaled_to(&client, "shop", "bare", LOADED, SOON).await?;
        let span = Duration::from_secs(15);
        throughout("P0 pods in want of a place", span, async || {
            let ready = objects::ready_replicas(&client, "shop", "bare").await?;
            ensure!(ready == CALM, "{ready} are ready");
            Ok(())
        })
        .await?;
        println!(
            "P3 flash load in a full pool: with the extender all 10 P0 pods run, the longest wait for \
             a Binding was {with:.2} s; without it 8 of 10 still wait after {} s",
            span.as_secs()
        );
        Ok(())
    })
}
