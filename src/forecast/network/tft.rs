//! The Temporal Fusion Transformer (Lim, Arik, Loeff and Pfister 2021, "Temporal Fusion Transformers for interpretable
//! multi-horizon time series forecasting").
//!
//! Differences from the paper, with their reasons: three direct horizons instead of a step per minute (nobody asks for
//! the minutes between); no dropout (windows are drawn anew all the time, so nothing is seen twice); the outputs are
//! steps between quantiles, which cannot cross.

use candle_core::{Result, Tensor};

use super::head::Head;
use super::{Attention, Batch, Output};
use crate::forecast::window::{FUTURE, HORIZONS, PAST, STATIC};
use crate::nn::{
    Activation, Glu, Grn, GrnSizes, Initial, InterpretableAttention, LayerNorm, Lstm, LstmState,
    VariableSelection,
};

/// Width of every layer.
const WIDTH: usize = 24;
/// Heads of the attention.
const HEADS: usize = 4;
const ACTIVATION: Activation = Activation::Silu;

/// The network.
#[derive(Debug)]
pub(super) struct Tft {
    /// The static covariates: what they make of the character of a domain.
    character: VariableSelection,
    contexts: Contexts,
    past: VariableSelection,
    future: VariableSelection,
    encoder: Lstm,
    decoder: Lstm,
    after_recurrence: Skip,
    enrichment: Grn,
    attention: InterpretableAttention,
    after_attention: Skip,
    position_wise: Grn,
    after_all: Skip,
    head: Head,
}

/// What the character tells the other parts.
#[derive(Debug)]
struct Contexts {
    selection: Grn,
    enrichment: Grn,
    hidden: Grn,
    cell: Grn,
}

/// A gate, the way around, and a normalisation.
#[derive(Debug)]
struct Skip {
    gate: Glu,
    norm: LayerNorm,
}

impl Skip {
    fn new(scope: &mut Initial<'_>) -> Result<Self> {
        Ok(Self {
            gate: Glu::new(&mut scope.child("gate"), WIDTH, WIDTH)?,
            norm: LayerNorm::new(&mut scope.child("norm"), WIDTH)?,
        })
    }

    fn forward(&self, x: &Tensor, around: &Tensor) -> Result<Tensor> {
        self.norm.forward(&self.gate.onto(x, around)?)
    }
}

impl Tft {
    pub(super) fn new(scope: &mut Initial<'_>) -> Result<Self> {
        let selection = |scope: &mut Initial<'_>, name: &str, variables, context| {
            VariableSelection::new(&mut scope.child(name), variables, WIDTH, context, ACTIVATION)
        };
        let grn = |scope: &mut Initial<'_>, name: &str, context| {
            let sizes = GrnSizes { context, ..GrnSizes::all(WIDTH) };
            Grn::new(&mut scope.child(name), sizes, ACTIVATION)
        };
        Ok(Self {
            character: selection(scope, "static_selection", STATIC.len(), None)?,
            contexts: Contexts {
                selection: grn(scope, "selection_context", None)?,
                enrichment: grn(scope, "enrichment_context", None)?,
                hidden: grn(scope, "hidden_context", None)?,
                cell: grn(scope, "cell_context", None)?,
            },
            past: selection(scope, "past_selection", PAST.len(), Some(WIDTH))?,
            future: selection(scope, "future_selection", FUTURE.len(), Some(WIDTH))?,
            encoder: Lstm::new(&mut scope.child("encoder"), WIDTH, WIDTH)?,
            decoder: Lstm::new(&mut scope.child("decoder"), WIDTH, WIDTH)?,
            after_recurrence: Skip::new(&mut scope.child("after_recurrence"))?,
            enrichment: grn(scope, "enrichment", Some(WIDTH))?,
            attention: InterpretableAttention::new(&mut scope.child("attention"), WIDTH, HEADS)?,
            after_attention: Skip::new(&mut scope.child("after_attention"))?,
            position_wise: grn(scope, "position_wise", None)?,
            after_all: Skip::new(&mut scope.child("after_all"))?,
            head: Head::new(&mut scope.child("head"), WIDTH)?,
        })
    }

    pub(super) fn forward(&self, batch: &Batch) -> Result<Output> {
        let character = self.character.forward(&batch.statics, None)?.vector;
        let context = |grn: &Grn| grn.forward(&character, None);
        let each = |grn: &Grn| context(grn)?.unsqueeze(1);
        let selecting = each(&self.contexts.selection)?;
        let past = self.past.forward(&batch.past, Some(&selecting))?;
        let future = self.future.forward(&batch.future, Some(&selecting))?;

        let start = LstmState {
            hidden: context(&self.contexts.hidden)?,
            cell: context(&self.contexts.cell)?,
        };
        let (encoded, state) = self.encoder.forward(&past.vector, Some(&start))?;
        let (decoded, _) = self.decoder.forward(&future.vector, Some(&state))?;
        let recurrent = Tensor::cat(&[encoded, decoded], 1)?;
        let selected = Tensor::cat(&[past.vector, future.vector], 1)?;
        let local = self.after_recurrence.forward(&recurrent, &selected)?;

        let enriching = each(&self.contexts.enrichment)?;
        let enriched = self.enrichment.forward(&local, Some(&enriching))?;
        // Only the horizons ask. They may see each other: what is known of them is known of all.
        let horizons = |x: &Tensor| x.narrow(1, x.dim(1)? - HORIZONS.len(), HORIZONS.len());
        let asking = horizons(&enriched)?.contiguous()?;
        let (seen, weights) = self.attention.forward(&asking, &enriched, None)?;
        let attended = self.after_attention.forward(&seen, &asking)?;
        let thought = self.position_wise.forward(&attended, None)?;
        let all = self.after_all.forward(&thought, &horizons(&local)?.contiguous()?)?;
        Ok(Output {
            quantiles: self.head.forward(&all)?,
            attention: Some(Attention {
                time: weights,
                past: past.weights,
                future: future.weights,
            }),
        })
    }
}
