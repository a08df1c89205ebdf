//! What the HTTP side may see: the newest decision, indexed for reads, with its age.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cluster::{App, Domain};
use crate::safety::{AppDecision, Decision};

/// One decision, ready to be read by namespace.
#[derive(Debug)]
pub struct Published {
    decision: Arc<Decision>,
    born: Instant,
    max_age: Duration,
    by_namespace: HashMap<Arc<str>, Vec<usize>>,
}

/// One app as a reader sees it.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// Position in [`crate::cluster::Catalog::apps`].
    pub index: usize,
    /// Who.
    pub app: &'a App,
    /// Its domain.
    pub domain: &'a Domain,
    /// What was decided.
    pub decided: &'a AppDecision,
}

impl Entry<'_> {
    /// The value of a label of the metric item: `target`, `kind`, `hpa` or `domain`.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        match name {
            "target" => Some(&self.app.target),
            "kind" => Some(&self.app.kind),
            "hpa" => Some(&self.app.id.hpa),
            "domain" => Some(&self.domain.name),
            _ => None,
        }
    }
}

impl Published {
    /// Indexes `decision`, which was `age` old when it reached this process and may be served
    /// until it is `max_age` old. Ages run on the monotonic clock, so that a wrong wall clock
    /// cannot make an old number look fresh.
    #[must_use]
    pub fn new(decision: Arc<Decision>, age: Duration, max_age: Duration) -> Self {
        let mut by_namespace: HashMap<Arc<str>, Vec<usize>> = HashMap::new();
        for (index, app) in decision.catalog.apps.iter().enumerate() {
            by_namespace.entry(Arc::clone(&app.id.namespace)).or_default().push(index);
        }
        let now = Instant::now();
        let born = now.checked_sub(age).unwrap_or(now);
        Self { decision, born, max_age, by_namespace }
    }

    /// The decision behind it.
    #[must_use]
    pub fn decision(&self) -> &Arc<Decision> {
        &self.decision
    }

    /// How long ago it was decided.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.born.elapsed()
    }

    /// How old it may become.
    #[must_use]
    pub fn max_age(&self) -> Duration {
        self.max_age
    }

    /// The apps of one namespace, by id.
    pub fn namespace(&self, namespace: &str) -> impl Iterator<Item = Entry<'_>> {
        self.by_namespace.get(namespace).into_iter().flatten().map(|&index| self.entry(index))
    }

    /// The app at `index` of [`crate::cluster::Catalog::apps`].
    ///
    /// # Panics
    ///
    /// When there is no such app.
    #[must_use]
    pub fn entry(&self, index: usize) -> Entry<'_> {
        let app = &self.decision.catalog.apps[index];
        Entry {
            index,
            app,
            domain: &self.decision.catalog.domains[app.domain],
            decided: &self.decision.apps[index],
        }
    }
}
