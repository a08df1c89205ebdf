//! Certificate authorities and certificates, fresh for every testbed. All keys are ECDSA P-256.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, date_time_ymd,
};

use super::scratch::Scratch;

/// How long certificates are valid, unless a test says otherwise.
const VALIDITY: Duration = Duration::from_hours(24);

/// How far back they start, for clocks that differ.
const SLACK: Duration = Duration::from_mins(5);

/// A certificate and its private key, both PEM.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// The key, PKCS #8.
    pub key: String,
}

/// Where an [`Identity`] was written.
#[derive(Debug, Clone)]
pub struct IdentityFiles {
    /// The certificate.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
}

impl Identity {
    /// Writes `NAME.crt` and `NAME.key`.
    pub fn write(&self, scratch: &Scratch, name: &str) -> Result<IdentityFiles> {
        Ok(IdentityFiles {
            certificate: scratch.write(&format!("{name}.crt"), &self.certificate)?,
            key: scratch.write(&format!("{name}.key"), &self.key)?,
        })
    }
}

/// What a certificate says.
#[derive(Debug, Clone)]
pub struct Leaf<'a> {
    /// Common name: the user, for Kubernetes.
    pub common_name: &'a str,
    /// Organisations: the groups, for Kubernetes.
    pub organisations: &'a [&'a str],
    /// DNS names and addresses of a server.
    pub names: &'a [&'a str],
    /// From when it is valid.
    pub not_before: SystemTime,
    /// Until when it is valid.
    pub not_after: SystemTime,
}

impl<'a> Leaf<'a> {
    /// A client: user and groups.
    pub fn client(user: &'a str, groups: &'a [&'a str]) -> Self {
        let now = SystemTime::now();
        Self {
            common_name: user,
            organisations: groups,
            names: &[],
            not_before: now - SLACK,
            not_after: now + VALIDITY,
        }
    }

    /// A server under these names and addresses.
    pub fn server(common_name: &'a str, names: &'a [&'a str]) -> Self {
        Self { names, ..Self::client(common_name, &[]) }
    }

    /// The same, ended an hour ago.
    #[must_use]
    pub fn expired(self) -> Self {
        let end = SystemTime::now() - Duration::from_hours(1);
        Self { not_before: end - VALIDITY, not_after: end, ..self }
    }
}

/// A certificate authority.
#[derive(Debug)]
pub struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new one with its own key.
    pub fn new(name: &str) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let now = SystemTime::now();
        set_validity(&mut params, now - SLACK, now + VALIDITY);
        let key = new_key()?;
        let certificate =
            params.self_signed(&key).with_context(|| format!("making the CA {name}"))?.pem();
        Ok(Self { certificate, issuer: Issuer::new(params, key) })
    }

    /// Its certificate, PEM.
    pub fn pem(&self) -> &str {
        &self.certificate
    }

    /// Signs a new key. Every certificate may be used by clients and by servers: what separates
    /// them here is the authority, not the usage.
    pub fn issue(&self, leaf: &Leaf<'_>) -> Result<Identity> {
        let names: Vec<String> = leaf.names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names)
            .with_context(|| format!("the names of {}", leaf.common_name))?;
        params.distinguished_name.push(DnType::CommonName, leaf.common_name);
        // Kubernetes wants one attribute per group, and rcgen keeps one value per type: the same
        // type under its number makes a second one possible.
        let kinds = [DnType::OrganizationName, DnType::CustomDnType(vec![2, 5, 4, 10])];
        ensure!(
            leaf.organisations.len() <= kinds.len(),
            "{} has too many groups",
            leaf.common_name
        );
        for (kind, &organisation) in kinds.into_iter().zip(leaf.organisations) {
            params.distinguished_name.push(kind, organisation);
        }
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, leaf.not_before, leaf.not_after);
        let key = new_key()?;
        let certificate = params
            .signed_by(&key, &self.issuer)
            .with_context(|| format!("signing the certificate of {}", leaf.common_name))?;
        Ok(Identity { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

/// The authorities of one cluster.
#[derive(Debug)]
pub struct Pki {
    /// Signs the API server and every client of it.
    pub cluster: Authority,
    /// Signs only the API server's certificate towards aggregated servers.
    pub front_proxy: Authority,
    /// Signs aggregated servers.
    pub serving: Authority,
    /// Signs service-account tokens.
    pub service_accounts: KeyPair,
}

impl Pki {
    /// New authorities.
    pub fn new() -> Result<Self> {
        Ok(Self {
            cluster: Authority::new("testbed-cluster-ca")?,
            front_proxy: Authority::new("testbed-front-proxy-ca")?,
            serving: Authority::new("testbed-serving-ca")?,
            service_accounts: new_key()?,
        })
    }
}

fn new_key() -> Result<KeyPair> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).context("making a key")
}

fn set_validity(params: &mut CertificateParams, from: SystemTime, until: SystemTime) {
    // Whole seconds are all that certificates hold.
    let seconds = |time: SystemTime| {
        Duration::from_secs(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
    };
    params.not_before = date_time_ymd(1970, 1, 1) + seconds(from);
    params.not_after = date_time_ymd(1970, 1, 1) + seconds(until);
}
