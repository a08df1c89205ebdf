//! Budgets that change: less stops admission and kills nobody, more is used within a back-off
//! period without any other event, an emergency opens the band and the reserve and closes again.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use jiff::{SignedDuration, Timestamp};

use super::rig::{Batch, Rig, SOON};
use super::stand::{Stand, limit};
use crate::testbed::hirl;
use crate::testbed::judge::{Limit, Room};
use crate::testbed::pki::Leaf;
use crate::testbed::placing::{Budget, Choices};
use crate::testbed::proxy::SlowBindings;
use crate::testbed::run;
use crate::testbed::wait::{throughout, until};

/// For how long something must not happen.
const QUIET: Duration = Duration::from_secs(12);

#[test]
fn less_budget_stops_admission_and_more_is_used_within_a_back_off_period() -> Result<()> {
    run(async {
        let rig = Rig::start().await?;
        rig.nodes("general", 20, 8).await?;
        rig.namespace("shop", "payments").await?;
        let budget = |share| Budget::new("payments", "P1", share);
        let choices = Choices::new(&["general"]);
        let stand = Stand::start(rig, &choices, &[budget(0.0625)], 10_000).await?;
        let rig = &stand.rig;
        Batch::new("shop", "p-", "1").create(&rig.client, 110).await?;
        rig.bound("shop", "p-", 10, SOON).await?;

        // To half: ten stay, and of those that go only the ones below the new limit are replaced.
        let (_, shrunk) = stand.set(&budget(0.03125), "general", 5000).await?;
        for left in [8, 6, 5] {
            let placed: Vec<String> = rig.placed("shop", "p-").await?.into_keys().collect();
            for name in placed.iter().take(placed.len() - left) {
                rig.delete("shop", name).await?;
            }
            throughout("no admission above the new limit", QUIET / 3, async || {
                let bound = rig.placed("shop", "p-").await?.len();
                ensure!(bound == left, "{bound} are bound, not {left}");
                Ok(())
            })
            .await?;
        }
        let one = rig.placed("shop", "p-").await?.pop_first().map(|(name, _)| name);
        rig.delete("shop", &one.unwrap_or_default()).await?;
        rig.bound("shop", "p-", 4, SOON).await?;
        rig.bound("shop", "p-", 5, SOON).await?;

        // A quiet cluster: nothing happens but the raise.
        tokio::time::sleep(QUIET).await;
        let (raising, raised) = stand.set(&budget(1.0), "general", 160_000).await?;
        let since = Instant::now();
        rig.bound("shop", "p-", 104, Duration::from_mins(1)).await?;
        let seconds = since.elapsed().as_secs_f64();
        println!("epoch raise: 99 refused pods bound {seconds:.1} s after the raise was in force");

        let steps = vec![
            (Timestamp::MIN, Room::cpu(10_000)),
            (shrunk, Room::cpu(5000)),
            (raising, Room::cpu(160_000)),
        ];
        ensure!(raised > raising, "a clock that runs backwards");
        let changing = Limit { steps, ..limit("payments", "general", 0) };
        stand.judged(&[changing]).map(|_| ())
    })
}

#[test]
fn an_emergency_opens_the_band_and_closes_it_again() -> Result<()> {
    run(async {
        let rig = Rig::start().await?;
        rig.nodes("general", 4, 5).await?;
        rig.namespace("shop", "payments").await?;
        let budget = Budget::new("payments", "P0", 0.5);
        let choices = Choices::new(&["general"]);
        let stand = Stand::start(rig, &choices, std::slice::from_ref(&budget), 10_000).await?;
        let rig = &stand.rig;
        let pods = Batch::new("shop", "p-", "500m").class("hirl-p0");
        pods.create(&rig.client, 30).await?;
        rig.bound("shop", "p-", 20, SOON).await?;
        throughout("the limit without an emergency", QUIET / 2, async || {
            let bound = rig.placed("shop", "p-").await?.len();
            ensure!(bound == 20, "{bound} are bound");
            Ok(())
        })
        .await?;
        let declared = Timestamp::now();
        let until = declared + SignedDuration::from_secs(25);
        Budget { emergency: Some(until), ..budget }.apply(&rig.plane).await?;
        rig.bound("shop", "p-", 22, Duration::from_secs(20)).await?;
        // Past its end nothing more comes in, and nobody dies.
        while Timestamp::now() < until {
            let bound = rig.placed("shop", "p-").await?.len();
            ensure!(bound == 22, "{bound} are bound in the emergency");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        for left in [21, 20] {
            let one = rig.placed("shop", "p-").await?.pop_first().map(|(name, _)| name);
            rig.delete("shop", &one.unwrap_or_default()).await?;
            throughout("no admission above the limit", QUIET / 2, async || {
                let bound = rig.placed("shop", "p-").await?.len();
                ensure!(bound == left, "{bound} are bound, not {left}");
                Ok(())
            })
            .await?;
        }
        let steps = vec![
            (Timestamp::MIN, Room::cpu(10_000)),
            (declared, Room::cpu(11_000)),
            (until + SignedDuration::from_secs(2), Room::cpu(10_000)),
        ];
        let changing = Limit { steps, ..limit("payments", "general", 0) };
        let course = stand.judged(&[changing])?;
        println!("emergency: peak {} of 10000m + 10 %", course.peak("payments", "general"));
        Ok(())
    })
}

#[test]
fn the_reserve_is_for_p0_alone() -> Result<()> {
    run(async {
        let rig = Rig::start().await?;
        rig.nodes("general", 4, 5).await?;
        rig.namespace("shop", "payments").await?;
        rig.namespace("lake", "data").await?;
        // Of 20 cores eight are guaranteed to data, which uses them, and a tenth is the reserve.
        let budgets =
            [Budget::lending("payments", "P0", 0.5, 0.0), Budget::lending("data", "P3", 0.4, 0.4)];
        let choices = Choices { reserve: 0.1, ..Choices::new(&["general"]) };
        let stand = Stand::start(rig, &choices, &budgets, 10_000).await?;
        let rig = &stand.rig;
        Batch::new("lake", "d-", "1").class("hirl-p3").create(&rig.client, 8).await?;
        rig.bound("lake", "d-", 8, SOON).await?;
        // Pods of a lower class than their domain borrow up to the reserve, ...
        Batch::new("shop", "p1-", "1").class("hirl-p1").create(&rig.client, 12).await?;
        rig.bound("shop", "p1-", 10, SOON).await?;
        throughout("the reserve", QUIET, async || {
            let bound = rig.placed("shop", "p1-").await?.len();
            ensure!(bound == 10, "{bound} are bound");
            Ok(())
        })
        .await?;
        let (reason, text) =
            rig.waiting("shop", "p1-").await?.into_values().next().context("none")?;
        ensure!(
            reason == "SchedulerError" && text.contains("cpu reserve left"),
            "{reason}: {text}"
        );
        // ... and those of P0 take it.
        Batch::new("shop", "p0-", "1").class("hirl-p0").create(&rig.client, 2).await?;
        rig.bound("shop", "p0-", 2, SOON).await?;
        let all = Limit::of_all("general", Room::cpu(20_000));
        stand.judged(&[limit("payments", "general", 12_000), all]).map(|_| ())
    })
}

#[test]
fn a_shrink_between_filter_and_bind_binds_what_was_granted_and_no_more() -> Result<()> {
    run(async {
        let rig = Rig::start().await?;
        rig.nodes("general", 20, 10).await?;
        rig.namespace("shop", "payments").await?;
        let identity = rig.plane.pki().cluster.issue(&Leaf::client(hirl::USER, &hirl::GROUPS))?;
        let proxy = SlowBindings::start(&rig.plane, &identity).await?;
        let budget = |share| Budget::new("payments", "P1", share);
        let (choices, first) = (Choices::new(&["general"]), [budget(0.5)]);
        let stand = Stand::start_behind(rig, proxy.port(), &choices, &first, 100_000).await?;
        let rig = &stand.rig;
        // Bindings take up to 0.7 s: below the time-out of ours, so that each has one outcome.
        proxy.delay(Duration::from_millis(700));
        let client = rig.client.clone();
        let burst =
            tokio::spawn(async move { Batch::new("shop", "p-", "1").create(&client, 150).await });
        until("Bindings to be under way", SOON, async || {
            ensure!(proxy.bindings() >= 10, "{}", proxy.bindings());
            Ok(())
        })
        .await?;
        let (_, shrunk) = stand.set(&budget(0.0), "general", 0).await?;
        burst.await??;
        let bound = async || Ok::<_, anyhow::Error>(rig.placed("shop", "p-").await?.len());
        until("Bindings that were under way to end", SOON, async || {
            let before = bound().await?;
            tokio::time::sleep(Duration::from_secs(2)).await;
            let after = bound().await?;
            ensure!(before == after, "{before}, then {after}");
            Ok(())
        })
        .await?;
        let granted = bound().await?;
        ensure!((1..150).contains(&granted), "the shrink came too early or too late: {granted}");
        throughout("no Binding without a grant", QUIET, async || {
            let now = bound().await?;
            ensure!(now == granted, "{now} are bound, {granted} before");
            Ok(())
        })
        .await?;
        let late = SignedDuration::from_secs(3);
        let steps = vec![(Timestamp::MIN, Room::cpu(100_000)), (shrunk + late, Room::cpu(0))];
        stand.judged(&[Limit { steps, ..limit("payments", "general", 0) }])?;
        println!(
            "shrink to nothing between filter and bind: {granted} of 150 bound by their grants"
        );
        Ok(())
    })
}
