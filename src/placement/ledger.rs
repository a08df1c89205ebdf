//! The ledger.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::Serialize;

use super::{
    Ask, BindVerdict, Budgets, Epoch, Explanation, FilterVerdict, NodeFacts, Outcome, Pod, Settings,
};
use crate::cluster::{Amount, Timestamp};

/// How far the ledger may be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Standing {
    /// Another replica owns it.
    #[default]
    Follower,
    /// This replica owns it, but has not read every pod since.
    Warming,
    /// This replica owns it and has.
    Owner,
}

/// Use of one shared pool by one domain.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolUse {
    /// The pool.
    pub pool: Arc<str>,
    /// The domain.
    pub domain: Arc<str>,
    /// Its share.
    pub share: f64,
    /// What that is now.
    pub limit: Amount,
    /// Bound pods.
    pub bound: Amount,
    /// Bindings under way.
    pub binding: Amount,
    /// Holds.
    pub held: Amount,
    /// What all domains together may use: all but the reserve.
    pub cap: Amount,
    /// What all domains together use.
    pub all: Amount,
}

/// All pods, nodes, holds and budgets.
#[derive(Debug)]
pub struct Ledger;

#[expect(unused_variables, clippy::unused_self, reason = "a sketch")]
impl Ledger {
    /// An empty ledger. `shared` names the shared pools, all when empty; `own_namespace` is ours.
    #[must_use]
    pub fn new(settings: Settings, shared: &[String], own_namespace: &str) -> Self {
        todo!()
    }

    /// How far it may be relied on.
    #[must_use]
    pub fn standing(&self) -> Standing {
        todo!()
    }

    /// Changes that. Holds do not survive the loss of ownership; bindings under way do.
    pub fn stand(&mut self, standing: Standing) {
        todo!()
    }

    /// Which domain each namespace belongs to. A namespace that is missing belongs to none.
    pub fn set_namespaces(&mut self, homes: HashMap<Arc<str>, Arc<str>>) {
        todo!()
    }

    /// Takes in new budgets; false when they are older than those in force, which then stay.
    pub fn install(&mut self, budgets: Budgets, now: Timestamp) -> bool {
        todo!()
    }

    /// Epoch of the budgets in force.
    #[must_use]
    pub fn epoch(&self) -> Option<Epoch> {
        todo!()
    }

    /// A complete list of pods begins.
    pub fn begin_pods(&mut self) {
        todo!()
    }

    /// The list is complete: what it did not show is gone.
    pub fn end_pods(&mut self) {
        todo!()
    }

    /// A pod as the API server shows it.
    pub fn put_pod(&mut self, pod: &Pod, now: Timestamp) {
        todo!()
    }

    /// A pod is gone.
    pub fn remove_pod(&mut self, uid: &str) {
        todo!()
    }

    /// A complete list of nodes begins.
    pub fn begin_nodes(&mut self) {
        todo!()
    }

    /// The list is complete.
    pub fn end_nodes(&mut self) {
        todo!()
    }

    /// A node as the API server shows it.
    pub fn put_node(&mut self, name: &str, node: NodeFacts) {
        todo!()
    }

    /// A node is gone.
    pub fn remove_node(&mut self, name: &str) {
        todo!()
    }

    /// Which of `names` the pod may go to; grants a hold when some are left.
    pub fn filter<S: AsRef<str>>(
        &mut self,
        ask: &Ask,
        names: &[S],
        now: Timestamp,
    ) -> FilterVerdict {
        todo!()
    }

    /// A score of 0 to 10 per name, in the order that `filter` prefers.
    #[must_use]
    pub fn prioritize<S: AsRef<str>>(&self, ask: &Ask, names: &[S], now: Timestamp) -> Vec<u8> {
        todo!()
    }

    /// Which of the candidate nodes may give up these victims (UIDs) for the pod. `None`: the pod
    /// needs no budget, so all of them.
    #[must_use]
    pub fn preempt<S: AsRef<str>>(
        &mut self,
        ask: &Ask,
        candidates: &[(S, Vec<S>)],
        now: Timestamp,
    ) -> Option<Vec<u32>> {
        todo!()
    }

    /// Whether the Binding may be sent.
    pub fn bind(&mut self, uid: &str, node: &str, now: Timestamp) -> BindVerdict {
        todo!()
    }

    /// What became of a Binding that was sent.
    pub fn settle(&mut self, uid: &str, outcome: Outcome, now: Timestamp) {
        todo!()
    }

    /// Bindings whose outcome is unknown: UID, namespace and name, to be asked of the API server.
    #[must_use]
    pub fn unsettled(&self) -> Vec<(Arc<str>, Arc<str>, Arc<str>)> {
        todo!()
    }

    /// Use per shared pool and domain.
    #[must_use]
    pub fn uses(&self, now: Timestamp) -> Vec<PoolUse> {
        todo!()
    }

    /// Why the pod is where it is.
    #[must_use]
    pub fn explain(&self, namespace: &str, name: &str, now: Timestamp) -> Option<Explanation> {
        todo!()
    }

    /// Pods behind our gate that may be let through now, best first: class, then age, within the
    /// headroom that pods already let through leave.
    #[must_use]
    pub fn ungate(&self, at_most: usize, now: Timestamp) -> Vec<(Arc<str>, Arc<str>, Arc<str>)> {
        todo!()
    }

    /// Pods that could be evicted so that domains come back under their hard limit, lowest class
    /// and youngest first: per domain and pool in excess since `delay_seconds`.
    #[must_use]
    pub fn excess(
        &mut self,
        delay_seconds: f64,
        now: Timestamp,
    ) -> BTreeMap<(Arc<str>, Arc<str>), Vec<(Arc<str>, Arc<str>, Arc<str>)>> {
        todo!()
    }

    /// What all pods use, counted anew per domain and pool: equal to the running sums.
    #[must_use]
    pub fn recount(&self) -> BTreeMap<(Arc<str>, Arc<str>), Amount> {
        todo!()
    }
}
