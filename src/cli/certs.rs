//! `hirl certs`: makes a CA and the pair that every replica serves with and shows to its peers, or a
//! CA and the pair that kube-scheduler shows to us.
//! Never overwrites a CA unless told to, never leaves half a pair behind.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};

/// The CA lives this many times as long as the pair, so that the pair is what is renewed.
const CA_LIVES: u32 = 10;
/// No certificate is made for longer: later dates do not fit the encoding of most tools.
const MOST_DAYS: u32 = 36_500;

/// Makes a CA and a serving pair (ECDSA P-256).
///
/// Writes ca.crt, ca.key, tls.crt and tls.key into a folder; keys are readable by their owner
/// only. The pair is valid for SERVICE.NAMESPACE.svc (the name that kube-apiserver verifies),
/// SERVICE.NAMESPACE.svc.cluster.local, SERVICE, localhost and 127.0.0.1, as server and as client:
/// replicas show it to each other.
///
/// With --scheduler: scheduler-ca.crt, scheduler-ca.key, scheduler.crt and scheduler.key, for the
/// client certificate that kube-scheduler shows to the extender (see --client-name). To sign with a
/// CA of yours, put it there under these names and use --renew-leaf.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder to write into; made when absent.
    #[arg(long, value_name = "DIR", default_value = "certs")]
    out: PathBuf,
    /// Name of the Service.
    #[arg(long, value_name = "SERVICE", default_value = "hirl")]
    name: String,
    /// Namespace of the Service.
    #[arg(short, long, value_name = "NAMESPACE", default_value = "hirl-system")]
    namespace: String,
    /// Days that the serving pair is valid; a new CA is valid ten times as long.
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_DAYS)))]
    days: u32,
    /// A further DNS name or IP address in the serving certificate; may be repeated.
    #[arg(long, value_name = "NAME")]
    #[arg(conflicts_with = "scheduler")]
    san: Vec<String>,
    /// Make the client certificate of kube-scheduler in place of the serving pair.
    #[arg(long)]
    scheduler: bool,
    /// Common name of that client certificate: one of extender.clientNames.
    #[arg(
        long,
        value_name = "NAME",
        default_value = "system:kube-scheduler",
        requires = "scheduler"
    )]
    client_name: String,
    /// Make a new pair under the CA that is there (its key must be there too).
    #[arg(long, conflicts_with = "force")]
    renew_leaf: bool,
    /// Overwrite an existing CA. Whatever trusts the old one must be given the new one first.
    #[arg(long)]
    force: bool,
}

/// Runs the verb.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    crate::cli::print(&make(args)?);
    Ok(ExitCode::SUCCESS)
}

/// Makes a CA and the pair of SERVICE.NAMESPACE.svc in `folder`, for a day.
pub(super) fn for_a_day(folder: &Path, name: &str, namespace: &str) -> anyhow::Result<()> {
    let args = Args {
        out: folder.to_owned(),
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        days: 1,
        san: Vec::new(),
        scheduler: false,
        client_name: String::new(),
        renew_leaf: false,
        force: false,
    };
    make(&args).map(drop)
}

fn make(args: &Args) -> anyhow::Result<String> {
    let file = |name: &str| args.out.join(name);
    fs::create_dir_all(&args.out)
        .with_context(|| format!("cannot make folder {}", args.out.display()))?;
    let [ca_crt, ca_key, leaf_crt, leaf_key] = names(args);
    let has_ca = exists(&file(ca_crt))? || exists(&file(ca_key))?;
    if has_ca && !args.renew_leaf && !args.force {
        bail!(
            "{} holds a CA already: --renew-leaf makes a new pair under it, --force replaces it",
            args.out.display()
        );
    }
    let mut written = Vec::new();
    let issuer = if args.renew_leaf {
        load_ca(&file(ca_crt), &file(ca_key))?
    } else {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let params = ca_params(args)?;
        let certificate = params.self_signed(&key)?;
        written.push((ca_key, key.serialize_pem(), 0o600));
        written.push((ca_crt, certificate.pem(), 0o644));
        Issuer::new(params, key)
    };
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let leaf = if args.scheduler { client_params(args)? } else { leaf_params(args)? };
    let leaf = leaf.signed_by(&key, &issuer)?;
    written.push((leaf_key, key.serialize_pem(), 0o600));
    written.push((leaf_crt, leaf.pem(), 0o644));
    write_all(&args.out, &written)?;
    Ok(next_steps(args))
}

/// Files of the CA and of the pair, certificate before key.
fn names(args: &Args) -> [&'static str; 4] {
    if args.scheduler {
        ["scheduler-ca.crt", "scheduler-ca.key", "scheduler.crt", "scheduler.key"]
    } else {
        ["ca.crt", "ca.key", "tls.crt", "tls.key"]
    }
}

fn exists(path: &Path) -> anyhow::Result<bool> {
    path.try_exists().with_context(|| format!("cannot look at {}", path.display()))
}

fn load_ca(certificate: &Path, key: &Path) -> anyhow::Result<Issuer<'static, KeyPair>> {
    let read = |path: &Path| {
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
    };
    let pem = read(certificate)?;
    let pair = KeyPair::from_pem(&read(key)?)
        .with_context(|| format!("{} is no private key in PEM", key.display()))?;
    let (_, parsed) = x509_parser::pem::parse_x509_pem(pem.as_bytes())
        .with_context(|| format!("{} is no certificate in PEM", certificate.display()))?;
    let x509 = parsed
        .parse_x509()
        .with_context(|| format!("{} is no certificate", certificate.display()))?;
    if !x509.is_ca() {
        bail!("{} is no CA certificate", certificate.display());
    }
    if x509.public_key().subject_public_key.data.as_ref() != pair.public_key_raw() {
        bail!("{} is not the key of {}", key.display(), certificate.display());
    }
    if !x509.validity().is_valid() {
        bail!("{} has expired: --force makes a new CA", certificate.display());
    }
    Issuer::from_ca_cert_pem(&pem, pair)
        .with_context(|| format!("cannot sign with {}", certificate.display()))
}

fn ca_params(args: &Args) -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::default();
    let days = args.days.saturating_mul(CA_LIVES).min(MOST_DAYS);
    set_validity(&mut params, days)?;
    // The year and day tell two CAs apart while both are trusted.
    let use_of = if args.scheduler { "scheduler client" } else { "serving" };
    let name = format!("{} {use_of} CA {}", args.name, today());
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn leaf_params(args: &Args) -> anyhow::Result<CertificateParams> {
    let Args { name, namespace, san, .. } = args;
    let mut names = vec![
        format!("{name}.{namespace}.svc"),
        format!("{name}.{namespace}.svc.cluster.local"),
        name.clone(),
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
    ];
    for extra in san {
        if !names.contains(extra) {
            names.push(extra.clone());
        }
    }
    if let Some(bad) = names.iter().find(|name| !is_name(name)) {
        bail!("{bad:?} is neither a DNS name nor an IP address");
    }
    let mut params = CertificateParams::new(names)?;
    set_validity(&mut params, args.days)?;
    params.distinguished_name.push(DnType::CommonName, format!("{name}.{namespace}.svc"));
    params.use_authority_key_identifier_extension = true;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

/// A client and nothing else, known by its common name.
fn client_params(args: &Args) -> anyhow::Result<CertificateParams> {
    let name = args.client_name.trim();
    // The bounds of a common name; a name that needs escaping would not be found again.
    if name.is_empty() || name.len() > 64 || name.chars().any(char::is_control) {
        bail!("{:?} is no common name: 1 to 64 printable characters", args.client_name);
    }
    let mut params = CertificateParams::default();
    set_validity(&mut params, args.days)?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

/// Whether `text` can stand in a certificate: letters, digits, `-` and `.`, or an address.
fn is_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.parse::<std::net::IpAddr>().is_ok() || (text.len() <= 253 && text.split('.').all(label))
}

fn today() -> jiff::civil::Date {
    jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date()
}

/// From yesterday, so that a clock that is some hours behind accepts it, for `days` from today.
fn set_validity(params: &mut CertificateParams, days: u32) -> anyhow::Result<()> {
    let day = |offset: i64| -> anyhow::Result<_> {
        let date = today().checked_add(jiff::Span::new().try_days(offset)?)?;
        let (month, day) = (u8::try_from(date.month())?, u8::try_from(date.day())?);
        Ok(rcgen::date_time_ymd(i32::from(date.year()), month, day))
    };
    params.not_before = day(-1)?;
    // A whole day more, because days count from midnight.
    params.not_after = day(i64::from(days) + 1)?;
    Ok(())
}

/// Writes everything beside its place first, then moves it there: a full disk leaves the old
/// files as they were.
fn write_all(folder: &Path, files: &[(&str, String, u32)]) -> anyhow::Result<()> {
    let beside = |name: &str| folder.join(format!(".{name}.new"));
    for (name, text, mode) in files {
        let path = beside(name);
        // A leftover could have the wrong mode.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot replace {}", path.display()));
            }
            _ => {}
        }
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(*mode)
            .open(&path)
            .and_then(|mut file| {
                file.write_all(text.as_bytes())?;
                file.sync_all()
            })
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    for (name, _, _) in files {
        let path = folder.join(name);
        fs::rename(beside(name), &path)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn next_steps(args: &Args) -> String {
    let out = args.out.display();
    let namespace = &args.namespace;
    if args.scheduler {
        let made = if args.renew_leaf { "a new client pair" } else { "a CA and a client pair" };
        return format!(
            "Wrote {made} for kube-scheduler to {out}.\n\
             \n\
             Secret for the scheduler (it reads a new pair at its next handshake) and for hirl (the CA):\n\
             \x20 kubectl -n {namespace} create secret generic hirl-scheduler-client \\\n\
             \x20   --from-file=tls.crt={out}/scheduler.crt --from-file=tls.key={out}/scheduler.key \\\n\
             \x20   --from-file=ca.crt={out}/scheduler-ca.crt --dry-run=client -o yaml | kubectl apply -f -\n\
             \n\
             Keep {out}/scheduler-ca.key off the cluster; --renew-leaf needs it.\n"
        );
    }
    let made = if args.renew_leaf { "a new serving pair" } else { "a CA and a serving pair" };
    format!(
        "Wrote {made} to {out}.\n\
         \n\
         Secret for the replicas (they take a new pair without a restart):\n\
         \x20 kubectl -n {namespace} create secret generic hirl-tls \\\n\
         \x20   --from-file=tls.crt={out}/tls.crt --from-file=tls.key={out}/tls.key \\\n\
         \x20   --from-file=ca.crt={out}/ca.crt --dry-run=client -o yaml | kubectl apply -f -\n\
         \n\
         caBundle of the APIService, on one line:\n\
         \x20 base64 < {out}/ca.crt | tr -d '\\n'\n\
         \n\
         Keep {out}/ca.key off the cluster; --renew-leaf needs it.\n"
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use rustls::RootCertStore;
    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier as _;
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::server::WebPkiClientVerifier;
    use std::sync::Arc;

    use super::*;

    fn args(out: &Path) -> Args {
        Args {
            out: out.to_owned(),
            name: "hirl".into(),
            namespace: "hirl-system".into(),
            days: 365,
            san: vec!["10.0.0.7".into()],
            scheduler: false,
            client_name: "system:kube-scheduler".into(),
            renew_leaf: false,
            force: false,
        }
    }

    fn read(folder: &Path, name: &str) -> String {
        fs::read_to_string(folder.join(name)).unwrap()
    }

    fn certificate(folder: &Path, name: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(read(folder, name).as_bytes()).unwrap()
    }

    /// Verifies the pair as kube-apiserver does (server) and as a peer does (client).
    fn verifies(folder: &Path, name: &str) -> bool {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(certificate(folder, "ca.crt")).unwrap();
        let roots = Arc::new(roots);
        let leaf = certificate(folder, "tls.crt");
        let now = UnixTime::now();
        let server =
            WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
                .build()
                .unwrap();
        let client = WebPkiClientVerifier::builder_with_provider(roots, provider).build().unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        client.verify_client_cert(&leaf, &[], now).is_ok()
            && server.verify_server_cert(&leaf, &[], &name, &[], now).is_ok()
    }

    #[test]
    fn the_pair_verifies_for_every_name_as_server_and_as_client() {
        let folder = tempfile::tempdir().unwrap();
        make(&args(folder.path())).unwrap();
        for name in [
            "hirl.hirl-system.svc",
            "hirl.hirl-system.svc.cluster.local",
            "hirl",
            "localhost",
            "127.0.0.1",
            "10.0.0.7",
        ] {
            assert!(verifies(folder.path(), name), "{name}");
        }
        assert!(!verifies(folder.path(), "other.hirl-system.svc"));
    }

    #[test]
    fn the_schedulers_pair_is_a_client_of_its_own_ca_and_no_server() {
        let folder = tempfile::tempdir().unwrap();
        make(&args(folder.path())).unwrap();
        let serving = read(folder.path(), "ca.crt");
        let scheduler = Args { scheduler: true, san: Vec::new(), ..args(folder.path()) };
        let said = make(&scheduler).unwrap();
        assert!(said.contains("hirl-scheduler-client"), "{said}");
        assert_eq!(read(folder.path(), "ca.crt"), serving, "the serving CA is another");

        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let trust = |ca: &str| {
            let mut roots = RootCertStore::empty();
            roots.add(certificate(folder.path(), ca)).unwrap();
            Arc::new(roots)
        };
        let now = UnixTime::now();
        let accepted = |ca: &str| {
            let client =
                WebPkiClientVerifier::builder_with_provider(trust(ca), Arc::clone(&provider));
            let leaf = certificate(folder.path(), "scheduler.crt");
            client.build().unwrap().verify_client_cert(&leaf, &[], now).is_ok()
        };
        assert!(accepted("scheduler-ca.crt") && !accepted("ca.crt"));

        let leaf = certificate(folder.path(), "scheduler.crt");
        let (_, x509) = x509_parser::parse_x509_certificate(&leaf).unwrap();
        let common_name = x509.subject().iter_common_name().next().unwrap().as_str().unwrap();
        assert_eq!(common_name, "system:kube-scheduler");
        let usage = x509.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.client_auth && !usage.server_auth);
        let mode = fs::metadata(folder.path().join("scheduler.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        let before =
            (read(folder.path(), "scheduler-ca.crt"), read(folder.path(), "scheduler.crt"));
        assert!(make(&scheduler).unwrap_err().to_string().contains("holds a CA already"));
        make(&Args { renew_leaf: true, ..scheduler }).unwrap();
        assert_eq!(read(folder.path(), "scheduler-ca.crt"), before.0);
        assert_ne!(read(folder.path(), "scheduler.crt"), before.1);
        assert!(accepted("scheduler-ca.crt"));
        let bad = Args { scheduler: true, client_name: " ".into(), ..args(folder.path()) };
        let bad = Args { force: true, ..bad };
        assert!(make(&bad).unwrap_err().to_string().contains("no common name"));
    }

    #[test]
    fn keys_are_readable_by_their_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        make(&args(folder.path())).unwrap();
        for name in ["ca.key", "tls.key"] {
            let mode = fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }

    #[test]
    fn an_existing_ca_is_not_overwritten_without_force() {
        let folder = tempfile::tempdir().unwrap();
        make(&args(folder.path())).unwrap();
        let before = read(folder.path(), "ca.crt");
        let error = make(&args(folder.path())).unwrap_err().to_string();
        assert!(error.contains("holds a CA already"), "{error}");
        assert_eq!(read(folder.path(), "ca.crt"), before);
        make(&Args { force: true, ..args(folder.path()) }).unwrap();
        assert_ne!(read(folder.path(), "ca.crt"), before);
        assert!(verifies(folder.path(), "localhost"));
    }

    #[test]
    fn a_renewed_pair_verifies_under_the_same_ca() {
        let folder = tempfile::tempdir().unwrap();
        make(&args(folder.path())).unwrap();
        let before = (read(folder.path(), "ca.crt"), read(folder.path(), "tls.crt"));
        make(&Args { renew_leaf: true, ..args(folder.path()) }).unwrap();
        assert_eq!(read(folder.path(), "ca.crt"), before.0);
        assert_ne!(read(folder.path(), "tls.crt"), before.1);
        assert!(verifies(folder.path(), "hirl.hirl-system.svc"));
    }

    #[test]
    fn broken_input_is_one_sentence_and_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        make(&args(folder.path())).unwrap();
        let leaf = read(folder.path(), "tls.crt");
        let renew = Args { renew_leaf: true, ..args(folder.path()) };

        let other = tempfile::tempdir().unwrap();
        make(&args(other.path())).unwrap();
        fs::copy(other.path().join("ca.key"), folder.path().join("ca.key")).unwrap();
        assert!(make(&renew).unwrap_err().to_string().contains("is not the key of"));
        fs::write(folder.path().join("ca.key"), "nonsense").unwrap();
        assert!(make(&renew).unwrap_err().to_string().contains("no private key"));
        fs::remove_file(folder.path().join("ca.key")).unwrap();
        assert!(make(&renew).unwrap_err().to_string().contains("cannot read"));
        let bad = Args { san: vec!["a b".into()], force: true, ..args(folder.path()) };
        assert!(make(&bad).unwrap_err().to_string().contains("\"a b\""));
        assert_eq!(read(folder.path(), "tls.crt"), leaf);
    }
}
