//! Where the programs of the testbed are.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// Programs that a folder must hold all of to count as a control plane: parts of different
/// versions are not mixed.
const CONTROL_PLANE: [&str; 5] =
    ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"];

/// All programs.
#[derive(Debug, Clone)]
pub struct Binaries {
    /// The store.
    pub etcd: PathBuf,
    /// The API server.
    pub apiserver: PathBuf,
    /// The controllers, the HPA's among them.
    pub controller_manager: PathBuf,
    /// The scheduler.
    pub scheduler: PathBuf,
    /// The command-line client.
    pub kubectl: PathBuf,
    /// The simulated kubelets.
    pub kwok: PathBuf,
    /// Prometheus.
    pub prometheus: PathBuf,
    /// The judge of its rules; a folder of ready binaries need not hold it.
    pub promtool: Option<PathBuf>,
}

impl Binaries {
    /// Looks in `HIRL_TESTBED_BIN`, then in `KUBEBUILDER_ASSETS`, where these hold a whole control
    /// plane, then in `.testbed/` of the repository. One sentence says what to do when something
    /// is missing.
    pub fn find() -> Result<Self> {
        let folders = folders();
        let plane = |name| find(&folders, name);
        Ok(Self {
            etcd: plane("etcd")?,
            apiserver: plane("kube-apiserver")?,
            controller_manager: plane("kube-controller-manager")?,
            scheduler: plane("kube-scheduler")?,
            kubectl: plane("kubectl")?,
            kwok: plane("kwok")?,
            prometheus: plane("prometheus")?,
            promtool: plane("promtool").ok(),
        })
    }
}

/// The folders that count, best first.
fn folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = ["HIRL_TESTBED_BIN", "KUBEBUILDER_ASSETS"]
        .into_iter()
        .filter_map(|name| std::env::var_os(name).map(PathBuf::from))
        .filter(|folder| CONTROL_PLANE.iter().all(|name| folder.join(name).is_file()))
        .collect();
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join(".testbed");
    let mut versions: Vec<PathBuf> = std::fs::read_dir(built)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    // The newest version that was built; names sort by version well enough.
    versions.sort();
    folders.extend(versions.into_iter().rev());
    folders
}

fn find(folders: &[PathBuf], name: &str) -> Result<PathBuf> {
    match folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file()) {
        Some(path) => Ok(path),
        None => bail!("the testbed has no {name}: run `make testbed` (needs Go 1.26, once)"),
    }
}
