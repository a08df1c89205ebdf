//! The softmax.

use super::{Input, Kernel, exp};

/// `[.., C]` and, if given, something to add to every block of rows, `[R, C]` -> the softmax of scale times
/// the first plus the second over the last dimension, `[.., C]`. Nothing flows back to the second.
pub(in crate::nn) struct Soft {
    pub scale: f32,
}

/// Shares below e^-80 are 0: their products would not be normal numbers, which processors multiply slowly.
const SMALLEST: f32 = -80.0;

impl Kernel for Soft {
    const NAME: &'static str = "softmax";

    fn forward(&self, inputs: &[Input<'_>]) -> (Vec<f32>, Vec<usize>) {
        let width = inputs[0].width();
        let mut out: Vec<f32> = inputs[0].values.iter().map(|x| x * self.scale).collect();
        if let Some(added) = inputs.get(1) {
            for block in out.chunks_mut(added.values.len()) {
                block.iter_mut().zip(added.values).for_each(|(x, added)| *x += added);
            }
        }
        for row in out.chunks_mut(width) {
            let largest = row.iter().fold(f32::NEG_INFINITY, |largest, x| largest.max(*x));
            for x in &mut *row {
                let below = *x - largest;
                *x = if below < SMALLEST { 0.0 } else { exp(below) };
            }
            let sum: f32 = row.iter().sum();
            for x in row {
                *x /= sum;
            }
        }
        (out, inputs[0].shape.to_vec())
    }

    fn backward(&self, inputs: &[Input<'_>], result: &[f32], gradient: &[f32]) -> Vec<Vec<f32>> {
        let width = inputs[0].width();
        let mut to_x = Vec::with_capacity(result.len());
        for (share, gradient) in result.chunks(width).zip(gradient.chunks(width)) {
            let mean: f32 = share.iter().zip(gradient).map(|(s, g)| s * g).sum();
            to_x.extend(share.iter().zip(gradient).map(|(s, g)| self.scale * s * (g - mean)));
        }
        let mut gradients = vec![to_x];
        gradients.extend(inputs.get(1).map(|added| vec![0.0; added.values.len()]));
        gradients
    }
}
