//! Adam (Kingma and Ba 2015) over flat buffers, with clipping and a guard against numbers that are not
//! finite. Its state can be saved.

use crate::nn::{Gradients, Parameters};

/// The constants of [`Adam`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamSettings {
    /// How much of the mean gradient stays at each step.
    pub beta1: f64,
    /// How much of the mean square stays at each step.
    pub beta2: f64,
    /// Added to the root of the mean square.
    pub epsilon: f64,
    /// Longer gradients are shortened to this length, all together.
    pub max_norm: f64,
    /// The part of every parameter that is taken away at each step, times the rate (decoupled: Loshchilov
    /// and Hutter 2019).
    pub decay: f64,
    /// So many skipped steps in a row are an error.
    pub patience: u32,
}

impl Default for AdamSettings {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, max_norm: 1.0, decay: 0.0, patience: 10 }
    }
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Step {
    /// The parameters moved.
    Taken {
        /// The length of the gradients before clipping.
        norm: f64,
    },
    /// The loss, a gradient or their length was not finite: nothing changed but the count.
    Skipped,
}

/// Why no step can be taken.
#[derive(Debug, thiserror::Error)]
pub enum AdamError {
    /// The training diverged.
    #[error(
        "{0} training steps in a row had a loss or a gradient that is not finite; a lower learning rate may help"
    )]
    Diverged(u32),
    /// Another network.
    #[error(
        "the optimiser holds {own} values, but the network has {network} and {given} gradients were given"
    )]
    Sizes {
        /// Values held here.
        own: usize,
        /// Parameters of the network.
        network: usize,
        /// Gradients given.
        given: usize,
    },
    /// A learning rate that is not a number, or negative.
    #[error("the learning rate {0} is not a number of 0 or more")]
    Rate(f64),
    /// From candle.
    #[error("the parameters cannot be read or written: {0}")]
    Tensors(#[from] candle_core::Error),
}

/// The optimiser. [`crate::nn::Weights`] saves and restores it.
#[derive(Debug, Clone, PartialEq)]
pub struct Adam {
    settings: AdamSettings,
    pub(super) first: Vec<f32>,
    pub(super) second: Vec<f32>,
    pub(super) steps: u64,
    pub(super) skipped: u64,
    pub(super) in_a_row: u32,
}

impl Adam {
    /// At rest.
    #[must_use]
    pub fn new(parameters: &Parameters, settings: AdamSettings) -> Self {
        let (first, second) = (vec![0.0; parameters.count()], vec![0.0; parameters.count()]);
        Self { settings, first, second, steps: 0, skipped: 0, in_a_row: 0 }
    }

    /// Steps taken.
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.steps
    }

    /// Steps skipped, because a number was not finite.
    #[must_use]
    pub const fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Moves the parameters against the gradients.
    ///
    /// # Errors
    /// When too many steps in a row were not finite, the rate is not a number of 0 or more, or the
    /// gradients are those of another network.
    pub fn step(
        &mut self,
        parameters: &Parameters,
        mut gradients: Gradients,
        rate: f64,
    ) -> Result<Step, AdamError> {
        let (own, network) = (self.first.len(), parameters.count());
        let given = gradients.values().len();
        if own != network || own != given {
            return Err(AdamError::Sizes { own, network, given });
        }
        if !(rate >= 0.0 && rate.is_finite()) {
            return Err(AdamError::Rate(rate));
        }
        let norm = gradients.norm();
        if !(gradients.is_finite() && norm.is_finite()) {
            self.skipped += 1;
            self.in_a_row += 1;
            if self.in_a_row >= self.settings.patience {
                return Err(AdamError::Diverged(self.in_a_row));
            }
            return Ok(Step::Skipped);
        }
        if norm > self.settings.max_norm {
            gradients.scale(self.settings.max_norm / norm);
        }
        self.in_a_row = 0;
        self.steps += 1;
        let mut values = parameters.to_flat()?;
        self.moved(&mut values, gradients.values(), rate);
        parameters.set_flat(&values)?;
        Ok(Step::Taken { norm })
    }

    fn moved(&mut self, values: &mut [f32], gradients: &[f32], rate: f64) {
        let AdamSettings { beta1, beta2, epsilon, decay, .. } = self.settings;
        // Beyond 2^31 steps both corrections are 1.
        let steps = i32::try_from(self.steps).unwrap_or(i32::MAX);
        let (correction1, correction2) = (1.0 - beta1.powi(steps), 1.0 - beta2.powi(steps));
        let moments = self.first.iter_mut().zip(self.second.iter_mut());
        for ((value, gradient), (first, second)) in values.iter_mut().zip(gradients).zip(moments) {
            let gradient = f64::from(*gradient);
            let mean = beta1 * f64::from(*first) + (1.0 - beta1) * gradient;
            let square = beta2 * f64::from(*second) + (1.0 - beta2) * gradient * gradient;
            (*first, *second) = (mean as f32, square as f32);
            let toward = (mean / correction1) / ((square / correction2).sqrt() + epsilon);
            let old = f64::from(*value);
            *value = (old - rate * (toward + decay * old)) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Tensor, Var};

    use super::*;
    use crate::nn::{Initial, Start};
    use crate::seed::Seed;

    fn network() -> (Parameters, Var) {
        let mut parameters = Parameters::new();
        let mut scope = Initial::new(&mut parameters, Seed::root(1));
        let variable = scope.variable("a", &[3], Start::Constant(1.0)).unwrap();
        (parameters, variable)
    }

    /// A loss whose gradient is these numbers.
    fn sloped(variable: &Var, slopes: [f32; 3], parameters: &Parameters) -> Gradients {
        let slopes = Tensor::new(&slopes, &candle_core::Device::Cpu).unwrap();
        let loss = (variable.as_tensor() * slopes).unwrap().sum_all().unwrap();
        Gradients::of(&loss, parameters).unwrap()
    }

    #[test]
    fn steps_match_numbers_made_by_hand() {
        let (parameters, variable) = network();
        let settings = AdamSettings { epsilon: 1e-5, max_norm: 100.0, ..AdamSettings::default() };
        let mut adam = Adam::new(&parameters, settings);
        adam.step(&parameters, sloped(&variable, [1.0, -2.0, 0.0], &parameters), 0.1).unwrap();
        // The first step is the sign of the gradient, whatever its size.
        let values = parameters.to_flat().unwrap();
        assert!((values[0] - 0.9).abs() < 1e-5 && (values[1] - 1.1).abs() < 1e-5, "{values:?}");
        assert_eq!(values[2], 1.0);
        adam.step(&parameters, sloped(&variable, [0.5, -2.0, 0.0], &parameters), 0.1).unwrap();
        // Mean (0.09 + 0.05) / 0.19, mean square (0.000999 + 0.00025) / 0.001999.
        let expected = 0.9 - 0.1 * (0.14 / 0.19) / (0.001_249_f64 / 0.001_999).sqrt();
        let value = f64::from(parameters.to_flat().unwrap()[0]);
        assert!((value - expected).abs() < 1e-5, "{value} {expected}");
        assert_eq!((adam.steps(), adam.skipped()), (2, 0));
    }

    #[test]
    fn long_gradients_are_shortened_to_the_limit_and_short_ones_are_not() {
        let (parameters, variable) = network();
        // With betas of 0 the moments are the clipped gradient itself.
        let settings =
            AdamSettings { beta1: 0.0, beta2: 0.0, max_norm: 2.0, ..AdamSettings::default() };
        let mut adam = Adam::new(&parameters, settings);
        let long = sloped(&variable, [3.0, 4.0, 0.0], &parameters);
        assert_eq!(adam.step(&parameters, long, 0.1).unwrap(), Step::Taken { norm: 5.0 });
        assert!((adam.first[0] - 1.2).abs() < 1e-6 && (adam.first[1] - 1.6).abs() < 1e-6);
        let short = sloped(&variable, [0.3, 0.4, 0.0], &parameters);
        adam.step(&parameters, short, 0.1).unwrap();
        assert_eq!(adam.first, [0.3, 0.4, 0.0]);
    }

    #[test]
    fn a_step_that_is_not_finite_changes_nothing_and_is_counted() {
        let (parameters, variable) = network();
        let settings = AdamSettings { patience: 3, ..AdamSettings::default() };
        let mut adam = Adam::new(&parameters, settings);
        let (good, bad) = ([1.0, 1.0, 1.0], [1.0, f32::NAN, 1.0]);
        adam.step(&parameters, sloped(&variable, good, &parameters), 0.1).unwrap();
        let (values, moments) = (parameters.to_flat().unwrap(), adam.first.clone());
        for _ in 0..2 {
            let step = adam.step(&parameters, sloped(&variable, bad, &parameters), 0.1).unwrap();
            assert_eq!(step, Step::Skipped);
        }
        assert_eq!((parameters.to_flat().unwrap(), &adam.first), (values, &moments));
        // A good step in between: the count in a row begins again.
        adam.step(&parameters, sloped(&variable, good, &parameters), 0.1).unwrap();
        for _ in 0..2 {
            adam.step(&parameters, sloped(&variable, bad, &parameters), 0.1).unwrap();
        }
        let third = adam.step(&parameters, sloped(&variable, bad, &parameters), 0.1);
        assert!(matches!(third, Err(AdamError::Diverged(3))));
        assert_eq!((adam.steps(), adam.skipped()), (2, 5));
    }

    #[test]
    fn decay_pulls_towards_zero_apart_from_the_gradient() {
        let (parameters, variable) = network();
        let settings = AdamSettings { decay: 0.5, ..AdamSettings::default() };
        let mut adam = Adam::new(&parameters, settings);
        adam.step(&parameters, sloped(&variable, [0.0; 3], &parameters), 0.1).unwrap();
        assert_eq!(parameters.to_flat().unwrap(), [0.95; 3]);
    }

    #[test]
    fn wrong_rates_and_other_networks_are_refused() {
        let (parameters, variable) = network();
        let mut adam = Adam::new(&parameters, AdamSettings::default());
        for rate in [-0.1, f64::NAN, f64::INFINITY] {
            let step = adam.step(&parameters, sloped(&variable, [1.0; 3], &parameters), rate);
            assert!(matches!(step, Err(AdamError::Rate(_))));
        }
        let other = sloped(&variable, [1.0; 3], &parameters);
        let step = adam.step(&Parameters::new(), other, 0.1);
        assert!(matches!(step, Err(AdamError::Sizes { own: 3, network: 0, given: 3 })));
    }
}
