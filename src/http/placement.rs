//! Shows the placement ledger to people: who uses how much of which node pool, and why a pod is
//! where it is. Only the owner of the ledger knows holds and refusals; every answer says whose it is.

use hyper::StatusCode;
use serde::Serialize;
use tokio::sync::watch;

use super::status::{ApiError, JSON, Response, answer};
use crate::clock;
use crate::kubernetes::{Leadership, Placements};
use crate::placement::{Epoch, Explanation, Ledger, PoolUse, Standing};

/// The ledger, and whose it is.
#[derive(Debug)]
pub(super) struct Placing {
    /// The ledger, where this replica keeps one.
    pub(super) placements: Option<Placements>,
    /// Who owns it.
    pub(super) leadership: watch::Receiver<Leadership>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the names of the answer")]
struct Owner {
    owner: bool,
    standing: Standing,
    owner_address: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the names of the answer")]
struct Pools {
    #[serde(flatten)]
    owner: Owner,
    epoch: Option<Epoch>,
    pods: usize,
    unsettled_bindings: usize,
    pools: Vec<PoolUse>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Placed {
    #[serde(flatten)]
    owner: Owner,
    placement: Explanation,
}

impl Placing {
    fn placements(&self) -> Result<&Placements, ApiError> {
        self.placements.as_ref().ok_or_else(|| {
            ApiError::not_found("there is no placement ledger: extender.enabled is false")
        })
    }

    fn owner(&self, ledger: &Ledger) -> Owner {
        let owner_address = match &*self.leadership.borrow() {
            Leadership::Following { address, .. } => address.clone(),
            Leadership::Leading { .. } => None,
        };
        let standing = ledger.standing();
        Owner { owner: standing == Standing::Owner, standing, owner_address }
    }

    /// Use of every shared pool.
    pub(super) fn pools(&self) -> Result<Response, ApiError> {
        let shown = {
            let mut ledger = self.placements()?.lock();
            Pools {
                owner: self.owner(&ledger),
                epoch: ledger.epoch(),
                pods: ledger.pods(),
                unsettled_bindings: ledger.unsettled().len(),
                pools: ledger.uses(clock::now()),
            }
        };
        json(&shown)
    }

    /// Why a pod is where it is.
    pub(super) fn pod(&self, namespace: &str, name: &str) -> Result<Response, ApiError> {
        let shown = {
            let mut ledger = self.placements()?.lock();
            let explained = ledger.explain(namespace, name, clock::now());
            explained.map(|placement| Placed { owner: self.owner(&ledger), placement })
        };
        let shown = shown.ok_or_else(|| {
            ApiError::not_found(format!("the placement ledger knows no pod {namespace}/{name}"))
        })?;
        json(&shown)
    }
}

fn json(value: &impl Serialize) -> Result<Response, ApiError> {
    let body = serde_json::to_vec(value)
        .map_err(|error| ApiError::internal(format!("writing the answer failed: {error}")))?;
    Ok(answer(StatusCode::OK, JSON, body.into()))
}
