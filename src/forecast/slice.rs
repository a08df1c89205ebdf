//! Where calibration is looked at apart: hours of the day, and a regime of spikes.

use std::fmt;

/// Hours of one slice.
const HOURS: u16 = 3;

/// A slice of the local day, three hours each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slice(u8);

impl Slice {
    /// How many.
    pub const COUNT: usize = 8;

    /// Every slice, from midnight on.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT as u8).map(Self)
    }

    /// The slice of a minute of the local day.
    #[must_use]
    pub const fn of(minute_of_day: u16) -> Self {
        Self((minute_of_day / 60 / HOURS) as u8 % Self::COUNT as u8)
    }

    /// Its place among all.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for Slice {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = u16::from(self.0) * HOURS;
        write!(out, "{from:02}-{:02}h", from + HOURS)
    }
}

/// What traffic is like when a forecast is made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Regime {
    /// As usual, or as far from it as usual.
    #[default]
    Steady,
    /// Far above what is usual now, or rising fast, or an announced promotion within the horizon.
    Spike,
}

impl Regime {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Steady, Self::Spike];

    /// The name in reports and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::Spike => "spike",
        }
    }
}
