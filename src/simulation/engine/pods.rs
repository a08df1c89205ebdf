//! Pods on nodes, and when they get further.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::nodes::NodeId;

/// Index of a pod: reused after the pod is gone.
pub(super) type PodId = u32;

/// Cohorts of ready pods per app: the first is at full speed, the others warm up.
pub(super) const COHORTS: usize = 4;

/// Where a pod on a node is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its image is pulled, its containers start, it is not ready yet.
    Starting,
    /// It gets requests, as part of this cohort.
    Ready(u8),
    /// It gets no more requests and still holds its place.
    Stopping,
}

/// One pod on a node.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pod {
    pub app: u32,
    pub node: NodeId,
    pub phase: Phase,
    /// Counts the uses of this slot: a timer of an earlier one means nobody.
    generation: u32,
}

/// What happens to a pod at an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Change {
    /// It is ready.
    Ready,
    /// It is in the next cohort of its warm-up.
    Warmer,
    /// It is gone from its node.
    Gone,
}

/// Milliseconds, pod, generation, change: the heap's order.
type Timer = (u64, PodId, u32, Change);

/// All pods on nodes, and their timers.
#[derive(Debug, Clone, Default)]
pub(super) struct Pods {
    slots: Vec<Pod>,
    spare: Vec<PodId>,
    timers: BinaryHeap<Reverse<Timer>>,
}

impl Pods {
    /// A pod that starts on a node.
    pub(super) fn add(&mut self, app: u32, node: NodeId) -> PodId {
        let phase = Phase::Starting;
        if let Some(id) = self.spare.pop() {
            let generation = self.slots[id as usize].generation;
            self.slots[id as usize] = Pod { app, node, phase, generation };
            id
        } else {
            self.slots.push(Pod { app, node, phase, generation: 0 });
            (self.slots.len() - 1) as PodId
        }
    }

    pub(super) fn remove(&mut self, id: PodId) {
        self.slots[id as usize].generation += 1;
        self.spare.push(id);
    }

    pub(super) fn get(&self, id: PodId) -> Pod {
        self.slots[id as usize]
    }

    pub(super) fn set_phase(&mut self, id: PodId, phase: Phase) {
        self.slots[id as usize].phase = phase;
    }

    /// Forgets the timers of a pod: it starts anew.
    pub(super) fn restart(&mut self, id: PodId) {
        self.slots[id as usize].generation += 1;
        self.slots[id as usize].phase = Phase::Starting;
    }

    pub(super) fn at(&mut self, seconds: f64, id: PodId, change: Change) {
        let generation = self.slots[id as usize].generation;
        self.timers.push(Reverse(((seconds * 1000.0) as u64, id, generation, change)));
    }

    /// The next thing that happens by `now`, and when (seconds).
    pub(super) fn due(&mut self, now: f64) -> Option<(f64, PodId, Change)> {
        let edge = (now * 1000.0) as u64;
        while let Some(&Reverse((at, id, generation, change))) = self.timers.peek() {
            if at > edge {
                return None;
            }
            self.timers.pop();
            if self.slots[id as usize].generation == generation {
                return Some((at as f64 / 1000.0, id, change));
            }
        }
        None
    }
}
