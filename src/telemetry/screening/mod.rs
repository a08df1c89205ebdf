//! Turns what an answer says about one app into a [`Signal`] that can be trusted as far as it
//! says. Pure: no I/O, no clock. Never lets NaN, an infinite or a negative number through, and
//! never takes "nothing" for zero.

use crate::cluster::{Fault, Reading, Signal, SignalKind, Timestamp};

use crate::telemetry::answer::Raw;

/// A change of latency by this factor is a changed unit rather than a slower app.
const UNIT_JUMP_FACTOR: f64 = 100.0;
/// A jump is one only when both readings are this close, in seconds.
const UNIT_JUMP_SECONDS: f64 = 60.0;
/// Requests per second within this factor are steady.
const STEADY_TRAFFIC_FACTOR: f64 = 2.0;
/// Values within this factor of the level before the jump have come back.
const COME_BACK_FACTOR: f64 = 10.0;
/// Values within this factor of each other are one level.
const SAME_LEVEL_FACTOR: f64 = 3.0;
/// A new level that lasts this long is the truth, unless it looks like a unit; in seconds.
const NEW_LEVEL_SECONDS: f64 = 600.0;
/// Ratios between units of time: s to ms, s to µs.
const UNIT_RATIOS: [f64; 2] = [1e3, 1e6];
/// Above the maximum by no more than what adding up floats can do.
const ROUNDING: f64 = 1e-6;

/// What came back for one app.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Newest {
    /// No answer in time, or an error.
    Unanswered,
    /// An answer.
    Answered {
        /// What it says about the app.
        raw: Raw,
        /// Whether the source said that something is missing.
        incomplete: bool,
        /// The source's clock minus ours, in seconds; `None` when it did not say.
        skew: Option<f64>,
    },
}

/// What is believed of one signal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Oldest usable sample, in seconds.
    pub freshness: f64,
    /// Greatest believable value, in the signal's unit.
    pub maximum: f64,
    /// Greatest clock difference at which ages can be trusted, in seconds.
    pub skew: f64,
}

/// A latency that is not believed because it jumped.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Quarantine {
    /// The value before the jump.
    before: f64,
    /// The level that came instead.
    level: f64,
    /// Since when it is that level.
    since: Timestamp,
}

/// One signal of one app over time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Track {
    signal: Signal,
    /// Requests per second when the reading was taken.
    traffic: Option<f64>,
    quarantine: Option<Quarantine>,
}

impl Default for Track {
    /// Nothing was ever heard of this signal.
    fn default() -> Self {
        Self { signal: Signal::missing(Fault::Absent), traffic: None, quarantine: None }
    }
}

/// What to do with the newest answer.
enum Verdict {
    /// It is the new reading.
    Take(Reading, Option<Fault>),
    /// The last good reading stays, at its old instant.
    Keep(Fault),
    /// There is nothing to measure, so no old reading either.
    Drop(Fault),
}

impl Track {
    /// The signal as it stands.
    #[must_use]
    pub const fn signal(&self) -> Signal {
        self.signal
    }

    /// Takes in the newest answer at `now`. `traffic` is the app's newest usable requests per
    /// second, which tells a slower app from a changed unit.
    pub fn screen(
        &mut self,
        kind: SignalKind,
        newest: Newest,
        traffic: Option<f64>,
        limits: &Limits,
        now: Timestamp,
    ) -> Signal {
        let mut verdict = judge(kind, newest, limits, now);
        if let Verdict::Take(reading, _) = verdict
            && kind == SignalKind::P99
            && self.jumps(reading, traffic, now)
        {
            verdict = Verdict::Keep(Fault::UnitJump);
        }
        match verdict {
            Verdict::Take(reading, fault) => {
                self.signal = Signal { reading: Some(reading), fault };
                self.traffic = traffic;
            }
            Verdict::Keep(fault) => self.signal.fault = Some(fault),
            Verdict::Drop(fault) => self.signal = Signal::missing(fault),
        }
        self.signal
    }

    /// Whether `reading` differs from the last good one as a changed unit would.
    ///
    /// A quarantined signal is released when its values come back to the old level, or when they
    /// have stood on one new level for [`NEW_LEVEL_SECONDS`]. A new level that is a thousand or a
    /// million times the old one (or that part of it) is not released by time: it stays until the
    /// values come back or a restart, after somebody has looked at the query. Until then the fault
    /// is counted in every pass.
    fn jumps(&mut self, reading: Reading, traffic: Option<f64>, now: Timestamp) -> bool {
        if let Some(quarantine) = &mut self.quarantine {
            if within(reading.value, quarantine.before, COME_BACK_FACTOR) {
                self.quarantine = None;
                return false;
            }
            if !within(reading.value, quarantine.level, SAME_LEVEL_FACTOR) {
                quarantine.level = reading.value;
                quarantine.since = now;
            }
            let lasted = now.seconds_since(quarantine.since) >= NEW_LEVEL_SECONDS;
            if lasted && !unit_apart(quarantine.level, quarantine.before) {
                self.quarantine = None;
                return false;
            }
            return true;
        }
        let (Some(last), Some(then), Some(traffic)) = (self.signal.reading, self.traffic, traffic)
        else {
            return false;
        };
        let jumped = last.value > 0.0
            && reading.value > 0.0
            && reading.at.seconds_since(last.at) <= UNIT_JUMP_SECONDS
            && !within(reading.value, last.value, UNIT_JUMP_FACTOR)
            && within(then, traffic, STEADY_TRAFFIC_FACTOR);
        if jumped {
            self.quarantine =
                Some(Quarantine { before: last.value, level: reading.value, since: now });
        }
        jumped
    }
}

/// Judges an answer by itself, without the past.
fn judge(kind: SignalKind, newest: Newest, limits: &Limits, now: Timestamp) -> Verdict {
    let Newest::Answered { raw, incomplete, skew } = newest else {
        return Verdict::Keep(Fault::Unreachable);
    };
    if skew.is_some_and(|skew| skew.is_nan() || skew.abs() > limits.skew) {
        return Verdict::Keep(Fault::Skewed);
    }
    if raw.duplicate {
        return Verdict::Keep(Fault::Duplicate);
    }
    let Some(value) = raw.value else {
        return Verdict::Keep(if incomplete { Fault::Incomplete } else { Fault::Absent });
    };
    // A value without a sample time comes from samples that have already left the lookback.
    let Some(age) = raw.at.map(|at| now.as_seconds() - at).filter(|age| age.is_finite()) else {
        return Verdict::Keep(Fault::Stale);
    };
    if age > limits.freshness {
        return Verdict::Keep(Fault::Stale);
    }
    if age < -limits.skew {
        return Verdict::Keep(Fault::Skewed);
    }
    if value.is_nan() && is_ratio(kind) {
        // In a partial answer the traffic may be in the part that is missing.
        return if incomplete {
            Verdict::Keep(Fault::Incomplete)
        } else {
            Verdict::Drop(Fault::Idle)
        };
    }
    if !value.is_finite() {
        return Verdict::Keep(Fault::NotFinite);
    }
    if value < 0.0 || value > limits.maximum * (1.0 + ROUNDING) {
        return Verdict::Keep(Fault::OutOfRange);
    }
    // Adding 0 turns -0 into 0. A sample from the near future is as young as one can be.
    let value = value.min(limits.maximum) + 0.0;
    let at = Timestamp::from_seconds(now.as_seconds() - age.max(0.0));
    Verdict::Take(Reading { value, at }, incomplete.then_some(Fault::Incomplete))
}

/// Whether the signal divides by traffic, so that no traffic makes it NaN.
const fn is_ratio(kind: SignalKind) -> bool {
    matches!(kind, SignalKind::P99 | SignalKind::ErrorRatio)
}

/// Whether two amounts differ by less than `factor`.
fn within(a: f64, b: f64, factor: f64) -> bool {
    a == b || a.max(b) < factor * a.min(b)
}

/// Whether two amounts differ as the same amount in two units does.
fn unit_apart(a: f64, b: f64) -> bool {
    let ratio = a.max(b) / a.min(b);
    UNIT_RATIOS.into_iter().any(|unit| within(ratio, unit, SAME_LEVEL_FACTOR))
}

#[cfg(test)]
mod tests;
