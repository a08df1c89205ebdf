//! Certificates and CAs change under load, and no read fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::ByteString;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::Api;
use kube::api::{Patch, PatchParams};

use crate::stage::{SOON, Stage, metric_path};
use crate::testbed::hirl::{Hirl, SERVER_NAME};
use crate::testbed::objects;
use crate::testbed::pki::{Authority, Leaf};
use crate::testbed::requests::Requests;
use crate::testbed::wait::{throughout, until};
use crate::testbed::{Options, run};

const APISERVICE: &str = "v1beta1.external.metrics.k8s.io";

/// Reads through the API server, about a hundred a second, until it is dropped.
struct Load {
    reads: Arc<AtomicU64>,
    failures: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    reader: tokio::task::JoinHandle<Option<String>>,
}

impl Load {
    fn start(admin: Requests, path: String) -> Self {
        let (reads, failures) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let stop = Arc::new(AtomicBool::new(false));
        let counters = (Arc::clone(&reads), Arc::clone(&failures), Arc::clone(&stop));
        let reader = tokio::spawn(async move {
            let (reads, failures, stop) = counters;
            let mut pace = tokio::time::interval(Duration::from_millis(10));
            let mut first_failure = None;
            while !stop.load(Ordering::Relaxed) {
                pace.tick().await;
                reads.fetch_add(1, Ordering::Relaxed);
                let failure = match admin.get(&path, &[]).await {
                    Ok(answer) if answer.status == 200 => continue,
                    Ok(answer) => format!("{}: {}", answer.status, answer.body),
                    Err(error) => format!("{error:#}"),
                };
                failures.fetch_add(1, Ordering::Relaxed);
                first_failure.get_or_insert(failure);
            }
            first_failure
        });
        Self { reads, failures, stop, reader }
    }

    /// Lets `count` more reads happen.
    async fn more(&self, count: u64) -> Result<()> {
        let target = self.reads.load(Ordering::Relaxed) + count;
        until(format!("{count} more reads"), SOON, async || {
            ensure!(self.reads.load(Ordering::Relaxed) >= target);
            Ok(())
        })
        .await
    }

    async fn end(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        let first = self.reader.await.context("joining the reader")?;
        let failures = self.failures.load(Ordering::Relaxed);
        ensure!(failures == 0, "{failures} reads failed, the first: {}", first.unwrap_or_default());
        Ok(self.reads.load(Ordering::Relaxed))
    }
}

/// Makes the API server trust exactly these CAs for us.
async fn trust(stage: &Stage, authorities: &str) -> Result<()> {
    let registrations: Api<APIService> = Api::all(stage.plane().client());
    let bundle = ByteString(authorities.as_bytes().to_vec());
    let patch = serde_json::json!({"spec": {"caBundle": bundle}});
    registrations
        .patch(APISERVICE, &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .context("changing the caBundle")?;
    Ok(())
}

#[test]
fn certificates_and_cas_rotate_under_load_without_a_failed_read() -> Result<()> {
    run(async {
        let stage = Stage::start(Options::default()).await?;
        stage.namespace("rotation", &[]).await?;
        stage.app("rotation", "web", 3, |hpa| hpa).await?;
        let plane = stage.plane();
        let client = plane.client();
        let load = Load::start(stage.admin()?, metric_path("rotation", "target%3Dweb"));
        let reloads = async |count: f64| {
            until(format!("{count} reloads"), SOON, async || {
                let seen = stage.metric("hirl_serving_cert_reloads_total{outcome=\"ok\"}").await?;
                ensure!(seen.unwrap_or_default() >= count, "{seen:?}");
                Ok(())
            })
            .await
        };

        // 1. A new serving pair of the same CA, three times.
        for round in 1..=3_u32 {
            let before = stage.metric("hirl_serving_cert_reloads_total{outcome=\"ok\"}").await?;
            stage.hirl.replace_serving(&Hirl::serving_identity(plane)?)?;
            reloads(before.unwrap_or_default() + 1.0)
                .await
                .with_context(|| format!("round {round}"))?;
            load.more(100).await?;
        }

        // 2. A new CA: trusted beside the old one, then used, then alone.
        let next = Authority::new("next-serving-ca")?;
        let old = plane.pki().serving.pem().to_owned();
        trust(&stage, &format!("{old}{}", next.pem())).await?;
        load.more(100).await?;
        let names = [SERVER_NAME, "localhost", "127.0.0.1"];
        stage.hirl.replace_serving(&next.issue(&Leaf::server("hirl", &names))?)?;
        load.more(300).await?;
        trust(&stage, next.pem()).await?;
        load.more(300).await?;

        // 3. A new front-proxy CA: both are believed, then the API server's certificate changes,
        //    then the old CA goes.
        let proxy = Authority::new("next-front-proxy-ca")?;
        let both = format!("{}{}", plane.pki().front_proxy.pem(), proxy.pem());
        plane.replace_front_proxy_authorities(&both)?;
        published_front_proxy(&stage, &both).await?;
        load.more(100).await?;
        plane
            .replace_front_proxy_client(&proxy.issue(&Leaf::client("front-proxy-client", &[]))?)?;
        load.more(300).await?;
        plane.replace_front_proxy_authorities(proxy.pem())?;
        plane.publish_only(proxy.pem()).await?;
        load.more(300).await?;

        objects::is_available(&client, APISERVICE).await?;
        let reads = load.end().await?;
        println!("{reads} reads during the rotations, none failed");
        Ok(())
    })
}

/// Waits until the API server has published these front-proxy CAs for us to read. It looks at its
/// files and republishes once a minute at the latest.
async fn published_front_proxy(stage: &Stage, authorities: &str) -> Result<()> {
    let path = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
    until("the front-proxy CAs to be published", 3 * SOON, async || {
        let object = stage.admin()?.get(path, &[]).await?.json()?;
        let published = object["data"]["requestheader-client-ca-file"].as_str().unwrap_or_default();
        ensure!(published.trim() == authorities.trim(), "not yet");
        Ok(())
    })
    .await
}

#[test]
fn a_wrong_certificate_is_reported_and_mended_without_a_restart_and_a_broken_one_is_not_used()
-> Result<()> {
    run(async {
        let stage = Stage::start(Options::default()).await?;
        let client = stage.plane().client();
        let pki = stage.plane().pki();

        // Garbage: the old pair stays in force.
        let good = Hirl::serving_identity(stage.plane())?;
        let mut broken = Hirl::serving_identity(stage.plane())?;
        broken.key.clone_from(&good.key);
        stage.hirl.replace_serving(&broken)?;
        until("the broken pair to be refused", SOON, async || {
            let refused =
                stage.metric("hirl_serving_cert_reloads_total{outcome=\"error\"}").await?;
            ensure!(refused.unwrap_or_default() >= 1.0, "{refused:?}");
            Ok(())
        })
        .await?;
        throughout("Available", Duration::from_secs(2), async || {
            objects::is_available(&client, APISERVICE).await
        })
        .await?;

        // The wrong name: the API server says so, and it heals on disk alone.
        stage.hirl.replace_serving(&pki.serving.issue(&Leaf::server("hirl", &["localhost"]))?)?;
        let registrations: Api<APIService> = Api::all(client.clone());
        until("FailedDiscoveryCheck", 3 * SOON, async || {
            let status = registrations.get(APISERVICE).await?.status.context("no status")?;
            let conditions = status.conditions.unwrap_or_default();
            let available = conditions.first().context("no condition")?;
            ensure!(available.status == "False", "still available");
            let message = available.message.clone().unwrap_or_default();
            ensure!(message.contains("x509") || message.contains("certificate"), "{message}");
            Ok(())
        })
        .await?;
        stage.hirl.replace_serving(&good)?;
        objects::available(&client, APISERVICE, 3 * SOON).await
    })
}
