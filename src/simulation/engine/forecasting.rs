//! The forecasts that policies see.

use std::sync::Arc;

use crate::cluster::Outlook;
use crate::simulation::foresight::{Foresight, Maker, minute};

/// Where forecasts come from.
#[derive(Debug, Clone, Default)]
pub(super) enum Forecasting {
    /// Nobody looks at them: none are made.
    #[default]
    Off,
    /// They are made as they are asked for, one minute after the other: its calibration learns from each.
    Own(Box<Maker>),
    /// They are there.
    Known(Arc<Foresight>),
}

impl Forecasting {
    /// Brings the forecasts of a snapshot up to `seconds` after the start.
    pub(super) fn look(&mut self, seconds: f64, forecasts: &mut Vec<Outlook>) {
        match self {
            Self::Off => {}
            Self::Own(maker) => {
                while maker.made() <= minute(seconds) {
                    *forecasts = maker.make();
                }
            }
            Self::Known(foresight) => {
                let standing = foresight.at(seconds);
                if forecasts != standing {
                    standing.clone_into(forecasts);
                }
            }
        }
    }
}
