use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::cluster::LoanLimit;
use crate::placement::{
    Ask, BindVerdict, DomainBudget, FilterVerdict, Grant, Needs, Operator, PreemptVerdict,
    Resource, Taint, Toleration, UNLIMITED,
};

const GI: u64 = 1 << 30;

fn at(seconds: f64) -> Timestamp {
    Timestamp::from_seconds(1000.0 + seconds)
}

fn cpu(cpu_milli: u64) -> Amount {
    Amount { cpu_milli, memory: 0 }
}

fn budget(name: &str, class: Class, share: f64) -> DomainBudget {
    DomainBudget {
        name: Arc::from(name),
        class,
        share,
        pool_shares: Vec::new(),
        floor: 0.0,
        borrowing: LoanLimit::None,
        lending: LoanLimit::Unlimited,
        breach_until: None,
        emergency_until: None,
    }
}

fn budgets(sequence: u64, payments: f64, platform: f64) -> Budgets {
    Budgets {
        epoch: Epoch { term: 7, sequence },
        domains: vec![
            budget("payments", Class::P0, payments),
            budget("platform", Class::P3, platform),
        ],
        reserve: (1.0 - payments - platform).clamp(0.0, 1.0),
        band: 0.1,
    }
}

fn node(pool: &str, cpu_milli: u64) -> NodeFacts {
    NodeFacts {
        pool: Arc::from(pool),
        usable: Some(Amount { cpu_milli, memory: 100 * GI }),
        labels: vec![("pool".to_owned(), pool.to_owned())],
        taints: Vec::new(),
    }
}

/// Ten nodes of 10 cores in the shared pool `a`, namespaces `pay` and `plat` with half of it each.
fn ledger() -> Ledger {
    let shared = ["a".to_owned(), "b".to_owned()];
    let mut ledger = Ledger::new(Settings::default(), &shared, "hirl-system");
    for number in 0..10 {
        ledger.put_node(&format!("a{number}"), node("a", 10_000));
    }
    ledger.set_namespaces(HashMap::from([
        (Arc::from("pay"), Arc::from("payments")),
        (Arc::from("plat"), Arc::from("platform")),
    ]));
    assert!(ledger.install(budgets(1, 0.5, 0.5)));
    ledger.stand(Standing::Owner);
    ledger
}

fn pod(namespace: &str, name: &str, cpu_milli: u64) -> Pod {
    Pod {
        uid: Arc::from(format!("uid-{name}")),
        namespace: Arc::from(namespace),
        name: Arc::from(name),
        request: cpu(cpu_milli),
        ..Pod::default()
    }
}

fn ask(namespace: &str, name: &str, cpu_milli: u64) -> Ask {
    Ask { pod: pod(namespace, name, cpu_milli), ..Ask::default() }
}

fn tolerates(key: &str) -> Arc<Needs> {
    let toleration = Toleration { key: key.to_owned(), exists: true, ..Toleration::default() };
    Arc::new(Needs { tolerations: vec![toleration], ..Needs::default() })
}

fn names(pool: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{pool}{number}")).collect()
}

/// Filters, binds and settles; the node, or why not.
fn place(
    ledger: &mut Ledger,
    ask: &Ask,
    names: &[String],
    now: Timestamp,
) -> Result<String, Refusal> {
    let chosen = match ledger.filter(ask, names, now) {
        FilterVerdict::Narrowed(chosen) => chosen,
        FilterVerdict::Pass(_) => (0..names.len() as u32).collect(),
        FilterVerdict::Refused(why) | FilterVerdict::NodesFull(why) => return Err(why),
    };
    let node = names[chosen[0] as usize].clone();
    match ledger.bind((&ask.pod.uid, &ask.pod.namespace), &node, now) {
        BindVerdict::Send(_) => {
            ledger.settle(&ask.pod.uid, Outcome::Bound);
            Ok(node)
        }
        BindVerdict::Already => Ok(node),
        BindVerdict::Refused(why) => Err(why),
    }
}

fn kept(verdict: Option<PreemptVerdict>) -> Option<Vec<u32>> {
    verdict.map(|verdict| verdict.kept)
}

fn spent(domain: &str) -> Refusal {
    Refusal::Borrowing { domain: Arc::from(domain), resource: Resource::Cpu }
}

#[test]
fn a_domain_is_filled_to_the_last_thousandth_and_not_beyond() {
    let mut ledger = ledger();
    let names = names("a", 10);
    for number in 0..50 {
        let name = format!("p{number}");
        place(&mut ledger, &ask("pay", &name, 1000), &names, at(0.0)).unwrap();
    }
    let refused = place(&mut ledger, &ask("pay", "more", 1), &names, at(0.0));
    assert_eq!(refused, Err(spent("payments")));
    assert_eq!(
        refused.unwrap_err().to_string(),
        "budget: domain payments may borrow no more cpu in the shared node pools"
    );
    assert!(place(&mut ledger, &ask("plat", "other", 1000), &names, at(0.0)).is_ok());
    assert_eq!(ledger.sums(), ledger.recount());
    // The end of one pod is room for the next.
    ledger.remove_pod("uid-p3");
    assert!(place(&mut ledger, &ask("pay", "more", 1000), &names, at(0.0)).is_ok());
}

#[test]
fn memory_is_a_limit_of_its_own() {
    let mut ledger = ledger();
    let mut big = ask("pay", "big", 1);
    big.pod.request.memory = 501 * GI;
    let why = place(&mut ledger, &big, &names("a", 10), at(0.0)).unwrap_err();
    assert!(why.to_string().contains("memory"), "{why}");
    big.pod.request.memory = 500 * GI;
    assert!(place(&mut ledger, &big, &names("a", 10), at(0.0)).is_ok());
}

#[test]
fn a_hold_counts_until_it_expires_and_is_replaced_by_the_next() {
    let mut ledger = ledger();
    let names = names("a", 10);
    let whole = ask("pay", "whole", 50_000);
    assert!(matches!(ledger.filter(&whole, &names, at(0.0)), FilterVerdict::Narrowed(_)));
    assert!(matches!(ledger.filter(&whole, &names, at(1.0)), FilterVerdict::Narrowed(_)));
    let other = ask("pay", "other", 1000);
    assert_eq!(ledger.filter(&other, &names, at(2.0)), FilterVerdict::Refused(spent("payments")));
    assert!(matches!(ledger.filter(&other, &names, at(31.5)), FilterVerdict::Narrowed(_)));
    assert_eq!(ledger.sums(), ledger.recount());
    // Its hold is gone, so the bind is judged anew.
    let bind = ledger.bind(("uid-whole", "pay"), "a0", at(32.0));
    // A pod that no watch has shown and that holds nothing is forgotten.
    assert_eq!(bind, BindVerdict::Refused(Refusal::UnknownPod));
}

#[test]
fn a_refusal_by_the_scheduler_after_our_answer_frees_the_hold() {
    let mut ledger = ledger();
    let names = names("a", 10);
    let ask = ask("pay", "p", 50_000);
    ledger.put_pod(&ask.pod);
    ledger.filter(&ask, &names, at(0.0));
    assert_eq!(ledger.uses(at(0.0))[0].held, cpu(50_000));
    ledger.put_pod(&Pod { unscheduled: 42, ..ask.pod.clone() });
    assert_eq!(ledger.uses(at(0.0))[0].held, Amount::ZERO);
    // The same words again say nothing new.
    ledger.filter(&ask, &names, at(1.0));
    ledger.put_pod(&Pod { unscheduled: 42, ..ask.pod });
    assert_eq!(ledger.uses(at(1.0))[0].held, cpu(50_000));
}

#[test]
fn ten_nodes_are_named_the_fullest_for_work_that_can_wait_and_the_emptiest_for_the_rest() {
    let mut ledger = ledger();
    for number in 10..40 {
        ledger.put_node(&format!("a{number}"), node("a", 10_000));
    }
    for number in 0..20 {
        let mut one = pod("plat", &format!("x{number}"), 100 * (number + 1));
        one.node = Some(Arc::from(format!("a{number}")));
        ledger.put_pod(&one);
    }
    let names = names("a", 40);
    let chosen = |verdict| match verdict {
        FilterVerdict::Narrowed(chosen) => chosen,
        other => panic!("{other:?}"),
    };
    let packed = chosen(ledger.filter(&ask("plat", "p3", 1), &names, at(0.0)));
    assert_eq!(packed, [19, 18, 17, 16, 15, 14, 13, 12, 11, 10]);
    let spread = chosen(ledger.filter(&ask("pay", "p0", 1), &names, at(0.0)));
    assert_eq!(spread, (20..30).collect::<Vec<u32>>());
    let wide = Ask { keeps_choice: true, ..ask("pay", "zones", 1) };
    assert_eq!(chosen(ledger.filter(&wide, &names, at(0.0))).len(), 40);
    let scores = ledger.prioritize(&ask("plat", "p3", 1), &["a19", "a0", "nowhere"]);
    assert!(scores[0] > scores[1] && scores[2] == 5, "{scores:?}");
}

#[test]
fn a_pod_is_narrowed_to_one_pool_and_to_another_after_it_failed_there() {
    let mut ledger = ledger();
    for number in 0..10 {
        ledger.put_node(&format!("b{number}"), node("b", 9_000));
    }
    let both: Vec<String> = names("a", 5).into_iter().chain(names("b", 5)).collect();
    let ask = Ask { keeps_choice: true, ..ask("pay", "p", 1000) };
    // The pool with more headroom.
    assert_eq!(ledger.filter(&ask, &both, at(0.0)), FilterVerdict::Narrowed(vec![0, 1, 2, 3, 4]));
    assert_eq!(ledger.filter(&ask, &both, at(0.1)), FilterVerdict::Narrowed(vec![0, 1, 2, 3, 4]));
    assert_eq!(ledger.filter(&ask, &both, at(2.0)), FilterVerdict::Narrowed(vec![5, 6, 7, 8, 9]));
}

#[test]
fn a_dedicated_pool_needs_no_budget() {
    let mut ledger = ledger();
    ledger.put_node("own0", node("own", 1000));
    let huge = ask("pay", "huge", 900_000);
    assert_eq!(ledger.filter(&huge, &["a0", "own0"], at(0.0)), FilterVerdict::Narrowed(vec![1]));
    assert!(matches!(
        ledger.bind(("uid-huge", "pay"), "own0", at(0.0)),
        BindVerdict::Send(Some(Grant { .. }))
    ));
}

#[test]
fn budget_in_a_pool_that_was_not_offered_is_no_refusal() {
    let mut ledger = ledger();
    ledger.install(Budgets {
        domains: vec![
            DomainBudget {
                pool_shares: vec![(Arc::from("b"), 0.5)],
                ..budget("payments", Class::P0, 0.0)
            },
            budget("platform", Class::P3, 0.5),
        ],
        ..budgets(2, 0.0, 0.5)
    });
    ledger.put_node("b0", node("b", 10_000));
    let here = ask("pay", "p", 1000);
    let offered = ["a0", "a1"];
    let full = Refusal::NodesFull { domain: Arc::from("payments") };
    assert_eq!(ledger.filter(&here, &offered, at(0.0)), FilterVerdict::NodesFull(full));
    // A selector or a taint keeps it out of that pool: then it is the budget.
    let picky = Ask {
        needs: Arc::new(Needs {
            selects: vec![vec![crate::placement::Expression {
                key: "pool".to_owned(),
                operator: Operator::In,
                values: vec!["a".to_owned()],
            }]],
            ..Needs::default()
        }),
        ..here.clone()
    };
    let refused = FilterVerdict::Refused(spent("payments"));
    assert_eq!(ledger.filter(&picky, &offered, at(0.0)), refused);
    let taint =
        Taint { key: "k".to_owned(), value: "v".to_owned(), effect: "NoSchedule".to_owned() };
    ledger.put_node("b0", NodeFacts { taints: vec![taint], ..node("b", 10_000) });
    assert_eq!(ledger.filter(&here, &offered, at(0.0)), refused);
    let tolerant = Ask { needs: tolerates("k"), ..here };
    assert!(matches!(ledger.filter(&tolerant, &offered, at(0.0)), FilterVerdict::NodesFull(_)));
}

#[test]
fn a_breach_or_an_emergency_widens_the_target_by_the_band() {
    let mut ledger = ledger();
    let names = names("a", 10);
    place(&mut ledger, &ask("pay", "base", 50_000), &names, at(0.0)).unwrap();
    let p0 = |name: &str, milli| ask("pay", name, milli);
    let p2 = |name: &str, milli| {
        let mut ask = ask("pay", name, milli);
        ask.pod.priority_class = Arc::from("hirl-p2");
        ask
    };
    assert_eq!(place(&mut ledger, &p0("n", 1), &names, at(0.0)), Err(spent("payments")));
    let mut breach = budgets(2, 0.5, 0.3);
    breach.domains[0].breach_until = Some(at(100.0));
    assert!(ledger.install(breach.clone()));
    assert_eq!(place(&mut ledger, &p2("q", 1), &names, at(1.0)), Err(spent("payments")));
    assert!(place(&mut ledger, &p0("r", 5000), &names, at(1.0)).is_ok());
    assert_eq!(place(&mut ledger, &p0("s", 1), &names, at(1.0)), Err(spent("payments")));
    ledger.remove_pod("uid-r");
    // Time-boxed.
    assert_eq!(place(&mut ledger, &p0("t", 1), &names, at(100.0)), Err(spent("payments")));
    breach.epoch.sequence = 3;
    breach.domains[0].breach_until = None;
    breach.domains[0].emergency_until = Some(at(200.0));
    assert!(ledger.install(breach));
    assert!(place(&mut ledger, &p2("u", 5000), &names, at(101.0)).is_ok());
    assert_eq!(place(&mut ledger, &p2("v", 1), &names, at(101.0)), Err(spent("payments")));
}

#[test]
fn the_reserve_is_for_p0_and_emergencies() {
    let mut ledger = ledger();
    let names = names("a", 10);
    // 50 + 30 cores and a reserve of 20: a foreign bind has put platform above its own.
    let mut over = pod("plat", "over", 45_000);
    over.node = Some(Arc::from("a1"));
    ledger.put_pod(&over);
    assert_eq!(ledger.counts().foreign_binds, 1);
    // To a follower every Binding looks like somebody else's.
    ledger.stand(Standing::Follower);
    let mut theirs = pod("plat", "theirs", 1);
    theirs.node = Some(Arc::from("a1"));
    ledger.put_pod(&theirs);
    ledger.remove_pod(&theirs.uid);
    ledger.stand(Standing::Owner);
    assert_eq!(ledger.counts().foreign_binds, 1);
    let mut lending = budgets(2, 0.5, 0.3);
    lending.domains[0].borrowing = LoanLimit::Unlimited;
    assert!(ledger.install(lending));
    let low = |name: &str, milli| {
        let mut ask = ask("pay", name, milli);
        ask.pod.priority_class = Arc::from("hirl-p1");
        ask
    };
    // What the lower domain borrows stands in the reserve; without that it is kept.
    ledger.remove_pod("uid-over");
    assert!(place(&mut ledger, &low("a", 80_000), &names, at(0.0)).is_ok());
    let reserve = Refusal::Reserve { domain: Arc::from("payments"), resource: Resource::Cpu };
    assert_eq!(place(&mut ledger, &low("b", 1000), &names, at(0.0)), Err(reserve));
    assert!(place(&mut ledger, &ask("pay", "c", 1000), &names, at(0.0)).is_ok());
}

#[test]
fn older_budgets_never_replace_newer_ones_and_a_hold_survives_one_change() {
    let mut ledger = ledger();
    let names = names("a", 10);
    assert!(ledger.install(budgets(5, 0.5, 0.5)));
    assert!(!ledger.install(budgets(4, 0.9, 0.1)));
    for name in ["x", "y"] {
        ledger.filter(&ask("pay", name, 1000), &names, at(0.0));
    }
    assert!(ledger.install(budgets(6, 0.0, 0.5)));
    // The same shares under a new number are no change.
    assert!(ledger.install(budgets(7, 0.0, 0.5)));
    assert!(matches!(
        ledger.bind(("uid-x", "pay"), "a0", at(1.0)),
        BindVerdict::Send(Some(Grant { held: true, .. }))
    ));
    ledger.settle("uid-x", Outcome::Bound);
    assert!(ledger.install(budgets(8, 0.1, 0.5)));
    assert!(ledger.install(budgets(9, 0.0, 0.5)));
    assert_eq!(
        ledger.bind(("uid-y", "pay"), "a0", at(1.0)),
        BindVerdict::Refused(spent("payments"))
    );
    // What stands is not touched.
    assert_eq!(ledger.uses(at(1.0))[0].bound, cpu(1000));
}

#[test]
fn a_bind_is_the_same_however_often_it_is_asked() {
    let mut ledger = ledger();
    let names = names("a", 10);
    let ask = ask("pay", "p", 1000);
    ledger.put_pod(&ask.pod);
    ledger.filter(&ask, &names, at(0.0));
    assert!(matches!(ledger.bind(("uid-p", "pay"), "a3", at(0.0)), BindVerdict::Send(Some(_))));
    // Meanwhile the scheduler asks again, and a second scheduler too.
    assert_eq!(ledger.filter(&ask, &names, at(0.1)), FilterVerdict::Narrowed(vec![3]));
    assert_eq!(
        ledger.filter(&ask, &["a4"], at(0.1)),
        FilterVerdict::Refused(Refusal::BindInProgress)
    );
    assert_eq!(
        ledger.bind(("uid-p", "pay"), "a4", at(0.1)),
        BindVerdict::Refused(Refusal::BindInProgress)
    );
    ledger.settle("uid-p", Outcome::Unknown);
    assert_eq!(ledger.unsettled().len(), 1);
    assert_eq!(ledger.uses(at(0.0))[0].binding, cpu(1000));
    // Sent again: the API server makes it once at most.
    assert!(matches!(ledger.bind(("uid-p", "pay"), "a3", at(1.0)), BindVerdict::Send(Some(_))));
    ledger.settle("uid-p", Outcome::Bound);
    assert_eq!(ledger.bind(("uid-p", "pay"), "a3", at(2.0)), BindVerdict::Already);
    assert_eq!(
        ledger.bind(("uid-p", "pay"), "a4", at(2.0)),
        BindVerdict::Refused(Refusal::OtherNode)
    );
    assert!(ledger.unsettled().is_empty());
    assert_eq!(ledger.counts().foreign_binds, 0);
    // The watch agrees, and an older event does not undo it.
    ledger.put_pod(&ask.pod);
    ledger.put_pod(&Pod { node: Some(Arc::from("a3")), ..ask.pod });
    assert_eq!(ledger.uses(at(0.0))[0].bound, cpu(1000));
    assert_eq!(ledger.sums(), ledger.recount());
}

#[test]
fn without_ownership_or_budgets_nobody_is_let_in_but_those_who_need_none() {
    let mut ledger = ledger();
    let names = names("a", 2);
    let daemon =
        Ask { pod: Pod { bound_to_its_node: true, ..pod("pay", "daemon", 1) }, ..Ask::default() };
    let critical =
        Ask { pod: Pod { priority: 2_000_000_000, ..pod("pay", "critical", 1) }, ..Ask::default() };
    ledger.stand(Standing::Warming);
    for (who, why) in [
        (&ask("kube-system", "dns", 1), Bypass::Namespace),
        (&ask("hirl-system", "hirl", 1), Bypass::Namespace),
        (&daemon, Bypass::DaemonSet),
        (&critical, Bypass::SystemPriority),
    ] {
        assert_eq!(ledger.filter(who, &names, at(0.0)), FilterVerdict::Pass(why));
        let bind = ledger.bind((&who.pod.uid, &who.pod.namespace), "a0", at(0.0));
        assert_eq!(bind, BindVerdict::Send(None));
    }
    // Whose domains may not all be known yet.
    let stranger = ask("elsewhere", "s", 1);
    let warming = FilterVerdict::Refused(Refusal::Warming);
    assert_eq!(ledger.filter(&stranger, &names, at(0.0)), warming);
    assert_eq!(ledger.filter(&ask("pay", "p", 1), &names, at(0.0)), warming);
    assert_eq!(kept(ledger.preempt(&stranger, &[("a0", vec!["uid-dns"])], at(0.0))), Some(vec![]));
    ledger.stand(Standing::Owner);
    assert_eq!(ledger.filter(&stranger, &names, at(0.0)), FilterVerdict::Pass(Bypass::NoDomain));
    let mut young = Ledger::new(Settings::default(), &[], "hirl-system");
    young.stand(Standing::Owner);
    young.set_namespaces(HashMap::from([(Arc::from("pay"), Arc::from("payments"))]));
    young.put_node("a0", node("a", 1));
    let none = FilterVerdict::Refused(Refusal::NoBudgets);
    assert_eq!(young.filter(&ask("pay", "p", 1), &["a0"], at(0.0)), none);
}

#[test]
fn odd_questions_get_plain_answers() {
    let mut ledger = ledger();
    let none: [&str; 0] = [];
    let one = ask("pay", "p", 1);
    assert_eq!(ledger.filter(&one, &none, at(0.0)), FilterVerdict::Narrowed(vec![]));
    assert_eq!(
        ledger.filter(&one, &["nowhere"], at(0.0)),
        FilterVerdict::Refused(Refusal::UnknownNode)
    );
    assert_eq!(ledger.filter(&one, &["nowhere", "a1"], at(0.0)), FilterVerdict::Narrowed(vec![1]));
    assert_eq!(
        ledger.bind(("uid-p", "pay"), "nowhere", at(0.0)),
        BindVerdict::Refused(Refusal::UnknownNode)
    );
    assert_eq!(
        ledger.bind(("uid-none", "pay"), "a1", at(0.0)),
        BindVerdict::Refused(Refusal::UnknownPod)
    );
    ledger.settle("uid-none", Outcome::Bound);
    ledger.remove_pod("uid-none");
    // Nothing is left of a pod that nobody has ever shown.
    ledger.filter(&one, &none, at(100.0));
    assert_eq!(ledger.pods(), 0);
}

#[test]
fn a_nodes_pods_move_with_its_label_and_come_back_with_the_node() {
    let mut ledger = ledger();
    let mut one = pod("pay", "p", 3000);
    one.node = Some(Arc::from("a0"));
    ledger.put_pod(&one);
    ledger.put_node("a0", node("b", 10_000));
    let used = |ledger: &mut Ledger, pool: &str| {
        let uses = ledger.uses(at(0.0));
        uses.iter().find(|one| &*one.pool == pool && &*one.domain == "payments").unwrap().bound
    };
    assert_eq!((used(&mut ledger, "a"), used(&mut ledger, "b")), (Amount::ZERO, cpu(3000)));
    ledger.remove_node("a0");
    assert_eq!(used(&mut ledger, "b"), Amount::ZERO);
    ledger.put_node("a0", node("a", 10_000));
    assert_eq!(used(&mut ledger, "a"), cpu(3000));
    // A resize in place.
    ledger.put_pod(&Pod { request: cpu(4000), ..one });
    assert_eq!(used(&mut ledger, "a"), cpu(4000));
    assert_eq!(ledger.sums(), ledger.recount());
}

#[test]
fn a_list_takes_away_what_it_does_not_show() {
    let mut ledger = ledger();
    for name in ["x", "y"] {
        ledger.put_pod(&Pod { node: Some(Arc::from("a0")), ..pod("pay", name, 1000) });
    }
    ledger.begin_pods();
    ledger.put_pod(&Pod { node: Some(Arc::from("a0")), ..pod("pay", "x", 1000) });
    // Bound by us while the list was under way: not in it, and not gone.
    place(&mut ledger, &ask("pay", "new", 500), &names("a", 10), at(0.0)).unwrap();
    ledger.end_pods();
    assert_eq!(ledger.uses(at(0.0))[0].bound, cpu(1500));
    assert_eq!(ledger.counts().foreign_binds, 2);
    ledger.begin_nodes();
    ledger.end_nodes();
    assert!(ledger.recount().is_empty() && ledger.sums().is_empty());
}

fn bound(ledger: &mut Ledger, namespace: &str, name: &str, class: &str, milli: u64, node: &str) {
    ledger.put_pod(&Pod {
        priority_class: Arc::from(class),
        node: Some(Arc::from(node)),
        ..pod(namespace, name, milli)
    });
}

#[test]
fn preemption_takes_only_what_the_pod_has_a_right_to_and_only_if_it_then_runs() {
    let mut ledger = ledger();
    bound(&mut ledger, "pay", "low", "hirl-p3", 5000, "a0");
    bound(&mut ledger, "pay", "rest", "", 5000, "a0");
    bound(&mut ledger, "pay", "top", "", 10_000, "a1");
    bound(&mut ledger, "plat", "other", "", 9000, "a2");
    let candidates = [
        ("a0", vec!["uid-low"]),
        ("a1", vec!["uid-top"]),
        ("a2", vec!["uid-other"]),
        ("a3", vec![]),
        ("a4", vec!["uid-unknown"]),
        ("a5", vec!["uid-low"]),
        ("nowhere", vec!["uid-low"]),
    ];
    let mut chosen = |ask: &Ask| kept(ledger.preempt(ask, &candidates, at(0.0)));
    // Its own lower class, and a lower domain above its floor of 0.
    assert_eq!(chosen(&ask("pay", "p", 5000)), Some(vec![0, 2]));
    // On the first node it would not run.
    assert_eq!(chosen(&ask("pay", "p", 5001)), Some(vec![2]));
    assert_eq!(chosen(&ask("kube-system", "dns", 5000)), None);
    // A lower domain has no right to anybody else's place.
    assert_eq!(chosen(&ask("plat", "p", 5000)), Some(vec![]));
    // A floor is kept, after the victim is gone.
    let mut floored = budgets(2, 0.5, 0.5);
    floored.domains[1].floor = 0.05;
    assert!(ledger.install(floored));
    assert_eq!(kept(ledger.preempt(&ask("pay", "p", 1000), &candidates, at(0.0))), Some(vec![0]));
}

#[test]
fn victims_are_told_with_both_pods_and_the_right_and_granted_a_few_times_only() {
    let mut ledger = ledger();
    bound(&mut ledger, "plat", "other", "", 9000, "a2");
    let asks = ask("pay", "p", 5000);
    ledger.put_pod(&asks.pod);
    let candidates = [("a2", vec!["uid-other"])];
    for _ in 0..Settings::default().preemptions {
        assert_eq!(kept(ledger.preempt(&asks, &candidates, at(0.0))), Some(vec![0]));
    }
    // Somebody else must be taking what is freed: enough.
    assert_eq!(kept(ledger.preempt(&asks, &candidates, at(0.0))), Some(vec![]));
    assert!(ledger.take_notices().is_empty());
    ledger.put_pod(&Pod {
        deleting: true,
        node: Some(Arc::from("a2")),
        ..pod("plat", "other", 9000)
    });
    let told = ledger.take_notices();
    assert_eq!((told.len(), told[0].path), (1, Path::Reclaimed));
    assert_eq!((&*told[0].victim.2, &*told[0].preemptor.2), ("other", "p"));
    assert!(told[0].text().contains("pay/p"), "{}", told[0].text());
    // Once it runs, it may ask again another day.
    ledger.put_pod(&Pod { node: Some(Arc::from("a2")), ..asks.pod.clone() });
    ledger.put_pod(&Pod { node: None, ..asks.pod.clone() });
    ledger.remove_pod(&asks.pod.uid);
    bound(&mut ledger, "plat", "next", "", 9000, "a2");
    ledger.remove_pod("uid-other");
    assert_eq!(kept(ledger.preempt(&asks, &[("a2", vec!["uid-next"])], at(0.0))), Some(vec![0]));
}

/// The domains may borrow from each other.
fn lending() -> Ledger {
    let mut ledger = ledger();
    let mut lending = budgets(2, 0.3, 0.6);
    for domain in &mut lending.domains {
        domain.borrowing = LoanLimit::Unlimited;
    }
    lending.domains[1].floor = 0.1;
    assert!(ledger.install(lending));
    ledger
}

#[test]
fn what_a_lower_class_borrows_is_open_to_a_higher_one_and_not_the_other_way() {
    let mut ledger = lending();
    let names = names("a", 10);
    for number in 0..9 {
        let plat = ask("plat", &format!("low{number}"), 10_000);
        place(&mut ledger, &plat, &names[number..=number], at(0.0)).unwrap();
    }
    let full = Refusal::Reserve { domain: Arc::from("platform"), resource: Resource::Cpu };
    assert_eq!(place(&mut ledger, &ask("plat", "low9", 10_000), &names, at(0.0)), Err(full));
    // Beyond its own share of 30 cores, up to the floor of the other.
    for number in 0..9 {
        let pay = ask("pay", &format!("high{number}"), 10_000);
        let verdict = ledger.filter(&pay, &names, at(0.0));
        assert!(matches!(verdict, FilterVerdict::Narrowed(_)), "{number}: {verdict:?}");
    }
    let full = Refusal::Budget { domain: Arc::from("payments"), resource: Resource::Cpu };
    let last = ask("pay", "high9", 10_000);
    assert_eq!(ledger.filter(&last, &names, at(0.0)), FilterVerdict::Refused(full));
}

#[test]
fn a_pool_that_can_grow_lets_entitled_pods_wait_for_its_nodes() {
    let mut ledger = lending();
    let names = names("a", 10);
    place(&mut ledger, &ask("pay", "most", 95_000), &names, at(0.0)).unwrap();
    let more = ask("pay", "more", 20_000);
    assert!(matches!(ledger.filter(&more, &names, at(0.0)), FilterVerdict::Refused(_)));
    ledger.set_growth(HashMap::from([(
        Arc::from("a"),
        Amount { cpu_milli: 200_000, memory: 2000 * GI },
    )]));
    assert!(matches!(ledger.filter(&more, &names, at(0.0)), FilterVerdict::Narrowed(_)));
    ledger.set_growth(HashMap::from([(Arc::from("a"), UNLIMITED)]));
    let huge = ask("pay", "huge", 9_000_000);
    assert!(matches!(ledger.filter(&huge, &names, at(0.0)), FilterVerdict::Narrowed(_)));
    assert_eq!(ledger.uses(at(0.0))[0].growth, None);
}

#[test]
fn room_that_a_higher_class_waits_for_is_kept_from_lower_ones_for_a_time() {
    let mut ledger = lending();
    let names = names("a", 10);
    let waits =
        Pod { unschedulable: Some(Arc::default()), unscheduled: 1, ..pod("pay", "waits", 10_000) };
    ledger.put_pod(&waits);
    for node in 0..9 {
        bound(&mut ledger, "pay", &format!("full{node}"), "", 7000, &format!("a{node}"));
    }
    // The emptiest nodes are kept, up to 10 cores: one that is empty.
    let low = |name: &str| ask("plat", name, 2000);
    bound(&mut ledger, "plat", "floor", "", 10_000, "elsewhere");
    bound(&mut ledger, "plat", "floor2", "", 9500, "a9");
    ledger.remove_pod("uid-floor2");
    bound(&mut ledger, "plat", "floor3", "", 1, "a9");
    let mut above = budgets(3, 0.3, 0.6);
    for domain in &mut above.domains {
        domain.borrowing = LoanLimit::Unlimited;
    }
    assert!(ledger.install(above));
    match ledger.filter(&low("low"), &names, at(0.0)) {
        FilterVerdict::Narrowed(chosen) => assert!(!chosen.contains(&9), "{chosen:?}"),
        other => panic!("{other:?}"),
    }
    let guarded = Refusal::Guarded { domain: Arc::from("platform") };
    assert_eq!(
        ledger.filter(&low("alone"), &["a9"], at(0.0)),
        FilterVerdict::Refused(guarded.clone())
    );
    // Its own class and what goes before are kept from nothing.
    assert!(matches!(
        ledger.filter(&ask("pay", "h", 10), &["a9"], at(0.0)),
        FilterVerdict::Narrowed(_)
    ));
    // Not for ever.
    let late = at(Settings::default().guard_seconds + 1.0);
    assert!(matches!(ledger.filter(&low("alone"), &["a9"], late), FilterVerdict::Narrowed(_)));
}

#[test]
fn a_pod_that_no_node_could_ever_hold_keeps_nothing_from_anybody() {
    let mut ledger = lending();
    ledger.put_pod(&Pod {
        unschedulable: Some(Arc::default()),
        unscheduled: 1,
        ..pod("pay", "impossible", 90_000)
    });
    let low = ask("plat", "low", 10_000);
    assert!(place(&mut ledger, &low, &names("a", 10), at(0.0)).is_ok());
    assert!(matches!(
        ledger.filter(&ask("plat", "more", 10_000), &names("a", 10), at(0.0)),
        FilterVerdict::Narrowed(_)
    ));
}

#[test]
fn nodes_that_ordinary_pods_cannot_use_are_no_capacity_for_them() {
    let mut ledger = lending();
    let taint =
        Taint { key: "gpu".to_owned(), value: String::new(), effect: "NoSchedule".to_owned() };
    for number in 5..10 {
        let tainted = NodeFacts { taints: vec![taint.clone()], ..node("a", 10_000) };
        ledger.put_node(&format!("a{number}"), tainted);
    }
    assert_eq!(ledger.uses(at(0.0))[0].target.cpu_milli, 15_000);
    let names = names("a", 10);
    let big = ask("pay", "big", 60_000);
    assert!(matches!(ledger.filter(&big, &names, at(0.0)), FilterVerdict::Refused(_)));
    let tolerant = Ask { needs: tolerates("gpu"), ..big };
    assert!(matches!(ledger.filter(&tolerant, &names, at(0.0)), FilterVerdict::Narrowed(_)));
    ledger.remove_pod("uid-big");
    // What stands on the others is not charged against these, and what is cordoned is none.
    bound(&mut ledger, "plat", "train", "", 10_000, "a9");
    place(&mut ledger, &ask("pay", "most", 40_000), &names[..5], at(31.0)).unwrap();
    ledger.put_node("a4", NodeFacts { usable: None, ..node("a", 10_000) });
    assert!(matches!(
        ledger.filter(&ask("pay", "one", 10_000), &names[..4], at(31.0)),
        FilterVerdict::Refused(_)
    ));
    assert_eq!(ledger.sums(), ledger.recount());
}

#[test]
fn freed_budget_belongs_to_the_pod_for_which_it_was_freed() {
    let mut ledger = ledger();
    let names = names("a", 10);
    bound(&mut ledger, "pay", "base", "", 45_000, "a0");
    let waits = Pod { nominated: Some(Arc::from("a1")), ..pod("pay", "waits", 5000) };
    ledger.put_pod(&waits);
    let refused = place(&mut ledger, &ask("pay", "thief", 1000), &names, at(0.0));
    assert_eq!(refused, Err(spent("payments")));
    let place = place(&mut ledger, &Ask { pod: waits, ..Ask::default() }, &names, at(0.0));
    assert!(place.is_ok());
}

#[test]
fn gates_open_by_class_then_age_within_the_headroom() {
    let mut ledger = ledger();
    bound(&mut ledger, "pay", "base", "", 46_000, "a0");
    let gated = |name: &str, class: &str, milli, seconds| Pod {
        gated: true,
        gated_by_us: true,
        priority_class: Arc::from(class),
        created: at(seconds),
        ..pod("pay", name, milli)
    };
    for pod in [
        gated("old-p3", "hirl-p3", 1000, 0.0),
        gated("young-p2", "hirl-p2", 1000, 9.0),
        gated("old-p2", "hirl-p2", 2000, 1.0),
        gated("never", "hirl-p2", 60_000, 0.0),
        gated("late-p3", "hirl-p3", 1000, 5.0),
    ] {
        ledger.put_pod(&pod);
    }
    let through = |ledger: &mut Ledger, most| -> Vec<String> {
        ledger
            .ungate(most, &|_| false, at(10.0))
            .iter()
            .map(|(_, _, name)| name.to_string())
            .collect()
    };
    assert_eq!(through(&mut ledger, 100), ["old-p2", "young-p2", "old-p3"]);
    assert_eq!(through(&mut ledger, 1), ["old-p2"]);
    // One that was let through counts until it is placed.
    ledger.put_pod(&pod("pay", "old-p2", 2000));
    assert_eq!(through(&mut ledger, 100), ["young-p2", "old-p3"]);
    ledger.stand(Standing::Follower);
    assert!(through(&mut ledger, 100).is_empty());
}

/// Names of the pods to evict, in order.
fn evicted(excess: &[Eviction]) -> Vec<&str> {
    excess.iter().flat_map(|one| &one.victims).map(|victim| &*victim.pod.2).collect()
}

#[test]
fn excess_is_named_after_its_delay_lowest_class_and_youngest_first() {
    let mut ledger = ledger();
    for (name, class, seconds) in
        [("old", "hirl-p3", 1.0), ("young", "hirl-p3", 2.0), ("top", "hirl-p0", 3.0)]
    {
        ledger.put_pod(&Pod {
            created: at(seconds),
            priority_class: Arc::from(class),
            node: Some(Arc::from("a0")),
            ..pod("pay", name, 1000)
        });
    }
    assert!(ledger.install(budgets(2, 0.02, 0.5)));
    assert!(ledger.excess((60.0, 10), &|_| false, at(0.0)).is_empty());
    assert!(ledger.excess((60.0, 10), &|_| false, at(59.0)).is_empty());
    let excess = ledger.excess((60.0, 10), &|_| false, at(60.0));
    let named = evicted(&excess);
    assert_eq!(named, ["young"]);
    // Back under the limit, the time starts anew.
    assert!(ledger.install(budgets(3, 0.5, 0.5)));
    assert!(ledger.excess((60.0, 10), &|_| false, at(61.0)).is_empty());
    assert!(ledger.install(budgets(4, 0.02, 0.5)));
    assert!(ledger.excess((60.0, 10), &|_| false, at(62.0)).is_empty());
}

#[test]
fn what_is_borrowed_is_reclaimed_for_those_who_wait_and_never_below_a_floor() {
    let mut ledger = lending();
    for number in 0..10 {
        let name = format!("low{number}");
        ledger.put_pod(&Pod {
            created: at(f64::from(number)),
            node: Some(Arc::from(format!("a{number}"))),
            ..pod("plat", &name, 9000)
        });
    }
    assert!(
        ledger.excess((60.0, 10), &|_| false, at(100.0)).is_empty(),
        "borrowing alone is no reason"
    );
    let waits =
        Pod { unschedulable: Some(Arc::default()), unscheduled: 1, ..pod("pay", "waits", 10_000) };
    ledger.put_pod(&waits);
    assert!(ledger.excess((60.0, 10), &|_| false, at(100.0)).is_empty());
    // One node is what it takes, by the youngest pod; where that may not go, the next one goes.
    assert_eq!(evicted(&ledger.excess((60.0, 10), &|_| false, at(111.0))), ["low9"]);
    assert_eq!(evicted(&ledger.excess((60.0, 10), &|uid| uid == "uid-low9", at(111.0))), ["low8"]);
    // All of it is wanted back: the floor of 10 cores stays.
    for number in 0..20 {
        let name = format!("waits{number}");
        ledger.put_pod(&Pod { uid: Arc::from(&*name), ..waits.clone() });
    }
    assert!(ledger.excess((60.0, 10), &|_| false, at(112.0)).len() <= 2, "they wait since now");
    assert_eq!(ledger.excess((60.0, 10), &|_| false, at(130.0)).len(), 8);
}

#[test]
fn a_pod_that_its_own_limit_keeps_out_keeps_out_nobody_and_costs_nobody() {
    let mut ledger = lending();
    let mut capped = budgets(3, 0.3, 0.6);
    capped.domains[0].borrowing = LoanLimit::None;
    capped.domains[1].borrowing = LoanLimit::Unlimited;
    assert!(ledger.install(capped));
    bound(&mut ledger, "pay", "own", "", 9000, "a0");
    for number in 1..10 {
        bound(&mut ledger, "plat", &format!("low{number}"), "", 6000, &format!("a{number}"));
    }
    // The scheduler found no node for two pods of which the domain may have one more ...
    for name in ["one", "two", "three"] {
        ledger.put_pod(&Pod {
            unschedulable: Some(Arc::default()),
            unscheduled: 1,
            created: at(if name == "one" { 0.0 } else { 1.0 }),
            ..pod("pay", name, 10_000)
        });
    }
    let waiting = |ledger: &mut Ledger, seconds| ledger.uses(at(seconds))[0].waiting.cpu_milli;
    assert_eq!(waiting(&mut ledger, 0.0), 20_000);
    // ... so that lower classes go for two, each on one node, and nobody for the third.
    let excess = ledger.excess((60.0, 10), &|_| false, at(20.0));
    assert_eq!(excess.len(), 2);
    for eviction in &excess {
        ledger.note_evicted(&eviction.victims[0].pod.0);
    }
    assert!(ledger.excess((60.0, 10), &|_| false, at(21.0)).is_empty(), "they are going");
    bound(&mut ledger, "pay", "more", "", 20_000, "a0");
    assert_eq!(waiting(&mut ledger, 30.0), 0);
    let verdict = ledger.filter(&ask("plat", "low", 1000), &names("a", 10), at(30.0));
    assert!(matches!(verdict, FilterVerdict::Narrowed(_)), "{verdict:?}");
}

#[test]
fn nobody_is_evicted_for_a_pod_that_no_node_can_hold_beside_what_stays() {
    let mut ledger = lending();
    for number in 0..10 {
        bound(&mut ledger, "pay", &format!("high{number}"), "", 1000, &format!("a{number}"));
        bound(&mut ledger, "plat", &format!("low{number}"), "", 9000, &format!("a{number}"));
    }
    let whole = |name: &str, milli| Pod {
        unschedulable: Some(Arc::default()),
        unscheduled: 1,
        ..pod("pay", name, milli)
    };
    ledger.put_pod(&whole("whole", 10_000));
    assert!(ledger.excess((60.0, 10), &|_| false, at(0.0)).is_empty(), "it waits since now");
    assert!(ledger.excess((60.0, 10), &|_| false, at(60.0)).is_empty());
    ledger.put_pod(&whole("less", 9000));
    assert!(ledger.excess((60.0, 10), &|_| false, at(60.0)).is_empty(), "it waits since now");
    assert_eq!(ledger.excess((60.0, 10), &|_| false, at(75.0)).len(), 1);
}

#[test]
fn nobody_goes_whose_place_is_not_needed() {
    let mut ledger = lending();
    for number in 0..10 {
        bound(&mut ledger, "pay", &format!("high{number}"), "", 6000, &format!("a{number}"));
    }
    // Youngest first: two that free nothing or little, then one whose place is enough.
    for (name, milli, created) in [("enough", 4000, 1.0), ("little", 0, 2.0), ("none", 0, 3.0)] {
        for node in 0..8 {
            ledger.put_pod(&Pod {
                created: at(created),
                node: Some(Arc::from(format!("a{node}"))),
                ..pod("plat", &format!("{name}{node}"), milli)
            });
        }
    }
    for node in 8..10 {
        bound(&mut ledger, "pay", &format!("more{node}"), "", 4000, &format!("a{node}"));
    }
    let waits = |name: &str, more| Pod {
        unschedulable: Some(Arc::new(Needs { more, ..Needs::default() })),
        unscheduled: 1,
        ..pod("pay", name, 4000)
    };
    ledger.put_pod(&waits("picky", true));
    assert!(ledger.excess((60.0, 10), &|_| false, at(0.0)).is_empty());
    assert!(
        ledger.excess((60.0, 10), &|_| false, at(20.0)).is_empty(),
        "it may need more than CPU"
    );
    ledger.put_pod(&waits("plain", false));
    assert!(ledger.excess((60.0, 10), &|_| false, at(21.0)).is_empty());
    let excess = ledger.excess((60.0, 10), &|_| false, at(40.0));
    let named = evicted(&excess);
    assert_eq!(named.len(), 1, "{named:?}");
    assert!(named[0].starts_with("enough"), "{named:?}");
}

/// Low pods of 3 cores, three on each of the nodes of a pool that may grow, and one that waits for so much
/// of a node.
fn thirds(milli: u64) -> Ledger {
    let mut ledger = lending();
    ledger.set_growth(HashMap::from([(Arc::from("a"), UNLIMITED)]));
    for number in 0..30 {
        ledger.put_pod(&Pod {
            // On a7 stand the youngest.
            created: at(f64::from((number + 6) % 30)),
            node: Some(Arc::from(format!("a{}", number / 3))),
            ..pod("plat", &format!("low{number}"), 3000)
        });
    }
    ledger.put_pod(&Pod {
        unschedulable: Some(Arc::default()),
        unscheduled: 1,
        ..pod("pay", "waits", milli)
    });
    assert!(ledger.excess((60.0, 10), &|_| false, at(0.0)).is_empty(), "it waits since now");
    ledger
}

#[test]
fn pods_whose_places_are_needed_together_go_together_or_not_at_all() {
    let mut ledger = thirds(6000);
    assert!(ledger.excess((60.0, 1), &|_| false, at(20.0)).is_empty(), "more than may go at once");
    let excess = ledger.excess((60.0, 2), &|_| false, at(20.0));
    assert_eq!((excess.len(), evicted(&excess)), (1, vec!["low23", "low22"]));
    assert_eq!(excess[0].waiter.as_deref(), Some("uid-waits"));
    // Where one of them may not go, another node is taken.
    let spared = |uid: &str| ["uid-low23", "uid-low22"].contains(&uid);
    assert_eq!(evicted(&ledger.excess((60.0, 2), &spared, at(20.0))), ["low20", "low19"]);
}

#[test]
fn a_node_that_is_cleared_for_a_pod_is_kept_for_it() {
    let mut ledger = thirds(10_000);
    for number in 27..29 {
        ledger.remove_pod(&format!("uid-low{number}"));
    }
    let open = |ledger: &mut Ledger, seconds| {
        let low = ask("plat", "low", 500);
        let verdict = ledger.filter(&low, &names("a", 10), at(seconds));
        ledger.remove_pod("uid-low");
        match verdict {
            FilterVerdict::Narrowed(chosen) => chosen,
            other => panic!("{other:?}"),
        }
    };
    assert!(!open(&mut ledger, 1.0).contains(&9), "the emptiest is kept as long as none is chosen");
    let excess = ledger.excess((60.0, 10), &|_| false, at(20.0));
    assert_eq!(evicted(&excess), ["low29"]);
    // Of those that remain, a7 has the youngest.
    let spared = |uid: &str| uid == "uid-low29";
    let excess = ledger.excess((60.0, 10), &spared, at(20.0));
    assert_eq!(evicted(&excess), ["low23", "low22", "low21"]);
    assert_eq!(open(&mut ledger, 21.0), [0, 1, 2, 3, 4, 5, 6, 8, 9]);
    for eviction in &excess {
        for victim in &eviction.victims {
            ledger.note_evicted(&victim.pod.0);
        }
    }
    assert!(ledger.excess((60.0, 10), &spared, at(25.0)).is_empty(), "they are going");
    assert_eq!(open(&mut ledger, 26.0), [0, 1, 2, 3, 4, 5, 6, 8, 9]);
}

#[test]
fn reclaim_goes_on_for_a_pod_that_is_guarded_no_longer_but_not_for_ever() {
    let mut ledger = thirds(3000);
    let late = Settings::default().guard_seconds + 10.0;
    assert!(ledger.excess((60.0, 10), &|_| true, at(late)).is_empty(), "all may not go");
    let low = ask("plat", "low", 1000);
    let verdict = ledger.filter(&low, &["a7"], at(late));
    assert!(matches!(verdict, FilterVerdict::Narrowed(_)), "guarded no longer: {verdict:?}");
    ledger.remove_pod("uid-low");
    for turn in 0..Settings::default().preemptions {
        let excess = ledger.excess((60.0, 10), &|_| false, at(late + f64::from(turn)));
        assert_eq!(evicted(&excess), ["low23"], "{turn}");
        // Somebody takes its place each time.
        ledger.note_reclaim("uid-waits", &excess[0].victims);
    }
    let excess = ledger.excess((60.0, 10), &|_| false, at(late + 60.0));
    assert!(excess.is_empty(), "{excess:?}");
    // As with preemption, the eviction is told.
    ledger.put_pod(&Pod {
        node: Some(Arc::from("a7")),
        deleting: true,
        ..pod("plat", "low23", 3000)
    });
    let notice = &ledger.take_notices()[0];
    assert_eq!((&*notice.victim.2, &*notice.preemptor.2), ("low23", "waits"));
    assert_eq!(notice.path, Path::Reclaimed);
}

#[test]
fn two_preemptors_never_take_the_same_room_above_a_floor() {
    let mut ledger = lending();
    // 12 cores in pods of 2: one more than the floor.
    for number in 0..6 {
        bound(&mut ledger, "plat", &format!("low{number}"), "", 2000, &format!("a{number}"));
    }
    for number in 0..10 {
        let request = if number < 6 { 8000 } else { 10_000 };
        bound(&mut ledger, "pay", &format!("high{number}"), "", request, &format!("a{number}"));
    }
    for name in ["one", "two"] {
        ledger.put_pod(&pod("pay", name, 2000));
    }
    let offered: Vec<(String, Vec<String>)> =
        (0..6).map(|number| (format!("a{number}"), vec![format!("uid-low{number}")])).collect();
    let mut preempt = |name: &str, seconds| {
        ledger.preempt(&ask("pay", name, 2000), &offered, at(seconds)).unwrap().kept.len()
    };
    assert_eq!(preempt("one", 0.0), 6);
    assert_eq!(preempt("two", 0.0), 0, "one of those goes already");
    assert_eq!(preempt("one", 1.0), 6, "its own grant does not stand in its way");
    // Nobody went after all.
    assert_eq!(preempt("two", 12.0), 6);
    // The watch shows who goes before who is gone.
    ledger.put_pod(&Pod {
        node: Some(Arc::from("a0")),
        deleting: true,
        ..pod("plat", "low0", 2000)
    });
    let kept = ledger.preempt(&ask("pay", "one", 2000), &offered[1..], at(30.0)).unwrap().kept;
    assert!(kept.is_empty(), "{kept:?}");
    assert_eq!(ledger.sums(), ledger.recount());
}

#[test]
fn a_pod_can_be_explained() {
    let mut ledger = ledger();
    ledger.put_pod(&pod("pay", "p", 60_000));
    let refused = place(&mut ledger, &ask("pay", "p", 60_000), &names("a", 10), at(0.0));
    assert!(refused.is_err());
    let why = ledger.explain("pay", "p", at(0.0)).unwrap();
    assert_eq!((why.state, why.domain.as_deref()), ("pending", Some("payments")));
    assert_eq!(why.refused, refused.err().map(|why| why.to_string()));
    assert_eq!(why.pools[0].target.cpu_milli, 50_000);
    assert_eq!(ledger.explain("pay", "nobody", at(0.0)), None);
}

/// What can happen, in any order.
#[derive(Debug, Clone)]
enum Step {
    Filter { pod: u8, names: u16 },
    Waits { pod: u8 },
    Bind { pod: u8, node: u8 },
    Settle { pod: u8, outcome: u8 },
    Seen { pod: u8 },
    Gone { pod: u8 },
    Shares { payments: u8 },
    Node { node: u8, pool: bool },
    NodeGone { node: u8 },
    Wait,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..30_u8, any::<u16>()).prop_map(|(pod, names)| Step::Filter { pod, names }),
        4 => (0..30_u8, 0..12_u8).prop_map(|(pod, node)| Step::Bind { pod, node }),
        4 => (0..30_u8, 0..3_u8).prop_map(|(pod, outcome)| Step::Settle { pod, outcome }),
        2 => (0..30_u8).prop_map(|pod| Step::Seen { pod }),
        2 => (0..30_u8).prop_map(|pod| Step::Waits { pod }),
        1 => (0..30_u8).prop_map(|pod| Step::Gone { pod }),
        1 => (0..=10_u8).prop_map(|payments| Step::Shares { payments }),
        1 => (0..12_u8, any::<bool>()).prop_map(|(node, pool)| Step::Node { node, pool }),
        1 => (0..12_u8).prop_map(|node| Step::NodeGone { node }),
        1 => Just(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever happens in whatever order: the running sums are the recount, a pod counts once,
    /// and a Binding leaves only with a hold or with room.
    #[test]
    fn no_order_of_events_breaks_the_sums_or_the_limits(steps in prop::collection::vec(step(), 1..120)) {
        let mut ledger = ledger();
        let mut now = at(0.0);
        let mut sequence = 1;
        let mut steady = true;
        let request = |pod: u8| 1000 * (1 + u64::from(pod) % 7);
        let of = |number: u8| pod(if number.is_multiple_of(2) { "pay" } else { "plat" }, &format!("q{number}"), request(number));
        let node_name = |node: u8| format!("a{node}");
        for step in steps {
            match step {
                Step::Filter { pod, names } => {
                    let ask = Ask { pod: of(pod), ..Ask::default() };
                    let names: Vec<String> =
                        (0..12).filter(|bit| names >> bit & 1 == 1).map(node_name).collect();
                    if let FilterVerdict::Narrowed(chosen) = ledger.filter(&ask, &names, now) {
                        prop_assert!(chosen.iter().all(|&at| (at as usize) < names.len()));
                        let mut unique = chosen.clone();
                        unique.sort_unstable();
                        unique.dedup();
                        prop_assert_eq!(unique.len(), chosen.len());
                    }
                }
                Step::Bind { pod, node } => {
                    let one = of(pod);
                    let verdict = ledger.bind((&one.uid, &one.namespace), &node_name(node), now);
                    if let (BindVerdict::Send(Some(grant)), true) = (verdict, steady) {
                        // While shares and nodes stand still no hold can outlive its limit.
                        let uses = ledger.uses(now);
                        let used = uses.iter().find(|one| one.pool == grant.pool && one.domain == grant.domain);
                        let used = used.expect("a shared pool");
                        prop_assert!((used.bound + used.binding + used.held).fits(used.most.expect("nobody borrows")), "{used:?}");
                    }
                }
                Step::Settle { pod, outcome } => {
                    let outcome = [Outcome::Bound, Outcome::Rejected, Outcome::Unknown][usize::from(outcome)];
                    ledger.settle(&of(pod).uid, outcome);
                }
                Step::Seen { pod } => ledger.put_pod(&of(pod)),
                Step::Waits { pod } => {
                    let waits = Some(Arc::default());
                    let nominated = pod.is_multiple_of(5).then(|| Arc::from(node_name(pod % 12)));
                    ledger.put_pod(&Pod { unschedulable: waits, unscheduled: 1, nominated, ..of(pod) });
                }
                Step::Gone { pod } => ledger.remove_pod(&of(pod).uid),
                Step::Shares { payments } => {
                    sequence += 1;
                    steady = false;
                    let share = f64::from(payments) / 10.0;
                    ledger.install(budgets(sequence, share, 1.0 - share));
                }
                Step::Node { node: number, pool } => {
                    steady = false;
                    ledger.put_node(&node_name(number), node(if pool { "a" } else { "b" }, 10_000));
                }
                Step::NodeGone { node } => {
                    steady = false;
                    ledger.remove_node(&node_name(node));
                }
                Step::Wait => now = now.plus(std::time::Duration::from_secs(20)),
            }
            prop_assert_eq!(ledger.sums(), ledger.recount());
            let mut guarded = BTreeMap::new();
            for waiter in ledger.waiters.values() {
                for &pool in &waiter.entitled {
                    if let Some((domain, rank, request)) = waiter.counted {
                        *guarded.entry((pool, domain, rank)).or_insert(Amount::ZERO) += request;
                    }
                }
            }
            ledger.guarded.retain(|_, sum| *sum != Amount::ZERO);
            prop_assert_eq!(&ledger.guarded, &guarded);
        }
        // In the end every hold is over; nothing leaks.
        let _ = ledger.ungate(0, &|_| false, now.plus(std::time::Duration::from_mins(1)));
        prop_assert!(ledger.uses(now).iter().all(|one| one.held == Amount::ZERO));
    }
}

/// A scheduler and its pods, played second by second around a ledger: one pool of nodes of 10 cores, pods of
/// 2 cores, a domain for each class with a floor of a tenth. Whoever is evicted comes back.
struct Played {
    ledger: Ledger,
    nodes: Vec<String>,
    /// Name, class, node and, while it waits: since when, and when it is tried again.
    pods: Vec<(String, usize, Option<usize>, u64, u64)>,
    made: u32,
    second: u64,
    evicted: u32,
    /// For how long each class has waited while a lower one was above its floor and one pod.
    inverted: [u32; 4],
    /// The node that preemption promised a pod, by the pod's name.
    promised: HashMap<String, usize>,
}

/// Longer than a pod that was refused waits in it.
const BACK_OFF: u32 = 8;
const PLAYED: u64 = 2000;
const PLAYED_FLOOR: u64 = 10_000;

impl Played {
    fn new(share_of_p0: f64, borrowing: LoanLimit) -> Self {
        let mut ledger = Ledger::new(Settings::default(), &[], "hirl-system");
        let nodes = names("n", 10);
        for name in &nodes {
            ledger.put_node(name, node("a", 10_000));
        }
        let homes =
            (0..4).map(|class| (Arc::from(format!("ns{class}")), Arc::from(format!("d{class}"))));
        ledger.set_namespaces(homes.collect());
        let domains = (0..4).map(|class| {
            let share = if class == 0 { share_of_p0 } else { 0.2 };
            let name = format!("d{class}");
            DomainBudget { floor: 0.1, borrowing, ..budget(&name, Class::ALL[class], share) }
        });
        let epoch = Epoch { term: 1, sequence: 1 };
        let domains = domains.collect();
        assert!(ledger.install(Budgets { epoch, domains, reserve: 0.05, band: 0.1 }));
        ledger.stand(Standing::Owner);
        Self {
            ledger,
            nodes,
            pods: Vec::new(),
            made: 0,
            second: 0,
            evicted: 0,
            inverted: [0; 4],
            promised: HashMap::new(),
        }
    }

    fn make(&mut self, class: usize) {
        self.made += 1;
        self.pods.push((format!("q{}", self.made), class, None, self.second, self.second));
    }

    fn object(&self, at: usize) -> Pod {
        let (name, class, ..) = &self.pods[at];
        Pod { created: at_second(self.second), ..pod(&format!("ns{class}"), name, PLAYED) }
    }

    /// What a pod finds free on a node: kube-scheduler counts pods that were promised the node and are of
    /// the same class or a higher one.
    fn free_for(&self, node: usize, at: usize) -> u64 {
        let taken = self.pods.iter().enumerate().filter(|(other, (name, class, placed, ..))| {
            let promised = self.promised.get(name) == Some(&node);
            *placed == Some(node) || promised && *other != at && *class <= self.pods[at].1
        });
        10_000_u64.saturating_sub(PLAYED * taken.count() as u64)
    }

    /// One pod of this number is deleted.
    fn end(&mut self, number: usize) {
        if self.pods.is_empty() {
            return;
        }
        let (name, ..) = self.pods.swap_remove(number % self.pods.len());
        self.ledger.remove_pod(&format!("uid-{name}"));
    }

    fn bind(&mut self, at: usize, node: usize, now: Timestamp) {
        let object = self.object(at);
        let name = self.nodes[node].clone();
        if matches!(
            self.ledger.bind((&object.uid, &object.namespace), &name, now),
            BindVerdict::Send(_)
        ) {
            self.ledger.settle(&object.uid, Outcome::Bound);
            self.ledger.put_pod(&Pod { node: Some(Arc::from(&*name)), ..object });
            self.pods[at].2 = Some(node);
            self.promised.remove(&self.pods[at].0);
        }
    }

    fn step(&mut self) {
        self.second += 1;
        let now = at_second(self.second);
        let mut queue: Vec<usize> = (0..self.pods.len())
            .filter(|&at| self.pods[at].2.is_none() && self.pods[at].4 <= self.second)
            .collect();
        queue.sort_by_key(|&at| (self.pods[at].1, self.pods[at].3));
        for at in queue {
            let object = self.object(at);
            let fits: Vec<usize> =
                (0..10).filter(|&node| self.free_for(node, at) >= PLAYED).collect();
            let names: Vec<&str> = fits.iter().map(|&node| &*self.nodes[node]).collect();
            let ask = Ask { pod: object.clone(), ..Ask::default() };
            let verdict = (!names.is_empty()).then(|| self.ledger.filter(&ask, &names, now));
            match verdict {
                Some(FilterVerdict::Narrowed(chosen)) if !chosen.is_empty() => {
                    self.bind(at, fits[chosen[0] as usize], now);
                }
                Some(FilterVerdict::Refused(_)) => self.pods[at].4 = self.second + 3,
                _ => {
                    let waits = Some(Arc::default());
                    let promised = self.promised.get(&self.pods[at].0).copied();
                    let nominated = promised.map(|node| Arc::from(&*self.nodes[node]));
                    self.ledger.put_pod(&Pod {
                        unschedulable: waits,
                        unscheduled: 1,
                        nominated,
                        ..object
                    });
                    self.pods[at].4 = self.second + 1;
                    if self.pods[at].1 < 3 {
                        self.preempt(at, &ask, now);
                    }
                }
            }
        }
        self.judge();
    }

    fn preempt(&mut self, at: usize, ask: &Ask, now: Timestamp) {
        let class = self.pods[at].1;
        let victim = |node: usize| {
            let here = self
                .pods
                .iter()
                .enumerate()
                .filter(|(_, pod)| pod.2 == Some(node) && pod.1 > class);
            here.max_by_key(|(_, pod)| pod.1).map(|(other, _)| (node, other))
        };
        let mut offered: Vec<(usize, usize)> = (0..10).filter_map(victim).collect();
        offered.sort_by_key(|&(_, other)| std::cmp::Reverse(self.pods[other].1));
        let candidates: Vec<(String, Vec<String>)> = offered
            .iter()
            .map(|&(node, other)| {
                (self.nodes[node].clone(), vec![format!("uid-{}", self.pods[other].0)])
            })
            .collect();
        let verdict = self.ledger.preempt(ask, &candidates, now).unwrap_or_default();
        let Some(&first) = verdict.kept.first() else { return };
        let (node, mut other) = offered[first as usize];
        if let Some(instead) = verdict.instead.get(&first) {
            let named = |pod: &(String, usize, Option<usize>, u64, u64)| {
                *instead[0] == *format!("uid-{}", pod.0)
            };
            other = self.pods.iter().position(named).expect("a pod of the ledger");
        }
        self.evicted += 1;
        self.ledger.remove_pod(&format!("uid-{}", self.pods[other].0));
        // Its controller makes it anew, under another name.
        self.made += 1;
        self.pods[other] =
            (format!("q{}", self.made), self.pods[other].1, None, self.second, self.second);
        let nominated = Some(Arc::from(&*self.nodes[node]));
        self.ledger.put_pod(&Pod { nominated, ..self.object(at) });
        self.promised.insert(self.pods[at].0.clone(), node);
    }

    /// Pods on nodes and pods that wait, by class.
    fn uses(&self) -> [(usize, usize); 4] {
        std::array::from_fn(|class| {
            let of = || self.pods.iter().filter(move |pod| pod.1 == class);
            let placed = of().filter(|pod| pod.2.is_some()).count();
            (placed, of().count() - placed)
        })
    }

    /// Classes that have waited for longer than a back-off while a lower domain was above its floor and one pod.
    fn inversions(&self) -> usize {
        self.inverted.iter().filter(|seconds| **seconds > BACK_OFF).count()
    }

    /// Counts for how long each class has had a pod that waits while a lower domain is above its floor and one
    /// pod.
    fn judge(&mut self) {
        let uses = self.uses();
        for class in 0..4 {
            let lower = uses[class + 1..].iter();
            let above =
                lower.filter(|(placed, _)| PLAYED * *placed as u64 > PLAYED_FLOOR + PLAYED).count()
                    > 0;
            let waits = uses[class].1 > 0;
            self.inverted[class] = if above && waits { self.inverted[class] + 1 } else { 0 };
        }
    }
}

fn at_second(second: u64) -> Timestamp {
    at(second as f64)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The statement of the rule: a pod of a higher class never waits for room while a lower class holds
    /// more than its floor and one pod.
    #[test]
    fn a_higher_class_never_waits_while_a_lower_one_holds_more_than_its_floor(
        waves in prop::collection::vec((0..4_usize, 0..30_usize, 0..10_usize, 1..20_u64), 1..15),
    ) {
        let mut played = Played::new(0.2, LoanLimit::Unlimited);
        for (class, made, ended, seconds) in waves {
            (0..made).for_each(|_| played.make(class));
            (0..ended).for_each(|number| played.end(number * 7919));
            for _ in 0..seconds {
                played.step();
                prop_assert_eq!(played.inversions(), 0, "second {}: {:?}", played.second, played.uses());
                prop_assert_eq!(played.ledger.sums(), played.ledger.recount());
            }
        }
        // Each eviction raised a class: there are no more than pods of higher classes times a few.
        prop_assert!(played.evicted <= 3 * played.made, "{} for {}", played.evicted, played.made);
    }
}

#[test]
fn hard_caps_let_a_higher_class_wait_so_that_the_statement_can_fail() {
    let mut played = Played::new(0.1, LoanLimit::None);
    (0..40).for_each(|_| played.make(3));
    for _ in 0..5 {
        played.step();
    }
    (0..20).for_each(|_| played.make(0));
    for _ in 0..20 {
        played.step();
    }
    assert!(played.inversions() > 0);
}
