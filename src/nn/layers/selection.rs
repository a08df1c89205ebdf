//! Variable selection (Lim et al. 2021, section 4.2).

use candle_core::{D, Result, Tensor, Var, bail};

use super::{Activation, Glu, GroupedLinear, LayerNorm, Linear, softmax};
use crate::nn::kernels::{Biased, GatedSkip, Outer, WeightedSum, apply};
use crate::nn::{Initial, Start};

/// What was selected.
#[derive(Debug, Clone)]
pub struct Selected {
    /// The weighted sum of the variables, `[.., H]`.
    pub vector: Tensor,
    /// The weight of each variable, `[.., V]`: they add up to 1.
    pub weights: Tensor,
}

/// `[.., V]` scalars -> `[.., H]`: every variable is embedded linearly and passes a gated residual network
/// of its own; another one over all embeddings says how much each counts.
///
/// An embedding is affine in one scalar, so the linear maps that follow it fold into small matrices: the
/// embeddings side by side, `[.., V H]`, are never made. The function is the paper's.
#[derive(Debug, Clone)]
pub struct VariableSelection {
    /// Directions and offsets of the embeddings, `[V, H]`.
    direction: Var,
    offset: Var,
    first: GroupedLinear,
    gate: GroupedLinear,
    norm: LayerNorm,
    choice: Choice,
    activation: Activation,
}

/// The network over all embeddings.
#[derive(Debug, Clone)]
struct Choice {
    first: Linear,
    context: Option<Linear>,
    gate: Glu,
    skip: Linear,
    norm: LayerNorm,
}

impl VariableSelection {
    /// For V variables, vectors of H values and a context of so many values, if any.
    ///
    /// # Errors
    /// When there is no variable or the name is taken.
    pub fn new(
        scope: &mut Initial<'_>,
        variables: usize,
        width: usize,
        context: Option<usize>,
        activation: Activation,
    ) -> Result<Self> {
        if variables == 0 {
            bail!("there is no variable to select");
        }
        let mut embedding = scope.child("embedding");
        let direction =
            embedding.variable("direction", &[variables, width], Start::Uniform(1.0))?;
        let offset = embedding.variable("offset", &[variables, width], Start::Zeros)?;
        let mut own = scope.child("variable");
        let first = GroupedLinear::new(&mut own.child("first"), variables, width, width)?;
        let gate = GroupedLinear::new(&mut own.child("gate"), variables, width, 2 * width)?;
        let norm = LayerNorm::grouped(&mut own.child("norm"), variables, width)?;
        let mut all = scope.child("choice");
        let context = match context {
            Some(size) => Some(Linear::without_bias(&mut all.child("context"), size, width)?),
            None => None,
        };
        let choice = Choice {
            first: Linear::new(&mut all.child("first"), variables * width, width)?,
            context,
            gate: Glu::new(&mut all.child("gate"), width, variables)?,
            skip: Linear::new(&mut all.child("skip"), variables * width, variables)?,
            norm: LayerNorm::new(&mut all.child("norm"), variables)?,
        };
        Ok(Self { direction, offset, first, gate, norm, choice, activation })
    }

    /// Selects. The context's leading dimensions are those of `x`, or 1 where it is shared.
    ///
    /// # Errors
    /// When a shape is another, or a context is missing or not expected.
    pub fn forward(&self, x: &Tensor, context: Option<&Tensor>) -> Result<Selected> {
        let (variables, width) = self.direction.dims2()?;
        if x.rank() < 2 || x.dim(D::Minus1)? != variables {
            bail!("a selection among {variables} variables was given the shape {:?}", x.dims());
        }
        let weights = self.weights(x, context)?;
        let rows = x.reshape(((), variables))?;
        let vectors = self.vectors(&rows)?;
        let vector = apply(WeightedSum, &[&weights.reshape(((), variables))?, &vectors])?;
        let mut shape = x.dims().to_vec();
        shape.pop();
        shape.push(width);
        Ok(Selected { vector: vector.reshape(shape)?, weights })
    }

    /// Each variable through its own network: `[N, V]` -> `[V, N, H]`.
    fn vectors(&self, x: &Tensor) -> Result<Tensor> {
        let folded = self.folded(self.first.weight())?;
        let direction = folded.narrow(1, 0, 1)?.squeeze(1)?;
        let offset = (folded.narrow(1, 1, 1)?.squeeze(1)? + self.first.bias().as_tensor())?;
        let hidden = apply(Outer(self.activation), &[x, &direction, &offset])?;
        let skip = apply(Outer(Activation::None), &[x, &self.direction, &self.offset])?;
        let product = self.gate.product(&hidden)?;
        self.norm.forward(&apply(GatedSkip, &[&product, self.gate.bias(), &skip])?)
    }

    /// The weight of each variable, `[.., V]`.
    fn weights(&self, x: &Tensor, context: Option<&Tensor>) -> Result<Tensor> {
        let Choice { first, context: map, gate, skip, norm } = &self.choice;
        let hidden = self.over_all(x, first)?;
        let hidden = match (map, context) {
            (None, None) => hidden,
            (Some(map), Some(context)) => hidden.broadcast_add(&map.product(context)?)?,
            (Some(_), None) => bail!("a variable selection misses its context"),
            (None, Some(_)) => bail!("a variable selection expects no context"),
        };
        let zeros = Tensor::zeros(hidden.dim(D::Minus1)?, hidden.dtype(), hidden.device())?;
        let hidden = apply(Biased(self.activation), &[&hidden, &zeros])?;
        softmax(&norm.forward(&gate.onto(&hidden, &self.over_all(x, skip)?)?)?)
    }

    /// A linear map of all embeddings side by side, from the scalars.
    fn over_all(&self, x: &Tensor, map: &Linear) -> Result<Tensor> {
        let (variables, width) = self.direction.dims2()?;
        let folded = self.folded(&map.weight().reshape((variables, width, ()))?)?;
        let matrix = folded.narrow(1, 0, 1)?.squeeze(1)?.contiguous()?;
        let mut bias = folded.narrow(1, 1, 1)?.squeeze(1)?.sum(0)?;
        if let Some(own) = map.bias() {
            bias = (bias + own.as_tensor())?;
        }
        let mut shape = x.dims().to_vec();
        shape.pop();
        shape.push(matrix.dim(1)?);
        let product = x.reshape(((), variables))?.matmul(&matrix)?;
        apply(Biased(Activation::None), &[&product, &bias])?.reshape(shape)
    }

    /// Directions and offsets of the embeddings through maps `[V, H, out]`: `[V, 2, out]`.
    fn folded(&self, maps: &Tensor) -> Result<Tensor> {
        Tensor::stack(&[self.direction.as_tensor(), self.offset.as_tensor()], 1)?.matmul(maps)
    }
}
