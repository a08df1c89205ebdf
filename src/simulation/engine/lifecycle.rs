//! From an HPA's count to pods: created, placed, ready, warm, stopped, gone.

use super::Simulation;
use super::nodes::NodeId;
use super::pods::{COHORTS, Change, Phase, PodId};
use super::scheduler::amount;

impl Simulation {
    /// The controller of an app's pods makes their number `replicas`: new ones wait for a node,
    /// surplus ones go, in the order of the `ReplicaSet` controller: not placed, not ready, the
    /// newest.
    pub(super) fn scale(&mut self, app: usize, replicas: u32, now: f64) {
        let census = &mut self.apps.census[app];
        census.spec = replicas;
        let standing = census.replicas();
        if replicas > standing {
            self.create(app, replicas - standing, now);
            return;
        }
        let mut surplus = standing - replicas;
        self.tally.pods_removed += u64::from(surplus);
        let lane = self.lane(app);
        if surplus > 0 && self.apps.census[app].pending > 0 {
            let gone = self.queue.cancel(lane, app, surplus);
            self.apps.census[app].pending -= gone;
            surplus -= gone;
        }
        if surplus > 0 && self.apps.census[app].starting > 0 {
            surplus -= self.stop_newest(app, surplus, now, |phase| phase == Phase::Starting);
        }
        if surplus > 0 {
            self.stop_newest(app, surplus, now, |_| true);
        }
    }

    /// New pods of an app wait for a node.
    fn create(&mut self, app: usize, count: u32, now: f64) {
        self.apps.census[app].pending += count;
        self.tally.pods_created += u64::from(count);
        let lane = self.lane(app);
        self.queue.push(lane, app, count, now);
    }

    /// Stops up to `count` pods whose phase is `which`, the newest first; says how many.
    fn stop_newest(
        &mut self,
        app: usize,
        count: u32,
        now: f64,
        which: impl Fn(Phase) -> bool,
    ) -> u32 {
        let mut stopped = 0;
        let mut index = self.apps.pods[app].len();
        while index > 0 && stopped < count {
            index -= 1;
            let pod = self.apps.pods[app][index];
            if which(self.pods.get(pod).phase) {
                self.apps.pods[app].remove(index);
                self.stop(pod, now);
                stopped += 1;
            }
        }
        stopped
    }

    /// One waiting pod of an app gets a node; its containers begin after `delay` seconds.
    pub(super) fn place(&mut self, app: usize, node: NodeId, now: f64, delay: f64) {
        let present = self.nodes.pull(node, app);
        let number = self.apps.created[app];
        self.apps.created[app] += 1;
        let times = self.apps.fixed[app].startup.times(number, present);
        let pod = self.bind(app, node);
        self.pods.at(now + delay + times.ready, pod, Change::Ready);
    }

    /// One waiting pod of an app has been on a node for long.
    pub(super) fn place_ready(&mut self, app: usize, node: NodeId) {
        self.nodes.pull(node, app);
        let pod = self.bind(app, node);
        self.get_ready(pod, 0);
    }

    fn bind(&mut self, app: usize, node: NodeId) -> PodId {
        let fixed = &self.apps.fixed[app];
        let (room, domain) = (fixed.room, fixed.domain);
        let pod = self.pods.add(app as u32, node);
        self.nodes.put(node, pod, room);
        let slot = self.nodes.pool_of(node) * self.domains() + domain;
        self.used[slot] += amount(room);
        self.apps.pods[app].push(pod);
        let census = &mut self.apps.census[app];
        census.pending -= 1;
        census.starting += 1;
        pod
    }

    /// Everything that happens to pods by `now`.
    pub(super) fn advance_pods(&mut self, now: f64) {
        while let Some((at, pod, change)) = self.pods.due(now) {
            match change {
                Change::Ready => self.ready(pod, at),
                Change::Warmer => self.warm_up(pod, at),
                Change::Gone => self.release(pod),
            }
        }
    }

    /// A pod gets requests from now on, at first as a cold one.
    fn ready(&mut self, pod: PodId, at: f64) {
        let fixed = &self.apps.fixed[self.pods.get(pod).app as usize];
        if fixed.warm_seconds > 0.0 {
            let stage = fixed.warm_stage();
            self.get_ready(pod, COHORTS - 1);
            self.pods.at(at + stage, pod, Change::Warmer);
        } else {
            self.get_ready(pod, 0);
        }
    }

    fn get_ready(&mut self, pod: PodId, cohort: usize) {
        let app = self.pods.get(pod).app as usize;
        self.pods.set_phase(pod, Phase::Ready(cohort as u8));
        self.apps.cohorts[app][cohort].join(1, 0.0);
        let census = &mut self.apps.census[app];
        census.starting -= 1;
        census.ready += 1;
    }

    /// A pod joins the next warmer cohort, with what waits at it.
    fn warm_up(&mut self, pod: PodId, at: f64) {
        let Phase::Ready(cohort) = self.pods.get(pod).phase else { return };
        let app = self.pods.get(pod).app as usize;
        let cohorts = &mut self.apps.cohorts[app];
        let waiting = cohorts[usize::from(cohort)].leave(1);
        let next = cohort.saturating_sub(1);
        cohorts[usize::from(next)].join(1, waiting);
        self.pods.set_phase(pod, Phase::Ready(next));
        if next > 0 {
            self.pods.at(at + self.apps.fixed[app].warm_stage(), pod, Change::Warmer);
        }
    }

    /// A pod that is no longer in its app's list stops: requests that wait at it move to the
    /// others (it drains), its place is free after its grace period.
    fn stop(&mut self, pod: PodId, now: f64) {
        self.withdraw(pod, true);
        self.pods.restart(pod);
        self.pods.set_phase(pod, Phase::Stopping);
        let grace = self.scenario.constants.termination_grace_seconds;
        self.pods.at(now + grace, pod, Change::Gone);
    }

    /// A pod gets no more requests. What waits at it moves on, or fails and is tried again.
    fn withdraw(&mut self, pod: PodId, graceful: bool) {
        let one = self.pods.get(pod);
        let app = one.app as usize;
        match one.phase {
            Phase::Starting => self.apps.census[app].starting -= 1,
            Phase::Ready(cohort) => {
                self.apps.census[app].ready -= 1;
                let cohorts = &mut self.apps.cohorts[app];
                let waiting = cohorts[usize::from(cohort)].leave(1);
                let heir = cohorts.iter_mut().find(|cohort| cohort.pods > 0);
                match heir.filter(|_| graceful) {
                    Some(heir) => heir.waiting += waiting / f64::from(heir.pods),
                    None => self.apps.retries[app].fail(waiting),
                }
            }
            Phase::Stopping => {}
        }
    }

    /// A pod is taken off its node; its app's controller makes another one. With `at_once` its
    /// place is free now, else after its grace period.
    pub(super) fn evict(&mut self, pod: PodId, now: f64, at_once: bool) {
        let app = self.pods.get(pod).app as usize;
        self.forget(app, pod);
        if at_once {
            self.withdraw(pod, true);
            self.release(pod);
        } else {
            self.stop(pod, now);
        }
        self.create(app, 1, now);
    }

    /// A node is gone with its pods, which get no time to finish.
    pub(super) fn lose_node(&mut self, node: NodeId, now: f64) {
        let pods = self.nodes.pods(node).to_vec();
        for pod in pods {
            let one = self.pods.get(pod);
            if one.phase != Phase::Stopping {
                let app = one.app as usize;
                self.forget(app, pod);
                self.withdraw(pod, false);
                self.create(app, 1, now);
            }
            self.release(pod);
        }
        self.remove_node(node);
    }

    /// A pod's containers are killed and start again on its node.
    pub(super) fn restart(&mut self, pod: PodId, now: f64) {
        let app = self.pods.get(pod).app as usize;
        self.withdraw(pod, false);
        self.pods.restart(pod);
        self.apps.census[app].starting += 1;
        let number = self.apps.created[app];
        self.apps.created[app] += 1;
        let times = self.apps.fixed[app].startup.times(number, true);
        self.pods.at(now + times.ready, pod, Change::Ready);
    }

    fn forget(&mut self, app: usize, pod: PodId) {
        let pods = &mut self.apps.pods[app];
        if let Some(index) = pods.iter().rposition(|one| *one == pod) {
            pods.remove(index);
        }
    }

    /// A pod's place on its node is free.
    fn release(&mut self, pod: PodId) {
        let one = self.pods.get(pod);
        let fixed = &self.apps.fixed[one.app as usize];
        let slot = self.nodes.pool_of(one.node) * self.domains() + fixed.domain;
        self.used[slot] = self.used[slot].less(amount(fixed.room));
        self.nodes.take(one.node, pod, fixed.room);
        self.pods.remove(pod);
        self.queue.version += 1;
    }

    pub(super) fn remove_node(&mut self, node: NodeId) {
        let pool = self.nodes.pool_of(node);
        self.nodes.remove(node);
        self.flows[pool].removed += 1;
    }
}
