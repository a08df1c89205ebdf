//! The negative control: with an extender that refuses by a map of failed nodes and lets every
//! preemption pass, pods do die for nothing. What the other tests find absent can be seen here.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::rig::{Batch, Rig, SCHEDULER, SOON};
use crate::testbed::judge::{Limit, Room};
use crate::testbed::run;
use crate::testbed::scheduler::{ALL, RECOMMENDED, Scheduler, Setup, USER};
use crate::testbed::stub::{Answer, BLOCKED, Stub};
use crate::testbed::wait::until;

#[test]
fn a_map_of_failed_nodes_and_a_pass_through_preempt_verb_evict_and_storm() -> Result<()> {
    run(async {
        let rig = Rig::start().await?;
        let stub = Stub::start(&rig.plane).await?;
        stub.set(Answer::Failed);
        let setup = Setup::new(SCHEDULER, Some(stub.extender(&rig.plane, &RECOMMENDED)?));
        let mut scheduler = Scheduler::start(&rig.plane, "second-scheduler", &setup).await?;
        rig.nodes("general", 10, 4).await?;
        rig.namespace("low", "data").await?;
        rig.namespace("high", "payments").await?;
        Batch::new("low", "full-", "1").class("hirl-p3").create(&rig.client, 40).await?;
        rig.bound("low", "full-", 40, SOON).await?;
        let labels = [(BLOCKED, "")];
        let blocked = Batch { labels: &labels, ..Batch::new("high", "blocked-", "1") };
        blocked.class("hirl-p0").create(&rig.client, 3).await?;
        let seen = until("evictions for nothing, and a storm", SOON, async || {
            let course = rig.course()?;
            let (evicted, patches) =
                (course.ended_by(USER).len(), course.most_status_patches("high/", USER));
            ensure!(evicted > 3, "{evicted} evictions");
            ensure!(patches > 2, "{patches} status patches of one pod");
            Ok((evicted, patches))
        })
        .await?;
        let course = rig.course()?;
        ensure!(course.bound("high/") == 0, "a blocked pod was bound");
        let calls = stub.most_calls("filter", "high/");
        println!(
            "negative control: 3 blocked pods, {} of 40 pods evicted, at most {} status patches \
             and {calls} filter calls of one blocked pod",
            seen.0, seen.1
        );
        ensure!(scheduler.process().ended()?.is_none(), "the scheduler died");
        Ok(())
    })
}

#[test]
fn an_extender_without_budgets_is_seen_to_exceed_them() -> Result<()> {
    run(async {
        let rig = Rig::start().await?;
        let stub = Stub::start(&rig.plane).await?;
        let setup = Setup::new(SCHEDULER, Some(stub.extender(&rig.plane, &ALL)?));
        let _scheduler = Scheduler::start(&rig.plane, "second-scheduler", &setup).await?;
        rig.nodes("general", 4, 8).await?;
        rig.namespace("shop", "payments").await?;
        Batch::new("shop", "p-", "1").create(&rig.client, 20).await?;
        rig.bound("shop", "p-", 20, Duration::from_mins(1)).await?;
        let course = rig.course()?;
        let limit = Limit::constant("payments", "general", Room::cpu(10_000));
        let breaches = course.breaches(&[limit]);
        ensure!(breaches.len() == 10, "{} breaches of 10: {breaches:?}", breaches.len());
        ensure!(course.peak("payments", "general").cpu == 20_000, "{:?}", course.changes.last());
        for verb in ["filter", "prioritize", "bind"] {
            let calls = stub.calls(verb, "shop/");
            ensure!(calls == 20, "{calls} calls of {verb}");
        }
        ensure!(course.bound_twice().is_empty() && course.ended_by(USER).is_empty());
        Ok(())
    })
}
