//! Trained networks, to and from bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::Result as Tensors;

use super::features::features_hash;
use super::network::{CommanderBatch, CommanderNetwork, STEPS, SoldierBatch, SoldierNetwork};
use super::{Actor, Command, CommanderView, GROUPS, Orders, SoldierView, chance};
use crate::hash::sha256;
use crate::nn::{Initial, Parameters, Weights, WeightsError};
use crate::policy::rules;
use crate::seed::Seed;

/// Both networks.
#[derive(Debug)]
pub struct Model {
    parameters: Parameters,
    /// The Commander.
    pub commander: CommanderNetwork,
    /// The Soldiers share this one.
    pub soldier: SoldierNetwork,
    origin: BTreeMap<String, String>,
    /// The rule that they were trained on top of, where they come from bytes.
    rule: Option<rules::Settings>,
    /// See [`Self::id`].
    id: Option<Arc<str>>,
}

/// Why bytes are no model.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// Not the weights of such networks.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// They were trained on other inputs.
    #[error(
        "the weights were trained on the feature list {found}, this program has {}: train them again",
        features_hash()
    )]
    Features {
        /// What they name.
        found: String,
    },
    /// The constants of their rule are none.
    #[error(
        "the weights name no usable constants of the rule that they were trained on top of: {0}"
    )]
    Rule(String),
    /// From candle.
    #[error("the networks cannot be built or asked: {0}")]
    Tensors(#[from] candle_core::Error),
}

impl Model {
    /// The key of the feature list's hash in the origin of weights.
    pub const FEATURES: &'static str = "policy features";

    /// The key of the rule's name that they were trained on top of.
    pub const RULE: &'static str = "rule";

    /// The key of that rule's constants, as JSON: differences mean nothing on top of others.
    pub const CONSTANTS: &'static str = "rule constants";

    /// The weights that this program comes with: what `hirl train policy` wrote.
    pub fn builtin() -> Result<Self, ModelError> {
        Self::from_bytes(include_bytes!("../../../weights/policy.safetensors"))
    }

    /// Untrained: the rule.
    pub fn untrained(seed: Seed) -> Result<Self, ModelError> {
        let mut parameters = Parameters::new();
        let mut root = Initial::new(&mut parameters, seed);
        let commander = CommanderNetwork::new(&mut root.child("commander"))?;
        let soldier = SoldierNetwork::new(&mut root.child("soldier"))?;
        Ok(Self { parameters, commander, soldier, origin: BTreeMap::new(), rule: None, id: None })
    }

    /// Both networks in bytes, with words on where they come from. The same networks give the same bytes.
    pub fn to_bytes(&self, mut origin: BTreeMap<String, String>) -> Result<Vec<u8>, ModelError> {
        origin.insert(Self::FEATURES.to_owned(), features_hash());
        Ok(Weights::of(&self.parameters)?.with_origin(origin).to_bytes()?)
    }

    /// Reads weights. Bytes of anything else, of other networks or another feature list, and numbers that are
    /// not finite are refused.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ModelError> {
        let weights = Weights::from_bytes(bytes)?;
        let found = weights.origin().get(Self::FEATURES).cloned().unwrap_or_default();
        if found != features_hash() {
            return Err(ModelError::Features { found });
        }
        let constants = weights.origin().get(Self::CONSTANTS).map(|text| {
            let rule: rules::Settings =
                serde_json::from_str(text).map_err(|error| ModelError::Rule(error.to_string()))?;
            rule.validate().map_err(ModelError::Rule)?;
            Ok::<_, ModelError>(rule)
        });
        let model = Self {
            origin: weights.origin().clone(),
            rule: constants.transpose()?,
            id: Some(Arc::from(&sha256(bytes)[..ID])),
            ..Self::untrained(Seed::root(0))?
        };
        weights.load_into(&model.parameters)?;
        Ok(model)
    }

    /// The key of what was left out of them, see [`Self::ablation`].
    pub const ABLATION: &'static str = "ablation";

    /// The same, marked as networks of which something was left out to see what it is good for.
    #[must_use]
    pub fn without(mut self, ablation: &str) -> Self {
        self.origin.insert(Self::ABLATION.to_owned(), ablation.to_owned());
        self
    }

    /// What was left out; none of networks that may serve.
    #[must_use]
    pub fn ablation(&self) -> Option<&str> {
        self.origin.get(Self::ABLATION).map(String::as_str)
    }

    /// The parameters of both, statistics included; names begin with `commander` or `soldier`.
    #[must_use]
    pub const fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Where it comes from.
    #[must_use]
    pub const fn origin(&self) -> &BTreeMap<String, String> {
        &self.origin
    }

    /// The constants of the rule that it was trained on top of; none of a model that was never in bytes.
    #[must_use]
    pub const fn rule(&self) -> Option<&rules::Settings> {
        self.rule.as_ref()
    }

    /// The first digits of the SHA-256 of its bytes: which weights these are, in decisions and metrics. None of
    /// a model that was never in bytes.
    #[must_use]
    pub const fn id(&self) -> Option<&Arc<str>> {
        self.id.as_ref()
    }

    fn commands(&self, view: &CommanderView) -> Tensors<Vec<Command>> {
        let output = self.commander.forward(&CommanderBatch::new(&[view])?)?;
        let one = |tensor: &candle_core::Tensor| tensor.get(0)?.to_vec1::<f32>();
        let (shares, headroom, urgency) =
            (one(&output.shares)?, one(&output.headroom)?, one(&output.urgency)?);
        let each = shares.into_iter().zip(headroom).zip(urgency);
        Ok(each
            .map(|((share, headroom), urgency)| Command {
                share: f64::from(share),
                headroom: f64::from(headroom),
                urgency: chance(urgency),
            })
            .collect())
    }

    fn orders(&self, views: &[SoldierView]) -> Tensors<Vec<Option<Orders>>> {
        let output = self.soldier.say(&SoldierBatch::new(&views.iter().collect::<Vec<_>>())?)?;
        let steps = output.steps.to_vec3::<f32>()?;
        let splits = output.splits.to_vec2::<f32>()?;
        let velocity = output.velocity.to_vec2::<f32>()?;
        let each = views.iter().zip(steps).zip(splits).zip(velocity);
        Ok(each
            .map(|(((view, steps), splits), velocity)| {
                let mut said = [0.0; GROUPS];
                said.iter_mut().zip(splits).for_each(|(said, split)| *said = f64::from(split));
                let steps = steps.iter().take(view.members.len());
                Some(Orders {
                    steps: steps.map(|logits| mean_step(logits)).collect(),
                    splits: said,
                    velocity: f64::from(velocity[0]),
                })
            })
            .collect())
    }
}

/// The mean step of a distribution over [`STEPS`]: what drawing again and again comes to once it is smoothed,
/// without its noise. Exactly 0 where the distribution is symmetric.
fn mean_step(logits: &[f32]) -> f64 {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let parts: Vec<f64> = logits.iter().map(|logit| f64::from(logit - most).exp()).collect();
    let sum: f64 = parts.iter().sum();
    // Opposite steps first, so that equal parts leave nothing behind.
    let half = STEPS.len() / 2;
    let pairs = (0..half)
        .map(|step| (parts[STEPS.len() - 1 - step] - parts[step]) * STEPS[STEPS.len() - 1 - step]);
    pairs.sum::<f64>() / sum
}

/// Hexadecimal digits of [`Model::id`].
const ID: usize = 12;

impl Actor for Arc<Model> {
    fn weights(&self) -> Option<Arc<str>> {
        self.id.clone()
    }

    fn command(&mut self, view: &CommanderView) -> Option<Vec<Command>> {
        // Without numbers of the network the rule decides; the shapes were checked when it was loaded.
        self.commands(view).ok()
    }

    fn order(&mut self, views: &[SoldierView]) -> Vec<Option<Orders>> {
        if views.is_empty() {
            return Vec::new();
        }
        self.orders(views).unwrap_or_else(|_| vec![None; views.len()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Start;

    #[test]
    fn the_mean_of_symmetric_steps_is_exactly_none() {
        assert_eq!(mean_step(&[-2.813_41, -1.832_58, -0.579_8, -1.832_58, -2.813_41]), 0.0);
        assert!((mean_step(&[-9.0, -9.0, -9.0, -9.0, 9.0]) - 2.0).abs() < 1e-3);
        assert!(mean_step(&[f32::NAN, 0.0, 0.0, 0.0, 0.0]).is_nan());
    }

    #[test]
    fn bytes_come_back_and_others_are_refused_in_a_sentence() {
        let model = Model::untrained(Seed::root(3)).unwrap();
        let bytes = model.to_bytes(BTreeMap::new()).unwrap();
        let read = Model::from_bytes(&bytes).unwrap();
        let flat = |model: &Model| model.parameters().to_flat().unwrap();
        assert_eq!(flat(&read), flat(&model));
        assert_eq!(read.origin()[Model::FEATURES], features_hash());

        for end in [0, 100, bytes.len() - 4] {
            assert!(matches!(Model::from_bytes(&bytes[..end]), Err(ModelError::Weights(_))));
        }
        let foreign = Weights::of(model.parameters()).unwrap().to_bytes().unwrap();
        let error = Model::from_bytes(&foreign).unwrap_err().to_string();
        assert!(error.contains("feature list") && !error.contains('\n'), "{error}");
        let mut other = Parameters::new();
        Initial::new(&mut other, Seed::root(1)).variable("a", &[2], Start::Zeros).unwrap();
        let origin = BTreeMap::from([(Model::FEATURES.to_owned(), features_hash())]);
        let other = Weights::of(&other).unwrap().with_origin(origin).to_bytes().unwrap();
        assert!(matches!(
            Model::from_bytes(&other),
            Err(ModelError::Weights(WeightsError::Missing(_)))
        ));
    }
}
