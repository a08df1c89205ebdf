//! Draws of one place in the seed tree.

use rand_distr::{Distribution, Exp1, Poisson, StandardNormal, StandardUniform};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::seed::Seed;

/// Above this mean a Poisson count is drawn as a rounded normal: its skewness is below 0.07.
const NORMAL_FROM: f64 = 200.0;

/// A generator with the draws that traffic needs.
#[derive(Debug)]
pub(super) struct Chance(Xoshiro256PlusPlus);

impl Chance {
    pub(super) fn new(seed: Seed) -> Self {
        Self(seed.rng())
    }

    pub(super) fn uniform(&mut self, from: f64, to: f64) -> f64 {
        let part: f64 = StandardUniform.sample(&mut self.0);
        from + (to - from) * part
    }

    /// Uniform in the logarithm; both ends above 0.
    pub(super) fn log_uniform(&mut self, from: f64, to: f64) -> f64 {
        self.uniform(from.ln(), to.ln()).exp()
    }

    pub(super) fn yes(&mut self, probability: f64) -> bool {
        self.uniform(0.0, 1.0) < probability
    }

    /// A whole number from 0 to `count - 1`; 0 for a count of 0.
    pub(super) fn below(&mut self, count: usize) -> usize {
        (self.uniform(0.0, count as f64) as usize).min(count.saturating_sub(1))
    }

    pub(super) fn pick<T: Copy, const N: usize>(&mut self, from: [T; N]) -> T {
        from[self.below(N)]
    }

    /// A standard normal number.
    pub(super) fn normal(&mut self) -> f64 {
        StandardNormal.sample(&mut self.0)
    }

    /// An exponential number with this mean.
    pub(super) fn exponential(&mut self, mean: f64) -> f64 {
        let one: f64 = Exp1.sample(&mut self.0);
        one * mean
    }

    pub(super) fn of<T>(&mut self, distribution: &impl Distribution<T>) -> T {
        distribution.sample(&mut self.0)
    }

    /// How many arrive where `mean` are expected.
    pub(super) fn poisson(&mut self, mean: f64) -> f64 {
        if mean > NORMAL_FROM {
            return (mean + mean.sqrt() * self.normal()).round().max(0.0);
        }
        Poisson::new(mean).map_or(0.0, |counts| self.of(&counts))
    }

    /// Places of a Poisson process with `per_day` events a day, rising.
    pub(super) fn moments(&mut self, per_day: f64, minutes: usize) -> Vec<usize> {
        let mean = super::DAY as f64 / per_day.max(1e-9);
        let (mut all, mut at) = (Vec::new(), self.exponential(mean));
        while at < minutes as f64 {
            all.push(at as usize);
            at += self.exponential(mean).max(1.0);
        }
        all
    }
}
