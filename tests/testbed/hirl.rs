//! `hirl serve` as a process outside the cluster, with exactly the rights of its service account.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::control_plane::ControlPlane;
use super::objects;
use super::pki::{Identity, IdentityFiles, Leaf};
use super::process::{Process, free_port};
use super::requests::Requests;
use super::scratch::Scratch;

/// Namespace and name of its Service, as the manifests have them.
pub const SERVICE: (&str, &str) = ("hirl-system", "hirl");

/// The name that its certificate must carry.
pub const SERVER_NAME: &str = "hirl.hirl-system.svc";

/// Its service account, as a user of the API server.
pub const USER: &str = "system:serviceaccount:hirl-system:hirl";

/// The groups of that user.
pub const GROUPS: [&str; 2] = ["system:serviceaccounts", "system:serviceaccounts:hirl-system"];

/// Patience with its start: it waits for the API server and for the first telemetry.
const START: Duration = Duration::from_secs(90);

/// What the configuration of one instance needs to know.
#[derive(Debug, Clone)]
pub struct Place {
    /// Name of the instance, unique in a testbed.
    pub name: String,
    /// Where it shall listen.
    pub port: u16,
    /// Another free port, for what does not belong on the first.
    pub spare_port: u16,
    /// Its rights on the API server.
    pub kubeconfig: PathBuf,
    /// Its serving certificate and key.
    pub serving: IdentityFiles,
    /// The CA of all serving certificates.
    pub serving_ca: PathBuf,
    /// The CA of the cluster's client certificates, the schedulers' among them.
    pub cluster_ca: PathBuf,
}

/// Installs what the manifests give `hirl` in a cluster: its namespace, CRD, service account and
/// rights. Its Deployment is left out, because here it runs beside the cluster.
pub async fn install(plane: &ControlPlane) -> Result<()> {
    let base = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/base");
    let rendered = plane.kubectl(&["kustomize", base]).await?;
    let documents: Vec<serde_json::Value> =
        serde_saphyr::from_multiple(&rendered).context("reading the rendered manifests")?;
    let wanted = [
        "Namespace",
        "CustomResourceDefinition",
        "ServiceAccount",
        "ClusterRole",
        "ClusterRoleBinding",
        "Role",
        "RoleBinding",
    ];
    let items: Vec<_> = documents
        .into_iter()
        .filter(|item| item["kind"].as_str().is_some_and(|kind| wanted.contains(&kind)))
        .collect();
    ensure!(!items.is_empty(), "{base} holds nothing to install");
    plane.apply_list(&items).await?;
    let crd = "crd/domains.hirl-scale.io";
    plane.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", crd]).await?;
    Ok(())
}

/// A running instance.
#[derive(Debug)]
pub struct Hirl {
    process: Process,
    place: Place,
    config: PathBuf,
    scratch: Arc<Scratch>,
    authority: String,
}

impl Hirl {
    /// Starts an instance with the configuration (YAML) that `config` writes for its place. It is
    /// not ready yet: see [`Hirl::ready`].
    pub fn start(
        plane: &ControlPlane,
        name: &str,
        config: impl FnOnce(&Place) -> String,
    ) -> Result<Self> {
        Self::start_behind(plane, plane.port(), name, config)
    }

    /// The same with what listens on `port` in the place of the API server: see `proxy`.
    pub fn start_behind(
        plane: &ControlPlane,
        port: u16,
        name: &str,
        config: impl FnOnce(&Place) -> String,
    ) -> Result<Self> {
        let scratch = Arc::clone(plane.scratch());
        let serving = Self::serving_identity(plane)?.write(&scratch, &format!("{name}-serving"))?;
        let home = Place {
            name: name.to_owned(),
            port: free_port()?,
            spare_port: free_port()?,
            cluster_ca: plane.cluster_ca().to_owned(),
            kubeconfig: plane.kubeconfig_through(port, name, USER, &GROUPS)?,
            serving,
            serving_ca: scratch.write("serving-ca.crt", plane.pki().serving.pem())?,
        };
        let config = scratch.write(&format!("{name}.yaml"), &config(&home))?;
        let process = spawn(&scratch, &home, &config)?;
        let authority = plane.pki().serving.pem().to_owned();
        Ok(Self { process, place: home, config, scratch, authority })
    }

    /// A serving certificate with the right names.
    pub fn serving_identity(plane: &ControlPlane) -> Result<Identity> {
        plane.pki().serving.issue(&Leaf::server("hirl", &[SERVER_NAME, "localhost", "127.0.0.1"]))
    }

    /// Points `external.metrics.k8s.io` at this instance and waits until it is available.
    pub async fn register(&self, plane: &ControlPlane) -> Result<()> {
        let client = plane.client();
        objects::apply(&client, &objects::namespace(SERVICE.0, &[])?).await?;
        let authority = plane.pki().serving.pem();
        objects::register(&client, "external.metrics.k8s.io", SERVICE, self.place.port, authority)
            .await
    }

    /// Waits until `/readyz` says so.
    pub async fn ready(&mut self) -> Result<()> {
        let requests = self.requests(None)?;
        self.process
            .ready(START, async || {
                let answer = requests.get("/readyz", &[]).await?;
                ensure!(answer.status.is_success(), "{}: {}", answer.status, answer.body);
                Ok(())
            })
            .await
    }

    /// Somebody who asks this instance directly, as `identity` or as nobody.
    pub fn requests(&self, identity: Option<&Identity>) -> Result<Requests> {
        Requests::tls(self.url(), &self.authority, identity)
    }

    /// One of its own metrics: the sum over the series that start with `name` and hold `label`.
    pub async fn metric(&self, plane: &ControlPlane, name: &str, label: &str) -> Result<f64> {
        let admin = plane.pki().cluster.issue(&Leaf::client("admin", &["system:masters"]))?;
        let text = self.requests(Some(&admin))?.text("/metrics").await?;
        let series = text.lines().filter(|line| line.starts_with(name) && line.contains(label));
        Ok(series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.place.port)
    }

    /// What its configuration was made from.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Replaces its serving certificate on disk.
    pub fn replace_serving(&self, identity: &Identity) -> Result<()> {
        identity.write(&self.scratch, &format!("{}-serving", self.place.name)).map(|_| ())
    }

    /// The process: its log, `pause` (SIGSTOP), `kill` (SIGKILL), `terminate` (SIGTERM).
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Ends it at once and starts it again in the same place.
    pub fn restart(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process = spawn(&self.scratch, &self.place, &self.config)?;
        Ok(())
    }
}

/// The key `queries` of the section `telemetry`: every signal is a gauge of the twin.
pub fn gauges() -> String {
    let signal = |(name, series): (&str, &str)| {
        let series = format!("{series}{{namespace=~\"{{namespaces}}\"}}");
        format!("    {name}: {{query: '{series}', sample: '{series}'}}\n")
    };
    let signals = [
        ("rps", "twin_app_rps"),
        ("p99", "twin_app_p99_seconds"),
        ("errorRatio", "twin_app_error_ratio"),
        ("cpu", "twin_app_cpu_cores"),
        ("memory", "twin_app_memory_bytes"),
    ];
    format!("  queries:\n{}", signals.map(signal).concat())
}

fn spawn(scratch: &Arc<Scratch>, place: &Place, config: &std::path::Path) -> Result<Process> {
    let mut command = Command::new(binary()?);
    command.arg("serve").arg("--config").arg(config);
    // Whoever runs the tests may have a cluster of his own, which is none of our business.
    command.env("KUBECONFIG", &place.kubeconfig);
    Process::spawn(scratch, &place.name, command)
}

/// The program under test: known to tests at compile time, beside the example otherwise.
fn binary() -> Result<PathBuf> {
    if let Some(path) = option_env!("CARGO_BIN_EXE_hirl") {
        return Ok(path.into());
    }
    let own = std::env::current_exe().context("looking for the hirl program")?;
    let folder = own.ancestors().nth(2).context("the example has no folder")?;
    let path = folder.join("hirl");
    ensure!(path.is_file(), "{} does not exist: run `cargo build` first", path.display());
    Ok(path)
}
