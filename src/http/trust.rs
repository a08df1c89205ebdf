//! Turns CA bundles into a judgement of client certificates, after the handshake.
//!
//! The handshake proves only that the client holds the key of the certificate that it shows. Who
//! signed it is judged per connection, so that an unknown signer gets an answer with a reason
//! instead of a TLS alert, and a rotated CA needs no new listener.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use crate::https::{Signers, common_name};
use crate::kubernetes::{FrontProxy, User};

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
