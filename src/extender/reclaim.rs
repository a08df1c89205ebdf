//! Takes back by eviction what the ledger says domains are to give back, because they use more than
//! they may borrow or because others wait for what is theirs: lowest class and youngest first, few at a
//! time, and never against a `PodDisruptionBudget`. Pods that go for another one go together or not at
//! all, as far as the API server can say before. Opt-in, and only on the replica that owns the ledger.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::Client;
use kube::api::PostParams;
use kube::core::Status;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use super::pace::Pace;
use crate::clock;
use crate::instruments::OutcomeLabel;
use crate::kubernetes::{Events, Placements, PodEvent};
use crate::placement::{Eviction, PodName, Victim};

/// Time between two looks at the ledger.
const TICK: Duration = Duration::from_secs(5);
/// How long one eviction may take.
const LIMIT: Duration = Duration::from_secs(5);
/// How long a pod is left alone after an attempt, so that one that may not go does not take the
/// place of those that may.
const LEFT_ALONE: Duration = Duration::from_mins(5);
/// The same when the API server was in trouble.
const AFTER_TROUBLE: Duration = Duration::from_secs(30);
/// Time between two Events that say that nothing can be taken back from a domain in a pool.
const SAID: Duration = Duration::from_mins(5);
/// The work during which it happened, in Events.
const ACTION: &str = "Reclaiming";

/// What became of one eviction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// It is going.
    Evicted,
    /// It may go.
    Allowed,
    /// A `PodDisruptionBudget` keeps it.
    Protected,
    /// The pod is gone, or another one by now.
    Gone,
    /// The API server does not take it.
    Refused,
    /// The API server is in trouble, or slow.
    Failed,
}

impl Outcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Evicted => "evicted",
            Self::Allowed => "allowed",
            Self::Protected => "protected",
            Self::Gone => "gone",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// Evicts pods of domains that are to give room back.
pub struct Reclaimer {
    placements: Placements,
    client: Client,
    delay_seconds: f64,
    pace: Pace,
    owner: watch::Receiver<bool>,
    outcomes: Family<OutcomeLabel, Counter>,
    /// Pods tried lately, and when they may be tried again.
    tried: HashMap<Arc<str>, Instant>,
    /// Writes Events, if it is to.
    events: Option<Events>,
    /// When a protected pod of each domain and pool was last told.
    said: HashMap<(Arc<str>, Arc<str>), Instant>,
}

impl std::fmt::Debug for Reclaimer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Reclaimer").finish_non_exhaustive()
    }
}

impl Reclaimer {
    /// At most `per_minute` attempts a minute, in domains above their limit for `delay_seconds`.
    /// `owner` says whether this replica owns the ledger and has read it; `outcomes` counts what
    /// became of the attempts.
    #[must_use]
    pub fn new(
        placements: Placements,
        client: Client,
        (delay_seconds, per_minute): (f64, u32),
        owner: watch::Receiver<bool>,
        outcomes: Family<OutcomeLabel, Counter>,
    ) -> Self {
        let pace = Pace::new(per_minute, Duration::from_mins(1));
        Self {
            placements,
            client,
            delay_seconds,
            pace,
            owner,
            outcomes,
            tried: HashMap::new(),
            events: None,
            said: HashMap::new(),
        }
    }

    /// Tells of pods that a `PodDisruptionBudget` keeps by Events too.
    #[must_use]
    pub fn telling(self, events: Events) -> Self {
        Self { events: Some(events), ..self }
    }

    /// Works until nobody tells who owns the ledger any more.
    pub async fn run(mut self) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.owner.wait_for(|owner| *owner).await.is_ok() && self.owner.has_changed().is_ok()
        {
            ticks.tick().await;
            self.look().await;
        }
    }

    async fn look(&mut self) {
        // Asked each time, room or not: the ledger finds out by it how long the excess lasts.
        let now = Instant::now();
        self.tried.retain(|_, until| now < *until);
        let spared = |uid: &str| self.tried.contains_key(uid);
        let limits = (self.delay_seconds, self.pace.most());
        let excess = self.placements.lock().excess(limits, &spared, clock::now());
        for eviction in excess {
            if self.pace.left(Instant::now()) < eviction.victims.len() || !*self.owner.borrow() {
                return;
            }
            if self.evict_all(&eviction).await == Outcome::Failed {
                return;
            }
        }
    }

    /// Evicts pods that go for one reason, up to the first that may not go.
    async fn evict_all(&mut self, Eviction { waiter, victims }: &Eviction) -> Outcome {
        if victims.len() > 1 {
            // Half of them would go in vain.
            for victim in victims {
                let outcome = evict(&self.client, &victim.pod, true).await;
                if outcome != Outcome::Allowed {
                    return self.note(victim, outcome).await;
                }
            }
        }
        if let Some(waiter) = waiter {
            self.placements.lock().note_reclaim(waiter, victims);
        }
        for victim in victims {
            self.pace.spend(Instant::now());
            let outcome = evict(&self.client, &victim.pod, false).await;
            let outcome = self.note(victim, outcome).await;
            if !matches!(outcome, Outcome::Evicted | Outcome::Gone) {
                return outcome;
            }
        }
        Outcome::Evicted
    }

    /// Notes what became of an attempt, and leaves the pod alone for a while.
    async fn note(&mut self, victim: &Victim, outcome: Outcome) -> Outcome {
        let Victim { pod, domain, pool } = victim;
        let (uid, namespace, name) = pod;
        // Nothing is known against it after trouble. The next look still begins with another: the API
        // server answers for a pod whose identity differs only when it has tried for long.
        let pause = if outcome == Outcome::Failed { AFTER_TROUBLE } else { LEFT_ALONE };
        self.tried.insert(Arc::clone(uid), Instant::now() + pause);
        self.outcomes.get_or_create(&OutcomeLabel { outcome: outcome.as_str() }).inc();
        tracing::info!(
            %domain, %pool, %namespace, %name, outcome = outcome.as_str(),
            "A domain is to give room back: eviction of a pod"
        );
        match outcome {
            Outcome::Evicted => self.placements.lock().note_evicted(uid),
            Outcome::Protected => self.tell(domain, pool, pod).await,
            _ => {}
        }
        outcome
    }

    /// Tells that a `PodDisruptionBudget` keeps a pod, for each domain and pool now and then.
    async fn tell(&mut self, domain: &Arc<str>, pool: &Arc<str>, pod: &PodName) {
        let Some(events) = &self.events else { return };
        let now = Instant::now();
        self.said.retain(|_, at| now.duration_since(*at) < SAID);
        let key = (Arc::clone(domain), Arc::clone(pool));
        if self.said.contains_key(&key) {
            return;
        }
        self.said.insert(key, now);
        let event = PodEvent {
            pod,
            related: None,
            action: ACTION,
            reason: "ReclaimBlocked",
            warning: true,
            note: format!(
                "Domain {domain} is to give room back in node pool {pool:?}, but a PodDisruptionBudget \
                 does not let this pod go"
            ),
        };
        let problem = match tokio::time::timeout(LIMIT, events.about_pod(event)).await {
            Ok(Ok(())) => return,
            Ok(Err(problem)) => problem.to_string(),
            Err(_) => format!("no answer within {LIMIT:?}"),
        };
        tracing::warn!(error = %problem, "Event about a pod that cannot be evicted not written");
    }
}

/// Evicts one pod, and no other pod of its name; with `dry_run` only asks whether it may go.
async fn evict(client: &Client, (uid, namespace, name): &PodName, dry_run: bool) -> Outcome {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    // Written here, because kube's own `evict` misspells `deleteOptions`: the API server ignores
    // what it sends there, the identity of the pod among it.
    let eviction = json!({
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": name, "namespace": namespace},
        "deleteOptions": {"preconditions": {"uid": uid}},
    });
    let params = PostParams { dry_run, ..PostParams::default() };
    let request = api.create_subresource::<_, Status>("eviction", name, &params, &eviction);
    match tokio::time::timeout(LIMIT, request).await {
        Ok(Ok(_)) if dry_run => Outcome::Allowed,
        Ok(Ok(_)) => Outcome::Evicted,
        Ok(Err(kube::Error::Api(status))) => match status.code {
            404 | 409 => Outcome::Gone,
            // An overloaded server says 429 too; its budget for disruptions names itself.
            429 if status.details.as_ref().is_some_and(|details| {
                details.causes.iter().any(|cause| cause.reason == "DisruptionBudget")
            }) =>
            {
                Outcome::Protected
            }
            // More than one PodDisruptionBudget selects the pod.
            500 if status.message.contains("PodDisruptionBudget") => Outcome::Refused,
            429 | 500.. => Outcome::Failed,
            _ => Outcome::Refused,
        },
        Ok(Err(_)) | Err(_) => Outcome::Failed,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::extender::played::{Played, ledger, pod};

    /// Pods of one core on a node, of a domain that may have 2 of them.
    fn scene(per_minute: u32, delay_seconds: f64) -> (Reclaimer, Played, watch::Sender<bool>) {
        let placements = ledger(2_000);
        for (name, class, created) in
            [("high", "p1", 9.0), ("old", "p3", 1.0), ("young", "p3", 2.0), ("mid", "p2", 3.0)]
        {
            placements.lock().put_pod(&crate::placement::Pod {
                node: Some(Arc::from("node-0")),
                priority_class: Arc::from(format!("hirl-{class}")),
                created: crate::cluster::Timestamp::from_seconds(created),
                ..pod("shop", name)
            });
        }
        let (client, played) = Played::new();
        let (tell, owner) = watch::channel(true);
        let pace = (delay_seconds, per_minute);
        (Reclaimer::new(placements, client, pace, owner, Family::default()), played, tell)
    }

    fn count(reclaimer: &Reclaimer, outcome: &'static str) -> u64 {
        reclaimer.outcomes.get_or_create(&OutcomeLabel { outcome }).get()
    }

    fn names(asked: &[(String, String, Value)]) -> Vec<&str> {
        asked.iter().map(|(_, path, _)| path.split('/').nth(6).unwrap()).collect()
    }

    #[tokio::test]
    async fn lowest_class_and_youngest_go_first_and_only_until_the_limit_is_kept() {
        let (mut reclaimer, mut played, _tell) = scene(10, 0.0);
        let looked = async {
            reclaimer.look().await;
            // The watch shows nothing yet: the same pods are still listed.
            reclaimer.look().await;
            reclaimer
        };
        let (reclaimer, asked) = tokio::join!(looked, played.answer_all(201, 2));
        assert_eq!(names(&asked), ["young", "old"]);
        let (method, path, body) = &asked[0];
        let place = "/api/v1/namespaces/shop/pods/young/eviction";
        assert_eq!((&**method, &**path), ("POST", place));
        assert_eq!(body["deleteOptions"]["preconditions"]["uid"], "uid-young");
        assert!(played.silent().await);
        assert_eq!(count(&reclaimer, "evicted"), 2);
    }

    #[tokio::test]
    async fn nobody_is_evicted_before_the_delay_and_no_more_than_the_pace_allows() {
        let (mut reclaimer, mut played, _tell) = scene(10, 3600.0);
        reclaimer.look().await;
        assert!(played.silent().await);

        let (mut reclaimer, mut played, _tell) = scene(1, 0.0);
        let looked = async {
            reclaimer.look().await;
            reclaimer.look().await;
        };
        let ((), asked) = tokio::join!(looked, played.answer_all(201, 1));
        assert_eq!(names(&asked), ["young"]);
        assert!(played.silent().await);
    }

    #[tokio::test]
    async fn a_disruption_budget_is_respected_and_the_next_pod_is_tried() {
        let (mut reclaimer, mut played, _tell) = scene(10, 0.0);
        let protected = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
            "message": "Cannot evict pod as it would violate the pod's disruption budget.",
            "reason": "TooManyRequests", "code": 429,
            "details": {"causes": [{"reason": "DisruptionBudget", "message": "needs 4"}]}});
        let looked = async {
            reclaimer.look().await;
            reclaimer.look().await;
            reclaimer
        };
        let answers = async {
            let first = played.answer(429, &protected).await;
            [vec![first], played.answer_all(201, 2).await].concat()
        };
        let (reclaimer, asked) = tokio::join!(looked, answers);
        assert_eq!(names(&asked), ["young", "old", "mid"]);
        assert!(played.silent().await, "a protected pod is not asked about again at once");
        assert_eq!((count(&reclaimer, "protected"), count(&reclaimer, "evicted")), (1, 2));
    }

    #[tokio::test]
    async fn a_pod_that_a_disruption_budget_keeps_is_told_once_for_its_domain_and_pool() {
        let (reclaimer, mut played, _tell) = scene(10, 0.0);
        let events = Events::new(reclaimer.client.clone(), "me".to_owned());
        let mut reclaimer = reclaimer.telling(events);
        let protected = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
            "message": "no", "reason": "TooManyRequests", "code": 429,
            "details": {"causes": [{"reason": "DisruptionBudget", "message": "needs 4"}]}});
        let answers = async {
            let mut asked = vec![played.answer(429, &protected).await];
            asked.push(played.answer(201, &Value::Null).await);
            asked.push(played.answer(429, &protected).await);
            (asked, played.silent().await)
        };
        let ((), (asked, silent)) = tokio::join!(reclaimer.look(), answers);
        assert!(silent);
        let (_, path, body) = &asked[1];
        assert_eq!(path, "/apis/events.k8s.io/v1/namespaces/shop/events");
        assert_eq!((&body["reason"], &body["type"]), (&"ReclaimBlocked".into(), &"Warning".into()));
        assert_eq!(body["regarding"]["name"], "young");
        let note = body["note"].as_str().unwrap();
        assert!(note.contains("Domain shop") && note.contains("\"general\""), "{note}");
        assert_eq!(names(&asked[2..]), ["old"]);
        assert_eq!(count(&reclaimer, "protected"), 2);
    }

    /// An eviction of the first pods of [`scene`] together.
    fn together(names: &[&str]) -> Eviction {
        let victim = |name: &&str| {
            let pod = pod("shop", name);
            Victim {
                pod: (pod.uid, pod.namespace, pod.name),
                domain: Arc::from("shop"),
                pool: Arc::from("general"),
            }
        };
        Eviction {
            waiter: Some(Arc::from("uid-high")),
            victims: names.iter().map(victim).collect(),
        }
    }

    #[tokio::test]
    async fn pods_that_go_together_are_all_asked_about_before_the_first_goes() {
        let (mut reclaimer, mut played, _tell) = scene(10, 0.0);
        let protected = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
            "message": "no", "reason": "TooManyRequests", "code": 429,
            "details": {"causes": [{"reason": "DisruptionBudget", "message": "needs 4"}]}});
        let eviction = together(&["old", "young", "mid"]);
        let answers = async {
            let first = played.answer_all(201, 1).await;
            let second = played.answer(429, &protected).await;
            ([first, vec![second]].concat(), played.silent().await)
        };
        let (outcome, (asked, silent)) = tokio::join!(reclaimer.evict_all(&eviction), answers);
        assert_eq!((outcome, names(&asked)), (Outcome::Protected, vec!["old", "young"]));
        assert!(silent, "nobody went");
        assert!(reclaimer.tried.contains_key("uid-young") && reclaimer.tried.len() == 1);
        // All may go.
        let eviction = together(&["old", "mid"]);
        let (outcome, asked) =
            tokio::join!(reclaimer.evict_all(&eviction), played.answer_all(201, 4));
        assert_eq!((outcome, names(&asked)), (Outcome::Evicted, vec!["old", "mid", "old", "mid"]));
        assert_eq!((count(&reclaimer, "protected"), count(&reclaimer, "evicted")), (1, 2));
        // The second is refused all the same: the third stays.
        let eviction = together(&["a", "b", "c"]);
        let answers = async {
            let asked = played.answer_all(201, 4).await;
            let refused = played.answer(429, &protected).await;
            (asked.len(), names(&[refused])[0].to_owned(), played.silent().await)
        };
        let (outcome, answers) = tokio::join!(reclaimer.evict_all(&eviction), answers);
        assert_eq!((outcome, answers), (Outcome::Protected, (4, "b".to_owned(), true)));
    }

    #[tokio::test]
    async fn an_overloaded_api_server_ends_the_look() {
        for code in [429, 503] {
            let (mut reclaimer, mut played, _tell) = scene(10, 0.0);
            let looked = async {
                reclaimer.look().await;
                reclaimer
            };
            let (mut reclaimer, asked) = tokio::join!(looked, played.answer_all(code, 1));
            assert_eq!(names(&asked), ["young"]);
            assert!(played.silent().await);
            assert_eq!(count(&reclaimer, "failed"), 1, "{code}");
            // The one that failed does not stand in the way of the others.
            let ((), asked) = tokio::join!(reclaimer.look(), played.answer_all(201, 1));
            assert_eq!(names(&asked), ["old"]);
        }
    }

    #[tokio::test]
    async fn only_the_owner_of_the_ledger_evicts() {
        let (reclaimer, mut played, tell) = scene(10, 0.0);
        tell.send_replace(false);
        let task = tokio::spawn(reclaimer.run());
        assert!(played.silent().await);
        tell.send_replace(true);
        assert_eq!(names(&played.answer_all(201, 2).await), ["young", "old"]);
        drop(tell);
        tokio::time::timeout(Duration::from_secs(30), task).await.unwrap().unwrap();
    }
}
