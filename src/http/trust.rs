//! Turns CA bundles into a judgement of client certificates, after the handshake.
//!
//! The handshake proves only that the client holds the key of the certificate that it shows. Who
//! signed it is judged per connection, so that an unknown signer gets an answer with a reason
//! instead of a TLS alert, and a rotated CA needs no new listener.

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

use crate::kubernetes::{FrontProxy, User};
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
pub(super) struct Signers(Arc<dyn ClientCertVerifier>);

impl fmt::Debug for Signers {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Signers")
    }
}

impl Signers {
    /// Reads a PEM bundle. Certificates that cannot be signers are passed over; one must remain.
    pub(super) fn from_pem(pem: &[u8]) -> Result<Self, String> {
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

    /// Whether the chain, leaf first, leads to one of them and is meant for clients.
    pub(super) fn signed(&self, chain: &[CertificateDer<'_>]) -> bool {
        chain.split_first().is_some_and(|(leaf, intermediates)| {
            self.0.verify_client_cert(leaf, intermediates, UnixTime::now()).is_ok()
        })
    }
}

/// One version of whom the API server tells us to believe.
#[derive(Debug)]
pub(super) struct Trust {
    /// Names of headers and of the front proxy.
    pub(super) front_proxy: Arc<FrontProxy>,
    proxies: Option<Signers>,
    clients: Option<Signers>,
}

/// What a client certificate proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Proof {
    /// The front proxy: whatever its headers say.
    FrontProxy,
    /// A user.
    User(User),
    /// Nothing, and nothing was claimed.
    Nothing,
    /// Nothing, though a certificate was shown.
    Refused,
}

impl Trust {
    /// Reads the bundles. A broken one believes nobody.
    pub(super) fn new(front_proxy: Arc<FrontProxy>) -> Self {
        let signers = |pem: &Option<String>, what| {
            Signers::from_pem(pem.as_ref()?.as_bytes())
                .inspect_err(|error| tracing::error!(%error, "no client is believed by {what}"))
                .ok()
        };
        Self {
            proxies: signers(&front_proxy.requestheader_ca, "the front-proxy CA"),
            clients: signers(&front_proxy.client_ca, "the client CA"),
            front_proxy,
        }
    }

    /// What a chain proves.
    pub(super) fn judge(&self, chain: &[CertificateDer<'_>]) -> Proof {
        let Some(leaf) = chain.first() else {
            return Proof::Nothing;
        };
        let Ok((_, leaf)) = X509Certificate::from_der(leaf) else {
            return Proof::Refused;
        };
        let signed = |signers: &Option<Signers>| {
            signers.as_ref().is_some_and(|signers| signers.signed(chain))
        };
        let allowed = &self.front_proxy.allowed_names;
        let name = common_name(&leaf);
        if signed(&self.proxies)
            && (allowed.is_empty()
                || name.is_some_and(|name| allowed.iter().any(|one| one == name)))
        {
            return Proof::FrontProxy;
        }
        match name {
            Some(name) if signed(&self.clients) => Proof::User(User {
                name: name.to_owned(),
                groups: leaf
                    .subject()
                    .iter_organization()
                    .filter_map(|group| group.as_str().ok())
                    .map(str::to_owned)
                    .collect(),
                ..User::default()
            }),
            _ => Proof::Refused,
        }
    }
}

/// The last common name, as Go reads it; `None` when there is none or it is empty.
fn common_name<'a>(certificate: &'a X509Certificate<'_>) -> Option<&'a str> {
    let name = certificate.subject().iter_common_name().last()?.as_str().ok()?;
    (!name.is_empty()).then_some(name)
}

/// Whether a certificate carries a DNS name.
pub(super) fn has_dns_name(certificate: &CertificateDer<'_>, wanted: &str) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
        return false;
    };
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return false;
    };
    names
        .value
        .general_names
        .iter()
        .any(|name| matches!(name, GeneralName::DNSName(name) if name.eq_ignore_ascii_case(wanted)))
}
