//! The Go adapter of the field, as a process beside ours.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::testbed::control_plane::ControlPlane;
use crate::testbed::hirl::Hirl;
use crate::testbed::process::{Process, free_port};
use crate::testbed::requests::Requests;

/// The one external metric that it serves, and a label of it.
const METRIC: &str = "my-external-metric?labelSelector=foo%3Dbar";

/// A running adapter.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Its process.
    pub(crate) process: Process,
    /// Where it listens.
    pub(crate) port: u16,
}

impl Peer {
    /// Starts it with all rights and waits until it is ready.
    pub(crate) async fn start(plane: &ControlPlane, program: &Path) -> Result<Self> {
        let identity = Hirl::serving_identity(plane)?.write(plane.scratch(), "peer-serving")?;
        let port = free_port()?;
        let mut command = Command::new(program);
        command
            .arg("--bind-address=127.0.0.1")
            .arg(format!("--secure-port={port}"))
            .arg(format!("--tls-cert-file={}", identity.certificate.display()))
            .arg(format!("--tls-private-key-file={}", identity.key.display()));
        for flag in ["lister", "authentication", "authorization"] {
            command.arg(format!("--{flag}-kubeconfig={}", plane.kubeconfig().display()));
        }
        let mut process = Process::spawn(plane.scratch(), "peer", command)?;
        let probe =
            Requests::tls(format!("https://localhost:{port}"), plane.pki().serving.pem(), None)?;
        process
            .ready(Duration::from_mins(1), async || probe.text("/readyz").await.map(|_| ()))
            .await?;
        Ok(Self { process, port })
    }

    /// What is read of it: its one metric, in as many namespaces as ours.
    pub(crate) fn paths(namespaces: usize) -> Vec<String> {
        let path = |index| {
            format!("/apis/external.metrics.k8s.io/v1beta1/namespaces/bank-{index}/{METRIC}")
        };
        (0..namespaces).map(path).collect()
    }
}

/// Builds the adapter and gets h2load, once; the folder that holds them.
pub(crate) fn fetch() -> Result<PathBuf> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bench/peer.sh");
    let output = Command::new(script)
        .stderr(std::process::Stdio::inherit())
        .output()
        .with_context(|| format!("running {script}"))?;
    ensure!(output.status.success(), "{script} failed");
    let folder = String::from_utf8(output.stdout).context("reading the name of a folder")?;
    Ok(folder.trim().into())
}
