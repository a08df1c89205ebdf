//! Merge patches (RFC 7386) on single objects, and the command that applies each. Pure: printing
//! is all that is ever done with them.

use serde::Serialize;
use serde_json::{Map, Value};

/// A change to one object, for the operator to apply.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Patch {
    /// What `kubectl` calls the kind.
    pub(crate) resource: &'static str,
    /// Where.
    pub(crate) namespace: String,
    /// Which.
    pub(crate) name: String,
    /// The merge patch.
    pub(crate) body: Value,
}

impl Patch {
    /// On an HPA.
    pub(crate) fn on_hpa(namespace: &str, name: &str, body: Value) -> Self {
        Self {
            resource: "hpa.v2.autoscaling",
            namespace: namespace.into(),
            name: name.into(),
            body,
        }
    }

    /// One line for a POSIX shell.
    pub(crate) fn command(&self) -> String {
        let Self { resource, namespace, name, body } = self;
        let body = body.to_string().replace('\'', r"'\''");
        format!("kubectl -n {namespace} patch {resource} {name} --type=merge -p '{body}'")
    }
}

/// The smallest merge patch that turns `from` into `to`.
pub(crate) fn between(from: &Value, to: &Value) -> Value {
    let (Value::Object(from), Value::Object(to)) = (from, to) else {
        return to.clone();
    };
    let mut patch = Map::new();
    for key in from.keys().filter(|key| !to.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, wanted) in to {
        match from.get(key) {
            Some(present) if present == wanted => {}
            Some(present) => {
                patch.insert(key.clone(), between(present, wanted));
            }
            None => {
                patch.insert(key.clone(), wanted.clone());
            }
        }
    }
    Value::Object(patch)
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    /// What the API server does with a merge patch.
    pub(crate) fn apply(target: &mut Value, patch: &Value) {
        let Value::Object(changes) = patch else {
            *target = patch.clone();
            return;
        };
        if !target.is_object() {
            *target = json!({});
        }
        let fields = target.as_object_mut().unwrap();
        for (key, change) in changes {
            if change.is_null() {
                fields.remove(key);
            } else {
                apply(fields.entry(key.clone()).or_insert(Value::Null), change);
            }
        }
    }

    #[test]
    fn the_patch_between_two_objects_turns_one_into_the_other() {
        let values = [
            json!({}),
            json!({"a": 1, "b": {"c": [1, 2], "d": "x"}}),
            json!({"a": {"z": true}, "b": {"c": [2], "e": {"f": 1}}}),
            json!({"b": {"d": "x"}}),
        ];
        for from in &values {
            for to in &values {
                let mut patched = from.clone();
                apply(&mut patched, &between(from, to));
                assert_eq!(&patched, to, "from {from}");
            }
        }
    }

    #[test]
    fn nothing_to_change_is_an_empty_patch() {
        assert_eq!(
            between(&json!({"a": [1], "b": {"c": 2}}), &json!({"a": [1], "b": {"c": 2}})),
            json!({})
        );
    }

    #[test]
    fn quotes_in_a_patch_survive_the_shell() {
        let patch = Patch::on_hpa("shop", "web", json!({"a": "it's"}));
        assert!(patch.command().ends_with(r#"-p '{"a":"it'\''s"}'"#), "{}", patch.command());
    }
}
