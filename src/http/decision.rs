//! Hands whole decisions to the other replica, so that both answer the same number.
//!
//! Only a client whose certificate the peer CA signed and that carries the peer's name is
//! answered: a decision names every app of the cluster.

use std::sync::{Arc, PoisonError, RwLock};

use hyper::header::{ETAG, HeaderValue};
use hyper::{HeaderMap, StatusCode};

use super::authentication::Connection;
use super::board::Board;
use super::negotiate;
use super::status::{ApiError, JSON, Response, answer};
use crate::control::peer;
use crate::https::{Signers, has_dns_name};

/// Who the other replica is.
#[derive(Debug)]
pub(super) struct Peers {
    settings: peer::Settings,
    known: RwLock<Known>,
}

#[derive(Debug, Default)]
struct Known {
    pem: Vec<u8>,
    signers: Option<Arc<Signers>>,
}

impl Peers {
    /// Peers as `settings` describe them; without a CA there are none.
    pub(super) fn new(settings: peer::Settings) -> Self {
        Self { settings, known: RwLock::default() }
    }

    /// Reads the CA file again. A file that cannot be read or used leaves the old CAs in place.
    pub(super) fn reload(&self) -> Result<(), String> {
        let Some(file) = &self.settings.ca_file else {
            return Ok(());
        };
        let pem = std::fs::read(file)
            .map_err(|error| format!("reading the peer CA {} failed: {error}", file.display()))?;
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.pem == pem {
            return Ok(());
        }
        // Remembered even when it is broken, so that each edit is complained about once.
        let signers = Signers::from_pem(&pem);
        known.pem = pem;
        known.signers = Some(Arc::new(
            signers.map_err(|error| format!("peer CA {}: {error}", file.display()))?,
        ));
        Ok(())
    }

    fn is_peer(&self, connection: &Connection) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let Some((leaf, signers)) = connection.chain().first().zip(known.signers.clone()) else {
            return false;
        };
        drop(known);
        signers.signed(connection.chain()) && has_dns_name(leaf, &self.settings.server_name)
    }
}

/// Answers a peer with the newest decision and its age, or 304 where it has that decision.
pub(super) fn decision(
    board: &Board,
    peers: &Peers,
    connection: &Connection,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    if !peers.is_peer(connection) {
        return Err(ApiError::forbidden("only the other replica may fetch decisions"));
    }
    let laid =
        board.newest().ok_or_else(|| ApiError::unavailable("nothing has been decided yet"))?;
    let decided = laid.published.decision();
    let etag = peer::etag(decided);
    let mut response = if negotiate::is_held(headers, &etag) {
        let mut response = Response::default();
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        // Once per decision and follower: not worth keeping the bytes.
        let body = serde_json::to_vec(&peer::envelope(decided, laid.published.age()))
            .map_err(|error| ApiError::internal(format!("writing the decision failed: {error}")))?;
        answer(StatusCode::OK, JSON, body.into())
    };
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        response.headers_mut().insert(ETAG, etag);
    }
    Ok(response)
}
