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
use super::wait::until;

/// How long what an operator sets by hand lasts in tests.
const VALID: SignedDuration = SignedDuration::from_hours(1);

/// What a test may choose of an instance's configuration.
#[derive(Debug, Clone)]
pub struct Choices<'a> {
    /// The shared pools.
    pub shared: &'a [&'a str],
    /// The reserve, where shares set by hand leave one.
    pub reserve: f64,
    /// Further keys of the section `policy`.
    pub policy: &'a str,
    /// Further lines of the section `extender`, indented by two, and sections after it.
    pub extender: &'a str,
    /// The section `telemetry` but for its first line; one of no use by default.
    pub telemetry: String,
}

impl<'a> Choices<'a> {
    /// Without a reserve.
    pub fn new(shared: &'a [&'a str]) -> Self {
        Self {
            shared,
            reserve: 0.0,
            policy: "stabilizationSeconds: 0",
            extender: "",
            telemetry: "  url: http://127.0.0.1:9\n".to_owned(),
        }
    }

    /// A whole configuration: decisions every half second, and budgets that are set by hand.
    pub fn config(&self, plane: &ControlPlane, home: &Place) -> String {
        format!(
            "telemetry:
{telemetry}policy: {{{policy}, reserveShare: {reserve}}}
hierarchy: {{enabled: false}}
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
  fenceSeconds: 1
{more}",
            telemetry = self.telemetry,
            policy = self.policy,
            reserve = self.reserve,
            ca = home.serving_ca.display(),
            shared = self.shared,
            port = home.port,
            cert = home.serving.certificate.display(),
            key = home.serving.key.display(),
            extender = home.spare_port,
            client_ca = plane.cluster_ca().display(),
            more = self.extender,
        )
    }
}

/// Applies these files of `manifests/scheduler`.
pub async fn apply_shipped(plane: &ControlPlane, files: &[&str]) -> Result<()> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/scheduler");
    let paths: Vec<String> =
        files.iter().map(|file| format!("--filename={folder}/{file}")).collect();
    let mut arguments = vec!["apply", "--server-side"];
    arguments.extend(paths.iter().map(String::as_str));
    plane.kubectl(&arguments).await.map(|_| ())
}

/// How a scheduler reaches an instance: `mode` is `strict` or `open`.
pub fn extender(hirl: &Hirl, mode: &str) -> Extender {
    let place = hirl.place();
    let url = format!("https://127.0.0.1:{}/v1/{mode}", place.spare_port);
    let strict = Extender::recommended(url, place.serving_ca.clone(), SERVER_NAME);
    match mode {
        // An error of bind would be skipped: the default binder needs nobody.
        "open" => Extender { ignorable: true, verbs: vec!["filter", "preempt"], ..strict },
        _ => strict,
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
    /// Share of every shared pool that is guaranteed to it.
    pub floor: f64,
    /// Whether it may borrow beyond its share.
    pub borrows: bool,
}

impl<'a> Budget<'a> {
    /// The same share of every shared pool, and no more.
    pub fn new(domain: &'a str, class: &'a str, share: f64) -> Self {
        Self { domain, class, share, pools: &[], emergency: None, floor: 0.0, borrows: false }
    }

    /// One that borrows, with this floor.
    pub fn lending(domain: &'a str, class: &'a str, share: f64, floor: f64) -> Self {
        Self { floor, borrows: true, ..Self::new(domain, class, share) }
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
            "budget": budget, "floorShare": self.floor,
        });
        if !self.borrows {
            spec["borrowing"] = json!({"limit": "None"});
        }
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

/// What the ledger of an instance says about a domain in a pool: share, target, bound, ...
pub async fn uses(plane: &ControlPlane, hirl: &Hirl, domain: &str, pool: &str) -> Result<Value> {
    let ledger = ledger(plane, hirl).await?;
    ensure!(ledger["owner"] == true, "no owner yet: {ledger}");
    let uses = ledger["pools"].as_array().with_context(|| format!("no pools: {ledger}"))?;
    let found = uses.iter().find(|one| one["domain"] == domain && one["pool"] == pool).cloned();
    found.with_context(|| format!("nothing about {domain} in {pool}: {ledger}"))
}

/// Waits until an instance owns the ledger and the domain has this target of CPU (thousandths of a
/// core) in the pool.
pub async fn limited(
    plane: &ControlPlane,
    hirl: &Hirl,
    (domain, pool): (&str, &str),
    cpu: i64,
) -> Result<()> {
    until(format_args!("{cpu}m for {domain} in {pool}"), OWNED, async || {
        let found = uses(plane, hirl, domain, pool).await?;
        ensure!(found["target"]["cpu_milli"] == cpu, "{found}");
        Ok(())
    })
    .await
}

/// Patience with an instance that becomes the owner of the ledger.
pub const OWNED: Duration = Duration::from_mins(1);
