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
