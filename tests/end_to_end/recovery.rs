//! Losing every replica: HPAs hold, the cluster notices, and all of it heals when we are back. With
//! `HIRL_SCALE=1` the absence lasts five minutes, else ten seconds.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::Value;

use crate::stage::{SOON, Stage};
use crate::testbed::objects;
use crate::testbed::wait::{throughout, until};
use crate::testbed::{Options, run};

#[test]
fn without_any_replica_hpas_hold_and_everything_heals_afterwards() -> Result<()> {
    run(async {
        let mut options = Options::default();
        options.plane.audit = true;
        let mut stage = Stage::start(options).await?;
        stage.namespace("recovery", &[]).await?;
        stage.app("recovery", "web", 6, |hpa| hpa).await?;
        stage.follows("recovery", "web", 7).await?;
        let client = stage.plane().client();
        let namespaces: Api<Namespace> = Api::all(client.clone());
        objects::apply(&client, &objects::namespace("leaving", &[])?).await?;

        stage.hirl.process().kill()?;
        until("the HPA to miss us", 2 * SOON, async || {
            let active =
                objects::hpa_condition(&client, "recovery", "web", "ScalingActive").await?;
            ensure!(active == ("False".into(), "FailedGetExternalMetric".into()), "{active:?}");
            Ok(())
        })
        .await?;
        until("the APIService to be unavailable", 2 * SOON, async || {
            let group = objects::is_available(&client, "v1beta1.external.metrics.k8s.io");
            ensure!(group.await.is_err(), "still available");
            Ok(())
        })
        .await?;
        namespaces.delete("leaving", &DeleteParams::default()).await?;
        let full_size = std::env::var_os("HIRL_SCALE").is_some();
        let absence = Duration::from_secs(if full_size { 300 } else { 10 });
        throughout("7 replicas", absence, async || {
            ensure!(objects::spec_replicas(&client, "recovery", "web").await? == 7);
            Ok(())
        })
        .await?;
        // What the absence costs the whole cluster: no namespace can end while a group is missing.
        let stuck =
            namespaces.get_opt("leaving").await?.context("the namespace ended without us")?;
        println!(
            "meanwhile a deleted namespace was {:?}",
            stuck.status.and_then(|status| status.phase)
        );

        stage.hirl.restart()?;
        stage.hirl.ready().await?;
        objects::available(&client, "v1beta1.external.metrics.k8s.io", 2 * SOON).await?;
        stage.answered("recovery", "web", 7).await?;
        until("the HPA to be active again", SOON, async || {
            let active =
                objects::hpa_condition(&client, "recovery", "web", "ScalingActive").await?;
            ensure!(active.0 == "True", "{active:?}");
            Ok(())
        })
        .await?;
        stage.follows("recovery", "web", 8).await?;
        until("the deleted namespace to be gone", 3 * SOON, async || {
            ensure!(namespaces.get_opt("leaving").await?.is_none(), "still there");
            Ok(())
        })
        .await?;
        wrote_only_what_is_ours(&stage.plane().audit_log()?)
    })
}

/// Everything that we wrote, by the API server's own account: our Lease, the status of our
/// Domains, Events, and reviews of who asks. No workload.
#[expect(clippy::print_stdout, reason = "a figure, with --nocapture")]
fn wrote_only_what_is_ours(audit_log: &str) -> Result<()> {
    let mut writes = 0;
    for line in audit_log.lines() {
        let entry: Value = serde_json::from_str(line).context("reading the audit log")?;
        if entry["user"]["username"] != "system:serviceaccount:hirl-system:hirl" {
            continue;
        }
        let verb = entry["verb"].as_str().unwrap_or_default();
        if matches!(verb, "get" | "list" | "watch") {
            continue;
        }
        writes += 1;
        let object = &entry["objectRef"];
        let resource = object["resource"].as_str().unwrap_or_default();
        let ours = match resource {
            "leases" | "events" | "subjectaccessreviews" | "tokenreviews" => true,
            "domains" => object["subresource"] == "status",
            _ => false,
        };
        ensure!(ours, "we sent {verb} {resource}: {line}");
    }
    ensure!(writes > 0, "the audit log has no write of ours, not even to the Lease");
    println!("{writes} writes of ours in the audit log, none to a workload");
    Ok(())
}
