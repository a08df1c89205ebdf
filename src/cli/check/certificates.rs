//! Whether kube-apiserver will trust the certificate that we serve with, and for how long. Pure.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

use crate::tls;

use super::line::Line;

/// Days before the end from which it is time to renew.
const RENEW_DAYS: i64 = 21;

/// Judges a chain against the `caBundle` of the `APIService`, at `now` (seconds since the epoch).
pub(super) fn judge(chain: &[u8], ca_bundle: &[u8], host: &str, now: i64) -> Vec<Line> {
    let remake = "make a new pair (hirl certs --renew-leaf, or cert-manager) or correct caBundle";
    let chain = match tls::certificates(chain) {
        Ok(chain) => chain,
        Err(problem) => return vec![Line::fail(format!("the serving chain: {problem}"), remake)],
    };
    let roots = match tls::roots(ca_bundle) {
        Ok(roots) => roots,
        Err(problem) => {
            return vec![Line::fail(format!("caBundle of the APIService: {problem}"), remake)];
        }
    };
    let trust = match verify(&chain, roots, host, now) {
        Ok(()) => Line::pass(format!("the serving certificate is valid for {host} under caBundle")),
        Err(what) => Line::fail(
            format!("kube-apiserver will not trust the serving certificate: {what}"),
            remake,
        ),
    };
    vec![trust, expiry(&chain[0], now)]
}

fn verify(
    chain: &[CertificateDer<'static>],
    roots: RootCertStore,
    host: &str,
    now: i64,
) -> Result<(), String> {
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), tls::provider())
        .build()
        .map_err(|error| error.to_string())?;
    let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    let seconds = u64::try_from(now).unwrap_or(0);
    let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    verifier
        .verify_server_cert(&chain[0], &chain[1..], &name, &[], at)
        .map(|_| ())
        .map_err(|error| error.to_string())
}

fn expiry(leaf: &CertificateDer<'_>, now: i64) -> Line {
    let Ok((_, leaf)) = x509_parser::parse_x509_certificate(leaf) else {
        return Line::fail("the serving certificate cannot be parsed", "make a new pair");
    };
    let days = (leaf.validity().not_after.timestamp() - now).div_euclid(86_400);
    let hint = "make a new pair: the replicas take it without a restart";
    match days {
        ..0 => Line::fail("the serving certificate has expired", hint),
        0..RENEW_DAYS => Line::warn(format!("the serving certificate ends in {days} days"), hint),
        _ => Line::pass(format!("the serving certificate ends in {days} days")),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

    use super::*;
    use crate::cli::check::line::Mark;

    struct Authority {
        pem: String,
        issuer: Issuer<'static, KeyPair>,
    }

    fn authority() -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { pem, issuer: Issuer::new(params, key) }
    }

    /// Valid on the days of 2030.
    fn leaf(authority: &Authority, name: &str) -> String {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2030, 1, 1);
        params.not_after = rcgen::date_time_ymd(2031, 1, 1);
        params.signed_by(&KeyPair::generate().unwrap(), &authority.issuer).unwrap().pem()
    }

    fn at(time: &str) -> i64 {
        time.parse::<jiff::Timestamp>().unwrap().as_second()
    }

    fn marks(lines: &[Line]) -> Vec<Mark> {
        lines.iter().map(|line| line.mark).collect()
    }

    const HOST: &str = "hirl.hirl-system.svc";

    #[test]
    fn a_chain_of_the_bundle_passes_and_its_last_weeks_are_announced() {
        let authority = authority();
        let leaf = leaf(&authority, HOST);
        let judge = |time| judge(leaf.as_bytes(), authority.pem.as_bytes(), HOST, at(time));
        assert_eq!(marks(&judge("2030-06-01T00:00:00Z")), [Mark::Pass, Mark::Pass]);
        let late = judge("2030-12-21T00:00:00Z");
        assert_eq!(marks(&late), [Mark::Pass, Mark::Warn]);
        assert!(late[1].what.contains("11 days"), "{}", late[1].what);
        assert_eq!(marks(&judge("2031-01-02T00:00:00Z")), [Mark::Fail, Mark::Fail]);
    }

    #[test]
    fn another_ca_and_another_name_are_told_apart() {
        let (ours, other) = (authority(), authority());
        let chain = leaf(&ours, HOST);
        let now = at("2030-06-01T00:00:00Z");
        let foreign = judge(chain.as_bytes(), other.pem.as_bytes(), HOST, now);
        assert_eq!(foreign[0].mark, Mark::Fail);
        let both = format!("{}{}", other.pem, ours.pem);
        assert_eq!(judge(chain.as_bytes(), both.as_bytes(), HOST, now)[0].mark, Mark::Pass);
        let renamed = judge(chain.as_bytes(), ours.pem.as_bytes(), "hirl.other.svc", now);
        assert_eq!(renamed[0].mark, Mark::Fail);
        assert_ne!(foreign[0].what, renamed[0].what);
    }

    #[test]
    fn text_that_is_no_certificate_fails_with_its_place() {
        let authority = authority();
        let chain = leaf(&authority, HOST);
        let lines = judge(b"nonsense", authority.pem.as_bytes(), HOST, 0);
        assert!(lines[0].what.starts_with("the serving chain: there is no PEM"));
        let lines = judge(chain.as_bytes(), b"", HOST, 0);
        assert!(lines[0].what.starts_with("caBundle of the APIService: there is no PEM"));
    }
}
