//! One step of training on several threads.

use candle_core::Result;

use crate::forecast::{Batch, Kind, Material, Network, Targets};
use crate::nn::Gradients;
use crate::seed::Seed;

/// Each has a network of its own, because candle's variables are shared within one.
pub(super) struct Workers<'a> {
    material: &'a Material<'a>,
    networks: Vec<Network>,
    /// Minutes per shard and step; each gives a window per domain.
    origins: usize,
}

/// A step is cut into this many parts, whatever the number of threads: the sum of floating-point numbers depends
/// on its order, and a seed is to mean the same weights everywhere.
pub(super) const SHARDS: usize = 2;

impl<'a> Workers<'a> {
    pub(super) fn new(
        material: &'a Material<'a>,
        kind: Kind,
        seed: Seed,
        origins: usize,
    ) -> Result<Self> {
        let networks = (0..SHARDS).map(|_| Network::new(kind, seed)).collect::<Result<_>>()?;
        Ok(Self { material, networks, origins })
    }

    /// Mean loss and gradients of the parts of one step, for the parameters of `network`.
    pub(super) fn step(&self, network: &Network, seed: Seed) -> anyhow::Result<(f64, Gradients)> {
        let flat = network.parameters().to_flat()?;
        let parts: Vec<_> = std::thread::scope(|scope| {
            let running: Vec<_> = self
                .networks
                .iter()
                .enumerate()
                .map(|(index, own)| {
                    let (flat, seed) = (&flat, seed.child("shard").nth(index as u64));
                    scope.spawn(move || self.part(own, flat, seed))
                })
                .collect();
            running.into_iter().map(std::thread::ScopedJoinHandle::join).collect()
        });
        let (mut loss, mut gradients) = (0.0, Vec::new());
        let weight = 1.0 / SHARDS as f64;
        for part in parts {
            let (its, own) = part.map_err(|_| anyhow::anyhow!("a training thread panicked"))??;
            loss += weight * its;
            gradients.push((weight, own));
        }
        Ok((loss, Gradients::weighted(gradients)?))
    }

    fn part(
        &self,
        network: &Network,
        flat: &[f32],
        seed: Seed,
    ) -> anyhow::Result<(f64, Gradients)> {
        network.parameters().set_flat(flat)?;
        let sample = self.material.sample(seed, self.origins);
        anyhow::ensure!(!sample.windows.is_empty(), "no window of the history can be learned from");
        let targets = Targets::new(&sample.windows, &sample.outcomes)?;
        let loss = targets.pinball(&network.forward(&Batch::new(&sample.windows)?)?.quantiles)?;
        let gradients = Gradients::of(&loss, network.parameters())?;
        Ok((f64::from(loss.to_scalar::<f32>()?), gradients))
    }
}
