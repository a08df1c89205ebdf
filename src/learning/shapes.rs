//! What traffic looks like, learned by contrast before anything else is (NT-Xent, Chen et al. 2020): two windows of one
//! app, some minutes apart and each with the noise of its telemetry, are to be found alike, among those of all
//! the others. No number of a policy's pay enters.

use candle_core::{D, Device, Result, Tensor};

use super::members::Member;
use super::settings::Shapes;
use crate::nn::{Adam, AdamError, AdamSettings, Gradients};
use crate::policy::hirl::network::ShapeNetwork;
use crate::policy::hirl::{MINUTES, Model, Shape, shape};
use crate::seed::Seed;
use crate::simulation::Traffic;

/// Seconds between two looks of telemetry.
const STEP: f64 = 10.0;

/// Minutes of what was offered to the apps of some members.
#[derive(Debug, Clone, Default)]
pub struct Windows {
    /// Of each member, of each app, of each minute.
    members: Vec<Vec<Vec<f32>>>,
}

impl Windows {
    /// Takes in a member, unless it is too short for a pair of windows.
    pub fn add(&mut self, member: &Member, settings: &Shapes) {
        let scenario = &member.scenario;
        let minutes = (scenario.duration_seconds / 60.0) as usize;
        if scenario.apps.is_empty() || minutes <= MINUTES + settings.minutes {
            return;
        }
        let mut traffic = Traffic::of_run(scenario, member.seed);
        let mut apps = vec![vec![0.0_f32; minutes]; scenario.apps.len()];
        let mut offered = vec![0.0; scenario.apps.len()];
        let looks = (60.0 / STEP) as usize;
        for minute in 0..minutes {
            for look in 0..looks {
                let from = 60.0 * minute as f64 + STEP * look as f64;
                traffic.offered(from, STEP, &mut offered);
                for (app, rps) in apps.iter_mut().zip(&offered) {
                    app[minute] += (rps / looks as f64) as f32;
                }
            }
        }
        self.members.push(apps);
    }

    /// Two windows of each of some apps, drawn: first those, then the others, in the same order. Members are drawn
    /// before apps, or those with many apps would be all that there is.
    fn pairs(&self, settings: &Shapes, seed: Seed) -> Vec<Shape> {
        let (mut one, mut other) = (Vec::new(), Vec::new());
        let below = |seed: Seed, end: usize| seed.draw(0).below(end);
        for pair in 0..settings.batch as u64 {
            let seed = seed.nth(pair);
            let member = &self.members[below(seed.child("member"), self.members.len())];
            let minutes = &member[below(seed.child("app"), member.len())];
            let apart = below(seed.child("apart"), settings.minutes + 1);
            let from = below(seed.child("from"), minutes.len() - MINUTES - apart);
            let window = |from: usize, noise: Seed| {
                let jitter = |(at, rps): (usize, &f32)| {
                    rps * (settings.jitter * noise.draw(at as u64).gauss()).exp() as f32
                };
                let noisy: Vec<f32> =
                    minutes[from..from + MINUTES].iter().enumerate().map(jitter).collect();
                shape(&noisy)
            };
            one.push(window(from, seed.child("one")));
            other.push(window(from + apart, seed.child("other")));
        }
        one.extend(other);
        one
    }
}

/// What a contrast found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Contrast {
    /// Mean loss, in nats; ln(2 x pairs - 1) of who sees nothing.
    pub loss: f64,
    /// Share of the windows whose partner is the most alike of all.
    pub found: f64,
}

/// The loss of embeddings `[2 P, C]`, of which the first half belongs to the second in its order, and what was found.
fn contrast(embedded: &Tensor, temperature: f64) -> Result<(Tensor, f64)> {
    let length = (embedded.sqr()?.sum_keepdim(1)? + 1e-8)?.sqrt()?;
    let unit = embedded.broadcast_div(&length)?;
    let count = unit.dim(0)?;
    // Nobody is its own partner.
    let own = (Tensor::eye(count, candle_core::DType::F32, &Device::Cpu)? * -1e9)?;
    let alike = ((unit.matmul(&unit.t()?)? * (1.0 / temperature))? + own)?;
    let half = count / 2;
    let turned = Tensor::cat(&[unit.narrow(0, half, half)?, unit.narrow(0, 0, half)?], 0)?;
    let partner = ((&unit * turned)?.sum(1)? * (1.0 / temperature))?;
    let loss = (alike.log_sum_exp(D::Minus1)? - partner)?.mean_all()?;
    let most = alike.argmax(D::Minus1)?.to_vec1::<u32>()?;
    let right = most.iter().enumerate().filter(|(at, it)| **it as usize == (at + half) % count);
    Ok((loss, right.count() as f64 / count as f64))
}

impl Windows {
    /// Whether there is nothing to learn from.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Learns the encoder of a model. `Err` where numbers are none any more.
    pub fn learn(
        &self,
        model: &Model,
        settings: &Shapes,
        seed: Seed,
    ) -> std::result::Result<(), AdamError> {
        if self.is_empty() {
            return Ok(());
        }
        let mut adam = Adam::new(model.parameters(), AdamSettings::default());
        for step in 0..settings.steps {
            let pairs = self.pairs(settings, seed.nth(step));
            let (loss, _) = contrast(&model.soldier.shape().of(&pairs)?, settings.temperature)?;
            let mut gradients = Gradients::of(&loss, model.parameters())?;
            let name = format!("soldier.{}.", ShapeNetwork::NAME);
            gradients.keep(model.parameters(), |it| it.starts_with(&name));
            adam.step(model.parameters(), gradients, settings.rate)?;
        }
        Ok(())
    }

    /// What the encoder of a model finds, and, to compare, what shapes as they are do.
    pub fn find(&self, model: &Model, settings: &Shapes, seed: Seed) -> Result<[Contrast; 2]> {
        let pairs = self.pairs(settings, seed);
        let raw =
            Tensor::from_vec(pairs.as_flattened().to_vec(), (pairs.len(), MINUTES), &Device::Cpu)?;
        let one = |embedded: &Tensor| {
            let (loss, found) = contrast(embedded, settings.temperature)?;
            Ok::<_, candle_core::Error>(Contrast {
                loss: f64::from(loss.to_scalar::<f32>()?),
                found,
            })
        };
        Ok([one(&model.soldier.shape().of(&pairs)?)?, one(&raw)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learning::member;
    use crate::seed::Space;

    #[test]
    fn who_finds_every_partner_has_the_least_loss() {
        let far = Tensor::new(&[[1.0_f32, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]], &Device::Cpu);
        let (loss, found) = contrast(&far.unwrap(), 0.1).unwrap();
        assert!(loss.to_scalar::<f32>().unwrap() < 1e-3);
        assert_eq!(found, 1.0);
        let alike = Tensor::ones((6, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
        let (loss, _) = contrast(&alike, 0.1).unwrap();
        assert!((loss.to_scalar::<f32>().unwrap() - 5.0_f32.ln()).abs() < 1e-4);
    }

    #[test]
    fn an_encoder_learns_to_know_apps_again_and_moves_nothing_else() {
        let settings = Shapes { steps: 40, batch: 32, ..Shapes::default() };
        let mut windows = Windows::default();
        for level in 1..=4 {
            windows.add(&member(Space::Training, level, 0).unwrap(), &settings);
        }
        let model = Model::untrained(Seed::root(0)).unwrap();
        let values = |model: &Model, name: &str| {
            let own = model.parameters().get(name).unwrap();
            own.flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        let others = values(&model, "soldier.own.weight");
        let before = windows.find(&model, &settings, Seed::root(7)).unwrap()[0];
        windows.learn(&model, &settings, Seed::root(1)).unwrap();
        let after = windows.find(&model, &settings, Seed::root(7)).unwrap()[0];
        assert!(after.loss < before.loss - 0.1, "{before:?} {after:?}");
        assert_eq!(values(&model, "soldier.own.weight"), others);
    }

    #[test]
    fn too_short_members_are_left_out() {
        let mut windows = Windows::default();
        let mut short = member(Space::Training, 1, 0).unwrap();
        std::sync::Arc::make_mut(&mut short.scenario).duration_seconds = 600.0;
        windows.add(&short, &Shapes::default());
        assert!(windows.is_empty());
        let model = Model::untrained(Seed::root(0)).unwrap();
        windows.learn(&model, &Shapes::default(), Seed::root(1)).unwrap();
    }
}
