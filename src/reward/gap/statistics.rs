//! Correlation of series that remember their past.

/// A series ready to be compared: as it is, or as ranks. NaN where nothing is known.
#[derive(Debug)]
pub(super) struct Prepared {
    values: Vec<f64>,
    /// Correlation with itself 1, 2, ... steps ago.
    memory: Vec<f64>,
}

/// How two series are tied at one lag.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Correlation {
    /// -1 to 1.
    pub(super) value: f64,
    /// Independent pairs that would say as much.
    pub(super) samples: f64,
}

impl Prepared {
    /// `None` when fewer than `least` values are numbers, or when all of them are equal.
    pub(super) fn new(values: &[f64], least: usize) -> Option<Self> {
        let known = values.iter().filter(|value| value.is_finite());
        let (count, sum) = known.clone().fold((0, 0.0), |(count, sum), v| (count + 1, sum + v));
        let mean = sum / f64::from(count);
        let square: f64 = known.map(|value| (value - mean).powi(2)).sum();
        if (count as usize) < least.max(2) || square <= 1e-18 * f64::from(count) * mean * mean {
            return None;
        }
        let values: Vec<f64> = values
            .iter()
            .map(|value| if value.is_finite() { value - mean } else { f64::NAN })
            .collect();
        let variance = square / f64::from(count);
        // Pyper and Peterman: estimates at more than a fifth of the length only add noise.
        let memory = (1..=values.len() / 5)
            .map(|lag| {
                let products = values.iter().zip(&values[lag..]).map(|(then, now)| then * now);
                let products = products.filter(|product| product.is_finite());
                let (count, sum) = products.fold((0.0, 0.0), |(n, sum), p| (n + 1.0, sum + p));
                if count > 0.0 { sum / count / variance } else { 0.0 }
            })
            .collect();
        Some(Self { values, memory })
    }

    /// Correlation of this series with what `other` was `lag` steps before; negative: is later.
    /// `None` when fewer than `least` pairs are known, or when a series is constant over them.
    pub(super) fn correlation(
        &self,
        other: &Self,
        lag: isize,
        least: usize,
    ) -> Option<Correlation> {
        let (own, other_values) = if lag >= 0 {
            (self.values.get(lag.unsigned_abs()..)?, &other.values[..])
        } else {
            (&self.values[..], other.values.get(lag.unsigned_abs()..)?)
        };
        let known = || {
            let pairs = own.iter().zip(other_values);
            pairs.filter(|(own, other)| own.is_finite() && other.is_finite())
        };
        let (mut count, mut own_sum, mut other_sum) = (0_usize, 0.0, 0.0);
        for (own, other) in known() {
            count += 1;
            own_sum += own;
            other_sum += other;
        }
        let (own_mean, other_mean) = (own_sum / count as f64, other_sum / count as f64);
        let (mut both, mut own_square, mut other_square) = (0.0, 0.0, 0.0);
        for (own, other) in known() {
            both += (own - own_mean) * (other - other_mean);
            own_square += (own - own_mean).powi(2);
            other_square += (other - other_mean).powi(2);
        }
        let value = both / (own_square * other_square).sqrt();
        if count < least || !value.is_finite() {
            return None;
        }
        let samples = effective_samples(count, &self.memory, &other.memory);
        Some(Correlation { value: value.clamp(-1.0, 1.0), samples })
    }
}

impl Correlation {
    /// Distance from 0 in standard errors, by Fisher's transformation; 0 below 4 samples.
    pub(super) fn standard_errors(self) -> f64 {
        self.value.abs().min(1.0 - 1e-12).atanh() * (self.samples - 3.0).max(0.0).sqrt()
    }
}

/// Pairs of independent values that would say as much about a correlation as `count` pairs from two
/// series with these memories: Bartlett (1946), as Pyper and Peterman (Canadian Journal of
/// Fisheries and Aquatic Sciences 55, 1998) give it: 1/N* = 1/N + 2/N sum (N - j)/N r1(j) r2(j).
/// Never more than `count`.
pub(super) fn effective_samples(count: usize, own: &[f64], other: &[f64]) -> f64 {
    let count = count as f64;
    let sum: f64 = own
        .iter()
        .zip(other)
        .zip(1_u32..)
        .map(|((own, other), lag)| (1.0 - f64::from(lag) / count).max(0.0) * own * other)
        .sum();
    count / (1.0 + 2.0 * sum).max(1.0)
}

/// Mean of a series and its standard error, by batch means (Schmeiser, Operations Research 30,
/// 1982): values of one batch of `batch` belong together, batches are independent. What is no
/// number is left out; `None` below three whole batches.
pub(super) fn mean_and_error(values: &[f64], batch: usize) -> Option<(f64, f64)> {
    let means: Vec<f64> = values.chunks_exact(batch.max(1)).filter_map(mean).collect();
    let count = means.len() as f64;
    let mean = mean(&means).filter(|_| means.len() >= 3)?;
    let variance = means.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
    Some((mean, (variance / count).sqrt()))
}

/// Mean of what is a number; `None` without any.
pub(super) fn mean(values: &[f64]) -> Option<f64> {
    let known: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
}

/// The rank of each value, 1 for the smallest, equal ones share theirs; NaN stays NaN.
pub(super) fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> =
        (0..values.len()).filter(|&index| values[index].is_finite()).collect();
    order.sort_by(|&one, &other| values[one].total_cmp(&values[other]));
    let mut ranks = vec![f64::NAN; values.len()];
    let mut before = 0;
    for equal in order.chunk_by(|&one, &other| values[one] == values[other]) {
        let rank = before as f64 + (equal.len() + 1) as f64 / 2.0;
        for &index in equal {
            ranks[index] = rank;
        }
        before += equal.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::Seed;

    fn noise(name: &str, count: u64) -> Vec<f64> {
        (0..count).map(|index| Seed::root(5).child(name).draw(index).gauss()).collect()
    }

    /// x[t] = memory x[t-1] + noise.
    fn remembering(name: &str, count: u64, memory: f64) -> Vec<f64> {
        let mut last = 0.0;
        let step = |noise| {
            last = memory * last + noise;
            last
        };
        noise(name, count).into_iter().map(step).collect()
    }

    #[test]
    fn equal_values_share_a_rank_and_what_is_no_number_has_none() {
        let ranks = ranks(&[3.0, f64::NAN, 1.0, 3.0, f64::INFINITY, 2.0]);
        assert_eq!(ranks[0], 3.5);
        assert_eq!((ranks[2], ranks[3], ranks[5]), (1.0, 3.5, 2.0));
        assert!(ranks[1].is_nan() && ranks[4].is_nan());
    }

    #[test]
    fn a_positive_lag_means_that_the_other_came_first() {
        let first = noise("first", 200);
        let later: Vec<f64> = (0..200).map(|at| if at < 7 { 0.0 } else { first[at - 7] }).collect();
        let [first, later] = [first, later].map(|values| Prepared::new(&values, 60).unwrap());
        assert!(later.correlation(&first, 7, 60).unwrap().value > 0.999);
        assert!(first.correlation(&later, -7, 60).unwrap().value > 0.999);
        assert!(later.correlation(&first, 0, 60).unwrap().value.abs() < 0.2);
    }

    #[test]
    fn memory_takes_samples_as_the_formula_says() {
        // Both with r(j) = 0.9^j: N* / N tends to (1 - 0.81) / (1 + 0.81) = 0.105.
        let [one, other] = ["one", "other"]
            .map(|name| remembering(name, 20_000, 0.9))
            .map(|values| Prepared::new(&values, 60).unwrap());
        let exact: Vec<f64> = (1..200).map(|lag| 0.9_f64.powi(lag)).collect();
        let samples = effective_samples(20_000, &exact, &exact);
        assert!((samples / 20_000.0 - 0.19 / 1.81).abs() < 0.002, "{samples}");
        let found = one.correlation(&other, 0, 60).unwrap().samples;
        assert!((found / samples - 1.0).abs() < 0.5, "{found} for {samples}");
    }

    #[test]
    fn unrelated_series_that_wander_are_rarely_far_from_zero() {
        // As independent values, every third of these would pass 3 standard errors.
        let far = (0..200)
            .filter(|index| {
                let [one, other] = ["one", "other"].map(|name| {
                    let values = remembering(&format!("{name} {index}"), 600, 0.95);
                    Prepared::new(&values, 60).unwrap()
                });
                one.correlation(&other, 0, 60).unwrap().standard_errors() > 3.0
            })
            .count();
        assert!(far <= 4, "{far} of 200");
    }

    #[test]
    fn the_error_of_a_mean_knows_memory() {
        let error = |memory| mean_and_error(&remembering("mean", 10_000, memory), 100).unwrap().1;
        assert!((error(0.0) - 0.01).abs() < 0.003, "{}", error(0.0));
        // 1 / (1 - 0.5) times as much.
        assert!((error(0.5) - 0.02).abs() < 0.006, "{}", error(0.5));
        assert_eq!(mean_and_error(&[2.0; 100], 30), Some((2.0, 0.0)));
        assert_eq!(mean_and_error(&[2.0; 89], 30), None);
        assert_eq!(mean_and_error(&[f64::NAN; 100], 30), None);
    }
}
