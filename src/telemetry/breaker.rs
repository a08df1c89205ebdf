//! Turns failures of the one endpoint into the decision not to wait for it. Never loses a source
//! that answers at all: one answer closes it.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;

/// Failures in a row without an answer between them, over passes; and, once there are too many,
/// the probe that waits for an answer in the background so that no pass has to.
#[derive(Debug)]
pub(super) struct Breaker {
    limit: u32,
    failures: AtomicU32,
    /// Whether anything was answered in this pass. One slow query must not cut off the others.
    answered: AtomicBool,
    probe: Option<AbortOnDropHandle<()>>,
}

impl Breaker {
    /// Opens after `limit` failures in a row.
    #[must_use]
    pub(super) fn new(limit: u32) -> Self {
        Self { limit, failures: AtomicU32::new(0), answered: AtomicBool::new(false), probe: None }
    }

    /// Whether to ask at all: not while many failures are known and no probe was answered.
    pub(super) fn begin_pass(&mut self) -> bool {
        self.answered.store(false, Relaxed);
        match &self.probe {
            Some(probe) if !probe.is_finished() => false,
            Some(_) => {
                self.probe = None;
                self.failures.store(0, Relaxed);
                true
            }
            None => true,
        }
    }

    /// Notes one outcome.
    pub(super) fn record(&self, answered: bool) {
        if answered {
            self.answered.store(true, Relaxed);
            self.failures.store(0, Relaxed);
        } else if !self.answered.load(Relaxed) {
            self.failures.fetch_add(1, Relaxed);
        }
    }

    /// Whether to stop asking.
    #[must_use]
    pub(super) fn is_open(&self) -> bool {
        self.failures.load(Relaxed) >= self.limit
    }

    /// After a pass: starts probing when open. `probe` says whether the endpoint answered; it runs
    /// until it did, with `pause` between two attempts.
    pub(super) fn end_pass<F>(
        &mut self,
        pause: Duration,
        mut probe: impl FnMut() -> F + Send + 'static,
    ) where
        F: Future<Output = bool> + Send,
    {
        if self.is_open() && self.probe.is_none() {
            self.probe = Some(AbortOnDropHandle::new(tokio::spawn(async move {
                while !probe().await {
                    tokio::time::sleep(pause).await;
                }
            })));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn it_opens_after_failures_in_a_row_and_an_answer_closes_it() {
        let mut breaker = Breaker::new(3);
        assert!(breaker.begin_pass());
        breaker.record(false);
        breaker.record(false);
        assert!(!breaker.is_open());
        assert!(breaker.begin_pass());
        breaker.record(false);
        assert!(breaker.is_open());
        breaker.record(true);
        assert!(!breaker.is_open());
    }

    #[test]
    fn slow_queries_beside_answered_ones_never_open_it() {
        let mut breaker = Breaker::new(3);
        for _ in 0..5 {
            assert!(breaker.begin_pass());
            breaker.record(true);
            for _ in 0..10 {
                breaker.record(false);
            }
            assert!(!breaker.is_open());
        }
    }

    #[tokio::test]
    async fn passes_are_skipped_until_a_probe_is_answered() {
        let mut breaker = Breaker::new(1);
        let up = Arc::new(AtomicBool::new(false));
        let attempts = Arc::new(AtomicU32::new(0));
        breaker.record(false);
        let (is_up, counter) = (Arc::clone(&up), Arc::clone(&attempts));
        breaker.end_pass(Duration::from_millis(1), move || {
            counter.fetch_add(1, Relaxed);
            std::future::ready(is_up.load(Relaxed))
        });
        while attempts.load(Relaxed) < 3 {
            tokio::task::yield_now().await;
            assert!(!breaker.begin_pass());
        }
        up.store(true, Relaxed);
        while !breaker.begin_pass() {
            tokio::task::yield_now().await;
        }
        assert!(!breaker.is_open());
    }
}
