//! The Soldier: what to move within one domain.

use candle_core::{Device, Result, Tensor, Var};

use super::shape::{EMBEDDING, ShapeNetwork};
use super::{Attention, HIDDEN, Statistics, VALUES, WIDTH, difference, log_deviation};
use crate::nn::{Activation, Initial, Linear};
use crate::policy::hirl::GROUPS;
use crate::policy::hirl::features::{APP, DOMAIN};
use crate::policy::hirl::shape::MINUTES;
use crate::policy::hirl::view::SoldierView;

/// The steps that an app at risk may take beside the rule.
pub const STEPS: [f64; 5] = [-2.0, -1.0, 0.0, 1.0, 2.0];

/// How likely each step is before any training: symmetric, so that its mean is the rule. Assumed: enough of
/// each to learn from, and mostly the rule.
const PRIOR: [f64; STEPS.len()] = [0.03, 0.11, 0.72, 0.11, 0.03];

/// Scales of what the heads say beside their deviations, so that a step of the optimiser moves each distribution
/// about as far: close to the deviations that they start with.
const SPLIT: f64 = 0.25;
const VELOCITY: f64 = 0.05;

/// Several domains, padded to the largest.
#[derive(Debug, Clone)]
pub struct SoldierBatch {
    /// `[B, N, APP]`.
    apps: Tensor,
    /// `[B, N, MINUTES]`.
    shapes: Tensor,
    /// `[B, 1, DOMAIN]`.
    domains: Tensor,
    /// `[B, 1, N]`: 0, or hidden.
    mask: Tensor,
    /// `[B, G, N]`: means over the members of each group.
    groups: Tensor,
}

impl SoldierBatch {
    /// Of some domains, none of them without apps.
    pub fn new(views: &[&SoldierView]) -> Result<Self> {
        let batch = views.len();
        let longest = views.iter().map(|view| view.apps.len()).max().unwrap_or(0).max(1);
        let mut apps = vec![0.0_f32; batch * longest * APP.len()];
        let mut shapes = vec![0.0_f32; batch * longest * MINUTES];
        let mut mask = vec![HIDDEN; batch * longest];
        let mut groups = vec![0.0_f32; batch * GROUPS * longest];
        let mut domains = Vec::with_capacity(batch * DOMAIN.len());
        for (row, view) in views.iter().enumerate() {
            domains.extend(view.features);
            let own = &view.shapes.as_flattened()[..view.shapes.len().min(longest) * MINUTES];
            shapes[row * longest * MINUTES..][..own.len()].copy_from_slice(own);
            let mut counts = [0.0_f32; GROUPS];
            view.groups.iter().for_each(|group| counts[*group] += 1.0);
            for (place, (app, group)) in view.apps.iter().zip(&view.groups).enumerate() {
                let at = row * longest + place;
                apps[at * APP.len()..(at + 1) * APP.len()].copy_from_slice(app);
                mask[at] = 0.0;
                groups[(row * GROUPS + group) * longest + place] = 1.0 / counts[*group];
            }
        }
        let device = &Device::Cpu;
        Ok(Self {
            apps: Tensor::from_vec(apps, (batch, longest, APP.len()), device)?,
            shapes: Tensor::from_vec(shapes, (batch, longest, MINUTES), device)?,
            domains: Tensor::from_vec(domains, (batch, 1, DOMAIN.len()), device)?,
            mask: Tensor::from_vec(mask, (batch, 1, longest), device)?,
            groups: Tensor::from_vec(groups, (batch, GROUPS, longest), device)?,
        })
    }

    /// The number of apps that each domain is padded to.
    pub fn longest(&self) -> Result<usize> {
        self.apps.dim(1)
    }
}

/// What a Soldier says.
#[derive(Debug, Clone)]
pub struct SoldierSaid {
    /// `[B, N, STEPS]`: unnormalised log-probabilities of the steps of each app.
    pub steps: Tensor,
    /// `[B, G]`: by how much the logarithm of each group's part of its domain is to change, in units of
    /// [`Settings::split`](crate::policy::hirl::Settings::split).
    pub splits: Tensor,
    /// `[B, 1]`: logarithm of the part of the way down that is gone at once; 0 and above is all of it.
    pub velocity: Tensor,
}

/// What the policy and its critic both look at.
struct Seen {
    /// `[B, N, APP]`, of mean 0 and deviation 1.
    features: Tensor,
    /// `[B, N, C]`.
    apps: Tensor,
    /// `[B, 1, C]`: the domain, ...
    query: Tensor,
    /// ... what it finds in its apps, ...
    found: Tensor,
    /// ... and both as they reach each app.
    around: Tensor,
}

/// The network.
#[derive(Debug)]
pub struct SoldierNetwork {
    app_statistics: Statistics,
    domain_statistics: Statistics,
    embed: [Linear; 2],
    /// What traffic looks like, and how that enters beside the features.
    shape: ShapeNetwork,
    embed_shape: Linear,
    query: Linear,
    attention: Attention,
    own: Linear,
    seen: Linear,
    domain: Linear,
    steps: Linear,
    value: [Linear; 3],
    group_own: Linear,
    group_seen: Linear,
    splits: Linear,
    velocity: Linear,
    deviations: [Var; 2],
}

impl SoldierNetwork {
    /// Untrained.
    pub fn new(scope: &mut Initial<'_>) -> Result<Self> {
        let line =
            |scope: &mut Initial<'_>, name: &str| Linear::new(&mut scope.child(name), WIDTH, WIDTH);
        Ok(Self {
            app_statistics: Statistics::new(&mut scope.child("app_statistics"), &[&APP])?,
            domain_statistics: Statistics::new(&mut scope.child("domain_statistics"), &[&DOMAIN])?,
            embed: [
                Linear::new(&mut scope.child("embed_in"), APP.len(), WIDTH)?,
                line(scope, "embed_out")?,
            ],
            shape: ShapeNetwork::new(&mut scope.child(ShapeNetwork::NAME))?,
            embed_shape: Linear::without_bias(&mut scope.child("embed_shape"), EMBEDDING, WIDTH)?,
            query: Linear::new(&mut scope.child("query"), DOMAIN.len(), WIDTH)?,
            attention: Attention::new(&mut scope.child("attention"))?,
            own: line(scope, "own")?,
            seen: Linear::without_bias(&mut scope.child("seen"), WIDTH, WIDTH)?,
            domain: Linear::without_bias(&mut scope.child("domain"), WIDTH, WIDTH)?,
            steps: difference(&mut scope.child("steps"), STEPS.len())?,
            value: [
                Linear::new(&mut scope.child("value_in"), APP.len(), WIDTH)?,
                line(scope, "value_own")?,
                difference(&mut scope.child("value_out"), VALUES)?,
            ],
            group_own: line(scope, "group_own")?,
            group_seen: Linear::without_bias(&mut scope.child("group_seen"), WIDTH, WIDTH)?,
            splits: difference(&mut scope.child("splits"), 1)?,
            velocity: difference(&mut scope.child("velocity"), 1)?,
            deviations: [
                log_deviation(scope, "split_deviation", -1.4)?,
                log_deviation(scope, "velocity_deviation", -2.3)?,
            ],
        })
    }

    /// Sets the statistics of apps' and domains' features.
    pub fn set_statistics(&self, [apps, domains]: [(&[f32], &[f32]); 2]) -> Result<()> {
        self.app_statistics.set(apps.0, apps.1)?;
        self.domain_statistics.set(domains.0, domains.1)
    }

    /// The encoder of traffic, which nothing here moves.
    #[must_use]
    pub const fn shape(&self) -> &ShapeNetwork {
        &self.shape
    }

    /// Logarithms of the deviations of splits and of the velocity while training draws them.
    #[must_use]
    pub const fn log_deviations(&self) -> &[Var; 2] {
        &self.deviations
    }

    /// What it says of each domain.
    pub fn say(&self, batch: &SoldierBatch) -> Result<SoldierSaid> {
        self.said(batch, &self.see(batch)?)
    }

    /// The same, and `[B, N, VALUES]`: what each app is worth from here on, beyond what it is under the rule, by what is
    /// paid for.
    pub fn forward(&self, batch: &SoldierBatch) -> Result<(SoldierSaid, Tensor)> {
        let seen = self.see(batch)?;
        Ok((self.said(batch, &seen)?, self.expected(&seen)?))
    }

    fn see(&self, batch: &SoldierBatch) -> Result<Seen> {
        let silu = Activation::Silu;
        let features = self.app_statistics.apply(&batch.apps)?;
        let [first, second] = &self.embed;
        let shape = self.embed_shape.forward(&self.shape.forward(&batch.shapes)?.detach())?;
        let first = crate::nn::silu(&(first.forward(&features)? + shape)?)?;
        let apps = second.activated(&first, silu)?;
        let domains = self.domain_statistics.apply(&batch.domains)?;
        let query = self.query.activated(&domains, silu)?;
        let found = self.attention.forward(&query, &apps, &batch.mask)?;
        let around = (self.seen.forward(&found)? + self.domain.forward(&query)?)?;
        Ok(Seen { features, apps, query, found, around })
    }

    fn said(&self, batch: &SoldierBatch, seen: &Seen) -> Result<SoldierSaid> {
        let Seen { apps, query, found, around, .. } = seen;
        let app = self.own.forward(apps)?.broadcast_add(around)?.contiguous()?;
        let prior = Tensor::new(&PRIOR.map(|part| part.ln() as f32), &Device::Cpu)?;
        let steps = self.steps.forward(&crate::nn::silu(&app)?)?.broadcast_add(&prior)?;
        let groups = batch.groups.matmul(apps)?;
        let around = (self.group_seen.forward(found)? + query)?;
        let group = self.group_own.forward(&groups)?.broadcast_add(&around)?.contiguous()?;
        let splits = (self.splits.forward(&crate::nn::silu(&group)?)?.squeeze(2)? * SPLIT)?;
        let velocity = (self.velocity.forward(&around)?.squeeze(2)? * VELOCITY)?;
        Ok(SoldierSaid { steps, splits, velocity })
    }

    /// The critic has layers of its own, and only looks at what the policy sees around an app: its errors must not move
    /// what the policy says.
    fn expected(&self, seen: &Seen) -> Result<Tensor> {
        let [first, second, last] = &self.value;
        let own = second.forward(&first.activated(&seen.features, Activation::Silu)?)?;
        let own = own.broadcast_add(&seen.around.detach())?.contiguous()?;
        last.forward(&crate::nn::silu(&own)?)
    }
}
