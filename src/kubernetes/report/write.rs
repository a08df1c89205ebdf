//! Status patches and Events, as the API server takes them.

use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::Client;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::core::DeserializeGuard;
use serde_json::json;

use super::plan::{About, Note, Write};
use crate::cluster::AppId;
use crate::kubernetes::API_SERVICE;
use crate::kubernetes::Domain;

/// Who reports, in Events.
const CONTROLLER: &str = "hirl-scale.io/hirl";
/// What the reported thing was done with, in Events: one word, required by the API.
const ACTION: &str = "Deciding";
/// Longest note and longest instance name that the API server takes, in bytes.
const LONGEST_NOTE: usize = 1024;
const LONGEST_INSTANCE: usize = 128;
/// Namespace of Events about objects without one: the API server allows no other.
const CLUSTER_EVENTS: &str = "default";

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
    instance: String,
}

impl Writer {
    pub(super) fn new(client: Client, instance: String) -> Self {
        Self { client, instance: cut(instance, LONGEST_INSTANCE) }
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
                let patch = Patch::Merge(json!({ "status": status }));
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
        let regarding = regarding(&note.about, hpa_uid);
        let namespace = regarding.namespace.clone().unwrap_or_else(|| CLUSTER_EVENTS.to_owned());
        let now = jiff::Timestamp::now();
        let object = regarding.name.clone().unwrap_or_default();
        let event = Event {
            metadata: ObjectMeta {
                // As client-go names them: two Events of one object differ by the instant.
                name: Some(format!("{}.{:x}", cut(object, 200), now.as_nanosecond())),
                namespace: Some(namespace.clone()),
                ..ObjectMeta::default()
            },
            event_time: Some(MicroTime(now)),
            reporting_controller: Some(CONTROLLER.to_owned()),
            reporting_instance: Some(self.instance.clone()),
            action: Some(ACTION.to_owned()),
            reason: Some(note.reason.to_owned()),
            note: Some(cut(note.text.clone(), LONGEST_NOTE)),
            type_: Some(if note.warning { "Warning" } else { "Normal" }.to_owned()),
            regarding: Some(regarding),
            ..Event::default()
        };
        let api: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        api.create(&PostParams::default(), &event).await?;
        Ok(())
    }
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

/// At most `longest` bytes of a text, whole characters.
fn cut(mut text: String, longest: usize) -> String {
    text.truncate(text.floor_char_boundary(longest));
    text
}
