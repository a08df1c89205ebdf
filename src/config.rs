//! The configuration file: one section per room of the crate, every field with a default, unknown
//! fields refused. Each room documents and checks its own section.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::control;
use crate::extender;
use crate::http;
use crate::kubernetes;
use crate::observation;
use crate::placement;
use crate::policy;
use crate::safety;
use crate::telemetry;

/// Everything that can be configured, in the order of the data path.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Config {
    /// Where Prometheus is and what it is asked.
    pub telemetry: telemetry::Settings,
    /// What is watched, the default domain, the lease.
    pub kubernetes: kubernetes::Settings,
    /// How signals become features.
    pub observation: observation::Settings,
    /// The rule's constants.
    pub policy: policy::rules::Settings,
    /// The learned policy on top of the rule.
    pub hierarchy: control::hierarchy::Settings,
    /// The hard limits.
    pub safety: safety::Settings,
    /// What forecasts are made from, and what is kept of them.
    pub forecast: control::forecasting::Settings,
    /// The rhythm of decisions, and the other replica.
    pub control: control::Settings,
    /// The HTTPS server.
    pub http: http::Settings,
    /// What a pod may use of the node pools.
    pub placement: placement::Settings,
    /// The scheduler extender.
    pub extender: extender::Settings,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be read.
    #[error("reading the configuration {path}: {cause}", path = path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// The text is not YAML, or not of our shape; the cause names line and column.
    #[error("the configuration {origin} does not parse: {cause}")]
    Parse {
        /// Where the text came from.
        origin: String,
        /// What and where.
        cause: String,
    },
    /// A value makes no sense.
    #[error("the configuration {origin} is not usable: {sentence}")]
    Invalid {
        /// Where the text came from.
        origin: String,
        /// Which value, and why.
        sentence: String,
    },
}

impl Config {
    /// Reads and checks a file.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path)
            .map_err(|cause| Error::Read { path: path.to_owned(), cause })?;
        Self::parse(&text, &path.display().to_string())
    }

    /// Reads and checks a text; `origin` says where it came from. An empty text is the default.
    pub fn parse(text: &str, origin: &str) -> Result<Self, Error> {
        let origin = || origin.to_owned();
        let config: Self = if text.trim().is_empty() {
            Self::default()
        } else {
            serde_saphyr::from_str(text).map_err(|error| {
                // The first line names the place; the rest draws it.
                let cause = error.to_string().lines().next().unwrap_or_default().to_owned();
                Error::Parse { origin: origin(), cause }
            })?
        };
        config.validate().map_err(|sentence| Error::Invalid { origin: origin(), sentence })?;
        Ok(config)
    }

    fn validate(&self) -> Result<(), String> {
        self.telemetry.validate()?;
        self.kubernetes.validate()?;
        self.observation.validate()?;
        self.policy.validate()?;
        self.hierarchy.validate()?;
        self.safety.validate()?;
        self.forecast.validate()?;
        self.control.validate()?;
        self.http.validate()?;
        self.placement.validate()?;
        self.extender.validate()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        Config::parse(text, "hirl.yaml").unwrap_err().to_string()
    }

    #[test]
    fn nothing_at_all_is_the_default() {
        assert_eq!(Config::parse("", "hirl.yaml").unwrap(), Config::default());
        assert_eq!(Config::parse("{}", "hirl.yaml").unwrap(), Config::default());
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let text = serde_saphyr::to_string(&Config::default()).unwrap();
        assert_eq!(Config::parse(&text, "hirl.yaml").unwrap(), Config::default());
    }

    #[test]
    fn a_misspelt_field_is_refused_with_its_place() {
        let sentence = refusal("safety:\n  upFactr: 2\n");
        assert!(sentence.contains("upFactr") && sentence.contains("hirl.yaml"), "{sentence}");
        assert!(sentence.contains("line 2"), "{sentence}");
    }

    #[test]
    fn a_value_without_sense_is_refused_in_one_sentence() {
        for (text, names) in [
            ("safety: {upFactor: 0.5}", "safety.upFactor"),
            ("policy: {reserveShare: 2}", "policy.reserveShare"),
            ("control: {maxAgeSeconds: 1}", "control.maxAgeSeconds"),
            ("forecast: {limitSeconds: 0}", "forecast.limitSeconds"),
            ("placement: {names: 0}", "placement.names"),
            ("extender: {enabled: true}", "extender.clientCaFile"),
            ("observation: {leadSeconds: .nan}", "observation.leadSeconds"),
        ] {
            let sentence = refusal(text);
            assert!(sentence.contains(names) && sentence.lines().count() == 1, "{sentence}");
        }
        assert_eq!(refusal("safety: [").lines().count(), 1);
    }
}
