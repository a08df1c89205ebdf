//! Generalised advantage estimation (Schulman et al. 2016).

/// Advantages of one agent. `rewards[t]` follows the decision at `t`, of which the critic expected
/// `values[t]`; `last` is what it expected after the end, because an episode is cut off there and not over.
pub(super) fn advantages(
    rewards: &[f32],
    values: &[f32],
    last: f32,
    discount: f64,
    lambda: f64,
) -> Vec<f32> {
    let mut advantages = vec![0.0; rewards.len()];
    let (mut next, mut sum) = (f64::from(last), 0.0);
    for time in (0..rewards.len()).rev() {
        let value = f64::from(values[time]);
        sum = f64::from(rewards[time]) + discount * next - value + discount * lambda * sum;
        advantages[time] = sum as f32;
        next = value;
    }
    advantages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_a_weight_of_one_it_is_the_discounted_sum_less_the_value() {
        let found = advantages(&[1.0, 0.0, 2.0], &[0.5, 0.25, 1.0], 4.0, 0.5, 1.0);
        // 1 + 0.5 * 0 + 0.25 * 2 + 0.125 * 4 = 2
        assert!((found[0] - 1.5).abs() < 1e-6 && (found[2] - 3.0).abs() < 1e-6, "{found:?}");
    }

    #[test]
    fn with_a_weight_of_zero_it_is_the_difference_of_one_step() {
        let found = advantages(&[1.0, 0.0], &[0.5, 0.25], 4.0, 0.5, 0.0);
        assert!((found[0] - 0.625).abs() < 1e-6 && (found[1] - 1.75).abs() < 1e-6, "{found:?}");
    }

    #[test]
    fn a_critic_that_knows_leaves_nothing() {
        let values = [1.0 + 0.9 * (1.0 + 0.9 * 3.0), 1.0 + 0.9 * 3.0];
        let found = advantages(&[1.0, 1.0], &values.map(|it: f64| it as f32), 3.0, 0.9, 0.95);
        assert!(found.iter().all(|it| it.abs() < 1e-6), "{found:?}");
    }
}
