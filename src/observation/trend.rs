//! Where traffic is heading: a straight line through its last minute and a half.

use crate::cluster::Timestamp;

/// Samples closer than this part of the window replace each other: 9 s of 90 s.
const PARTS: f64 = 10.0;
/// Room for samples: twelve span the whole window; a power of two makes the ring cheap.
const CAPACITY: usize = 16;

/// The last samples of one series.
#[derive(Debug, Clone, Default)]
pub struct Trend {
    ring: [(Timestamp, f64); CAPACITY],
    newest: usize,
    count: usize,
}

impl Trend {
    /// Adds a sample and forgets those older than `window_seconds`. A sample that is not newer
    /// than the last is the same scrape read again and counts once.
    pub fn push(&mut self, at: Timestamp, value: f64, window_seconds: f64) {
        if self.count > 0 && self.back(0).0 >= at {
            return;
        }
        let oldest = at.seconds_before(window_seconds);
        while self.count > 0 && self.back(self.count - 1).0 < oldest {
            self.count -= 1;
        }
        // Closer samples than this would push the older half of the window out of the buffer.
        let spacing = window_seconds / PARTS;
        let close = self.count >= 2 && self.back(1).0 > self.back(0).0.seconds_before(spacing);
        if !close {
            self.newest = (self.newest + 1) % CAPACITY;
            self.count = (self.count + 1).min(CAPACITY);
        }
        self.ring[self.newest] = (at, value);
    }

    /// The sample `places` before the newest one.
    fn back(&self, places: usize) -> (Timestamp, f64) {
        self.ring[(self.newest + CAPACITY - places) % CAPACITY]
    }

    /// The value expected `lead_seconds` after the last sample: `now` plus the fitted slope times
    /// the lead, when a straight line explains at least `fit` of the variance and points up; else
    /// `now`. Never below `now` and at most twice it, because a line says nothing of a corner.
    #[must_use]
    pub fn ahead(&self, now: f64, lead_seconds: f64, fit: f64) -> f64 {
        match self.slope(fit) {
            Some(slope) if slope > 0.0 => {
                (now + slope * lead_seconds).min(now.max(0.0) * 2.0).max(now)
            }
            _ => now,
        }
    }

    /// Least-squares slope per second, if at least four samples lie well enough on a line.
    fn slope(&self, fit: f64) -> Option<f64> {
        if self.count < 4 {
            return None;
        }
        let (last_at, last) = self.back(0);
        // Sums over time and value counted from the newest sample: one walk, and no precision
        // lost to the epoch or to a high base load.
        let (mut x_sum, mut y_sum, mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for (at, value) in (1..self.count).map(|places| self.back(places)) {
            let x = (at.as_millis() - last_at.as_millis()) as f64;
            let y = value - last;
            x_sum += x;
            y_sum += y;
            xx += x * x;
            xy += x * y;
            yy += y * y;
        }
        // Variances and covariance, all times the squared count.
        let count = self.count as f64;
        let (xx, xy, yy) =
            (count * xx - x_sum * x_sum, count * xy - x_sum * y_sum, count * yy - y_sum * y_sum);
        (xx > 0.0 && yy > 0.0 && xy * xy >= fit * (xx * yy)).then(|| xy / xx * 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trend(values: &[f64]) -> Trend {
        let mut trend = Trend::default();
        for (index, value) in values.iter().enumerate() {
            trend.push(Timestamp::from_seconds(10.0 * index as f64), *value, 90.0);
        }
        trend
    }

    #[test]
    fn a_ramp_is_extended_and_a_fall_is_not() {
        let ahead = trend(&[100.0, 110.0, 120.0, 130.0, 140.0]).ahead(140.0, 60.0, 0.6);
        assert!((ahead - 200.0).abs() < 1e-9, "{ahead}");
        assert_eq!(trend(&[140.0, 130.0, 120.0, 110.0]).ahead(110.0, 60.0, 0.6), 110.0);
    }

    #[test]
    fn noise_constants_and_short_histories_have_no_trend() {
        assert_eq!(trend(&[100.0, 130.0, 95.0, 128.0, 99.0]).ahead(99.0, 60.0, 0.6), 99.0);
        assert_eq!(trend(&[100.0; 5]).ahead(100.0, 60.0, 0.6), 100.0);
        assert_eq!(trend(&[100.0, 200.0, 300.0]).ahead(300.0, 60.0, 0.6), 300.0);
    }

    #[test]
    fn the_extension_at_most_doubles() {
        assert_eq!(trend(&[0.0, 100.0, 200.0, 300.0]).ahead(300.0, 600.0, 0.6), 600.0);
    }

    #[test]
    fn what_is_not_a_number_asks_for_nothing() {
        assert_eq!(trend(&[100.0, 110.0, 120.0, 130.0]).ahead(f64::NAN, 60.0, 0.6), 0.0);
    }

    #[test]
    fn a_sample_read_twice_counts_once_and_fast_samples_keep_the_whole_window() {
        let mut fast = Trend::default();
        for second in 0..300_u32 {
            let at = Timestamp::from_seconds(f64::from(second));
            fast.push(at, f64::from(second), 90.0);
            fast.push(at, 1e9, 90.0);
        }
        assert!(fast.count <= 12, "{}", fast.count);
        let (oldest, _) = fast.back(fast.count - 1);
        assert!(Timestamp::from_seconds(299.0).seconds_since(oldest) > 70.0);
        assert!((fast.ahead(299.0, 60.0, 0.6) - 359.0).abs() < 1e-6);
    }
}
