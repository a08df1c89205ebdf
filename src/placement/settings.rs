//! The constants of placement.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::cluster::Class;

/// Constants of placement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Settings {
    /// `PriorityClass` names and the class of their pods; a pod of any other has its domain's.
    pub priority_classes: BTreeMap<String, Class>,
    /// Namespaces whose pods always pass, besides `kube-system` and our own.
    pub exempt_namespaces: Vec<String>,
    /// Nodes that a `filter` answer names at most. Ten, not one: the scheduler keeps a choice, and
    /// its Score phase costs a tenth of what five hundred nodes cost.
    pub names: usize,
    /// Seconds that a granted `filter` holds its part of the budget without a binding.
    pub hold_seconds: f64,
    /// Seconds for which a breach of its SLO lets a domain use the emergency band after the last
    /// decision that said so.
    pub band_seconds: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            priority_classes: Class::ALL
                .into_iter()
                .map(|class| (format!("hirl-{}", class.as_str().to_lowercase()), class))
                .collect(),
            exempt_namespaces: Vec::new(),
            names: 10,
            hold_seconds: 30.0,
            band_seconds: 120.0,
        }
    }
}

impl Settings {
    /// One sentence that says what is wrong, if anything is.
    pub fn validate(&self) -> Result<(), String> {
        for (name, value) in
            [("holdSeconds", self.hold_seconds), ("bandSeconds", self.band_seconds)]
        {
            if !(1.0..=3600.0).contains(&value) {
                return Err(format!("placement.{name} must be 1 to 3600, not {value}"));
            }
        }
        if self.names == 0 {
            return Err("placement.names must be at least 1: no node would ever be offered".into());
        }
        Ok(())
    }
}
