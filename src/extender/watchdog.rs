//! Ends the process when its runtime stands still: a dead extender costs the scheduler a retry, a
//! hung one stops its whole queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::kubernetes::Placements;

/// Time between two heartbeats.
const BEAT: Duration = Duration::from_millis(100);
/// Time between two looks at the heart.
const LOOK: Duration = Duration::from_millis(200);
/// Time without a heartbeat after which the process ends.
const LIMIT: Duration = Duration::from_secs(3);

/// How long the heart has stood still, after a look that came `slept` after the last one. Time in
/// which the watchdog itself did not run (SIGSTOP, a frozen container) counts as one look.
fn still(before: Duration, beaten: bool, slept: Duration) -> Duration {
    if beaten { Duration::ZERO } else { before + slept.min(LOOK) }
}

/// Beats until `stop`; each beat takes the ledger's lock, so that one who never gives it back is
/// noticed too. The process aborts when the beat stops by itself.
pub(super) async fn guard(placements: Placements, stop: CancellationToken) {
    watch(move || drop(placements.lock()), LIMIT, abort, stop).await;
}

fn abort() {
    tracing::error!(
        "the runtime stood still for {} s: aborting, so that the scheduler asks another replica",
        LIMIT.as_secs()
    );
    // The log is written by a thread of its own: let it.
    let (_keep, wait) = mpsc::channel::<()>();
    let _ = wait.recv_timeout(Duration::from_millis(100));
    std::process::abort();
}

async fn watch(
    beat: impl Fn() + Send + 'static,
    limit: Duration,
    end: impl FnOnce() + Send + 'static,
    stop: CancellationToken,
) {
    let beats = Arc::new(AtomicU64::new(0));
    // Dropped when this future ends, which ends the thread.
    let (_alive, ended) = mpsc::channel::<()>();
    let seen = Arc::clone(&beats);
    let thread = std::thread::Builder::new().name("watchdog".to_owned()).spawn(move || {
        let (mut last, mut stood) = (0, Duration::ZERO);
        loop {
            let begun = Instant::now();
            if ended.recv_timeout(LOOK) != Err(mpsc::RecvTimeoutError::Timeout) {
                return;
            }
            let now = seen.load(Ordering::Relaxed);
            stood = still(stood, now != last, begun.elapsed());
            last = now;
            if stood >= limit {
                return end();
            }
        }
    });
    if let Err(error) = thread {
        tracing::error!(%error, "no watchdog: a stalled runtime will not be noticed");
        return;
    }
    let mut ticks = tokio::time::interval(BEAT);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {
                beat();
                beats.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_time_that_the_watchdog_saw_itself_counts() {
        let mut stood = Duration::ZERO;
        for _ in 0..15 {
            assert!(stood < LIMIT);
            stood = still(stood, false, LOOK);
        }
        assert_eq!(stood, LIMIT);
        assert_eq!(still(stood, true, LOOK), Duration::ZERO);
        // A minute in which nothing ran at all.
        assert_eq!(still(Duration::ZERO, false, Duration::from_mins(1)), LOOK);
        // Pauses again and again: no single one counts for more than a look.
        let paused =
            (0..14).fold(Duration::ZERO, |stood, _| still(stood, false, Duration::from_secs(10)));
        assert!(paused < LIMIT);
    }

    #[test]
    fn a_stalled_runtime_is_noticed() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (told, ended) = mpsc::channel();
        let stop = CancellationToken::new();
        runtime.block_on(async {
            let limit = Duration::from_millis(600);
            tokio::spawn(watch(|| {}, limit, move || told.send(()).unwrap(), stop.clone()));
            tokio::task::yield_now().await;
            // Blocks the only thread of the runtime.
            ended.recv_timeout(Duration::from_secs(20)).unwrap();
        });
    }
}
