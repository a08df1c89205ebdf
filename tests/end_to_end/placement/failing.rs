//! What breaks does not break budgets: an extender that dies, an API server that is slow or out of
//! reach. What waits is placed afterwards, and who has no budget never waits.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use hyper::Method;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::storage::v1::StorageClass;
use serde_json::json;

use super::rig::{Batch, Rig, SCHEDULER, SOON, milli, sized};
use super::stand::{Stand, limit};
use crate::testbed::hirl;
use crate::testbed::objects;
use crate::testbed::pki::Leaf;
use crate::testbed::placing::{self, Budget, Choices};
use crate::testbed::proxy::{Gate, Passage, SlowBindings};
use crate::testbed::run;
use crate::testbed::scheduler::{Scheduler, Setup, USER};
use crate::testbed::wait::{throughout, until};

/// Patience with everything that had to wait for something broken.
const SETTLED: Duration = Duration::from_mins(2);

#[test]
fn kill_9_in_a_burst_exceeds_nothing_loses_nothing_and_stops_nobody_else() -> Result<()> {
    // Pods of one core; half of them is the budget, which is half of the nodes of 20 cores.
    let pods = sized(400, 2000);
    let (allowed, room) = (pods / 2, milli(pods) / 2);
    run(async {
        let rig = Rig::start().await?;
        rig.nodes("general", pods / 20, 20).await?;
        rig.namespace("shop", "payments").await?;
        rig.namespace_with("free", &[]).await?;
        let budgets = [Budget::new("payments", "P1", 0.5)];
        let mut stand = Stand::start(rig, &Choices::new(&["general"]), &budgets, room).await?;
        let client = stand.rig.client.clone();
        let burst =
            tokio::spawn(async move { Batch::new("shop", "p-", "1").create(&client, pods).await });
        until("the burst to be under way", SOON, async || {
            let bound = stand.rig.placed("shop", "p-").await?.len();
            ensure!(bound >= 20, "{bound} are bound");
            Ok(())
        })
        .await?;
        stand.hirl.process().kill()?;
        burst.await??;
        let at_death = stand.rig.placed("shop", "p-").await?.len();
        let free = Batch { scheduler: "default-scheduler", ..Batch::new("free", "p-", "1") };
        free.create(&stand.rig.client, 20).await?;
        stand.rig.bound("free", "p-", 20, SOON).await?;
        ensure!(at_death < allowed, "the burst was over before the end");
        stand.hirl.restart()?;
        let since = Instant::now();
        until("a binding after the restart", SOON, async || {
            let bound = stand.rig.placed("shop", "p-").await?.len();
            ensure!(bound > at_death, "{bound} are bound");
            Ok(())
        })
        .await?;
        let first = since.elapsed().as_secs_f64();
        stand.rig.bound("shop", "p-", allowed, SETTLED).await?;
        let all = since.elapsed().as_secs_f64();
        let course = stand.judged(&[limit("payments", "general", room)])?;
        ensure!(course.peak("payments", "general").cpu == room, "not used up");
        stand.rig.adds_up(&course, "shop", "payments").await?;
        let lost = pods - stand.rig.pods("shop").await?.len();
        ensure!(lost == 0, "{lost} pods are lost");
        println!(
            "kill -9 with {at_death} of {pods} pods bound: first binding {first:.1} s after the restart, all \
             {allowed} after {all:.1} s, peak {room}m of {room}m"
        );
        Ok(())
    })
}

#[test]
fn slow_bindings_exceed_nothing_and_bind_nobody_twice() -> Result<()> {
    run(async {
        let rig = Rig::start().await?;
        rig.nodes("general", 10, 20).await?;
        rig.namespace("shop", "payments").await?;
        let identity = rig.plane.pki().cluster.issue(&Leaf::client(hirl::USER, &hirl::GROUPS))?;
        let proxy = SlowBindings::start(&rig.plane, &identity).await?;
        let budgets = [Budget::new("payments", "P1", 0.5)];
        let choices = Choices::new(&["general"]);
        let stand = Stand::start_behind(rig, proxy.port(), &choices, &budgets, 100_000).await?;
        let rig = &stand.rig;
        proxy.delay(Duration::from_secs(5));
        let since = Instant::now();
        Batch::new("shop", "p-", "1").create(&rig.client, 200).await?;
        rig.bound("shop", "p-", 100, SETTLED).await?;
        let seconds = since.elapsed().as_secs_f64();
        let sent = proxy.bindings();
        proxy.delay(Duration::ZERO);
        throughout("the limit", Duration::from_secs(15), async || {
            let bound = rig.placed("shop", "p-").await?.len();
            ensure!(bound == 100, "{bound} are bound");
            Ok(())
        })
        .await?;
        until("the ledger to agree", SOON, async || {
            let found = placing::uses(&rig.plane, &stand.hirl, "payments", "general").await?;
            ensure!(found["bound"]["cpu_milli"] == 100_000, "{found}");
            ensure!(found["binding"]["cpu_milli"] == 0, "{found}");
            Ok(())
        })
        .await?;
        let course = stand.judged(&[limit("payments", "general", 100_000)])?;
        rig.adds_up(&course, "shop", "payments").await?;
        let refused = course.pods.iter().map(|pod| pod.refused.len()).sum::<usize>();
        println!(
            "Bindings held up by 0 to 5 s: 100 of 200 pods bound after {seconds:.1} s with {sent} \
             Bindings sent, {refused} refused by the API server, none twice"
        );
        Ok(())
    })
}

#[test]
fn out_of_reach_of_the_api_server_it_claims_no_binding_and_heals_without_excess() -> Result<()> {
    run(async {
        let rig = Rig::start().await?;
        rig.nodes("general", 10, 10).await?;
        rig.namespace("shop", "payments").await?;
        let gate = Gate::start(rig.plane.port()).await?;
        let budgets = [Budget::new("payments", "P1", 0.5)];
        let choices = Choices::new(&["general"]);
        let stand = Stand::start_behind(rig, gate.port(), &choices, &budgets, 50_000).await?;
        let rig = &stand.rig;
        Batch::new("shop", "before-", "1").create(&rig.client, 20).await?;
        rig.bound("shop", "before-", 20, SOON).await?;
        gate.set(Passage::Stalled);
        Batch::new("shop", "p-", "1").create(&rig.client, 100).await?;
        let asks = stand.scheduler_requests()?;
        let since = Instant::now();
        until("answers that it does not own the ledger", SOON, async || {
            let body = r#"{"Pod":null,"Nodes":null,"NodeNames":[]}"#;
            let answer = asks.send(Method::POST, "/v1/strict/filter", &[], body).await?;
            ensure!(answer.status == 503, "{}: {}", answer.status, answer.body);
            Ok(())
        })
        .await?;
        let deposed = since.elapsed().as_secs_f64();
        let bound = rig.placed("shop", "p-").await?.len();
        throughout("nothing bound while out of reach", Duration::from_secs(20), async || {
            let now = rig.placed("shop", "p-").await?.len();
            ensure!(now == bound, "{now} are bound, {bound} before");
            Ok(())
        })
        .await?;
        gate.set(Passage::Open);
        let since = Instant::now();
        rig.bound("shop", "p-", 30, SETTLED).await?;
        let healed = since.elapsed().as_secs_f64();
        throughout("the limit", Duration::from_secs(15), async || {
            let now = rig.placed("shop", "p-").await?.len();
            ensure!(now == 30, "{now} are bound");
            Ok(())
        })
        .await?;
        let course = stand.judged(&[limit("payments", "general", 50_000)])?;
        rig.adds_up(&course, "shop", "payments").await?;
        println!(
            "partition: 503 after {deposed:.1} s, {bound} of 100 pods bound during it; healed, all \
             bound after {healed:.1} s"
        );
        Ok(())
    })
}

#[test]
fn open_mode_keeps_the_budget_while_it_lives_and_stops_nobody_when_it_is_dead() -> Result<()> {
    run(async {
        let rig = Rig::start().await?;
        rig.nodes("general", 10, 10).await?;
        rig.namespace("shop", "payments").await?;
        let budgets = [Budget::new("payments", "P0", 0.1)];
        let mut stand = Stand::start(rig, &Choices::new(&["general"]), &budgets, 10_000).await?;
        let open = "hirl-scheduler-open";
        let setup = Setup::new(open, Some(placing::extender(&stand.hirl, "open")));
        let _scheduler = Scheduler::start(&stand.rig.plane, open, &setup).await?;
        let pods = Batch { scheduler: open, ..Batch::new("shop", "open-", "1") };
        pods.create(&stand.rig.client, 20).await?;
        stand.rig.bound("shop", "open-", 10, SOON).await?;
        throughout("the budget in open mode", Duration::from_secs(12), async || {
            let bound = stand.rig.placed("shop", "open-").await?.len();
            ensure!(bound == 10, "{bound} are bound");
            Ok(())
        })
        .await?;
        let (reason, text) =
            stand.rig.waiting("shop", "open-").await?.into_values().next().context("none waits")?;
        ensure!(reason == "Unschedulable" && text.contains("payments"), "{reason}: {text}");
        stand.judged(&[limit("payments", "general", 10_000)])?;

        stand.hirl.process().kill()?;
        // Strict pods wait for it; open ones wait for nobody, the refused ones included.
        Batch::new("shop", "strict-", "1").create(&stand.rig.client, 5).await?;
        let late = Batch { scheduler: open, ..Batch::new("shop", "late-", "1") };
        late.create(&stand.rig.client, 5).await?;
        stand.rig.bound("shop", "late-", 5, SOON).await?;
        let strict = stand.rig.placed("shop", "strict-").await?.len();
        ensure!(strict == 0, "{strict} strict pods were bound without an extender");
        ensure!(stand.rig.course()?.ended_by(USER).is_empty(), "evictions");
        Ok(())
    })
}

#[test]
fn a_killed_scheduler_leaves_no_double_binding_behind() -> Result<()> {
    run(async {
        let rig = Rig::start().await?;
        rig.nodes("general", 20, 20).await?;
        rig.namespace("shop", "payments").await?;
        let budgets = [Budget::new("payments", "P1", 0.5)];
        let mut stand = Stand::start(rig, &Choices::new(&["general"]), &budgets, 200_000).await?;
        let client = stand.rig.client.clone();
        let burst =
            tokio::spawn(async move { Batch::new("shop", "p-", "1").create(&client, 300).await });
        until("the burst to be under way", SOON, async || {
            let bound = stand.rig.placed("shop", "p-").await?.len();
            ensure!(bound >= 20, "{bound} are bound");
            Ok(())
        })
        .await?;
        // Another takes over at once, as a second replica would after its lease time.
        stand.scheduler.process().kill()?;
        let at_death = stand.rig.placed("shop", "p-").await?.len();
        let setup = Setup::new(SCHEDULER, Some(placing::extender(&stand.hirl, "strict")));
        let since = Instant::now();
        let _next = Scheduler::start(&stand.rig.plane, "next-scheduler", &setup).await?;
        burst.await??;
        stand.rig.bound("shop", "p-", 200, SETTLED).await?;
        let seconds = since.elapsed().as_secs_f64();
        stand.judged(&[limit("payments", "general", 200_000)])?;
        println!(
            "scheduler killed at {at_death} of 200: all bound {seconds:.1} s later, none twice"
        );
        Ok(())
    })
}

#[test]
fn what_is_held_for_pods_that_fail_after_filter_is_used_by_others() -> Result<()> {
    run(async {
        let rig = Rig::start().await?;
        rig.nodes("general", 4, 10).await?;
        rig.namespace("shop", "payments").await?;
        let class: StorageClass = objects::object(json!({
            "metadata": {"name": "nobody"},
            "provisioner": "testbed/nobody", "volumeBindingMode": "WaitForFirstConsumer",
        }))?;
        objects::apply(&rig.client, &class).await?;
        let claims = (0..10).map(|index| {
            objects::object::<PersistentVolumeClaim>(json!({
                "metadata": {"namespace": "shop", "name": format!("never-{index}")},
                "spec": {
                    "storageClassName": "nobody", "accessModes": ["ReadWriteOnce"],
                    "resources": {"requests": {"storage": "1Gi"}},
                },
            }))
        });
        objects::create_all(&rig.client, claims.collect::<Result<Vec<_>>>()?).await?;
        let budgets = [Budget::new("payments", "P1", 0.25)];
        let hold = "placement: {holdSeconds: 5}\n";
        let choices = Choices { extender: hold, ..Choices::new(&["general"]) };
        let mut stand = Stand::start(rig, &choices, &budgets, 10_000).await?;
        stand.scheduler.process().kill()?;
        let setup = Setup {
            volume_timeout: Some(2),
            ..Setup::new(SCHEDULER, Some(placing::extender(&stand.hirl, "strict")))
        };
        let _scheduler = Scheduler::start(&stand.rig.plane, "volumes", &setup).await?;

        // Each passes filter, waits for a volume that never comes, and fails: nobody tells us.
        let rig = &stand.rig;
        for index in 0..10 {
            let claim = json!({"claimName": format!("never-{index}")});
            let more = json!({"volumes": [{"name": "v", "persistentVolumeClaim": claim}]});
            let prefix = format!("stuck-{index}-");
            let stuck = Batch { more, ..Batch::new("shop", &prefix, "1") };
            stuck.create(&rig.client, 1).await?;
        }
        until("holds for all of the budget", SOON, async || {
            let found = placing::uses(&rig.plane, &stand.hirl, "payments", "general").await?;
            ensure!(found["held"]["cpu_milli"] == 10_000, "{found}");
            Ok(())
        })
        .await?;
        Batch::new("shop", "good-", "1").create(&rig.client, 10).await?;
        rig.bound("shop", "good-", 10, SETTLED).await?;
        until("nothing to be held", SOON, async || {
            let found = placing::uses(&rig.plane, &stand.hirl, "payments", "general").await?;
            ensure!(found["held"]["cpu_milli"] == 0, "{found}");
            ensure!(found["bound"]["cpu_milli"] == 10_000, "{found}");
            Ok(())
        })
        .await?;
        ensure!(rig.placed("shop", "stuck-").await?.is_empty(), "bound without its volume");
        stand.judged(&[limit("payments", "general", 10_000)]).map(|_| ())
    })
}
