//! Pods and nodes of the API server as the placement ledger takes them in.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Deserialize;

use crate::placement::{Ask, Ledger};

/// The one placement ledger of this process. Nobody does I/O while it is locked.
#[derive(Debug, Clone)]
pub struct Placements(Arc<Mutex<Ledger>>);

impl Placements {
    /// Shares a ledger.
    #[must_use]
    pub fn new(ledger: Ledger) -> Self {
        Self(Arc::new(Mutex::new(ledger)))
    }

    /// The ledger, for a moment.
    #[must_use]
    pub fn lock(&self) -> MutexGuard<'_, Ledger> {
        // A panic under the lock is a defect that the request answers with an error; the ledger
        // itself is put right by the next list.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A pod as the scheduler sends it to an extender: an object without kind and apiVersion.
#[derive(Debug, Clone, Deserialize)]
pub struct AskedPod {}

impl AskedPod {
    /// What placement needs of it, or what is missing in one sentence.
    pub fn ask(&self) -> Result<Ask, String> {
        todo!()
    }
}
