use std::sync::Arc;

use super::*;
use crate::cluster::{App, AppId, Catalog, Class, Domain, Mode, PolicyChoice, Signal, Signals};

const NOW: Timestamp = Timestamp::from_millis(1_000_000);

fn snapshot(signals: Signals) -> Snapshot {
    let domain = Domain {
        name: "payments".into(),
        class: Class::P0,
        weight: 1.0,
        slo: Slo { p99_seconds: 0.2, error_ratio: 0.01 },
        floor_share: 0.0,
        borrowing: crate::cluster::LoanLimit::default(),
        lending: crate::cluster::LoanLimit::default(),
        policy: PolicyChoice::Hirl,
        mode: Mode::Active,
        calls: Vec::new(),
        budget_by_hand: None,
        emergency: None,
    };
    let apps = vec![App::fixture(AppId::new("bank", "web"), 0)];
    let state = AppState {
        spec_replicas: 4,
        status_replicas: 4,
        ready: 4,
        cpu_request: 0.5,
        signals,
        ..AppState::default()
    };
    Snapshot {
        at: NOW,
        catalog: Arc::new(Catalog { domains: vec![domain], apps }),
        apps: vec![state],
        pools: Vec::new(),
        forecasts: Vec::new(),
    }
}

fn healthy() -> Signals {
    let mut signals = Signals::default();
    for (kind, value) in [
        (SignalKind::Rps, 100.0),
        (SignalKind::P99, 0.1),
        (SignalKind::ErrorRatio, 0.001),
        (SignalKind::Cpu, 1.0),
        (SignalKind::Memory, 4e8),
    ] {
        signals[kind] = Signal::good(value, NOW.minus(std::time::Duration::from_secs(10)));
    }
    signals
}

fn observe(signals: Signals) -> AppObservation {
    Observer::new(Settings::default(), Freshness::default()).observe(&snapshot(signals), NOW).apps
        [0]
}

#[test]
fn fresh_signals_become_ratios_with_their_age() {
    let seen = observe(healthy());
    assert_eq!(seen.utilisation, Some(0.5));
    assert_eq!(seen.latency_ratio, Some(0.5));
    assert_eq!(seen.error_ratio, Some(0.1));
    assert_eq!(seen.cores_per_rps, Some(0.01));
    assert_eq!(seen.age_seconds, Some(10.0));
    assert!(seen.sound && seen.missing.is_none());
}

#[test]
fn an_old_value_is_not_seen_and_is_named() {
    let mut signals = healthy();
    signals[SignalKind::Cpu] = Signal::good(1.0, NOW.minus(std::time::Duration::from_secs(91)));
    let seen = observe(signals);
    assert_eq!((seen.cpu, seen.utilisation), (None, None));
    assert_eq!(seen.missing, Some((SignalKind::Cpu, Fault::Stale)));
    assert!(!seen.sound);
}

#[test]
fn no_traffic_is_no_fault_but_an_absent_latency_is() {
    let mut signals = healthy();
    signals[SignalKind::P99] = Signal::missing(Fault::Idle);
    assert!(observe(signals).sound);
    signals[SignalKind::P99] = Signal::missing(Fault::Absent);
    assert_eq!(observe(signals).missing, Some((SignalKind::P99, Fault::Absent)));
}

#[test]
fn a_partial_answer_is_seen_but_is_not_sound() {
    let mut signals = healthy();
    signals[SignalKind::Rps].fault = Some(Fault::Incomplete);
    let seen = observe(signals);
    assert_eq!(seen.rps, Some(100.0));
    assert!(seen.missing.is_none() && !seen.sound);
}

#[test]
fn a_domain_breaches_by_the_share_of_its_requests() {
    let mut signals = healthy();
    signals[SignalKind::P99] = Signal::good(0.3, NOW);
    let mut observer = Observer::new(Settings::default(), Freshness::default());
    let seen = observer.observe(&snapshot(signals), NOW);
    assert_eq!(seen.domains[0].breaching_share, 1.0);
    assert_eq!(seen.domains[0].rps, 100.0);
}
