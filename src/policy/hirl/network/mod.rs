//! The two networks. Each gives differences from the rule that start at exactly 0: an untrained network is
//! the rule.
//!
//! One set of weights serves any number of domains and apps: tokens share their layers, and what is there of
//! the others comes in by attention.

mod commander;
mod shape;
mod soldier;
#[cfg(test)]
mod tests;

use candle_core::{Device, Result, Tensor, Var};

use super::features::Feature;
use crate::nn::{Initial, Linear, Start, softmax};

pub use commander::{CommanderBatch, CommanderNetwork, CommanderOutput};
pub use shape::{EMBEDDING, ShapeNetwork};
pub use soldier::{STEPS, SoldierBatch, SoldierNetwork, SoldierSaid};

/// What is paid for, of which the critic has a value each: the terms of the pay, and the cost.
pub const VALUES: usize = 6;

/// Values per token.
const WIDTH: usize = 32;

/// Deviations from the mean beyond which an input is not followed.
const FAR: f32 = 4.0;

/// Added to the score of a token that is not there.
const HIDDEN: f32 = -1e9;

/// Means and deviations of inputs, which training measures once and never moves: they are saved with the
/// weights and get no gradient.
#[derive(Debug, Clone)]
struct Statistics {
    mean: Var,
    deviation: Var,
}

impl Statistics {
    /// Until they are measured: the middle of each range, and a quarter of it.
    fn new(scope: &mut Initial<'_>, features: &[&[Feature]]) -> Result<Self> {
        let all = || features.iter().copied().flatten();
        let middle = all().map(|it| f32::midpoint(it.range[0], it.range[1])).collect::<Vec<_>>();
        let quarter = all().map(|it| (it.range[1] - it.range[0]) / 4.0).collect::<Vec<_>>();
        let shape = [middle.len()];
        Ok(Self {
            mean: scope.values("mean", &shape, middle)?,
            deviation: scope.values("deviation", &shape, quarter)?,
        })
    }

    /// `[.., C]` -> `[.., C]`: mean 0, deviation 1, at most [`FAR`] away: what lies far outside of everything that was
    /// learned from is not followed further and further out.
    fn apply(&self, x: &Tensor) -> Result<Tensor> {
        x.broadcast_sub(&self.mean.detach())?
            .broadcast_div(&self.deviation.detach())?
            .clamp(-FAR, FAR)
    }

    /// Takes over what was measured. A deviation below this says nothing of what will be seen.
    fn set(&self, mean: &[f32], deviation: &[f32]) -> Result<()> {
        let least = |value: &f32| value.max(0.05);
        let deviation: Vec<f32> = deviation.iter().map(least).collect();
        self.mean.set(&Tensor::from_slice(mean, self.mean.shape(), &Device::Cpu)?)?;
        self.deviation.set(&Tensor::from_slice(&deviation, self.deviation.shape(), &Device::Cpu)?)
    }
}

/// Queries look at keys: one head, whose weights can be read.
#[derive(Debug, Clone)]
struct Attention {
    query: Linear,
    key: Linear,
    value: Linear,
}

impl Attention {
    fn new(scope: &mut Initial<'_>) -> Result<Self> {
        Ok(Self {
            query: Linear::new(&mut scope.child("query"), WIDTH, WIDTH)?,
            // A bias of the keys would change every score of a query alike.
            key: Linear::without_bias(&mut scope.child("key"), WIDTH, WIDTH)?,
            value: Linear::new(&mut scope.child("value"), WIDTH, WIDTH)?,
        })
    }

    /// Queries `[B, Q, C]`, keys `[B, K, C]`, `mask` `[B, 1 or Q, K]` added to the scores -> `[B, Q, C]`.
    fn forward(&self, queries: &Tensor, keys: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let (query, key) = (self.query.forward(queries)?, self.key.forward(keys)?);
        let scores = (query.matmul(&key.t()?)? * (1.0 / (WIDTH as f64).sqrt()))?;
        let weights = softmax(&scores.broadcast_add(mask)?.contiguous()?)?;
        weights.matmul(&self.value.forward(keys)?)
    }
}

/// A linear map that starts at 0: a difference from the rule.
fn difference(scope: &mut Initial<'_>, to: usize) -> Result<Linear> {
    Linear::started(scope, [WIDTH, to], Start::Zeros)
}

/// The logarithm of a deviation that starts here.
fn log_deviation(scope: &mut Initial<'_>, name: &str, start: f32) -> Result<Var> {
    scope.variable(name, &[1], Start::Constant(start))
}
