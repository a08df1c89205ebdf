//! CPU and memory, and what the scheduler charges for a pod.

use std::fmt;

use anyhow::{Context as _, Result};
use serde_json::Value;

/// CPU and memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Room {
    /// Thousandths of a core.
    pub cpu: i64,
    /// Bytes.
    pub memory: i64,
}

impl Room {
    /// This much CPU (thousandths of a core), and any amount of memory.
    pub const fn cpu(cpu: i64) -> Self {
        Self { cpu, memory: i64::MAX }
    }

    /// The sum; any amount stays any amount.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_add(other.cpu),
            memory: self.memory.saturating_add(other.memory),
        }
    }

    /// The difference.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self { cpu: self.cpu - other.cpu, memory: self.memory - other.memory }
    }

    /// The larger, resource by resource.
    #[must_use]
    pub fn most(self, other: Self) -> Self {
        Self { cpu: self.cpu.max(other.cpu), memory: self.memory.max(other.memory) }
    }

    /// The smaller, resource by resource.
    #[must_use]
    pub fn least(self, other: Self) -> Self {
        Self { cpu: self.cpu.min(other.cpu), memory: self.memory.min(other.memory) }
    }

    /// Whether it is no more than `limit`.
    pub fn fits(self, limit: Self) -> bool {
        self.cpu <= limit.cpu && self.memory <= limit.memory
    }

    /// What the scheduler charges for a pod: all containers and sidecars, or the largest init
    /// container with the sidecars started before it when that is more; a request of the whole pod
    /// wins over both; the overhead comes on top. What a kubelet reports during a resize does not
    /// count here, because simulated kubelets report nothing.
    pub fn of_pod(spec: &Value) -> Result<Self> {
        let mut running = Self::default();
        for container in list(&spec["containers"]) {
            running = running.plus(Self::of(&container["resources"]["requests"])?);
        }
        let (mut sidecars, mut starting) = (Self::default(), Self::default());
        for container in list(&spec["initContainers"]) {
            let request = Self::of(&container["resources"]["requests"])?;
            if container["restartPolicy"] == "Always" {
                sidecars = sidecars.plus(request);
                starting = starting.most(sidecars);
            } else {
                starting = starting.most(sidecars.plus(request));
            }
        }
        let mut charged = running.plus(sidecars).most(starting);
        let whole = &spec["resources"]["requests"];
        if let Some(cpu) = whole["cpu"].as_str() {
            charged.cpu = thousandths(cpu)?;
        }
        if let Some(memory) = whole["memory"].as_str() {
            charged.memory = bytes(memory)?;
        }
        Ok(charged.plus(Self::of(&spec["overhead"])?))
    }

    fn of(amounts: &Value) -> Result<Self> {
        Ok(Self {
            cpu: amounts["cpu"].as_str().map(thousandths).transpose()?.unwrap_or_default(),
            memory: amounts["memory"].as_str().map(bytes).transpose()?.unwrap_or_default(),
        })
    }
}

impl fmt::Display for Room {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.memory {
            i64::MAX => write!(out, "{}m CPU", self.cpu),
            memory => write!(out, "{}m CPU and {memory} bytes", self.cpu),
        }
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn thousandths(text: &str) -> Result<i64> {
    quantity(text, 1000)
}

fn bytes(text: &str) -> Result<i64> {
    quantity(text, 1)
}

/// A quantity of the Kubernetes API in parts of which `parts` make one, rounded up.
fn quantity(text: &str, parts: i128) -> Result<i64> {
    let what = || format!("the quantity {text:?}");
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let number: i128 = format!("{whole}{fraction}").parse().with_context(what)?;
    let (times, over): (i128, i128) = match suffix {
        "" => (1, 1),
        "n" => (1, 1_000_000_000),
        "u" => (1, 1_000_000),
        "m" => (1, 1000),
        "k" => (1000, 1),
        "M" => (1_000_000, 1),
        "G" => (1_000_000_000, 1),
        "T" => (1_000_000_000_000, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        exponent => {
            let exponent = exponent.strip_prefix(['e', 'E']).with_context(what)?;
            (10_i128.checked_pow(exponent.parse().with_context(what)?).with_context(what)?, 1)
        }
    };
    let over = over * 10_i128.pow(u32::try_from(fraction.len())?);
    let all = number.checked_mul(times * parts).with_context(what)?;
    i64::try_from(all.div_euclid(over) + i128::from(all.rem_euclid(over) > 0)).with_context(what)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_means_them() {
        for (text, expected) in [("1", 1000), ("100m", 100), ("1.5", 1500), ("1e3", 1_000_000)] {
            assert_eq!(thousandths(text).unwrap(), expected, "{text}");
        }
        for millis in 1..5000 {
            assert_eq!(thousandths(&format!("{millis}m")).unwrap(), millis);
        }
        for (text, expected) in [("64Mi", 64 << 20), ("1Gi", 1 << 30), ("5k", 5000), ("7", 7)] {
            assert_eq!(bytes(text).unwrap(), expected, "{text}");
        }
        assert!(thousandths("much").is_err());
    }

    #[test]
    fn a_pod_is_charged_as_the_scheduler_does() {
        let container = |cpu: &str| json!({"resources": {"requests": {"cpu": cpu}}});
        let sidecar =
            |cpu: &str| json!({"restartPolicy": "Always", "resources": {"requests": {"cpu": cpu}}});
        let charged = |spec: &Value| Room::of_pod(spec).unwrap().cpu;
        let containers = json!([container("100m"), container("200m")]);
        assert_eq!(charged(&json!({"containers": containers})), 300);
        let with = |init: Value| json!({"containers": containers, "initContainers": init});
        assert_eq!(charged(&with(json!([container("250m")]))), 300);
        assert_eq!(charged(&with(json!([container("500m")]))), 500);
        assert_eq!(charged(&with(json!([sidecar("50m"), container("500m")]))), 550);
        assert_eq!(charged(&with(json!([container("300m"), sidecar("50m")]))), 350);
        let mut whole = with(json!([sidecar("50m")]));
        whole["resources"] = json!({"requests": {"cpu": "1"}});
        whole["overhead"] = json!({"cpu": "10m"});
        assert_eq!(charged(&whole), 1010);
    }
}
