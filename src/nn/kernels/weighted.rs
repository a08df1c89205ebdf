//! A sum over variables, weighted row by row.

use super::{Input, Kernel};

/// Weights `[N, V]` and vectors `[V, N, H]` -> the weighted sum over V, `[N, H]`.
pub(in crate::nn) struct WeightedSum;

impl Kernel for WeightedSum {
    const NAME: &'static str = "weighted sum of variables";

    fn forward(&self, inputs: &[Input<'_>]) -> (Vec<f32>, Vec<usize>) {
        let (weights, vectors) = (inputs[0], inputs[1]);
        let (variables, width) = (weights.width(), vectors.width());
        let rows = weights.values.len() / variables;
        let mut out = vec![0.0; rows * width];
        for (variable, vectors) in vectors.values.chunks(rows * width).enumerate() {
            let weights = weights.values.chunks(variables).map(|row| row[variable]);
            for ((out, vector), weight) in
                out.chunks_mut(width).zip(vectors.chunks(width)).zip(weights)
            {
                out.iter_mut().zip(vector).for_each(|(sum, x)| *sum += weight * x);
            }
        }
        (out, vec![rows, width])
    }

    fn backward(&self, inputs: &[Input<'_>], _: &[f32], gradient: &[f32]) -> Vec<Vec<f32>> {
        let (weights, vectors) = (inputs[0], inputs[1]);
        let (variables, width) = (weights.width(), vectors.width());
        let rows = weights.values.len() / variables;
        let mut to_weights = vec![0.0; weights.values.len()];
        let mut to_vectors = Vec::with_capacity(vectors.values.len());
        for (variable, vectors) in vectors.values.chunks(rows * width).enumerate() {
            for (row, (vector, gradient)) in
                vectors.chunks(width).zip(gradient.chunks(width)).enumerate()
            {
                let at = row * variables + variable;
                let weight = weights.values[at];
                to_weights[at] = vector.iter().zip(gradient).map(|(x, g)| x * g).sum();
                to_vectors.extend(gradient.iter().map(|g| weight * g));
            }
        }
        vec![to_weights, to_vectors]
    }
}
