use proptest::prelude::*;

use super::*;
use crate::simulation::Seed;
use crate::simulation::scenario::{Constants, Provisioner};

fn cloud(constants: &Constants, pools: usize) -> Cloud {
    Cloud::new(constants, &vec![Provisioner::Batching; pools], Seed::root(1)).unwrap()
}

/// Everything that arrives until `until`, looked at every five seconds.
fn arrivals(cloud: &mut Cloud, until: u32, pools: &[PoolState]) -> Vec<Arrival> {
    let mut all = Vec::new();
    for step in 0..=until / 5 {
        cloud.advance(f64::from(step) * 5.0, pools, &mut all);
    }
    all
}

#[test]
fn a_batch_ends_after_a_pause_or_after_ten_seconds() {
    let mut batch = Batch::new(&Constants::default());
    assert_eq!((batch.ends(), batch.close(100.0)), (None, None));
    batch.see(5.0);
    batch.see(5.5);
    assert_eq!((batch.ends(), batch.close(6.4)), (Some(6.5), None));
    assert_eq!((batch.close(6.5), batch.close(6.5)), (Some(6.5), None));
    for half in 0..40_u32 {
        batch.see(20.0 + f64::from(half) / 2.0);
    }
    assert_eq!(batch.close(60.0), Some(30.0));
}

#[test]
fn nodes_take_as_long_as_the_constants_say() {
    let constants = Constants { launch_burst: 1e6, ..Constants::default() };
    let mut cloud = cloud(&constants, 1);
    cloud.ask(0, 20_000, 0.0);
    let all = arrivals(&mut cloud, 3000, &[]);
    assert_eq!((all.len(), cloud.coming(0)), (20_000, 0));
    let mut times: Vec<f64> =
        all.iter().filter(|node| node.ready).map(|node| node.at - node.launched).collect();
    let failed = 1.0 - times.len() as f64 / 20_000.0;
    assert!((failed - 0.01).abs() < 0.003, "{failed}");
    times.sort_by(f64::total_cmp);
    let at = |part: f64| times[(times.len() as f64 * part) as usize];
    assert!(
        (at(0.5) - 60.0).abs() < 1.0 && (at(0.95) - 110.0).abs() < 3.0,
        "{} {}",
        at(0.5),
        at(0.95)
    );
    assert!(all.iter().filter(|node| !node.ready).all(|node| node.at == 60.0 && !node.paid));
}

#[test]
fn the_api_lets_through_a_burst_and_then_its_rate() {
    let constants =
        Constants { launch_burst: 100.0, launch_per_second: 2.0, ..Constants::default() };
    let mut cloud = cloud(&constants, 2);
    cloud.ask(0, 150, 10.0);
    cloud.ask(1, 50, 10.0);
    let mut all = Vec::new();
    cloud.advance(10.0, &[], &mut all);
    assert_eq!((cloud.coming(0), cloud.coming(1)), (150, 50));
    let all = arrivals(&mut cloud, 3000, &[]);
    let mut launched: Vec<f64> = all.iter().map(|node| node.launched).collect();
    launched.sort_by(f64::total_cmp);
    assert_eq!(launched[99], 10.0);
    for (index, expected) in [(100, 10.5), (119, 20.0), (199, 60.0)] {
        assert!((launched[index] - expected).abs() < 1e-9, "{index}: {}", launched[index]);
    }
    // First asked, first served.
    let last = all.iter().filter(|node| node.pool == 0).map(|node| node.launched);
    assert!((last.fold(0.0, f64::max) - 35.0).abs() < 1e-9);
}

#[test]
fn a_stall_holds_back_what_is_not_launched_and_only_in_its_pool() {
    let stalled = PoolState { stalled: true, ..PoolState::default() };
    let constants = Constants { launch_failure: 0.0, ..Constants::default() };
    let mut cloud = cloud(&constants, 2);
    cloud.ask(0, 1, 0.0);
    let mut all = Vec::new();
    cloud.advance(0.0, &[], &mut all);
    assert_eq!((cloud.paid(0), cloud.coming(0)), (1, 1));
    cloud.ask(0, 3, 1.0);
    cloud.ask(1, 3, 1.0);
    cloud.advance(600.0, &[stalled], &mut all);
    assert_eq!((all.len(), cloud.coming(0), cloud.paid(0), cloud.coming(1)), (4, 3, 0, 0));
    all.clear();
    cloud.advance(605.0, &[], &mut all);
    cloud.advance(1500.0, &[], &mut all);
    assert!(all.len() == 3 && all.iter().all(|node| node.launched == 600.0), "{all:?}");
}

#[test]
fn slow_nodes_are_slow_and_those_that_never_register_are_given_up_and_paid() {
    let constants = Constants { launch_failure: 0.0, ..Constants::default() };
    let run = |slowness| {
        let mut cloud = cloud(&constants, 1);
        cloud.ask(0, 20, 0.0);
        arrivals(&mut cloud, 2000, &[PoolState { slowness, ..PoolState::default() }])
    };
    let (usual, slow) = (run(1.0), run(3.0));
    for node in &usual {
        let other = slow.iter().find(|other| other.number == node.number).unwrap();
        assert!((other.at - 3.0 * node.at).abs() < 1e-9, "{node:?} {other:?}");
    }
    let never = run(1000.0);
    assert!(
        never.len() == 20 && never.iter().all(|node| !node.ready && node.paid && node.at == 900.0)
    );
}

#[test]
fn the_fate_of_a_node_does_not_depend_on_other_pools() {
    let constants = Constants::default();
    let fates = |others: u32| {
        let mut cloud = cloud(&constants, 2);
        cloud.ask(1, others, 0.0);
        cloud.ask(0, 30, 0.0);
        let mut all = arrivals(&mut cloud, 2000, &[]);
        all.retain(|node| node.pool == 0);
        all
    };
    assert_eq!(fates(0), fates(500));
}

#[test]
fn constants_that_mean_nothing_are_refused() {
    let mut constants = Constants::default();
    constants.node_start.sigma = -1.0;
    assert!(Cloud::new(&constants, &[Provisioner::Batching; 1], Seed::root(1)).is_none());
    let constants = Constants { launch_per_second: 0.0, ..Constants::default() };
    assert!(Cloud::new(&constants, &[Provisioner::Batching; 1], Seed::root(1)).is_none());
}

proptest! {
    #[test]
    fn nodes_are_conserved_and_the_limit_holds(
        asks in prop::collection::vec((0_usize..3, 0_u32..40, 0.0_f64..30.0, any::<bool>()), 1..40),
        burst in 1.0_f64..50.0,
        rate in 0.1_f64..5.0,
    ) {
        let constants = Constants {
            launch_burst: burst, launch_per_second: rate, launch_failure: 0.2, ..Constants::default()
        };
        let mut cloud = cloud(&constants, 3);
        let (mut now, mut asked, mut all) = (0.0, 0_usize, Vec::new());
        for (pool, nodes, pause, stalled) in asks {
            now += pause;
            cloud.ask(pool, nodes, now);
            asked += nodes as usize;
            let first = PoolState { stalled, ..PoolState::default() };
            cloud.advance(now, &[first], &mut all);
            let coming: u32 = (0..3).map(|pool| cloud.coming(pool)).sum();
            prop_assert_eq!(all.len() + coming as usize, asked);
        }
        cloud.advance(now + 1e5, &[], &mut all);
        prop_assert_eq!(all.len(), asked);
        let mut launched: Vec<f64> = all.iter().map(|node| node.launched).collect();
        launched.sort_by(f64::total_cmp);
        for (index, at) in launched.iter().enumerate() {
            prop_assert!(index as f64 + 1.0 <= burst + rate * at + 1e-6);
        }
        prop_assert!(all.iter().all(|node| node.launched <= node.at));
    }
}
