use std::collections::BTreeMap;
use std::sync::Arc;

use kube::client::Body;
use serde_json::{Value, json};

use super::*;
use crate::extender;

/// Seconds since the epoch at which these tests play.
const NOW: i64 = 1_900_000_000;

/// Answers by method and path; all else is 404.
type Answers = BTreeMap<String, Value>;

fn client(answers: Answers) -> kube::Client {
    let answers = Arc::new(answers);
    let service = tower::service_fn(move |request: axum::http::Request<Body>| {
        let answers = Arc::clone(&answers);
        async move {
            let key = format!("{} {}", request.method(), request.uri().path());
            let absent = json!({"kind": "Status", "status": "Failure", "code": 404,
                "reason": "NotFound", "message": format!("nothing at {key}")});
            let answer = answers.get(&key).cloned().unwrap_or(absent);
            let code = answer["code"].as_u64().unwrap_or(200) as u16;
            let body = Body::from(serde_json::to_vec(&answer).unwrap());
            axum::http::Response::builder().status(code).body(body)
        }
    });
    kube::Client::new(service, "default")
}

fn args(pre: bool) -> Args {
    Args {
        pre,
        namespace: "hirl-system".into(),
        service: "hirl".into(),
        secret: "hirl-tls".into(),
        cert: None,
        serve_as: None,
        config: None,
        scheduler_config: None,
        cluster: ClusterArgs::default(),
    }
}

const API_SERVICE: &str =
    "GET /apis/apiregistration.k8s.io/v1/apiservices/v1beta1.external.metrics.k8s.io";
const REVIEW: &str = "POST /apis/authorization.k8s.io/v1/subjectaccessreviews";
const SELF_REVIEW: &str = "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
const CONFIG: &str =
    "GET /api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
const CRD: &str =
    "GET /apis/apiextensions.k8s.io/v1/customresourcedefinitions/domains.hirl-scale.io";
const HPAS: &str = "GET /apis/autoscaling/v2/horizontalpodautoscalers";
const BALLOON: &str = "GET /apis/apps/v1/namespaces/hirl-system/deployments/hirl-balloon";
const NODE_POOLS: &str = "GET /apis/karpenter.sh/v1";
const BUFFER_API: &str = "GET /apis/autoscaling.x-k8s.io/v1beta1";
const BUFFERS: &str = "GET /apis/autoscaling.x-k8s.io/v1beta1/capacitybuffers";
const INTERVALS: &str =
    "GET /apis/external.metrics.k8s.io/v1beta1/namespaces/shop/hirl-hpa-read-interval";

struct Pair {
    authority: String,
    leaf: String,
}

/// A CA and a pair that are valid around [`NOW`].
fn pair() -> Pair {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).unwrap().pem();
    let issuer = rcgen::Issuer::new(params, key);
    let leaf = rcgen::CertificateParams::new(vec!["hirl.hirl-system.svc".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&rcgen::KeyPair::generate().unwrap(), &issuer).unwrap().pem();
    Pair { authority, leaf }
}

fn base64(text: &str) -> Value {
    json!(k8s_openapi::ByteString(text.as_bytes().to_vec()))
}

fn api_service(namespace: &str, name: &str, bundle: &str) -> Value {
    json!({
        "metadata": {"name": "v1beta1.external.metrics.k8s.io", "labels": {"app.kubernetes.io/part-of": "a-suite"}},
        "spec": {"group": "external.metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": 100,
            "versionPriority": 100, "caBundle": base64(bundle), "service": {"namespace": namespace, "name": name}},
        "status": {"conditions": [{"type": "Available", "status": "True", "reason": "Passed", "message": "ok"}]}
    })
}

fn hpa(name: &str, target: &Value) -> Value {
    json!({"metadata": {"name": name, "namespace": "shop"}, "spec": {
        "scaleTargetRef": {"kind": "Deployment", "name": name}, "maxReplicas": 5,
        "metrics": [{"type": "External", "external": {"metric": {"name": METRIC,
            "selector": {"matchLabels": {"target": name}}}, "target": target}}]}})
}

/// The HPA of the component `balloon`.
fn balloon() -> Value {
    json!({"metadata": {"name": "hirl-balloon", "namespace": "hirl-system"}, "spec": {
        "scaleTargetRef": {"kind": "Deployment", "name": "hirl-balloon"}, "maxReplicas": 5,
        "metrics": [{"type": "External", "external": {"metric": {"name": "hirl-warm-cores"},
            "target": {"type": "AverageValue", "averageValue": "4"}}}]}})
}

/// What discovery says of a group and version that serve `plural`.
fn serving(group_version: &str, plural: &str, kind: &str) -> Value {
    json!({"kind": "APIResourceList", "groupVersion": group_version, "resources": [
        {"name": plural, "singularName": "", "namespaced": true, "kind": kind, "verbs": ["list"]}]})
}

fn rights() -> usize {
    permissions::SERVE.iter().map(|need| need.verbs.len()).sum()
}

/// A cluster in which everything is right.
fn healthy() -> Answers {
    let pair = pair();
    let average = json!({"type": "AverageValue", "averageValue": "1"});
    let interval =
        |seconds: &str| json!({"metricName": "hirl-hpa-read-interval", "value": seconds});
    [
        ("GET /version", json!({"major": "1", "minor": "36", "gitVersion": "v1.36.3", "buildDate": "", "compiler": "", "gitCommit": "", "gitTreeState": "", "goVersion": "", "platform": ""})),
        (API_SERVICE, api_service("hirl-system", "hirl", &pair.authority)),
        (CONFIG, json!({"metadata": {}, "data": {
            "requestheader-client-ca-file": pair.authority,
            "requestheader-allowed-names": "[\"front-proxy-client\"]",
            "requestheader-username-headers": "[\"X-Remote-User\"]"}})),
        (CRD, json!({"metadata": {}, "spec": {"group": "hirl-scale.io", "scope": "Cluster",
            "names": {"kind": "Domain", "plural": "domains"},
            "versions": [{"name": "v1alpha1", "served": true, "storage": true}]},
            "status": {"conditions": [{"type": "Established", "status": "True"}]}})),
        (REVIEW, json!({"metadata": {}, "spec": {}, "status": {"allowed": true}})),
        (SELF_REVIEW, json!({"metadata": {}, "spec": {}, "status": {"allowed": true}})),
        ("GET /api/v1/namespaces/hirl-system/secrets/hirl-tls",
            json!({"metadata": {}, "data": {"tls.crt": base64(&pair.leaf)}})),
        (HPAS, json!({"metadata": {}, "items": [hpa("web", &average), hpa("cart", &average), balloon()]})),
        (BALLOON, json!({"metadata": {}, "spec": {"selector": {}, "template": {"spec": {"containers": []}}}})),
        ("GET /apis/apps/v1/deployments", json!({"metadata": {}, "items": []})),
        ("GET /apis/apps/v1/statefulsets", json!({"metadata": {}, "items": []})),
        ("GET /api/v1/nodes", json!({"metadata": {}, "items": []})),
        (INTERVALS, json!({"items": [interval("15"), interval("15100m")]})),
    ]
    .into_iter()
    .map(|(key, answer)| (key.to_owned(), answer))
    .collect()
}

async fn lines(answers: Answers, pre: bool) -> Vec<Line> {
    examine(&client(answers), &args(pre), None, NOW).await
}

/// The lines that are no pass, after `change` was made to a healthy cluster.
async fn amiss(pre: bool, change: impl FnOnce(&mut Answers)) -> Vec<Line> {
    let mut answers = healthy();
    change(&mut answers);
    let mut all = lines(answers, pre).await;
    all.retain(|line| line.mark != Mark::Pass);
    all
}

async fn one_amiss(pre: bool, change: impl FnOnce(&mut Answers)) -> Line {
    let mut all = amiss(pre, change).await;
    assert_eq!(all.len(), 1, "{all:#?}");
    assert!(!all[0].hint.is_empty());
    all.remove(0)
}

#[tokio::test]
async fn a_healthy_cluster_passes_every_check() {
    let all = lines(healthy(), false).await;
    assert!(all.iter().all(|line| line.mark == Mark::Pass), "{all:#?}");
    let text: String = all.iter().map(Line::render).collect();
    for part in [
        "v1.36.3",
        "is available",
        "aggregation layer",
        &format!("all {} rights", rights()),
        "under caBundle",
        "2 of 3 HPAs",
        "balloon pods (Deployment hirl-system/hirl-balloon)",
        "every 15.1 s",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

#[tokio::test]
async fn a_registration_of_another_server_is_refused_by_name_before_and_after() {
    for pre in [true, false] {
        let line = one_amiss(pre, |answers| {
            let foreign = api_service("keda", "keda-metrics", &pair().authority);
            answers.insert(API_SERVICE.to_owned(), foreign);
        })
        .await;
        assert_eq!(line.mark, Mark::Fail);
        assert!(
            line.what.contains("belongs to Service keda/keda-metrics (a-suite)"),
            "{}",
            line.what
        );
    }
}

#[tokio::test]
async fn before_installation_absence_is_what_is_wanted() {
    let change = |answers: &mut Answers| {
        answers.remove(API_SERVICE);
        answers.remove(CRD);
        answers.remove(REVIEW);
    };
    assert_eq!(amiss(true, change).await, []);
    let after = amiss(false, change).await;
    assert!(after.iter().any(|line| line.what.contains("external.metrics.k8s.io is absent")));
    assert!(after.iter().any(|line| line.what.contains("domains.hirl-scale.io is absent")));
}

#[tokio::test]
async fn an_unavailable_or_unverified_registration_fails() {
    let line = one_amiss(false, |answers| {
        let condition = &mut answers.get_mut(API_SERVICE).unwrap()["status"]["conditions"][0];
        *condition = json!({"type": "Available", "status": "False", "reason": "FailedDiscoveryCheck", "message": "x509: no"});
    })
    .await;
    assert!(line.what.contains("FailedDiscoveryCheck: x509: no"), "{}", line.what);
    let line = one_amiss(false, |answers| {
        answers.get_mut(API_SERVICE).unwrap()["spec"]["insecureSkipTLSVerify"] = json!(true);
    })
    .await;
    assert!(line.what.contains("insecureSkipTLSVerify"), "{}", line.what);
}

#[tokio::test]
async fn a_cluster_without_aggregation_names_the_flags() {
    for change in [
        |answers: &mut Answers| {
            answers.remove(CONFIG);
        },
        |answers: &mut Answers| {
            answers.get_mut(CONFIG).unwrap()["data"] = json!({"client-ca-file": "x"});
        },
    ] {
        let line = one_amiss(false, change).await;
        assert_eq!(line.mark, Mark::Fail);
        assert!(line.hint.contains("--requestheader-client-ca-file"), "{}", line.hint);
    }
}

#[tokio::test]
async fn missing_rights_are_listed_and_unaskable_ones_are_a_warning() {
    let denied = json!({"metadata": {}, "spec": {}, "status": {"allowed": false}});
    let all = amiss(false, |answers| {
        answers.insert(REVIEW.to_owned(), denied);
    })
    .await;
    assert_eq!(all.len(), rights());
    assert!(all.iter().any(|line| line.what
        == "system:serviceaccount:hirl-system:hirl may not update leases (coordination.k8s.io) in hirl-system"));
    let line = one_amiss(false, |answers| {
        answers.remove(REVIEW);
    })
    .await;
    assert_eq!(line.mark, Mark::Warn);
}

#[tokio::test]
async fn a_bundle_of_another_ca_fails() {
    let line = one_amiss(false, |answers| {
        answers.get_mut(API_SERVICE).unwrap()["spec"]["caBundle"] = base64(&pair().authority);
    })
    .await;
    assert!(line.what.contains("will not trust"), "{}", line.what);
}

#[tokio::test]
async fn old_versions_are_told_apart() {
    for (minor, mark) in [("32", Mark::Fail), ("33", Mark::Warn), ("34+", Mark::Warn)] {
        let line = one_amiss(false, |answers| {
            answers.get_mut("GET /version").unwrap()["minor"] = json!(minor);
        })
        .await;
        assert_eq!(line.mark, mark, "{minor}");
    }
}

#[tokio::test]
async fn refused_hpas_and_slow_syncs_are_reported() {
    let line = one_amiss(false, |answers| {
        let bad = hpa("pay", &json!({"type": "Value", "value": "1"}));
        answers.get_mut(HPAS).unwrap()["items"].as_array_mut().unwrap().push(bad);
    })
    .await;
    assert!(
        line.what.starts_with("HorizontalPodAutoscaler shop/pay: a Value target"),
        "{}",
        line.what
    );
    let line = one_amiss(false, |answers| {
        let down =
            json!({"kind": "Status", "status": "Failure", "code": 503, "message": "not available"});
        answers.insert(INTERVALS.to_owned(), down);
    })
    .await;
    assert!(line.what.ends_with("not available"), "{}", line.what);
    let line = one_amiss(false, |answers| {
        answers.insert(INTERVALS.to_owned(), json!({"items": [{"value": "77600m"}]}));
    })
    .await;
    assert!(line.what.contains("every 77.6 s"), "{}", line.what);
    assert!(line.hint.contains("--kube-api-qps="), "{}", line.hint);
}

#[tokio::test]
async fn a_silent_api_server_is_one_line() {
    let all = lines(Answers::new(), false).await;
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].mark, Mark::Fail);
}

#[tokio::test]
async fn the_extenders_rights_are_asked_for_as_far_as_it_is_switched_on() {
    let mut answers = healthy();
    answers.insert(
        REVIEW.to_owned(),
        json!({"metadata": {}, "spec": {}, "status": {"allowed": false}}),
    );
    let client = client(answers);
    let missing = async |extender: &extender::Settings| {
        let config = Config { extender: extender.clone(), ..Config::default() };
        let lines = examine(&client, &args(false), Some(&config), NOW).await;
        let about = ["pods/binding", "endpointslices", "get pods", "pods/eviction", "patch pods"];
        let named = |line: &Line| about.iter().any(|what| line.render().contains(what));
        lines.iter().filter(|line| named(line)).count()
    };
    let off = extender::Settings::default();
    assert_eq!(missing(&off).await, 0);
    let mut on = extender::Settings { enabled: true, ..off };
    assert_eq!(missing(&on).await, 2);
    on.gates.enabled = true;
    on.reclaim.enabled = true;
    on.endpoint_slice.enabled = true;
    assert_eq!(missing(&on).await, 7);
}

#[tokio::test]
async fn a_capacity_buffer_is_found_beside_the_deployment_that_it_follows() {
    let gated = json!({"metadata": {}, "spec": {"selector": {}, "template": {"spec": {
        "containers": [], "schedulingGates": [{"name": "hirl-scale.io/placeholder"}]}}}});
    let buffer = json!({"metadata": {"name": "hirl-warm", "namespace": "hirl-system"},
        "spec": {"scalableRef": {"apiGroup": "apps", "kind": "Deployment", "name": "hirl-balloon"}, "percentage": 100},
        "status": {"conditions": [{"type": "ReadyForProvisioning", "status": "True"}]}});
    let line = one_amiss(false, |answers| {
        answers.insert(BALLOON.to_owned(), gated.clone());
    })
    .await;
    assert!(line.what.contains("behind a gate") && line.hint.contains("balloon"), "{line:?}");

    let mut answers = healthy();
    answers.insert(BALLOON.to_owned(), gated);
    let api = serving("autoscaling.x-k8s.io/v1beta1", "capacitybuffers", "CapacityBuffer");
    answers.insert(BUFFER_API.to_owned(), api);
    answers.insert(BUFFERS.to_owned(), json!({"metadata": {}, "items": [buffer]}));
    let all = lines(answers, false).await;
    let said = "CapacityBuffer hirl-system/hirl-warm keeps";
    assert!(all.iter().any(|line| line.mark == Mark::Pass && line.what.contains(said)), "{all:#?}");
}

#[tokio::test]
async fn without_an_hpa_on_warm_capacity_the_component_to_apply_is_named() {
    let line = one_amiss(false, |answers| {
        answers.get_mut(HPAS).unwrap()["items"].as_array_mut().unwrap().pop();
    })
    .await;
    assert_eq!(line.mark, Mark::Warn);
    assert!(line.hint.contains("manifests/scheduler/balloon"), "{line:?}");
}

#[tokio::test]
async fn an_extender_that_does_not_know_what_pools_can_grow_to_is_told() {
    let said = async |answers: Answers, growth: &str| {
        let config = Config::parse(&format!("placement: {{growth: {growth}}}"), "a test").unwrap();
        let extender = extender::Settings { enabled: true, ..extender::Settings::default() };
        let config = Config { extender, ..config };
        let all = examine(&client(answers), &args(false), Some(&config), NOW).await;
        let grows = |line: &&Line| line.what.contains("grow");
        all.into_iter().find(|line| grows(&line)).unwrap()
    };
    let line = said(healthy(), "{}").await;
    assert!(line.mark == Mark::Warn && line.hint.contains("placement.growth"), "{line:?}");
    assert_eq!(said(healthy(), "{general: {cpu: 100}}").await.mark, Mark::Pass);

    let mut answers = healthy();
    answers.insert(NODE_POOLS.to_owned(), serving("karpenter.sh/v1", "nodepools", "NodePool"));
    let line = said(answers.clone(), "{}").await;
    assert!(line.mark == Mark::Pass && line.what.contains("NodePools"), "{line:?}");
    let denied = json!({"metadata": {}, "spec": {}, "status": {"allowed": false}});
    answers.insert(REVIEW.to_owned(), denied);
    let line = said(answers, "{}").await;
    assert!(
        line.mark == Mark::Warn && line.what.contains("may not list nodepools (karpenter.sh)"),
        "{line:?}"
    );
}
