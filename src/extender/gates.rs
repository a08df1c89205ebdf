//! Lets pods through our scheduling gate as their domain has room: by class, then age, never more
//! in a second than is configured. Opt-in, and only on the replica that owns the ledger.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::Client;
use kube::api::{Patch, PatchParams};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use super::pace::Pace;
use crate::clock;
use crate::instruments::OutcomeLabel;
use crate::kubernetes::{GATE, Placements};
use crate::placement::PodName;

/// Time between two looks at the ledger.
const TICK: Duration = Duration::from_millis(250);
/// How long one patch may take.
const LIMIT: Duration = Duration::from_secs(5);
/// Patches under way at a time.
const AT_ONCE: usize = 16;
/// How long a pod is left alone after a patch: the watch shows sooner what became of it.
const LEFT_ALONE: Duration = Duration::from_secs(10);
/// Pause when the API server is in trouble.
const PAUSE: Duration = Duration::from_secs(2);

/// What became of one patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// The gate is gone.
    Through,
    /// The pod is gone, or another one by now.
    Gone,
    /// The API server does not take it.
    Refused,
    /// The API server is in trouble, or slow.
    Failed,
    /// This replica owns the ledger no longer.
    NotOwner,
}

impl Outcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Through => "through",
            Self::Gone => "gone",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::NotOwner => "not_owner",
        }
    }
}

/// Takes our gate away from pods.
pub struct Gatekeeper {
    placements: Placements,
    client: Client,
    pace: Pace,
    /// Pods of one look: a quarter of a second's worth, so that they do not come in one burst.
    at_once: usize,
    owner: watch::Receiver<bool>,
    outcomes: Family<OutcomeLabel, Counter>,
    /// Pods patched lately, and when they may be patched again.
    patched: HashMap<Arc<str>, Instant>,
    paused_until: Option<Instant>,
}

impl std::fmt::Debug for Gatekeeper {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Gatekeeper").finish_non_exhaustive()
    }
}

impl Gatekeeper {
    /// At most `per_second` pods a second. `owner` says whether this replica owns the ledger and
    /// has read it; `outcomes` counts what became of the patches.
    #[must_use]
    pub fn new(
        placements: Placements,
        client: Client,
        per_second: u32,
        owner: watch::Receiver<bool>,
        outcomes: Family<OutcomeLabel, Counter>,
    ) -> Self {
        Self {
            placements,
            client,
            pace: Pace::new(per_second, Duration::from_secs(1)),
            at_once: per_second.div_ceil(4) as usize,
            owner,
            outcomes,
            patched: HashMap::new(),
            paused_until: None,
        }
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
        let now = Instant::now();
        if self.paused_until.is_some_and(|until| now < until) {
            return;
        }
        self.patched.retain(|_, until| now < *until);
        let room = self.pace.left(now).min(self.at_once);
        if room == 0 {
            return;
        }
        let opened = |uid: &str| self.patched.contains_key(uid);
        let pods = self.placements.lock().ungate(room, &opened, clock::now());
        for (uid, _, _) in &pods {
            self.pace.spend(now);
            self.patched.insert(Arc::clone(uid), now + LEFT_ALONE);
        }
        let attempts = pods.into_iter().map(|pod| {
            let (client, owner) = (self.client.clone(), self.owner.clone());
            async move {
                // Owned a moment ago is not owned: the new owner counts on its own room.
                let mine = *owner.borrow();
                let outcome = if mine { open(&client, &pod).await } else { Outcome::NotOwner };
                (pod, outcome)
            }
        });
        let mut work = stream::iter(attempts).buffered(AT_ONCE);
        let mut failed = Vec::new();
        while let Some((pod, outcome)) = work.next().await {
            self.outcomes.get_or_create(&OutcomeLabel { outcome: outcome.as_str() }).inc();
            match outcome {
                Outcome::Failed => failed.push(pod),
                Outcome::Refused => {
                    let (_, namespace, name) = &pod;
                    tracing::warn!(%namespace, %name, "The API server does not let its gate be removed");
                }
                Outcome::Through | Outcome::Gone | Outcome::NotOwner => {}
            }
        }
        drop(work);
        if let Some((_, namespace, name)) = failed.first() {
            let count = failed.len();
            tracing::warn!(count, first = %format_args!("{namespace}/{name}"), "Gates not removed; trying again");
            self.paused_until = Some(Instant::now() + PAUSE);
        }
        for (uid, _, _) in failed {
            self.patched.remove(&uid);
        }
    }
}

/// Takes our gate away from one pod, and from no other pod of its name.
async fn open(client: &Client, (uid, namespace, name): &PodName) -> Outcome {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let patch = Patch::Strategic(json!({
        "metadata": {"uid": uid},
        "spec": {"schedulingGates": [{"name": GATE, "$patch": "delete"}]},
    }));
    let params = PatchParams::default();
    match tokio::time::timeout(LIMIT, api.patch_metadata(name, &params, &patch)).await {
        Ok(Ok(_)) => Outcome::Through,
        Ok(Err(kube::Error::Api(status))) => match status.code {
            404 | 409 => Outcome::Gone,
            429 | 500.. => Outcome::Failed,
            _ => Outcome::Refused,
        },
        Ok(Err(_)) | Err(_) => Outcome::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extender::played::{Played, ledger, pod};
    use crate::placement::Standing;

    fn gated(name: &str, class: &str, created: f64) -> crate::placement::Pod {
        crate::placement::Pod {
            gated: true,
            gated_by_us: true,
            priority_class: Arc::from(format!("hirl-{class}")),
            created: crate::cluster::Timestamp::from_seconds(created),
            ..pod("shop", name)
        }
    }

    /// A gatekeeper of `per_second` over pods of one core, of which the domain may have 5.
    fn scene(
        per_second: u32,
        pods: &[crate::placement::Pod],
    ) -> (Gatekeeper, Played, watch::Sender<bool>) {
        let placements = ledger(5_000);
        for pod in pods {
            placements.lock().put_pod(pod);
        }
        let (client, played) = Played::new();
        let (tell, owner) = watch::channel(true);
        let gatekeeper = Gatekeeper::new(placements, client, per_second, owner, Family::default());
        (gatekeeper, played, tell)
    }

    #[tokio::test]
    async fn gates_go_by_class_then_age_as_far_as_there_is_room() {
        let pods = [
            gated("young", "p2", 9.0),
            gated("old", "p2", 1.0),
            gated("low", "p3", 0.0),
            gated("high", "p1", 99.0),
            gated("low2", "p3", 2.0),
            gated("low3", "p3", 3.0),
        ];
        let (mut gatekeeper, mut played, _tell) = scene(100, &pods);
        let looked = async {
            gatekeeper.look().await;
            gatekeeper
        };
        let (gatekeeper, asked) = tokio::join!(looked, played.answer_all(200, 5));
        let names: Vec<&str> =
            asked.iter().map(|(_, path, _)| path.rsplit('/').next().unwrap()).collect();
        assert_eq!(names, ["high", "old", "young", "low", "low2"]);
        let (method, path, body) = &asked[0];
        assert_eq!((&**method, &**path), ("PATCH", "/api/v1/namespaces/shop/pods/high"));
        assert_eq!(
            *body,
            json!({"metadata": {"uid": "uid-high"},
                "spec": {"schedulingGates": [{"name": "hirl-scale.io/budget", "$patch": "delete"}]}})
        );
        let through = OutcomeLabel { outcome: "through" };
        assert_eq!(gatekeeper.outcomes.get_or_create(&through).get(), 5);
    }

    #[tokio::test]
    async fn a_look_takes_a_quarter_of_the_pace_and_no_pod_twice() {
        let pods: Vec<_> = (0..5).map(|n| gated(&format!("p{n}"), "p2", f64::from(n))).collect();
        let (mut gatekeeper, mut played, _tell) = scene(4, &pods);
        let looked = async {
            for _ in 0..9 {
                gatekeeper.look().await;
            }
        };
        // The watch shows nothing yet: every pod still looks gated.
        let ((), asked) = tokio::join!(looked, played.answer_all(200, 4));
        let names: Vec<&str> =
            asked.iter().map(|(_, path, _)| path.rsplit('/').next().unwrap()).collect();
        assert_eq!(names, ["p0", "p1", "p2", "p3"], "and four a second");
        assert!(played.silent().await);
    }

    #[tokio::test]
    async fn an_older_pod_that_a_watch_shows_late_does_not_get_room_that_was_given_away() {
        let pods: Vec<_> = (0..4).map(|n| gated(&format!("p{n}"), "p2", f64::from(n))).collect();
        let (mut gatekeeper, mut played, _tell) = scene(100, &pods);
        let placements = gatekeeper.placements.clone();
        let looked = async {
            gatekeeper.look().await;
            for late in ["a", "b", "c"] {
                placements.lock().put_pod(&gated(late, "p2", -1.0));
            }
            gatekeeper.look().await;
        };
        let ((), asked) = tokio::join!(looked, played.answer_all(200, 5));
        let names: Vec<&str> =
            asked.iter().map(|(_, path, _)| path.rsplit('/').next().unwrap()).collect();
        assert_eq!(names, ["p0", "p1", "p2", "p3", "a"], "five cores, no more");
        assert!(played.silent().await);
    }

    #[tokio::test]
    async fn an_api_server_in_trouble_is_left_alone_and_a_pod_that_is_gone_is_no_trouble() {
        for (code, outcome, paused) in [
            (503, "failed", true),
            (429, "failed", true),
            (404, "gone", false),
            (409, "gone", false),
            (422, "refused", false),
        ] {
            let (mut gatekeeper, mut played, _tell) = scene(100, &[gated("one", "p2", 0.0)]);
            let looked = async {
                gatekeeper.look().await;
                gatekeeper.look().await;
                gatekeeper
            };
            let (gatekeeper, _) = tokio::join!(looked, played.answer_all(code, 1));
            assert!(played.silent().await, "{code}");
            let label = OutcomeLabel { outcome };
            assert_eq!(gatekeeper.outcomes.get_or_create(&label).get(), 1, "{code}");
            assert_eq!(gatekeeper.paused_until.is_some(), paused, "{code}");
            assert_eq!(gatekeeper.patched.is_empty(), paused, "{code}: tried again after a pause");
        }
    }

    #[tokio::test]
    async fn only_the_owner_of_the_ledger_opens_gates() {
        let (gatekeeper, mut played, tell) = scene(100, &[gated("one", "p2", 0.0)]);
        tell.send_replace(false);
        let placements = gatekeeper.placements.clone();
        let task = tokio::spawn(gatekeeper.run());
        assert!(played.silent().await);
        placements.lock().stand(Standing::Warming);
        tell.send_replace(true);
        assert!(played.silent().await, "the ledger knows nothing yet");
        placements.lock().stand(Standing::Owner);
        assert_eq!(played.answer_all(200, 1).await.len(), 1);
        drop(tell);
        tokio::time::timeout(Duration::from_secs(30), task).await.unwrap().unwrap();
    }
}
