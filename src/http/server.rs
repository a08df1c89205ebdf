//! Listens, and turns TCP connections into requests for the service: TLS, HTTP/2 and HTTP/1.1,
//! with a bound on everything that a client can hold on to.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
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

use super::authentication::Connection;
use super::certificate::{CertificateError, Files, Reloader};
use super::service::{Service, State};
use super::settings::{Settings, span};
use crate::cluster::AppId;
use crate::control::peer;
use crate::instruments::Instruments;

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting cannot work.
    #[error("http settings: {0}")]
    Settings(String),
    /// The serving certificate cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The CA of the other replica cannot be used.
    #[error("{0}")]
    PeerCa(String),
    /// The address cannot be listened on.
    #[error("listening on {address} failed: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What went wrong.
        source: io::Error,
    },
}

/// Spans that bound a connection.
#[derive(Debug, Clone, Copy)]
struct Limits {
    handshake: Duration,
    header: Duration,
    idle: Duration,
    ping: Duration,
    age: Duration,
    drain: Duration,
    max_streams: u32,
    max_header_bytes: u32,
}

/// The HTTPS server, listening but not yet answering.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    service: Arc<Service>,
    reloader: Reloader,
    limits: Limits,
    places: Arc<Semaphore>,
    reload_every: Duration,
    ready_delay: Duration,
    instruments: Arc<Instruments>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Server {
    /// Loads the certificates and listens.
    pub async fn bind(
        settings: Settings,
        peer: peer::Settings,
        state: State,
    ) -> Result<Self, StartError> {
        settings.validate().map_err(StartError::Settings)?;
        let instruments = Arc::clone(&state.instruments);
        let files =
            Files { certificate: settings.cert_file.clone(), key: settings.key_file.clone() };
        let reloader = Reloader::start(files, Arc::clone(&instruments))?;
        let service = Arc::new(Service::new(&settings, peer, state));
        service.peers().reload().map_err(StartError::PeerCa)?;
        let listen = |source| StartError::Listen { address: settings.listen, source };
        let listener = open_port(settings.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        Ok(Self {
            listener,
            address,
            service,
            reloader,
            limits: Limits {
                handshake: span(settings.handshake_seconds),
                header: span(settings.header_seconds),
                idle: span(settings.idle_seconds),
                ping: span(settings.ping_seconds),
                age: span(settings.max_connection_age_seconds),
                drain: span(settings.drain_seconds),
                max_streams: settings.max_streams,
                max_header_bytes: settings.max_header_bytes,
            },
            places: Arc::new(Semaphore::new(settings.max_connections)),
            reload_every: span(settings.reload_seconds),
            ready_delay: span(settings.ready_delay_seconds),
            instruments,
        })
    }

    /// The address that we listen on, with the port that the system chose for port 0.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How often the HPA controller reads each app from this replica, asked whenever it is called.
    pub fn read_intervals(&self) -> impl Fn() -> Vec<(AppId, Duration)> + Send + Sync + use<> {
        let service = Arc::clone(&self.service);
        move || service.read_intervals()
    }

    /// Answers until `cancel`; then says "not ready" for a while, stops accepting, and lets open
    /// requests end.
    pub async fn run(self, cancel: CancellationToken) {
        let Self { listener, address, service, mut reloader, limits, places, .. } = self;
        let configs = reloader.configs();
        let connections = TaskTracker::new();
        let drain = CancellationToken::new();
        let mut reload = tokio::time::interval(self.reload_every);
        reload.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        tracing::info!(%address, "answering");
        let mut stop = pin!(async {
            cancel.cancelled().await;
            service.stop();
            tracing::info!(delay = ?self.ready_delay, "not ready any more; stopping soon");
            sleep(self.ready_delay).await;
        });
        loop {
            tokio::select! {
                () = &mut stop => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        // Closed unread: a client learns at once that we are full.
                        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
                        let open = Open {
                            service: Arc::clone(&service),
                            instruments: Arc::clone(&self.instruments),
                            limits,
                            drain: drain.clone(),
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
                    if let Err(error) = service.peers().reload() {
                        tracing::warn!(%error, "the previous peer CA stays in force");
                    }
                }
            }
        }
        drop(listener);
        drain.cancel();
        connections.close();
        // Each connection ends itself within the drain time; the handshake may come before it.
        if timeout(limits.drain + limits.handshake, connections.wait()).await.is_err() {
            tracing::warn!(left = connections.len(), "connections cut off");
        }
        tracing::info!("stopped answering");
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
struct Open {
    service: Arc<Service>,
    instruments: Arc<Instruments>,
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

impl Open {
    async fn serve(self, stream: TcpStream, config: Arc<ServerConfig>) {
        self.instruments.connections.inc();
        self.serve_counted(stream, config).await;
        self.instruments.connections.dec();
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
        let connection = Arc::new(Connection::new(
            chain.iter().cloned().map(CertificateDer::into_owned).collect(),
        ));
        let activity = Arc::new(Activity { opened: Instant::now(), last: AtomicU64::new(0) });
        let answer = {
            let (service, activity) = (Arc::clone(&self.service), Arc::clone(&activity));
            service_fn(move |request: Request<Incoming>| {
                activity.touch();
                let (service, connection) = (Arc::clone(&service), Arc::clone(&connection));
                async move {
                    Ok::<_, std::convert::Infallible>(service.answer(request, &connection).await)
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
        self.instruments.handshake_failures.inc();
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
