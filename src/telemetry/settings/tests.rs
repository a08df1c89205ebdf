use super::*;

fn refused(change: impl FnOnce(&mut Settings)) -> String {
    let mut settings = Settings::default();
    change(&mut settings);
    settings.validate().expect_err("accepted")
}

fn query(sample: &str) -> Query {
    Query {
        query: "sum by (namespace, workload) (app_cpu)".to_owned(),
        sample: sample.to_owned(),
        join: Query::unjoined(),
        namespace_label: Query::default_namespace_label(),
        workload_label: Query::default_workload_label(),
    }
}

#[test]
fn the_defaults_are_valid() {
    assert_eq!(Settings::default().validate(), Ok(()));
}

#[test]
fn settings_survive_json_and_name_an_unknown_field() {
    let mut settings = Settings { preset: Preset::OpenTelemetry, ..Settings::default() };
    settings.queries.error_ratio = Some(query("app_errors_total"));
    let text = serde_json::to_string(&settings).unwrap();
    assert!(text.contains(r#""preset":"opentelemetry""#), "{text}");
    assert!(text.contains(r#""errorRatio":{"query""#), "{text}");
    assert_eq!(serde_json::from_str::<Settings>(&text).unwrap(), settings);
    let error = serde_json::from_str::<Settings>(r#"{"windos": {}}"#).unwrap_err();
    assert!(error.to_string().contains("windos"), "{error}");
    let error = serde_json::from_str::<Settings>(r#"{"queries": {"cpu": {"query": "a"}}}"#);
    assert!(error.unwrap_err().to_string().contains("sample"));
}

#[test]
fn windows_and_limits_must_fit_the_scrape_interval() {
    let error = refused(|settings| settings.scrape_interval_seconds = 16);
    assert_eq!(error, "telemetry.windows.rps is 60 s, below four scrapes of 16 s");
    let error = refused(|settings| settings.freshness.cpu = 29.0);
    assert_eq!(error, "telemetry.freshness.cpu is 29 s, below two scrapes of 15 s");
    refused(|settings| settings.freshness.p99 = f64::NAN);
    refused(|settings| settings.scrape_interval_seconds = 0);
    refused(|settings| settings.scrape_interval_seconds = u32::MAX);
}

#[test]
fn an_endpoint_must_be_usable_and_must_not_leak_the_token() {
    for url in
        ["", "prometheus:9090", "ftp://prometheus", "http://", "http://p?a=b", "http://u:p@h"]
    {
        refused(|settings| url.clone_into(&mut settings.url));
    }
    let error = refused(|settings| settings.bearer_token_file = Some("/token".into()));
    assert!(error.contains("unencrypted"), "{error}");
    refused(|settings| settings.client_cert_file = Some("/cert".into()));
}

#[test]
fn times_and_maxima_must_be_positive_numbers() {
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        refused(|settings| settings.timeout_seconds = bad);
        refused(|settings| settings.breaker.probe_seconds = bad);
        refused(|settings| settings.maxima.cpu = bad);
    }
    refused(|settings| settings.concurrency = 0);
    let error = refused(|settings| settings.timeout_seconds = 3.6);
    assert_eq!(error, "telemetry.timeoutSeconds is 3.6, above 3.5");
}

#[test]
fn the_sample_must_be_a_selector_whose_timestamp_is_a_sample_time() {
    for good in [
        "app_cpu",
        "hirl:app:rps:rate1m",
        r#"a{b="c"}"#,
        r#" a {b=~"{namespaces}"} "#,
        r#"{__name__="a}"}"#,
        r#"a{b="\"}",c='x'}"#,
    ] {
        assert!(is_plain_selector(good), "{good} was refused");
    }
    for bad in [
        "",
        "1",
        "rate(a[1m])",
        "a[1m]",
        "a + b",
        r#"a{b="c"}[5m]"#,
        r#"a{b="c"} offset 5m"#,
        r#"a{b="c}"#,
        "a{",
        "sum(a)",
    ] {
        assert!(!is_plain_selector(bad), "{bad} was accepted");
    }
    let error = refused(|settings| {
        settings.queries.cpu = Some(query("rate(a[1m])"));
    });
    assert!(error.starts_with("telemetry.queries.cpu: sample"), "{error}");
}

#[test]
fn names_that_go_into_promql_must_be_label_names() {
    refused(|settings| settings.dedup_labels.push("a) or (b".to_owned()));
    refused(|settings| {
        let query = Query { workload_label: "1x".to_owned(), ..query("a") };
        settings.queries.rps = Some(query);
    });
    refused(|settings| {
        let query = Query { join: "a * b".to_owned(), ..query("a") };
        settings.queries.rps = Some(query);
    });
}
