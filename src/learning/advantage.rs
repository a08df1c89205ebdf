//! Generalised advantage estimation (Schulman et al. 2016).

/// Advantages of one agent, by what is paid for: their sum is the advantage. `rewards[t]` follows the decision at `t`, of
/// which the critic expected `values[t]`; `last` is what it expected after the end, because an episode is cut off
/// there and not over.
pub(super) fn advantages<const N: usize>(
    rewards: &[[f32; N]],
    values: &[[f32; N]],
    last: [f32; N],
    discount: f64,
    lambda: f64,
) -> Vec<[f32; N]> {
    let mut advantages = vec![[0.0; N]; rewards.len()];
    let (mut next, mut sums) = (last.map(f64::from), [0.0; N]);
    for time in (0..rewards.len()).rev() {
        for term in 0..N {
            let value = f64::from(values[time][term]);
            let reward = f64::from(rewards[time][term]);
            sums[term] = reward + discount * next[term] - value + discount * lambda * sums[term];
            advantages[time][term] = sums[term] as f32;
            next[term] = value;
        }
    }
    advantages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_a_weight_of_one_it_is_the_discounted_sum_less_the_value() {
        let (rewards, values) = ([[1.0], [0.0], [2.0]], [[0.5], [0.25], [1.0]]);
        let found = advantages(&rewards, &values, [4.0], 0.5, 1.0);
        // 1 + 0.5 * 0 + 0.25 * 2 + 0.125 * 4 = 2
        assert!((found[0][0] - 1.5).abs() < 1e-6 && (found[2][0] - 3.0).abs() < 1e-6, "{found:?}");
    }

    #[test]
    fn with_a_weight_of_zero_it_is_the_difference_of_one_step_term_by_term() {
        let (rewards, values) = ([[1.0, 0.0], [0.0, 1.0]], [[0.5, 0.0], [0.25, 0.0]]);
        let found = advantages(&rewards, &values, [4.0, 0.0], 0.5, 0.0);
        let expected = [[0.625, 0.0], [1.75, 1.0]];
        let near = found.iter().flatten().zip(expected.iter().flatten());
        assert!(near.into_iter().all(|(a, b): (&f32, &f32)| (a - b).abs() < 1e-6), "{found:?}");
    }

    #[test]
    fn a_critic_that_knows_leaves_nothing() {
        let values = [1.0 + 0.9 * (1.0 + 0.9 * 3.0), 1.0 + 0.9 * 3.0];
        let values = values.map(|it: f64| [it as f32]);
        let found = advantages(&[[1.0], [1.0]], &values, [3.0], 0.9, 0.95);
        assert!(found.iter().all(|it| it[0].abs() < 1e-6), "{found:?}");
    }
}
