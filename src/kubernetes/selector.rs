//! Label selectors as objects state them: which labels they accept.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A label selector: everything in it must hold. An empty one selects everything.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Selector {
    /// Labels that must have exactly these values.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    /// Further requirements.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<Requirement>,
}

/// One requirement of a selector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Requirement {
    /// The label it speaks of.
    pub key: String,
    /// What must hold.
    pub operator: Operator,
    /// The values of `In` and `NotIn`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

/// What a requirement asks of a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Operator {
    /// It has one of the values.
    In,
    /// It has none of the values, or does not exist.
    NotIn,
    /// It exists.
    Exists,
    /// It does not exist.
    DoesNotExist,
}

impl Selector {
    /// Whether it accepts the labels that `get` knows.
    pub fn matches<'a>(&self, get: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.match_labels.iter().all(|(key, value)| get(key) == Some(value.as_str()))
            && self.match_expressions.iter().all(|requirement| {
                let found = get(&requirement.key);
                let listed =
                    || found.is_some_and(|value| requirement.values.iter().any(|one| one == value));
                match requirement.operator {
                    Operator::In => listed(),
                    Operator::NotIn => !listed(),
                    Operator::Exists => found.is_some(),
                    Operator::DoesNotExist => found.is_none(),
                }
            })
    }

    /// What the API server would refuse in it, in one sentence.
    pub fn check(&self) -> Result<(), String> {
        for requirement in &self.match_expressions {
            let needs_values = matches!(requirement.operator, Operator::In | Operator::NotIn);
            if needs_values == requirement.values.is_empty() {
                return Err(format!(
                    "the selector's {:?} on {:?} has {} values",
                    requirement.operator,
                    requirement.key,
                    requirement.values.len()
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selects(selector: &str, labels: &[(&str, &str)]) -> bool {
        let selector: Selector = serde_json::from_str(selector).unwrap();
        let labels: BTreeMap<&str, &str> = labels.iter().copied().collect();
        selector.matches(|key| labels.get(key).copied())
    }

    #[test]
    fn a_selector_accepts_what_kubernetes_accepts() {
        let web = [("app", "web"), ("tier", "front")];
        for (selector, accepted) in [
            ("{}", true),
            (r#"{"matchLabels":{"app":"web"}}"#, true),
            (r#"{"matchLabels":{"app":"web","tier":"back"}}"#, false),
            (
                r#"{"matchExpressions":[{"key":"app","operator":"In","values":["api","web"]}]}"#,
                true,
            ),
            (r#"{"matchExpressions":[{"key":"app","operator":"NotIn","values":["web"]}]}"#, false),
            (r#"{"matchExpressions":[{"key":"zone","operator":"NotIn","values":["a"]}]}"#, true),
            (r#"{"matchExpressions":[{"key":"zone","operator":"In","values":["a"]}]}"#, false),
            (r#"{"matchExpressions":[{"key":"tier","operator":"Exists"}]}"#, true),
            (r#"{"matchExpressions":[{"key":"tier","operator":"DoesNotExist"}]}"#, false),
            (
                r#"{"matchLabels":{"app":"web"},"matchExpressions":[{"key":"zone","operator":"Exists"}]}"#,
                false,
            ),
        ] {
            assert_eq!(selects(selector, &web), accepted, "{selector}");
        }
    }
}
