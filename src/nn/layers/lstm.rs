//! Long short-term memory.

use candle_core::{DType, Device, Result, Tensor, Var, bail};

use super::Linear;
use crate::nn::kernels::{Recurrent, apply};
use crate::nn::{Initial, Start};

/// What an [`Lstm`] remembers, `[B, H]` each.
#[derive(Debug, Clone)]
pub struct LstmState {
    /// The last output.
    pub hidden: Tensor,
    /// The cells.
    pub cell: Tensor,
}

impl LstmState {
    /// Nothing.
    ///
    /// # Errors
    /// When candle fails.
    pub fn zeros(batch: usize, width: usize) -> Result<Self> {
        let hidden = Tensor::zeros((batch, width), DType::F32, &Device::Cpu)?;
        Ok(Self { cell: hidden.clone(), hidden })
    }
}

/// One layer: `[B, T, in]` -> `[B, T, H]`.
#[derive(Debug, Clone)]
pub struct Lstm {
    input: Linear,
    bias: Var,
    recurrent: Var,
    width: usize,
}

impl Lstm {
    /// Input weights after Glorot, recurrent weights orthogonal, biases 0 but for the forget gate's, which
    /// is 1: what is remembered at first stays (Jozefowicz et al. 2015).
    ///
    /// # Errors
    /// When the name is taken.
    pub fn new(scope: &mut Initial<'_>, from: usize, width: usize) -> Result<Self> {
        let input = Linear::without_bias(&mut scope.child("input"), from, 4 * width)?;
        let shape = [width, 4 * width];
        let recurrent = scope.variable("recurrent", &shape, Start::Orthogonal { gain: 1.0 })?;
        let mut start = vec![0.0; 4 * width];
        start[width..2 * width].fill(1.0);
        let bias = scope.values("bias", &[4 * width], start)?;
        Ok(Self { input, bias, recurrent, width })
    }

    /// The outputs of every step and the state after the last; starts from nothing where no state is given.
    ///
    /// # Errors
    /// When a shape is another or there is no step.
    pub fn forward(&self, x: &Tensor, state: Option<&LstmState>) -> Result<(Tensor, LstmState)> {
        let (batch, steps, _) = x.dims3()?;
        if steps == 0 {
            bail!("a recurrent layer needs at least one step");
        }
        let gates = self.input.product(x)?;
        let none = crate::nn::Activation::None;
        let gates = apply(crate::nn::kernels::Biased(none), &[&gates, &self.bias])?;
        let state = match state {
            Some(state) => state.clone(),
            None => LstmState::zeros(batch, self.width)?,
        };
        let before = Tensor::stack(&[&state.hidden, &state.cell], 0)?;
        if before.dims() != [2, batch, self.width] {
            bail!(
                "a recurrent layer of width {} was given the state {:?}",
                self.width,
                before.dims()
            );
        }
        let both = apply(Recurrent::default(), &[&gates, &self.recurrent, &before])?;
        let outputs = both.narrow(2, 0, self.width)?.contiguous()?;
        let last = both.narrow(1, steps - 1, 1)?.squeeze(1)?;
        let hidden = last.narrow(1, 0, self.width)?.contiguous()?;
        let cell = last.narrow(1, self.width, self.width)?.contiguous()?;
        Ok((outputs, LstmState { hidden, cell }))
    }
}
