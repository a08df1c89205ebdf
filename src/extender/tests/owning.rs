//! Who answers when: the gate that follows the Lease, and the supply of budgets.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;

use super::*;
use crate::control::Published;
use crate::extender::owner::Gate;
use crate::extender::supply::Supply;
use crate::https::Closer;

struct Owning {
    rig: Rig,
    leadership: watch::Sender<Leadership>,
    lists: Arc<Semaphore>,
    asked: Arc<AtomicUsize>,
}

impl Owning {
    async fn start() -> Self {
        let rig = Rig::new(0.5).await;
        rig.term.set(None);
        rig.placements.lock().stand(Standing::Follower);
        let nobody = Leadership::Following { holder: None, address: None };
        let (leadership, follow) = watch::channel(nobody);
        let (lists, asked) = (Arc::new(Semaphore::new(0)), Arc::<AtomicUsize>::default());
        let gate = Gate {
            placements: rig.placements.clone(),
            leadership: follow,
            guard: rig.guard.clone(),
            term: rig.term.clone(),
            fence: Duration::from_millis(1),
            relist: Box::new({
                let (lists, asked) = (Arc::clone(&lists), Arc::clone(&asked));
                move || {
                    let (lists, asked) = (Arc::clone(&lists), Arc::clone(&asked));
                    Box::pin(async move {
                        asked.fetch_add(1, Ordering::SeqCst);
                        lists.acquire().await.unwrap().forget();
                    })
                }
            }),
            owner: watch::Sender::new(false),
            closer: Closer::default(),
            instruments: Arc::clone(&rig.instruments),
        };
        tokio::spawn(gate.run(rig.stop.clone()));
        Self { rig, leadership, lists, asked }
    }

    async fn stands(&self, wanted: Standing) {
        let what = format!("{wanted:?}");
        eventually(&what, async || self.rig.placements.lock().standing() == wanted).await;
    }

    fn lead(&self, epoch: u64) {
        self.leadership.send_replace(Leadership::Leading { epoch });
    }

    fn lose(&self) {
        let other = Some("other".to_owned());
        self.leadership.send_replace(Leadership::Following { holder: other, address: None });
    }
}

#[tokio::test]
async fn the_ledger_is_owned_only_after_all_pods_were_read() {
    let owning = Owning::start().await;
    let rig = &owning.rig;
    let readyz = async || rig.send("GET", "/readyz", "").await.0;
    assert_eq!(rig.send("GET", "/healthz", "").await.0, 200);
    for verb in ["filter", "prioritize", "preempt", "bind"] {
        for mode in ["strict", "open"] {
            assert_eq!(rig.send("POST", &format!("/v1/{mode}/{verb}"), "{}").await.0, 503);
        }
    }
    owning.lead(rig.guard.epoch().unwrap());
    owning.stands(Standing::Warming).await;
    eventually("pods are read", async || owning.asked.load(Ordering::SeqCst) == 1).await;
    assert_eq!(rig.placements.lock().standing(), Standing::Warming);
    assert_eq!(readyz().await, 503);
    let refused = rig.filter("a", "1", &["n1"]).await;
    assert_eq!(refused["Error"], "budget: the placement ledger is being read");
    owning.lists.add_permits(1);
    owning.stands(Standing::Owner).await;
    assert_eq!(readyz().await, 200);
    assert_eq!(rig.filter("a", "1", &["n1"]).await["NodeNames"], json!(["n1"]));
    rig.api_server.then(made());
    assert_eq!(rig.ask("/v1/strict/bind", &binding("a", "n1")).await["Error"], "");

    owning.lose();
    owning.stands(Standing::Follower).await;
    assert_eq!(rig.send("POST", "/v1/strict/filter", "{}").await.0, 503);
    assert!(rig.counted("hirl_extender_standing 0"));
}

#[tokio::test]
async fn a_lease_lost_while_pods_are_read_makes_no_owner() {
    let owning = Owning::start().await;
    // The guard knows another epoch than the one that was announced.
    owning.lead(owning.rig.guard.epoch().unwrap() + 1);
    owning.lists.add_permits(1);
    eventually("pods were read", async || {
        owning.asked.load(Ordering::SeqCst) == 1 && owning.lists.available_permits() == 0
    })
    .await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(owning.rig.placements.lock().standing(), Standing::Warming);

    owning.lose();
    owning.stands(Standing::Follower).await;
    owning.lead(owning.rig.guard.epoch().unwrap());
    owning.stands(Standing::Warming).await;
    owning.lists.add_permits(1);
    owning.stands(Standing::Owner).await;
    assert_eq!(owning.asked.load(Ordering::SeqCst), 2, "each term reads anew");
}

fn published(sequence: u64, age: Duration) -> Arc<Published> {
    let mut decision = decision();
    decision.sequence = sequence;
    Arc::new(Published::new(Arc::new(decision), age, Duration::from_mins(1)))
}

#[tokio::test]
async fn every_decision_becomes_budgets_and_one_that_is_too_old_weights() {
    let rig = Rig::new(0.5).await;
    let (sender, receiver) = watch::channel(None);
    let supply = Supply {
        published: receiver,
        placements: rig.placements.clone(),
        band: 0.1,
        breach: Duration::from_mins(2),
        instruments: Arc::clone(&rig.instruments),
    };
    let stop = CancellationToken::new();
    let task = tokio::spawn(supply.run(stop.clone()));
    let in_force = async |sequence| {
        eventually("the budgets are in force", async || {
            rig.placements.lock().epoch() == Some(Epoch { term: 7, sequence })
        })
        .await;
    };
    sender.send_replace(Some(published(2, Duration::ZERO)));
    in_force(2).await;
    sender.send_replace(Some(published(3, Duration::from_secs(1799))));
    in_force(3).await;
    assert!(rig.counted("hirl_extender_static_shares 0"));
    sender.send_replace(Some(published(4, Duration::from_secs(1801))));
    in_force(4).await;
    eventually("the weights hold", async || rig.counted("hirl_extender_static_shares 1")).await;
    // An older one changes nothing.
    sender.send_replace(Some(published(1, Duration::ZERO)));
    sender.send_replace(Some(published(5, Duration::ZERO)));
    in_force(5).await;
    assert!(rig.counted("hirl_extender_static_shares 0"));
    assert!(rig.counted("hirl_extender_budget_epoch 7"));
    drop(sender);
    stop.cancel();
    task.await.unwrap();
}
