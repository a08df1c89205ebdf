//! What is remembered of one domain: how well each source has done in it.

use serde::{Deserialize, Serialize};

use crate::cluster::ForecastSource;
use crate::forecast::calibration::{Calibration, Quantiles};
use crate::forecast::history::Minute;
use crate::forecast::slice::{Regime, Slice};

/// Sources that there can be, best first.
pub(super) const SOURCES: [ForecastSource; 3] =
    [ForecastSource::Model, ForecastSource::SeasonalProfile, ForecastSource::Smoothing];

/// A source comes back after so many minutes in calibration.
const HEALING: Minute = 60;

/// Minutes that are taught at most at once: what is open after a longer gap has no answer any more.
const MOST_TAUGHT: Minute = 120;

/// The sources of one domain.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Track {
    scored: [Scored; SOURCES.len()],
    /// The newest minute whose traffic was learned from.
    taught: Option<Minute>,
}

/// One source: it is scored whether it is used or not.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Scored {
    calibration: Calibration,
    trust: Trust,
}

/// Whether a source is believed in one domain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
enum Trust {
    #[default]
    Whole,
    /// It is miscalibrated.
    Lost,
    /// It is in calibration again since this minute.
    Healing(Minute),
}

impl Trust {
    /// What follows when it is found miscalibrated, or not, at `origin`.
    fn next(self, miscalibrated: bool, origin: Minute) -> Self {
        match (miscalibrated, self) {
            (true, _) => Self::Lost,
            (false, Self::Lost) => Self::Healing(origin),
            (false, Self::Healing(since)) if origin - since >= HEALING => Self::Whole,
            (false, same) => same,
        }
    }
}

impl Track {
    /// Learns from the traffic of the minutes that are over. `rps` ends with `origin`.
    pub(super) fn teach(&mut self, rps: &[f32], origin: Minute) {
        let first = self.taught.map_or(origin, |taught| taught + 1).max(origin - MOST_TAUGHT);
        for minute in first..=origin {
            let back = usize::try_from(origin - minute).unwrap_or(usize::MAX);
            let place = rps.len().checked_sub(1).and_then(|last| last.checked_sub(back));
            let Some(came) = place.and_then(|place| rps.get(place)) else { continue };
            for scored in &mut self.scored {
                scored.calibration.observe(minute, f64::from(*came));
            }
        }
        self.taught = Some(origin);
    }

    /// The quantiles of a source, corrected by its own past errors, and why they are not to be used, if so.
    pub(super) fn issue(
        &mut self,
        source: usize,
        raw: &Quantiles,
        origin: Minute,
        (slice, regime): (Slice, Regime),
    ) -> (Quantiles, Option<String>) {
        let scored = &mut self.scored[source];
        let adjusted = scored.calibration.adjust(slice, regime, raw);
        scored.calibration.issued(origin, slice, regime, raw, &adjusted);
        let outside = scored.calibration.coverage().miscalibrated_since(slice, origin);
        scored.trust = scored.trust.next(outside.is_some(), origin);
        let doubt = match (outside, scored.trust) {
            (Some(since), _) => {
                let minutes = origin - since;
                Some(format!("its p80 has been miscalibrated in this domain for {minutes} min"))
            }
            (None, Trust::Whole) => None,
            (None, _) => Some("it was miscalibrated here less than an hour ago".to_owned()),
        };
        (adjusted, doubt)
    }

    /// The calibration of a source.
    pub(super) fn calibration(&self, source: usize) -> &Calibration {
        &self.scored[source].calibration
    }
}
