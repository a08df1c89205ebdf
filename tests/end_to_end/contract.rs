//! The contract of `external.metrics.k8s.io/v1beta1`, as the real API server and its clients use it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hyper::Method;

use crate::stage::{SOON, Stage, V, administrator, metric_path};
use crate::testbed::objects::{self, METRIC};
use crate::testbed::pki::Leaf;
use crate::testbed::run;
use crate::testbed::wait::until;

const GROUP: &str = "external.metrics.k8s.io";
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

#[test]
fn the_apiservice_is_available_and_lists_one_placeholder() -> Result<()> {
    run(async {
        let stage = Stage::shared().await?;
        let client = stage.plane().client();
        objects::available(&client, &format!("v1beta1.{GROUP}"), SOON).await?;
        let list = stage.admin()?.get(V, &[]).await?.json()?;
        ensure!(list["kind"] == "APIResourceList", "{list}");
        ensure!(list["groupVersion"] == format!("{GROUP}/v1beta1"), "{list}");
        let resources = list["resources"].as_array().context("no resources")?;
        ensure!(resources.len() == 1 && resources[0]["name"] == "externalmetrics", "{list}");
        ensure!(resources[0]["namespaced"] == true, "{list}");
        ensure!(resources[0]["verbs"] == serde_json::json!(["get"]), "{list}");
        Ok(())
    })
}

#[test]
fn aggregated_discovery_has_our_resource_and_knows_its_etag() -> Result<()> {
    run(async {
        let stage = Stage::shared().await?;
        let admin = administrator(stage.plane())?;
        let direct = stage.hirl.requests(Some(&admin))?;
        let first = direct.get("/apis", &[("accept", AGGREGATED)]).await?;
        ensure!(first.status == 200, "{}", first.status);
        let kind = first.header("content-type").unwrap_or_default();
        ensure!(kind.contains("as=APIGroupDiscoveryList") && kind.contains("v=v2"), "{kind}");
        let etag = first.header("etag").context("no ETag")?;
        let again = [("accept", AGGREGATED), ("if-none-match", etag)];
        let second = direct.get("/apis", &again).await?;
        ensure!(
            second.status == 304 && second.body.is_empty(),
            "{} {}",
            second.status,
            second.body
        );

        // The API server merges every minute.
        until("the API server to list our resource as current", 2 * SOON, async || {
            let merged = stage.admin()?.get("/apis", &[("accept", AGGREGATED)]).await?.json()?;
            let groups = merged["items"].as_array().context("no groups")?;
            let ours = groups.iter().find(|group| group["metadata"]["name"] == GROUP);
            let version = &ours.context("our group is missing")?["versions"][0];
            ensure!(version["freshness"] == "Current", "{version}");
            ensure!(version["resources"][0]["resource"] == "externalmetrics", "{version}");
            Ok(())
        })
        .await
    })
}

#[test]
fn openapi_is_merged_and_the_api_server_never_complains() -> Result<()> {
    run(async {
        let stage = Stage::shared().await?;
        let admin = stage.admin()?;
        let path = format!("/openapi/v3/apis/{GROUP}/v1beta1");
        until("the OpenAPI documents", 2 * SOON, async || {
            let index = admin.get("/openapi/v3", &[]).await?.json()?;
            ensure!(!index["paths"][format!("apis/{GROUP}/v1beta1")].is_null(), "not in the index");
            let document = admin.get(&path, &[]).await?;
            ensure!(document.status == 200, "{}", document.status);
            let merged = admin.get("/openapi/v2", &[("accept", "application/json")]).await?;
            ensure!(merged.body.contains("ExternalMetricValueList"), "not merged into v2");
            Ok(())
        })
        .await?;
        let log = stage.plane().apiserver().log()?;
        let complaint = format!("loading OpenAPI spec for \"v1beta1.{GROUP}\" failed");
        ensure!(!log.contains(&complaint), "the API server complains: {complaint}");
        Ok(())
    })
}

#[test]
fn an_answer_is_exactly_one_item_in_the_shape_of_the_api() -> Result<()> {
    run(async {
        let stage = Stage::shared().await?;
        stage.namespace("shape", &[]).await?;
        stage.app("shape", "web", 3, |hpa| hpa).await?;
        let answer = stage.read("shape", "web").await?;
        let list = answer.json()?;
        ensure!(list["kind"] == "ExternalMetricValueList", "{list}");
        ensure!(list["apiVersion"] == format!("{GROUP}/v1beta1"), "{list}");
        ensure!(list["metadata"].is_object(), "{list}");
        let items = list["items"].as_array().context("no items")?;
        ensure!(items.len() == 1, "{} items", items.len());
        let item = &items[0];
        ensure!(item["metricName"] == METRIC && item["value"] == "3", "{item}");
        ensure!(item["window"].is_u64() && item["windowSeconds"].is_null(), "{item}");
        let time = item["timestamp"].as_str().context("no timestamp")?;
        ensure!(time.ends_with('Z') && time.len() == "2026-11-21T22:56:35Z".len(), "{time}");
        let labels = serde_json::json!({
            "target": "web", "kind": "Deployment", "hpa": "web", "domain": "default",
        });
        ensure!(item["metricLabels"] == labels, "{item}");
        Ok(())
    })
}

#[test]
fn json_is_answered_to_whoever_accepts_it() -> Result<()> {
    run(async {
        let stage = Stage::shared().await?;
        stage.namespace("accept", &[]).await?;
        stage.app("accept", "web", 2, |hpa| hpa).await?;
        let path = metric_path("accept", "target%3Dweb");
        for (accept, status) in [
            ("application/vnd.kubernetes.protobuf, */*", 200),
            ("application/vnd.kubernetes.protobuf", 406),
            ("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", 200),
            ("application/json", 200),
            ("*/*", 200),
        ] {
            let answer = stage.admin()?.get(&path, &[("accept", accept)]).await?;
            ensure!(answer.status == status, "{accept}: {}", answer.status);
            let kind = answer.header("content-type").unwrap_or_default();
            ensure!(kind.starts_with("application/json"), "{accept}: {kind}");
            if status == 406 {
                ensure!(answer.json()?["reason"] == "NotAcceptable", "{}", answer.body);
            }
        }
        Ok(())
    })
}

#[test]
fn selectors_choose_as_kubernetes_does_and_two_matches_are_refused() -> Result<()> {
    run(async {
        let stage = Stage::shared().await?;
        stage.namespace("selectors", &[]).await?;
        for name in ["a", "b"] {
            stage.app("selectors", name, 2, |hpa| hpa).await?;
        }
        for (selector, chosen) in [
            ("target%3Da", Ok("a")),
            ("target%3D%3Da", Ok("a")),
            ("target%21%3Da", Ok("b")),
            ("target%20in%20%28b%2Cc%29", Ok("b")),
            ("target+in+%28b%2Cc%29", Ok("b")),
            ("target+notin+%28a%29", Ok("b")),
            ("target%2Ctarget%3Da", Ok("a")),
            ("%21missing%2Ctarget%3Db", Ok("b")),
            ("missing", Err(404)),
            ("target%3Dc", Err(404)),
            ("target", Err(400)),
            ("", Err(400)),
            ("a+in+%28", Err(400)),
            ("target%3D%3D%3Da", Err(400)),
        ] {
            let answer = stage.admin()?.get(&metric_path("selectors", selector), &[]).await?;
            match chosen {
                Ok(name) => {
                    ensure!(answer.status == 200, "{selector}: {} {}", answer.status, answer.body);
                    let items = answer.json()?;
                    ensure!(items["items"][0]["metricLabels"]["target"] == name, "{selector}");
                }
                Err(status) => {
                    ensure!(
                        answer.status == status,
                        "{selector}: {} {}",
                        answer.status,
                        answer.body
                    );
                    ensure!(answer.json()?["kind"] == "Status", "{selector}: {}", answer.body);
                }
            }
        }
        let both = stage.admin()?.get(&metric_path("selectors", ""), &[]).await?.json()?;
        let message = both["message"].as_str().unwrap_or_default();
        ensure!(message.contains('a') && message.contains('b') && both["reason"] == "BadRequest");
        Ok(())
    })
}

#[test]
fn everything_that_is_not_a_metric_read_is_a_status() -> Result<()> {
    run(async {
        let stage = Stage::shared().await?;
        stage.namespace("statuses", &[]).await?;
        stage.app("statuses", "web", 2, |hpa| hpa).await?;
        let admin = administrator(stage.plane())?;
        let direct = stage.hirl.requests(Some(&admin))?;
        for path in [
            format!("{V}/namespaces/statuses/unknown"),
            format!("{V}/namespaces/statuses"),
            format!("{V}/{METRIC}"),
            format!("{V}/namespaces/statuses/x/y"),
        ] {
            let answer = direct.get(&path, &[]).await?;
            ensure!(answer.status == 404, "{path}: {}", answer.status);
            let status = answer.json()?;
            ensure!(
                status["kind"] == "Status" && status["reason"] == "NotFound",
                "{path}: {status}"
            );
        }
        let path = metric_path("statuses", "target%3Dweb");
        let watch = direct.get(&format!("{path}&watch=true"), &[]).await?;
        ensure!(watch.status == 405, "{}", watch.status);
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
            let answer = direct.send(method.clone(), &path, &[], "").await?;
            ensure!(answer.status == 405, "{method}: {}", answer.status);
            ensure!(answer.json()?["reason"] == "MethodNotAllowed", "{method}: {}", answer.body);
        }
        Ok(())
    })
}

#[test]
fn nobody_is_believed_but_the_front_proxy() -> Result<()> {
    run(async {
        let stage = Stage::shared().await?;
        stage.namespace("spoof", &[]).await?;
        stage.app("spoof", "web", 2, |hpa| hpa).await?;
        let path = metric_path("spoof", "target%3Dweb");
        let nobody = stage.hirl.requests(None)?;
        let forged = [("x-remote-user", "system:admin"), ("x-remote-group", "system:masters")];
        for headers in [&[][..], &forged[..]] {
            let answer = nobody.get(&path, headers).await?;
            ensure!(answer.status == 403, "{}", answer.status);
            ensure!(answer.body.contains("system:anonymous"), "{}", answer.body);
        }
        let garbage = nobody.get(&path, &[("authorization", "Bearer garbage")]).await?;
        ensure!(garbage.status == 401 && garbage.json()?["reason"] == "Unauthorized");

        // A certificate of the cluster CA with the front proxy's name is still not the front proxy,
        // and one of the front proxy's CA with another name is not either.
        let pki = stage.plane().pki();
        let same_name = pki.cluster.issue(&Leaf::client("front-proxy-client", &[]))?;
        let answer = stage.hirl.requests(Some(&same_name))?.get(&path, &forged).await?;
        ensure!(
            answer.status == 403 && answer.body.contains("front-proxy-client"),
            "{}",
            answer.body
        );
        let other_name = pki.front_proxy.issue(&Leaf::client("somebody", &[]))?;
        let answer = stage.hirl.requests(Some(&other_name))?.get(&path, &forged).await?;
        ensure!(answer.status == 401 || answer.status == 403, "{}", answer.status);
        ensure!(!answer.body.contains("\"items\""), "{}", answer.body);
        Ok(())
    })
}

#[test]
fn whoever_is_authenticated_may_discover_as_the_aggregator_does() -> Result<()> {
    run(async {
        let stage = Stage::shared().await?;
        let proxy = Leaf::client("front-proxy-client", &[]);
        let proxy = stage.plane().pki().front_proxy.issue(&proxy)?;
        let aggregator = stage.hirl.requests(Some(&proxy))?;
        // Without groups: what the aggregator sends when it falls back from aggregated discovery.
        let headers = [("x-remote-user", "system:kube-aggregator")];
        for path in [V, "/apis", "/openapi/v2", "/openapi/v3"] {
            let answer = aggregator.get(path, &headers).await?;
            ensure!(answer.status == 200, "{path}: {} {}", answer.status, answer.body);
        }
        Ok(())
    })
}

#[test]
fn rights_are_those_of_rbac_and_reads_are_reviewed_once_a_minute() -> Result<()> {
    run(async {
        let stage = Stage::shared().await?;
        let plane = stage.plane();
        stage.namespace("rights", &[]).await?;
        stage.app("rights", "web", 2, |hpa| hpa).await?;
        let reader = plane.pki().cluster.issue(&Leaf::client("reader", &[]))?;
        let asks = plane.requests(Some(&reader))?;
        let path = metric_path("rights", "target%3Dweb");
        let denied = asks.get(&path, &[]).await?;
        ensure!(denied.status == 403, "{}", denied.status);
        let sentence = format!(
            "{METRIC}.{GROUP} is forbidden: User \\\"reader\\\" cannot list resource \\\"{METRIC}\\\""
        );
        ensure!(denied.body.contains(&sentence), "{}", denied.body);
        let role = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
             "metadata": {"name": "reader", "namespace": "rights"},
             "rules": [{"apiGroups": [GROUP], "resources": [METRIC], "verbs": ["list"]}]},
            {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
             "metadata": {"name": "reader", "namespace": "rights"},
             "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
             "subjects": [{"kind": "User", "name": "reader", "apiGroup": "rbac.authorization.k8s.io"}]},
        ]});
        let file = plane.scratch().write("reader.json", &role.to_string())?;
        plane.kubectl(&["apply", "-f", &file.display().to_string()]).await?;
        until("the right to be seen", SOON, async || {
            let answer = asks.get(&path, &[]).await?;
            ensure!(answer.status == 200, "{}", answer.status);
            Ok(())
        })
        .await?;
        let reviewed = "hirl_reviews_total{outcome=\"allowed\"}";
        let before = stage.metric(reviewed).await?.unwrap_or_default();
        for _ in 0..200 {
            ensure!(asks.get(&path, &[]).await?.status == 200);
        }
        let after = stage.metric(reviewed).await?.unwrap_or_default();
        // Others read beside us; two hundred reads of one kind are at most one review.
        ensure!(after - before < 20.0, "{} reviews for 200 reads", after - before);
        Ok(())
    })
}

#[test]
fn how_often_each_hpa_is_read_is_known() -> Result<()> {
    run(async {
        let stage = Stage::shared().await?;
        stage.namespace("interval", &[]).await?;
        stage.app("interval", "web", 2, |hpa| hpa).await?;
        until("an interval near the controller's second", SOON, async || {
            let path = format!("{V}/namespaces/interval/hirl-hpa-read-interval");
            let list = stage.admin()?.get(&path, &[]).await?.json()?;
            let value = list["items"][0]["value"].as_str().context("no value yet")?;
            let seconds = hirl_scale::cluster::quantity::parse(value)?;
            ensure!((0.5..3.0).contains(&seconds), "{seconds} s");
            Ok(())
        })
        .await
    })
}

/// One minute at full size only: what lasts is told from what holds for a moment.
#[test]
fn the_apiservice_stays_available() -> Result<()> {
    run(async {
        let stage = Stage::shared().await?;
        let client = stage.plane().client();
        let name = format!("v1beta1.{GROUP}");
        let span = if std::env::var_os("HIRL_SCALE").is_some() { 600 } else { 10 };
        crate::testbed::wait::throughout("Available", Duration::from_secs(span), async || {
            objects::is_available(&client, &name).await
        })
        .await
    })
}
