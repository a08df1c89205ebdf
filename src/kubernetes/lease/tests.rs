use hyper::{Request, Response};
use kube::client::Body;
use serde_json::{Value, json};
use tower_test::mock;

use super::*;

type Server = mock::Handle<Request<Body>, Response<Body>>;

const ME: &str = "hirl-a";

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn record(holder: &str, epoch: u64, renewed: &str) -> Record {
    Record {
        holder: (!holder.is_empty()).then(|| holder.to_owned()),
        address: None,
        epoch,
        duration: seconds(10),
        renewed: Some(renewed.to_owned()),
    }
}

/// The step of `ME` after it saw these records at these seconds, the last one now.
fn step(seen: &[(u64, Option<Record>)], leading: Option<u64>) -> Step {
    let mut memory = Memory::default();
    for (at, record) in seen {
        memory.observe(record.as_ref(), seconds(*at));
    }
    let (at, record) = seen.last().unwrap();
    next_step(record.as_ref(), ME, leading, seconds(*at), &memory, 1_000)
}

#[test]
fn a_free_lease_is_taken_with_the_next_epoch() {
    assert_eq!(step(&[(0, Some(record("", 4, "x")))], None), Step::Take { epoch: 5 });
}

#[test]
fn a_lease_of_another_is_taken_only_when_we_saw_it_unrenewed_for_its_duration() {
    let same = || Some(record("b", 4, "2001-01-01"));
    // The old instant inside the object proves nothing: clocks differ.
    assert_eq!(step(&[(50, same())], None), Step::Wait(seconds(10)));
    assert_eq!(step(&[(50, same()), (59, same())], None), Step::Wait(seconds(1)));
    assert_eq!(step(&[(50, same()), (60, same())], None), Step::Take { epoch: 5 });
    let renewed = Some(record("b", 4, "2001-01-02"));
    assert_eq!(step(&[(50, same()), (59, renewed)], None), Step::Wait(seconds(10)));
}

#[test]
fn our_own_lease_is_renewed_only_in_the_same_unbroken_term() {
    let ours = || Some(record(ME, 4, "x"));
    assert_eq!(step(&[(0, ours())], Some(4)), Step::Renew { epoch: 4 });
    // After a restart, or after we stepped down: the same name begins a new epoch.
    assert_eq!(step(&[(0, ours())], None), Step::Take { epoch: 5 });
    assert_eq!(step(&[(0, ours())], Some(3)), Step::Take { epoch: 5 });
}

#[test]
fn a_deleted_lease_never_lowers_the_epoch() {
    // Nobody remembers: the minutes since 1970 are above any count of transitions before.
    assert_eq!(step(&[(0, None)], None), Step::Take { epoch: 1_000 });
    let ours = Some(record(ME, 4, "x"));
    assert_eq!(step(&[(0, ours), (1, None)], Some(4)), Step::Take { epoch: 1_000 });
    let high = || Some(record("b", 2_000, "x"));
    assert_eq!(step(&[(0, high()), (10, None)], None), Step::Take { epoch: 2_001 });
    // Its holder may not have noticed yet.
    assert_eq!(step(&[(0, high()), (3, None)], None), Step::Wait(seconds(7)));
}

#[test]
fn a_process_that_slept_through_its_term_knows_before_it_publishes() {
    let renewed = Instant::now();
    let guard = LeaseGuard {
        term: Arc::new(Mutex::new(Some(Term { epoch: 3, renewed }))),
        renew_deadline: seconds(7),
    };
    assert_eq!(guard.epoch_at(renewed + Duration::from_millis(6_999)), Some(3));
    assert_eq!(guard.epoch_at(renewed + seconds(7)), None);
    assert_eq!(guard.epoch_at(renewed + seconds(40)), None);
}

#[test]
fn times_that_allow_two_deciders_are_refused() {
    assert_eq!(LeaseSettings::default().validate(), Ok(()));
    let bad = LeaseSettings { renew_deadline_seconds: 10.0, ..LeaseSettings::default() };
    assert!(bad.validate().unwrap_err().contains("renewDeadlineSeconds (10)"));
    let bad = LeaseSettings { retry_seconds: 0.0, ..LeaseSettings::default() };
    assert!(bad.validate().is_err());
}

/// An election against a scripted API server.
struct Scene {
    server: Server,
    election: Election,
    stop: CancellationToken,
    instruments: Arc<Instruments>,
}

fn scene(deadline_seconds: f64) -> Scene {
    let (service, server) = mock::pair();
    let stop = CancellationToken::new();
    let instruments = Arc::new(Instruments::default());
    let settings = LeaseSettings {
        duration_seconds: 600,
        renew_deadline_seconds: deadline_seconds,
        retry_seconds: 0.01,
        ..LeaseSettings::default()
    };
    let election = Election::start(
        &Client::new(service, "default"),
        &settings,
        ME.to_owned(),
        Some("10.0.0.1:6443".to_owned()),
        Arc::clone(&instruments),
        &Supervisor::new(stop.clone()),
        stop.clone(),
    );
    Scene { server, election, stop, instruments }
}

impl Scene {
    /// Answers the next request; tells its method, path and body.
    async fn answer(&mut self, code: u16, body: Value) -> (String, String, Value) {
        let (request, reply) =
            tokio::time::timeout(seconds(30), self.server.next_request()).await.unwrap().unwrap();
        let method = request.method().to_string();
        let path = request.uri().path().to_owned();
        let sent = request.into_body().collect_bytes().await.unwrap();
        let sent = serde_json::from_slice(&sent).unwrap_or(Value::Null);
        let body = if body.is_null() { Value::clone(&sent) } else { body };
        let answer = serde_json::to_vec(&body).unwrap();
        reply.send_response(Response::builder().status(code).body(Body::from(answer)).unwrap());
        (method, path, sent)
    }

    async fn until(&mut self, wanted: Leadership) {
        let mut leadership = self.election.leadership();
        let found = leadership.wait_for(|now| *now == wanted);
        tokio::time::timeout(seconds(30), found).await.unwrap().unwrap();
    }
}

fn lease(holder: &str, epoch: i64, version: &str) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {
            "name": "hirl", "namespace": "hirl-system", "resourceVersion": version,
            "annotations": {"hirl-scale.io/peer-address": "10.0.0.2:6443"}
        },
        "spec": {"holderIdentity": holder, "leaseTransitions": epoch, "leaseDurationSeconds": 600}
    })
}

fn status(code: u16, reason: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure",
        "message": reason, "reason": reason, "code": code
    })
}

const PATH: &str = "/apis/coordination.k8s.io/v1/namespaces/hirl-system/leases";
const NOBODY: Leadership = Leadership::Following { holder: None, address: None };

#[tokio::test]
async fn a_missing_lease_is_created_then_renewed_then_given_back() {
    let mut scene = scene(300.0);
    scene.answer(404, status(404, "NotFound")).await;
    let (method, path, sent) = scene.answer(201, Value::Null).await;
    assert_eq!((method.as_str(), path.as_str()), ("POST", PATH));
    assert_eq!(sent["spec"]["holderIdentity"], ME);
    assert_eq!(sent["spec"]["leaseDurationSeconds"], 600);
    assert_eq!(sent["metadata"]["annotations"]["hirl-scale.io/peer-address"], "10.0.0.1:6443");
    let epoch = sent["spec"]["leaseTransitions"].as_u64().unwrap();
    scene.until(Leadership::Leading { epoch }).await;
    assert_eq!(scene.election.guard().epoch(), Some(epoch));
    assert_eq!(scene.instruments.leader.get(), 1);

    let mut ours = sent;
    ours["metadata"]["resourceVersion"] = json!("7");
    scene.answer(200, ours).await;
    let (method, path, sent) = scene.answer(200, Value::Null).await;
    assert_eq!((method, path), ("PUT".to_owned(), format!("{PATH}/hirl")));
    assert_eq!(sent["metadata"]["resourceVersion"], "7");
    assert_eq!(sent["spec"]["leaseTransitions"], epoch, "a renewal is no transition");

    scene.stop.cancel();
    let guard = scene.election.guard();
    loop {
        let (method, _, sent) = scene.answer(200, Value::Null).await;
        // A look may have been under way when the stop came.
        if method == "PUT" && sent["spec"]["holderIdentity"].is_null() {
            assert_eq!(sent["spec"]["leaseTransitions"], epoch);
            assert!(sent["metadata"]["annotations"]["hirl-scale.io/peer-address"].is_null());
            break;
        }
    }
    scene.election.ended().await;
    assert!(!guard.still_leading());
}

#[tokio::test]
async fn a_follower_knows_the_holder_and_where_to_fetch_its_decisions() {
    let mut scene = scene(300.0);
    scene.answer(200, lease("hirl-b", 4, "1")).await;
    scene
        .until(Leadership::Following {
            holder: Some("hirl-b".to_owned()),
            address: Some("10.0.0.2:6443".to_owned()),
        })
        .await;
    assert_eq!(scene.instruments.leader.get(), 0);
    // Its holder gives it back: it is taken without waiting for the end of its duration.
    scene.answer(200, lease("", 4, "2")).await;
    let (method, _, sent) = scene.answer(200, Value::Null).await;
    assert_eq!((method.as_str(), &sent["spec"]["leaseTransitions"]), ("PUT", &json!(5)));
    scene.until(Leadership::Leading { epoch: 5 }).await;
}

#[tokio::test]
async fn a_conflict_means_that_another_replica_was_faster() {
    let mut scene = scene(300.0);
    scene.answer(200, lease("", 4, "1")).await;
    let (method, _, _) = scene.answer(409, status(409, "Conflict")).await;
    assert_eq!(method, "PUT");
    scene.answer(200, lease("hirl-b", 5, "2")).await;
    scene
        .until(Leadership::Following {
            holder: Some("hirl-b".to_owned()),
            address: Some("10.0.0.2:6443".to_owned()),
        })
        .await;
    assert!(!scene.election.guard().still_leading());
}

#[tokio::test]
async fn a_stolen_lease_ends_the_term_at_the_next_look() {
    let mut scene = scene(300.0);
    scene.answer(200, lease("", 4, "1")).await;
    scene.answer(200, Value::Null).await;
    scene.until(Leadership::Leading { epoch: 5 }).await;
    scene.answer(200, lease("hirl-b", 6, "9")).await;
    scene
        .until(Leadership::Following {
            holder: Some("hirl-b".to_owned()),
            address: Some("10.0.0.2:6443".to_owned()),
        })
        .await;
    assert!(!scene.election.guard().still_leading());
}

#[tokio::test]
async fn a_failing_api_server_ends_the_term_at_the_deadline_and_a_new_one_has_a_new_epoch() {
    let mut scene = scene(1.0);
    scene.answer(200, lease("", 4, "1")).await;
    scene.answer(200, Value::Null).await;
    scene.until(Leadership::Leading { epoch: 5 }).await;
    let mut leadership = scene.election.leadership();
    while *leadership.borrow_and_update() != NOBODY {
        scene.answer(500, status(500, "InternalError")).await;
    }
    assert!(!scene.election.guard().still_leading());
    // It comes back, and the Lease still names us: the same process begins a new term.
    loop {
        let (method, _, sent) = scene.answer(200, lease(ME, 5, "2")).await;
        if method == "PUT" {
            assert_eq!(sent["spec"]["leaseTransitions"], 6);
            assert_eq!(sent["metadata"]["resourceVersion"], "2");
            break;
        }
    }
}

#[tokio::test]
async fn a_silent_api_server_ends_the_term_too() {
    let mut scene = scene(0.3);
    scene.answer(200, lease("", 4, "1")).await;
    scene.answer(200, Value::Null).await;
    let mut leadership = scene.election.leadership();
    // No answer from here on.
    let ended = leadership.wait_for(|now| *now == NOBODY);
    tokio::time::timeout(seconds(30), ended).await.unwrap().unwrap();
    assert!(!scene.election.guard().still_leading());
}
