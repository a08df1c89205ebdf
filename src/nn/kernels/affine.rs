//! One scalar into a vector, for many scalars at once.

use super::{Activation, Input, Kernel};

/// Scalars `[N, V]`, directions `[V, H]` and offsets `[V, H]` -> activation of scalar times direction plus
/// offset, `[V, N, H]`.
pub(in crate::nn) struct Outer(pub Activation);

impl Kernel for Outer {
    const NAME: &'static str = "affine map of scalars";

    fn forward(&self, inputs: &[Input<'_>]) -> (Vec<f32>, Vec<usize>) {
        let (x, direction, offset) = (inputs[0], inputs[1], inputs[2]);
        let (variables, width) = (x.width(), direction.width());
        let rows = x.values.len() / variables;
        let mut out = Vec::with_capacity(x.values.len() * width);
        let maps = direction.values.chunks(width).zip(offset.values.chunks(width));
        for (variable, (direction, offset)) in maps.enumerate() {
            for row in x.values.chunks(variables) {
                let x = row[variable];
                let sums = direction.iter().zip(offset).map(|(d, o)| x * d + o);
                match self.0 {
                    Activation::None => out.extend(sums),
                    Activation::Silu => out.extend(sums.map(|x| Activation::Silu.at(x))),
                    other => out.extend(sums.map(|x| other.at(x))),
                }
            }
        }
        (out, vec![variables, rows, width])
    }

    fn backward(&self, inputs: &[Input<'_>], _: &[f32], gradient: &[f32]) -> Vec<Vec<f32>> {
        let (x, direction, offset) = (inputs[0], inputs[1], inputs[2]);
        let (variables, width) = (x.width(), direction.width());
        let rows = x.values.len() / variables;
        let mut to_x = vec![0.0; x.values.len()];
        let mut to_direction = vec![0.0; direction.values.len()];
        let mut to_offset = vec![0.0; offset.values.len()];
        let mut slope = vec![0.0; width];
        for (variable, gradients) in gradient.chunks(rows * width).enumerate() {
            let own = variable * width..(variable + 1) * width;
            let (direction, offset) = (&direction.values[own.clone()], &offset.values[own.clone()]);
            let (to_direction, to_offset) = (&mut to_direction[own.clone()], &mut to_offset[own]);
            for (row, gradient) in gradients.chunks(width).enumerate() {
                let at = row * variables + variable;
                let x = x.values[at];
                let mut sum = 0.0;
                match self.0 {
                    Activation::None => slope.copy_from_slice(gradient),
                    other => {
                        for (index, slope) in slope.iter_mut().enumerate() {
                            *slope =
                                gradient[index] * other.slope(x * direction[index] + offset[index]);
                        }
                    }
                }
                for index in 0..width {
                    sum += slope[index] * direction[index];
                    to_direction[index] += slope[index] * x;
                    to_offset[index] += slope[index];
                }
                to_x[at] = sum;
            }
        }
        vec![to_x, to_direction, to_offset]
    }
}
