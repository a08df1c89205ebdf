//! Where traffic is heading: a straight line through its last minute and a half.

use crate::cluster::Timestamp;

/// Samples kept: enough for 90 s at one every 10 s.
const CAPACITY: usize = 10;

/// The last samples of one series, oldest first.
#[derive(Debug, Clone, Default)]
pub struct Trend {
    samples: Vec<(Timestamp, f64)>,
}

impl Trend {
    /// Adds a sample and forgets those older than `window_seconds`. A sample that is not newer
    /// than the last is the same scrape read again and counts once.
    pub fn push(&mut self, at: Timestamp, value: f64, window_seconds: f64) {
        if self.samples.last().is_some_and(|(last, _)| *last >= at) {
            return;
        }
        // Closer samples than this would push the older half of the window out of the buffer.
        let spacing = window_seconds / CAPACITY as f64;
        self.samples.retain(|(old, _)| at.seconds_since(*old) <= window_seconds);
        if let [.., (before, _), (last_at, last_value)] = self.samples.as_mut_slice()
            && last_at.seconds_since(*before) < spacing
        {
            (*last_at, *last_value) = (at, value);
        } else {
            self.samples.push((at, value));
        }
    }

    /// The value expected `lead_seconds` after the last sample: `now` plus the fitted slope times
    /// the lead, when a straight line explains at least `fit` of the variance and points up; else
    /// `now`. Never below `now` and at most twice it, because a line says nothing of a corner.
    #[must_use]
    pub fn ahead(&self, now: f64, lead_seconds: f64, fit: f64) -> f64 {
        match self.slope(fit) {
            Some(slope) if slope > 0.0 => {
                (now + slope * lead_seconds).clamp(now, now.max(0.0) * 2.0)
            }
            _ => now,
        }
    }

    /// Least-squares slope per second, if at least four samples lie well enough on a line.
    fn slope(&self, fit: f64) -> Option<f64> {
        let (first, _) = *self.samples.first()?;
        let count = self.samples.len() as f64;
        if self.samples.len() < 4 {
            return None;
        }
        let points = || self.samples.iter().map(|(at, value)| (at.seconds_since(first), *value));
        let mean_x = points().map(|(x, _)| x).sum::<f64>() / count;
        let mean_y = points().map(|(_, y)| y).sum::<f64>() / count;
        let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
        for (x, y) in points() {
            xx += (x - mean_x) * (x - mean_x);
            xy += (x - mean_x) * (y - mean_y);
            yy += (y - mean_y) * (y - mean_y);
        }
        let explained = xy * xy / (xx * yy);
        (xx > 0.0 && yy > 0.0 && explained >= fit).then(|| xy / xx)
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
    fn a_sample_read_twice_counts_once_and_fast_samples_keep_the_whole_window() {
        let mut fast = Trend::default();
        for second in 0..300_u32 {
            let at = Timestamp::from_seconds(f64::from(second));
            fast.push(at, f64::from(second), 90.0);
            fast.push(at, 1e9, 90.0);
        }
        assert!(fast.samples.len() <= CAPACITY + 2, "{}", fast.samples.len());
        let (oldest, _) = fast.samples[0];
        assert!(Timestamp::from_seconds(299.0).seconds_since(oldest) > 70.0);
        assert!((fast.ahead(299.0, 60.0, 0.6) - 359.0).abs() < 1e-6);
    }
}
