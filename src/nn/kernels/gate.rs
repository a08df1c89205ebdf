//! Gated linear units.

use super::{Input, Kernel, sigmoid};

/// `[.., 2C]` and a bias `[G, 2C]` -> `sigmoid(left half) * right half`, `[.., C]`.
pub(in crate::nn) struct Gate;

/// As [`Gate`], added to a skip connection `[.., C]`.
pub(in crate::nn) struct GatedSkip;

impl Kernel for Gate {
    const NAME: &'static str = "gated linear unit";

    fn forward(&self, inputs: &[Input<'_>]) -> (Vec<f32>, Vec<usize>) {
        forward(inputs[0], inputs[1], None)
    }

    fn backward(&self, inputs: &[Input<'_>], _: &[f32], gradient: &[f32]) -> Vec<Vec<f32>> {
        backward(inputs[0], inputs[1], gradient)
    }
}

impl Kernel for GatedSkip {
    const NAME: &'static str = "gated linear unit on a skip connection";

    fn forward(&self, inputs: &[Input<'_>]) -> (Vec<f32>, Vec<usize>) {
        forward(inputs[0], inputs[1], Some(inputs[2]))
    }

    fn backward(&self, inputs: &[Input<'_>], _: &[f32], gradient: &[f32]) -> Vec<Vec<f32>> {
        let mut gradients = backward(inputs[0], inputs[1], gradient);
        gradients.push(gradient.to_vec());
        gradients
    }
}

fn forward(x: Input<'_>, bias: Input<'_>, skip: Option<Input<'_>>) -> (Vec<f32>, Vec<usize>) {
    let width = x.width();
    let half = width / 2;
    let block = x.values.len() / (bias.values.len() / width);
    let mut out = skip.map_or_else(|| vec![0.0; x.values.len() / 2], |skip| skip.values.to_vec());
    let blocks = x.values.chunks(block).zip(out.chunks_mut(block / 2));
    for ((xs, outs), bias) in blocks.zip(bias.values.chunks(width)) {
        let (bias_left, bias_right) = bias.split_at(half);
        for (row, out) in xs.chunks(width).zip(outs.chunks_mut(half)) {
            let (left, right) = row.split_at(half);
            let left = left.iter().zip(bias_left).map(|(x, b)| x + b);
            let right = right.iter().zip(bias_right).map(|(x, b)| x + b);
            for (out, (left, right)) in out.iter_mut().zip(left.zip(right)) {
                *out += sigmoid(left) * right;
            }
        }
    }
    let mut shape = x.shape.to_vec();
    if let Some(last) = shape.last_mut() {
        *last = half;
    }
    (out, shape)
}

fn backward(x: Input<'_>, bias: Input<'_>, gradient: &[f32]) -> Vec<Vec<f32>> {
    let width = x.width();
    let half = width / 2;
    let block = x.values.len() / (bias.values.len() / width);
    let mut to_x = vec![0.0; x.values.len()];
    let mut to_bias = vec![0.0; bias.values.len()];
    let blocks = x.values.chunks(block).zip(to_x.chunks_mut(block)).zip(gradient.chunks(block / 2));
    let biases = bias.values.chunks(width).zip(to_bias.chunks_mut(width));
    for (((xs, to_xs), gradients), (bias, to_bias)) in blocks.zip(biases) {
        let (bias_left, bias_right) = bias.split_at(half);
        let rows = xs.chunks(width).zip(to_xs.chunks_mut(width)).zip(gradients.chunks(half));
        for ((row, to_row), gradient) in rows {
            let (left, right) = row.split_at(half);
            let (to_left, to_right) = to_row.split_at_mut(half);
            let left = left.iter().zip(bias_left).map(|(x, b)| x + b);
            let right = right.iter().zip(bias_right).map(|(x, b)| x + b);
            let to = to_left.iter_mut().zip(to_right);
            for (((left, right), gradient), (to_left, to_right)) in
                left.zip(right).zip(gradient).zip(to)
            {
                let gate = sigmoid(left);
                *to_left = gradient * right * gate * (1.0 - gate);
                *to_right = gradient * gate;
            }
            to_bias.iter_mut().zip(to_row.iter()).for_each(|(sum, g)| *sum += g);
        }
    }
    vec![to_x, to_bias]
}
