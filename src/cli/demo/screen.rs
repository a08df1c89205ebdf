//! Shows both clusters again and again: a table refreshed in place on a terminal, plain lines
//! elsewhere, nothing when nobody looks.

use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::table::Moment;
use super::world::{Pair, Shared};

/// How the clusters are shown.
#[derive(Debug)]
pub(super) enum Screen {
    /// Not at all.
    Dark,
    /// As lines, one set below the other.
    Lines,
    /// As a table, over the last one: it had so many lines.
    Table(usize),
}

impl Screen {
    /// For whoever looks.
    pub(super) fn new(watched: bool, terminal: bool) -> Self {
        match (watched, terminal) {
            (false, _) => Self::Dark,
            (true, false) => Self::Lines,
            (true, true) => Self::Table(0),
        }
    }

    /// Shows the clusters every few seconds. Never returns.
    pub(super) async fn follow(&mut self, pair: &Shared) {
        let every = match self {
            Self::Dark => return std::future::pending().await,
            Self::Lines => Duration::from_secs(5),
            Self::Table(_) => Duration::from_millis(500),
        };
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The banner was the first.
        ticks.tick().await;
        loop {
            ticks.tick().await;
            let moment = tokio::task::block_in_place(|| Moment::of(&pair.lock()));
            self.show(&moment);
        }
    }

    /// Shows how it ended and what it cost, to everybody.
    pub(super) fn last(&mut self, pair: &Pair) {
        let moment = Moment::of(pair);
        match self {
            Self::Dark => crate::cli::print(&moment.lines()),
            Self::Lines | Self::Table(_) => self.show(&moment),
        }
        crate::cli::print(&moment.comparison());
    }

    fn show(&mut self, moment: &Moment) {
        match self {
            Self::Dark => {}
            Self::Lines => crate::cli::print(&moment.lines()),
            Self::Table(before) => {
                let table = moment.table();
                let table = table.trim_end();
                // Up to the first line of the last table, and nothing below it stays. Without
                // line wrap, so that a narrow terminal has as many lines as were written.
                let up = if *before > 0 { format!("\x1b[{before}A") } else { String::new() };
                crate::cli::print(&format!("{up}\r\x1b[J\x1b[?7l{table}\x1b[?7h"));
                *before = table.lines().count();
            }
        }
    }
}
