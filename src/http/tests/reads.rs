//! What a metric read is answered with.

use proptest::prelude::*;

use super::*;
use crate::cluster::{Forecast, ForecastSource, Outlook};
use crate::http::external_metrics::{FORECAST_METRIC, METRIC, READ_INTERVAL_METRIC, WARM_METRIC};

fn selected(selector: &str) -> String {
    format!("{READ}?labelSelector={selector}")
}

#[tokio::test]
async fn a_read_is_answered_with_exactly_one_item_of_the_documented_shape() {
    let rig = Rig::new();
    let answer = rig.read(&selected("target%3Dweb")).await;
    assert_eq!(answer.code, 200);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(
        answer.text(),
        concat!(
            r#"{"kind":"ExternalMetricValueList","apiVersion":"external.metrics.k8s.io/v1beta1","#,
            r#""metadata":{},"items":[{"metricName":"hirl-desired-replicas","#,
            r#""metricLabels":{"target":"web","kind":"Deployment","hpa":"web-hpa","domain":"bank"},"#,
            r#""timestamp":"2025-11-21T23:55:35Z","window":10,"value":"7"}]}"#
        )
    );
    let again = rig.read(&selected("target%3Dweb")).await;
    assert_eq!(again.body, answer.body);
}

#[tokio::test]
async fn a_new_decision_is_read_at_once() {
    let rig = Rig::new();
    assert_eq!(rig.read(&selected("target=web")).await.json()["items"][0]["value"], "7");
    rig.published.send_replace(Some(published(vec![(
        app("d", "web-hpa", "web"),
        decided(Some(8), Rung::Policy),
    )])));
    assert_eq!(rig.read(&selected("target=web")).await.json()["items"][0]["value"], "8");
    assert_eq!(rig.read(&selected("target=api")).await.code, 404);
}

#[tokio::test]
async fn every_form_that_json_satisfies_gets_json() {
    let rig = Rig::new();
    for accept in [
        "application/vnd.kubernetes.protobuf, */*",
        "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
        "application/json",
    ] {
        let target = selected("target%3Dweb");
        let answer = rig.get(&target, &[("accept", accept)], &rig.master()).await;
        assert_eq!((answer.code, answer.header("content-type")), (200, "application/json"));
        assert_eq!(answer.json()["items"][0]["value"], "7", "{accept}");
    }
    let only = [("accept", "application/vnd.kubernetes.protobuf")];
    let refused = rig.get(&selected("target%3Dweb"), &only, &rig.master()).await;
    let message = refused.status(406, "NotAcceptable");
    assert!(message.starts_with("only the following media types are accepted: application/json"));
}

#[tokio::test]
async fn selectors_choose_as_kubernetes_does() {
    let rig = Rig::new();
    for (selector, hpa) in [
        ("target%3Dweb", "web-hpa"),
        ("target%3D%3Dweb", "web-hpa"),
        ("target+in+%28web%2Cnone%29", "web-hpa"),
        ("target%20in%20(web)", "web-hpa"),
        ("target+notin+(web,dark,refused)", "api-hpa"),
        ("target!%3Dweb,target!%3Ddark,hpa+notin+(refused-hpa)", "api-hpa"),
        ("hpa=web-hpa,kind=Deployment,domain=bank,target", "web-hpa"),
        ("target=web,!policy", "web-hpa"),
    ] {
        let answer = rig.read(&selected(selector)).await;
        assert_eq!(answer.code, 200, "{selector}: {}", answer.text());
        let items = answer.json()["items"].as_array().unwrap().clone();
        assert_eq!(items.len(), 1, "{selector}");
        assert_eq!(items[0]["metricLabels"]["hpa"], hpa, "{selector}");
    }
}

#[tokio::test]
async fn several_apps_are_never_added_up_but_named() {
    let rig = Rig::new();
    for target in [READ.to_owned(), selected(""), selected("kind%3DDeployment")] {
        let message = rig.read(&target).await.status(400, "BadRequest");
        for name in ["matches 4", "api (HPA api-hpa)", "web (HPA web-hpa)"] {
            assert!(message.contains(name), "{message}");
        }
    }
    let many =
        (0..25).map(|n| (app("d", &format!("hpa-{n:02}"), "web"), decided(Some(1), Rung::Policy)));
    rig.published.send_replace(Some(published(many.collect())));
    let message = rig.read(&selected("target=web")).await.status(400, "BadRequest");
    assert!(message.contains("matches 25") && message.contains("and 15 more"), "{message}");
    assert_eq!(message.matches("HPA hpa-").count(), 10, "{message}");
}

#[tokio::test]
async fn a_selector_that_finds_nobody_is_not_found() {
    let rig = Rig::new();
    for selector in ["target%3Dnone", "target%3Dweb,hpa%3Dother", "!target", "policy"] {
        rig.read(&selected(selector)).await.status(404, "NotFound");
    }
    let elsewhere = READ.replace("namespaces/d/", "namespaces/empty/");
    let message = rig.read(&elsewhere).await.status(404, "NotFound");
    assert!(message.contains("namespace \"empty\""), "{message}");
}

#[tokio::test]
async fn a_broken_selector_is_a_bad_request_with_the_place() {
    let rig = Rig::new();
    let message = rig.read(&selected("a+in+(")).await.status(400, "BadRequest");
    assert!(message.contains("unable to parse") && message.contains("at byte 6"), "{message}");
    rig.read(&selected("a%3")).await.status(400, "BadRequest");
    rig.read(&selected(&"a,".repeat(5000))).await.status(400, "BadRequest");
    rig.read(&selected(&"a".repeat(20_000))).await.status(414, "BadRequest");
}

#[tokio::test]
async fn whatever_is_no_metric_is_not_found() {
    let rig = Rig::new();
    let unknown = rig.read(&READ.replace(METRIC, "no-such-metric")).await;
    let message = unknown.status(404, "NotFound");
    assert!(message.starts_with("the server could not find the metric no-such-metric for"));
    for path in [
        "/namespaces/d",
        "/hirl-desired-replicas",
        "/namespaces/d/x/y",
        "/namespaces/d/hirl-desired-replicas/",
        "/",
    ] {
        rig.read(&format!("{RESOURCES}{path}")).await.status(404, "NotFound");
    }
    for path in ["/", "/nothing", "/apis/other.io", "//", "/metrics/x"] {
        rig.read(path).await.status(404, "NotFound");
    }
}

#[tokio::test]
async fn only_a_plain_get_reads() {
    let rig = Rig::new();
    for query in ["?watch=true", "?watch=1&labelSelector=target%3Dweb"] {
        let answer = rig.read(&format!("{READ}{query}")).await;
        let message = answer.status(405, "MethodNotAllowed");
        assert!(message.starts_with("watch is not supported"), "{message}");
    }
    for method in ["POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"] {
        let answer = rig.send(request(method, READ, &[]), &rig.master()).await;
        assert_eq!((answer.code, answer.header("allow")), (405, "GET"), "{method}");
        if method != "HEAD" {
            answer.status(405, "MethodNotAllowed");
        }
    }
}

#[tokio::test]
async fn without_a_number_the_reason_is_given_and_never_a_zero() {
    let rig = Rig::new();
    let dark = rig.read(&selected("target=dark")).await.status(503, "ServiceUnavailable");
    assert!(dark.contains("HPA d/dark-hpa: signal cpu is stale"), "{dark}");
    assert!(dark.contains("2025-11-21T23:50:00Z"), "{dark}");
    let refused = rig.read(&selected("target=refused")).await.status(503, "ServiceUnavailable");
    assert!(refused.contains("type Value") && refused.contains("ValueTargetUnsupported"));

    rig.published.send_replace(Some(published_with_age(apps(), 61)));
    let old = rig.read(&selected("target=web")).await.status(503, "ServiceUnavailable");
    assert!(
        old.contains("the last decision is 61.") && old.contains("the limit is 60.0 s"),
        "{old}"
    );

    rig.published.send_replace(None);
    let none = rig.read(&selected("target=web")).await.status(503, "ServiceUnavailable");
    assert!(none.contains("nothing has been decided yet"), "{none}");

    rig.published.send_replace(Some(published(apps())));
    assert_eq!(rig.read(&selected("target=web")).await.code, 200);
}

#[tokio::test]
async fn warm_capacity_is_one_item_without_labels_and_never_an_old_one() {
    let rig = Rig::new();
    let target = READ.replace(METRIC, WARM_METRIC);
    let target = target.split('?').next().unwrap().to_owned();
    let items = rig.read(&target).await.json()["items"].clone();
    assert_eq!(items.as_array().unwrap().len(), 1, "{items}");
    assert_eq!(
        (&items[0]["value"], &items[0]["metricName"]),
        (&"12500m".into(), &WARM_METRIC.into())
    );
    assert_eq!(items[0]["metricLabels"], serde_json::json!({}));
    rig.published.send_replace(Some(published_with_age(apps(), 61)));
    let old = rig.read(&target).await.status(503, "ServiceUnavailable");
    assert!(old.contains("no number for hirl-warm-cores: the last decision is 61."), "{old}");
}

/// A decision whose only domain, `bank`, has this outlook, as the other replica gets it.
fn foreseen(outlook: Outlook, age: u64) -> Arc<Published> {
    let mut decision = decision(apps());
    decision.forecasts = vec![outlook];
    let sent = serde_json::to_string(&decision).unwrap();
    let decision = serde_json::from_str(&sent).unwrap();
    let age = Duration::from_secs(age);
    Arc::new(Published::new(Arc::new(decision), age, Duration::from_mins(1)))
}

/// Made 130 s before the decision.
fn outlook() -> Outlook {
    let row = |base: f64| [base, base + 0.0001, base + 0.8, base + 1.0];
    let forecast = Forecast {
        at: Timestamp::from_millis(1_763_769_205_678),
        level: 90.0,
        ahead: [row(100.0), row(200.0), row(300.0)],
    };
    Outlook { forecast: Some(forecast), source: ForecastSource::Model, why: None }
}

#[tokio::test]
async fn a_forecast_is_one_item_that_the_labels_name() {
    let rig = Rig::new();
    let target = |selector: &str| selected(selector).replace(METRIC, FORECAST_METRIC);
    rig.published.send_replace(Some(foreseen(outlook(), 0)));
    let read = async |selector: &str| rig.read(&target(selector)).await;
    let complete = "domain%3Dbank,horizon%3D15m,quantile%3Dp80";
    let items = read(complete).await.json()["items"].clone();
    assert_eq!(items.as_array().unwrap().len(), 1, "{items}");
    assert_eq!(
        (&items[0]["value"], &items[0]["metricName"]),
        (&"200800m".into(), &FORECAST_METRIC.into())
    );
    let labels = serde_json::json!({"domain": "bank", "horizon": "15m", "quantile": "p80"});
    assert_eq!(items[0]["metricLabels"], labels);
    assert_eq!(items[0]["timestamp"], "2025-11-21T23:53:25Z");
    // Up to the next thousandth, as a quantity rounds.
    let up = read("horizon%3D5m,quantile%3Dp50").await.json()["items"][0]["value"].clone();
    assert_eq!(up, "100001m");

    let open = read("domain%3Dbank,quantile%3Dp80").await.status(400, "BadRequest");
    assert!(
        open.contains(
            "exactly one forecast, and it matches 3: it leaves open horizon (15m, 30m, 5m)"
        ),
        "{open}"
    );
    let all = read("").await.status(400, "BadRequest");
    assert!(
        all.contains("horizon (") && all.contains(" and quantile (p10, p50, p80, p90)"),
        "{all}"
    );
    let none = read("domain%3Dshop,horizon%3D15m,quantile%3Dp80").await.status(404, "NotFound");
    assert!(none.contains("domain is one of bank, horizon of 5m, 15m, 30m"), "{none}");
}

#[tokio::test]
async fn a_forecast_that_is_old_or_absent_is_an_error_with_the_reason_and_never_a_zero() {
    let rig = Rig::new();
    let target = selected("horizon%3D15m,quantile%3Dp80").replace(METRIC, FORECAST_METRIC);
    let refused = async |published: Arc<Published>| {
        rig.published.send_replace(Some(published));
        rig.read(&target).await.status(503, "ServiceUnavailable")
    };
    let off = refused(published(apps())).await;
    assert!(off.contains("nothing has been forecast yet, or forecast.enabled is false"), "{off}");
    let old = refused(foreseen(outlook(), 51)).await;
    assert!(old.contains("the last forecast is 181 s old, the limit is 180 s"), "{old}");
    let older = refused(foreseen(outlook(), 61)).await;
    assert!(older.contains("the last decision is 61."), "{older}");
    let why = Some("no traffic has been measured in the last 3 minutes".to_owned());
    let silent = refused(foreseen(Outlook { why, ..Outlook::default() }, 0)).await;
    assert!(silent.contains("domain bank: no traffic has been measured"), "{silent}");
    rig.published.send_replace(Some(foreseen(outlook(), 49)));
    assert_eq!(rig.read(&target).await.code, 200);
}

#[tokio::test]
async fn reads_of_the_hpa_controller_are_timed_and_nobody_elses() {
    let rig = Rig::new();
    rig.api_server.allows_all();
    let target = READ.replace(METRIC, READ_INTERVAL_METRIC);
    let intervals = async || rig.read(&target).await.json()["items"].as_array().unwrap().clone();
    for _ in 0..3 {
        assert_eq!(rig.read_as("somebody").await.code, 200);
    }
    assert!(intervals().await.is_empty());
    for _ in 0..3 {
        assert_eq!(rig.read_as(HPA_CONTROLLER).await.code, 200);
    }
    let read = intervals().await;
    assert_eq!(read.len(), 1, "{read:?}");
    assert_eq!(read[0]["metricLabels"]["hpa"], "web-hpa");
    assert!(read[0]["value"].as_str().unwrap().ends_with('m'), "{read:?}");

    // A later catalog keeps the clock of an app that is still there.
    rig.published.send_replace(Some(published(apps())));
    assert_eq!(intervals().await.len(), 1);
    let text = rig.read("/metrics").await;
    assert!(text.text().contains(r#"hirl_hpa_read_interval_seconds{namespace="d",hpa="web-hpa"}"#));
    rig.published.send_replace(Some(published(Vec::new())));
    let text = rig.read("/metrics").await;
    assert!(!text.text().contains("hirl_hpa_read_interval_seconds{"), "{}", text.text());
}

#[tokio::test]
async fn reads_are_counted_by_answer() {
    let rig = Rig::new();
    rig.read(&selected("target=web")).await;
    rig.read(&selected("target=none")).await;
    rig.read(&selected("target=dark")).await;
    let text = rig.instruments.render();
    for line in [
        r#"requests_total{code="200",reason="OK"} 1"#,
        r#"requests_total{code="404",reason="NotFound"} 1"#,
        r#"requests_total{code="503",reason="ServiceUnavailable"} 1"#,
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_target_and_no_header_break_the_service(
        path in "[a-z%0-9/.+=&?,!()-]{0,60}",
        accept in "[ -~]{0,60}",
        authorization in "[ -~]{0,30}",
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let rig = Rig::new();
            let headers = [("accept", accept.as_str()), ("authorization", authorization.as_str())];
            for target in [format!("/{path}"), format!("{RESOURCES}/namespaces/{path}"), selected(&path)] {
                let Ok(uri) = target.parse::<hyper::Uri>() else { continue };
                let answer = rig.get(&uri.to_string(), &headers, &rig.master()).await;
                assert_ne!(answer.code, 500, "{target}: {}", answer.text());
            }
        });
    }
}
