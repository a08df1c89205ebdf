//! The API server's objects are listed once in pages, then watched; what they say goes into the
//! index. A broken watch resumes where it stood, or lists again; meanwhile the index keeps what
//! it knows.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::{Stream, StreamExt};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::Api;
use kube::Client;
use kube::Resource;
use kube::core::DeserializeGuard;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher;
use kube::runtime::watcher::Event;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::API_SERVICE;
use super::Domain;
use super::DomainObject;
use super::Ownership;
use super::Settings;
use super::index::{Index, Kind};
use super::objects::resource;
use crate::cluster::AppId;
use crate::cluster::Snapshot;
use crate::cluster::Timestamp;
use crate::instruments::Instruments;
use crate::instruments::ResourceLabel;

/// Objects per page of a list. It bounds our memory: four kinds are listed at once, an object costs
/// some 20 KB while it is read, and what a list took is not given back to the system. 100,000 pods
/// are a thousand pages, about ten seconds.
const PAGE_SIZE: u32 = 100;
/// Seconds after which the server ends an idle watch and we resume it. Short, because a connection
/// that died without a word is noticed only then (plus 5 s).
const WATCH_SECONDS: u32 = 60;
/// How often a server that waits for its first lists says so.
const WAITING_NOTICE: Duration = Duration::from_secs(10);

/// The watches that a first snapshot needs.
const NEEDED: [&str; 7] = [
    "horizontalpodautoscalers",
    "deployments",
    "statefulsets",
    "pods",
    "nodes",
    "namespaces",
    "domains",
];

/// Everything that is watched. Copies share it.
#[derive(Debug, Clone)]
pub struct Watches {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    index: Mutex<Index>,
    /// The needed lists that are not complete, each with the last thing that went wrong.
    waiting: Mutex<BTreeMap<&'static str, Option<String>>>,
    synced: watch::Sender<bool>,
    instruments: Arc<Instruments>,
}

impl Watches {
    /// Starts all watches; they end with `stop`. Returns at once: see [`Self::synced`].
    #[must_use]
    pub fn start(
        client: &Client,
        settings: &Settings,
        instruments: Arc<Instruments>,
        stop: &CancellationToken,
    ) -> Self {
        let shared = Arc::new(Shared::new(settings, instruments));
        let all = watcher::Config::default().page_size(PAGE_SIZE).timeout(WATCH_SECONDS);
        let one = all.clone().fields(&format!("metadata.name={API_SERVICE}"));
        let everywhere = |kind| Api::all_with(client.clone(), &kind);

        let hpas = watcher(
            Api::all_with(client.clone(), &resource::<HorizontalPodAutoscaler>()),
            all.clone(),
        );
        shared.follow("horizontalpodautoscalers", hpas, stop, Index::on_hpa);
        let deployments = watcher(everywhere(resource::<Deployment>()), all.clone());
        shared.follow("deployments", deployments, stop, |index, event| {
            index.on_workload(Kind::Deployment, event)
        });
        let sets = watcher(everywhere(resource::<StatefulSet>()), all.clone());
        shared.follow("statefulsets", sets, stop, |index, event| {
            index.on_workload(Kind::StatefulSet, event)
        });
        let pods = watcher(Api::all_with(client.clone(), &resource::<Pod>()), all.clone());
        shared.follow("pods", pods, stop, Index::on_pod);
        let nodes = watcher(Api::all_with(client.clone(), &resource::<Node>()), all.clone());
        shared.follow("nodes", nodes, stop, Index::on_node);
        let namespaces = watcher(Api::all(client.clone()), all.clone());
        shared.follow("namespaces", namespaces, stop, Index::on_namespace);
        let domains = watcher(Api::<DeserializeGuard<Domain>>::all(client.clone()), all);
        shared.follow("domains", domains, stop, Index::on_domain);
        let ours = watcher(Api::<APIService>::all(client.clone()), one);
        let owned = shared.instruments.apiservice_owned.clone();
        shared.follow("apiservices", ours, stop, move |index, event| {
            let held = index.on_api_service(event);
            owned.set(i64::from(*index.ownership() == Ownership::Ours));
            held
        });

        tokio::spawn(Arc::clone(&shared).say_what_is_missing(stop.clone()));
        Self { shared }
    }

    /// Turns true when every list was read once, and stays true.
    #[must_use]
    pub fn synced(&self) -> watch::Receiver<bool> {
        self.shared.synced.subscribe()
    }

    /// What the first snapshot still waits for, in one sentence; `None` when it waits no more.
    #[must_use]
    pub fn missing(&self) -> Option<String> {
        self.shared.missing()
    }

    /// The world as it is known now. Before [`Self::synced`] it is only a part.
    #[must_use]
    pub fn snapshot(&self, now: Timestamp) -> Snapshot {
        self.shared.index().snapshot(now)
    }

    /// The `Domain` objects, by name.
    #[must_use]
    pub fn domain_objects(&self) -> Vec<DomainObject> {
        self.shared.index().domain_objects()
    }

    /// Who stands behind our `APIService`.
    #[must_use]
    pub fn ownership(&self) -> Ownership {
        self.shared.index().ownership().clone()
    }

    /// The HPAs whose target-CPU annotation makes no sense, with its text.
    #[must_use]
    pub fn bad_annotations(&self) -> Vec<(AppId, String)> {
        self.shared.index().bad_annotations()
    }

    /// Identity of an HPA, for Events.
    #[must_use]
    pub fn hpa_uid(&self, id: &AppId) -> Option<Arc<str>> {
        self.shared.index().hpa_uid(id)
    }
}

impl Shared {
    fn new(settings: &Settings, instruments: Arc<Instruments>) -> Self {
        Self {
            index: Mutex::new(Index::new(settings.clone())),
            waiting: Mutex::new(NEEDED.into_iter().map(|name| (name, None)).collect()),
            synced: watch::Sender::new(false),
            instruments,
        }
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<&'static str, Option<String>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Feeds one stream of events to the index until `stop`.
    fn follow<K>(
        self: &Arc<Self>,
        name: &'static str,
        events: impl Stream<Item = watcher::Result<Event<K>>> + Send + 'static,
        stop: &CancellationToken,
        take_in: impl Fn(&mut Index, Event<K>) -> usize + Send + 'static,
    ) where
        K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        let shared = Arc::clone(self);
        let events = events.default_backoff().take_until(stop.clone().cancelled_owned());
        tokio::spawn(async move {
            let mut events = pin!(events);
            let label = ResourceLabel { resource: name };
            let held = shared.instruments.watched_objects.get_or_create_owned(&label);
            let restarts = shared.instruments.watch_restarts.get_or_create_owned(&label);
            while let Some(event) = events.next().await {
                match event {
                    Ok(event) => {
                        let listed = matches!(event, Event::InitDone);
                        let now_held = take_in(&mut shared.index(), event);
                        held.set(i64::try_from(now_held).unwrap_or(i64::MAX));
                        if listed {
                            shared.listed(name);
                        }
                    }
                    Err(problem) => {
                        restarts.inc();
                        tracing::warn!(resource = name, error = %problem, "Watch starts again");
                        shared.went_wrong(name, &problem);
                    }
                }
            }
        });
    }

    fn listed(&self, name: &'static str) {
        let mut waiting = self.waiting();
        waiting.remove(name);
        if waiting.is_empty() {
            self.synced.send_if_modified(|synced| !std::mem::replace(synced, true));
        }
    }

    fn went_wrong(&self, name: &'static str, problem: &watcher::Error) {
        if let Some(last) = self.waiting().get_mut(name) {
            *last = Some(problem.to_string());
        }
    }

    fn missing(&self) -> Option<String> {
        let waiting = self.waiting();
        if waiting.is_empty() {
            return None;
        }
        let parts: Vec<String> = waiting
            .iter()
            .map(|(name, problem)| match problem {
                None => (*name).to_owned(),
                Some(problem) => format!("{name} ({problem})"),
            })
            .collect();
        Some(format!("waiting for the first list of {}", parts.join(", ")))
    }

    async fn say_what_is_missing(self: Arc<Self>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(WAITING_NOTICE) => {}
            }
            match self.missing() {
                Some(missing) => tracing::warn!(missing, "Not ready to decide"),
                None => return,
            }
        }
    }
}
