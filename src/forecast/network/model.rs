//! A trained network, to and from bytes.

use std::collections::BTreeMap;

use super::super::calibration::Quantiles;
use super::super::window::{Refusal, Window, features_hash};
use super::{Batch, Kind, Network};
use crate::nn::{Weights, WeightsError};
use crate::seed::Seed;

/// Windows of one pass: more do not get faster and need memory.
const PASS: usize = 64;

/// A network that is ready to be asked.
#[derive(Debug)]
pub struct Model {
    network: Network,
    origin: BTreeMap<String, String>,
}

/// Why bytes are no model.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// Not the weights of such a network.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The weights do not say of which network.
    #[error("the weights do not name a forecaster: {0}")]
    Kind(String),
    /// They were trained on other inputs.
    #[error(
        "the weights were trained on the feature list {found}, this program has {}: train them again",
        features_hash()
    )]
    Features {
        /// What they name.
        found: String,
    },
    /// From candle.
    #[error("the network cannot be built or asked: {0}")]
    Tensors(#[from] candle_core::Error),
}

impl Model {
    /// Keys in the origin of weights that this program needs.
    pub const KIND: &'static str = "network";
    /// The hash of the feature list.
    pub const FEATURES: &'static str = "features";

    /// A network as it is, in bytes, with words on where it comes from. The same network gives the same bytes.
    pub fn bytes_of(
        network: &Network,
        mut origin: BTreeMap<String, String>,
    ) -> Result<Vec<u8>, ModelError> {
        origin.insert(Self::KIND.to_owned(), network.kind().to_string());
        origin.insert(Self::FEATURES.to_owned(), features_hash());
        Ok(Weights::of(network.parameters())?.with_origin(origin).to_bytes()?)
    }

    /// Reads weights. Bytes of anything else, of another network or another feature list, and numbers that
    /// are not finite are refused.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ModelError> {
        let weights = Weights::from_bytes(bytes)?;
        let origin = weights.origin().clone();
        let named = |key: &str| origin.get(key).cloned().unwrap_or_default();
        let kind: Kind = named(Self::KIND).parse().map_err(ModelError::Kind)?;
        let found = named(Self::FEATURES);
        if found != features_hash() {
            return Err(ModelError::Features { found });
        }
        let network = Network::new(kind, Seed::root(0))?;
        weights.load_into(network.parameters())?;
        Ok(Self { network, origin })
    }

    /// Where it comes from: network, seed, data, steps.
    #[must_use]
    pub const fn origin(&self) -> &BTreeMap<String, String> {
        &self.origin
    }

    /// The network.
    #[must_use]
    pub const fn network(&self) -> &Network {
        &self.network
    }

    /// The network, to train it on.
    #[must_use]
    pub fn into_network(self) -> Network {
        self.network
    }

    /// Quantiles in requests per second, not yet calibrated, for each window; rising, finite and at least 0.
    pub fn quantiles(&self, windows: &[&Window]) -> Result<Vec<Quantiles>, ModelError> {
        let mut all = Vec::with_capacity(windows.len());
        for pass in windows.chunks(PASS) {
            let batch = Batch::new(pass.iter().copied())?;
            let answers = self.network.forward(&batch)?.quantiles.to_vec3::<f32>()?;
            for (window, answer) in pass.iter().zip(answers) {
                all.push(window.rps(&rows(&answer)));
            }
        }
        Ok(all)
    }

    /// The same for windows that may have been refused.
    pub fn answers(
        &self,
        windows: Vec<Result<Window, Refusal>>,
    ) -> Result<Vec<Result<Quantiles, Refusal>>, ModelError> {
        let good: Vec<&Window> = windows.iter().filter_map(|it| it.as_ref().ok()).collect();
        let mut answers = self.quantiles(&good)?.into_iter();
        let none = Refusal::ShortHistory { days: 0.0 };
        let answer = |window: Result<Window, Refusal>| {
            window.and_then(|_| answers.next().ok_or_else(|| none.clone()))
        };
        Ok(windows.into_iter().map(answer).collect())
    }
}

fn rows(answer: &[Vec<f32>]) -> [[f32; 4]; 3] {
    std::array::from_fn(|horizon| std::array::from_fn(|quantile| answer[horizon][quantile]))
}
