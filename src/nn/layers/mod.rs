//! Layers. Shapes stand in brackets: B sequences, T steps, `..` any number of leading dimensions.

mod attention;
mod functions;
mod grn;
mod linear;
mod lstm;
mod norm;
mod selection;
#[cfg(test)]
mod tests;

pub use super::kernels::Activation;
pub use attention::{InterpretableAttention, causal_mask};
pub use functions::{elu, sigmoid, silu, softmax};
pub use grn::{Glu, Grn, GrnSizes};
pub use linear::{GroupedLinear, Linear};
pub use lstm::{Lstm, LstmState};
pub use norm::LayerNorm;
pub use selection::{Selected, VariableSelection};
