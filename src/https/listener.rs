//! Listens, and turns TCP connections into requests for a handler: TLS, HTTP/2 and HTTP/1.1,
//! with a bound on everything that a client can hold on to.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::Full;
use hyper::Request;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Meters;
use super::certificate::{CertificateError, Files, Reloader};

/// What every handler answers.
pub type Response = hyper::Response<Full<Bytes>>;

/// Answers the requests of a listener.
pub trait Handler: Send + Sync + 'static {
    /// What is kept per connection.
    type Connection: Send + Sync + 'static;

    /// A client connected and showed this chain, leaf first; empty when it showed none.
    fn connected(&self, chain: Vec<CertificateDer<'static>>) -> Self::Connection;

    /// Answers one request of `connection`.
    fn answer(
        &self,
        request: Request<Incoming>,
        connection: &Self::Connection,
    ) -> impl Future<Output = Response> + Send;

    /// From now on nobody new should be sent here.
    fn stopping(&self) {}

    /// Files may have changed: called every [`Settings::reload_every`].
    fn look(&self) {}
}

/// Why a listener cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The serving certificate or the client CA cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The address cannot be listened on.
    #[error("listening on {address} failed: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What went wrong.
        source: io::Error,
    },
}

/// Bounds of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Time for a TLS handshake.
    pub handshake: Duration,
    /// Time for the headers of a request, counted from the handshake or the last answer.
    pub header: Duration,
    /// Time that a connection may go without a request.
    pub idle: Duration,
    /// Time between two HTTP/2 pings on a silent connection.
    pub ping: Duration,
    /// Age at which a connection is told to go away, give or take 10 %.
    pub age: Duration,
    /// Time that an open connection gets to end.
    pub drain: Duration,
    /// Requests at once on one HTTP/2 connection.
    pub max_streams: u32,
    /// Bytes that the headers of a request may have.
    pub max_header_bytes: u32,
}

/// How to listen.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Address and port; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Connections held at once; further ones are closed unread.
    pub max_connections: usize,
    /// Bounds of each connection.
    pub limits: Limits,
    /// Time between two looks at the files.
    pub reload_every: Duration,
    /// Time from the wish to stop to the end of accepting.
    pub ready_delay: Duration,
}

/// Ends the connections that are open, without cutting requests off. New ones are accepted.
#[derive(Debug, Clone)]
pub struct Closer {
    all: CancellationToken,
    open: Arc<Mutex<CancellationToken>>,
}

impl Default for Closer {
    fn default() -> Self {
        let all = CancellationToken::new();
        let open = Arc::new(Mutex::new(all.child_token()));
        Self { all, open }
    }
}

impl Closer {
    /// Tells every client that is connected now to go away: GOAWAY on HTTP/2, the end after the
    /// present answer on HTTP/1.1.
    pub fn close_open(&self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *open, self.all.child_token()).cancel();
    }

    fn token(&self) -> CancellationToken {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Listening, but not yet answering.
pub struct Listener<H> {
    socket: TcpListener,
    address: SocketAddr,
    handler: Arc<H>,
    reloader: Reloader,
    settings: Settings,
    closer: Closer,
    meters: Meters,
}

impl<H> std::fmt::Debug for Listener<H> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Listener").field("address", &self.address).finish_non_exhaustive()
    }
}

impl<H: Handler> Listener<H> {
    /// Loads the certificates and listens.
    pub async fn bind(
        settings: Settings,
        files: Files,
        handler: Arc<H>,
        meters: Meters,
    ) -> Result<Self, BindError> {
        let reloader = Reloader::start(files, meters.clone())?;
        let listen = |source| BindError::Listen { address: settings.listen, source };
        let socket = open_port(settings.listen).await.map_err(listen)?;
        let address = socket.local_addr().map_err(listen)?;
        let closer = Closer::default();
        Ok(Self { socket, address, handler, reloader, settings, closer, meters })
    }

    /// The address that we listen on, with the port that the system chose for port 0.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Who answers.
    #[must_use]
    pub fn handler(&self) -> &Arc<H> {
        &self.handler
    }

    /// Ends open connections on demand.
    #[must_use]
    pub fn closer(&self) -> Closer {
        self.closer.clone()
    }

    /// Answers until `cancel`; then says "not ready" for a while, stops accepting, and lets open
    /// requests end.
    pub async fn run(self, cancel: CancellationToken) {
        let Self { socket, address, handler, mut reloader, settings, closer, meters } = self;
        let limits = settings.limits;
        let places = Arc::new(Semaphore::new(settings.max_connections));
        let configs = reloader.configs();
        let connections = TaskTracker::new();
        let mut reload = tokio::time::interval(settings.reload_every);
        reload.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        tracing::info!(%address, "answering");
        let mut stop = pin!(async {
            cancel.cancelled().await;
            handler.stopping();
            tracing::info!(%address, delay = ?settings.ready_delay, "not ready any more; stopping soon");
            sleep(settings.ready_delay).await;
        });
        loop {
            tokio::select! {
                () = &mut stop => break,
                accepted = socket.accept() => match accepted {
                    Ok((stream, _)) => {
                        // Closed unread: a client learns at once that we are full.
                        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
                        let open = Open {
                            handler: Arc::clone(&handler),
                            meters: meters.clone(),
                            limits,
                            drain: closer.token(),
                            _place: place,
                        };
                        connections.spawn(open.serve(stream, configs.borrow().clone()));
                    }
                    Err(error) => {
                        // Out of file descriptors, mostly: trying again at once would spin.
                        tracing::warn!(%error, "accepting a connection failed");
                        sleep(Duration::from_millis(50)).await;
                    }
                },
                _ = reload.tick() => {
                    // A few small files, read now and then: not worth a thread.
                    reloader.look();
                    handler.look();
                }
            }
        }
        drop(socket);
        closer.all.cancel();
        connections.close();
        // Each connection ends itself within the drain time; the handshake may come before it.
        if timeout(limits.drain + limits.handshake, connections.wait()).await.is_err() {
            tracing::warn!(left = connections.len(), "connections cut off");
        }
        tracing::info!(%address, "stopped answering");
    }
}

/// Listens on `address`; a machine without IPv6 gets `0.0.0.0` for `[::]`.
async fn open_port(address: SocketAddr) -> io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(error)
            if address.ip() == Ipv6Addr::UNSPECIFIED
                && error.kind() != io::ErrorKind::AddrInUse =>
        {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await.map_err(|_| error)
        }
        bound => bound,
    }
}

/// One accepted connection.
struct Open<H> {
    handler: Arc<H>,
    meters: Meters,
    limits: Limits,
    drain: CancellationToken,
    _place: OwnedSemaphorePermit,
}

/// When the last request of a connection arrived, in milliseconds since it was opened.
struct Activity {
    opened: Instant,
    last: AtomicU64,
}

impl Activity {
    fn touch(&self) {
        self.last.store((self.opened.elapsed().as_millis() as u64).max(1), Ordering::Relaxed);
    }

    /// When the connection will have been idle for too long: before its first request that is
    /// the time for headers.
    fn idle_at(&self, limits: &Limits) -> Instant {
        match self.last.load(Ordering::Relaxed) {
            0 => self.opened + limits.header,
            last => self.opened + Duration::from_millis(last) + limits.idle,
        }
    }
}

impl<H: Handler> Open<H> {
    async fn serve(self, stream: TcpStream, config: Arc<ServerConfig>) {
        self.meters.connections.inc();
        self.serve_counted(stream, config).await;
        self.meters.connections.dec();
    }

    async fn serve_counted(&self, stream: TcpStream, config: Arc<ServerConfig>) {
        // Without it small answers wait for acknowledgements; a failure only costs time.
        let _ = stream.set_nodelay(true);
        let handshake = timeout(self.limits.handshake, TlsAcceptor::from(config).accept(stream));
        let stream = match handshake.await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return self.no_handshake(&error),
            Err(_) => return self.no_handshake(&"too slow"),
        };
        let (_, session) = stream.get_ref();
        let is_http2 = session.alpn_protocol() == Some(b"h2");
        let chain = session.peer_certificates().unwrap_or_default();
        let connection = Arc::new(
            self.handler.connected(chain.iter().cloned().map(CertificateDer::into_owned).collect()),
        );
        let activity = Arc::new(Activity { opened: Instant::now(), last: AtomicU64::new(0) });
        let answer = {
            let (handler, activity) = (Arc::clone(&self.handler), Arc::clone(&activity));
            service_fn(move |request: Request<Incoming>| {
                activity.touch();
                let (handler, connection) = (Arc::clone(&handler), Arc::clone(&connection));
                async move {
                    Ok::<_, std::convert::Infallible>(handler.answer(request, &connection).await)
                }
            })
        };
        let io = TokioIo::new(stream);
        if is_http2 {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder
                .timer(TokioTimer::new())
                .max_concurrent_streams(self.limits.max_streams)
                .max_header_list_size(self.limits.max_header_bytes)
                .keep_alive_interval(self.limits.ping)
                .keep_alive_timeout(self.limits.header);
            self.drive(builder.serve_connection(io, answer), &activity).await;
        } else {
            let mut builder = http1::Builder::new();
            builder
                .timer(TokioTimer::new())
                .header_read_timeout(self.limits.header)
                .max_buf_size(self.limits.max_header_bytes as usize);
            self.drive(builder.serve_connection(io, answer), &activity).await;
        }
    }

    fn no_handshake(&self, error: &dyn std::fmt::Display) {
        self.meters.handshake_failures.inc();
        tracing::debug!(%error, "TLS handshake failed");
    }

    /// Works on a connection until it ends, is too old, is idle, or we stop.
    async fn drive<C: GracefulConnection>(&self, connection: C, activity: &Activity) {
        let mut connection = pin!(connection);
        let mut too_old = pin!(sleep_until(activity.opened + self.own_age()));
        let mut idle = pin!(sleep_until(activity.idle_at(&self.limits)));
        let mut drain = pin!(self.drain.cancelled());
        loop {
            tokio::select! {
                biased;
                // However it ended: the client has gone, and there is nobody to tell.
                _ = connection.as_mut() => return,
                () = too_old.as_mut() => break,
                () = drain.as_mut() => break,
                () = idle.as_mut() => {
                    let idle_at = activity.idle_at(&self.limits);
                    if idle_at <= Instant::now() {
                        break;
                    }
                    idle.as_mut().reset(idle_at);
                }
            }
        }
        // HTTP/2 sends GOAWAY, HTTP/1.1 closes after the answer; what does not end is cut off.
        connection.as_mut().graceful_shutdown();
        let _ = timeout(self.limits.drain, connection).await;
    }

    /// From 90 % to 110 % of the configured age, so that connections opened together do not all
    /// come back together.
    fn own_age(&self) -> Duration {
        let mut byte = [0];
        let random = ring::rand::SystemRandom::new();
        // Without randomness every connection gets the shortest age, which is no harm.
        let _ = ring::rand::SecureRandom::fill(&random, &mut byte);
        self.limits.age.mul_f64(0.9 + 0.2 * f64::from(byte[0]) / 255.0)
    }
}
