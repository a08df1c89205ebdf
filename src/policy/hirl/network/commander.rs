//! The Commander: how capacity is divided between the domains.

use candle_core::{Device, Result, Tensor, Var};

use super::{Attention, HIDDEN, Statistics, VALUES, WIDTH, difference, log_deviation};
use crate::nn::{Activation, Initial, Linear, Start};
use crate::policy::hirl::features::{COMMAND, DOMAIN};
use crate::policy::hirl::view::CommanderView;

/// Features of a domain: its own, and what only the Commander sees.
const INPUTS: usize = DOMAIN.len() + COMMAND.len();

/// Scale of shares and headroom beside their deviations: close to those that they start with, so that a step of
/// the optimiser moves the distributions about as far as a Soldier's.
const REACH: f64 = 0.1;

/// Several instants, padded to the most domains.
#[derive(Debug, Clone)]
pub struct CommanderBatch {
    /// `[B, D, DOMAIN + COMMAND]`.
    domains: Tensor,
    /// `[B, 1, D]`: 0, or hidden.
    mask: Tensor,
    /// `[B, D, D]`: calls for each request, of the row to the column; and the same of the column to the row.
    calls: [Tensor; 2],
}

impl CommanderBatch {
    /// Of some instants, none of them without domains.
    pub fn new(views: &[&CommanderView]) -> Result<Self> {
        let longest = views.iter().map(|view| view.domains.len()).max().unwrap_or(0).max(1);
        let mut domains = vec![0.0_f32; views.len() * longest * INPUTS];
        let mut mask = vec![HIDDEN; views.len() * longest];
        let mut calls = vec![0.0_f32; views.len() * longest * longest];
        for (row, view) in views.iter().enumerate() {
            for (place, (own, more)) in view.domains.iter().zip(&view.features).enumerate() {
                let at = row * longest + place;
                let (left, right) =
                    domains[at * INPUTS..(at + 1) * INPUTS].split_at_mut(DOMAIN.len());
                left.copy_from_slice(own);
                right.copy_from_slice(more);
                mask[at] = 0.0;
            }
            for (place, own) in view.calls.iter().enumerate() {
                let at = (row * longest + place) * longest;
                calls[at..at + own.len()].copy_from_slice(own);
            }
        }
        let calls = Tensor::from_vec(calls, (views.len(), longest, longest), &Device::Cpu)?;
        Ok(Self {
            domains: Tensor::from_vec(domains, (views.len(), longest, INPUTS), &Device::Cpu)?,
            mask: Tensor::from_vec(mask, (views.len(), 1, longest), &Device::Cpu)?,
            calls: [calls.clone(), calls.transpose(1, 2)?.contiguous()?],
        })
    }
}

/// What a Commander says.
#[derive(Debug, Clone)]
pub struct CommanderOutput {
    /// `[B, D]`: by how much the logarithm of each share is to change, in units of
    /// [`Settings::share`](crate::policy::hirl::Settings::share). The reserve's does not change.
    pub shares: Tensor,
    /// `[B, D]`: headroom, in units of [`Settings::headroom`](crate::policy::hirl::Settings::headroom).
    pub headroom: Tensor,
    /// `[B, D]`: log-odds that the domain will break its SLO within five minutes.
    pub urgency: Tensor,
    /// `[B, D, VALUES]`: what each domain is worth from here on, beyond what it is under the rule, by what is paid
    /// for.
    pub values: Tensor,
}

/// The network.
#[derive(Debug)]
pub struct CommanderNetwork {
    statistics: Statistics,
    embed: [Linear; 2],
    attention: Attention,
    /// How much more a domain looks at those that it calls, and at those that call it.
    related: [Var; 2],
    join: Linear,
    shares: Linear,
    headroom: Linear,
    urgency: Linear,
    value: [Linear; 3],
    deviations: [Var; 2],
}

impl CommanderNetwork {
    /// Untrained.
    pub fn new(scope: &mut Initial<'_>) -> Result<Self> {
        let line =
            |scope: &mut Initial<'_>, name: &str| Linear::new(&mut scope.child(name), WIDTH, WIDTH);
        Ok(Self {
            statistics: Statistics::new(&mut scope.child("statistics"), &[&DOMAIN, &COMMAND])?,
            embed: [
                Linear::new(&mut scope.child("embed_in"), INPUTS, WIDTH)?,
                line(scope, "embed_out")?,
            ],
            attention: Attention::new(&mut scope.child("attention"))?,
            // Whom one depends on is worth a look before anything is learned.
            related: [
                scope.variable("calls", &[1], Start::Constant(1.0))?,
                scope.variable("callers", &[1], Start::Constant(1.0))?,
            ],
            join: line(scope, "join")?,
            shares: difference(&mut scope.child("shares"), 1)?,
            headroom: difference(&mut scope.child("headroom"), 1)?,
            urgency: difference(&mut scope.child("urgency"), 1)?,
            value: [
                Linear::new(&mut scope.child("value_in"), INPUTS, WIDTH)?,
                line(scope, "value_own")?,
                difference(&mut scope.child("value_out"), VALUES)?,
            ],
            deviations: [
                log_deviation(scope, "share_deviation", -1.8)?,
                log_deviation(scope, "headroom_deviation", -2.3)?,
            ],
        })
    }

    /// Sets the statistics of the features, those of the domain first.
    pub fn set_statistics(&self, (mean, deviation): (&[f32], &[f32])) -> Result<()> {
        self.statistics.set(mean, deviation)
    }

    /// Logarithms of the deviations of shares and headroom while training draws them.
    #[must_use]
    pub const fn log_deviations(&self) -> &[Var; 2] {
        &self.deviations
    }

    /// What it says at each instant.
    pub fn forward(&self, batch: &CommanderBatch) -> Result<CommanderOutput> {
        let silu = Activation::Silu;
        let domains = self.statistics.apply(&batch.domains)?;
        let [first, second] = &self.embed;
        let own = second.activated(&first.activated(&domains, silu)?, silu)?;
        let [calls, callers] = &batch.calls;
        let related = (calls.broadcast_mul(self.related[0].as_tensor())?
            + callers.broadcast_mul(self.related[1].as_tensor())?)?;
        let bias = related.broadcast_add(&batch.mask)?;
        let seen = self.attention.forward(&own, &own, &bias)?;
        let joined = self.join.activated(&(own + &seen)?, silu)?;
        let one = |line: &Linear| line.forward(&joined)?.squeeze(2);
        // The critic has layers of its own: its errors must not move what the policy says.
        let [first, second, last] = &self.value;
        let value = second.forward(&first.activated(&domains, silu)?)?;
        let value = crate::nn::silu(&(value + seen.detach())?.contiguous()?)?;
        Ok(CommanderOutput {
            shares: (one(&self.shares)? * REACH)?,
            headroom: (one(&self.headroom)? * REACH)?,
            // It reads what the others are made of, and does not move it.
            urgency: self.urgency.forward(&joined.detach())?.squeeze(2)?,
            values: last.forward(&value)?,
        })
    }
}
