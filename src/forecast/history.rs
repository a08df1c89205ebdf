//! Traffic of the past, minute by minute.

use crate::cluster::Class;

/// Minutes since 1970-01-01T00:00Z.
pub type Minute = i64;

/// Minutes of a day.
pub const DAY: usize = 1440;

/// Traffic of several domains over the same minutes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    /// The first minute.
    pub start: Minute,
    /// A series per domain, all of the same length.
    pub series: Vec<Series>,
}

/// Traffic of one domain.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Series {
    /// Name of the domain.
    pub name: String,
    /// Its priority class.
    pub class: Class,
    /// Mean requests per second in each minute from [`History::start`] on, at least 0; NaN where it
    /// is not known. A gap stays a gap.
    pub rps: Vec<f32>,
}

impl History {
    /// How many minutes.
    #[must_use]
    pub fn minutes(&self) -> usize {
        self.series.first().map_or(0, |series| series.rps.len())
    }

    /// The minute after the last one.
    #[must_use]
    pub fn end(&self) -> Minute {
        self.start + self.minutes() as Minute
    }
}
