//! The placement ledger as people see it.

use super::*;
use crate::cluster::Amount;
use crate::kubernetes::Placements;
use crate::placement::{Budgets, DomainBudget, Epoch, Ledger, NodeFacts, Pod, Standing};

fn ledger() -> Ledger {
    let mut ledger = Ledger::new(crate::placement::Settings::default(), &[], "hirl-system");
    let usable = Amount { cpu_milli: 10_000, memory: 1 << 40 };
    ledger.put_node(
        "n1",
        NodeFacts { pool: "general".into(), usable: Some(usable), ..NodeFacts::default() },
    );
    ledger.set_namespaces([("pay".into(), "payments".into())].into());
    ledger.install(Budgets {
        domains: vec![DomainBudget {
            name: "payments".into(),
            class: Class::P1,
            share: 0.5,
            pool_shares: Vec::new(),
            floor: 0.0,
            borrowing: crate::cluster::LoanLimit::None,
            lending: crate::cluster::LoanLimit::Unlimited,
            breach_until: None,
            emergency_until: None,
        }],
        band: 0.1,
        ..Budgets::of(&decision(Vec::new()), 0.1, Timestamp::default())
    });
    ledger.put_pod(&Pod {
        uid: "u".into(),
        namespace: "pay".into(),
        name: "web-1".into(),
        node: Some("n1".into()),
        request: Amount { cpu_milli: 1500, memory: 0 },
        ..Pod::default()
    });
    ledger
}

fn rig(leadership: Leadership, standing: Standing) -> Rig {
    let mut rig = Rig::new();
    let mut ledger = ledger();
    ledger.stand(standing);
    let state = State {
        placements: Some(Placements::new(ledger)),
        leadership: watch::channel(leadership).1,
        ..rig.state()
    };
    let settings = Settings::default();
    rig.service = Arc::new(Service::new(&settings, peer::Settings::default(), state));
    rig
}

#[tokio::test]
async fn the_owner_shows_pools_and_pods() {
    let rig = rig(Leadership::Leading { epoch: 3 }, Standing::Owner);
    let all = rig.read("/hirl/v1/placement").await.json();
    assert_eq!(all["owner"], true);
    assert_eq!(all["epoch"], json!(Epoch { term: 3, sequence: 14 }));
    assert_eq!(all["pools"][0]["domain"], "payments");
    assert_eq!(all["pools"][0]["bound"]["cpu_milli"], 1500);
    let pod = rig.read("/hirl/v1/placement/pods/pay/web-1").await.json();
    assert_eq!(pod["placement"]["domain"], "payments");
    assert_eq!(pod["placement"]["state"], "bound");
    assert_eq!(pod["placement"]["node"], "n1");
}

#[tokio::test]
async fn a_follower_names_the_owner_and_what_is_unknown_is_not_found() {
    let following = Leadership::Following {
        holder: Some("hirl-b".to_owned()),
        address: Some("10.0.0.2:8443".to_owned()),
    };
    let rig = rig(following, Standing::Follower);
    let all = rig.read("/hirl/v1/placement").await.json();
    assert_eq!((&all["owner"], &all["ownerAddress"]), (&json!(false), &json!("10.0.0.2:8443")));
    let unknown = rig.read("/hirl/v1/placement/pods/pay/other").await;
    let sentence = unknown.status(404, "NotFound");
    assert!(sentence.contains("pay/other"), "{sentence}");
    for path in ["pods/pay", "pods/pay/", "pods//web-1", "pods/pay/web-1/x", "pods"] {
        let path = format!("/hirl/v1/placement/{path}");
        rig.read(&path).await.status(404, "NotFound");
    }
    let posted = rig.send(request("POST", "/hirl/v1/placement", &[]), &rig.master()).await;
    posted.status(405, "MethodNotAllowed");
}

#[tokio::test]
async fn only_those_who_may_see_the_ledger() {
    let rig = rig(Leadership::Leading { epoch: 3 }, Standing::Owner);
    rig.get("/hirl/v1/placement", &[], &nobody()).await.status(403, "Forbidden");
    let asked = rig.api_server.asked();
    let attributes = &asked[0]["spec"]["nonResourceAttributes"];
    assert_eq!(attributes, &json!({"verb": "get", "path": "/hirl/v1/placement"}));
    let off = Rig::new();
    let sentence = off.read("/hirl/v1/placement").await.status(404, "NotFound");
    assert!(sentence.contains("extender.enabled"), "{sentence}");
}
