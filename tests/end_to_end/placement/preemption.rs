//! Preemption inside the budget: a veto where a pod could not be placed anyway or others would pay,
//! and exactly the pods of its own domain and a lower class where it may.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::rig::{Batch, Rig, SOON};
use super::stand::{Stand, limit};
use crate::testbed::placing::{Budget, Choices, uses};
use crate::testbed::run;
use crate::testbed::scheduler::USER;
use crate::testbed::wait::{throughout, until};

/// For how long nobody must be evicted.
const QUIET: Duration = Duration::from_secs(20);

/// Pods on nodes `from`, `from + 1`, ... of `general`, four each.
async fn fill(rig: &Rig, batch: &Batch<'_>, from: usize, nodes: usize) -> Result<()> {
    for node in from..from + nodes {
        let prefix = format!("{}{node}-", batch.prefix);
        let more = json!({"nodeSelector": {"kubernetes.io/hostname": format!("general-{node}")}});
        let batch = Batch { prefix: &prefix, more, ..batch.clone() };
        batch.create(&rig.client, 4).await?;
    }
    rig.bound(batch.namespace, batch.prefix, 4 * nodes, SOON).await
}

#[test]
fn nobody_dies_for_a_pod_over_budget_nor_for_one_whose_victims_are_others() -> Result<()> {
    run(async {
        let rig = Rig::start().await?;
        rig.nodes("general", 4, 4).await?;
        rig.namespace("lake", "data").await?;
        rig.namespace("shop", "payments").await?;
        let data = Budget { floor: 0.75, ..Budget::new("data", "P3", 0.75) };
        let budgets = [Budget::new("payments", "P0", 0.25), data];
        let stand = Stand::start(rig, &Choices::new(&["general"]), &budgets, 4000).await?;
        let rig = &stand.rig;
        fill(rig, &Batch::new("lake", "low-", "1").class("hirl-p3"), 1, 3).await?;
        fill(rig, &Batch::new("shop", "own-", "1").class("hirl-p0"), 0, 1).await?;
        // Over budget, and no node passes the scheduler's own filters: it asks for preemption.
        Batch::new("shop", "over-", "1").class("hirl-p0").create(&rig.client, 2).await?;
        until("the preempt verb to be asked", SOON, async || {
            let calls = stand.answers("preempt").await?;
            ensure!(calls > 0.0, "{calls} calls");
            Ok(())
        })
        .await?;
        throughout("no eviction for a pod over budget", QUIET, async || {
            let course = rig.course()?;
            ensure!(course.ended_by(USER).is_empty(), "{:?}", course.ended_by(USER));
            tokio::time::sleep(Duration::from_millis(500)).await;
            Ok(())
        })
        .await?;
        // Inside its budget now, but everybody who could die belongs to a domain at its floor.
        let own = rig.placed("shop", "own-").await?.into_keys().next().context("none")?;
        for name in [own.as_str(), "over-0", "over-1"] {
            rig.delete("shop", name).await?;
        }
        let filler = Batch { scheduler: "default-scheduler", ..Batch::new("free", "filler-", "1") };
        rig.namespace_with("free", &[]).await?;
        let filler = Batch { class: "system-node-critical", namespace: "kube-system", ..filler };
        filler.create(&rig.client, 1).await?;
        rig.bound("kube-system", "filler-", 1, SOON).await?;
        let asked = stand.answers("preempt").await?;
        Batch::new("shop", "within-", "1").class("hirl-p0").create(&rig.client, 1).await?;
        until("the preempt verb to be asked again", SOON, async || {
            let calls = stand.answers("preempt").await?;
            ensure!(calls > asked, "{calls} calls");
            Ok(())
        })
        .await?;
        throughout("no eviction of another domain", QUIET / 2, async || {
            let course = rig.course()?;
            ensure!(course.ended_by(USER).is_empty(), "{:?}", course.ended_by(USER));
            tokio::time::sleep(Duration::from_millis(500)).await;
            Ok(())
        })
        .await?;
        let limits = [limit("payments", "general", 4000), limit("data", "general", 12_000)];
        stand.judged(&limits).map(|_| ())
    })
}

#[test]
fn a_p0_pod_takes_the_place_of_one_p3_pod_of_its_own_domain() -> Result<()> {
    run(async {
        let rig = Rig::start().await?;
        rig.nodes("general", 4, 4).await?;
        rig.namespace("lake", "data").await?;
        rig.namespace("shop", "payments").await?;
        let budgets = [Budget::new("payments", "P0", 0.5), Budget::new("data", "P3", 0.5)];
        let stand = Stand::start(rig, &Choices::new(&["general"]), &budgets, 8000).await?;
        let rig = &stand.rig;
        fill(rig, &Batch::new("lake", "data-", "1").class("hirl-p3"), 0, 2).await?;
        fill(rig, &Batch::new("shop", "batch-", "1").class("hirl-p3"), 2, 2).await?;
        Batch::new("shop", "urgent-", "1").class("hirl-p0").create(&rig.client, 1).await?;
        rig.bound("shop", "urgent-", 1, SOON).await?;
        let node = rig.placed("shop", "urgent-").await?.into_values().next().context("no node")?;
        ensure!(node == "general-2" || node == "general-3", "on {node}");
        let course = rig.course()?;
        let limits = [limit("payments", "general", 8000), limit("data", "general", 8000)];
        let breaches = course.breaches(&limits);
        ensure!(breaches.is_empty(), "{}", breaches[0]);
        let ended = course.ended_by(USER);
        let names: Vec<&str> = ended.iter().map(|pod| pod.name.as_str()).collect();
        ensure!(names.len() == 1 && names[0].starts_with("shop/batch-"), "{names:?}");
        ensure!(ended[0].node.as_deref() == Some(node.as_str()), "another node: {:?}", ended[0]);
        println!("preemption allowed: exactly {} died for it on {node}", names[0]);
        Ok(())
    })
}

#[test]
fn a_pod_nominated_to_a_closed_pool_is_bound_in_the_open_one_with_one_hold() -> Result<()> {
    run(async {
        let rig = Rig::start().await?;
        rig.nodes("closed", 2, 8).await?;
        rig.nodes("open", 2, 8).await?;
        rig.namespace("shop", "payments").await?;
        let pools = [("closed", 0.0)];
        let budget = Budget { pools: &pools, ..Budget::new("payments", "P0", 0.5) };
        let choices = Choices::new(&["open", "closed"]);
        let stand = Stand::start(rig, &choices, &[budget], 8000).await?;
        let rig = &stand.rig;
        let gated = json!({"schedulingGates": [{"name": "testbed/wait"}]});
        let batch = Batch { more: gated, ..Batch::new("shop", "p-", "1") };
        batch.create(&rig.client, 1).await?;
        let pods: Api<Pod> = Api::namespaced(rig.client.clone(), "shop");
        let nominated = Patch::Merge(json!({"status": {"nominatedNodeName": "closed-0"}}));
        pods.patch_status("p-0", &PatchParams::default(), &nominated).await?;
        let through = Patch::Merge(json!({"spec": {"schedulingGates": null}}));
        pods.patch("p-0", &PatchParams::default(), &through).await?;
        rig.bound("shop", "p-", 1, SOON).await?;
        let node = rig.placed("shop", "p-").await?.into_values().next().context("no node")?;
        ensure!(node.starts_with("open-"), "on {node}");
        until("one pod in one pool", SOON, async || {
            let open = uses(&rig.plane, &stand.hirl, "payments", "open").await?;
            let closed = uses(&rig.plane, &stand.hirl, "payments", "closed").await?;
            let cpu = |found: &serde_json::Value, key: &str| found[key]["cpu_milli"].as_u64();
            ensure!(cpu(&open, "bound") == Some(1000) && cpu(&open, "held") == Some(0), "{open}");
            ensure!(
                cpu(&closed, "bound") == Some(0) && cpu(&closed, "held") == Some(0),
                "{closed}"
            );
            Ok(())
        })
        .await?;
        stand.judged(&[limit("payments", "open", 8000), limit("payments", "closed", 0)]).map(|_| ())
    })
}
