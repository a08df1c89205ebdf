//! Servers of this program that the API server or kube-scheduler calls: HTTP/2 and 1.1 over TLS.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

use super::pki::Identity;

/// Answers on a free port of this machine, until the handle is dropped.
pub async fn serve(identity: &Identity, router: Router) -> Result<(u16, AbortOnDropHandle<()>)> {
    let acceptor = acceptor(identity)?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("listening on loopback")?;
    let port = listener.local_addr().context("the server's own address")?.port();
    let serving = tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            // What is asked is small and urgent.
            let _ = stream.set_nodelay(true);
            let (acceptor, service) = (acceptor.clone(), TowerToHyperService::new(router.clone()));
            tokio::spawn(async move {
                // A caller that breaks off is its own problem.
                if let Ok(stream) = acceptor.accept(stream).await {
                    let connection = Builder::new(TokioExecutor::new());
                    let _ = connection.serve_connection(TokioIo::new(stream), service).await;
                }
            });
        }
    });
    Ok((port, AbortOnDropHandle::new(serving)))
}

fn acceptor(identity: &Identity) -> Result<TlsAcceptor> {
    let certificates = CertificateDer::pem_slice_iter(identity.certificate.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .context("a server's certificate")?;
    let key =
        PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).context("a server's private key")?;
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .context("a server's certificate")?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
