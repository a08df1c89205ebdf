//! `manifests/training` under the real Job controller: workers that it numbers, one that is lost and replaced, and
//! weights that are those of a run without workers. What a kubelet does with the pods is done here.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hirl_scale::policy::hirl::Model;
use serde_json::{Value, json};

use crate::testbed::control_plane::{ControlPlane, Controllers, Options};
use crate::testbed::run;
use crate::testbed::wait::until;

const MANIFESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests");
const NAMESPACE: &str = "hirl-training";
const SOON: Duration = Duration::from_mins(1);
/// One iteration of four short episodes, on a machine under load.
const TRAINED: Duration = Duration::from_mins(5);

/// So little that it is done in seconds; two workers.
const LITTLE: [&str; 8] = [
    "--levels=1",
    "--rule=rules",
    "--members=1",
    "--look-members=1",
    "--episodes=4",
    "--iterations=1",
    "--look=1",
    "--jobs=1",
];

async fn plane() -> Result<ControlPlane> {
    ControlPlane::start(Options {
        controllers: Some(Controllers::default()),
        scheduler: false,
        kubelets: None,
        audit: false,
    })
    .await
}

/// Applies the manifests with two workers and little to do.
async fn apply(plane: &ControlPlane) -> Result<()> {
    let rendered = plane.kubectl(&["kustomize", &format!("{MANIFESTS}/training")]).await?;
    let mut items: Vec<Value> = serde_saphyr::from_multiple(&rendered).context("the manifests")?;
    for item in &mut items {
        let name = item["metadata"]["name"].clone();
        let args = item.pointer_mut("/spec/template/spec/containers/0/args");
        let Some(args) = args.and_then(Value::as_array_mut) else { continue };
        for arg in args.iter_mut() {
            if arg == "--workers=4" {
                *arg = json!("--workers=2");
            }
        }
        if name == "trainer" {
            args.extend(LITTLE.map(Value::from));
        } else {
            args.push(json!("--jobs=1"));
            item["spec"]["completions"] = json!(2);
            item["spec"]["parallelism"] = json!(2);
        }
    }
    plane.apply_list(&items).await
}

/// The pods of a Job that have neither succeeded nor failed.
async fn pods(plane: &ControlPlane, job: &str) -> Result<Vec<Value>> {
    let selector = format!("batch.kubernetes.io/job-name={job}");
    let text =
        plane.kubectl(&["get", "pods", "-n", NAMESPACE, "-l", &selector, "-o", "json"]).await?;
    let list: Value = serde_json::from_str(&text)?;
    let pods = list["items"].as_array().cloned().unwrap_or_default();
    let runs =
        |pod: &Value| !["Succeeded", "Failed"].map(Value::from).contains(&pod["status"]["phase"]);
    Ok(pods.into_iter().filter(runs).collect())
}

/// What a kubelet would tell of a pod.
async fn tell(plane: &ControlPlane, pod: &Value, phase: &str) -> Result<()> {
    let name = pod["metadata"]["name"].as_str().context("a pod without name")?;
    let status = json!({"status": {"phase": phase}}).to_string();
    let patch = [
        "patch",
        "pod",
        name,
        "-n",
        NAMESPACE,
        "--subresource=status",
        "--type=merge",
        "-p",
        &status,
    ];
    plane.kubectl(&patch).await.map(|_| ())
}

/// Runs the container of a pod as a kubelet would: its arguments, its environment with what refers to the pod, and
/// the folder in place of the volume.
fn start(pod: &Value, share: &Path) -> Result<Child> {
    let container = &pod["spec"]["containers"][0];
    let arguments = container["args"].as_array().context("no arguments")?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_hirl"));
    // An argument is the whole path or has it after "=".
    let own = |value: &Value| match value.as_str().and_then(|it| it.split_once("=/share")) {
        Some((name, rest)) => format!("{name}={}{rest}", share.display()),
        None => value.as_str().unwrap_or_default().to_owned(),
    };
    command.args(arguments.iter().map(own)).stderr(Stdio::null());
    for variable in container["env"].as_array().into_iter().flatten() {
        let name = variable["name"].as_str().context("a variable without name")?;
        let path = variable["valueFrom"]["fieldRef"]["fieldPath"].as_str();
        let value = match path.and_then(|it| it.strip_prefix("metadata.")) {
            Some(path) => referred(pod, path).with_context(|| format!("nothing at {path}"))?,
            None => variable["value"].as_str().unwrap_or_default().to_owned(),
        };
        command.env(name, value);
    }
    command.spawn().context("starting the container")
}

/// The label or annotation that `labels['NAME']` or `annotations['NAME']` refers to.
fn referred(pod: &Value, path: &str) -> Option<String> {
    let (kind, rest) = path.split_once("['")?;
    Some(pod["metadata"][kind][rest.strip_suffix("']")?].as_str()?.to_owned())
}

fn index(pod: &Value) -> Option<&str> {
    pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"].as_str()
}

/// Waits for a container's end and tells it as a kubelet would.
async fn finish(plane: &ControlPlane, pod: &Value, mut child: Child) -> Result<()> {
    let status =
        until("a container to end", TRAINED, async || child.try_wait()?.context("it still runs"))
            .await?;
    ensure!(status.success(), "{}: {status}", pod["metadata"]["name"]);
    tell(plane, pod, "Succeeded").await
}

fn weights(path: &Path) -> Result<Vec<f32>> {
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    Ok(Model::from_bytes(&bytes)?.parameters().to_flat()?)
}

#[test]
fn an_indexed_job_makes_the_episodes_and_a_lost_worker_changes_nothing() -> Result<()> {
    run(async {
        let plane = plane().await?;
        apply(&plane).await?;
        let share = tempfile::tempdir()?;
        let workers = until("two workers", SOON, async || {
            let workers = pods(&plane, "workers").await?;
            ensure!(workers.len() == 2, "{} workers", workers.len());
            Ok(workers)
        })
        .await?;
        let numbered: BTreeMap<&str, &Value> =
            workers.iter().filter_map(|pod| Some((index(pod)?, pod))).collect();
        ensure!(numbered.keys().eq(["0", "1"].iter()), "{:?}", numbered.keys());

        // The second is lost before it has done anything; the real controller replaces it by one with its index.
        tell(&plane, numbered["1"], "Failed").await?;
        let again = until("another worker 1", SOON, async || {
            let all = pods(&plane, "workers").await?;
            all.into_iter().find(|pod| index(pod) == Some("1")).context("none")
        })
        .await?;
        ensure!(again["metadata"]["uid"] != numbered["1"]["metadata"]["uid"], "the same pod");

        let trainer = pods(&plane, "trainer").await?;
        ensure!(trainer.len() == 1, "{} trainers", trainer.len());
        let mut running = Vec::new();
        for pod in [numbered["0"], &again, &trainer[0]] {
            running.push((pod, start(pod, share.path())?));
            tell(&plane, pod, "Running").await?;
        }
        for (pod, child) in running {
            finish(&plane, pod, child).await?;
        }
        for job in ["workers", "trainer"] {
            until("the Job to be complete", SOON, async || {
                let text =
                    plane.kubectl(&["get", "job", job, "-n", NAMESPACE, "-o", "json"]).await?;
                let job: Value = serde_json::from_str(&text)?;
                let done = &job["status"]["conditions"].to_string();
                ensure!(done.contains("\"Complete\""), "{}", job["status"]);
                Ok(())
            })
            .await?;
        }
        let names: Vec<String> = fs::read_dir(share.path().join("rollouts"))?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<Result<_>>()?;
        ensure!(names == ["done"], "the volume fills up: {names:?}");

        // The same training on this machine alone.
        let alone = tempfile::tempdir()?;
        let out = format!("--out={}", alone.path().display());
        let mut command = Command::new(env!("CARGO_BIN_EXE_hirl"));
        command.args(["train", "policy", "--stage=soldiers", "--seed=0", &out]).args(LITTLE);
        let output = tokio::task::spawn_blocking(move || command.output()).await??;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let name = "weights.safetensors";
        ensure!(
            weights(&share.path().join("soldiers-0").join(name))?
                == weights(&alone.path().join(name))?,
            "workers changed the weights"
        );
        Ok(())
    })
}
