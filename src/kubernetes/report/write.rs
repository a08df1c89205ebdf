//! Status patches and Events, as the API server takes them.

use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Api;
use kube::Client;
use kube::api::{Patch, PatchParams};
use kube::core::DeserializeGuard;
use serde_json::{Value, json};

use super::plan::{About, Note, Write};
use crate::cluster::AppId;
use crate::kubernetes::API_SERVICE;
use crate::kubernetes::Domain;
use crate::kubernetes::DomainStatus;
use crate::kubernetes::events::{Events, Text};

/// What the reported thing was done with, in Events: one word, required by the API.
const ACTION: &str = "Deciding";

/// Why something was not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    /// The API server did not take it, and would not if asked again.
    #[error("refused: {0}")]
    Refused(String),
    /// The API server could not be reached or is in trouble.
    #[error("{0}")]
    Unreachable(String),
}

impl From<kube::Error> for Failed {
    fn from(problem: kube::Error) -> Self {
        match &problem {
            kube::Error::Api(status) if status.code < 500 && status.code != 429 => {
                Self::Refused(problem.to_string())
            }
            _ => Self::Unreachable(problem.to_string()),
        }
    }
}

pub(super) struct Writer {
    client: Client,
    events: Events,
}

impl Writer {
    pub(super) fn new(client: Client, instance: String) -> Self {
        Self { client: client.clone(), events: Events::new(client, instance) }
    }

    /// Writes it. `hpa_uid` finds the identity without which `kubectl describe` shows no Event.
    pub(super) async fn write(
        &self,
        write: &Write,
        hpa_uid: impl Fn(&AppId) -> Option<Arc<str>>,
    ) -> Result<(), Failed> {
        match write {
            Write::Status { domain, status, notes } => {
                // Guarded, because a spec that makes no sense comes back in the answer.
                let api: Api<DeserializeGuard<Domain>> = Api::all(self.client.clone());
                let patch = Patch::Merge(json!({ "status": patch_of(status) }));
                api.patch_status(domain, &PatchParams::default(), &patch).await?;
                for note in notes {
                    self.event(note, None).await?;
                }
                Ok(())
            }
            Write::Event(note) => {
                let uid = match &note.about {
                    About::Hpa(id) => hpa_uid(id),
                    _ => None,
                };
                self.event(note, uid).await
            }
        }
    }

    async fn event(&self, note: &Note, hpa_uid: Option<Arc<str>>) -> Result<(), Failed> {
        let text = Text {
            action: ACTION,
            reason: note.reason,
            warning: note.warning,
            note: note.text.clone(),
        };
        Ok(self.events.create(regarding(&note.about, hpa_uid), None, text).await?)
    }
}

/// The status as a merge patch, which leaves alone whatever it does not name.
fn patch_of(status: &DomainStatus) -> Value {
    let mut patch = json!(status);
    if status.placement.is_none() {
        patch["placement"] = Value::Null;
    }
    patch
}

fn regarding(about: &About, hpa_uid: Option<Arc<str>>) -> ObjectReference {
    let reference = |version: &str, kind: &str, name: &str| ObjectReference {
        api_version: Some(version.to_owned()),
        kind: Some(kind.to_owned()),
        name: Some(name.to_owned()),
        ..ObjectReference::default()
    };
    match about {
        About::Domain { name, uid } => ObjectReference {
            uid: Some(uid.clone()),
            ..reference("hirl-scale.io/v1alpha1", "Domain", name)
        },
        About::Hpa(id) => ObjectReference {
            namespace: Some(id.namespace.to_string()),
            uid: hpa_uid.map(|uid| uid.to_string()),
            ..reference("autoscaling/v2", "HorizontalPodAutoscaler", &id.hpa)
        },
        About::ApiService { uid } => ObjectReference {
            uid: Some(uid.clone()),
            ..reference("apiregistration.k8s.io/v1", "APIService", API_SERVICE)
        },
    }
}
