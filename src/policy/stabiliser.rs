//! Keeps a count up until it has been too high for a whole window: the HPA's own
//! `stabilizationWindowSeconds`, applied before publication.

use crate::cluster::Timestamp;

/// Buckets of the window: a peak is forgotten between 1 and 1 + 1/8 windows after it.
const BUCKETS: usize = 8;

/// The highest recommendation of the last window.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Stabiliser {
    /// A ring; a bucket without a value has a peak of 0.
    buckets: [Bucket; BUCKETS],
    /// The newest bucket and when it began; `None` without history.
    newest: Option<(usize, Timestamp)>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Bucket {
    peak: f64,
    /// When its newest value was seen.
    seen: Timestamp,
}

impl Stabiliser {
    /// Adds the recommendation `wanted` and gives what to do now: the highest recommendation of
    /// the last `window_seconds`, as far as that does not lift what stands (`standing`) already.
    /// Without history what stands counts as recommended just now, as the HPA itself assumes, so
    /// that a restart lowers nothing early. A window of 0 gives `wanted` itself.
    pub fn hold(&mut self, now: Timestamp, wanted: f64, standing: f64, window_seconds: f64) -> f64 {
        if window_seconds <= 0.0 {
            return wanted;
        }
        let bucket_begins = now.seconds_before(window_seconds / BUCKETS as f64);
        match self.newest {
            Some((at, start)) if start > bucket_begins => {
                let bucket = &mut self.buckets[at];
                *bucket = Bucket { peak: bucket.peak.max(wanted), seen: now };
            }
            newest => {
                let at = newest.map_or(0, |(at, _)| (at + 1) % BUCKETS);
                let peak = if newest.is_none() { wanted.max(standing) } else { wanted };
                self.buckets[at] = Bucket { peak, seen: now };
                self.newest = Some((at, now));
            }
        }
        if wanted >= standing {
            return wanted;
        }
        let oldest = now.seconds_before(window_seconds);
        let recent = self.buckets.iter().filter(|bucket| bucket.seen >= oldest);
        // Not `f64::max`: recommendations are numbers, and it would ask each time.
        let higher =
            |kept: f64, bucket: &Bucket| if bucket.peak > kept { bucket.peak } else { kept };
        recent.fold(wanted, higher).min(standing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_holds_for_the_window_and_then_goes() {
        let mut stabiliser = Stabiliser::default();
        let mut at = |second: u32, wanted: f64, standing: f64| {
            stabiliser.hold(Timestamp::from_seconds(f64::from(second)), wanted, standing, 120.0)
        };
        assert_eq!(at(0, 10.0, 2.0), 10.0);
        for second in (10..=120).step_by(10) {
            assert_eq!(at(second, 3.0, 10.0), 10.0, "at {second} s");
        }
        for second in (140..300).step_by(10) {
            assert_eq!(at(second, 3.0, 10.0), 3.0, "at {second} s");
        }
        assert_eq!(at(300, 12.0, 10.0), 12.0);
        assert_eq!(at(310, 4.0, 6.0), 6.0, "a peak does not lift what stands lower");
    }

    #[test]
    fn without_history_what_stands_was_just_recommended() {
        let mut stabiliser = Stabiliser::default();
        assert_eq!(stabiliser.hold(Timestamp::default(), 2.0, 9.0, 120.0), 9.0);
    }

    #[test]
    fn a_window_of_zero_keeps_nothing() {
        let mut stabiliser = Stabiliser::default();
        assert_eq!(stabiliser.hold(Timestamp::default(), 2.0, 9.0, 0.0), 2.0);
    }
}
