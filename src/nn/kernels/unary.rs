//! A bias and an activation.

use super::{Input, Kernel, exp, sigmoid, tanh};

/// What follows a linear map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    None,
    /// x sigmoid(x): as good as ELU in gated networks and without a branch.
    Silu,
    /// x above 0, e^x - 1 below: the one of the TFT paper.
    Elu,
    /// 1 / (1 + e^-x).
    Sigmoid,
    /// The hyperbolic tangent.
    Tanh,
    /// x above 0, 0 below.
    Relu,
}

impl Activation {
    /// The value at x.
    #[inline]
    pub(super) fn at(self, x: f32) -> f32 {
        match self {
            Self::Silu => x * sigmoid(x),
            Self::Elu if x > 0.0 => x,
            Self::Elu => exp(x) - 1.0,
            Self::Sigmoid => sigmoid(x),
            Self::Tanh => tanh(x),
            // Not `max`: it would hide what is not a number.
            Self::Relu if x < 0.0 => 0.0,
            Self::Relu | Self::None => x,
        }
    }

    /// The slope at x.
    #[inline]
    pub(super) fn slope(self, x: f32) -> f32 {
        match self {
            Self::Silu => {
                let gate = sigmoid(x);
                gate * (1.0 + x * (1.0 - gate))
            }
            Self::Elu if x > 0.0 => 1.0,
            Self::Elu => exp(x),
            Self::Sigmoid => {
                let gate = sigmoid(x);
                gate * (1.0 - gate)
            }
            Self::Tanh => 1.0 - tanh(x).powi(2),
            Self::Relu if x < 0.0 => 0.0,
            Self::Relu | Self::None => 1.0,
        }
    }
}

/// `[.., C]` and a bias `[G, C]` for each of G equal blocks of rows -> activation of the sum, `[.., C]`.
pub(in crate::nn) struct Biased(pub Activation);

impl Kernel for Biased {
    const NAME: &'static str = "bias and activation";

    fn forward(&self, inputs: &[Input<'_>]) -> (Vec<f32>, Vec<usize>) {
        let (x, bias) = (inputs[0], inputs[1]);
        let width = x.width();
        let block = x.values.len() / (bias.values.len() / width);
        let mut out = Vec::with_capacity(x.values.len());
        for (block, bias) in x.values.chunks(block).zip(bias.values.chunks(width)) {
            for row in block.chunks(width) {
                // One loop per activation, so that each is vectorised.
                let sums = row.iter().zip(bias).map(|(x, b)| x + b);
                match self.0 {
                    Activation::None => out.extend(sums),
                    Activation::Silu => out.extend(sums.map(|x| Activation::Silu.at(x))),
                    other => out.extend(sums.map(|x| other.at(x))),
                }
            }
        }
        (out, x.shape.to_vec())
    }

    fn backward(&self, inputs: &[Input<'_>], _: &[f32], gradient: &[f32]) -> Vec<Vec<f32>> {
        let (x, bias) = (inputs[0], inputs[1]);
        let width = x.width();
        let block = x.values.len() / (bias.values.len() / width);
        let mut to_x = Vec::with_capacity(x.values.len());
        let mut to_bias = vec![0.0; bias.values.len()];
        let blocks = x.values.chunks(block).zip(gradient.chunks(block));
        let biases = bias.values.chunks(width).zip(to_bias.chunks_mut(width));
        for ((xs, gradients), (bias, to_bias)) in blocks.zip(biases) {
            for (row, gradient) in xs.chunks(width).zip(gradients.chunks(width)) {
                let start = to_x.len();
                let sums = row.iter().zip(bias).map(|(x, b)| x + b).zip(gradient);
                match self.0 {
                    Activation::None => to_x.extend_from_slice(gradient),
                    Activation::Silu => {
                        to_x.extend(sums.map(|(x, g)| g * Activation::Silu.slope(x)));
                    }
                    other => to_x.extend(sums.map(|(x, g)| g * other.slope(x))),
                }
                to_bias.iter_mut().zip(&to_x[start..]).for_each(|(sum, g)| *sum += g);
            }
        }
        vec![to_x, to_bias]
    }
}
