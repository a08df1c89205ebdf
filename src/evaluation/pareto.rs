//! Which of several trade-offs nobody would refuse.

/// Places of the points that no other point beats, in order of the first coordinate. Less is
/// better in both; a point beats another one when it is nowhere worse and somewhere better. Equal
/// points do not beat each other; a point with NaN is never among them.
#[must_use]
pub fn front(points: &[[f64; 2]]) -> Vec<usize> {
    let beats =
        |one: &[f64; 2], other: &[f64; 2]| one[0] <= other[0] && one[1] <= other[1] && one != other;
    let measured = |point: &[f64; 2]| !point.iter().any(|value| value.is_nan());
    let mut front: Vec<usize> = (0..points.len())
        .filter(|index| measured(&points[*index]))
        .filter(|index| !points.iter().any(|other| beats(other, &points[*index])))
        .collect();
    front.sort_by(|one, other| {
        let ([a, b], [c, d]) = (points[*one], points[*other]);
        a.total_cmp(&c).then(b.total_cmp(&d))
    });
    front
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_front_holds_what_is_not_beaten_in_order_of_cost() {
        // (3, 3) is beaten by (2, 2); (4, 1) costs more than (2, 2) and breaks less.
        assert_eq!(front(&[[4.0, 1.0], [3.0, 3.0], [2.0, 2.0], [1.0, 9.0]]), [3, 2, 0]);
    }

    #[test]
    fn equal_points_both_stay_and_a_worse_twin_goes() {
        assert_eq!(front(&[[1.0, 1.0], [1.0, 1.0], [1.0, 2.0]]), [0, 1]);
    }

    #[test]
    fn what_was_not_measured_is_on_no_front() {
        assert_eq!(front(&[[f64::NAN, 0.0], [5.0, 5.0]]), [1]);
        assert!(front(&[]).is_empty());
    }
}
