//! Judges placement by the API server's audit log alone, and by nothing of ours: who was bound
//! where and when, what each domain used of each pool at every instant, who was evicted by whom.
//!
//! A binding counts from the end of its request and a release from the beginning of its request,
//! because the audit log does not say when between the two a request took effect. So a breach that
//! is found is real, and one that lasts for less than a request can stay unseen. A Binding that
//! ended in an error of the server may have taken effect: it counts once the pod's node starts it.

mod entry;
mod room;
#[cfg(test)]
mod tests;
pub mod waits;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde_json::Value;

use entry::Entry;
pub use room::Room;
use waits::Protected;

/// The label that says which pool a node belongs to.
const POOL: &str = "hirl-scale.io/pool";

/// What a domain or everybody may use of a pool, as a test sets it.
#[derive(Debug, Clone)]
pub struct Limit {
    /// The domain; `None` for everybody together.
    pub domain: Option<String>,
    /// The pool.
    pub pool: String,
    /// From when on how much; before the first nothing is judged.
    pub steps: Vec<(Timestamp, Room)>,
    /// For how long after a step what was granted before it may still be bound.
    pub grace: Duration,
}

impl Limit {
    /// One that never changes.
    pub fn constant(domain: &str, pool: &str, room: Room) -> Self {
        Self {
            domain: Some(domain.to_owned()),
            pool: pool.to_owned(),
            steps: vec![(Timestamp::MIN, room)],
            grace: Duration::ZERO,
        }
    }

    /// One for everybody together.
    pub fn of_all(pool: &str, room: Room) -> Self {
        Self { domain: None, ..Self::constant("", pool, room) }
    }

    /// What is allowed at `at`: the most of all that was in force since the grace began.
    fn at(&self, at: Timestamp) -> Option<Room> {
        let begin = at.checked_sub(jiff::SignedDuration::try_from(self.grace).ok()?).ok()?;
        let mut allowed: Option<Room> = None;
        for (index, (from, room)) in self.steps.iter().enumerate() {
            let until = self.steps.get(index + 1).map_or(Timestamp::MAX, |next| next.0);
            if *from <= at && until > begin {
                allowed = Some(allowed.map_or(*room, |known| known.most(*room)));
            }
        }
        allowed
    }
}

/// What changed a sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A Binding.
    Bound,
    /// A pod was made with its node.
    Made,
    /// It ended, was deleted or evicted.
    Gone,
    /// Its requests changed in place.
    Resized,
    /// Its node changed its pool.
    Moved,
}

/// One change of what a domain uses of a pool.
#[derive(Debug, Clone)]
pub struct Change {
    /// When.
    pub at: Timestamp,
    /// Whose.
    pub domain: String,
    /// Of what.
    pub pool: String,
    /// Which pod, `namespace/name`.
    pub pod: String,
    /// Why.
    pub cause: Cause,
    /// What the domain uses of the pool afterwards.
    pub used: Room,
    /// What all domains use of it afterwards.
    pub all: Room,
}

/// A binding that left more in use than was allowed.
#[derive(Debug, Clone)]
pub struct Breach {
    /// The change.
    pub change: Change,
    /// What was allowed.
    pub allowed: Room,
}

impl fmt::Display for Breach {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Change { at, domain, pool, pod, used, all, .. } = &self.change;
        let allowed = self.allowed;
        write!(
            out,
            "{at}: binding {pod} took {domain} in {pool} to {used} (all: {all}) of {allowed}"
        )
    }
}

/// The life of one pod.
#[derive(Debug, Clone, Default)]
pub struct Life {
    /// `namespace/name`.
    pub name: String,
    /// When the API server had made it.
    pub made: Timestamp,
    /// What the scheduler charges for it.
    pub request: Room,
    /// Its priority class.
    pub priority_class: String,
    /// Whether it was made with scheduling gates. When they go is not told.
    pub gated: bool,
    /// Bindings that succeeded: when the request ended, by whom, to which node.
    pub bound: Vec<(Timestamp, String, String)>,
    /// Bindings that the API server did not answer with success: status codes.
    pub refused: Vec<u64>,
    /// Those of them that may have taken effect all the same: by whom, to which node.
    pub doubtful: Vec<(String, String)>,
    /// When it ended, was deleted for good or evicted.
    pub gone: Option<Timestamp>,
    /// Its node, if it has one.
    pub node: Option<String>,
    /// Patches of its status by who sent them.
    pub status_patches: BTreeMap<String, u32>,
    /// Deletions and evictions of it by who asked for them.
    pub deletions: BTreeMap<String, u32>,
    /// Grace with which it ends.
    grace: i64,
}

/// Everything that happened.
#[derive(Debug, Default)]
pub struct Course {
    /// Every change of a sum, by time.
    pub changes: Vec<Change>,
    /// Every pod that was ever made, in that order.
    pub pods: Vec<Life>,
    /// What each domain uses of each pool in the end.
    pub used: BTreeMap<(String, String), Room>,
    /// Evictions that a `PodDisruptionBudget` refused.
    pub protected: Vec<Protected>,
    /// The end of the last request.
    end: Timestamp,
    domain_label: String,
    homes: HashMap<String, String>,
    pools: HashMap<String, String>,
    /// The pod that has a name now.
    current: HashMap<String, usize>,
}

/// What an audit entry did.
#[derive(Debug)]
enum Effect<'a> {
    Namespace(&'a str, &'a str),
    Node(&'a str, &'a str),
    Make,
    Bind,
    Refuse,
    End,
    Delete { for_good: bool },
    DeleteAll,
    Evict,
    Protect,
    Status,
    Resize,
}

impl Course {
    /// Reads an audit log whose namespaces name their domain under `domain_label`.
    pub fn read(log: &str, domain_label: &str) -> Result<Self> {
        let entries = log
            .lines()
            .filter(|line| line.contains("ResponseComplete"))
            .map(Entry::read)
            .collect::<Result<Vec<_>>>()?;
        let end = entries.iter().map(Entry::ended).max().unwrap_or_default();
        let mut course = Self { domain_label: domain_label.to_owned(), end, ..Self::default() };
        let mut effects: Vec<(Timestamp, &Entry, Effect<'_>)> = Vec::new();
        for entry in &entries {
            effects.extend(entry.effects(domain_label));
        }
        // Stable: what the log tells first comes first.
        effects.sort_by_key(|(at, _, _)| *at);
        for (at, entry, effect) in effects {
            course.take(at, entry, &effect).with_context(|| format!("audit entry {}", entry.id))?;
        }
        Ok(course)
    }

    /// The most that a domain ever used of a pool, resource by resource.
    pub fn peak(&self, domain: &str, pool: &str) -> Room {
        let of = |change: &&Change| change.domain == domain && change.pool == pool;
        self.changes.iter().filter(of).fold(Room::default(), |most, change| most.most(change.used))
    }

    /// The most that all domains together ever used of a pool.
    pub fn peak_of_all(&self, pool: &str) -> Room {
        let of = |change: &&Change| change.pool == pool;
        self.changes.iter().filter(of).fold(Room::default(), |most, change| most.most(change.all))
    }

    /// Bindings that left more in use than allowed. What came without a Binding (a pod made with
    /// its node, a node that changed its pool) counts in the sums and is nobody's breach.
    pub fn breaches(&self, limits: &[Limit]) -> Vec<Breach> {
        let mut found = Vec::new();
        for change in self.changes.iter().filter(|change| change.cause == Cause::Bound) {
            for limit in limits.iter().filter(|limit| limit.pool == change.pool) {
                let used = match &limit.domain {
                    Some(domain) if *domain == change.domain => change.used,
                    Some(_) => continue,
                    None => change.all,
                };
                match limit.at(change.at) {
                    Some(allowed) if !used.fits(allowed) => {
                        found.push(Breach { change: change.clone(), allowed });
                    }
                    _ => {}
                }
            }
        }
        found
    }

    /// Pods whose name begins with `prefix` (`namespace/` or `namespace/name`).
    pub fn named<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a Life> {
        self.pods.iter().filter(move |pod| pod.name.starts_with(prefix))
    }

    /// Pods bound among those named so.
    pub fn bound(&self, prefix: &str) -> usize {
        self.named(prefix).filter(|pod| !pod.bound.is_empty()).count()
    }

    /// Pods that were bound more than once.
    pub fn bound_twice(&self) -> Vec<&Life> {
        self.pods.iter().filter(|pod| pod.bound.len() > 1).collect()
    }

    /// Pods deleted or evicted by `user`: the scheduler's preemptions, when that is its user.
    pub fn ended_by(&self, user: &str) -> Vec<&Life> {
        self.pods.iter().filter(|pod| pod.deletions.contains_key(user)).collect()
    }

    /// The most patches that `user` sent of the status of one pod named so.
    pub fn most_status_patches(&self, prefix: &str, user: &str) -> u32 {
        let of = |pod: &Life| pod.status_patches.get(user).copied().unwrap_or_default();
        self.named(prefix).map(of).max().unwrap_or_default()
    }

    /// From creation to the end of the Binding, in seconds, sorted, of the pods named so.
    pub fn waits(&self, prefix: &str) -> Vec<f64> {
        let wait = |pod: &Life| {
            let (bound, _, _) = pod.bound.first()?;
            Some(bound.duration_since(pod.made).as_secs_f64())
        };
        let mut waits: Vec<f64> = self.named(prefix).filter_map(wait).collect();
        waits.sort_by(f64::total_cmp);
        waits
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each effect")]
    fn take(&mut self, at: Timestamp, entry: &Entry, effect: &Effect<'_>) -> Result<()> {
        match *effect {
            Effect::Namespace(name, domain) => {
                self.homes.insert(name.to_owned(), domain.to_owned());
            }
            Effect::Node(name, pool) => self.move_node(at, name, pool),
            Effect::Make => self.make(at, &entry.response)?,
            Effect::Bind => {
                let node = entry.request["target"]["name"].as_str().context("no target")?;
                let Some(index) = self.find(entry) else { return Ok(()) };
                self.pods[index].bound.push((at, entry.user.clone(), node.to_owned()));
                // One that is gone already was bound before that: the two requests overlapped.
                if self.pods[index].gone.is_none() && self.pods[index].node.is_none() {
                    self.pods[index].node = Some(node.to_owned());
                    self.charge(at, index, Cause::Bound, true);
                }
            }
            Effect::Refuse => {
                if let Some(index) = self.find(entry) {
                    self.pods[index].refused.push(entry.code);
                    if let (true, Some(node)) =
                        (entry.in_doubt(), entry.request["target"]["name"].as_str())
                    {
                        self.pods[index].doubtful.push((entry.user.clone(), node.to_owned()));
                    }
                }
            }
            Effect::Status => {
                if let Some(index) = self.find(entry) {
                    let sent = &mut self.pods[index].status_patches;
                    *sent.entry(entry.user.clone()).or_default() += 1;
                    if entry.request["status"]["startTime"].is_string() {
                        self.started(at, index);
                    }
                }
            }
            Effect::End => {
                if let Some(index) = self.find(entry) {
                    self.end(at, index);
                }
            }
            Effect::Delete { for_good } => {
                if let Some(index) = self.find(entry) {
                    let asked = &mut self.pods[index].deletions;
                    *asked.entry(entry.user.clone()).or_default() += 1;
                    if for_good {
                        self.end(at, index);
                    }
                }
            }
            Effect::Evict => {
                if let Some(index) = self.find(entry) {
                    let asked = &mut self.pods[index].deletions;
                    *asked.entry(entry.user.clone()).or_default() += 1;
                    if self.pods[index].grace == 0 {
                        self.end(at, index);
                    }
                }
            }
            Effect::Protect => {
                if let Some(index) = self.find(entry) {
                    let (domain, pool) = self.place(&self.pods[index]);
                    let pod = self.pods[index].name.clone();
                    self.protected.push(Protected { at, domain, pool, pod });
                }
            }
            Effect::DeleteAll => {
                for pod in entry.response["items"].as_array().into_iter().flatten() {
                    let name = full_name(&pod["metadata"]);
                    if let (Some(&index), true) = (self.current.get(&name), entry::for_good(pod)) {
                        self.end(at, index);
                    }
                }
            }
            Effect::Resize => {
                if let Some(index) = self.find(entry) {
                    let request = Room::of_pod(&entry.response["spec"])?;
                    self.charge(at, index, Cause::Resized, false);
                    self.pods[index].request = request;
                    self.charge(at, index, Cause::Resized, true);
                }
            }
        }
        Ok(())
    }

    fn find(&self, entry: &Entry) -> Option<usize> {
        self.current.get(&format!("{}/{}", entry.namespace, entry.name)).copied()
    }

    fn make(&mut self, at: Timestamp, pod: &Value) -> Result<()> {
        let spec = &pod["spec"];
        let name = full_name(&pod["metadata"]);
        let life = Life {
            name: name.clone(),
            made: at,
            request: Room::of_pod(spec).with_context(|| format!("the requests of {name}"))?,
            priority_class: spec["priorityClassName"].as_str().unwrap_or_default().to_owned(),
            gated: spec["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty()),
            node: spec["nodeName"].as_str().map(str::to_owned),
            grace: spec["terminationGracePeriodSeconds"].as_i64().unwrap_or(30),
            ..Life::default()
        };
        let placed = life.node.is_some();
        self.current.insert(name, self.pods.len());
        self.pods.push(life);
        if placed {
            self.charge(at, self.pods.len() - 1, Cause::Made, true);
        }
        Ok(())
    }

    /// Its node starts it: if no Binding is known to have succeeded, a doubtful one has.
    fn started(&mut self, at: Timestamp, index: usize) {
        let pod = &mut self.pods[index];
        if let (None, None, Some((user, node))) = (&pod.node, pod.gone, pod.doubtful.last()) {
            pod.node = Some(node.clone());
            pod.bound.push((at, user.clone(), node.clone()));
            self.charge(at, index, Cause::Bound, true);
        }
    }

    fn end(&mut self, at: Timestamp, index: usize) {
        if self.pods[index].gone.is_none() {
            self.charge(at, index, Cause::Gone, false);
            self.pods[index].gone = Some(at);
        }
    }

    fn move_node(&mut self, at: Timestamp, name: &str, pool: &str) {
        if self.pools.get(name).is_some_and(|known| known == pool) {
            return;
        }
        let here = |pod: &Life| pod.node.as_deref() == Some(name) && pod.gone.is_none();
        let moved: Vec<usize> =
            (0..self.pods.len()).filter(|&index| here(&self.pods[index])).collect();
        for &index in &moved {
            self.charge(at, index, Cause::Moved, false);
        }
        self.pools.insert(name.to_owned(), pool.to_owned());
        for &index in &moved {
            self.charge(at, index, Cause::Moved, true);
        }
    }

    /// The domain of a pod and the pool of its node, as far as they are known.
    fn place(&self, pod: &Life) -> (String, String) {
        let pool = pod.node.as_ref().and_then(|node| self.pools.get(node));
        (self.home(pod).to_owned(), pool.cloned().unwrap_or_default())
    }

    /// Adds a pod to the sum of its domain and pool, or takes it out.
    fn charge(&mut self, at: Timestamp, index: usize, cause: Cause, more: bool) {
        let pod = &self.pods[index];
        if pod.node.is_none() || pod.gone.is_some() {
            return;
        }
        let (domain, pool) = self.place(pod);
        let used = self.used.entry((domain.clone(), pool.clone())).or_default();
        *used = if more { used.plus(pod.request) } else { used.minus(pod.request) };
        let used = *used;
        // Who is in no domain has no budget, and takes none of anybody's.
        let budgeted = |key: &(String, String)| key.1 == pool && !key.0.is_empty();
        let all = self.used.iter().filter(|(key, _)| budgeted(key));
        let all = all.fold(Room::default(), |sum, (_, room)| sum.plus(*room));
        let pod = pod.name.clone();
        self.changes.push(Change { at, domain, pool, pod, cause, used, all });
    }
}

fn full_name(metadata: &Value) -> String {
    let part = |key: &str| metadata[key].as_str().unwrap_or_default();
    format!("{}/{}", part("namespace"), part("name"))
}
