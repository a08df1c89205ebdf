use super::*;

fn read(text: &str) -> Objects {
    Objects::from_documents(yaml::parse("x.yaml", text).unwrap(), "shop").unwrap()
}

fn found(text: &str) -> Vec<Finding> {
    rules::run(&read(text))
}

fn only(text: &str, rule: &str) -> Finding {
    let mut all = found(text);
    all.retain(|finding| finding.rule == rule);
    assert_eq!(all.len(), 1, "{all:#?}");
    all.remove(0)
}

fn names(text: &str) -> Vec<&'static str> {
    found(text).iter().map(|finding| finding.rule).collect()
}

/// A HPA on our metric as the examples write it, with `extra` lines of `spec`.
fn ours(name: &str, max: u32, extra: &str) -> String {
    format!(
        r#"
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {{name: {name}, namespace: shop}}
spec:
  scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: {name}}}
  maxReplicas: {max}
  metrics:
  - type: External
    external:
      metric: {{name: hirl-desired-replicas, selector: {{matchLabels: {{target: {name}}}}}}}
      target: {{type: AverageValue, averageValue: "1"}}
{extra}
"#
    )
}

const EXACT: &str = r#"
  behavior:
    scaleUp: {tolerance: "0", stabilizationWindowSeconds: 0, selectPolicy: Max, policies: [{type: Pods, value: 1000, periodSeconds: 15}]}
    scaleDown: {tolerance: "0", stabilizationWindowSeconds: 0, policies: [{type: Percent, value: 100, periodSeconds: 15}]}
"#;

const BANK_CHURN: &str = r"
apiVersion: apps/v1
kind: Deployment
metadata: {name: bankchurn, namespace: ml}
spec:
  template:
    spec:
      containers: [{name: model, resources: {requests: {cpu: 500m, memory: 512Mi}}}]
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: bankchurn, namespace: ml}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: bankchurn}
  minReplicas: 1
  maxReplicas: 5
  metrics:
  - {type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}
  - {type: Resource, resource: {name: memory, target: {type: Utilization, averageUtilization: 80}}}
";

const BANK_CHURN_STATUS: &str = r"
status:
  currentReplicas: 3
  currentMetrics:
  - {type: Resource, resource: {name: cpu, current: {averageUtilization: 2, averageValue: 10m}}}
  - {type: Resource, resource: {name: memory, current: {averageUtilization: 64, averageValue: 332Mi}}}
";

#[test]
fn memory_that_blocks_scale_down_is_found_with_its_arithmetic_and_a_patch() {
    let finding = only(&format!("{BANK_CHURN}{BANK_CHURN_STATUS}"), "memory-blocks-scale-down");
    assert_eq!(finding.severity, Severity::Error);
    let arithmetic =
        "3 pods x 332 Mi of 512 Mi = 64.8 %; ceil(3 x 64.8 / 80) = ceil(2.43) = 3: never below 3";
    assert!(finding.sentence.starts_with(arithmetic), "{}", finding.sentence);
    let metrics = &finding.patch.unwrap().body["spec"]["metrics"];
    assert_eq!(metrics.as_array().unwrap().len(), 1);
    assert_eq!(metrics[0]["resource"]["name"], "cpu");
}

#[test]
fn memory_that_lets_the_last_pod_go_is_not_found() {
    let light = BANK_CHURN_STATUS.replace(
        "averageUtilization: 64, averageValue: 332Mi",
        "averageUtilization: 29, averageValue: 149Mi",
    );
    assert_eq!(names(&format!("{BANK_CHURN}{light}")), Vec::<&str>::new());
}

#[test]
fn memory_is_only_a_warning_while_cpu_needs_the_pods_too() {
    let busy = BANK_CHURN_STATUS.replace("averageUtilization: 2,", "averageUtilization: 50,");
    let finding = only(&format!("{BANK_CHURN}{busy}"), "memory-blocks-scale-down");
    assert_eq!(finding.severity, Severity::Warning);
}

#[test]
fn at_its_lower_bound_the_way_down_from_the_next_peak_is_judged() {
    // From 5: ceil(5 x 0.8) = 4, ceil(4 x 0.8) = 4.
    let small = BANK_CHURN_STATUS.replace("currentReplicas: 3", "currentReplicas: 1");
    let finding = only(&format!("{BANK_CHURN}{small}"), "memory-blocks-scale-down");
    assert!(finding.sentence.contains("never below 4"), "{}", finding.sentence);
}

#[test]
fn without_measurements_the_largest_harmless_footprint_is_named() {
    let finding = only(BANK_CHURN, "memory-blocks-scale-down");
    assert_eq!(finding.severity, Severity::Warning);
    // ceil(2 x used / 80) = 1 needs 40 % of 512 Mi.
    assert!(finding.sentence.contains("at most 205 Mi of 512 Mi (40.0 %)"), "{}", finding.sentence);
}

#[test]
fn an_exact_hpa_of_ours_is_clean() {
    assert_eq!(names(&ours("web", 50, EXACT)), Vec::<&str>::new());
}

#[test]
fn a_missing_tolerance_names_the_numbers_that_do_nothing() {
    let text = ours("web", 50, &EXACT.replace("tolerance: \"0\", ", ""));
    let finding = only(&text, "tolerance");
    assert!(finding.sentence.contains("at 50 replicas the numbers 45..55"), "{}", finding.sentence);
    assert_eq!(finding.severity, Severity::Warning);
    // Below 10 replicas nothing is lost.
    assert_eq!(names(&text.replace("maxReplicas: 50", "maxReplicas: 9")), Vec::<&str>::new());
}

#[test]
fn the_dead_band_is_the_one_that_was_measured_on_a_cluster() {
    for (replicas, band) in [
        (1, (1, 1)),
        (9, (9, 9)),
        (10, (9, 11)),
        (20, (18, 22)),
        (21, (19, 23)),
        (30, (27, 33)),
        (50, (45, 55)),
        (100, (90, 110)),
        (1000, (900, 1100)),
    ] {
        assert_eq!(pace::dead_band(replicas, 0.1, 0.1), band, "{replicas}");
        assert_eq!(pace::dead_band(replicas, 0.0, 0.0), (replicas, replicas));
    }
}

#[test]
fn a_value_target_and_a_divisor_are_errors_with_a_patch_that_cleans_them() {
    for (bad, rule) in [
        ("{type: Value, value: \"1\"}", "value-target"),
        ("{type: AverageValue, averageValue: \"2\"}", "average-value-not-one"),
        ("{type: AverageValue, averageValue: 500m}", "average-value-not-one"),
    ] {
        let good = "{type: AverageValue, averageValue: \"1\"}";
        let finding = only(&ours("web", 9, EXACT).replace(good, bad), rule);
        assert_eq!(finding.severity, Severity::Error);
        let target = &finding.patch.unwrap().body["spec"]["metrics"][0]["external"]["target"];
        assert_eq!(target, &serde_json::json!({"type": "AverageValue", "averageValue": "1"}));
    }
    // 1000m is 1.
    let thousand = ours("web", 9, EXACT).replace("averageValue: \"1\"", "averageValue: 1000m");
    assert_eq!(names(&thousand), Vec::<&str>::new());
}

#[test]
fn selectors_that_miss_or_mix_apps_are_found() {
    let selector = ", selector: {matchLabels: {target: web}}";
    let both = format!("{}{}", ours("web", 9, EXACT), ours("cart", 9, EXACT));
    assert_eq!(names(&both), Vec::<&str>::new());

    let missing = only(&both.replace(selector, ""), "selector");
    assert!(missing.sentence.contains("2 apps in shop (web, cart)"), "{}", missing.sentence);
    let labels =
        &missing.patch.unwrap().body["spec"]["metrics"][0]["external"]["metric"]["selector"];
    assert_eq!(labels["matchLabels"]["target"], "web");
    // Alone, no selector is needed.
    assert_eq!(names(&ours("web", 9, EXACT).replace(selector, "")), Vec::<&str>::new());

    let crossed = only(&both.replace("{target: web}", "{target: cart}"), "selector");
    assert!(crossed.sentence.contains("would follow that HPA's number"), "{}", crossed.sentence);
    let lost = only(&both.replace("{target: web}", "{target: wbe}"), "selector");
    assert!(lost.sentence.contains("404"), "{}", lost.sentence);
    let expression = both.replace(
        "matchLabels: {target: web}",
        "matchExpressions: [{key: target, operator: NotIn, values: [cart]}, {key: domain, operator: Exists}]",
    );
    assert_eq!(names(&expression), Vec::<&str>::new());
}

#[test]
fn slow_and_capped_hpas_are_found_with_their_times() {
    let bare = ours("web", 50, "");
    let slow = only(&bare, "slow-scale-down");
    assert!(slow.sentence.contains("300 s (the default)"), "{}", slow.sentence);
    let capped = only(&bare, "capped-scale-up");
    assert!(
        capped.sentence.contains("takes 75 s whatever we ask for: 1 -> 5 -> 10 -> 20 -> 40 -> 50"),
        "{}",
        capped.sentence
    );
    assert_eq!(capped.severity, Severity::Warning);
    let off = only(&ours("web", 50, &EXACT.replace("Max", "Disabled")), "capped-scale-up");
    assert_eq!(off.severity, Severity::Error);
    let one = EXACT.replace("value: 1000, periodSeconds: 15", "value: 1, periodSeconds: 60");
    let one = only(&ours("web", 3, &one), "capped-scale-up");
    assert!(one.sentence.contains("1 -> 2 -> 2 -> 2 -> 2 -> 3"), "{}", one.sentence);
}

#[test]
fn applying_every_patch_of_a_bare_hpa_makes_it_clean() {
    let text = ours("web", 50, "")
        .replace("{type: AverageValue, averageValue: \"1\"}", "{type: Value, value: 3}");
    let mut value = yaml::parse("x.yaml", &text).unwrap().remove(0).value;
    let mut rounds = 0;
    loop {
        let document = yaml::Document { origin: String::new(), value: value.clone() };
        let objects = Objects::from_documents(vec![document], "shop").unwrap();
        let all = rules::run(&objects);
        if all.is_empty() {
            break;
        }
        for finding in all {
            crate::cli::objects::patch::tests::apply(&mut value, &finding.patch.unwrap().body);
        }
        rounds += 1;
        assert!(rounds < 3, "the patches do not converge");
    }
    assert!(rounds > 0);
}

#[test]
fn conflicts_between_objects_are_found() {
    let two = format!(
        "{}{}",
        ours("web", 9, EXACT),
        ours("web2", 9, EXACT)
            .replace("kind: Deployment, name: web2", "kind: Deployment, name: web")
    );
    let shared = only(&two, "shared-target");
    assert!(shared.sentence.contains("as HPA web does"), "{}", shared.sentence);

    let vpa = "
---
apiVersion: autoscaling.k8s.io/v1
kind: VerticalPodAutoscaler
metadata: {name: web, namespace: shop}
spec: {targetRef: {apiVersion: apps/v1, kind: Deployment, name: web}, updatePolicy: {updateMode: MODE}}
";
    let with = |mode: &str| format!("{}{}", ours("web", 9, EXACT), vpa.replace("MODE", mode));
    let conflict = only(&with("Auto"), "vpa-on-cpu");
    assert_eq!(conflict.severity, Severity::Warning);
    assert_eq!(conflict.patch.unwrap().resource, "vpa");
    assert_eq!(names(&with("\"Off\"")), Vec::<&str>::new());
    let memory_only = with("Auto").replace(
        "updatePolicy:",
        "resourcePolicy: {containerPolicies: [{containerName: '*', controlledResources: [memory]}]}, updatePolicy:",
    );
    assert_eq!(names(&memory_only), Vec::<&str>::new());
    let plain = BANK_CHURN
        .replace("80", "101")
        .replace("ml", "shop")
        .replace("name: bankchurn", "name: web");
    let conflict = only(&format!("{plain}{}", vpa.replace("MODE", "Auto")), "vpa-on-cpu");
    assert_eq!(conflict.severity, Severity::Error);
}

#[test]
fn bounds_that_cannot_hold_are_errors() {
    let min = ours("web", 3, &format!("  minReplicas: 4{EXACT}"));
    let finding = only(&min, "bounds");
    assert_eq!(finding.severity, Severity::Error);
    assert_eq!(finding.patch.unwrap().body["spec"]["maxReplicas"], 4);
    assert!(names(&ours("web", 0, EXACT)).contains(&"bounds"));
}

#[test]
fn pods_without_a_cpu_request_are_found() {
    let deployment = "
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec: {template: {spec: {containers: [{name: app}]}}}
";
    let finding = only(&format!("{}{deployment}", ours("web", 9, EXACT)), "no-cpu-request");
    assert!(finding.sentence.contains("Deployment web"), "{}", finding.sentence);
}

#[test]
fn the_sum_of_all_maxima_is_compared_with_the_nodes() {
    let node = |name: &str, extra: &str| {
        format!(
            "\n---\napiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}\n{extra}\nstatus: {{allocatable: {{cpu: 1, memory: 8Gi}}}}\n"
        )
    };
    // 5 x 500m = 2.5 cores on one node of 1; the cordoned one does not count.
    let text = format!(
        "{}{}{}",
        BANK_CHURN.replace("80", "101"),
        node("a", ""),
        node("b", "spec: {unschedulable: true}")
    );
    let finding = only(&text, "sum-of-max");
    assert!(
        finding
            .sentence
            .contains("1 HPAs request 2.5 cores of cpu, 250 % of the 1.0 cores that 1 nodes"),
        "{}",
        finding.sentence
    );
    let enough = format!("{text}{}{}", node("c", ""), node("d", ""));
    assert!(!names(&enough).contains(&"sum-of-max"));
}

#[test]
fn the_report_names_place_rule_and_command() {
    let objects = read(&ours("web", 50, &EXACT.replace("Max", "Disabled")));
    let findings = rules::run(&objects);
    let text = report(&objects, &findings, &["a note".to_owned()]);
    let start = "error: capped-scale-up: HorizontalPodAutoscaler shop/web (x.yaml:";
    assert!(text.starts_with(start), "{text}");
    assert!(
        text.contains("\n  kubectl -n shop patch hpa.v2.autoscaling web --type=merge -p '{"),
        "{text}"
    );
    assert!(text.ends_with("note: a note\nHPAs: 1, errors: 1, warnings: 0\n"), "{text}");
    let json = as_json(&findings);
    assert_eq!(json[0]["severity"], "error");
    assert!(json[0]["command"].as_str().unwrap().starts_with("kubectl"));
}

#[test]
fn files_are_read_and_the_exit_code_tells_errors_from_warnings() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.yaml");
    let lint = |text: &str| {
        std::fs::write(&path, text).unwrap();
        run(&Args {
            file: vec![folder.path().display().to_string()],
            cluster: ClusterArgs::default(),
            namespace: None,
            all_namespaces: false,
            output: Output::Text,
        })
    };
    assert_eq!(lint(&ours("web", 50, EXACT)).unwrap(), ExitCode::SUCCESS);
    assert_eq!(lint(&ours("web", 50, "")).unwrap(), ExitCode::SUCCESS);
    let bad = ours("web", 50, &EXACT.replace("Max", "Disabled"));
    assert_eq!(lint(&bad).unwrap(), ExitCode::FAILURE);
    let message = format!("{:#}", lint("kind: [").unwrap_err());
    assert!(message.contains("a.yaml:") && message.lines().count() == 1, "{message}");
}
