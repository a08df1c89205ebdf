//! Decisions become what people see with kubectl: conditions of `Domain`s and Events.
//!
//! Only the newest decision is looked at, in a task of its own: a slow or failing API server makes
//! reports late or thins them out, and never holds up a decision. Written is what changed, never
//! what is merely so.

mod conditions;
mod plan;
mod write;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::plan::{Known, Planner};
use self::write::Writer;
use super::Watches;
use crate::cluster::AppId;
use crate::cluster::Snapshot;
use crate::safety::Decision;

/// Seconds between the last reads of each HPA by the controller-manager.
pub type ReadIntervals = HashMap<AppId, f64>;

/// How long one write may take.
const WRITE_LIMIT: Duration = Duration::from_secs(5);

/// One decision and what it was made of.
#[derive(Debug)]
struct Report {
    decision: Arc<Decision>,
    snapshot: Arc<Snapshot>,
    read_intervals: ReadIntervals,
}

/// Reports the decisions of this replica while it leads.
#[derive(Debug)]
pub struct Reporter {
    newest: watch::Sender<Option<Arc<Report>>>,
}

impl Reporter {
    /// Starts the task that writes; it ends with `stop`. `identity` names this process in Events.
    #[must_use]
    pub fn start(
        client: &Client,
        watches: Arc<Watches>,
        identity: String,
        stop: CancellationToken,
    ) -> Self {
        let (newest, reports) = watch::channel(None);
        let writer = Writer::new(client.clone(), identity);
        tokio::spawn(stop.run_until_cancelled_owned(write_all(reports, watches, writer)));
        Self { newest }
    }

    /// Takes a decision to report, in place of one that is not reported yet. Never waits.
    pub fn report(
        &self,
        decision: Arc<Decision>,
        snapshot: Arc<Snapshot>,
        read_intervals: ReadIntervals,
    ) {
        self.newest.send_replace(Some(Arc::new(Report {
            decision,
            snapshot,
            read_intervals,
        })));
    }
}

async fn write_all(
    mut reports: watch::Receiver<Option<Arc<Report>>>,
    watches: Arc<Watches>,
    writer: Writer,
) {
    let mut planner = Planner::default();
    while reports.changed().await.is_ok() {
        let Some(report) = reports.borrow_and_update().clone() else {
            continue;
        };
        let known = Known {
            domains: watches.domain_objects(),
            ownership: watches.ownership(),
            bad_annotations: watches.bad_annotations(),
        };
        let mut planned = planner.plan(&report, &known).into_iter();
        for write in planned.by_ref() {
            let attempt = writer.write(&write, |id| watches.hpa_uid(id));
            let failed = match tokio::time::timeout(WRITE_LIMIT, attempt).await {
                Ok(Ok(())) => continue,
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
        for write in planned {
            planner.undo(&write);
        }
    }
}
