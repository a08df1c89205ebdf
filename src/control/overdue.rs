//! Decisions that are overdue: whoever holds the Lease and publishes none keeps the other replica from it.

use std::time::Duration;

use tokio::sync::watch;

use crate::kubernetes::Leadership;

/// Waits until this replica leads and nothing was published for `limit` after a first decision of its own
/// (the first lists of a large cluster take their time), and says so.
pub(super) async fn overdue<T>(
    mut leadership: watch::Receiver<Leadership>,
    mut published: watch::Receiver<T>,
    limit: Duration,
) -> String {
    let leads = |role: &Leadership| matches!(role, Leadership::Leading { .. });
    while leadership.wait_for(leads).await.is_ok() {
        published.mark_unchanged();
        let mut decided = false;
        while leads(&leadership.borrow_and_update()) {
            tokio::select! {
                changed = leadership.changed() => if changed.is_err() { break },
                changed = published.changed() => match changed {
                    Ok(()) => decided = true,
                    Err(_) => return std::future::pending().await,
                },
                () = tokio::time::sleep(limit), if decided => {
                    return format!("no decision was published for {} s", limit.as_secs());
                }
            }
        }
    }
    // Nobody elects any more: we stop.
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_mins(1);
    const FOLLOWING: Leadership = Leadership::Following { holder: None, address: None };

    /// Whether decisions are found overdue within so many seconds.
    async fn found(overdue: &mut (impl Future<Output = String> + Unpin), seconds: u64) -> bool {
        tokio::time::timeout(Duration::from_secs(seconds), overdue).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_decided_once_and_then_no_more_is_found() {
        let (elect, leadership) = watch::channel(FOLLOWING);
        let (publish, published) = watch::channel(());
        let mut overdue = Box::pin(overdue(leadership, published, LIMIT));
        assert!(!found(&mut overdue, 600).await, "followers do not decide");
        elect.send_replace(Leadership::Leading { epoch: 1 });
        assert!(!found(&mut overdue, 600).await, "it waits for its first lists");
        for _ in 0..20 {
            publish.send_replace(());
            assert!(!found(&mut overdue, 50).await);
        }
        elect.send_replace(FOLLOWING);
        assert!(!found(&mut overdue, 600).await, "another one decides");
        elect.send_replace(Leadership::Leading { epoch: 3 });
        assert!(!found(&mut overdue, 600).await, "its lists again");
        publish.send_replace(());
        assert!(!found(&mut overdue, 59).await);
        let said = tokio::time::timeout(Duration::from_secs(2), overdue).await.unwrap();
        assert_eq!(said, "no decision was published for 60 s");
    }
}
