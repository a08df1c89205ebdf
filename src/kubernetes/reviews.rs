//! Asks the API server who holds a token, and what a user may do. Keeps nothing: whoever asks
//! decides how long an answer holds.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::api::PostParams;
use kube::{Api, Client};

/// Somebody whose identity was established.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    /// Unique name.
    pub name: String,
    /// Unique over time; empty when the authenticator knows none.
    pub uid: String,
    /// Groups, in the order in which the authenticator named them.
    pub groups: Vec<String>,
    /// Further attributes that authorizers may look at.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// What somebody wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attributes<'a> {
    /// Something with an object of the API.
    Resource {
        /// `list`, `get`, `create` and so on.
        verb: &'a str,
        /// API group.
        group: &'a str,
        /// Version of the group.
        version: &'a str,
        /// Namespace; empty for the whole cluster.
        namespace: &'a str,
        /// Plural name of the resource: for external metrics, the metric.
        resource: &'a str,
        /// Part of the object; empty for the object itself.
        subresource: &'a str,
        /// Name of the object; empty for all of them.
        name: &'a str,
    },
    /// Something with a path that is no object.
    Path {
        /// HTTP method in lower case.
        verb: &'a str,
        /// The path.
        path: &'a str,
    },
}

/// What the API server said about an access.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// Go ahead.
    Allowed,
    /// No; why, which may be empty.
    Denied(String),
}

/// A review that brought no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// The API server did not answer, or with an error.
    #[error("asking the API server for a {what} failed: {source}")]
    Call {
        /// Kind of the review.
        what: &'static str,
        /// What went wrong.
        source: kube::Error,
    },
    /// The answer had no status.
    #[error("the API server answered a {0} without a status")]
    NoStatus(&'static str),
}

const TOKEN_REVIEW: &str = "TokenReview";
const ACCESS_REVIEW: &str = "SubjectAccessReview";
/// Why everything is denied that needs a review and gets none.
const NO_API_SERVER: &str = "there is no API server that could allow it";

/// Reviews by the API server, or refusals where there is none.
#[derive(Clone)]
pub struct Reviews {
    client: Option<Client>,
}

impl fmt::Debug for Reviews {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Reviews").finish_non_exhaustive()
    }
}

impl Reviews {
    /// Reviews through `client`.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client: Some(client) }
    }

    /// Without an API server: no token is anybody's, and whatever needs a review is denied.
    #[must_use]
    pub const fn offline() -> Self {
        Self { client: None }
    }

    /// Who holds `token`; `None` when the API server does not know it.
    ///
    /// The future borrows nothing, so that a review may outlive the request that caused it.
    pub fn token_review(
        &self,
        token: &str,
    ) -> impl Future<Output = Result<Option<User>, ReviewError>> + Send + use<> {
        let review = TokenReview {
            spec: TokenReviewSpec { token: Some(token.to_owned()), ..TokenReviewSpec::default() },
            ..TokenReview::default()
        };
        let reviews = self.client.clone().map(Api::<TokenReview>::all);
        async move {
            let Some(reviews) = reviews else { return Ok(None) };
            let answer = reviews
                .create(&PostParams::default(), &review)
                .await
                .map_err(|source| ReviewError::Call { what: TOKEN_REVIEW, source })?;
            let status = answer.status.ok_or(ReviewError::NoStatus(TOKEN_REVIEW))?;
            let user = status.user.filter(|_| status.authenticated == Some(true));
            Ok(user.map(|user| User {
                name: user.username.unwrap_or_default(),
                uid: user.uid.unwrap_or_default(),
                groups: user.groups.unwrap_or_default(),
                extra: user.extra.unwrap_or_default(),
            }))
        }
    }

    /// Whether `user` may do what `attributes` say. The future borrows nothing.
    pub fn access_review(
        &self,
        user: &User,
        attributes: &Attributes<'_>,
    ) -> impl Future<Output = Result<Access, ReviewError>> + Send + use<> {
        let review =
            SubjectAccessReview { spec: spec(user, attributes), ..SubjectAccessReview::default() };
        let reviews = self.client.clone().map(Api::<SubjectAccessReview>::all);
        async move {
            let Some(reviews) = reviews else {
                return Ok(Access::Denied(NO_API_SERVER.to_owned()));
            };
            let answer = reviews
                .create(&PostParams::default(), &review)
                .await
                .map_err(|source| ReviewError::Call { what: ACCESS_REVIEW, source })?;
            let status = answer.status.ok_or(ReviewError::NoStatus(ACCESS_REVIEW))?;
            // A denial wins over an allowance, as in the API server itself.
            Ok(if status.allowed && status.denied != Some(true) {
                Access::Allowed
            } else {
                Access::Denied(status.reason.unwrap_or_default())
            })
        }
    }
}

fn spec(user: &User, attributes: &Attributes<'_>) -> SubjectAccessReviewSpec {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let (resource_attributes, non_resource_attributes) = match *attributes {
        Attributes::Resource { verb, group, version, namespace, resource, subresource, name } => {
            let resource = ResourceAttributes {
                verb: text(verb),
                group: text(group),
                version: text(version),
                namespace: text(namespace),
                resource: text(resource),
                subresource: text(subresource),
                name: text(name),
                ..ResourceAttributes::default()
            };
            (Some(resource), None)
        }
        Attributes::Path { verb, path } => {
            (None, Some(NonResourceAttributes { verb: text(verb), path: text(path) }))
        }
    };
    SubjectAccessReviewSpec {
        user: text(&user.name),
        uid: text(&user.uid),
        groups: (!user.groups.is_empty()).then(|| user.groups.clone()),
        extra: (!user.extra.is_empty()).then(|| user.extra.clone()),
        resource_attributes,
        non_resource_attributes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_an_api_server_no_token_is_known_and_nothing_is_allowed() {
        let reviews = Reviews::offline();
        assert_eq!(reviews.token_review("token").await.unwrap(), None);
        let metrics = Attributes::Path { verb: "get", path: "/metrics" };
        let access = reviews.access_review(&User::default(), &metrics).await.unwrap();
        assert_eq!(access, Access::Denied(NO_API_SERVER.to_owned()));
    }
}
