//! Two replicas: every one answers the same number, one decides, and losing it is not noticed.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::stage::{SOON, Stage, administrator, config, metric_of, metric_path};
use crate::testbed::hirl::Hirl;
use crate::testbed::pki::{Identity, Leaf};
use crate::testbed::wait::{throughout, until};
use crate::testbed::{Options, run};

/// The epoch of what an instance serves, and whether it decides.
async fn standing(hirl: &Hirl, stage: &Stage) -> Result<(f64, bool)> {
    let epoch = metric_of(hirl, stage.plane(), "hirl_epoch ").await?.context("no epoch yet")?;
    let leads = metric_of(hirl, stage.plane(), "hirl_leader_election_master_status ").await?;
    Ok((epoch, leads == Some(1.0)))
}

/// What an instance answers when it is asked directly.
async fn told(hirl: &Hirl, admin: &Identity) -> Result<String> {
    let path = metric_path("failover", "target%3Dweb");
    let answer = hirl.requests(Some(admin))?.get(&path, &[]).await?;
    ensure!(answer.status == 200, "{}: {}", answer.status, answer.body);
    let list = answer.json()?;
    Ok(list["items"][0]["value"].as_str().context("no value")?.to_owned())
}

#[test]
fn a_follower_serves_the_same_and_takes_over_with_a_higher_epoch() -> Result<()> {
    run(async {
        let mut stage = Stage::start(Options::default()).await?;
        stage.namespace("failover", &[]).await?;
        stage.app("failover", "web", 6, |hpa| hpa).await?;
        let admin = administrator(stage.plane())?;
        let url = stage.testbed.prometheus.url();
        let mut second = Hirl::start(stage.plane(), "second", |place| config(place, &url))?;
        second.ready().await?;
        until("the second to serve the first one's number", SOON, async || {
            ensure!(told(&second, &admin).await? == "6");
            Ok(())
        })
        .await?;
        let (epoch, leads) = standing(&stage.hirl, &stage).await?;
        ensure!(leads && standing(&second, &stage).await? == (epoch, false));
        stage.want("failover", "web", 9)?;
        for hirl in [&stage.hirl, &second] {
            until("both to answer 9", SOON, async || {
                ensure!(told(hirl, &admin).await? == "9");
                Ok(())
            })
            .await?;
        }

        // kill -9: the second never stops answering, and decides before 15 s are over.
        stage.hirl.process().kill()?;
        let killed = Instant::now();
        let limit = Duration::from_secs(15);
        let mut taken_over = None;
        throughout("answers from the second", limit, async || {
            ensure!(told(&second, &admin).await? == "9", "another number");
            let (now, leads) = standing(&second, &stage).await?;
            if leads && now > epoch && taken_over.is_none() {
                taken_over = Some(killed.elapsed());
            }
            Ok(())
        })
        .await?;
        let seconds = taken_over.context("nobody took over")?.as_secs_f64();
        println!("taken over {seconds:.1} s after kill -9");

        // The first comes back as a follower and serves what the second decides.
        stage.hirl.restart()?;
        stage.hirl.ready().await?;
        stage.want("failover", "web", 4)?;
        until("the first to follow", SOON, async || {
            ensure!(told(&stage.hirl, &admin).await? == "4");
            ensure!(!standing(&stage.hirl, &stage).await?.1, "it decides");
            Ok(())
        })
        .await?;

        // A decider that is frozen past its lease wakes up deposed: what it decided meanwhile, or
        // decides on waking, is served by nobody.
        let (before, _) = standing(&second, &stage).await?;
        second.process().pause()?;
        until("the first to take over", SOON, async || {
            let (now, leads) = standing(&stage.hirl, &stage).await?;
            ensure!(leads && now > before, "epoch {now}, leads: {leads}");
            Ok(())
        })
        .await?;
        second.process().resume()?;
        until("the second to step down", SOON, async || {
            let (now, leads) = standing(&second, &stage).await?;
            ensure!(!leads && now > before, "epoch {now}, leads: {leads}");
            Ok(())
        })
        .await?;
        ensure!(standing(&stage.hirl, &stage).await?.1, "the first was deposed");

        // SIGTERM hands the lease over at once.
        stage.hirl.process().terminate(SOON).await?;
        until("the second to take the released lease", SOON, async || {
            ensure!(standing(&second, &stage).await?.1, "not yet");
            Ok(())
        })
        .await
    })
}

#[test]
fn whole_decisions_are_for_replicas_only() -> Result<()> {
    run(async {
        let stage = Stage::shared().await?;
        let pki = stage.plane().pki();
        let path = "/hirl/v1/decision";
        let replica = Hirl::serving_identity(stage.plane())?;
        until("a decision", SOON, async || {
            let answer = stage.hirl.requests(Some(&replica))?.get(path, &[]).await?;
            ensure!(answer.status == 200, "{}: {}", answer.status, answer.body);
            ensure!(answer.json()?["decision"]["epoch"].is_u64(), "no epoch");
            Ok(())
        })
        .await?;
        let admin = administrator(stage.plane())?;
        let stranger = pki.serving.issue(&Leaf::server("other", &["other.hirl-system.svc"]))?;
        for identity in [None, Some(&admin), Some(&stranger)] {
            let answer = stage.hirl.requests(identity)?.get(path, &[]).await?;
            ensure!(answer.status == 403 || answer.status == 401, "{}", answer.status);
            ensure!(answer.json()?["kind"] == "Status", "{}", answer.body);
        }
        Ok(())
    })
}
