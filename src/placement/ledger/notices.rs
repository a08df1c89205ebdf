//! Preemptions to be told: who had to go for whom, and by which right.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use serde::Serialize;

use super::{EntryId, Ledger, PodName};

/// Notices that wait to be written; older ones go when nobody writes them.
const MOST: usize = 1000;

/// By which right a pod may have another one's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum Path {
    /// The victim is of the same domain and of a lower class.
    InDomain,
    /// The victim is of a lower class, and its domain keeps its floor.
    Reclaimed,
    /// The victim's domain is above its target, and the pod's domain stays within its own.
    OverTarget,
}

impl Path {
    /// The name in Events and metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InDomain => "InDomain",
            Self::Reclaimed => "Reclaimed",
            Self::OverTarget => "OverTarget",
        }
    }
}

/// A pod that goes for another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The pod that goes.
    pub victim: PodName,
    /// Its domain.
    pub victim_domain: Arc<str>,
    /// The pod for which it goes.
    pub preemptor: PodName,
    /// The domain of that one.
    pub preemptor_domain: Arc<str>,
    /// By which right.
    pub path: Path,
}

impl Notice {
    /// The same for people, without the reason.
    #[must_use]
    pub fn text(&self) -> String {
        let (_, namespace, name) = &self.preemptor;
        let why = match self.path {
            Path::InDomain => "it has a higher class in the same domain",
            Path::Reclaimed => {
                "it has a higher class, and what this domain uses above its floor is borrowed"
            }
            Path::OverTarget => {
                "this domain is above its target, and the other one stays within its own"
            }
        };
        format!(
            "Domain {} gives room to pod {namespace}/{name} of domain {}: {why}",
            self.victim_domain, self.preemptor_domain
        )
    }
}

/// What was allowed to the scheduler, and what came of it.
#[derive(Debug, Default)]
pub(super) struct Notices {
    /// For each pod that may be a victim: for whom, and by which right.
    allowed: HashMap<EntryId, (EntryId, Path)>,
    told: VecDeque<Notice>,
}

impl Notices {
    /// A pod is allowed these victims, and no others any more.
    pub(super) fn allow(
        &mut self,
        preemptor: EntryId,
        victims: impl Iterator<Item = (EntryId, Path)>,
    ) {
        self.settled(preemptor);
        self.allowed.extend(victims.map(|(victim, path)| (victim, (preemptor, path))));
    }

    /// A pod has its place: it needs no victims any more.
    pub(super) fn settled(&mut self, id: EntryId) {
        self.allowed.retain(|_, (whom, _)| *whom != id);
    }

    /// An entry is gone.
    pub(super) fn forget(&mut self, id: EntryId) {
        self.allowed.remove(&id);
        self.settled(id);
    }
}

impl Ledger {
    /// A pod goes: if it was allowed as a victim, that is to be told.
    pub(super) fn tell_preemption(&mut self, victim: EntryId) {
        let Some((preemptor, path)) = self.notices.allowed.remove(&victim) else { return };
        let entry = |id: EntryId| self.entries[id as usize].as_ref();
        let promised = entry(preemptor).and_then(|entry| entry.nominated);
        let node = entry(victim).and_then(|entry| match entry.state {
            super::State::Bound { node } => Some(node),
            _ => None,
        });
        if promised.is_some() && promised != node {
            // The scheduler chose another node: this pod goes for a reason of its own.
            return;
        }
        let named = |id: EntryId| {
            let entry = self.entries[id as usize].as_ref()?;
            let domain = Arc::clone(&self.domains[usize::from(entry.domain?)]);
            let (uid, namespace, name) = (&entry.uid, &entry.namespace, &entry.name);
            Some(((Arc::clone(uid), Arc::clone(namespace), Arc::clone(name)), domain))
        };
        let (Some((victim, victim_domain)), Some((preemptor, preemptor_domain))) =
            (named(victim), named(preemptor))
        else {
            return;
        };
        if self.notices.told.len() >= MOST {
            self.notices.told.pop_front();
        }
        let notice = Notice { victim, victim_domain, preemptor, preemptor_domain, path };
        self.notices.told.push_back(notice);
    }

    /// Preemptions since the last call.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        self.notices.told.drain(..).collect()
    }
}
