//! The testbed itself: the other tests believe what it shows.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hyper::Method;
use serde_json::json;

use crate::testbed::bank;
use crate::testbed::objects::{self, Autoscaler, Workload};
use crate::testbed::pki::Leaf;
use crate::testbed::process::Process;
use crate::testbed::scratch::Scratch;
use crate::testbed::twin::traffic::Traffic;
use crate::testbed::twin::{App, Fault, Gauge};
use crate::testbed::wait::{throughout, until};
use crate::testbed::{self, Testbed};

/// Patience with what takes a few seconds on an idle machine.
const SOON: Duration = Duration::from_secs(90);

/// A namespace of one's own, with a node for it.
async fn room(testbed: &Testbed, namespace: &str) -> Result<kube::Client> {
    let client = testbed.plane.client();
    objects::apply(&client, &objects::namespace(namespace, &[])?).await?;
    objects::apply(&client, &objects::node(namespace, "general", 16, "64Gi")?).await?;
    Ok(client)
}

#[test]
fn a_plain_cpu_hpa_follows_the_twins_load_and_prometheus_sees_it() -> Result<()> {
    testbed::run(async {
        let testbed = Testbed::shared().await?;
        let (namespace, name) = ("twin-load", "web");
        let client = room(testbed, namespace).await?;
        let workload = Workload { replicas: 2, ..Workload::small(namespace, name) };
        objects::create_all(&client, vec![workload.deployment()?]).await?;
        objects::ready(&client, namespace, name, 2, SOON).await?;

        // 100 requests per second cost 0.5 cores: of 100 milli-cores requested, 70 % are 70, so
        // a plain HPA wants ceil((500 + 8 * 2) / 70) = 8 pods, of which each idles at 2.
        testbed.twin.add(App::web(namespace, name, Traffic::Constant(100.0)));
        let hpa = Autoscaler {
            behavior: objects::immediate(Some("0")),
            ..Autoscaler::plain(namespace, name, 1, 20, &[("cpu", 70)])
        };
        objects::create_all(&client, vec![hpa.object()?]).await?;
        objects::ready(&client, namespace, name, 8, SOON).await?;

        let labels = format!("namespace=\"{namespace}\",workload=\"{name}\"");
        let of = format!("destination_workload_namespace=\"{namespace}\"");
        until("Prometheus to see the load", SOON, async || {
            let cpu = testbed.prometheus.value(&format!("twin_app_cpu_cores{{{labels}}}")).await?;
            ensure!((cpu - (0.5 + 8.0 * 0.002)).abs() < 1e-6, "{cpu} cores");
            let rate = format!("sum(rate(istio_requests_total{{{of}}}[10s]))");
            let rps = testbed.prometheus.value(&rate).await?;
            ensure!((rps - 100.0).abs() < 2.0, "{rps} requests per second");
            let usage = format!(
                "sum by (workload) (rate(container_cpu_usage_seconds_total{{namespace=\"{namespace}\",container!=\"\",image!=\"\"}}[10s]) \
                 * on(namespace,pod) group_left(workload) namespace_workload_pod:kube_pod_owner:relabel)"
            );
            let counted = testbed.prometheus.value(&usage).await?;
            ensure!((counted - cpu).abs() < 0.02, "{counted} cores by the counters");
            let p99 = format!(
                "histogram_quantile(0.99, sum by (le) (rate(istio_request_duration_milliseconds_bucket{{{of}}}[10s]))) / 1000"
            );
            let (bucketed, exact) =
                (testbed.prometheus.value(&p99).await?, testbed.twin.sample(namespace, name)?.p99);
            ensure!((bucketed / exact - 1.0).abs() < 0.3, "p99 {bucketed} by buckets, {exact}");
            Ok(())
        })
        .await?;

        // A fifth of the traffic: ceil((100 + 2 * 2) / 70) = 2.
        testbed.twin.set_traffic(namespace, name, Traffic::Constant(20.0))?;
        objects::ready(&client, namespace, name, 2, SOON).await
    })
}

/// Time is compressed 15 times: 32 s are the 8 minutes of the decision record.
#[test]
fn memory_holds_an_idle_model_server_at_three_where_cpu_alone_lets_it_go_to_one() -> Result<()> {
    testbed::run(async {
        let testbed = Testbed::shared().await?;
        let (with_memory, cpu_only) = ("memory-holds", "memory-ignored");
        for namespace in [with_memory, cpu_only] {
            let client = room(testbed, namespace).await?;
            for mut app in bank::model_servers() {
                app.spikes.clear();
                if namespace == cpu_only {
                    app.target_memory = None;
                }
                objects::create_all(&client, vec![app.workload(namespace).deployment()?]).await?;
                testbed.twin.add(app.twin(namespace, None, 0.0));
                objects::ready(&client, namespace, app.name, 3, SOON).await?;
                let hpa = app.plain_hpa(namespace, 15.0).object()?;
                objects::create_all(&client, vec![hpa]).await?;
            }
        }
        let client = testbed.plane.client();
        for app in bank::model_servers() {
            objects::scaled_to(&client, cpu_only, app.name, 1, SOON).await?;
        }
        for app in bank::model_servers() {
            until("the HPA with a memory metric to work", SOON, async || {
                let (status, reason) =
                    objects::hpa_condition(&client, with_memory, app.name, "ScalingActive").await?;
                ensure!(status == "True", "ScalingActive is {status}: {reason}");
                Ok(())
            })
            .await?;
        }
        throughout("three replicas", Duration::from_secs(32), async || {
            for app in bank::model_servers() {
                let replicas = objects::spec_replicas(&client, with_memory, app.name).await?;
                ensure!(replicas == 3, "{} stands at {replicas}", app.name);
            }
            Ok(())
        })
        .await
    })
}

#[test]
fn a_pod_becomes_ready_when_its_annotation_says() -> Result<()> {
    testbed::run(async {
        let testbed = Testbed::shared().await?;
        let namespace = "ready-after";
        let client = room(testbed, namespace).await?;
        let never = [("testbed.hirl-scale.io/ready-after", "24h")];
        let slow = Workload { annotations: &never, ..Workload::small(namespace, "slow") };
        let soon = [("testbed.hirl-scale.io/ready-after", "3s")];
        let fast = Workload { annotations: &soon, ..Workload::small(namespace, "fast") };
        testbed.twin.add(App::web(namespace, "slow", Traffic::Constant(5.0)));
        testbed.twin.add(App::web(namespace, "fast", Traffic::Constant(5.0)));
        objects::create_all(&client, vec![slow.deployment()?, fast.deployment()?]).await?;
        until("the twin to see the ready pod", SOON, async || {
            ensure!(testbed.twin.sample(namespace, "fast")?.ready == 1, "it is not ready");
            Ok(())
        })
        .await?;
        let slow = testbed.twin.sample(namespace, "slow")?;
        ensure!((slow.ready, slow.rps) == (0, 0.0), "an unready pod has traffic: {slow:?}");
        Ok(())
    })
}

#[test]
fn prometheus_sees_each_fault_of_the_telemetry_as_it_is() -> Result<()> {
    testbed::run(async {
        let testbed = Testbed::shared().await?;
        let (namespace, name) = ("twin-faults", "web");
        testbed.twin.add(App::web(namespace, name, Traffic::Constant(1.0)));
        testbed.twin.pin_cpu(namespace, name, 7.5)?;
        testbed.twin.pin(namespace, name, Gauge::P99, 0.25)?;
        let series = format!("twin_app_cpu_cores{{namespace=\"{namespace}\"}}");
        let values = async || -> Result<Vec<String>> {
            let found = testbed.prometheus.query(&series).await?;
            Ok(found.iter().filter_map(|one| Some(one["value"][1].as_str()?.to_owned())).collect())
        };
        let faults: [(Option<Fault>, &[&str]); 6] = [
            (None, &["7.5"]),
            (Some(Fault::Silent), &[]),
            (Some(Fault::NotANumber), &["NaN"]),
            (Some(Fault::Infinite), &["+Inf"]),
            (Some(Fault::Duplicate), &["7.5", "7.5"]),
            (None, &["7.5"]),
        ];
        for (fault, expected) in faults {
            testbed.twin.set_fault(namespace, name, fault)?;
            until(format_args!("{fault:?} in Prometheus"), SOON, async || {
                let found = values().await?;
                ensure!(found == expected, "{found:?}");
                Ok(())
            })
            .await?;
        }

        let app = App { timestamps: true, ..App::web(namespace, name, Traffic::Constant(1.0)) };
        testbed.twin.add(app);
        testbed.twin.pin_cpu(namespace, name, 2.5)?;
        until("samples with times of their own", SOON, async || {
            let found = values().await?;
            ensure!(found == ["2.5"], "{found:?}");
            Ok(())
        })
        .await?;
        testbed.twin.set_fault(namespace, name, Some(Fault::Frozen))?;
        until("a sample older than 3 s", SOON, async || {
            let age = testbed.prometheus.value(&format!("time() - timestamp({series})")).await?;
            ensure!(age > 3.0, "it is {age} s old");
            Ok(())
        })
        .await
    })
}

#[test]
fn the_certificate_of_hirl_makes_it_its_service_account() -> Result<()> {
    testbed::run(async {
        let testbed = Testbed::shared().await?;
        let user = "system:serviceaccount:hirl-system:hirl";
        let groups = ["system:serviceaccounts", "system:serviceaccounts:hirl-system"];
        let identity = testbed.plane.pki().cluster.issue(&Leaf::client(user, &groups))?;
        let requests = testbed.plane.requests(Some(&identity))?;
        let review = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview",
        });
        let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
        let json_type = [("content-type", "application/json")];
        let answer = requests.send(Method::POST, path, &json_type, &review.to_string()).await?;
        let found = &answer.json()?["status"]["userInfo"];
        ensure!(found["username"] == user, "{}", answer.body);
        for group in groups.into_iter().chain(["system:authenticated"]) {
            let listed = found["groups"].as_array().is_some_and(|all| all.contains(&group.into()));
            ensure!(listed, "{group} is missing: {}", answer.body);
        }

        let expired = testbed.plane.pki().cluster.issue(&Leaf::client(user, &groups).expired())?;
        let refused = testbed.plane.requests(Some(&expired))?.get("/version", &[]).await;
        // TLS may refuse it, or the API server may not know who it is.
        ensure!(refused.is_err() || refused?.status == 401, "an expired certificate was accepted");
        Ok(())
    })
}

#[test]
fn what_was_started_ends_with_its_testbed_and_leaves_nothing() -> Result<()> {
    testbed::run(async {
        let scratch = Scratch::create()?;
        let folder = scratch.path().to_owned();
        let mut command = Command::new("/bin/sh");
        // A process that has a child of its own.
        command.args(["-c", "sleep 600 & echo started; wait"]);
        let mut process = Process::spawn(&scratch, "sleeper", command)?;
        until("it to start", SOON, async || {
            ensure!(process.log()?.contains("started"), "nothing was written");
            Ok(())
        })
        .await?;
        let id = process.id();
        process.pause()?;
        process.resume()?;
        ensure!(process.ended()?.is_none(), "it ended by itself");
        drop(process);
        drop(scratch);
        until("the whole group to be gone", SOON, async || {
            let groups = members_of(id)?;
            ensure!(groups.is_empty(), "left: {groups:?}");
            Ok(())
        })
        .await?;
        ensure!(!folder.exists(), "{} is left", folder.display());
        Ok(())
    })
}

/// Living processes of a process group.
fn members_of(group: u32) -> Result<Vec<String>> {
    let mut members = Vec::new();
    for entry in Path::new("/proc").read_dir().context("reading /proc")?.flatten() {
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        // After the name in brackets: state, parent, group.
        let fields: Vec<&str> =
            stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        if fields.get(2) == Some(&group.to_string().as_str()) && fields[0] != "Z" {
            members.push(stat);
        }
    }
    Ok(members)
}
