//! How good a network is on what it did not learn from.

use candle_core::{Result, Tensor};

use super::Sample;
use crate::forecast::network::{Batch, Network, Targets};

/// Windows of one pass.
const PASS: usize = 64;

/// A fixed sample to judge on.
#[derive(Debug)]
pub struct Validation {
    passes: Vec<(Batch, Targets)>,
}

/// What a network is worth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verdict {
    /// Mean pinball loss, in units of the simple forecast's recent error.
    pub loss: f64,
    /// The part of the simple forecast's loss that is saved, both without calibration; negative where
    /// the network is worse.
    pub skill: f64,
}

impl Validation {
    /// Judges on `sample`.
    pub fn new(sample: &Sample) -> Result<Self> {
        let pairs = sample.windows.chunks(PASS).zip(sample.outcomes.chunks(PASS));
        let pass = |(windows, outcomes): (&[_], &[_])| -> Result<_> {
            Ok((Batch::new(windows)?, Targets::new(windows, outcomes)?))
        };
        Ok(Self { passes: pairs.map(pass).collect::<Result<_>>()? })
    }

    /// The verdict on a network.
    pub fn judge(&self, network: &Network) -> Result<Verdict> {
        let simple = Tensor::new(&SIMPLE, &candle_core::Device::Cpu)?.reshape((1, 1, 4))?;
        let (mut loss, mut before, mut known) = (0.0, 0.0, 0.0);
        for (batch, targets) in &self.passes {
            let quantiles = network.forward(batch)?.quantiles;
            let plain = simple.broadcast_as(quantiles.shape())?;
            loss += targets.known() * f64::from(targets.pinball(&quantiles)?.to_scalar::<f32>()?);
            before += targets.known() * f64::from(targets.pinball(&plain)?.to_scalar::<f32>()?);
            known += targets.known();
        }
        Ok(Verdict { loss: loss / known, skill: 1.0 - loss / before })
    }
}

/// The simple forecast with the quantiles of a normal error whose mean size is one.
const SIMPLE: [f32; 4] = [-1.606, 0.0, 1.055, 1.606];
