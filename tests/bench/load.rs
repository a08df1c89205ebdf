//! Load on one server: 4 HTTP/2 connections with 8 requests under way on each, from one thread.
//! h2load where there is one, otherwise a client of our own with the same shape.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

/// Connections.
const CONNECTIONS: usize = 4;
/// Requests under way on each.
const STREAMS: usize = 8;

/// Where load goes, and as whom.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// Port on this machine.
    pub(crate) port: u16,
    /// The CA of its certificate, PEM.
    pub(crate) authority: String,
    /// Bearer token.
    pub(crate) token: String,
    /// What is read, in turn.
    pub(crate) paths: Vec<String>,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Answers with 200.
    pub(crate) good: u64,
    /// Everything else.
    pub(crate) bad: u64,
    /// How long it lasted.
    pub(crate) seconds: f64,
    /// Milliseconds from request to answer, sorted.
    pub(crate) latencies: Vec<f64>,
}

/// What makes the load.
#[derive(Debug)]
pub(crate) enum Tool {
    /// The program, and the folder of libraries that it needs.
    H2load(PathBuf, PathBuf),
    /// [`own`].
    Own,
}

impl Tool {
    /// Looks in `folder`, where `peer.sh` puts h2load.
    pub(crate) fn find(folder: &Path) -> Self {
        let program = folder.join("h2load");
        if program.is_file() { Self::H2load(program, folder.join("lib")) } else { Self::Own }
    }

    /// The command, as far as it says what is measured.
    pub(crate) fn describe(&self) -> String {
        let name = match self {
            Self::H2load(..) => "h2load",
            Self::Own => "(own client, like h2load)",
        };
        format!("{name} -t 1 -c {CONNECTIONS} -m {STREAMS}")
    }

    /// Loads `target` for a while.
    pub(crate) async fn run(
        &self,
        target: &Target,
        seconds: u64,
        folder: &Path,
    ) -> Result<Outcome> {
        match self {
            Self::H2load(program, libraries) => {
                let mut command = Command::new(program);
                command.env("LD_LIBRARY_PATH", libraries);
                let (target, folder) = (target.clone(), folder.to_owned());
                let run = move || h2load(command, &target, seconds, &folder);
                tokio::task::spawn_blocking(run).await.context("waiting for h2load")?
            }
            Self::Own => {
                let target = target.clone();
                let run = move || own(&target, Duration::from_secs(seconds));
                tokio::task::spawn_blocking(run).await.context("waiting for the load")?
            }
        }
    }
}

fn h2load(mut command: Command, target: &Target, seconds: u64, folder: &Path) -> Result<Outcome> {
    let (urls, log) = (folder.join("h2load.urls"), folder.join("h2load.log"));
    let url = |path: &String| format!("https://localhost:{}{path}\n", target.port);
    std::fs::write(&urls, target.paths.iter().map(url).collect::<String>())
        .context("writing the addresses for h2load")?;
    // h2load appends.
    let _ = std::fs::remove_file(&log);
    command
        .args(["-t", "1", "-c", &CONNECTIONS.to_string(), "-m", &STREAMS.to_string()])
        .args(["-D", &seconds.to_string(), "-H"])
        .arg(format!("authorization: Bearer {}", target.token))
        .arg("--log-file")
        .arg(&log)
        .arg("-i")
        .arg(&urls);
    let started = Instant::now();
    let output = command.output().context("running h2load")?;
    ensure!(
        output.status.success(),
        "h2load failed: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let mut outcome = Outcome { seconds: started.elapsed().as_secs_f64(), ..Outcome::default() };
    // A line a request: when it began, status code, how long it took; both in microseconds.
    let log = std::fs::read_to_string(&log).context("reading h2load's log")?;
    for line in log.lines() {
        let mut fields = line.split('\t').skip(1);
        match (fields.next(), fields.next().and_then(|took| took.parse::<f64>().ok())) {
            (Some("200"), Some(took)) => {
                outcome.good += 1;
                outcome.latencies.push(took / 1e3);
            }
            _ => outcome.bad += 1,
        }
    }
    outcome.latencies.sort_by(f64::total_cmp);
    Ok(outcome)
}

/// The same load without h2load. Costs this process more than h2load costs itself, the server the
/// same.
fn own(target: &Target, span: Duration) -> Result<Outcome> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(target.authority.as_bytes()) {
        roots.add(certificate.context("reading a CA")?).context("reading a CA")?;
    }
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connector = TlsConnector::from(Arc::new(config));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting a runtime")?;
    runtime.block_on(async {
        let started = Instant::now();
        let mut streams = JoinSet::new();
        for connection in 0..CONNECTIONS {
            let tcp = TcpStream::connect(("127.0.0.1", target.port)).await.context("connecting")?;
            tcp.set_nodelay(true).context("connecting")?;
            let name = ServerName::try_from("localhost").context("naming the server")?;
            let tls = connector.connect(name, tcp).await.context("connecting")?;
            let (sender, driver) = http2::handshake(TokioExecutor::new(), TokioIo::new(tls))
                .await
                .context("connecting")?;
            tokio::spawn(driver);
            for stream in 0..STREAMS {
                // Each stream begins somewhere else, so that together they read everything.
                let first = (connection * STREAMS + stream) * 97;
                streams.spawn(read(sender.clone(), target.clone(), first, started + span));
            }
        }
        let mut all = Outcome::default();
        while let Some(one) = streams.join_next().await {
            let one = one.context("waiting for a stream")??;
            all.good += one.good;
            all.bad += one.bad;
            all.latencies.extend(one.latencies);
        }
        all.seconds = started.elapsed().as_secs_f64();
        all.latencies.sort_by(f64::total_cmp);
        Ok(all)
    })
}

async fn read(
    mut sender: http2::SendRequest<Empty<Bytes>>,
    target: Target,
    first: usize,
    end: Instant,
) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let mut paths = target.paths.iter().cycle().skip(first % target.paths.len());
    while Instant::now() < end {
        let path = paths.next().context("nothing to read")?;
        let request = Request::get(format!("https://localhost:{}{path}", target.port))
            .header("authorization", format!("Bearer {}", target.token))
            .body(Empty::new())
            .context("making a request")?;
        let began = Instant::now();
        let answer = sender.send_request(request).await.context("reading")?;
        let good = answer.status().is_success();
        answer.into_body().collect().await.context("reading")?;
        outcome.latencies.push(began.elapsed().as_secs_f64() * 1e3);
        if good {
            outcome.good += 1;
        } else {
            outcome.bad += 1;
        }
    }
    Ok(outcome)
}
