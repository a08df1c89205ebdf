//! What an app's traffic looks like, in a few numbers: learned by contrast (see `crate::learning`) before the policy is,
//! and fixed from then on.

use candle_core::{Device, Result, Tensor};

use crate::nn::{Activation, Initial, Linear};
use crate::policy::hirl::shape::{MINUTES, Shape};

/// Numbers of an embedding.
pub const EMBEDDING: usize = 8;

/// Numbers in between.
const INNER: usize = 32;

/// Shapes enter in units of this: minutes of usual traffic differ by some tenths, as logarithms.
const UNIT: f64 = 0.25;

/// The encoder.
#[derive(Debug)]
pub struct ShapeNetwork([Linear; 2]);

impl ShapeNetwork {
    /// What the names of its parameters begin with, below the Soldier's.
    pub const NAME: &'static str = "shape";

    pub(super) fn new(scope: &mut Initial<'_>) -> Result<Self> {
        Ok(Self([
            Linear::new(&mut scope.child("inner"), MINUTES, INNER)?,
            Linear::new(&mut scope.child("outer"), INNER, EMBEDDING)?,
        ]))
    }

    /// `[.., MINUTES]` -> `[.., EMBEDDING]`.
    pub fn forward(&self, shapes: &Tensor) -> Result<Tensor> {
        let [inner, outer] = &self.0;
        outer.forward(&inner.activated(&(shapes * (1.0 / UNIT))?, Activation::Silu)?)
    }

    /// `[N, EMBEDDING]` of some shapes.
    pub fn of(&self, shapes: &[Shape]) -> Result<Tensor> {
        let all = shapes.as_flattened().to_vec();
        self.forward(&Tensor::from_vec(all, (shapes.len(), MINUTES), &Device::Cpu)?)
    }
}
