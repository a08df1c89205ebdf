use super::*;
use crate::cluster::ForecastSource;
use crate::simulation::scenario::{FaultKind, FaultSpec, read};
use crate::simulation::{Simulation, Traffic, arms, simulate_with};

/// Two domains, one of which calls the other, on a Tuesday morning.
const SALE: &str = "
name: sale
durationSeconds: 3600
warmUpSeconds: 900
start: 2025-03-04T09:00:00Z
domains:
  - {name: shop, class: P0, weight: 1, sloP99Seconds: 0.2, floorShare: 0.1, noise: 0.03,
     traffic: {diurnal: {swing: 0.5, peakHour: 14, weekend: 1}}}
  - {name: risk, class: P0, weight: 0.9, sloP99Seconds: 0.15, floorShare: 0.1}
apps:
  - {name: web, domain: shop, count: 10, rps: 1, totalRps: 12000, serviceSeconds: 0.022, cpuRequest: 0.5}
  - {name: score, domain: risk, count: 6, serviceSeconds: 0.016, cpuRequest: 0.5}
pools:
  - {name: general, nodeCpu: 15.5, nodeMemoryGib: 58, nodes: 30, minNodes: 4, maxNodes: 60}
calls:
  - {from: shop, to: risk, perRequest: 0.5, lagSeconds: 15, inline: true}
events:
  - {name: sale, kind: flashSale, reach: {domains: [shop]}, startSeconds: 2400, rampSeconds: 60,
     holdSeconds: 900, decaySeconds: 300, factor: 3, announcedSeconds: 2400}
";

fn sale(change: impl FnOnce(&mut Scenario)) -> Arc<Scenario> {
    let mut scenario = read(SALE, "sale", Seed::root(1)).unwrap_or_else(|error| panic!("{error}"));
    change(&mut scenario);
    scenario.validate().unwrap();
    Arc::new(scenario)
}

const SEED: u64 = 5;

fn seed() -> Seed {
    Seed::root(SEED)
}

#[test]
fn timing() {
    let begun = std::time::SystemTime::now();
    let scenario = sale(|_| ());
    let mut maker = Maker::new(&scenario, seed()).unwrap();
    println!("new {:?}", begun.elapsed());
    for minute in 0..60 {
        let begun = std::time::SystemTime::now();
        let made = maker.make();
        if minute % 5 == 0 { println!("{minute} {:?} {:?} {:?} {:?}", begun.elapsed(), made[0].source, made[0].why, made[0].forecast.map(|it| (it.level, it.ahead))); }
    }
}
