//! Budgets are kept to the pod, by CPU and by memory, and who has none is not asked for one.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;

use super::rig::{Batch, Rig, SOON};
use super::stand::{Stand, limit};
use crate::testbed::judge::{Limit, Room};
use crate::testbed::placing::{Budget, Choices, uses};
use crate::testbed::run;
use crate::testbed::scheduler::USER;
use crate::testbed::wait::{throughout, until};

#[test]
fn exactly_what_the_budget_holds_is_bound_of_200_pods_at_once() -> Result<()> {
    run(async {
        let rig = Rig::start().await?;
        rig.nodes("general", 20, 4).await?;
        rig.namespace("shop", "payments").await?;
        rig.namespace_with("free", &[]).await?;
        let budgets = [Budget::new("payments", "P1", 0.125)];
        let stand = Stand::start(rig, &Choices::new(&["general"]), &budgets, 10_000).await?;
        let rig = &stand.rig;
        Batch::new("shop", "p-", "1").create(&rig.client, 200).await?;
        rig.bound("shop", "p-", 10, SOON).await?;
        until("every other pod to be told why", SOON, async || {
            let waiting = rig.waiting("shop", "p-").await?;
            ensure!(waiting.len() == 190, "{}", waiting.len());
            Ok(())
        })
        .await?;
        // Who has no budget is placed by the same scheduler all the while, system pods too.
        Batch::new("free", "p-", "1").create(&rig.client, 10).await?;
        rig.bound("free", "p-", 10, SOON).await?;
        let system = Batch::new("kube-system", "agent-", "100m").class("system-node-critical");
        system.create(&rig.client, 3).await?;
        rig.bound("kube-system", "agent-", 3, SOON).await?;
        throughout("the boundary", Duration::from_secs(15), async || {
            let bound = rig.placed("shop", "p-").await?.len();
            ensure!(bound == 10, "{bound} are bound");
            Ok(())
        })
        .await?;
        let texts: std::collections::BTreeSet<_> =
            rig.waiting("shop", "p-").await?.into_values().collect();
        ensure!(texts.len() == 1, "not one text: {texts:?}");
        let (reason, text) = texts.first().context("nobody waits")?;
        ensure!(reason == "SchedulerError" && text.contains("payments"), "{reason}: {text}");
        ensure!(text.contains("cpu") && !text.contains(|c: char| c.is_ascii_digit()), "{text}");

        let course = stand.judged(&[limit("payments", "general", 10_000)])?;
        ensure!(course.peak("payments", "general").cpu == 10_000, "not used up");
        rig.adds_up(&course, "shop", "payments").await?;
        let patches = course.most_status_patches("shop/", USER);
        ensure!(patches <= 2, "{patches} status patches of one pod");
        println!("exact boundary: peak 10000m of 10000m, at most {patches} status patches: {text}");
        golden(&stand).await
    })
}

/// The Binding left its trail in the pod, and the ledger says what the audit log says.
async fn golden(stand: &Stand) -> Result<()> {
    let rig = &stand.rig;
    let (name, _) = rig.placed("shop", "p-").await?.pop_first().context("none is bound")?;
    let pod = Api::<Pod>::namespaced(rig.client.clone(), "shop").get(&name).await?;
    let annotations = pod.metadata.annotations.unwrap_or_default();
    let told = |key: &str| annotations.get(&format!("hirl-scale.io/{key}")).map(String::as_str);
    ensure!(told("budget-pool") == Some("general"), "{annotations:?}");
    ensure!(told("budget-domain") == Some("payments"), "{annotations:?}");
    let epoch = told("budget-epoch").context("no epoch")?;
    let numbers = epoch.split_once('-').context("not TERM-SEQUENCE")?;
    ensure!(numbers.0.parse::<u64>().is_ok() && numbers.1.parse::<u64>().is_ok(), "{epoch}");
    until("the ledger to show ten bound pods", SOON, async || {
        let found = uses(&rig.plane, &stand.hirl, "payments", "general").await?;
        ensure!(found["bound"]["cpu_milli"] == 10_000, "{found}");
        ensure!(found["bound"]["memory"] == 10 << 20, "{found}");
        Ok(())
    })
    .await
}

#[test]
fn memory_bounds_as_cpu_does_and_a_smaller_pod_still_fits() -> Result<()> {
    run(async {
        let rig = Rig::start().await?;
        // 40 cores and 40 Gi: a share of a tenth is 4 cores and 4 Gi.
        rig.nodes_with("general", 4, 10, "10Gi").await?;
        rig.namespace("shop", "payments").await?;
        let budgets = [Budget::new("payments", "P1", 0.1)];
        let stand = Stand::start(rig, &Choices::new(&["general"]), &budgets, 4000).await?;
        let rig = &stand.rig;
        let large = Batch { memory: "1200Mi", ..Batch::new("shop", "large-", "100m") };
        large.create(&rig.client, 5).await?;
        rig.bound("shop", "large-", 3, SOON).await?;
        until("the others to be told that it is memory", SOON, async || {
            let waiting = rig.waiting("shop", "large-").await?;
            ensure!(waiting.len() == 2, "{waiting:?}");
            ensure!(waiting.values().all(|(_, text)| text.contains("memory")), "{waiting:?}");
            Ok(())
        })
        .await?;
        let small = Batch { memory: "400Mi", ..Batch::new("shop", "small-", "100m") };
        small.create(&rig.client, 1).await?;
        rig.bound("shop", "small-", 1, SOON).await?;
        rig.bound("shop", "large-", 3, SOON).await?;
        let room = Room { cpu: 4000, memory: 4 << 30 };
        stand.judged(&[Limit::constant("payments", "general", room)]).map(|_| ())
    })
}
