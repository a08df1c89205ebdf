//! The service with a scripted API server behind it and certificates made on the spot.

mod access;
mod documents;
mod placement;
mod reads;
mod serving;

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::header::HeaderMap;
use hyper::{Request, StatusCode};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::authentication::Connection;
use super::probes::LogLevel;
use super::service::{Service, State};
use super::settings::Settings;
use crate::cluster::{
    App, AppId, Catalog, Class, Domain, Fault, Mode, PolicyChoice, Refusal, SignalKind, Slo,
    Timestamp,
};
use crate::control::{Published, peer};
use crate::instruments::Instruments;
use crate::kubernetes::{FrontProxy, Leadership, Reviews};
use crate::safety::{AppDecision, Decision, Evidence, Reasons, Rung};

const READ: &str = "/apis/external.metrics.k8s.io/v1beta1/namespaces/d/hirl-desired-replicas";
const RESOURCES: &str = "/apis/external.metrics.k8s.io/v1beta1";
const HPA_CONTROLLER: &str = "system:serviceaccount:kube-system:horizontal-pod-autoscaler";

/// What the scripted API server answers a review with.
enum Reply {
    Status(Value),
    Error,
    Never,
}

type Script = Arc<dyn Fn(&Value) -> Reply + Send + Sync>;

/// An API server that answers reviews by a script and keeps what it was asked.
#[derive(Clone)]
struct ApiServer {
    script: Arc<Mutex<Script>>,
    asked: Arc<Mutex<Vec<Value>>>,
}

impl ApiServer {
    fn new() -> Self {
        let denies: Script = Arc::new(|_| Reply::Status(json!({"allowed": false})));
        Self { script: Arc::new(Mutex::new(denies)), asked: Arc::default() }
    }

    fn answers(&self, script: impl Fn(&Value) -> Reply + Send + Sync + 'static) {
        *self.script.lock().unwrap() = Arc::new(script);
    }

    fn allows_all(&self) {
        self.answers(|_| Reply::Status(json!({"allowed": true})));
    }

    fn asked(&self) -> Vec<Value> {
        self.asked.lock().unwrap().clone()
    }

    fn client(&self) -> kube::Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let server = server.clone();
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        });
        kube::Client::new(service, "default")
    }

    async fn answer(&self, request: Request<kube::client::Body>) -> hyper::Response<Full<Bytes>> {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let mut review: Value = serde_json::from_slice(&body).unwrap();
        self.asked.lock().unwrap().push(review.clone());
        let script = Arc::clone(&self.script.lock().unwrap());
        let mut response = hyper::Response::new(Full::default());
        match script(&review) {
            Reply::Status(status) => {
                review["status"] = status;
                *response.body_mut() = Full::new(review.to_string().into());
            }
            Reply::Error => *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR,
            Reply::Never => std::future::pending().await,
        }
        response
    }
}

/// A CA, to sign what a test needs.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    certificate: CertificateDer<'static>,
}

/// A certificate with its key.
struct Signed {
    pem: String,
    key: String,
    der: CertificateDer<'static>,
}

impl Authority {
    fn new(name: &str) -> Self {
        Self::make(name, |params, key| params.self_signed(key).unwrap())
    }

    fn below(&self, name: &str) -> Self {
        Self::make(name, |params, key| params.signed_by(key, &self.issuer).unwrap())
    }

    fn make(
        name: &str,
        sign: impl FnOnce(&CertificateParams, &KeyPair) -> rcgen::Certificate,
    ) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = sign(&params, &key);
        Self {
            pem: certificate.pem(),
            certificate: certificate.der().clone(),
            issuer: Issuer::new(params, key),
        }
    }

    fn sign(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Signed {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Signed { pem: certificate.pem(), key: key.serialize_pem(), der: certificate.der().clone() }
    }

    /// A client certificate with a common name and organizations.
    fn client(&self, name: &str, groups: &[&str]) -> Signed {
        self.sign(&[], |params| {
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, name);
            for group in groups {
                params.distinguished_name.push(DnType::OrganizationName, *group);
            }
        })
    }

    fn shown(&self, name: &str, groups: &[&str]) -> Connection {
        Connection::new(vec![self.client(name, groups).der])
    }
}

/// The service, and everything around it that a test may move.
struct Rig {
    service: Arc<Service>,
    api_server: ApiServer,
    published: watch::Sender<Option<Arc<Published>>>,
    front_proxy: watch::Sender<Option<Arc<FrontProxy>>>,
    instruments: Arc<Instruments>,
    proxies: Authority,
    clients: Authority,
}

/// An answer, read.
struct Answer {
    code: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The message of a `Status` with this code and reason, which must be complete.
    #[track_caller]
    fn status(&self, code: u16, reason: &str) -> String {
        let status = self.json();
        assert_eq!((self.code, &status["reason"]), (code, &json!(reason)), "{status}");
        assert_eq!(status["kind"], "Status");
        assert_eq!(status["apiVersion"], "v1");
        assert_eq!(status["status"], "Failure");
        assert_eq!(status["code"], code);
        assert!(status["metadata"].is_object());
        assert_eq!(self.header("content-type"), "application/json");
        assert_eq!(self.header("x-content-type-options"), "nosniff");
        assert_eq!(self.header("retry-after"), "", "client-go would sleep on it");
        status["message"].as_str().unwrap().to_owned()
    }
}

impl Rig {
    fn new() -> Self {
        Self::with(&Settings::default())
    }

    fn with(settings: &Settings) -> Self {
        let (proxies, clients) = (Authority::new("proxies"), Authority::new("clients"));
        let api_server = ApiServer::new();
        let instruments = Arc::new(Instruments::default());
        let (published, _) = watch::channel(Some(published(apps())));
        let (front_proxy, _) = watch::channel(None);
        let state = state(&api_server, &instruments, &published, &front_proxy);
        let service = Arc::new(Service::new(settings, peer::Settings::default(), state));
        let rig =
            Self { service, api_server, published, front_proxy, instruments, proxies, clients };
        rig.believe(|_| {});
        rig
    }

    fn state(&self) -> State {
        state(&self.api_server, &self.instruments, &self.published, &self.front_proxy)
    }

    /// Publishes whom to believe, with a change.
    fn believe(&self, change: impl FnOnce(&mut FrontProxy)) {
        let mut believed = FrontProxy {
            client_ca: Some(self.clients.pem.clone()),
            requestheader_ca: Some(self.proxies.pem.clone()),
            allowed_names: vec!["front-proxy-client".to_owned()],
            username_headers: vec!["x-remote-user".to_owned()],
            uid_headers: vec!["x-remote-uid".to_owned()],
            group_headers: vec!["x-remote-group".to_owned()],
            extra_prefixes: vec!["x-remote-extra-".to_owned()],
        };
        change(&mut believed);
        self.front_proxy.send_replace(Some(Arc::new(believed)));
    }

    /// A connection of the API server.
    fn front_proxy(&self) -> Connection {
        self.proxies.shown("front-proxy-client", &[])
    }

    /// A connection of somebody who may do everything.
    fn master(&self) -> Connection {
        self.clients.shown("admin", &["system:masters"])
    }

    async fn send(&self, request: Request<Full<Bytes>>, connection: &Connection) -> Answer {
        let response = self.service.answer(request, connection).await;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { code: parts.status.as_u16(), headers: parts.headers, body }
    }

    async fn get(&self, target: &str, headers: &[(&str, &str)], connection: &Connection) -> Answer {
        self.send(request("GET", target, headers), connection).await
    }

    /// A read by somebody who may do everything.
    async fn read(&self, target: &str) -> Answer {
        self.get(target, &[], &self.master()).await
    }

    /// A read through the API server for a user.
    async fn read_as(&self, user: &str) -> Answer {
        let target = format!("{READ}?labelSelector=target%3Dweb");
        self.get(&target, &[("x-remote-user", user)], &self.front_proxy()).await
    }
}

fn state(
    api_server: &ApiServer,
    instruments: &Arc<Instruments>,
    published: &watch::Sender<Option<Arc<Published>>>,
    front_proxy: &watch::Sender<Option<Arc<FrontProxy>>>,
) -> State {
    State {
        published: published.subscribe(),
        front_proxy: front_proxy.subscribe(),
        reviews: Reviews::new(api_server.client()),
        instruments: Arc::clone(instruments),
        log_level: LogLevel::new(|level| match level {
            "panic" => panic!("as asked"),
            "debug" => Ok(()),
            other => Err(format!("{other} is no level")),
        }),
        decision_interval: Duration::from_secs(10),
        placements: None,
        leadership: watch::channel(Leadership::Following { holder: None, address: None }).1,
    }
}

fn request(method: &str, target: &str, headers: &[(&str, &str)]) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::default()).unwrap()
}

fn nobody() -> Connection {
    Connection::default()
}

fn app(namespace: &str, hpa: &str, target: &str) -> App {
    App {
        id: AppId::new(namespace, hpa),
        kind: "Deployment".into(),
        target: target.into(),
        domain: 0,
        min_replicas: 1,
        max_replicas: 2000,
        tolerance_up: 0.1,
        tolerance_down: 0.1,
        target_cpu: 0.7,
        refusal: None,
    }
}

fn decided(replicas: Option<u32>, rung: Rung) -> AppDecision {
    AppDecision {
        replicas,
        rung,
        reasons: Reasons::default(),
        proposed: None,
        hpa_equivalent: None,
        current: 1,
        supported_at: Timestamp::from_millis(1_763_769_000_000),
        lost_to_tolerance: false,
        missing: None,
        evidence: Evidence::default(),
    }
}

/// Two healthy apps, one whose signals are gone and one that was refused.
fn apps() -> Vec<(App, AppDecision)> {
    let refused = App { refusal: Some(Refusal::ValueTarget), ..app("d", "refused-hpa", "refused") };
    let mut withheld = decided(None, Rung::Withheld);
    withheld.missing = Some((SignalKind::Cpu, Fault::Stale));
    vec![
        (app("d", "api-hpa", "api"), decided(Some(3), Rung::LastGood)),
        (app("d", "dark-hpa", "dark"), withheld),
        (refused, decided(None, Rung::Withheld)),
        (app("d", "web-hpa", "web"), decided(Some(7), Rung::Policy)),
        (app("other", "web-hpa", "web"), decided(Some(9), Rung::Policy)),
    ]
}

fn decision(apps: Vec<(App, AppDecision)>) -> Decision {
    let (apps, decided) = apps.into_iter().unzip();
    let domain = Domain {
        name: "bank".to_owned(),
        class: Class::P0,
        weight: 1.0,
        slo: Slo { p99_seconds: 0.5, error_ratio: 0.01 },
        floor_share: 0.0,
        borrowing: crate::cluster::LoanLimit::default(),
        lending: crate::cluster::LoanLimit::default(),
        policy: PolicyChoice::Hirl,
        mode: Mode::Active,
        calls: Vec::new(),
        budget_by_hand: None,
        emergency: None,
    };
    Decision {
        epoch: 3,
        sequence: 14,
        at: Timestamp::from_millis(1_763_769_335_678),
        catalog: Arc::new(Catalog { domains: vec![domain], apps }),
        apps: decided,
        domains: Vec::new(),
        reserve_share: 0.1,
        pool_reserves: Vec::new(),
        warm_cores: 12.5,
        spread_cores: 0.0,
        forecasts: Vec::new(),
        weights: None,
    }
}

fn published_with_age(apps: Vec<(App, AppDecision)>, age: u64) -> Arc<Published> {
    let (age, limit) = (Duration::from_secs(age), Duration::from_mins(1));
    Arc::new(Published::new(Arc::new(decision(apps)), age, limit))
}

fn published(apps: Vec<(App, AppDecision)>) -> Arc<Published> {
    published_with_age(apps, 0)
}
