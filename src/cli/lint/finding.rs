//! What a rule says about an object.

use serde::Serialize;

use crate::cli::objects::Placed;
use crate::cli::objects::patch::Patch;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// Does not work as its author must have meant it.
    Error,
    /// Works, but worse than it could.
    Warning,
}

impl Severity {
    /// The word in the report.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One thing found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Finding {
    /// Name of the rule.
    pub(crate) rule: &'static str,
    /// How bad.
    pub(crate) severity: Severity,
    /// Kind, namespace and name.
    pub(crate) object: String,
    /// File and line, or `cluster`.
    pub(crate) origin: String,
    /// What is wrong, with its numbers.
    pub(crate) sentence: String,
    /// What would put it right, where one change does.
    pub(crate) patch: Option<Patch>,
}

impl Finding {
    /// About an HPA; the rule's name is filled in by the table.
    pub(crate) fn on(placed: &Placed, severity: Severity, sentence: String) -> Self {
        let meta = &placed.hpa.metadata;
        Self {
            rule: "",
            severity,
            object: format!("HorizontalPodAutoscaler {}/{}", meta.namespace, meta.name),
            origin: placed.origin.clone(),
            sentence,
            patch: None,
        }
    }

    /// With a merge patch on the same HPA.
    pub(crate) fn patched(mut self, placed: &Placed, body: serde_json::Value) -> Self {
        let meta = &placed.hpa.metadata;
        self.patch = Some(Patch::on_hpa(&meta.namespace, &meta.name, body));
        self
    }
}
