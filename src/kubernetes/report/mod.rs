//! Decisions become what people see with kubectl: conditions of `Domain`s and Events.
//!
//! Only the newest decision is looked at, in a task of its own: a slow or failing API server makes
//! reports late or thins them out, and never holds up a decision. Written is what changed, never
//! what is merely so.

mod conditions;
mod placing;
mod plan;
mod write;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::placing::Placing;
use self::plan::{Known, Note, Planner, Write};
use self::write::Writer;
use super::Placements;
use super::Watches;
use crate::clock;
use crate::cluster::AppId;
use crate::placement::Standing;
use crate::safety::Decision;
use crate::supervision::Supervisor;

/// For how long a refused pod speaks for its domain: longer than its longest back-off.
const REFUSED_LATELY: Duration = Duration::from_mins(1);
/// How long one write may take.
const WRITE_LIMIT: Duration = Duration::from_secs(5);

/// Time between the last two reads of each HPA by the controller-manager.
type ReadIntervals = Box<dyn Fn() -> Vec<(AppId, Duration)> + Send + Sync>;

/// Reports the decisions of this replica while it leads.
#[derive(Debug)]
pub struct Reporter {
    newest: watch::Sender<Option<Arc<Decision>>>,
}

impl Reporter {
    /// Starts the task that writes; it ends with `stop`. `identity` names this process in Events;
    /// `read_intervals` tells how often each HPA is read.
    #[must_use]
    pub fn start(
        client: &Client,
        watches: Watches,
        identity: String,
        read_intervals: impl Fn() -> Vec<(AppId, Duration)> + Send + Sync + 'static,
        placements: Option<Placements>,
        supervisor: &Supervisor,
        stop: CancellationToken,
    ) -> Self {
        let (newest, decisions) = watch::channel(None);
        let writer = Writer::new(client.clone(), identity);
        let read_intervals = Box::new(read_intervals);
        let work = Box::pin(write_all(decisions, watches, read_intervals, placements, writer));
        supervisor.spawn("the writer of statuses and Events", async move {
            // It ends with `stop`, or when nobody reports any more.
            let _: Option<()> = stop.run_until_cancelled_owned(work).await;
        });
        Self { newest }
    }

    /// Takes a decision to report, in place of one that is not reported yet. Never waits.
    pub fn report(&self, decision: Arc<Decision>) {
        self.newest.send_replace(Some(decision));
    }
}

/// What is told of a domain stands in our log as well: Events are gone after an hour.
fn log(write: &Write) {
    let Write::Status { domain, notes, .. } = write else { return };
    for Note { reason, text, .. } in notes {
        tracing::info!(%domain, reason, "{text}");
    }
}

/// The ledger's figures of the domains; only its owner has them all.
fn placing(placements: &Placements) -> Option<Placing> {
    let uses = {
        let mut ledger = placements.lock();
        // Without budgets nobody has a target yet.
        let knows = ledger.standing() == Standing::Owner && ledger.epoch().is_some();
        knows.then(|| ledger.uses(clock::now()))?
    };
    Some(Placing::of(&uses, &placements.growth_sources()))
}

async fn write_all(
    mut decisions: watch::Receiver<Option<Arc<Decision>>>,
    watches: Watches,
    read_intervals: ReadIntervals,
    placements: Option<Placements>,
    writer: Writer,
) {
    let mut planner = Planner::default();
    while decisions.changed().await.is_ok() {
        let Some(decision) = decisions.borrow_and_update().clone() else { continue };
        let known = Known {
            domains: watches.domain_objects(),
            ownership: watches.ownership(),
            bad_annotations: watches.bad_annotations(),
            read_intervals: read_intervals().into_iter().collect(),
            snapshot: watches.snapshot(decision.at),
            refused: placements.as_ref().map(|placements| {
                placements.lock().refused_since(decision.at.minus(REFUSED_LATELY))
            }),
            placing: placements.as_ref().and_then(placing),
        };
        let mut pending = planner.plan(&decision, &known).into_iter();
        for write in pending.by_ref() {
            let attempt = writer.write(&write, |id| watches.hpa_uid(id));
            let failed = match tokio::time::timeout(WRITE_LIMIT, attempt).await {
                Ok(Ok(())) => {
                    log(&write);
                    continue;
                }
                Ok(Err(problem)) => problem,
                Err(_) => write::Failed::Unreachable(format!("no answer within {WRITE_LIMIT:?}")),
            };
            tracing::warn!(%write, error = %failed, "Report not written");
            if let write::Failed::Unreachable(_) = failed {
                planner.undo(&write);
                break;
            }
        }
        // The server is in trouble: the rest waits for the next decision.
        for write in pending {
            planner.undo(&write);
        }
    }
}
