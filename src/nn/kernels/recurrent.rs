//! Long short-term memory over a whole sequence (Hochreiter and Schmidhuber 1997, Gers et al. 2000).

use std::sync::OnceLock;

use super::{Input, Kernel, sigmoid, tanh};

/// Inputs times their weights plus bias `[B, T, 4H]`, recurrent weights `[H, 4H]` and the state before
/// `[2, B, H]` (outputs, then cells) -> outputs and cells of every step, `[B, T, 2H]`.
///
/// The four gates stand in the order input, forget, candidate, output.
#[derive(Default)]
pub(in crate::nn) struct Recurrent {
    /// The gates after their activations, `[B, T, 4H]`: the way back needs them.
    gates: OnceLock<Vec<f32>>,
}

impl Kernel for Recurrent {
    const NAME: &'static str = "long short-term memory";

    fn forward(&self, inputs: &[Input<'_>]) -> (Vec<f32>, Vec<usize>) {
        let (x, weights, state) = (inputs[0], inputs[1], inputs[2]);
        let (batch, steps, width) = (x.shape[0], x.shape[1], x.shape[2] / 4);
        let mut gates = x.values.to_vec();
        let mut out = vec![0.0; batch * steps * 2 * width];
        let (hidden, cells) = state.values.split_at(batch * width);
        let sequences = gates.chunks_mut(steps * 4 * width).zip(out.chunks_mut(steps * 2 * width));
        let starts = hidden.chunks(width).zip(cells.chunks(width));
        for ((gates, out), (hidden, cell)) in sequences.zip(starts) {
            let (mut hidden, mut cell) = (hidden.to_vec(), cell.to_vec());
            for (gates, out) in gates.chunks_mut(4 * width).zip(out.chunks_mut(2 * width)) {
                for (from, row) in hidden.iter().zip(weights.values.chunks(4 * width)) {
                    gates.iter_mut().zip(row).for_each(|(sum, weight)| *sum += from * weight);
                }
                activate(gates, width);
                for index in 0..width {
                    cell[index] = gates[width + index] * cell[index]
                        + gates[index] * gates[2 * width + index];
                    hidden[index] = gates[3 * width + index] * tanh(cell[index]);
                }
                out[..width].copy_from_slice(&hidden);
                out[width..].copy_from_slice(&cell);
            }
        }
        // A kernel is applied once.
        let _ = self.gates.set(gates);
        (out, vec![batch, steps, 2 * width])
    }

    fn backward(&self, inputs: &[Input<'_>], result: &[f32], gradient: &[f32]) -> Vec<Vec<f32>> {
        let (x, weights, state) = (inputs[0], inputs[1], inputs[2]);
        let (batch, steps, width) = (x.shape[0], x.shape[1], x.shape[2] / 4);
        let none = Vec::new();
        let gates = self.gates.get().unwrap_or(&none);
        let across = transposed(weights.values, width, 4 * width);
        let mut to_x = vec![0.0; x.values.len()];
        let mut to_weights = vec![0.0; weights.values.len()];
        let mut to_state = vec![0.0; state.values.len()];
        let (hidden0, cells0) = state.values.split_at(batch * width);
        let (to_hidden0, to_cells0) = to_state.split_at_mut(batch * width);
        for sequence in 0..batch {
            let own = sequence * width..(sequence + 1) * width;
            let (to_hidden, to_cell) = (&mut to_hidden0[own.clone()], &mut to_cells0[own.clone()]);
            for step in (0..steps).rev() {
                let at = sequence * steps + step;
                let now = at * 2 * width;
                let (hidden_before, cell_before) = if step == 0 {
                    (&hidden0[own.clone()], &cells0[own.clone()])
                } else {
                    result[now - 2 * width..now].split_at(width)
                };
                let gate_range = at * 4 * width..(at + 1) * 4 * width;
                let to_gates = &mut to_x[gate_range.clone()];
                let cell = &result[now + width..now + 2 * width];
                let (from_hidden, from_cell) = gradient[now..now + 2 * width].split_at(width);
                to_hidden.iter_mut().zip(from_hidden).for_each(|(sum, g)| *sum += g);
                to_cell.iter_mut().zip(from_cell).for_each(|(sum, g)| *sum += g);
                let gates = &gates[gate_range];
                cell_backward(gates, [cell, cell_before], to_hidden, to_cell, to_gates);
                to_hidden.fill(0.0);
                for (gate, row) in to_gates.iter().zip(across.chunks(width)) {
                    to_hidden.iter_mut().zip(row).for_each(|(sum, weight)| *sum += gate * weight);
                }
                for (from, row) in hidden_before.iter().zip(to_weights.chunks_mut(4 * width)) {
                    row.iter_mut().zip(to_gates.iter()).for_each(|(sum, g)| *sum += from * g);
                }
            }
        }
        vec![to_x, to_weights, to_state]
    }
}

fn activate(gates: &mut [f32], width: usize) {
    let (front, output) = gates.split_at_mut(3 * width);
    let (gates, candidate) = front.split_at_mut(2 * width);
    for gate in gates.iter_mut().chain(output) {
        *gate = sigmoid(*gate);
    }
    for value in candidate {
        *value = tanh(*value);
    }
}

/// One step back: fills the gradients before the activations of the gates, and moves that of the cell to
/// the step before. `cells` are those after and before the step.
fn cell_backward(
    gates: &[f32],
    cells: [&[f32]; 2],
    to_hidden: &[f32],
    to_cell: &mut [f32],
    to_gates: &mut [f32],
) {
    let width = to_hidden.len();
    let [cell, before] = cells;
    for index in 0..width {
        let (input, forget) = (gates[index], gates[width + index]);
        let (candidate, output) = (gates[2 * width + index], gates[3 * width + index]);
        let squashed = tanh(cell[index]);
        let through = to_cell[index] + to_hidden[index] * output * (1.0 - squashed * squashed);
        to_gates[index] = through * candidate * input * (1.0 - input);
        to_gates[width + index] = through * before[index] * forget * (1.0 - forget);
        to_gates[2 * width + index] = through * input * (1.0 - candidate * candidate);
        to_gates[3 * width + index] = to_hidden[index] * squashed * output * (1.0 - output);
        to_cell[index] = through * forget;
    }
}

fn transposed(matrix: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let all = (0..columns).flat_map(|column| (0..rows).map(move |row| (row, column)));
    all.map(|(row, column)| matrix[row * columns + column]).collect()
}
