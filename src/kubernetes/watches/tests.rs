use std::collections::HashMap;

use hyper::{Request, Response};
use kube::client::Body;
use serde_json::{Value, json};
use tower_test::mock;

use super::*;

const LIMIT: Duration = Duration::from_secs(30);
const NOW: Timestamp = Timestamp::from_millis(0);

fn list(items: &[Value], more: Option<&str>) -> (u16, Value) {
    let metadata = json!({"resourceVersion": "1", "continue": more});
    (200, json!({"apiVersion": "v1", "kind": "List", "metadata": metadata, "items": items}))
}

fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": "shop", "name": name, "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "a", "resources": {"requests": {"cpu": "1"}}}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    })
}

fn hpa() -> Value {
    json!({
        "metadata": {"namespace": "shop", "name": "web", "uid": "u"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "maxReplicas": 9,
            "metrics": [{"type": "External", "external": {
                "metric": {"name": "hirl-desired-replicas"},
                "target": {"type": "AverageValue", "averageValue": "1"}}}]
        }
    })
}

fn deployment() -> Value {
    json!({
        "metadata": {"namespace": "shop", "name": "web"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": {"spec": {}}}
    })
}

/// Answers each request with the next of the answers for its kind of request, which is the last
/// part of its path and, for a watch, the word `watch`. A request without an answer left hangs.
async fn serve(
    mut server: mock::Handle<Request<Body>, Response<Body>>,
    mut answers: HashMap<&'static str, Vec<(u16, Value)>>,
    asked: tokio::sync::mpsc::UnboundedSender<String>,
) {
    let mut hanging = Vec::new();
    while let Some((request, reply)) = server.next_request().await {
        let uri = request.uri();
        let resource = uri.path().rsplit('/').next().unwrap_or_default();
        let watch = uri.query().is_some_and(|query| query.contains("watch=true"));
        let key = if watch { format!("{resource} watch") } else { resource.to_owned() };
        let _ = asked.send(uri.to_string());
        match answers.get_mut(key.as_str()).filter(|left| !left.is_empty()) {
            Some(left) => {
                let (code, answer) = left.remove(0);
                let body = Body::from(serde_json::to_vec(&answer).unwrap());
                reply.send_response(Response::builder().status(code).body(body).unwrap());
            }
            None => hanging.push(reply),
        }
    }
}

/// Pods in two pages, then a gap in their watch; the Domain CRD is installed late.
fn answers() -> HashMap<&'static str, Vec<(u16, Value)>> {
    let not_found = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
        "message": "404 page not found", "reason": "NotFound", "code": 404});
    let gone = json!({"type": "ERROR", "object": {"kind": "Status", "apiVersion": "v1",
        "status": "Failure", "message": "too old resource version", "reason": "Expired", "code": 410}});
    HashMap::from([
        ("horizontalpodautoscalers", vec![list(&[hpa()], None)]),
        ("deployments", vec![list(&[deployment()], None)]),
        ("statefulsets", vec![list(&[], None)]),
        (
            "pods",
            vec![
                list(&[pod("a"), pod("b")], Some("page-2")),
                list(&[pod("c")], None),
                // After the gap.
                list(&[pod("c")], None),
            ],
        ),
        ("pods watch", vec![(200, gone)]),
        ("nodes", vec![list(&[], None)]),
        ("namespaces", vec![list(&[], None)]),
        ("domains", vec![(404, not_found), list(&[], None)]),
        ("apiservices", vec![list(&[], None)]),
    ])
}

#[tokio::test]
async fn a_start_waits_for_every_list_and_a_gap_in_a_watch_is_read_anew() {
    let (service, server) = mock::pair();
    let (asked, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let api_server = tokio::spawn(serve(server, answers(), asked));
    let stop = CancellationToken::new();
    let instruments = Arc::new(Instruments::default());
    let watches = Watches::start(
        &Client::new(service, "default"),
        &Settings::default(),
        None,
        Arc::clone(&instruments),
        &Supervisor::new(stop.clone()),
        &stop,
    );

    let missing = watches.missing().unwrap();
    assert!(
        missing.starts_with("waiting for the first list of deployments, domains,"),
        "{missing}"
    );
    let said = async {
        while !watches.missing().is_some_and(|text| text.contains("domains (")) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, said).await.unwrap();
    assert!(!*watches.synced().borrow());

    let mut synced = watches.synced();
    tokio::time::timeout(LIMIT, synced.wait_for(|done| *done)).await.unwrap().unwrap();
    assert_eq!(watches.missing(), None);
    let settled = async {
        while watches.snapshot(NOW).apps.first().is_none_or(|app| app.ready != 1) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, settled).await.unwrap();
    let restarts = |resource| {
        instruments.watch_restarts.get_or_create_owned(&ResourceLabel { resource }).get()
    };
    assert_eq!((restarts("pods"), restarts("domains"), restarts("nodes")), (1, 1, 0));
    let held = instruments.watched_objects.get_or_create_owned(&ResourceLabel { resource: "pods" });
    assert_eq!(held.get(), 1);
    assert_eq!(watches.hpa_uid(&AppId::new("shop", "web")).as_deref(), Some("u"));

    stop.cancel();
    api_server.abort();

    let mut urls = Vec::new();
    while let Ok(url) = seen.try_recv() {
        urls.push(url);
    }
    let asked_for = |part: &str| urls.iter().any(|url| url.contains(part));
    assert!(asked_for("/api/v1/pods?&limit=100&continue=page-2"), "{urls:#?}");
    assert!(asked_for("/apis/autoscaling/v2/horizontalpodautoscalers?&limit=100"), "{urls:#?}");
    assert!(
        asked_for("apiservices?&fieldSelector=metadata.name%3Dv1beta1.external.metrics.k8s.io"),
        "{urls:#?}"
    );
}

#[tokio::test]
async fn the_placement_ledger_is_fed_and_its_pods_are_listed_anew_on_demand() {
    let placed = |name: &str, cpu: &str| {
        let mut pod = pod(name);
        pod["metadata"]["uid"] = json!(format!("uid-{name}"));
        pod["spec"]["nodeName"] = json!("n1");
        pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!(cpu);
        pod
    };
    let node = json!({
        "metadata": {"name": "n1", "labels": {"hirl-scale.io/pool": "general"}},
        "spec": {},
        "status": {"allocatable": {"cpu": "8", "memory": "1Gi"},
            "conditions": [{"type": "Ready", "status": "True"}]}
    });
    let namespace = json!({"metadata": {"name": "shop", "labels": {"team": "pay"}}});
    let domain = json!({
        "metadata": {"name": "payments", "uid": "d"},
        "spec": {"class": "P0", "weight": 1, "slo": {"p99": "200ms", "errorRatio": 0.01},
            "namespaceSelector": {"matchLabels": {"team": "pay"}}}
    });
    let mut answers = answers();
    answers.insert("pods", vec![list(&[placed("a", "1")], None), list(&[placed("b", "3")], None)]);
    answers.remove("pods watch");
    answers.insert("nodes", vec![list(&[node], None)]);
    answers.insert("namespaces", vec![list(&[namespace], None)]);
    answers.insert("domains", vec![list(&[domain], None)]);

    let (service, server) = mock::pair();
    let (asked, _seen) = tokio::sync::mpsc::unbounded_channel();
    let api_server = tokio::spawn(serve(server, answers, asked));
    let stop = CancellationToken::new();
    let ledger = crate::placement::Ledger::new(
        crate::placement::Settings::default(),
        &["general".to_owned()],
        "hirl-system",
    );
    let placements = Placements::new(ledger);
    let watches = Watches::start(
        &Client::new(service, "default"),
        &Settings::default(),
        Some(placements.clone()),
        Arc::default(),
        &Supervisor::new(stop.clone()),
        &stop,
    );
    let mut synced = watches.synced();
    let done = tokio::time::timeout(LIMIT, synced.wait_for(|done| *done)).await;
    assert!(done.is_ok(), "{:?}", watches.missing());
    drop(done);
    let used = || {
        let sums = placements.lock().sums();
        sums.into_iter().map(|(key, used)| (key, used.cpu_milli)).collect::<Vec<_>>()
    };
    let key = || (Arc::from("payments"), Arc::from("general"));
    assert_eq!(used(), [(key(), 1000)]);
    tokio::time::timeout(LIMIT, watches.relist_pods()).await.unwrap();
    assert_eq!(used(), [(key(), 3000)], "pod a is gone, pod b has come");
    assert_eq!(placements.lock().counts().foreign_binds, 0, "a list is no event");

    stop.cancel();
    api_server.abort();
}
