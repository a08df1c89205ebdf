//! Who may ask the extender: the scheduler by its certificate, and nobody else.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hyper::Method;

use super::rig::{Batch, Rig, SCHEDULER, SOON};
use super::stand::{Stand, limit};
use crate::testbed::hirl::Hirl;
use crate::testbed::pki::{Authority, Identity, Leaf};
use crate::testbed::placing::{self, Budget, Choices};
use crate::testbed::requests::Answer;
use crate::testbed::run;
use crate::testbed::scheduler::{Scheduler, Setup, USER};
use crate::testbed::wait::until;

/// A question about nothing, as somebody.
async fn asked(stand: &Stand, identity: Option<&Identity>) -> Result<Answer> {
    let requests = stand.extender_requests(identity)?;
    let body = r#"{"Pod":null,"Nodes":null,"NodeNames":null}"#;
    requests.send(Method::POST, "/v1/strict/filter", &[], body).await
}

#[test]
fn only_the_certificate_of_the_scheduler_is_answered() -> Result<()> {
    run(async {
        let rig = Rig::start().await?;
        rig.nodes("general", 4, 10).await?;
        rig.namespace("shop", "payments").await?;
        let budgets = [Budget::new("payments", "P1", 0.5)];
        let mut stand = Stand::start(rig, &Choices::new(&["general"]), &budgets, 20_000).await?;
        let cluster = &stand.rig.plane.pki().cluster;
        let stranger = Authority::new("stranger")?.issue(&Leaf::client(USER, &[]))?;
        let expired = cluster.issue(&Leaf::client(USER, &[]).expired())?;
        let other = cluster.issue(&Leaf::client("system:kube-controller-manager", &[]))?;
        let own = cluster.issue(&Leaf::client(USER, &[]))?;
        for (who, identity) in
            [("nobody", None), ("a stranger", Some(&stranger)), ("the past", Some(&expired))]
        {
            let answer = asked(&stand, identity).await;
            ensure!(answer.is_err(), "{who} was answered: {answer:?}");
        }
        let answer = asked(&stand, Some(&other)).await?;
        ensure!([401, 403].contains(&answer.status.as_u16()), "{}: {}", answer.status, answer.body);
        let answer = asked(&stand, Some(&own)).await?;
        ensure!(answer.status == 200, "{}: {}", answer.status, answer.body);
        ensure!(answer.json()?["Error"].is_string(), "{}", answer.body);

        // A scheduler whose certificate has ended binds nothing, and a new file on disk is enough.
        stand.scheduler.process().kill()?;
        let setup = Setup::new(SCHEDULER, Some(placing::extender(&stand.hirl, "strict")));
        let plane = &stand.rig.plane;
        let next = Scheduler::start_with(plane, "next-scheduler", Some(&expired), |place| {
            setup.config(place)
        });
        let next = next.await?;
        Batch::new("shop", "p-", "1").create(&stand.rig.client, 5).await?;
        until("pods to be told of the trouble", SOON, async || {
            let waiting = stand.rig.waiting("shop", "p-").await?;
            ensure!(waiting.len() == 5, "{waiting:?}");
            Ok(())
        })
        .await?;
        ensure!(stand.rig.placed("shop", "p-").await?.is_empty(), "bound without a certificate");
        next.replace_client(&own)?;
        stand.rig.bound("shop", "p-", 5, SOON).await?;

        // A new serving certificate fails no call.
        let reloads = stand.reloads().await?;
        stand.hirl.replace_serving(&Hirl::serving_identity(plane)?)?;
        until("the new certificate to be read", SOON, async || {
            let now = stand.reloads().await?;
            ensure!(now > reloads, "{now} reloads");
            Ok(())
        })
        .await?;
        Batch::new("shop", "q-", "1").create(&stand.rig.client, 5).await?;
        stand.rig.bound("shop", "q-", 5, Duration::from_secs(20)).await?;
        let answer = asked(&stand, Some(&own)).await.context("after the rotation")?;
        ensure!(answer.status == 200, "{}: {}", answer.status, answer.body);
        stand.judged(&[limit("payments", "general", 20_000)]).map(|_| ())
    })
}
