//! Nodes and pools: what they can hold, what stands on them, and which pods they may take.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use super::{DomainId, EntryId};
use crate::cluster::Amount;
use crate::placement::{Expression, Needs, NodeFacts, Operator, Taint, Toleration};

pub(super) type NodeId = u32;
pub(super) type PoolId = u16;
/// Position of a group of nodes in its pool.
type GroupId = u16;

/// Nodes that take every pod, as far as taints go.
const PLAIN: GroupId = 0;
/// Nodes that take none: not ready, cordoned.
const UNUSABLE: GroupId = 1;

/// Nodes of a pool that differ for pods: by their taints, and by whether they take any.
#[derive(Debug, Default)]
struct Group {
    taints: Vec<Taint>,
    nodes: u32,
    usable: Amount,
    /// Requested on them, by domain; by pods of none under `None`.
    charged: HashMap<Option<DomainId>, Amount>,
}

/// A pool as one pod sees it.
#[derive(Debug, Default)]
pub(super) struct Reach {
    /// Allocatable on the nodes that take the pod.
    pub(super) standing: Amount,
    /// Allocatable on the others.
    pub(super) closed: Amount,
    /// What pods of no domain request on the nodes that take the pod.
    pub(super) strangers: Amount,
    /// Requested on the others, by domain.
    pub(super) aside: Vec<(DomainId, Amount)>,
}

/// Not kept among the labels of a node: it would make every node one of its kind.
pub const HOST_NAME: &str = "kubernetes.io/hostname";

/// What nodes have in common as far as selectors and taints go.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Profile {
    labels: Vec<(String, String)>,
    taints: Vec<Taint>,
}

#[derive(Debug)]
struct Node {
    name: Arc<str>,
    /// `None` while no watch shows it.
    pool: Option<PoolId>,
    usable: Option<Amount>,
    profile: Option<Arc<Profile>>,
    used: Amount,
    pods: Vec<EntryId>,
    /// Pods to which preemption promised it.
    promised: Vec<EntryId>,
    /// Whether it is among [`Nodes::vacant`].
    vacant: bool,
    list: u32,
    group: GroupId,
}

#[derive(Debug)]
struct Pool {
    name: Arc<str>,
    shared: bool,
    /// Usable nodes by profile.
    profiles: HashMap<Arc<Profile>, u32>,
    /// [`PLAIN`], [`UNUSABLE`], then one for each set of taints.
    groups: Vec<Group>,
}

/// All nodes and pools.
#[derive(Debug)]
pub(super) struct Nodes {
    shared: HashSet<String>,
    rows: Vec<Node>,
    ids: HashMap<Arc<str>, NodeId, foldhash::fast::RandomState>,
    pools: Vec<Pool>,
    profiles: HashSet<Arc<Profile>>,
    /// Rows of nodes that are gone, for others.
    vacant: Vec<NodeId>,
    list: u32,
}

impl Nodes {
    pub(super) fn new(shared: &[String]) -> Self {
        Self {
            shared: shared.iter().cloned().collect(),
            rows: Vec::new(),
            ids: HashMap::default(),
            pools: Vec::new(),
            profiles: HashSet::new(),
            vacant: Vec::new(),
            list: 0,
        }
    }

    pub(super) fn begin(&mut self) {
        self.list = self.list.wrapping_add(1);
    }

    /// Nodes that the list since [`Self::begin`] did not show.
    pub(super) fn unseen(&self) -> Vec<NodeId> {
        let known = self.rows.iter().enumerate();
        known
            .filter(|(_, node)| node.pool.is_some() && node.list != self.list)
            .map(|(id, _)| id as NodeId)
            .collect()
    }

    /// The node of this name, known or not.
    pub(super) fn id(&mut self, name: &str) -> NodeId {
        if let Some(&id) = self.ids.get(name) {
            return id;
        }
        let name: Arc<str> = Arc::from(name);
        let row = Node {
            name: Arc::clone(&name),
            pool: None,
            usable: None,
            profile: None,
            used: Amount::ZERO,
            pods: Vec::new(),
            promised: Vec::new(),
            vacant: false,
            list: self.list,
            group: PLAIN,
        };
        let id = if let Some(id) = self.take_vacant() {
            self.rows[id as usize] = row;
            id
        } else {
            self.rows.push(row);
            (self.rows.len() - 1) as NodeId
        };
        self.ids.insert(name, id);
        id
    }

    /// A row that nothing refers to any more. Nodes come and go for as long as a cluster lives.
    fn take_vacant(&mut self) -> Option<NodeId> {
        while let Some(id) = self.vacant.pop() {
            let row = &mut self.rows[id as usize];
            row.vacant = false;
            if row.is_unused() {
                self.ids.remove(&row.name);
                return Some(id);
            }
        }
        None
    }

    /// Something that referred to a node does so no longer.
    fn let_go(&mut self, id: NodeId) {
        let row = &mut self.rows[id as usize];
        if row.is_unused() && !row.vacant {
            row.vacant = true;
            self.vacant.push(id);
        }
    }

    /// A pod was promised a node.
    pub(super) fn promise(&mut self, node: NodeId, pod: EntryId) {
        self.rows[node as usize].promised.push(pod);
    }

    /// A pod is promised a node no longer.
    pub(super) fn take_promise(&mut self, node: NodeId, pod: EntryId) {
        self.rows[node as usize].promised.retain(|one| *one != pod);
        self.let_go(node);
    }

    /// Pods that were promised a node, bound or not.
    pub(super) fn promised(&self, node: NodeId) -> &[EntryId] {
        &self.rows[node as usize].promised
    }

    /// The node of this name, if a watch shows it.
    pub(super) fn find(&self, name: &str) -> Option<(NodeId, PoolId)> {
        let id = *self.ids.get(name)?;
        Some((id, self.rows[id as usize].pool?))
    }

    pub(super) fn name(&self, node: NodeId) -> &Arc<str> {
        &self.rows[node as usize].name
    }

    pub(super) fn pool(&self, node: NodeId) -> Option<PoolId> {
        self.rows[node as usize].pool
    }

    pub(super) fn pods(&self, node: NodeId) -> &[EntryId] {
        &self.rows[node as usize].pods
    }

    /// Part of the CPU of a node that pods request, 0 to 1; 1 for a node that takes none.
    pub(super) fn fill(&self, node: NodeId) -> f64 {
        let node = &self.rows[node as usize];
        match node.usable {
            Some(usable) if usable.cpu_milli > 0 => {
                (node.used.cpu_milli as f64 / usable.cpu_milli as f64).min(1.0)
            }
            _ => 1.0,
        }
    }

    pub(super) fn pool_id(&mut self, name: &Arc<str>) -> PoolId {
        if let Some(id) = self.pools.iter().position(|pool| pool.name == *name) {
            return id as PoolId;
        }
        self.pools.push(Pool {
            name: Arc::clone(name),
            shared: self.shared.is_empty() || self.shared.contains(&**name),
            profiles: HashMap::new(),
            groups: vec![Group::default(), Group::default()],
        });
        (self.pools.len() - 1) as PoolId
    }

    pub(super) fn pool_name(&self, pool: PoolId) -> &Arc<str> {
        &self.pools[usize::from(pool)].name
    }

    pub(super) fn is_shared(&self, pool: PoolId) -> bool {
        self.pools[usize::from(pool)].shared
    }

    pub(super) fn all_pools(&self) -> impl Iterator<Item = PoolId> + use<> {
        0..self.pools.len() as PoolId
    }

    pub(super) fn shared_pools(&self) -> impl Iterator<Item = PoolId> {
        self.all_pools().filter(|&pool| self.is_shared(pool))
    }

    /// The group of a node with these facts in a pool.
    fn group_of(&mut self, pool: PoolId, facts: &NodeFacts) -> GroupId {
        if facts.usable.is_none() {
            return UNUSABLE;
        }
        if facts.taints.is_empty() {
            return PLAIN;
        }
        let groups = &mut self.pools[usize::from(pool)].groups;
        if let Some(known) = groups.iter().position(|group| group.taints == facts.taints) {
            return known as GroupId;
        }
        let group = Group { taints: facts.taints.clone(), ..Group::default() };
        // Some taints carry the time, and differ for every node.
        let empty = groups.iter_mut().enumerate().skip(2).find(|(_, group)| group.nodes == 0);
        if let Some((at, empty)) = empty {
            *empty = group;
            return at as GroupId;
        }
        groups.push(group);
        (groups.len() - 1) as GroupId
    }

    /// Where a node with these facts belongs, and whether that is where it is.
    pub(super) fn stays(&mut self, node: NodeId, facts: Option<&NodeFacts>) -> bool {
        let Some(facts) = facts else { return self.rows[node as usize].pool.is_none() };
        let pool = self.pool_id(&facts.pool);
        let group = self.group_of(pool, facts);
        let row = &self.rows[node as usize];
        row.pool == Some(pool) && row.group == group
    }

    /// A pool as a pod with these tolerations sees it.
    pub(super) fn reach(&self, pool: PoolId, tolerations: &[Toleration]) -> Reach {
        let mut reach = Reach::default();
        for (at, group) in self.pools[usize::from(pool)].groups.iter().enumerate() {
            let open = at != usize::from(UNUSABLE) && tolerated(&group.taints, tolerations);
            if open {
                reach.standing += group.usable;
                reach.strangers += group.charged.get(&None).copied().unwrap_or_default();
            } else {
                reach.closed += group.usable;
                let aside =
                    group.charged.iter().filter_map(|(domain, sum)| Some(((*domain)?, *sum)));
                reach.aside.extend(aside);
            }
        }
        reach
    }

    /// Pools in which some usable node takes the pod and could hold it if it were empty.
    pub(super) fn pools_for(&self, needs: &Needs, request: Amount) -> Vec<PoolId> {
        let holds = |node: NodeId| {
            self.rows[node as usize].usable.is_some_and(|usable| request.fits(usable))
        };
        self.all_pools().filter(|&pool| self.open_to(pool, needs).any(holds)).collect()
    }

    /// Usable nodes of a pool that take the pod, full or not.
    pub(super) fn open_to<'a>(
        &'a self,
        pool: PoolId,
        needs: &'a Needs,
    ) -> impl Iterator<Item = NodeId> + use<'a> {
        let takes = |profile: &Arc<Profile>| profile.takes(needs);
        let rows = self.rows.iter().enumerate();
        let mut last: Option<(*const Profile, bool)> = None;
        rows.filter_map(move |(id, row)| {
            let profile = row.profile.as_ref().filter(|_| row.pool == Some(pool))?;
            row.usable?;
            let key = Arc::as_ptr(profile);
            let open = match last {
                Some((one, open)) if one == key => open,
                _ => takes(profile),
            };
            last = Some((key, open));
            open.then_some(id as NodeId)
        })
    }

    /// What is free on a node; nothing on one that takes no pods.
    pub(super) fn free(&self, node: NodeId) -> Amount {
        let node = &self.rows[node as usize];
        node.usable.map_or(Amount::ZERO, |usable| usable.less(node.used))
    }

    /// Replaces what is known of a node, `None` for nothing any more. Its pods must be taken out
    /// before it changes its pool, and put back after.
    pub(super) fn set(&mut self, id: NodeId, pool: Option<PoolId>, facts: Option<NodeFacts>) {
        let row = &mut self.rows[id as usize];
        if let Some(pool) = row.pool {
            self.pools[usize::from(pool)].groups[usize::from(row.group)].nodes -= 1;
        }
        if let (Some(pool), Some(usable)) = (row.pool, row.usable) {
            let pool = &mut self.pools[usize::from(pool)];
            pool.groups[usize::from(row.group)].usable -= usable;
            if let Some(profile) = row.profile.take() {
                match pool.profiles.get_mut(&profile) {
                    Some(count) if *count > 1 => *count -= 1,
                    _ => drop(pool.profiles.remove(&profile)),
                }
            }
        }
        let group = match (pool, &facts) {
            (Some(pool), Some(facts)) => self.group_of(pool, facts),
            _ => PLAIN,
        };
        let row = &mut self.rows[id as usize];
        row.profile = None;
        row.pool = pool;
        row.group = group;
        row.list = self.list;
        let usable = facts.as_ref().and_then(|facts| facts.usable);
        row.usable = usable;
        if let Some(pool) = pool {
            self.pools[usize::from(pool)].groups[usize::from(group)].nodes += 1;
        }
        if let (Some(pool), Some(usable), Some(facts)) = (pool, usable, facts) {
            let profile = Profile { labels: facts.labels, taints: facts.taints };
            let profile = one_copy(&mut self.profiles, Arc::new(profile));
            let pool = &mut self.pools[usize::from(pool)];
            pool.groups[usize::from(group)].usable += usable;
            *pool.profiles.entry(Arc::clone(&profile)).or_insert(0) += 1;
            self.rows[id as usize].profile = Some(profile);
        }
        self.let_go(id);
    }

    pub(super) fn settle_pod(
        &mut self,
        node: NodeId,
        pod: EntryId,
        domain: Option<DomainId>,
        request: Amount,
    ) {
        if let Some(charged) = self.charged(node, domain) {
            *charged += request;
        }
        let node = &mut self.rows[node as usize];
        node.used += request;
        node.pods.push(pod);
    }

    /// What pods of a domain request in the group of a node.
    fn charged(&mut self, node: NodeId, domain: Option<DomainId>) -> Option<&mut Amount> {
        let row = &self.rows[node as usize];
        let group = &mut self.pools[usize::from(row.pool?)].groups[usize::from(row.group)];
        Some(group.charged.entry(domain).or_default())
    }

    pub(super) fn unsettle_pod(
        &mut self,
        node: NodeId,
        pod: EntryId,
        domain: Option<DomainId>,
        request: Amount,
    ) {
        if let Some(charged) = self.charged(node, domain) {
            *charged -= request;
        }
        let row = &mut self.rows[node as usize];
        row.used -= request;
        if let Some(at) = row.pods.iter().position(|one| *one == pod) {
            row.pods.swap_remove(at);
        }
        self.let_go(node);
    }

    /// Whether some usable node of the pool takes the pod, full or not: by its labels and taints.
    pub(super) fn takes(&self, pool: PoolId, needs: &Needs) -> bool {
        self.pools[usize::from(pool)].profiles.keys().any(|profile| profile.takes(needs))
    }
}

/// The one copy of a value that many share. Now and then, those that nobody has any more go.
pub(super) fn one_copy<T: Eq + Hash + ?Sized>(known: &mut HashSet<Arc<T>>, new: Arc<T>) -> Arc<T> {
    if let Some(known) = known.get(&new) {
        return Arc::clone(known);
    }
    if known.len().is_power_of_two() {
        known.retain(|known| Arc::strong_count(known) > 1);
    }
    known.insert(Arc::clone(&new));
    new
}

fn tolerated(taints: &[Taint], tolerations: &[Toleration]) -> bool {
    taints.iter().all(|taint| tolerations.iter().any(|one| one.covers(taint)))
}

impl Node {
    fn is_unused(&self) -> bool {
        self.pool.is_none() && self.pods.is_empty() && self.promised.is_empty()
    }
}

impl Profile {
    fn takes(&self, needs: &Needs) -> bool {
        let selected = needs.selects.is_empty()
            || needs.selects.iter().any(|all| all.iter().all(|one| self.satisfies(one)));
        selected && tolerated(&self.taints, &needs.tolerations)
    }

    fn satisfies(&self, wanted: &Expression) -> bool {
        if wanted.key == HOST_NAME {
            return true;
        }
        let found = self.labels.iter().find(|(key, _)| *key == wanted.key).map(|(_, value)| value);
        let number = |text: &String| text.parse::<i64>().ok();
        let compared = |holds: fn(i64, i64) -> bool| {
            let bound = wanted.values.first().and_then(number);
            matches!((found.and_then(number), bound), (Some(value), Some(bound)) if holds(value, bound))
        };
        match wanted.operator {
            Operator::In => found.is_some_and(|value| wanted.values.contains(value)),
            Operator::NotIn => found.is_none_or(|value| !wanted.values.contains(value)),
            Operator::Exists => found.is_some(),
            Operator::DoesNotExist => found.is_none(),
            Operator::Gt => compared(|value, bound| value > bound),
            Operator::Lt => compared(|value, bound| value < bound),
        }
    }
}

impl Toleration {
    fn covers(&self, taint: &Taint) -> bool {
        (self.effect.is_empty() || self.effect == taint.effect)
            && (self.key.is_empty() && self.exists || self.key == taint.key)
            && (self.exists || self.value == taint.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tainted(value: &str) -> NodeFacts {
        let taint = Taint { key: "going".into(), value: value.into(), effect: "NoSchedule".into() };
        NodeFacts {
            pool: Arc::from("general"),
            usable: Some(Amount { cpu_milli: 1000, memory: 0 }),
            labels: Vec::new(),
            taints: vec![taint],
        }
    }

    #[test]
    fn nodes_that_come_and_go_with_taints_of_their_own_do_not_pile_up() {
        let mut nodes = Nodes::new(&[]);
        let request = Amount { cpu_milli: 10, memory: 0 };
        for number in 0..1000_u32 {
            let id = nodes.id(&format!("node-{number}"));
            let facts = tainted(&number.to_string());
            let pool = nodes.pool_id(&facts.pool);
            assert!(!nodes.stays(id, Some(&facts)));
            nodes.set(id, Some(pool), Some(facts));
            nodes.settle_pod(id, number, Some(0), request);
            nodes.promise(id, number);
            let reach = nodes.reach(pool, &[]);
            assert_eq!((reach.closed.cpu_milli, reach.standing.cpu_milli), (1000, 0));
            assert_eq!(reach.aside, [(0, request)]);
            // Its pods are taken out before it changes, and count as long as they are on it.
            nodes.unsettle_pod(id, number, Some(0), request);
            nodes.set(id, None, None);
            nodes.settle_pod(id, number, Some(0), request);
            let other = nodes.id("other");
            assert_ne!(id, other, "something refers to it");
            nodes.unsettle_pod(id, number, Some(0), request);
            assert_eq!(nodes.promised(id), [number]);
            nodes.take_promise(id, number);
        }
        assert!(nodes.rows.len() <= 3, "{}", nodes.rows.len());
        assert_eq!(nodes.ids.len(), nodes.rows.len());
        assert!(nodes.pools[0].groups.len() <= 4, "{}", nodes.pools[0].groups.len());
        assert_eq!(nodes.find("node-1"), None);
    }
}
