//! A real Prometheus that scrapes the load twin.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::binaries::Binaries;
use super::process::{Process, free_port};
use super::requests::Requests;
use super::scratch::Scratch;

/// Patience; it is ready within a second on an idle machine.
const START: Duration = Duration::from_mins(1);

/// A running Prometheus.
#[derive(Debug)]
pub struct Prometheus {
    process: Process,
    scratch: Arc<Scratch>,
    port: u16,
    requests: Requests,
}

impl Prometheus {
    /// Starts it with a configuration of its own and waits until it is ready.
    pub async fn start(
        scratch: &Arc<Scratch>,
        scrape_interval: Duration,
        target: SocketAddr,
    ) -> Result<Self> {
        let millis = scrape_interval.as_millis();
        scratch.write(
            "prometheus.yaml",
            &format!(
                "global: {{scrape_interval: {millis}ms, scrape_timeout: {millis}ms}}\n\
                 scrape_configs:\n\
                 - job_name: twin\n  \
                   # The twin speaks for other exporters, so its own labels count.\n  \
                   honor_labels: true\n  \
                   static_configs: [{{targets: [\"{target}\"]}}]\n"
            ),
        )?;
        let port = free_port()?;
        let requests = Requests::plain(format!("http://127.0.0.1:{port}"))?;
        let process = spawn(scratch, port)?;
        let mut prometheus = Self { process, scratch: Arc::clone(scratch), port, requests };
        prometheus.ready().await?;
        Ok(prometheus)
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// To pause it (it accepts connections and answers nothing) and resume it.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Ends it at once: connections are refused from now on.
    pub fn stop(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Starts it again on the same port, with the samples that it had.
    pub async fn restart(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process = spawn(&self.scratch, self.port)?;
        self.ready().await
    }

    /// The result of an instant query: the `data.result` of the answer.
    pub async fn query(&self, promql: &str) -> Result<Vec<serde_json::Value>> {
        let encoded = promql.bytes().fold(String::new(), |mut encoded, byte| {
            // Infallible: the text grows in memory.
            let _ = write!(encoded, "%{byte:02X}");
            encoded
        });
        let answer = self.requests.get(&format!("/api/v1/query?query={encoded}"), &[]).await?;
        let json = answer.json()?;
        ensure!(json["status"] == "success", "Prometheus refused {promql:?}: {}", answer.body);
        serde_json::from_value(json["data"]["result"].clone())
            .with_context(|| format!("reading the result of {promql:?}"))
    }

    /// The only value of an instant query.
    pub async fn value(&self, promql: &str) -> Result<f64> {
        let series = self.query(promql).await?;
        ensure!(series.len() == 1, "{promql:?} gave {} series, not one", series.len());
        let text = series[0]["value"][1].as_str().context("an instant vector")?;
        text.parse().with_context(|| format!("{promql:?} gave {text:?}"))
    }

    async fn ready(&mut self) -> Result<()> {
        let requests = &self.requests;
        self.process.ready(START, async || requests.text("/-/ready").await.map(|_| ())).await
    }
}

fn spawn(scratch: &Arc<Scratch>, port: u16) -> Result<Process> {
    let path = scratch.path();
    let mut command = Command::new(Binaries::find()?.prometheus);
    command
        .arg(format!("--config.file={}", path.join("prometheus.yaml").display()))
        .arg(format!("--storage.tsdb.path={}", path.join("prometheus").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .arg("--log.level=warn");
    Process::spawn(scratch, "prometheus", command)
}
