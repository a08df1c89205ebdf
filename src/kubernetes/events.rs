//! Events as the API server takes them.

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::Client;
use kube::api::{ObjectMeta, PostParams};

use crate::placement::PodName;

/// Name of the reporter in Events.
const CONTROLLER: &str = "hirl-scale.io/hirl";
/// Longest note and longest instance name that the API server takes, in bytes.
const LONGEST_NOTE: usize = 1024;
const LONGEST_INSTANCE: usize = 128;
/// Namespace of Events about objects without one: the API server allows no other.
const CLUSTER_EVENTS: &str = "default";

/// Writes Events.
#[derive(Clone)]
pub struct Events {
    client: Client,
    instance: String,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Events").field("instance", &self.instance).finish_non_exhaustive()
    }
}

/// An Event about a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodEvent<'a> {
    /// The pod.
    pub pod: &'a PodName,
    /// Another pod that it has to do with.
    pub related: Option<&'a PodName>,
    /// The work during which it happened, in one word.
    pub action: &'static str,
    /// The happening, in one word.
    pub reason: &'static str,
    /// Whether somebody should look.
    pub warning: bool,
    /// The same for people.
    pub note: String,
}

/// Words of an Event, whatever it is about.
#[derive(Debug)]
pub(super) struct Text {
    pub(super) action: &'static str,
    pub(super) reason: &'static str,
    pub(super) warning: bool,
    pub(super) note: String,
}

impl Events {
    /// Writes through `client`; `instance` names this process.
    #[must_use]
    pub fn new(client: Client, instance: String) -> Self {
        Self { client, instance: cut(instance, LONGEST_INSTANCE) }
    }

    /// Writes an Event about a pod, in its namespace. Sets no time limit.
    pub async fn about_pod(&self, event: PodEvent<'_>) -> Result<(), kube::Error> {
        let PodEvent { pod, related, action, reason, warning, note } = event;
        let text = Text { action, reason, warning, note };
        self.create(reference_to_pod(pod), related.map(reference_to_pod), text).await
    }

    /// Writes an Event.
    pub(super) async fn create(
        &self,
        regarding: ObjectReference,
        related: Option<ObjectReference>,
        text: Text,
    ) -> Result<(), kube::Error> {
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
            action: Some(text.action.to_owned()),
            reason: Some(text.reason.to_owned()),
            note: Some(cut(text.note, LONGEST_NOTE)),
            type_: Some(if text.warning { "Warning" } else { "Normal" }.to_owned()),
            regarding: Some(regarding),
            related,
            ..Event::default()
        };
        let api: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        api.create(&PostParams::default(), &event).await?;
        Ok(())
    }
}

fn reference_to_pod((uid, namespace, name): &PodName) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        namespace: Some(namespace.to_string()),
        name: Some(name.to_string()),
        uid: Some(uid.to_string()),
        ..ObjectReference::default()
    }
}

/// At most `longest` bytes of a text, whole characters.
fn cut(mut text: String, longest: usize) -> String {
    text.truncate(text.floor_char_boundary(longest));
    text
}
