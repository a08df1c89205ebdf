//! The constants of placement.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::UNLIMITED;
use crate::cluster::{Amount, Class};

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
    /// Seconds for which a pod that waits for room keeps it from lower classes: longer than a node takes
    /// to come. A pod that waits longer than that has another trouble than lower classes.
    pub guard_seconds: f64,
    /// How often victims are granted to one pod before it is bound. More would be evictions in vain.
    pub preemptions: u32,
    /// What node pools can grow to, by the value of the pool label, where no `NodePool` says so.
    pub growth: BTreeMap<String, Growth>,
}

/// What a node pool can grow to. A part that is not named has no limit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Growth {
    /// Allocatable CPU of all its nodes, in cores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<f64>,
    /// Allocatable memory of all its nodes, in GiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_gib: Option<f64>,
}

impl Growth {
    /// The same as an amount.
    #[must_use]
    pub fn amount(&self) -> Amount {
        let part =
            |value: Option<f64>, unit: f64, most| value.map_or(most, |it| (it * unit) as u64);
        Amount {
            cpu_milli: part(self.cpu, 1e3, UNLIMITED.cpu_milli),
            memory: part(self.memory_gib, f64::from(1 << 30), UNLIMITED.memory),
        }
    }
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
            guard_seconds: 300.0,
            preemptions: 5,
            growth: BTreeMap::new(),
        }
    }
}

impl Settings {
    /// One sentence that says what is wrong, if anything is.
    pub fn validate(&self) -> Result<(), String> {
        for (name, value) in [
            ("holdSeconds", self.hold_seconds),
            ("bandSeconds", self.band_seconds),
            ("guardSeconds", self.guard_seconds),
        ] {
            if !(1.0..=3600.0).contains(&value) {
                return Err(format!("placement.{name} must be 1 to 3600, not {value}"));
            }
        }
        for (pool, growth) in &self.growth {
            for (name, value) in [("cpu", growth.cpu), ("memoryGib", growth.memory_gib)] {
                if value.is_some_and(|value| !(value > 0.0 && value <= 1e9)) {
                    return Err(format!(
                        "placement.growth.{pool}.{name} must be above 0 and at most 1e9, not {}",
                        value.unwrap_or_default()
                    ));
                }
            }
        }
        if self.names == 0 {
            return Err("placement.names must be at least 1: no node would ever be offered".into());
        }
        Ok(())
    }
}
