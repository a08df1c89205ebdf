//! Attention whose weights can be read (Lim et al. 2021, section 4.4).

use candle_core::{Device, Result, Tensor, bail};

use super::Linear;
use crate::nn::Initial;
use crate::nn::kernels::{Soft, apply};

/// Several heads look, and all of them at the same values: the mean of their weights says what was seen.
#[derive(Debug, Clone)]
pub struct InterpretableAttention {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    heads: usize,
    width: usize,
}

impl InterpretableAttention {
    /// `heads` must divide `width`.
    ///
    /// # Errors
    /// When it does not, or the name is taken.
    pub fn new(scope: &mut Initial<'_>, width: usize, heads: usize) -> Result<Self> {
        if heads == 0 || !width.is_multiple_of(heads) {
            bail!("{heads} heads do not divide {width} values");
        }
        let each = width / heads;
        // A bias of the keys would change every score of a query alike: it would have no effect.
        Ok(Self {
            query: Linear::new(&mut scope.child("query"), width, width)?,
            key: Linear::without_bias(&mut scope.child("key"), width, width)?,
            value: Linear::new(&mut scope.child("value"), width, each)?,
            output: Linear::new(&mut scope.child("output"), each, width)?,
            heads,
            width: each,
        })
    }

    /// Queries `[B, Q, D]` look at keys `[B, K, D]`; `mask` `[Q, K]` is added to their scores (see
    /// [`causal_mask`]). The answer `[B, Q, D]` and the mean weights of the heads `[B, Q, K]`.
    ///
    /// # Errors
    /// When a shape is another.
    pub fn forward(
        &self,
        queries: &Tensor,
        keys: &Tensor,
        mask: Option<&Tensor>,
    ) -> Result<(Tensor, Tensor)> {
        let (batch, asking, _) = queries.dims3()?;
        let (_, seen, _) = keys.dims3()?;
        let split = |x: &Tensor, length: usize| {
            x.reshape((batch, length, self.heads, self.width))?.transpose(1, 2)?.contiguous()
        };
        let query = split(&self.query.forward(queries)?, asking)?;
        let key = split(&self.key.forward(keys)?, seen)?;
        let scores = query.matmul(&key.t()?)?;
        let soft = Soft { scale: 1.0 / (self.width as f32).sqrt() };
        let weights = match mask {
            Some(mask) if mask.dims() == [asking, seen] => apply(soft, &[&scores, mask])?,
            Some(mask) => bail!("a mask of {:?} for {asking} queries, {seen} keys", mask.dims()),
            None => apply(soft, &[&scores])?,
        };
        let weights = (weights.sum(1)? * (1.0 / self.heads as f64))?;
        let answer = weights.matmul(&self.value.forward(keys)?)?;
        Ok((self.output.forward(&answer)?, weights))
    }
}

/// A mask `[queries, keys]` that hides the future: the last query stands at the last key. 0 or -1e9.
///
/// # Errors
/// When there are more queries than keys.
pub fn causal_mask(queries: usize, keys: usize) -> Result<Tensor> {
    if queries > keys {
        bail!("{queries} queries cannot stand at the end of {keys} keys");
    }
    let hidden =
        |query: usize, key: usize| if key > keys - queries + query { -1e9_f32 } else { 0.0 };
    let all = (0..queries).flat_map(|query| (0..keys).map(move |key| hidden(query, key)));
    Tensor::from_vec(all.collect::<Vec<_>>(), (queries, keys), &Device::Cpu)
}
