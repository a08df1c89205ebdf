//! What an operator states about the cluster.

use serde::{Deserialize, Deserializer, Serialize};

use super::LeaseSettings;
use crate::cluster::Call;
use crate::cluster::Class;
use crate::cluster::DEFAULT_DOMAIN;
use crate::cluster::Domain;
use crate::cluster::LoanLimit;
use crate::cluster::Mode;
use crate::cluster::PolicyChoice;
use crate::cluster::Slo;

/// Settings of everything that is read from and written to the API server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Settings {
    /// Node label whose value names the pool of the node. Written as a key (anything with a slash
    /// or a dot) or as the name of a provider ([`POOL_LABELS`]); read, it is always the key.
    #[serde(deserialize_with = "pool_label")]
    pub pool_label: String,
    /// Names of the pools that several domains share, so that budgets apply; all pools when empty.
    /// The empty name stands for the nodes without the label.
    pub shared_pools: Vec<String>,
    /// CPU utilisation (share of the request, above 0 and at most 1) that an HPA aims at when
    /// neither its annotation nor a CPU metric of its own says so.
    pub target_cpu: f64,
    /// The Service that must stand behind our `APIService`.
    pub service: Service,
    /// The domain of every app that no `Domain` object selects.
    pub default_domain: DefaultDomain,
    /// Who decides.
    pub lease: LeaseSettings,
}

/// The providers that label the nodes of a pool, and the keys of their labels.
pub const POOL_LABELS: [(&str, &str); 8] = [
    ("aks", "kubernetes.azure.com/agentpool"),
    ("digitalocean", "doks.digitalocean.com/node-pool"),
    ("eks", "eks.amazonaws.com/nodegroup"),
    ("gke", "cloud.google.com/gke-nodepool"),
    ("hirl", "hirl-scale.io/pool"),
    ("karpenter", "karpenter.sh/nodepool"),
    ("linode", "lke.linode.com/pool-id"),
    ("scaleway", "k8s.scaleway.com/pool-name"),
];

/// A Service by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Service {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// Values of the built-in default domain. A `Domain` object named `default` replaces them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct DefaultDomain {
    /// Priority class.
    pub class: Class,
    /// Weight in the division of shared capacity, above 0 and at most 1.
    pub weight: f64,
    /// Promised 99th percentile of latency, in seconds.
    pub p99_seconds: f64,
    /// Promised share of failed requests, 0 to 1.
    pub error_ratio: f64,
    /// Share of shared capacity that is never divided away from it, 0 to 1.
    pub floor_share: f64,
    /// How far the policy acts.
    pub mode: Mode,
    /// Which policy plans.
    pub policy: PolicyChoice,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            pool_label: "hirl-scale.io/pool".to_owned(),
            shared_pools: Vec::new(),
            target_cpu: 0.7,
            service: Service::default(),
            default_domain: DefaultDomain::default(),
            lease: LeaseSettings::default(),
        }
    }
}

impl Default for Service {
    fn default() -> Self {
        Self { namespace: "hirl-system".to_owned(), name: "hirl".to_owned() }
    }
}

impl Default for DefaultDomain {
    fn default() -> Self {
        Self {
            class: Class::P2,
            weight: 0.5,
            p99_seconds: 1.0,
            error_ratio: 0.01,
            floor_share: 0.0,
            policy: PolicyChoice::Hirl,
            mode: Mode::Active,
        }
    }
}

impl Settings {
    /// Refuses values that no cluster can have, in one sentence.
    pub fn validate(&self) -> Result<(), String> {
        if !self.pool_label.contains(['/', '.']) {
            return Err(format!(
                "kubernetes.poolLabel {:?} is neither a label key with a slash or a dot nor one of {}",
                self.pool_label,
                POOL_LABELS.map(|(provider, _)| provider).join(", ")
            ));
        }
        if !(self.target_cpu > 0.0 && self.target_cpu <= 1.0) {
            return Err(format!(
                "kubernetes.targetCpu is {}: it must be above 0 and at most 1",
                self.target_cpu
            ));
        }
        if self.service.namespace.is_empty() || self.service.name.is_empty() {
            return Err("kubernetes.service needs a namespace and a name".to_owned());
        }
        check(&self.default_domain.domain())
            .map_err(|problem| format!("kubernetes.defaultDomain: {problem}"))?;
        self.lease.validate()
    }
}

/// Puts the label key of a provider in place of its name.
fn pool_label<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    let preset = POOL_LABELS.iter().find(|(provider, _)| *provider == text);
    Ok(preset.map_or(text, |(_, key)| (*key).to_owned()))
}

impl DefaultDomain {
    /// As a domain.
    #[must_use]
    pub fn domain(&self) -> Domain {
        Domain {
            name: DEFAULT_DOMAIN.to_owned(),
            class: self.class,
            weight: self.weight,
            slo: Slo { p99_seconds: self.p99_seconds, error_ratio: self.error_ratio },
            floor_share: self.floor_share,
            borrowing: LoanLimit::default(),
            lending: LoanLimit::default(),
            policy: self.policy,
            mode: self.mode,
            calls: Vec::new(),
            budget_by_hand: None,
            emergency: None,
        }
    }
}

/// Refuses a domain that could not be planned for, in one sentence. The CRD says the same in CEL;
/// here it also holds for settings and for objects stored before the rules.
pub(super) fn check(domain: &Domain) -> Result<(), String> {
    let share = |name: &str, value: f64| {
        if (0.0..=1.0).contains(&value) {
            Ok(())
        } else {
            Err(format!("{name} is {value}: it must lie between 0 and 1"))
        }
    };
    if !(domain.weight > 0.0 && domain.weight <= 1.0) {
        return Err(format!("weight is {}: it must be above 0 and at most 1", domain.weight));
    }
    if !(domain.slo.p99_seconds > 0.0 && domain.slo.p99_seconds.is_finite()) {
        return Err(format!("the p99 is {} s: it must be above 0", domain.slo.p99_seconds));
    }
    share("the error ratio", domain.slo.error_ratio)?;
    share("the floor share", domain.floor_share)?;
    for (place, call) in domain.calls.iter().enumerate() {
        let Call { to, per_request } = call;
        if !(0.0..=1000.0).contains(per_request) {
            return Err(format!("it calls {to} {per_request} times: it must be 0 to 1000"));
        }
        if *to == domain.name {
            return Err(format!("{to} calls itself: only other domains can be named"));
        }
        if domain.calls[..place].iter().any(|other| other.to == *to) {
            return Err(format!("calls names {to} twice"));
        }
    }
    match domain.mode {
        Mode::Canary(percent) if percent > 100 => {
            Err(format!("the canary share is {percent} %: it must be at most 100"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_bad_values_are_named() {
        assert_eq!(Settings::default().validate(), Ok(()));
        let mut settings = Settings::default();
        settings.default_domain.weight = 0.0;
        assert!(settings.validate().unwrap_err().contains("defaultDomain: weight is 0"));
        settings = Settings { target_cpu: f64::NAN, ..Settings::default() };
        assert!(settings.validate().unwrap_err().contains("targetCpu"));
    }

    #[test]
    fn a_provider_stands_for_its_label_and_other_words_are_refused() {
        let read = |text: &str| {
            let settings: Settings =
                serde_json::from_value(serde_json::json!({ "poolLabel": text })).unwrap();
            settings.validate().map(|()| settings.pool_label)
        };
        for (provider, key) in POOL_LABELS {
            assert_eq!(read(provider).as_deref(), Ok(key));
            assert_eq!(read(key).as_deref(), Ok(key), "what is written is what is read");
        }
        assert_eq!(read("example.org/team").as_deref(), Ok("example.org/team"));
        assert_eq!(read("node.kind").as_deref(), Ok("node.kind"));
        for bad in ["", "pool", "GKE", "gkee"] {
            let said = read(bad).unwrap_err();
            assert!(said.contains(&format!("{bad:?}")) && said.contains("karpenter"), "{said}");
        }
    }
}
