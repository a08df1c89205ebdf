//! Scenarios that come with the binary: fixed members, which differ from the generated families in
//! their structure.

use super::{Error, Scenario, read};
use crate::simulation::Seed;

/// Name and text of each, by name.
const ALL: [(&str, &str); 9] = [
    ("adr-001", include_str!("adr-001.yaml")),
    ("dependency-outage", include_str!("dependency-outage.yaml")),
    ("diurnal", include_str!("diurnal.yaml")),
    ("flash-sale-post-mortem", include_str!("flash-sale-post-mortem.yaml")),
    ("node-pool-loss", include_str!("node-pool-loss.yaml")),
    ("payday", include_str!("payday.yaml")),
    ("prometheus-outage", include_str!("prometheus-outage.yaml")),
    ("settlement-against-peak", include_str!("settlement-against-peak.yaml")),
    ("steady", include_str!("steady.yaml")),
];

/// The names, in order.
pub fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|(name, _)| *name)
}

/// The text of a built-in scenario, to read or to start one's own from.
#[must_use]
pub fn text(name: &str) -> Option<&'static str> {
    ALL.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// A built-in scenario with what this seed draws; `None` for a name that is not built in.
#[must_use]
pub fn scenario(name: &str, seed: Seed) -> Option<Result<Scenario, Error>> {
    text(name).map(|text| read(text, name, seed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::Traffic;
    use crate::simulation::scenario::FaultKind;

    fn built_in(name: &str) -> Scenario {
        scenario(name, Seed::root(1)).unwrap().unwrap_or_else(|error| panic!("{error}"))
    }

    /// Pods and cores that the HPAs' targets ask for, and cores of the pools.
    fn size(scenario: &Scenario, at: f64) -> (f64, f64, f64) {
        let mut rps = vec![0.0; scenario.apps.len()];
        Traffic::new(scenario, Seed::root(1)).expected(at, &mut rps);
        let (mut pods, mut cores) = (0.0, 0.0);
        for (app, rps) in scenario.apps.iter().zip(rps) {
            let (low, high) = (app.hpa.min_replicas, app.hpa.max_replicas);
            let replicas = app.replicas_for(rps).clamp(f64::from(low), f64::from(high));
            pods += replicas;
            cores += replicas * app.cpu_request;
        }
        let room = scenario.pools.iter().map(|pool| f64::from(pool.nodes) * pool.node_cpu).sum();
        (pods, cores, room)
    }

    #[test]
    fn every_one_is_sound_for_any_seed_and_named_as_its_file() {
        for name in names() {
            for seed in 0..3 {
                let scenario = scenario(name, Seed::root(seed)).unwrap();
                let scenario = scenario.unwrap_or_else(|error| panic!("{error}"));
                assert_eq!(scenario.name, name);
                assert!(!scenario.description.is_empty());
            }
        }
        assert!(scenario("no-such", Seed::root(1)).is_none());
    }

    #[test]
    fn every_one_begins_with_room_for_its_pods_and_no_more_than_twice() {
        let mut wrong = Vec::new();
        for name in names().filter(|name| *name != "adr-001") {
            let (pods, cores, room) = size(&built_in(name), 0.0);
            let part = cores / room;
            println!("{name}: {pods} pods, {cores:.0} of {room:.0} cores at the start");
            if !(0.5..0.93).contains(&part) {
                wrong.push(format!("{name}: {part:.2} of its cores"));
            }
        }
        assert!(wrong.is_empty(), "{wrong:?}");
    }

    #[test]
    fn the_whole_cluster_has_a_hundred_thousand_pods() {
        let steady = built_in("steady");
        assert_eq!(steady.apps.len(), 1550);
        let (pods, ..) = size(&steady, 0.0);
        assert!((90_000.0..110_000.0).contains(&pods), "{pods}");
    }

    #[test]
    fn the_flash_sale_comes_early_to_150_services_and_does_not_fit() {
        let sale = built_in("flash-sale-post-mortem");
        let event = &sale.events[0];
        let reached = event.reach.apps(&sale).into_iter().filter(|reached| *reached).count();
        assert_eq!(reached, 150);
        assert_eq!(event.announced_seconds, Some(event.start_seconds + 1200.0));
        let stall = sale.faults.iter().find_map(|fault| match fault.fault {
            FaultKind::ProvisionerStall { .. } => Some(fault.start_seconds),
            _ => None,
        });
        assert!(stall.unwrap() < event.start_seconds + 120.0);
        let (_, cores, room) = size(&sale, event.start_seconds + 300.0);
        assert!(cores > 1.1 * room, "{cores} of {room} cores");
    }

    #[test]
    fn settlement_and_peak_do_not_fit_together() {
        let late = built_in("settlement-against-peak");
        let most: f64 =
            late.pools.iter().map(|pool| f64::from(pool.max_nodes) * pool.node_cpu).sum();
        let (_, cores, _) = size(&late, 8000.0);
        assert!(cores > most, "{cores} of {most} cores");
    }

    #[test]
    fn the_models_have_the_numbers_of_their_record() {
        let adr = built_in("adr-001");
        let found: Vec<_> = adr
            .apps
            .iter()
            .map(|app| {
                let hpa = &app.hpa;
                (app.name.as_str(), hpa.target_cpu, hpa.min_replicas, hpa.max_replicas)
            })
            .collect();
        assert_eq!(
            found,
            [("bank-churn", 0.5, 1, 5), ("chicago-taxi", 0.6, 1, 3), ("nlp-insight", 0.6, 1, 3)]
        );
        assert_eq!((adr.apps[0].memory.idle_mib, adr.apps[0].memory.busy_mib), (332.0, 335.0));
        assert!(adr.apps.iter().all(|app| app.hpa.scale_up.stabilization_seconds == Some(30.0)));
        // Three pods under load, one without.
        assert_eq!(adr.apps[0].replicas_for(40.0), 3.0);
        assert_eq!(adr.apps[0].replicas_for(4.0), 1.0);
    }
}
