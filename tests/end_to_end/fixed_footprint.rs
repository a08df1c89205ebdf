//! The CPU-only decision record: three model servers whose memory does not follow traffic. Under a
//! stock CPU and memory HPA they never scale down; under ours they do, and come up again.
//!
//! Fifteen times faster than real: the controller syncs every second instead of every 15 s, and
//! every span of the rule and of the HPAs' behaviour is divided by 15. 8 minutes become 32 s.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;

use crate::stage::{SOON, Stage, compressed};
use crate::testbed::objects::{self, Autoscaler, Workload};
use crate::testbed::twin::App;
use crate::testbed::twin::queue::Service;
use crate::testbed::twin::traffic::Traffic;
use crate::testbed::wait::{throughout, until};
use crate::testbed::{Options, run};

const MI: f64 = 1_048_576.0;
const COMPRESSION: u32 = 15;

/// One of the record's services.
struct Model {
    name: &'static str,
    /// Working set of a pod, idle and loaded, in Mi.
    memory: (f64, f64),
    /// CPU target in percent, and upper bound of replicas.
    cpu_target: &'static str,
    max: u32,
}

const MODELS: [Model; 3] = [
    Model { name: "bankchurn", memory: (332.0, 335.0), cpu_target: "50", max: 5 },
    Model { name: "nlpinsight", memory: (311.0, 314.0), cpu_target: "60", max: 3 },
    Model { name: "chicagotaxi", memory: (149.0, 152.0), cpu_target: "60", max: 3 },
];

/// Requests per second at which one pod is busy to its CPU target and a little beyond.
const BUSY: f64 = 30.0;

fn twin(namespace: &str, model: &Model, rps: f64) -> App {
    let (idle, loaded) = model.memory;
    App {
        base_memory: idle * MI,
        memory_per_rps: (loaded - idle) * MI / BUSY,
        service: Service {
            cost: 0.010,
            concurrency: 8,
            base_latency: 0.03,
            idle_cpu: 0.005,
            cpu_limit: None,
        },
        ..App::web(namespace, model.name, Traffic::Constant(rps))
    }
}

#[test]
fn model_servers_scale_down_under_ours_and_never_under_a_memory_target() -> Result<()> {
    run(async {
        let stage = Stage::start_with(Options::default(), compressed).await?;
        let client = stage.plane().client();
        stage.namespace("stock", &[]).await?;
        stage.namespace("models", &[]).await?;

        // Three pods each, hardly any traffic.
        let deployment = |namespace, name| {
            Workload {
                replicas: 3,
                cpu: "500m",
                memory: "512Mi",
                ..Workload::small(namespace, name)
            }
            .deployment()
        };
        for model in &MODELS {
            stage.testbed.twin.add(twin("models", model, 2.0));
            objects::apply_namespaced(&client, &deployment("models", model.name)?).await?;
        }
        let churn = &MODELS[0];
        stage.testbed.twin.add(twin("stock", churn, 2.0));
        objects::apply_namespaced(&client, &deployment("stock", churn.name)?).await?;
        for (namespace, model) in
            MODELS.iter().map(|model| ("models", model)).chain([("stock", churn)])
        {
            objects::ready(&client, namespace, model.name, 3, SOON).await?;
        }

        // The stock HPA: CPU 50 % and memory 80 % of 512 Mi. 332 Mi is 64.8 %:
        // ceil(3 x 64.8 / 80) = ceil(2.43) = 3.
        let targets = [("cpu", 50), ("memory", 80)];
        let plain = Autoscaler {
            behavior: behavior(false),
            ..Autoscaler::plain("stock", churn.name, 1, 5, &targets)
        };
        objects::apply_namespaced(&client, &plain.object()?).await?;
        let started = Instant::now();
        for model in &MODELS {
            let annotations = [("hirl-scale.io/target-cpu", model.cpu_target)];
            let ours = Autoscaler {
                behavior: behavior(true),
                annotations: &annotations,
                ..Autoscaler::following("models", model.name, 1, model.max)
            };
            objects::apply_namespaced(&client, &ours.object()?).await?;
        }
        // 8 minutes of the record, compressed, and as much again for a machine that is not alone.
        let limit = 2 * Duration::from_mins(8) / COMPRESSION;
        for model in &MODELS {
            objects::scaled_to(&client, "models", model.name, 1, limit).await?;
        }
        let seconds = started.elapsed().as_secs_f64();
        println!(
            "3 -> 1 under ours after {seconds:.0} s, {:.1} min uncompressed",
            seconds * 15.0 / 60.0
        );
        throughout("3 under memory", Duration::from_secs(10), async || {
            let standing = objects::spec_replicas(&client, "stock", churn.name).await?;
            ensure!(standing == 3, "the stock HPA stands at {standing}");
            Ok(())
        })
        .await?;

        // Load brings them up again.
        for model in &MODELS {
            stage.testbed.twin.set_traffic("models", model.name, Traffic::Constant(3.0 * BUSY))?;
        }
        for model in &MODELS {
            until(format!("{} to scale up", model.name), 2 * SOON, async || {
                let standing = objects::spec_replicas(&client, "models", model.name).await?;
                ensure!(standing >= 3, "stands at {standing}");
                Ok(())
            })
            .await?;
        }
        Ok(())
    })
}

/// The record's behaviour: 30 s of scale-up stabilisation, 5 min down, both compressed. Ours has
/// its own stabilisation in the rule, so its HPA waits 1 min.
fn behavior(ours: bool) -> serde_json::Value {
    let window = |seconds: u32| json!({"stabilizationWindowSeconds": seconds / COMPRESSION});
    if ours {
        json!({"scaleUp": {"stabilizationWindowSeconds": 0, "tolerance": "0"},
               "scaleDown": {"stabilizationWindowSeconds": 4, "tolerance": "0"}})
    } else {
        json!({"scaleUp": window(30), "scaleDown": window(300)})
    }
}
