//! What is wrong with a `KubeSchedulerConfiguration` that names our extender. kube-scheduler itself
//! starts with most of it and then fails every pod, or asks an unverified server.

use std::path::Path;

use anyhow::Context as _;
use serde_json::Value;

use crate::cli::objects::yaml;

use super::line::Line;

/// Longest time, in seconds, that one call may hold up the scheduler's whole queue.
const LONGEST_TIMEOUT: f64 = 1.0;

/// The two prefixes of the extender.
const STRICT: &str = "/v1/strict";
const OPEN: &str = "/v1/open";

/// Looks at a file. It is an error when it cannot be read or is no scheduler configuration.
pub(super) fn examine(path: &Path) -> anyhow::Result<Vec<Line>> {
    let origin = path.display().to_string();
    let documents = yaml::read(&origin)?;
    let config = documents
        .into_iter()
        .map(|document| document.value)
        .find(|value| value["kind"] == "KubeSchedulerConfiguration")
        .with_context(|| format!("{origin} holds no KubeSchedulerConfiguration"))?;
    Ok(judge(&config))
}

/// One line per finding; one pass per extender of ours without a ✗.
fn judge(config: &Value) -> Vec<Line> {
    let mut lines = Vec::new();
    if config["apiVersion"] != "kubescheduler.config.k8s.io/v1" {
        lines.push(Line::fail(
            format!("apiVersion is {}", config["apiVersion"]),
            "write kubescheduler.config.k8s.io/v1",
        ));
    }
    lines.extend(election(config));
    let extenders: &[Value] = config["extenders"].as_array().map_or(&[], Vec::as_slice);
    let ours: Vec<&Value> = extenders.iter().filter(|extender| is_ours(extender)).collect();
    if ours.is_empty() {
        lines.push(Line::fail(
            format!("none of {} extenders has a urlPrefix of ours", extenders.len()),
            format!("the urlPrefix ends in {STRICT} or {OPEN}"),
        ));
    }
    for (number, extender) in ours.into_iter().enumerate() {
        let found = Extender { value: extender, url: text(extender, "urlPrefix") }.judge();
        let fails = found.iter().any(|line| line.mark == super::Mark::Fail);
        lines.extend(found);
        if !fails {
            let url = text(extender, "urlPrefix");
            lines.push(Line::pass(format!("extender {number} asks {url} as it should")));
        }
    }
    lines
}

/// A second scheduler under the Lease of the first only ever waits.
fn election(config: &Value) -> Option<Line> {
    let names: Vec<&str> = config["profiles"]
        .as_array()
        .map_or(&[][..], Vec::as_slice)
        .iter()
        .filter_map(|profile| profile["schedulerName"].as_str())
        .collect();
    let second = !names.is_empty() && !names.contains(&"default-scheduler");
    let election = &config["leaderElection"];
    let elects = election["leaderElect"] != false;
    let lease = election["resourceName"].as_str().unwrap_or("kube-scheduler");
    (second && elects && lease == "kube-scheduler").then(|| {
        Line::fail(
            format!("{} shares the Lease kube-scheduler with the default scheduler", names[0]),
            "set leaderElection.resourceName to a name of its own, or it only ever waits",
        )
    })
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

fn is_ours(extender: &Value) -> bool {
    let url = text(extender, "urlPrefix").trim_end_matches('/');
    url.ends_with(STRICT) || url.ends_with(OPEN) || url.contains("hirl-extender")
}

struct Extender<'a> {
    value: &'a Value,
    url: &'a str,
}

impl Extender<'_> {
    fn judge(&self) -> Vec<Line> {
        let mut lines = Vec::new();
        self.transport(&mut lines);
        self.mode(&mut lines);
        self.verbs(&mut lines);
        let value = self.value;
        if value["nodeCacheCapable"] != true {
            lines.push(Line::fail(
                "nodeCacheCapable is not true",
                "set it: else whole nodes are sent (900 kB per pod at 2,000 nodes), and refused",
            ));
        }
        match value["httpTimeout"].as_str().map(seconds) {
            Some(Some(time)) if time > 0.0 && time <= LONGEST_TIMEOUT => {}
            Some(Some(time)) if time > LONGEST_TIMEOUT => lines.push(Line::fail(
                format!("httpTimeout is {}", text(value, "httpTimeout")),
                "at most 1s: a hang holds the whole queue for that long per pod",
            )),
            Some(_) => lines.push(Line::fail(
                format!("httpTimeout {} is no time above 0", value["httpTimeout"]),
                "write 1s",
            )),
            None if value["httpTimeout"].is_null() => lines.push(Line::fail(
                "httpTimeout is not set",
                "write 1s: the default of 5 s holds the whole queue for that long per pod",
            )),
            None => lines.push(Line::fail(
                format!("httpTimeout {} has no unit", value["httpTimeout"]),
                "write 1s: the scheduler does not start with it",
            )),
        }
        for resource in value["managedResources"].as_array().into_iter().flatten() {
            if resource["ignoredByScheduler"] != true {
                lines.push(Line::fail(
                    format!(
                        "managed resource {} is not ignoredByScheduler",
                        text(resource, "name")
                    ),
                    "no node offers it: its pods would fit nowhere",
                ));
            }
        }
        lines
    }

    fn transport(&self, lines: &mut Vec<Line>) {
        let tls = &self.value["tlsConfig"];
        let given =
            |field: &str, data: &str| !text(tls, field).is_empty() || !text(tls, data).is_empty();
        if !self.url.starts_with("https://") {
            lines.push(Line::fail(
                format!("urlPrefix {} is not https://", self.url),
                "the extender answers over mutual TLS only: every pod would get a SchedulerError",
            ));
        }
        if !given("caFile", "caData") {
            let what = if self.value["enableHTTPS"] == true {
                "enableHTTPS without a CA: the server is not verified at all"
            } else {
                "tlsConfig has no CA: the system's public CAs are trusted, and ours is none of them"
            };
            lines.push(Line::fail(what, "set tlsConfig.caFile to the CA of hirl's serving pair"));
        }
        if tls["insecure"] == true {
            lines.push(Line::fail(
                "tlsConfig.insecure: the server is not verified",
                "take it out: anybody could place your pods",
            ));
        }
        if !given("certFile", "certData") || !given("keyFile", "keyData") {
            lines.push(Line::fail(
                "tlsConfig has no client certificate",
                "set certFile and keyFile (hirl certs --scheduler): without it no handshake succeeds",
            ));
        }
        if text(tls, "serverName").is_empty() {
            lines.push(Line::warn(
                "tlsConfig has no serverName",
                "the serving pair must then carry the host of urlPrefix; hirl.hirl-system.svc is in it",
            ));
        }
    }

    /// A refusal is an error in strict mode, which an ignorable extender ignores; in open mode an
    /// extender that is not ignorable stops the pods that were to be safe from it.
    fn mode(&self, lines: &mut Vec<Line>) {
        let url = self.url.trim_end_matches('/');
        let ignorable = self.value["ignorable"] == true;
        if url.ends_with(STRICT) && ignorable {
            lines.push(Line::fail(
                format!("ignorable is true under {STRICT}: every refusal is ignored"),
                format!("set ignorable: false, or use {OPEN}"),
            ));
        } else if url.ends_with(OPEN) && !ignorable {
            lines.push(Line::fail(
                format!(
                    "ignorable is false under {OPEN}: its pods wait while the extender is away"
                ),
                format!("set ignorable: true, or use {STRICT}"),
            ));
        } else if !url.ends_with(STRICT) && !url.ends_with(OPEN) {
            lines.push(Line::fail(
                format!("urlPrefix {} is neither of ours", self.url),
                format!("it ends in {STRICT} or {OPEN}"),
            ));
        }
    }

    fn verbs(&self, lines: &mut Vec<Line>) {
        let strict = self.url.trim_end_matches('/').ends_with(STRICT);
        for (field, verb, why) in [
            ("filterVerb", "filter", "without it no budget is kept"),
            ("preemptVerb", "preempt", "without it one blocked pod evicts others from full nodes"),
        ] {
            self.verb(lines, field, verb, why);
        }
        if strict {
            let why = "without it two pods that were filtered at once exceed the budget together";
            self.verb(lines, "bindVerb", "bind", why);
        } else if !text(self.value, "bindVerb").is_empty() {
            lines.push(Line::warn(
                format!("bindVerb is set under {OPEN}"),
                "its errors are ignored and the default binder binds: leave it out",
            ));
        }
        if !text(self.value, "prioritizeVerb").is_empty() {
            self.verb(lines, "prioritizeVerb", "prioritize", "the extender knows no other");
            lines.push(Line::warn(
                "prioritizeVerb is set",
                "it works, and costs about a fifth of the throughput: filter names the best nodes already",
            ));
            if self.value["weight"].as_i64().unwrap_or(0) <= 0 {
                lines.push(Line::fail(
                    "prioritizeVerb without a weight above 0",
                    "write weight: 1: the scheduler does not start without",
                ));
            }
        }
    }

    fn verb(&self, lines: &mut Vec<Line>, field: &str, verb: &str, why: &str) {
        match text(self.value, field) {
            "" => lines
                .push(Line::fail(format!("{field} is not set"), format!("write {verb}: {why}"))),
            found if found != verb => {
                lines.push(Line::fail(format!("{field} is {found:?}"), format!("write {verb}")));
            }
            _ => {}
        }
    }
}

/// A Go duration such as `1s`, `800ms` or `1m30s` in seconds.
fn seconds(text: &str) -> Option<f64> {
    let mut rest = text;
    let mut sum = None;
    while !rest.is_empty() {
        let unit_at = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (number, tail) = rest.split_at(unit_at);
        let next = tail.find(|letter: char| letter.is_ascii_digit() || letter == '.');
        let (unit, tail) = tail.split_at(next.unwrap_or(tail.len()));
        let factor = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        sum = Some(sum.unwrap_or(0.0) + number.parse::<f64>().ok()? * factor);
        rest = tail;
    }
    sum
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use serde_json::json;

    use super::*;
    use crate::cli::check::Mark;

    fn golden(name: &str) -> Value {
        let path = format!("{}/manifests/scheduler/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
        yaml::read(&path).unwrap().remove(0).value
    }

    fn said(config: &Value, mark: Mark) -> Vec<String> {
        judge(config).iter().filter(|line| line.mark == mark).map(Line::render).collect()
    }

    #[test]
    fn the_golden_files_are_clean() {
        for name in ["hirl-scheduler", "hirl-scheduler-open", "default-scheduler-marker"] {
            let config = golden(name);
            let others = [said(&config, Mark::Fail), said(&config, Mark::Warn)].concat();
            assert!(others.is_empty(), "{name}: {others:?}");
            assert_eq!(said(&config, Mark::Pass).len(), 1, "{name}");
        }
    }

    #[test]
    fn each_mistake_is_named() {
        let strict = "hirl-scheduler";
        let none = Value::Null;
        for (file, pointer, value, mark, part) in [
            (strict, "urlPrefix", json!("http://h:1/v1/strict"), Mark::Fail, "is not https://"),
            (strict, "urlPrefix", json!("https://hirl-extender:1/"), Mark::Fail, "neither of ours"),
            (strict, "tlsConfig/caFile", none.clone(), Mark::Fail, "has no CA"),
            (strict, "tlsConfig/insecure", json!(true), Mark::Fail, "insecure"),
            (strict, "tlsConfig/certFile", none.clone(), Mark::Fail, "no client certificate"),
            (strict, "tlsConfig/keyFile", none.clone(), Mark::Fail, "no client certificate"),
            (strict, "tlsConfig/serverName", none.clone(), Mark::Warn, "no serverName"),
            (strict, "tlsConfig", none.clone(), Mark::Fail, "no client certificate"),
            (strict, "nodeCacheCapable", json!(false), Mark::Fail, "nodeCacheCapable"),
            (strict, "nodeCacheCapable", none.clone(), Mark::Fail, "nodeCacheCapable"),
            (strict, "ignorable", json!(true), Mark::Fail, "ignorable is true"),
            ("hirl-scheduler-open", "ignorable", json!(false), Mark::Fail, "ignorable is false"),
            ("hirl-scheduler-open", "bindVerb", json!("bind"), Mark::Warn, "bindVerb is set"),
            (strict, "httpTimeout", json!("1s1ms"), Mark::Fail, "httpTimeout is 1s1ms"),
            (strict, "httpTimeout", none.clone(), Mark::Fail, "not set"),
            (strict, "httpTimeout", json!(2), Mark::Fail, "has no unit"),
            (strict, "httpTimeout", json!("0s"), Mark::Fail, "no time above 0"),
            (strict, "httpTimeout", json!("soon"), Mark::Fail, "no time above 0"),
            (strict, "prioritizeVerb", json!("prioritize"), Mark::Warn, "prioritizeVerb is set"),
            (strict, "filterVerb", none.clone(), Mark::Fail, "filterVerb is not set"),
            (strict, "filterVerb", json!("predicate"), Mark::Fail, "filterVerb is \"predicate\""),
            (strict, "preemptVerb", none.clone(), Mark::Fail, "preemptVerb is not set"),
            (strict, "bindVerb", none.clone(), Mark::Fail, "bindVerb is not set"),
            (
                "default-scheduler-marker",
                "managedResources/0/ignoredByScheduler",
                json!(false),
                Mark::Fail,
                "hirl-scale.io/budgeted is not ignoredByScheduler",
            ),
        ] {
            let mut config = golden(file);
            let (parent, field) = pointer.rsplit_once('/').unwrap_or(("", pointer));
            let parent = if parent.is_empty() { String::new() } else { format!("/{parent}") };
            config["extenders"][0].pointer_mut(&parent).unwrap()[field] = value;
            let lines = said(&config, mark);
            assert!(
                lines.iter().any(|line| line.contains(part)),
                "{pointer}: {:?}",
                judge(&config)
            );
        }
    }

    #[test]
    fn an_unverified_server_a_shared_lease_and_nothing_of_ours_are_named() {
        let mut config = golden("hirl-scheduler");
        config["extenders"][0]["enableHTTPS"] = json!(true);
        assert!(said(&config, Mark::Fail).is_empty(), "with a CA it changes nothing");
        config["extenders"][0]["tlsConfig"]["caFile"] = Value::Null;
        assert!(said(&config, Mark::Fail)[0].contains("not verified at all"));
        let mut config = golden("hirl-scheduler");
        config["leaderElection"]["resourceName"] = Value::Null;
        assert!(said(&config, Mark::Fail)[0].contains("shares the Lease"));
        let mut config = golden("hirl-scheduler");
        config["extenders"] = json!([{"urlPrefix": "https://other/"}]);
        assert!(said(&config, Mark::Fail)[0].contains("none of 1 extenders"));
        config["extenders"] = Value::Null;
        assert!(said(&config, Mark::Fail)[0].contains("none of 0 extenders"));
    }

    #[test]
    fn what_is_no_scheduler_configuration_is_one_sentence() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("pod.yaml");
        std::fs::write(&file, "kind: Pod\n").unwrap();
        let error = examine(&file).unwrap_err().to_string();
        assert!(error.contains("holds no KubeSchedulerConfiguration"), "{error}");
        assert!(examine(&PathBuf::from("/does/not/exist.yaml")).is_err());
    }

    #[test]
    fn go_durations_are_read() {
        for (text, wanted) in [
            ("1s", Some(1.0)),
            ("800ms", Some(0.8)),
            ("1m30s", Some(90.0)),
            ("1.5s", Some(1.5)),
            ("", None),
            ("s", None),
            ("1", None),
            ("1x", None),
        ] {
            assert_eq!(seconds(text), wanted, "{text}");
        }
    }
}
