use candle_core::{D, Device, Tensor, Var};

use super::*;
use crate::nn::check::{
    every_parameter_gets_a_gradient, gradients_are_slopes, loss_of, numbers, shaken,
};
use crate::nn::{Gradients, Initial, Parameters};
use crate::seed::Seed;

/// Makes a layer, moves it off its start, and proves its gradients in all parameters and in its inputs,
/// which are parameters named `input.0` and so on.
fn proved<L>(
    inputs: &[&[usize]],
    make: impl Fn(&mut Initial<'_>) -> candle_core::Result<L>,
    run: impl Fn(&L, &[Var]) -> Vec<Tensor>,
) -> (L, Vec<Var>) {
    let mut parameters = Parameters::new();
    let mut scope = Initial::new(&mut parameters, Seed::root(5));
    let layer = make(&mut scope.child("layer")).unwrap();
    let mut own = scope.child("input");
    let start = crate::nn::Start::Uniform(1.0);
    let input = |(index, shape): (usize, &&[usize])| {
        own.variable(&index.to_string(), shape, start).unwrap()
    };
    let inputs: Vec<Var> = inputs.iter().enumerate().map(input).collect();
    shaken(&parameters, 6);
    let loss = || {
        let losses: Vec<Tensor> = run(&layer, &inputs).iter().map(loss_of).collect();
        Tensor::stack(&losses, 0).unwrap().sum_all().unwrap()
    };
    every_parameter_gets_a_gradient(&parameters, &loss());
    gradients_are_slopes(&parameters, loss);
    (layer, inputs)
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn close(one: &Tensor, other: &Tensor) {
    assert_eq!(one.dims(), other.dims());
    for (index, (one, other)) in flat(one).iter().zip(flat(other)).enumerate() {
        assert!((one - other).abs() < 1e-5, "value {index}: {one} and {other}");
    }
}

fn plain_sigmoid(x: &Tensor) -> Tensor {
    ((x.neg().unwrap().exp().unwrap() + 1.0).unwrap()).recip().unwrap()
}

#[test]
fn a_linear_map_is_a_product_and_a_bias() {
    let make = |scope: &mut Initial<'_>| Linear::new(scope, 3, 4);
    let (layer, inputs) =
        proved(&[&[2, 5, 3]], make, |layer, x| vec![layer.forward(&x[0]).unwrap()]);
    let x = inputs[0].reshape((10, 3)).unwrap();
    let bias = layer.bias().unwrap().as_tensor();
    let expected = x.matmul(layer.weight()).unwrap().broadcast_add(bias).unwrap();
    close(&layer.forward(&inputs[0]).unwrap(), &expected.reshape((2, 5, 4)).unwrap());
    assert!(layer.forward(&numbers(1, &[2, 4])).is_err());
}

#[test]
fn every_activation_has_its_value_and_its_slope() {
    let x = numbers(3, &[4, 7]);
    let x = (x * 6.0).unwrap();
    close(&silu(&x).unwrap(), &x.silu().unwrap());
    close(&elu(&x).unwrap(), &x.elu(1.0).unwrap());
    close(&sigmoid(&x).unwrap(), &plain_sigmoid(&x));
    let activations = [
        Activation::None,
        Activation::Silu,
        Activation::Elu,
        Activation::Sigmoid,
        Activation::Tanh,
        Activation::Relu,
    ];
    for activation in activations {
        let run = |layer: &Linear, x: &[Var]| vec![layer.activated(&x[0], activation).unwrap()];
        proved(&[&[4, 3]], |scope| Linear::new(scope, 3, 5), run);
    }
}

#[test]
fn grouped_maps_are_maps_side_by_side() {
    let make = |scope: &mut Initial<'_>| GroupedLinear::new(scope, 3, 2, 4);
    let run =
        |layer: &GroupedLinear, x: &[Var]| vec![layer.activated(&x[0], Activation::Silu).unwrap()];
    let (layer, inputs) = proved(&[&[3, 5, 2]], make, run);
    let all = layer.activated(&inputs[0], Activation::None).unwrap();
    for group in 0..3 {
        let x = inputs[0].get(group).unwrap();
        let product = x.matmul(&layer.weight().get(group).unwrap()).unwrap();
        let expected = product.broadcast_add(&layer.bias().get(group).unwrap()).unwrap();
        close(&all.get(group).unwrap(), &expected);
    }
}

#[test]
fn a_softmax_is_exponentials_over_their_sum() {
    let ((), inputs) = proved(&[&[3, 4, 5]], |_| Ok(()), |(), x| vec![softmax(&x[0]).unwrap()]);
    let powers = inputs[0].exp().unwrap();
    let expected = powers.broadcast_div(&powers.sum_keepdim(D::Minus1).unwrap()).unwrap();
    close(&softmax(&inputs[0]).unwrap(), &expected);
    assert!(softmax(&inputs[0].narrow(1, 0, 0).unwrap()).is_err());
    // Large numbers do not overflow, and what is far below gets exactly nothing.
    let wide = Tensor::new(&[[1000.0_f32, 1000.0, -1e9]], &Device::Cpu).unwrap();
    assert_eq!(flat(&softmax(&wide).unwrap()), [0.5, 0.5, 0.0]);
}

#[test]
fn layer_normalisation_matches_numbers_made_by_hand() {
    let make = |scope: &mut Initial<'_>| LayerNorm::new(scope, 4);
    let mut parameters = Parameters::new();
    let layer = make(&mut Initial::new(&mut parameters, Seed::root(1))).unwrap();
    // Mean 2.5, variance 1.25: (1 - 2.5) / sqrt(1.25001) and so on.
    let x = Tensor::new(&[[1.0_f32, 2.0, 3.0, 4.0]], &Device::Cpu).unwrap();
    let expected =
        Tensor::new(&[[-1.341_635_4_f32, -0.447_211_8, 0.447_211_8, 1.341_635_4]], &Device::Cpu);
    close(&layer.forward(&x).unwrap(), &expected.unwrap());
    proved(&[&[2, 3, 4]], make, |layer, x| vec![layer.forward(&x[0]).unwrap()]);
    // A row without variance is its bias.
    let flat_row = Tensor::new(&[[7.0_f32; 4]], &Device::Cpu).unwrap();
    assert_eq!(flat(&layer.forward(&flat_row).unwrap()), [0.0; 4]);
}

#[test]
fn grouped_normalisation_has_a_gain_for_each_group() {
    let make = |scope: &mut Initial<'_>| LayerNorm::grouped(scope, 3, 4);
    let (layer, _) = proved(&[&[3, 2, 4]], make, |layer, x| vec![layer.forward(&x[0]).unwrap()]);
    assert!(layer.forward(&numbers(1, &[2, 3, 4])).is_err());
}

#[test]
fn a_gated_unit_is_one_map_times_the_sigmoid_of_another() {
    let make = |scope: &mut Initial<'_>| Glu::new(scope, 3, 4);
    let (layer, inputs) = proved(&[&[5, 3]], make, |layer, x| vec![layer.forward(&x[0]).unwrap()]);
    let mut parameters = Parameters::new();
    let seeded = Glu::new(&mut Initial::new(&mut parameters, Seed::root(2)), 3, 4).unwrap();
    let both = inputs[0].matmul(parameters.get("weight").unwrap()).unwrap();
    let gate = plain_sigmoid(&both.narrow(1, 0, 4).unwrap());
    close(&seeded.forward(&inputs[0]).unwrap(), &(gate * both.narrow(1, 4, 4).unwrap()).unwrap());
    assert!(layer.onto(&inputs[0], &numbers(1, &[5, 3])).is_err());
}

#[test]
fn gated_residual_networks_learn_with_and_without_context_and_skip_map() {
    for (output, context) in [(3, None), (5, None), (3, Some(2)), (5, Some(2))] {
        let sizes = GrnSizes { input: 3, hidden: 4, output, context };
        for activation in [Activation::Elu, Activation::Silu] {
            let make = |scope: &mut Initial<'_>| Grn::new(scope, sizes, activation);
            let run = |layer: &Grn, x: &[Var]| {
                let context = x.get(1).map(Var::as_tensor);
                vec![layer.forward(&x[0], context).unwrap()]
            };
            // The context is shared by all steps.
            let shapes: &[&[usize]] = &[&[2, 3, 3], &[2, 1, 2]];
            let (layer, inputs) = proved(&shapes[..=usize::from(context.is_some())], make, run);
            let wrong = if context.is_some() { None } else { Some(inputs[0].as_tensor()) };
            assert!(layer.forward(&inputs[0], wrong).is_err());
        }
    }
}

/// The recurrence, one number at a time.
fn naive_lstm(gates: &Tensor, recurrent: &Tensor, width: usize) -> (Vec<f32>, Vec<f32>) {
    let (gates, weights) = (gates.to_vec3::<f32>().unwrap(), recurrent.to_vec2::<f32>().unwrap());
    let sigmoid = |x: f32| 1.0 / (1.0 + (-x).exp());
    let (mut outputs, mut cells) = (Vec::new(), Vec::new());
    for sequence in gates {
        let (mut hidden, mut cell) = (vec![0.0_f32; width], vec![0.0_f32; width]);
        for step in sequence {
            let mut sums = step;
            for (column, sum) in sums.iter_mut().enumerate() {
                *sum += (0..width).map(|row| hidden[row] * weights[row][column]).sum::<f32>();
            }
            for index in 0..width {
                let (input, forget) = (sigmoid(sums[index]), sigmoid(sums[width + index]));
                let candidate = sums[2 * width + index].tanh();
                cell[index] = forget * cell[index] + input * candidate;
                hidden[index] = sigmoid(sums[3 * width + index]) * cell[index].tanh();
            }
            outputs.extend_from_slice(&hidden);
        }
        cells.extend(cell);
    }
    (outputs, cells)
}

#[test]
fn the_recurrent_layer_is_the_naive_loop() {
    let mut parameters = Parameters::new();
    let lstm = Lstm::new(&mut Initial::new(&mut parameters, Seed::root(4)), 3, 4).unwrap();
    shaken(&parameters, 8);
    let x = numbers(9, &[2, 6, 3]);
    let weight = parameters.get("input.weight").unwrap();
    let gates = x.reshape((12, 3)).unwrap().matmul(weight).unwrap();
    let gates = gates.broadcast_add(parameters.get("bias").unwrap()).unwrap();
    let gates = gates.reshape((2, 6, 16)).unwrap();
    let (outputs, cells) = naive_lstm(&gates, parameters.get("recurrent").unwrap(), 4);
    let (given, state) = lstm.forward(&x, None).unwrap();
    close(&given, &Tensor::from_vec(outputs, (2, 6, 4), &Device::Cpu).unwrap());
    close(&state.cell, &Tensor::from_vec(cells, (2, 4), &Device::Cpu).unwrap());
    close(&state.hidden, &given.narrow(1, 5, 1).unwrap().squeeze(1).unwrap());
}

#[test]
fn gradients_flow_back_through_time_into_the_first_state() {
    let make = |scope: &mut Initial<'_>| Lstm::new(scope, 3, 4);
    let run = |lstm: &Lstm, x: &[Var]| {
        let state = LstmState { hidden: x[1].as_tensor().clone(), cell: x[2].as_tensor().clone() };
        let (outputs, state) = lstm.forward(&x[0], Some(&state)).unwrap();
        vec![outputs, state.hidden, state.cell]
    };
    proved(&[&[2, 5, 3], &[2, 4], &[2, 4]], make, run);
}

#[test]
fn a_recurrent_layer_may_stop_and_go_on() {
    let mut parameters = Parameters::new();
    let lstm = Lstm::new(&mut Initial::new(&mut parameters, Seed::root(4)), 3, 4).unwrap();
    assert_eq!(flat(parameters.get("bias").unwrap())[3..9], [0.0, 1.0, 1.0, 1.0, 1.0, 0.0]);
    let x = numbers(9, &[2, 6, 3]);
    let (whole, last) = lstm.forward(&x, None).unwrap();
    let (_, state) = lstm.forward(&x.narrow(1, 0, 4).unwrap(), None).unwrap();
    let (rest, end) = lstm.forward(&x.narrow(1, 4, 2).unwrap(), Some(&state)).unwrap();
    assert_eq!(flat(&rest), flat(&whole.narrow(1, 4, 2).unwrap()));
    assert_eq!(flat(&end.cell), flat(&last.cell));
    assert!(lstm.forward(&x.narrow(1, 0, 0).unwrap(), None).is_err());
    assert!(lstm.forward(&x, Some(&LstmState::zeros(3, 4).unwrap())).is_err());
}

#[test]
fn attention_is_the_mean_of_what_its_heads_see() {
    let make = |scope: &mut Initial<'_>| InterpretableAttention::new(scope, 4, 2);
    let mask = causal_mask(3, 5).unwrap();
    let run = |layer: &InterpretableAttention, x: &[Var]| {
        let (answer, weights) = layer.forward(&x[0], &x[1], Some(&mask)).unwrap();
        vec![answer, weights]
    };
    proved(&[&[2, 3, 4], &[2, 5, 4]], make, run);

    let mut parameters = Parameters::new();
    let layer = make(&mut Initial::new(&mut parameters, Seed::root(3))).unwrap();
    let (queries, keys) = (numbers(1, &[1, 3, 4]), numbers(2, &[1, 5, 4]));
    let (answer, weights) = layer.forward(&queries, &keys, None).unwrap();
    let map = |x: &Tensor, name: &str| {
        let weight = parameters.get(&format!("{name}.weight")).unwrap().as_tensor();
        x.squeeze(0).unwrap().matmul(weight).unwrap()
    };
    let (query, key) = (map(&queries, "query"), map(&keys, "key"));
    let seen = |head: usize| {
        let own = |x: &Tensor| x.narrow(1, 2 * head, 2).unwrap().contiguous().unwrap();
        let scores = own(&query).matmul(&own(&key).t().unwrap()).unwrap();
        let powers = (scores / 2.0_f64.sqrt()).unwrap().exp().unwrap();
        powers.broadcast_div(&powers.sum_keepdim(1).unwrap()).unwrap()
    };
    let mean = ((seen(0) + seen(1)).unwrap() / 2.0).unwrap();
    close(&weights.squeeze(0).unwrap(), &mean);
    let value = mean.matmul(&map(&keys, "value")).unwrap();
    let expected = value.matmul(parameters.get("output.weight").unwrap()).unwrap();
    close(&answer.squeeze(0).unwrap(), &expected);
}

#[test]
fn a_masked_key_is_not_seen_at_all() {
    let mut parameters = Parameters::new();
    let mut scope = Initial::new(&mut parameters, Seed::root(3));
    let layer = InterpretableAttention::new(&mut scope, 4, 2).unwrap();
    let x = numbers(1, &[1, 5, 4]);
    let mask = causal_mask(5, 5).unwrap();
    let (before, weights) = layer.forward(&x, &x, Some(&mask)).unwrap();
    let other = Tensor::cat(&[&x.narrow(1, 0, 4).unwrap(), &numbers(2, &[1, 1, 4])], 1).unwrap();
    let (after, _) = layer.forward(&other, &other, Some(&mask)).unwrap();
    assert_eq!(flat(&before)[..16], flat(&after)[..16]);
    assert_ne!(flat(&before)[16..], flat(&after)[16..]);
    assert_eq!(flat(&weights)[..5], [1.0, 0.0, 0.0, 0.0, 0.0]);
    assert!(layer.forward(&x, &x, Some(&causal_mask(4, 5).unwrap())).is_err());
    assert!(causal_mask(6, 5).is_err());
    assert!(InterpretableAttention::new(&mut scope.child("b"), 4, 3).is_err());
}

#[test]
fn selection_learns_with_and_without_context() {
    for context in [None, Some(2)] {
        let make = |scope: &mut Initial<'_>| {
            VariableSelection::new(scope, 3, 4, context, Activation::Silu)
        };
        let run = |layer: &VariableSelection, x: &[Var]| {
            let selected = layer.forward(&x[0], x.get(1).map(Var::as_tensor)).unwrap();
            vec![selected.vector, selected.weights]
        };
        let shapes: &[&[usize]] = &[&[2, 5, 3], &[2, 1, 2]];
        let (layer, inputs) = proved(&shapes[..=usize::from(context.is_some())], make, run);
        let selected = layer.forward(&inputs[0], inputs.get(1).map(Var::as_tensor)).unwrap();
        let sums = flat(&selected.weights.sum(D::Minus1).unwrap());
        assert!(sums.iter().all(|sum| (sum - 1.0).abs() < 1e-5), "{sums:?}");
        assert!(layer.forward(&numbers(1, &[2, 4]), None).is_err());
    }
}

#[test]
fn the_folded_selection_is_the_one_of_the_paper() {
    let mut parameters = Parameters::new();
    let mut scope = Initial::new(&mut parameters, Seed::root(3));
    let layer = VariableSelection::new(&mut scope, 3, 4, None, Activation::Elu).unwrap();
    shaken(&parameters, 4);
    let x = numbers(2, &[6, 3]);
    let value = |name: &str| parameters.get(name).unwrap().as_tensor().clone();
    // The embeddings, side by side.
    let embedded = |variable: usize| {
        let direction = value("embedding.direction").narrow(0, variable, 1).unwrap();
        let offset = value("embedding.offset").narrow(0, variable, 1).unwrap();
        x.narrow(1, variable, 1)
            .unwrap()
            .matmul(&direction)
            .unwrap()
            .broadcast_add(&offset)
            .unwrap()
    };
    let all: Vec<Tensor> = (0..3).map(embedded).collect();
    let wide = Tensor::cat(&all, 1).unwrap();
    // A gated residual network from named weights; `at` picks a group.
    let network = |x: &Tensor, path: &str, skip: &Tensor, at: Option<usize>| {
        let part = |name: &str| {
            let all = value(&format!("{path}.{name}"));
            at.map_or(all.clone(), |group| all.get(group).unwrap())
        };
        let map = |x: &Tensor, name: &str| {
            let product = x.matmul(&part(&format!("{name}.weight"))).unwrap();
            product.broadcast_add(&part(&format!("{name}.bias"))).unwrap()
        };
        let both = map(&map(x, "first").elu(1.0).unwrap(), "gate");
        let half = both.dim(1).unwrap() / 2;
        let gate = plain_sigmoid(&both.narrow(1, 0, half).unwrap());
        let sum = (skip + (gate * both.narrow(1, half, half).unwrap()).unwrap()).unwrap();
        let centred = sum.broadcast_sub(&sum.mean_keepdim(1).unwrap()).unwrap();
        let deviation =
            (centred.sqr().unwrap().mean_keepdim(1).unwrap() + 1e-5).unwrap().sqrt().unwrap();
        let normal = centred.broadcast_div(&deviation).unwrap();
        normal.broadcast_mul(&part("norm.gain")).unwrap().broadcast_add(&part("norm.bias")).unwrap()
    };
    let skip = wide.matmul(&value("choice.skip.weight")).unwrap();
    let skip = skip.broadcast_add(&value("choice.skip.bias")).unwrap();
    let scores = network(&wide, "choice", &skip, None).exp().unwrap();
    let weights = scores.broadcast_div(&scores.sum_keepdim(1).unwrap()).unwrap();
    let mut vector = Tensor::zeros((6, 4), candle_core::DType::F32, &Device::Cpu).unwrap();
    for (variable, own) in all.iter().enumerate() {
        let through = network(own, "variable", own, Some(variable));
        let weight = weights.narrow(1, variable, 1).unwrap();
        vector = (vector + through.broadcast_mul(&weight).unwrap()).unwrap();
    }
    let selected = layer.forward(&x, None).unwrap();
    close(&selected.weights, &weights);
    close(&selected.vector, &vector);
}

#[test]
fn numbers_that_are_not_finite_pass_through_to_the_guard() {
    let mut parameters = Parameters::new();
    let mut scope = Initial::new(&mut parameters, Seed::root(3));
    let grn = Grn::new(&mut scope.child("grn"), GrnSizes::all(4), Activation::Silu).unwrap();
    let x = Tensor::new(&[[1.0_f32, f32::NAN, 0.0, 2.0]], &Device::Cpu).unwrap();
    let loss = softmax(&grn.forward(&x, None).unwrap()).unwrap().sum_all().unwrap();
    assert!(!Gradients::of(&loss, &parameters).unwrap().is_finite());
}
