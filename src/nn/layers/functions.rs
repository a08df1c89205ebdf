//! Functions without parameters whose gradients arrive.

use candle_core::{Device, Result, Tensor};

use crate::nn::kernels::{Activation, Biased, Soft, apply};

/// Shares that add up to 1 over the last dimension, `[.., C]` -> `[.., C]`.
///
/// # Errors
/// When candle fails.
pub fn softmax(x: &Tensor) -> Result<Tensor> {
    apply(Soft { scale: 1.0 }, &[x])
}

/// 1 / (1 + e^-x).
///
/// # Errors
/// When `x` has no dimension.
pub fn sigmoid(x: &Tensor) -> Result<Tensor> {
    activated(x, Activation::Sigmoid)
}

/// x sigmoid(x).
///
/// # Errors
/// When `x` has no dimension.
pub fn silu(x: &Tensor) -> Result<Tensor> {
    activated(x, Activation::Silu)
}

/// x above 0, e^x - 1 below.
///
/// # Errors
/// When `x` has no dimension.
pub fn elu(x: &Tensor) -> Result<Tensor> {
    activated(x, Activation::Elu)
}

fn activated(x: &Tensor, activation: Activation) -> Result<Tensor> {
    let width = x.dim(candle_core::D::Minus1)?;
    let zeros = Tensor::zeros(width, candle_core::DType::F32, &Device::Cpu)?;
    apply(Biased(activation), &[x, &zeros])
}
