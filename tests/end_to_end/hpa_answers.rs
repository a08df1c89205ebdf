//! What the real HPA controller answers, case by case: the table that our model of it is held to.
//!
//! Nothing but the HPA controller runs, so that its targets stand still: the test makes the pods,
//! dictates every metric, and reads what stands whenever the controller asks again. It syncs every
//! 1.2 s; windows and periods in the table are a few seconds.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use hirl_scale::simulation::scenario::ControllerSpec;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::hpa_table::{CPU_MILLI, Case, MEMORY_MIB, State, Table, WINDOW};
use crate::testbed::answers::{self, Answer, Read};
use crate::testbed::control_plane::{ControlPlane, Controllers, Options};
use crate::testbed::objects::{self, Autoscaler, Workload, external};
use crate::testbed::wait::until;
use crate::testbed::{run, stock};

const NAMESPACE: &str = "answers";
/// How often a case is played until it answers as recorded. A controller that answers otherwise does
/// so in every round; a machine that stalls moves a sync, or the write at the end of one, which the
/// controller counts its periods from, to the other side of a window or period of the table.
const ROUNDS: usize = 6;
/// The time between two syncs of what is recorded, in seconds. At 1.2 s no window of the table (1,
/// 2, 3 and 10 s) ends when a sync begins; at 1 s every one would.
const IN_TIME: Range<f64> = 1.05..1.45;

/// The cases under way, by the name of their HPA.
type Playing = Arc<Mutex<HashMap<String, Play>>>;

#[derive(Debug)]
struct Play {
    case: Case,
    /// How many metrics its HPA reads in each sync.
    metrics: usize,
    reads: usize,
    /// The instant that ages of pods count from, whole seconds as the API has them.
    now: jiff::Timestamp,
    began: Option<Instant>,
}

#[test]
fn the_controller_answers_as_recorded() -> Result<()> {
    run(async {
        let mut table = Table::read()?;
        let recording = std::env::var_os("HIRL_RECORD").is_some();
        let plane = ControlPlane::start(options(&table.header.controller)).await?;
        let client = plane.client();
        objects::apply(&client, &objects::namespace(NAMESPACE, &[])?).await?;
        let playing = Playing::default();
        let _serving = answers::serve(&plane, answer(&client, &playing)).await?;

        let mut open: Vec<usize> = (0..table.cases.len()).collect();
        let mut otherwise = Vec::new();
        for round in 0..ROUNDS {
            if open.is_empty() {
                break;
            }
            let played = play(&client, &playing, &table, &open, round).await?;
            otherwise.clear();
            let mut again = Vec::new();
            for (index, seen) in open.into_iter().zip(played) {
                let known = &mut table.cases[index];
                if recording && in_time(&seen) {
                    known.stood = seen.stood;
                } else if recording || counts(&seen) != counts(known) {
                    let Case { what, stood, .. } = known;
                    otherwise.push(format!("{what}: {:?}, and {stood:?} are recorded", seen.stood));
                    again.push(index);
                }
            }
            open = again;
        }
        ensure!(open.is_empty(), "otherwise in {ROUNDS} rounds, at last {otherwise:#?}");
        if recording {
            let version = plane.admin()?.get("/version", &[]).await?.json()?;
            table.header.kubernetes =
                version["gitVersion"].as_str().context("no version")?.to_owned();
            table.write()?;
        }
        Ok(())
    })
}

fn options(controller: &ControllerSpec) -> Options {
    let seconds = Duration::from_secs_f64;
    Options {
        controllers: Some(Controllers {
            which: "horizontal-pod-autoscaler-controller",
            sync_period: seconds(controller.sync_seconds),
            downscale_stabilisation: seconds(controller.downscale_stabilization_seconds),
            cpu_initialisation: seconds(controller.cpu_initialization_seconds),
            initial_readiness_delay: seconds(controller.initial_readiness_seconds),
            ..Controllers::default()
        }),
        scheduler: false,
        kubelets: None,
        audit: false,
    }
}

fn counts(case: &Case) -> Vec<(u32, u32)> {
    case.stood.iter().map(|&(_, replicas, desired)| (replicas, desired)).collect()
}

/// Whether every sync came in time, where more than one matters.
fn in_time(case: &Case) -> bool {
    case.syncs() == 1
        || case.stood.windows(2).all(|pair| IN_TIME.contains(&(pair[1].0 - pair[0].0)))
}

/// Plays the cases of these indices at once, and gives them back with what stood.
async fn play(
    client: &Client,
    playing: &Playing,
    table: &Table,
    indices: &[usize],
    round: usize,
) -> Result<Vec<Case>> {
    let names: Vec<String> = indices.iter().map(|index| format!("case-{index}-{round}")).collect();
    let mut hpas = Vec::new();
    for (index, name) in indices.iter().zip(&names) {
        let case = Case { stood: Vec::new(), ..table.cases[*index].clone() };
        let spec = table.hpa(&case)?;
        let metrics =
            if case.asks.is_empty() { stock::metrics(&spec) } else { vec![external(name)] };
        let now = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second())?;
        let play = Play { case, metrics: metrics.len(), reads: 0, now, began: None };
        let behavior = stock::behavior(&spec, 1.0);
        let (min, max) = (spec.min_replicas, spec.max_replicas);
        let plain = Autoscaler::plain(NAMESPACE, name, min, max, &[]);
        hpas.push(Autoscaler { metrics, behavior, ..plain }.object()?);
        lock(playing).insert(name.clone(), play);
    }
    let targets = names.iter().map(|name| prepare(client, playing, name));
    futures::stream::iter(targets).buffer_unordered(16).try_collect::<Vec<()>>().await?;
    objects::create_all(client, hpas).await?;
    until("the end of all cases", Duration::from_mins(2), async || {
        let all = lock(playing);
        let left = names.iter().filter(|name| !over(&all[*name].case)).count();
        ensure!(left == 0, "{left} are not over");
        Ok(())
    })
    .await?;
    let mut cases = Vec::new();
    for name in &names {
        objects::delete::<HorizontalPodAutoscaler>(client, NAMESPACE, name).await?;
        let mut case = lock(playing).remove(name).context("a lost case")?.case;
        if case.stood.is_empty() {
            let stands = objects::spec_replicas(client, NAMESPACE, name).await?;
            case.stood = vec![(0.0, stands, 0)];
        }
        cases.push(case);
    }
    Ok(cases)
}

/// Whether everything that is wanted of a case was seen. An HPA that is switched off (0 replicas)
/// reads nothing.
fn over(case: &Case) -> bool {
    case.stood.len() > case.syncs() || case.replicas == 0
}

/// Makes the target of a case, and its pods.
async fn prepare(client: &Client, playing: &Playing, name: &str) -> Result<()> {
    let (case, now) = {
        let all = lock(playing);
        let play = all.get(name).context("a lost case")?;
        (play.case.clone(), play.now)
    };
    let (cpu, memory) = (format!("{CPU_MILLI}m"), format!("{MEMORY_MIB}Mi"));
    let workload = Workload {
        replicas: case.replicas,
        cpu: &cpu,
        memory: &memory,
        ..Workload::small(NAMESPACE, name)
    };
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    let deployment = workload.deployment()?;
    deployments.create(&PostParams::default(), &deployment).await?;
    let status = json!({"status": {"replicas": case.status.unwrap_or(case.replicas)}});
    deployments.patch_status(name, &PatchParams::default(), &Patch::Merge(&status)).await?;

    let template = deployment.spec.context("a Deployment without a spec")?.template;
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    for (pod, state, _) in each_pod(name, &case) {
        let mut object = Pod {
            metadata: template.metadata.clone().unwrap_or_default(),
            spec: template.spec.clone(),
            ..Pod::default()
        };
        object.metadata.name = Some(pod.clone());
        pods.create(&PostParams::default(), &object).await?;
        if let State::Running { ready, .. } = state {
            let times = Times::of(state, now);
            let status = json!({"status": {
                "phase": "Running",
                "startTime": times.start.to_string(),
                "conditions": [{
                    "type": "Ready",
                    "status": if ready { "True" } else { "False" },
                    "lastTransitionTime": times.changed.to_string(),
                }],
            }});
            pods.patch_status(&pod, &PatchParams::default(), &Patch::Merge(&status)).await?;
        }
    }
    Ok(())
}

/// Every pod of a case: its name, how far it is, and its usage where it has a sample.
fn each_pod(name: &str, case: &Case) -> Vec<(String, State, Value)> {
    let groups = case.pods.iter().enumerate();
    groups
        .flat_map(|(group, pods)| {
            let mut usage = json!({});
            if let Some(milli) = pods.cpu_milli {
                usage["cpu"] = format!("{milli}m").into();
            }
            if let Some(mib) = pods.memory_mib {
                usage["memory"] = format!("{mib}Mi").into();
            }
            (0..pods.count)
                .map(move |pod| (format!("{name}-{group}-{pod}"), pods.state(), usage.clone()))
        })
        .collect()
}

/// When a pod did what.
struct Times {
    start: jiff::Timestamp,
    changed: jiff::Timestamp,
    sampled: jiff::Timestamp,
}

impl Times {
    fn of(state: State, now: jiff::Timestamp) -> Self {
        let later = |from: jiff::Timestamp, seconds: i64| {
            jiff::Timestamp::from_second(from.as_second() + seconds).unwrap_or(from)
        };
        let State::Running { age, changed_after, sampled_after, .. } = state else {
            return Self { start: now, changed: now, sampled: now };
        };
        let start = later(now, -i64::from(age));
        let changed = later(start, i64::from(changed_after));
        Self { start, changed, sampled: later(changed, i64::from(sampled_after)) }
    }
}

/// Answers the controller's reads, and notes what stands at the beginning of each sync. The
/// controller syncs one HPA at a time: when it reads again, the last sync is wholly over.
fn answer(client: &Client, playing: &Playing) -> Answer {
    let (client, playing) = (client.clone(), Arc::clone(playing));
    Arc::new(move |read, name| {
        let (client, playing) = (client.clone(), Arc::clone(&playing));
        async move {
            let first = lock(&playing).get_mut(&name)?.read();
            if let Some(at) = first {
                let stands = objects::spec_replicas(&client, NAMESPACE, &name).await.ok()?;
                let desired = desired(&client, &name).await.ok()?;
                lock(&playing).get_mut(&name)?.case.stood.push((at, stands, desired));
            }
            items(read, &name, lock(&playing).get(&name)?)
        }
        .boxed()
    })
}

async fn desired(client: &Client, name: &str) -> Result<u32> {
    let hpas: Api<HorizontalPodAutoscaler> = Api::namespaced(client.clone(), NAMESPACE);
    let status = hpas.get(name).await?.status;
    Ok(status.map_or(0, |status| status.desired_replicas) as u32)
}

impl Play {
    /// Counts a read. When it is the first of a sync that is wanted, or of the one after, its time
    /// in seconds since the first of all, to the hundredth.
    fn read(&mut self) -> Option<f64> {
        let first = self.reads.is_multiple_of(self.metrics) && !over(&self.case);
        self.reads += 1;
        let began = *self.began.get_or_insert_with(Instant::now);
        first.then(|| (began.elapsed().as_secs_f64() * 100.0).round() / 100.0)
    }
}

/// What is to be read in the present sync of a case.
fn items(read: Read, name: &str, play: &Play) -> Option<Vec<Value>> {
    let Play { case, now, .. } = play;
    if over(case) {
        return None;
    }
    match read {
        Read::External => {
            let value = (*case.asks.get(case.stood.len().checked_sub(1)?)?)?;
            Some(vec![json!({
                "metricName": objects::METRIC,
                "metricLabels": {},
                "timestamp": now.to_string(),
                "value": value.to_string(),
            })])
        }
        Read::Resource => {
            let sampled = each_pod(name, case)
                .into_iter()
                .filter(|(_, _, usage)| usage.as_object().is_some_and(|usage| !usage.is_empty()));
            let item = |(pod, state, usage): (String, State, Value)| {
                json!({
                    "metadata": {"name": pod, "namespace": NAMESPACE},
                    "timestamp": Times::of(state, *now).sampled.to_string(),
                    "window": format!("{WINDOW}s"),
                    "containers": [{"name": "app", "usage": usage}],
                })
            };
            Some(sampled.map(item).collect())
        }
    }
}

fn lock(playing: &Playing) -> MutexGuard<'_, HashMap<String, Play>> {
    playing.lock().unwrap_or_else(PoisonError::into_inner)
}
