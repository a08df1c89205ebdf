//! Made-up audit logs: what the judge must see, and what it must not.

use serde_json::json;

use super::waits::{Inversion, Order};
use super::*;

const SCHEDULER: &str = "system:kube-scheduler";

/// An audit log under way; instants are milliseconds.
#[derive(Default)]
struct Log(String);

impl Log {
    fn cluster() -> Self {
        let mut log = Self::default();
        let labels = json!({"metadata": {"labels": {"domain": "payments"}}});
        log.add("patch", "namespaces", "", "shop", 1, 2, 200, &labels, &Value::Null);
        for (name, pool) in [("n1", "general"), ("n2", "other")] {
            let node = json!({"metadata": {"name": name, "labels": {POOL: pool}}});
            log.add("create", "nodes", "", "", 1, 2, 201, &node, &Value::Null);
        }
        log
    }

    #[expect(clippy::too_many_arguments, reason = "the columns of an audit entry")]
    fn add(
        &mut self,
        verb: &str,
        resource: &str,
        namespace: &str,
        name: &str,
        began: i64,
        ended: i64,
        code: u16,
        request: &Value,
        response: &Value,
    ) {
        let (resource, sub) = resource.split_once('/').unwrap_or((resource, ""));
        let mut object = json!({"resource": resource, "namespace": namespace, "name": name});
        if !sub.is_empty() {
            object["subresource"] = sub.into();
        }
        let line = json!({
            "auditID": format!("{began}"), "stage": "ResponseComplete", "verb": verb,
            "user": {"username": SCHEDULER}, "objectRef": object,
            "responseStatus": {"code": code},
            "requestReceivedTimestamp": at(began).to_string(),
            "stageTimestamp": at(ended).to_string(),
            "requestObject": request, "responseObject": response,
        });
        self.0.push_str(&line.to_string());
        self.0.push('\n');
    }

    fn pod(&mut self, name: &str, cpu: &str, ms: i64, node: Option<&str>) {
        let pod = json!({
            "metadata": {"namespace": "shop", "name": name},
            "spec": {
                "nodeName": node, "terminationGracePeriodSeconds": 0,
                "containers": [{"resources": {"requests": {"cpu": cpu, "memory": "1Mi"}}}],
            },
        });
        self.add("create", "pods", "shop", name, ms, ms + 1, 201, &Value::Null, &pod);
    }

    fn bind(&mut self, name: &str, node: &str, began: i64, ended: i64, code: u16) {
        let binding = json!({"target": {"name": node}});
        self.add(
            "create",
            "pods/binding",
            "shop",
            name,
            began,
            ended,
            code,
            &binding,
            &Value::Null,
        );
    }

    fn delete(&mut self, name: &str, began: i64, ended: i64, grace: i64) {
        let pod = json!({"metadata": {"deletionGracePeriodSeconds": grace}});
        self.add("delete", "pods", "shop", name, began, ended, 200, &Value::Null, &pod);
    }

    fn read(&self) -> Course {
        Course::read(&self.0, "domain").unwrap()
    }
}

fn at(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(1_700_000_000_000 + milliseconds).unwrap()
}

fn limit(cpu: i64) -> [Limit; 1] {
    [Limit::constant("payments", "general", Room::cpu(cpu))]
}

#[test]
fn bindings_add_up_and_the_first_too_many_is_a_breach() {
    let mut log = Log::cluster();
    for index in 0..3 {
        log.pod(&format!("p{index}"), "500m", 10, None);
        log.bind(&format!("p{index}"), "n1", 20 + index, 30 + index, 201);
    }
    let course = log.read();
    assert_eq!(course.peak("payments", "general"), Room { cpu: 1500, memory: 3 << 20 });
    assert!(course.breaches(&limit(1500)).is_empty());
    let found = course.breaches(&limit(1499));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].change.pod, "shop/p2");
    assert!(found[0].to_string().contains("1500m"), "{}", found[0]);
    let memory = Room { cpu: i64::MAX, memory: 2 << 20 };
    assert_eq!(course.breaches(&[Limit::of_all("general", memory)]).len(), 1);
    assert!(course.breaches(&[Limit::of_all("other", Room::cpu(0))]).is_empty());
    assert_eq!(course.waits("shop/")[0], 0.019);
}

#[test]
fn a_refused_binding_takes_no_room_and_is_remembered() {
    let mut log = Log::cluster();
    log.pod("p", "1", 10, None);
    log.bind("p", "n1", 20, 30, 409);
    let course = log.read();
    assert_eq!(course.peak("payments", "general"), Room::default());
    assert_eq!(course.pods[0].refused, [409]);
    assert_eq!(course.bound("shop/"), 0);
}

#[test]
fn a_binding_that_ended_in_an_error_counts_once_its_pod_starts() {
    for (code, started, bound) in
        [(504, true, 1000), (504, false, 0), (409, true, 0), (500, true, 1000)]
    {
        let mut log = Log::cluster();
        log.pod("p", "1", 10, None);
        log.bind("p", "n1", 20, 30, code);
        if started {
            let starts = json!({"status": {"startTime": "2026-01-01T00:00:00Z"}});
            log.add("patch", "pods/status", "shop", "p", 40, 41, 200, &starts, &Value::Null);
        }
        let course = log.read();
        assert_eq!(course.peak("payments", "general").cpu, bound, "{code} {started}");
        assert_eq!(course.breaches(&limit(999)).len(), usize::from(bound > 0));
    }
}

#[test]
fn room_that_was_given_back_may_be_used_again_and_no_sooner() {
    let mut log = Log::cluster();
    log.pod("a", "1", 10, None);
    log.bind("a", "n1", 20, 30, 201);
    log.pod("b", "1", 40, None);
    log.delete("a", 50, 70, 0);
    log.bind("b", "n1", 55, 60, 201);
    let course = log.read();
    assert!(course.breaches(&limit(1000)).is_empty(), "released at 50, bound at 60");
    assert_eq!(course.ended_by(SCHEDULER).len(), 1);
    assert!(course.ended_by("somebody").is_empty());

    let mut log = Log::cluster();
    log.pod("a", "1", 10, None);
    log.bind("a", "n1", 20, 30, 201);
    log.pod("b", "1", 40, None);
    log.delete("a", 50, 70, 30);
    log.bind("b", "n1", 55, 60, 201);
    log.delete("a", 80, 90, 0);
    let course = log.read();
    assert_eq!(course.breaches(&limit(1000)).len(), 1, "a graceful deletion frees nothing yet");
    assert_eq!(course.used[&("payments".to_owned(), "general".to_owned())].cpu, 1000);
}

#[test]
fn a_pod_that_ended_frees_its_room_once() {
    let mut log = Log::cluster();
    log.pod("job", "1", 10, None);
    log.bind("job", "n1", 20, 30, 201);
    let ended = json!({"status": {"phase": "Succeeded"}});
    log.add("patch", "pods/status", "shop", "job", 40, 41, 200, &ended, &Value::Null);
    log.delete("job", 50, 51, 0);
    let course = log.read();
    assert_eq!(course.used[&("payments".to_owned(), "general".to_owned())], Room::default());
    assert_eq!(course.most_status_patches("shop/", SCHEDULER), 1);
}

#[test]
fn a_second_binding_of_the_same_pod_is_seen_and_a_new_pod_of_the_name_is_another() {
    let mut log = Log::cluster();
    log.pod("a", "1", 10, None);
    log.bind("a", "n1", 20, 30, 201);
    log.bind("a", "n2", 40, 50, 201);
    assert_eq!(log.read().bound_twice().len(), 1);
    let mut log = Log::cluster();
    log.pod("a", "1", 10, None);
    log.bind("a", "n1", 20, 30, 201);
    log.delete("a", 40, 50, 0);
    log.pod("a", "1", 60, None);
    log.bind("a", "n2", 70, 80, 201);
    let course = log.read();
    assert!(course.bound_twice().is_empty());
    assert_eq!(course.peak("payments", "general").cpu, 1000);
    assert_eq!(course.used[&("payments".to_owned(), "other".to_owned())].cpu, 1000);
}

#[test]
fn foreign_pods_resizes_and_moved_nodes_count_and_are_no_breach_themselves() {
    let mut log = Log::cluster();
    log.pod("foreign", "2", 10, Some("n2"));
    let bigger = json!({"spec": {"containers": [{"resources": {"requests": {"cpu": "3"}}}]}});
    log.add("patch", "pods/resize", "shop", "foreign", 20, 21, 200, &Value::Null, &bigger);
    let moved = json!({"metadata": {"labels": {POOL: "general"}}});
    log.add("patch", "nodes", "", "n2", 30, 31, 200, &moved, &Value::Null);
    let course = log.read();
    assert_eq!(course.peak("payments", "other").cpu, 3000);
    assert_eq!(course.used[&("payments".to_owned(), "general".to_owned())].cpu, 3000);
    assert!(course.breaches(&limit(0)).is_empty());
    log.pod("late", "1m", 40, None);
    log.bind("late", "n1", 50, 60, 201);
    assert_eq!(log.read().breaches(&limit(3000)).len(), 1);
}

#[test]
fn a_limit_changes_in_steps_and_what_was_granted_before_may_still_be_bound() {
    let mut log = Log::cluster();
    log.pod("a", "1", 10, None);
    log.bind("a", "n1", 20, 30, 201);
    let mut limits = limit(0);
    limits[0].steps = vec![(at(0), Room::cpu(1000)), (at(25), Room::cpu(0))];
    let course = log.read();
    assert_eq!(course.breaches(&limits).len(), 1);
    limits[0].grace = Duration::from_millis(10);
    assert!(course.breaches(&limits).is_empty());
    // Before the first step nothing is judged.
    limits[0].steps = vec![(at(31), Room::cpu(0))];
    limits[0].grace = Duration::ZERO;
    assert!(course.breaches(&limits).is_empty());
}

#[test]
fn an_eviction_is_told_by_its_user() {
    let mut log = Log::cluster();
    log.pod("a", "1", 10, None);
    log.bind("a", "n1", 20, 30, 201);
    log.add("create", "pods/eviction", "shop", "a", 40, 41, 201, &json!({}), &Value::Null);
    let course = log.read();
    assert_eq!(course.ended_by(SCHEDULER).len(), 1);
    assert_eq!(course.used[&("payments".to_owned(), "general".to_owned())], Room::default());
}

#[test]
fn an_eviction_that_only_asks_ends_nothing() {
    let mut log = Log::cluster();
    log.pod("a", "1", 10, None);
    log.bind("a", "n1", 20, 30, 201);
    let before = log.0.len();
    log.add("create", "pods/eviction", "shop", "a", 40, 41, 201, &json!({}), &Value::Null);
    let mut line: Value = serde_json::from_str(&log.0[before..]).unwrap();
    line["requestURI"] = "/api/v1/namespaces/shop/pods/a/eviction?dryRun=All".into();
    log.0.replace_range(before.., &format!("{line}\n"));
    assert!(log.read().ended_by(SCHEDULER).is_empty());
}

/// How long a pod may wait in these tests: 100 ms.
const PATIENCE: Duration = Duration::from_millis(100);

impl Log {
    /// A cluster with one more domain, `data` of namespace `lake`, of which so many pods of one core are
    /// bound in `general` at 10.
    fn lent(cores: usize) -> Self {
        let mut log = Self::cluster();
        let labels = json!({"metadata": {"labels": {"domain": "data"}}});
        log.add("patch", "namespaces", "", "lake", 1, 2, 200, &labels, &Value::Null);
        for index in 0..cores {
            let name = format!("low{index}");
            log.waits("lake", &name, "hirl-p3", 5, &json!({}));
            let binding = json!({"target": {"name": "n1"}});
            log.add("create", "pods/binding", "lake", &name, 9, 10, 201, &binding, &Value::Null);
        }
        log
    }

    /// A pod of one core, made at `ms`.
    fn waits(&mut self, namespace: &str, name: &str, class: &str, ms: i64, more: &Value) {
        let mut spec = json!({
            "priorityClassName": class, "terminationGracePeriodSeconds": 0,
            "containers": [{"resources": {"requests": {"cpu": "1", "memory": "1Mi"}}}],
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            spec[key] = value.clone();
        }
        let pod = json!({"metadata": {"namespace": namespace, "name": name}, "spec": spec});
        self.add("create", "pods", namespace, name, ms - 1, ms, 201, &Value::Null, &pod);
    }

    /// Something that has nothing to do with anything, so that the log lasts until `ms`.
    fn lasts(&mut self, ms: i64) {
        let status = json!({"status": {}});
        self.add("patch", "pods/status", "lake", "low0", ms - 1, ms, 200, &status, &Value::Null);
    }

    /// An eviction of a pod of `lake` that was answered with this.
    fn evict(&mut self, name: &str, ms: i64, code: u16, message: &str) {
        let (none, before) = (Value::Null, self.0.len());
        self.add("create", "pods/eviction", "lake", name, ms - 1, ms, code, &json!({}), &none);
        let mut line: Value = serde_json::from_str(&self.0[before..]).unwrap();
        line["responseStatus"]["message"] = message.into();
        self.0.replace_range(before.., &format!("{line}\n"));
    }
}

/// Payments is of P0, data of P3 with a floor of so many cores of `general`.
fn order(floor: i64) -> Order {
    let floors = vec![Limit::constant("data", "general", Room { cpu: floor, memory: 0 })];
    Order {
        floors,
        ..Order::of_pool("general", &[("payments", 0), ("data", 3)], Vec::new(), PATIENCE)
    }
}

/// What the judge finds of a P0 pod that is made at 20 and never bound, while P3 uses so many cores.
fn judged(cores: usize, floor: i64, until: i64) -> Vec<Inversion> {
    let mut log = Log::lent(cores);
    log.waits("shop", "urgent", "hirl-p0", 20, &json!({}));
    log.lasts(until);
    log.read().inversions(&order(floor)).found
}

#[test]
fn a_p0_pod_that_waits_while_p3_borrows_is_found() {
    let found = judged(5, 2000, 200);
    assert_eq!(found.len(), 1, "{found:?}");
    let one = &found[0];
    assert_eq!((&*one.pod, &*one.lower, &*one.pool), ("shop/urgent", "data", "general"));
    assert_eq!((one.at, one.used.cpu, one.floor.cpu), (at(120), 5000, 2000));
    assert!(one.to_string().contains("shop/urgent waits for 0.1 s while data"), "{one}");
}

#[test]
fn a_lower_class_at_its_floor_and_one_pod_inverts_nothing() {
    let at_floor = Order {
        floors: vec![Limit::constant("data", "general", Room { cpu: 2000, memory: 2 << 20 })],
        ..order(0)
    };
    for (cores, found) in [(2, 0), (3, 0), (4, 1)] {
        let mut log = Log::lent(cores);
        log.waits("shop", "urgent", "hirl-p0", 20, &json!({}));
        log.lasts(200);
        let verdict = log.read().inversions(&at_floor);
        assert_eq!((verdict.found.len(), verdict.late), (found, 1), "{cores}: {verdict:?}");
    }
    // What is used above the floor of memory alone is borrowed too.
    assert_eq!(judged(3, 2000, 200).len(), 1);
}

#[test]
fn a_wait_that_is_not_too_long_yet_or_ended_in_time_inverts_nothing() {
    assert!(judged(5, 0, 119).is_empty());
    for (ends, found) in [(119, 0), (121, 1)] {
        for binds in [true, false] {
            let mut log = Log::lent(5);
            log.waits("shop", "urgent", "hirl-p0", 20, &json!({}));
            if binds {
                log.bind("urgent", "n1", 30, ends, 201);
            } else {
                log.delete("urgent", ends, ends + 1, 0);
            }
            log.lasts(200);
            let verdict = log.read().inversions(&order(0));
            assert_eq!(verdict.found.len(), found, "{ends} {binds}: {verdict:?}");
        }
    }
}

#[test]
fn a_lower_class_that_comes_in_before_a_pod_that_waits_is_found_when_it_does() {
    let mut log = Log::lent(1);
    log.waits("shop", "urgent", "hirl-p0", 20, &json!({}));
    for (name, ms) in [("late0", 150), ("late1", 160)] {
        log.waits("lake", name, "hirl-p3", ms, &json!({}));
        let binding = json!({"target": {"name": "n1"}});
        let (began, ended) = (ms + 2, ms + 4);
        log.add("create", "pods/binding", "lake", name, began, ended, 201, &binding, &Value::Null);
    }
    // It is bound in the end: that does not make it right.
    log.bind("urgent", "n1", 300, 310, 201);
    let verdict = log.read().inversions(&order(0));
    assert_eq!(verdict.found.len(), 1, "{verdict:?}");
    assert_eq!((verdict.found[0].at, verdict.found[0].used.cpu), (at(154), 2000));
}

#[test]
fn a_refusal_by_a_disruption_budget_excuses_and_is_counted() {
    let why = "Cannot evict pod as it would violate the pod's disruption budget.";
    for (ms, code, message, excused) in [
        (50, 429, why, 1),
        // An overloaded server, a success, and one from before the pod waited.
        (50, 429, "Too many requests, please try again later.", 0),
        (50, 500, why, 0),
        (15, 429, why, 0),
        (150, 429, why, 0),
    ] {
        let mut log = Log::lent(5);
        log.waits("shop", "urgent", "hirl-p0", 20, &json!({}));
        log.evict("low0", ms, code, message);
        log.lasts(200);
        let verdict = log.read().inversions(&order(0));
        let seen = (verdict.excused.len(), verdict.found.len());
        assert_eq!(seen, (excused, 1 - excused), "{ms} {code} {message}: {verdict:?}");
        assert_eq!(verdict.refusals, usize::from(code == 429 && message == why));
    }
}

#[test]
fn who_is_not_judged_does_not_wait() {
    let gated = json!({"schedulingGates": [{"name": "hirl-scale.io/budget"}]});
    let foreign = json!({"nodeName": "n2"});
    let none = json!({});
    for (namespace, class, more, found) in [
        ("shop", "hirl-p0", &none, 1),
        // A pod without a class has that of its domain, and none ranks above it.
        ("shop", "", &none, 1),
        ("shop", "hirl-p2", &none, 1),
        ("shop", "hirl-p3", &none, 0),
        ("lake", "hirl-p0", &none, 0),
        ("free", "hirl-p0", &none, 0),
        ("shop", "hirl-p0", &gated, 0),
        ("shop", "hirl-p0", &foreign, 0),
    ] {
        let mut log = Log::lent(5);
        log.waits(namespace, "urgent", class, 20, more);
        log.lasts(200);
        let verdict = log.read().inversions(&order(0));
        assert_eq!(verdict.found.len(), found, "{namespace} {class} {more}: {verdict:?}");
    }
    let mut log = Log::lent(5);
    log.waits("shop", "urgent", "hirl-p2", 20, &none);
    log.lasts(200);
    let course = log.read();
    assert!(course.inversions(&Order { judged: vec![0, 1], ..order(0) }).found.is_empty());
    assert!(course.inversions(&Order { may_use: |_, _| false, ..order(0) }).found.is_empty());
    let reserves = vec![Limit::of_all("general", Room::cpu(4000))];
    assert!(course.inversions(&Order { reserves, ..order(0) }).found.is_empty());
}

#[test]
fn the_least_use_is_counted_from_an_instant_on() {
    let mut log = Log::lent(3);
    for (name, ms) in [("low0", 50), ("low1", 60)] {
        let gone = json!({"metadata": {"deletionGracePeriodSeconds": 0}});
        log.add("delete", "pods", "lake", name, ms, ms + 1, 200, &Value::Null, &gone);
    }
    let course = log.read();
    let least = |since| course.least("data", "general", at(since)).cpu;
    assert_eq!([least(0), least(20), least(55), least(100)], [0, 1000, 1000, 1000]);
}

#[test]
fn whoever_ends_a_pod_of_a_domain_at_its_floor_is_found() {
    let mut log = Log::lent(3);
    for (name, ms) in [("low0", 50), ("low1", 60), ("low2", 70)] {
        let gone = json!({"metadata": {"deletionGracePeriodSeconds": 0}});
        log.add("delete", "pods", "lake", name, ms, ms + 1, 200, &Value::Null, &gone);
    }
    let course = log.read();
    let mut floors = order(1000).floors;
    floors[0].steps[0].1 = Room::cpu(1000);
    let robbed = course.robbed(&floors, &[SCHEDULER]);
    assert_eq!(robbed.len(), 1, "{robbed:?}");
    assert_eq!((&*robbed[0].pod, robbed[0].used.cpu), ("lake/low2", 0));
    assert!(course.robbed(&floors, &["somebody"]).is_empty());
    assert!(course.robbed(&limit(1000), &[SCHEDULER]).is_empty(), "another domain's floor");
}
