//! Certificates for one run: a CA and one pair, in a private folder that goes with this value.
//!
//! The pair is what `hirl certs` makes for replicas, which show it to each other: whoever holds it
//! is both somebody whom the demo's CA signed and the other replica, and may read everything.

use std::fs::Permissions;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use tempfile::TempDir;

use crate::cli::certs;
use crate::control::peer;
use crate::http;
use crate::kubernetes::FrontProxy;

/// Service and namespace in the names of the pair.
const SERVICE: (&str, &str) = ("hirl", "demo");

/// The folder with `ca.crt`, `tls.crt` and `tls.key`.
#[derive(Debug)]
pub(super) struct Certificates(TempDir);

impl Certificates {
    /// Makes them. Only the user of this process may enter the folder.
    pub(super) fn make() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("hirl-demo-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir()
            .context("making a folder for the certificates")?;
        certs::for_a_day(folder.path(), SERVICE.0, SERVICE.1)?;
        Ok(Self(folder))
    }

    /// Where they are.
    pub(super) fn folder(&self) -> &Path {
        self.0.path()
    }

    /// Whom to believe: whoever our CA signed, and no front proxy.
    pub(super) fn trust(&self) -> anyhow::Result<FrontProxy> {
        let path = self.folder().join("ca.crt");
        let ca = std::fs::read_to_string(&path)
            .with_context(|| format!("reading {}", path.display()))?;
        Ok(FrontProxy { client_ca: Some(ca), ..FrontProxy::default() })
    }

    /// The server on loopback. Everybody with a good certificate has it from us.
    pub(super) fn server(&self, port: u16) -> http::Settings {
        http::Settings {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            cert_file: self.folder().join("tls.crt"),
            key_file: self.folder().join("tls.key"),
            always_allow_groups: vec!["system:authenticated".to_owned()],
            // Nobody is sent here by a load balancer.
            ready_delay_seconds: 0.0,
            drain_seconds: 1.0,
            ..http::Settings::default()
        }
    }

    /// The other replica: whoever holds the pair.
    pub(super) fn peer(&self) -> peer::Settings {
        peer::Settings {
            ca_file: Some(self.folder().join("ca.crt")),
            server_name: format!("{}.{}.svc", SERVICE.0, SERVICE.1),
        }
    }
}
