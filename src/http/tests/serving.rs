//! The server on a real socket: TLS, both protocols, rotation, limits and the graceful stop.

use std::os::unix::fs::symlink;
use std::path::Path;

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::http::server::{Server, StartError};
use crate::https::{CertificateError, Clients, Files, Meters, Reloader};
use crate::tls;

const NAME: &str = "hirl.hirl.svc";

/// A Secret as kubelet mounts it: the files are links into a folder that is swapped whole.
struct Secret {
    folder: TempDir,
}

impl Secret {
    fn new(pair: &Signed) -> Self {
        let secret = Self { folder: tempfile::tempdir().unwrap() };
        secret.swap(&pair.pem, &pair.key);
        for file in ["tls.crt", "tls.key"] {
            symlink(Path::new("..data").join(file), secret.folder.path().join(file)).unwrap();
        }
        secret
    }

    fn swap(&self, certificate: &str, key: &str) {
        let path = self.folder.path();
        let version = tempfile::Builder::new().prefix("..v").tempdir_in(path).unwrap().keep();
        std::fs::write(version.join("tls.crt"), certificate).unwrap();
        std::fs::write(version.join("tls.key"), key).unwrap();
        let _ = std::fs::remove_file(path.join("..new"));
        symlink(version.file_name().unwrap(), path.join("..new")).unwrap();
        std::fs::rename(path.join("..new"), path.join("..data")).unwrap();
    }

    fn files(&self) -> Files {
        Files {
            certificate: self.folder.path().join("tls.crt"),
            key: self.folder.path().join("tls.key"),
            clients: Clients::Any,
        }
    }
}

/// A running server and who signed its certificate.
struct Running {
    rig: Rig,
    signer: Authority,
    secret: Secret,
    address: std::net::SocketAddr,
    stop: CancellationToken,
    ended: tokio::task::JoinHandle<()>,
}

impl Running {
    async fn start(change: impl FnOnce(&mut Settings)) -> Self {
        let signer = Authority::new("signer");
        let secret = Secret::new(&signer.sign(&[NAME], |_| {}));
        let rig = Rig::new();
        let mut settings = Settings {
            listen: "127.0.0.1:0".parse().unwrap(),
            cert_file: secret.files().certificate,
            key_file: secret.files().key,
            reload_seconds: 0.01,
            ready_delay_seconds: 0.0,
            ..Settings::default()
        };
        change(&mut settings);
        let server = Server::bind(settings, peer::Settings::default(), rig.state()).await.unwrap();
        let (address, stop) = (server.address(), CancellationToken::new());
        let ended = tokio::spawn(server.run(stop.clone()));
        Self { rig, signer, secret, address, stop, ended }
    }

    async fn connect(&self, alpn: &[&str], identity: Option<&Signed>) -> TlsStream<TcpStream> {
        self.try_connect(alpn, identity, &self.signer.pem).await.unwrap()
    }

    async fn try_connect(
        &self,
        alpn: &[&str],
        identity: Option<&Signed>,
        ca: &str,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let identity = identity.map(|pair| (pair.pem.as_bytes(), pair.key.as_bytes()));
        let mut config = tls::client_config(ca.as_bytes(), identity).unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let stream = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from(NAME).unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    async fn http2(&self, identity: Option<&Signed>) -> Http2 {
        let stream = self.connect(&["h2"], identity).await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let io = TokioIo::new(stream);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        Http2 { sender, ended: tokio::spawn(async move { connection.await.is_ok() }) }
    }
}

struct Http2 {
    sender: http2::SendRequest<Full<Bytes>>,
    ended: tokio::task::JoinHandle<bool>,
}

impl Http2 {
    async fn get(&mut self, target: &str, headers: &[(&str, &str)]) -> Answer {
        let target = format!("https://{NAME}{target}");
        read(self.sender.send_request(request("GET", &target, headers)).await.unwrap()).await
    }
}

async fn read(response: hyper::Response<hyper::body::Incoming>) -> Answer {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer { code: parts.status.as_u16(), headers: parts.headers, body }
}

/// Tries again until it holds, for at most ten seconds.
async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while !holds().await {
        assert!(std::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn web() -> String {
    format!("{READ}?labelSelector=target%3Dweb")
}

#[tokio::test]
async fn both_protocols_answer_and_certificates_tell_who_asks() {
    let running = Running::start(|_| {}).await;
    running.rig.api_server.allows_all();
    let proxy = running.rig.proxies.client("front-proxy-client", &[]);
    let mut client = running.http2(Some(&proxy)).await;
    let answer = client.get(&web(), &[("x-remote-user", "bob")]).await;
    assert_eq!((answer.code, &answer.json()["items"][0]["value"]), (200, &json!("7")));
    assert_eq!(running.rig.api_server.asked()[0]["spec"]["user"], "bob");

    // A certificate that nobody we believe has signed gets an answer, not a TLS alert.
    let stranger = Authority::new("strangers").client("front-proxy-client", &[]);
    let mut client = running.http2(Some(&stranger)).await;
    let refused = client.get(&web(), &[("x-remote-user", "bob")]).await;
    refused.status(401, "Unauthorized");

    let stream = running.connect(&["http/1.1"], None).await;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let driver = tokio::spawn(connection);
    for _ in 0..2 {
        let request = request("GET", "/livez", &[("host", NAME)]);
        let answer = read(sender.send_request(request).await.unwrap()).await;
        assert_eq!((answer.code, answer.text()), (200, "ok"));
    }
    drop(sender);
    driver.await.unwrap().unwrap();
}

/// Shows a certificate and signs with another key.
#[derive(Debug)]
struct Thief(Arc<rustls::sign::CertifiedKey>);

impl rustls::client::ResolvesClientCert for Thief {
    fn resolve(
        &self,
        _hints: &[&[u8]],
        _schemes: &[rustls::SignatureScheme],
    ) -> Option<Arc<rustls::sign::CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn a_stolen_certificate_without_its_key_does_not_connect() {
    let running = Running::start(|_| {}).await;
    let proxy = running.rig.proxies.client("front-proxy-client", &[]);
    let other = running.rig.proxies.client("other", &[]);
    for (pair, connects) in [(&other, false), (&proxy, true)] {
        let key = tls::private_key(pair.key.as_bytes()).unwrap();
        let key = tls::provider().key_provider.load_private_key(key).unwrap();
        let shown = rustls::sign::CertifiedKey::new(vec![proxy.der.clone()], key);
        let mut config = tls::client_config(running.signer.pem.as_bytes(), None).unwrap();
        config.client_auth_cert_resolver = Arc::new(Thief(Arc::new(shown)));
        let stream = TcpStream::connect(running.address).await.unwrap();
        let name = ServerName::try_from(NAME).unwrap();
        // In TLS 1.3 a client learns of the refusal when it reads.
        let mut answer = Vec::new();
        if let Ok(mut stream) = TlsConnector::from(Arc::new(config)).connect(name, stream).await {
            let _ = stream.write_all(b"GET /livez HTTP/1.0\r\n\r\n").await;
            let _ = stream.read_to_end(&mut answer).await;
        }
        assert_eq!(answer.starts_with(b"HTTP/1.0 200"), connects);
    }
    assert_eq!(running.rig.instruments.handshake_failures.get(), 1);
}

#[tokio::test]
async fn a_swapped_secret_is_served_to_new_connections_and_old_ones_live_on() {
    let running = Running::start(|_| {}).await;
    let mut old = running.http2(None).await;
    assert_eq!(old.get("/livez", &[]).await.code, 200);
    let next = Authority::new("next signer");
    let pair = next.sign(&[NAME], |_| {});
    running.secret.swap(&pair.pem, &pair.key);
    eventually("the new certificate is served", async || {
        running.try_connect(&["h2"], None, &next.pem).await.is_ok()
    })
    .await;
    assert!(running.try_connect(&["h2"], None, &running.signer.pem).await.is_err());
    assert_eq!(old.get("/livez", &[]).await.code, 200);
}

#[test]
fn a_broken_pair_never_replaces_a_good_one() {
    let signer = Authority::new("signer");
    let (first, second) = (signer.sign(&[NAME], |_| {}), signer.sign(&[NAME], |_| {}));
    let expired = signer.sign(&[NAME], |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2020, 2, 1);
    });
    let secret = Secret::new(&first);
    let instruments = Arc::new(Instruments::default());
    let meters = Meters {
        expiry: instruments.serving_cert_expiry.clone(),
        reloads: instruments.serving_cert_reloads.clone(),
        ..Meters::default()
    };
    let mut reloader = Reloader::start(secret.files(), meters).unwrap();
    let configs = reloader.configs();
    let good = configs.borrow().clone();
    for (certificate, key) in [
        (&first.pem, &second.key),
        (&"garbage".to_owned(), &first.key),
        (&first.pem, &"garbage".to_owned()),
        (&String::new(), &String::new()),
        (&expired.pem, &expired.key),
    ] {
        secret.swap(certificate, key);
        reloader.look();
        assert!(Arc::ptr_eq(&good, &configs.borrow()), "{certificate} was taken");
    }
    std::fs::remove_file(secret.folder.path().join("..data")).unwrap();
    reloader.look();
    assert!(Arc::ptr_eq(&good, &configs.borrow()));
    let text = instruments.render();
    assert!(text.contains(r#"serving_cert_reloads_total{outcome="error"} 6"#), "{text}");

    secret.swap(&second.pem, &second.key);
    reloader.look();
    assert!(!Arc::ptr_eq(&good, &configs.borrow()));
    // The same bytes again are no reload.
    let taken = configs.borrow().clone();
    reloader.look();
    assert!(Arc::ptr_eq(&taken, &configs.borrow()));
    let text = instruments.render();
    assert!(text.contains(r#"serving_cert_reloads_total{outcome="ok"} 1"#), "{text}");
    assert!(instruments.serving_cert_expiry.get() > 0.0);
}

#[tokio::test]
async fn a_server_without_a_usable_pair_says_why_it_does_not_start() {
    let signer = Authority::new("signer");
    let (one, other) = (signer.sign(&[NAME], |_| {}), signer.sign(&[NAME], |_| {}));
    let secret = Secret::new(&one);
    let rig = Rig::new();
    let start = async |change: &dyn Fn(&mut Settings)| {
        let mut settings = Settings {
            listen: "127.0.0.1:0".parse().unwrap(),
            cert_file: secret.files().certificate,
            key_file: secret.files().key,
            ..Settings::default()
        };
        change(&mut settings);
        Server::bind(settings, peer::Settings::default(), rig.state()).await.unwrap_err()
    };
    let missing = start(&|settings| settings.cert_file = "/nonexistent/tls.crt".into()).await;
    assert!(matches!(missing, StartError::Certificate(CertificateError::File { .. })));
    assert!(missing.to_string().contains("/nonexistent/tls.crt"), "{missing}");
    secret.swap(&one.pem, &other.key);
    let mismatch = start(&|_| {}).await.to_string();
    assert!(mismatch.contains("tls.key"), "{mismatch}");
    secret.swap(&one.key, &one.key);
    let nothing = start(&|_| {}).await.to_string();
    assert!(nothing.contains("tls.crt") && nothing.contains("no usable certificate"), "{nothing}");
    let setting = start(&|settings| settings.max_streams = 0).await.to_string();
    assert!(setting.contains("http.maxStreams"), "{setting}");
}

#[tokio::test]
async fn a_chain_is_served_whole() {
    let running = Running::start(|_| {}).await;
    let root = Authority::new("root");
    let middle = root.below("middle");
    let leaf = middle.sign(&[NAME], |_| {});
    running.secret.swap(&format!("{}{}", leaf.pem, middle.pem), &leaf.key);
    eventually("a client that knows the root alone connects", async || {
        let Ok(stream) = running.try_connect(&["h2"], None, &root.pem).await else {
            return false;
        };
        let chain = stream.get_ref().1.peer_certificates().unwrap();
        assert_eq!(chain, [leaf.der.clone(), middle.certificate.clone()]);
        true
    })
    .await;
}

#[tokio::test]
async fn an_old_connection_is_told_to_go_away_and_its_requests_are_answered() {
    let running = Running::start(|settings| settings.max_connection_age_seconds = 0.2).await;
    let mut client = running.http2(None).await;
    assert_eq!(client.get("/livez", &[]).await.code, 200);
    assert!(client.ended.await.unwrap(), "the connection must end without an error");
}

#[tokio::test]
async fn silent_clients_are_let_go() {
    let running = Running::start(|settings| {
        settings.handshake_seconds = 0.05;
        settings.header_seconds = 0.05;
        settings.idle_seconds = 0.05;
        settings.drain_seconds = 0.05;
    })
    .await;
    // Nothing at all, no handshake, no request, half a request, and an idle connection.
    let mut mute = TcpStream::connect(running.address).await.unwrap();
    let mut closed = Vec::new();
    mute.read_to_end(&mut closed).await.unwrap();
    for alpn in ["h2", "http/1.1"] {
        let mut stream = running.connect(&[alpn], None).await;
        let mut closed = Vec::new();
        let _ = stream.read_to_end(&mut closed).await;
    }
    let mut half = running.connect(&["http/1.1"], None).await;
    half.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\nx-slow: ").await.unwrap();
    let mut closed = Vec::new();
    let _ = half.read_to_end(&mut closed).await;
    let mut idle = running.http2(None).await;
    assert_eq!(idle.get("/livez", &[]).await.code, 200);
    assert!(idle.ended.await.unwrap());
    eventually("all connections are counted out", async || {
        running.rig.instruments.connections.get() == 0
    })
    .await;
    assert!(running.rig.instruments.handshake_failures.get() >= 1);
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_at_once() {
    let running = Running::start(|settings| settings.max_connections = 1).await;
    let mut first = running.http2(None).await;
    assert_eq!(first.get("/livez", &[]).await.code, 200);
    assert!(running.try_connect(&["h2"], None, &running.signer.pem).await.is_err());
    assert_eq!(first.get("/livez", &[]).await.code, 200);
    drop(first);
    eventually("the place is free again", async || {
        running.try_connect(&["h2"], None, &running.signer.pem).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn stopping_is_unready_first_and_lets_requests_end() {
    let running = Running::start(|settings| settings.ready_delay_seconds = 0.3).await;
    let mut client = running.http2(None).await;
    assert_eq!(client.get("/readyz", &[]).await.code, 200);
    running.rig.api_server.answers(|_| Reply::Never);
    let waiting = {
        let mut sender = client.sender.clone();
        let target = format!("https://{NAME}{}", web());
        tokio::spawn(async move { sender.send_request(request("GET", &target, &[])).await })
    };
    eventually("the read waits for its review", async || {
        !running.rig.api_server.asked().is_empty()
    })
    .await;
    running.stop.cancel();
    eventually("not ready, and still answering", async || {
        client.get("/readyz", &[]).await.code == 503
    })
    .await;
    // A connection that comes before everybody has noticed is served.
    assert_eq!(running.http2(None).await.get("/livez", &[]).await.code, 200);
    assert_eq!(waiting.await.unwrap().unwrap().status(), 503);
    running.ended.await.unwrap();
    assert!(client.ended.await.unwrap());
    assert!(TcpStream::connect(running.address).await.is_err());
}

#[tokio::test]
async fn a_request_with_too_many_headers_is_refused_and_the_server_lives() {
    let running = Running::start(|settings| settings.max_header_bytes = 8 << 10).await;
    let huge = "x".repeat(100 << 10);
    let mut client = running.http2(None).await;
    let target = format!("https://{NAME}/livez");
    let sent = client.sender.send_request(request("GET", &target, &[("x-huge", &huge)])).await;
    assert!(sent.map_or(true, |response| response.status() == 431));
    let mut stream = running.connect(&["http/1.1"], None).await;
    let head = format!("GET /livez HTTP/1.1\r\nhost: x\r\nx-huge: {huge}\r\n\r\n");
    let _ = stream.write_all(head.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    assert_eq!(running.http2(None).await.get("/livez", &[]).await.code, 200);
}
