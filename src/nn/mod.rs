//! What candle lacks for training on a CPU that can be repeated: named parameters in a fixed order with
//! seeded starts, layers whose gradients arrive, an optimiser whose state can be saved. Pure.
//!
//! ```text
//! let mut parameters = Parameters::new();
//! let mut scope = Initial::new(&mut parameters, seed);
//! let network = Network::new(&mut scope.child("network"), sizes)?;
//! let mut adam = Adam::new(&parameters, AdamSettings::default());
//! let loss = network.loss(&batch)?;
//! adam.step(&parameters, Gradients::of(&loss, &parameters)?, rate)?;
//! ```
//!
//! Everything is `f32` on the CPU. Layers return `candle_core::Result`, whose errors are wrong shapes;
//! numbers that are not finite pass through the layers and are stopped by [`Adam`] and [`Weights`].

mod adam;
#[cfg(test)]
pub(crate) mod check;
mod gradients;
mod kernels;
mod layers;
mod parameters;
mod weights;

pub use adam::{Adam, AdamError, AdamSettings, Step};
pub use gradients::Gradients;
pub use layers::{
    Activation, Glu, Grn, GrnSizes, GroupedLinear, InterpretableAttention, LayerNorm, Linear, Lstm,
    LstmState, Selected, VariableSelection, causal_mask, elu, sigmoid, silu, softmax,
};
pub use parameters::{Initial, Parameters, Start};
pub use weights::{Weights, WeightsError};
