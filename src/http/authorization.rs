//! Turns who is asking for what into yes or no, by `SubjectAccessReview`.
//!
//! An allowance is remembered for longer than an HPA's 15 s, or every read would cost the API
//! server a review; a denial only briefly, so that a grant takes effect soon. While the API
//! server does not answer, an allowance that has run out is used a while longer: metric reads
//! come through that same API server, and a hiccup of its review path must not stop every HPA. A
//! denial never outlives its time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use tokio::sync::Semaphore;

use super::identity::{Digest, Fields, Identity};
use super::remembered::{Known, Lifetime, Remembered, Source};
use super::route::GROUP;
use super::settings::{Settings, span};
use super::status::ApiError;
use crate::instruments::{Instruments, OutcomeLabel};
use crate::kubernetes::{Access, Attributes, Reviews};

/// Decides what users may do.
#[derive(Debug)]
pub(super) struct Authorizer {
    reviews: Reviews,
    accesses: Remembered<Arc<Access>>,
    allow: Lifetime,
    deny: Duration,
    hits: Counter,
    instruments: Arc<Instruments>,
}

impl Authorizer {
    /// Asks `reviews`, `at_once` at most at the same time.
    pub(super) fn new(
        settings: &Settings,
        reviews: Reviews,
        at_once: Arc<Semaphore>,
        instruments: Arc<Instruments>,
    ) -> Self {
        let (timeout, deny) = (span(settings.review_seconds), span(settings.deny_seconds));
        Self {
            reviews,
            accesses: Remembered::new(settings.max_remembered, timeout, deny, at_once),
            allow: Lifetime {
                fresh: span(settings.allow_seconds),
                usable: span(settings.stale_allow_seconds),
            },
            deny,
            hits: instruments.reviews.get_or_create_owned(&OutcomeLabel { outcome: "hit" }),
            instruments,
        }
    }

    /// Nothing, or why not.
    pub(super) async fn authorize(
        &self,
        identity: &Identity,
        attributes: &Attributes<'_>,
    ) -> Result<(), ApiError> {
        if identity.always_allowed {
            return Ok(());
        }
        let key = digest(identity, attributes);
        let known = if let Some(known) = self.accesses.fresh(&key, Instant::now()) {
            self.hits.inc();
            known
        } else {
            // Rare and large: out of the way of the future that every request moves about.
            Box::pin(self.review(key, identity, attributes)).await?
        };
        match &*known.value {
            Access::Allowed => Ok(()),
            Access::Denied(reason) => Err(refusal(identity, attributes, reason)),
        }
    }

    async fn review(
        &self,
        key: Digest,
        identity: &Identity,
        attributes: &Attributes<'_>,
    ) -> Result<Known<Arc<Access>>, ApiError> {
        let review = self.reviews.access_review(&identity.user, attributes);
        let review = || async { review.await.map(Arc::new).map_err(|error| error.to_string()) };
        let (allow, deny) = (self.allow, self.deny);
        let lifetime = move |access: &Arc<Access>| match **access {
            Access::Allowed => allow,
            Access::Denied(_) => Lifetime { fresh: deny, usable: deny },
        };
        let outcome = self.accesses.ask(key, review, lifetime).await;
        let name = match &outcome {
            Ok((_, Source::Shared)) => "coalesced",
            Ok((_, Source::Stale)) | Err(_) => "error",
            Ok((known, Source::Asked)) if *known.value == Access::Allowed => "allowed",
            Ok(_) => "denied",
        };
        self.instruments.reviews.get_or_create(&OutcomeLabel { outcome: name }).inc();
        outcome.map(|(known, _)| known).map_err(|error| {
            ApiError::unavailable(format!(
                "whether user {:?} may do this could not be checked: {error}",
                identity.user.name
            ))
        })
    }
}

/// Of the whole question, so that no two questions share an answer.
fn digest(identity: &Identity, attributes: &Attributes<'_>) -> Digest {
    let fields = match *attributes {
        Attributes::Resource { verb, group, version, namespace, resource, subresource, name } => {
            Fields::of("resource")
                .and(verb)
                .and(group)
                .and(version)
                .and(namespace)
                .and(resource)
                .and(subresource)
                .and(name)
        }
        Attributes::Path { verb, path } => Fields::of("path").and(verb).and(path),
    };
    fields.digest(&identity.digest).finish()
}

fn refusal(identity: &Identity, attributes: &Attributes<'_>, reason: &str) -> ApiError {
    let user = &identity.user.name;
    let because = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    match *attributes {
        Attributes::Resource { verb, group, namespace, resource, subresource, name, .. } => {
            let place = if namespace.is_empty() {
                "at the cluster scope".to_owned()
            } else {
                format!("in the namespace \"{namespace}\"")
            };
            let object = if name.is_empty() { String::new() } else { format!(" \"{name}\"") };
            let whole = if subresource.is_empty() {
                resource.to_owned()
            } else {
                format!("{resource}/{subresource}")
            };
            ApiError::forbidden(format!(
                "{resource}.{group}{object} is forbidden: User \"{user}\" cannot {verb} resource \"{whole}\" in API group \"{group}\" {place}{because}"
            ))
            .about(GROUP, resource, name)
        }
        Attributes::Path { verb, path } => ApiError::forbidden(format!(
            "forbidden: User \"{user}\" cannot {verb} path \"{path}\"{because}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::identity::Standing;
    use crate::http::route::VERSION;
    use crate::kubernetes::User;

    fn read<'a>(verb: &'a str, namespace: &'a str, resource: &'a str) -> Attributes<'a> {
        Attributes::Resource {
            verb,
            group: GROUP,
            version: VERSION,
            namespace,
            resource,
            subresource: "",
            name: "",
        }
    }

    #[test]
    fn every_part_of_a_question_counts() {
        let identity = Standing::default().anonymous();
        let questions = [
            read("list", "d", "m"),
            read("watch", "d", "m"),
            read("list", "e", "m"),
            read("list", "d", "n"),
            read("list", "dm", ""),
            Attributes::Path { verb: "get", path: "/metrics" },
            Attributes::Path { verb: "put", path: "/metrics" },
            Attributes::Path { verb: "get", path: "/version" },
        ];
        let mut digests: Vec<Digest> =
            questions.iter().map(|question| digest(&identity, question)).collect();
        let other = Standing::default().authenticated(User::default());
        digests.push(digest(&other, &questions[0]));
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), questions.len() + 1);
    }

    #[test]
    fn a_refusal_reads_as_the_api_server_writes_it() {
        let identity = Standing::default().anonymous();
        let text = |attributes: &Attributes<'_>, reason| {
            let body = format!("{:?}", refusal(&identity, attributes, reason));
            body.replace('\\', "")
        };
        let message = text(&read("list", "d", "m"), "");
        assert!(
            message.contains(
                r#"m.external.metrics.k8s.io is forbidden: User "system:anonymous" cannot list resource "m" in API group "external.metrics.k8s.io" in the namespace "d""#
            ),
            "{message}"
        );
        let path = Attributes::Path { verb: "get", path: "/x" };
        assert!(text(&path, "no").contains(r#"User "system:anonymous" cannot get path "/x": no"#));
    }
}
