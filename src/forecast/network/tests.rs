use std::collections::BTreeMap;

use super::*;
use crate::forecast::window::{FUTURE, PAST, STATIC, TOKENS, Window};
use crate::nn::Gradients;
use crate::nn::check;

fn window(seed: Seed) -> Window {
    let draws = |name: &str, count: usize| {
        let seed = seed.child(name);
        (0..count as u64).map(|index| seed.draw(index).gauss() as f32).collect::<Vec<_>>()
    };
    Window {
        past: draws("past", TOKENS * PAST.len()),
        future: draws("future", 3 * FUTURE.len()),
        statics: draws("static", STATIC.len()),
        anchor: [5.0, 5.1, 5.2],
        announced: [0.0; 3],
        spread: [0.05, 0.06, 0.08],
        floor: 1.5,
    }
}

fn windows(count: u64) -> Vec<Window> {
    (0..count).map(|index| window(Seed::root(3).nth(index))).collect()
}

#[test]
fn untrained_networks_give_the_simple_forecast_and_a_normal_error() {
    for kind in Kind::ALL {
        let network = Network::new(kind, Seed::root(1)).unwrap();
        let output = network.forward(&Batch::new(&windows(4)).unwrap()).unwrap();
        assert_eq!(output.quantiles.dims(), [4, 3, 4]);
        for row in output.quantiles.flatten_to(1).unwrap().to_vec2::<f32>().unwrap() {
            for (value, expected) in row.into_iter().zip([-1.606, 0.0, 1.055, 1.606]) {
                assert!((value - expected).abs() < 0.4, "{kind}: {value} instead of {expected}");
            }
        }
    }
}

#[test]
fn quantiles_never_cross_whatever_the_parameters() {
    for kind in Kind::ALL {
        let network = Network::new(kind, Seed::root(2)).unwrap();
        let flat = network.parameters().to_flat().unwrap();
        let wild: Vec<f32> = flat.iter().map(|value| value * 30.0).collect();
        network.parameters().set_flat(&wild).unwrap();
        let output = network.forward(&Batch::new(&windows(8)).unwrap()).unwrap();
        for row in output.quantiles.flatten_to(1).unwrap().to_vec2::<f32>().unwrap() {
            assert!(row.is_sorted(), "{kind}: {row:?}");
        }
    }
}

#[test]
fn a_gradient_reaches_every_parameter() {
    for kind in Kind::ALL {
        let network = Network::new(kind, Seed::root(4)).unwrap();
        let windows = windows(6);
        let targets = Targets::new(&windows, &[[150.0, 160.0, f32::NAN]; 6]).unwrap();
        let output = network.forward(&Batch::new(&windows).unwrap()).unwrap();
        let loss = targets.pinball(&output.quantiles).unwrap();
        check::every_parameter_gets_a_gradient(network.parameters(), &loss);
    }
}

#[test]
fn a_few_steps_learn_what_a_feature_says() {
    // What comes is the simple forecast times 1 + 0.2 x the first known-future feature.
    for kind in Kind::ALL {
        let network = Network::new(kind, Seed::root(5)).unwrap();
        let mut adam =
            crate::nn::Adam::new(network.parameters(), crate::nn::AdamSettings::default());
        let windows = windows(12);
        let outcomes: Vec<[f32; 3]> = windows
            .iter()
            .map(|window| {
                std::array::from_fn(|horizon| {
                    let factor = 1.0 + 0.2 * window.future[horizon * FUTURE.len()].tanh();
                    window.anchor[horizon].exp() * factor - window.floor
                })
            })
            .collect();
        let batch = Batch::new(&windows).unwrap();
        let targets = Targets::new(&windows, &outcomes).unwrap();
        let mut losses = Vec::new();
        for _ in 0..40 {
            let loss = targets.pinball(&network.forward(&batch).unwrap().quantiles).unwrap();
            losses.push(loss.to_scalar::<f32>().unwrap());
            let gradients = Gradients::of(&loss, network.parameters()).unwrap();
            adam.step(network.parameters(), gradients, 5e-3).unwrap();
        }
        let last = losses[losses.len() - 1];
        assert!(last < 0.7 * losses[0], "{kind}: {} to {last}", losses[0]);
    }
}

#[test]
fn the_loss_is_the_pinball_loss_of_what_is_known() {
    let windows = vec![Window { spread: [0.1; 3], ..window(Seed::root(1)) }];
    let at =
        |ratio: f32, horizon: usize| windows[0].anchor[horizon].exp() * ratio - windows[0].floor;
    let targets = Targets::new(&windows, &[[at(1.2, 0), at(0.9, 1), f32::NAN]]).unwrap();
    let flat =
        Tensor::zeros((1, 3, 4), candle_core::DType::F32, &candle_core::Device::Cpu).unwrap();
    let loss = targets.pinball(&flat).unwrap().to_scalar::<f32>().unwrap();
    // All quantiles say 1: 0.2 above costs 0.2 x level, 0.1 below costs 0.1 x (1 - level), over 0.1.
    let above: f32 = [0.1, 0.5, 0.8, 0.9].iter().map(|level| 2.0 * level).sum();
    let below: f32 = [0.1, 0.5, 0.8, 0.9].iter().map(|level| 1.0 - level).sum();
    assert!((loss - (above + below) / 8.0).abs() < 1e-4, "{loss}");
    assert_eq!(targets.known(), 2.0);
}

#[test]
fn weights_of_another_network_or_feature_list_are_refused() {
    let network = Network::new(Kind::Mixer, Seed::root(1)).unwrap();
    let bytes = Model::bytes_of(&network, BTreeMap::default()).unwrap();
    assert_eq!(bytes, Model::bytes_of(&network, BTreeMap::default()).unwrap());
    let model = Model::from_bytes(&bytes).unwrap();
    let windows = windows(70);
    let all: Vec<&Window> = windows.iter().collect();
    let answers = model.ask(&all).unwrap();
    assert_eq!(answers.len(), 70);
    assert_eq!(answers[69], model.ask(&all[69..]).unwrap()[0]);
    assert!(Model::from_bytes(&bytes[..bytes.len() - 5]).is_err());
    assert!(Model::from_bytes(b"no weights at all").is_err());
    let other = crate::nn::Weights::of(network.parameters()).unwrap();
    let told = |origin: [(&str, &str); 2]| {
        let origin = origin.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let bytes = other.clone().with_origin(origin.into()).to_bytes().unwrap();
        Model::from_bytes(&bytes).unwrap_err().to_string()
    };
    let hash = crate::forecast::features_hash();
    assert!(told([("network", "mixer"), ("features", "0123")]).contains("feature list 0123"));
    assert!(told([("network", "tft"), ("features", &hash)]).contains("another network"));
    assert!(
        told([("network", "oracle"), ("features", &hash)]).contains("\"oracle\" is no network")
    );
}
