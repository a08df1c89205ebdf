//! Exact bytes of questions and answers.

use super::*;

const SPENT: &str = "budget: domain payments may borrow no more cpu in the shared node pools";

async fn text(rig: &Rig, path: &str, question: &Value) -> String {
    let (code, body) = rig.send("POST", path, question.to_string()).await;
    assert_eq!(code, 200);
    String::from_utf8(body.to_vec()).unwrap()
}

fn question(pod: &Value, names: &Value) -> Value {
    json!({"Pod": pod, "Nodes": null, "NodeNames": names})
}

#[tokio::test]
async fn a_filter_answer_has_every_field() {
    let rig = Rig::new(0.5).await;
    let inside = question(&pod("pay", "a", "1"), &json!(["n1"]));
    for path in ["/v1/strict/filter", "/v1/open/filter"] {
        assert_eq!(
            text(&rig, path, &inside).await,
            r#"{"Nodes":null,"NodeNames":["n1"],"FailedNodes":{},"FailedAndUnresolvableNodes":{},"Error":""}"#
        );
    }
    // No domain: every name back, unknown and repeated ones too.
    let outside =
        question(&pod("other", "a", "100"), &json!(["n1", "x", "n1", "\u{e9}\"\n", null]));
    assert_eq!(
        text(&rig, "/v1/strict/filter", &outside).await,
        r#"{"Nodes":null,"NodeNames":["n1","x","n1","é\"\n",""],"FailedNodes":{},"FailedAndUnresolvableNodes":{},"Error":""}"#
    );
}

#[tokio::test]
async fn a_refusal_is_an_error_where_errors_count_and_failed_nodes_where_they_do_not() {
    let rig = Rig::new(0.5).await;
    let over = question(&pod("pay", "a", "21"), &json!(["n1", "n2"]));
    assert_eq!(
        text(&rig, "/v1/strict/filter", &over).await,
        format!(
            r#"{{"Nodes":null,"NodeNames":[],"FailedNodes":{{}},"FailedAndUnresolvableNodes":{{}},"Error":"{SPENT}"}}"#
        )
    );
    assert_eq!(
        text(&rig, "/v1/open/filter", &over).await,
        format!(
            r#"{{"Nodes":null,"NodeNames":[],"FailedNodes":{{}},"FailedAndUnresolvableNodes":{{"n1":"{SPENT}","n2":"{SPENT}"}},"Error":""}}"#
        )
    );
    for mode in ["strict", "open"] {
        assert!(rig.counted(&format!(
            r#"hirl_extender_verdicts_total{{verb="filter",mode="{mode}",outcome="refused"}} 1"#
        )));
    }
    assert!(rig.counted(
        r#"hirl_extender_refusals_total{domain="payments",resource="cpu",reason="borrowing"} 2"#
    ));
    assert_eq!(rig.used(), (0, 0, 0), "a refusal holds nothing");
}

#[tokio::test]
async fn null_is_tolerated_wherever_go_has_a_pointer() {
    let rig = Rig::new(0.5).await;
    let nothing = r#"{"Nodes":null,"NodeNames":[],"FailedNodes":{},"FailedAndUnresolvableNodes":{},"Error":""}"#;
    for names in [json!(null), json!([])] {
        let asked = question(&pod("pay", "a", "1"), &names);
        assert_eq!(text(&rig, "/v1/strict/filter", &asked).await, nothing);
    }
    let no_pod = rig.ask("/v1/strict/filter", &question(&json!(null), &json!(["n1"]))).await;
    assert_eq!(no_pod["Error"], "budget: the question names no pod");
    let asked = json!({"Pod": pod("pay", "a", "1"), "NodeNameToVictims": null,
        "NodeNameToMetaVictims": {"n1": null, "n2": {"Pods": null, "NumPDBViolations": null},
            "n3": {"Pods": [null, {"UID": null}]}}});
    let vetoed = r#"{"NodeNameToMetaVictims":{}}"#;
    assert_eq!(text(&rig, "/v1/strict/preempt", &asked).await, vetoed);
    let asked = json!({"Pod": pod("pay", "a", "1"), "NodeNameToMetaVictims": null});
    assert_eq!(text(&rig, "/v1/open/preempt", &asked).await, vetoed);
    assert_eq!(rig.send("POST", "/v1/strict/bind", "{}").await.0, 400);
}

#[tokio::test]
async fn whole_nodes_are_refused_with_the_setting_that_helps() {
    let rig = Rig::new(0.5).await;
    let whole = json!({"Pod": pod("pay", "a", "1"), "Nodes": {"items": []}, "NodeNames": null});
    for path in ["/v1/strict/filter", "/v1/open/filter"] {
        let answer = rig.ask(path, &whole).await;
        assert!(answer["Error"].as_str().unwrap().contains("nodeCacheCapable: true"), "{answer}");
    }
    let (code, body) = rig.send("POST", "/v1/strict/prioritize", whole.to_string()).await;
    assert!(code == 400 && String::from_utf8_lossy(&body).contains("nodeCacheCapable"));
    let victims = json!({"Pod": pod("pay", "a", "1"), "NodeNameToVictims": {"n1": {}},
        "NodeNameToMetaVictims": null});
    let (code, body) = rig.send("POST", "/v1/open/preempt", victims.to_string()).await;
    assert!(code == 400 && String::from_utf8_lossy(&body).contains("nodeCacheCapable"));
}

#[tokio::test]
async fn scores_stand_between_nought_and_ten_in_the_order_of_the_question() {
    let rig = Rig::new(0.5).await;
    let asked = question(&pod("pay", "a", "1"), &json!(["n2", "x", "n1"]));
    assert_eq!(
        text(&rig, "/v1/strict/prioritize", &asked).await,
        r#"[{"Host":"n2","Score":10},{"Host":"x","Score":5},{"Host":"n1","Score":10}]"#
    );
}

#[tokio::test]
async fn victims_pass_for_a_pod_without_a_budget_and_come_back_as_they_came() {
    let rig = Rig::new(0.5).await;
    let asked = json!({"Pod": pod("other", "a", "1"), "NodeNameToVictims": null,
        "NodeNameToMetaVictims": {
            "n1": {"Pods": [{"UID": "v1"}, {"UID": "v2"}], "NumPDBViolations": 2},
            "n2": {"Pods": [], "NumPDBViolations": 0}}});
    // A candidate without victims, given back, would be an error to the scheduler.
    assert_eq!(
        text(&rig, "/v1/strict/preempt", &asked).await,
        r#"{"NodeNameToMetaVictims":{"n1":{"Pods":[{"UID":"v1"},{"UID":"v2"}],"NumPDBViolations":2}}}"#
    );
    let mut of_a_domain = asked;
    of_a_domain["Pod"] = pod("pay", "a", "1");
    assert_eq!(
        text(&rig, "/v1/strict/preempt", &of_a_domain).await,
        r#"{"NodeNameToMetaVictims":{}}"#,
        "unknown victims are nobody's to give away"
    );
}

#[tokio::test]
async fn what_we_cannot_judge_waits_in_strict_mode_and_passes_in_open_mode() {
    let rig = Rig::new(0.5).await;
    rig.placements.lock().stand(Standing::Warming);
    let asked = question(&pod("pay", "a", "1"), &json!(["n1", "n2"]));
    let strict = rig.ask("/v1/strict/filter", &asked).await;
    assert_eq!(strict["Error"], "budget: the placement ledger is being read");
    let open = rig.ask("/v1/open/filter", &asked).await;
    assert_eq!((&open["NodeNames"], &open["Error"]), (&json!(["n1", "n2"]), &json!("")));
    let victims = json!({"Pod": pod("pay", "a", "1"),
        "NodeNameToMetaVictims": {"n1": {"Pods": [{"UID": "v"}], "NumPDBViolations": 0}}});
    assert_eq!(rig.ask("/v1/strict/preempt", &victims).await, json!({"NodeNameToMetaVictims": {}}));
    let open = rig.ask("/v1/open/preempt", &victims).await;
    assert!(open["NodeNameToMetaVictims"]["n1"].is_object());
    assert!(rig.counted(r#"hirl_extender_fail_open_total{outcome="warming"} 2"#));
}
