//! What a person may write, and what he is told when it is wrong.

use std::fmt::Write as _;

use super::*;
use crate::cluster::Class;
use crate::simulation::Seed;

/// A small scenario that is right.
const SHOP: &str = "\
name: shop
durationSeconds: 3600
domains:
  - name: shop
    class: P0
    weight: 1.0
    sloP99Seconds: 0.2
  - name: fraud
    class: P1
    weight: 0.5
    sloP99Seconds: 0.1
apps:
  - name: cart
    domain: shop
    rps: 100
    serviceSeconds: 0.02
    cpuRequest: 0.5
  - name: score
    domain: fraud
    count: 3
    serviceSeconds: {logNormal: {median: 0.01, sigma: 0.2}}
    cpuRequest: {uniform: {low: 0.2, high: 0.4}}
pools:
  - {name: general, nodeCpu: 16, nodeMemoryGib: 64, nodes: 4, maxNodes: 20}
calls:
  - {from: shop, to: fraud, perRequest: 2, lagSeconds: 10}
events:
  - name: sale
    kind: flashSale
    reach: {domains: [shop]}
    startSeconds: 600
    rampSeconds: 30
    holdSeconds: 300
    decaySeconds: 60
    factor: 5
faults:
  - {startSeconds: 900, duration_placeholder}
";

fn shop() -> String {
    SHOP.replace("duration_placeholder", "fault: {nodeLoss: {pool: general, share: 0.5}}")
}

fn refused(text: &str) -> String {
    read(text, "shop.yaml", Seed::root(1)).unwrap_err().to_string()
}

#[test]
fn a_text_becomes_a_complete_scenario() {
    let scenario = read(&shop(), "shop.yaml", Seed::root(1)).unwrap();
    let names: Vec<&str> = scenario.apps.iter().map(|app| app.name.as_str()).collect();
    assert_eq!(names, ["score-0000", "score-0001", "score-0002", "cart"]);
    assert_eq!(scenario.domains[0].class, Class::P0);
    assert_eq!(scenario.step_seconds, 10.0);
    assert_eq!(scenario.start.to_string(), "2025-03-03T00:00:00Z");

    let cart = &scenario.apps[3];
    // 8 busy workers take 1.3 x 0.5 cores for 400 requests per second.
    assert!((cart.cpu_seconds - 0.65 / 400.0).abs() < 1e-12, "{}", cart.cpu_seconds);
    assert!((cart.timeout_seconds - 1.0).abs() < 1e-12);
    assert_eq!(cart.hpa.min_replicas, 2);
    assert_eq!(cart.hpa.max_replicas, 10);

    // 200 calls per second over three apps: 66.7 x about 0.00049 cores each, little.
    assert!(scenario.apps[..3].iter().all(|app| app.hpa.max_replicas >= 10));
    assert_ne!(scenario.apps[0].service_seconds, scenario.apps[1].service_seconds);
    assert!(scenario.apps[..3].iter().all(|app| (0.2..=0.4).contains(&app.cpu_request)));
    assert_eq!(scenario.paths(), [Path { from: 0, to: 1, per_request: 2.0, lag_seconds: 10.0 }]);
}

#[test]
fn the_seed_draws_and_nothing_else_does() {
    let read = |seed| read(&shop(), "shop.yaml", Seed::root(seed)).unwrap();
    assert_eq!(read(1), read(1));
    assert_ne!(read(1), read(2));
    // Another group draws what it drew before.
    let more = shop().replace("  - name: cart\n", "  - name: first\n    domain: shop\n    serviceSeconds: {uniform: {low: 1, high: 2}}\n    cpuRequest: 1\n  - name: cart\n");
    let more = super::read(&more, "more.yaml", Seed::root(1)).unwrap();
    let score = |scenario: &Scenario| scenario.apps[0].clone();
    assert_eq!(score(&more), score(&read(1)));
}

#[test]
fn what_was_expanded_is_read_again() {
    let scenario = read(&shop(), "shop.yaml", Seed::root(1)).unwrap();
    let json = serde_json::to_string(&scenario).unwrap();
    assert_eq!(serde_json::from_str::<Scenario>(&json).unwrap(), scenario);
    let yaml = serde_saphyr::to_string(&scenario).unwrap();
    assert_eq!(serde_saphyr::from_str::<Scenario>(&yaml).unwrap(), scenario);
}

#[test]
fn a_complete_scenario_is_a_text_that_reads_to_itself() {
    let members = families::LEVELS.map(|level| families::generate(level, Seed::root(5)));
    let built_in = ["adr-001", "node-pool-loss"]
        .map(|name| builtin::scenario(name, Seed::root(5)).expect("it is built in"));
    for scenario in members.chain(built_in) {
        let scenario = scenario.unwrap();
        let text = serde_saphyr::to_string(&scenario).unwrap();
        // Nothing is left to draw, so the seed does not matter.
        assert_eq!(read(&text, "again", Seed::root(6)).unwrap(), scenario);
    }
}

#[test]
fn a_mistake_is_told_in_one_sentence_with_its_line() {
    let line = |part: &str| {
        let at = shop().find(part).unwrap();
        shop()[..at].matches('\n').count() + 1
    };
    for (from, to, place, sentence) in [
        (
            "rps: 100",
            "rps: -1",
            "- name: cart",
            "app \"cart\": rps must be 0 to 1000000000, not -1",
        ),
        ("rps: 100", "rps: .nan", "rps: 100", "non-finite float"),
        ("rps: 100", "totalRps: 5", "- name: cart", "totalRps needs an rps above 0"),
        ("rps: 100", "rsp: 100", "rps: 100", "unknown field `rsp`"),
        ("rps: 100", "rps: {median: 3}", "rps: 100", "expected a number, uniform"),
        ("domain: fraud", "domain: froud", "- name: score", "there is no domain \"froud\""),
        (
            "low: 0.2, high: 0.4",
            "low: 0.4, high: 0.2",
            "- name: score",
            "cpuRequest needs bounds in order",
        ),
        ("low: 0.2, high: 0.4", "low: 20, high: 40", "- name: score", "fits on no node"),
        (
            "nodeCpu: 16",
            "nodeCpu: 0",
            "- {name: general",
            "pool \"general\": nodeCpu must be above 0",
        ),
        ("maxNodes: 20", "maxNodes: 2", "- {name: general", "nodes must be 0 to 2, not 4"),
        (
            "perRequest: 2",
            "perRequest: -2",
            "- {from: shop",
            "perRequest must be 0 to 1000, not -2",
        ),
        ("to: fraud", "to: shop", "- {from: shop", "calls must not come back"),
        (
            "factor: 5",
            "factor: -5",
            "- name: sale",
            "event \"sale\": factor must be 0 to 1000, not -5",
        ),
        ("[shop]", "[shop], appPrefix: zzz", "- name: sale", "it reaches no app"),
        (
            "factor: 5",
            "factor: 5\n    announcedFactor: 2",
            "- name: sale",
            "announcedFactor needs announcedSeconds",
        ),
        ("pool: general,", "pool: specific,", "- {startSeconds", "there is no pool \"specific\""),
        ("share: 0.5", "share: 0.5, zone: 7", "- {startSeconds", "zone 7 does not exist"),
        (
            "weight: 0.5",
            "weight: 0",
            "- name: fraud",
            "weight must be above 0 and at most 1, not 0",
        ),
        ("- name: fraud\n", "- name: shop\n", "- name: fraud", "another domain has its name"),
        ("class: P1", "class: P9", "class: P1", "P9"),
        ("rps: 100", "cpuLimit: 1\n    cpuLimitFactor: 2", "- name: cart", "give one"),
    ] {
        let text = shop().replacen(from, to, 1);
        assert_ne!(text, shop(), "{from}");
        let told = refused(&text);
        assert!(told.contains(sentence), "{to}: {told}");
        assert!(!told.contains('\n'), "{to}: {told}");
        let expected = format!("shop.yaml:{}: ", line(place));
        assert!(told.starts_with(&expected), "{to}: {told} does not start with {expected}");
    }
}

#[test]
fn a_cycle_of_calls_is_refused_where_it_closes() {
    let cycle = shop().replace("events:", "  - {from: fraud, to: shop, perRequest: 1}\nevents:");
    let told = refused(&cycle);
    // Each of the two closes it; the first is named.
    assert!(told.contains("call from \"shop\" to \"fraud\": calls must not come back"), "{told}");
}

#[test]
fn without_a_domain_an_app_or_a_pool_there_is_no_scenario() {
    let whole = shop();
    let (head, tail) = whole.split_once("domains:").unwrap();
    let rest = &tail[tail.find("apps:").unwrap()..];
    assert!(refused(&format!("{head}domains: []\n{rest}")).contains("the scenario has no domains"));
    let (head, tail) = whole.split_once("apps:").unwrap();
    let rest = &tail[tail.find("pools:").unwrap()..];
    assert!(refused(&format!("{head}apps: []\n{rest}")).contains("the scenario has no apps"));
    assert!(refused("").starts_with("shop.yaml:"));
    assert!(refused("name: [").starts_with("shop.yaml:1"));
    let zero = refused(&whole.replace("durationSeconds: 3600", "durationSeconds: 0"));
    assert!(zero.contains("durationSeconds must be above 0"), "{zero}");
}

#[test]
fn ten_thousand_apps_work_and_a_million_are_refused() {
    let many = |count: u32| shop().replace("count: 3", &format!("count: {count}"));
    let scenario = read(&many(10_000), "many.yaml", Seed::root(1)).unwrap();
    assert_eq!(scenario.apps.len(), 10_001);
    assert!(scenario.apps.is_sorted_by_key(|app| (&app.namespace, &app.name)));
    let told = refused(&many(1_000_000));
    assert!(told.contains("at most 100000 apps are possible, not 1000001"), "{told}");
}

#[test]
fn too_many_paths_of_calls_are_refused() {
    let mut text = "name: web\ndurationSeconds: 60\npools:\n  - {name: p, nodeCpu: 8, nodeMemoryGib: 8, nodes: 1, maxNodes: 2}\napps:\n  - {name: a, domain: d0, serviceSeconds: 0.1, cpuRequest: 1}\ndomains:\n".to_owned();
    for index in 0..20 {
        writeln!(text, "  - {{name: d{index}, class: P2, weight: 0.1, sloP99Seconds: 1}}").unwrap();
    }
    text += "calls:\n";
    for from in 0..20 {
        for to in from + 1..20 {
            writeln!(text, "  - {{from: d{from}, to: d{to}, perRequest: 1}}").unwrap();
        }
    }
    assert!(refused(&text).contains("paths of calls"));
}

#[test]
fn a_group_is_scaled_to_its_total() {
    let text = shop().replace(
        "count: 3\n",
        "count: 3\n    rps: {logNormal: {median: 1, sigma: 1}}\n    totalRps: 900\n",
    );
    let scenario = read(&text, "shop.yaml", Seed::root(1)).unwrap();
    let sum: f64 = scenario.apps[..3].iter().map(|app| app.rps).sum();
    assert!((sum - 900.0).abs() < 1e-9, "{sum}");
    assert_ne!(scenario.apps[0].rps, scenario.apps[1].rps);
}

proptest::proptest! {
    /// Whatever a file holds, the reader answers.
    #[test]
    fn no_text_panics(text in "[a-z:{}\\[\\] \n.0-9-]{0,200}") {
        let _ = read(&text, "any", Seed::root(0));
    }

    /// Whatever number stands where one is expected, the reader answers.
    #[test]
    fn no_number_panics(value in proptest::num::f64::ANY, field in 0..12_usize) {
        let fields = ["rps: 100", "serviceSeconds: 0.02", "cpuRequest: 0.5", "median: 0.01",
            "sigma: 0.2", "low: 0.2", "nodeCpu: 16", "perRequest: 2", "factor: 5",
            "startSeconds: 600", "durationSeconds: 3600", "weight: 1.0"];
        let (name, _) = fields[field].split_once(':').unwrap();
        let text = shop().replacen(fields[field], &format!("{name}: {value:e}"), 1);
        let _ = read(&text, "any", Seed::root(0));
    }
}
