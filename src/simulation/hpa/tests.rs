use super::*;
use crate::simulation::scenario::{
    ControllerSpec, HpaSpec, PolicyKind, ScalePolicy, ScaleRules, Select,
};

const TENTH: Tolerance = Tolerance { up: 0.1, down: 0.1 };

/// CPU of `pods` at `percent` of a request of one core, and pods without a number.
fn cpu(pods: u32, percent: u64, missing: u32, unready: u32) -> Resource {
    Resource {
        usage_milli: percent * 10 * u64::from(pods),
        request_milli: 1000,
        measured: pods,
        missing,
        unready,
    }
}

/// What the controller answers, worked out by hand: target 50 %.
#[test]
fn the_replica_calculator() {
    for (what, resource, current, expected) in [
        ("on target", cpu(4, 50, 0, 0), 4, Some(4)),
        ("within the tolerance", cpu(4, 55, 0, 0), 4, Some(4)),
        ("56 % is 1.12", cpu(4, 56, 0, 0), 4, Some(5)),
        ("within the tolerance below", cpu(4, 45, 0, 0), 4, Some(4)),
        ("44 % is 0.88: ceil of 3.52", cpu(4, 44, 0, 0), 4, Some(4)),
        ("30 % is 0.6: ceil of 2.4", cpu(4, 30, 0, 0), 4, Some(3)),
        ("tripled", cpu(4, 150, 0, 0), 4, Some(12)),
        ("no metric", cpu(0, 0, 4, 0), 4, None),
        ("only starting pods", cpu(0, 0, 0, 4), 4, None),
        // Up with starting pods: 400 % over 8 pods is 50 %.
        ("the answer is on its way", cpu(4, 100, 0, 4), 8, Some(8)),
        ("more is needed than is on its way", cpu(4, 200, 0, 4), 8, Some(16)),
        ("too much is on its way", cpu(4, 100, 0, 12), 16, Some(16)),
        // Down: starting pods do not count at all.
        ("down in spite of starting pods", cpu(4, 10, 0, 4), 8, Some(1)),
        // Down with missing: (4 x 10 + 2 x 100) / 6 = 40 %: 0.8 of 6.
        ("missing use everything on the way down", cpu(4, 10, 2, 0), 6, Some(5)),
        ("and may stop it", cpu(4, 10, 4, 0), 8, Some(8)),
        // Up with missing: 4 x 100 / 6 = 66 %: 1.32 of 6.
        ("missing use nothing on the way up", cpu(4, 100, 2, 0), 6, Some(8)),
        // On target but missing: neither up nor down, so nobody is assumed.
        ("on target with missing", cpu(4, 50, 2, 0), 6, Some(6)),
    ] {
        assert_eq!(by_resource(&resource, 50, current, TENTH), expected, "{what}");
    }
}

#[test]
fn utilisation_is_cut_to_whole_percents() {
    // 55.9 % is taken as 55 %, which is within the tolerance of 50 %.
    let resource =
        Resource { usage_milli: 559, request_milli: 1000, measured: 1, ..cpu(1, 0, 0, 0) };
    assert_eq!(by_resource(&resource, 50, 1, TENTH), Some(1));
}

#[test]
fn memory_that_stays_blocks_the_way_down() {
    // Section 4 of system.md: 3 pods x 332 Mi of 512 Mi at 80 %: ceil(2.4) = 3, while CPU asks for 1.
    let memory =
        Resource { usage_milli: 332 * 3, request_milli: 512, measured: 3, ..cpu(3, 0, 0, 0) };
    let by_memory = by_resource(&memory, 80, 3, TENTH);
    let by_cpu = by_resource(&cpu(3, 5, 0, 0), 50, 3, TENTH);
    assert_eq!((by_memory, by_cpu), (Some(3), Some(1)));
    assert_eq!(together(&[by_memory, by_cpu], 3), Some(3));
}

#[test]
fn our_metric_is_taken_as_it_is_outside_the_tolerance() {
    assert_eq!(by_our_metric(10, 10, TENTH), 10);
    assert_eq!(by_our_metric(11, 10, TENTH), 10);
    assert_eq!(by_our_metric(12, 10, TENTH), 12);
    assert_eq!(by_our_metric(9, 10, TENTH), 10);
    assert_eq!(by_our_metric(8, 10, TENTH), 8);
    assert_eq!(by_our_metric(3, 0, TENTH), 3);
}

#[test]
fn one_invalid_metric_stops_the_way_down_and_all_stop_everything() {
    assert_eq!(together(&[Some(3), Some(7)], 5), Some(7));
    assert_eq!(together(&[Some(3), None], 5), None);
    assert_eq!(together(&[Some(5), None], 5), Some(5));
    assert_eq!(together(&[Some(8), None], 5), Some(8));
    assert_eq!(together(&[None, None], 5), None);
    assert_eq!(together(&[], 5), None);
}

#[test]
fn cpu_counts_after_a_whole_sample_as_a_ready_pod() {
    let pod = |ready, age, changed_after, sampled_after| PodTimes {
        ready,
        age,
        changed_after,
        sampled_after,
    };
    let counts = |pod: &PodTimes| counts(pod, 15.0, 300.0, 30.0);
    assert!(!counts(&pod(true, 20.0, 10.0, 5.0)), "the sample reaches back before readiness");
    assert!(counts(&pod(true, 40.0, 10.0, 15.0)));
    assert!(!counts(&pod(false, 40.0, 10.0, 30.0)), "not ready while it starts");
    assert!(counts(&pod(true, 400.0, 390.0, -5.0)), "old enough: the sample does not matter");
    assert!(!counts(&pod(false, 400.0, 0.0, 300.0)), "never ready");
    assert!(counts(&pod(false, 400.0, 200.0, 100.0)), "was ready once");
}

fn rules(window: Option<f64>, select: Select, policies: &[(PolicyKind, u32, f64)]) -> ScaleRules {
    let policies = policies
        .iter()
        .map(|&(kind, value, period_seconds)| ScalePolicy { kind, value, period_seconds })
        .collect();
    ScaleRules { stabilization_seconds: window, select, policies }
}

fn hpa(change: impl FnOnce(&mut HpaSpec)) -> Hpa {
    let mut spec = HpaSpec { min_replicas: 2, max_replicas: 100, ..HpaSpec::default() };
    change(&mut spec);
    Hpa::new(&spec, &ControllerSpec::default())
}

/// Syncs every 15 s with these asks; the count after each.
fn run(hpa: &mut Hpa, begin: u32, asks: &[Option<u32>]) -> Vec<u32> {
    let mut current = begin;
    asks.iter()
        .zip(0_u32..)
        .map(|(ask, index)| {
            current = hpa.sync(f64::from(index) * 15.0, current, *ask);
            current
        })
        .collect()
}

#[test]
fn by_default_it_doubles_or_adds_four_every_fifteen_seconds() {
    assert_eq!(run(&mut hpa(|_| ()), 2, &[Some(90); 6]), [6, 12, 24, 48, 90, 90]);
}

#[test]
fn by_default_it_waits_five_minutes_before_it_goes_down() {
    let mut asks = vec![Some(10); 2];
    asks.extend([Some(3); 24]);
    let counts = run(&mut hpa(|_| ()), 10, &asks);
    // The last 10 was asked for at 15 s: it holds until 300 s have passed.
    let first = counts.iter().position(|count| *count < 10).unwrap();
    assert_eq!((first * 15, counts[first]), (315, 3));
    // One higher ask in between starts the wait anew.
    asks[12] = Some(8);
    let counts = run(&mut hpa(|_| ()), 10, &asks);
    assert_eq!((counts[20], counts[21], counts[25]), (10, 8, 8));
}

#[test]
fn a_window_upwards_takes_the_lowest_ask() {
    let mut slow = hpa(|spec| spec.scale_up.stabilization_seconds = Some(30.0));
    // What stands counts as asked for at the first sync.
    assert_eq!(run(&mut slow, 4, &[Some(8), Some(8), Some(8), Some(6), Some(9)]), [4, 4, 8, 8, 8]);
}

#[test]
fn policies_count_from_the_beginning_of_their_period() {
    let mut slow = hpa(|spec| {
        spec.scale_up = rules(Some(0.0), Select::Max, &[(PolicyKind::Pods, 3, 60.0)]);
    });
    assert_eq!(run(&mut slow, 4, &[Some(50); 9]), [7, 7, 7, 7, 10, 10, 10, 10, 13]);
    let mut careful = hpa(|spec| {
        spec.scale_down = rules(
            Some(0.0),
            Select::Min,
            &[(PolicyKind::Percent, 10, 30.0), (PolicyKind::Pods, 5, 30.0)],
        );
    });
    // 10 % of 20 is 2, then of 18: to 16 (16.2 cut).
    assert_eq!(run(&mut careful, 20, &[Some(2); 5]), [18, 18, 16, 16, 14]);
}

#[test]
fn a_disabled_direction_stands_still_and_bounds_come_first() {
    let mut fixed = hpa(|spec| spec.scale_down.select = Select::Disabled);
    assert_eq!(run(&mut fixed, 10, &[Some(2); 30]), [10; 30]);
    // Outside the bounds no metric is asked, and no policy applies.
    assert_eq!(hpa(|_| ()).sync(0.0, 300, None), 100);
    assert_eq!(hpa(|_| ()).sync(0.0, 1, None), 2);
    assert_eq!(hpa(|_| ()).sync(0.0, 0, Some(9)), 0);
    assert_eq!(hpa(|_| ()).sync(0.0, 60, Some(900)), 100);
    assert_eq!(hpa(|_| ()).sync(0.0, 5, None), 5);
    let one = hpa(|_| ());
    assert_eq!(
        [0, 1, 2, 100, 101].map(|count| one.reads_metrics(count)),
        [false, false, true, true, false]
    );
}

#[test]
fn the_client_limit_stretches_the_period() {
    let controller = ControllerSpec::default();
    assert_eq!(period(&controller, 1550), 15.0);
    assert_eq!(period(&ControllerSpec { client_qps: 20.0, ..controller }, 1550), 77.5);
    let few = ControllerSpec { concurrent_syncs: 1, ..controller };
    assert_eq!(period(&few, 1550), 31.0);
    assert_eq!([0.0, 0.5, 2.0].map(|part| first_sync(15.0, part)), [0.0, 7.5, 15.0]);
}
