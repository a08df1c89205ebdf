//! Who may read, and what finding that out costs the API server.

use super::*;

fn web() -> String {
    format!("{READ}?labelSelector=target%3Dweb")
}

#[tokio::test]
async fn without_credentials_nobody_reads_and_forged_headers_change_nothing() {
    let rig = Rig::new();
    let plain = rig.get(&web(), &[], &nobody()).await;
    let message = plain.status(403, "Forbidden");
    assert_eq!(
        message,
        concat!(
            r#"hirl-desired-replicas.external.metrics.k8s.io is forbidden: User "system:anonymous" "#,
            r#"cannot list resource "hirl-desired-replicas" in API group "external.metrics.k8s.io" "#,
            r#"in the namespace "d""#
        )
    );
    let forged = [("x-remote-user", "system:admin"), ("x-remote-group", "system:masters")];
    let refused = rig.get(&web(), &forged, &nobody()).await;
    assert_eq!(refused.body, plain.body);
    let asked = rig.api_server.asked();
    assert_eq!(asked.len(), 1, "the second read is the same question");
    assert_eq!(asked[0]["spec"]["groups"], json!(["system:unauthenticated"]));
}

#[tokio::test]
async fn forged_headers_of_an_ordinary_client_change_nothing() {
    let rig = Rig::new();
    let forged = [("x-remote-user", "system:admin"), ("x-remote-group", "system:masters")];
    let user = rig.clients.shown("eve", &["devs"]);
    let message = rig.get(&web(), &forged, &user).await.status(403, "Forbidden");
    assert!(message.contains(r#"User "eve""#), "{message}");
    assert_eq!(
        rig.api_server.asked()[0]["spec"]["groups"],
        json!(["devs", "system:authenticated"])
    );
}

#[tokio::test]
async fn a_front_proxy_needs_the_right_signer_name_and_purpose() {
    let rig = Rig::new();
    rig.api_server.allows_all();
    let headers = [("x-remote-user", "eve")];
    let stranger = Authority::new("strangers");
    let server_only = rig.proxies.sign(&[], |params| {
        params.distinguished_name.push(DnType::CommonName, "front-proxy-client");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    for (what, connection) in [
        ("another signer", stranger.shown("front-proxy-client", &[])),
        ("another name", rig.proxies.shown("somebody", &[])),
        ("no client certificate", Connection::new(vec![server_only.der])),
        ("garbage", Connection::new(vec![CertificateDer::from(vec![1, 2, 3])])),
    ] {
        let answer = rig.get(&web(), &headers, &connection).await;
        assert_eq!(answer.status(401, "Unauthorized"), "Unauthorized", "{what}");
    }
    assert!(rig.api_server.asked().is_empty());
    assert_eq!(rig.get(&web(), &headers, &rig.front_proxy()).await.code, 200);
    // Without a user it is nobody.
    rig.get(&web(), &[], &rig.front_proxy()).await.status(401, "Unauthorized");

    rig.believe(|believed| believed.allowed_names.clear());
    assert_eq!(rig.get(&web(), &headers, &rig.proxies.shown("somebody", &[])).await.code, 200);
    rig.believe(|believed| believed.requestheader_ca = None);
    rig.get(&web(), &headers, &rig.front_proxy()).await.status(401, "Unauthorized");
}

#[tokio::test]
async fn a_new_authentication_config_is_believed_on_open_connections() {
    let rig = Rig::new();
    rig.api_server.allows_all();
    let headers = [("x-remote-user", "eve"), ("x-new-user", "bob")];
    let connection = rig.front_proxy();
    assert_eq!(rig.get(&web(), &headers, &connection).await.code, 200);
    rig.believe(|believed| believed.username_headers = vec!["x-new-user".to_owned()]);
    assert_eq!(rig.get(&web(), &headers, &connection).await.code, 200);
    let users: Vec<Value> =
        rig.api_server.asked().iter().map(|review| review["spec"]["user"].clone()).collect();
    assert_eq!(users, ["eve", "bob"]);

    // During a rotation both signers stand in the bundle, then only the new one.
    let new = Authority::new("new proxies");
    let both = format!("{}{}", rig.proxies.pem, new.pem);
    let new_connection = new.shown("front-proxy-client", &[]);
    let user = [("x-remote-user", "eve")];
    rig.believe(|believed| believed.requestheader_ca = Some(both));
    assert_eq!(rig.get(&web(), &user, &connection).await.code, 200);
    assert_eq!(rig.get(&web(), &user, &new_connection).await.code, 200);
    rig.believe(|believed| believed.requestheader_ca = Some(new.pem.clone()));
    rig.get(&web(), &user, &connection).await.status(401, "Unauthorized");
    assert_eq!(rig.get(&web(), &user, &new_connection).await.code, 200);
}

#[tokio::test]
async fn users_of_one_connection_are_told_apart() {
    let rig = Rig::new();
    rig.api_server
        .answers(|review| Reply::Status(json!({"allowed": review["spec"]["user"] == "good"})));
    let connection = rig.front_proxy();
    for _ in 0..3 {
        for (user, code) in [("good", 200), ("bad", 403)] {
            let answer = rig.get(&web(), &[("x-remote-user", user)], &connection).await;
            assert_eq!(answer.code, code, "{user}");
        }
        let in_group = [("x-remote-user", "bad"), ("x-remote-group", "system:masters")];
        assert_eq!(rig.get(&web(), &in_group, &connection).await.code, 200);
    }
    assert_eq!(rig.api_server.asked().len(), 2);
}

#[tokio::test]
async fn everything_that_is_known_of_a_user_reaches_the_review() {
    let rig = Rig::new();
    let headers = [
        ("x-remote-user", "eve"),
        ("x-remote-uid", "42"),
        ("x-remote-group", "devs"),
        ("x-remote-extra-scopes.example.com%2Fa", "x"),
    ];
    rig.get(&web(), &headers, &rig.front_proxy()).await.status(403, "Forbidden");
    assert_eq!(
        rig.api_server.asked()[0]["spec"],
        json!({
            "user": "eve",
            "uid": "42",
            "groups": ["devs", "system:authenticated"],
            "extra": {"scopes.example.com/a": ["x"]},
            "resourceAttributes": {
                "verb": "list",
                "group": "external.metrics.k8s.io",
                "version": "v1beta1",
                "namespace": "d",
                "resource": "hirl-desired-replicas",
            },
        })
    );
}

#[tokio::test]
async fn the_api_servers_own_user_without_groups_is_authenticated() {
    let rig = Rig::new();
    rig.api_server.answers(|review| {
        let groups = review["spec"]["groups"].as_array().unwrap();
        Reply::Status(json!({"allowed": groups.contains(&json!("system:authenticated"))}))
    });
    let headers = [("x-remote-user", "system:kube-aggregator")];
    assert_eq!(rig.get(RESOURCES, &headers, &rig.front_proxy()).await.code, 200);
}

#[tokio::test]
async fn a_token_is_reviewed_once_and_a_bad_one_is_refused() {
    let rig = Rig::new();
    rig.api_server.answers(|review| {
        Reply::Status(match review["kind"].as_str() {
            Some("TokenReview") if review["spec"]["token"] == "good" => {
                json!({"authenticated": true, "user": {"username": "bob", "groups": ["devs"]}})
            }
            Some("TokenReview") => json!({"authenticated": false}),
            _ => json!({"allowed": review["spec"]["user"] == "bob"}),
        })
    });
    for _ in 0..3 {
        let good = rig.get(&web(), &[("authorization", "Bearer good")], &nobody()).await;
        assert_eq!(good.code, 200);
        let garbage = rig.get(&web(), &[("authorization", "Bearer garbage")], &nobody()).await;
        garbage.status(401, "Unauthorized");
    }
    assert_eq!(rig.api_server.asked().len(), 3, "two tokens and one access");
    // A good token helps a client whose certificate says nothing.
    let stranger = Authority::new("strangers").shown("x", &[]);
    let answer = rig.get(&web(), &[("authorization", "Bearer good")], &stranger).await;
    assert_eq!(answer.code, 200);
    // Another scheme is no credential of ours.
    let basic = rig.get(&web(), &[("authorization", "Basic abc")], &nobody()).await;
    assert!(basic.status(403, "Forbidden").contains("system:anonymous"));
}

#[tokio::test]
async fn many_first_reads_cost_one_review() {
    let rig = Arc::new(Rig::new());
    rig.api_server.allows_all();
    let connection = Arc::new(rig.front_proxy());
    let reads: Vec<_> = (0..200)
        .map(|_| {
            let (rig, connection) = (Arc::clone(&rig), Arc::clone(&connection));
            tokio::spawn(async move {
                rig.get(&web(), &[("x-remote-user", HPA_CONTROLLER)], &connection).await.code
            })
        })
        .collect();
    for read in reads {
        assert_eq!(read.await.unwrap(), 200);
    }
    assert_eq!(rig.api_server.asked().len(), 1);
    for _ in 0..10 {
        assert_eq!(rig.read_as(HPA_CONTROLLER).await.code, 200);
    }
    assert_eq!(rig.api_server.asked().len(), 1);
    assert!(rig.instruments.render().contains(r#"hirl_reviews_total{outcome="allowed"} 1"#));
}

/// Asks again until the answer has this code; the time that must pass first is the server's.
async fn becomes(rig: &Rig, user: &str, code: u16) -> Answer {
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    loop {
        let answer = rig.read_as(user).await;
        if answer.code == code {
            return answer;
        }
        assert!(std::time::Instant::now() < deadline, "still {}: {}", answer.code, answer.text());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_grant_and_its_withdrawal_take_effect_within_their_times() {
    let rig =
        Rig::with(&Settings { deny_seconds: 0.02, allow_seconds: 0.02, ..Settings::default() });
    assert_eq!(rig.read_as("nobody").await.code, 403);
    rig.api_server.allows_all();
    becomes(&rig, "nobody", 200).await;
    rig.api_server.answers(|_| Reply::Status(json!({"allowed": false, "reason": "withdrawn"})));
    let refused = becomes(&rig, "nobody", 403).await;
    assert!(refused.status(403, "Forbidden").ends_with(": withdrawn"));
}

#[tokio::test]
async fn a_failed_review_is_an_error_that_is_not_remembered() {
    let rig = Rig::new();
    rig.api_server.answers(|_| Reply::Error);
    let message = rig.read_as("bob").await.status(503, "ServiceUnavailable");
    assert!(
        message.contains(r#"user "bob""#) && message.contains("SubjectAccessReview"),
        "{message}"
    );
    let token = rig.get(&web(), &[("authorization", "Bearer t")], &nobody()).await;
    assert!(token.status(503, "ServiceUnavailable").contains("TokenReview"));
    rig.api_server.allows_all();
    assert_eq!(rig.read_as("bob").await.code, 200);
}

#[tokio::test]
async fn a_review_that_hangs_is_named_within_the_deadline() {
    let rig = Rig::with(&Settings { review_seconds: 0.02, ..Settings::default() });
    rig.api_server.answers(|_| Reply::Never);
    let message = rig.read_as("bob").await.status(503, "ServiceUnavailable");
    assert!(message.contains("no answer within 20ms"), "{message}");

    let late = Rig::with(&Settings { deadline_seconds: 0.02, ..Settings::default() });
    late.api_server.answers(|_| Reply::Never);
    let message = late.read_as("bob").await.status(504, "Timeout");
    assert!(message.contains("no answer within 20ms"), "{message}");
}

#[tokio::test]
async fn an_old_allowance_bridges_an_api_server_that_does_not_answer() {
    let settings = Settings { allow_seconds: 0.001, deny_seconds: 0.001, ..Settings::default() };
    let rig = Rig::with(&settings);
    rig.api_server.allows_all();
    assert_eq!(rig.read_as("bob").await.code, 200);
    rig.api_server.answers(|_| Reply::Error);
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while rig.api_server.asked().len() < 4 {
        assert_eq!(rig.read_as("bob").await.code, 200);
        assert!(std::time::Instant::now() < deadline, "the allowance is never asked for again");
    }
    rig.read_as("eve").await.status(503, "ServiceUnavailable");

    let strict = Rig::with(&Settings { stale_allow_seconds: 0.001, ..settings });
    strict.api_server.allows_all();
    assert_eq!(strict.read_as("bob").await.code, 200);
    strict.api_server.answers(|_| Reply::Error);
    becomes(&strict, "bob", 503).await;
}

#[tokio::test]
async fn until_the_authentication_config_is_read_certificates_are_not_judged() {
    let rig = Rig::new();
    rig.front_proxy.send_replace(None);
    let answer = rig.get(&web(), &[("x-remote-user", "u")], &rig.front_proxy()).await;
    assert!(answer.status(503, "ServiceUnavailable").contains("authentication ConfigMap"));
    rig.get(&web(), &[], &nobody()).await.status(403, "Forbidden");
}

#[tokio::test]
async fn too_many_requests_are_turned_away_at_once_but_not_the_probes() {
    let rig = Arc::new(Rig::with(&Settings { max_in_flight: 1, ..Settings::default() }));
    rig.api_server.answers(|_| Reply::Never);
    let waiting = {
        let rig = Arc::clone(&rig);
        tokio::spawn(async move { rig.read_as("bob").await.code })
    };
    while rig.api_server.asked().is_empty() {
        tokio::task::yield_now().await;
    }
    let message = rig.read(&web()).await.status(503, "ServiceUnavailable");
    assert!(message.contains("too many requests"), "{message}");
    assert_eq!(rig.get("/livez", &[], &nobody()).await.code, 200);
    assert_eq!(waiting.await.unwrap(), 503);
    assert_eq!(rig.read(&web()).await.code, 200);
}
