//! Pods, counted per scale target by the target's label selector, as an HPA counts them.
//!
//! Pods with the same labels in a namespace form a group: an event touches one group's sums, and
//! selectors are compared with groups, never with pods. A group is compared once, when its first
//! pod or a new selector appears.

use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;

use super::names::{LabelSet, Names};
use super::table::Table;
use crate::cluster::Amount;
use crate::kubernetes::Selector;
use crate::kubernetes::objects::Pod;
use crate::kubernetes::objects::holds;
use crate::kubernetes::objects::labels;

/// A Deployment or a `StatefulSet`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct TargetKey {
    pub(super) namespace: Arc<str>,
    pub(super) kind: Kind,
    pub(super) name: Arc<str>,
}

/// The kinds of scale target that are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::kubernetes) enum Kind {
    Deployment,
    StatefulSet,
}

/// Sums over the live pods of a group or a target.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Pods that neither ended nor are being deleted.
    pub(super) live: u32,
    pub(super) ready: u32,
    pub(super) pending: u32,
    pub(super) requests: Amount,
}

#[derive(Debug)]
struct Row {
    group: u32,
    counted: Tally,
}

#[derive(Debug, Default)]
struct Group {
    labels: LabelSet,
    pods: u32,
    tally: Tally,
    targets: Vec<TargetKey>,
}

#[derive(Debug)]
struct Target {
    selector: Selector,
    groups: Vec<u32>,
}

type Label = (Arc<str>, Arc<str>);

/// What is known of one namespace.
#[derive(Debug, Default)]
struct Namespace {
    groups: HashMap<LabelSet, u32>,
    /// Targets by one label that their selector demands: a new group asks only these.
    by_label: HashMap<Label, Vec<TargetKey>>,
    /// Targets whose selector demands no single label.
    others: Vec<TargetKey>,
}

/// All pods.
#[derive(Debug, Default)]
pub(super) struct Pods {
    rows: Table<(Arc<str>, Arc<str>), Row>,
    groups: Vec<Group>,
    free: Vec<u32>,
    targets: HashMap<TargetKey, Target>,
    namespaces: HashMap<Arc<str>, Namespace>,
}

impl Pods {
    pub(super) fn begin(&mut self) {
        self.rows.begin();
    }

    pub(super) fn end(&mut self) {
        for ((namespace, _), row) in self.rows.end() {
            self.leave(&namespace, &row);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn put(&mut self, pod: &Pod, names: &mut Names) {
        let Some(key) = key(pod, names) else { return };
        let counted = count(pod);
        let group = self.group(&key.0, LabelSet::new(labels(&pod.metadata), names));
        let entry = &mut self.groups[group as usize];
        entry.pods += 1;
        entry.tally.add(counted);
        let namespace = Arc::clone(&key.0);
        // Joined the new group first: a group that keeps its pod is never dropped in between.
        if let Some(old) = self.rows.put(key, Row { group, counted }) {
            self.leave(&namespace, &old);
        }
    }

    pub(super) fn remove(&mut self, pod: &Pod, names: &mut Names) {
        let Some(key) = key(pod, names) else { return };
        if let Some(old) = self.rows.remove(&key) {
            self.leave(&key.0, &old);
        }
    }

    /// Counts pods for `target` by `selector` from now on.
    pub(super) fn follow(&mut self, target: &TargetKey, selector: &Selector, names: &mut Names) {
        if self.targets.get(target).is_some_and(|old| old.selector == *selector) {
            return;
        }
        self.forget(target, names);
        let namespace = self.namespaces.entry(Arc::clone(&target.namespace)).or_default();
        match demanded(selector, names) {
            Some(label) => namespace.by_label.entry(label).or_default().push(target.clone()),
            None => namespace.others.push(target.clone()),
        }
        let mut groups = Vec::new();
        for &id in namespace.groups.values() {
            let group = &mut self.groups[id as usize];
            if selector.matches(|key| group.labels.get(key)) {
                group.targets.push(target.clone());
                groups.push(id);
            }
        }
        self.targets.insert(target.clone(), Target { selector: selector.clone(), groups });
    }

    /// Counts pods for `target` no longer.
    pub(super) fn forget(&mut self, target: &TargetKey, names: &mut Names) {
        let Some(old) = self.targets.remove(target) else {
            return;
        };
        for id in old.groups {
            self.groups[id as usize].targets.retain(|one| one != target);
        }
        let Some(namespace) = self.namespaces.get_mut(&target.namespace) else {
            return;
        };
        if let Some(label) = demanded(&old.selector, names) {
            if let Some(all) = namespace.by_label.get_mut(&label) {
                all.retain(|one| one != target);
                if all.is_empty() {
                    namespace.by_label.remove(&label);
                }
            }
        } else {
            namespace.others.retain(|one| one != target);
        }
        self.tidy(&target.namespace);
    }

    /// The sums over the pods of `target`.
    pub(super) fn tally(&self, target: &TargetKey) -> Tally {
        let mut sum = Tally::default();
        for &id in self.targets.get(target).map_or(&[][..], |target| &target.groups) {
            sum.add(self.groups[id as usize].tally);
        }
        sum
    }

    /// The group of these labels, made and compared with the selectors when it is new.
    fn group(&mut self, name: &Arc<str>, labels: LabelSet) -> u32 {
        let namespace = self.namespaces.entry(Arc::clone(name)).or_default();
        if let Some(&id) = namespace.groups.get(&labels) {
            return id;
        }
        let id = self.free.pop().unwrap_or_else(|| {
            self.groups.push(Group::default());
            (self.groups.len() - 1) as u32
        });
        let exact = labels.iter().filter_map(|label| namespace.by_label.get(label)).flatten();
        let mut targets = Vec::new();
        let mut asked = HashSet::new();
        for key in exact.chain(&namespace.others) {
            let Some(target) = self.targets.get_mut(key) else {
                continue;
            };
            if asked.insert(key) && target.selector.matches(|key| labels.get(key)) {
                target.groups.push(id);
                targets.push(key.clone());
            }
        }
        namespace.groups.insert(labels.clone(), id);
        self.groups[id as usize] = Group { labels, pods: 0, tally: Tally::default(), targets };
        id
    }

    /// Takes one pod out of its group; the last one takes the group along.
    fn leave(&mut self, name: &Arc<str>, row: &Row) {
        let group = &mut self.groups[row.group as usize];
        group.pods -= 1;
        group.tally.take(row.counted);
        if group.pods > 0 {
            return;
        }
        let gone = std::mem::take(group);
        self.free.push(row.group);
        for key in &gone.targets {
            if let Some(target) = self.targets.get_mut(key) {
                target.groups.retain(|id| *id != row.group);
            }
        }
        if let Some(namespace) = self.namespaces.get_mut(name) {
            namespace.groups.remove(&gone.labels);
        }
        self.tidy(name);
    }

    fn tidy(&mut self, name: &Arc<str>) {
        if self.namespaces.get(name).is_some_and(Namespace::is_empty) {
            self.namespaces.remove(name);
        }
    }
}

impl Namespace {
    fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.by_label.is_empty() && self.others.is_empty()
    }
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.live += other.live;
        self.ready += other.ready;
        self.pending += other.pending;
        self.requests.cpu_milli += other.requests.cpu_milli;
        self.requests.memory += other.requests.memory;
    }

    fn take(&mut self, other: Self) {
        self.live -= other.live;
        self.ready -= other.ready;
        self.pending -= other.pending;
        self.requests.cpu_milli -= other.requests.cpu_milli;
        self.requests.memory -= other.requests.memory;
    }
}

/// A pod's namespace and name.
fn key(pod: &Pod, names: &mut Names) -> Option<(Arc<str>, Arc<str>)> {
    let namespace = names.get(pod.metadata.namespace.as_deref()?);
    // A pod's own name is used once: it is not worth a place among the shared ones.
    Some((namespace, Arc::from(pod.metadata.name.as_deref()?)))
}

/// What one pod adds to the sums: nothing once it has ended or is being deleted.
fn count(pod: &Pod) -> Tally {
    let (phase, conditions) = match &pod.status {
        Some(status) => (status.phase.as_str(), status.conditions.as_ref()),
        None => ("Pending", None),
    };
    if pod.metadata.deletion_timestamp.is_some() || matches!(phase, "Succeeded" | "Failed") {
        return Tally::default();
    }
    Tally {
        live: 1,
        ready: u32::from(phase == "Running" && holds(conditions, "Ready")),
        pending: u32::from(phase == "Pending"),
        requests: pod.spec.requests(),
    }
}

/// One label that every pod of the selector has.
fn demanded(selector: &Selector, names: &mut Names) -> Option<Label> {
    let (key, value) = selector.match_labels.iter().next()?;
    Some((names.get(key), names.get(value)))
}
