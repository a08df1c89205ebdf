//! The testbed itself: the other tests believe what it shows.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::testbed::objects::{self, Autoscaler, Workload};
use crate::testbed::twin::App;
use crate::testbed::twin::traffic::Traffic;
use crate::testbed::wait::until;
use crate::testbed::{self, Testbed};

/// Patience with what takes a few seconds on an idle machine.
const SOON: Duration = Duration::from_secs(90);

#[test]
fn a_plain_cpu_hpa_follows_the_twins_load_and_prometheus_sees_it() -> Result<()> {
    testbed::run(async {
        let testbed = Testbed::shared().await?;
        let client = testbed.plane.client();
        let (namespace, name) = ("testbed-works", "web");
        objects::apply(&client, &objects::namespace(namespace, &[])?).await?;
        objects::apply(&client, &objects::node("testbed-works-1", "general", 16, "64Gi")?).await?;
        let workload = Workload { replicas: 2, ..Workload::small(namespace, name) };
        objects::create_all(&client, vec![workload.deployment()?]).await?;
        objects::ready(&client, namespace, name, 2, SOON).await?;

        // 100 requests per second cost 0.5 cores: of 100 milli-cores requested, 70 % are 70, so
        // a plain HPA wants ceil(504 / 70) = 8 pods (each idles at 2).
        testbed.twin.add(App::web(namespace, name, Traffic::Constant(100.0)));
        let hpa = Autoscaler {
            behavior: objects::immediate(Some("0")),
            ..Autoscaler::plain(namespace, name, 1, 20, &[("cpu", 70)])
        };
        objects::create_all(&client, vec![hpa.object()?]).await?;
        objects::ready(&client, namespace, name, 8, SOON).await?;

        let labels = format!("namespace=\"{namespace}\",workload=\"{name}\"");
        until("Prometheus to see the load", SOON, async || {
            let cpu = testbed.prometheus.value(&format!("twin_app_cpu_cores{{{labels}}}")).await?;
            ensure!((cpu - (0.5 + 8.0 * 0.002)).abs() < 1e-6, "{cpu} cores");
            let rate = "sum(rate(istio_requests_total{destination_workload_namespace=\"testbed-works\"}[10s]))";
            let rps = testbed.prometheus.value(rate).await?;
            ensure!((rps - 100.0).abs() < 2.0, "{rps} requests per second");
            let usage = "sum(rate(container_cpu_usage_seconds_total{namespace=\"testbed-works\"}[10s]))";
            let counted = testbed.prometheus.value(usage).await?;
            ensure!((counted - cpu).abs() < 0.02, "{counted} cores by the counters");
            Ok(())
        })
        .await?;

        // A fifth of the traffic: ceil((100 + 8 * 2) / 70) = 2.
        testbed.twin.set_traffic(namespace, name, Traffic::Constant(20.0))?;
        objects::ready(&client, namespace, name, 2, SOON).await
    })
}
