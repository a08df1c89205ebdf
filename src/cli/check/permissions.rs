//! What the server may do, checked as the API server sees it. This table, the cluster roles in
//! `manifests/base/rbac.yaml` and the code that uses them say the same thing.

use futures::stream::{self, StreamExt as _};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SubjectAccessReview,
    SubjectAccessReviewSpec,
};
use kube::api::{Api, PostParams};

use crate::cli::objects::live::plain;
use crate::extender;

use super::line::Line;

/// Where a permission is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Everywhere.
    Cluster,
    /// In the server's namespace.
    Own,
    /// In `kube-system`.
    KubeSystem,
}

/// Some verbs on one resource.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Need {
    /// Verbs.
    pub(crate) verbs: &'static [&'static str],
    /// API group; empty for the core group.
    pub(crate) group: &'static str,
    /// Plural, with `/status` where it is about that.
    pub(crate) resource: &'static str,
    /// One object, or empty for any.
    pub(crate) name: &'static str,
    /// Where.
    pub(crate) scope: Scope,
}

const fn need(
    verbs: &'static [&'static str],
    group: &'static str,
    resource: &'static str,
    scope: Scope,
) -> Need {
    Need { verbs, group, resource, name: "", scope }
}

const WATCH: &[&str] = &["list", "watch"];

/// All that `hirl serve` asks of the API server. No write on any workload is among it.
pub(crate) const SERVE: [Need; 15] = [
    need(WATCH, "autoscaling", "horizontalpodautoscalers", Scope::Cluster),
    need(WATCH, "apps", "deployments", Scope::Cluster),
    need(WATCH, "apps", "statefulsets", Scope::Cluster),
    need(WATCH, "", "pods", Scope::Cluster),
    need(WATCH, "", "nodes", Scope::Cluster),
    need(WATCH, "", "namespaces", Scope::Cluster),
    need(WATCH, "hirl-scale.io", "domains", Scope::Cluster),
    need(&["patch"], "hirl-scale.io", "domains/status", Scope::Cluster),
    need(WATCH, "apiregistration.k8s.io", "apiservices", Scope::Cluster),
    need(&["create"], "events.k8s.io", "events", Scope::Cluster),
    need(&["create"], "authentication.k8s.io", "tokenreviews", Scope::Cluster),
    need(&["create"], "authorization.k8s.io", "subjectaccessreviews", Scope::Cluster),
    // A create cannot be limited to a name.
    need(&["create"], "coordination.k8s.io", "leases", Scope::Own),
    Need {
        verbs: &["get", "update"],
        group: "coordination.k8s.io",
        resource: "leases",
        name: "hirl",
        scope: Scope::Own,
    },
    Need {
        verbs: WATCH,
        group: "",
        resource: "configmaps",
        name: "extension-apiserver-authentication",
        scope: Scope::KubeSystem,
    },
];

/// What the scheduler extender asks of the API server besides; see `manifests/scheduler`.
const PLACE: [Need; 5] = [
    need(&["create"], "", "pods/binding", Scope::Cluster),
    need(&["get"], "", "pods", Scope::Cluster),
    need(&["get", "list", "watch"], "karpenter.sh", "nodepools", Scope::Cluster),
    need(&["create"], "discovery.k8s.io", "endpointslices", Scope::Own),
    Need {
        verbs: &["get", "update"],
        group: "discovery.k8s.io",
        resource: "endpointslices",
        name: "hirl-extender",
        scope: Scope::Own,
    },
];

/// What it takes to open scheduling gates.
const OPEN_GATES: [Need; 1] = [need(&["patch"], "", "pods", Scope::Cluster)];

/// What it takes to evict.
const EVICT: [Need; 1] = [need(&["create"], "", "pods/eviction", Scope::Cluster)];

/// What it takes to know how far Karpenter's node pools can grow; without it they are taken as not
/// growing.
const GROW: Need = need(&["list"], "karpenter.sh", "nodepools", Scope::Cluster);

/// What it takes to apply the manifests.
const INSTALL: [Need; 6] = [
    need(&["create", "patch"], "apiregistration.k8s.io", "apiservices", Scope::Cluster),
    need(&["create", "patch"], "apiextensions.k8s.io", "customresourcedefinitions", Scope::Cluster),
    need(&["create", "patch"], "rbac.authorization.k8s.io", "clusterroles", Scope::Cluster),
    need(&["create", "patch"], "rbac.authorization.k8s.io", "clusterrolebindings", Scope::Cluster),
    need(&["create", "patch"], "rbac.authorization.k8s.io", "rolebindings", Scope::KubeSystem),
    need(&["create", "patch"], "apps", "deployments", Scope::Own),
];

/// Reviews in flight at a time.
const AT_ONCE: usize = 8;

/// Whose rights are asked about.
#[derive(Debug, Clone)]
pub(super) enum Who {
    /// Whoever runs this program.
    Me,
    /// Another user.
    User(String),
}

impl Who {
    /// As reports name it.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Me => "the user of this kubeconfig",
            Self::User(name) => name,
        }
    }

    fn groups(&self) -> Vec<String> {
        let mut groups = vec!["system:authenticated".to_owned()];
        if let Self::User(name) = self
            && let Some(account) = name.strip_prefix("system:serviceaccount:")
            && let Some((namespace, _)) = account.split_once(':')
        {
            groups.push("system:serviceaccounts".to_owned());
            groups.push(format!("system:serviceaccounts:{namespace}"));
        }
        groups
    }
}

/// Whether `who` may do what serving needs.
pub(super) async fn serving(client: &kube::Client, who: &Who, namespace: &str) -> Vec<Line> {
    let hint = "apply manifests/base/rbac.yaml (or name the server's user with --serve-as)";
    review(client, who, &SERVE, namespace, hint).await
}

/// Whether `who` may do what the extender needs, as it is configured.
pub(super) async fn placing(
    client: &kube::Client,
    who: &Who,
    namespace: &str,
    settings: &extender::Settings,
) -> Vec<Line> {
    let mut needs = PLACE.to_vec();
    if !settings.endpoint_slice.enabled {
        needs.retain(|need| need.resource != "endpointslices");
    }
    needs.extend(settings.gates.enabled.then_some(OPEN_GATES).iter().flatten());
    needs.extend(settings.reclaim.enabled.then_some(EVICT).iter().flatten());
    review(client, who, &needs, namespace, "apply manifests/scheduler and its components").await
}

/// Whether `who` may list Karpenter's node pools.
pub(super) async fn growing(client: &kube::Client, who: &Who) -> Result<bool, kube::Error> {
    allowed(client, who, attributes(GROW, GROW.verbs[0], "")).await
}

/// Whether the caller may apply the manifests.
pub(super) async fn installing(client: &kube::Client, namespace: &str) -> Vec<Line> {
    let hint = "installation needs a cluster administrator";
    review(client, &Who::Me, &INSTALL, namespace, hint).await
}

async fn review(
    client: &kube::Client,
    who: &Who,
    needs: &[Need],
    namespace: &str,
    hint: &str,
) -> Vec<Line> {
    let name = who.name();
    let asked: Vec<(Need, &str)> =
        needs.iter().flat_map(|need| need.verbs.iter().map(|verb| (*need, *verb))).collect();
    let total = asked.len();
    let answers: Vec<(Need, &str, Result<bool, kube::Error>)> = stream::iter(asked)
        .map(|(need, verb)| async move {
            let answer = allowed(client, who, attributes(need, verb, namespace)).await;
            (need, verb, answer)
        })
        .buffered(AT_ONCE)
        .collect()
        .await;
    let mut lines = Vec::new();
    for (need, verb, answer) in answers {
        match answer {
            Ok(true) => {}
            Ok(false) => {
                let place = match need.scope {
                    Scope::Cluster => String::new(),
                    Scope::Own => format!(" in {namespace}"),
                    Scope::KubeSystem => " in kube-system".to_owned(),
                };
                let group = if need.group.is_empty() { "core" } else { need.group };
                let what = format!("{name} may not {verb} {} ({group}){place}", need.resource);
                lines.push(Line::fail(what, hint));
            }
            Err(error) => {
                // One refused review means that all are.
                let what =
                    format!("the rights of {name} could not be asked for: {}", plain(&error));
                return vec![Line::warn(
                    what,
                    "run as a user that may create subjectaccessreviews",
                )];
            }
        }
    }
    if lines.is_empty() {
        lines.push(Line::pass(format!("{name} has all {total} rights that are needed")));
    }
    lines
}

fn attributes(need: Need, verb: &str, namespace: &str) -> ResourceAttributes {
    let (resource, subresource) = match need.resource.split_once('/') {
        Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
        None => (need.resource, None),
    };
    ResourceAttributes {
        group: Some(need.group.to_owned()),
        resource: Some(resource.to_owned()),
        subresource,
        verb: Some(verb.to_owned()),
        name: (!need.name.is_empty()).then(|| need.name.to_owned()),
        namespace: match need.scope {
            Scope::Cluster => None,
            Scope::Own => Some(namespace.to_owned()),
            Scope::KubeSystem => Some("kube-system".to_owned()),
        },
        ..Default::default()
    }
}

async fn allowed(
    client: &kube::Client,
    who: &Who,
    attributes: ResourceAttributes,
) -> Result<bool, kube::Error> {
    let params = PostParams::default();
    let status = match who {
        Who::Me => {
            let spec = SelfSubjectAccessReviewSpec {
                resource_attributes: Some(attributes),
                ..Default::default()
            };
            let review = SelfSubjectAccessReview { spec, ..Default::default() };
            Api::all(client.clone()).create(&params, &review).await?.status
        }
        Who::User(name) => {
            let spec = SubjectAccessReviewSpec {
                user: Some(name.clone()),
                groups: Some(who.groups()),
                resource_attributes: Some(attributes),
                ..Default::default()
            };
            let review = SubjectAccessReview { spec, ..Default::default() };
            Api::all(client.clone()).create(&params, &review).await?.status
        }
    };
    Ok(status.is_some_and(|status| status.allowed))
}
