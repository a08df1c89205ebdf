//! Layer normalisation (Ba et al. 2016).

use candle_core::{D, Result, Tensor, Var, bail};

use crate::nn::kernels::{Normal, apply};
use crate::nn::{Initial, Start};

/// `[.., C]` -> `[.., C]`: mean 0 and variance 1 over the last dimension (1e-5 is added to the variance),
/// times a gain, plus a bias.
#[derive(Debug, Clone)]
pub struct LayerNorm {
    gain: Var,
    bias: Var,
}

impl LayerNorm {
    /// Gain 1, bias 0.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn new(scope: &mut Initial<'_>, width: usize) -> Result<Self> {
        Self::shaped(scope, &[width])
    }

    /// A gain and a bias for each of G groups: then inputs are `[G, N, C]`.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn grouped(scope: &mut Initial<'_>, groups: usize, width: usize) -> Result<Self> {
        Self::shaped(scope, &[groups, width])
    }

    fn shaped(scope: &mut Initial<'_>, shape: &[usize]) -> Result<Self> {
        let gain = scope.variable("gain", shape, Start::Constant(1.0))?;
        Ok(Self { gain, bias: scope.variable("bias", shape, Start::Zeros)? })
    }

    /// The normalised input.
    ///
    /// # Errors
    /// When the last dimension, or the number of groups, is another.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let grouped = self.gain.rank() == 2;
        let fits = x.rank() > 0
            && x.dim(D::Minus1)? == self.gain.dim(D::Minus1)?
            && (!grouped || x.dim(0)? == self.gain.dim(0)?);
        if !fits {
            bail!("a layer normalisation of {:?} was given {:?}", self.gain.dims(), x.dims());
        }
        apply(Normal, &[x, &self.gain, &self.bias])
    }
}
