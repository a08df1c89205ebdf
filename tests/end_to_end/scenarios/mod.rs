//! A scenario of the simulator on the real control plane: its apps as Deployments of KWOK, its traffic by the load
//! twin, its nodes by the simulator's own provisioner, [`COMPRESSION`] times faster than life. Who scales the
//! Deployments is the test's choice.

mod provisioner;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Error, Result};
use hirl_scale::cluster::Class;
use hirl_scale::simulation::scenario::{self, AppSpec, Scenario};
use hirl_scale::simulation::{Actuation, Seed, Simulation, Traffic as Offered};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::ListParams;
use kube::{Api, Client};
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use self::provisioner::Provisioner;
use crate::testbed::control_plane::{self, Controllers};
use crate::testbed::objects::{self, Autoscaler, Workload};
use crate::testbed::stock;
use crate::testbed::twin::queue::Service;
use crate::testbed::twin::traffic::Traffic;
use crate::testbed::twin::{self, App, Twin};

/// Scenario seconds in a second of the testbed.
pub(crate) const COMPRESSION: f64 = 15.0;

const MIB: f64 = 1_048_576.0;
/// The balloon pods that we ship, where they are deployed: namespace, name, and cores of each.
const BALLOON: (&str, &str, f64) = ("hirl-system", "hirl-balloon", 4.0);
/// How often the provisioner looks, per step.
const LOOKS: u32 = 4;

/// What stands at the end of a step.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Row {
    /// Per app: `spec.replicas`.
    pub(crate) spec: Vec<u32>,
    /// Per app: ready pods.
    pub(crate) ready: Vec<u32>,
    /// Pods that wait for a node, over all apps.
    pub(crate) waiting: u32,
    /// Ready nodes.
    pub(crate) nodes: u32,
}

/// Labels of the namespaces, and whether pods have the priority class of their domain.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Dress {
    /// Further labels of every namespace.
    pub(crate) labels: &'static [(&'static str, &'static str)],
    /// The label whose value is the domain, if there is one.
    pub(crate) domain_label: Option<&'static str>,
    /// Whether pods have priority classes.
    pub(crate) classes: bool,
}

/// A scenario that stands on a control plane, ready to be played.
pub(crate) struct Played<'a> {
    client: Client,
    twin: &'a Twin,
    scenario: &'a Arc<Scenario>,
    provisioner: Provisioner,
}

/// A scenario of `tests/data`.
pub(crate) fn read(file: &str, seed: Seed) -> Result<Arc<Scenario>> {
    let text = std::fs::read_to_string(data(file))?;
    Ok(Arc::new(scenario::read(&text, file, seed)?))
}

/// Keeps a report in `tests/data` where `HIRL_RECORD=1` asks for it.
pub(crate) fn keep(file: &str, report: &str) -> Result<()> {
    if std::env::var_os("HIRL_RECORD").is_some() {
        std::fs::write(data(file), report).context("writing the report")?;
    }
    Ok(())
}

fn data(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(file)
}

/// A control plane whose controllers have the scenario's flags, compressed.
pub(crate) fn plane(scenario: &Scenario) -> control_plane::Options {
    let flags = &scenario.controller;
    let controllers = Controllers {
        sync_period: compressed(flags.sync_seconds),
        downscale_stabilisation: compressed(flags.downscale_stabilization_seconds),
        cpu_initialisation: compressed(flags.cpu_initialization_seconds),
        initial_readiness_delay: compressed(flags.initial_readiness_seconds),
        ..Controllers::default()
    };
    control_plane::Options { controllers: Some(controllers), ..control_plane::Options::default() }
}

/// A twin that works out load once a step.
pub(crate) fn twin_options(scenario: &Scenario) -> twin::Options {
    let tick = compressed(scenario.step_seconds);
    twin::Options { speed: COMPRESSION, tick, ..twin::Options::default() }
}

fn compressed(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds / COMPRESSION)
}

impl<'a> Played<'a> {
    /// Makes nodes, and every app at the size at which the simulator begins; waits until all pods are ready.
    pub(crate) async fn begin(
        client: Client,
        twin: &'a Twin,
        (scenario, seed): (&'a Arc<Scenario>, Seed),
        dress: Dress,
    ) -> Result<Self> {
        let mut provisioner = Provisioner::new(scenario, seed)?;
        provisioner.begin(&client).await?;
        let simulation = Simulation::new(Arc::clone(scenario), &Actuation::default(), seed);
        let sizes: Vec<u32> = simulation.map_err(Error::msg)?.replicas().collect();
        for domain in &scenario.domains {
            let mut labels = dress.labels.to_vec();
            labels.extend(dress.domain_label.map(|label| (label, domain.name.as_str())));
            objects::apply(&client, &objects::namespace(&domain.name, &labels)?).await?;
        }
        let mut deployments = Vec::new();
        let series = offered(scenario, seed);
        for ((app, &replicas), series) in scenario.apps.iter().zip(&sizes).zip(series) {
            twin.add(twin_app(app, Traffic::Stepped(scenario.step_seconds, series.into())));
            deployments.push(deployment(scenario, app, replicas, dress.classes)?);
        }
        objects::create_all(&client, deployments).await?;
        let patience = Duration::from_mins(2);
        for (app, &replicas) in scenario.apps.iter().zip(&sizes) {
            objects::ready(&client, &app.namespace, &app.name, replicas, patience).await?;
        }
        Ok(Self { client, twin, scenario, provisioner })
    }

    /// The stock HPAs of the scenario.
    pub(crate) async fn stock_hpas(&self) -> Result<()> {
        let hpa = |app: &AppSpec| {
            let hpa = &app.hpa;
            let (min, max) = (hpa.min_replicas, hpa.max_replicas);
            let plain = Autoscaler::plain(&app.namespace, &app.name, min, max, &[]);
            let (metrics, behavior) = (stock::metrics(hpa), stock::behavior(hpa, COMPRESSION));
            Autoscaler { metrics, behavior, ..plain }.object()
        };
        let all = self.scenario.apps.iter().map(hpa).collect::<Result<Vec<_>>>()?;
        objects::create_all(&self.client, all).await
    }

    /// The same apps under HPAs that follow our metric.
    pub(crate) async fn following_hpas(&self) -> Result<()> {
        let hpa = |app: &AppSpec| {
            let (min, max) = (app.hpa.min_replicas, app.hpa.max_replicas);
            let target = format!("{}%", (app.hpa.target_cpu * 100.0).round());
            let annotations = [("hirl-scale.io/target-cpu", target.as_str())];
            let following = Autoscaler::following(&app.namespace, &app.name, min, max);
            Autoscaler { annotations: &annotations, ..following }.object()
        };
        let all = self.scenario.apps.iter().map(hpa).collect::<Result<Vec<_>>>()?;
        objects::create_all(&self.client, all).await
    }

    /// Plays the scenario from its start: a row for the beginning, and one for each step, which `seen` sees as well.
    pub(crate) async fn play(
        mut self,
        mut seen: impl FnMut(&Row, &Twin) -> Result<()>,
    ) -> Result<Vec<Row>> {
        let step = compressed(self.scenario.step_seconds);
        self.twin.rewind(0.0);
        let started = Instant::now();
        let mut rows = vec![self.row().await?];
        let steps = (self.scenario.duration_seconds / self.scenario.step_seconds).ceil() as u32;
        for done in 0..steps {
            for look in 1..=LOOKS {
                // The scenario's own time is what is played here.
                sleep_until(started + step * done + step * look / LOOKS).await;
                let now = started.elapsed().as_secs_f64() * COMPRESSION;
                self.provisioner.advance(&self.client, now, self.pending()).await?;
            }
            let row = self.row().await?;
            seen(&row, self.twin)?;
            rows.push(row);
        }
        Ok(rows)
    }

    /// Pods that wait for a node, and their cores, balloons included.
    fn pending(&self) -> (u32, f64) {
        let (pods, cores) = waiting(self.scenario, self.twin);
        let (namespace, name, each) = BALLOON;
        let balloons = self.twin.waiting().get(&(namespace.to_owned(), name.to_owned())).copied();
        let balloons = balloons.unwrap_or_default();
        (pods + balloons, cores + f64::from(balloons) * each)
    }

    async fn row(&self) -> Result<Row> {
        let deployments = Api::<Deployment>::all(self.client.clone());
        let listed = deployments.list(&ListParams::default()).await?;
        let counts: HashMap<_, _> = listed
            .items
            .into_iter()
            .map(|found| {
                let spec = found.spec.and_then(|spec| spec.replicas).unwrap_or(1) as u32;
                let ready = found.status.and_then(|status| status.ready_replicas).unwrap_or(0);
                ((found.metadata.namespace, found.metadata.name), (spec, ready as u32))
            })
            .collect();
        let of = |app: &AppSpec| {
            let key = (Some(app.namespace.clone()), Some(app.name.clone()));
            counts.get(&key).copied().unwrap_or_default()
        };
        Ok(Row {
            spec: self.scenario.apps.iter().map(|app| of(app).0).collect(),
            ready: self.scenario.apps.iter().map(|app| of(app).1).collect(),
            waiting: waiting(self.scenario, self.twin).0,
            nodes: self.provisioner.nodes,
        })
    }
}

fn deployment(
    scenario: &Scenario,
    app: &AppSpec,
    replicas: u32,
    with_class: bool,
) -> Result<Deployment> {
    let ready = format!("{}ms", compressed(app.start.ready_median_seconds).as_millis());
    let cpu = format!("{}m", (app.cpu_request * 1000.0).ceil());
    let memory = format!("{}Mi", app.memory.request_mib.ceil());
    let workload = Workload {
        namespace: &app.namespace,
        name: &app.name,
        replicas,
        cpu: &cpu,
        memory: &memory,
        annotations: &[("testbed.hirl-scale.io/ready-after", &ready)],
    };
    let deployment = workload.deployment()?;
    let domain = scenario.domains.iter().find(|domain| domain.name == app.domain);
    let Some(class) = domain.map(|domain| domain.class).filter(|_| with_class) else {
        return Ok(deployment);
    };
    let mut object = serde_json::to_value(deployment)?;
    object["spec"]["template"]["spec"]["priorityClassName"] = json!(priority_class(class));
    Ok(serde_json::from_value(object)?)
}

/// The name of the priority class that we ship for a class.
fn priority_class(class: Class) -> String {
    format!("hirl-{}", class.as_str().to_lowercase())
}

/// What the simulator offers to each app, step by step.
fn offered(scenario: &Scenario, seed: Seed) -> Vec<Vec<f64>> {
    // As the simulator seeds its own.
    let mut traffic = Offered::new(scenario, seed.child("traffic"));
    let mut series = vec![Vec::new(); scenario.apps.len()];
    let mut now = vec![0.0; scenario.apps.len()];
    let mut from = 0.0;
    while from < scenario.duration_seconds {
        traffic.offered(from, scenario.step_seconds, &mut now);
        for (series, rps) in series.iter_mut().zip(&now) {
            series.push(*rps);
        }
        from += scenario.step_seconds;
    }
    series
}

fn twin_app(app: &AppSpec, traffic: Traffic) -> App {
    let capacity = f64::from(app.workers) / app.service_seconds;
    App {
        service: Service {
            cost: app.cpu_seconds,
            concurrency: app.workers,
            base_latency: app.service_seconds,
            idle_cpu: app.idle_cpu,
            cpu_limit: app.cpu_limit,
        },
        base_memory: app.memory.idle_mib * MIB,
        memory_per_rps: (app.memory.busy_mib - app.memory.idle_mib) * MIB / capacity,
        ..App::web(&app.namespace, &app.name, traffic)
    }
}

/// Pods that wait for a node, and the cores that they request.
fn waiting(scenario: &Scenario, twin: &Twin) -> (u32, f64) {
    let waiting = twin.waiting();
    scenario.apps.iter().fold((0, 0.0), |(pods, cores), app| {
        let key = (app.namespace.clone(), app.name.clone());
        let own = waiting.get(&key).copied().unwrap_or_default();
        (pods + own, cores + f64::from(own) * app.cpu_request)
    })
}
