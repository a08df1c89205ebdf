//! The pure decision pass: one thread, no I/O, signals that change from pass to pass.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use hirl_scale::cluster::{
    App, AppId, AppState, Catalog, Class, Domain, Freshness, Mode, PolicyChoice, Pool, Signal,
    SignalKind, Slo, Snapshot, Timestamp,
};
use hirl_scale::observation;
use hirl_scale::pilot::Pilot;
use hirl_scale::policy::hirl::network::{CommanderBatch, SoldierBatch};
use hirl_scale::policy::hirl::{self, CommanderView, GROUPS, Hirl, Model, SoldierView};
use hirl_scale::policy::{Policy, Rules, rules};
use hirl_scale::safety;
use serde_json::json;

use crate::report::{Report, quantile};
use crate::{APPS, DOMAINS};

/// Passes that are timed: 8 hours of decisions, and about ten seconds of work.
const PASSES: u32 = 3000;
/// Passes before that: histories fill and budgets settle.
const WARM_UP: u32 = 100;
/// Between two decisions, as shipped.
const TICK: Duration = Duration::from_secs(10);
/// CPU request of a pod, in cores.
const REQUEST: f64 = 0.5;
/// CPU of a request, in core-seconds.
const COST: f64 = 0.004;

/// Times the rule and the learned hierarchy on top of it, with the built-in weights and on this thread.
pub(crate) fn run(report: &mut Report) -> Result<()> {
    timed(report, "the rule", Box::new(Rules::new(rules::Settings::default())))?;
    let model = Arc::new(Model::builtin()?);
    let rule = model.rule().cloned().unwrap_or_default();
    let learned = Hirl::new(hirl::Settings::default(), rule, Box::new(model));
    timed(report, "Commander and Soldiers", Box::new(learned))?;
    alone(report)
}

/// The networks without their views, on inputs that `onnxruntime_peer.py` makes as well.
fn alone(report: &mut Report) -> Result<()> {
    let apps = APPS / DOMAINS;
    let model = Model::builtin()?;
    let soldier = |domain: usize| SoldierView {
        domain,
        features: part(domain),
        members: (0..apps).collect(),
        apps: (0..apps).map(|app| part(domain * apps + app)).collect(),
        shapes: (0..apps).map(|app| part(domain * apps + app)).collect(),
        groups: (0..apps).map(|app| app % GROUPS).collect(),
        at_risk: vec![true; apps],
        cores: vec![1.0; apps],
    };
    let views: Vec<SoldierView> = (0..DOMAINS).map(soldier).collect();
    let above = CommanderView {
        domains: (0..DOMAINS).map(part).collect(),
        features: (0..DOMAINS).map(part).collect(),
        // The peer knows of no calls.
        calls: vec![vec![0.0; DOMAINS]; DOMAINS],
    };
    let (mut times, mut answers) = (Vec::new(), Vec::new());
    for _ in 0..400 {
        let begun = Instant::now();
        let said = model.commander.forward(&CommanderBatch::new(&[&above])?)?;
        let ordered = model.soldier.say(&SoldierBatch::new(&views.iter().collect::<Vec<_>>())?)?;
        let all = [
            &said.shares,
            &said.headroom,
            &said.urgency,
            &ordered.steps,
            &ordered.splits,
            &ordered.velocity,
        ];
        answers.clear();
        for tensor in all {
            answers.extend(tensor.flatten_all()?.to_vec1::<f32>()?);
        }
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    for (name, at) in [("p50", 0.5), ("p99", 0.99)] {
        let name = format!(
            "Commander and Soldiers, {DOMAINS} domains of {apps} apps, networks alone {name}"
        );
        report.figure(&name, quantile(&times, at), "ms", None)?;
    }
    report.record(&json!({"domains": DOMAINS, "apps": apps, "answers": answers}))
}

/// Part `index` of a sine.
fn part<const N: usize>(index: usize) -> [f32; N] {
    std::array::from_fn(|place| (0.5 * (0.1 * (index * N + place) as f64).sin()) as f32)
}

/// Times a policy over a day-like load whose replicas follow each decision at once.
fn timed(report: &mut Report, name: &str, policy: Box<dyn Policy>) -> Result<()> {
    report.title(&format!(
        "Decision pass: Pilot::decide with {name}, {APPS} apps in {DOMAINS} domains, one thread, {PASSES} passes"
    ));
    let mut pilot = Pilot::new(
        observation::Settings::default(),
        Freshness::default(),
        policy,
        safety::Settings::default(),
        1,
    );
    let mut snapshot = world();
    let mut times = Vec::with_capacity(PASSES as usize);
    let mut changes = 0;
    for pass in 0..WARM_UP + PASSES {
        let now = Timestamp::default().plus(TICK * (pass + 1));
        measure(&mut snapshot, pass, now);
        let started = Instant::now();
        let decision = pilot.decide(&snapshot, now);
        let took = started.elapsed();
        if pass >= WARM_UP {
            times.push(took.as_secs_f64() * 1e3);
        }
        for (state, decided) in snapshot.apps.iter_mut().zip(&decision.apps) {
            ensure!(decided.replicas.is_some(), "the rule withheld a number on fresh evidence");
            let wanted = decided.replicas.unwrap_or_default();
            changes += u32::from(wanted != state.spec_replicas);
            state.spec_replicas = wanted;
            state.status_replicas = wanted;
            state.ready = wanted;
        }
    }
    times.sort_by(f64::total_cmp);
    let (median, p99) = (quantile(&times, 0.5), quantile(&times, 0.99));
    report.figure(&format!("decision pass of {name}, median"), median, "ms", Some("<= 20 ms"))?;
    report.figure(&format!("decision pass of {name}, p99"), p99, "ms", Some("<= 20 ms"))?;
    report.figure(
        &format!("decision pass of {name}, median per app"),
        median * 1e6 / APPS as f64,
        "ns",
        None,
    )?;
    report.note(&format!(
        "{:.1} apps changed their count per pass",
        f64::from(changes) / f64::from(WARM_UP + PASSES)
    ));
    Ok(())
}

/// Five domains of every class that share one pool, a little too small at the peak.
fn world() -> Snapshot {
    let classes = [Class::P0, Class::P1, Class::P1, Class::P2, Class::P3];
    let domains = (0..DOMAINS).map(|index| Domain {
        name: format!("domain-{index}"),
        class: classes[index % classes.len()],
        weight: 1.0 / DOMAINS as f64,
        slo: Slo { p99_seconds: 0.2, error_ratio: 0.01 },
        floor_share: 0.05,
        borrowing: hirl_scale::cluster::LoanLimit::default(),
        lending: hirl_scale::cluster::LoanLimit::default(),
        policy: PolicyChoice::Hirl,
        mode: Mode::Active,
        calls: Vec::new(),
        budget_by_hand: None,
        emergency: None,
    });
    let mut apps: Vec<App> = (0..APPS)
        .map(|index| {
            let id = AppId::new(&format!("ns-{}", index % DOMAINS), &format!("app-{index:04}"));
            App {
                target: Arc::clone(&id.hpa),
                id,
                kind: "Deployment".into(),
                domain: index % DOMAINS,
                min_replicas: 2,
                max_replicas: 40,
                tolerance_up: 0.0,
                tolerance_down: 0.0,
                target_cpu: 0.7,
                refusal: None,
            }
        })
        .collect();
    apps.sort_by(|a, b| a.id.cmp(&b.id));
    let state = AppState {
        spec_replicas: 6,
        status_replicas: 6,
        ready: 6,
        cpu_request: REQUEST,
        memory_request: 512.0 * 1_048_576.0,
        ..AppState::default()
    };
    Snapshot {
        at: Timestamp::default(),
        apps: vec![state; apps.len()],
        catalog: Arc::new(Catalog { domains: domains.collect(), apps }),
        pools: vec![Pool {
            name: "general".to_owned(),
            shared: true,
            nodes: 160,
            cpu: 160.0 * 32.0,
            memory: 160.0 * 128.0 * 1_073_741_824.0,
        }],
        forecasts: Vec::new(),
    }
}

/// New readings for every signal: a wave an hour long, a phase per app, and noise.
fn measure(snapshot: &mut Snapshot, pass: u32, now: Timestamp) {
    snapshot.at = now;
    let at = now.minus(Duration::from_secs(5));
    for (index, state) in snapshot.apps.iter_mut().enumerate() {
        let hours = f64::from(pass) * TICK.as_secs_f64() / 3600.0;
        let phase = index as f64 * 0.37;
        let noise = noise(u64::from(pass) << 32 | index as u64);
        let wave = 1.0 + 0.6 * (std::f64::consts::TAU * hours + phase).sin() + 0.1 * noise;
        let rps = 400.0 * wave;
        let cores = rps * COST;
        let load = cores / (f64::from(state.ready) * REQUEST);
        let memory = f64::from(state.ready) * (256.0 * 1_048_576.0 + rps * 1000.0);
        for (kind, value) in [
            (SignalKind::Rps, rps),
            (SignalKind::P99, 0.05 / (1.05 - load.min(1.0))),
            (SignalKind::ErrorRatio, (load - 1.0).max(0.0)),
            (SignalKind::Cpu, cores.min(f64::from(state.ready) * REQUEST * 2.0)),
            (SignalKind::Memory, memory),
        ] {
            state.signals[kind] = Signal::good(value, at);
        }
    }
}

/// -1 to 1, the same for the same `seed` (`SplitMix64`).
fn noise(seed: u64) -> f64 {
    let mut word = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((word ^ (word >> 31)) >> 11) as f64 / f64::from(1_u32 << 26) / f64::from(1_u32 << 26) - 1.0
}
