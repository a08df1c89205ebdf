//! How fast a step learns.

/// A warm-up in a line, then half a cosine down to a twentieth (Loshchilov and Hutter 2017).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// The highest rate.
    pub peak: f64,
    /// Steps until it is reached.
    pub warm_up: u64,
    /// Steps in all.
    pub steps: u64,
}

impl Schedule {
    /// The rate at the end, as a part of the highest.
    const LAST: f64 = 0.05;

    /// The rate of a step, counted from 0.
    #[must_use]
    pub fn rate(&self, step: u64) -> f64 {
        if step < self.warm_up {
            return self.peak * (step + 1) as f64 / self.warm_up as f64;
        }
        let whole = self.steps.saturating_sub(self.warm_up).max(1);
        let part = ((step - self.warm_up) as f64 / whole as f64).min(1.0);
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * part).cos());
        self.peak * (Self::LAST + (1.0 - Self::LAST) * cosine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_in_a_line_and_falls_to_a_twentieth() {
        let schedule = Schedule { peak: 1.0, warm_up: 10, steps: 110 };
        assert_eq!(schedule.rate(0), 0.1);
        assert_eq!(schedule.rate(9), 1.0);
        assert!((schedule.rate(60) - 0.525).abs() < 1e-9);
        assert!((schedule.rate(110) - 0.05).abs() < 1e-9);
        assert!((schedule.rate(9999) - 0.05).abs() < 1e-9);
    }
}
