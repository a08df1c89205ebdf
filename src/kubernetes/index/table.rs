//! Rows that follow a list-then-watch: a new list replaces the old one only when it is complete.

use std::collections::HashMap;
use std::hash::Hash;

/// Rows by key. While a list runs, the old rows stay; its end drops those it did not name.
#[derive(Debug)]
pub(super) struct Table<K, V> {
    round: u32,
    rows: HashMap<K, (u32, V)>,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self { round: 0, rows: HashMap::new() }
    }
}

impl<K: Eq + Hash + Clone, V> Table<K, V> {
    /// A new list begins.
    pub(super) fn begin(&mut self) {
        self.round = self.round.wrapping_add(1);
    }

    /// Puts a row; answers the one it replaces.
    pub(super) fn put(&mut self, key: K, value: V) -> Option<V> {
        self.rows.insert(key, (self.round, value)).map(|(_, old)| old)
    }

    /// Takes a row away.
    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        self.rows.remove(key).map(|(_, old)| old)
    }

    /// The list is complete: takes away the rows that it did not name.
    pub(super) fn end(&mut self) -> Vec<(K, V)> {
        let round = self.round;
        self.rows
            .extract_if(|_, (seen, _)| *seen != round)
            .map(|(key, (_, value))| (key, value))
            .collect()
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.rows.get(key).map(|(_, value)| value)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.rows.iter().map(|(key, (_, value))| (key, value))
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_breaks_off_takes_nothing_away() {
        let mut table = Table::default();
        table.begin();
        table.put("a", 1);
        table.put("b", 2);
        assert!(table.end().is_empty());
        table.begin();
        table.put("a", 3);
        // The connection broke; the list starts again and sees everything.
        table.begin();
        assert_eq!(table.len(), 2);
        table.put("a", 3);
        table.put("c", 4);
        assert_eq!(table.end(), [("b", 2)]);
        assert_eq!((table.get(&"a"), table.get(&"b"), table.get(&"c")), (Some(&3), None, Some(&4)));
    }
}
