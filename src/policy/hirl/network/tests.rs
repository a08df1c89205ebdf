use std::collections::BTreeSet;

use candle_core::Tensor;

use super::*;
use crate::nn::check::{gradients_of_some_are_slopes, loss_of, shaken};
use crate::nn::{Gradients, Parameters};
use crate::policy::hirl::features::{APP, COMMAND, DOMAIN};
use crate::policy::hirl::shape::MINUTES;
use crate::policy::hirl::view::{CommanderView, SoldierView};
use crate::seed::Seed;

fn soldier() -> (Parameters, SoldierNetwork) {
    let mut parameters = Parameters::new();
    let network = SoldierNetwork::new(&mut Initial::new(&mut parameters, Seed::root(1))).unwrap();
    (parameters, network)
}

fn commander() -> (Parameters, CommanderNetwork) {
    let mut parameters = Parameters::new();
    let network = CommanderNetwork::new(&mut Initial::new(&mut parameters, Seed::root(1))).unwrap();
    (parameters, network)
}

fn number(seed: u64, index: usize) -> f32 {
    2.0 * Seed::root(seed).draw(index as u64).uniform() as f32 - 1.0
}

fn soldier_view(apps: usize, seed: u64) -> SoldierView {
    let app = |place: usize| std::array::from_fn(|index| number(seed, place * APP.len() + index));
    SoldierView {
        domain: 0,
        features: std::array::from_fn(|index| number(seed + 100, index)),
        members: (0..apps).collect(),
        apps: (0..apps).map(app).collect(),
        shapes: (0..apps)
            .map(|place| std::array::from_fn(|index| number(seed + 7, place * MINUTES + index)))
            .collect(),
        groups: (0..apps).map(|place| place % 4).collect(),
        at_risk: vec![true; apps],
        cores: vec![1.0; apps],
    }
}

fn commander_view(domains: usize, seed: u64) -> CommanderView {
    let numbers = |place: usize, from: usize| move |index| number(seed, place * 100 + from + index);
    CommanderView {
        domains: (0..domains)
            .map(|place| std::array::from_fn::<_, { DOMAIN.len() }, _>(numbers(place, 0)))
            .collect(),
        features: (0..domains)
            .map(|place| std::array::from_fn::<_, { COMMAND.len() }, _>(numbers(place, 50)))
            .collect(),
        calls: (0..domains)
            .map(|from| (0..domains).map(|to| number(seed, from * 7 + to).abs()).collect())
            .collect(),
    }
}

/// Of what the policy says, and of what the critic expects: it has layers of its own, and moves no others.
fn soldier_losses(network: &SoldierNetwork, batch: &SoldierBatch) -> [Tensor; 2] {
    let (SoldierSaid { steps, splits, velocity }, values) = network.forward(batch).unwrap();
    let [split, rate] = network.log_deviations();
    let said = [steps, splits, velocity, split.as_tensor().clone(), rate.as_tensor().clone()];
    [sum(&said), loss_of(&values)]
}

fn commander_losses(network: &CommanderNetwork, batch: &CommanderBatch) -> [Tensor; 2] {
    let CommanderOutput { shares, headroom, urgency, values } = network.forward(batch).unwrap();
    let [share, room] = network.log_deviations();
    let said = [shares, headroom, share.as_tensor().clone(), room.as_tensor().clone()];
    // The urgency is expected as values are, by a head that reads what the others are made of.
    [sum(&said), sum(&[urgency, values])]
}

fn sum(parts: &[Tensor]) -> Tensor {
    parts.iter().map(loss_of).reduce(|sum, part| (sum + part).unwrap()).unwrap()
}

fn both([said, expected]: &[Tensor; 2]) -> Tensor {
    (said + expected).unwrap()
}

/// Whether a parameter is measured or learned before the policy is, and stays as it is from then on.
fn is_fixed(name: &str) -> bool {
    name.contains("statistics") || name.starts_with("shape.")
}

/// Every parameter that is not fixed learns.
fn learns(parameters: &Parameters, loss: &Tensor) {
    let gradients = Gradients::of(loss, parameters).unwrap();
    let fixed: BTreeSet<String> =
        parameters.iter().map(|(name, _)| name.to_owned()).filter(|name| is_fixed(name)).collect();
    assert_eq!(*gradients.missing(), fixed);
    let mut rest = gradients.values();
    for (name, variable) in parameters.iter() {
        let (own, after) = rest.split_at(variable.elem_count());
        assert!(fixed.contains(name) || own.iter().any(|it| *it != 0.0), "{name}");
        rest = after;
    }
}

#[test]
fn every_weight_of_the_soldier_learns() {
    let (parameters, network) = soldier();
    shaken(&parameters, 2);
    let views = [soldier_view(5, 3), soldier_view(3, 4)];
    let batch = SoldierBatch::new(&views.iter().collect::<Vec<_>>()).unwrap();
    learns(&parameters, &both(&soldier_losses(&network, &batch)));
}

#[test]
fn every_weight_of_the_commander_learns() {
    let (parameters, network) = commander();
    shaken(&parameters, 2);
    let views = [commander_view(5, 3), commander_view(2, 4)];
    let batch = CommanderBatch::new(&views.iter().collect::<Vec<_>>()).unwrap();
    learns(&parameters, &both(&commander_losses(&network, &batch)));
}

#[test]
fn the_critic_moves_nothing_that_is_said() {
    let (parameters, network) = soldier();
    shaken(&parameters, 2);
    let view = soldier_view(4, 3);
    let [_, expected] = soldier_losses(&network, &SoldierBatch::new(&[&view]).unwrap());
    let moved = Gradients::of(&expected, &parameters).unwrap();
    let still = parameters.iter().filter(|(name, _)| !name.contains("value_"));
    assert!(still.into_iter().all(|(name, _)| moved.missing().contains(name)));
}

#[test]
fn gradients_are_slopes() {
    let expects = |name: &str| name.contains("value_") || name.contains("urgency");
    let says = |name: &str| !is_fixed(name) && !expects(name);
    let (parameters, network) = soldier();
    shaken(&parameters, 2);
    let views = [soldier_view(4, 3), soldier_view(2, 5)];
    let batch = SoldierBatch::new(&views.iter().collect::<Vec<_>>()).unwrap();
    gradients_of_some_are_slopes(&parameters, says, || soldier_losses(&network, &batch)[0].clone());
    gradients_of_some_are_slopes(&parameters, expects, || {
        soldier_losses(&network, &batch)[1].clone()
    });
    let (parameters, network) = commander();
    shaken(&parameters, 2);
    let views = [commander_view(3, 3), commander_view(2, 5)];
    let batch = CommanderBatch::new(&views.iter().collect::<Vec<_>>()).unwrap();
    gradients_of_some_are_slopes(&parameters, says, || {
        commander_losses(&network, &batch)[0].clone()
    });
    gradients_of_some_are_slopes(&parameters, expects, || {
        commander_losses(&network, &batch)[1].clone()
    });
}

#[test]
fn what_is_padded_changes_nothing() {
    let (parameters, network) = soldier();
    shaken(&parameters, 2);
    let (small, large) = (soldier_view(3, 3), soldier_view(9, 4));
    let ask = |views: &[&SoldierView]| {
        let output = network.say(&SoldierBatch::new(views).unwrap()).unwrap();
        let steps = output.steps.get(0).unwrap().narrow(0, 0, 3).unwrap();
        let all = [steps, output.splits.get(0).unwrap(), output.velocity.get(0).unwrap()];
        all.iter()
            .flat_map(|it| it.flatten_all().unwrap().to_vec1::<f32>().unwrap())
            .collect::<Vec<_>>()
    };
    let (alone, padded) = (ask(&[&small]), ask(&[&small, &large]));
    assert!(alone.iter().zip(&padded).all(|(a, b)| (a - b).abs() < 1e-5), "{alone:?} {padded:?}");

    let (parameters, network) = commander();
    shaken(&parameters, 2);
    let (small, large) = (commander_view(2, 3), commander_view(7, 4));
    let ask = |views: &[&CommanderView]| {
        let output = network.forward(&CommanderBatch::new(views).unwrap()).unwrap();
        let shares = output.shares.get(0).unwrap().narrow(0, 0, 2).unwrap();
        shares.to_vec1::<f32>().unwrap()
    };
    let (alone, padded) = (ask(&[&small]), ask(&[&small, &large]));
    assert!(alone.iter().zip(&padded).all(|(a, b)| (a - b).abs() < 1e-5), "{alone:?} {padded:?}");
}

#[test]
fn the_order_of_apps_does_not_matter() {
    let (parameters, network) = soldier();
    shaken(&parameters, 2);
    let view = soldier_view(6, 3);
    let mut turned = view.clone();
    turned.apps.reverse();
    turned.shapes.reverse();
    turned.groups.reverse();
    let ask = |view: &SoldierView| {
        let (said, values) = network.forward(&SoldierBatch::new(&[view]).unwrap()).unwrap();
        (
            said.splits.get(0).unwrap().to_vec1::<f32>().unwrap(),
            values.get(0).unwrap().to_vec2::<f32>().unwrap(),
        )
    };
    let (splits, values) = ask(&view);
    let (turned_splits, mut turned_values) = ask(&turned);
    turned_values.reverse();
    let near = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
    assert!(near(&splits, &turned_splits));
    assert!(near(&values.concat(), &turned_values.concat()));
}
