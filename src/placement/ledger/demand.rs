//! Opening of our scheduling gates: pods that may come in from behind them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::claims::Question;
use super::{DomainId, Entry, Ledger, Standing};
use crate::cluster::{Amount, Class, Timestamp};
use crate::placement::Needs;
use crate::placement::entitlement;

/// A pod by UID, namespace and name.
pub type PodName = (Arc<str>, Arc<str>, Arc<str>);

impl Ledger {
    /// Pods behind our gate that may be let through now, at most so many, best first: by class,
    /// then age, within the headroom that those already let through leave.
    ///
    /// A pod (by UID) for which `opened` is true was let through although no watch shows that yet: it
    /// takes its room before all others, and is not named again.
    ///
    /// A pod that must wait holds back the later ones of its domain, so that it is not overtaken
    /// for ever; one that asks for more than its domain can ever have does not.
    #[must_use]
    pub fn ungate(
        &mut self,
        at_most: usize,
        opened: &dyn Fn(&str) -> bool,
        now: Timestamp,
    ) -> Vec<PodName> {
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
        // Nobody is older than one that is through: a watch shows pods of one second in any order.
        let (open, behind): (Vec<_>, Vec<_>) =
            behind.into_iter().partition(|(_, _, entry, _)| opened(&entry.uid));
        // Per domain and class: the band and the reserve are not open to everybody.
        let mut given: BTreeMap<DomainId, Amount> = BTreeMap::new();
        for (_, _, entry, domain) in open {
            *given.entry(domain).or_insert_with(|| self.waiting[usize::from(domain)]) +=
                entry.request;
        }
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

    /// What a domain is entitled to in all shared pools for further pods of `class`, and what it could have
    /// at the most if nobody used any of them.
    fn headroom(&self, domain: DomainId, class: Class, now: Timestamp) -> (Amount, Amount) {
        let mut sum = (Amount::ZERO, Amount::ZERO);
        let question = anybody(domain, class);
        for pool in self.nodes.shared_pools() {
            let claims = self.claims(pool, &question, now);
            let own = claims.of[usize::from(domain)];
            sum.0 += entitlement::entitlement(&claims.room(), &self.asker(&question, now))
                .unwrap_or_default();
            sum.1 += own.most.unwrap_or(claims.growth).max(own.floor);
        }
        sum
    }
}

/// A question for no pod in particular.
pub(super) fn anybody(domain: DomainId, class: Class) -> Question<'static> {
    static NEEDS: std::sync::LazyLock<Needs> = std::sync::LazyLock::new(Needs::default);
    let (request, given_up) = (Amount::ZERO, Amount::ZERO);
    Question { pod: None, domain, class, request, given_up, needs: &NEEDS }
}

pub(super) fn named(entry: &Entry) -> PodName {
    (Arc::clone(&entry.uid), Arc::clone(&entry.namespace), Arc::clone(&entry.name))
}
