//! Nodes in their pools, and what is free on them.

use crate::cluster::Amount;
use crate::simulation::scenario::PoolSpec;

/// Nodes are told apart by free CPU to this part of a node.
const SHELVES: usize = 64;

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
            pods: spec.node_pods.cast_signed(),
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

    /// Without parts below 0.
    fn or_nothing(self) -> Self {
        Self { cpu: self.cpu.max(0), memory: self.memory.max(0), pods: self.pods.max(0) }
    }

    pub(super) const fn add(&mut self, other: Self) {
        self.cpu += other.cpu;
        self.memory += other.memory;
        self.pods += other.pods;
    }

    pub(super) const fn take(&mut self, other: Self, times: u32) {
        let times = times.cast_signed();
        self.cpu -= other.cpu * times;
        self.memory -= other.memory * times;
        self.pods -= other.pods * times;
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
    /// What is free on them, in the same order: one search reads thousands of these.
    pub rooms: Vec<Room>,
    /// Nodes on their way out.
    pub draining: Vec<NodeId>,
    /// Free on the ready nodes.
    pub free_cpu: i64,
    pub free_memory: i64,
    /// The ready nodes by free CPU, in [`SHELVES`] equal parts of a node and one for the empty ones.
    shelves: Vec<Vec<NodeId>>,
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

    /// Allocatable on as many nodes as the pool may have.
    pub(super) fn at_the_most(&self) -> Amount {
        let nodes = u64::from(self.max_nodes);
        Amount {
            cpu_milli: nodes * self.node.cpu as u64,
            memory: nodes * self.node.memory as u64 * 1_048_576,
        }
    }

    /// The shelf of a node with this much free.
    fn shelf_of(&self, room: Room) -> usize {
        let part = f64::from(room.cpu.max(0)) / f64::from(self.node.cpu.max(1));
        ((part * SHELVES as f64) as usize).min(SHELVES)
    }

    /// Ready nodes, those with more free CPU first, to a shelf.
    pub(super) fn emptiest_first(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.shelves.iter().rev().flatten().copied()
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
    /// Place of a ready node on its shelf.
    shelf_place: Vec<u32>,
    /// What is free; of a ready node its pool knows.
    draining_room: Vec<Room>,
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
            rooms: Vec::new(),
            draining: Vec::new(),
            free_cpu: 0,
            free_memory: 0,
            shelves: vec![Vec::new(); SHELVES + 1],
            came: 0,
        });
        let mut nodes = Self {
            pools: pools.collect(),
            pool_of: Vec::new(),
            zone: Vec::new(),
            state: Vec::new(),
            place: Vec::new(),
            shelf_place: Vec::new(),
            draining_room: Vec::new(),
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
            self.shelf_place.push(0);
            self.draining_room.push(Room::default());
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
        self.images[at * self.words..(at + 1) * self.words].fill(0);
        home.ready.push(node);
        home.rooms.push(home.node);
        home.came += 1;
        home.free_cpu += i64::from(home.node.cpu);
        home.free_memory += i64::from(home.node.memory);
        self.shelve(node);
        node
    }

    /// Puts a ready node on the shelf of its free CPU.
    fn shelve(&mut self, node: NodeId) {
        let at = node as usize;
        let pool = &mut self.pools[usize::from(self.pool_of[at])];
        let level = pool.shelf_of(pool.rooms[self.place[at] as usize]);
        self.shelf_place[at] = pool.shelves[level].len() as u32;
        pool.shelves[level].push(node);
    }

    /// Takes a ready node off its shelf.
    fn unshelve(&mut self, node: NodeId) {
        let at = node as usize;
        let pool = &mut self.pools[usize::from(self.pool_of[at])];
        let level = pool.shelf_of(pool.rooms[self.place[at] as usize]);
        let place = self.shelf_place[at] as usize;
        pool.shelves[level].swap_remove(place);
        if let Some(&moved) = pool.shelves[level].get(place) {
            self.shelf_place[moved as usize] = place as u32;
        }
    }

    /// The node takes no more pods.
    pub(super) fn drain(&mut self, node: NodeId) {
        let at = node as usize;
        if self.state[at] != State::Ready {
            return;
        }
        self.draining_room[at] = self.free(node);
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
        if self.state[at] == State::Ready {
            self.unshelve(node);
        }
        let pool = &mut self.pools[usize::from(self.pool_of[at])];
        let place = self.place[at] as usize;
        let list = if self.state[at] == State::Ready {
            let room = pool.rooms.swap_remove(place);
            pool.free_cpu -= i64::from(room.cpu);
            pool.free_memory -= i64::from(room.memory);
            &mut pool.ready
        } else {
            &mut pool.draining
        };
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
        let at = node as usize;
        if self.state[at] == State::Ready {
            self.pools[usize::from(self.pool_of[at])].rooms[self.place[at] as usize]
        } else {
            self.draining_room[at]
        }
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
        if self.state[at] != State::Ready {
            self.draining_room[at].add(change);
            return;
        }
        self.unshelve(node);
        let pool = &mut self.pools[usize::from(self.pool_of[at])];
        pool.rooms[self.place[at] as usize].add(change);
        pool.free_cpu += i64::from(change.cpu);
        pool.free_memory += i64::from(change.memory);
        self.shelve(node);
    }

    /// The node that kube-scheduler would choose in a pool: the one with the largest part of its
    /// CPU free (`NodeResourcesFit`, `LeastAllocated`), to a shelf. It scores a sample of the nodes
    /// when there are many (`percentageOfNodesToScore`); here it is always all.
    pub(super) fn find(&self, pool: usize, room: Room) -> Option<NodeId> {
        let home = &self.pools[pool];
        let lowest = home.shelf_of(room);
        let shelves = home.shelves[lowest..].iter().rev();
        // The last of a shelf first: it is the one that was filled last.
        let mut nodes = shelves.flat_map(|shelf| shelf.iter().rev().copied());
        nodes.find(|node| home.rooms[self.place[*node as usize] as usize].holds(room))
    }

    /// The same without the emptiest nodes, up to what is kept on them.
    pub(super) fn find_beyond(&self, pool: usize, room: Room, kept: Amount) -> Option<NodeId> {
        let home = &self.pools[pool];
        let mut left = kept;
        for shelf in home.shelves.iter().rev() {
            for &node in shelf.iter().rev() {
                let free = home.rooms[self.place[node as usize] as usize];
                if left != Amount::ZERO {
                    left = left.less(super::scheduler::amount(free.or_nothing()));
                } else if free.holds(room) {
                    return Some(node);
                } else if free.cpu < room.cpu - home.node.cpu / SHELVES as i32 {
                    return None;
                }
            }
        }
        None
    }
}
