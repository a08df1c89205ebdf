//! How much may be done in a span of time: never more than so many in any window of it.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// At most `most` in any `window`.
#[derive(Debug)]
pub(super) struct Pace {
    most: usize,
    window: Duration,
    /// When something was done, oldest first.
    done: VecDeque<Instant>,
}

impl Pace {
    pub(super) fn new(most: u32, window: Duration) -> Self {
        Self { most: most as usize, window, done: VecDeque::new() }
    }

    /// The most that may be done in a window.
    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// How many may be done now.
    pub(super) fn left(&mut self, now: Instant) -> usize {
        while self.done.front().is_some_and(|at| now.duration_since(*at) >= self.window) {
            self.done.pop_front();
        }
        self.most.saturating_sub(self.done.len())
    }

    /// One was done.
    pub(super) fn spend(&mut self, now: Instant) {
        self.done.push_back(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_window_holds_more_than_allowed() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut pace = Pace::new(2, Duration::from_secs(1));
        assert_eq!(pace.left(at(0)), 2);
        pace.spend(at(0));
        pace.spend(at(600));
        assert_eq!([pace.left(at(600)), pace.left(at(999)), pace.left(at(1000))], [0, 0, 1]);
        pace.spend(at(1000));
        assert_eq!([pace.left(at(1599)), pace.left(at(1600)), pace.left(at(2000))], [0, 1, 2]);
        assert_eq!(Pace::new(0, Duration::from_secs(1)).left(at(5000)), 0);
    }
}
