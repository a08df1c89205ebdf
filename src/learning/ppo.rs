//! The losses of proximal policy optimisation, and which decisions make up a step.

use candle_core::{D, Device, Result, Tensor, Var};

use super::episode::{CommanderSample, Episode, SoldierSample};
use super::settings::Settings;
use crate::nn::Gradients;
use crate::policy::hirl::network::{CommanderBatch, SoldierBatch, VALUES};
use crate::policy::hirl::{GROUPS, Model};
use crate::seed::Seed;

/// ln(2 pi e) / 2: the entropy of a normal distribution of deviation 1, in nats.
const NORMAL_ENTROPY: f64 = 1.418_938_533_204_672_7;

/// Which level learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// The network that the Soldiers share.
    Soldier,
    /// The Commander's.
    Commander,
}

impl Level {
    /// Length of the optimiser's steps.
    #[must_use]
    pub const fn rate(self, settings: &Settings) -> f64 {
        match self {
            Self::Soldier => settings.soldier_rate,
            Self::Commander => settings.commander_rate,
        }
    }

    /// What the names of its parameters begin with.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Soldier => "soldier.",
            Self::Commander => "commander.",
        }
    }
}

/// Deviations of advantages and returns over all episodes of an iteration: losses are in their units.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scales {
    app: f32,
    group: f32,
    domain: f32,
    commander: f32,
    app_returns: [f32; VALUES],
    commander_returns: [f32; VALUES],
}

/// A term whose returns are smaller than this part of the largest's counts as if they were not.
const RARE: f32 = 0.05;

/// Mean square of some numbers, as a deviation around 0 that is never 0.
fn deviation(values: impl Iterator<Item = f32>) -> f32 {
    let (mut count, mut sum) = (0.0_f64, 0.0_f64);
    for value in values {
        count += 1.0;
        sum += f64::from(value).powi(2);
    }
    ((sum / count.max(1.0)).sqrt() as f32).max(1e-6)
}

/// Deviations of returns, each of one term. What hardly ever happens in an iteration would else weigh as much as
/// what it is all about.
fn deviations<'a, I: Iterator<Item = &'a [f32; VALUES]>>(returns: impl Fn() -> I) -> [f32; VALUES] {
    let each: [f32; VALUES] = std::array::from_fn(|term| deviation(returns().map(|it| it[term])));
    let largest = each.iter().copied().fold(0.0, f32::max);
    each.map(|it| it.max(RARE * largest))
}

impl Scales {
    /// Of these episodes.
    #[must_use]
    pub fn of(episodes: &[Episode]) -> Self {
        let soldiers = || episodes.iter().flat_map(|episode| &episode.soldiers);
        let commander = || episodes.iter().flat_map(|episode| &episode.commander);
        Self {
            app: deviation(soldiers().flat_map(|it| it.advantages.iter().copied())),
            group: deviation(soldiers().flat_map(SoldierSample::of_groups).filter(|it| *it != 0.0)),
            domain: deviation(soldiers().map(|it| it.advantages.iter().sum())),
            commander: deviation(commander().flat_map(|it| it.advantages.iter().copied())),
            app_returns: deviations(|| soldiers().flat_map(|it| &it.returns)),
            commander_returns: deviations(|| commander().flat_map(|it| &it.returns)),
        }
    }
}

impl SoldierSample {
    /// Sums over the members of each group.
    fn of_groups(&self) -> [f32; GROUPS] {
        let mut sums = [0.0; GROUPS];
        for (group, advantage) in self.step.view.groups.iter().zip(&self.advantages) {
            sums[*group] += advantage;
        }
        sums
    }
}

/// The most heads that a network has.
pub const HEADS: usize = 3;

/// The heads that still learn in this iteration, in the order of [`Said::kl`]: one that has moved too far waits
/// for new episodes. Small deviations move far in few steps, and must not stop the other heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads([bool; HEADS]);

impl Heads {
    /// All heads of a level.
    #[must_use]
    pub const fn all(level: Level) -> Self {
        match level {
            Level::Soldier => Self([true; HEADS]),
            Level::Commander => Self([true, true, false]),
        }
    }

    /// Without those that have moved further than `limit`.
    pub fn close(&mut self, kl: &[f64; HEADS], limit: f64) {
        for (open, kl) in self.0.iter_mut().zip(kl) {
            *open &= *kl <= limit;
        }
    }

    /// Whether any still learns.
    #[must_use]
    pub fn any(self) -> bool {
        self.0.contains(&true)
    }

    /// 1 for each head that learns, else 0.
    fn weights(self) -> [f64; HEADS] {
        self.0.map(|open| f64::from(u8::from(open)))
    }
}

/// What a step of the optimiser said, beside the gradients.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Said {
    /// Loss of the policy.
    pub policy: f64,
    /// Loss of the critic, in squared deviations of the returns.
    pub critic: f64,
    /// Entropy of the steps, or of shares, in nats.
    pub entropy: f64,
    /// How far the distribution of each head has moved: mean of (ratio - 1) - ln ratio. A Soldier's heads are
    /// steps, splits and velocity, the Commander's shares and headroom.
    pub kl: [f64; HEADS],
    /// Part of the actions whose ratio is beyond the clip.
    pub clipped: f64,
}

impl Said {
    /// With that of another part of the step, each with its weight.
    pub fn add(&mut self, other: &Self, weight: f64) {
        self.policy += weight * other.policy;
        self.critic += weight * other.critic;
        self.entropy += weight * other.entropy;
        self.kl.iter_mut().zip(other.kl).for_each(|(sum, kl)| *sum += weight * kl);
        self.clipped += weight * other.clipped;
    }
}

/// Indices of the decisions of each step of an epoch, in an order drawn by a seed.
#[must_use]
pub fn shuffled(count: usize, batch: usize, seed: Seed) -> Vec<Vec<usize>> {
    let mut order: Vec<(u64, usize)> = (0..count)
        .map(|index| ((seed.draw(index as u64).uniform() * (1_u64 << 53) as f64) as u64, index))
        .collect();
    order.sort_unstable();
    let order: Vec<usize> = order.into_iter().map(|(_, index)| index).collect();
    order.chunks(batch.max(1)).map(<[usize]>::to_vec).collect()
}

/// How many decisions of a level some episodes hold.
#[must_use]
pub fn count(episodes: &[Episode], level: Level) -> usize {
    let of = |episode: &Episode| match level {
        Level::Soldier => episode.soldiers.len(),
        Level::Commander => episode.commander.len(),
    };
    episodes.iter().map(of).sum()
}

/// Gradients of the loss over the decisions with these indices, counted through the episodes.
pub fn gradients(
    model: &Model,
    level: Level,
    episodes: &[Episode],
    indices: &[usize],
    heads: Heads,
    (scales, settings): (&Scales, &Settings),
) -> Result<(Gradients, Said)> {
    let (mut gradients, said) = match level {
        Level::Soldier => {
            let all: Vec<&SoldierSample> =
                episodes.iter().flat_map(|episode| &episode.soldiers).collect();
            let samples: Vec<&SoldierSample> = indices.iter().map(|index| all[*index]).collect();
            of_parts(model, &by_width(&samples), |samples| {
                soldier_loss(model, samples, heads, scales, settings)
            })?
        }
        Level::Commander => {
            let all: Vec<&CommanderSample> =
                episodes.iter().flat_map(|episode| &episode.commander).collect();
            let samples: Vec<&CommanderSample> = indices.iter().map(|index| all[*index]).collect();
            of_parts(model, &[samples], |samples| {
                commander_loss(model, samples, heads, scales, settings)
            })?
        }
    };
    let frozen = |name: &str| settings.ablation.is_some_and(|it| it.freezes(name));
    gradients.keep(model.parameters(), |name| name.starts_with(level.prefix()) && !frozen(name));
    Ok((gradients, said))
}

/// Apps of a domain up to which its decisions are computed together: the longest sets the time of all.
const NARROW: usize = 32;

/// Decisions on few apps, and those on many.
fn by_width<'a>(samples: &[&'a SoldierSample]) -> [Vec<&'a SoldierSample>; 2] {
    let (narrow, wide) =
        samples.iter().partition(|sample| sample.step.view.members.len() <= NARROW);
    [narrow, wide]
}

/// Mean gradients over some parts, each computed at once; every decision counts alike, whatever the number of its apps.
fn of_parts<T>(
    model: &Model,
    parts: &[Vec<T>],
    loss: impl Fn(&[T]) -> Result<(Tensor, Said)>,
) -> Result<(Gradients, Said)> {
    let count = parts.iter().map(Vec::len).sum::<usize>() as f64;
    let (mut gradients, mut said) = (Vec::new(), Said::default());
    for part in parts.iter().filter(|part| !part.is_empty()) {
        let weight = part.len() as f64 / count;
        let (loss, own) = loss(part)?;
        gradients.push((weight, Gradients::of(&loss, model.parameters())?));
        said.add(&own, weight);
    }
    Ok((Gradients::weighted(gradients)?, said))
}

/// Some numbers per sample, padded to the same length with 0, as `[B, N]`.
fn padded<'a>(rows: impl Iterator<Item = &'a [f32]>, length: usize) -> Result<Tensor> {
    let mut all = Vec::new();
    let mut count = 0;
    for row in rows {
        all.extend(row);
        count += 1;
        all.resize(count * length, 0.0);
    }
    Tensor::from_vec(all, (count, length), &Device::Cpu)
}

/// The clipped surrogate, summed over what `mask` (0 or 1) lets through, over its count. All of one shape.
struct Surrogate {
    loss: Tensor,
    kl: f64,
    clipped: f64,
}

fn surrogate(
    log_new: &Tensor,
    log_old: &Tensor,
    advantages: &Tensor,
    mask: &Tensor,
    clip: f64,
) -> Result<Surrogate> {
    let count = f64::from(mask.sum_all()?.to_scalar::<f32>()?).max(1.0);
    let difference = ((log_new - log_old)?.clamp(-20.0, 20.0)? * mask)?;
    let ratio = difference.exp()?;
    let cut = ratio.clamp(1.0 - clip, 1.0 + clip)?;
    let gain = (&ratio * advantages)?.minimum(&(&cut * advantages)?)?;
    let loss = ((gain * mask)?.sum_all()? * (-1.0 / count))?;
    let ratio = ratio.detach();
    let kl = (((&ratio - 1.0)? - difference.detach())? * mask)?.sum_all()?.to_scalar::<f32>()?;
    let outside = (&ratio - &cut.detach())?.abs()?.gt(1e-6)?.to_dtype(candle_core::DType::F32)?;
    let clipped = (outside * mask)?.sum_all()?.to_scalar::<f32>()?;
    Ok(Surrogate { loss, kl: f64::from(kl) / count, clipped: f64::from(clipped) / count })
}

/// Logarithms of the densities of normal distributions around `means`.
fn log_density(drawn: &Tensor, means: &Tensor, log_deviation: &Var) -> Result<Tensor> {
    let deviation = log_deviation.exp()?;
    let distance = (drawn - means)?.broadcast_div(&deviation)?;
    let half = ((&distance * &distance)? * -0.5)?;
    half.broadcast_sub(log_deviation)? - 0.5 * std::f64::consts::TAU.ln()
}

/// Log-probabilities from logits, `[.., C]`.
fn log_softmax(logits: &Tensor) -> Result<Tensor> {
    logits.broadcast_sub(&logits.log_sum_exp(D::Minus1)?.unsqueeze(D::Minus1)?)
}

/// Mean squared error of a critic, in squared deviations of each term: `found` `[B, N, VALUES]`, the returns of each
/// sample, `mask` `[B, N]`.
fn critic_error<'a>(
    found: &Tensor,
    returns: impl Iterator<Item = &'a [[f32; VALUES]]>,
    scales: &[f32; VALUES],
    mask: &Tensor,
) -> Result<Tensor> {
    let (_, length, _) = found.dims3()?;
    let wanted = |row: &[[f32; VALUES]]| -> Vec<f32> {
        let terms = row.iter().flat_map(|terms| terms.iter().zip(scales));
        terms.map(|(value, scale)| (value / scale).clamp(-5.0, 5.0)).collect()
    };
    let rows: Vec<Vec<f32>> = returns.map(wanted).collect();
    let wanted = padded(rows.iter().map(Vec::as_slice), length * VALUES)?;
    let wanted = wanted.reshape(found.shape())?;
    let inverse = Tensor::new(&scales.map(|scale| 1.0 / scale), &Device::Cpu)?;
    let count = f64::from(mask.sum_all()?.to_scalar::<f32>()?).max(1.0) * VALUES as f64;
    let error = (found.broadcast_mul(&inverse)? - wanted)?;
    let error = error.broadcast_mul(&mask.unsqueeze(D::Minus1)?)?;
    (&error * &error)?.sum_all()? * (1.0 / count)
}

/// Mean cross-entropy of chances given as log-odds, against parts of 0 to 1: ln(1 + e^x) - x * part.
fn cross_entropy(log_odds: &Tensor, parts: &Tensor, mask: &Tensor) -> Result<Tensor> {
    let count = f64::from(mask.sum_all()?.to_scalar::<f32>()?).max(1.0);
    // As max(x, 0) + ln(1 + e^-|x|), so that nothing overflows.
    let soft = (log_odds.relu()? + (log_odds.abs()?.neg()?.exp()? + 1.0)?.log()?)?;
    ((soft - (log_odds * parts)?)? * mask)?.sum_all()? * (1.0 / count)
}

fn scaled(values: &[f32], scale: f32) -> Vec<f32> {
    values.iter().map(|value| (value / scale).clamp(-5.0, 5.0)).collect()
}

/// From the log-probabilities `[B, N, STEPS]` of all steps those of one step of each member, `[B, N]`.
fn likely(
    log: &Tensor,
    samples: &[&SoldierSample],
    of: impl Fn(&SoldierSample) -> &[u32],
) -> Result<Tensor> {
    let (_, length, count) = log.dims3()?;
    let mut all = vec![0.0_f32; samples.len() * length * count];
    for (row, sample) in samples.iter().enumerate() {
        for (place, step) in of(sample).iter().enumerate() {
            all[(row * length + place) * count + *step as usize] = 1.0;
        }
    }
    (log * Tensor::from_vec(all, log.shape(), &Device::Cpu)?)?.sum(D::Minus1)
}

fn soldier_loss(
    model: &Model,
    samples: &[&SoldierSample],
    heads: Heads,
    scales: &Scales,
    settings: &Settings,
) -> Result<(Tensor, Said)> {
    let views: Vec<_> = samples.iter().map(|sample| &sample.step.view).collect();
    let batch = SoldierBatch::new(&views)?;
    let length = batch.longest()?;
    let (output, values) = model.soldier.forward(&batch)?;
    let each = |of: &dyn Fn(&SoldierSample) -> Vec<f32>| {
        let rows: Vec<Vec<f32>> = samples.iter().map(|sample| of(sample)).collect();
        padded(rows.iter().map(Vec::as_slice), length)
    };
    let present = each(&|it| vec![1.0; it.step.view.members.len()])?;
    let at_risk =
        each(&|it| it.step.view.at_risk.iter().map(|it| f32::from(u8::from(*it))).collect())?;

    let log = log_softmax(&output.steps)?;
    let all_entropy = ((log.exp()? * &log)?.sum(D::Minus1)? * &at_risk)?;
    let risky = f64::from(at_risk.sum_all()?.to_scalar::<f32>()?).max(1.0);
    let entropy = (all_entropy.sum_all()? * (-1.0 / risky))?;
    let returns = samples.iter().map(|sample| sample.returns.as_slice());
    let critic = critic_error(&values, returns, &scales.app_returns, &present)?;
    if samples.iter().any(|sample| !sample.taught.is_empty()) {
        // What the teacher would have said, and nothing else: what is drawn meanwhile is not judged.
        let right = (likely(&log, samples, |it| &it.taught)? * &at_risk)?;
        let policy = (right.sum_all()? * (-1.0 / risky))?;
        let said = Said {
            policy: f64::from(policy.to_scalar::<f32>()?),
            critic: f64::from(critic.to_scalar::<f32>()?),
            entropy: f64::from(entropy.to_scalar::<f32>()?),
            ..Said::default()
        };
        return Ok(((policy + (critic * settings.critic)?)?, said));
    }

    let chosen = likely(&log, samples, |it| &it.step.steps)?;
    let advantages = each(&|it| scaled(&it.advantages, scales.app))?;
    let steps = surrogate(
        &chosen,
        &each(&|it| it.step.log_steps.clone())?,
        &advantages,
        &at_risk,
        settings.clip,
    )?;

    let [split_deviation, velocity_deviation] = model.soldier.log_deviations();
    let rows = |of: &dyn Fn(&SoldierSample) -> Vec<f32>, width: usize| {
        let rows: Vec<Vec<f32>> = samples.iter().map(|sample| of(sample)).collect();
        padded(rows.iter().map(Vec::as_slice), width)
    };
    // A group without apps does nothing, and a single group has nothing to split with.
    let there = rows(
        &|it| {
            let mut there = [0.0_f32; GROUPS];
            it.step.view.groups.iter().for_each(|group| there[*group] = 1.0);
            if there.iter().sum::<f32>() < 2.0 { vec![0.0; GROUPS] } else { there.to_vec() }
        },
        GROUPS,
    )?;
    let drawn = rows(&|it| it.step.splits.to_vec(), GROUPS)?;
    let splits = surrogate(
        &log_density(&drawn, &output.splits, split_deviation)?,
        &rows(&|it| it.step.log_splits.to_vec(), GROUPS)?,
        &rows(&|it| scaled(&it.of_groups(), scales.group), GROUPS)?,
        &there,
        settings.clip,
    )?;
    let drawn = rows(&|it| vec![it.step.velocity], 1)?;
    let velocity = surrogate(
        &log_density(&drawn, &output.velocity, velocity_deviation)?,
        &rows(&|it| vec![it.step.log_velocity], 1)?,
        &rows(&|it| scaled(&[it.advantages.iter().sum()], scales.domain), 1)?,
        &drawn.ones_like()?,
        settings.clip,
    )?;
    let said = Said {
        policy: f64::from((&steps.loss + &splits.loss)?.to_scalar::<f32>()?),
        critic: f64::from(critic.to_scalar::<f32>()?),
        entropy: f64::from(entropy.to_scalar::<f32>()?),
        kl: [steps.kl, splits.kl, velocity.kl],
        clipped: steps.clipped,
    };
    let [step, split, rate] = heads.weights();
    let policy = (((steps.loss * step)? + (splits.loss * split)?)? + (velocity.loss * rate)?)?;
    let loss = ((policy + (critic * settings.critic)?)? - (entropy * settings.entropy)?)?;
    Ok((loss, said))
}

fn commander_loss(
    model: &Model,
    samples: &[&CommanderSample],
    heads: Heads,
    scales: &Scales,
    settings: &Settings,
) -> Result<(Tensor, Said)> {
    let views: Vec<_> = samples.iter().map(|sample| &sample.step.view).collect();
    let output = model.commander.forward(&CommanderBatch::new(&views)?)?;
    let length = output.shares.dim(1)?;
    let each = |of: &dyn Fn(&CommanderSample) -> Vec<f32>| {
        let rows: Vec<Vec<f32>> = samples.iter().map(|sample| of(sample)).collect();
        padded(rows.iter().map(Vec::as_slice), length)
    };
    let present = each(&|it| vec![1.0; it.advantages.len()])?;
    // One domain alone has nobody to divide with.
    let several =
        each(&|it| vec![f32::from(u8::from(it.advantages.len() > 1)); it.advantages.len()])?;
    let advantages = each(&|it| scaled(&it.advantages, scales.commander))?;
    let [share_deviation, headroom_deviation] = model.commander.log_deviations();
    let shares = surrogate(
        &log_density(&each(&|it| it.step.shares.clone())?, &output.shares, share_deviation)?,
        &each(&|it| it.step.log_shares.clone())?,
        &advantages,
        &several,
        settings.clip,
    )?;
    let headroom = surrogate(
        &log_density(&each(&|it| it.step.headroom.clone())?, &output.headroom, headroom_deviation)?,
        &each(&|it| it.step.log_headroom.clone())?,
        &advantages,
        &present,
        settings.clip,
    )?;
    let returns = samples.iter().map(|sample| sample.returns.as_slice());
    let critic = critic_error(&output.values, returns, &scales.commander_returns, &present)?;
    // A forecast and no action: it learns from what came.
    let urgency = cross_entropy(&output.urgency, &each(&|it| it.breaching.clone())?, &present)?;
    let entropy = share_deviation.to_vec1::<f32>()?[0] + headroom_deviation.to_vec1::<f32>()?[0];
    let said = Said {
        policy: f64::from((&shares.loss + &headroom.loss)?.to_scalar::<f32>()?),
        critic: f64::from(critic.to_scalar::<f32>()?),
        entropy: f64::from(entropy) + 2.0 * NORMAL_ENTROPY,
        kl: [shares.kl * settings.commander_kl, headroom.kl * settings.commander_kl, 0.0],
        clipped: headroom.clipped,
    };
    let [share, room, _] = heads.weights();
    let policy = ((shares.loss * share)? + (headroom.loss * room)?)?;
    Ok((((policy + (critic * settings.critic)?)? + urgency)?, said))
}
