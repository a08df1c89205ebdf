//! What can stand between a client and the API server: a gate that passes bytes, or stops to, and
//! a proxy that takes its time with Bindings.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

use super::control_plane::ControlPlane;
use super::pki::{Identity, Leaf};

/// Whether bytes pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    /// They do.
    Open,
    /// They stay where they are, and nobody is told: as in a network that is cut in two.
    Stalled,
    /// Connections end, and new ones at once.
    Cut,
}

/// A gate before a port of this machine.
#[derive(Debug)]
pub struct Gate {
    port: u16,
    passage: watch::Sender<Passage>,
    _serving: AbortOnDropHandle<()>,
}

impl Gate {
    /// An open gate before `behind`.
    pub async fn start(behind: u16) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("a port for the gate")?;
        let port = listener.local_addr().context("the gate's port")?.port();
        let (passage, watched) = watch::channel(Passage::Open);
        let serving = tokio::spawn(async move {
            loop {
                let Ok((near, _)) = listener.accept().await else { continue };
                if *watched.borrow() != Passage::Cut {
                    tokio::spawn(pass(near, behind, watched.clone()));
                }
            }
        });
        Ok(Self { port, passage, _serving: AbortOnDropHandle::new(serving) })
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Opens or closes it.
    pub fn set(&self, passage: Passage) {
        self.passage.send_replace(passage);
    }
}

async fn pass(near: TcpStream, behind: u16, watched: watch::Receiver<Passage>) {
    let Ok(far) = TcpStream::connect(("127.0.0.1", behind)).await else { return };
    let _ = near.set_nodelay(true).and(far.set_nodelay(true));
    let (near_in, near_out) = near.into_split();
    let (far_in, far_out) = far.into_split();
    let mut until_cut = watched.clone();
    tokio::select! {
        () = copy(near_in, far_out, watched.clone()) => {}
        () = copy(far_in, near_out, watched) => {}
        _ = until_cut.wait_for(|passage| *passage == Passage::Cut) => {}
    }
}

async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut watched: watch::Receiver<Passage>,
) {
    let mut bytes = vec![0; 64 << 10];
    loop {
        let Ok(count) = from.read(&mut bytes).await else { return };
        // What was read while the gate was open may arrive; the rest waits.
        if watched.wait_for(|passage| *passage == Passage::Open).await.is_err() {
            return;
        }
        if count == 0 || to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

/// A proxy before the API server that acts as one client. It can hold Bindings up: each for
/// another while, up to a most, every second one on its way back, when it has taken effect already.
#[derive(Debug)]
pub struct SlowBindings {
    port: u16,
    shared: Arc<Shared>,
    _serving: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct Shared {
    upstream: Uri,
    client: Client<HttpsConnector<HttpConnector>, BoxBody<Bytes, hyper::Error>>,
    /// Milliseconds.
    most: AtomicU64,
    bindings: AtomicU64,
}

impl SlowBindings {
    /// Starts one that acts as `identity` and holds nothing up yet.
    pub async fn start(plane: &ControlPlane, identity: &Identity) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("a port for the proxy")?;
        let port = listener.local_addr().context("the proxy's port")?.port();
        let shared = Arc::new(Shared {
            upstream: plane.url().parse().context("the API server's address")?,
            client: client(plane.pki().cluster.pem(), identity)?,
            most: AtomicU64::new(0),
            bindings: AtomicU64::new(0),
        });
        let serving = plane.pki().cluster.issue(&Leaf::server("proxy", &["127.0.0.1"]))?;
        let serving = serve(listener, acceptor(&serving)?, Arc::clone(&shared));
        Ok(Self { port, shared, _serving: AbortOnDropHandle::new(tokio::spawn(serving)) })
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How long it holds a Binding up at most from now on.
    pub fn delay(&self, most: Duration) {
        let millis = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
        self.shared.most.store(millis, Ordering::Relaxed);
    }

    /// Bindings that came through.
    pub fn bindings(&self) -> u64 {
        self.shared.bindings.load(Ordering::Relaxed)
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let (acceptor, shared) = (acceptor.clone(), Arc::clone(&shared));
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = service_fn(move |request| {
                let shared = Arc::clone(&shared);
                async move { Ok::<_, Infallible>(forward(&shared, request).await) }
            });
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

type Reply = Response<BoxBody<Bytes, hyper::Error>>;

async fn forward(shared: &Arc<Shared>, request: Request<Incoming>) -> Reply {
    let binding = request.method() == "POST" && request.uri().path().ends_with("/binding");
    let sent = if binding {
        // On a task of its own: the API server goes on with a request whose sender gave up.
        let shared = Arc::clone(shared);
        tokio::spawn(async move { bind(&shared, request).await }).await.unwrap_or(None)
    } else {
        send(shared, request.map(http_body_util::BodyExt::boxed)).await
    };
    sent.unwrap_or_else(|| {
        let mut failed = Response::new(Full::default().map_err(|never| match never {}).boxed());
        *failed.status_mut() = StatusCode::BAD_GATEWAY;
        failed
    })
}

async fn bind(shared: &Shared, request: Request<Incoming>) -> Option<Reply> {
    let number = shared.bindings.fetch_add(1, Ordering::Relaxed);
    let most = shared.most.load(Ordering::Relaxed);
    // Spread evenly over the span, in an order that looks random and is the same every time.
    let wait = Duration::from_millis(number.wrapping_mul(617) % most.max(1));
    let (head, body) = request.into_parts();
    // Read now: the sender may be gone later.
    let body = body.collect().await.ok()?.to_bytes();
    let request =
        Request::from_parts(head, Full::new(body).map_err(|never| match never {}).boxed());
    if number.is_multiple_of(2) {
        tokio::time::sleep(wait).await;
        return send(shared, request).await;
    }
    let reply = send(shared, request).await;
    tokio::time::sleep(wait).await;
    reply
}

async fn send(shared: &Shared, request: Request<BoxBody<Bytes, hyper::Error>>) -> Option<Reply> {
    let (mut head, body) = request.into_parts();
    let mut target = shared.upstream.clone().into_parts();
    target.path_and_query = head.uri.path_and_query().cloned();
    head.uri = Uri::from_parts(target).ok()?;
    head.headers.remove("host");
    let reply = shared.client.request(Request::from_parts(head, body)).await.ok()?;
    Some(reply.map(http_body_util::BodyExt::boxed))
}

fn acceptor(identity: &Identity) -> Result<TlsAcceptor> {
    let (certificates, key) = pair(identity)?;
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .context("the proxy's certificate")?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn client<B>(
    authority: &str,
    identity: &Identity,
) -> Result<Client<HttpsConnector<HttpConnector>, B>>
where
    B: hyper::body::Body + Send,
    B::Data: Send,
{
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority.as_bytes()) {
        roots.add(certificate.context("reading a CA")?).context("reading a CA")?;
    }
    let (certificates, key) = pair(identity)?;
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_client_auth_cert(certificates, key)
        .context("the proxy's client certificate")?;
    let connector =
        HttpsConnectorBuilder::new().with_tls_config(config).https_only().enable_http1().build();
    Ok(Client::builder(TokioExecutor::new()).build(connector))
}

fn pair(identity: &Identity) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let certificates = CertificateDer::pem_slice_iter(identity.certificate.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .context("the proxy's certificate")?;
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).context("the proxy's key")?;
    Ok((certificates, key))
}
