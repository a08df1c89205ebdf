//! The shape of an app's traffic: the last half hour, minute by minute, over its own mean.
//!
//! What is learned of shapes (see [`ShapeNetwork`](super::network::ShapeNetwork)) knows no sizes and no names.

use super::features::SHAPE;
use crate::cluster::Timestamp;

/// Minutes of a shape.
pub const MINUTES: usize = 30;

/// Of each minute, the oldest first: [`SHAPE`].
pub type Shape = [f32; MINUTES];

/// The shape of some minutes' mean requests per second, the last one now. Minutes that nobody saw are as the mean of
/// the others; traffic that was none all the time has no shape, all 0.
#[must_use]
pub fn shape(means: &[f32]) -> Shape {
    let means = &means[means.len().saturating_sub(MINUTES)..];
    let mut shape = [0.0; MINUTES];
    let mean = means.iter().sum::<f32>() / means.len().max(1) as f32;
    if mean > 0.0 {
        for (place, own) in shape[MINUTES - means.len()..].iter_mut().zip(means) {
            let [low, high] = SHAPE.range;
            *place = (own / mean).ln().clamp(low, high);
        }
    }
    shape
}

const MINUTE: f64 = 60.0;

/// Mean requests per second of the last minutes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Minutes {
    /// Of minutes that are over, the newest last.
    means: [f32; MINUTES],
    /// How many of them were seen.
    seen: usize,
    /// The minute that is not over: its begin, sum and count.
    now: Option<(Timestamp, f64, f64)>,
}

impl Minutes {
    /// Takes in what was seen at `now`; what is no number is left out.
    pub(super) fn look(&mut self, rps: f64, now: Timestamp) {
        if !rps.is_finite() {
            return;
        }
        if let Some((begun, sum, count)) = &mut self.now
            && (0.0..MINUTE).contains(&now.seconds_since(*begun))
        {
            *sum += rps;
            *count += 1.0;
            return;
        }
        if let Some((_, sum, count)) = self.now.replace((now, rps, 1.0)) {
            self.means.rotate_left(1);
            self.means[MINUTES - 1] = (sum / count) as f32;
            self.seen = (self.seen + 1).min(MINUTES);
        }
    }

    /// With the minute that is not over.
    pub(super) fn shape(&self) -> Shape {
        let mut means = [0.0; MINUTES + 1];
        means[..MINUTES].copy_from_slice(&self.means);
        let end = self.now.map_or(MINUTES, |(_, sum, count)| {
            means[MINUTES] = (sum / count) as f32;
            MINUTES + 1
        });
        shape(&means[MINUTES - self.seen..end])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Timestamp {
        Timestamp::from_seconds(1e6 + seconds)
    }

    #[test]
    fn a_shape_is_of_minutes_whatever_the_size() {
        let shape_of = |size: f64| {
            let mut minutes = Minutes::default();
            for step in 0..60 * 6 {
                let rps = if step < 50 * 6 { 1.0 } else { 3.0 };
                minutes.look(size * rps, at(f64::from(step) * 10.0));
            }
            minutes.shape()
        };
        let shape = shape_of(7.0);
        // Of thirty minutes the last ten are three times the others.
        let mean = (20.0 + 10.0 * 3.0) / 30.0;
        let near = |value: f32, of: f64| (f64::from(value) - of.ln()).abs() < 1e-5;
        assert!(near(shape[0], 1.0 / mean) && near(shape[19], 1.0 / mean), "{shape:?}");
        assert!(near(shape[20], 3.0 / mean) && near(shape[29], 3.0 / mean), "{shape:?}");
        assert!(shape_of(900.0).iter().zip(shape).all(|(one, other)| (one - other).abs() < 1e-5));
    }

    #[test]
    fn what_was_not_seen_is_as_the_mean_and_no_traffic_has_no_shape() {
        let mut minutes = Minutes::default();
        assert_eq!(minutes.shape(), [0.0; MINUTES]);
        minutes.look(f64::NAN, at(0.0));
        minutes.look(4.0, at(0.0));
        minutes.look(1.0, at(60.0));
        let shape = minutes.shape();
        assert_eq!(shape[..28], [0.0; 28]);
        assert!(shape[28] > 0.0 && shape[29] < 0.0);
        assert_eq!(super::shape(&[0.0; 30]), [0.0; MINUTES]);
        assert!(super::shape(&[0.0, 5.0]).iter().all(|value| value.is_finite()));
    }
}
