//! A small bank as a snapshot: five domains that share one pool.

use std::sync::Arc;
use std::time::Duration;

use hirl_scale::cluster::{
    App, AppId, AppState, Catalog, Class, Domain, Mode, PolicyChoice, Pool, Signal, SignalKind,
    Slo, Snapshot, Timestamp,
};

/// When the bank opens.
pub(crate) const OPENING: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// The instant of the `tick`-th decision.
pub(crate) fn instant(tick: u32) -> Timestamp {
    OPENING.plus(Duration::from_secs(10) * tick)
}

/// Five domains with `apps` apps each, 20 pods of half a core per app, all measured just now.
/// Load is `load` times what the pods are meant for, a little different for each app.
pub(crate) fn snapshot(apps: usize, load: f64, tick: u32) -> Snapshot {
    let domains = [
        ("payments", Class::P0, 1.0, 0.2),
        ("fraud", Class::P0, 0.9, 0.15),
        ("merchant", Class::P1, 0.8, 0.4),
        ("data", Class::P2, 0.5, 2.0),
        ("platform", Class::P3, 0.3, 1.0),
    ];
    let catalog = Catalog {
        domains: domains
            .map(|(name, class, weight, p99_seconds)| domain(name, class, weight, p99_seconds))
            .to_vec(),
        apps: (0..domains.len())
            .flat_map(|domain| (0..apps).map(move |app| (domain, app)))
            .map(|(domain, app)| {
                let id = AppId::new(&format!("ns-{domain}"), &format!("app-{app:04}"));
                App {
                    target: Arc::clone(&id.hpa),
                    id,
                    kind: "Deployment".into(),
                    domain,
                    min_replicas: 2,
                    max_replicas: 100,
                    tolerance_up: 0.0,
                    tolerance_down: 0.0,
                    target_cpu: 0.7,
                    refusal: None,
                }
            })
            .collect(),
    };
    let at = instant(tick);
    let states = (0..catalog.apps.len()).map(|index| {
        let mut state = AppState {
            spec_replicas: 20,
            status_replicas: 20,
            ready: 20,
            cpu_request: 0.5,
            ..AppState::default()
        };
        let own = load * (1.0 + 0.01 * (index % 7) as f64);
        for (kind, value) in [
            (SignalKind::Rps, 1000.0 * own),
            (SignalKind::P99, 0.1),
            (SignalKind::ErrorRatio, 0.0),
            (SignalKind::Cpu, 7.0 * own),
            (SignalKind::Memory, 4e9),
        ] {
            state.signals[kind] = Signal::good(value, at);
        }
        state
    });
    let cpu = 20.0 * 0.5 * catalog.apps.len() as f64 * 2.0;
    let pool = Pool { name: "general".into(), shared: true, nodes: 100, cpu, memory: 1e15 };
    Snapshot {
        at,
        apps: states.collect(),
        catalog: Arc::new(catalog),
        pools: vec![pool],
        forecasts: Vec::new(),
    }
}

fn domain(name: &str, class: Class, weight: f64, p99_seconds: f64) -> Domain {
    Domain {
        name: name.into(),
        class,
        weight,
        slo: Slo { p99_seconds, error_ratio: 0.01 },
        floor_share: 0.05,
        borrowing: hirl_scale::cluster::LoanLimit::default(),
        lending: hirl_scale::cluster::LoanLimit::default(),
        policy: PolicyChoice::Hirl,
        mode: Mode::Active,
        calls: Vec::new(),
        budget_by_hand: None,
        emergency: None,
    }
}
