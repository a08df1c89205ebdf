//! The challenger: mixing over time and over features, without recurrence and attention (after Chen et al. 2023,
//! "`TSMixer`: An all-MLP architecture for time series forecasting").

use candle_core::{Result, Tensor};

use super::head::Head;
use super::{Batch, Output};
use crate::forecast::window::{FUTURE, HORIZONS, PAST, STATIC, TOKENS};
use crate::nn::{Activation, Grn, GrnSizes, Initial, LayerNorm, Linear};

/// Values per token.
const WIDTH: usize = 24;
/// Values inside the mixing over time.
const TIME: usize = 48;
/// Tokens that the past is condensed to.
const CONDENSED: usize = 8;
/// Values inside the last layers.
const WIDE: usize = 64;
const BLOCKS: usize = 2;
const ACTIVATION: Activation = Activation::Silu;

/// The network.
#[derive(Debug)]
pub(super) struct Mixer {
    embedding: Linear,
    blocks: Vec<Block>,
    condense: Linear,
    join: Grn,
    think: Grn,
    head: Head,
}

/// One round of mixing: over the tokens, then over the features of each.
#[derive(Debug)]
struct Block {
    time: [Linear; 2],
    time_norm: LayerNorm,
    features: [Linear; 2],
    features_norm: LayerNorm,
}

impl Block {
    fn new(scope: &mut Initial<'_>) -> Result<Self> {
        Ok(Self {
            time: [
                Linear::new(&mut scope.child("time_in"), TOKENS, TIME)?,
                Linear::new(&mut scope.child("time_out"), TIME, TOKENS)?,
            ],
            time_norm: LayerNorm::new(&mut scope.child("time_norm"), WIDTH)?,
            features: [
                Linear::new(&mut scope.child("features_in"), WIDTH, 2 * WIDTH)?,
                Linear::new(&mut scope.child("features_out"), 2 * WIDTH, WIDTH)?,
            ],
            features_norm: LayerNorm::new(&mut scope.child("features_norm"), WIDTH)?,
        })
    }

    /// Windows × tokens × values.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let across = x.transpose(1, 2)?.contiguous()?;
        let [first, second] = &self.time;
        let mixed = second.forward(&first.activated(&across, ACTIVATION)?)?.transpose(1, 2)?;
        let x = self.time_norm.forward(&(x + mixed)?.contiguous()?)?;
        let [first, second] = &self.features;
        let mixed = second.forward(&first.activated(&x, ACTIVATION)?)?;
        self.features_norm.forward(&(x + mixed)?)
    }
}

impl Mixer {
    pub(super) fn new(scope: &mut Initial<'_>) -> Result<Self> {
        let blocks =
            (0..BLOCKS).map(|index| Block::new(&mut scope.child(&format!("block{index}"))));
        let blocks = blocks.collect::<Result<_>>()?;
        let joined = CONDENSED * WIDTH + FUTURE.len() + STATIC.len();
        let sizes = GrnSizes { input: joined, hidden: WIDE, output: WIDE, context: None };
        Ok(Self {
            embedding: Linear::new(&mut scope.child("embedding"), PAST.len(), WIDTH)?,
            blocks,
            condense: Linear::new(&mut scope.child("condense"), TOKENS, CONDENSED)?,
            join: Grn::new(&mut scope.child("join"), sizes, ACTIVATION)?,
            think: Grn::new(&mut scope.child("think"), GrnSizes::all(WIDE), ACTIVATION)?,
            head: Head::new(&mut scope.child("head"), WIDE)?,
        })
    }

    pub(super) fn forward(&self, batch: &Batch) -> Result<Output> {
        let mut x = self.embedding.forward(&batch.past)?;
        for block in &self.blocks {
            x = block.forward(&x)?;
        }
        let condensed = self.condense.forward(&x.transpose(1, 2)?.contiguous()?)?;
        let (windows, horizons) = (condensed.dim(0)?, HORIZONS.len());
        let each = |x: &Tensor| {
            let width = x.elem_count() / windows;
            x.reshape((windows, 1, width))?.broadcast_as((windows, horizons, width))?.contiguous()
        };
        let joined =
            Tensor::cat(&[each(&condensed)?, batch.future.clone(), each(&batch.statics)?], 2)?;
        let thought = self.think.forward(&self.join.forward(&joined, None)?, None)?;
        Ok(Output { quantiles: self.head.forward(&thought)?, attention: None })
    }
}
