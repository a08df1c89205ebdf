//! The real control plane on loopback: etcd, kube-apiserver, kube-controller-manager,
//! kube-scheduler, KWOK nodes, Prometheus, and a load twin that turns traffic and the pods that
//! are actually ready into what Prometheus scrapes. Used by `make demo-live` and the end-to-end tests.
//!
//! Nothing here needs a cluster, a container runtime or root. Every part listens on 127.0.0.1 on
//! a free port, keeps its files in one scratch folder, and dies with the program that started it.
//!
//! Time is compressed unless an option says otherwise: HPAs are synced every 1 s (15 s in a real
//! cluster: 15 times faster), the controller-manager's downscale stabilisation is 20 s (5 min:
//! 15 times), and Prometheus scrapes every 1 s.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "the demo and the tests share this module, and each uses a part of it"
)]

pub mod answers;
pub mod bank;
pub mod binaries;
pub mod control_plane;
pub mod demo;
pub mod hirl;
pub mod judge;
pub mod objects;
pub mod pki;
pub mod placing;
pub mod process;
pub mod prometheus;
pub mod proxy;
pub mod requests;
pub mod scheduler;
pub mod scratch;
pub mod stock;
pub mod stub;
pub mod tls;
pub mod twin;
pub mod wait;

use std::future::Future;
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::Result;
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;

use control_plane::ControlPlane;
use prometheus::Prometheus;
use twin::Twin;

/// What to start, and how fast it runs.
#[derive(Debug, Clone)]
pub struct Options {
    /// The control plane.
    pub plane: control_plane::Options,
    /// How often Prometheus scrapes the twin.
    pub scrape_interval: Duration,
    /// The load twin.
    pub twin: twin::Options,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            plane: control_plane::Options::default(),
            scrape_interval: Duration::from_secs(1),
            twin: twin::Options::default(),
        }
    }
}

/// Everything that runs. Dropping it stops all of it.
#[derive(Debug)]
pub struct Testbed {
    /// The load twin, which also serves `metrics.k8s.io`.
    pub twin: Twin,
    /// Prometheus, scraping the twin.
    pub prometheus: Prometheus,
    /// The control plane.
    pub plane: ControlPlane,
}

impl Testbed {
    /// Starts every part and waits until all of them are ready.
    pub async fn start(options: Options) -> Result<Self> {
        // Boxed: these futures are large, and every test holds one.
        let plane = Box::pin(ControlPlane::start(options.plane)).await?;
        let twin = Box::pin(Twin::start(&plane, options.twin)).await?;
        let prometheus =
            Box::pin(Prometheus::start(plane.scratch(), options.scrape_interval, twin.address()))
                .await?;
        Ok(Self { twin, prometheus, plane })
    }

    /// The testbed that tests share, started by the first of them. Tests keep apart by namespace.
    /// One that restarts or reconfigures parts starts its own.
    pub async fn shared() -> Result<&'static Self> {
        static SHARED: OnceCell<Testbed> = OnceCell::const_new();
        SHARED.get_or_try_init(|| Self::start(Options::default())).await
    }
}

/// Runs a test on the one runtime that all tests share: the twin and the clients of a shared
/// testbed live longer than the test that started them. A failure keeps the scratch folders.
pub fn run<T>(test: impl Future<Output = Result<T>>) -> Result<T> {
    static RUNTIME: LazyLock<Runtime> =
        LazyLock::new(|| Runtime::new().expect("threads for the tests' runtime"));
    let outcome = RUNTIME.block_on(test);
    if outcome.is_err() {
        scratch::keep_all();
    }
    outcome
}
