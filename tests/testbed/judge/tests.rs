//! Made-up audit logs: what the judge must see, and what it must not.

use serde_json::json;

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
