//! `manifests/scheduler/` on a real API server: what the policies write into pods, what the roles
//! allow, and that kube-scheduler starts with each configuration file.

use std::collections::HashMap;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use hirl_scale::cluster::{Amount, Class};
use hirl_scale::extender::{Endpoints, Gatekeeper, Reclaimer, keep};
use hirl_scale::instruments::OutcomeLabel;
use hirl_scale::kubernetes::Placements;
use hirl_scale::placement::{
    Budgets, DomainBudget, Epoch, Ledger, NodeFacts, Pod, Settings, Standing,
};
use prometheus_client::metrics::family::Family;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::stage::administrator;
use crate::testbed::control_plane::{self, ControlPlane, Options};
use crate::testbed::hirl;
use crate::testbed::objects;
use crate::testbed::pki::Leaf;
use crate::testbed::process::{Process, free_port};
use crate::testbed::requests::Requests;
use crate::testbed::run;
use crate::testbed::wait::until;

const MANIFESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests");
/// Patience with a scheduler's start, and with a policy that the API server has just been given.
const SOON: Duration = Duration::from_mins(1);
/// Whose rights are asked about.
const HIRL: &str = "system:serviceaccount:hirl-system:hirl";
const SCHEDULER: &str = "system:serviceaccount:hirl-system:hirl-scheduler";

/// A control plane where nothing runs but the API server.
async fn bare() -> Result<ControlPlane> {
    let plane = ControlPlane::start(Options {
        controllers: None,
        scheduler: false,
        kubelets: None,
        audit: false,
    })
    .await?;
    hirl::install(&plane).await?;
    Ok(plane)
}

/// Applies an overlay of `manifests/overlays` with these components beside it, but for what needs
/// the CRDs of cert-manager or of a node autoscaler, or an aggregated server. Gives the objects.
async fn apply(plane: &ControlPlane, components: &[&str]) -> Result<Vec<Value>> {
    let mut overlay = json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization",
        "resources": ["manifests/overlays/cert-manager-scheduler"],
    });
    overlay["components"] =
        components.iter().map(|name| format!("manifests/scheduler/{name}")).collect();
    // Beside the manifests, because kustomize takes relative paths only.
    let folder = plane.scratch().path().join("overlay");
    std::fs::create_dir_all(&folder)?;
    let link = folder.join("manifests");
    if !link.exists() {
        std::os::unix::fs::symlink(MANIFESTS, &link)?;
    }
    std::fs::write(folder.join("kustomization.yaml"), overlay.to_string())?;
    let rendered = plane.kubectl(&["kustomize", &folder.display().to_string()]).await?;
    let items: Vec<Value> = serde_saphyr::from_multiple(&rendered).context("rendered manifests")?;
    let items: Vec<Value> = items
        .into_iter()
        .filter(|item| {
            let group = item["apiVersion"].as_str().unwrap_or_default();
            let foreign = ["cert-manager.io/", "autoscaling.x-k8s.io/"];
            let foreign = foreign.iter().any(|name| group.starts_with(name));
            !foreign && item["kind"] != "APIService"
        })
        .collect();
    plane.apply_list(&items).await?;
    Ok(items)
}

fn admin(plane: &ControlPlane) -> Result<Requests> {
    plane.requests(Some(&administrator(plane)?))
}

/// The pod as the API server would make it; it is not made.
async fn created(plane: &ControlPlane, namespace: &str, change: &Value) -> Result<Value> {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {"containers": [{"name": "web", "image": "web"}]},
    });
    merge(&mut pod, change);
    let file = plane.scratch().write("pod.json", &pod.to_string())?;
    let file = file.display().to_string();
    let made = plane.kubectl(&["create", "--dry-run=server", "-o", "json", "-f", &file]).await?;
    Ok(serde_json::from_str(&made)?)
}

fn merge(into: &mut Value, change: &Value) {
    match (into, change) {
        (Value::Object(into), Value::Object(change)) => {
            for (key, value) in change {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, change) => *into = change.clone(),
    }
}

fn scheduler(pod: &Value) -> &str {
    pod["spec"]["schedulerName"].as_str().unwrap_or_default()
}

fn gates(pod: &Value) -> Vec<&str> {
    let gates = pod["spec"]["schedulingGates"].as_array().into_iter().flatten();
    gates.filter_map(|gate| gate["name"].as_str()).collect()
}

#[test]
fn the_policies_give_pods_their_scheduler_and_their_gate() -> Result<()> {
    run(async {
        let plane = bare().await?;
        apply(&plane, &["open", "gates", "reclaim", "balloon", "capacity-buffer"]).await?;
        let client = plane.client();
        for (name, labels) in [
            ("plain", &[][..]),
            ("strict", &[("hirl-scale.io/scheduler", "strict")]),
            ("open", &[("hirl-scale.io/scheduler", "open")]),
            ("other", &[("hirl-scale.io/scheduler", "turbo")]),
            ("gated", &[("hirl-scale.io/scheduler", "strict"), ("hirl-scale.io/gates", "true")]),
        ] {
            objects::apply(&client, &objects::namespace(name, labels)?).await?;
            // Pods are refused until their namespace has its service account.
            let account = json!({"apiVersion": "v1", "kind": "ServiceAccount",
                "metadata": {"name": "default", "namespace": name}});
            let file = plane.scratch().write("account.json", &account.to_string())?;
            plane.kubectl(&["apply", "-f", &file.display().to_string()]).await?;
        }
        let nothing = json!({});
        until("the policies to be in force", SOON, async || {
            let pod = created(&plane, "gated", &with("hirl-p3")).await?;
            ensure!(scheduler(&pod) == "hirl-scheduler", "{}", pod["spec"]);
            ensure!(gates(&pod) == ["hirl-scale.io/budget"], "{}", pod["spec"]);
            Ok(())
        })
        .await?;

        for (namespace, wanted) in [
            ("strict", "hirl-scheduler"),
            ("open", "hirl-scheduler-open"),
            ("plain", "default-scheduler"),
            ("other", "default-scheduler"),
        ] {
            let pod = created(&plane, namespace, &nothing).await?;
            ensure!(scheduler(&pod) == wanted, "{namespace}: {}", scheduler(&pod));
            ensure!(gates(&pod).is_empty(), "{namespace}: {:?}", gates(&pod));
        }
        let daemon = json!({"metadata": {"ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "logs", "uid": "u-1"}]}});
        for (change, wanted) in [
            (json!({"spec": {"schedulerName": "mine"}}), "mine"),
            (json!({"spec": {"schedulerName": "default-scheduler"}}), "hirl-scheduler"),
            (json!({"spec": {"nodeName": "node-1"}}), "default-scheduler"),
            (daemon.clone(), "default-scheduler"),
        ] {
            let pod = created(&plane, "strict", &change).await?;
            ensure!(scheduler(&pod) == wanted, "{change}: {}", scheduler(&pod));
        }

        gates_are_for_low_classes(&plane, daemon).await?;
        neither_the_cluster_nor_we_depend_on_us(&plane).await
    })
}

/// A pod of this class.
fn with(class: &str) -> Value {
    json!({"spec": {"priorityClassName": class}})
}

async fn gates_are_for_low_classes(plane: &ControlPlane, daemon: Value) -> Result<()> {
    for (class, policy) in [("hirl-p2", "PreemptLowerPriority"), ("hirl-p3", "Never")] {
        let pod = created(plane, "gated", &with(class)).await?;
        ensure!(gates(&pod) == ["hirl-scale.io/budget"], "{class}: {:?}", gates(&pod));
        ensure!(pod["spec"]["preemptionPolicy"] == policy, "{class}: {}", pod["spec"]);
        let elsewhere = created(plane, "strict", &with(class)).await?;
        ensure!(gates(&elsewhere).is_empty(), "{class}: {:?}", gates(&elsewhere));
    }
    for class in ["hirl-p0", "hirl-p1"] {
        let pod = created(plane, "gated", &with(class)).await?;
        ensure!(gates(&pod).is_empty(), "{class}: {:?}", gates(&pod));
    }
    ensure!(gates(&created(plane, "gated", &json!({})).await?).is_empty());
    let mut others = with("hirl-p3");
    others["spec"]["schedulingGates"] = json!([{"name": "example.org/licence"}]);
    let pod = created(plane, "gated", &others).await?;
    let mut both = gates(&pod);
    both.sort_unstable();
    ensure!(both == ["example.org/licence", "hirl-scale.io/budget"], "{both:?}");
    for mut change in [daemon, json!({"spec": {"nodeName": "node-1"}})] {
        change["spec"]["priorityClassName"] = json!("hirl-p3");
        let pod = created(plane, "gated", &change).await?;
        ensure!(gates(&pod).is_empty(), "{change}: {:?}", gates(&pod));
    }
    Ok(())
}

async fn neither_the_cluster_nor_we_depend_on_us(plane: &ControlPlane) -> Result<()> {
    for namespace in ["kube-system", "hirl-system"] {
        let label = ["label", "namespace", namespace, "--overwrite"];
        let labels = ["hirl-scale.io/scheduler=strict", "hirl-scale.io/gates=true"];
        plane.kubectl(&[&label[..], &labels[..]].concat()).await?;
        let labelled = plane.kubectl(&["get", "namespace", namespace, "--show-labels"]).await?;
        ensure!(labelled.contains("hirl-scale.io/gates=true"), "{labelled}");
    }
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": "default", "namespace": "kube-system"}});
    let file = plane.scratch().write("account.json", &account.to_string())?;
    plane.kubectl(&["apply", "-f", &file.display().to_string()]).await?;
    let pod = created(plane, "kube-system", &with("hirl-p3")).await?;
    ensure!(scheduler(&pod) == "default-scheduler" && gates(&pod).is_empty(), "{}", pod["spec"]);
    Ok(())
}

/// Whether `user` may.
async fn may(
    plane: &ControlPlane,
    user: &str,
    verb: &str,
    resource: &str,
    namespace: &str,
    name: &str,
) -> Result<bool> {
    let namespace_of = user.split(':').nth(2).unwrap_or_default();
    let (group, resource) = resource.rsplit_once(' ').unwrap_or(("", resource));
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": {
            "user": user,
            "groups": ["system:authenticated", "system:serviceaccounts",
                format!("system:serviceaccounts:{namespace_of}")],
            "resourceAttributes": {"verb": verb, "group": group, "resource": resource,
                "subresource": subresource, "namespace": namespace, "name": name},
        },
    });
    let file = plane.scratch().write("review.json", &review.to_string())?;
    let file = file.display().to_string();
    let answer = plane.kubectl(&["create", "-o", "json", "-f", &file]).await?;
    let answer: Value = serde_json::from_str(&answer)?;
    answer["status"]["allowed"].as_bool().with_context(|| format!("no verdict in {answer}"))
}

#[test]
fn hirl_may_bind_and_only_what_is_switched_on_beyond_that() -> Result<()> {
    run(async {
        let plane = bare().await?;
        apply(&plane, &[]).await?;
        let slices = "discovery.k8s.io endpointslices";
        let leases = "coordination.k8s.io leases";
        let (own, shop) = ("hirl-system", "shop");
        let patch = (HIRL, "patch", "pods", shop, "");
        let evict = (HIRL, "create", "pods/eviction", shop, "");
        for ((user, verb, resource, namespace, name), wanted) in [
            ((HIRL, "create", "pods/binding", shop, ""), true),
            ((HIRL, "get", "pods", shop, ""), true),
            ((HIRL, "create", slices, own, ""), true),
            ((HIRL, "get", slices, own, "hirl-extender"), true),
            ((HIRL, "update", slices, own, "hirl-extender"), true),
            ((HIRL, "update", slices, own, "hirl"), false),
            ((HIRL, "delete", slices, own, "hirl-extender"), false),
            ((HIRL, "create", slices, shop, ""), false),
            (patch, false),
            (evict, false),
            ((HIRL, "create", "pods", shop, ""), false),
            ((HIRL, "delete", "pods", shop, ""), false),
            ((HIRL, "update", "pods", shop, ""), false),
            ((HIRL, "update", "pods/status", shop, ""), false),
            ((HIRL, "patch", "nodes", "", ""), false),
            ((HIRL, "get", "secrets", own, ""), false),
            ((HIRL, "update", "apps deployments", shop, ""), false),
            ((SCHEDULER, "create", "pods/binding", shop, ""), true),
            ((SCHEDULER, "list", "storage.k8s.io storageclasses", "", ""), true),
            ((SCHEDULER, "update", "persistentvolumeclaims", shop, ""), true),
            ((SCHEDULER, "update", leases, own, "hirl-scheduler"), true),
            ((SCHEDULER, "update", leases, own, "hirl"), false),
            ((SCHEDULER, "get", leases, own, "hirl-scheduler-open"), false),
            ((SCHEDULER, "get", "secrets", own, ""), false),
            (
                (
                    SCHEDULER,
                    "get",
                    "configmaps",
                    "kube-system",
                    "extension-apiserver-authentication",
                ),
                true,
            ),
        ] {
            let allowed = may(&plane, user, verb, resource, namespace, name).await?;
            ensure!(allowed == wanted, "{user}: {verb} {resource} {namespace}/{name}: {allowed}");
        }

        let open = (SCHEDULER, "update", leases, own, "hirl-scheduler-open");
        for (component, (user, verb, resource, namespace, name)) in
            [("gates", patch), ("reclaim", evict), ("open", open)]
        {
            apply(&plane, &[component]).await?;
            until(format!("{component} to take effect"), SOON, async || {
                let allowed = may(&plane, user, verb, resource, namespace, name).await?;
                ensure!(allowed, "{user}: {verb} {resource} is not allowed");
                Ok(())
            })
            .await?;
        }
        for verb in ["create", "delete", "update"] {
            ensure!(!may(&plane, HIRL, verb, "pods", shop, "").await?, "{verb} pods");
        }
        Ok(())
    })
}

#[test]
fn kube_scheduler_starts_with_each_configuration_file() -> Result<()> {
    run(async {
        let plane = bare().await?;
        let objects = apply(&plane, &["open"]).await?;
        let files = objects
            .iter()
            .find(|item| {
                let name = item["metadata"]["name"].as_str().unwrap_or_default();
                item["kind"] == "ConfigMap" && name.starts_with("hirl-scheduler-config-")
            })
            .context("no ConfigMap with the configuration files")?;
        let marker = std::fs::read_to_string(format!(
            "{MANIFESTS}/scheduler/default-scheduler-marker.yaml"
        ))?;
        for (name, user, lease) in [
            ("hirl-scheduler", SCHEDULER, "hirl-system/hirl-scheduler"),
            ("hirl-scheduler-open", SCHEDULER, "hirl-system/hirl-scheduler-open"),
            ("default-scheduler-marker", "system:kube-scheduler", "kube-system/kube-scheduler"),
        ] {
            let text = files["data"][format!("{name}.yaml")].as_str().unwrap_or(&marker);
            start(&plane, name, text, user, lease)
                .await
                .with_context(|| format!("kube-scheduler with {name}.yaml"))?;
        }
        // The control: a file that the scheduler does not accept is found out here.
        let broken = marker.replace("httpTimeout: 1s", "httpTimeout: 2");
        let refused =
            start(&plane, "broken", &broken, "system:kube-scheduler", "kube-system/kube-scheduler");
        ensure!(refused.await.is_err(), "a time-out without a unit was accepted");
        Ok(())
    })
}

/// Runs kube-scheduler with a configuration until it is ready and leads, then ends it. Only the
/// places of files differ from what is shipped.
async fn start(
    plane: &ControlPlane,
    name: &str,
    config: &str,
    user: &str,
    lease: &str,
) -> Result<()> {
    let groups: &[&str] = if user == SCHEDULER {
        &["system:serviceaccounts", "system:serviceaccounts:hirl-system"]
    } else {
        &[]
    };
    let kubeconfig = plane.kubeconfig_for(&format!("{name}-kubeconfig"), user, groups)?;
    let pair = plane.pki().cluster.issue(&Leaf::client("system:kube-scheduler", &[]))?;
    let pair = pair.write(plane.scratch(), &format!("{name}-client"))?;
    let authority = plane.scratch().write("extender-ca.crt", plane.pki().serving.pem())?;
    let mut config: Value = serde_saphyr::from_str(config)?;
    config["clientConnection"]["kubeconfig"] = json!(kubeconfig);
    let tls = &mut config["extenders"][0]["tlsConfig"];
    ensure!(tls["caFile"].is_string() && tls["certFile"].is_string(), "no mutual TLS: {tls}");
    tls["caFile"] = json!(authority);
    tls["certFile"] = json!(pair.certificate);
    tls["keyFile"] = json!(pair.key);
    let config = plane.scratch().write(&format!("{name}.yaml"), &config.to_string())?;
    let port = free_port()?;
    let mut command = Command::new(&plane.binaries().scheduler);
    let kubeconfig = kubeconfig.display();
    command
        .arg(format!("--config={}", config.display()))
        .arg(format!("--authentication-kubeconfig={kubeconfig}"))
        .arg(format!("--authorization-kubeconfig={kubeconfig}"))
        .arg("--bind-address=127.0.0.1")
        .arg(format!("--secure-port={port}"))
        .arg(format!("--cert-dir={}", plane.scratch().path().join(name).display()));
    let serving = plane.pki().cluster.issue(&Leaf::server("localhost", &["127.0.0.1"]))?;
    let serving = serving.write(plane.scratch(), &format!("{name}-serving"))?;
    command
        .arg(format!("--tls-cert-file={}", serving.certificate.display()))
        .arg(format!("--tls-private-key-file={}", serving.key.display()));
    let mut process = Process::spawn(plane.scratch(), name, command)?;
    let probe =
        Requests::tls(format!("https://127.0.0.1:{port}"), plane.pki().cluster.pem(), None)?;
    let (namespace, lease) = lease.split_once('/').context("a lease without a namespace")?;
    let path = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{lease}");
    let admin = admin(plane)?;
    let started = process
        .ready(SOON, async || {
            let ready = probe.get("/readyz", &[]).await?;
            ensure!(ready.status == 200, "{}: {}", ready.status, ready.body);
            let held = admin.get(&path, &[]).await?.json()?;
            let holder = held["spec"]["holderIdentity"].as_str().unwrap_or_default();
            ensure!(!holder.is_empty(), "nobody holds {namespace}/{lease}");
            Ok(())
        })
        .await;
    process.kill()?;
    started
}

#[test]
fn what_is_set_by_hand_needs_an_end_a_name_and_a_reason() -> Result<()> {
    run(async {
        let plane = bare().await?;
        let apply = async |change: Value| {
            let mut domain = json!({
                "apiVersion": "hirl-scale.io/v1alpha1", "kind": "Domain",
                "metadata": {"name": "by-hand"},
                "spec": {
                    "class": "P0", "weight": 1, "slo": {"p99": "200ms", "errorRatio": 0.001},
                    "budget": {"share": 0.4, "from": "2026-05-01T08:00:00Z",
                        "until": "2026-05-01T12:00:00Z", "by": "ann", "reason": "campaign"},
                    "emergency": {"from": "2026-05-01T08:00:00Z",
                        "until": "2026-05-01T10:00:00+02:00", "by": "ann", "reason": "outage"},
                },
            });
            domain["spec"]["emergency"]["until"] = json!("2026-05-01T09:00:00Z");
            merge(&mut domain, &json!({ "spec": change }));
            let file = plane.scratch().write("by-hand.json", &domain.to_string())?;
            plane.kubectl(&["apply", "-f", &file.display().to_string()]).await
        };
        for (change, part) in [
            (json!({"budget": {"until": "2026-05-01T12:00:01Z"}}), "at most 4 hours"),
            (json!({"budget": {"until": "2026-05-01T08:00:00Z"}}), "must be after"),
            (json!({"budget": {"until": null}}), "until"),
            (json!({"budget": {"until": "tomorrow"}}), "until"),
            (json!({"budget": {"by": " "}}), "by"),
            (json!({"budget": {"by": null}}), "by"),
            (json!({"budget": {"reason": ""}}), "reason"),
            (json!({"budget": {"share": 1.1}}), "share"),
            (json!({"budget": {"share": -0.1}}), "share"),
            (json!({"budget": {"share": null}}), "needs a share or a pool"),
            (json!({"budget": {"pools": [{"name": "a", "share": 2}]}}), "share"),
            (
                json!({"budget": {"pools": [{"name": "a", "share": 0}, {"name": "a", "share": 1}]}}),
                "Duplicate",
            ),
            (json!({"emergency": {"until": "2026-05-01T12:00:01Z"}}), "at most 4 hours"),
            (json!({"emergency": {"until": "2026-05-01T07:00:00Z"}}), "must be after"),
            (json!({"emergency": {"reason": " "}}), "reason"),
            (json!({"emergency": {"by": null}}), "by"),
        ] {
            match apply(change.clone()).await {
                Ok(_) => bail!("{change} was accepted"),
                Err(refusal) => {
                    ensure!(format!("{refusal:#}").contains(part), "{change}: {refusal:#}");
                }
            }
        }
        apply(json!({"budget": {"pools": [{"name": "", "share": 0}]}})).await?;
        let shown = plane.kubectl(&["get", "domains", "-o", "wide"]).await?;
        ensure!(shown.contains("BUDGETUNTIL") && shown.contains("2026-05-01T12:00:00Z"), "{shown}");
        Ok(())
    })
}

/// Makes a pod of the lowest class and gives it as the ledger takes it.
async fn make(plane: &ControlPlane, name: &str, spec: Value) -> Result<Pod> {
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"containers": [{"name": "web", "image": "web"}], "priorityClassName": "hirl-p3"}});
    merge(&mut pod, &json!({ "spec": spec }));
    let file = plane.scratch().write("pod.json", &pod.to_string())?;
    let file = file.display().to_string();
    let made: Value =
        serde_json::from_str(&plane.kubectl(&["create", "-o", "json", "-f", &file]).await?)?;
    let uid = made["metadata"]["uid"].as_str().context("no uid")?;
    Ok(Pod {
        uid: uid.into(),
        namespace: "shop".into(),
        name: name.into(),
        request: Amount { cpu_milli: 1000, memory: 0 },
        ..Pod::default()
    })
}

/// The namespace `shop` with a pod behind two gates and two on a node. The ledger is told of an
/// older pod of the name of the last: the present one must be left alone.
async fn shop(plane: &ControlPlane) -> Result<[Pod; 3]> {
    objects::apply(&plane.client(), &objects::namespace("shop", &[])?).await?;
    for (kind, object) in [
        (
            "account",
            json!({"apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": "default", "namespace": "shop"}}),
        ),
        ("node", json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-0"}})),
    ] {
        let file = plane.scratch().write(&format!("{kind}.json"), &object.to_string())?;
        plane.kubectl(&["apply", "-f", &file.display().to_string()]).await?;
    }
    let names = [json!("hirl-scale.io/budget"), json!("example.org/licence")];
    let names = names.map(|name| json!({ "name": name }));
    let waiting = Pod {
        gated: true,
        gated_by_us: true,
        ..make(plane, "gated", json!({ "schedulingGates": names })).await?
    };
    let bound = Pod {
        node: Some("node-0".into()),
        ..make(plane, "bound", json!({"nodeName": "node-0"})).await?
    };
    // The ledger knows an older pod of this name: the present one must be left alone.
    let other = Pod {
        uid: "another".into(),
        node: Some("node-0".into()),
        ..make(plane, "other", json!({"nodeName": "node-0"})).await?
    };
    Ok([waiting, bound, other])
}

async fn shown(plane: &ControlPlane, what: &[&str]) -> Result<Value> {
    let shown = plane.kubectl(&[&["get", "-o", "json"], what].concat()).await?;
    Ok(serde_json::from_str(&shown)?)
}

/// The owner's edges with exactly the rights of the manifests: a gate is taken away, a pod is
/// evicted unless it is another one of that name, the Service is led to us.
#[test]
fn the_owner_opens_gates_evicts_and_leads_the_scheduler_to_itself() -> Result<()> {
    run(async {
        let plane = bare().await?;
        apply(&plane, &["gates", "reclaim"]).await?;
        let groups = ["system:serviceaccounts", "system:serviceaccounts:hirl-system"];
        let kubeconfig = plane.kubeconfig_for("edges", HIRL, &groups)?;
        let client = control_plane::client(&kubeconfig).await?;
        let [waiting, bound, other] = shop(&plane).await?;
        let (tell, owner) = watch::channel(true);
        let outcomes = Family::default();
        let placements = ledger(5_000);
        placements.lock().put_pod(&waiting);
        let opening =
            Gatekeeper::new(placements, client.clone(), 100, owner.clone(), outcomes.clone());
        let placements = ledger(0);
        for pod in [&bound, &other] {
            placements.lock().put_pod(pod);
        }
        let evicting =
            Reclaimer::new(placements, client.clone(), (0.0, 10), owner.clone(), outcomes.clone());
        let endpoints = Endpoints {
            namespace: "hirl-system".to_owned(),
            name: "hirl-extender".to_owned(),
            address: ([10, 0, 0, 1], 10262).into(),
        };
        let tasks = [
            tokio::spawn(opening.run()),
            tokio::spawn(evicting.run()),
            tokio::spawn(keep(client, endpoints, owner, || true)),
        ];
        until("gate, eviction and slice", SOON, async || {
            let left = shown(&plane, &["pod", "gated", "-n", "shop"]).await?;
            let left = &left["spec"]["schedulingGates"];
            ensure!(*left == json!([{"name": "example.org/licence"}]), "{left}");
            let present = shown(&plane, &["pods", "-n", "shop"]).await?;
            let going = |name: &str| {
                let all = present["items"].as_array().into_iter().flatten();
                let mut found = all.filter(|one| one["metadata"]["name"] == name);
                found.all(|one| one["metadata"]["deletionTimestamp"].is_string())
            };
            ensure!(going("bound"), "the pod over the limit stays: {outcomes:?}");
            ensure!(!going("other"), "another pod of that name was evicted");
            let count = |outcome| outcomes.get_or_create(&OutcomeLabel { outcome }).get();
            ensure!(count("through") > 0 && count("evicted") == 1, "{outcomes:?}");
            let slice =
                shown(&plane, &["endpointslice", "hirl-extender", "-n", "hirl-system"]).await?;
            ensure!(slice["endpoints"][0]["addresses"] == json!(["10.0.0.1"]), "{slice}");
            Ok(())
        })
        .await?;
        drop(tell);
        for task in tasks {
            tokio::time::timeout(SOON, task).await.context("an edge does not end")??;
        }
        Ok(())
    })
}

/// A ledger that is owned: the domain `shop` may have `cpu_milli` of the one node.
fn ledger(cpu_milli: u64) -> Placements {
    let mut ledger = Ledger::new(Settings::default(), &[], "hirl-system");
    let facts = NodeFacts {
        pool: "general".into(),
        usable: Some(Amount { cpu_milli, memory: 1 << 40 }),
        ..NodeFacts::default()
    };
    ledger.put_node("node-0", facts);
    ledger.set_namespaces(HashMap::from([("shop".into(), "shop".into())]));
    let budget = DomainBudget {
        name: "shop".into(),
        class: Class::P3,
        share: 1.0,
        pool_shares: Vec::new(),
        floor: 0.0,
        borrowing: hirl_scale::cluster::LoanLimit::None,
        lending: hirl_scale::cluster::LoanLimit::Unlimited,
        breach_until: None,
        emergency_until: None,
    };
    let epoch = Epoch { term: 1, sequence: 1 };
    ledger.install(Budgets { epoch, domains: vec![budget], reserve: 0.0, band: 0.1 });
    ledger.stand(Standing::Owner);
    Placements::new(ledger)
}
