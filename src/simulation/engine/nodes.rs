//! Nodes in their pools, and what is free on them.

use crate::cluster::Amount;
use crate::simulation::scenario::PoolSpec;

/// Index of a node: reused after the node is gone.
pub(super) type NodeId = u32;

/// What a pod asks of a node, and what a node has: thousandths of a core, MiB, pods.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Room {
    pub cpu: i32,
    pub memory: i32,
    pub pods: i32,
}

impl Room {
    /// What one pod with these requests takes.
    pub(super) fn of_pod(cpu_cores: f64, memory_mib: f64) -> Self {
        Self { cpu: (cpu_cores * 1000.0).ceil() as i32, memory: memory_mib.ceil() as i32, pods: 1 }
    }

    /// An empty node of this pool.
    pub(super) fn of_node(spec: &PoolSpec) -> Self {
        Self {
            cpu: (spec.node_cpu * 1000.0) as i32,
            memory: (spec.node_memory_gib * 1024.0) as i32,
            pods: spec.node_pods as i32,
        }
    }

    pub(super) const fn holds(self, other: Self) -> bool {
        self.cpu >= other.cpu && self.memory >= other.memory && self.pods >= other.pods
    }

    /// How often `other` fits.
    pub(super) fn times(self, other: Self) -> u32 {
        let part = |room: i32, one: i32| if one > 0 { room.max(0) / one } else { i32::MAX };
        let least = part(self.cpu, other.cpu).min(part(self.memory, other.memory));
        least.min(part(self.pods, other.pods)) as u32
    }

    pub(super) const fn add(&mut self, other: Self) {
        self.cpu += other.cpu;
        self.memory += other.memory;
        self.pods += other.pods;
    }

    pub(super) const fn take(&mut self, other: Self, times: u32) {
        self.cpu -= other.cpu * times as i32;
        self.memory -= other.memory * times as i32;
        self.pods -= other.pods * times as i32;
    }
}

/// Where a node is in its life. Before, it is the cloud's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Takes pods.
    Ready,
    /// Takes no more pods, and goes when the last one has gone.
    Draining,
    /// The slot is free.
    Gone,
}

/// One pool as it stands.
#[derive(Debug, Clone)]
pub(super) struct Pool {
    pub shared: bool,
    pub zones: u32,
    pub node: Room,
    pub min_nodes: u32,
    pub max_nodes: u32,
    /// Nodes that take pods, in no order.
    pub ready: Vec<NodeId>,
    /// Nodes on their way out.
    pub draining: Vec<NodeId>,
    /// Free on the ready nodes.
    pub free_cpu: i64,
    pub free_memory: i64,
    /// Where the next search begins.
    turn: usize,
    /// Nodes that ever came: the zone of the next.
    came: u32,
}

impl Pool {
    /// Allocatable on the ready nodes.
    pub(super) fn allocatable(&self) -> Amount {
        let nodes = self.ready.len() as u64;
        Amount {
            cpu_milli: nodes * self.node.cpu as u64,
            memory: nodes * self.node.memory as u64 * 1_048_576,
        }
    }

    /// Nodes that count against the quota, those on their way in left out.
    pub(super) fn standing(&self) -> u32 {
        (self.ready.len() + self.draining.len()) as u32
    }
}

/// All nodes.
#[derive(Debug, Clone)]
pub(super) struct Nodes {
    pub pools: Vec<Pool>,
    pool_of: Vec<u16>,
    zone: Vec<u32>,
    state: Vec<State>,
    /// Place in the list of ready or draining nodes.
    place: Vec<u32>,
    free: Vec<Room>,
    pods: Vec<Vec<u32>>,
    /// Which apps' images are there: a bit per app.
    images: Vec<u64>,
    words: usize,
    spare: Vec<NodeId>,
}

impl Nodes {
    pub(super) fn new(specs: &[PoolSpec], apps: usize) -> Self {
        let pools = specs.iter().map(|spec| Pool {
            shared: spec.shared,
            zones: spec.zones.max(1),
            node: Room::of_node(spec),
            min_nodes: spec.min_nodes,
            max_nodes: spec.max_nodes,
            ready: Vec::new(),
            draining: Vec::new(),
            free_cpu: 0,
            free_memory: 0,
            turn: 0,
            came: 0,
        });
        let mut nodes = Self {
            pools: pools.collect(),
            pool_of: Vec::new(),
            zone: Vec::new(),
            state: Vec::new(),
            place: Vec::new(),
            free: Vec::new(),
            pods: Vec::new(),
            images: Vec::new(),
            words: apps.div_ceil(64),
            spare: Vec::new(),
        };
        for (pool, spec) in specs.iter().enumerate() {
            for _ in 0..spec.nodes {
                nodes.add(pool);
            }
        }
        nodes
    }

    /// An empty node joins a pool.
    pub(super) fn add(&mut self, pool: usize) -> NodeId {
        let node = self.spare.pop().unwrap_or_else(|| {
            self.pool_of.push(0);
            self.zone.push(0);
            self.state.push(State::Gone);
            self.place.push(0);
            self.free.push(Room::default());
            self.pods.push(Vec::new());
            self.images.resize(self.images.len() + self.words, 0);
            (self.state.len() - 1) as NodeId
        });
        let at = node as usize;
        let home = &mut self.pools[pool];
        self.pool_of[at] = pool as u16;
        self.zone[at] = home.came % home.zones;
        self.state[at] = State::Ready;
        self.place[at] = home.ready.len() as u32;
        self.free[at] = home.node;
        self.images[at * self.words..(at + 1) * self.words].fill(0);
        home.ready.push(node);
        home.came += 1;
        home.free_cpu += i64::from(home.node.cpu);
        home.free_memory += i64::from(home.node.memory);
        node
    }

    /// The node takes no more pods.
    pub(super) fn drain(&mut self, node: NodeId) {
        let at = node as usize;
        if self.state[at] != State::Ready {
            return;
        }
        self.leave(node);
        let pool = &mut self.pools[usize::from(self.pool_of[at])];
        self.state[at] = State::Draining;
        self.place[at] = pool.draining.len() as u32;
        pool.draining.push(node);
    }

    /// The node is gone. Its pods must have been taken off it.
    pub(super) fn remove(&mut self, node: NodeId) {
        let at = node as usize;
        if self.state[at] == State::Gone {
            return;
        }
        self.leave(node);
        self.state[at] = State::Gone;
        self.spare.push(node);
    }

    /// Takes a node out of the list that it is in.
    fn leave(&mut self, node: NodeId) {
        let at = node as usize;
        let pool = &mut self.pools[usize::from(self.pool_of[at])];
        let list = if self.state[at] == State::Ready {
            pool.free_cpu -= i64::from(self.free[at].cpu);
            pool.free_memory -= i64::from(self.free[at].memory);
            &mut pool.ready
        } else {
            &mut pool.draining
        };
        let place = self.place[at] as usize;
        list.swap_remove(place);
        if let Some(&moved) = list.get(place) {
            self.place[moved as usize] = place as u32;
        }
    }

    pub(super) fn pool_of(&self, node: NodeId) -> usize {
        usize::from(self.pool_of[node as usize])
    }

    pub(super) fn zone(&self, node: NodeId) -> u32 {
        self.zone[node as usize]
    }

    pub(super) fn free(&self, node: NodeId) -> Room {
        self.free[node as usize]
    }

    /// The pods on a node, in no order.
    pub(super) fn pods(&self, node: NodeId) -> &[u32] {
        &self.pods[node as usize]
    }

    /// Whether the app's image is there; from now on it is.
    pub(super) fn pull(&mut self, node: NodeId, app: usize) -> bool {
        let (word, bit) = (node as usize * self.words + app / 64, 1_u64 << (app % 64));
        let there = self.images[word] & bit != 0;
        self.images[word] |= bit;
        there
    }

    /// Puts a pod on a node.
    pub(super) fn put(&mut self, node: NodeId, pod: u32, room: Room) {
        self.pods[node as usize].push(pod);
        self.account(node, room, -1);
    }

    /// Takes a pod off its node.
    pub(super) fn take(&mut self, node: NodeId, pod: u32, room: Room) {
        let pods = &mut self.pods[node as usize];
        if let Some(place) = pods.iter().position(|one| *one == pod) {
            pods.swap_remove(place);
            self.account(node, room, 1);
        }
    }

    fn account(&mut self, node: NodeId, room: Room, sign: i32) {
        let at = node as usize;
        let change =
            Room { cpu: room.cpu * sign, memory: room.memory * sign, pods: room.pods * sign };
        self.free[at].add(change);
        if self.state[at] == State::Ready {
            let pool = &mut self.pools[usize::from(self.pool_of[at])];
            pool.free_cpu += i64::from(change.cpu);
            pool.free_memory += i64::from(change.memory);
        }
    }

    /// The node that kube-scheduler would choose in a pool: it looks at nodes in turn until it has
    /// seen enough feasible ones (its `numFeasibleNodesToFind`: all below 100 nodes, then 50 % less
    /// one for each 125 nodes, at least 5 % and 100 nodes), and takes the one with the largest
    /// part free (`NodeResourcesFit`, `LeastAllocated`).
    pub(super) fn find(&mut self, pool: usize, room: Room) -> Option<NodeId> {
        let home = &mut self.pools[pool];
        let count = home.ready.len();
        if count == 0 {
            return None;
        }
        let part = (50 - (count / 125).min(45)).max(5);
        let mut wanted = (count * part / 100).max(100);
        let (cpu, memory) = (1.0 / home.node.cpu as f32, 1.0 / home.node.memory.max(1) as f32);
        let begin = home.turn % count;
        let mut best: Option<(f32, NodeId)> = None;
        let mut seen = 0;
        for &node in home.ready[begin..].iter().chain(&home.ready[..begin]) {
            seen += 1;
            let free = self.free[node as usize];
            if !free.holds(room) {
                continue;
            }
            let score = free.cpu as f32 * cpu + free.memory as f32 * memory;
            if best.is_none_or(|(most, _)| score > most) {
                best = Some((score, node));
            }
            wanted -= 1;
            if wanted == 0 {
                break;
            }
        }
        home.turn = (begin + seen) % count;
        best.map(|(_, node)| node)
    }
}
