use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;
use crate::cluster::Class;
use crate::cluster::Mode;

const NOW: Timestamp = Timestamp::from_millis(1_763_769_335_000);

fn read<T: DeserializeOwned>(object: Value) -> T {
    serde_json::from_value(object).unwrap()
}

fn empty() -> Index {
    Index::new(Settings::default())
}

/// Lays `change` over `whole`, key by key; null takes a key away.
fn merged(mut whole: Value, change: Value) -> Value {
    match (&mut whole, change) {
        (Value::Object(old), Value::Object(new)) => {
            for (key, value) in new {
                let below = old.remove(&key).unwrap_or(Value::Null);
                if !value.is_null() {
                    old.insert(key, merged(below, value));
                }
            }
            whole
        }
        (_, change) => change,
    }
}

fn hpa(namespace: &str, name: &str, change: Value) -> objects::Hpa {
    let whole = json!({
        "metadata": {"namespace": namespace, "name": name, "uid": format!("uid-{name}")},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": 2, "maxReplicas": 20,
            "metrics": [{"type": "External", "external": {
                "metric": {"name": "hirl-desired-replicas", "selector": {"matchLabels": {"target": name}}},
                "target": {"type": "AverageValue", "averageValue": "1"}}}]
        }
    });
    read(merged(whole, change))
}

fn deployment(namespace: &str, name: &str, change: Value) -> objects::Workload {
    let whole = json!({
        "metadata": {"namespace": namespace, "name": name},
        "spec": {
            "replicas": 3, "selector": {"matchLabels": {"app": name}},
            "template": {"spec": {"containers": [{"resources": {"requests": {"cpu": "200m", "memory": "100"}}}]}}
        },
        "status": {"replicas": 3, "updatedReplicas": 3}
    });
    read(merged(whole, change))
}

fn pod(namespace: &str, name: &str, app: &str, change: Value) -> objects::Pod {
    let whole = json!({
        "metadata": {"namespace": namespace, "name": name, "labels": {"app": app, "hash": "x"}},
        "spec": {"containers": [{"resources": {"requests": {"cpu": "500m", "memory": "1Mi"}}}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    });
    read(merged(whole, change))
}

fn namespace(name: &str, domain: &str) -> PartialObjectMeta<Namespace> {
    read(json!({"metadata": {"name": name, "labels": {"domain": domain}}}))
}

fn domain(name: &str, change: Value) -> DeserializeGuard<Domain> {
    let whole = json!({
        "apiVersion": "hirl-scale.io/v1alpha1", "kind": "Domain",
        "metadata": {"name": name, "uid": "u", "generation": 1},
        "spec": {
            "class": "P0", "weight": 1, "slo": {"p99": "200ms", "errorRatio": 0.001},
            "namespaceSelector": {"matchLabels": {"domain": name}}
        }
    });
    read(merged(whole, change))
}

/// One managed Deployment `shop/web` with one ready pod.
fn shop() -> Index {
    let mut index = empty();
    index.on_namespace(Event::Apply(namespace("shop", "payments")));
    index.on_hpa(Event::Apply(hpa("shop", "web", json!({}))));
    index.on_workload(Kind::Deployment, Event::Apply(deployment("shop", "web", json!({}))));
    index.on_pod(Event::Apply(pod("shop", "web-1", "web", json!({}))));
    index
}

fn only(index: &mut Index) -> (App, AppState) {
    let snapshot = index.snapshot(NOW);
    assert_eq!(snapshot.catalog.apps.len(), 1);
    (snapshot.catalog.apps[0].clone(), snapshot.apps[0].clone())
}

#[test]
fn an_app_is_what_its_hpa_its_target_and_its_pods_say() {
    let (app, state) = only(&mut shop());
    assert_eq!(app.id, AppId::new("shop", "web"));
    assert_eq!((&*app.kind, &*app.target), ("Deployment", "web"));
    assert_eq!((app.min_replicas, app.max_replicas), (2, 20));
    assert_eq!((app.tolerance_up, app.tolerance_down, app.target_cpu), (0.1, 0.1, 0.7));
    assert_eq!(app.refusal, None);
    let wanted = AppState {
        spec_replicas: 3,
        status_replicas: 3,
        ready: 1,
        pending: 0,
        rolling_out: false,
        cpu_request: 0.5,
        memory_request: 1_048_576.0,
        signals: Signals::default(),
    };
    assert_eq!(state, wanted);
}

#[test]
fn only_an_hpa_that_names_our_metric_is_managed() {
    let mut index = empty();
    let metric = |name: &str| {
        json!({"spec": {"metrics": [{"external": {
            "metric": {"name": name}, "target": {"averageValue": "1"}}}]}})
    };
    index.on_hpa(Event::Apply(hpa("shop", "web", metric("queue-length"))));
    assert!(index.snapshot(NOW).catalog.apps.is_empty());
    index.on_hpa(Event::Apply(hpa("shop", "web", metric("hirl-desired-replicas"))));
    assert_eq!(index.snapshot(NOW).catalog.apps.len(), 1);
    // Adopted, then given back.
    index.on_hpa(Event::Apply(hpa("shop", "web", metric("queue-length"))));
    assert!(index.snapshot(NOW).catalog.apps.is_empty());
}

#[test]
fn minimum_tolerance_and_target_cpu_come_from_the_hpa_where_it_states_them() {
    let cpu = |percent: u32| json!({"resource": {"name": "cpu", "target": {"averageUtilization": percent}}});
    let ours = json!({"external": {
        "metric": {"name": "hirl-desired-replicas"}, "target": {"averageValue": "1"}}});
    for (change, wanted) in [
        (json!({"spec": {"minReplicas": null}}), (1, 0.1, 0.1, 0.7)),
        (
            json!({"spec": {"behavior": {"scaleUp": {"tolerance": "0"}, "scaleDown": {"tolerance": "50m"}}}}),
            (2, 0.0, 0.05, 0.7),
        ),
        (
            json!({"metadata": {"annotations": {"hirl-scale.io/target-cpu": "55"}}}),
            (2, 0.1, 0.1, 0.55),
        ),
        (
            json!({"metadata": {"annotations": {"hirl-scale.io/target-cpu": "55%"}}}),
            (2, 0.1, 0.1, 0.55),
        ),
        (json!({"spec": {"metrics": [ours.clone(), cpu(60)]}}), (2, 0.1, 0.1, 0.6)),
        (
            json!({"metadata": {"annotations": {"hirl-scale.io/target-cpu": "80"}},
                "spec": {"metrics": [cpu(60), ours]}}),
            (2, 0.1, 0.1, 0.8),
        ),
    ] {
        let mut index = shop();
        index.on_hpa(Event::Apply(hpa("shop", "web", change.clone())));
        let (app, _) = only(&mut index);
        let found = (app.min_replicas, app.tolerance_up, app.tolerance_down, app.target_cpu);
        assert_eq!(found, wanted, "{change}");
        assert!(index.bad_annotations().is_empty());
    }
    for text in ["0", "101", "abc", "", "-5", "70%%", "7e1", "NaN"] {
        let mut index = shop();
        let change = json!({"metadata": {"annotations": {"hirl-scale.io/target-cpu": text}}});
        index.on_hpa(Event::Apply(hpa("shop", "web", change)));
        assert_eq!(only(&mut index).0.target_cpu, 0.7, "{text}");
        assert_eq!(index.bad_annotations(), [(AppId::new("shop", "web"), text.to_owned())]);
    }
}

#[test]
fn every_refusal_has_its_cause() {
    let target = |target: Value| {
        json!({"spec": {"metrics": [{"external": {
            "metric": {"name": "hirl-desired-replicas"}, "target": target}}]}})
    };
    let reference = |kind: &str, version: &str| json!({"spec": {"scaleTargetRef": {"kind": kind, "apiVersion": version}}});
    let fine = json!({});
    let at_zero = json!({"spec": {"replicas": 0}});
    for (hpa_change, target_change, wanted) in [
        (fine.clone(), fine.clone(), None),
        (target(json!({"averageValue": "1000m"})), fine.clone(), None),
        (target(json!({"type": "Value", "value": "1"})), fine.clone(), Some(Refusal::ValueTarget)),
        (
            target(json!({"averageValue": "2"})),
            fine.clone(),
            Some(Refusal::AverageValueNotOne("2".to_owned())),
        ),
        (reference("Deployment", "example.com/v1"), fine.clone(), Some(Refusal::NoTarget)),
        (reference("ReplicaSet", "apps/v1"), fine.clone(), Some(Refusal::NoTarget)),
        (reference("StatefulSet", "apps/v1"), fine.clone(), Some(Refusal::NoTarget)),
        (fine.clone(), at_zero.clone(), Some(Refusal::Disabled)),
        (
            json!({"status": {"conditions": [{"type": "ScaledToZero", "status": "True"}]}}),
            at_zero,
            None,
        ),
    ] {
        let mut index = shop();
        index.on_hpa(Event::Apply(hpa("shop", "web", hpa_change.clone())));
        let object = deployment("shop", "web", target_change);
        index.on_workload(Kind::Deployment, Event::Apply(object));
        assert_eq!(only(&mut index).0.refusal, wanted, "{hpa_change}");
    }
}

#[test]
fn a_refusal_comes_and_goes_with_its_cause() {
    let mut index = shop();
    let first = index.snapshot(NOW).catalog;
    index.on_workload(Kind::Deployment, Event::Delete(deployment("shop", "web", json!({}))));
    assert_eq!(only(&mut index).0.refusal, Some(Refusal::NoTarget));
    index.on_workload(Kind::Deployment, Event::Apply(deployment("shop", "web", json!({}))));
    let (app, state) = only(&mut index);
    assert_eq!((app.refusal, state.ready), (None, 1), "its pods are found again");
    let idle = json!({"spec": {"containers": [{"resources": {"requests": {"cpu": null}}}]}});
    index.on_pod(Event::Apply(pod("shop", "web-1", "web", idle)));
    assert_eq!(only(&mut index).0.refusal, Some(Refusal::NoCpuRequest));
    assert_eq!(first.apps[0].refusal, None, "a catalog that was given out never changes");
}

#[test]
fn two_hpas_on_one_target_are_both_refused_and_name_each_other() {
    let mut index = shop();
    let other = hpa("shop", "web-2", json!({"spec": {"scaleTargetRef": {"name": "web"}}}));
    index.on_hpa(Event::Apply(other.clone()));
    let refusals: Vec<Option<Refusal>> =
        index.snapshot(NOW).catalog.apps.iter().map(|app| app.refusal.clone()).collect();
    let shared = |name: &str| Some(Refusal::SharedTarget(name.to_owned()));
    assert_eq!(refusals, [shared("web-2"), shared("web")]);
    index.on_hpa(Event::Delete(other));
    assert_eq!(only(&mut index).0.refusal, None);
}

#[test]
fn a_namespace_in_two_domains_is_refused_and_both_domains_say_so() {
    let mut index = shop();
    index.on_domain(Event::Apply(domain("payments", json!({}))));
    let snapshot = index.snapshot(NOW);
    assert_eq!(snapshot.catalog.domains[snapshot.catalog.apps[0].domain].name, "payments");

    let everything = json!({"spec": {"namespaceSelector": {"matchLabels": null}}});
    index.on_domain(Event::Apply(domain("fraud", everything)));
    let (app, _) = only(&mut index);
    let both = vec!["fraud".to_owned(), "payments".to_owned()];
    assert_eq!(app.refusal, Some(Refusal::SeveralDomains(both.clone())));
    let snapshot = index.snapshot(NOW);
    assert_eq!(snapshot.catalog.domains[app.domain].name, DEFAULT_DOMAIN);
    for object in index.domain_objects() {
        assert_eq!(object.contested, [("shop".to_owned(), both.clone())]);
    }
    // The namespace moves out of one of them.
    index.on_namespace(Event::Apply(namespace("shop", "other")));
    assert_eq!(only(&mut index).0.refusal, None);
    assert!(index.domain_objects().iter().all(|object| object.contested.is_empty()));
}

#[test]
fn the_default_domain_is_last_and_an_object_of_that_name_replaces_its_values() {
    let mut index = shop();
    index.on_domain(Event::Apply(domain("zoo", json!({}))));
    index.on_domain(Event::Apply(domain("alpha", json!({}))));
    let names = |index: &mut Index| -> Vec<String> {
        index.snapshot(NOW).catalog.domains.iter().map(|one| one.name.clone()).collect()
    };
    assert_eq!(names(&mut index), ["alpha", "zoo", "default"]);
    let change = json!({"spec": {"class": "P3", "mode": "Shadow", "namespaceSelector": null}});
    index.on_domain(Event::Apply(domain("default", change)));
    assert_eq!(names(&mut index), ["alpha", "zoo", "default"]);
    let catalog = index.snapshot(NOW).catalog;
    assert_eq!((catalog.domains[2].class, catalog.domains[2].mode), (Class::P3, Mode::Shadow));
    assert_eq!(catalog.apps[0].domain, 2);
}

#[test]
fn a_domain_that_makes_no_sense_selects_nothing_and_says_why() {
    for (change, part) in [
        (json!({"spec": {"weight": 7}}), "weight is 7"),
        (json!({"spec": {"slo": null}}), "slo"),
        (json!({"spec": {"namespaceSelector": {"matchExpressions": 5}}}), "sequence"),
    ] {
        let mut index = shop();
        index.on_domain(Event::Apply(domain("payments", json!({}))));
        index.on_domain(Event::Apply(domain("payments", change.clone())));
        let (app, _) = only(&mut index);
        assert_eq!(app.domain, 0, "in the default domain");
        assert_eq!(index.snapshot(NOW).catalog.domains.len(), 1);
        let problem = index.domain_objects()[0].problem.clone().unwrap();
        assert!(problem.contains(part), "{change}: {problem}");
        // Mended, it is used again.
        index.on_domain(Event::Apply(domain("payments", json!({}))));
        assert_eq!(index.snapshot(NOW).catalog.domains.len(), 2);
    }
}

#[test]
fn pods_count_while_they_live_and_belong_to_the_target_by_its_selector() {
    let mut index = shop();
    let phase = |phase: &str| json!({"status": {"phase": phase, "conditions": []}});
    index.on_pod(Event::Apply(pod("shop", "web-2", "web", phase("Pending"))));
    index.on_pod(Event::Apply(pod("shop", "web-3", "web", phase("Running"))));
    index.on_pod(Event::Apply(pod("shop", "web-4", "web", phase("Failed"))));
    let leaving = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
    index.on_pod(Event::Apply(pod("shop", "web-5", "web", leaving.clone())));
    index.on_pod(Event::Apply(pod("shop", "api-1", "api", json!({}))));
    index.on_pod(Event::Apply(pod("other", "web-1", "web", json!({}))));
    let state = only(&mut index).1;
    assert_eq!((state.ready, state.pending), (1, 1));

    // The pending one becomes ready with other requests; the ready one leaves.
    let resized = json!({"spec": {"containers": [{"resources": {"requests": {"cpu": "1"}}}]}});
    index.on_pod(Event::Apply(pod("shop", "web-2", "web", resized)));
    index.on_pod(Event::Apply(pod("shop", "web-1", "web", leaving)));
    let state = only(&mut index).1;
    assert_eq!((state.ready, state.pending, state.cpu_request), (1, 0, 0.75));

    // A pod whose labels change moves to another target.
    index.on_pod(Event::Apply(pod("shop", "web-2", "api", json!({}))));
    assert_eq!(only(&mut index).1.ready, 0);
}

#[test]
fn without_live_pods_the_template_tells_the_requests() {
    let mut index = shop();
    index.on_pod(Event::Delete(pod("shop", "web-1", "web", json!({}))));
    let state = only(&mut index).1;
    assert_eq!((state.ready, state.cpu_request, state.memory_request), (0, 0.2, 100.0));
}

#[test]
fn a_new_list_drops_what_vanished_while_the_watch_was_broken() {
    let mut index = shop();
    index.on_pod(Event::Apply(pod("shop", "web-2", "web", json!({}))));
    assert_eq!(only(&mut index).1.ready, 2);
    index.on_pod(Event::Init);
    index.on_pod(Event::InitApply(pod("shop", "web-2", "web", json!({}))));
    assert_eq!(only(&mut index).1.ready, 2, "nothing is lost while the list runs");
    index.on_pod(Event::InitDone);
    assert_eq!(only(&mut index).1.ready, 1);

    index.on_workload(Kind::Deployment, Event::Init);
    index.on_workload(Kind::Deployment, Event::InitDone);
    assert_eq!(only(&mut index).0.refusal, Some(Refusal::NoTarget));
    index.on_hpa(Event::Init);
    index.on_hpa(Event::InitDone);
    assert!(index.snapshot(NOW).catalog.apps.is_empty());
}

#[test]
fn the_catalog_is_reused_until_an_edit_changes_it() {
    let mut index = shop();
    let first = index.snapshot(NOW).catalog;
    index.on_hpa(Event::Apply(hpa("shop", "web", json!({"status": {"conditions": []}}))));
    index.on_pod(Event::Apply(pod("shop", "web-9", "web", json!({}))));
    index.on_namespace(Event::Apply(namespace("unused", "none")));
    assert!(Arc::ptr_eq(&first, &index.snapshot(NOW).catalog));
    index.on_hpa(Event::Apply(hpa("shop", "web", json!({"spec": {"maxReplicas": 21}}))));
    assert!(!Arc::ptr_eq(&first, &index.snapshot(NOW).catalog));
}

#[test]
fn pools_hold_what_ready_and_schedulable_nodes_can_allocate() {
    let mut index =
        Index::new(Settings { shared_pools: vec!["general".to_owned()], ..Settings::default() });
    let node = |name: &str, pool: &str, ready: &str, cordoned: bool| -> objects::Node {
        let labels = if pool.is_empty() { json!({}) } else { json!({"hirl-scale.io/pool": pool}) };
        read(json!({
            "metadata": {"name": name, "labels": labels},
            "spec": {"unschedulable": cordoned},
            "status": {"allocatable": {"cpu": "3500m", "memory": "1Ki"},
                "conditions": [{"type": "Ready", "status": ready}]}
        }))
    };
    let pool = |name: &str, shared, nodes, cpu, memory| Pool {
        name: name.to_owned(),
        shared,
        nodes,
        cpu,
        memory,
    };
    index.on_node(Event::Apply(node("a", "general", "True", false)));
    index.on_node(Event::Apply(node("b", "general", "True", false)));
    index.on_node(Event::Apply(node("c", "general", "False", false)));
    index.on_node(Event::Apply(node("d", "general", "True", true)));
    index.on_node(Event::Apply(node("e", "", "True", false)));
    let pools = index.snapshot(NOW).pools;
    assert_eq!(pools, [pool("", false, 1, 3.5, 1024.0), pool("general", true, 2, 7.0, 2048.0)]);
    index.on_node(Event::Apply(node("b", "general", "Unknown", false)));
    index.on_node(Event::Delete(node("e", "", "True", false)));
    assert_eq!(index.snapshot(NOW).pools, [pool("general", true, 1, 3.5, 1024.0)]);
}

#[test]
fn nodes_that_karpenter_made_are_told_apart_with_their_capacity() {
    let mut index = empty();
    let node = |name: &str, more: Value| -> objects::Node {
        let mut labels = json!({"hirl-scale.io/pool": "general"});
        labels["karpenter.sh/nodepool"] = more["by"].clone();
        labels.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        read(json!({
            "metadata": {"name": name, "labels": labels},
            "spec": {"unschedulable": more["cordoned"] == true},
            "status": {"allocatable": {"cpu": "3500m", "memory": "7"},
                "capacity": {"cpu": "4", "memory": "8"},
                "conditions": [{"type": "Ready", "status": "True"}]}
        }))
    };
    for (name, more) in [
        ("a", json!({"by": "spot"})),
        ("b", json!({"by": "fixed"})),
        ("c", json!({"by": "spot", "cordoned": true})),
        ("d", json!({})),
    ] {
        index.on_node(Event::Apply(node(name, more)));
    }
    let of = |cpu_milli, memory| Amount { cpu_milli, memory };
    let nodes =
        PoolNodes { allocatable: of(7000, 14), capacity: of(8000, 16), others: of(3500, 7) };
    assert_eq!(index.pool_nodes(), [(Arc::from("general"), nodes)].into());
}

#[test]
fn the_owner_of_the_apiservice_is_known() {
    let mut index = empty();
    let service = |namespace: &str, name: &str| -> APIService {
        read(json!({
            "metadata": {"name": "v1beta1.external.metrics.k8s.io", "uid": "u"},
            "spec": {"service": {"namespace": namespace, "name": name},
                "groupPriorityMinimum": 100, "versionPriority": 100}
        }))
    };
    assert_eq!(*index.ownership(), Ownership::Absent);
    index.on_api_service(Event::Apply(service("hirl-system", "hirl")));
    assert_eq!(*index.ownership(), Ownership::Ours);
    index.on_api_service(Event::Apply(service("keda", "keda-operator")));
    let other = Ownership::Other { service: "keda/keda-operator".to_owned(), uid: "u".to_owned() };
    assert_eq!(*index.ownership(), other);
    index.on_api_service(Event::Init);
    assert_eq!(*index.ownership(), other, "nothing is lost while the list runs");
    index.on_api_service(Event::InitDone);
    assert_eq!(*index.ownership(), Ownership::Absent);
}

/// Counts by the plain definition: every pod against every selector.
fn counted_plainly(pods: &[(String, String)], selector: &Selector) -> u32 {
    let matches = |(_, app): &&(String, String)| {
        selector.matches(|key| match key {
            "app" => Some(app.as_str()),
            "hash" => Some("x"),
            _ => None,
        })
    };
    pods.iter().filter(matches).count() as u32
}

proptest::proptest! {
    #[test]
    fn groups_count_what_a_plain_count_counts(
        steps in proptest::collection::vec((0_u8..6, 0_u8..5, 0_u8..4), 1..60)
    ) {
        let selectors = [
            json!({"matchLabels": {"app": "0"}}),
            json!({"matchLabels": {"app": "1", "hash": "x"}}),
            json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["0"]}]}),
            json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["1", "2"]}]}),
        ];
        let mut index = empty();
        let mut pods: Vec<(String, String)> = Vec::new();
        let mut targets: BTreeMap<u8, Selector> = BTreeMap::new();
        for (act, which, what) in steps {
            let name = format!("p{which}");
            let target = |name: u8, selector: &Value| {
                deployment("n", &format!("t{name}"), json!({"spec": {"selector": selector}}))
            };
            match act {
                0..=2 => {
                    let app = what.to_string();
                    index.on_pod(Event::Apply(pod("n", &name, &app, json!({}))));
                    pods.retain(|(old, _)| *old != name);
                    pods.push((name, app));
                }
                3 => {
                    index.on_pod(Event::Delete(pod("n", &name, "0", json!({}))));
                    pods.retain(|(old, _)| *old != name);
                }
                4 => {
                    let selector = &selectors[what as usize];
                    let mut object = target(which, &selectors[0]);
                    object.spec.selector = read(selector.clone());
                    index.on_workload(Kind::Deployment, Event::Apply(object));
                    targets.insert(which, read(selector.clone()));
                }
                _ => {
                    index.on_workload(Kind::Deployment, Event::Delete(target(which, &selectors[0])));
                    targets.remove(&which);
                }
            }
            for (name, selector) in &targets {
                let key = TargetKey {
                    namespace: "n".into(),
                    kind: Kind::Deployment,
                    name: format!("t{name}").into(),
                };
                let found = index.pods.tally(&key);
                proptest::prop_assert_eq!(found.ready, counted_plainly(&pods, selector));
                proptest::prop_assert_eq!(found.requests.cpu_milli, 500 * u64::from(found.live));
            }
        }
    }
}
