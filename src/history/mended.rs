//! What had to be mended on the way in.

use std::fmt;

use crate::forecast::History;

/// What was wrong with the rows of a source, and what was done about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mended {
    /// Rows that were read.
    pub rows: u64,
    /// Rows that came after a later one of the same series: sorted in.
    pub unsorted: u64,
    /// Values that were there twice with the same time: dropped.
    pub duplicates: u64,
    /// Values that contradict another one of the same time: averaged.
    pub conflicts: u64,
    /// Values that are empty, NaN, infinite, negative or too great: unknown.
    pub unknown: u64,
    /// Rows at a local time that a clock change skipped: dropped.
    pub skipped: u64,
    /// Counters that began anew.
    pub resets: u64,
    /// Minutes without a row of their own that carry the value of the row before, because rows are
    /// further apart than a minute or come at uneven times.
    pub held: u64,
    /// Gaps: unbroken runs of unknown minutes, over all series.
    pub gaps: u64,
    /// Minutes in all gaps.
    pub gap_minutes: u64,
}

impl Mended {
    /// Of a history that was mended when it was imported: its values and its gaps.
    pub(super) fn of_kept(history: &History) -> Self {
        let rows = history.series.iter().map(|series| series.rps.len() as u64).sum();
        let mut mended = Self { rows, ..Self::default() };
        mended.count_gaps(history);
        mended
    }

    pub(super) fn count_gaps(&mut self, history: &History) {
        for series in &history.series {
            let mut inside = false;
            for rps in &series.rps {
                self.gaps += u64::from(rps.is_nan() && !inside);
                self.gap_minutes += u64::from(rps.is_nan());
                inside = rps.is_nan();
            }
        }
    }
}

/// One line: how many rows, and each thing that was mended.
impl fmt::Display for Mended {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} rows", self.rows)?;
        for (count, what) in [
            (self.unsorted, "out of order, sorted"),
            (self.duplicates, "exact duplicates dropped"),
            (self.conflicts, "values of a time that has another, averaged"),
            (self.unknown, "values unknown (empty, not finite or negative)"),
            (self.skipped, "at a local time that a clock change skipped, dropped"),
            (self.resets, "counter resets"),
            (self.held, "minutes hold the value of the row before"),
        ] {
            if count > 0 {
                write!(out, "; {count} {what}")?;
            }
        }
        if self.gaps > 0 {
            write!(out, "; {} gaps of {} minutes in all", self.gaps, self.gap_minutes)?;
        }
        Ok(())
    }
}
