//! The extender on a real socket: only a scheduler's certificate gets an answer.

use std::net::SocketAddr;
use std::path::Path;

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair,
};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::extender::Settings as ExtenderSettings;
use crate::https::{Clients, Closer, Files, Listener, Meters};
use crate::tls;

const NAME: &str = "hirl-extender.hirl-system.svc";
const SCHEDULER: &str = "system:kube-scheduler";

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// Certificate and key, PEM.
type Pair = (String, String);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    fn sign(&self, change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, SCHEDULER);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    fn named(&self, name: &str) -> Pair {
        self.sign(|params| {
            params.distinguished_name = DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, name);
        })
    }
}

struct Running {
    placements: Placements,
    instruments: Arc<Instruments>,
    servers: Authority,
    clients: Authority,
    folder: tempfile::TempDir,
    address: SocketAddr,
    closer: Closer,
    stop: CancellationToken,
    _api_server: ApiServer,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Running {
    async fn start() -> Self {
        let rig = Rig::new(0.5).await;
        let (servers, clients) = (Authority::new(), Authority::new());
        let folder = tempfile::tempdir().unwrap();
        let pair = servers.sign(|params| {
            params.subject_alt_names = vec![rcgen::SanType::DnsName(NAME.try_into().unwrap())];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        });
        let write = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).unwrap();
            folder.path().join(name)
        };
        let files = Files {
            certificate: write("tls.crt", &pair.0),
            key: write("tls.key", &pair.1),
            clients: Clients::SignedBy(write("clients.crt", &clients.pem)),
        };
        let settings = ExtenderSettings {
            listen: "127.0.0.1:0".parse().unwrap(),
            ..ExtenderSettings::default()
        };
        let mut listening = settings.listening();
        listening.reload_every = Duration::from_millis(10);
        let service = Service {
            placements: rig.placements.clone(),
            binder: rig.service.binder.clone(),
            client_names: rig.service.client_names.clone(),
            instruments: Arc::clone(&rig.instruments),
        };
        let meters = Meters {
            handshake_failures: rig.instruments.extender.handshake_failures.clone(),
            ..Meters::default()
        };
        let listener = Listener::bind(listening, files, Arc::new(service), meters).await.unwrap();
        let (address, closer) = (listener.address(), listener.closer());
        let stop = CancellationToken::new();
        tokio::spawn(listener.run(stop.clone()));
        Self {
            placements: rig.placements.clone(),
            instruments: Arc::clone(&rig.instruments),
            servers,
            clients,
            folder,
            address,
            closer,
            stop,
            _api_server: rig.api_server.clone(),
        }
    }

    async fn connect(
        &self,
        alpn: &str,
        identity: Option<&Pair>,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let identity = identity.map(|(cert, key)| (cert.as_bytes(), key.as_bytes()));
        let mut config = tls::client_config(self.servers.pem.as_bytes(), identity).unwrap();
        config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        let stream = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from(NAME).unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    async fn http2(&self, identity: Option<&Pair>) -> Option<Client> {
        let stream = self.connect("h2", identity).await.ok()?;
        let io = TokioIo::new(stream);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.ok()?;
        Some(Client { sender, ended: tokio::spawn(async move { connection.await.is_ok() }) })
    }

    /// The status of a filter over a fresh connection; `None` when there was no answer at all.
    async fn status(&self, identity: Option<&Pair>) -> Option<u16> {
        let mut client = self.http2(identity).await?;
        client.filter().await.map(|(code, _)| code)
    }
}

struct Client {
    sender: http2::SendRequest<Full<Bytes>>,
    ended: tokio::task::JoinHandle<bool>,
}

impl Client {
    async fn filter(&mut self) -> Option<(u16, String)> {
        let question = json!({"Pod": pod("pay", "a", "1"), "Nodes": null, "NodeNames": ["n1"]});
        let request = Request::post(format!("https://{NAME}/v1/strict/filter"))
            .body(Full::new(question.to_string().into()))
            .unwrap();
        let response = self.sender.send_request(request).await.ok()?;
        let length = response.headers()["content-length"].to_str().unwrap().to_owned();
        let code = response.status().as_u16();
        let body = response.into_body().collect().await.ok()?.to_bytes();
        assert_eq!(length, body.len().to_string());
        Some((code, String::from_utf8(body.to_vec()).unwrap()))
    }
}

#[tokio::test]
async fn the_scheduler_is_answered_over_both_protocols() {
    let running = Running::start().await;
    let scheduler = running.clients.named(SCHEDULER);
    let mut client = running.http2(Some(&scheduler)).await.unwrap();
    for _ in 0..3 {
        let (code, body) = client.filter().await.unwrap();
        assert_eq!(code, 200);
        assert!(body.contains(r#""NodeNames":["n1"]"#), "{body}");
    }
    let by_dns_name = running.clients.sign(|params| {
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![rcgen::SanType::DnsName("other.svc".try_into().unwrap())];
    });
    assert_eq!(running.status(Some(&by_dns_name)).await, Some(403), "not configured");

    let stream = running.connect("http/1.1", Some(&scheduler)).await.unwrap();
    let (mut sender, connection) =
        http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    for _ in 0..2 {
        let request = Request::get("/healthz").header("host", NAME).body(Full::default()).unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["content-length"]),
            (200, &"2".parse().unwrap())
        );
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "ok");
    }
}

#[tokio::test]
async fn nobody_else_gets_an_answer_of_any_verb() {
    let running = Running::start().await;
    let stranger = Authority::new().named(SCHEDULER);
    let expired = running.clients.sign(|params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2020, 2, 1);
    });
    let for_servers = running
        .clients
        .sign(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    for (who, identity) in [
        ("nobody", None),
        ("another CA", Some(&stranger)),
        ("expired", Some(&expired)),
        ("not for clients", Some(&for_servers)),
    ] {
        assert_eq!(running.status(identity).await, None, "{who}");
    }
    let failures = running.instruments.extender.handshake_failures.get();
    assert_eq!(failures, 4);
    for name in ["system:kube-controller-manager", "system:kube-scheduler2", ""] {
        let named = running.clients.named(name);
        assert_eq!(running.status(Some(&named)).await, Some(403), "{name}");
    }
    let text = running.instruments.render();
    assert!(!text.contains("hirl_extender_verdicts_total{"), "a verb was answered:\n{text}");
    // The same connection path answers the scheduler.
    assert_eq!(running.status(Some(&running.clients.named(SCHEDULER))).await, Some(200));
}

fn replace(folder: &Path, text: &str) {
    std::fs::write(folder.join("new"), text).unwrap();
    std::fs::rename(folder.join("new"), folder.join("clients.crt")).unwrap();
}

#[tokio::test]
async fn the_client_ca_is_read_again_and_a_broken_one_changes_nothing() {
    let running = Running::start().await;
    let (old, next) = (running.clients.named(SCHEDULER), Authority::new());
    let new = next.named(SCHEDULER);
    replace(running.folder.path(), "garbage");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(running.status(Some(&old)).await, Some(200));
    // Both during a rotation, then the new one alone.
    replace(running.folder.path(), &format!("{}{}", running.clients.pem, next.pem));
    eventually("the new CA is believed", async || running.status(Some(&new)).await == Some(200))
        .await;
    assert_eq!(running.status(Some(&old)).await, Some(200));
    replace(running.folder.path(), &next.pem);
    eventually("the old CA is not", async || running.status(Some(&old)).await.is_none()).await;
    assert_eq!(running.status(Some(&new)).await, Some(200));
}

#[tokio::test]
async fn open_connections_are_sent_away_on_demand_and_new_ones_are_taken() {
    let running = Running::start().await;
    let scheduler = running.clients.named(SCHEDULER);
    let mut first = running.http2(Some(&scheduler)).await.unwrap();
    assert_eq!(first.filter().await.unwrap().0, 200);
    running.placements.lock().stand(Standing::Follower);
    assert_eq!(first.filter().await.unwrap().0, 503);
    for _ in 0..2 {
        running.closer.close_open();
        assert!(first.ended.await.unwrap(), "GOAWAY is no error");
        first = running.http2(Some(&scheduler)).await.unwrap();
        assert_eq!(first.filter().await.unwrap().0, 503);
    }
    running.placements.lock().stand(Standing::Owner);
    assert_eq!(first.filter().await.unwrap().0, 200, "the new connection lives on");
}

#[tokio::test]
async fn a_question_that_is_too_long_or_elsewhere_is_told_so() {
    let rig = Rig::new(0.5).await;
    let long = vec![b' '; (4 << 20) + 1];
    assert_eq!(rig.send("POST", "/v1/strict/filter", long).await.0, 413);
    let fits = vec![b' '; 4 << 20];
    assert_eq!(rig.send("POST", "/v1/strict/filter", fits).await.0, 400);
    for path in
        ["/", "/filter", "/v1/filter", "/v1/lax/filter", "/v1/strict/filter/", "/v1/strict/"]
    {
        let (code, body) = rig.send("POST", path, "{}").await;
        assert_eq!(code, 404, "{path}");
        assert_eq!(String::from_utf8_lossy(&body).lines().count(), 1);
    }
    assert_eq!(rig.send("GET", "/v1/strict/filter", "").await.0, 405);
    assert_eq!(rig.send("POST", "/healthz", "").await.0, 405);
}
