//! The flash sale of the post-mortem through the real HPA controller and the real kube-scheduler, three times: under
//! plain HPAs, under the rule, and under the learned policy, the last two with our metric, the extender, its budgets and
//! priority classes. One report.
//!
//! `tests/data/post-mortem.yaml` takes three minutes for each, so only `HIRL_SCALE=1` (`make e2e-scale`) runs it; with
//! `HIRL_RECORD=1` as well, it writes its report to `tests/data/post-mortem.md`. `HIRL_RUNS=3` plays each three times, in turn.

mod report;

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use hirl_scale::policy::hirl::Model;
use hirl_scale::policy::rules;
use hirl_scale::simulation::Seed;
use hirl_scale::simulation::scenario::{CallSpec, DomainSpec, Scenario};
use serde_json::{Value, json};

use self::report::{Course, Report};
use crate::scenarios::{self, COMPRESSION, Dress, Played, plane, twin_options};
use crate::stage;
use crate::testbed::hirl::{self, Hirl, Place};
use crate::testbed::scheduler::{self, Scheduler, Setup};
use crate::testbed::{Options, Testbed, placing, run};

/// The label by which Domains take their namespaces.
const DOMAIN: &str = "hirl-scale.io/domain";

/// Who scales.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arm {
    /// Stock HPAs on CPU, the default scheduler.
    Plain,
    /// `hirl` with the rule alone, or with the weights that ship.
    Hirl { learned: bool },
}

impl Arm {
    const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain HPAs",
            Self::Hirl { learned: false } => "hirl, the rule",
            Self::Hirl { learned: true } => "hirl, learned",
        }
    }
}

#[test]
fn the_learned_policy_leads_real_hpas_and_the_real_scheduler_through_the_flash_sale() -> Result<()>
{
    if std::env::var_os("HIRL_SCALE").is_none() {
        return Ok(());
    }
    run(async {
        let seed = Seed::root(1);
        let scenario = scenarios::read("post-mortem.yaml", seed)?;
        let runs = match std::env::var("HIRL_RUNS") {
            Ok(runs) => runs.parse().context("HIRL_RUNS is no number")?,
            Err(_) => 1,
        };
        let arms = [Arm::Plain, Arm::Hirl { learned: false }, Arm::Hirl { learned: true }];
        let mut courses = arms.map(|arm| (arm.name(), Vec::new()));
        for _ in 0..runs {
            for (arm, (name, courses)) in arms.into_iter().zip(&mut courses) {
                let course = Box::pin(played(arm, &scenario, seed)).await;
                let course = course.with_context(|| *name)?;
                println!("{name}: weighted breach {:.1}", course.weighted_breach(&scenario));
                courses.push(course);
            }
        }
        let report = Report::new(&scenario, &courses);
        println!("{report}");
        scenarios::keep("post-mortem.md", &report.to_string())?;
        let [plain, _, learned] = [0, 1, 2]
            .map(|arm| report::mean(&courses[arm].1, |it: &Course| it.weighted_breach(&scenario)));
        ensure!(learned < plain, "breach minutes: {learned:.1} learned, {plain:.1} plain");
        Ok(())
    })
}

/// The scenario under an arm.
async fn played(arm: Arm, scenario: &Arc<Scenario>, seed: Seed) -> Result<Course> {
    let options =
        Options { plane: plane(scenario), twin: twin_options(scenario), ..Options::default() };
    let testbed = Box::pin(Testbed::start(options)).await?;
    let (plane, client) = (&testbed.plane, testbed.plane.client());
    let ours = arm != Arm::Plain;
    if ours {
        hirl::install(plane).await?;
        placing::apply_shipped(plane, &["priorityclasses.yaml", "rbac.yaml"]).await?;
    }
    let dress = Dress {
        labels: &[("hirl-scale.io/scheduler", "strict")],
        domain_label: Some(DOMAIN),
        classes: ours,
    };
    let cluster = Played::begin(client, &testbed.twin, (scenario, seed), dress).await?;
    let mut course = Course::new(scenario);
    let Arm::Hirl { learned } = arm else {
        cluster.stock_hpas().await?;
        cluster.play(|row, twin| course.add(scenario, row, twin)).await?;
        return Ok(course);
    };
    let domains: Vec<Value> = scenario.domains.iter().map(|it| object(scenario, it)).collect();
    plane.apply_list(&domains).await?;
    cluster.following_hpas().await?;
    let url = testbed.prometheus.url();
    let own = Model::builtin()?;
    let rule = own.rule().context("the weights name no rule")?;
    let text = |place: &Place| config(place, &url, rule, learned);
    let mut server = Hirl::start(plane, "hirl", text)?;
    server.ready().await?;
    server.register(plane).await?;
    let setup = Setup::new(scheduler::SHIPPED, Some(placing::extender(&server, "strict")));
    let _scheduler = Scheduler::start(plane, scheduler::SHIPPED, &setup).await?;
    // Every pod from here on is placed by the scheduler that asks us, but for the balloons.
    placing::apply_shipped(plane, &["policy.yaml", "balloon/balloon.yaml"]).await?;
    cluster.play(|row, twin| course.add(scenario, row, twin)).await?;

    let faults = server.metric(plane, "hirl_policy_faults_total", "").await?;
    ensure!(faults == 0.0, "{faults} faults of the networks");
    let id = own.id().context("built-in weights have a name")?;
    let named = server.metric(plane, "hirl_policy_weights{", id).await?;
    ensure!((named == 1.0) == learned, "the weights {id} plan: {named}");
    course.verdicts = server.metric(plane, "hirl_extender_verdicts_total", "").await?;
    course.refusals = server.metric(plane, "hirl_extender_refusals_total", "").await?;
    Ok(course)
}

/// A domain of the scenario as a `Domain`.
fn object(scenario: &Scenario, domain: &DomainSpec) -> Value {
    let own = |call: &&CallSpec| call.from == domain.name && call.inline;
    let call = |call: &CallSpec| json!({"to": call.to, "perRequest": call.per_request});
    json!({
        "apiVersion": "hirl-scale.io/v1alpha1", "kind": "Domain",
        "metadata": {"name": domain.name},
        "spec": {
            "class": domain.class.as_str(), "weight": domain.weight,
            "slo": {
                "p99": format!("{}ms", (domain.slo_p99_seconds * 1000.0).round()),
                "errorRatio": domain.slo_error_ratio,
            },
            "namespaceSelector": {"matchLabels": {DOMAIN: domain.name}},
            "floorShare": domain.floor_share, "mode": "Active",
            "calls": scenario.calls.iter().filter(own).map(call).collect::<Vec<_>>(),
        },
    })
}

/// The configuration as it ships, compressed. Without forecasts: they are of minutes of the clock, of which the whole
/// scenario has three.
fn config(place: &Place, prometheus: &str, rule: &rules::Settings, learned: bool) -> String {
    let rule = rules::Settings {
        stabilization_seconds: rule.stabilization_seconds / COMPRESSION,
        budget_seconds: rule.budget_seconds / COMPRESSION,
        ..rule.clone()
    };
    let policy = json!({"policy": rule});
    // A JSON object is a YAML one.
    let policy = policy["policy"].to_string();
    let text = stage::compressed(place, prometheus)
        .replace("{stabilizationSeconds: 8, budgetSeconds: 4}", &policy)
        .replace(
            "hierarchy: {enabled: false}",
            &format!("hierarchy: {{enabled: {learned}, timeScale: {COMPRESSION}}}"),
        );
    format!(
        "{text}forecast: {{enabled: false}}
extender:
  enabled: true
  listen: 127.0.0.1:{}
  clientCaFile: {}
  fenceSeconds: 1
",
        place.spare_port,
        place.cluster_ca.display(),
    )
}
