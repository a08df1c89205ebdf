//! Whether the API server sends reads of external metrics to us, and can.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::version::Info;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::api::Api;

use crate::cli::objects::live::plain;
use crate::kubernetes::API_SERVICE;
use crate::tls;

use super::line::Line;

/// Our CRD, and the version that must be served.
const CRD: (&str, &str) = ("domains.hirl-scale.io", "v1alpha1");
/// First minor version of Kubernetes 1 whose HPAs have `tolerance` without a feature gate.
const TOLERANCE_ON: u32 = 35;
/// First minor version that has the field behind a gate, which is also the oldest we support.
const TOLERANCE_GATED: u32 = 33;

/// What Kubernetes version means for exact replica counts.
pub(super) fn version(info: &Info) -> Line {
    let digits: String = info.minor.chars().take_while(char::is_ascii_digit).collect();
    let name = &info.git_version;
    match digits.parse::<u32>() {
        Ok(minor) if minor >= TOLERANCE_ON => {
            Line::pass(format!("Kubernetes {name}: HPAs can have tolerance 0"))
        }
        Ok(minor) if minor >= TOLERANCE_GATED => Line::warn(
            format!(
                "Kubernetes {name}: HPAs have tolerance 0 only with the gate HPAConfigurableTolerance"
            ),
            "without it changes of up to 10 % are ignored; hirl adopt finds out by a dry run",
        ),
        Ok(_) => Line::fail(
            format!("Kubernetes {name} is too old"),
            format!("1.{TOLERANCE_GATED} is the oldest version that is supported"),
        ),
        Err(_) => Line::warn(
            format!("Kubernetes {name}: the version cannot be read"),
            "hirl adopt finds out by a dry run whether HPAs can have tolerance 0",
        ),
    }
}

/// Who owns the API, and whether that works; the object only when it is ours. `pre`: before
/// installation.
pub(super) async fn api_service(
    client: &kube::Client,
    service: &str,
    namespace: &str,
    pre: bool,
) -> (Line, Option<APIService>) {
    let api: Api<APIService> = Api::all(client.clone());
    let found = match api.get_opt(API_SERVICE).await {
        Ok(found) => found,
        Err(error) => {
            let what = format!("APIService {API_SERVICE} cannot be read: {}", plain(&error));
            return (Line::fail(what, "it must be known who owns it before installation"), None);
        }
    };
    let Some(found) = found else {
        let what = format!("APIService {API_SERVICE} is absent");
        let line = if pre {
            Line::pass(format!("{what}: nobody else serves external metrics"))
        } else {
            Line::fail(what, "apply the manifests: HPAs get no external metric without it")
        };
        return (line, None);
    };
    let line = judge_api_service(&found, service, namespace);
    let owner = found.spec.as_ref().and_then(|spec| spec.service.as_ref());
    let ours = owner.is_some_and(|owner| {
        owner.name.as_deref() == Some(service) && owner.namespace.as_deref() == Some(namespace)
    });
    (line, Some(found).filter(|_| ours))
}

fn judge_api_service(found: &APIService, service: &str, namespace: &str) -> Line {
    let spec = found.spec.clone().unwrap_or_default();
    let owner = spec.service.unwrap_or_default();
    let (owner_namespace, owner_name) =
        (owner.namespace.unwrap_or_default(), owner.name.unwrap_or_default());
    if (owner_namespace.as_str(), owner_name.as_str()) != (namespace, service) {
        let labels = found.metadata.labels.clone().unwrap_or_default();
        let by =
            ["app.kubernetes.io/part-of", "app.kubernetes.io/name", "app.kubernetes.io/managed-by"]
                .iter()
                .find_map(|key| labels.get(*key))
                .map_or(String::new(), |value| format!(" ({value})"));
        return Line::fail(
            format!(
                "APIService {API_SERVICE} belongs to Service {owner_namespace}/{owner_name}{by}, not to {namespace}/{service}"
            ),
            "it is not taken over: a cluster has one external metrics server, and the HPAs of the other would lose theirs; remove that server first",
        );
    }
    if spec.insecure_skip_tls_verify == Some(true) {
        return Line::fail(
            format!("APIService {API_SERVICE} has insecureSkipTLSVerify: true"),
            "anybody on the network could answer for us: remove it and set caBundle",
        );
    }
    let conditions = found.status.clone().unwrap_or_default().conditions.unwrap_or_default();
    match conditions.iter().find(|condition| condition.type_ == "Available") {
        Some(condition) if condition.status == "True" => Line::pass(format!(
            "APIService {API_SERVICE} points at {namespace}/{service} and is available"
        )),
        Some(condition) => Line::fail(
            format!(
                "APIService {API_SERVICE} points at {namespace}/{service} and is not available: {}: {}",
                condition.reason.as_deref().unwrap_or("no reason"),
                condition.message.as_deref().unwrap_or("no message").trim()
            ),
            "see the pods and their logs; certificates are judged below",
        ),
        None => Line::warn(
            format!(
                "APIService {API_SERVICE} points at {namespace}/{service} and was not probed yet"
            ),
            "the API server probes it every 30 s",
        ),
    }
}

/// Whether the aggregation layer can tell us who asks.
pub(super) async fn request_header(client: &kube::Client) -> Line {
    let place = "kube-system/extension-apiserver-authentication";
    let flags = "start kube-apiserver with --requestheader-client-ca-file, --requestheader-allowed-names, --requestheader-username-headers, --requestheader-group-headers, --requestheader-extra-headers-prefix and --proxy-client-cert-file/-key-file";
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), "kube-system");
    let map = match api.get_opt("extension-apiserver-authentication").await {
        Ok(Some(map)) => map.data.unwrap_or_default(),
        Ok(None) => return Line::fail(format!("ConfigMap {place} is absent"), flags),
        Err(error) => {
            let hint = "bind the Role extension-apiserver-authentication-reader of kube-system";
            return Line::fail(
                format!("ConfigMap {place} cannot be read: {}", plain(&error)),
                hint,
            );
        }
    };
    let get = |key: &str| map.get(key).map_or("", String::as_str).trim();
    if get("requestheader-client-ca-file").is_empty() {
        let what = format!(
            "ConfigMap {place} has no requestheader-client-ca-file: the aggregation layer is not set up"
        );
        return Line::fail(what, flags);
    }
    if let Err(problem) = tls::certificates(get("requestheader-client-ca-file").as_bytes()) {
        let what = format!("requestheader-client-ca-file of ConfigMap {place}: {problem}");
        return Line::fail(what, flags);
    }
    if matches!(get("requestheader-username-headers"), "" | "[]") {
        return Line::fail(
            format!("ConfigMap {place} names no requestheader-username-headers"),
            flags,
        );
    }
    if matches!(get("requestheader-allowed-names"), "" | "[]") {
        return Line::warn(
            format!("ConfigMap {place} allows every name under its CA to be the front proxy"),
            "set --requestheader-allowed-names of kube-apiserver",
        );
    }
    Line::pass(format!("the aggregation layer is set up ({place})"))
}

/// Whether `Domain` objects can be made.
pub(super) async fn crd(client: &kube::Client, pre: bool) -> Line {
    let (name, version) = CRD;
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    match api.get_opt(name).await {
        Ok(Some(found)) => judge_crd(&found),
        Ok(None) if pre => Line::pass(format!("CRD {name} is absent: it comes with the manifests")),
        Ok(None) => Line::fail(
            format!("CRD {name} is absent"),
            format!(
                "apply manifests/base/domain-crd.yaml: without {version} all apps are in the default domain"
            ),
        ),
        Err(error) => Line::warn(
            format!("CRD {name} cannot be read: {}", plain(&error)),
            "run as a user that may read customresourcedefinitions",
        ),
    }
}

fn judge_crd(found: &CustomResourceDefinition) -> Line {
    let (name, version) = CRD;
    if !found.spec.versions.iter().any(|it| it.name == version && it.served) {
        return Line::fail(
            format!("CRD {name} does not serve {version}"),
            "another release of this program installed it: apply manifests/base/domain-crd.yaml",
        );
    }
    let conditions = found.status.clone().unwrap_or_default().conditions.unwrap_or_default();
    if conditions.iter().any(|it| it.type_ == "Established" && it.status == "True") {
        Line::pass(format!("CRD {name} serves {version}"))
    } else {
        let named = conditions.iter().find(|it| it.type_ == "NamesAccepted" && it.status != "True");
        let reason = named.and_then(|it| it.message.clone()).unwrap_or_default();
        Line::fail(format!("CRD {name} is not established {reason}"), "see its conditions")
    }
}

/// The serving chain, as PEM: from a file, or from the Secret that the replicas mount.
pub(super) async fn serving_chain(
    client: &kube::Client,
    file: Option<&std::path::Path>,
    namespace: &str,
    secret: &str,
) -> Result<Vec<u8>, Line> {
    if let Some(path) = file {
        return std::fs::read(path).map_err(|error| {
            Line::fail(
                format!("cannot read {}: {error}", path.display()),
                "give the PEM file of the serving chain",
            )
        });
    }
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let hint = "give the serving chain with --cert FILE";
    match api.get_opt(secret).await {
        Ok(Some(found)) => match found.data.and_then(|mut data| data.remove("tls.crt")) {
            Some(pem) => Ok(pem.0),
            None => Err(Line::fail(
                format!("Secret {namespace}/{secret} has no tls.crt"),
                "see certs/README.md",
            )),
        },
        Ok(None) => Err(Line::fail(
            format!("Secret {namespace}/{secret} is absent"),
            "the replicas cannot start without it: see certs/README.md",
        )),
        Err(error) => {
            Err(Line::warn(format!("the serving chain was not looked at: {}", plain(&error)), hint))
        }
    }
}
