//! Whether this replica answers from the ledger: the holder of the Lease does, once everything
//! that the former owner sent has arrived and all pods were read since.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::bind::Term;
use crate::https::Closer;
use crate::instruments::Instruments;
use crate::kubernetes::{Leadership, LeaseGuard, Placements};
use crate::placement::Standing;

/// Reads all pods anew and returns when the ledger has them.
pub type Relist = Box<dyn Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// Follows the Lease.
pub(super) struct Gate {
    /// Whose standing changes.
    pub(super) placements: Placements,
    /// Who holds the Lease.
    pub(super) leadership: watch::Receiver<Leadership>,
    /// Whether that still holds.
    pub(super) guard: LeaseGuard,
    /// The term told to whoever writes.
    pub(super) term: Term,
    /// Time for what the former owner sent to arrive.
    pub(super) fence: Duration,
    /// Reads all pods.
    pub(super) relist: Relist,
    /// Told whether this replica owns the ledger and has read it.
    pub(super) owner: watch::Sender<bool>,
    /// Sends schedulers away when this replica loses the Lease.
    pub(super) closer: Closer,
    /// Our metrics.
    pub(super) instruments: Arc<Instruments>,
}

impl Gate {
    /// Until `stop`; then nobody owns the ledger here.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut was_leading = false;
        loop {
            let now = self.leadership.borrow_and_update().clone();
            let epoch = match now {
                Leadership::Leading { epoch } => Some(epoch),
                Leadership::Following { .. } => None,
            };
            // Every change ends the term before it, also one from our own to our own.
            self.stand(Standing::Follower, None);
            if was_leading {
                self.closer.close_open();
            }
            was_leading = epoch.is_some();
            let mut leadership = self.leadership.clone();
            let changed = async {
                // The election has ended: nothing will change any more.
                if leadership.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            let own = async {
                if let Some(epoch) = epoch {
                    self.own(epoch).await;
                }
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = stop.cancelled() => break,
                () = changed => {}
                () = own => {}
            }
        }
        self.stand(Standing::Follower, None);
        self.closer.close_open();
    }

    /// Becomes the owner in the term `epoch`.
    async fn own(&self, epoch: u64) {
        self.stand(Standing::Warming, None);
        tokio::time::sleep(self.fence).await;
        (self.relist)().await;
        if self.guard.epoch() == Some(epoch) {
            self.stand(Standing::Owner, Some(epoch));
            tracing::info!(epoch, "the placement ledger was read; answering the scheduler");
        } else {
            tracing::warn!(epoch, "the lease was lost while the placement ledger was read");
        }
    }

    fn stand(&self, standing: Standing, epoch: Option<u64>) {
        self.term.set(epoch);
        self.placements.lock().stand(standing);
        self.owner.send_replace(standing == Standing::Owner);
        self.instruments.extender.standing.set(match standing {
            Standing::Follower => 0,
            Standing::Warming => 1,
            Standing::Owner => 2,
        });
    }
}
