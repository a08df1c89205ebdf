//! Discovery, `OpenAPI`, probes and the process' own pages.

use super::*;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

#[tokio::test]
async fn the_group_version_lists_the_one_placeholder() {
    let rig = Rig::new();
    let answer = rig.read(RESOURCES).await;
    assert_eq!(answer.code, 200);
    assert_eq!(
        answer.json(),
        json!({
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": "external.metrics.k8s.io/v1beta1",
            "resources": [{
                "name": "externalmetrics",
                "singularName": "",
                "namespaced": true,
                "kind": "ExternalMetricValueList",
                "verbs": ["get"],
            }],
        })
    );
    let group = rig.read("/apis/external.metrics.k8s.io").await.json();
    assert_eq!(
        (&group["kind"], &group["name"]),
        (&json!("APIGroup"), &json!("external.metrics.k8s.io"))
    );
    assert_eq!(group["preferredVersion"]["version"], "v1beta1");
    let groups = rig.read("/apis").await.json();
    assert_eq!(groups["kind"], "APIGroupList");
    assert_eq!(
        groups["groups"][0]["versions"][0]["groupVersion"],
        "external.metrics.k8s.io/v1beta1"
    );
}

#[tokio::test]
async fn aggregated_discovery_has_our_resource_and_is_sent_once() {
    let rig = Rig::new();
    let accept = format!("{AGGREGATED},application/json");
    let answer = rig.get("/apis", &[("accept", &accept)], &rig.master()).await;
    assert_eq!((answer.code, answer.header("content-type")), (200, AGGREGATED));
    assert_eq!(answer.header("vary"), "Accept");
    let list = answer.json();
    assert_eq!(list["kind"], "APIGroupDiscoveryList");
    assert_eq!(list["apiVersion"], "apidiscovery.k8s.io/v2");
    let version = &list["items"][0]["versions"][0];
    assert_eq!(
        (&version["version"], &version["freshness"]),
        (&json!("v1beta1"), &json!("Current"))
    );
    assert_eq!(version["resources"][0]["resource"], "externalmetrics");
    assert_eq!(version["resources"][0]["scope"], "Namespaced");
    assert_eq!(version["resources"][0]["responseKind"]["kind"], "ExternalMetricValueList");

    let etag = answer.header("etag").to_owned();
    assert!(etag.starts_with('"') && etag.len() > 10, "{etag}");
    let headers = [("accept", accept.as_str()), ("if-none-match", &etag)];
    let held = rig.get("/apis", &headers, &rig.master()).await;
    assert_eq!((held.code, held.body.len(), held.header("etag")), (304, 0, etag.as_str()));
    // The tag belongs to this shape alone.
    let plain = rig.get("/apis", &[("if-none-match", &etag)], &rig.master()).await;
    assert_eq!((plain.code, plain.header("content-type")), (200, "application/json"));
}

#[tokio::test]
async fn openapi_describes_the_list_and_is_never_not_found() {
    let rig = Rig::new();
    let model = "io.k8s.metrics.pkg.apis.external_metrics.v1beta1.ExternalMetricValueList";
    let v2 = rig.read("/openapi/v2").await;
    assert_eq!(v2.json()["swagger"], "2.0");
    assert!(v2.json()["definitions"][model].is_object());
    let paths = v2.json()["paths"].as_object().unwrap().clone();
    assert!(paths.keys().all(|path| path.starts_with("/apis/external.metrics.k8s.io/v1beta1/")));
    let held = [("if-none-match", v2.header("etag"))];
    assert_eq!(rig.get("/openapi/v2", &held, &rig.master()).await.code, 304);

    let index = rig.read("/openapi/v3").await.json();
    let url = &index["paths"]["apis/external.metrics.k8s.io/v1beta1"]["serverRelativeURL"];
    let group = rig.read(url.as_str().unwrap()).await;
    assert_eq!(group.json()["openapi"], "3.0.0");
    assert!(group.json()["components"]["schemas"][model].is_object());

    // Every reference leads somewhere.
    for document in [v2.json(), group.json()] {
        let text = document.to_string();
        let references: Vec<&str> = text
            .split(r##""$ref":"#"##)
            .skip(1)
            .map(|rest| rest.split('"').next().unwrap())
            .collect();
        assert_eq!(references.len(), 2, "{text}");
        for reference in references {
            assert!(document.pointer(reference).is_some(), "{reference}");
        }
    }

    let master = rig.master();
    assert_eq!(rig.get("/apis", &[], &master).await.code, 200);
    rig.service.stop();
    for path in ["/openapi/v2", "/openapi/v3", "/openapi/v3/apis/external.metrics.k8s.io/v1beta1"] {
        rig.get(path, &[], &master).await.status(503, "ServiceUnavailable");
    }
}

#[tokio::test]
async fn readiness_depends_on_nothing_but_the_authentication_config() {
    let rig = Rig::new();
    rig.published.send_replace(None);
    rig.api_server.answers(|_| Reply::Error);
    for path in ["/livez", "/readyz", "/healthz"] {
        let answer = rig.get(path, &[], &nobody()).await;
        assert_eq!((answer.code, answer.text()), (200, "ok"), "{path}");
    }
    let verbose = rig.get("/readyz?verbose", &[], &nobody()).await;
    assert!(verbose.text().contains("[+]front-proxy-configuration ok"), "{}", verbose.text());

    rig.front_proxy.send_replace(None);
    let unready = rig.get("/readyz", &[], &nobody()).await;
    assert_eq!(unready.code, 503);
    assert!(unready.text().contains("[-]front-proxy-configuration failed"));
    assert_eq!(rig.get("/livez", &[], &nobody()).await.code, 200);

    rig.believe(|_| {});
    assert_eq!(rig.get("/readyz", &[], &nobody()).await.code, 200);
    rig.service.stop();
    assert_eq!(rig.get("/readyz", &[], &nobody()).await.code, 503);
    assert_eq!(rig.get("/livez", &[], &nobody()).await.code, 200);
}

#[tokio::test]
async fn the_process_pages_need_leave() {
    let rig = Rig::new();
    for path in ["/metrics", "/version", "/openapi/v2", "/apis"] {
        let message = rig.get(path, &[], &nobody()).await.status(403, "Forbidden");
        assert!(message.contains(&format!(r#"cannot get path "{path}""#)), "{message}");
    }
    let metrics = rig.read("/metrics").await;
    assert!(metrics.header("content-type").starts_with("application/openmetrics-text"));
    assert!(metrics.text().ends_with("# EOF\n"));
    let version = rig.read("/version").await.json();
    assert_eq!(version["gitVersion"], concat!("v", env!("CARGO_PKG_VERSION")));
    for method in ["POST", "DELETE"] {
        let answer = rig.send(request(method, "/apis", &[]), &rig.master()).await;
        answer.status(405, "MethodNotAllowed");
    }
    let head = rig.send(request("HEAD", "/apis", &[]), &rig.master()).await;
    assert_eq!((head.code, head.body.len()), (200, 0));
}

async fn put_level(rig: &Rig, level: &str, connection: &Connection) -> Answer {
    let body = Full::new(Bytes::from(level.to_owned()));
    let request = Request::builder().method("PUT").uri("/log-level").body(body).unwrap();
    rig.send(request, connection).await
}

#[tokio::test]
async fn the_log_level_is_set_by_those_who_may() {
    let rig = Rig::new();
    let refused = put_level(&rig, "debug", &nobody()).await.status(403, "Forbidden");
    assert!(refused.contains(r#"cannot put path "/log-level""#), "{refused}");
    let master = rig.master();
    assert_eq!(put_level(&rig, "debug\n", &master).await.code, 200);
    let wrong = put_level(&rig, "loud", &master).await.status(400, "BadRequest");
    assert!(wrong.contains("loud is no level"), "{wrong}");
    put_level(&rig, &"x".repeat(5000), &master).await.status(413, "RequestEntityTooLarge");
    rig.read("/log-level").await.status(405, "MethodNotAllowed");
}

#[tokio::test]
async fn a_panic_is_an_internal_error_and_the_next_request_is_answered() {
    let rig = Rig::new();
    put_level(&rig, "panic", &rig.master()).await.status(500, "InternalError");
    assert_eq!(rig.read("/version").await.code, 200);
}

#[tokio::test]
async fn decisions_are_for_the_other_replica_only() {
    let rig = Rig::new();
    for connection in [nobody(), rig.master(), rig.front_proxy()] {
        rig.get(peer::PATH, &[], &connection).await.status(403, "Forbidden");
    }
    let folder = tempfile::tempdir().unwrap();
    let peers = Authority::new("peers");
    let file = folder.path().join("ca.crt");
    std::fs::write(&file, &peers.pem).unwrap();
    let settings =
        peer::Settings { ca_file: Some(file.clone()), server_name: "hirl.hirl.svc".to_owned() };
    let service = Arc::new(Service::new(&Settings::default(), settings, rig.state()));
    service.peers().reload().unwrap();
    let rig = Rig { service, ..rig };

    let connect =
        |authority: &Authority, name| Connection::new(vec![authority.sign(&[name], |_| {}).der]);
    for wrong in [connect(&peers, "other.svc"), connect(&rig.clients, "hirl.hirl.svc"), nobody()] {
        rig.get(peer::PATH, &[], &wrong).await.status(403, "Forbidden");
    }
    let other = connect(&peers, "hirl.hirl.svc");
    let answer = rig.get(peer::PATH, &[], &other).await;
    assert_eq!((answer.code, answer.header("etag")), (200, "\"3-14\""));
    let envelope: peer::Envelope<Decision> = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(envelope.decision, decision(apps()));
    let held = rig.get(peer::PATH, &[("if-none-match", "\"3-14\"")], &other).await;
    assert_eq!((held.code, held.body.len()), (304, 0));

    // A broken CA file leaves the old CA in force; a new one replaces it.
    std::fs::write(&file, "garbage").unwrap();
    assert!(rig.service.peers().reload().is_err());
    assert_eq!(rig.get(peer::PATH, &[], &other).await.code, 200);
    let next = Authority::new("next peers");
    std::fs::write(&file, &next.pem).unwrap();
    rig.service.peers().reload().unwrap();
    rig.get(peer::PATH, &[], &other).await.status(403, "Forbidden");
    assert_eq!(rig.get(peer::PATH, &[], &connect(&next, "hirl.hirl.svc")).await.code, 200);

    rig.published.send_replace(None);
    let none = rig.get(peer::PATH, &[], &connect(&next, "hirl.hirl.svc")).await;
    none.status(503, "ServiceUnavailable");
}
