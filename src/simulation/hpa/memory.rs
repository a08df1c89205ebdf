//! What the controller remembers of one HPA: recommendations and what it changed when.

use std::cmp::Ordering;
use std::collections::VecDeque;

use crate::simulation::scenario::{ControllerSpec, HpaSpec, PolicyKind, ScaleRules, Select};

/// The bounds of one HPA.
#[derive(Debug, Clone, Copy)]
struct Limits {
    min: u32,
    max: u32,
}

/// One HPA with its memory.
#[derive(Debug, Clone)]
pub struct Hpa {
    limits: Limits,
    up: ScaleRules,
    down: ScaleRules,
    /// Whether it was ever synced.
    synced: bool,
    /// The lowest and the highest count asked for within the stabilisation windows upwards and
    /// downwards.
    lowest: Extreme,
    highest: Extreme,
    added: Changes,
    removed: Changes,
}

/// The most extreme count of a window: one that a later count equals or outdoes never counts again
/// and is forgotten.
#[derive(Debug, Clone)]
struct Extreme {
    /// Length of the window, in seconds.
    seconds: f64,
    /// Whether the first count is more extreme than the second.
    outdoes: fn(u32, u32) -> bool,
    /// When each count was asked for, the oldest and most extreme first.
    asked: VecDeque<(f64, u32)>,
}

impl Extreme {
    const fn new(seconds: f64, outdoes: fn(u32, u32) -> bool) -> Self {
        Self { seconds, outdoes, asked: VecDeque::new() }
    }

    /// The most extreme of `count` and what was asked for within the window.
    fn with(&mut self, now: f64, count: u32) -> u32 {
        while self.asked.front().is_some_and(|(at, _)| now - at >= self.seconds) {
            self.asked.pop_front();
        }
        match self.asked.front() {
            Some(&(_, extreme)) if (self.outdoes)(extreme, count) => extreme,
            _ => count,
        }
    }

    fn remember(&mut self, now: f64, count: u32) {
        while self.asked.back().is_some_and(|&(_, other)| !(self.outdoes)(other, count)) {
            self.asked.pop_back();
        }
        self.asked.push_back((now, count));
    }
}

/// What was changed in one direction: when and by how much.
#[derive(Debug, Clone)]
struct Changes {
    longest: f64,
    events: Vec<(f64, u32)>,
}

impl Changes {
    fn new(rules: &ScaleRules) -> Self {
        let longest = rules.policies.iter().map(|policy| policy.period_seconds).fold(0.0, f64::max);
        Self { longest, events: Vec::new() }
    }

    /// A change that is exactly one period old no longer counts: in a cluster, where every sync
    /// takes its time, the next one comes a little later than the sync period says.
    fn within(&self, period: f64, now: f64) -> u32 {
        self.events.iter().filter(|(at, _)| now - at < period).map(|(_, by)| by).sum()
    }

    /// As the controller does, takes the place of one change that no policy of this direction
    /// looks at any more, the last of them, and forgets no other: policies of the other direction
    /// with longer periods still see those.
    fn note(&mut self, by: u32, now: f64) {
        let outdated = self.events.iter_mut().rfind(|(at, _)| now - at >= self.longest);
        match outdated {
            Some(event) => *event = (now, by),
            None => self.events.push((now, by)),
        }
    }
}

impl Hpa {
    /// An HPA that was never synced.
    #[must_use]
    pub fn new(spec: &HpaSpec, controller: &ControllerSpec) -> Self {
        let down = spec.scale_down.stabilization_seconds;
        Self {
            limits: Limits { min: spec.min_replicas, max: spec.max_replicas },
            synced: false,
            lowest: Extreme::new(
                spec.scale_up.stabilization_seconds.unwrap_or(0.0),
                |one, other| one < other,
            ),
            highest: Extreme::new(
                down.unwrap_or(controller.downscale_stabilization_seconds),
                |one, other| one > other,
            ),
            up: spec.scale_up.clone(),
            down: spec.scale_down.clone(),
            added: Changes::new(&spec.scale_up),
            removed: Changes::new(&spec.scale_down),
        }
    }

    /// Whether this sync looks at metrics at all: not when the HPA is switched off (0 replicas)
    /// or the count is outside the bounds.
    #[must_use]
    pub fn reads_metrics(&self, current: u32) -> bool {
        (self.limits.min.max(1)..=self.limits.max).contains(&current)
    }

    /// One sync at `now` (seconds, never going back): the replicas to set, given those that stand
    /// and what the metrics ask for (`None`: no valid answer). Remembers what it changed.
    pub fn sync(&mut self, now: f64, current: u32, asked: Option<u32>) -> u32 {
        if !std::mem::replace(&mut self.synced, true) {
            self.remember(now, current);
        }
        let replicas = if current == 0 && self.limits.min != 0 {
            0
        } else if current > self.limits.max {
            self.limits.max
        } else if current < self.limits.min {
            self.limits.min
        } else if let Some(asked) = asked {
            let steady = self.stabilise(now, current, asked);
            self.limit(now, current, steady)
        } else {
            current
        };
        if replicas > current {
            self.added.note(replicas - current, now);
        } else if replicas < current {
            self.removed.note(current - replicas, now);
        }
        replicas
    }

    /// The asked count, held back by what was asked within the windows.
    fn stabilise(&mut self, now: f64, current: u32, asked: u32) -> u32 {
        let (up, down) = (self.lowest.with(now, asked), self.highest.with(now, asked));
        // What was asked is remembered, not what comes of it.
        self.remember(now, asked);
        current.max(up).min(down)
    }

    fn remember(&mut self, now: f64, count: u32) {
        self.lowest.remember(now, count);
        self.highest.remember(now, count);
    }

    /// The wanted count within what the policies and the bounds allow now.
    fn limit(&self, now: f64, current: u32, wanted: u32) -> u32 {
        let (wanted, stands) = (i64::from(wanted), i64::from(current));
        let held = match wanted.cmp(&stands) {
            Ordering::Equal => stands,
            Ordering::Greater => {
                let allowed = self.allowed(&self.up, now, current, true).max(stands);
                wanted.min(allowed).min(i64::from(self.limits.max))
            }
            Ordering::Less => {
                let allowed = self.allowed(&self.down, now, current, false).min(stands);
                wanted.max(allowed).max(i64::from(self.limits.min))
            }
        };
        held as u32
    }

    /// The furthest count that the policies of one direction allow.
    fn allowed(&self, rules: &ScaleRules, now: f64, current: u32, up: bool) -> i64 {
        let current = i64::from(current);
        let each = rules.policies.iter().map(|policy| {
            let added = i64::from(self.added.within(policy.period_seconds, now));
            let removed = i64::from(self.removed.within(policy.period_seconds, now));
            // As the count stood at the beginning of the period.
            let begin = current - added + removed;
            let value = i64::from(policy.value);
            let part = f64::from(policy.value) / 100.0;
            match (policy.kind, up) {
                (PolicyKind::Pods, true) => begin + value,
                (PolicyKind::Pods, false) => begin - value,
                (PolicyKind::Percent, true) => (begin as f64 * (1.0 + part)).ceil() as i64,
                (PolicyKind::Percent, false) => (begin as f64 * (1.0 - part)) as i64,
            }
        });
        // The largest change is the highest count on the way up, the lowest on the way down.
        match (rules.select, up) {
            (Select::Disabled, _) => Some(current),
            (Select::Max, true) | (Select::Min, false) => each.max(),
            (Select::Min, true) | (Select::Max, false) => each.min(),
        }
        .unwrap_or(current)
    }
}
