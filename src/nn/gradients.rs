//! Gradients of all parameters as one flat buffer.

use std::collections::BTreeSet;

use candle_core::{Error, Result, Tensor, bail};

use crate::nn::Parameters;

/// The gradients of a loss in the order of [`Parameters`], one after the other.
#[derive(Debug, Clone, PartialEq)]
pub struct Gradients {
    loss: f64,
    flat: Vec<f32>,
    missing: BTreeSet<String>,
}

impl Gradients {
    /// Differentiates `loss`, a scalar.
    ///
    /// A parameter that the loss does not depend on has the gradient 0 and is named by
    /// [`Gradients::missing`].
    ///
    /// # Errors
    /// When `loss` is not a scalar or an operation has no gradient.
    pub fn of(loss: &Tensor, parameters: &Parameters) -> Result<Self> {
        let value = loss.to_scalar::<f32>()?;
        let store = loss.backward()?;
        let mut flat = Vec::with_capacity(parameters.count());
        let mut missing = BTreeSet::new();
        for (name, variable) in parameters.iter() {
            if let Some(gradient) = store.get(variable) {
                flat.extend(gradient.flatten_all()?.to_vec1::<f32>()?);
            } else {
                missing.insert(name.to_owned());
                flat.resize(flat.len() + variable.elem_count(), 0.0);
            }
        }
        Ok(Self { loss: f64::from(value), flat, missing })
    }

    /// The loss: like the gradients, summed by [`Gradients::add`] and scaled by [`Gradients::scale`].
    #[must_use]
    pub const fn loss(&self) -> f64 {
        self.loss
    }

    /// The values, in the order of [`Parameters`].
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.flat
    }

    /// The parameters that no loss depended on.
    #[must_use]
    pub const fn missing(&self) -> &BTreeSet<String> {
        &self.missing
    }

    /// Adds the gradients of another part of the batch.
    ///
    /// # Errors
    /// When they belong to another network.
    pub fn add(&mut self, other: &Self) -> Result<()> {
        if self.flat.len() != other.flat.len() {
            bail!("{} gradients cannot be added to {}", other.flat.len(), self.flat.len());
        }
        self.flat.iter_mut().zip(&other.flat).for_each(|(sum, value)| *sum += value);
        self.missing.retain(|name| other.missing.contains(name));
        self.loss += other.loss;
        Ok(())
    }

    /// The sum over the parts of a batch, each times its weight.
    ///
    /// # Errors
    /// When there are no parts, or they belong to several networks.
    pub fn weighted(parts: impl IntoIterator<Item = (f64, Self)>) -> Result<Self> {
        let mut sum = None::<Self>;
        for (weight, mut part) in parts {
            part.scale(weight);
            match &mut sum {
                Some(sum) => sum.add(&part)?,
                None => sum = Some(part),
            }
        }
        sum.ok_or_else(|| Error::Msg("a batch has no parts".to_owned()))
    }

    /// Multiplies gradients and loss.
    pub fn scale(&mut self, factor: f64) {
        self.flat.iter_mut().for_each(|value| *value *= factor as f32);
        self.loss *= factor;
    }

    /// Sets to 0 the gradients of every parameter that `kept` does not name: the others stay as they are
    /// under [`crate::nn::Adam`] without decay and with fresh moments.
    pub fn keep(&mut self, parameters: &Parameters, kept: impl Fn(&str) -> bool) {
        let mut rest = self.flat.as_mut_slice();
        for (name, variable) in parameters.iter() {
            let (own, after) = rest.split_at_mut(variable.elem_count().min(rest.len()));
            if !kept(name) {
                own.fill(0.0);
            }
            rest = after;
        }
    }

    /// The Euclidean length of all gradients together.
    #[must_use]
    pub fn norm(&self) -> f64 {
        self.flat.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt()
    }

    /// Whether the loss and every gradient are finite.
    #[must_use]
    pub fn is_finite(&self) -> bool {
        self.loss.is_finite() && self.flat.iter().all(|value| value.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;
    use crate::nn::{Initial, Start};
    use crate::seed::Seed;

    fn pair() -> (Parameters, Tensor) {
        let mut parameters = Parameters::new();
        let mut scope = Initial::new(&mut parameters, Seed::root(1));
        scope.variable("unused", &[2], Start::Zeros).unwrap();
        let used = scope.values("used", &[2], vec![3.0, 4.0]).unwrap();
        // Half the square: the gradient is the value.
        let loss = (used.sqr().unwrap().sum_all().unwrap() * 0.5).unwrap();
        (parameters, loss)
    }

    #[test]
    fn gradients_stand_in_the_order_of_names_and_missing_ones_are_named() {
        let (parameters, loss) = pair();
        let gradients = Gradients::of(&loss, &parameters).unwrap();
        assert_eq!(gradients.values(), [0.0, 0.0, 3.0, 4.0]);
        assert_eq!(gradients.missing().iter().collect::<Vec<_>>(), ["unused"]);
        assert_eq!((gradients.norm(), gradients.loss()), (5.0, 12.5));
    }

    #[test]
    fn gradients_add_up_and_scale() {
        let (parameters, loss) = pair();
        let mut sum = Gradients::of(&loss, &parameters).unwrap();
        let other = sum.clone();
        sum.add(&other).unwrap();
        assert_eq!((sum.values()[3], sum.loss()), (8.0, 25.0));
        sum.scale(0.5);
        assert_eq!(sum, other);
        sum.keep(&parameters, |name| name != "used");
        assert_eq!(sum.norm(), 0.0);
    }

    #[test]
    fn a_loss_that_is_not_finite_is_seen() {
        let (parameters, loss) = pair();
        let bad = (loss * f64::NAN).unwrap();
        assert!(!Gradients::of(&bad, &parameters).unwrap().is_finite());
        let vector = Tensor::zeros(2, candle_core::DType::F32, &Device::Cpu).unwrap();
        assert!(Gradients::of(&vector, &parameters).is_err());
    }
}
