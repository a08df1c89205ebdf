//! What others do to pods and nodes: the ledger equals an independent recount of the API's objects.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;

use super::rig::{Batch, Rig, SOON};
use super::stand::Stand;
use crate::testbed::judge::Room;
use crate::testbed::objects;
use crate::testbed::placing::{Budget, Choices, uses};
use crate::testbed::run;
use crate::testbed::wait::until;

const POOLS: [&str; 2] = ["a", "b"];

/// What the pods of the namespace request per pool, and what the nodes of each pool have.
async fn recount(rig: &Rig) -> Result<(BTreeMap<String, Room>, BTreeMap<String, i64>)> {
    let nodes = Api::<Node>::all(rig.client.clone()).list(&ListParams::default()).await?;
    let (mut homes, mut cores) = (HashMap::new(), BTreeMap::new());
    for node in nodes {
        let label = node.metadata.labels.unwrap_or_default().remove("hirl-scale.io/pool");
        let room = node.status.and_then(|status| status.allocatable).unwrap_or_default();
        let room: i64 = room.get("cpu").context("no cpu")?.0.parse().context("whole cores")?;
        let pool = label.unwrap_or_default();
        *cores.entry(pool.clone()).or_default() += room * 1000;
        homes.insert(node.metadata.name.unwrap_or_default(), pool);
    }
    let mut sums = BTreeMap::<String, Room>::new();
    for pod in rig.pods("shop").await? {
        let pod = serde_json::to_value(pod)?;
        let phase = pod["status"]["phase"].as_str().unwrap_or_default();
        let home = pod["spec"]["nodeName"].as_str().and_then(|node| homes.get(node));
        if let (Some(pool), false) = (home, ["Succeeded", "Failed"].contains(&phase)) {
            let sum = sums.entry(pool.clone()).or_default();
            *sum = sum.plus(Room::of_pod(&pod["spec"])?);
        }
    }
    Ok((sums, cores))
}

/// Waits until the ledger says the same as the recount, pool by pool; gives the recount.
async fn agree(stand: &Stand, what: &str) -> Result<BTreeMap<String, Room>> {
    until(format_args!("the ledger to agree after {what}"), SOON, async || {
        let (sums, cores) = recount(&stand.rig).await?;
        for pool in POOLS {
            let found = uses(&stand.rig.plane, &stand.hirl, "payments", pool).await?;
            let counted = sums.get(pool).copied().unwrap_or_default();
            let limit = cores.get(pool).copied().unwrap_or_default() / 2;
            ensure!(found["bound"]["cpu_milli"] == counted.cpu, "{counted}, not {found}");
            ensure!(found["bound"]["memory"] == counted.memory, "{counted}, not {found}");
            ensure!(found["target"]["cpu_milli"] == limit, "{limit}m, not {found}");
            ensure!(found["binding"]["cpu_milli"] == 0, "{found}");
            ensure!(found["held"]["cpu_milli"] == 0, "{found}");
        }
        Ok(sums)
    })
    .await
}

/// Says in the pod's status what a kubelet that can resize says.
async fn allow_resize(pods: &Api<Pod>, name: &str) -> Result<()> {
    until(format_args!("the status of {name}"), SOON, async || {
        let mut pod = pods.get(name).await?;
        let spec = pod.spec.as_ref().and_then(|spec| spec.containers[0].resources.clone());
        let status = pod.status.as_mut().and_then(|status| status.container_statuses.as_mut());
        let container = status.and_then(|all| all.first_mut()).context("no container yet")?;
        ensure!(container.ready, "it does not run yet");
        container.resources = spec;
        pods.replace_status(name, &PostParams::default(), &pod).await?;
        Ok(())
    })
    .await
}

/// Thirty Jobs of one pod, until all have finished.
async fn finish_jobs(rig: &Rig) -> Result<()> {
    let jobs = (0..30).map(|index| {
        objects::object::<Job>(json!({
            "metadata": {"namespace": "shop", "name": format!("job-{index}")},
            "spec": {"template": {"spec": {
                "schedulerName": super::rig::SCHEDULER, "restartPolicy": "Never",
                "containers": [{"name": "app", "image": "simulated",
                    "resources": {"requests": {"cpu": "300m"}}}],
            }}},
        }))
    });
    objects::create_all(&rig.client, jobs.collect::<Result<Vec<_>>>()?).await?;
    let jobs: Api<Job> = Api::namespaced(rig.client.clone(), "shop");
    until("30 Jobs to finish", 2 * SOON, async || {
        let list = jobs.list(&ListParams::default()).await?;
        let done = list
            .iter()
            .filter(|job| job.status.as_ref().is_some_and(|status| status.succeeded == Some(1)));
        let done = done.count();
        ensure!(done == 30, "{done} are");
        Ok(())
    })
    .await
}

#[test]
fn whatever_others_do_the_ledger_equals_a_recount() -> Result<()> {
    run(async {
        let rig = Rig::start().await?;
        for pool in POOLS {
            rig.nodes(pool, 10, 10).await?;
        }
        rig.namespace("shop", "payments").await?;
        let budgets = [Budget::new("payments", "P1", 0.5)];
        let stand = Stand::start(rig, &Choices::new(&POOLS), &budgets, 50_000).await?;
        let rig = &stand.rig;
        for node in 0..5 {
            let prefix = format!("foreign-{node}-");
            let more = json!({"nodeName": format!("a-{node}"), "overhead": null});
            let foreign = Batch { more, ..Batch::new("shop", &prefix, "130m") };
            foreign.create(&rig.client, 10).await?;
        }
        agree(&stand, "50 foreign pods").await?;
        Batch::new("shop", "own-", "500m").create(&rig.client, 20).await?;
        rig.bound("shop", "own-", 20, SOON).await?;
        agree(&stand, "20 pods of its own").await?;

        let pods: Api<Pod> = Api::namespaced(rig.client.clone(), "shop");
        for index in 0..20 {
            let name = format!("own-{index}");
            allow_resize(&pods, &name).await?;
            let bigger = json!({"spec": {"containers": [{
                "name": "app", "resources": {"requests": {"cpu": "701m", "memory": "3Mi"}},
            }]}});
            pods.patch_subresource(
                "resize",
                &name,
                &PatchParams::default(),
                &Patch::Strategic(bigger),
            )
            .await
            .with_context(|| format!("resizing {name}"))?;
        }
        agree(&stand, "resizing 20 pods").await?;

        finish_jobs(rig).await?;
        agree(&stand, "30 finished Jobs").await?;

        for node in 0..5 {
            let label = json!({"metadata": {"labels": {"hirl-scale.io/pool": "b"}}});
            rig.patch_node(&format!("a-{node}"), label).await?;
        }
        let moved = agree(&stand, "moving 5 nodes").await?;
        ensure!(moved["b"].cpu >= 6500, "nothing moved: {moved:?}");
        let nodes: Api<Node> = Api::all(rig.client.clone());
        for node in 5..10 {
            nodes.delete(&format!("b-{node}"), &DeleteParams::default()).await?;
        }
        let last = agree(&stand, "deleting 5 nodes").await?;
        println!("the ledger equals the recount to the millicore and byte: {last:?}");

        // Admission goes by it at once: pool b, full by foreign hands, takes no more of us.
        let used = last["b"].cpu;
        let more = json!({"nodeName": "b-0"});
        let cpu = format!("{}m", 50_000 - used);
        let rest = Batch { more, ..Batch::new("shop", "rest-", &cpu) };
        rest.create(&rig.client, 1).await?;
        agree(&stand, "filling pool b").await?;
        let here = json!({"nodeSelector": {"hirl-scale.io/pool": "b"}});
        let late = Batch { more: here, ..Batch::new("shop", "late-", "1m") };
        late.create(&rig.client, 1).await?;
        until("a refusal in pool b", SOON, async || {
            let waiting = rig.waiting("shop", "late-").await?;
            let (_, text) = waiting.values().next().context("nobody waits")?;
            ensure!(text.starts_with("budget: "), "{text}");
            Ok(())
        })
        .await?;
        ensure!(rig.placed("shop", "late-").await?.is_empty(), "bound above the limit");
        Ok(())
    })
}
