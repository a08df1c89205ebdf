//! Our model of the HPA controller against what a running one answered.

use hirl_scale::simulation::hpa::{
    Hpa, PodTimes, Resource, Tolerance, by_our_metric, by_resource, counts, together,
};
use hirl_scale::simulation::scenario::{ControllerSpec, HpaSpec};

use crate::hpa_table::{CPU_MILLI, Case, MEMORY_MIB, State, Table, WINDOW};

#[test]
fn the_model_answers_as_the_controller_did() {
    let table = Table::read().unwrap();
    let controller = table.header.controller;
    let mut wrong = Vec::new();
    for case in &table.cases {
        let spec = table.hpa(case).unwrap();
        let answered: Vec<u32> = case.stood.iter().map(|standing| standing.1).collect();
        let ours = replay(case, &spec, &controller);
        if ours != answered {
            wrong.push(format!("{}: {answered:?}, ours {ours:?}", case.what));
        }
    }
    assert!(!table.cases.is_empty() && wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What our model lets stand at the instants at which the controller read metrics.
fn replay(case: &Case, spec: &HpaSpec, controller: &ControllerSpec) -> Vec<u32> {
    let mut hpa = Hpa::new(spec, controller);
    let mut current = case.replicas;
    if !hpa.reads_metrics(current) {
        current = hpa.sync(-controller.sync_seconds, current, None);
    }
    let mut stood = vec![current];
    for (sync, standing) in case.stood.iter().enumerate().skip(1) {
        let asked = asked(case, spec, controller, sync - 1, current);
        current = hpa.sync(case.stood[sync - 1].0, current, asked);
        stood.push(current);
        assert!(standing.0 > 0.0, "{}: the first read is at 0", case.what);
    }
    stood
}

/// What the metrics of a case ask for in one sync.
fn asked(
    case: &Case,
    spec: &HpaSpec,
    controller: &ControllerSpec,
    sync: usize,
    current: u32,
) -> Option<u32> {
    let tolerance = Tolerance {
        up: spec.tolerance_up.unwrap_or(controller.tolerance),
        down: spec.tolerance_down.unwrap_or(controller.tolerance),
    };
    if let Some(ask) = case.asks.get(sync) {
        let status = case.status.unwrap_or(case.replicas);
        return together(&[ask.map(|ask| by_our_metric(ask, status, tolerance))], current);
    }
    let by = |resource: &Resource, target: f64| {
        by_resource(resource, (target * 100.0).round() as u32, current, tolerance)
    };
    let mut metrics = vec![by(&cpu(case, controller), spec.target_cpu)];
    metrics.extend(spec.target_memory.map(|target| by(&memory(case), target)));
    together(&metrics, current)
}

fn cpu(case: &Case, controller: &ControllerSpec) -> Resource {
    let mut found = Resource { request_milli: CPU_MILLI, ..Resource::default() };
    for pods in &case.pods {
        let (initialization, readiness) =
            (controller.cpu_initialization_seconds, controller.initial_readiness_seconds);
        let ready = |state| match state {
            State::Pending => false,
            State::Running { ready, age, changed_after, sampled_after } => {
                let (age, changed_after) = (f64::from(age), f64::from(changed_after));
                let sampled_after = f64::from(sampled_after);
                let pod = PodTimes { ready, age, changed_after, sampled_after };
                counts(&pod, WINDOW, initialization, readiness)
            }
        };
        add(&mut found, pods.count, pods.state(), pods.cpu_milli, ready(pods.state()));
    }
    found
}

fn memory(case: &Case) -> Resource {
    const MIB_MILLI: u64 = 1_048_576 * 1000;
    let mut found = Resource { request_milli: MEMORY_MIB * MIB_MILLI, ..Resource::default() };
    for pods in &case.pods {
        let usage = pods.memory_mib.map(|mib| mib * MIB_MILLI);
        add(&mut found, pods.count, pods.state(), usage, true);
    }
    found
}

fn add(found: &mut Resource, count: u32, state: State, usage: Option<u64>, ready: bool) {
    match (state, usage) {
        (State::Pending, _) => found.unready += count,
        (_, None) => found.missing += count,
        (_, Some(_)) if !ready => found.unready += count,
        (_, Some(usage)) => {
            found.measured += count;
            found.usage_milli += usage * u64::from(count);
        }
    }
}
