//! etcd, kube-apiserver, kube-controller-manager, kube-scheduler and KWOK, ready to be used.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};

use super::binaries::Binaries;
use super::pki::{Identity, IdentityFiles, Leaf, Pki};
use super::process::{Process, free_port};
use super::requests::Requests;
use super::scratch::Scratch;
use super::wait::{throughout, until};

/// Patience with one part; starting takes 4 s on an idle machine of two cores.
const START: Duration = Duration::from_secs(90);

/// The first address of the service range, which Kubernetes gives to itself.
const FIRST_SERVICE_IP: &str = "10.0.0.1";

/// What to start.
#[derive(Debug, Clone)]
pub struct Options {
    /// The controllers, the HPA's among them; `None` for none.
    pub controllers: Option<Controllers>,
    /// Whether pods are placed on nodes.
    pub scheduler: bool,
    /// The simulated kubelets; `None` for none.
    pub kubelets: Option<Kubelets>,
    /// Writes an audit log of requests with their users: see [`ControlPlane::audit_log`].
    pub audit: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            controllers: Some(Controllers::default()),
            scheduler: true,
            kubelets: Some(Kubelets::default()),
            audit: false,
        }
    }
}

/// Flags of the kube-controller-manager. The default runs 15 times faster than a real cluster.
#[derive(Debug, Clone)]
pub struct Controllers {
    /// Which run, as the flag `--controllers` has it.
    pub which: &'static str,
    /// How often each HPA is looked at; 15 s in a real cluster.
    pub sync_period: Duration,
    /// How long an HPA without a `behavior` remembers higher recommendations; 5 min there.
    pub downscale_stabilisation: Duration,
    /// How long the CPU of a new pod may be disregarded; 5 min there.
    pub cpu_initialisation: Duration,
    /// How long after its start an unready pod counts as never ready; 30 s there.
    pub initial_readiness_delay: Duration,
    /// HPAs looked at side by side; 5 there.
    pub concurrent_syncs: u32,
    /// Requests per second of each controller, metric reads included; 20 there.
    pub qps: f64,
    /// Burst of the same; 30 there.
    pub burst: u32,
}

impl Default for Controllers {
    fn default() -> Self {
        Self {
            // What needs a cloud or hands out pod networks has nothing to do here.
            which: "*,-node-ipam-controller,-cloud-node-lifecycle-controller,-service-lb-controller,-node-route-controller",
            sync_period: Duration::from_secs(1),
            downscale_stabilisation: Duration::from_secs(20),
            cpu_initialisation: Duration::from_secs(2),
            initial_readiness_delay: Duration::from_secs(2),
            concurrent_syncs: 25,
            qps: 400.0,
            burst: 800,
        }
    }
}

impl Controllers {
    /// As in a cluster where nobody set a flag: nothing is compressed.
    pub fn stock() -> Self {
        Self {
            sync_period: Duration::from_secs(15),
            downscale_stabilisation: Duration::from_mins(5),
            cpu_initialisation: Duration::from_mins(5),
            initial_readiness_delay: Duration::from_secs(30),
            concurrent_syncs: 5,
            qps: 20.0,
            burst: 30,
            ..Self::default()
        }
    }
}

/// The simulated kubelets.
#[derive(Debug, Clone)]
pub struct Kubelets {
    /// From a pod's start to its readiness, unless its annotation
    /// `testbed.hirl-scale.io/ready-after` says otherwise.
    pub ready_after: Duration,
}

impl Default for Kubelets {
    fn default() -> Self {
        Self { ready_after: Duration::from_millis(200) }
    }
}

/// A running control plane.
pub struct ControlPlane {
    // Dropped from the top: clients first, the store last.
    kubelets: Option<Process>,
    scheduler: Option<Process>,
    controllers: Option<Process>,
    apiserver: Process,
    etcd: Process,
    binaries: Binaries,
    scratch: Arc<Scratch>,
    pki: Pki,
    files: Files,
    options: Options,
    port: u16,
    etcd_port: u16,
    client: kube::Client,
}

/// What the API server was last started with.
#[derive(Debug)]
struct Files {
    cluster_ca: PathBuf,
    serving: IdentityFiles,
    requestheader_ca: PathBuf,
    proxy_client: IdentityFiles,
    token_key: PathBuf,
    token_public_key: PathBuf,
}

impl ControlPlane {
    /// Starts every part and waits until all are healthy.
    pub async fn start(options: Options) -> Result<Self> {
        let binaries = Binaries::find()?;
        let scratch = Scratch::create()?;
        let pki = Pki::new()?;
        let files = Files::write(&pki, &scratch)?;
        let port = free_port()?;
        let admin = write_kubeconfig(&scratch, &pki, &files, port, "admin", &["system:masters"])?;
        let client = client(&admin).await?;

        let (etcd, etcd_port) = start_etcd(&binaries, &scratch).await?;
        let apiserver = spawn_apiserver(&binaries, &scratch, &files, port, etcd_port, &options)?;
        let mut plane = Self {
            kubelets: None,
            scheduler: None,
            controllers: None,
            apiserver,
            etcd,
            binaries,
            scratch,
            pki,
            files,
            options: options.clone(),
            port,
            etcd_port,
            client,
        };
        plane.apiserver_ready().await?;
        plane.start_rest(&options).await?;
        Ok(plane)
    }

    /// A client that may do everything.
    pub fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// Where every part keeps its files and logs.
    pub fn scratch(&self) -> &Arc<Scratch> {
        &self.scratch
    }

    /// The programs in use.
    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// The CA of every client of the API server, as a file.
    pub fn cluster_ca(&self) -> &Path {
        &self.files.cluster_ca
    }

    /// The authorities.
    pub fn pki(&self) -> &Pki {
        &self.pki
    }

    /// The port of the API server.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where the API server listens.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// The kubeconfig of the administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.scratch.path().join("admin.kubeconfig")
    }

    /// A kubeconfig for `user` in `groups` (at most two).
    pub fn kubeconfig_for(&self, name: &str, user: &str, groups: &[&str]) -> Result<PathBuf> {
        self.kubeconfig_through(self.port, name, user, groups)
    }

    /// The same through something that listens on another port: see `proxy`.
    pub fn kubeconfig_through(
        &self,
        port: u16,
        name: &str,
        user: &str,
        groups: &[&str],
    ) -> Result<PathBuf> {
        let identity = self.pki.cluster.issue(&Leaf::client(user, groups))?;
        let identity = identity.write(&self.scratch, name)?;
        kubeconfig(&self.scratch, &self.files.cluster_ca, &identity, port, name)
    }

    /// Somebody who asks the API server as `identity`, or as nobody.
    pub fn requests(&self, identity: Option<&Identity>) -> Result<Requests> {
        Requests::tls(self.url(), self.pki.cluster.pem(), identity)
    }

    /// Somebody who asks the API server and may do everything.
    pub fn admin(&self) -> Result<Requests> {
        self.requests(Some(&self.pki.cluster.issue(&Leaf::client("admin", &["system:masters"]))?))
    }

    /// Creates objects of any kind, or brings them to this state, in their order.
    pub async fn apply_list(&self, items: &[serde_json::Value]) -> Result<()> {
        let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": items});
        let path = self.scratch.write("list.json", &list.to_string())?;
        self.kubectl(&["apply", "--server-side", "-f", &path.display().to_string()]).await?;
        Ok(())
    }

    /// Runs kubectl as the administrator; its output if it succeeds.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.binaries.kubectl);
        command.arg("--kubeconfig").arg(self.kubeconfig()).args(arguments);
        // A cache of its own: what another cluster on the same port once offered must not count.
        command.arg("--cache-dir").arg(self.scratch.path().join("kubectl-cache"));
        let output = tokio::task::spawn_blocking(move || command.output())
            .await
            .context("running kubectl")?
            .context("running kubectl")?;
        ensure!(
            output.status.success(),
            "kubectl {} failed: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The audit log so far, one JSON object a line. Needs [`Options::audit`].
    pub fn audit_log(&self) -> Result<String> {
        std::fs::read_to_string(self.scratch.path().join("audit.log"))
            .context("reading the audit log")
    }

    /// The API server, to read its log or to pause it.
    pub fn apiserver(&self) -> &Process {
        &self.apiserver
    }

    /// The controller-manager, if it runs.
    pub fn controllers(&self) -> Option<&Process> {
        self.controllers.as_ref()
    }

    /// Starts the controller-manager again with other flags, or stops it.
    pub async fn restart_controllers(&mut self, controllers: Option<Controllers>) -> Result<()> {
        self.controllers = None;
        self.options.controllers = controllers;
        if let Some(flags) = &self.options.controllers {
            let (mut process, probe) = self.spawn_controllers(flags)?;
            process.ready(START, async || healthy(&probe, "/healthz").await).await?;
            self.controllers = Some(process);
        }
        Ok(())
    }

    /// Starts the API server again on the same port. With `front_proxy`, it presents that
    /// certificate to aggregated servers and publishes that CA bundle (PEM) to them.
    pub async fn restart_apiserver(
        &mut self,
        front_proxy: Option<(&str, &Identity)>,
    ) -> Result<()> {
        if let Some((authorities, identity)) = front_proxy {
            self.scratch.write("front-proxy-ca.crt", authorities)?;
            identity.write(&self.scratch, "front-proxy-client")?;
        }
        self.apiserver.terminate(Duration::from_secs(90)).await?;
        self.apiserver = spawn_apiserver(
            &self.binaries,
            &self.scratch,
            &self.files,
            self.port,
            self.etcd_port,
            &self.options,
        )?;
        self.apiserver_ready().await
    }

    /// Replaces the file with the front proxy's CAs (PEM). The API server rereads it and publishes
    /// it within a minute, without a restart. It only ever adds to what is published: see
    /// [`ControlPlane::publish_only`].
    pub fn replace_front_proxy_authorities(&self, authorities: &str) -> Result<()> {
        self.scratch.write("front-proxy-ca.crt", authorities).map(|_| ())
    }

    /// Takes every other front-proxy CA (PEM) out of what is published to aggregated servers, as an
    /// operator has to: API servers publish the union of what they and others trust. One that
    /// still trusts another CA puts it back, so this waits until it stays out.
    pub async fn publish_only(&self, authorities: &str) -> Result<()> {
        let maps: Api<ConfigMap> = Api::namespaced(self.client(), "kube-system");
        let name = "extension-apiserver-authentication";
        let key = "requestheader-client-ca-file";
        let patch = serde_json::json!({"data": {key: authorities}});
        until("the old front-proxy CA to stay out", START, async || {
            maps.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
            throughout("only the new CA", Duration::from_secs(3), async || {
                let data = maps.get(name).await?.data.unwrap_or_default();
                let published = data.get(key).map(String::as_str).unwrap_or_default();
                ensure!(published.trim() == authorities.trim(), "the old one came back");
                Ok(())
            })
            .await
        })
        .await
    }

    /// Replaces the certificate that the API server presents to aggregated servers. It rereads the
    /// files within a minute, without a restart.
    pub fn replace_front_proxy_client(&self, identity: &Identity) -> Result<()> {
        identity.write(&self.scratch, "front-proxy-client").map(|_| ())
    }

    async fn apiserver_ready(&mut self) -> Result<()> {
        let requests = self.admin()?;
        self.apiserver
            .ready(START, async || {
                healthy(&requests, "/readyz").await?;
                // Pods need these, and they come a moment after readiness.
                healthy(&requests, "/api/v1/namespaces/default").await?;
                healthy(
                    &requests,
                    "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication",
                )
                .await
            })
            .await
    }

    /// The parts that need the API server, side by side.
    async fn start_rest(&mut self, options: &Options) -> Result<()> {
        let mut controllers = None;
        if let Some(flags) = &options.controllers {
            controllers = Some(self.spawn_controllers(flags)?);
        }
        let mut scheduler = None;
        if options.scheduler {
            scheduler = Some(self.spawn_scheduler()?);
        }
        let mut kubelets = None;
        if let Some(flags) = &options.kubelets {
            kubelets = Some(self.spawn_kubelets(flags)?);
        }
        let parts = [
            (controllers, &mut self.controllers),
            (scheduler, &mut self.scheduler),
            (kubelets, &mut self.kubelets),
        ];
        for (started, place) in parts {
            if let Some((mut process, probe)) = started {
                process.ready(START, async || healthy(&probe, "/healthz").await).await?;
                *place = Some(process);
            }
        }
        Ok(())
    }

    fn spawn_controllers(&self, flags: &Controllers) -> Result<(Process, Requests)> {
        let kubeconfig =
            self.kubeconfig_for("controller-manager", "system:kube-controller-manager", &[])?;
        let port = free_port()?;
        let mut command = Command::new(&self.binaries.controller_manager);
        for flag in ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"] {
            command.arg(format!("--{flag}={}", kubeconfig.display()));
        }
        let seconds = |span: Duration| format!("{}ms", span.as_millis());
        command
            .args(self.serve_on(port))
            .arg("--leader-elect=false")
            .arg("--use-service-account-credentials")
            .arg(flag("service-account-private-key-file", &self.files.token_key))
            .arg(flag("root-ca-file", &self.files.cluster_ca))
            .arg(format!("--controllers={}", flags.which))
            // A machine under load must not make simulated nodes look dead.
            .arg("--node-monitor-period=1s")
            .arg("--node-monitor-grace-period=5m")
            .arg("--concurrent-deployment-syncs=20")
            .arg("--concurrent-replicaset-syncs=20")
            .arg(format!("--concurrent-horizontal-pod-autoscaler-syncs={}", flags.concurrent_syncs))
            .arg(format!("--horizontal-pod-autoscaler-sync-period={}", seconds(flags.sync_period)))
            .arg(format!(
                "--horizontal-pod-autoscaler-downscale-stabilization={}",
                seconds(flags.downscale_stabilisation)
            ))
            .arg(format!(
                "--horizontal-pod-autoscaler-cpu-initialization-period={}",
                seconds(flags.cpu_initialisation)
            ))
            .arg(format!(
                "--horizontal-pod-autoscaler-initial-readiness-delay={}",
                seconds(flags.initial_readiness_delay)
            ))
            .arg(format!("--kube-api-qps={}", flags.qps))
            .arg(format!("--kube-api-burst={}", flags.burst));
        let process = Process::spawn(&self.scratch, "kube-controller-manager", command)?;
        let probe =
            Requests::tls(format!("https://127.0.0.1:{port}"), self.pki.cluster.pem(), None)?;
        Ok((process, probe))
    }

    fn spawn_scheduler(&self) -> Result<(Process, Requests)> {
        let kubeconfig = self.kubeconfig_for("scheduler", "system:kube-scheduler", &[])?;
        let config = self.scratch.write(
            "scheduler.yaml",
            &format!(
                "apiVersion: kubescheduler.config.k8s.io/v1\n\
                 kind: KubeSchedulerConfiguration\n\
                 leaderElection: {{leaderElect: false}}\n\
                 clientConnection: {{kubeconfig: {}, qps: 1000, burst: 2000}}\n",
                kubeconfig.display()
            ),
        )?;
        let port = free_port()?;
        let mut command = Command::new(&self.binaries.scheduler);
        command.arg(flag("config", &config)).args(self.serve_on(port));
        for name in ["authentication-kubeconfig", "authorization-kubeconfig"] {
            command.arg(flag(name, &kubeconfig));
        }
        let process = Process::spawn(&self.scratch, "kube-scheduler", command)?;
        let probe =
            Requests::tls(format!("https://127.0.0.1:{port}"), self.pki.cluster.pem(), None)?;
        Ok((process, probe))
    }

    fn spawn_kubelets(&self, options: &Kubelets) -> Result<(Process, Requests)> {
        let kubeconfig = self.kubeconfig_for("kwok", "kwok", &["system:masters"])?;
        let stages = include_str!("parts/stages.yaml")
            .replace("READY_MILLISECONDS", &options.ready_after.as_millis().to_string());
        let stages = self.scratch.write("stages.yaml", &stages)?;
        let port = free_port()?;
        let mut command = Command::new(&self.binaries.kwok);
        command
            .arg(flag("kubeconfig", &kubeconfig))
            .arg(flag("config", &stages))
            .arg("--manage-all-nodes=false")
            .arg("--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake")
            .arg("--node-lease-duration-seconds=40")
            .arg(format!("--server-address=127.0.0.1:{port}"));
        let process = Process::spawn(&self.scratch, "kwok", command)?;
        Ok((process, Requests::plain(format!("http://127.0.0.1:{port}"))?))
    }

    /// Flags of a component that serves its own health.
    fn serve_on(&self, port: u16) -> [String; 4] {
        [
            "--bind-address=127.0.0.1".to_owned(),
            format!("--secure-port={port}"),
            flag("tls-cert-file", &self.files.serving.certificate),
            flag("tls-private-key-file", &self.files.serving.key),
        ]
    }
}

impl fmt::Debug for ControlPlane {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ControlPlane").field("url", &self.url()).finish_non_exhaustive()
    }
}

impl Files {
    fn write(pki: &Pki, scratch: &Scratch) -> Result<Self> {
        let serving = Leaf::server(
            "kube-apiserver",
            &[
                "localhost",
                "kubernetes",
                "kubernetes.default",
                "kubernetes.default.svc",
                "127.0.0.1",
                FIRST_SERVICE_IP,
            ],
        );
        let proxy = Leaf::client("front-proxy-client", &[]);
        Ok(Self {
            cluster_ca: scratch.write("cluster-ca.crt", pki.cluster.pem())?,
            serving: pki.cluster.issue(&serving)?.write(scratch, "kube-apiserver")?,
            requestheader_ca: scratch.write("front-proxy-ca.crt", pki.front_proxy.pem())?,
            proxy_client: pki.front_proxy.issue(&proxy)?.write(scratch, "front-proxy-client")?,
            token_key: scratch
                .write("service-accounts.key", &pki.service_accounts.serialize_pem())?,
            token_public_key: scratch
                .write("service-accounts.pub", &pki.service_accounts.public_key_pem())?,
        })
    }
}

async fn start_etcd(binaries: &Binaries, scratch: &Arc<Scratch>) -> Result<(Process, u16)> {
    let (clients, peers) = (free_port()?, free_port()?);
    let mut command = Command::new(&binaries.etcd);
    command
        .arg(flag("data-dir", &scratch.path().join("etcd")))
        .arg(format!("--listen-client-urls=http://127.0.0.1:{clients}"))
        .arg(format!("--advertise-client-urls=http://127.0.0.1:{clients}"))
        .arg(format!("--listen-peer-urls=http://127.0.0.1:{peers}"))
        .arg(format!("--initial-advertise-peer-urls=http://127.0.0.1:{peers}"))
        .arg(format!("--initial-cluster=default=http://127.0.0.1:{peers}"))
        // Nothing here has to survive a power cut.
        .arg("--unsafe-no-fsync")
        .arg(format!("--quota-backend-bytes={}", 4_u64 << 30))
        .arg("--log-level=warn");
    let mut process = Process::spawn(scratch, "etcd", command)?;
    let probe = Requests::plain(format!("http://127.0.0.1:{clients}"))?;
    process.ready(START, async || healthy(&probe, "/health").await).await?;
    Ok((process, clients))
}

fn spawn_apiserver(
    binaries: &Binaries,
    scratch: &Arc<Scratch>,
    files: &Files,
    port: u16,
    etcd_port: u16,
    options: &Options,
) -> Result<Process> {
    let mut command = Command::new(&binaries.apiserver);
    command
        .arg(format!("--etcd-servers=http://127.0.0.1:{etcd_port}"))
        .args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1"])
        .arg(format!("--secure-port={port}"))
        .arg(flag("tls-cert-file", &files.serving.certificate))
        .arg(flag("tls-private-key-file", &files.serving.key))
        .arg(flag("client-ca-file", &files.cluster_ca))
        .arg("--service-account-issuer=https://kubernetes.default.svc")
        .arg(flag("service-account-key-file", &files.token_public_key))
        .arg(flag("service-account-signing-key-file", &files.token_key))
        .arg(flag("requestheader-client-ca-file", &files.requestheader_ca))
        .arg("--requestheader-allowed-names=front-proxy-client")
        .arg("--requestheader-extra-headers-prefix=X-Remote-Extra-")
        .arg("--requestheader-group-headers=X-Remote-Group")
        .arg("--requestheader-username-headers=X-Remote-User")
        .arg(flag("proxy-client-cert-file", &files.proxy_client.certificate))
        .arg(flag("proxy-client-key-file", &files.proxy_client.key))
        .arg("--authorization-mode=Node,RBAC")
        .arg("--service-cluster-ip-range=10.0.0.0/16")
        // Simulated pods mount no token.
        .arg("--disable-admission-plugins=ServiceAccount")
        .arg("--endpoint-reconciler-type=none");
    if options.audit {
        let policy = scratch.write("audit-policy.yaml", include_str!("parts/audit-policy.yaml"))?;
        command
            .arg(flag("audit-policy-file", &policy))
            .arg(flag("audit-log-path", &scratch.path().join("audit.log")))
            // One file, whatever its size: it is read as a whole.
            .arg("--audit-log-maxsize=0");
    }
    Process::spawn(scratch, "kube-apiserver", command)
}

/// A client for the kubeconfig in `path`.
pub async fn client(path: &Path) -> Result<kube::Client> {
    let kubeconfig =
        Kubeconfig::read_from(path).with_context(|| format!("reading {}", path.display()))?;
    let mut config =
        kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .with_context(|| format!("reading {}", path.display()))?;
    // A proxy of the machine's surroundings has no business on loopback.
    config.proxy_url = None;
    kube::Client::try_from(config).context("making a client")
}

fn write_kubeconfig(
    scratch: &Scratch,
    pki: &Pki,
    files: &Files,
    port: u16,
    user: &str,
    groups: &[&str],
) -> Result<PathBuf> {
    let identity = pki.cluster.issue(&Leaf::client(user, groups))?.write(scratch, user)?;
    kubeconfig(scratch, &files.cluster_ca, &identity, port, user)
}

fn kubeconfig(
    scratch: &Scratch,
    authority: &Path,
    identity: &IdentityFiles,
    port: u16,
    name: &str,
) -> Result<PathBuf> {
    let content = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "testbed", "cluster": {
            "server": format!("https://127.0.0.1:{port}"),
            "certificate-authority": authority,
        }}],
        "users": [{"name": name, "user": {
            "client-certificate": identity.certificate,
            "client-key": identity.key,
        }}],
        "contexts": [{"name": "testbed", "context": {"cluster": "testbed", "user": name}}],
        "current-context": "testbed",
    });
    scratch.write(&format!("{name}.kubeconfig"), &content.to_string())
}

fn flag(name: &str, path: &Path) -> String {
    format!("--{name}={}", path.display())
}

async fn healthy(requests: &Requests, path: &str) -> Result<()> {
    requests.text(path).await.map(|_| ())
}
