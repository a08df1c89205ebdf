//! Proofs that a network learns what it is told: for the tests of every network.

use candle_core::Tensor;

use crate::nn::{Gradients, Parameters};
use crate::seed::Seed;

/// Asserts that a gradient other than 0 reaches every parameter.
pub(crate) fn every_parameter_gets_a_gradient(parameters: &Parameters, loss: &Tensor) {
    let gradients = Gradients::of(loss, parameters).unwrap();
    assert!(gradients.is_finite(), "the loss or a gradient is not finite");
    assert!(gradients.missing().is_empty(), "no gradient reaches {:?}", gradients.missing());
    let mut rest = gradients.values();
    for (name, variable) in parameters.iter() {
        let (own, after) = rest.split_at(variable.elem_count());
        assert!(own.iter().any(|value| *value != 0.0), "the gradient of {name} is 0");
        rest = after;
    }
}

/// Asserts that gradients are slopes of the loss, at 20 parameters drawn by a seed.
///
/// Slopes by Richardson's extrapolation of two central differences, which leaves the rounding of `f32`:
/// a gradient may differ by 1 % of the largest one among those drawn, or of itself.
pub(crate) fn gradients_are_slopes(parameters: &Parameters, loss: impl Fn() -> Tensor) {
    gradients_of_some_are_slopes(parameters, |_| true, loss);
}

/// The same at parameters whose names are asked for: what is measured and not learned has slopes and no gradients.
pub(crate) fn gradients_of_some_are_slopes(
    parameters: &Parameters,
    asked: impl Fn(&str) -> bool,
    loss: impl Fn() -> Tensor,
) {
    let gradients = Gradients::of(&loss(), parameters).unwrap();
    let start = parameters.to_flat().unwrap();
    let at = |index: usize, change: f32| {
        let mut moved = start.clone();
        moved[index] += change;
        parameters.set_flat(&moved).unwrap();
        f64::from(loss().to_scalar::<f32>().unwrap())
    };
    let slope =
        |index: usize, step: f32| (at(index, step) - at(index, -step)) / (2.0 * f64::from(step));
    let names = parameters.iter().flat_map(|(name, variable)| vec![name; variable.elem_count()]);
    let some: Vec<usize> =
        names.enumerate().filter(|(_, name)| asked(name)).map(|(index, _)| index).collect();
    let drawn: Vec<usize> =
        (0..20).map(|draw| some[Seed::root(11).draw(draw).below(some.len())]).collect();
    let values = gradients.values();
    let largest = drawn.iter().map(|index| values[*index].abs()).fold(0.0, f32::max);
    for index in drawn {
        let slope = (4.0 * slope(index, 0.01) - slope(index, 0.02)) / 3.0;
        let gradient = f64::from(values[index]);
        let allowed = 0.01 * f64::from(largest).max(gradient.abs()) + 1e-4;
        assert!(
            (slope - gradient).abs() <= allowed,
            "parameter {index}: the gradient is {gradient} and the slope {slope}"
        );
    }
    parameters.set_flat(&start).unwrap();
}

/// Numbers between -1 and 1 for the tests of layers.
pub(crate) fn numbers(seed: u64, shape: &[usize]) -> Tensor {
    let count = shape.iter().product::<usize>() as u64;
    let draw = |index| (2.0 * Seed::root(seed).draw(index).uniform() - 1.0) as f32;
    let values: Vec<f32> = (0..count).map(draw).collect();
    Tensor::from_vec(values, shape, &candle_core::Device::Cpu).unwrap()
}

/// Moves every parameter off its start, where zeros and ones hide mistakes.
pub(crate) fn shaken(parameters: &Parameters, seed: u64) {
    let mut values = parameters.to_flat().unwrap();
    for (index, value) in values.iter_mut().enumerate() {
        *value += 0.4 * (Seed::root(seed).draw(index as u64).uniform() as f32 - 0.5);
    }
    parameters.set_flat(&values).unwrap();
}

/// A loss in which every output counts differently.
pub(crate) fn loss_of(output: &Tensor) -> Tensor {
    let target = numbers(77, output.dims());
    let difference = (output - &target).unwrap();
    ((&difference * &difference).unwrap() * &(target + 1.5).unwrap()).unwrap().sum_all().unwrap()
}

mod tests {
    use super::*;
    use crate::nn::{Initial, Start};

    fn parameter() -> (Parameters, candle_core::Var) {
        let mut parameters = Parameters::new();
        let mut scope = Initial::new(&mut parameters, Seed::root(1));
        let variable = scope.variable("a", &[3, 2], Start::Uniform(1.0)).unwrap();
        (parameters, variable)
    }

    #[test]
    #[should_panic(expected = "no gradient reaches")]
    fn a_dropped_gradient_is_found() {
        let (parameters, variable) = parameter();
        every_parameter_gets_a_gradient(&parameters, &loss_of(&variable.detach()));
    }

    #[test]
    #[should_panic(expected = "the gradient of a is 0")]
    fn a_gradient_of_zero_is_found() {
        let (parameters, variable) = parameter();
        let nothing = (variable.as_tensor() * variable.zeros_like().unwrap()).unwrap();
        every_parameter_gets_a_gradient(&parameters, &loss_of(&nothing));
    }

    #[test]
    #[should_panic(expected = "and the slope")]
    fn a_wrong_gradient_is_found() {
        let (parameters, variable) = parameter();
        let half = || (variable.as_tensor() + variable.detach()).unwrap();
        gradients_are_slopes(&parameters, || loss_of(&half()));
    }
}
