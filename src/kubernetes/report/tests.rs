use std::collections::HashMap;

use hyper::{Request, Response};
use kube::client::Body;
use serde_json::{Value, json};
use tower_test::mock;

use super::plan::{About, Note, Write};
use super::write::Failed;
use super::*;
use crate::cluster::Amount;
use crate::cluster::App;
use crate::cluster::AppState;
use crate::cluster::Catalog;
use crate::cluster::Class;
use crate::cluster::Domain;
use crate::cluster::Fault;
use crate::cluster::Mode;
use crate::cluster::PolicyChoice;
use crate::cluster::Refusal;
use crate::cluster::SignalKind;
use crate::cluster::Slo;
use crate::cluster::Snapshot;
use crate::cluster::Timestamp;
use crate::cluster::{BudgetByHand, Declaration};
use crate::cluster::{ForecastSource, Outlook};
use crate::kubernetes::Condition;
use crate::kubernetes::DomainObject;
use crate::kubernetes::DomainStatus;
use crate::kubernetes::Ownership;
use crate::placement;
use crate::safety::AppDecision;
use crate::safety::DomainDecision;
use crate::safety::Evidence;
use crate::safety::Rung;
use crate::safety::{Reason, Reasons};

fn second(count: i64) -> Timestamp {
    Timestamp::from_millis(1_763_769_335_123 + 1000 * count)
}

fn domain(name: &str) -> Domain {
    Domain {
        name: name.to_owned(),
        class: Class::P1,
        weight: 0.5,
        slo: Slo { p99_seconds: 0.2, error_ratio: 0.01 },
        floor_share: 0.0,
        borrowing: crate::cluster::LoanLimit::default(),
        lending: crate::cluster::LoanLimit::default(),
        policy: PolicyChoice::Hirl,
        mode: Mode::Active,
        calls: Vec::new(),
        budget_by_hand: None,
        emergency: None,
    }
}

/// A report on `apps` apps of the domain `shop`, all well, at a second.
fn report(at: i64, apps: usize) -> Decision {
    let app = |number: usize| App {
        id: AppId::new("web", &format!("app-{number:04}")),
        kind: "Deployment".into(),
        target: "app".into(),
        domain: 0,
        min_replicas: 1,
        max_replicas: 100,
        tolerance_up: 0.1,
        tolerance_down: 0.1,
        target_cpu: 0.7,
        refusal: None,
    };
    let decided = AppDecision {
        replicas: Some(21),
        rung: Rung::Policy,
        reasons: Reasons::from_iter([Reason::Cpu]),
        proposed: Some(21.0),
        hpa_equivalent: Some(21),
        current: 20,
        supported_at: second(at),
        lost_to_tolerance: false,
        missing: None,
        evidence: Evidence::default(),
    };
    let share = DomainDecision {
        share: 0.5,
        pool_shares: Vec::new(),
        by_hand: None,
        emergency_until: None,
        budget_cores: Some(100.0),
        used_cores: 10.0,
        shortage_cores: 0.0,
        in_breach: false,
        rungs: [apps as u32, 0, 0, 0],
        refused: 0,
        rejected_share: 0.0,
    };
    Decision {
        epoch: 7,
        sequence: 1,
        at: second(at),
        catalog: Arc::new(Catalog {
            domains: vec![domain("shop"), domain("default")],
            apps: (0..apps).map(app).collect(),
        }),
        apps: vec![decided; apps],
        domains: vec![share.clone(), share],
        reserve_share: 0.1,
        pool_reserves: Vec::new(),
        warm_cores: 0.0,
        spread_cores: 0.0,
        forecasts: Vec::new(),
        weights: None,
    }
}

fn changed(mut report: Decision, change: impl Fn(&mut Decision)) -> Decision {
    change(&mut report);
    report
}

fn stale(report: Decision) -> Decision {
    changed(report, |decision| {
        for app in &mut decision.apps {
            app.rung = Rung::LastGood;
            app.missing = Some((SignalKind::Cpu, Fault::Unreachable));
        }
    })
}

fn shop() -> DomainObject {
    DomainObject {
        name: "shop".to_owned(),
        uid: "uid-1".to_owned(),
        generation: Some(1),
        apps: None,
        conditions: Vec::new(),
        placement: None,
        problem: None,
        contested: Vec::new(),
    }
}

/// These Domains, and nothing else of note; every app has 20 replicas.
fn known(domains: Vec<DomainObject>) -> Known {
    let catalog = report(0, 1_550).catalog;
    let apps = vec![AppState { status_replicas: 20, ..AppState::default() }; catalog.apps.len()];
    Known {
        domains,
        ownership: Ownership::default(),
        bad_annotations: Vec::new(),
        read_intervals: HashMap::new(),
        snapshot: Snapshot {
            at: second(0),
            catalog,
            apps,
            pools: Vec::new(),
            forecasts: Vec::new(),
        },
        refused: None,
        placing: None,
    }
}

/// The same while the domain `shop` uses so many cores of a pool of 100, where its target is 40.
fn placed(cores: u64, most: Option<u64>) -> Known {
    let cpu = |cores: u64| Amount { cpu_milli: 1000 * cores, memory: 0 };
    let pool_use = |domain: &str, bound, target, most| placement::PoolUse {
        pool: Arc::from("general"),
        domain: Arc::from(domain),
        share: 0.0,
        used: cpu(bound),
        target: cpu(target),
        floor: cpu(10),
        most,
        waiting: Amount::ZERO,
        growth: None,
        bound: cpu(bound),
        binding: Amount::ZERO,
        held: Amount::ZERO,
        cap: cpu(100),
        all: cpu(bound),
    };
    let uses = [pool_use("shop", cores, 40, most.map(cpu)), pool_use("default", 0, 60, None)];
    let placing = Placing::of(&uses, &std::collections::BTreeMap::new());
    Known { refused: Some(Vec::new()), placing: Some(placing), ..known(vec![shop()]) }
}

/// The statuses and reasons written, and the reasons of the Events beside them.
fn status(writes: &[Write]) -> Option<(&DomainStatus, Vec<&'static str>)> {
    writes.iter().find_map(|write| match write {
        Write::Status { status, notes, .. } => {
            Some((status, notes.iter().map(|note| note.reason).collect()))
        }
        Write::Event(_) => None,
    })
}

fn condition<'a>(status: &'a DomainStatus, type_: &str) -> &'a Condition {
    status.conditions.iter().find(|one| one.type_ == type_).unwrap()
}

fn events(writes: &[Write]) -> Vec<&Note> {
    writes
        .iter()
        .filter_map(|write| match write {
            Write::Event(note) => Some(note),
            Write::Status { .. } => None,
        })
        .collect()
}

#[test]
fn a_new_domain_gets_its_status_once_and_without_events() {
    let mut planner = Planner::default();
    let writes = planner.plan(&report(0, 3), &known(vec![shop()]));
    let (written, notes) = status(&writes).unwrap();
    assert_eq!((written.apps, written.observed_generation), (Some(3), Some(1)));
    for (type_, holds, reason) in [
        ("Ready", "True", "Managed"),
        ("TelemetryFresh", "True", "TelemetryFresh"),
        ("PolicyHealthy", "True", "PolicyHealthy"),
        ("BudgetSufficient", "True", "BudgetSufficient"),
        ("NamespacesUnambiguous", "True", "NamespacesUnambiguous"),
        ("HpaSyncTimely", "Unknown", "NotRead"),
    ] {
        let found = condition(written, type_);
        assert_eq!((&*found.status, &*found.reason), (holds, reason), "{type_}");
        assert_eq!(found.last_transition_time, "2025-11-21T23:55:35Z");
        assert_eq!(found.observed_generation, Some(1));
    }
    assert!(notes.is_empty(), "{notes:?}");
    assert!(planner.plan(&report(10, 3), &known(vec![shop()])).is_empty());
}

#[test]
fn after_a_start_what_the_object_says_is_not_written_again() {
    let mut before = Planner::default();
    let writes = before.plan(&report(0, 3), &known(vec![shop()]));
    let (written, _) = status(&writes).unwrap();
    let object =
        DomainObject { apps: written.apps, conditions: written.conditions.clone(), ..shop() };
    assert!(Planner::default().plan(&report(900, 3), &known(vec![object])).is_empty());
}

#[test]
fn stale_telemetry_is_written_when_it_lasts_and_again_when_it_ends() {
    let mut planner = Planner::default();
    let all = known(vec![shop()]);
    planner.plan(&report(0, 3), &all);
    assert!(planner.plan(&stale(report(10, 3)), &all).is_empty(), "it may pass");
    assert!(planner.plan(&report(20, 3), &all).is_empty(), "it passed");
    assert!(planner.plan(&stale(report(30, 3)), &all).is_empty());
    let writes = planner.plan(&stale(report(50, 3)), &all);
    let (written, notes) = status(&writes).unwrap();
    for type_ in ["TelemetryFresh", "Ready"] {
        let found = condition(written, type_);
        assert_eq!((&*found.status, &*found.reason), ("False", "TelemetryStale"), "{type_}");
        assert_eq!(found.last_transition_time, "2025-11-21T23:56:25Z");
    }
    assert_eq!(notes, ["TelemetryStale"], "one Event for the whole domain");
    assert_eq!(condition(written, "PolicyHealthy").last_transition_time, "2025-11-21T23:55:35Z");
    assert!(planner.plan(&stale(report(60, 3)), &all).is_empty());

    planner.plan(&report(70, 3), &all);
    let writes = planner.plan(&report(90, 3), &all);
    let (written, notes) = status(&writes).unwrap();
    assert_eq!(condition(written, "Ready").reason, "Managed");
    assert_eq!(notes, ["TelemetryFresh"]);
}

#[test]
fn a_few_apps_without_telemetry_do_not_make_a_domain_stale() {
    let mut planner = Planner::default();
    let few = |count: usize| {
        changed(report(0, 100), |decision| {
            for app in &mut decision.apps[..count] {
                app.rung = Rung::Withheld;
            }
        })
    };
    let writes = planner.plan(&few(5), &known(vec![shop()]));
    assert_eq!(condition(status(&writes).unwrap().0, "TelemetryFresh").status, "True");
    let writes = Planner::default().plan(&few(6), &known(vec![shop()]));
    let (written, notes) = status(&writes).unwrap();
    assert_eq!(condition(written, "TelemetryFresh").status, "False");
    assert_eq!(notes, ["TelemetryStale"]);
}

#[test]
fn each_trouble_has_its_condition() {
    type Change = fn(&mut Decision);
    let cases: [(Change, &str, &str, &str); 4] = [
        (
            |decision| decision.apps[0].missing = Some((SignalKind::P99, Fault::Absent)),
            "TelemetryFresh",
            "TelemetryIncomplete",
            "TelemetryIncomplete",
        ),
        (
            |decision| decision.domains[0].rejected_share = 0.2,
            "TelemetryFresh",
            "ValuesRejected",
            "ValuesRejected",
        ),
        (
            |decision| decision.apps[0].reasons.add(Reason::NotFinite),
            "PolicyHealthy",
            "PolicyNotFinite",
            "PolicyNotFinite",
        ),
        (
            |decision| decision.domains[0].shortage_cores = 4.0,
            "BudgetSufficient",
            "BudgetExhausted",
            "Managed",
        ),
    ];
    for (change, type_, reason, ready) in cases {
        let report = changed(report(0, 3), change);
        let writes = Planner::default().plan(&report, &known(vec![shop()]));
        let (written, notes) = status(&writes).unwrap();
        let found = condition(written, type_);
        assert_eq!((&*found.status, &*found.reason), ("False", reason));
        assert_eq!(condition(written, "Ready").reason, ready);
        assert_eq!(notes, [reason]);
    }
}

#[test]
fn who_forecasts_is_told_and_nothing_where_nobody_does() {
    let outlook =
        |source, why: Option<&str>| Outlook { forecast: None, source, why: why.map(str::to_owned) };
    let told = |planner: &mut Planner, at: i64, outlooks: Vec<Outlook>| {
        let report = changed(report(at, 3), |decision| decision.forecasts.clone_from(&outlooks));
        let writes = planner.plan(&report, &known(vec![shop()]));
        let (written, notes) = status(&writes)?;
        let found = written.conditions.iter().find(|one| one.type_ == "ForecastReady").cloned();
        Some((found, condition(written, "Ready").status.clone(), notes))
    };
    assert_eq!(told(&mut Planner::default(), 0, Vec::new()).unwrap().0, None);

    let mut planner = Planner::default();
    let (found, ..) = told(&mut planner, 0, vec![outlook(ForecastSource::Model, None)]).unwrap();
    let found = found.unwrap();
    assert_eq!((&*found.status, &*found.reason), ("True", "Model"));

    let why = Some("the learned model is not used: it broke off");
    let fallen = vec![outlook(ForecastSource::SeasonalProfile, why)];
    assert!(told(&mut planner, 10, fallen.clone()).is_none(), "it may pass");
    let (found, ready, notes) = told(&mut planner, 30, fallen).unwrap();
    let found = found.unwrap();
    assert_eq!((&*found.status, &*found.reason), ("False", "SeasonalProfile"));
    assert!(found.message.contains("it broke off"), "{}", found.message);
    assert_eq!((&*ready, notes), ("True", vec!["SeasonalProfile"]));
}

#[test]
fn late_hpa_syncs_are_told_with_the_flags_to_raise() {
    let report = report(0, 3);
    let ids = report.catalog.apps.iter().map(|app| app.id.clone());
    let intervals = [15, 78, 80].map(Duration::from_secs);
    let known = Known { read_intervals: ids.zip(intervals).collect(), ..known(vec![shop()]) };
    let writes = Planner::default().plan(&report, &known);
    let (written, _) = status(&writes).unwrap();
    let found = condition(written, "HpaSyncTimely");
    assert_eq!((&*found.status, &*found.reason), ("False", "HpaSyncSlow"));
    assert!(found.message.contains("78 s") && found.message.contains("--kube-api-qps"));
    assert_eq!(condition(written, "Ready").status, "True");
}

#[test]
fn a_spec_that_makes_no_sense_and_a_contested_namespace_are_told_at_once() {
    let mut planner = Planner::default();
    planner.plan(&report(0, 3), &known(vec![shop()]));
    let contest = vec![("web".to_owned(), vec!["other".to_owned(), "shop".to_owned()])];
    let contested = DomainObject { contested: contest, ..shop() };
    let writes = planner.plan(&report(10, 3), &known(vec![contested]));
    let (written, notes) = status(&writes).unwrap();
    assert_eq!(condition(written, "Ready").reason, "NamespaceInSeveralDomains");
    assert!(condition(written, "Ready").message.contains("web is selected by other, shop"));
    assert_eq!(notes, ["NamespaceInSeveralDomains"]);

    let broken =
        DomainObject { problem: Some("weight is 7".to_owned()), generation: Some(2), ..shop() };
    let writes = planner.plan(&report(20, 3), &known(vec![broken.clone()]));
    let (written, notes) = status(&writes).unwrap();
    assert_eq!((written.apps, written.observed_generation), (Some(0), Some(2)));
    let found = condition(written, "Ready");
    assert_eq!((&*found.status, &*found.reason), ("False", "InvalidSpec"));
    assert!(found.message.contains("weight is 7"));
    assert_eq!(condition(written, "TelemetryFresh").status, "Unknown");
    assert_eq!(notes, ["InvalidSpec"]);
    assert!(planner.plan(&report(30, 3), &known(vec![broken])).is_empty());
}

/// The shop with an emergency and a share by hand from second 10 to second 30, as far as the
/// decider finds them to hold.
fn by_hand(at: i64) -> Decision {
    let declaration = Declaration {
        from: second(10),
        until: second(30),
        by: "ann".into(),
        reason: "campaign".into(),
    };
    let until = declaration.holds(second(at)).then_some(declaration.until);
    let mut decision = report(at, 3);
    let mut catalog = (*decision.catalog).clone();
    catalog.domains[0].emergency = Some(declaration.clone());
    let pools = vec![("gpu".to_owned(), 0.25)];
    catalog.domains[0].budget_by_hand = Some(BudgetByHand { share: Some(0.4), pools, declaration });
    decision.catalog = Arc::new(catalog);
    (decision.domains[0].by_hand, decision.domains[0].emergency_until) = (until, until);
    decision
}

#[test]
fn what_is_set_by_hand_is_told_when_it_begins_and_when_it_ends_with_who_and_why() {
    let mut planner = Planner::default();
    let all = known(vec![shop()]);
    let writes = planner.plan(&by_hand(0), &all);
    let (written, _) = status(&writes).unwrap();
    assert!(written.conditions.iter().all(|one| one.type_ != "Emergency"), "never declared");

    let writes = planner.plan(&by_hand(10), &all);
    let (written, notes) = status(&writes).unwrap();
    assert_eq!(notes, ["BudgetSetByHand", "EmergencyDeclared"]);
    let set = condition(written, "BudgetByHand");
    assert_eq!((&*set.status, &*set.reason), ("True", "BudgetSetByHand"));
    for part in ["40.0 % of every shared pool", "25.0 % of \"gpu\"", "by ann: campaign"] {
        assert!(set.message.contains(part), "{}", set.message);
    }
    assert_eq!(condition(written, "Ready").status, "True");
    assert!(planner.plan(&by_hand(20), &all).is_empty(), "told once");

    // Another replica takes over: it finds the conditions and tells nothing again.
    let object =
        DomainObject { apps: written.apps, conditions: written.conditions.clone(), ..shop() };
    let all = known(vec![object]);
    let mut planner = Planner::default();
    assert!(planner.plan(&by_hand(20), &all).is_empty());

    let writes = planner.plan(&by_hand(30), &all);
    let (written, notes) = status(&writes).unwrap();
    assert_eq!(notes, ["BudgetByHandExpired", "EmergencyEnded"]);
    assert_eq!(condition(written, "Emergency").status, "False");
    let Some(Write::Status { notes, .. }) = writes.first() else { panic!("{writes:?}") };
    assert!(notes.iter().all(|note| note.text.contains("by ann: campaign")), "{notes:?}");
    assert!(planner.plan(&by_hand(40), &all).is_empty());
}

#[test]
fn a_status_that_could_not_be_written_is_planned_again() {
    let mut planner = Planner::default();
    let all = known(vec![shop()]);
    let writes = planner.plan(&report(0, 3), &all);
    planner.undo(&writes[0]);
    assert!(status(&planner.plan(&report(10, 3), &all)).is_some());
}

#[test]
fn a_number_lost_to_tolerance_is_told_with_its_arithmetic_once_an_hour() {
    let mut planner = Planner::default();
    let lost = |at| {
        changed(report(at, 1), |decision| {
            decision.apps[0].lost_to_tolerance = true;
        })
    };
    let none = known(Vec::new());
    let writes = planner.plan(&lost(0), &none);
    let notes = events(&writes);
    assert_eq!((notes.len(), notes[0].reason), (1, "LostToTolerance"));
    assert_eq!(notes[0].about, About::Hpa(AppId::new("web", "app-0000")));
    for part in ["21 replicas are wanted of 20", "21/20 = 1.050", "(0.900 to 1.100)"] {
        assert!(notes[0].text.contains(part), "{}", notes[0].text);
    }
    assert!(planner.plan(&lost(10), &none).is_empty());
    assert!(planner.plan(&lost(3599), &none).is_empty());
    assert_eq!(events(&planner.plan(&lost(3600), &none)).len(), 1);
}

#[test]
fn refusals_and_bad_annotations_are_told_on_the_hpa() {
    let mut report = report(0, 2);
    let mut catalog = (*report.catalog).clone();
    catalog.apps[0].refusal = Some(Refusal::ValueTarget);
    catalog.apps[1].refusal = Some(Refusal::Disabled);
    let bad = catalog.apps[1].id.clone();
    report.catalog = Arc::new(catalog);
    let known = Known { bad_annotations: vec![(bad, "7x".to_owned())], ..known(Vec::new()) };
    let writes = Planner::default().plan(&report, &known);
    let told: Vec<(&str, bool)> =
        events(&writes).iter().map(|note| (note.reason, note.warning)).collect();
    assert_eq!(
        told,
        [("ValueTargetUnsupported", true), ("Disabled", false), ("TargetCpuInvalid", true)]
    );
    assert!(events(&writes)[2].text.contains("\"7x\""));
}

#[test]
fn events_on_1550_hpas_at_once_come_at_five_a_second_and_all_come() {
    let mut planner = Planner::default();
    let mut told = HashMap::new();
    let mut rounds = 0;
    while told.len() < 1_550 {
        let report = changed(report(10 * rounds, 1_550), |decision| {
            for app in &mut decision.apps {
                app.lost_to_tolerance = true;
            }
        });
        let writes = planner.plan(&report, &known(Vec::new()));
        let notes = events(&writes);
        assert!(!notes.is_empty() && notes.len() <= 50, "{} in round {rounds}", notes.len());
        for note in notes {
            let About::Hpa(id) = &note.about else { panic!("{note:?}") };
            *told.entry(id.clone()).or_insert(0) += 1;
        }
        rounds += 1;
    }
    assert_eq!(rounds, 31);
    assert!(told.values().all(|count| *count == 1));
}

#[test]
fn a_lost_apiservice_is_told_once_per_usurper() {
    let mut planner = Planner::default();
    let owner = |ownership: Ownership| Known { ownership, ..known(Vec::new()) };
    let other = |service: &str| {
        owner(Ownership::Other { service: service.to_owned(), uid: "u".to_owned() })
    };
    assert!(planner.plan(&report(0, 0), &owner(Ownership::Ours)).is_empty());
    let writes = planner.plan(&report(10, 0), &other("keda/keda"));
    assert_eq!(events(&writes)[0].reason, "MetricOwnershipLost");
    assert!(events(&writes)[0].text.contains("keda/keda"));
    assert!(planner.plan(&report(20, 0), &other("keda/keda")).is_empty());
    assert_eq!(planner.plan(&report(30, 0), &other("datadog/agent")).len(), 1);
    assert!(planner.plan(&report(40, 0), &owner(Ownership::Ours)).is_empty());
    assert_eq!(planner.plan(&report(50, 0), &other("keda/keda")).len(), 1);
}

/// Writes one thing to a scripted API server; tells the requests it got.
async fn written(write: &Write, answers: Vec<(u16, Value)>) -> (Vec<Value>, Result<(), Failed>) {
    let (service, mut server) = mock::pair::<Request<Body>, Response<Body>>();
    let writer = Writer::new(Client::new(service, "default"), "pod-1".to_owned());
    let serve = async {
        let mut seen = Vec::new();
        for (code, answer) in answers {
            let (request, reply) = server.next_request().await.unwrap();
            let (head, body) = request.into_parts();
            let body = body.collect_bytes().await.unwrap();
            seen.push(json!({
                "method": head.method.as_str(),
                "path": head.uri.path(),
                "type": head.headers["content-type"].to_str().unwrap(),
                "body": serde_json::from_slice::<Value>(&body).unwrap(),
            }));
            let answer = Body::from(serde_json::to_vec(&answer).unwrap());
            reply.send_response(Response::builder().status(code).body(answer).unwrap());
        }
        seen
    };
    let uid = |_: &AppId| Some(Arc::from("uid-9"));
    let (result, seen) = tokio::join!(writer.write(write, uid), serve);
    (seen, result)
}

#[tokio::test]
async fn a_status_is_a_merge_patch_of_the_subresource_and_its_events_follow() {
    let mut planner = Planner::default();
    let broken = DomainObject { problem: Some("weight is 7".to_owned()), ..shop() };
    let writes = planner.plan(&report(0, 1), &known(vec![broken]));
    let domain = json!({"metadata": {"name": "shop"}, "spec": {"weight": "what"}});
    let event = json!({"metadata": {}, "eventTime": null});
    let (seen, result) = written(&writes[0], vec![(200, domain), (201, event)]).await;
    result.unwrap();
    assert_eq!(seen[0]["method"], "PATCH");
    assert_eq!(seen[0]["path"], "/apis/hirl-scale.io/v1alpha1/domains/shop/status");
    assert_eq!(seen[0]["type"], "application/merge-patch+json");
    let body = seen[0]["body"].as_object().unwrap();
    assert_eq!(body.keys().collect::<Vec<_>>(), ["status"]);
    assert_eq!(body["status"]["conditions"].as_array().unwrap().len(), 6);
    assert_eq!(seen[1]["path"], "/apis/events.k8s.io/v1/namespaces/default/events");
    assert_eq!(seen[1]["body"]["regarding"]["kind"], "Domain");
    assert_eq!(seen[1]["body"]["regarding"]["uid"], "uid-1");
}

#[tokio::test]
async fn an_event_has_every_field_that_the_api_demands() {
    let note = Note {
        about: About::Hpa(AppId::new("web", "shop")),
        warning: true,
        reason: "NoTarget",
        text: "\u{e4}".repeat(2_000),
    };
    let event = json!({"metadata": {}, "eventTime": null});
    let (seen, result) = written(&Write::Event(note), vec![(201, event)]).await;
    result.unwrap();
    assert_eq!(seen[0]["path"], "/apis/events.k8s.io/v1/namespaces/web/events");
    let body = &seen[0]["body"];
    assert!(body["metadata"]["name"].as_str().unwrap().starts_with("shop."));
    assert_eq!(body["type"], "Warning");
    assert_eq!(body["reason"], "NoTarget");
    assert_eq!(body["action"], "Deciding");
    assert_eq!(body["reportingController"], "hirl-scale.io/hirl");
    assert_eq!(body["reportingInstance"], "pod-1");
    assert_eq!(body["note"].as_str().unwrap().len(), 1024);
    assert!(body["eventTime"].is_string());
    assert_eq!(
        body["regarding"],
        json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "namespace": "web", "name": "shop", "uid": "uid-9"})
    );
}

#[tokio::test]
async fn a_refused_write_is_told_apart_from_a_server_in_trouble() {
    let note = Note {
        about: About::Hpa(AppId::new("web", "shop")),
        warning: false,
        reason: "Disabled",
        text: String::new(),
    };
    for (code, refused) in [(403, true), (404, true), (429, false), (500, false)] {
        let problem = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
            "message": "no", "reason": "No", "code": code});
        let (_, result) = written(&Write::Event(note.clone()), vec![(code, problem)]).await;
        assert_eq!(matches!(result, Err(Failed::Refused(_))), refused, "{code}");
        assert!(result.is_err());
    }
}

#[test]
fn pods_without_budget_are_told_once_when_it_begins_and_once_when_it_ends() {
    let mut planner = Planner::default();
    let refusal = placement::Refusal::Budget {
        domain: Arc::from("shop"),
        resource: placement::Resource::Cpu,
    };
    let mut told = Vec::new();
    for (at, refused) in [(0, false), (10, true), (20, true), (30, true), (40, false), (60, false)]
    {
        let refused = if refused { vec![refusal.clone()] } else { Vec::new() };
        let known = Known { refused: Some(refused), ..known(vec![shop()]) };
        for write in planner.plan(&report(at, 1_550), &known) {
            if let Write::Status { notes, .. } = write {
                told.extend(notes.into_iter().map(|note| (at, note.warning, note.reason)));
            }
        }
    }
    let about: Vec<_> =
        told.into_iter().filter(|(_, _, reason)| reason.contains("Refused")).collect();
    assert_eq!(about, [(30, true, "PodsRefused"), (60, false, "NoPodRefused")]);
}

#[test]
fn use_of_the_pools_is_written_when_it_moved_and_at_most_every_15_seconds() {
    let mut planner = Planner::default();
    let mut told = Vec::new();
    for (at, cores) in
        [(0, 50), (5, 52), (20, 52), (30, 54), (35, 90), (44, 95), (45, 96), (300, 97), (600, 96)]
    {
        let writes = planner.plan(&report(at, 3), &placed(cores, None));
        let used = status(&writes).and_then(|(status, _)| status.placement.as_ref());
        told.extend(used.map(|placement| (at, placement.used.clone())));
    }
    let told: Vec<(i64, &str)> = told.iter().map(|(at, used)| (*at, &**used)).collect();
    assert_eq!(told, [(0, "50"), (30, "54"), (45, "96")]);
}

#[test]
fn use_of_the_pools_stays_without_its_owner_and_goes_with_the_extender() {
    let mut planner = Planner::default();
    let writes = planner.plan(&report(0, 3), &placed(50, None));
    let written = status(&writes).unwrap().0.placement.clone().unwrap();
    assert_eq!((&*written.target, &*written.borrowed, &*written.lent), ("40", "10", "0"));
    assert_eq!((&*written.growth, &*written.growth_source), ("unlimited", "Nodes"));
    let warming = |at| Known { placing: None, ..placed(at, None) };
    assert!(planner.plan(&report(60, 3), &warming(90)).is_empty());
    let writes = planner.plan(&report(70, 4), &warming(90));
    assert_eq!(status(&writes).unwrap().0.placement, Some(written.clone()), "with the apps");
    let writes = planner.plan(&report(80, 4), &known(vec![shop()]));
    assert_eq!(status(&writes).unwrap().0.placement, None);

    // After a start the object knows what was written.
    let conditions = status(&writes).unwrap().0.conditions.clone();
    let object = DomainObject { apps: Some(4), conditions, placement: Some(written), ..shop() };
    let same = |cores| Known { domains: vec![object.clone()], ..placed(cores, None) };
    let mut planner = Planner::default();
    planner.plan(&report(100, 4), &same(50));
    assert!(planner.plan(&report(110, 4), &same(51)).is_empty());
    let writes = planner.plan(&report(120, 4), &same(53));
    assert_eq!(status(&writes).unwrap().0.placement.as_ref().unwrap().used, "53");
    planner.undo(&writes[0]);
    let writes = planner.plan(&report(121, 4), &same(53));
    assert_eq!(status(&writes).unwrap().0.placement.as_ref().unwrap().used, "53", "tried again");
}

#[tokio::test]
async fn a_status_without_use_of_the_pools_takes_away_what_stood_there() {
    let domain = json!({"metadata": {"name": "shop"}, "spec": {"weight": "what"}});
    for (known, used) in [(known(vec![shop()]), Value::Null), (placed(50, None), json!("50"))] {
        let writes = Planner::default().plan(&report(0, 1), &known);
        let (seen, result) = written(&writes[0], vec![(200, domain.clone())]).await;
        result.unwrap();
        let status = seen[0]["body"]["status"].as_object().unwrap();
        assert!(status.contains_key("placement"));
        assert_eq!(status["placement"]["used"], used);
    }
}

#[test]
fn floors_that_exceed_the_pools_are_told_on_the_domains_that_have_one() {
    let mut planner = Planner::default();
    let all = known(vec![shop(), DomainObject { name: "default".to_owned(), ..shop() }]);
    let floors = |at, floor: f64| {
        let mut report = report(at, 3);
        let mut catalog = (*report.catalog).clone();
        catalog.domains[0].floor_share = floor;
        report.catalog = Arc::new(catalog);
        report
    };
    let told = |writes: Vec<Write>| -> Vec<(String, Vec<Note>)> {
        let statuses = writes.into_iter().filter_map(|write| match write {
            Write::Status { domain, notes, .. } => Some((domain, notes)),
            Write::Event(_) => None,
        });
        statuses.filter(|(_, notes)| !notes.is_empty()).collect()
    };
    let writes = planner.plan(&floors(0, 0.9), &all);
    let (written, _) = status(&writes).unwrap();
    assert!(written.conditions.iter().all(|one| one.type_ != "FloorsScaled"));
    let news = told(planner.plan(&floors(10, 0.95), &all));
    let [(domain, notes)] = &news[..] else { panic!("{news:?}") };
    assert_eq!((&**domain, notes[0].reason, notes[0].warning), ("shop", "FloorsExceedPools", true));
    for part in ["95.0 %", "90.0 % is left", "higher classes are kept first"] {
        assert!(notes[0].text.contains(part), "{}", notes[0].text);
    }
    assert!(told(planner.plan(&floors(20, 0.95), &all)).is_empty());
    let writes = planner.plan(&floors(30, 0.5), &all);
    let found = condition(status(&writes).unwrap().0, "FloorsScaled");
    assert_eq!((&*found.status, &*found.reason), ("False", "FloorsFit"));
    assert!(!told(writes)[0].1[0].warning, "it has ended");
}

#[test]
fn use_above_a_limit_of_borrowing_is_told_when_it_lasts_and_until_the_limit_is_kept() {
    let mut planner = Planner::default();
    let mut told = Vec::new();
    for (at, known) in [
        (0, placed(60, None)),
        (10, placed(60, Some(50))),
        (30, placed(60, Some(50))),
        (40, Known { placing: None, ..placed(60, Some(50)) }),
        (50, placed(40, Some(50))),
        (70, placed(40, None)),
    ] {
        let writes = planner.plan(&report(at, 3), &known);
        let Some((written, notes)) = status(&writes) else { continue };
        let found = written.conditions.iter().find(|one| one.type_ == "BorrowingWithinLimit");
        told.push((at, found.map(|one| one.status.clone()), notes));
    }
    let told: Vec<_> =
        told.iter().map(|(at, one, notes)| (*at, one.as_deref(), &**notes)).collect();
    let wanted = [
        (0, None, &[][..]),
        (10, Some("False"), &["AboveBorrowingLimit"][..]),
        (50, Some("False"), &[][..]),
        (70, Some("True"), &["WithinLimit"][..]),
    ];
    assert_eq!(told, wanted);
}
