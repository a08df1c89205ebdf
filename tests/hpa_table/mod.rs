//! The table of what the real HPA controller answered: `tests/data/hpa-answers.jsonl`.
//!
//! The first line is the [`Header`], every other line one [`Case`]. People write what a case asks;
//! `HIRL_RECORD=1 cargo test --test end_to_end hpa_answers` plays the cases to a
//! kube-controller-manager and writes down what it did. The same test without the variable checks
//! that it still does so; `tests/integration/hpa_answers.rs` asks our model the same.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "the recorder and the model's test share this module, and each uses a part of it"
)]

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use hirl_scale::simulation::scenario::{ControllerSpec, HpaSpec};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What each pod requests, in thousandths of a core.
pub const CPU_MILLI: u64 = 1000;
/// What each pod requests, in MiB.
pub const MEMORY_MIB: u64 = 512;
/// Length of every sample of CPU and memory, in seconds.
pub const WINDOW: f64 = 10.0;

/// How all cases were recorded.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Header {
    /// What this is, for people.
    pub about: String,
    /// Version of the controller.
    pub kubernetes: String,
    /// The command that records.
    pub command: String,
    /// Flags of the controller, as scenarios write them: those that differ from the defaults.
    pub controller: ControllerSpec,
    /// The HPA of every case, as scenarios write it, where the case does not say otherwise.
    pub hpa: Value,
}

/// One HPA: what it found, and what the controller did.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Case {
    /// What it shows.
    pub what: String,
    /// `spec.replicas` of its target at the beginning.
    pub replicas: u32,
    /// `status.replicas` of its target, always; the same as `replicas` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u32>,
    /// What differs from the header's HPA, field by field.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub hpa: Value,
    /// The pods that its CPU and memory are taken from, always.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<Pods>,
    /// What our metric says in each sync; null for no answer. Without any, the HPA reads CPU, and
    /// memory where it has a target for it, in one sync.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub asks: Vec<Option<u32>>,
    /// What stood whenever the controller read metrics, and at the end.
    #[serde(default)]
    pub stood: Vec<Standing>,
}

/// Seconds since the first read, `spec.replicas` of the target, `status.desiredReplicas` of the HPA.
pub type Standing = (f64, u32, u32);

/// Pods that are alike.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Pods {
    /// How many.
    pub count: u32,
    /// CPU of each, in thousandths of a core; none: no sample.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_milli: Option<u64>,
    /// Memory of each, in MiB; none: no sample.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mib: Option<u64>,
    /// How far they are; ready for long unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
}

/// How far a pod is.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum State {
    /// Not running yet.
    Pending,
    /// Running: the times of `simulation::hpa::PodTimes`, in seconds.
    Running {
        /// Whether it is ready.
        ready: bool,
        /// Since its start.
        age: u32,
        /// From its start to the last change of its readiness.
        changed_after: u32,
        /// From that change to its sample; negative when the sample is older.
        sampled_after: i32,
    },
}

impl Pods {
    /// How far they are.
    pub fn state(&self) -> State {
        let ready = State::Running { ready: true, age: 1000, changed_after: 5, sampled_after: 990 };
        self.state.unwrap_or(ready)
    }
}

/// The whole table.
#[derive(Debug, Clone)]
pub struct Table {
    /// The first line.
    pub header: Header,
    /// The others.
    pub cases: Vec<Case>,
}

impl Table {
    /// As it is committed.
    pub fn read() -> Result<Self> {
        let text = std::fs::read_to_string(path()).context("reading the table of HPA answers")?;
        let mut lines = text.lines();
        let header = serde_json::from_str(lines.next().unwrap_or_default()).context("line 1")?;
        let cases = lines.enumerate().map(|(index, line)| {
            serde_json::from_str(line).with_context(|| format!("line {}", index + 2))
        });
        Ok(Self { header, cases: cases.collect::<Result<_>>()? })
    }

    /// Writes it in place of the committed one.
    pub fn write(&self) -> Result<()> {
        let mut text = serde_json::to_string(&self.header)? + "\n";
        for case in &self.cases {
            text += &(serde_json::to_string(case)? + "\n");
        }
        std::fs::write(path(), text).context("writing the table of HPA answers")
    }

    /// The whole HPA of a case.
    pub fn hpa(&self, case: &Case) -> Result<HpaSpec> {
        let mut whole = self.header.hpa.clone();
        for (field, value) in case.hpa.as_object().into_iter().flatten() {
            whole[field] = value.clone();
        }
        serde_json::from_value(whole).with_context(|| format!("the HPA of {:?}", case.what))
    }
}

impl Case {
    /// How often the controller looks at its metrics before the case is over.
    pub fn syncs(&self) -> usize {
        self.asks.len().max(1)
    }
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/hpa-answers.jsonl")
}
