//! An API server that is played, and a ledger to go with it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use hyper::{Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tower_test::mock;

use crate::cluster::{Amount, Class};
use crate::kubernetes::Placements;
use crate::placement::{Budgets, DomainBudget, Epoch, Ledger, NodeFacts, Pod, Settings, Standing};

/// Long enough to see that nothing was asked.
const SILENCE: Duration = Duration::from_millis(600);

/// A request: method, path and body.
type Asked = (String, String, Value);

/// The server's side.
pub(super) struct Played(mock::Handle<Request<Body>, Response<Body>>);

impl Played {
    pub(super) fn new() -> (Client, Self) {
        let (service, handle) = mock::pair::<Request<Body>, Response<Body>>();
        (Client::new(service, "default"), Self(handle))
    }

    /// Answers the next request; `Null` gives back what was sent.
    pub(super) async fn answer(&mut self, code: u16, body: &Value) -> Asked {
        let next = tokio::time::timeout(Duration::from_secs(30), self.0.next_request());
        let (request, reply) = next.await.unwrap().unwrap();
        let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
        let sent = request.into_body().collect_bytes().await.unwrap();
        let sent: Value = serde_json::from_slice(&sent).unwrap_or(Value::Null);
        let body = if body.is_null() { &sent } else { body };
        let answer = Body::from(serde_json::to_vec(body).unwrap());
        reply.send_response(Response::builder().status(code).body(answer).unwrap());
        (method, path, sent)
    }

    /// Answers so many requests with what the API server says for the code.
    pub(super) async fn answer_all(&mut self, code: u16, count: usize) -> Vec<Asked> {
        let said = if code < 300 { "Success" } else { "Failure" };
        let reason = if code == 404 { "NotFound" } else { "Played" };
        let status = json!({"kind": "Status", "apiVersion": "v1", "status": said,
            "message": "played", "reason": reason, "code": code, "metadata": {}});
        let mut asked = Vec::new();
        for _ in 0..count {
            asked.push(self.answer(code, &status).await);
        }
        asked
    }

    /// Whether nothing is asked for a while.
    pub(super) async fn silent(&mut self) -> bool {
        match tokio::time::timeout(SILENCE, self.0.next_request()).await {
            Err(_) | Ok(None) => true,
            Ok(Some(_)) => false,
        }
    }
}

/// A ledger that is owned, with one node and one domain that may have `cpu_milli` of it: all but
/// half of the node. Its namespace is `shop`.
pub(super) fn ledger(cpu_milli: u64) -> Placements {
    let mut ledger = Ledger::new(Settings::default(), &[], "hirl-system");
    ledger.put_node(
        "node-0",
        NodeFacts {
            pool: Arc::from("general"),
            usable: Some(Amount { cpu_milli: 2 * cpu_milli, memory: 1 << 40 }),
            labels: Vec::new(),
            taints: Vec::new(),
        },
    );
    ledger.set_namespaces(HashMap::from([(Arc::from("shop"), Arc::from("shop"))]));
    let budget = DomainBudget {
        name: Arc::from("shop"),
        class: Class::P2,
        share: 0.5,
        pool_shares: Vec::new(),
        floor: 0.0,
        borrowing: crate::cluster::LoanLimit::None,
        lending: crate::cluster::LoanLimit::Unlimited,
        breach_until: None,
        emergency_until: None,
    };
    let epoch = Epoch { term: 1, sequence: 1 };
    assert!(ledger.install(Budgets { epoch, domains: vec![budget], reserve: 0.0, band: 0.1 }));
    ledger.stand(Standing::Owner);
    Placements::new(ledger)
}

/// A pod of one core.
pub(super) fn pod(namespace: &str, name: &str) -> Pod {
    Pod {
        uid: Arc::from(format!("uid-{name}")),
        namespace: Arc::from(namespace),
        name: Arc::from(name),
        request: Amount { cpu_milli: 1000, memory: 0 },
        ..Pod::default()
    }
}
