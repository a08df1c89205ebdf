//! Tells which pods have to go for which: an Event on the pod that goes, a count, and a line in our
//! log. However many go at once, the API server gets few Events a second; the rest is counted.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use super::pace::Pace;
use crate::instruments::{Instruments, OutcomeLabel, PreemptionLabel};
use crate::kubernetes::{Events, Placements, PodEvent};
use crate::placement::Notice;

/// Time between two looks at the ledger.
const TICK: Duration = Duration::from_secs(1);
/// How long one Event may take.
const LIMIT: Duration = Duration::from_secs(5);
/// Events at once, ...
const AT_ONCE: u32 = 50;
/// ... in any time of this length: five a second.
const WINDOW: Duration = Duration::from_secs(10);
/// The work during which it happened, in Events.
const ACTION: &str = "Preempting";

/// Result of one Event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Written,
    /// The API server does not take it.
    Refused,
    /// The API server is in trouble, or slow.
    Failed,
    /// There were too many, or the API server is in trouble.
    Dropped,
}

impl Outcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
        }
    }
}

/// Writes Events about preemptions, on the replica that owns the ledger.
#[derive(Debug)]
pub(super) struct Teller {
    placements: Placements,
    events: Events,
    pace: Pace,
    owner: watch::Receiver<bool>,
    instruments: Arc<Instruments>,
}

impl Teller {
    /// `owner` says whether this replica owns the ledger and has read it.
    pub(super) fn new(
        placements: Placements,
        events: Events,
        owner: watch::Receiver<bool>,
        instruments: Arc<Instruments>,
    ) -> Self {
        Self { placements, events, pace: Pace::new(AT_ONCE, WINDOW), owner, instruments }
    }

    /// Works until nobody tells who owns the ledger any more.
    pub(super) async fn run(mut self) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                changed = self.owner.changed() => if changed.is_err() { return },
                _ = ticks.tick() => self.look().await,
            }
        }
    }

    async fn look(&mut self) {
        // Taken away whoever owns the ledger: another owner's time begins without old news.
        let notices = self.placements.lock().take_notices();
        let mut trouble = false;
        for notice in notices {
            if !*self.owner.borrow() {
                return;
            }
            self.count(&notice);
            let room = !trouble && self.pace.left(Instant::now()) > 0;
            let outcome = if room { self.tell(&notice).await } else { Outcome::Dropped };
            trouble |= outcome == Outcome::Failed;
            let label = OutcomeLabel { outcome: outcome.as_str() };
            self.instruments.extender.preemption_events.get_or_create(&label).inc();
        }
    }

    fn count(&self, notice: &Notice) {
        let label = PreemptionLabel {
            path: notice.path.as_str(),
            victim_domain: notice.victim_domain.to_string(),
            preemptor_domain: notice.preemptor_domain.to_string(),
        };
        self.instruments.extender.preemptions.get_or_create(&label).inc();
        let (_, namespace, name) = &notice.victim;
        tracing::info!(%namespace, %name, path = notice.path.as_str(), "{}", notice.text());
    }

    async fn tell(&mut self, notice: &Notice) -> Outcome {
        self.pace.spend(Instant::now());
        let event = PodEvent {
            pod: &notice.victim,
            related: Some(&notice.preemptor),
            action: ACTION,
            reason: notice.path.as_str(),
            warning: false,
            note: notice.text(),
        };
        let problem = match tokio::time::timeout(LIMIT, self.events.about_pod(event)).await {
            Ok(Ok(())) => return Outcome::Written,
            // Its namespace may be going.
            Ok(Err(kube::Error::Api(status))) if status.code < 500 && status.code != 429 => {
                tracing::debug!(error = %status.message, "Event about a preemption refused");
                return Outcome::Refused;
            }
            Ok(Err(problem)) => problem.to_string(),
            Err(_) => format!("no answer within {LIMIT:?}"),
        };
        tracing::warn!(error = %problem, "Events about preemptions not written");
        Outcome::Failed
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use serde_json::Value;

    use super::*;
    use crate::cluster::{Amount, Class, LoanLimit, Timestamp};
    use crate::extender::played::{Played, pod};
    use crate::placement::{
        Ask, Budgets, DomainBudget, Epoch, Ledger, Needs, NodeFacts, Pod, Settings, Standing,
    };

    const NOW: Timestamp = Timestamp::from_millis(1_000);

    fn bound(name: &str) -> Pod {
        Pod {
            node: Some(Arc::from("node-0")),
            priority_class: Arc::from("hirl-p3"),
            ..pod("batch", name)
        }
    }

    /// A full node of pods of the domain `batch`, all of which may go for a pod of `shop`.
    fn ledger(victims: usize) -> Placements {
        let mut ledger = Ledger::new(Settings::default(), &[], "hirl-system");
        let usable = Amount { cpu_milli: 1000 * victims as u64, memory: 1 << 40 };
        let facts = NodeFacts {
            pool: Arc::from("general"),
            usable: Some(usable),
            labels: Vec::new(),
            taints: Vec::new(),
        };
        ledger.put_node("node-0", facts);
        let homes = ["shop", "batch"].map(|name| (Arc::from(name), Arc::from(name)));
        ledger.set_namespaces(HashMap::from(homes));
        let domain = |name: &str, class| DomainBudget {
            name: Arc::from(name),
            class,
            share: 0.5,
            pool_shares: Vec::new(),
            floor: 0.0,
            borrowing: LoanLimit::Unlimited,
            lending: LoanLimit::Unlimited,
            breach_until: None,
            emergency_until: None,
        };
        let domains = vec![domain("shop", Class::P0), domain("batch", Class::P3)];
        let epoch = Epoch { term: 1, sequence: 1 };
        assert!(ledger.install(Budgets { epoch, domains, reserve: 0.0, band: 0.1 }));
        ledger.stand(Standing::Owner);
        let names: Vec<String> = (0..victims).map(|number| format!("v{number}")).collect();
        for name in &names {
            ledger.put_pod(&bound(name));
        }
        let asking = Pod {
            priority_class: Arc::from("hirl-p0"),
            priority: 1000,
            request: usable,
            ..pod("shop", "web")
        };
        ledger.put_pod(&asking);
        let needs = Arc::new(Needs::default());
        let ask = Ask { pod: asking, keeps_choice: false, needs };
        let uids = names.iter().map(|name| format!("uid-{name}")).collect();
        let candidates = [("node-0".to_owned(), uids)];
        let verdict = ledger.preempt(&ask, &candidates, NOW).unwrap();
        assert_eq!(verdict.kept, [0], "all may go");
        for name in &names {
            ledger.put_pod(&Pod { deleting: true, ..bound(name) });
        }
        Placements::new(ledger)
    }

    fn scene(victims: usize) -> (Teller, Played, watch::Sender<bool>) {
        let (client, played) = Played::new();
        let (tell, owner) = watch::channel(true);
        let events = Events::new(client, "me".to_owned());
        (Teller::new(ledger(victims), events, owner, Arc::default()), played, tell)
    }

    fn counted(teller: &Teller, outcome: &'static str) -> u64 {
        let events = &teller.instruments.extender.preemption_events;
        events.get_or_create(&OutcomeLabel { outcome }).get()
    }

    #[tokio::test]
    async fn an_event_on_the_victim_names_the_preemptor_and_the_right() {
        let (mut teller, mut played, _tell) = scene(1);
        let looked = async {
            teller.look().await;
            teller.look().await;
            teller
        };
        let (teller, (method, path, body)) = tokio::join!(looked, played.answer(201, &Value::Null));
        let place = "/apis/events.k8s.io/v1/namespaces/batch/events";
        assert_eq!((&*method, &*path), ("POST", place));
        let regarding = &body["regarding"];
        assert_eq!((&regarding["kind"], &regarding["name"]), (&"Pod".into(), &"v0".into()));
        assert_eq!(regarding["uid"], "uid-v0");
        let related = &body["related"];
        assert_eq!((&related["namespace"], &related["name"]), (&"shop".into(), &"web".into()));
        assert_eq!((&body["reason"], &body["type"]), (&"Reclaimed".into(), &"Normal".into()));
        assert_eq!((&body["action"], &body["reportingInstance"]), (&ACTION.into(), &"me".into()));
        let note = body["note"].as_str().unwrap();
        assert!(note.contains("shop/web") && note.contains("batch"), "{note}");
        assert!(played.silent().await);
        assert_eq!(counted(&teller, "written"), 1);
        let text = teller.instruments.render();
        let line = "hirl_extender_preemptions_total{path=\"Reclaimed\",victim_domain=\"batch\",preemptor_domain=\"shop\"} 1";
        assert!(text.contains(line), "{text}");
    }

    #[tokio::test]
    async fn of_many_at_once_fifty_are_told_and_all_are_counted() {
        let (mut teller, mut played, _tell) = scene(80);
        let looked = async {
            teller.look().await;
            teller
        };
        let answers = async {
            for _ in 0..50 {
                played.answer(201, &Value::Null).await;
            }
            played.silent().await
        };
        let (teller, silent) = tokio::join!(looked, answers);
        assert!(silent);
        assert_eq!((counted(&teller, "written"), counted(&teller, "dropped")), (50, 30));
        let label = PreemptionLabel {
            path: "Reclaimed",
            victim_domain: "batch".to_owned(),
            preemptor_domain: "shop".to_owned(),
        };
        assert_eq!(teller.instruments.extender.preemptions.get_or_create(&label).get(), 80);
    }

    #[tokio::test]
    async fn an_api_server_in_trouble_is_asked_once_a_look_and_a_refusal_is_no_trouble() {
        for (code, asked, failed, dropped) in [(503, 1, 1, 2), (429, 1, 1, 2), (404, 3, 0, 0)] {
            let (mut teller, mut played, _tell) = scene(3);
            let looked = async {
                teller.look().await;
                teller
            };
            let (teller, _) = tokio::join!(looked, played.answer_all(code, asked));
            assert!(played.silent().await, "{code}");
            let counts = (counted(&teller, "failed"), counted(&teller, "dropped"));
            assert_eq!(counts, (failed, dropped), "{code}");
        }
    }

    #[tokio::test]
    async fn only_the_owner_tells_and_it_tells_no_old_news() {
        let (mut teller, mut played, tell) = scene(2);
        tell.send_replace(false);
        teller.look().await;
        tell.send_replace(true);
        teller.look().await;
        assert!(played.silent().await);
        let task = tokio::spawn(teller.run());
        drop(tell);
        tokio::time::timeout(Duration::from_secs(5), task).await.unwrap().unwrap();
    }
}
