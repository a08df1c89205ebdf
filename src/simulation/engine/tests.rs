use super::*;
use crate::simulation::arms::{self, Arm};
use crate::simulation::queue::Retries;
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
        simulation.turn(pilot.as_mut());
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
    assert_eq!(first, text(5));
    assert_ne!(first, text(6));
}

/// `small` with fixed replicas, `factor` times what it needs, and no events.
fn fixed(factor: f64) -> Arc<Scenario> {
    small(60, |scenario| {
        scenario.events.clear();
        scenario.pools[0].nodes = 40;
        scenario.pools[0].provisioner = crate::simulation::scenario::Provisioner::Fixed;
        let called = scenario.paths()[0].per_request * 12_000.0 / 6.0;
        for app in &mut scenario.apps {
            let rps = if app.rps > 0.0 { app.rps } else { called };
            app.initial_replicas = Some((app.replicas_for(rps) * factor).ceil() as u32);
            app.hpa.scale_up.select = crate::simulation::scenario::Select::Disabled;
            app.hpa.scale_down.select = crate::simulation::scenario::Select::Disabled;
            app.hpa.max_replicas = 1000;
        }
    })
}

#[test]
fn more_capacity_never_adds_breaches_in_a_steady_state() {
    let breaches: Vec<f64> = [0.6, 0.8, 0.95, 1.1, 1.3, 1.6]
        .iter()
        .map(|factor| run(&fixed(*factor), "hpa", 2).summary.counts.breach_minutes.iter().sum())
        .collect();
    assert!(breaches[0] > 0.0, "{breaches:?}");
    assert!(breaches.windows(2).all(|pair| pair[1] <= pair[0] + 1e-9), "{breaches:?}");
    assert_eq!(breaches[5], 0.0, "{breaches:?}");
}

#[test]
fn requests_are_conserved() {
    let scenario = small(24, |scenario| {
        scenario.calls.clear();
        scenario.warm_up_seconds = 0.0;
        scenario.apps.retain(|app| app.domain != "risk");
        scenario.domains.retain(|domain| domain.name != "risk");
    });
    let simulation = audited(&scenario, &arm("hpa"));
    let sums = simulation.summary();
    let waiting: f64 = simulation
        .apps
        .cohorts
        .iter()
        .flatten()
        .map(|cohort| f64::from(cohort.pods) * cohort.waiting)
        .sum();
    let again: f64 = simulation.apps.retries.iter().map(Retries::count).sum();
    let found = sums.succeeded + sums.lost + waiting + again;
    assert!((found / sums.offered - 1.0).abs() < 1e-9, "{found} of {}", sums.offered);
    assert!(sums.lost > 0.0, "the sale loses requests, so that the sum says something");
}

/// Steps in which a domain grew beyond its floor in the only pool, how often a lower one took room that a
/// higher one waited for, and how often a domain took more than it is entitled to.
fn growth_by_the_rule() -> (u32, u32, u32) {
    let scenario = small(24, |_| ());
    let arm = arm("rules");
    let seed = Seed::root(4);
    let mut simulation = Simulation::new(Arc::clone(&scenario), &arm.actuation, seed).unwrap();
    let mut pilot = arm.pilot(&simulation, &scenario, seed).unwrap();
    let (mut borrowed, mut overtaken, mut beyond) = (0, 0, 0);
    while !simulation.over() {
        let now = simulation.now();
        let decision = pilot.decide(simulation.snapshot(), now);
        simulation.publish(&decision);
        let before = simulation.used.clone();
        let waited = waiting_classes(&simulation);
        simulation.step();
        let waits = waiting_classes(&simulation);
        let stated = Budgets::of(&decision, 0.1, now);
        let (standing, growth) =
            (simulation.nodes.pools[0].allocatable(), simulation.nodes.pools[0].at_the_most());
        let claims =
            stated.claims(&scenario.pools[0].name, standing, growth.max(standing), Class::P0, now);
        let used = &simulation.used;
        for (domain, claim) in claims.iter().enumerate() {
            if used[domain].cpu_milli <= before[domain].cpu_milli || used[domain].fits(claim.floor)
            {
                continue;
            }
            borrowed += 1;
            let class = claim.class as usize;
            // Who waits before and after a step has waited through it.
            let higher = (0..class).any(|other| waited[other] && waits[other]);
            overtaken += u32::from(higher);
            let fixed: u64 = claims
                .iter()
                .zip(used)
                .map(|(other, used)| {
                    if other.class > claim.class {
                        (*used).min(other.floor).cpu_milli
                    } else {
                        used.cpu_milli
                    }
                })
                .sum();
            beyond += u32::from(fixed > growth.cpu_milli);
        }
    }
    (borrowed, overtaken, beyond)
}

/// Which classes have a pod that waits for room.
fn waiting_classes(simulation: &Simulation) -> [bool; 4] {
    let mut classes = [false; 4];
    for entry in simulation.queue.iter() {
        let long = simulation.seconds() - entry.since > 20.0;
        classes[simulation.apps.fixed[entry.app].class as usize] |=
            long && entry.why == scheduler::Waiting::Unschedulable;
    }
    classes
}

#[test]
fn lower_classes_take_no_room_that_higher_ones_wait_for() {
    let (borrowed, overtaken, beyond) = growth_by_the_rule();
    assert!(borrowed > 0, "no domain ever borrowed: the test shows nothing");
    assert!(overtaken * 20 <= borrowed, "{overtaken} of {borrowed}");
    assert_eq!(beyond, 0);
}

#[test]
fn the_post_mortem_has_all_three_failure_modes_under_plain_hpas() {
    let seed = Seed::root(1);
    let scenario = crate::simulation::scenario::builtin::scenario("flash-sale-post-mortem", seed);
    let scenario = Arc::new(scenario.unwrap().unwrap());
    let run = simulate(&scenario, &arm("hpa"), (seed, 1), None).unwrap();
    let counts = &run.summary.counts;
    println!("{:#?}", run.summary);
    assert!(run.summary.stampedes > 0);
    assert!(counts.cascades.iter().sum::<u64>() > 0);
    assert!(counts.inversions[0] > 0);
    assert!(counts.breach_minutes[0] > 1000.0);
}

#[test]
fn the_shortest_scenario_of_the_documentation_runs() {
    let page = include_str!("../scenario/README.md");
    let text = page.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let scenario = read(text, "README", Seed::root(1)).unwrap_or_else(|error| panic!("{error}"));
    let run = run(&Arc::new(scenario), "hpa", 1);
    assert_eq!(run.summary.counts.breach_minutes, [0.0; 4]);
}
