//! The testbed's side: a scenario as Deployments, HPAs and nodes of the real control plane.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Error, Result};
use hirl_scale::simulation::scenario::{AppSpec, Scenario};
use hirl_scale::simulation::{Actuation, Seed, Simulation, Traffic as Offered};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::ListParams;
use kube::{Api, Client};
use tokio::time::{Instant, sleep_until};

use super::provisioner::Provisioner;
use super::{COMPRESSION, Row};
use crate::testbed::control_plane::{self, ControlPlane, Controllers};
use crate::testbed::objects::{self, Autoscaler, Workload};
use crate::testbed::stock;
use crate::testbed::twin::queue::Service;
use crate::testbed::twin::traffic::Traffic;
use crate::testbed::twin::{self, App, Twin};

const MIB: f64 = 1_048_576.0;
/// How often the provisioner looks, per step.
const LOOKS: u32 = 4;

/// Plays the scenario: a row for the beginning, and one for each step.
pub(super) async fn play(scenario: &Arc<Scenario>, seed: Seed) -> Result<Vec<Row>> {
    let plane = Box::pin(ControlPlane::start(options(scenario))).await?;
    let client = plane.client();
    let step = compressed(scenario.step_seconds);
    let options = twin::Options { speed: COMPRESSION, tick: step, ..twin::Options::default() };
    let twin = Box::pin(Twin::start(&plane, options)).await?;
    let mut provisioner = Provisioner::new(scenario, seed)?;
    provisioner.begin(&client).await?;
    begin(&client, scenario, seed, &twin).await?;
    let hpas = scenario.apps.iter().map(|app| {
        let hpa = &app.hpa;
        let plain =
            Autoscaler::plain(&app.namespace, &app.name, hpa.min_replicas, hpa.max_replicas, &[]);
        let (metrics, behavior) = (stock::metrics(hpa), stock::behavior(hpa, COMPRESSION));
        Autoscaler { metrics, behavior, ..plain }.object()
    });
    objects::create_all(&client, hpas.collect::<Result<Vec<_>>>()?).await?;

    twin.rewind(0.0);
    let started = Instant::now();
    let mut rows = vec![row(&client, scenario, &twin, &provisioner).await?];
    let steps = (scenario.duration_seconds / scenario.step_seconds).ceil() as u32;
    for done in 0..steps {
        for look in 1..=LOOKS {
            // The scenario's own time is what is played here.
            sleep_until(started + step * done + step * look / LOOKS).await;
            let now = started.elapsed().as_secs_f64() * COMPRESSION;
            provisioner.advance(&client, now, waiting(scenario, &twin)).await?;
        }
        rows.push(row(&client, scenario, &twin, &provisioner).await?);
    }
    Ok(rows)
}

fn compressed(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds / COMPRESSION)
}

fn options(scenario: &Scenario) -> control_plane::Options {
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

/// Makes every app at the size at which the simulator begins, and waits until all are ready.
async fn begin(client: &Client, scenario: &Arc<Scenario>, seed: Seed, twin: &Twin) -> Result<()> {
    let simulation = Simulation::new(Arc::clone(scenario), &Actuation::default(), seed);
    let sizes: Vec<u32> = simulation.map_err(Error::msg)?.replicas().collect();
    for domain in &scenario.domains {
        objects::apply(client, &objects::namespace(&domain.name, &[])?).await?;
    }
    let mut deployments = Vec::new();
    for ((app, &replicas), series) in scenario.apps.iter().zip(&sizes).zip(offered(scenario, seed))
    {
        twin.add(twin_app(app, Traffic::Stepped(scenario.step_seconds, series.into())));
        let ready = compressed(app.start.ready_median_seconds);
        let ready = format!("{}ms", ready.as_millis());
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
        deployments.push(workload.deployment()?);
    }
    objects::create_all(client, deployments).await?;
    for (app, &replicas) in scenario.apps.iter().zip(&sizes) {
        objects::ready(client, &app.namespace, &app.name, replicas, Duration::from_mins(2)).await?;
    }
    Ok(())
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

async fn row(
    client: &Client,
    scenario: &Scenario,
    twin: &Twin,
    provisioner: &Provisioner,
) -> Result<Row> {
    let listed = Api::<Deployment>::all(client.clone()).list(&ListParams::default()).await?;
    let counts: HashMap<_, _> = listed
        .items
        .into_iter()
        .map(|found| {
            let spec = found.spec.and_then(|spec| spec.replicas).unwrap_or(1) as u32;
            let ready = found.status.and_then(|status| status.ready_replicas).unwrap_or(0) as u32;
            ((found.metadata.namespace, found.metadata.name), (spec, ready))
        })
        .collect();
    let of = |app: &AppSpec| {
        let key = (Some(app.namespace.clone()), Some(app.name.clone()));
        counts.get(&key).copied().unwrap_or_default()
    };
    Ok(Row {
        spec: scenario.apps.iter().map(|app| of(app).0).collect(),
        ready: scenario.apps.iter().map(|app| of(app).1).collect(),
        waiting: waiting(scenario, twin).0,
        nodes: provisioner.nodes,
    })
}
