//! Many pods over budget wait behind scheduling gates: the scheduler never looks at them, and they
//! come through by class as room opens.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::PostParams;

use super::rig::{Batch, DOMAIN, Rig, SOON, shipped, sized};
use super::stand::{Stand, limit};
use crate::testbed::judge::{Limit, Room};
use crate::testbed::placing::{Budget, Choices};
use crate::testbed::run;
use crate::testbed::wait::{throughout, until};

#[test]
fn gated_pods_cost_the_scheduler_nothing_and_come_through_by_class() -> Result<()> {
    let pods = sized(300, 10_000);
    run(async {
        let rig = Rig::start().await?;
        rig.nodes("general", 20, 10).await?;
        rig.namespace_with("lake", &[(DOMAIN, "data"), ("hirl-scale.io/gates", "true")]).await?;
        let budget = |share| Budget::new("data", "P3", share);
        let more = "  gates: {enabled: true, perSecond: 100}\n";
        let choices = Choices { extender: more, ..Choices::new(&["general"]) };
        let stand = Stand::start(rig, &choices, &[budget(0.1)], 20_000).await?;
        let rig = &stand.rig;
        shipped(&rig.plane, &["gates/policy.yaml"]).await?;
        let low = Batch::new("lake", "low-", "1").class("hirl-p3");
        let api: Api<Pod> = Api::namespaced(rig.client.clone(), "lake");
        until("the policy to gate pods", SOON, async || {
            let dry = PostParams { dry_run: true, ..PostParams::default() };
            let made = api.create(&dry, &low.pod(0)?).await?;
            let gates = made.spec.and_then(|spec| spec.scheduling_gates).unwrap_or_default();
            ensure!(gates.len() == 1 && gates[0].name == "hirl-scale.io/budget", "{gates:?}");
            Ok(())
        })
        .await?;
        low.create(&rig.client, pods).await?;
        rig.bound("lake", "low-", 20, SOON).await?;
        throughout("the budget behind gates", Duration::from_secs(12), async || {
            let bound = rig.placed("lake", "low-").await?.len();
            ensure!(bound == 20, "{bound} are bound");
            Ok(())
        })
        .await?;
        let waiting = rig.waiting("lake", "low-").await?;
        let gated = waiting.values().filter(|(reason, _)| reason == "SchedulingGated").count();
        let refusals = stand.refusals("data").await?;
        ensure!(gated + 25 >= pods, "{gated} of {pods} are gated: {:?}", waiting.values().next());
        ensure!(refusals <= 30.0, "{refusals} refusals: gated pods reached the scheduler");

        // Later, but of a higher class: they go first when room opens.
        Batch::new("lake", "high-", "1").class("hirl-p2").create(&rig.client, 30).await?;
        until("the later ones to be gated", SOON, async || {
            let waiting = rig.waiting("lake", "high-").await?.len();
            ensure!(waiting == 30, "{waiting}");
            Ok(())
        })
        .await?;
        let (raising, _) = stand.set(&budget(0.2), "general", 40_000).await?;
        until("the new room to be used", SOON, async || {
            let bound = rig.placed("lake", "").await?.len();
            ensure!(bound == 40, "{bound} are bound");
            Ok(())
        })
        .await?;
        let high = rig.placed("lake", "high-").await?.len();
        ensure!(high >= 15, "only {high} of the 20 new ones are of the higher class");
        let (last, _) = stand.set(&budget(1.0), "general", 200_000).await?;
        rig.bound("lake", "high-", 30, SOON).await?;
        until("all room to be used", 2 * SOON, async || {
            let bound = rig.placed("lake", "").await?.len();
            ensure!(bound == 200, "{bound} are bound");
            Ok(())
        })
        .await?;
        let steps = vec![
            (jiff::Timestamp::MIN, Room::cpu(20_000)),
            (raising, Room::cpu(40_000)),
            (last, Room::cpu(200_000)),
        ];
        stand.judged(&[Limit { steps, ..limit("data", "general", 0) }])?;
        let seen = stand.refusals("data").await?;
        let left = rig.waiting("lake", "low-").await?.into_values().next().context("none left")?;
        println!(
            "gates: {gated} of {pods} gated, {refusals} refusals for them; {high} of 20 new places to the \
             higher class; {seen} refusals in all; the rest says {left:?}"
        );
        Ok(())
    })
}
