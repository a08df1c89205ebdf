//! The last layer: quantiles that cannot cross.

use candle_core::{D, Result, Tensor};

use crate::nn::{Initial, Linear};

/// Quantiles of one horizon: the median and steps away from it.
///
/// p10 = p50 - softplus(a), p80 = p50 + softplus(b), p90 = p80 + softplus(c); all in units of the simple forecast's recent
/// error, around that forecast.
#[derive(Debug, Clone)]
pub(super) struct Head {
    linear: Linear,
    start: Tensor,
}

/// Before training: the simple forecast itself, with the quantiles of a normal error whose mean size is one
/// (deviation 1.253). These are what softplus must be given.
const START: [f32; 4] = [0.0, 1.381, 0.634, -0.309];

/// The first layer's output is made this small, so that training starts from the simple forecast.
const FIRST: f64 = 0.05;

impl Head {
    pub(super) fn new(scope: &mut Initial<'_>, inputs: usize) -> Result<Self> {
        let start = Tensor::new(&START, &candle_core::Device::Cpu)?;
        Ok(Self { linear: Linear::new(&mut scope.child("quantiles"), inputs, START.len())?, start })
    }

    /// ... × inputs to ... × quantiles.
    pub(super) fn forward(&self, inputs: &Tensor) -> Result<Tensor> {
        let raw = (self.linear.forward(inputs)? * FIRST)?.broadcast_add(&self.start)?;
        let part = |index: usize| raw.narrow(D::Minus1, index, 1);
        let p50 = part(0)?;
        let p10 = (&p50 - softplus(&part(1)?)?)?;
        let p80 = (&p50 + softplus(&part(2)?)?)?;
        let p90 = (&p80 + softplus(&part(3)?)?)?;
        Tensor::cat(&[p10, p50, p80, p90], D::Minus1)
    }
}

/// `ln(1 + exp(x))`, without overflow: `max(x, 0) + ln(1 + exp(-|x|))`.
fn softplus(x: &Tensor) -> Result<Tensor> {
    x.relu()? + (x.abs()?.neg()?.exp()? + 1.0)?.log()?
}
