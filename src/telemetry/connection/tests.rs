use axum::Router;
use axum::http::HeaderMap;
use axum::routing::post;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use rustls::server::WebPkiClientVerifier;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::clock;
use crate::telemetry::Prometheus;

use super::*;

/// A CA, and a certificate and key signed by it.
struct Pki {
    ca: String,
    certificate: String,
    key: String,
}

fn pki() -> Pki {
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = params.signed_by(&key, &ca).unwrap();
    Pki { ca: ca.pem(), certificate: certificate.pem(), key: key.serialize_pem() }
}

/// Serves `Authorization` as a body over TLS, only to clients of the same CA.
async fn serve(pki: &Pki) -> String {
    let roots = tls::roots(pki.ca.as_bytes()).unwrap();
    let provider = tls::provider();
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            tls::certificates(pki.certificate.as_bytes()).unwrap(),
            tls::private_key(pki.key.as_bytes()).unwrap(),
        )
        .unwrap();
    let router =
        Router::new().route(
            "/api/v1/query",
            post(|headers: HeaderMap| async move {
                headers["authorization"].to_str().unwrap().to_owned()
            }),
        );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, router) = (acceptor.clone(), router.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                let service = hyper_util::service::TowerToHyperService::new(router);
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(hyper_util::rt::TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    url
}

/// A folder with the files of `pki`, and settings that name them.
fn files(pki: &Pki, url: &str) -> (tempfile::TempDir, Settings) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        Some(path)
    };
    let settings = Settings {
        url: url.to_owned(),
        ca_file: path("ca.pem", &pki.ca),
        client_cert_file: path("tls.crt", &pki.certificate),
        client_key_file: path("tls.key", &pki.key),
        bearer_token_file: path("token", "one\n"),
        ..Settings::default()
    };
    (folder, settings)
}

async fn body(client: &Prometheus) -> Result<String, String> {
    let now = clock::now();
    let reply = client.query("up", now).await.map_err(|error| error.to_string())?;
    Ok(String::from_utf8(reply.body.to_vec()).unwrap())
}

#[tokio::test]
async fn both_sides_are_verified_and_changed_files_are_taken_in() {
    let old = pki();
    let url = serve(&old).await;
    let (folder, settings) = files(&old, &url);
    let mut client = Prometheus::new(&settings).unwrap();
    assert_eq!(body(&client).await.unwrap(), "Bearer one");

    // A broken certificate in between changes nothing.
    std::fs::write(folder.path().join("token"), "two").unwrap();
    std::fs::write(folder.path().join("tls.crt"), "half a cert").unwrap();
    client.refresh().await;
    assert_eq!(body(&client).await.unwrap(), "Bearer one");
    std::fs::write(folder.path().join("tls.crt"), &old.certificate).unwrap();
    client.refresh().await;
    assert_eq!(body(&client).await.unwrap(), "Bearer two");

    // Another CA: what it signed is trusted and nothing else.
    let new = pki();
    for (name, text) in [("ca.pem", &new.ca), ("tls.crt", &new.certificate), ("tls.key", &new.key)]
    {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    client.refresh().await;
    let error = body(&client).await.unwrap_err();
    assert!(error.contains("certificate"), "{error}");
}

#[tokio::test]
async fn a_server_of_an_unknown_ca_is_refused() {
    let url = serve(&pki()).await;
    let (_folder, settings) = files(&pki(), &url);
    let error = body(&Prometheus::new(&settings).unwrap()).await.unwrap_err();
    assert!(error.contains("invalid peer certificate"), "{error}");
}

#[test]
fn unusable_files_are_named_at_the_start() {
    let (folder, settings) = files(&pki(), "https://127.0.0.1:1");
    for (name, text, sentence) in [
        ("token", " \n", "token holds no usable bearer token"),
        ("tls.key", "no key", "tls.key holds no usable private key"),
        ("ca.pem", "", "ca.pem holds no usable certificate"),
    ] {
        std::fs::write(folder.path().join(name), text).unwrap();
        let error = Prometheus::new(&settings).unwrap_err().to_string();
        assert!(error.ends_with(sentence), "{error}");
    }
    std::fs::remove_file(folder.path().join("token")).unwrap();
    let error = Prometheus::new(&settings).unwrap_err().to_string();
    assert!(error.starts_with("cannot read ") && error.contains("token"), "{error}");
}

#[test]
fn secrets_do_not_show_in_debug_output() {
    let (_folder, settings) = files(&pki(), "https://127.0.0.1:1");
    let text = format!("{:?}", Prometheus::new(&settings).unwrap());
    assert!(!text.contains("Bearer") && !text.contains("one\""), "{text}");
}
