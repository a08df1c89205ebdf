//! Pods over budget wait quietly, whatever happens around them, and delay nobody else.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;

use super::rig::{Batch, Rig, SCHEDULER, SOON, milli, sized};
use super::stand::{Stand, limit};
use crate::testbed::objects::create_all;
use crate::testbed::placing::{Budget, Choices};
use crate::testbed::run;
use crate::testbed::scheduler::USER;
use crate::testbed::wait::until;

#[test]
fn blocked_pods_neither_storm_nor_evict_nor_delay_others_while_binds_and_taints_go_on() -> Result<()>
{
    // Pods over budget; nodes of ten cores, all with room for every pod; rounds of two seconds.
    let (blocked, nodes, rounds) = (sized(100, 2000), sized(20, 200), sized(10, 300));
    // A twentieth of the nodes is the budget of the pods that block.
    let allowed = nodes / 2;
    run(async {
        let rig = Rig::start().await?;
        rig.nodes("general", nodes, 10).await?;
        rig.namespace("lake", "data").await?;
        rig.namespace("shop", "payments").await?;
        rig.namespace_with("free", &[]).await?;
        let budgets = [Budget::new("data", "P2", 0.05), Budget::new("payments", "P0", 0.8)];
        let mut stand =
            Stand::start(rig, &Choices::new(&["general"]), &budgets, milli(allowed)).await?;
        let rig = &stand.rig;
        // Some that could be evicted, with the least priority.
        let victims = Batch { scheduler: "default-scheduler", ..Batch::new("free", "low-", "1") };
        victims.create(&rig.client, 20).await?;
        rig.bound("free", "low-", 20, SOON).await?;
        // P1, so that they may preempt.
        let waiting = Batch::new("lake", "blocked-", "1").class("hirl-p1");
        waiting.create(&rig.client, blocked + allowed).await?;
        rig.bound("lake", "blocked-", allowed, SOON).await?;
        until("the others to wait", SOON, async || {
            let waiting = rig.waiting("lake", "blocked-").await?.len();
            ensure!(waiting == blocked, "{waiting}");
            Ok(())
        })
        .await?;
        let before = stand.refusals("data").await?;

        let began = Instant::now();
        for round in 0..rounds {
            churn(rig, round, nodes).await?;
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        rig.bound("shop", "good-", 20 * rounds, SOON).await?;
        let seconds = began.elapsed().as_secs_f64();
        let calls = stand.refusals("data").await? - before;

        let course = stand.judged(&[
            limit("data", "general", milli(allowed)),
            limit("payments", "general", 16 * milli(allowed)),
        ])?;
        let lake = course.bound("lake/");
        ensure!(lake == allowed, "{lake} blocked pods are bound, not {allowed}");
        let patches = course.most_status_patches("lake/", USER);
        ensure!(patches <= 2, "{patches} status patches of one blocked pod");
        // By back-off alone: after 1, 2, 4, 8, 10, 10, ... seconds; twice that would be a storm.
        let each = calls / blocked as f64;
        ensure!(each <= 2.0 * (4.0 + seconds / 10.0), "{each} filter calls per blocked pod");
        // All those calls went over one connection, or a few.
        let connections = stand.connections().await?;
        ensure!((1.0..=4.0).contains(&connections), "{connections} connections");
        let log = stand.scheduler.process().log()?;
        let dry_runs = log.matches("expected at least one victim pod").count();
        ensure!(dry_runs == 0, "{dry_runs} preemptions without a victim");
        let waits = course.waits("shop/good-");
        let waited = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize];
        println!(
            "{blocked} blocked pods beside {} good ones ({SCHEDULER}), {} foreign binds and taints in \
             {seconds:.0} s: {each:.1} filter calls and at most {patches} status patches per blocked pod, 0 \
             evictions; creation to Binding of the good ones p50 {:.2} s, p99 {:.2} s, max {:.2} s",
            20 * rounds,
            10 * rounds,
            waited(0.5),
            waited(0.99),
            waited(1.0)
        );
        let (filter, bind) = (stand.mean("filter").await?, stand.mean("bind").await?);
        println!(
            "mean answer: filter {filter:.2} ms, bind {bind:.2} ms; {connections} connections"
        );
        Ok(())
    })
}

/// Twenty good pods, ten foreign ones, and taints on half of the first nodes.
async fn churn(rig: &Rig, round: usize, nodes: usize) -> Result<()> {
    let good = Batch::new("shop", "good-", "10m").class("hirl-p0");
    let pods = (0..20).map(|index| good.pod(round * 20 + index));
    create_all(&rig.client, pods.collect::<Result<_>>()?).await?;
    let foreign = Batch {
        scheduler: "default-scheduler",
        more: json!({"nodeName": format!("general-{}", round % nodes)}),
        ..Batch::new("free", "foreign-", "10m")
    };
    let pods = (0..10).map(|index| foreign.pod(round * 10 + index));
    create_all(&rig.client, pods.collect::<Result<_>>()?).await?;
    for node in 0..10 {
        let taint = json!([{"key": "churn", "effect": "NoSchedule"}]);
        let taints = if (round + node).is_multiple_of(2) { taint } else { json!(null) };
        rig.patch_node(&format!("general-{node}"), json!({"spec": {"taints": taints}})).await?;
    }
    Ok(())
}
