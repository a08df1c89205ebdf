//! The batch window: pods that fit nowhere are answered together.

use crate::simulation::scenario::Constants;

/// One batch window. It ends when no pod came for a while, or when it has been open for long.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Batch {
    idle_seconds: f64,
    max_seconds: f64,
    /// When it opened and when the newest pod came; none while it is closed.
    open: Option<(f64, f64)>,
}

impl Batch {
    /// A closed window.
    #[must_use]
    pub const fn new(constants: &Constants) -> Self {
        Self {
            idle_seconds: constants.batch_idle_seconds,
            max_seconds: constants.batch_max_seconds,
            open: None,
        }
    }

    /// A pod that fits nowhere was seen at `at` (seconds, never going back).
    pub fn see(&mut self, at: f64) {
        let began = self.open.map_or(at, |(began, _)| began);
        self.open = Some((began, at));
    }

    /// When it ends if no other pod comes; `None` while it is closed.
    #[must_use]
    pub fn ends(&self) -> Option<f64> {
        self.open.map(|(began, last)| (last + self.idle_seconds).min(began + self.max_seconds))
    }

    /// Closes it if it ends by `now`, and says when it did: then nodes are asked for.
    pub fn close(&mut self, now: f64) -> Option<f64> {
        let ends = self.ends().filter(|ends| *ends <= now)?;
        self.open = None;
        Some(ends)
    }
}
