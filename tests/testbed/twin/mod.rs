//! The load twin: closes the loop between replicas and what is measured.
//!
//! For each simulated app it turns offered traffic and the pods that are *actually ready* on the
//! real API server into requests, CPU, latency and errors, once a second. Prometheus scrapes them
//! in the shapes of Istio and cAdvisor and as plain gauges; `metrics.k8s.io` serves the same CPU
//! and memory, so that plain HPAs can run beside ours. Traffic may run faster than the clock
//! ([`Options::speed`]); queues and pods never do.

mod exposition;
mod metrics_api;
mod pods;
pub mod queue;
mod state;
pub mod traffic;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use super::control_plane::ControlPlane;
use super::objects;
use super::pki::Leaf;
use super::tls;
use queue::Service;
use state::State;
use traffic::Traffic;

pub use state::{Fault, Gauge, Sample};

/// Namespace and name of the Service behind `metrics.k8s.io`.
const SERVICE: (&str, &str) = ("kube-system", "load-twin");

/// How the twin runs.
#[derive(Debug, Clone)]
pub struct Options {
    /// Seconds of traffic per second of the clock.
    pub speed: f64,
    /// Which moment of the traffic is played first, in seconds.
    pub begin: f64,
    /// How often load is worked out from traffic and pods.
    pub tick: Duration,
    /// Whether it serves `metrics.k8s.io`.
    pub metrics_api: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { speed: 1.0, begin: 0.0, tick: Duration::from_secs(1), metrics_api: true }
    }
}

/// One simulated app: the pods of a Deployment.
#[derive(Debug, Clone)]
pub struct App {
    /// Namespace.
    pub namespace: String,
    /// Name of the Deployment.
    pub workload: String,
    /// What is asked of it.
    pub traffic: Traffic,
    /// What it does with that.
    pub service: Service,
    /// Working set of a pod without traffic, in bytes.
    pub base_memory: f64,
    /// Working set added per request per second, in bytes; near 0 for a model server.
    pub memory_per_rps: f64,
    /// Whether its samples carry their own time, as cAdvisor's do. Prometheus then never learns
    /// that a series ended, so that its last sample grows old: see [`Fault::Frozen`].
    pub timestamps: bool,
}

impl App {
    /// A stateless web service: 5 ms of CPU per request, 20 ms of time, 64 MiB.
    pub fn web(namespace: &str, workload: &str, traffic: Traffic) -> Self {
        Self {
            namespace: namespace.to_owned(),
            workload: workload.to_owned(),
            traffic,
            service: Service {
                cost: 0.005,
                concurrency: 16,
                base_latency: 0.02,
                idle_cpu: 0.002,
                cpu_limit: None,
            },
            base_memory: 48.0 * 1_048_576.0,
            memory_per_rps: 65_536.0,
            timestamps: false,
        }
    }
}

/// A running twin.
#[derive(Debug)]
pub struct Twin {
    state: Arc<Mutex<State>>,
    address: SocketAddr,
    _tasks: Vec<AbortOnDropHandle<()>>,
}

impl Twin {
    /// Starts watching pods and serving. Waits until `metrics.k8s.io` is available, if it is
    /// wanted.
    pub async fn start(plane: &ControlPlane, options: Options) -> Result<Self> {
        let state = Arc::new(Mutex::new(State::new(&options)));
        let client = plane.client();
        let mut tasks = vec![spawn(pods::follow(client.clone(), Arc::clone(&state)))];

        let ticking = Arc::clone(&state);
        let mut clock = tokio::time::interval(options.tick);
        tasks.push(spawn(async move {
            loop {
                clock.tick().await;
                lock(&ticking).step();
            }
        }));

        let listener =
            TcpListener::bind(("127.0.0.1", 0)).await.context("listening on loopback")?;
        let address = listener.local_addr().context("the twin's own address")?;
        let scraped = Arc::clone(&state);
        let router = Router::new().route("/metrics", get(async move || scrape(&scraped)));
        tasks.push(spawn(async move {
            // Ends with the runtime; there is nobody to tell.
            let _ = axum::serve(listener, router).await;
        }));

        if options.metrics_api {
            let identity = plane
                .pki()
                .serving
                .issue(&Leaf::server("load-twin", &["load-twin.kube-system.svc", "localhost"]))?;
            let router = metrics_api::router(Arc::clone(&state));
            let (port, serving) = tls::serve(&identity, router).await?;
            tasks.push(serving);
            let authority = plane.pki().serving.pem();
            objects::register(&client, "metrics.k8s.io", SERVICE, port, authority).await?;
        }
        Ok(Self { state, address, _tasks: tasks })
    }

    /// Where Prometheus finds it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The moment of the traffic that is played now, in seconds.
    pub fn now(&self) -> f64 {
        lock(&self.state).now()
    }

    /// Goes on with the moment `begin` of the traffic, in seconds.
    pub fn rewind(&self, begin: f64) {
        lock(&self.state).rewind(begin);
    }

    /// Adds an app, or replaces the one of that name and forgets its pins and faults.
    pub fn add(&self, app: App) {
        lock(&self.state).add(app);
    }

    /// Takes an app away.
    pub fn remove(&self, namespace: &str, workload: &str) {
        lock(&self.state).remove(namespace, workload);
    }

    /// Changes the traffic of an app from now on.
    pub fn set_traffic(&self, namespace: &str, workload: &str, traffic: Traffic) -> Result<()> {
        lock(&self.state).edit(namespace, workload, |app| app.set_traffic(traffic))
    }

    /// Holds a measured value of an app at `value`, whatever its traffic and pods do. Not a
    /// number and infinity are taken as they are.
    pub fn pin(&self, namespace: &str, workload: &str, gauge: Gauge, value: f64) -> Result<()> {
        lock(&self.state).edit(namespace, workload, |app| app.pin(gauge, value))
    }

    /// Holds the CPU of an app at `cores` in all, over all its pods.
    pub fn pin_cpu(&self, namespace: &str, workload: &str, cores: f64) -> Result<()> {
        self.pin(namespace, workload, Gauge::Cpu, cores)
    }

    /// Lets every value of an app follow its traffic and pods again.
    pub fn unpin(&self, namespace: &str, workload: &str) -> Result<()> {
        lock(&self.state).edit(namespace, workload, state::Running::unpin)
    }

    /// Breaks what Prometheus is told about an app; `None` mends it.
    pub fn set_fault(&self, namespace: &str, workload: &str, fault: Option<Fault>) -> Result<()> {
        lock(&self.state).edit(namespace, workload, |app| app.set_fault(fault))
    }

    /// Whether scrapes are answered at all; otherwise with 503.
    pub fn set_exposed(&self, exposed: bool) {
        lock(&self.state).exposed = exposed;
    }

    /// Pods that wait for a node at the moment, by namespace and Deployment.
    pub fn waiting(&self) -> BTreeMap<(String, String), u32> {
        lock(&self.state).waiting()
    }

    /// What an app does at the moment.
    pub fn sample(&self, namespace: &str, workload: &str) -> Result<Sample> {
        lock(&self.state).sample(namespace, workload)
    }
}

/// What Prometheus gets.
fn scrape(state: &Mutex<State>) -> axum::response::Response {
    let mut state = lock(state);
    if !state.exposed {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    state.advance();
    ([("content-type", "text/plain; version=0.0.4")], exposition::render(&state)).into_response()
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn spawn(task: impl Future<Output = ()> + Send + 'static) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(task))
}
