//! Layer normalisation.

use super::{Input, Kernel};

/// Added to the variance (Ba et al. 2016; the value of the common libraries).
const EPSILON: f32 = 1e-5;

/// `[.., C]`, a gain `[G, C]` and a bias `[G, C]` for each of G equal blocks of rows -> rows of mean 0
/// and deviation 1, times the gain, plus the bias.
pub(in crate::nn) struct Normal;

/// Mean and 1 / deviation of a row.
fn moments(row: &[f32]) -> (f32, f32) {
    let count = row.len() as f32;
    let mean = row.iter().sum::<f32>() / count;
    let variance = row.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / count;
    (mean, 1.0 / (variance + EPSILON).sqrt())
}

impl Kernel for Normal {
    const NAME: &'static str = "layer normalisation";

    fn forward(&self, inputs: &[Input<'_>]) -> (Vec<f32>, Vec<usize>) {
        let (x, gain, bias) = (inputs[0], inputs[1], inputs[2]);
        let width = x.width();
        let block = x.values.len() / (gain.values.len() / width);
        let mut out = Vec::with_capacity(x.values.len());
        let affine = gain.values.chunks(width).zip(bias.values.chunks(width));
        for (rows, (gain, bias)) in x.values.chunks(block).zip(affine) {
            for row in rows.chunks(width) {
                let (mean, scale) = moments(row);
                let affine = gain.iter().zip(bias);
                out.extend(row.iter().zip(affine).map(|(x, (g, b))| (x - mean) * scale * g + b));
            }
        }
        (out, x.shape.to_vec())
    }

    fn backward(&self, inputs: &[Input<'_>], _: &[f32], gradient: &[f32]) -> Vec<Vec<f32>> {
        let (x, gain) = (inputs[0], inputs[1]);
        let width = x.width();
        let count = width as f32;
        let block = x.values.len() / (gain.values.len() / width);
        let mut to_x = Vec::with_capacity(x.values.len());
        let (mut to_gain, mut to_bias) =
            (vec![0.0; gain.values.len()], vec![0.0; gain.values.len()]);
        let to_affine = to_gain.chunks_mut(width).zip(to_bias.chunks_mut(width));
        let blocks = x.values.chunks(block).zip(gradient.chunks(block));
        let mut normal = vec![0.0; width];
        let mut slope = vec![0.0; width];
        for (((xs, gradients), gain), (to_gain, to_bias)) in
            blocks.zip(gain.values.chunks(width)).zip(to_affine)
        {
            for (row, gradient) in xs.chunks(width).zip(gradients.chunks(width)) {
                let (mean, scale) = moments(row);
                let (mut slopes, mut along) = (0.0, 0.0);
                for index in 0..width {
                    normal[index] = (row[index] - mean) * scale;
                    slope[index] = gradient[index] * gain[index];
                    to_gain[index] += gradient[index] * normal[index];
                    to_bias[index] += gradient[index];
                    slopes += slope[index];
                    along += slope[index] * normal[index];
                }
                // What moves the mean or the deviation alone does not move the result.
                let (slopes, along) = (slopes / count, along / count);
                let pairs = slope.iter().zip(&normal);
                to_x.extend(pairs.map(|(s, n)| scale * (s - slopes - n * along)));
            }
        }
        vec![to_x, to_gain, to_bias]
    }
}
