//! Which cluster a verb talks to.

use std::path::PathBuf;

use crate::kubernetes;

/// Flags of every verb that talks to a cluster.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct ClusterArgs {
    /// Kubeconfig file; without it $KUBECONFIG, ~/.kube/config or the pod's service account
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig; without it the current one
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
}

/// A client for the cluster that the flags name.
pub(crate) async fn connect(args: &ClusterArgs) -> anyhow::Result<kube::Client> {
    kubernetes::connect(args.kubeconfig.clone(), args.context.clone()).await.map_err(plain)
}

/// The same for many small requests at once.
pub(crate) async fn connect_multiplexed(args: &ClusterArgs) -> anyhow::Result<kube::Client> {
    let (kubeconfig, context) = (args.kubeconfig.clone(), args.context.clone());
    kubernetes::connect_multiplexed(kubeconfig, context).await.map_err(plain)
}

/// Its message has its causes in it already; the chain would say them twice. The YAML parser draws
/// the place below its first line.
#[expect(clippy::needless_pass_by_value, reason = "it maps errors")]
fn plain(error: kubernetes::ClientError) -> anyhow::Error {
    let sentence = error.to_string();
    anyhow::anyhow!("{}", sentence.lines().next().unwrap_or_default())
}
