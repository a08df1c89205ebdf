//! One page in one file that shows an evaluation: no script, font or style from elsewhere.
//!
//! [`html`] and [`chart`] know nothing of evaluations; other reports are built of them too.

pub mod chart;
pub mod course;
pub mod html;
mod overview;
mod replay;
mod scenarios;
mod words;

use std::collections::BTreeMap;

use super::comparison::{Comparison, Slice};

pub use overview::verdicts;
pub use replay::{Recording, recorded};

/// What the page shows.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// The figures.
    pub comparison: &'a Comparison,
    /// What happens in each scenario, by its name.
    pub descriptions: &'a BTreeMap<String, String>,
    /// How the figures were made: names and values, in order.
    pub facts: &'a [(&'a str, String)],
    /// The runs that can be watched.
    pub recordings: &'a [Recording],
}

impl Report<'_> {
    /// The page.
    #[must_use]
    pub fn html(&self) -> String {
        let body = [
            overview::summary(self.comparison),
            overview::front(self.comparison, &Slice::All),
            overview::losses(self.comparison),
            scenarios::matrix(self),
            scenarios::domains_and_hours(self.comparison),
            scenarios::details(self),
            replay::section(self.recordings, &self.comparison.baseline),
            overview::method(self.facts),
        ];
        html::page("HiRL-Scale: policies compared", &body.concat(), replay::SCRIPT)
    }
}

#[cfg(test)]
mod tests;
