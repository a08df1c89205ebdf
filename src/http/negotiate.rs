//! Turns an `Accept` header into the one thing that we will write. JSON is all that we write;
//! 406 is for clients that would take none of it.

use hyper::HeaderMap;
use hyper::header::{ACCEPT, IF_NONE_MATCH};

use super::status::ApiError;

/// What to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Plain JSON.
    Json,
    /// JSON in the shape of aggregated discovery v2.
    Aggregated,
}

const PLAIN: &str = "application/json";
const WITH_AGGREGATED: &str =
    "application/json, application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Plain JSON, unless the client accepts none of it.
///
/// `application/vnd.kubernetes.protobuf, */*` (what the HPA controller sends) and a table with
/// plain JSON as fallback (what `kubectl get` sends) both get JSON.
pub(super) fn json(headers: &HeaderMap) -> Result<(), ApiError> {
    choose(headers, false).map(|_| ()).ok_or_else(|| ApiError::not_acceptable(PLAIN))
}

/// Plain JSON or aggregated discovery, whichever the client prefers.
pub(super) fn discovery(headers: &HeaderMap) -> Result<Form, ApiError> {
    choose(headers, true).ok_or_else(|| ApiError::not_acceptable(WITH_AGGREGATED))
}

fn choose(headers: &HeaderMap, aggregated: bool) -> Option<Form> {
    let mut best: Option<(f32, Form)> = None;
    let mut any = false;
    for value in headers.get_all(ACCEPT) {
        // A header that is no text accepts nothing that we know.
        let Ok(value) = value.to_str() else {
            any = true;
            continue;
        };
        for clause in value.split(',').map(str::trim).filter(|clause| !clause.is_empty()) {
            any = true;
            let Some((form, quality)) = offer(clause, aggregated) else {
                continue;
            };
            // Among equals the first wins, as in the API server.
            if quality > 0.0 && best.is_none_or(|(so_far, _)| quality > so_far) {
                best = Some((quality, form));
            }
        }
    }
    if any { best.map(|(_, form)| form) } else { Some(Form::Json) }
}

/// What we could write for one clause of an `Accept` header, and how much the client likes it.
fn offer(clause: &str, aggregated: bool) -> Option<(Form, f32)> {
    let mut parts = clause.split(';').map(str::trim);
    let media = parts.next()?;
    let known = ["application/json", "application/*", "*/*"];
    if !known.iter().any(|known| known.eq_ignore_ascii_case(media)) {
        return None;
    }
    let (mut quality, mut group, mut version, mut shape) = (1.0, "", "", "");
    for parameter in parts {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let value = value.trim().trim_matches('"');
        match name.trim() {
            // What is no number is taken as "not at all" rather than as "most of all".
            "q" => {
                quality = value.parse::<f32>().ok().filter(|q| q.is_finite()).unwrap_or(0.0);
            }
            "g" => group = value,
            "v" => version = value,
            "as" => shape = value,
            _ => {}
        }
    }
    let form = match (shape, group, version) {
        ("", ..) => Form::Json,
        ("APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2") if aggregated => Form::Aggregated,
        _ => return None,
    };
    Some((form, quality))
}

/// Whether the client already holds the document with this entity tag (quotes included).
pub(super) fn is_held(headers: &HeaderMap, etag: &str) -> bool {
    headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok()).any(|held| {
        held.split(',')
            .map(str::trim)
            .any(|held| held == "*" || held.trim_start_matches("W/") == etag)
    })
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn accept(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(ACCEPT, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn only_a_client_that_takes_no_json_is_refused() {
        for good in [
            &["application/vnd.kubernetes.protobuf, */*"][..],
            &["application/json"],
            &["application/json;charset=utf-8"],
            &["application/*;q=0.1"],
            &[""],
            &[],
            &["application/json;as=Table;v=v1;g=meta.k8s.io,application/json"],
            &["text/html", "application/json"],
        ] {
            assert!(json(&accept(good)).is_ok(), "{good:?}");
        }
        for bad in [
            "application/vnd.kubernetes.protobuf",
            "application/json;as=Table;v=v1;g=meta.k8s.io",
            "text/html, application/json;q=0",
            "application/json;q=nan",
        ] {
            let error = json(&accept(&[bad])).unwrap_err();
            assert_eq!(error.code(), 406, "{bad}");
        }
    }

    #[test]
    fn discovery_is_aggregated_where_the_client_prefers_it() {
        let v2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        let v2beta1 = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";
        for (value, form) in [
            (v2.to_owned(), Form::Aggregated),
            (format!("{v2},{v2beta1},application/json"), Form::Aggregated),
            (format!("{v2beta1},application/json"), Form::Json),
            (format!("{v2};q=0.5,application/json"), Form::Json),
            (format!("application/json;q=0.9,{v2}"), Form::Aggregated),
            ("*/*".to_owned(), Form::Json),
        ] {
            assert_eq!(discovery(&accept(&[&value])).unwrap(), form, "{value}");
        }
    }

    #[test]
    fn entity_tags_are_compared_as_http_says() {
        let held = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(IF_NONE_MATCH, HeaderValue::from_str(value).unwrap());
            is_held(&headers, "\"a\"")
        };
        assert!(held("\"a\"") && held("\"b\", \"a\"") && held("W/\"a\"") && held("*"));
        assert!(!held("\"b\"") && !held("a") && !is_held(&HeaderMap::new(), "\"a\""));
    }

    proptest! {
        #[test]
        fn no_accept_header_panics(value in "[ -~]{0,200}") {
            let headers = accept(&[&value]);
            let _ = (json(&headers).is_ok(), discovery(&headers).is_ok(), is_held(&headers, "x"));
        }
    }
}
