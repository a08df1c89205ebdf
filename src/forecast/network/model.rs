//! A trained network, to and from bytes.

use std::collections::BTreeMap;

use super::{Batch, Kind, Network};
use crate::forecast::accuracy::QuantileForecaster;
use crate::forecast::calendar::Calendar;
use crate::forecast::calibration::Quantiles;
use crate::forecast::forecaster::{QuantileModel, Refused};
use crate::forecast::history::{History, Minute};
use crate::forecast::window::{NoWindow, Prepared, Window, features_hash};
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
    pub fn ask(&self, windows: &[&Window]) -> Result<Vec<Quantiles>, ModelError> {
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

    /// The same for windows that may be missing.
    pub fn answers(
        &self,
        windows: &[Result<Window, NoWindow>],
    ) -> Result<Vec<Result<Quantiles, NoWindow>>, ModelError> {
        let good: Vec<&Window> = windows.iter().filter_map(|it| it.as_ref().ok()).collect();
        let mut answers = self.ask(&good)?.into_iter();
        let answer = |window: &Result<Window, NoWindow>| match window {
            // There are as many answers as good windows.
            Ok(_) => Ok(answers.next().unwrap_or_default()),
            Err(why) => Err(why.clone()),
        };
        Ok(windows.iter().map(answer).collect())
    }
}

/// A model over a history, judged as any other forecaster.
#[derive(Debug)]
pub struct ModelForecaster<'a> {
    /// The model.
    pub model: &'a Model,
    /// What it sees.
    pub prepared: &'a Prepared<'a>,
}

impl QuantileForecaster for ModelForecaster<'_> {
    fn name(&self) -> &str {
        self.model.network.kind().as_str()
    }

    fn quantiles(&mut self, series: usize, origins: &[Minute]) -> Vec<Option<Quantiles>> {
        let window = |origin: &Minute| self.prepared.window(series, *origin);
        let answers = self.model.answers(&origins.iter().map(window).collect::<Vec<_>>());
        // Without numbers of the network no forecast is made; it cannot fail for one window alone.
        answers.map_or_else(
            |_| vec![None; origins.len()],
            |answers| answers.into_iter().map(Result::ok).collect(),
        )
    }
}

impl QuantileModel for Model {
    fn quantiles(
        &self,
        history: &History,
        calendar: &Calendar,
        origin: Minute,
    ) -> Vec<Result<Quantiles, Refused>> {
        let windows = Prepared::newest(history, calendar).windows(origin);
        let count = windows.len();
        match self.answers(&windows) {
            Ok(answers) => {
                answers.into_iter().map(|it| it.map_err(|why| Refused(why.to_string()))).collect()
            }
            Err(error) => vec![Err(Refused(error.to_string())); count],
        }
    }
}

fn rows(answer: &[Vec<f32>]) -> [[f32; 4]; 3] {
    std::array::from_fn(|horizon| std::array::from_fn(|quantile| answer[horizon][quantile]))
}
