//! Never success without a Binding, never a Binding that the ledger does not know.

use super::*;

const BIND: &str = "/v1/strict/bind";

async fn bind(rig: &Rig, name: &str, node: &str) -> String {
    let answer = rig.ask(BIND, &binding(name, node)).await;
    answer["Error"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_binding_carries_the_uid_and_the_grant() {
    let rig = Rig::new(0.5).await;
    assert_eq!(rig.filter("a", "2", &["n1", "n2"]).await["Error"], "");
    assert_eq!(rig.used(), (0, 0, 2000));
    rig.api_server.then(made());
    assert_eq!(bind(&rig, "a", "n2").await, "");
    let asked = rig.api_server.asked();
    assert_eq!(asked[0].0, "POST /api/v1/namespaces/pay/pods/a/binding");
    assert_eq!(asked[0].1["target"]["name"], "n2");
    assert_eq!(asked[0].1["metadata"]["uid"], "uid-a");
    assert_eq!(
        asked[0].1["metadata"]["annotations"],
        json!({"hirl-scale.io/budget-epoch": "7-1", "hirl-scale.io/budget-pool": "general",
            "hirl-scale.io/budget-domain": "payments"})
    );
    assert_eq!(rig.used(), (2000, 0, 0));
    // Asked again: bound already, nothing is sent.
    assert_eq!(bind(&rig, "a", "n2").await, "");
    assert_eq!(rig.api_server.asked().len(), 1);
    assert_ne!(bind(&rig, "a", "n3").await, "");
    assert_eq!(rig.api_server.asked().len(), 1);
}

#[tokio::test]
async fn a_conflict_is_success_only_when_the_pod_is_on_that_node() {
    for (found, success) in [
        (pod_at("uid-a", Some("n1")), true),
        (pod_at("uid-a", Some("n2")), false),
        (pod_at("uid-a", None), false),
        (pod_at("another", Some("n1")), false),
        (failed(404), false),
    ] {
        for code in [404, 409, 422] {
            let rig = Rig::new(0.5).await;
            rig.filter("a", "2", &["n1"]).await;
            rig.api_server.then(failed(code));
            rig.api_server.then(found.clone());
            let error = bind(&rig, "a", "n1").await;
            assert_eq!(error.is_empty(), success, "{code} {found:?}: {error}");
            let used = if success { (2000, 0, 0) } else { (0, 0, 0) };
            assert_eq!(rig.used(), used, "{code} {found:?}");
        }
    }
}

#[tokio::test]
async fn an_unknown_outcome_is_an_error_and_stays_in_the_ledger_until_it_is_known() {
    for reply in [Reply::Never, failed(500), failed(504), Reply::Panic] {
        let rig = Rig::new(0.5).await;
        rig.filter("a", "2", &["n1"]).await;
        rig.api_server.then(reply.clone());
        assert_ne!(bind(&rig, "a", "n1").await, "", "{reply:?}");
        assert_eq!(rig.used(), (0, 2000, 0), "{reply:?}");
        assert_eq!(rig.placements.lock().unsettled().len(), 1);
        // The first answer says nothing either.
        rig.api_server.then(failed(500));
        rig.api_server.then(pod_at("uid-a", Some("n1")));
        let resolver = tokio::spawn(rig.service.binder.clone().resolve(rig.stop.clone()));
        eventually("it is found bound", async || rig.used() == (2000, 0, 0)).await;
        rig.stop.cancel();
        resolver.await.unwrap();
    }
}

#[tokio::test]
async fn a_pod_that_is_gone_frees_what_its_binding_took() {
    let rig = Rig::new(0.5).await;
    rig.filter("a", "2", &["n1"]).await;
    rig.api_server.then(failed(500));
    assert_ne!(bind(&rig, "a", "n1").await, "");
    // Not bound yet proves nothing; gone does.
    rig.api_server.then(pod_at("uid-a", None));
    rig.api_server.then(failed(404));
    let resolver = tokio::spawn(rig.service.binder.clone().resolve(rig.stop.clone()));
    eventually("two questions were asked", async || rig.api_server.asked().len() >= 2).await;
    assert_eq!(rig.placements.lock().unsettled().len(), 1, "unbound for a second is no proof");
    eventually("it is let go", async || rig.used() == (0, 0, 0)).await;
    rig.stop.cancel();
    resolver.await.unwrap();
}

#[tokio::test]
async fn nothing_is_sent_without_the_lease_of_the_term_in_which_the_ledger_was_read() {
    let rig = Rig::new(0.5).await;
    let epoch = rig.guard.epoch().unwrap();
    for other in [None, Some(epoch + 1)] {
        rig.filter("a", "2", &["n1"]).await;
        rig.term.set(other);
        let error = bind(&rig, "a", "n1").await;
        assert_eq!(error, "budget: another replica owns the placement ledger");
        assert_eq!(rig.used().1, 0);
    }
    assert!(rig.api_server.asked().is_empty());
    assert!(rig.counted(r#"hirl_extender_bind_refusals_total{outcome="not-owner"} 2"#));
}

#[tokio::test]
async fn the_ledger_is_asked_first_and_its_refusal_is_counted() {
    let rig = Rig::new(0.1).await;
    // Four cores; a pod of three, then one without a hold.
    rig.filter("a", "3", &["n1"]).await;
    rig.api_server.then(made());
    assert_eq!(bind(&rig, "a", "n1").await, "");
    assert_ne!(bind(&rig, "unknown", "n1").await, "");
    assert_eq!(rig.api_server.asked().len(), 1);
    assert!(rig.counted(r#"hirl_extender_bind_refusals_total{outcome="unknown-pod"} 1"#));
}

#[tokio::test]
async fn a_scheduler_that_gives_up_leaves_no_binding_behind_unknown() {
    let rig = Rig::new(0.5).await;
    rig.filter("a", "2", &["n1"]).await;
    rig.api_server.then(Reply::Never);
    let (question, body) = (binding("a", "n1"), Duration::from_millis(20));
    let given_up = tokio::time::timeout(body, rig.ask(BIND, &question)).await;
    assert!(given_up.is_err());
    assert_eq!(rig.used(), (0, 2000, 0));
    eventually("its outcome is unknown", async || rig.placements.lock().unsettled().len() == 1)
        .await;
}

#[tokio::test]
async fn a_definite_no_frees_the_budget_at_once() {
    for code in [400, 403, 429] {
        let rig = Rig::new(0.5).await;
        rig.filter("a", "2", &["n1"]).await;
        rig.api_server.then(failed(code));
        let error = bind(&rig, "a", "n1").await;
        assert!(error.contains("as scripted"), "{error}");
        assert_eq!(rig.used(), (0, 0, 0));
    }
}
