//! Answers of the API server that may be used again: bounded in number and in time, and asked for
//! once however many requests wait for the same one.
//!
//! A failed review is never remembered. An answer that has run out may be used a while longer,
//! where it says so and the API server does not answer.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, watch};

use super::identity::Digest;

/// An answer and how long it holds.
#[derive(Debug, Clone)]
pub(super) struct Known<V> {
    /// The answer.
    pub(super) value: V,
    /// Until when it is used without asking.
    pub(super) fresh_until: Instant,
    /// Until when it is used when asking fails.
    usable_until: Instant,
}

/// How long an answer holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lifetime {
    /// Used without asking for so long.
    pub(super) fresh: Duration,
    /// Used when asking fails for so long.
    pub(super) usable: Duration,
}

/// How an answer was come by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// Another request asked for it at the same time.
    Shared,
    /// This request asked.
    Asked,
    /// Asking failed; this is what was known before.
    Stale,
}

type Outcome<V> = Result<(Known<V>, Source), Arc<str>>;

struct Slot<V> {
    known: Option<Known<V>>,
    under_way: Option<watch::Receiver<Option<Outcome<V>>>>,
}

type Slots<V> = Mutex<HashMap<Digest, Slot<V>>>;

/// Answers by what was asked.
pub(super) struct Remembered<V> {
    slots: Arc<Slots<V>>,
    capacity: usize,
    timeout: Duration,
    /// Pause before an API server that failed is asked again while an old answer is usable.
    pause: Duration,
    at_once: Arc<Semaphore>,
}

impl<V> fmt::Debug for Remembered<V> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Remembered").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

impl<V: Clone + Send + Sync + 'static> Remembered<V> {
    /// Keeps up to `capacity` answers; a review may take `timeout`, waiting for its turn among
    /// those of `at_once` included.
    pub(super) fn new(
        capacity: usize,
        timeout: Duration,
        pause: Duration,
        at_once: Arc<Semaphore>,
    ) -> Self {
        Self { slots: Arc::default(), capacity, timeout, pause, at_once }
    }

    /// A fresh answer, if there is one.
    pub(super) fn fresh(&self, key: &Digest, now: Instant) -> Option<Known<V>> {
        let slots = lock(&self.slots);
        let known = slots.get(key)?.known.as_ref()?;
        (known.fresh_until > now).then(|| known.clone())
    }

    /// The answer to `review`, which is asked unless somebody else asks it already.
    ///
    /// The review runs in a task of its own: a client that goes away takes no answer from others.
    pub(super) async fn ask<F>(
        &self,
        key: Digest,
        review: impl FnOnce() -> F,
        lifetime: impl FnOnce(&V) -> Lifetime + Send + 'static,
    ) -> Outcome<V>
    where
        F: Future<Output = Result<V, String>> + Send + 'static,
    {
        let (mut outcome, shared) = {
            let mut slots = lock(&self.slots);
            self.make_room(&mut slots, &key);
            let slot = slots.entry(key).or_insert(Slot { known: None, under_way: None });
            // A review that ended between the look at `fresh` and this lock is good enough.
            if let Some(known) =
                slot.known.as_ref().filter(|known| known.fresh_until > Instant::now())
            {
                return Ok((known.clone(), Source::Shared));
            }
            match &slot.under_way {
                // The sender is gone only when the task was lost, which must not last.
                Some(receiver) if receiver.has_changed().is_ok() => (receiver.clone(), true),
                _ => {
                    let (sender, receiver) = watch::channel(None);
                    slot.under_way = Some(receiver.clone());
                    self.start(key, review(), lifetime, sender);
                    (receiver, false)
                }
            }
        };
        let outcome = match outcome.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone(),
            Err(_) => None,
        };
        match outcome.unwrap_or_else(|| Err("the review was abandoned".into())) {
            Ok((known, Source::Asked)) if shared => Ok((known, Source::Shared)),
            other => other,
        }
    }

    fn start<F>(
        &self,
        key: Digest,
        review: F,
        lifetime: impl FnOnce(&V) -> Lifetime + Send + 'static,
        sender: watch::Sender<Option<Outcome<V>>>,
    ) where
        F: Future<Output = Result<V, String>> + Send + 'static,
    {
        let (slots, at_once) = (Arc::clone(&self.slots), Arc::clone(&self.at_once));
        let (timeout, pause) = (self.timeout, self.pause);
        tokio::spawn(async move {
            let asked = tokio::time::timeout(timeout, async {
                // The semaphore is never closed.
                let _turn = at_once.acquire().await;
                review.await
            })
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {timeout:?}")));
            let now = Instant::now();
            let mut slots = lock(&slots);
            let outcome = match asked {
                Ok(value) => {
                    let Lifetime { fresh, usable } = lifetime(&value);
                    let known =
                        Known { value, fresh_until: now + fresh, usable_until: now + usable };
                    Ok((known, Source::Asked))
                }
                Err(error) => match slots.get(&key).and_then(|slot| slot.known.clone()) {
                    Some(mut known) if known.usable_until > now => {
                        known.fresh_until = (now + pause).min(known.usable_until);
                        Ok((known, Source::Stale))
                    }
                    _ => Err(error.into()),
                },
            };
            match &outcome {
                Ok((known, _)) => {
                    slots.insert(key, Slot { known: Some(known.clone()), under_way: None });
                }
                Err(_) => {
                    slots.remove(&key);
                }
            }
            drop(slots);
            // Nobody may be waiting any more.
            let _ = sender.send(Some(outcome));
        });
    }

    /// Forgets what has run out, and anything at all if that is not enough.
    fn make_room(&self, slots: &mut HashMap<Digest, Slot<V>>, key: &Digest) {
        if slots.len() < self.capacity || slots.contains_key(key) {
            return;
        }
        let now = Instant::now();
        let is_fresh =
            |slot: &Slot<V>| slot.known.as_ref().is_some_and(|known| known.fresh_until > now);
        slots.retain(|_, slot| slot.under_way.is_some() || is_fresh(slot));
        // A whole batch, so that a full memory is not searched for each new answer.
        let surplus = (slots.len() + 1 + self.capacity / 16).saturating_sub(self.capacity);
        let victims: Vec<Digest> = slots
            .iter()
            .filter(|(_, slot)| slot.under_way.is_none())
            .map(|(key, _)| *key)
            .take(if slots.len() < self.capacity { 0 } else { surplus })
            .collect();
        for victim in victims {
            slots.remove(&victim);
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        lock(&self.slots).len()
    }
}

/// Locks; a panic elsewhere leaves whole slots behind, so a poisoned lock is still good.
fn lock<V>(slots: &Slots<V>) -> MutexGuard<'_, HashMap<Digest, Slot<V>>> {
    slots.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const HOUR: Duration = Duration::from_hours(1);
    const LONG: Lifetime = Lifetime { fresh: HOUR, usable: HOUR };
    const SPENT: Lifetime = Lifetime { fresh: Duration::ZERO, usable: HOUR };

    fn remembered(capacity: usize) -> Remembered<u32> {
        Remembered::new(capacity, Duration::from_secs(10), HOUR, Arc::new(Semaphore::new(4)))
    }

    fn key(n: u8) -> Digest {
        let mut key = [0; 32];
        key[0] = n;
        key
    }

    #[tokio::test]
    async fn however_many_wait_one_asks() {
        let all = Arc::new(remembered(10));
        let asked = Arc::new(AtomicUsize::new(0));
        let gate = Arc::new(Semaphore::new(0));
        let waiting: Vec<_> = (0..50)
            .map(|_| {
                let (all, asked, gate) = (Arc::clone(&all), Arc::clone(&asked), Arc::clone(&gate));
                tokio::spawn(async move {
                    let review = || async move {
                        asked.fetch_add(1, Ordering::SeqCst);
                        let _open = gate.acquire().await;
                        Ok(7)
                    };
                    all.ask(key(1), review, |_| LONG).await.unwrap()
                })
            })
            .collect();
        tokio::task::yield_now().await;
        gate.add_permits(1);
        let mut sources = Vec::new();
        for one in waiting {
            let (known, source) = one.await.unwrap();
            assert_eq!(known.value, 7);
            sources.push(source);
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        assert_eq!(sources.iter().filter(|source| **source == Source::Asked).count(), 1);
    }

    #[tokio::test]
    async fn a_client_that_goes_away_takes_no_answer_from_others() {
        let all = remembered(10);
        let gate = Arc::new(Semaphore::new(0));
        let first = {
            let gate = Arc::clone(&gate);
            let review = || async move {
                let _open = gate.acquire().await;
                Ok(7)
            };
            tokio::time::timeout(Duration::ZERO, all.ask(key(1), review, |_| LONG)).await
        };
        assert!(first.is_err());
        gate.add_permits(1);
        let second = all.ask(key(1), || async { Ok(8) }, |_| LONG).await.unwrap();
        assert_eq!(second.0.value, 7);
        assert_eq!(second.1, Source::Shared);
    }

    #[tokio::test]
    async fn a_failure_is_not_remembered() {
        let all = remembered(10);
        let failed = all.ask(key(1), || async { Err("down".to_owned()) }, |_| LONG).await;
        assert_eq!(&*failed.unwrap_err(), "down");
        assert_eq!(all.len(), 0);
        let good = all.ask(key(1), || async { Ok(1) }, |_| LONG).await.unwrap();
        assert_eq!(good.1, Source::Asked);
    }

    #[tokio::test]
    async fn an_old_answer_stands_in_for_a_failure_and_is_not_asked_again_at_once() {
        let all = remembered(10);
        all.ask(key(1), || async { Ok(1) }, |_| SPENT).await.unwrap();
        assert!(all.fresh(&key(1), Instant::now()).is_none());
        let failed = || async { Err("down".to_owned()) };
        let (known, source) = all.ask(key(1), failed, |_| LONG).await.unwrap();
        assert_eq!((known.value, source), (1, Source::Stale));
        assert!(all.fresh(&key(1), Instant::now()).is_some());
    }

    #[tokio::test]
    async fn a_slow_review_is_given_up() {
        let all =
            Remembered::<u32>::new(10, Duration::from_millis(1), HOUR, Arc::new(Semaphore::new(1)));
        let error = all.ask(key(1), std::future::pending, |_| LONG).await.unwrap_err();
        assert!(error.contains("no answer within 1ms"), "{error}");
        assert_eq!(all.len(), 0);
    }

    #[tokio::test]
    async fn no_more_than_the_capacity_is_kept() {
        let all = remembered(20);
        for n in 0..100 {
            all.ask(key(n), || async { Ok(1) }, |_| LONG).await.unwrap();
            assert!(all.len() <= 20);
        }
        assert!(all.fresh(&key(99), Instant::now()).is_some());
    }
}
