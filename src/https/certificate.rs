//! Turns two files into a TLS configuration, and again whenever their bytes change.
//!
//! Files are compared by content every few seconds: kubelet swaps a symbolic link when a Secret
//! changes, which file watches miss. A pair that cannot be used never replaces one that can.

use std::path::PathBuf;
use std::sync::Arc;
use std::{fs, io};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use tokio::sync::watch;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::trust::{AnyClientCertificate, Signers};
use super::{Clients, Meters};
use crate::instruments::OutcomeLabel;
use crate::tls::provider;

/// Why a pair of files cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("reading {} failed: {source}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// The certificate file holds no usable certificate.
    #[error("{} holds no usable certificate: {what}", file.display())]
    Certificate {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The key file holds no usable key, or not the certificate's.
    #[error("{} holds no usable private key for the certificate: {what}", file.display())]
    Key {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The file with the CAs of clients holds no usable one.
    #[error("client CA {}: {what}", file.display())]
    ClientCa {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The certificate is not valid now.
    #[error("the certificate in {} is valid from {from} to {until}, which is not now", file.display())]
    NotNow {
        /// The file.
        file: PathBuf,
        /// Start of its validity, RFC 3339.
        from: jiff::Timestamp,
        /// End of its validity.
        until: jiff::Timestamp,
    },
}

/// The serving certificate and its key, as files.
#[derive(Debug, Clone)]
pub struct Files {
    /// PEM chain, leaf first.
    pub certificate: PathBuf,
    /// PEM key.
    pub key: PathBuf,
    /// Who may connect; a file with CAs is read again like the pair.
    pub clients: Clients,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Bytes {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

struct Pair {
    config: Arc<ServerConfig>,
    from: jiff::Timestamp,
    until: jiff::Timestamp,
}

impl Files {
    fn read(&self) -> Result<Bytes, CertificateError> {
        let read = |file: &PathBuf| {
            fs::read(file).map_err(|source| CertificateError::File { file: file.clone(), source })
        };
        let client_ca = match &self.clients {
            Clients::Any => None,
            Clients::SignedBy(file) => Some(read(file)?),
        };
        Ok(Bytes { certificate: read(&self.certificate)?, key: read(&self.key)?, client_ca })
    }

    fn load(&self, bytes: &Bytes) -> Result<Pair, CertificateError> {
        let bad_certificate =
            |what: String| CertificateError::Certificate { file: self.certificate.clone(), what };
        let bad_key = |what: String| CertificateError::Key { file: self.key.clone(), what };
        let chain: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(&bytes.certificate)
                .collect::<Result<_, _>>()
                .map_err(|error| bad_certificate(error.to_string()))?;
        let leaf = chain.first().ok_or_else(|| bad_certificate("no PEM section".to_owned()))?;
        let validity = X509Certificate::from_der(leaf)
            .map(|(_, leaf)| leaf.validity().clone())
            .map_err(|error| bad_certificate(error.to_string()))?;
        let time = |seconds| {
            jiff::Timestamp::from_second(seconds)
                .map_err(|error| bad_certificate(error.to_string()))
        };
        let (from, until) =
            (time(validity.not_before.timestamp())?, time(validity.not_after.timestamp())?);
        let key = PrivateKeyDer::from_pem_slice(&bytes.key)
            .map_err(|error| bad_key(error.to_string()))?;
        let provider = provider();
        let verifier: Arc<dyn ClientCertVerifier> = match (&self.clients, &bytes.client_ca) {
            (Clients::SignedBy(file), Some(pem)) => Signers::from_pem(pem)
                .map_err(|what| CertificateError::ClientCa { file: file.clone(), what })?
                .verifier(),
            _ => Arc::new(AnyClientCertificate(Arc::clone(&provider))),
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| bad_key(error.to_string()))?
            .with_client_cert_verifier(verifier)
            // Also refuses a key that is not the certificate's.
            .with_single_cert(chain, key)
            .map_err(|error| bad_key(error.to_string()))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Pair { config: Arc::new(config), from, until })
    }
}

/// The serving pair in force, and the files that may replace it.
#[derive(Debug)]
pub struct Reloader {
    files: Files,
    seen: Bytes,
    until: jiff::Timestamp,
    configs: watch::Sender<Arc<ServerConfig>>,
    meters: Meters,
}

impl Reloader {
    /// Loads the first pair. One that is not valid now is served all the same: refusing to start
    /// would take away the API even from clients with a wrong clock, and a new file may come.
    pub fn start(files: Files, meters: Meters) -> Result<Self, CertificateError> {
        let seen = files.read()?;
        let pair = files.load(&seen)?;
        if let Err(error) = is_valid_now(&files, &pair) {
            tracing::error!(%error, "serving it until the files change");
        }
        let (configs, _) = watch::channel(pair.config);
        let reloader = Self { files, seen, until: pair.until, configs, meters };
        reloader.export();
        Ok(reloader)
    }

    /// The configuration for new connections.
    #[must_use]
    pub fn configs(&self) -> watch::Receiver<Arc<ServerConfig>> {
        self.configs.subscribe()
    }

    /// Looks at the files once. New connections get a new pair; open ones live on.
    pub fn look(&mut self) {
        match self.try_reload() {
            Ok(false) => {}
            Ok(true) => {
                tracing::info!(until = %self.until, "serving certificate reloaded");
                self.count("ok");
            }
            Err(error) => {
                tracing::warn!(%error, "the previous serving certificate stays in force");
                self.count("error");
            }
        }
        self.export();
    }

    /// Whether a new pair came into force.
    fn try_reload(&mut self) -> Result<bool, CertificateError> {
        let bytes = self.files.read()?;
        // A broken edit is complained about once; a swap between the two reads is judged when it is over.
        if bytes == self.seen || self.files.read()? != bytes {
            return Ok(false);
        }
        let loaded = self.files.load(&bytes);
        if let Ok(pair) = &loaded {
            // Not remembered as seen: the time of a pair may still come.
            is_valid_now(&self.files, pair)?;
        }
        self.seen = bytes;
        let pair = loaded?;
        self.until = pair.until;
        self.configs.send_replace(pair.config);
        Ok(true)
    }

    fn count(&self, outcome: &'static str) {
        self.meters.reloads.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    fn export(&self) {
        let left = self.until.duration_since(jiff::Timestamp::now()).as_secs_f64();
        self.meters.expiry.set(left);
    }
}

fn is_valid_now(files: &Files, pair: &Pair) -> Result<(), CertificateError> {
    let now = jiff::Timestamp::now();
    if (pair.from..=pair.until).contains(&now) {
        return Ok(());
    }
    let file = files.certificate.clone();
    Err(CertificateError::NotNow { file, from: pair.from, until: pair.until })
}
