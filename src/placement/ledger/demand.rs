//! Who may come in from behind the gates, and who could be sent away.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::nodes::PoolId;
use super::{DomainId, Entry, Ledger, Standing, State};
use crate::cluster::{Amount, Class, Timestamp};

/// A pod by UID, namespace and name.
pub type PodName = (Arc<str>, Arc<str>, Arc<str>);

impl Ledger {
    /// Pods behind our gate that may be let through now, at most so many, best first: by class,
    /// then age, within the headroom that those already let through leave.
    ///
    /// A pod that must wait holds back the later ones of its domain, so that it is not overtaken
    /// for ever; one that asks for more than its domain can ever have does not.
    #[must_use]
    pub fn ungate(&mut self, at_most: usize, now: Timestamp) -> Vec<PodName> {
        self.expire(now);
        if self.standing != Standing::Owner || self.budgets.is_none() || self.gated.is_empty() {
            return Vec::new();
        }
        let mut behind: Vec<(Class, Timestamp, &Entry, DomainId)> = self
            .gated
            .iter()
            .filter_map(|&id| self.entries[id as usize].as_ref())
            .filter_map(|entry| {
                Some((self.entry_class(entry), entry.created, entry, entry.domain?))
            })
            .collect();
        behind.sort_by(|a, b| (a.0, a.1, &a.2.uid).cmp(&(b.0, b.1, &b.2.uid)));
        // Per domain and class: the band and the reserve are not open to everybody.
        let mut given: BTreeMap<DomainId, Amount> = BTreeMap::new();
        let mut stopped: Vec<DomainId> = Vec::new();
        let mut through = Vec::new();
        for (class, _, entry, domain) in behind {
            if through.len() >= at_most {
                break;
            }
            if stopped.contains(&domain) {
                continue;
            }
            let (room, most) = self.headroom(domain, class, now);
            let given = given.entry(domain).or_insert_with(|| self.waiting[usize::from(domain)]);
            if (*given + entry.request).fits(room) {
                *given += entry.request;
                through.push(named(entry));
            } else if entry.request.fits(most) {
                stopped.push(domain);
            }
        }
        through
    }

    /// What a domain has left in all shared pools for pods of `class`, and what it could have at
    /// the most if they were empty.
    fn headroom(&self, domain: DomainId, class: Class, now: Timestamp) -> (Amount, Amount) {
        let mut sum = (Amount::ZERO, Amount::ZERO);
        for pool in self.nodes.shared_pools() {
            let hard = self.hard_limit(domain, pool, Some(class), now);
            let own = hard.less(self.used(domain, pool));
            let all = self.cap(domain, pool, Some(class), now).less(self.used_by_all(pool));
            sum.0 += Amount {
                cpu_milli: own.cpu_milli.min(all.cpu_milli),
                memory: own.memory.min(all.memory),
            };
            sum.1 += hard;
        }
        sum
    }

    /// Pods whose eviction would bring their domain back under its hard limit, for each domain and
    /// shared pool that has been above it for `delay_seconds`: lowest class first, then youngest.
    #[must_use]
    pub fn excess(
        &mut self,
        delay_seconds: f64,
        now: Timestamp,
    ) -> BTreeMap<(Arc<str>, Arc<str>), Vec<PodName>> {
        if self.standing != Standing::Owner || self.budgets.is_none() {
            self.above_since.clear();
            return BTreeMap::new();
        }
        let pools: Vec<PoolId> = self.nodes.shared_pools().collect();
        let all = (0..self.domains.len() as DomainId)
            .flat_map(|domain| pools.iter().map(move |&pool| (domain, pool)));
        let above: Vec<(DomainId, PoolId)> =
            all.filter(|&(domain, pool)| self.above_hard_limit(domain, pool, now)).collect();
        self.above_since.retain(|key, _| above.contains(key));
        let mut victims = BTreeMap::new();
        for key in above {
            let since = *self.above_since.entry(key).or_insert(now);
            if now.seconds_since(since) >= delay_seconds {
                let (domain, pool) = key;
                let names = (
                    Arc::clone(&self.domains[usize::from(domain)]),
                    Arc::clone(self.nodes.pool_name(pool)),
                );
                victims.insert(names, self.victims(domain, pool, now));
            }
        }
        victims
    }

    fn victims(&self, domain: DomainId, pool: PoolId, now: Timestamp) -> Vec<PodName> {
        let mut bound: Vec<&Entry> = self
            .entries
            .iter()
            .flatten()
            .filter(|entry| entry.domain == Some(domain))
            .filter(|entry| match entry.state {
                State::Bound { node } => self.nodes.pool(node) == Some(pool),
                _ => false,
            })
            .collect();
        bound.sort_by(|a, b| {
            let key = |one: &Entry| (self.entry_class(one), one.created);
            key(b).cmp(&key(a)).then_with(|| a.uid.cmp(&b.uid))
        });
        let hard = self.hard_limit(domain, pool, None, now);
        let mut left = self.used(domain, pool);
        let mut chosen = Vec::new();
        for entry in bound {
            if left.fits(hard) {
                break;
            }
            if self.bypass(&entry.namespace, entry.bound_to_its_node, entry.priority).is_some() {
                continue;
            }
            left = left.less(entry.request);
            // One that is going already frees its part without us.
            if !entry.deleting {
                chosen.push(named(entry));
            }
        }
        chosen
    }
}

fn named(entry: &Entry) -> PodName {
    (Arc::clone(&entry.uid), Arc::clone(&entry.namespace), Arc::clone(&entry.name))
}
