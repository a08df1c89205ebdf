//! Names and label sets that thousands of objects share, each held once.

use std::collections::BTreeMap;
use std::collections::HashSet;
use std::sync::Arc;

/// The shared names.
#[derive(Debug, Default)]
pub(super) struct Names {
    all: HashSet<Arc<str>>,
    limit: usize,
}

/// Names held before the first look for unused ones.
const SMALLEST_LIMIT: usize = 4096;

impl Names {
    /// The shared copy of `name`.
    pub(super) fn get(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.all.get(name) {
            return Arc::clone(known);
        }
        if self.all.len() >= self.limit {
            // Names come and go with pods (template hashes); doubling keeps this cheap.
            self.all.retain(|one| Arc::strong_count(one) > 1);
            self.limit = (self.all.len() * 2).max(SMALLEST_LIMIT);
        }
        let new: Arc<str> = Arc::from(name);
        self.all.insert(Arc::clone(&new));
        new
    }
}

/// Labels, sorted by key. Cheap to copy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct LabelSet(Arc<[(Arc<str>, Arc<str>)]>);

impl LabelSet {
    pub(super) fn new(labels: &BTreeMap<String, String>, names: &mut Names) -> Self {
        Self(labels.iter().map(|(key, value)| (names.get(key), names.get(value))).collect())
    }

    pub(super) fn get(&self, key: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|(one, _)| (**one).cmp(key)).ok()?;
        Some(&self.0[at].1)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &(Arc<str>, Arc<str>)> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_use_are_shared_and_unused_ones_are_dropped() {
        let mut names = Names::default();
        let kept = names.get("kept");
        for number in 0..3 * SMALLEST_LIMIT {
            names.get(&number.to_string());
        }
        assert!(names.all.len() <= SMALLEST_LIMIT);
        assert!(Arc::ptr_eq(&kept, &names.get("kept")));
    }
}
