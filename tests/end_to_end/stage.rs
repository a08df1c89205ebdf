//! A testbed with `hirl` registered in it: what most end-to-end tests begin with.
//!
//! Numbers are fed through the real Prometheus: the twin pins an app's CPU so that the rule
//! computes exactly the count that a test wants. Stabilisation and velocity are opened wide,
//! because these tests are about the path, not about the rule; `fixed_footprint` and `replay` run
//! the rule as it ships. The learned policy plans in `learned` and `post_mortem` alone: what it says is
//! not known in advance.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::testbed::control_plane::ControlPlane;
use crate::testbed::hirl::{self, Hirl, Place, SERVER_NAME};
use crate::testbed::objects::{self, Autoscaler, Workload};
use crate::testbed::pki::{Identity, Leaf};
use crate::testbed::requests::{Answer, Requests};
use crate::testbed::twin::traffic::Traffic;
use crate::testbed::twin::{App, Gauge};
use crate::testbed::wait::until;
use crate::testbed::{Options, Testbed};

/// The group's path.
pub(crate) const V: &str = "/apis/external.metrics.k8s.io/v1beta1";
/// Patience with anything that takes a few decisions and syncs.
pub(crate) const SOON: Duration = Duration::from_secs(40);
/// CPU request of an app's pod, in cores.
const REQUEST: f64 = 0.1;
/// The CPU target of an HPA that does not say otherwise.
const TARGET: f64 = 0.7;

/// How long a decision may age on stage, in seconds.
pub(crate) const MAX_AGE: u64 = 8;

/// A testbed, and `hirl` behind `external.metrics.k8s.io`.
pub(crate) struct Stage {
    /// The instance that is registered.
    pub(crate) hirl: Hirl,
    /// Everything else.
    pub(crate) testbed: Testbed,
}

impl Stage {
    /// Starts both and waits until the API is available.
    pub(crate) async fn start(options: Options) -> Result<Self> {
        Self::start_with(options, config).await
    }

    /// The same with the configuration that `config` writes for a place and a Prometheus.
    pub(crate) async fn start_with(
        options: Options,
        config: impl FnOnce(&Place, &str) -> String,
    ) -> Result<Self> {
        let testbed = Testbed::start(options).await?;
        hirl::install(&testbed.plane).await?;
        let url = testbed.prometheus.url();
        let mut server = Hirl::start(&testbed.plane, "hirl", |place| config(place, &url))?;
        server.ready().await?;
        server.register(&testbed.plane).await?;
        Ok(Self { hirl: server, testbed })
    }

    /// The stage that tests share; each keeps to a namespace of its own.
    pub(crate) async fn shared() -> Result<&'static Self> {
        static SHARED: OnceCell<Stage> = OnceCell::const_new();
        SHARED.get_or_try_init(|| Self::start(Options::default())).await
    }

    /// The control plane.
    pub(crate) fn plane(&self) -> &ControlPlane {
        &self.testbed.plane
    }

    /// A namespace with one node for it to run on.
    pub(crate) async fn namespace(&self, name: &str, labels: &[(&str, &str)]) -> Result<()> {
        let client = self.plane().client();
        objects::apply(&client, &objects::namespace(name, labels)?).await?;
        let node = objects::node(&format!("node-{name}"), "general", 4000, "4000Gi")?;
        objects::apply(&client, &node).await
    }

    /// An app of `replicas` pods whose HPA is made by `hpa` from one that follows us without a
    /// dead band; wants `replicas`, and waits until it is told so.
    pub(crate) async fn app<'a>(
        &self,
        namespace: &'a str,
        name: &'a str,
        replicas: u32,
        hpa: impl FnOnce(Autoscaler<'a>) -> Autoscaler<'a>,
    ) -> Result<()> {
        self.plant(namespace, name, replicas, hpa).await?;
        self.answered(namespace, name, replicas).await.map(|_| ())
    }

    /// The same without waiting for any number.
    pub(crate) async fn plant<'a>(
        &self,
        namespace: &'a str,
        name: &'a str,
        replicas: u32,
        hpa: impl FnOnce(Autoscaler<'a>) -> Autoscaler<'a>,
    ) -> Result<()> {
        let client = self.plane().client();
        self.testbed.twin.add(App::web(namespace, name, Traffic::Constant(50.0)));
        self.testbed.twin.pin(namespace, name, Gauge::P99, 0.05)?;
        self.testbed.twin.pin(namespace, name, Gauge::ErrorRatio, 0.0)?;
        self.want(namespace, name, replicas)?;
        let workload = Workload { replicas, ..Workload::small(namespace, name) };
        objects::apply_namespaced(&client, &workload.deployment()?).await?;
        objects::ready(&client, namespace, name, replicas, SOON).await?;
        let follower = hpa(Autoscaler::following(namespace, name, 1, 2000));
        objects::apply_namespaced(&client, &follower.object()?).await
    }

    /// Makes the CPU of an app such that the rule wants `replicas`.
    pub(crate) fn want(&self, namespace: &str, name: &str, replicas: u32) -> Result<()> {
        // Half a pod below the count, so that rounding up is what makes it whole.
        let cores = (f64::from(replicas) - 0.5) * REQUEST * TARGET;
        self.testbed.twin.pin_cpu(namespace, name, cores)
    }

    /// Somebody with all rights who asks the API server.
    pub(crate) fn admin(&self) -> Result<Requests> {
        self.plane().requests(Some(&administrator(self.plane())?))
    }

    /// A read of an app's number through the aggregation layer.
    pub(crate) async fn read(&self, namespace: &str, name: &str) -> Result<Answer> {
        self.admin()?.get(&metric_path(namespace, &format!("target%3D{name}")), &[]).await
    }

    /// Waits until a read answers `replicas`, and gives the item.
    pub(crate) async fn answered(
        &self,
        namespace: &str,
        name: &str,
        replicas: u32,
    ) -> Result<Value> {
        until(format!("{namespace}/{name} to be told {replicas}"), SOON, async || {
            let answer = self.read(namespace, name).await?;
            ensure!(answer.status == 200, "{}: {}", answer.status, answer.body);
            let mut items = answer.json()?;
            let items = items["items"].as_array_mut().context("no items")?;
            ensure!(items.len() == 1, "{} items", items.len());
            ensure!(
                items[0]["value"] == replicas.to_string().as_str(),
                "told {}",
                items[0]["value"]
            );
            Ok(items.remove(0))
        })
        .await
    }

    /// Wants `replicas` and waits until the Deployment has exactly that.
    pub(crate) async fn follows(&self, namespace: &str, name: &str, replicas: u32) -> Result<()> {
        self.want(namespace, name, replicas)?;
        self.answered(namespace, name, replicas).await?;
        let client = self.plane().client();
        objects::scaled_to(&client, namespace, name, replicas, SOON).await?;
        objects::ready(&client, namespace, name, replicas, SOON).await
    }

    /// One of our own metrics: the value of the first series that starts with `series`.
    pub(crate) async fn metric(&self, series: &str) -> Result<Option<f64>> {
        metric_of(&self.hirl, self.plane(), series).await
    }
}

/// Somebody with all rights.
pub(crate) fn administrator(plane: &ControlPlane) -> Result<Identity> {
    plane.pki().cluster.issue(&Leaf::client("admin", &["system:masters"]))
}

/// The value of the first series of an instance's own metrics that starts with `series`.
pub(crate) async fn metric_of(
    hirl: &Hirl,
    plane: &ControlPlane,
    series: &str,
) -> Result<Option<f64>> {
    let text = hirl.requests(Some(&administrator(plane)?))?.text("/metrics").await?;
    let value = |line: &str| line.rsplit(' ').next().and_then(|value| value.parse().ok());
    Ok(text.lines().find(|line| line.starts_with(series)).and_then(value))
}

/// The path of a metric read.
pub(crate) fn metric_path(namespace: &str, selector: &str) -> String {
    format!("{V}/namespaces/{namespace}/{}?labelSelector={selector}", objects::METRIC)
}

/// The configuration of an instance on stage: every signal is a gauge of the twin, decisions are
/// made every second, and nothing is smoothed.
pub(crate) fn config(place: &Place, prometheus: &str) -> String {
    format!(
        "telemetry:
  url: {prometheus}
  scrapeIntervalSeconds: 1
  freshness: {{rps: 4, p99: 4, errorRatio: 4, cpu: 4, memory: 4}}
{}policy: {{stabilizationSeconds: 0, trafficLimit: 1, headroom: 10}}
hierarchy: {{enabled: false}}
safety:
  upFactor: 100000
  downFactor: 0
  downPods: 100000
  lastGoodSeconds: 3
  hpaStabilizationSeconds: 0
control:
  decisionSeconds: 1
  maxAgeSeconds: {MAX_AGE}
  followSeconds: 0.5
{}",
        hirl::gauges(),
        serving(place),
    )
}

/// The configuration as it ships, 15 times faster: every span of the default divided by 15, the
/// Istio preset with the shortest windows that a scrape a second allows.
pub(crate) fn compressed(place: &Place, prometheus: &str) -> String {
    format!(
        "telemetry:
  url: {prometheus}
  preset: istio
  scrapeIntervalSeconds: 1
  windows: {{rps: 4, p99: 8, errorRatio: 8, cpu: 8}}
  freshness: {{rps: 3, p99: 4, errorRatio: 4, cpu: 6, memory: 6}}
observation: {{leadSeconds: 4, trendSeconds: 6, costHalfLifeSeconds: 40}}
policy: {{stabilizationSeconds: 8, budgetSeconds: 4}}
hierarchy: {{enabled: false}}
safety: {{lastGoodSeconds: 4, hpaStabilizationSeconds: 20}}
control:
  decisionSeconds: 0.7
  maxAgeSeconds: 4
  followSeconds: 0.1
{}",
        serving(place),
    )
}

/// Who the other replica is, and where an instance on stage listens: follows the keys of `control`.
fn serving(place: &Place) -> String {
    format!(
        "  peer: {{caFile: {ca}, serverName: {name}}}
kubernetes: {{lease: {{durationSeconds: 5, renewDeadlineSeconds: 3, retrySeconds: 1}}}}
http:
  listen: 127.0.0.1:{port}
  certFile: {cert}
  keyFile: {key}
  reloadSeconds: 1
  readyDelaySeconds: 0.2
  maxConnectionAgeSeconds: 10
",
        port = place.port,
        cert = place.serving.certificate.display(),
        key = place.serving.key.display(),
        ca = place.serving_ca.display(),
        name = SERVER_NAME,
    )
}
