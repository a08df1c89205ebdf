//! `hirl crd`: prints the CRD that `manifests/` ships, from the types that read it.

use std::process::ExitCode;

use crate::kubernetes;

/// Prints the CRD.
pub(super) fn run() -> anyhow::Result<ExitCode> {
    super::print(&kubernetes::crd_yaml()?);
    Ok(ExitCode::SUCCESS)
}
