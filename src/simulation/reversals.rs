//! What is added and soon taken away again: oscillating replicas, thrashing nodes.

use std::collections::VecDeque;

/// Remembers what was added, to know what of it is taken away again.
#[derive(Debug, Clone)]
pub struct Reversals {
    seconds: f64,
    /// When and how much, oldest first.
    added: VecDeque<(f64, f64)>,
}

impl Reversals {
    /// Nothing added yet. What is taken away less than `seconds` later counts.
    #[must_use]
    pub const fn new(seconds: f64) -> Self {
        Self { seconds, added: VecDeque::new() }
    }

    /// Takes away and then adds at `at` (seconds, never going back); how much of what is taken away
    /// undoes what was added before `at`, each addition at most once.
    pub fn change(&mut self, at: f64, added: f64, removed: f64) -> f64 {
        while self.added.front().is_some_and(|(since, _)| at - since >= self.seconds) {
            self.added.pop_front();
        }
        let mut left = removed;
        while left > 0.0
            && let Some((_, amount)) = self.added.front_mut()
        {
            let part = amount.min(left);
            *amount -= part;
            left -= part;
            if *amount <= 0.0 {
                self.added.pop_front();
            }
        }
        if added > 0.0 {
            self.added.push_back((at, added));
        }
        removed - left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_added_lately_is_reversed_and_only_once() {
        let mut replicas = Reversals::new(120.0);
        assert_eq!(replicas.change(0.0, 10.0, 0.0), 0.0);
        assert_eq!(replicas.change(60.0, 5.0, 3.0), 3.0);
        assert_eq!(replicas.change(110.0, 0.0, 8.0), 8.0);
        // 4 of the second addition are left, and it is two minutes old.
        assert_eq!(replicas.change(180.0, 0.0, 4.0), 0.0);
        assert_eq!(replicas.change(190.0, 2.0, 2.0), 0.0);
    }
}
