//! Real kube-schedulers beside the default one: with an extender, to be stopped and started.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::control_plane::ControlPlane;
use super::pki::{Identity, IdentityFiles, Leaf};
use super::process::{Process, free_port};
use super::requests::Requests;
use super::scratch::Scratch;

/// Patience with its start.
const START: Duration = Duration::from_mins(1);

/// The user that every scheduler here is: to the API server, and to an extender by certificate.
pub const USER: &str = "system:kube-scheduler";

/// The name that the shipped policy gives pods as their scheduler.
pub const SHIPPED: &str = "hirl-scheduler";

/// What the configuration of one scheduler needs to know.
#[derive(Debug, Clone)]
pub struct Place {
    /// Name of the instance, unique in a testbed.
    pub name: String,
    /// Its rights on the API server.
    pub kubeconfig: PathBuf,
    /// Its client certificate for extenders.
    pub client: IdentityFiles,
}

/// An extender, as `KubeSchedulerConfiguration` has it.
#[derive(Debug, Clone)]
pub struct Extender {
    /// The verbs follow it after a slash.
    pub url: String,
    /// The CA (file) that signed the extender; `None` leaves `tlsConfig` out.
    pub authority: Option<PathBuf>,
    /// The name that its certificate must carry.
    pub server_name: String,
    /// Any of `filter`, `prioritize`, `preempt`, `bind`.
    pub verbs: Vec<&'static str>,
    /// For each call.
    pub timeout: Duration,
    /// Whether the scheduler goes on without it.
    pub ignorable: bool,
    /// Whether node names are sent instead of whole nodes.
    pub names_only: bool,
}

/// The verbs of the recommended configuration.
pub const RECOMMENDED: [&str; 3] = ["filter", "preempt", "bind"];

/// All verbs.
pub const ALL: [&str; 4] = ["filter", "prioritize", "preempt", "bind"];

impl Extender {
    /// With our recommended settings.
    pub fn recommended(url: String, authority: PathBuf, server_name: &str) -> Self {
        Self {
            url,
            authority: Some(authority),
            server_name: server_name.to_owned(),
            verbs: RECOMMENDED.to_vec(),
            timeout: Duration::from_secs(1),
            ignorable: false,
            names_only: true,
        }
    }
}

/// A scheduler's configuration.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// What pods call it.
    pub names: Vec<String>,
    /// Its extenders.
    pub extenders: Vec<Extender>,
    /// `podMaxBackoffSeconds`; 10 by default.
    pub max_backoff: Option<u32>,
    /// Whether its profiles must not preempt.
    pub no_preemption: bool,
    /// Seconds that a pod waits for its volumes before it fails; 600 by default.
    pub volume_timeout: Option<u32>,
}

impl Setup {
    /// One profile called `name` with one extender.
    pub fn new(name: &str, extender: Option<Extender>) -> Self {
        Self {
            names: vec![name.to_owned()],
            extenders: extender.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Its `KubeSchedulerConfiguration`.
    pub fn config(&self, place: &Place) -> String {
        let profile = |name: &String| {
            let mut profile = json!({"schedulerName": name});
            if self.no_preemption {
                let plugin = json!([{"name": "DefaultPreemption"}]);
                profile["plugins"] = json!({"postFilter": {"disabled": plugin}});
            }
            if let Some(seconds) = self.volume_timeout {
                let arguments = json!({
                    "apiVersion": "kubescheduler.config.k8s.io/v1",
                    "kind": "VolumeBindingArgs",
                    "bindTimeoutSeconds": seconds,
                });
                profile["pluginConfig"] = json!([{"name": "VolumeBinding", "args": arguments}]);
            }
            profile
        };
        let mut config = json!({
            "apiVersion": "kubescheduler.config.k8s.io/v1",
            "kind": "KubeSchedulerConfiguration",
            "leaderElection": {"leaderElect": false},
            "clientConnection": {"kubeconfig": place.kubeconfig, "qps": 1000, "burst": 2000},
            "profiles": self.names.iter().map(profile).collect::<Vec<_>>(),
            "extenders": self.extenders.iter().map(|one| one.config(place)).collect::<Vec<_>>(),
        });
        if let Some(seconds) = self.max_backoff {
            config["podMaxBackoffSeconds"] = seconds.into();
        }
        config.to_string()
    }
}

impl Extender {
    fn config(&self, place: &Place) -> Value {
        let mut config = json!({
            "urlPrefix": self.url,
            "weight": 1,
            "httpTimeout": format!("{}ms", self.timeout.as_millis()),
            "nodeCacheCapable": self.names_only,
            "ignorable": self.ignorable,
        });
        for verb in &self.verbs {
            config[format!("{verb}Verb")] = (*verb).into();
        }
        if let Some(authority) = &self.authority {
            config["enableHTTPS"] = true.into();
            config["tlsConfig"] = json!({
                "caFile": authority,
                "serverName": self.server_name,
                "certFile": place.client.certificate,
                "keyFile": place.client.key,
            });
        }
        config
    }
}

/// A running scheduler.
#[derive(Debug)]
pub struct Scheduler {
    process: Process,
    place: Place,
    config: PathBuf,
    binary: PathBuf,
    serving: IdentityFiles,
    authority: String,
    scratch: Arc<Scratch>,
}

impl Scheduler {
    /// Starts one with this set-up and waits until it is healthy.
    pub async fn start(plane: &ControlPlane, name: &str, setup: &Setup) -> Result<Self> {
        Self::start_with(plane, name, None, |place| setup.config(place)).await
    }

    /// Starts one with the configuration that `config` writes for its place, and `client` as its
    /// certificate towards extenders (the scheduler's own by default). Waits until it is healthy.
    pub async fn start_with(
        plane: &ControlPlane,
        name: &str,
        client: Option<&Identity>,
        config: impl FnOnce(&Place) -> String,
    ) -> Result<Self> {
        let scratch = Arc::clone(plane.scratch());
        let authorities = plane.pki();
        let own = authorities.cluster.issue(&Leaf::client(USER, &[]))?;
        let home = Place {
            name: name.to_owned(),
            kubeconfig: plane.kubeconfig_for(name, USER, &[])?,
            client: client.unwrap_or(&own).write(&scratch, &format!("{name}-extender-client"))?,
        };
        let config = scratch.write(&format!("{name}.yaml"), &config(&home))?;
        let serving = Leaf::server(name, &["localhost", "127.0.0.1"]);
        let serving =
            authorities.cluster.issue(&serving)?.write(&scratch, &format!("{name}-serving"))?;
        let binary = plane.binaries().scheduler.clone();
        let authority = authorities.cluster.pem().to_owned();
        let process = spawn(&scratch, &binary, &home, &config, &serving)?;
        let (process, port) = process;
        let mut scheduler =
            Self { process, place: home, config, binary, serving, authority, scratch };
        scheduler.healthy(port).await?;
        Ok(scheduler)
    }

    /// The process: its log, `pause`, `kill`, `terminate`.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// What its configuration was made from.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Replaces its client certificate for extenders on disk.
    pub fn replace_client(&self, identity: &Identity) -> Result<()> {
        let name = format!("{}-extender-client", self.place.name);
        identity.write(&self.scratch, &name).map(|_| ())
    }

    /// Ends it at once and starts it again.
    pub async fn restart(&mut self) -> Result<()> {
        self.process.kill()?;
        let (process, port) =
            spawn(&self.scratch, &self.binary, &self.place, &self.config, &self.serving)?;
        self.process = process;
        self.healthy(port).await
    }

    async fn healthy(&mut self, port: u16) -> Result<()> {
        let probe = Requests::tls(format!("https://127.0.0.1:{port}"), &self.authority, None)?;
        self.process.ready(START, async || probe.text("/healthz").await.map(|_| ())).await
    }
}

fn spawn(
    scratch: &Arc<Scratch>,
    binary: &std::path::Path,
    place: &Place,
    config: &std::path::Path,
    serving: &IdentityFiles,
) -> Result<(Process, u16)> {
    let port = free_port()?;
    let mut command = Command::new(binary);
    command
        .arg(format!("--config={}", config.display()))
        .arg("--bind-address=127.0.0.1")
        .arg(format!("--secure-port={port}"))
        .arg(format!("--tls-cert-file={}", serving.certificate.display()))
        .arg(format!("--tls-private-key-file={}", serving.key.display()));
    for name in ["authentication-kubeconfig", "authorization-kubeconfig"] {
        command.arg(format!("--{name}={}", place.kubeconfig.display()));
    }
    Ok((Process::spawn(scratch, &place.name, command)?, port))
}

/// A configuration file that we ship, with nothing but addresses and paths replaced: each pair is
/// a text that must occur, and what takes its place.
pub fn shipped(file: &str, replacements: &[(&str, &str)]) -> Result<String> {
    let path = format!("{}/manifests/scheduler/{file}", env!("CARGO_MANIFEST_DIR"));
    let mut text = std::fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    for (from, to) in replacements {
        ensure!(text.contains(from), "{path} has no {from:?}");
        text = text.replace(from, to);
    }
    // A trailing newline, whatever the editor left.
    let _ = writeln!(text);
    Ok(text)
}
