//! The networks: windows to quantiles. One set of weights for any number of domains.

mod batch;
mod builtin;
mod head;
mod loss;
mod mixer;
mod model;
mod tft;

use std::fmt;
use std::str::FromStr;

use candle_core::{Result, Tensor};

pub use batch::Batch;
pub use loss::Targets;
use mixer::Mixer;
pub use model::{Model, ModelError, ModelForecaster};
use tft::Tft;

use crate::nn::{Initial, Parameters};
use crate::seed::Seed;

/// Which network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The Temporal Fusion Transformer (Lim et al. 2021).
    Tft,
    /// Mixing over time and features without recurrence or attention (after `TSMixer`, Chen et al. 2023).
    Mixer,
}

impl Kind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Tft, Self::Mixer];

    /// The name on command lines and in weights.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tft => "tft",
            Self::Mixer => "mixer",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let found = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        found.ok_or_else(|| format!("{text:?} is no network: tft or mixer"))
    }
}

/// What a network says of a batch.
#[derive(Debug, Clone)]
pub struct Output {
    /// Windows × horizons × quantiles, in units of the window's spread around its anchor.
    pub quantiles: Tensor,
    /// What it looked at, where the network can show it.
    pub attention: Option<Attention>,
}

/// Weights inside the network. They show where a number came from, and prove nothing: permuting an input
/// does.
#[derive(Debug, Clone)]
pub struct Attention {
    /// Windows × horizons × (tokens and horizons).
    pub time: Tensor,
    /// Selection of past inputs: windows × tokens × features.
    pub past: Tensor,
    /// Selection of known-future inputs: windows × horizons × features.
    pub future: Tensor,
}

/// A network and its parameters.
#[derive(Debug)]
pub struct Network {
    kind: Kind,
    parameters: Parameters,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Tft(Box<Tft>),
    Mixer(Box<Mixer>),
}

impl Network {
    /// An untrained network: it gives the simple forecast with a normal error's quantiles.
    pub fn new(kind: Kind, seed: Seed) -> Result<Self> {
        let mut parameters = Parameters::new();
        let mut root = Initial::new(&mut parameters, seed);
        let mut scope = root.child(kind.as_str());
        let body = match kind {
            Kind::Tft => Body::Tft(Box::new(Tft::new(&mut scope)?)),
            Kind::Mixer => Body::Mixer(Box::new(Mixer::new(&mut scope)?)),
        };
        Ok(Self { kind, parameters, body })
    }

    /// Which one.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Its parameters, for an optimiser.
    #[must_use]
    pub const fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Whether a parameter belongs to the last layers, the only ones that a weekly fine-tune may move.
    #[must_use]
    pub fn is_head(name: &str) -> bool {
        name.contains(".head.")
    }

    /// Quantiles of a batch.
    pub fn forward(&self, batch: &Batch) -> Result<Output> {
        match &self.body {
            Body::Tft(network) => network.forward(batch),
            Body::Mixer(network) => network.forward(batch),
        }
    }
}

#[cfg(test)]
mod tests;
