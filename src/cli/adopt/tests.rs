use kube::client::Body;
use serde_json::json;

use crate::cli::objects::patch::tests::apply;
use crate::cli::objects::yaml::Document;

use crate::kubernetes::TARGET_CPU;

use super::plan::ADOPTED_METRICS;
use super::*;

fn plain() -> Value {
    json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web", "namespace": "shop", "annotations": {"team": "web"}},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "minReplicas": 2, "maxReplicas": 50,
            "metrics": [
                {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}},
                {"type": "Resource", "resource": {"name": "memory", "target": {"type": "Utilization", "averageUtilization": 80}}}
            ],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 120, "selectPolicy": "Min",
                "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}], "tolerance": "50m"}}
        }
    })
}

fn subject(now: &Value) -> Subject {
    let documents = vec![Document { origin: "x".into(), value: now.clone() }];
    let hpa = Objects::from_documents(documents, "shop").unwrap().hpas.remove(0).hpa;
    Subject { now: now.clone(), hpa, target: None, others: Vec::new() }
}

fn patched(now: &Value, body: &Value) -> Value {
    let mut after = now.clone();
    apply(&mut after, body);
    after
}

fn refusal(now: &Value, back: bool) -> String {
    plan(&subject(now), back, Tolerance::Kept).unwrap_err().to_string()
}

#[test]
fn an_adopted_hpa_is_clean_and_keeps_what_it_was() {
    let now = plain();
    let plan = plan(&subject(&now), false, Tolerance::Kept).unwrap();
    let after = patched(&now, &plan.body);
    let annotations = &after["metadata"]["annotations"];
    assert_eq!(annotations["team"], "web");
    assert_eq!(annotations[TARGET_CPU], "50");
    let kept: Value = serde_json::from_str(annotations[ADOPTED_METRICS].as_str().unwrap()).unwrap();
    assert_eq!(kept, now["spec"]["metrics"]);
    // Bounds and target are not ours to change.
    assert_eq!(after["spec"]["maxReplicas"], 50);
    assert_eq!(after["spec"]["scaleTargetRef"], now["spec"]["scaleTargetRef"]);
    let documents = vec![Document { origin: "x".into(), value: after }];
    let objects = Objects::from_documents(documents, "shop").unwrap();
    assert_eq!(crate::cli::lint::names(&objects), Vec::<&str>::new());
    assert!(plan.notes.iter().any(|note| note.contains("memory target goes")), "{:?}", plan.notes);
}

#[test]
fn back_restores_every_hpa_exactly() {
    let mut bare = plain();
    bare["spec"].as_object_mut().unwrap().remove("behavior");
    bare["metadata"].as_object_mut().unwrap().remove("annotations");
    let mut none = bare.clone();
    none["spec"].as_object_mut().unwrap().remove("metrics");
    let mut stated = plain();
    stated["metadata"]["annotations"][TARGET_CPU] = json!("65");
    for before in [plain(), bare, none, stated] {
        for tolerance in [Tolerance::Kept, Tolerance::Dropped, Tolerance::Unverified] {
            let there = plan(&subject(&before), false, tolerance).unwrap();
            let adopted = patched(&before, &there.body);
            assert_ne!(adopted, before);
            let back = plan(&subject(&adopted), true, Tolerance::Kept).unwrap();
            let mut after = patched(&adopted, &back.body);
            // The API server drops an empty map.
            if after["metadata"]["annotations"] == json!({}) {
                after["metadata"].as_object_mut().unwrap().remove("annotations");
            }
            assert_eq!(after, before);
        }
    }
}

#[test]
fn a_stated_cpu_target_is_kept() {
    let mut now = plain();
    now["metadata"]["annotations"][TARGET_CPU] = json!("65");
    let plan = plan(&subject(&now), false, Tolerance::Kept).unwrap();
    assert_eq!(patched(&now, &plan.body)["metadata"]["annotations"][TARGET_CPU], "65");
}

#[test]
fn a_cpu_target_in_cores_is_divided_by_the_request() {
    let mut now = plain();
    now["spec"]["metrics"][0]["resource"]["target"] =
        json!({"type": "AverageValue", "averageValue": "300m"});
    let mut subject = subject(&now);
    assert_eq!(target_cpu(&subject.hpa, None), None);
    subject.target = serde_json::from_value(json!({"kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"template": {"spec": {"containers": [{"name": "a", "resources": {"requests": {"cpu": "500m"}}}]}}}}))
    .unwrap();
    assert_eq!(target_cpu(&subject.hpa, subject.target.as_ref()), Some(60));
}

#[test]
fn what_cannot_be_adopted_is_refused_in_one_sentence() {
    let mut zero = plain();
    zero["spec"]["minReplicas"] = json!(0);
    assert!(refusal(&zero, false).contains("minReplicas 0"));
    assert!(refusal(&plain(), true).contains("was not adopted"));
    let there = plan(&subject(&plain()), false, Tolerance::Kept).unwrap();
    let mut adopted = patched(&plain(), &there.body);
    assert!(refusal(&adopted, false).contains("is adopted already"));
    adopted["metadata"]["annotations"][ADOPTED_METRICS] = json!("[{");
    assert!(refusal(&adopted, true).contains("is not the JSON that adoption wrote"));
    adopted["metadata"]["annotations"] = json!({});
    assert!(refusal(&adopted, false).contains("reads hirl-desired-replicas already"));
    let mut shared = subject(&plain());
    let mut other = shared.hpa.clone();
    other.metadata.name = "web2".into();
    shared.others.push(other);
    let message = plan(&shared, false, Tolerance::Kept).unwrap_err().to_string();
    assert!(
        message.contains("shop/web scales the same Deployment web as HPA shop/web2"),
        "{message}"
    );
}

fn args(file: Option<String>, back: bool) -> Args {
    Args {
        hpa: "shop/web".into(),
        back,
        apply_dry_run: false,
        file,
        cluster: ClusterArgs::default(),
        output: Output::Yaml,
    }
}

#[tokio::test]
async fn a_file_gives_a_patch_file_without_tolerance_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hpa.yaml");
    std::fs::write(&path, plain().to_string()).unwrap();
    let text = make(&args(Some(path.display().to_string()), false)).await.unwrap();
    assert!(
        text.contains("kubectl -n shop patch hpa.v2.autoscaling web --type=merge --patch-file")
    );
    assert!(text.contains("not verified"), "{text}");
    let body: Value = serde_saphyr::from_str(&text).unwrap();
    let there = plan(&subject(&plain()), false, Tolerance::Unverified).unwrap();
    assert_eq!(body, there.body);
    assert_eq!(body["spec"]["metrics"][0]["external"]["target"]["averageValue"], "1");
    let missing = Args { hpa: "shop/cart".into(), ..args(Some(path.display().to_string()), false) };
    assert!(make(&missing).await.unwrap_err().to_string().contains("has no HPA shop/cart"));
}

/// An API server with one HPA, which keeps `tolerance` or drops it.
fn server(keeps: bool) -> kube::Client {
    let service = tower::service_fn(move |request: axum::http::Request<Body>| async move {
        let path = request.uri().path().to_owned();
        let query = request.uri().query().unwrap_or_default().to_owned();
        let answer = match (request.method().as_str(), path.as_str()) {
            ("GET", "/apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers") => {
                json!({"metadata": {}, "items": [plain()]})
            }
            ("PATCH", "/apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers/web") => {
                assert!(query.contains("dryRun=All"), "a write that is no dry run: {query}");
                let bytes = request.into_body().collect_bytes().await.unwrap();
                let mut after = patched(&plain(), &serde_json::from_slice(&bytes).unwrap());
                if !keeps {
                    for direction in ["scaleUp", "scaleDown"] {
                        let rules = &mut after["spec"]["behavior"][direction];
                        rules.as_object_mut().unwrap().remove("tolerance");
                    }
                }
                after
            }
            _ => {
                json!({"kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound", "message": "no"})
            }
        };
        let code = answer["code"].as_u64().unwrap_or(200) as u16;
        let body = Body::from(serde_json::to_vec(&answer).unwrap());
        axum::http::Response::builder().status(code).body(body)
    });
    kube::Client::new(service, "shop")
}

#[tokio::test]
async fn tolerance_is_in_the_patch_only_when_the_dry_run_keeps_it() {
    for (keeps, expected) in [(true, json!("0")), (false, Value::Null)] {
        let text = from_client(&args(None, false), &server(keeps)).await.unwrap();
        let body: Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(body["spec"]["behavior"]["scaleUp"]["tolerance"], expected, "{text}");
        assert_eq!(body["spec"]["behavior"]["scaleDown"]["tolerance"], expected, "{text}");
        assert_eq!(text.contains("this cluster drops tolerance"), !keeps, "{text}");
    }
}

#[tokio::test]
async fn a_dry_run_of_the_whole_patch_shows_what_would_be_stored() {
    let args = Args { apply_dry_run: true, ..args(None, false) };
    let text = from_client(&args, &server(true)).await.unwrap();
    assert!(text.contains("nothing was written"), "{text}");
    assert!(text.contains("#   maxReplicas: 50"), "{text}");
    let missing = Args { hpa: "cart".into(), ..args };
    let message = from_client(&missing, &server(true)).await.unwrap_err().to_string();
    assert_eq!(message, "there is no HPA cart in namespace shop");
}
