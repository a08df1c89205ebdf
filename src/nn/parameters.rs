//! Named parameters in a fixed order, each started from a seed of its own name.

use std::collections::BTreeMap;

use candle_core::{Device, Result, Tensor, Var, bail};

use crate::seed::Seed;

/// The trainable values of a network: `f32` on the CPU, ordered by name.
///
/// Layers hold clones of the variables, which share their values: what is set here is what the network
/// computes with.
#[derive(Debug, Default)]
pub struct Parameters {
    variables: BTreeMap<String, Var>,
}

impl Parameters {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Names and variables, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Var)> {
        self.variables.iter().map(|(name, variable)| (name.as_str(), variable))
    }

    /// The variable with this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Var> {
        self.variables.get(name)
    }

    /// How many scalars there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.variables.values().map(|variable| variable.elem_count()).sum()
    }

    /// A copy of all values, one variable after the other in the order of names.
    ///
    /// # Errors
    /// When candle cannot read a variable.
    pub fn to_flat(&self) -> Result<Vec<f32>> {
        let mut flat = Vec::with_capacity(self.count());
        for variable in self.variables.values() {
            flat.extend(variable.flatten_all()?.to_vec1::<f32>()?);
        }
        Ok(flat)
    }

    /// Sets all values from a copy made by [`Parameters::to_flat`] of a network of the same shape.
    ///
    /// # Errors
    /// When the number of values is another.
    pub fn set_flat(&self, flat: &[f32]) -> Result<()> {
        if flat.len() != self.count() {
            bail!("{} values were given for {} parameters", flat.len(), self.count());
        }
        let mut rest = flat;
        for variable in self.variables.values() {
            let (own, after) = rest.split_at(variable.elem_count());
            variable.set(&Tensor::from_slice(own, variable.shape(), &Device::Cpu)?)?;
            rest = after;
        }
        Ok(())
    }
}

/// How a variable starts. The last two dimensions of a shape are one matrix `[in, out]`; dimensions
/// before them count independent matrices.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Start {
    /// All 0.
    Zeros,
    /// All the same.
    Constant(f32),
    /// Uniform between minus and plus this bound.
    Uniform(f64),
    /// Uniform within `sqrt(6 / (in + out))` (Glorot and Bengio 2010).
    Glorot,
    /// Rows or columns, whichever are fewer, orthogonal and of length `gain` (Saxe et al. 2014).
    Orthogonal {
        /// The length.
        gain: f64,
    },
}

/// A place in the tree of names where variables are made.
///
/// A variable's numbers depend on the seed and on its full name alone: one more variable changes no other.
#[derive(Debug)]
pub struct Initial<'a> {
    parameters: &'a mut Parameters,
    path: String,
    seed: Seed,
}

impl<'a> Initial<'a> {
    /// The root of the tree.
    pub const fn new(parameters: &'a mut Parameters, seed: Seed) -> Self {
        Self { parameters, path: String::new(), seed }
    }

    /// The place `name` below this one.
    pub fn child(&mut self, name: &str) -> Initial<'_> {
        let path = self.full(name);
        Initial { parameters: self.parameters, path, seed: self.seed }
    }

    /// Makes the variable `name` here.
    ///
    /// # Errors
    /// When the full name is taken.
    pub fn variable(&mut self, name: &str, shape: &[usize], start: Start) -> Result<Var> {
        let seed = self.seed.child(&self.full(name));
        let values = started(shape, start, seed);
        self.values(name, shape, values)
    }

    /// Makes the variable `name` here with given values.
    ///
    /// # Errors
    /// When the full name is taken or the values do not fill the shape.
    pub fn values(&mut self, name: &str, shape: &[usize], values: Vec<f32>) -> Result<Var> {
        let full = self.full(name);
        if self.parameters.variables.contains_key(&full) {
            bail!("two parameters are named {full}");
        }
        let variable = Var::from_vec(values, shape, &Device::Cpu)?;
        self.parameters.variables.insert(full, variable.clone());
        Ok(variable)
    }

    fn full(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }
}

fn started(shape: &[usize], start: Start, seed: Seed) -> Vec<f32> {
    let count = shape.iter().product::<usize>();
    let (rows, columns) = match shape {
        [.., rows, columns] => (*rows, *columns),
        [columns] => (1, *columns),
        [] => (1, 1),
    };
    let uniform = |bound: f64| {
        let draw = |index| (seed.draw(index).uniform() * 2.0 - 1.0) * bound;
        (0..count as u64).map(|index| draw(index) as f32).collect()
    };
    match start {
        Start::Zeros => vec![0.0; count],
        Start::Constant(value) => vec![value; count],
        Start::Uniform(bound) => uniform(bound),
        Start::Glorot => uniform((6.0 / (rows + columns) as f64).sqrt()),
        Start::Orthogonal { gain } => {
            let matrices = count.checked_div(rows * columns).unwrap_or(0) as u64;
            let one = |index| orthogonal(rows, columns, gain, seed.nth(index));
            (0..matrices).flat_map(one).collect()
        }
    }
}

/// Gram and Schmidt on normal draws, twice per vector so that rounding leaves nothing behind.
fn orthogonal(rows: usize, columns: usize, gain: f64, seed: Seed) -> Vec<f32> {
    let (vectors, length) = (rows.min(columns), rows.max(columns));
    let mut basis: Vec<Vec<f64>> = Vec::with_capacity(vectors);
    for index in 0..vectors {
        let draw = |at| seed.draw((index * length + at) as u64).gauss();
        let mut vector: Vec<f64> = (0..length).map(draw).collect();
        for other in basis.iter().chain(basis.iter()) {
            let along: f64 = vector.iter().zip(other).map(|(a, b)| a * b).sum();
            vector.iter_mut().zip(other).for_each(|(a, b)| *a -= along * b);
        }
        let norm = vector.iter().map(|a| a * a).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
        for a in &mut vector {
            *a /= norm;
        }
        basis.push(vector);
    }
    let entry = |row: usize, column: usize| {
        if rows <= columns { basis[row][column] } else { basis[column][row] }
    };
    let all = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
    all.map(|(row, column)| (gain * entry(row, column)) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(names: &[&str], seed: u64) -> Parameters {
        let mut parameters = Parameters::new();
        let mut scope = Initial::new(&mut parameters, Seed::root(seed));
        for name in names {
            scope.child("part").variable(name, &[3, 5], Start::Glorot).unwrap();
        }
        parameters
    }

    fn values(parameters: &Parameters, name: &str) -> Vec<f32> {
        parameters.get(name).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn the_same_seed_gives_the_same_numbers_and_another_gives_others() {
        let flat = |seed| made(&["a", "b"], seed).to_flat().unwrap();
        assert_eq!(flat(1), flat(1));
        assert_ne!(flat(1), flat(2));
        assert_ne!(flat(1)[..15], flat(1)[15..]);
    }

    #[test]
    fn one_more_parameter_changes_no_other() {
        let (few, more) = (made(&["b"], 1), made(&["a", "b", "c"], 1));
        assert_eq!(values(&few, "part.b"), values(&more, "part.b"));
        assert_eq!(
            more.iter().map(|(name, _)| name).collect::<Vec<_>>(),
            ["part.a", "part.b", "part.c"]
        );
        assert_eq!(more.count(), 45);
    }

    #[test]
    fn a_name_is_given_once() {
        let mut parameters = Parameters::new();
        let mut scope = Initial::new(&mut parameters, Seed::root(1));
        scope.variable("a", &[1], Start::Zeros).unwrap();
        assert!(scope.variable("a", &[1], Start::Zeros).is_err());
    }

    #[test]
    fn orthogonal_starts_are_orthogonal_and_of_the_length_asked() {
        for (rows, columns) in [(4, 9), (9, 4), (6, 6)] {
            let values =
                started(&[2, rows, columns], Start::Orthogonal { gain: 1.5 }, Seed::root(3));
            assert_eq!(values.len(), 2 * rows * columns);
            for matrix in values.chunks(rows * columns) {
                let at = |vector: usize, index: usize| {
                    let wide = rows <= columns;
                    f64::from(
                        matrix[if wide {
                            vector * columns + index
                        } else {
                            index * columns + vector
                        }],
                    )
                };
                for one in 0..rows.min(columns) {
                    for other in 0..rows.min(columns) {
                        let product: f64 = (0..rows.max(columns))
                            .map(|index| at(one, index) * at(other, index))
                            .sum();
                        let expected = if one == other { 2.25 } else { 0.0 };
                        assert!((product - expected).abs() < 1e-5, "{one} {other}: {product}");
                    }
                }
            }
        }
    }

    #[test]
    fn glorot_starts_fill_their_bound() {
        let values = started(&[20, 30], Start::Glorot, Seed::root(5));
        let largest = values.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        let bound = (6.0_f32 / 50.0).sqrt();
        assert!(largest <= bound && largest > 0.97 * bound, "{largest} {bound}");
    }

    #[test]
    fn flat_values_come_back_and_a_wrong_number_is_refused() {
        let (one, other) = (made(&["a", "b"], 1), made(&["a", "b"], 2));
        other.set_flat(&one.to_flat().unwrap()).unwrap();
        assert_eq!(values(&one, "part.b"), values(&other, "part.b"));
        assert!(other.set_flat(&[0.0; 29]).is_err());
    }
}
