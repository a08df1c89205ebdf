//! Where the extender listens, whom it answers, and how it treats what is over budget.

use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::https;

/// Settings of the scheduler extender.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Settings {
    /// Whether there is one.
    pub enabled: bool,
    /// Address and port to listen on.
    pub listen: SocketAddr,
    /// PEM file with the CAs that sign the schedulers' client certificates. Needed: a certificate
    /// is the only identity that a scheduler can show.
    pub client_ca_file: Option<PathBuf>,
    /// Common names or DNS names of which a client certificate must carry one.
    pub client_names: Vec<String>,
    /// PEM file with the serving certificate; without it that of the `http` section.
    pub cert_file: Option<PathBuf>,
    /// PEM file with its key; without it that of the `http` section.
    pub key_file: Option<PathBuf>,
    /// Milliseconds within which a bind is answered. Below the scheduler's `httpTimeout`, so that
    /// it hears what became of its Binding.
    pub bind_timeout_millis: u64,
    /// Seconds between taking the Lease and reading all pods: what the former owner sent last must
    /// have arrived.
    pub fence_seconds: f64,
    /// Eviction of pods whose domain is to give room back.
    pub reclaim: Reclaim,
    /// Letting pods through our scheduling gate.
    pub gates: Gates,
    /// The `EndpointSlice` that leads the scheduler to the owner.
    pub endpoint_slice: EndpointSlice,
}

/// Eviction of pods of domains that use more than they may borrow, or what others wait for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Reclaim {
    /// Whether pods are evicted at all.
    pub enabled: bool,
    /// Seconds for which a domain must use more than it may borrow, or its equal must wait, before the first
    /// eviction. For a higher class that waits it is ten.
    pub delay_seconds: f64,
    /// Evictions a minute at most, and at once for one pod that waits.
    pub per_minute: u32,
}

/// Letting pods through our scheduling gate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Gates {
    /// Whether gates are removed at all.
    pub enabled: bool,
    /// Pods let through in a second at most.
    pub per_second: u32,
}

/// The `EndpointSlice` of the extender's Service, which has no selector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct EndpointSlice {
    /// Whether the owner writes it.
    pub enabled: bool,
    /// Its namespace.
    pub namespace: String,
    /// Its name, and that of the Service.
    pub name: String,
}

impl Default for Reclaim {
    fn default() -> Self {
        Self { enabled: false, delay_seconds: 120.0, per_minute: 10 }
    }
}

impl Default for Gates {
    fn default() -> Self {
        Self { enabled: false, per_second: 100 }
    }
}

impl Default for EndpointSlice {
    fn default() -> Self {
        Self { enabled: false, namespace: "hirl-system".into(), name: "hirl-extender".into() }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            enabled: false,
            listen: SocketAddr::from((Ipv6Addr::UNSPECIFIED, 10262)),
            client_ca_file: None,
            client_names: vec!["system:kube-scheduler".into()],
            cert_file: None,
            key_file: None,
            bind_timeout_millis: 800,
            fence_seconds: 5.0,
            reclaim: Reclaim::default(),
            gates: Gates::default(),
            endpoint_slice: EndpointSlice::default(),
        }
    }
}

impl Settings {
    /// One sentence that says what is wrong, if anything is.
    pub fn validate(&self) -> Result<(), String> {
        if self.enabled && self.client_ca_file.is_none() {
            return Err("extender.clientCaFile is needed: without it nobody could be told from the scheduler".into());
        }
        if self.client_names.is_empty() {
            return Err("extender.clientNames must name at least one client".into());
        }
        if !(50..=10_000).contains(&self.bind_timeout_millis) {
            return Err(format!(
                "extender.bindTimeoutMillis must be 50 to 10000, not {}",
                self.bind_timeout_millis
            ));
        }
        if !(0.0..=60.0).contains(&self.fence_seconds) {
            return Err(format!(
                "extender.fenceSeconds must be 0 to 60, not {}",
                self.fence_seconds
            ));
        }
        if !(1.0..=86_400.0).contains(&self.reclaim.delay_seconds) {
            return Err(format!(
                "extender.reclaim.delaySeconds must be 1 to 86400, not {}",
                self.reclaim.delay_seconds
            ));
        }
        Ok(())
    }

    /// Time within which a bind is answered.
    #[must_use]
    pub fn bind_timeout(&self) -> Duration {
        Duration::from_millis(self.bind_timeout_millis)
    }

    /// Time between taking the Lease and reading all pods.
    #[must_use]
    pub fn fence(&self) -> Duration {
        Duration::try_from_secs_f64(self.fence_seconds).unwrap_or_default()
    }

    /// How to listen. One scheduler keeps one HTTP/2 connection with a call per pod being bound.
    pub(super) fn listening(&self) -> https::Settings {
        https::Settings {
            listen: self.listen,
            max_connections: 200,
            limits: https::Limits {
                handshake: Duration::from_secs(5),
                header: Duration::from_secs(10),
                // Longer than a scheduler keeps a silent connection (90 s), so that it is never
                // closed under a call.
                idle: Duration::from_mins(5),
                ping: Duration::from_secs(30),
                age: Duration::from_hours(1),
                drain: Duration::from_secs(2),
                max_streams: 1000,
                max_header_bytes: 16 << 10,
            },
            reload_every: Duration::from_secs(2),
            ready_delay: Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        assert_eq!(Settings::default().validate(), Ok(()));
        let ca = Some(PathBuf::from("ca.crt"));
        let on = Settings { enabled: true, client_ca_file: ca, ..Settings::default() };
        assert_eq!(on.validate(), Ok(()));
        for (settings, name) in [
            (Settings { client_ca_file: None, ..on.clone() }, "clientCaFile"),
            (Settings { client_names: Vec::new(), ..on.clone() }, "clientNames"),
            (Settings { bind_timeout_millis: 1, ..on.clone() }, "bindTimeoutMillis"),
            (Settings { fence_seconds: f64::NAN, ..on.clone() }, "fenceSeconds"),
        ] {
            let sentence = settings.validate().unwrap_err();
            assert!(sentence.contains(name), "{sentence}");
        }
    }
}
