//! The extender with the real ledger and a scripted API server behind it.

mod binding;
mod fuzz;
mod golden;
mod owning;
mod serving;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::{Request, Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::bind::{Binder, Term};
use super::server::{Admitted, Service};
use crate::cluster::{Amount, Class};
use crate::instruments::Instruments;
use crate::kubernetes::{Bindings, Election, Leadership, LeaseGuard, LeaseSettings, Placements};
use crate::placement::{Budgets, DomainBudget, Epoch, Ledger, NodeFacts, Settings, Standing};
use crate::supervision::Supervisor;

/// What the API server does with a request for a pod.
#[derive(Debug, Clone)]
enum Reply {
    Code(u16, Value),
    Never,
    Panic,
}

/// An API server that gives every Lease away, and answers pods by a script.
#[derive(Debug, Clone, Default)]
struct ApiServer {
    lease: Arc<Mutex<Option<Value>>>,
    replies: Arc<Mutex<VecDeque<Reply>>>,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
}

impl ApiServer {
    fn client(&self) -> kube::Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let server = server.clone();
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        });
        kube::Client::new(service, "default")
    }

    fn then(&self, reply: Reply) {
        self.replies.lock().unwrap().push_back(reply);
    }

    /// Requests about pods: method and path, and the body.
    fn asked(&self) -> Vec<(String, Value)> {
        self.asked.lock().unwrap().clone()
    }

    async fn answer(&self, request: Request<kube::client::Body>) -> Response<Full<Bytes>> {
        let line = format!("{} {}", request.method(), request.uri().path());
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let (code, answer) = if line.contains("/leases") {
            self.lease(&line, body)
        } else {
            self.asked.lock().unwrap().push((line, body));
            let reply = self.replies.lock().unwrap().pop_front();
            match reply {
                Some(Reply::Code(code, answer)) => (code, answer),
                Some(Reply::Never) => std::future::pending().await,
                Some(Reply::Panic) => panic!("as asked"),
                None => failure(500),
            }
        };
        let mut response = Response::new(Full::new(answer.to_string().into()));
        *response.status_mut() = StatusCode::from_u16(code).unwrap();
        response
    }

    fn lease(&self, line: &str, body: Value) -> (u16, Value) {
        let mut lease = self.lease.lock().unwrap();
        if !line.starts_with("GET") {
            *lease = Some(body);
        }
        lease.clone().map_or_else(|| failure(404), |lease| (200, lease))
    }
}

fn failure(code: u16) -> (u16, Value) {
    let reason = if code == 404 { "NotFound" } else { "Scripted" };
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
        "message": "as scripted", "reason": reason, "metadata": {}});
    (code, status)
}

fn made() -> Reply {
    Reply::Code(201, json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}))
}

fn failed(code: u16) -> Reply {
    let (code, status) = failure(code);
    Reply::Code(code, status)
}

fn pod_at(uid: &str, node: Option<&str>) -> Reply {
    Reply::Code(200, json!({"metadata": {"uid": uid}, "spec": {"nodeName": node}}))
}

fn budgets(sequence: u64, share: f64) -> Budgets {
    Budgets {
        epoch: Epoch { term: 7, sequence },
        domains: vec![DomainBudget {
            name: "payments".into(),
            class: Class::P1,
            share,
            pool_shares: Vec::new(),
            floor: 0.0,
            borrowing: crate::cluster::LoanLimit::None,
            lending: crate::cluster::LoanLimit::Unlimited,
            breach_until: None,
            emergency_until: None,
        }],
        band: 0.1,
        reserve: 1.0 - share,
    }
}

/// A decision about one domain, `payments`.
fn decision() -> crate::safety::Decision {
    let text = json!({
        "epoch": 7, "sequence": 1, "at": "2026-01-01T00:00:00Z",
        "catalog": {"domains": [], "apps": []},
        "apps": [], "domains": [], "reserve_share": 0.1,
    });
    serde_json::from_value(text).unwrap()
}

/// Four nodes of 10 cores in the pool `general`, of which `payments` (namespace `pay`) may use
/// `share`.
fn ledger(share: f64) -> Ledger {
    let mut ledger = Ledger::new(Settings::default(), &[], "hirl-system");
    for number in 1..=4 {
        let usable = Amount { cpu_milli: 10_000, memory: 1 << 40 };
        let facts =
            NodeFacts { pool: "general".into(), usable: Some(usable), ..NodeFacts::default() };
        ledger.put_node(&format!("n{number}"), facts);
    }
    ledger.set_namespaces([("pay".into(), "payments".into())].into());
    assert!(ledger.install(budgets(1, share)));
    ledger.stand(Standing::Owner);
    ledger
}

/// The service, and everything around it that a test may move.
struct Rig {
    service: Service,
    placements: Placements,
    api_server: ApiServer,
    instruments: Arc<Instruments>,
    term: Term,
    guard: LeaseGuard,
    stop: CancellationToken,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Rig {
    /// A replica that owns the ledger.
    async fn new(share: f64) -> Self {
        let (api_server, instruments) = (ApiServer::default(), Arc::new(Instruments::default()));
        let placements = Placements::new(ledger(share));
        let (client, stop) = (api_server.client(), CancellationToken::new());
        let election = Election::start(
            &client,
            &LeaseSettings::default(),
            "me".to_owned(),
            None,
            Arc::clone(&instruments),
            &Supervisor::new(stop.clone()),
            stop.clone(),
        );
        let (guard, mut leadership) = (election.guard(), election.leadership());
        let leads = |now: &Leadership| matches!(now, Leadership::Leading { .. });
        leadership.wait_for(leads).await.unwrap();
        let term = Term::default();
        term.set(guard.epoch());
        let binder = Binder::new(
            placements.clone(),
            Bindings::new(client),
            guard.clone(),
            term.clone(),
            Duration::from_millis(300),
            Arc::clone(&instruments),
        );
        let service = Service {
            placements: placements.clone(),
            binder,
            client_names: vec!["system:kube-scheduler".to_owned()],
            instruments: Arc::clone(&instruments),
        };
        Self { service, placements, api_server, instruments, term, guard, stop }
    }

    async fn send(&self, method: &str, path: &str, body: impl Into<Bytes>) -> (u16, Bytes) {
        let request = Request::builder().method(method).uri(path);
        let request = request.body(Full::new(body.into())).unwrap();
        let response = self.service.respond(request, Admitted(true)).await;
        let length = response.headers()["content-length"].to_str().unwrap().to_owned();
        let code = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(length, body.len().to_string());
        (code, body)
    }

    /// The answer to a question, which must be one of the protocol.
    async fn ask(&self, path: &str, question: &Value) -> Value {
        let (code, body) = self.send("POST", path, question.to_string()).await;
        let text = String::from_utf8_lossy(&body);
        assert_eq!(code, 200, "{text}");
        assert!(!text.ends_with('\n'));
        serde_json::from_slice(&body).unwrap()
    }

    async fn filter(&self, name: &str, cpu: &str, names: &[&str]) -> Value {
        let question = json!({"Pod": pod("pay", name, cpu), "Nodes": null, "NodeNames": names});
        self.ask("/v1/strict/filter", &question).await
    }

    /// What the domain uses, in thousandths of a core: bound, binding and held.
    fn used(&self) -> (u64, u64, u64) {
        let uses = self.placements.lock().uses(crate::clock::now());
        let one = uses.iter().find(|one| &*one.domain == "payments").unwrap();
        (one.bound.cpu_milli, one.binding.cpu_milli, one.held.cpu_milli)
    }

    fn counted(&self, line: &str) -> bool {
        self.instruments.render().lines().any(|one| one == line)
    }
}

/// A pod as the scheduler sends it.
fn pod(namespace: &str, name: &str, cpu: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": namespace, "uid": format!("uid-{name}"),
            "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"containers": [{"name": "c", "image": "i",
            "resources": {"requests": {"cpu": cpu, "memory": "1Gi"}}}]},
        "status": {"phase": "Pending"},
    })
}

fn binding(name: &str, node: &str) -> Value {
    json!({"PodName": name, "PodNamespace": "pay", "PodUID": format!("uid-{name}"), "Node": node})
}

/// Tries again until it holds, for at most twenty seconds.
async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while !holds().await {
        assert!(std::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
