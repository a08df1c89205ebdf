//! `hirl` as an extender: its configuration, the Domains that give it budgets, and how a scheduler
//! reaches it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hyper::Method;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::control_plane::ControlPlane;
use super::hirl::{Hirl, Place, SERVER_NAME};
use super::scheduler::Extender;

/// How long what an operator sets by hand lasts in tests.
const VALID: SignedDuration = SignedDuration::from_hours(1);

/// A whole configuration: decisions every half second and no telemetry, because budgets are set by
/// hand. `shared` names the shared pools; `more` is added to the section `extender`.
pub fn config(plane: &ControlPlane, place: &Place, shared: &[&str], more: &str) -> String {
    format!(
        "telemetry:
  url: http://127.0.0.1:9
control: {{decisionSeconds: 0.5, maxAgeSeconds: 8, followSeconds: 0.5, peer: {{caFile: {ca}, serverName: {SERVER_NAME}}}}}
kubernetes:
  sharedPools: {shared:?}
  lease: {{durationSeconds: 5, renewDeadlineSeconds: 3, retrySeconds: 1}}
http:
  listen: 127.0.0.1:{port}
  certFile: {cert}
  keyFile: {key}
  reloadSeconds: 1
  readyDelaySeconds: 0.2
extender:
  enabled: true
  listen: 127.0.0.1:{extender}
  clientCaFile: {client_ca}
{more}",
        ca = place.serving_ca.display(),
        port = place.port,
        extender = place.spare_port,
        cert = place.serving.certificate.display(),
        key = place.serving.key.display(),
        client_ca = plane.cluster_ca().display(),
    )
}

/// How a scheduler reaches an instance: `mode` is `strict` or `open`.
pub fn extender(hirl: &Hirl, mode: &str) -> Extender {
    let place = hirl.place();
    let url = format!("https://127.0.0.1:{}/v1/{mode}", place.spare_port);
    Extender {
        ignorable: mode == "open",
        ..Extender::recommended(url, place.serving_ca.clone(), SERVER_NAME)
    }
}

/// A domain with a budget that is set by hand.
#[derive(Debug, Clone)]
pub struct Budget<'a> {
    /// Its name, and the value of the namespace label `domain` of its namespaces.
    pub domain: &'a str,
    /// Its class.
    pub class: &'a str,
    /// Share of every shared pool ...
    pub share: f64,
    /// ... but for these.
    pub pools: &'a [(&'a str, f64)],
    /// Until when an emergency lasts, if there is one.
    pub emergency: Option<Timestamp>,
}

impl<'a> Budget<'a> {
    /// The same share of every shared pool.
    pub fn new(domain: &'a str, class: &'a str, share: f64) -> Self {
        Self { domain, class, share, pools: &[], emergency: None }
    }

    /// Its `Domain` object.
    pub fn object(&self) -> Value {
        let now = Timestamp::now();
        let by_hand = |until: Timestamp| {
            json!({
                "from": (now - SignedDuration::from_mins(1)).to_string(),
                "until": until.to_string(), "by": "testbed", "reason": "a test",
            })
        };
        let mut budget = by_hand(now + VALID);
        budget["share"] = self.share.into();
        if !self.pools.is_empty() {
            let pool = |&(name, share): &(&str, f64)| json!({"name": name, "share": share});
            budget["pools"] = self.pools.iter().map(pool).collect();
        }
        let mut spec = json!({
            "class": self.class, "weight": 0.5,
            "slo": {"p99": "200ms", "errorRatio": 0.01},
            "namespaceSelector": {"matchLabels": {"domain": self.domain}},
            "budget": budget,
        });
        if let Some(until) = self.emergency {
            spec["emergency"] = by_hand(until);
        }
        json!({
            "apiVersion": "hirl-scale.io/v1alpha1", "kind": "Domain",
            "metadata": {"name": self.domain}, "spec": spec,
        })
    }

    /// Brings the `Domain` to this state.
    pub async fn apply(&self, plane: &ControlPlane) -> Result<()> {
        let path = format!(
            "/apis/hirl-scale.io/v1alpha1/domains/{}?fieldManager=testbed&force=true",
            self.domain
        );
        let kind = [("content-type", "application/apply-patch+yaml")];
        let body = self.object().to_string();
        let answer = plane.admin()?.send(Method::PATCH, &path, &kind, &body).await?;
        ensure!(answer.status.is_success(), "{}: {}", answer.status, answer.body);
        Ok(())
    }
}

/// What the placement ledger of an instance says of itself.
pub async fn ledger(plane: &ControlPlane, hirl: &Hirl) -> Result<Value> {
    let admin =
        plane.pki().cluster.issue(&super::pki::Leaf::client("admin", &["system:masters"]))?;
    let text = hirl.requests(Some(&admin))?.text("/hirl/v1/placement").await?;
    serde_json::from_str(&text).with_context(|| format!("reading the ledger: {text}"))
}

/// Patience with an instance that becomes the owner of the ledger.
pub const OWNED: Duration = Duration::from_secs(60);
