//! Stampedes: many nodes asked for at once, and then late.

use std::collections::VecDeque;

use super::Definitions;

/// One node that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket(u64);

/// The nodes asked for in one pool, and the stampedes among them.
///
/// Windows that overlap and are each above the rate are one wave; a wave is a stampede if its
/// nodes are late, which is known once every one of them is ready or given up.
#[derive(Debug, Clone)]
pub struct Waves {
    definitions: Definitions,
    nominal_seconds: f64,
    /// When each node was asked for, and how long it took (infinite: given up).
    asked: VecDeque<(f64, Option<f64>)>,
    /// Number of the first of them.
    first: u64,
    /// Begin and end of waves that are not judged yet.
    open: VecDeque<(f64, f64)>,
    /// Times of the wave that is judged.
    times: Vec<f64>,
    stampedes: u64,
    most: u32,
}

impl Waves {
    /// Nothing asked for yet, in a pool whose nodes take `nominal_seconds` when all is well.
    #[must_use]
    pub fn new(definitions: Definitions, nominal_seconds: f64) -> Self {
        Self {
            definitions,
            nominal_seconds,
            asked: VecDeque::new(),
            first: 0,
            open: VecDeque::new(),
            times: Vec::new(),
            stampedes: 0,
            most: 0,
        }
    }

    /// Stampedes so far.
    #[must_use]
    pub const fn stampedes(&self) -> u64 {
        self.stampedes
    }

    /// The most nodes that were asked for within one window.
    #[must_use]
    pub const fn most_in_a_window(&self) -> u32 {
        self.most
    }

    /// A node is asked for at `at` (seconds, never going back).
    pub fn ask(&mut self, at: f64) -> Ticket {
        self.asked.push_back((at, None));
        let rules = self.definitions;
        let begin = at - rules.stampede_window_seconds;
        let inside = self.asked.iter().rev().take_while(|(asked, _)| *asked > begin).count();
        let count = u32::try_from(inside).unwrap_or(u32::MAX);
        self.most = self.most.max(count);
        // The mean of the time before the window; the wave itself must not raise its own bar.
        let edge = begin - rules.stampede_mean_seconds;
        let before = self.asked.len() - inside;
        let recent =
            self.asked.iter().take(before).rev().take_while(|(asked, _)| *asked > edge).count();
        let usual = recent as f64 * rules.stampede_window_seconds / rules.stampede_mean_seconds;
        if count >= rules.stampede_least_nodes && f64::from(count) > rules.stampede_rate * usual {
            match self.open.back_mut() {
                Some((_, end)) if *end >= begin => *end = at,
                _ => self.open.push_back((begin, at)),
            }
        }
        Ticket(self.first + self.asked.len() as u64 - 1)
    }

    /// The node is ready at `at`.
    pub fn ready(&mut self, ticket: Ticket, at: f64) {
        if let Some((asked, took)) = self.find(ticket) {
            *took = Some(at - *asked);
        }
    }

    /// The node will never come.
    pub fn give_up(&mut self, ticket: Ticket) {
        if let Some((_, took)) = self.find(ticket) {
            *took = Some(f64::INFINITY);
        }
    }

    fn find(&mut self, ticket: Ticket) -> Option<&mut (f64, Option<f64>)> {
        let index = ticket.0.checked_sub(self.first)?;
        self.asked.get_mut(usize::try_from(index).ok()?)
    }

    /// Judges the waves that are over at `now` and forgets what no longer matters.
    pub fn settle(&mut self, now: f64) {
        while let Some(&(begin, end)) = self.open.front() {
            let growing = now <= end + self.definitions.stampede_window_seconds;
            let wave = || self.asked.iter().filter(|(at, _)| *at > begin && *at <= end);
            if growing || wave().any(|(_, took)| took.is_none()) {
                break;
            }
            self.times.clear();
            self.times.extend(
                self.asked
                    .iter()
                    .filter(|(at, _)| *at > begin && *at <= end)
                    .filter_map(|(_, took)| *took),
            );
            self.times.sort_by(f64::total_cmp);
            let rank = (self.times.len() * 95).div_ceil(100).max(1) - 1;
            let late = self.definitions.stampede_delay * self.nominal_seconds;
            self.stampedes += u64::from(self.times.get(rank).is_some_and(|p95| *p95 > late));
            self.open.pop_front();
        }
        let begin = self.open.front().map_or(now, |(begin, _)| *begin);
        let edge = begin.min(now - self.definitions.stampede_window_seconds)
            - self.definitions.stampede_mean_seconds;
        // A node that is still to come keeps its place: its ticket must be found.
        while self.asked.front().is_some_and(|(at, took)| *at <= edge && took.is_some()) {
            self.asked.pop_front();
            self.first += 1;
        }
    }
}
