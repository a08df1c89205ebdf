//! Parameters, and the optimiser's state where training goes on, to and from safetensors bytes.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use candle_core::{Device, Tensor};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

use crate::nn::{Adam, AdamSettings, Parameters};

/// The entry of the safetensors header with everything that is not a tensor, as JSON. One entry, because
/// the crate writes several in any order: the same weights would not be the same bytes.
const HEADER: &str = "hirl";
/// Names of the optimiser's tensors; a colon is in no parameter's name.
const MOMENTS: [&str; 2] = ["adam:first", "adam:second"];

/// Why bytes are not the weights of a network.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// Truncated, corrupt, or something else.
    #[error("the bytes are not complete safetensors weights: {0}")]
    Format(#[from] safetensors::SafeTensorError),
    /// Safetensors of another program.
    #[error("the weights were not written by this program: their header {0}")]
    Foreign(String),
    /// A tensor of another type or size than its header says.
    #[error("the weights {name} are not f32")]
    Type {
        /// The tensor.
        name: String,
    },
    /// NaN or infinite.
    #[error("the weights {name} hold a number that is not finite")]
    NotFinite {
        /// The tensor.
        name: String,
    },
    /// A parameter without weights.
    #[error("the weights are of another network: they have no {0}")]
    Missing(String),
    /// Weights without a parameter.
    #[error("the weights are of another network: it has no {0}")]
    Unknown(String),
    /// Another shape.
    #[error("the weights are of another network: {name} has the shape {found:?}, not {expected:?}")]
    Shape {
        /// The parameter.
        name: String,
        /// In the weights.
        found: Vec<usize>,
        /// In the network.
        expected: Vec<usize>,
    },
    /// Training cannot go on from weights alone.
    #[error("the weights hold no usable state of the optimiser: {0}")]
    NoOptimiser(&'static str),
    /// From candle.
    #[error("the parameters cannot be read or written: {0}")]
    Tensors(#[from] candle_core::Error),
}

/// What the header holds beside the tensors.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    origin: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    adam: Option<Counts>,
}

#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Counts {
    steps: u64,
    skipped: u64,
    in_a_row: u32,
}

/// Named arrays of finite `f32` with words on where they come from.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Weights {
    tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    header: Header,
}

impl Weights {
    /// The values of a network now.
    ///
    /// # Errors
    /// When candle cannot read a variable.
    pub fn of(parameters: &Parameters) -> Result<Self, WeightsError> {
        let mut tensors = BTreeMap::new();
        for (name, variable) in parameters.iter() {
            let values = variable.flatten_all()?.to_vec1::<f32>()?;
            tensors.insert(name.to_owned(), (variable.dims().to_vec(), values));
        }
        Ok(Self { tensors, header: Header::default() })
    }

    /// With words on the origin: seeds, data, commit.
    #[must_use]
    pub fn with_origin(mut self, origin: BTreeMap<String, String>) -> Self {
        self.header.origin = origin;
        self
    }

    /// With the state of the optimiser, so that training can go on as if it had not stopped.
    #[must_use]
    pub fn with_optimiser(mut self, adam: &Adam) -> Self {
        for (name, moments) in MOMENTS.into_iter().zip([&adam.first, &adam.second]) {
            self.tensors.insert(name.to_owned(), (vec![moments.len()], moments.clone()));
        }
        let Adam { steps, skipped, in_a_row, .. } = *adam;
        self.header.adam = Some(Counts { steps, skipped, in_a_row });
        self
    }

    /// Words on the origin.
    #[must_use]
    pub const fn origin(&self) -> &BTreeMap<String, String> {
        &self.header.origin
    }

    /// Safetensors: the same bytes for the same weights.
    ///
    /// # Errors
    /// When a value is not finite.
    pub fn to_bytes(&self) -> Result<Vec<u8>, WeightsError> {
        let mut raw = Vec::with_capacity(self.tensors.len());
        for (name, (shape, values)) in &self.tensors {
            check_finite(name, values)?;
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            raw.push((name, shape, bytes));
        }
        let mut views = Vec::with_capacity(raw.len());
        for (name, shape, bytes) in &raw {
            views.push((name.as_str(), TensorView::new(Dtype::F32, (*shape).clone(), bytes)?));
        }
        let header = serde_json::to_string(&self.header)
            .map_err(|error| WeightsError::Foreign(error.to_string()))?;
        let header = HashMap::from([(HEADER.to_owned(), header)]);
        Ok(safetensors::serialize(views, Some(header))?)
    }

    /// Reads what [`Weights::to_bytes`] wrote.
    ///
    /// # Errors
    /// When the bytes are anything else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WeightsError> {
        let (_, metadata) = SafeTensors::read_metadata(bytes)?;
        let header = metadata.metadata().as_ref().and_then(|entries| entries.get(HEADER));
        let Some(header) = header else {
            return Err(WeightsError::Foreign(format!("has no entry {HEADER}")));
        };
        let header = serde_json::from_str(header)
            .map_err(|error| WeightsError::Foreign(format!("cannot be read: {error}")))?;
        let mut tensors = BTreeMap::new();
        for (name, view) in SafeTensors::deserialize(bytes)?.iter() {
            if view.dtype() != Dtype::F32 {
                return Err(WeightsError::Type { name: name.to_owned() });
            }
            let (parts, _) = view.data().as_chunks::<4>();
            let values: Vec<f32> = parts.iter().map(|part| f32::from_le_bytes(*part)).collect();
            check_finite(name, &values)?;
            tensors.insert(name.to_owned(), (view.shape().to_vec(), values));
        }
        Ok(Self { tensors, header })
    }

    /// Sets the values of a network. Nothing is set unless all of it fits.
    ///
    /// # Errors
    /// When a name or a shape is only on one side.
    pub fn load_into(&self, parameters: &Parameters) -> Result<(), WeightsError> {
        let own: BTreeSet<&str> = self.tensors.keys().map(String::as_str).collect();
        for (name, variable) in parameters.iter() {
            let Some((shape, _)) = self.tensors.get(name) else {
                return Err(WeightsError::Missing(name.to_owned()));
            };
            if shape != variable.dims() {
                let (found, expected) = (shape.clone(), variable.dims().to_vec());
                return Err(WeightsError::Shape { name: name.to_owned(), found, expected });
            }
        }
        let unknown =
            own.into_iter().find(|name| !MOMENTS.contains(name) && parameters.get(name).is_none());
        if let Some(unknown) = unknown {
            return Err(WeightsError::Unknown(unknown.to_owned()));
        }
        for (name, variable) in parameters.iter() {
            if let Some((shape, values)) = self.tensors.get(name) {
                let shape = shape.as_slice();
                variable.set(&Tensor::from_slice(values, shape, &Device::Cpu)?)?;
            }
        }
        Ok(())
    }

    /// The optimiser as it was.
    ///
    /// # Errors
    /// When these weights were saved without one, or with one of another network.
    pub fn optimiser(
        &self,
        parameters: &Parameters,
        settings: AdamSettings,
    ) -> Result<Adam, WeightsError> {
        let moments = MOMENTS.map(|name| self.tensors.get(name));
        let (Some(Counts { steps, skipped, in_a_row }), [Some((_, first)), Some((_, second))]) =
            (self.header.adam, moments)
        else {
            return Err(WeightsError::NoOptimiser("they were saved without it"));
        };
        if first.len() != parameters.count() || second.len() != parameters.count() {
            return Err(WeightsError::NoOptimiser("it is of another network"));
        }
        if second.iter().any(|square| *square < 0.0) {
            return Err(WeightsError::NoOptimiser("a mean square is negative"));
        }
        let mut adam = Adam::new(parameters, settings);
        (adam.first, adam.second) = (first.clone(), second.clone());
        (adam.steps, adam.skipped, adam.in_a_row) = (steps, skipped, in_a_row);
        Ok(adam)
    }
}

fn check_finite(name: &str, values: &[f32]) -> Result<(), WeightsError> {
    if values.iter().all(|value| value.is_finite()) {
        Ok(())
    } else {
        Err(WeightsError::NotFinite { name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::check::{loss_of, numbers};
    use crate::nn::{Activation, Gradients, Grn, GrnSizes, Initial};
    use crate::seed::Seed;

    fn network(width: usize, seed: u64) -> (Parameters, Grn) {
        let mut parameters = Parameters::new();
        let mut scope = Initial::new(&mut parameters, Seed::root(seed));
        let sizes = GrnSizes { hidden: width, ..GrnSizes::all(3) };
        let grn = Grn::new(&mut scope.child("grn"), sizes, Activation::Silu).unwrap();
        (parameters, grn)
    }

    fn trained(parameters: &Parameters, grn: &Grn, adam: &mut Adam, steps: std::ops::Range<u64>) {
        for step in steps {
            let loss = loss_of(&grn.forward(&numbers(step, &[4, 3]), None).unwrap());
            adam.step(parameters, Gradients::of(&loss, parameters).unwrap(), 0.01).unwrap();
        }
    }

    fn origin() -> BTreeMap<String, String> {
        BTreeMap::from(["seed", "data", "commit"].map(|name| (name.to_owned(), "1".to_owned())))
    }

    #[test]
    fn training_goes_on_as_if_it_had_not_stopped() {
        let settings = AdamSettings::default();
        let (parameters, grn) = network(4, 1);
        let mut adam = Adam::new(&parameters, settings);
        trained(&parameters, &grn, &mut adam, 0..3);
        let saved = Weights::of(&parameters).unwrap().with_optimiser(&adam).to_bytes().unwrap();
        trained(&parameters, &grn, &mut adam, 3..6);

        let (resumed, grn) = network(4, 2);
        let weights = Weights::from_bytes(&saved).unwrap();
        weights.load_into(&resumed).unwrap();
        let mut again = weights.optimiser(&resumed, settings).unwrap();
        trained(&resumed, &grn, &mut again, 3..6);
        let bits = |parameters: &Parameters| {
            parameters.to_flat().unwrap().iter().map(|value| value.to_bits()).collect::<Vec<_>>()
        };
        assert_eq!(bits(&parameters), bits(&resumed));
        assert_eq!(adam, again);
    }

    #[test]
    fn the_same_weights_are_the_same_bytes_and_tell_their_origin() {
        let (parameters, _) = network(4, 1);
        let bytes = || Weights::of(&parameters).unwrap().with_origin(origin()).to_bytes().unwrap();
        let first = bytes();
        for _ in 0..5 {
            assert!(first == bytes(), "other bytes");
        }
        let read = Weights::from_bytes(&first).unwrap();
        assert_eq!((read.origin(), read.to_bytes().unwrap()), (&origin(), first));
        assert!(matches!(
            read.optimiser(&parameters, AdamSettings::default()),
            Err(WeightsError::NoOptimiser(_))
        ));
    }

    #[test]
    fn weights_of_another_network_are_refused_and_nothing_is_set() {
        let (parameters, _) = network(4, 1);
        let weights = Weights::of(&parameters).unwrap();
        let (wider, _) = network(5, 1);
        let before = wider.to_flat().unwrap();
        assert!(matches!(weights.load_into(&wider), Err(WeightsError::Shape { .. })));
        assert_eq!(wider.to_flat().unwrap(), before);

        let (mut more, _) = network(4, 1);
        Initial::new(&mut more, Seed::root(1))
            .variable("new", &[1], crate::nn::Start::Zeros)
            .unwrap();
        assert!(
            matches!(weights.load_into(&more), Err(WeightsError::Missing(name)) if name == "new")
        );
        let weights = Weights::of(&more).unwrap();
        assert!(
            matches!(weights.load_into(&parameters), Err(WeightsError::Unknown(name)) if name == "new")
        );
    }

    #[test]
    fn bytes_that_are_not_weights_give_one_sentence() {
        let (parameters, _) = network(4, 1);
        let bytes = Weights::of(&parameters).unwrap().to_bytes().unwrap();
        for end in [0, 4, 8, 40, bytes.len() - 1] {
            let error = Weights::from_bytes(&bytes[..end]).unwrap_err();
            assert!(matches!(error, WeightsError::Format(_)), "{end}: {error}");
            assert!(!error.to_string().contains('\n'));
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(Weights::from_bytes(&longer).is_err());
        assert!(Weights::from_bytes(b"time,rps\n2026-01-01T00:00:00Z,12.5\n").is_err());

        let view = TensorView::new(Dtype::F32, vec![1], &[0; 4]).unwrap();
        let foreign = safetensors::serialize([("a", view)], None).unwrap();
        assert!(matches!(Weights::from_bytes(&foreign), Err(WeightsError::Foreign(_))));

        let header = HashMap::from([(HEADER.to_owned(), r#"{"origin":{}}"#.to_owned())]);
        let view = TensorView::new(Dtype::F64, vec![1], &[0; 8]).unwrap();
        let wide = safetensors::serialize([("a", view)], Some(header)).unwrap();
        assert!(matches!(Weights::from_bytes(&wide), Err(WeightsError::Type { .. })));
    }

    #[test]
    fn numbers_that_are_not_finite_are_neither_written_nor_read() {
        let (parameters, _) = network(4, 1);
        let bytes = Weights::of(&parameters).unwrap().to_bytes().unwrap();
        let mut corrupt = bytes.clone();
        let end = corrupt.len();
        corrupt[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
        assert!(matches!(Weights::from_bytes(&corrupt), Err(WeightsError::NotFinite { .. })));

        parameters.set_flat(&vec![f32::INFINITY; parameters.count()]).unwrap();
        let written = Weights::of(&parameters).unwrap().to_bytes();
        assert!(matches!(written, Err(WeightsError::NotFinite { .. })));
    }
}
