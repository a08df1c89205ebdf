//! Turns CA bundles into a judgement of client certificates.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

use crate::tls;

/// Asks for a client certificate, hints at no signer (curl would send none), takes any.
#[derive(Debug)]
pub(super) struct AnyClientCertificate(pub(super) Arc<CryptoProvider>);

impl ClientCertVerifier for AnyClientCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Signers of client certificates.
#[derive(Clone)]
pub struct Signers(Arc<dyn ClientCertVerifier>);

impl fmt::Debug for Signers {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Signers")
    }
}

impl Signers {
    /// Reads a PEM bundle. Certificates that cannot be signers are passed over; one must remain.
    pub fn from_pem(pem: &[u8]) -> Result<Self, String> {
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<_, _>>()
            .map_err(|error| format!("the bundle is no PEM: {error}"))?;
        let mut roots = RootCertStore::empty();
        let (_, unusable) = roots.add_parsable_certificates(certificates);
        if unusable > 0 {
            tracing::warn!(unusable, "a CA bundle holds certificates that cannot be used");
        }
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), tls::provider())
            .build()
            .map(Self)
            .map_err(|error| format!("the bundle holds no usable CA: {error}"))
    }

    /// Whether the chain, leaf first, leads to one of them, is valid now and meant for clients.
    #[must_use]
    pub fn signed(&self, chain: &[CertificateDer<'_>]) -> bool {
        chain.split_first().is_some_and(|(leaf, intermediates)| {
            self.0.verify_client_cert(leaf, intermediates, UnixTime::now()).is_ok()
        })
    }

    /// Judges in the handshake; a client without a certificate of theirs does not connect.
    pub(super) fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(&self.0)
    }
}

/// The last common name, as Go reads it; `None` when there is none or it is empty.
#[must_use]
pub fn common_name<'a>(certificate: &'a X509Certificate<'_>) -> Option<&'a str> {
    let name = certificate.subject().iter_common_name().last()?.as_str().ok()?;
    (!name.is_empty()).then_some(name)
}

/// Whether a certificate carries a DNS name.
#[must_use]
pub fn has_dns_name(certificate: &CertificateDer<'_>, wanted: &str) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
        return false;
    };
    carries(&certificate, wanted)
}

fn carries(certificate: &X509Certificate<'_>, wanted: &str) -> bool {
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return false;
    };
    names
        .value
        .general_names
        .iter()
        .any(|name| matches!(name, GeneralName::DNSName(name) if name.eq_ignore_ascii_case(wanted)))
}

/// Whether the common name or a DNS name of a certificate is one of `wanted`.
#[must_use]
pub fn has_name(certificate: &CertificateDer<'_>, wanted: &[String]) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
        return false;
    };
    let common = common_name(&certificate);
    wanted.iter().any(|name| common == Some(name) || carries(&certificate, name))
}
