//! Recognises services whose memory does not follow traffic: models loaded once and held.
//!
//! Such a service looks full to a memory target at any load, so that a multi-metric HPA never
//! scales it down again. Our policies never let memory hold a count up; this says for which
//! apps that matters.

/// Traffic must differ by this factor before memory can be compared.
const TRAFFIC_FACTOR: f64 = 2.0;
/// Memory that changes by less than this share is flat.
const FLAT_SHARE: f64 = 0.02;

/// Memory per pod at the lowest and the highest traffic per pod seen.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Footprint {
    low: Option<(f64, f64)>,
    high: Option<(f64, f64)>,
}

impl Footprint {
    /// Adds one observation: requests per second and bytes, both per pod.
    pub fn push(&mut self, rps: f64, bytes: f64) {
        if rps <= 0.0 || bytes <= 0.0 {
            return;
        }
        if self.low.is_none_or(|(seen, _)| rps <= seen) {
            self.low = Some((rps, bytes));
        }
        if self.high.is_none_or(|(seen, _)| rps >= seen) {
            self.high = Some((rps, bytes));
        }
    }

    /// Whether memory stayed within 2 % while traffic more than doubled; `None` while traffic has
    /// not changed enough to tell.
    #[must_use]
    pub fn is_fixed(&self) -> Option<bool> {
        let ((low_rps, low_bytes), (high_rps, high_bytes)) = (self.low?, self.high?);
        (high_rps > TRAFFIC_FACTOR * low_rps)
            .then(|| (high_bytes - low_bytes).abs() < FLAT_SHARE * low_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MI: f64 = 1_048_576.0;

    fn footprint(points: &[(f64, f64)]) -> Option<bool> {
        let mut footprint = Footprint::default();
        for (rps, mebibytes) in points {
            footprint.push(*rps, mebibytes * MI);
        }
        footprint.is_fixed()
    }

    #[test]
    fn a_loaded_model_is_recognised_and_a_cache_is_not() {
        // The three services of the CPU-only decision record, idle and loaded.
        assert_eq!(footprint(&[(1.0, 332.0), (40.0, 335.0)]), Some(true));
        assert_eq!(footprint(&[(1.0, 311.0), (40.0, 314.0)]), Some(true));
        assert_eq!(footprint(&[(1.0, 149.0), (40.0, 151.9)]), Some(true));
        assert_eq!(footprint(&[(1.0, 149.0), (40.0, 152.5)]), Some(false));
        assert_eq!(footprint(&[(10.0, 100.0), (30.0, 180.0)]), Some(false));
    }

    #[test]
    fn nothing_is_claimed_before_traffic_has_doubled() {
        assert_eq!(footprint(&[]), None);
        assert_eq!(footprint(&[(10.0, 300.0), (19.0, 300.0)]), None);
    }
}
