//! Turns path and query of a request into what it is about, percent-decoded. Pure.

use std::borrow::Cow;

use hyper::Method;

use super::status::ApiError;
use crate::control::peer;
use crate::kubernetes::Attributes;

/// The API group that we serve.
pub const GROUP: &str = "external.metrics.k8s.io";
/// The version of it.
pub const VERSION: &str = "v1beta1";
/// What every path of the group version starts with.
const PREFIX: &str = "/apis/external.metrics.k8s.io/v1beta1/";

/// What every path of a placed pod starts with.
const PLACED_PODS: &str = "/hirl/v1/placement/pods/";

/// What a request is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route<'a> {
    /// `/livez`
    Live,
    /// `/readyz`
    Ready,
    /// `/healthz`
    Health,
    /// `/metrics`: our own.
    OwnMetrics,
    /// `/version`
    Version,
    /// `/log-level`
    LogLevel,
    /// Whole decisions for the other replica.
    Decision,
    /// Use of the shared node pools.
    Placement,
    /// Why a pod is where it is.
    PlacedPod {
        /// Its namespace.
        namespace: Cow<'a, str>,
        /// Its name.
        name: Cow<'a, str>,
    },
    /// `/apis`
    Groups,
    /// `/apis/<group>`
    Group,
    /// `/apis/<group>/<version>`
    Resources,
    /// `/openapi/v2`
    OpenApiV2,
    /// `/openapi/v3`
    OpenApiIndex,
    /// `/openapi/v3/apis/<group>/<version>`
    OpenApiGroup,
    /// A metric of a namespace.
    Metric {
        /// The namespace.
        namespace: Cow<'a, str>,
        /// The metric, which stands where other APIs have a resource.
        metric: Cow<'a, str>,
    },
    /// Some other path of our group version, answered with 404 to those who may see it.
    NoObject {
        /// Empty for a path outside of namespaces.
        namespace: Cow<'a, str>,
        /// The resource.
        resource: Cow<'a, str>,
        /// The object, or empty.
        name: Cow<'a, str>,
        /// What stands behind the object, or empty.
        subresource: Cow<'a, str>,
    },
    /// Any other path.
    Other,
}

impl<'a> Route<'a> {
    /// Reads a path as it came.
    pub(super) fn of(path: &'a str) -> Result<Self, ApiError> {
        if let Some(rest) = path.strip_prefix(PREFIX) {
            return Self::within(rest);
        }
        if let Some(rest) = path.strip_prefix(PLACED_PODS) {
            return Self::placed(rest);
        }
        Ok(match path {
            "/hirl/v1/placement" => Self::Placement,
            "/livez" => Self::Live,
            "/readyz" => Self::Ready,
            "/healthz" => Self::Health,
            "/metrics" => Self::OwnMetrics,
            "/version" => Self::Version,
            "/log-level" => Self::LogLevel,
            peer::PATH => Self::Decision,
            "/apis" => Self::Groups,
            "/apis/external.metrics.k8s.io" => Self::Group,
            "/apis/external.metrics.k8s.io/v1beta1" => Self::Resources,
            "/openapi/v2" => Self::OpenApiV2,
            "/openapi/v3" => Self::OpenApiIndex,
            "/openapi/v3/apis/external.metrics.k8s.io/v1beta1" => Self::OpenApiGroup,
            _ => Self::Other,
        })
    }

    fn placed(rest: &'a str) -> Result<Self, ApiError> {
        Ok(match rest.split_once('/') {
            Some((namespace, name))
                if !namespace.is_empty() && !name.is_empty() && !name.contains('/') =>
            {
                Self::PlacedPod { namespace: decoded(namespace)?, name: decoded(name)? }
            }
            _ => Self::Other,
        })
    }

    fn within(rest: &'a str) -> Result<Self, ApiError> {
        let mut parts = rest.splitn(5, '/');
        let mut part = || decoded(parts.next().unwrap_or_default());
        let (first, second, third) = (part()?, part()?, part()?);
        let (fourth, fifth) = (part()?, part()?);
        let namespaced = first == "namespaces" && !second.is_empty();
        // Four parts, of which the last is empty, are a path with a slash too many.
        let parts = rest.bytes().filter(|byte| *byte == b'/').count() + 1;
        if namespaced && parts == 3 && !third.is_empty() {
            return Ok(Self::Metric { namespace: second, metric: third });
        }
        Ok(match (namespaced, parts) {
            (true, 2) => Self::NoObject {
                namespace: second.clone(),
                resource: first,
                name: second,
                subresource: Cow::Borrowed(""),
            },
            (true, _) => Self::NoObject {
                namespace: second,
                resource: third,
                name: fourth,
                subresource: fifth,
            },
            (false, _) => Self::NoObject {
                namespace: Cow::Borrowed(""),
                resource: first,
                name: second,
                subresource: third,
            },
        })
    }

    /// What has to be allowed for this request. `path` is the decoded path.
    ///
    /// The verb of a read without an object's name is `list` (`watch` with `watching`), whatever
    /// discovery advertises: so the API server sees it, and so RBAC has to grant it.
    pub(super) fn attributes<'b>(
        &'b self,
        method: &Method,
        path: &'b str,
        watching: bool,
    ) -> Attributes<'b> {
        let resource = |namespace, resource, name: &'b str, subresource| Attributes::Resource {
            verb: match (method.as_str(), name.is_empty()) {
                ("GET" | "HEAD", _) if watching => "watch",
                ("GET" | "HEAD", true) => "list",
                ("GET" | "HEAD", false) => "get",
                ("POST", _) => "create",
                ("PUT", _) => "update",
                ("PATCH", _) => "patch",
                ("DELETE", true) => "deletecollection",
                ("DELETE", false) => "delete",
                _ => "",
            },
            group: GROUP,
            version: VERSION,
            namespace,
            resource,
            subresource,
            name,
        };
        match self {
            Self::Metric { namespace, metric } => resource(namespace, metric, "", ""),
            Self::NoObject { namespace, resource: kind, name, subresource } => {
                resource(namespace, kind, name, subresource)
            }
            _ => Attributes::Path {
                verb: match method.as_str() {
                    "GET" | "HEAD" => "get",
                    "POST" => "post",
                    "PUT" => "put",
                    "PATCH" => "patch",
                    "DELETE" => "delete",
                    _ => "options",
                },
                path,
            },
        }
    }
}

/// A percent-decoded part of a path, in which `+` is a plus.
pub(super) fn decoded(part: &str) -> Result<Cow<'_, str>, ApiError> {
    if !part.contains('%') {
        return Ok(Cow::Borrowed(part));
    }
    unescape(part, false)
        .map(Cow::Owned)
        .ok_or_else(|| ApiError::bad_request(format!("{part:?} is not valid percent-encoding")))
}

/// The first value of `name` in a query, decoded as a form: `+` is a space.
pub(super) fn parameter<'q>(query: &'q str, name: &str) -> Result<Option<Cow<'q, str>>, ApiError> {
    for pair in query.split('&') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        // Names that we look for need no encoding, but a client may encode what it likes.
        let is_it = key == name
            || (key.contains('%') && unescape(key, true).is_some_and(|key| key == name));
        if !is_it {
            continue;
        }
        if !value.contains(['%', '+']) {
            return Ok(Some(Cow::Borrowed(value)));
        }
        return match unescape(value, true) {
            Some(value) => Ok(Some(Cow::Owned(value))),
            None => Err(ApiError::bad_request(format!(
                "query parameter {name} is not valid percent-encoding"
            ))),
        };
    }
    Ok(None)
}

/// Whether a query asks for a watch, by the API server's reading of booleans.
pub(super) fn is_watch(query: &str) -> Result<bool, ApiError> {
    let value = parameter(query, "watch")?;
    Ok(value.is_some_and(|value| value != "0" && !value.eq_ignore_ascii_case("false")))
}

/// Percent-decodes; `None` for a broken escape or for bytes that are no UTF-8.
pub(super) fn unescape(text: &str, plus_is_space: bool) -> Option<String> {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'%' => {
                decoded.push((digit(bytes.get(at))? * 16 + digit(bytes.get(at + 1))?) as u8);
                at += 2;
            }
            b'+' if plus_is_space => decoded.push(b' '),
            other => decoded.push(*other),
        }
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_a_namespace_and_a_metric_make_a_read() {
        let path = |rest: &str| format!("{PREFIX}{rest}");
        let read = path("namespaces/d/hirl%2Ddesired-replicas");
        let metric =
            Route::Metric { namespace: "d".into(), metric: "hirl-desired-replicas".into() };
        assert_eq!(Route::of(&read).unwrap(), metric);
        for rest in [
            "",
            "namespaces",
            "namespaces/",
            "namespaces/d",
            "namespaces/d/",
            "namespaces/d/m/",
            "namespaces/d/m/o",
            "namespaces/d/m/o/s",
            "namespaces/d/m/o/s/t/u",
            "namespaces//m",
            "m",
            "m/o",
        ] {
            let path = path(rest);
            assert!(matches!(Route::of(&path).unwrap(), Route::NoObject { .. }), "{rest}");
        }
        for other in ["/", "", "//apis", "/apis/", "/apis/other", "/livez/", "/openapi"] {
            assert_eq!(Route::of(other).unwrap(), Route::Other, "{other}");
        }
        assert!(Route::of(&path("namespaces/%zz/m")).is_err());
        assert!(Route::of(&path("namespaces/%ff/m")).is_err());
    }

    #[test]
    fn a_read_is_a_list_of_the_metric() {
        let path = format!("{PREFIX}namespaces/d/m");
        let route = Route::of(&path).unwrap();
        let verb = |method: &Method, watching| match route.attributes(method, &path, watching) {
            Attributes::Resource { verb, namespace: "d", resource: "m", name: "", .. } => verb,
            other => panic!("{other:?}"),
        };
        assert_eq!(verb(&Method::GET, false), "list");
        assert_eq!(verb(&Method::GET, true), "watch");
        assert_eq!(verb(&Method::POST, false), "create");
        assert_eq!(verb(&Method::DELETE, false), "deletecollection");
    }

    #[test]
    fn a_query_is_decoded_as_a_form() {
        let read = |query| parameter(query, "labelSelector").unwrap();
        assert_eq!(read("limit=1&labelSelector=a%3Db").as_deref(), Some("a=b"));
        assert_eq!(read("labelSelector=env+in+%28a%2Cb%29").as_deref(), Some("env in (a,b)"));
        assert_eq!(read("labelSelector=a%20in%20(b)&x").as_deref(), Some("a in (b)"));
        assert_eq!(read("label%53elector=a").as_deref(), Some("a"));
        assert_eq!(read("labelSelector=a&labelSelector=b").as_deref(), Some("a"));
        assert_eq!(read("labelSelector").as_deref(), Some(""));
        assert_eq!(read("labelselector=a"), None);
        assert!(parameter("labelSelector=%2", "labelSelector").is_err());
    }

    #[test]
    fn a_watch_is_asked_for_as_in_the_api_server() {
        for (query, watch) in [
            ("", false),
            ("watch=true", true),
            ("watch=1", true),
            ("watch", true),
            ("watch=False", false),
            ("watch=0", false),
        ] {
            assert_eq!(is_watch(query).unwrap(), watch, "{query}");
        }
    }

    proptest! {
        #[test]
        fn no_path_or_query_panics(path in "[a-z%0-9/+=&]{0,80}", query in "\\PC{0,80}") {
            let path = format!("{PREFIX}{path}");
            let _ = Route::of(&path).map(|route| {
                let _ = route.attributes(&Method::GET, &path, false);
            });
            let _ = (parameter(&query, "labelSelector"), is_watch(&query));
        }

        #[test]
        fn decoding_undoes_encoding(text in "\\PC{0,40}") {
            let encoded: Vec<String> = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
            prop_assert_eq!(unescape(&encoded.concat(), true), Some(text));
        }
    }
}
