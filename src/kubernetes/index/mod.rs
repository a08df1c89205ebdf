//! Events of the watches become snapshots. Bookkeeping only: it opens no connection and reads no
//! clock.
//!
//! The catalog is built anew only when an edit changed something in it; an event that changes no
//! field in use costs one comparison.

mod hpa;
mod names;
mod pods;
mod table;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::api::ObjectMeta;
use kube::api::PartialObjectMeta;
use kube::core::DeserializeGuard;
use kube::runtime::watcher::Event;

use self::hpa::Hpa;
use self::names::Names;
pub(super) use self::pods::Kind;
use self::pods::{Pods, Tally, TargetKey};
use self::table::Table;
use super::Condition;
use super::Domain;
use super::PlacementStatus;
use super::Selector;
use super::Settings;
use super::growth::{KARPENTER_LABEL, PoolNodes};
use super::objects;
use super::objects::labels;
use crate::cluster;
use crate::cluster::Amount;
use crate::cluster::App;
use crate::cluster::AppId;
use crate::cluster::AppState;
use crate::cluster::Catalog;
use crate::cluster::DEFAULT_DOMAIN;
use crate::cluster::Pool;
use crate::cluster::Refusal;
use crate::cluster::Signals;
use crate::cluster::Snapshot;
use crate::cluster::Timestamp;

/// A `Domain` object as it was last seen, for the report of its status.
#[derive(Debug, Clone, PartialEq)]
pub struct DomainObject {
    /// Its name.
    pub name: String,
    /// Its identity, for Events.
    pub uid: String,
    /// Generation of its spec.
    pub generation: Option<i64>,
    /// The apps that its status states.
    pub apps: Option<i32>,
    /// The conditions that its status states.
    pub conditions: Vec<Condition>,
    /// The use of the shared pools that its status states.
    pub placement: Option<PlacementStatus>,
    /// Why it is not used; its namespaces then belong to the default domain.
    pub problem: Option<String>,
    /// Namespaces that other Domains select too, each with all their names; sorted.
    pub contested: Vec<(String, Vec<String>)>,
}

/// Who stands behind the `APIService` of external metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Ownership {
    /// It was not seen (yet), or does not exist.
    #[default]
    Absent,
    /// Our Service.
    Ours,
    /// Another Service.
    Other {
        /// `namespace/name` of the Service.
        service: String,
        /// Identity of the `APIService`, for Events.
        uid: String,
    },
}

#[derive(Debug, PartialEq)]
struct Workload {
    spec_replicas: u32,
    status_replicas: u32,
    rolling_out: bool,
    /// Requests of a pod made from the template.
    requests: Amount,
}

#[derive(Debug, PartialEq)]
struct Node {
    pool: Arc<str>,
    usable: Option<Amount>,
    capacity: Amount,
    /// Whether Karpenter made it.
    provisioned: bool,
}

#[derive(Debug, PartialEq)]
struct DomainRow {
    uid: String,
    generation: Option<i64>,
    apps: Option<i32>,
    conditions: Vec<Condition>,
    placement: Option<PlacementStatus>,
    spec: Result<(cluster::Domain, Option<Selector>), String>,
}

/// One app of the catalog, with what is needed to tell its state.
#[derive(Debug)]
struct Planned {
    target: Option<TargetKey>,
    /// What is wrong however many pods there are.
    refusal: Option<Refusal>,
    scaled_to_zero: bool,
}

/// Everything that the watches know.
#[derive(Debug)]
pub(super) struct Index {
    settings: Settings,
    names: Names,
    hpas: Table<AppId, Hpa>,
    workloads: [Table<TargetKey, Workload>; 2],
    pods: Pods,
    nodes: Table<Arc<str>, Node>,
    namespaces: Table<Arc<str>, BTreeMap<String, String>>,
    domains: Table<String, DomainRow>,
    ownership: Ownership,
    /// Whether the running list has named our `APIService`.
    api_service_listed: bool,
    catalog: Arc<Catalog>,
    planned: Vec<Planned>,
    contested: BTreeMap<String, Vec<String>>,
    catalog_outdated: bool,
    pools: Option<Vec<Pool>>,
}

impl Index {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            names: Names::default(),
            hpas: Table::default(),
            workloads: [Table::default(), Table::default()],
            pods: Pods::default(),
            nodes: Table::default(),
            namespaces: Table::default(),
            domains: Table::default(),
            ownership: Ownership::default(),
            api_service_listed: false,
            catalog: Arc::default(),
            planned: Vec::new(),
            contested: BTreeMap::new(),
            catalog_outdated: true,
            pools: None,
        }
    }

    /// Takes in what happened to an HPA. Answers how many are held, as all of these do.
    pub(super) fn on_hpa(&mut self, event: Event<objects::Hpa>) -> usize {
        match event {
            Event::Init => self.hpas.begin(),
            Event::Apply(object) | Event::InitApply(object) => {
                let Some(id) = self.app_id(&object.metadata) else {
                    return self.hpas.len();
                };
                match Hpa::read(&object, &mut self.names) {
                    Some(row) => {
                        let changed = self.hpas.get(&id) != Some(&row);
                        self.hpas.put(id, row);
                        self.catalog_outdated |= changed;
                    }
                    None => self.catalog_outdated |= self.hpas.remove(&id).is_some(),
                }
            }
            Event::Delete(object) => {
                if let Some(id) = self.app_id(&object.metadata) {
                    self.catalog_outdated |= self.hpas.remove(&id).is_some();
                }
            }
            Event::InitDone => self.catalog_outdated |= !self.hpas.end().is_empty(),
        }
        self.hpas.len()
    }

    /// Takes in what happened to a scale target.
    pub(super) fn on_workload(&mut self, kind: Kind, event: Event<objects::Workload>) -> usize {
        match event {
            Event::Init => self.workloads[kind as usize].begin(),
            Event::Apply(object) | Event::InitApply(object) => {
                if let Some(key) = self.target_key(kind, &object.metadata) {
                    self.pods.follow(&key, &object.spec.selector, &mut self.names);
                    let status = object.status.unwrap_or_default();
                    let row = Workload {
                        spec_replicas: count(object.spec.replicas.unwrap_or(1)),
                        status_replicas: count(status.replicas),
                        rolling_out: object.spec.rolling_out(&status),
                        requests: object.spec.template.spec.requests(),
                    };
                    self.workloads[kind as usize].put(key, row);
                }
            }
            Event::Delete(object) => {
                if let Some(key) = self.target_key(kind, &object.metadata) {
                    self.workloads[kind as usize].remove(&key);
                    self.pods.forget(&key, &mut self.names);
                }
            }
            Event::InitDone => {
                for (key, _) in self.workloads[kind as usize].end() {
                    self.pods.forget(&key, &mut self.names);
                }
            }
        }
        self.workloads[kind as usize].len()
    }

    /// Takes in what happened to a pod.
    pub(super) fn on_pod(&mut self, event: Event<objects::Pod>) -> usize {
        match event {
            Event::Init => self.pods.begin(),
            Event::Apply(object) | Event::InitApply(object) => {
                self.pods.put(&object, &mut self.names);
            }
            Event::Delete(object) => self.pods.remove(&object, &mut self.names),
            Event::InitDone => self.pods.end(),
        }
        self.pods.len()
    }

    /// Takes in what happened to a node.
    pub(super) fn on_node(&mut self, event: Event<objects::Node>) -> usize {
        match event {
            Event::Init => self.nodes.begin(),
            Event::Apply(object) | Event::InitApply(object) => {
                let pool = labels(&object.metadata).get(&self.settings.pool_label);
                let pool = self.names.get(pool.map_or("", String::as_str));
                let provisioned = labels(&object.metadata).contains_key(KARPENTER_LABEL);
                let status = object.status.unwrap_or_default();
                let (usable, capacity) = (object.spec.usable(&status), status.capacity());
                let row = Node { pool, usable, capacity, provisioned };
                let name = self.names.get(object.metadata.name.as_deref().unwrap_or_default());
                if self.nodes.get(&name) != Some(&row) {
                    self.pools = None;
                }
                self.nodes.put(name, row);
            }
            Event::Delete(object) => {
                let name = self.names.get(object.metadata.name.as_deref().unwrap_or_default());
                self.nodes.remove(&name);
                self.pools = None;
            }
            Event::InitDone => {
                if !self.nodes.end().is_empty() {
                    self.pools = None;
                }
            }
        }
        self.nodes.len()
    }

    /// Takes in what happened to a namespace.
    pub(super) fn on_namespace(&mut self, event: Event<PartialObjectMeta<Namespace>>) -> usize {
        match event {
            Event::Init => self.namespaces.begin(),
            Event::Apply(object) | Event::InitApply(object) => {
                let name = self.names.get(object.metadata.name.as_deref().unwrap_or_default());
                let row = labels(&object.metadata);
                self.catalog_outdated |= self.namespaces.get(&name) != Some(row);
                self.namespaces.put(name, row.clone());
            }
            Event::Delete(object) => {
                let name = self.names.get(object.metadata.name.as_deref().unwrap_or_default());
                self.catalog_outdated |= self.namespaces.remove(&name).is_some();
            }
            Event::InitDone => self.catalog_outdated |= !self.namespaces.end().is_empty(),
        }
        self.namespaces.len()
    }

    /// Takes in what happened to a `Domain`. One that cannot be read is kept with the reason.
    pub(super) fn on_domain(&mut self, event: Event<DeserializeGuard<Domain>>) -> usize {
        match event {
            Event::Init => self.domains.begin(),
            Event::Apply(DeserializeGuard(read)) | Event::InitApply(DeserializeGuard(read)) => {
                let (meta, status, spec) = match read {
                    Ok(object) => {
                        let name = object.metadata.name.as_deref().unwrap_or_default();
                        let spec = object.spec.domain(name);
                        let selector = object.spec.namespace_selector;
                        let spec = spec.map(|domain| (domain, selector));
                        (object.metadata, object.status.unwrap_or_default(), spec)
                    }
                    Err(invalid) => {
                        (invalid.metadata, super::DomainStatus::default(), Err(invalid.error))
                    }
                };
                let name = meta.name.unwrap_or_default();
                let row = DomainRow {
                    uid: meta.uid.unwrap_or_default(),
                    generation: meta.generation,
                    apps: status.apps,
                    conditions: status.conditions,
                    placement: status.placement,
                    spec,
                };
                self.catalog_outdated |=
                    self.domains.get(&name).is_none_or(|old| old.spec != row.spec);
                self.domains.put(name, row);
            }
            Event::Delete(DeserializeGuard(read)) => {
                let meta = match read {
                    Ok(object) => object.metadata,
                    Err(invalid) => invalid.metadata,
                };
                let gone = self.domains.remove(&meta.name.unwrap_or_default());
                self.catalog_outdated |= gone.is_some();
            }
            Event::InitDone => self.catalog_outdated |= !self.domains.end().is_empty(),
        }
        self.domains.len()
    }

    /// Takes in what happened to our `APIService`, the only one that is watched.
    pub(super) fn on_api_service(&mut self, event: Event<APIService>) -> usize {
        match event {
            Event::Init => self.api_service_listed = false,
            Event::Apply(object) | Event::InitApply(object) => {
                self.api_service_listed = true;
                let service = object.spec.and_then(|spec| spec.service).unwrap_or_default();
                let namespace = service.namespace.unwrap_or_default();
                let name = service.name.unwrap_or_default();
                let ours = &self.settings.service;
                self.ownership = if namespace == ours.namespace && name == ours.name {
                    Ownership::Ours
                } else {
                    Ownership::Other {
                        service: format!("{namespace}/{name}"),
                        uid: object.metadata.uid.unwrap_or_default(),
                    }
                };
            }
            Event::InitDone if self.api_service_listed => {}
            Event::InitDone | Event::Delete(_) => self.ownership = Ownership::Absent,
        }
        usize::from(self.ownership != Ownership::Absent)
    }

    /// Who stands behind our `APIService`.
    pub(super) fn ownership(&self) -> &Ownership {
        &self.ownership
    }

    /// The world as it is known. No app has signals: who reads them adds them.
    pub(super) fn snapshot(&mut self, at: Timestamp) -> Snapshot {
        self.refresh();
        let mut states = Vec::with_capacity(self.planned.len());
        for (index, planned) in self.planned.iter().enumerate() {
            let (state, refusal) = self.state(planned);
            states.push(state);
            if self.catalog.apps[index].refusal != refusal {
                Arc::make_mut(&mut self.catalog).apps[index].refusal = refusal;
            }
        }
        if self.pools.is_none() {
            self.pools = Some(self.build_pools());
        }
        Snapshot {
            at,
            catalog: Arc::clone(&self.catalog),
            apps: states,
            pools: self.pools.clone().unwrap_or_default(),
            forecasts: Vec::new(),
        }
    }

    /// The domain of each namespace that one `Domain` selects; with an object for the default
    /// domain, of all the others too.
    pub(super) fn homes(&self) -> HashMap<Arc<str>, Arc<str>> {
        let (domains, selectors) = self.build_domains();
        let names: Vec<Arc<str>> = domains.iter().map(|one| Arc::from(&*one.name)).collect();
        let last = domains.len() - 1;
        let default_is_stated =
            self.domains.get(&DEFAULT_DOMAIN.to_owned()).is_some_and(|row| row.spec.is_ok());
        let mut homes = HashMap::new();
        for (namespace, labels) in self.namespaces.iter() {
            let get = |key: &str| labels.get(key).map(String::as_str);
            let mut hits = (0..last)
                .filter(|&index| selectors[index].as_ref().is_some_and(|one| one.matches(get)));
            let home = match (hits.next(), hits.next()) {
                (Some(one), None) => one,
                _ if default_is_stated => last,
                _ => continue,
            };
            homes.insert(Arc::clone(namespace), Arc::clone(&names[home]));
        }
        homes
    }

    /// The ready, schedulable nodes of each pool.
    pub(super) fn pool_nodes(&self) -> BTreeMap<Arc<str>, PoolNodes> {
        let mut pools: BTreeMap<Arc<str>, PoolNodes> = BTreeMap::new();
        for (_, node) in self.nodes.iter() {
            let Some(usable) = node.usable else { continue };
            let pool = pools.entry(Arc::clone(&node.pool)).or_default();
            if node.provisioned {
                pool.allocatable += usable;
                pool.capacity += node.capacity;
            } else {
                pool.others += usable;
            }
        }
        pools
    }

    /// The `Domain` objects, by name.
    pub(super) fn domain_objects(&mut self) -> Vec<DomainObject> {
        self.refresh();
        let mut all: Vec<DomainObject> = self
            .domains
            .iter()
            .map(|(name, row)| DomainObject {
                name: name.clone(),
                uid: row.uid.clone(),
                generation: row.generation,
                apps: row.apps,
                conditions: row.conditions.clone(),
                placement: row.placement.clone(),
                problem: row.spec.as_ref().err().cloned(),
                contested: self
                    .contested
                    .iter()
                    .filter(|(_, domains)| domains.contains(name))
                    .map(|(namespace, domains)| (namespace.clone(), domains.clone()))
                    .collect(),
            })
            .collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// The HPAs whose target-CPU annotation makes no sense, with its text.
    pub(super) fn bad_annotations(&self) -> Vec<(AppId, String)> {
        let mut all: Vec<(AppId, String)> = self
            .hpas
            .iter()
            .filter_map(|(id, hpa)| Some((id.clone(), hpa.bad_target_cpu.clone()?)))
            .collect();
        all.sort();
        all
    }

    /// Identity of an HPA, for Events.
    pub(super) fn hpa_uid(&self, id: &AppId) -> Option<Arc<str>> {
        self.hpas.get(id).map(|hpa| Arc::clone(&hpa.uid))
    }

    fn app_id(&mut self, meta: &ObjectMeta) -> Option<AppId> {
        Some(AppId {
            namespace: self.names.get(meta.namespace.as_deref()?),
            hpa: self.names.get(meta.name.as_deref()?),
        })
    }

    fn target_key(&mut self, kind: Kind, meta: &ObjectMeta) -> Option<TargetKey> {
        Some(TargetKey {
            namespace: self.names.get(meta.namespace.as_deref()?),
            kind,
            name: self.names.get(meta.name.as_deref()?),
        })
    }

    fn workload(&self, key: &TargetKey) -> Option<&Workload> {
        self.workloads[key.kind as usize].get(key)
    }

    /// What an app does now, and why it gets no number if so.
    fn state(&self, planned: &Planned) -> (AppState, Option<Refusal>) {
        let found = planned.target.as_ref().and_then(|key| Some((key, self.workload(key)?)));
        let Some((key, workload)) = found else {
            return (AppState::default(), planned.refusal.clone().or(Some(Refusal::NoTarget)));
        };
        let tally = self.pods.tally(key);
        let (cpu_request, memory_request) = mean_requests(tally, workload.requests);
        let disabled = workload.spec_replicas == 0 && !planned.scaled_to_zero;
        let refusal = planned
            .refusal
            .clone()
            .or_else(|| disabled.then_some(Refusal::Disabled))
            .or_else(|| (cpu_request <= 0.0).then_some(Refusal::NoCpuRequest));
        let state = AppState {
            spec_replicas: workload.spec_replicas,
            status_replicas: workload.status_replicas,
            ready: tally.ready,
            pending: tally.pending,
            rolling_out: workload.rolling_out,
            cpu_request,
            memory_request,
            signals: Signals::default(),
        };
        (state, refusal)
    }

    /// Builds the catalog anew if an edit made it outdated.
    fn refresh(&mut self) {
        if !std::mem::take(&mut self.catalog_outdated) {
            return;
        }
        let (domains, selectors) = self.build_domains();
        let last = domains.len() - 1;
        let mut contested = BTreeMap::new();
        let mut homes: HashMap<&str, (usize, Option<Refusal>)> = HashMap::new();
        for (name, labels) in self.namespaces.iter() {
            let get = |key: &str| labels.get(key).map(String::as_str);
            let selects =
                |index: &usize| selectors[*index].as_ref().is_some_and(|one| one.matches(get));
            let hits: Vec<usize> = (0..last).filter(selects).collect();
            match hits[..] {
                [] => {}
                [one] => {
                    homes.insert(name, (one, None));
                }
                _ => {
                    let all: Vec<String> =
                        hits.iter().map(|&index| domains[index].name.clone()).collect();
                    homes.insert(name, (last, Some(Refusal::SeveralDomains(all.clone()))));
                    contested.insert(name.to_string(), all);
                }
            }
        }

        let mut sorted: Vec<(&AppId, &Hpa)> = self.hpas.iter().collect();
        sorted.sort_by_key(|(id, _)| *id);
        let mut sharers: HashMap<(&str, &str, &str), Vec<&AppId>> = HashMap::new();
        for (id, hpa) in &sorted {
            sharers.entry((&id.namespace, &hpa.kind, &hpa.name)).or_default().push(id);
        }
        let mut apps = Vec::with_capacity(sorted.len());
        let mut planned = Vec::with_capacity(sorted.len());
        for (id, hpa) in sorted {
            let (domain, contest) = homes.get(&*id.namespace).cloned().unwrap_or((last, None));
            let shared = sharers[&(&*id.namespace, &*hpa.kind, &*hpa.name)]
                .iter()
                .find(|other| **other != id)
                .map(|other| Refusal::SharedTarget(other.hpa.to_string()));
            let refusal = hpa.refusal.clone().or(shared).or(contest);
            planned.push(Planned {
                target: hpa.target.clone(),
                refusal: refusal.clone(),
                scaled_to_zero: hpa.scaled_to_zero,
            });
            apps.push(App {
                id: id.clone(),
                kind: Arc::clone(&hpa.kind),
                target: Arc::clone(&hpa.name),
                domain,
                min_replicas: hpa.min_replicas,
                max_replicas: hpa.max_replicas,
                tolerance_up: hpa.tolerance_up,
                tolerance_down: hpa.tolerance_down,
                target_cpu: hpa.target_cpu.unwrap_or(self.settings.target_cpu),
                refusal,
            });
        }
        // With the present refusals, so that an edit that changes nothing keeps the old catalog.
        for (app, planned) in apps.iter_mut().zip(&planned) {
            app.refusal = self.state(planned).1;
        }
        let catalog = Catalog { domains, apps };
        if catalog != *self.catalog {
            self.catalog = Arc::new(catalog);
        }
        self.planned = planned;
        self.contested = contested;
    }

    /// The usable domains by name, the default one last, and their selectors.
    fn build_domains(&self) -> (Vec<cluster::Domain>, Vec<Option<Selector>>) {
        let mut default = self.settings.default_domain.domain();
        let mut usable = Vec::new();
        for (name, row) in self.domains.iter() {
            match &row.spec {
                Ok((domain, _)) if name == DEFAULT_DOMAIN => default = domain.clone(),
                // Without a selector it holds no namespace.
                Ok((domain, selector)) => usable.push((domain.clone(), selector.clone())),
                Err(_) => {}
            }
        }
        usable.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
        let (mut domains, mut selectors): (Vec<_>, Vec<_>) = usable.into_iter().unzip();
        domains.push(default);
        selectors.push(None);
        (domains, selectors)
    }

    fn build_pools(&self) -> Vec<Pool> {
        let mut pools: BTreeMap<&str, (u32, Amount)> = BTreeMap::new();
        for (_, node) in self.nodes.iter() {
            let (nodes, sum) = pools.entry(&node.pool).or_default();
            if let Some(usable) = node.usable {
                *nodes += 1;
                sum.cpu_milli += usable.cpu_milli;
                sum.memory += usable.memory;
            }
        }
        let shared = &self.settings.shared_pools;
        pools
            .into_iter()
            .map(|(name, (nodes, sum))| Pool {
                name: name.to_owned(),
                shared: shared.is_empty() || shared.iter().any(|one| one == name),
                nodes,
                cpu: sum.cpu_milli as f64 / 1e3,
                memory: sum.memory as f64,
            })
            .collect()
    }
}

/// Requests of one pod, in cores and bytes: the mean over the live pods, because a vertical
/// autoscaler or a rollout leaves pods that differ; the template's while there are none.
fn mean_requests(tally: Tally, template: Amount) -> (f64, f64) {
    if tally.live == 0 {
        return (template.cpu_milli as f64 / 1e3, template.memory as f64);
    }
    let pods = f64::from(tally.live);
    let sum = tally.requests;
    (sum.cpu_milli as f64 / 1e3 / pods, sum.memory as f64 / pods)
}

fn count(replicas: i32) -> u32 {
    u32::try_from(replicas).unwrap_or(0)
}
