use super::*;
use crate::simulation::arms::{self, Arm};
use crate::simulation::run::{Run, simulate};
use crate::simulation::scenario::{families, read};

/// Two domains of a few apps on one pool, two hours.
const SMALL: &str = "
name: small
durationSeconds: 5400
warmUpSeconds: 900
start: 2025-03-04T09:00:00Z
domains:
  - {name: shop, class: P0, weight: 1, sloP99Seconds: 0.2, floorShare: 0.1, noise: 0.03}
  - {name: risk, class: P0, weight: 0.9, sloP99Seconds: 0.15, floorShare: 0.1}
  - {name: jobs, class: P3, weight: 0.3, sloP99Seconds: 1, floorShare: 0.02, noise: 0.05}
apps:
  - {name: web, domain: shop, count: 10, rps: 1, totalRps: 12000, serviceSeconds: 0.022, cpuRequest: 0.5,
     start: {readyMedianSeconds: 20, warmSeconds: 30, coldSpeed: 0.5}}
  - {name: score, domain: risk, count: 6, serviceSeconds: 0.016, cpuRequest: 0.5}
  - {name: batch, domain: jobs, count: 6, rps: 1, totalRps: 800, serviceSeconds: 0.1, cpuRequest: 1}
pools:
  - {name: general, nodeCpu: 15.5, nodeMemoryGib: 58, nodes: 18, minNodes: 4, maxNodes: MAX}
calls:
  - {from: shop, to: risk, perRequest: 0.5, lagSeconds: 15, inline: true}
events:
  - {name: sale, kind: flashSale, reach: {domains: [shop]}, startSeconds: 2400, rampSeconds: 60,
     holdSeconds: 900, decaySeconds: 300, factor: 3}
faults: []
";

fn small(most_nodes: u32, change: impl FnOnce(&mut Scenario)) -> Arc<Scenario> {
    let text = SMALL.replace("MAX", &most_nodes.to_string());
    let mut scenario =
        read(&text, "small", Seed::root(1)).unwrap_or_else(|error| panic!("{error}"));
    change(&mut scenario);
    scenario.validate().unwrap();
    Arc::new(scenario)
}

fn arm(name: &str) -> Arm {
    arms::arm(name).unwrap()
}

fn run(scenario: &Arc<Scenario>, name: &str, seed: u64) -> Run {
    simulate(scenario, &arm(name), (Seed::root(seed), seed), Some(10.0)).unwrap()
}

/// Runs to the end and looks at everything after each step.
fn audited(scenario: &Arc<Scenario>, arm: &Arm) -> Simulation {
    let seed = Seed::root(3);
    let mut simulation = Simulation::new(Arc::clone(scenario), &arm.actuation, seed).unwrap();
    let mut pilot = arm.pilot(&simulation, scenario, seed);
    while !simulation.over() {
        if let Some(pilot) = &mut pilot {
            let now = simulation.now();
            let decision = pilot.decide(simulation.snapshot(), now);
            simulation.publish(&decision);
        }
        simulation.step();
        simulation.audit().unwrap_or_else(|sentence| {
            panic!("{} after {} s: {sentence}", arm.name, simulation.seconds())
        });
    }
    simulation
}

#[test]
fn pods_nodes_and_sums_are_conserved_under_every_policy_and_fault() {
    use crate::simulation::scenario::{FaultKind, FaultSpec, Reach};
    let fault = |start_seconds, duration_seconds, fault| FaultSpec {
        start_seconds,
        duration_seconds,
        fault,
    };
    let scenario = small(24, |scenario| {
        let shop = || Reach { domains: vec!["shop".into()], ..Reach::default() };
        scenario.faults = vec![
            fault(
                1500.0,
                0.0,
                FaultKind::NodeLoss { pool: "general".into(), share: 0.3, zone: None },
            ),
            fault(2000.0, 0.0, FaultKind::Crash { reach: shop(), share: 0.5 }),
            fault(2400.0, 200.0, FaultKind::ProvisionerStall { pool: None }),
            fault(
                3000.0,
                300.0,
                FaultKind::Dependency { reach: shop(), delay_seconds: 0.3, error_ratio: 0.2 },
            ),
            fault(3600.0, 300.0, FaultKind::PrometheusOutage),
            fault(4000.0, 300.0, FaultKind::ResourceMetricsOutage),
            fault(4400.0, 300.0, FaultKind::TelemetryLoss { lost: 0.3, nan: 0.2 }),
        ];
    });
    for name in arms::NAMES {
        audited(&scenario, &arm(name));
    }
}

#[test]
fn members_of_every_family_are_conserved() {
    for level in families::LEVELS {
        let scenario = Arc::new(families::generate(level, Seed::root(7)).unwrap());
        audited(&scenario, &arm("hpa"));
        audited(&scenario, &arm("rules"));
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let scenario = small(24, |_| ());
    let text = |seed| serde_json::to_string(&run(&scenario, "rules", seed)).unwrap();
    let first = text(5);
    assert_eq!(first, std::thread::scope(|scope| scope.spawn(|| text(5)).join().unwrap()));
    assert_ne!(first, text(6));
}
