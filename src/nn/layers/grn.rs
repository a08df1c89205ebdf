//! Gated linear units and gated residual networks (Lim et al. 2021, section 4.1).

use candle_core::{Result, Tensor};

use super::{Activation, LayerNorm, Linear};
use crate::nn::Initial;
use crate::nn::kernels::{Biased, Gate, GatedSkip, apply};

/// `[.., in]` -> `[.., out]`: one linear map, times the sigmoid of another.
#[derive(Debug, Clone)]
pub struct Glu {
    both: Linear,
}

impl Glu {
    /// Both maps as one of twice the width.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn new(scope: &mut Initial<'_>, from: usize, to: usize) -> Result<Self> {
        Ok(Self { both: Linear::new(scope, from, 2 * to)? })
    }

    /// The gated map.
    ///
    /// # Errors
    /// When the last dimension is not `in`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let product = self.both.product(x)?;
        match self.both.bias() {
            Some(bias) => apply(Gate, &[&product, bias]),
            None => Ok(product),
        }
    }

    /// The gated map added to a skip connection `[.., out]`.
    ///
    /// # Errors
    /// When a shape is another.
    pub fn onto(&self, x: &Tensor, skip: &Tensor) -> Result<Tensor> {
        let product = self.both.product(x)?;
        let mut expected = product.dims().to_vec();
        if let Some(last) = expected.last_mut() {
            *last /= 2;
        }
        if skip.dims() != expected {
            candle_core::bail!("a skip connection of {:?} for {expected:?}", skip.dims());
        }
        match self.both.bias() {
            Some(bias) => apply(GatedSkip, &[&product, bias, skip]),
            None => Ok(product),
        }
    }
}

/// The sizes of a [`Grn`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrnSizes {
    /// Values in.
    pub input: usize,
    /// Values inside.
    pub hidden: usize,
    /// Values out.
    pub output: usize,
    /// Values of the context, if there is one.
    pub context: Option<usize>,
}

impl GrnSizes {
    /// The same number in, inside and out; no context.
    #[must_use]
    pub const fn all(width: usize) -> Self {
        Self { input: width, hidden: width, output: width, context: None }
    }
}

/// `[.., in]` -> `[.., out]`: `LayerNorm(skip(x) + GLU(activation(x W + context V + b)))`.
///
/// The paper has one more linear map before the gate, whose place is that of its dropout: without dropout
/// the two maps are one, and here they are. The skip connection is a linear map where `in` and `out` differ.
#[derive(Debug, Clone)]
pub struct Grn {
    first: Linear,
    context: Option<Linear>,
    gate: Glu,
    skip: Option<Linear>,
    norm: LayerNorm,
    activation: Activation,
}

impl Grn {
    /// The paper's activation is [`Activation::Elu`]; [`Activation::Silu`] has no branch and is as smooth.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn new(scope: &mut Initial<'_>, sizes: GrnSizes, activation: Activation) -> Result<Self> {
        let GrnSizes { input, hidden, output, context } = sizes;
        let first = Linear::new(&mut scope.child("first"), input, hidden)?;
        let context = match context {
            Some(width) => Some(Linear::without_bias(&mut scope.child("context"), width, hidden)?),
            None => None,
        };
        let gate = Glu::new(&mut scope.child("gate"), hidden, output)?;
        let skip = if input == output {
            None
        } else {
            Some(Linear::new(&mut scope.child("skip"), input, output)?)
        };
        let norm = LayerNorm::new(&mut scope.child("norm"), output)?;
        Ok(Self { first, context, gate, skip, norm, activation })
    }

    /// The network's answer. The context's leading dimensions are those of `x`, or 1 where it is shared.
    ///
    /// # Errors
    /// When a shape is another, or a context is missing or not expected.
    pub fn forward(&self, x: &Tensor, context: Option<&Tensor>) -> Result<Tensor> {
        let hidden = match (&self.context, context) {
            (None, None) => self.first.activated(x, self.activation)?,
            (Some(map), Some(context)) => {
                let sum = self.first.product(x)?.broadcast_add(&map.product(context)?)?;
                match self.first.bias() {
                    Some(bias) => apply(Biased(self.activation), &[&sum, bias])?,
                    None => sum,
                }
            }
            (Some(_), None) => candle_core::bail!("a gated residual network misses its context"),
            (None, Some(_)) => candle_core::bail!("a gated residual network expects no context"),
        };
        let sum = match &self.skip {
            Some(skip) => self.gate.onto(&hidden, &skip.forward(x)?)?,
            None => self.gate.onto(&hidden, x)?,
        };
        self.norm.forward(&sum)
    }
}
