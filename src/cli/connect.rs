//! Which cluster a verb talks to.

use std::path::PathBuf;

use anyhow::Context as _;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};

/// Flags of every verb that talks to a cluster.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct ClusterArgs {
    /// Kubeconfig file; without it $KUBECONFIG, ~/.kube/config or the pod's service account.
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig; without it the current one.
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
}

/// A client for the cluster that the flags name.
pub(crate) async fn connect(args: &ClusterArgs) -> anyhow::Result<kube::Client> {
    let options = KubeConfigOptions {
        context: args.context.clone(),
        ..Default::default()
    };
    let config = match &args.kubeconfig {
        Some(path) => {
            let file = Kubeconfig::read_from(path)
                .with_context(|| format!("cannot read kubeconfig {}", path.display()))?;
            Config::from_custom_kubeconfig(file, &options)
                .await
                .with_context(|| format!("cannot use kubeconfig {}", path.display()))?
        }
        None if args.context.is_some() => Config::from_kubeconfig(&options)
            .await
            .context("cannot use the default kubeconfig")?,
        None => Config::infer()
            .await
            .context("no kubeconfig and no service account found")?,
    };
    kube::Client::try_from(config).context("cannot make a client from the kubeconfig")
}
