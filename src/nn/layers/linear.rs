//! Linear maps.

use candle_core::{D, Result, Tensor, Var, bail};

use crate::nn::kernels::{Activation, Biased, apply};
use crate::nn::{Initial, Start};

/// `[.., in]` -> `[.., out]`: `x W + b`.
#[derive(Debug, Clone)]
pub struct Linear {
    weight: Var,
    bias: Option<Var>,
}

impl Linear {
    /// With a bias that starts at 0 and weights after Glorot.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn new(scope: &mut Initial<'_>, from: usize, to: usize) -> Result<Self> {
        Self::started(scope, [from, to], Start::Glorot)
    }

    /// With a bias that starts at 0 and weights `[in, out]` as told.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn started(scope: &mut Initial<'_>, shape: [usize; 2], start: Start) -> Result<Self> {
        let weight = scope.variable("weight", &shape, start)?;
        let bias = Some(scope.variable("bias", &[shape[1]], Start::Zeros)?);
        Ok(Self { weight, bias })
    }

    /// Without a bias.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn without_bias(scope: &mut Initial<'_>, from: usize, to: usize) -> Result<Self> {
        Ok(Self { weight: scope.variable("weight", &[from, to], Start::Glorot)?, bias: None })
    }

    /// The map.
    ///
    /// # Errors
    /// When the last dimension is not `in`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.activated(x, Activation::None)
    }

    /// The map, then an activation, in one pass over memory.
    ///
    /// # Errors
    /// When the last dimension is not `in`.
    pub fn activated(&self, x: &Tensor, activation: Activation) -> Result<Tensor> {
        let product = self.product(x)?;
        match &self.bias {
            Some(bias) => apply(Biased(activation), &[&product, bias]),
            None if activation == Activation::None => Ok(product),
            None => {
                let none = Tensor::zeros(self.weight.dim(1)?, x.dtype(), x.device())?;
                apply(Biased(activation), &[&product, &none])
            }
        }
    }

    /// The map without the bias.
    pub(in crate::nn) fn product(&self, x: &Tensor) -> Result<Tensor> {
        let (from, to) = self.weight.dims2()?;
        if x.rank() == 0 || x.dim(D::Minus1)? != from {
            bail!("a linear map of {from} values was given the shape {:?}", x.dims());
        }
        if x.rank() == 2 {
            return x.contiguous()?.matmul(&self.weight);
        }
        let mut shape = x.dims().to_vec();
        shape.pop();
        shape.push(to);
        x.reshape(((), from))?.matmul(&self.weight)?.reshape(shape)
    }

    pub(in crate::nn) const fn weight(&self) -> &Var {
        &self.weight
    }

    pub(in crate::nn) const fn bias(&self) -> Option<&Var> {
        self.bias.as_ref()
    }
}

/// G independent linear maps, `[G, N, in]` -> `[G, N, out]`, as one batched product.
#[derive(Debug, Clone)]
pub struct GroupedLinear {
    weight: Var,
    bias: Var,
}

impl GroupedLinear {
    /// With biases that start at 0 and weights after Glorot.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn new(scope: &mut Initial<'_>, groups: usize, from: usize, to: usize) -> Result<Self> {
        let weight = scope.variable("weight", &[groups, from, to], Start::Glorot)?;
        Ok(Self { weight, bias: scope.variable("bias", &[groups, to], Start::Zeros)? })
    }

    /// The maps, then an activation.
    ///
    /// # Errors
    /// When the shape is not `[G, N, in]`.
    pub fn activated(&self, x: &Tensor, activation: Activation) -> Result<Tensor> {
        apply(Biased(activation), &[&self.product(x)?, &self.bias])
    }

    pub(in crate::nn) fn product(&self, x: &Tensor) -> Result<Tensor> {
        x.contiguous()?.matmul(&self.weight)
    }

    pub(in crate::nn) const fn weight(&self) -> &Var {
        &self.weight
    }

    pub(in crate::nn) const fn bias(&self) -> &Var {
        &self.bias
    }
}
