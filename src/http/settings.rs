//! Where and how we listen, what a client may cost us, and how long an answer about a user holds.

use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Settings of the HTTPS server. Spans are in seconds.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Settings {
    /// Address and port to listen on.
    pub listen: SocketAddr,
    /// PEM file with the serving certificate and its intermediates, leaf first.
    pub cert_file: PathBuf,
    /// PEM file with its private key.
    pub key_file: PathBuf,
    /// Seconds between two looks at these files.
    pub reload_seconds: f64,

    /// Connections held at once; further ones are closed unread.
    pub max_connections: usize,
    /// Requests worked on at once; further ones are answered with 503.
    pub max_in_flight: usize,
    /// Requests at once on one HTTP/2 connection.
    pub max_streams: u32,
    /// Bytes that the headers of a request may have, its target included.
    pub max_header_bytes: u32,
    /// Bytes that the target of a request (path and query) may have.
    pub max_target_bytes: usize,
    /// Bytes that the body of a request may have.
    pub max_body_bytes: usize,
    /// Seconds that a TLS handshake may take.
    pub handshake_seconds: f64,
    /// Seconds that the headers of a request may take, counted from the handshake or the last
    /// answer; an idle HTTP/1.1 connection ends after it too.
    pub header_seconds: f64,
    /// Seconds that an HTTP/2 connection may go without a request.
    pub idle_seconds: f64,
    /// Seconds between two HTTP/2 pings on a silent connection.
    pub ping_seconds: f64,
    /// Seconds after which a connection is told to go away, so that replicas share the load;
    /// each connection draws its own from 90 % to 110 % of it.
    pub max_connection_age_seconds: f64,
    /// Seconds within which every request is answered.
    pub deadline_seconds: f64,
    /// Seconds from "not ready" to the end of accepting when we stop, so that nobody is sent to a
    /// closed port.
    pub ready_delay_seconds: f64,
    /// Seconds that open connections get to end when we stop or when one has become too old.
    pub drain_seconds: f64,

    /// Seconds that one token or access review may take.
    pub review_seconds: f64,
    /// Reviews asked for at once.
    pub max_reviews: usize,
    /// Seconds that an allowed access is remembered. Longer than the 15 s of an HPA, or every
    /// read would cost a review.
    pub allow_seconds: f64,
    /// Seconds that a denied access is remembered.
    pub deny_seconds: f64,
    /// Seconds that an allowed access may still be used while the API server does not answer;
    /// at least `allow_seconds`.
    pub stale_allow_seconds: f64,
    /// Seconds that a token's owner is remembered.
    pub token_seconds: f64,
    /// Accesses, and tokens, remembered at once.
    pub max_remembered: usize,
    /// Groups that may do everything without a review.
    pub always_allow_groups: Vec<String>,
    /// Users whose reads count as the HPA controller's.
    pub hpa_users: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv6Addr::UNSPECIFIED, 8443)),
            cert_file: "/etc/hirl/tls/tls.crt".into(),
            key_file: "/etc/hirl/tls/tls.key".into(),
            reload_seconds: 10.0,
            max_connections: 1000,
            max_in_flight: 2000,
            max_streams: 250,
            max_header_bytes: 64 << 10,
            max_target_bytes: 16 << 10,
            max_body_bytes: 4 << 10,
            handshake_seconds: 5.0,
            header_seconds: 10.0,
            idle_seconds: 300.0,
            ping_seconds: 30.0,
            max_connection_age_seconds: 600.0,
            deadline_seconds: 1.0,
            ready_delay_seconds: 3.0,
            drain_seconds: 10.0,
            review_seconds: 0.8,
            max_reviews: 64,
            allow_seconds: 60.0,
            deny_seconds: 5.0,
            stale_allow_seconds: 600.0,
            token_seconds: 10.0,
            max_remembered: 10_000,
            always_allow_groups: vec!["system:masters".into()],
            hpa_users: vec![
                "system:serviceaccount:kube-system:horizontal-pod-autoscaler".into(),
                "system:kube-controller-manager".into(),
            ],
        }
    }
}

impl Settings {
    /// Says what cannot work, in one sentence.
    pub fn validate(&self) -> Result<(), String> {
        for (name, seconds) in [
            ("reloadSeconds", self.reload_seconds),
            ("handshakeSeconds", self.handshake_seconds),
            ("headerSeconds", self.header_seconds),
            ("idleSeconds", self.idle_seconds),
            ("pingSeconds", self.ping_seconds),
            ("maxConnectionAgeSeconds", self.max_connection_age_seconds),
            ("deadlineSeconds", self.deadline_seconds),
            ("drainSeconds", self.drain_seconds),
            ("reviewSeconds", self.review_seconds),
            ("allowSeconds", self.allow_seconds),
            ("denySeconds", self.deny_seconds),
            ("tokenSeconds", self.token_seconds),
        ] {
            // A day bounds every span, so that sums of instants cannot overflow.
            if !(seconds > 0.0 && seconds <= 86_400.0) {
                return Err(format!("{name} must be above 0 and at most 86400, not {seconds}"));
            }
        }
        if !(0.0..=600.0).contains(&self.ready_delay_seconds) {
            return Err(format!(
                "http.readyDelaySeconds must be from 0 to 600, not {}",
                self.ready_delay_seconds
            ));
        }
        if self.review_seconds >= self.deadline_seconds {
            return Err(format!(
                "http.reviewSeconds ({}) must be below deadlineSeconds ({}), or a slow review could never be named as the cause",
                self.review_seconds, self.deadline_seconds
            ));
        }
        if !(self.stale_allow_seconds >= self.allow_seconds && self.stale_allow_seconds <= 86_400.0)
        {
            return Err(format!(
                "http.staleAllowSeconds ({}) must be from allowSeconds ({}) to 86400",
                self.stale_allow_seconds, self.allow_seconds
            ));
        }
        for (name, count) in [
            ("maxConnections", self.max_connections),
            ("maxInFlight", self.max_in_flight),
            ("maxStreams", self.max_streams as usize),
            ("maxReviews", self.max_reviews),
            ("maxRemembered", self.max_remembered),
        ] {
            if count == 0 {
                return Err(format!("http.{name} must be above 0"));
            }
        }
        // The protocol library keeps at least this much room for the headers.
        if self.max_header_bytes < 8 << 10 {
            return Err(format!(
                "http.maxHeaderBytes must be at least 8192, not {}",
                self.max_header_bytes
            ));
        }
        Ok(())
    }
}

/// A span from seconds that [`Settings::validate`] has accepted.
pub(super) fn span(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_remember_an_access_for_a_minute() {
        let settings = Settings::default();
        assert_eq!(settings.validate(), Ok(()));
        assert!(settings.allow_seconds >= 60.0);
        assert_eq!(settings.deadline_seconds, 1.0);
    }

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        type Change = fn(&mut Settings);
        let changes: [(&str, Change); 6] = [
            ("deadlineSeconds", |settings| {
                settings.deadline_seconds = f64::NAN;
            }),
            ("drainSeconds", |settings| settings.drain_seconds = -1.0),
            ("reviewSeconds", |settings| settings.review_seconds = 1.0),
            ("staleAllowSeconds", |settings| {
                settings.stale_allow_seconds = 59.0;
            }),
            ("maxConnections", |settings| settings.max_connections = 0),
            ("maxHeaderBytes", |settings| settings.max_header_bytes = 100),
        ];
        for (name, change) in changes {
            let mut settings = Settings::default();
            change(&mut settings);
            let error = settings.validate().unwrap_err();
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn an_unknown_field_is_refused() {
        let unknown = serde_json::from_str::<Settings>(r#"{"listne": "0.0.0.0:1"}"#);
        assert!(unknown.unwrap_err().to_string().contains("listne"));
    }
}
