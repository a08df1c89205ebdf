//! What the ledger knows, for people and metrics.

use std::sync::Arc;

use super::demand::anybody;
use super::{DomainId, Entry, Ledger, PoolUse, State};
use crate::cluster::{Amount, Class, Timestamp};
use crate::placement::{Explanation, UNLIMITED};

impl Ledger {
    /// Use per domain and shared pool, by their names.
    #[must_use]
    pub fn uses(&mut self, now: Timestamp) -> Vec<PoolUse> {
        self.date_waiters(now);
        let domains = 0..self.domains.len() as DomainId;
        let mut uses: Vec<PoolUse> = domains.flat_map(|domain| self.uses_of(domain, now)).collect();
        uses.sort_by(|a, b| (&a.domain, &a.pool).cmp(&(&b.domain, &b.pool)));
        uses
    }

    fn uses_of(&self, domain: DomainId, now: Timestamp) -> Vec<PoolUse> {
        let name = &self.domains[usize::from(domain)];
        let pools = self.nodes.shared_pools();
        pools
            .map(|pool| {
                let row = &self.uses[usize::from(domain)];
                let used = row.get(usize::from(pool)).copied().unwrap_or_default();
                let pool_name = self.nodes.pool_name(pool);
                let claims = self.claims(pool, &anybody(domain, Class::P3), now);
                let claim = claims.of[usize::from(domain)];
                let waits = self.guarded_in(pool, None).filter(|(whose, ..)| *whose == domain);
                PoolUse {
                    pool: Arc::clone(pool_name),
                    domain: Arc::clone(name),
                    share: self.budget(domain).map_or(0.0, |one| one.share_of(pool_name)),
                    used: claim.used,
                    target: claim.target,
                    floor: claim.floor,
                    most: claim.most,
                    waiting: waits.fold(Amount::ZERO, |sum, (.., waiting)| sum + waiting),
                    growth: (claims.growth != UNLIMITED).then_some(claims.growth),
                    bound: used.bound,
                    binding: used.binding,
                    held: used.held,
                    cap: claims.growth.less(claims.reserve),
                    all: self.used_by_all(pool),
                }
            })
            .collect()
    }

    /// Why the pod is where it is.
    #[must_use]
    pub fn explain(&mut self, namespace: &str, name: &str, now: Timestamp) -> Option<Explanation> {
        self.date_waiters(now);
        let named = |entry: &&Entry| &*entry.name == name && &*entry.namespace == namespace;
        let entry = self.entries.iter().flatten().find(named)?;
        let node = match entry.state {
            State::Bound { node } | State::Binding { node, .. } => Some(node),
            State::Held { .. } | State::Pending => None,
        };
        let bypass = self.bypass(&entry.namespace, entry.bound_to_its_node, entry.priority);
        Some(Explanation {
            pod: format!("{namespace}/{name}"),
            uid: Arc::clone(&entry.uid),
            domain: entry.domain.map(|domain| Arc::clone(&self.domains[usize::from(domain)])),
            bypass,
            class: self.entry_class(entry),
            request: entry.request,
            state: match entry.state {
                State::Pending if entry.gated => "gated",
                State::Pending => "pending",
                State::Held { .. } => "held",
                State::Binding { .. } => "binding",
                State::Bound { .. } => "bound",
            },
            node: node.map(|node| Arc::clone(self.nodes.name(node))),
            epoch: self.epoch().unwrap_or_default(),
            refused: entry.refused.as_ref().map(ToString::to_string),
            pools: entry.domain.map_or_else(Vec::new, |domain| self.uses_of(domain, now)),
        })
    }
}
