//! The price of a core-hour, a Lagrange multiplier that holds the cost of the policy at the rule's.

use super::settings::Settings;

/// Part of the way that the mean excess goes to a new one: a few members say it with an error of a percent or two.
const SMOOTHING: f64 = 0.3;

/// What holds the cost.
///
/// A price moves what is learned, and what is learned adds up: the cost goes on moving for as long as the price is
/// not right. A multiplier that only adds up excesses (dual ascent) swings around its target for ever then, so the excess itself
/// counts as well, and counts most (Stooke et al. 2020).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Price {
    /// In minutes of breach, where there is no excess.
    pub base: f64,
    /// Of the cost over the target, as a part of it: the mean over the last iterations.
    pub excess: f64,
}

impl Price {
    /// Before anything is known.
    #[must_use]
    pub const fn start(settings: &Settings) -> Self {
        Self { base: settings.pay.cost, excess: 0.0 }
    }

    /// What a core-hour costs now, in minutes of breach.
    #[must_use]
    pub fn now(&self, settings: &Settings) -> f64 {
        self.base * (settings.price_gain * self.excess).exp()
    }

    /// Takes in an iteration whose policy costs so many times what the rule does.
    pub fn follow(&mut self, cost: f64, settings: &Settings) {
        let excess = (cost / settings.cost_target - 1.0).clamp(-0.1, 0.1);
        self.excess += SMOOTHING * (excess - self.excess);
        self.base *= (settings.price_drift * excess).exp();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cost_of_what_moves_with_the_price_comes_to_rest_at_the_target() {
        // A policy whose cost falls by the iteration for as long as the price is above what is right for it.
        let settings = Settings::default();
        let mut price = Price::start(&settings);
        let mut cost = 1.04;
        let mut costs = Vec::new();
        for _ in 0..200 {
            cost -= 0.003 * (price.now(&settings) / 0.09).ln().clamp(-1.0, 1.0);
            price.follow(cost, &settings);
            costs.push(cost);
        }
        let late = &costs[100..];
        assert!(late.iter().all(|cost| (cost - 1.0).abs() < 0.01), "{late:?}");
        assert!((price.now(&settings) / 0.09).ln().abs() < 0.2, "{price:?}");
    }
}
