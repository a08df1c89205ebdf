//! A small bank: five domains, fifteen apps, among them three model servers whose memory does not
//! follow their traffic. Every app exists twice with the same traffic: once under `hirl`, and
//! once under a plain HPA, in the namespace with the suffix `-plain`.

use std::sync::Arc;

use serde_json::{Value, json};

use super::objects::{Autoscaler, Workload};
use super::twin::App;
use super::twin::queue::Service;
use super::twin::traffic::{Daily, Replay, Spike, Trace, Traffic};

/// Seconds of an hour.
const HOUR: f64 = 3600.0;

/// Bytes of a MiB.
const MIB: f64 = 1_048_576.0;

/// Suffix of the namespace in which an app runs under a plain HPA.
pub const PLAIN: &str = "-plain";

/// One app of the bank.
#[derive(Debug, Clone)]
pub struct BankApp {
    /// Namespace, and name of its domain unless [`BankApp::domain`] differs.
    pub namespace: &'static str,
    /// Name of its Deployment and HPA.
    pub name: &'static str,
    /// Name of its domain.
    pub domain: &'static str,
    /// Mean requests per second over a day.
    pub mean: f64,
    /// How far day and night differ from the mean, 0 to 1.
    pub swing: f64,
    /// When the peak is, in hours.
    pub peak_hour: f64,
    /// What happens besides.
    pub spikes: Vec<Spike>,
    /// Bounds of its HPAs.
    pub bounds: (u32, u32),
    /// Replicas to begin with.
    pub replicas: u32,
    /// CPU target of its HPAs, in percent of the request.
    pub target_cpu: u32,
    /// Memory target of its plain HPA, in percent of the request; model servers had one.
    pub target_memory: Option<u32>,
    /// CPU request, as a quantity.
    pub cpu: &'static str,
    /// Memory request, as a quantity.
    pub memory: &'static str,
    /// What it does with its traffic.
    pub service: Service,
    /// Working set of an idle pod, in MiB, and what a loaded pod has more.
    pub working_set: (f64, f64),
}

impl BankApp {
    /// Its Deployment's description in `namespace`.
    pub fn workload<'a>(&self, namespace: &'a str) -> Workload<'a> {
        Workload {
            namespace,
            name: self.name,
            replicas: self.replicas,
            cpu: self.cpu,
            memory: self.memory,
            annotations: &[],
        }
    }

    /// What the twin runs in `namespace`; a recording, if given, replaces the made-up day.
    pub fn twin(&self, namespace: &str, trace: Option<&Arc<Trace>>, begin: f64) -> App {
        let traffic = match trace {
            Some(trace) => {
                // As high as the made-up day would be.
                let peak = self.mean * (1.0 + self.swing);
                Traffic::Replayed(Replay::new(Arc::clone(trace), peak, -begin))
            }
            None => Traffic::Generated(Daily {
                mean: self.mean,
                swing: self.swing,
                peak_at: self.peak_hour * HOUR,
                noise: 0.03,
                spikes: self.spikes.clone(),
                seed: self.name.bytes().fold(42, |seed: u64, byte| {
                    seed.wrapping_mul(31).wrapping_add(u64::from(byte))
                }),
            }),
        };
        App {
            namespace: namespace.to_owned(),
            workload: self.name.to_owned(),
            traffic,
            service: self.service,
            base_memory: self.working_set.0 * MIB,
            memory_per_rps: self.working_set.1 * MIB / self.mean.max(1.0),
            timestamps: false,
        }
    }

    /// Its plain HPA, in `namespace`, with the stock rules of scaling `compression` times faster.
    pub fn plain_hpa<'a>(&self, namespace: &'a str, compression: f64) -> Autoscaler<'a> {
        let mut targets = vec![("cpu", self.target_cpu)];
        targets.extend(self.target_memory.map(|percent| ("memory", percent)));
        let (min, max) = self.bounds;
        let seconds = |span: f64| (span / compression).round().max(1.0) as u32;
        Autoscaler {
            behavior: json!({
                "scaleUp": {
                    "stabilizationWindowSeconds": 0,
                    "selectPolicy": "Max",
                    "policies": [
                        {"type": "Percent", "value": 100, "periodSeconds": seconds(15.0)},
                        {"type": "Pods", "value": 4, "periodSeconds": seconds(15.0)},
                    ],
                },
                "scaleDown": {"stabilizationWindowSeconds": seconds(300.0)},
            }),
            ..Autoscaler::plain(namespace, self.name, min, max, &targets)
        }
    }
}

/// The namespaces, each with its domain.
pub const NAMESPACES: [(&str, &str); 6] = [
    ("payments", "payments"),
    ("fraud", "fraud"),
    ("merchant", "merchant"),
    ("data", "data"),
    ("models", "data"),
    ("platform", "platform"),
];

/// The five `Domain` objects; each takes the namespaces with its label `hirl-scale.io/domain`.
pub fn domains() -> Vec<Value> {
    [
        ("payments", "P0", 1.0, "200ms", 0.001, 0.2),
        ("fraud", "P0", 0.9, "150ms", 0.001, 0.1),
        ("merchant", "P1", 0.8, "400ms", 0.005, 0.1),
        ("data", "P2", 0.5, "2s", 0.01, 0.05),
        ("platform", "P3", 0.3, "1s", 0.01, 0.02),
    ]
    .into_iter()
    .map(|(name, class, weight, p99, errors, floor)| {
        json!({
            "apiVersion": "hirl-scale.io/v1alpha1",
            "kind": "Domain",
            "metadata": {"name": name},
            "spec": {
                "class": class,
                "weight": weight,
                "slo": {"p99": p99, "errorRatio": errors},
                "namespaceSelector": {"matchLabels": {"hirl-scale.io/domain": name}},
                "floorShare": floor,
                "mode": "Active",
            },
        })
    })
    .collect()
}

/// The latency SLO of a domain, in seconds.
pub fn slo(domain: &str) -> f64 {
    match domain {
        "payments" => 0.2,
        "fraud" => 0.15,
        "merchant" => 0.4,
        "data" => 2.0,
        _ => 1.0,
    }
}

/// The apps. The morning begins quietly; a flash sale hits checkout at 9:10, and the fraud checks
/// that it calls follow 20 s later.
pub fn apps() -> Vec<BankApp> {
    let sale = |lag: f64, factor: f64| {
        vec![Spike { start: 9.0 * HOUR + 600.0 + lag, ramp: 60.0, length: 480.0, factor }]
    };
    let mut apps = vec![
        web("payments", "checkout-api", 900.0, 0.006, 0.030, sale(0.0, 3.0)),
        web("payments", "card-auth", 700.0, 0.004, 0.025, sale(0.0, 2.5)),
        web("payments", "ledger-writer", 300.0, 0.008, 0.040, sale(10.0, 2.5)),
        web("fraud", "risk-score", 600.0, 0.007, 0.020, sale(20.0, 2.8)),
        web("fraud", "device-check", 400.0, 0.004, 0.015, sale(20.0, 2.8)),
        web("merchant", "merchant-api", 500.0, 0.006, 0.050, vec![]),
        web("merchant", "onboarding", 120.0, 0.010, 0.080, vec![]),
        web("merchant", "statements", 150.0, 0.012, 0.090, vec![]),
        web("data", "settlement", 80.0, 0.040, 0.300, vec![]),
        web("data", "reports-export", 60.0, 0.050, 0.400, vec![]),
        web("platform", "ci-runner", 90.0, 0.030, 0.150, vec![]),
        web("platform", "wiki", 200.0, 0.005, 0.060, vec![]),
    ];
    apps.extend(model_servers());
    apps
}

/// The three model servers of the CPU-only decision record. They idle at first, so that three
/// replicas are two too many; callers come at 9:15.
pub fn model_servers() -> [BankApp; 3] {
    let callers =
        vec![Spike { start: 9.0 * HOUR + 900.0, ramp: 60.0, length: 2.0 * HOUR, factor: 30.0 }];
    [
        model("bankchurn", 50, 5, ("512Mi", 332.0, 3.0), &callers),
        model("nlpinsight", 60, 3, ("512Mi", 311.0, 3.0), &callers),
        model("chicagotaxi", 60, 3, ("256Mi", 149.0, 3.0), &callers),
    ]
}

fn web(
    namespace: &'static str,
    name: &'static str,
    mean: f64,
    cost: f64,
    base_latency: f64,
    spikes: Vec<Spike>,
) -> BankApp {
    BankApp {
        namespace,
        name,
        domain: namespace,
        mean,
        swing: 0.5,
        peak_hour: 13.0,
        spikes,
        bounds: (2, 60),
        replicas: 4,
        target_cpu: 70,
        target_memory: None,
        cpu: "500m",
        memory: "256Mi",
        service: Service {
            cost,
            concurrency: 32,
            base_latency,
            idle_cpu: 0.005,
            cpu_limit: Some(0.8),
        },
        working_set: (120.0, 40.0),
    }
}

fn model(
    name: &'static str,
    target_cpu: u32,
    max: u32,
    (memory, idle, loaded): (&'static str, f64, f64),
    callers: &[Spike],
) -> BankApp {
    BankApp {
        namespace: "models",
        name,
        domain: "data",
        mean: 1.0,
        swing: 0.0,
        peak_hour: 13.0,
        spikes: callers.to_vec(),
        bounds: (1, max),
        replicas: 3,
        target_cpu,
        target_memory: Some(80),
        cpu: "500m",
        memory,
        service: Service {
            cost: 0.020,
            concurrency: 4,
            base_latency: 0.050,
            idle_cpu: 0.010,
            cpu_limit: Some(1.0),
        },
        working_set: (idle, loaded / 10.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_idle_model_servers_holds_a_plain_hpa_at_three() {
        for app in model_servers() {
            let request = if app.memory == "512Mi" { 512.0 } else { 256.0 };
            let wanted = (3.0 * app.working_set.0 / request / 0.8).ceil();
            assert_eq!(wanted, 3.0, "{}", app.name);
        }
    }

    #[test]
    fn every_app_belongs_to_a_namespace_and_a_domain_that_exist() {
        let domains = domains();
        for app in apps() {
            assert!(NAMESPACES.contains(&(app.namespace, app.domain)), "{}", app.name);
            assert!(domains.iter().any(|domain| domain["metadata"]["name"] == app.domain));
        }
    }
}
