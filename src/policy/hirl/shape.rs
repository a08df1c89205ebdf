//! The shape of an app's traffic: the last half hour, minute by minute, over its own mean.
//!
//! What is learned of shapes (see [`ShapeNetwork`](super::network::ShapeNetwork)) knows no sizes and no names.

use super::features::SHAPE;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_traffic_has_no_shape_and_a_silent_minute_is_a_number() {
        assert_eq!(shape(&[0.0; 30]), [0.0; MINUTES]);
        assert!(shape(&[0.0, 5.0]).iter().all(|value| value.is_finite()));
    }
}
