//! `bind`: the one verb that writes. The ledger allows, the lease is checked, the Binding is sent,
//! and whatever came of it is told to the ledger, also when the scheduler has gone meanwhile.
//!
//! The scheduler hears success only when the pod is bound to the node that it named: it would
//! keep the capacity of a Binding that does not exist for ever. A Binding of unknown outcome is an
//! error to it, stays in the ledger, and is asked about until the API server says.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use tokio::sync::Semaphore;
use tokio::time::{Instant, MissedTickBehavior, timeout_at};
use tokio_util::sync::CancellationToken;

use super::verbs::{Answer, reason};
use super::wire::{BindArgs, BindResult, ToBind};
use crate::clock;
use crate::instruments::{Instruments, OutcomeLabel};
use crate::kubernetes::{Bindings, LeaseGuard, NewBinding, Placements, Sent};
use crate::placement::{BindVerdict, Grant, Outcome, Refusal};

/// Bindings under way at once.
const AT_ONCE: usize = 64;
/// How often the API server is asked about Bindings of unknown outcome.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// Time that one such question may take.
const ASK_LIMIT: Duration = Duration::from_secs(2);
/// Such questions at once.
const ASKS_AT_ONCE: usize = 16;
/// A pod that is still not bound so long after its Binding was sent will not be: the API server
/// gives up requests whose sender went away.
const STILL_POSSIBLE: Duration = Duration::from_secs(30);

/// Annotation on a bound pod: the budgets that allowed it.
const EPOCH: &str = "hirl-scale.io/budget-epoch";
/// Annotation on a bound pod: the pool that was charged.
const POOL: &str = "hirl-scale.io/budget-pool";
/// Annotation on a bound pod: the domain that was charged.
const DOMAIN: &str = "hirl-scale.io/budget-domain";

/// The term in which this replica owns the ledger, if any: set by the owner gate.
#[derive(Debug, Clone, Default)]
pub(super) struct Term(Arc<AtomicU64>);

impl Term {
    /// From now on it is this one; `None` ends it.
    pub(super) fn set(&self, epoch: Option<u64>) {
        self.0.store(epoch.map_or(0, |epoch| epoch.saturating_add(1)), Ordering::SeqCst);
    }

    fn get(&self) -> Option<u64> {
        self.0.load(Ordering::SeqCst).checked_sub(1)
    }
}

/// Binds pods.
#[derive(Debug, Clone)]
pub(super) struct Binder(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    placements: Placements,
    bindings: Bindings,
    guard: LeaseGuard,
    term: Term,
    at_once: Semaphore,
    limit: Duration,
    instruments: Arc<Instruments>,
}

/// A Binding that the ledger allowed. Dropped without a word, its outcome is unknown.
struct Pending<'a> {
    placements: &'a Placements,
    uid: &'a str,
    outcome: Outcome,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.placements.lock().settle(self.uid, self.outcome);
    }
}

impl Binder {
    /// Binds through `bindings` within `limit`, while `guard` and `term` agree.
    pub(super) fn new(
        placements: Placements,
        bindings: Bindings,
        guard: LeaseGuard,
        term: Term,
        limit: Duration,
        instruments: Arc<Instruments>,
    ) -> Self {
        let at_once = Semaphore::new(AT_ONCE);
        Self(Arc::new(Inner { placements, bindings, guard, term, at_once, limit, instruments }))
    }

    /// Answers one request.
    pub(super) async fn bind(&self, body: &[u8]) -> Answer {
        let args: BindArgs = match serde_json::from_slice(body) {
            Ok(args) => args,
            Err(error) => {
                let sentence = format_args!("the body is no ExtenderBindingArgs: {error}");
                return Answer::malformed(sentence);
            }
        };
        let asked = match args.complete() {
            Ok(asked) => asked,
            Err(field) => return Answer::malformed(format_args!("{field} is missing")),
        };
        // A task of its own: the outcome is taken down also when the scheduler gives up on us.
        let inner = Arc::clone(&self.0);
        let work = tokio::spawn(async move { inner.bind(&asked).await });
        let (outcome, error) = work.await.unwrap_or_else(|_| {
            tracing::error!("a binding panicked");
            ("unknown", "budget: internal error while binding".to_owned())
        });
        self.0.instruments.extender.binds.get_or_create(&OutcomeLabel { outcome }).inc();
        Answer::json(outcome, &BindResult { error: &error })
    }

    /// Asks about Bindings of unknown outcome until `stop`.
    pub(super) async fn resolve(self, stop: CancellationToken) {
        let mut since: HashMap<Arc<str>, Instant> = HashMap::new();
        let mut ticks = tokio::time::interval(ASK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let open = self.0.placements.lock().unsettled();
            since.retain(|uid, _| open.iter().any(|one| one.0 == *uid));
            let asks = open.into_iter().map(|(uid, namespace, name, node)| {
                let since = *since.entry(Arc::clone(&uid)).or_insert_with(Instant::now);
                self.0.find_out(uid, namespace, name, node, since)
            });
            let mut asks =
                futures::stream::iter(asks.collect::<Vec<_>>()).buffer_unordered(ASKS_AT_ONCE);
            while asks.next().await.is_some() {}
        }
    }
}

impl Inner {
    /// What came of it, and the error for the scheduler: empty when the pod is bound.
    async fn bind(&self, asked: &ToBind) -> (&'static str, String) {
        let deadline = Instant::now() + self.limit;
        let pod = (asked.uid.as_str(), asked.namespace.as_str());
        let verdict = self.placements.lock().bind(pod, &asked.node, clock::now());
        let grant = match verdict {
            BindVerdict::Already => return ("already", String::new()),
            BindVerdict::Refused(refusal) => return self.refused(&refusal),
            BindVerdict::Send(grant) => grant,
        };
        // Until it is sent nothing can come of it, unless it was sent before.
        let before = self.is_unsettled(&asked.uid);
        let unsent = if before { Outcome::Unknown } else { Outcome::Rejected };
        let mut pending =
            Pending { placements: &self.placements, uid: &asked.uid, outcome: unsent };
        let Ok(Ok(_place)) = timeout_at(deadline, self.at_once.acquire()).await else {
            return ("rejected", "budget: too many bindings are under way".to_owned());
        };
        if !self.may_write() {
            return self.refused(&Refusal::NotOwner);
        }
        pending.outcome = Outcome::Unknown;
        let (outcome, name, error) = self.send(asked, grant, deadline).await;
        // Neither does an answer settle what an earlier request may still do.
        pending.outcome =
            if before && outcome == Outcome::Rejected { Outcome::Unknown } else { outcome };
        (name, error)
    }

    /// Whether the lease is ours, in the very term in which the ledger was read.
    fn may_write(&self) -> bool {
        self.term.get().is_some_and(|term| self.guard.epoch() == Some(term))
    }

    fn is_unsettled(&self, uid: &str) -> bool {
        self.placements.lock().is_unsettled(uid)
    }

    fn refused(&self, refusal: &Refusal) -> (&'static str, String) {
        let label = OutcomeLabel { outcome: reason(refusal) };
        self.instruments.extender.bind_refusals.get_or_create(&label).inc();
        ("refused", refusal.to_string())
    }

    async fn send(
        &self,
        asked: &ToBind,
        grant: Option<Grant>,
        deadline: Instant,
    ) -> (Outcome, &'static str, String) {
        let new = NewBinding {
            namespace: asked.namespace.clone(),
            name: asked.name.clone(),
            uid: asked.uid.clone(),
            node: asked.node.clone(),
            annotations: grant.as_ref().map(annotations).unwrap_or_default(),
        };
        let unknown = |what: &str| {
            tracing::warn!(pod = %format_args!("{}/{}", new.namespace, new.name), what, "nobody knows whether a pod was bound; asking");
            let error = "budget: the API server did not say whether the pod was bound".to_owned();
            (Outcome::Unknown, "unknown", error)
        };
        match timeout_at(deadline, self.bindings.create(&new)).await {
            Err(_) => unknown("no answer in time"),
            Ok(Sent::Unknown(what)) => unknown(&what),
            Ok(Sent::Made) => (Outcome::Bound, "bound", String::new()),
            Ok(Sent::Refused(what)) => {
                (Outcome::Rejected, "rejected", format!("budget: the pod was not bound: {what}"))
            }
            Ok(Sent::Conflict(what)) => {
                let found =
                    timeout_at(deadline, self.bindings.find(&new.namespace, &new.name)).await;
                match found {
                    Err(_) => unknown("no answer in time"),
                    Ok(Err(what)) => unknown(&what),
                    Ok(Ok(Some(pod)))
                        if pod.uid == new.uid && pod.node.as_deref() == Some(&*new.node) =>
                    {
                        (Outcome::Bound, "already", String::new())
                    }
                    Ok(Ok(_)) => {
                        let error = format!("budget: the pod was not bound: {what}");
                        (Outcome::Rejected, "rejected", error)
                    }
                }
            }
        }
    }

    /// Asks the API server about one Binding, whose outcome is unknown `since` then.
    async fn find_out(
        &self,
        uid: Arc<str>,
        namespace: Arc<str>,
        name: Arc<str>,
        node: Arc<str>,
        since: Instant,
    ) {
        let deadline = Instant::now() + ASK_LIMIT;
        let Ok(Ok(found)) = timeout_at(deadline, self.bindings.find(&namespace, &name)).await
        else {
            return;
        };
        let bound = match found {
            Some(pod) if *pod.uid == *uid => match pod.node {
                Some(at) => at == *node,
                None if since.elapsed() < STILL_POSSIBLE => return,
                None => false,
            },
            _ => false,
        };
        tracing::info!(pod = %format_args!("{namespace}/{name}"), %node, bound, "found out about a binding");
        let name = if bound { "found-bound" } else { "found-unbound" };
        self.instruments.extender.binds.get_or_create(&OutcomeLabel { outcome: name }).inc();
        let outcome = if bound { Outcome::Bound } else { Outcome::Rejected };
        self.placements.lock().settle(&uid, outcome);
    }
}

/// What a bound pod says about the budget that it was granted.
fn annotations(grant: &Grant) -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        (EPOCH, grant.epoch.to_string()),
        (POOL, grant.pool.to_string()),
        (DOMAIN, grant.domain.to_string()),
    ])
}
