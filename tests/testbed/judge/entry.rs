//! One line of the audit log, and what it did.

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde_json::Value;

use super::{Effect, POOL};

/// A finished request.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: String,
    pub(super) user: String,
    pub(super) code: u64,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) request: Value,
    pub(super) response: Value,
    /// Why the API server refused it, if it said so.
    message: String,
    verb: String,
    /// With its subresource: `pods/binding`.
    resource: String,
    /// Whether it only asked.
    dry_run: bool,
    began: Timestamp,
    ended: Timestamp,
}

impl Entry {
    pub(super) fn read(line: &str) -> Result<Self> {
        let mut json: Value = serde_json::from_str(line).context("a line of the audit log")?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let instant = |value: &Value| -> Result<Timestamp> {
            value.as_str().context("no time")?.parse().context("a time of the audit log")
        };
        let object = &json["objectRef"];
        let resource = match object["subresource"].as_str() {
            Some(sub) => format!("{}/{sub}", text(&object["resource"])),
            None => text(&object["resource"]),
        };
        Ok(Self {
            id: text(&json["auditID"]),
            user: text(&json["user"]["username"]),
            code: json["responseStatus"]["code"].as_u64().unwrap_or_default(),
            message: text(&json["responseStatus"]["message"]),
            namespace: text(&object["namespace"]),
            name: text(&object["name"]),
            verb: text(&json["verb"]),
            dry_run: json["requestURI"].as_str().is_some_and(|uri| uri.contains("dryRun=All")),
            resource,
            began: instant(&json["requestReceivedTimestamp"])?,
            ended: instant(&json["stageTimestamp"])?,
            request: json["requestObject"].take(),
            response: json["responseObject"].take(),
        })
    }

    pub(super) fn ended(&self) -> Timestamp {
        self.ended
    }

    /// Whether a failure leaves open what became of the request.
    pub(super) fn in_doubt(&self) -> bool {
        matches!(self.code, 0 | 408 | 499 | 500..)
    }

    /// What it did, with the instant from which that counts.
    pub(super) fn effects<'a>(
        &'a self,
        domain_label: &str,
    ) -> Vec<(Timestamp, &'a Self, Effect<'a>)> {
        let good = (200..300).contains(&self.code);
        let label = |key: &str| self.request["metadata"]["labels"][key].as_str();
        let name = match self.name.as_str() {
            "" => self.request["metadata"]["name"].as_str().unwrap_or_default(),
            name => name,
        };
        let effect = match (self.resource.as_str(), self.verb.as_str()) {
            ("pods/binding", "create") if !good => (self.ended, Effect::Refuse),
            // An overloaded server says 429 too.
            ("pods/eviction", "create")
                if self.code == 429 && self.message.contains("disruption budget") =>
            {
                (self.ended, Effect::Protect)
            }
            _ if !good || self.dry_run => return Vec::new(),
            ("namespaces", "create" | "patch" | "update") => match label(domain_label) {
                Some(domain) => (self.began, Effect::Namespace(name, domain)),
                None => return Vec::new(),
            },
            ("nodes", "create" | "patch" | "update") => match label(POOL) {
                Some(pool) => (self.ended, Effect::Node(name, pool)),
                None => return Vec::new(),
            },
            ("pods", "create") => (self.ended, Effect::Make),
            ("pods/binding", "create") => (self.ended, Effect::Bind),
            ("pods", "delete") => {
                (self.began, Effect::Delete { for_good: for_good(&self.response) })
            }
            ("pods", "deletecollection") => (self.began, Effect::DeleteAll),
            ("pods/eviction", "create") => (self.began, Effect::Evict),
            ("pods/resize", "patch" | "update") => (self.ended, Effect::Resize),
            ("pods/status", "patch" | "update") => {
                let phase = self.request["status"]["phase"].as_str();
                let ended = matches!(phase, Some("Succeeded" | "Failed"));
                let mut effects = vec![(self.ended, self, Effect::Status)];
                if ended {
                    effects.push((self.began, self, Effect::End));
                }
                return effects;
            }
            _ => return Vec::new(),
        };
        vec![(effect.0, self, effect.1)]
    }
}

/// Whether a pod that a deletion answered with is gone, and not merely going.
pub(super) fn for_good(pod: &Value) -> bool {
    let metadata = &pod["metadata"];
    let grace = metadata["deletionGracePeriodSeconds"].as_i64().unwrap_or_default();
    let held = metadata["finalizers"].as_array().is_some_and(|held| !held.is_empty());
    grace == 0 && !held
}
