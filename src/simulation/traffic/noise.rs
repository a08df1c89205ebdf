//! Random numbers as functions of a place: no state, so any instant can be asked in any order.

use crate::simulation::{Draw, Seed};

/// Noise that glides from one draw to the next: mean 0, deviation 1 at every instant.
#[derive(Debug, Clone, Copy)]
pub(in crate::simulation) struct Glide {
    seed: Seed,
    /// Seconds between two draws; 0 for no noise.
    period: f64,
    /// Shifts the draws of one app against those of the next, in periods.
    phase: f64,
    /// The cell whose two ends are remembered, and these.
    cell: i64,
    left: f64,
    right: f64,
}

impl Glide {
    pub(in crate::simulation) fn new(seed: Seed, period: f64) -> Self {
        let phase = seed.child("phase").draw(0).uniform();
        let mut new = Self { seed, period, phase, cell: 0, left: 0.0, right: 0.0 };
        new.remember(0);
        new
    }

    /// Seconds between two draws.
    pub(super) const fn period(&self) -> f64 {
        self.period
    }

    /// The noise at `seconds`; the same for the same instant, whatever was asked before.
    pub(in crate::simulation) fn at(&mut self, seconds: f64) -> f64 {
        if self.period <= 0.0 {
            return 0.0;
        }
        let place = seconds / self.period + self.phase;
        let cell = place.floor();
        if cell as i64 != self.cell {
            self.remember(cell as i64);
        }
        let along = place - cell;
        // Two independent ends: dividing keeps the deviation at 1 between them.
        let weight = (along * along + (1.0 - along) * (1.0 - along)).sqrt();
        (self.left * (1.0 - along) + self.right * along) / weight
    }

    fn remember(&mut self, cell: i64) {
        self.cell = cell;
        self.left = self.seed.draw(cell as u64).gauss();
        self.right = self.seed.draw(cell.wrapping_add(1) as u64).gauss();
    }
}

/// How many arrive where `mean` are expected, Poisson. Above 30 the normal approximation, whose
/// tails end at 3.47 deviations; a whole number in any case.
pub(in crate::simulation) fn poisson(mean: f64, draw: Draw) -> f64 {
    if mean <= 0.0 {
        return 0.0;
    }
    if mean > 30.0 {
        return (mean + mean.sqrt() * draw.gauss()).round().max(0.0);
    }
    let (uniform, mut count) = (draw.uniform(), 0.0);
    let mut term = (-mean).exp();
    let mut sum = term;
    // Ends: the terms fall away faster than any power beyond the mean.
    while uniform > sum && count < 200.0 {
        count += 1.0;
        term *= mean / count;
        sum += term;
    }
    count
}

/// A Gamma factor of mean 1 and this coefficient of variation, by the Wilson-Hilferty
/// transformation of a normal draw; good up to a coefficient of 1.
pub(super) fn gamma(variation: f64, draw: Draw) -> f64 {
    if variation <= 0.0 {
        return 1.0;
    }
    let ninth = variation * variation / 9.0;
    (1.0 - ninth + ninth.sqrt() * draw.gauss()).max(0.0).powi(3)
}
