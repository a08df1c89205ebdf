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
use super::Placements;
use super::Settings;
use super::growth::PoolNodes;
use super::index::{Index, Kind};
use super::objects::resource;
use crate::cluster::AppId;
use crate::cluster::Snapshot;
use crate::cluster::Timestamp;
use crate::instruments::Instruments;
use crate::instruments::ResourceLabel;
use crate::supervision::Supervisor;

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
    /// How many complete lists of pods were asked for, and how many of these are in.
    pod_lists: watch::Sender<Lists>,
    /// The placement ledger, if there is one to feed.
    placements: Option<Placements>,
    instruments: Arc<Instruments>,
}

/// Lists by number, the first one 1.
#[derive(Debug, Clone, Copy, Default)]
struct Lists {
    asked: u64,
    complete: u64,
}

impl Watches {
    /// Starts all watches under `supervisor`; they end with `stop`. Pods, nodes and the domains of namespaces go into
    /// `placements` too. Returns at once: see [`Self::synced`].
    #[must_use]
    pub fn start(
        client: &Client,
        settings: &Settings,
        placements: Option<Placements>,
        instruments: Arc<Instruments>,
        supervisor: &Supervisor,
        stop: &CancellationToken,
    ) -> Self {
        let shared = Arc::new(Shared::new(settings, placements, instruments));
        let under = &(supervisor.clone(), stop.clone());
        let all = watcher::Config::default().page_size(PAGE_SIZE).timeout(WATCH_SECONDS);
        let one = all.clone().fields(&format!("metadata.name={API_SERVICE}"));
        let everywhere = |kind| Api::all_with(client.clone(), &kind);

        let hpas = watcher(
            Api::all_with(client.clone(), &resource::<HorizontalPodAutoscaler>()),
            all.clone(),
        );
        shared.follow("horizontalpodautoscalers", hpas, under, Index::on_hpa);
        let deployments = watcher(everywhere(resource::<Deployment>()), all.clone());
        shared.follow("deployments", deployments, under, |index, event| {
            index.on_workload(Kind::Deployment, event)
        });
        let sets = watcher(everywhere(resource::<StatefulSet>()), all.clone());
        shared.follow("statefulsets", sets, under, |index, event| {
            index.on_workload(Kind::StatefulSet, event)
        });
        shared.follow_pods(client.clone(), all.clone(), under);
        let nodes = watcher(Api::all_with(client.clone(), &resource::<Node>()), all.clone());
        let (placing, label) = (shared.placements.clone(), settings.pool_label.clone());
        shared.follow("nodes", nodes, under, move |index, event| {
            if let Some(placements) = &placing {
                placements.on_node(&event, &label);
            }
            index.on_node(event)
        });
        let namespaces = watcher(Api::all(client.clone()), all.clone());
        let placing = shared.placements.clone();
        shared.follow("namespaces", namespaces, under, move |index, event| {
            let settled = !matches!(event, Event::Init | Event::InitApply(_));
            let held = index.on_namespace(event);
            tell_homes(placing.as_ref().filter(|_| settled), index);
            held
        });
        let domains = watcher(Api::<DeserializeGuard<Domain>>::all(client.clone()), all);
        let placing = shared.placements.clone();
        shared.follow("domains", domains, under, move |index, event| {
            let settled = !matches!(event, Event::Init | Event::InitApply(_));
            let held = index.on_domain(event);
            tell_homes(placing.as_ref().filter(|_| settled), index);
            held
        });
        let ours = watcher(Api::<APIService>::all(client.clone()), one);
        let owned = shared.instruments.apiservice_owned.clone();
        shared.follow("apiservices", ours, under, move |index, event| {
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

    /// The ready, schedulable nodes of each pool.
    pub(super) fn pool_nodes(&self) -> BTreeMap<Arc<str>, PoolNodes> {
        self.shared.index().pool_nodes()
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

    /// Lists all pods anew, by a read that no cache answers, and returns when all that it shows is
    /// in, and everything else was listed once. Until then nothing new is taken in of pods; what
    /// is known stays.
    pub async fn relist_pods(&self) {
        // Waiting for what lives as long as we do cannot fail.
        let _ = self.synced().wait_for(|synced| *synced).await;
        let mut lists = self.shared.pod_lists.subscribe();
        let mut number = 0;
        self.shared.pod_lists.send_modify(|lists| {
            lists.asked += 1;
            number = lists.asked;
        });
        let _ = lists.wait_for(|lists| lists.complete >= number).await;
    }

    /// Identity of an HPA, for Events.
    #[must_use]
    pub fn hpa_uid(&self, id: &AppId) -> Option<Arc<str>> {
        self.shared.index().hpa_uid(id)
    }
}

impl Shared {
    fn new(
        settings: &Settings,
        placements: Option<Placements>,
        instruments: Arc<Instruments>,
    ) -> Self {
        Self {
            pod_lists: watch::Sender::default(),
            placements,
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

    /// Feeds one stream of events to the index until it is told to stop.
    fn follow<K>(
        self: &Arc<Self>,
        name: &'static str,
        events: impl Stream<Item = watcher::Result<Event<K>>> + Send + 'static,
        (supervisor, stop): &(Supervisor, CancellationToken),
        take_in: impl Fn(&mut Index, Event<K>) -> usize + Send + Sync + 'static,
    ) where
        K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        let shared = Arc::clone(self);
        let events = events.default_backoff().take_until(stop.clone().cancelled_owned());
        supervisor.spawn(watch_of(name), async move { shared.feed(name, events, &take_in).await });
    }

    /// Follows the pods, and lists them anew whenever that is asked for.
    fn follow_pods(
        self: &Arc<Self>,
        client: Client,
        config: watcher::Config,
        (supervisor, stop): &(Supervisor, CancellationToken),
    ) {
        let shared = Arc::clone(self);
        let stop = stop.clone();
        supervisor.spawn(watch_of("pods"), async move {
            let mut lists = shared.pod_lists.subscribe();
            while !stop.is_cancelled() {
                let number = lists.borrow_and_update().asked;
                let api = Api::all_with(client.clone(), &resource::<Pod>());
                let events = watcher(api, config.clone()).default_backoff();
                let take_in = |index: &mut Index, event| {
                    if let Some(placements) = &shared.placements {
                        placements.on_pod(&event);
                    }
                    let listed = matches!(event, Event::InitDone);
                    let held = index.on_pod(event);
                    if listed {
                        shared.pod_lists.send_modify(|lists| lists.complete = number);
                    }
                    held
                };
                tokio::select! {
                    () = stop.cancelled() => {}
                    _ = lists.wait_for(|lists| lists.asked > number) => {}
                    () = shared.feed("pods", events, &take_in) => {}
                }
            }
        });
    }

    /// Feeds one stream of events to the index until it ends.
    async fn feed<K>(
        &self,
        name: &'static str,
        events: impl Stream<Item = watcher::Result<Event<K>>> + Send,
        take_in: &(impl Fn(&mut Index, Event<K>) -> usize + Sync),
    ) where
        K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        let mut events = pin!(events);
        let label = ResourceLabel { resource: name };
        let held = self.instruments.watched_objects.get_or_create_owned(&label);
        let restarts = self.instruments.watch_restarts.get_or_create_owned(&label);
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    let listed = matches!(event, Event::InitDone);
                    let now_held = take_in(&mut self.index(), event);
                    held.set(i64::try_from(now_held).unwrap_or(i64::MAX));
                    if listed {
                        self.listed(name);
                    }
                }
                Err(problem) => {
                    restarts.inc();
                    tracing::warn!(resource = name, error = %problem, "Watch starts again");
                    self.went_wrong(name, &problem);
                }
            }
        }
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

fn watch_of(name: &str) -> String {
    format!("the watch of {name}")
}

/// Tells the ledger which domain each namespace belongs to now.
fn tell_homes(placements: Option<&Placements>, index: &Index) {
    if let Some(placements) = placements {
        placements.on_homes(index.homes());
    }
}
